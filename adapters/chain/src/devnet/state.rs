//! Accounts and storage, with their past.
//!
//! Each value keeps the blocks at which it changed, so that a read at an older block costs a search in that one
//! value's history instead of a copy of the whole state per block. Changes older than the kept span are folded into
//! one value each, which bounds the memory by the size of the state plus the writes of the kept span.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;

use alloy::primitives::{Address, B256, U256};
use revm::DatabaseRef;
use revm::bytecode::Bytecode;
use revm::primitives::KECCAK_EMPTY;
use revm::state::{AccountInfo, EvmState};
use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cell {
    Account(Address),
    Slot(Address, U256),
}

/// The values of one cell, each with the block at which it began, in rising order.
#[derive(Debug)]
struct History<T>(Vec<(u64, T)>);

impl<T> History<T> {
    fn at(&self, block: u64) -> Option<&T> {
        let after = self.0.partition_point(|(since, _)| *since <= block);
        self.0.get(after.checked_sub(1)?).map(|(_, value)| value)
    }

    fn set(&mut self, block: u64, value: T) {
        match self.0.last_mut() {
            Some((since, last)) if *since == block => *last = value,
            _ => self.0.push((block, value)),
        }
    }

    fn forget_before(&mut self, block: u64) {
        let after = self.0.partition_point(|(since, _)| *since <= block);
        self.0.drain(..after.saturating_sub(1));
    }

    fn forget_after(&mut self, block: u64) {
        let after = self.0.partition_point(|(since, _)| *since <= block);
        self.0.truncate(after);
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    accounts: HashMap<Address, History<Option<AccountInfo>>>,
    slots: HashMap<(Address, U256), History<U256>>,
    codes: HashMap<B256, Bytecode>,
    /// Which cells a block changed, for folding and for taking blocks back. Rising.
    changed: VecDeque<(u64, Vec<Cell>)>,
}

impl State {
    pub(super) fn account(&self, address: Address, block: u64) -> Option<&AccountInfo> {
        self.accounts.get(&address)?.at(block)?.as_ref()
    }

    pub(super) fn balance(&self, address: Address, block: u64) -> U256 {
        self.account(address, block).map_or(U256::ZERO, |account| account.balance)
    }

    pub(super) fn nonce(&self, address: Address, block: u64) -> u64 {
        self.account(address, block).map_or(0, |account| account.nonce)
    }

    pub(super) fn slot(&self, address: Address, slot: U256, block: u64) -> U256 {
        self.slots.get(&(address, slot)).and_then(|history| history.at(block)).copied().unwrap_or_default()
    }

    pub(super) fn code(&self, address: Address, block: u64) -> Bytecode {
        self.account(address, block).map_or_else(Bytecode::default, |account| self.code_by_hash(account.code_hash))
    }

    fn code_by_hash(&self, hash: B256) -> Bytecode {
        self.codes.get(&hash).cloned().unwrap_or_default()
    }

    /// What stands at `block`, as the `alloc` of a genesis document has it.
    pub(super) fn alloc(&self, block: u64) -> Map<String, Value> {
        let mut storage: BTreeMap<Address, Map<String, Value>> = BTreeMap::new();
        for ((address, slot), history) in &self.slots {
            if let Some(value) = history.at(block).filter(|value| !value.is_zero()) {
                let slots = storage.entry(*address).or_default();
                slots.insert(B256::from(*slot).to_string(), B256::from(*value).to_string().into());
            }
        }
        let stands = |address: &Address| self.account(*address, block).map(|account| (*address, account));
        let account = |(address, account): (Address, &AccountInfo)| {
            let mut entry = Map::from_iter([
                ("balance".to_owned(), format!("{:#x}", account.balance).into()),
                ("nonce".to_owned(), format!("{:#x}", account.nonce).into()),
            ]);
            let code = self.code_by_hash(account.code_hash).original_bytes();
            if !code.is_empty() {
                entry.insert("code".to_owned(), code.to_string().into());
            }
            if let Some(slots) = storage.get(&address) {
                entry.insert("storage".to_owned(), slots.clone().into());
            }
            (address.to_string(), entry.into())
        };
        self.accounts.keys().filter_map(stands).map(account).collect()
    }

    /// Takes over what a transaction of `block` changed.
    pub(super) fn commit(&mut self, block: u64, changes: EvmState) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            // EIP-161: a touched account without nonce, balance and code does not exist. EIP-6780: what is destroyed
            // was created in the same transaction, so it has no older storage to clear.
            if account.is_selfdestructed() || account.is_empty() {
                self.write_account(block, address, None);
                continue;
            }
            for (slot, value) in account.changed_storage_slots() {
                self.write_slot(block, address, *slot, value.present_value);
            }
            self.write_account(block, address, Some(account.info));
        }
    }

    pub(super) fn write_balance(&mut self, block: u64, address: Address, balance: U256) {
        let account = self.account(address, block).cloned().unwrap_or_default();
        self.write_account(block, address, Some(AccountInfo { balance, ..account }));
    }

    pub(super) fn write_code(&mut self, block: u64, address: Address, code: Bytecode) {
        let account = self.account(address, block).cloned().unwrap_or_default();
        self.write_account(
            block,
            address,
            Some(AccountInfo { code_hash: code.hash_slow(), code: Some(code), ..account }),
        );
    }

    fn write_account(&mut self, block: u64, address: Address, account: Option<AccountInfo>) {
        let account = account.map(|mut account| {
            if let Some(code) = account.code.take().filter(|_| account.code_hash != KECCAK_EMPTY) {
                self.codes.entry(account.code_hash).or_insert(code);
            }
            account
        });
        self.accounts.entry(address).or_insert_with(|| History(Vec::new())).set(block, account);
        self.note(block, Cell::Account(address));
    }

    pub(super) fn write_slot(&mut self, block: u64, address: Address, slot: U256, value: U256) {
        self.slots.entry((address, slot)).or_insert_with(|| History(Vec::new())).set(block, value);
        self.note(block, Cell::Slot(address, slot));
    }

    fn note(&mut self, block: u64, cell: Cell) {
        match self.changed.back_mut() {
            Some((last, cells)) if *last == block => cells.push(cell),
            _ => self.changed.push_back((block, vec![cell])),
        }
    }

    /// Folds what changed before `block`: reads below it are no longer answered rightly, so the caller refuses them.
    pub(super) fn forget_before(&mut self, block: u64) {
        while self.changed.front().is_some_and(|(changed, _)| *changed <= block) {
            let Some((_, cells)) = self.changed.pop_front() else { return };
            for cell in cells {
                match cell {
                    Cell::Account(address) => {
                        let Some(history) = self.accounts.get_mut(&address) else { continue };
                        history.forget_before(block);
                        if matches!(history.0.as_slice(), [(_, None)]) {
                            self.accounts.remove(&address);
                        }
                    }
                    Cell::Slot(address, slot) => {
                        let Some(history) = self.slots.get_mut(&(address, slot)) else { continue };
                        history.forget_before(block);
                        if matches!(history.0.as_slice(), [(_, U256::ZERO)]) {
                            self.slots.remove(&(address, slot));
                        }
                    }
                }
            }
        }
    }

    /// Takes back every change after `block`.
    pub(super) fn forget_after(&mut self, block: u64) {
        while self.changed.back().is_some_and(|(changed, _)| *changed > block) {
            let Some((_, cells)) = self.changed.pop_back() else { return };
            for cell in cells {
                match cell {
                    Cell::Account(address) => {
                        if let Some(history) = self.accounts.get_mut(&address) {
                            history.forget_after(block);
                        }
                    }
                    Cell::Slot(address, slot) => {
                        if let Some(history) = self.slots.get_mut(&(address, slot)) {
                            history.forget_after(block);
                        }
                    }
                }
            }
        }
    }
}

/// The state as it stood after a block, with the hashes of the blocks up to it.
pub(super) struct View<'a, Hashes> {
    pub(super) state: &'a State,
    pub(super) block: u64,
    pub(super) hashes: Hashes,
}

impl<Hashes: Fn(u64) -> B256> DatabaseRef for View<'_, Hashes> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.account(address, self.block).cloned())
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.state.code_by_hash(code_hash))
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, Infallible> {
        Ok(self.state.slot(address, index, self.block))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok((self.hashes)(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Address = Address::repeat_byte(1);
    const SLOT: U256 = U256::from_limbs([7, 0, 0, 0]);

    fn state() -> State {
        let mut state = State::default();
        for block in [2, 5, 9] {
            state.write_slot(block, WHO, SLOT, U256::from(block));
            state.write_balance(block, WHO, U256::from(block * 10));
        }
        state
    }

    #[test]
    fn a_read_sees_the_last_change_at_or_before_its_block() {
        let state = state();
        for (block, expected) in [(0, 0), (1, 0), (2, 2), (4, 2), (5, 5), (8, 5), (9, 9), (1_000, 9)] {
            assert_eq!(state.slot(WHO, SLOT, block), U256::from(expected), "slot at {block}");
            assert_eq!(state.balance(WHO, block), U256::from(expected * 10), "balance at {block}");
        }
    }

    #[test]
    fn folding_keeps_the_value_in_force_and_frees_the_rest() {
        let mut state = state();
        state.forget_before(6);
        assert_eq!(state.slot(WHO, SLOT, 6), U256::from(5));
        assert_eq!(state.slot(WHO, SLOT, 9), U256::from(9));
        assert_eq!(state.slots[&(WHO, SLOT)].0.len(), 2);
        state.forget_before(20);
        assert_eq!(state.slots[&(WHO, SLOT)].0.len(), 1);
        assert_eq!(state.slot(WHO, SLOT, 20), U256::from(9));
        assert!(state.changed.is_empty());
    }

    #[test]
    fn folding_removes_what_is_zero() {
        let mut state = state();
        state.write_slot(10, WHO, SLOT, U256::ZERO);
        state.forget_before(10);
        assert!(state.slots.is_empty());
    }

    #[test]
    fn taking_back_restores_the_older_value() {
        let mut state = state();
        state.forget_after(4);
        assert_eq!(state.slot(WHO, SLOT, 1_000), U256::from(2));
        assert_eq!(state.balance(WHO, 1_000), U256::from(20));
        state.forget_after(0);
        assert_eq!(state.slot(WHO, SLOT, 1_000), U256::ZERO);
        assert!(state.account(WHO, 1_000).is_none());
    }
}
