//! The model chain: blocks at virtual time, one EIP-3009 token, a pool, reorganisations of what is not final.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use ledger::id::Micros;
use x402::chain::{Block, TransferCall, TransferLog};

use super::dice::Dice;

pub const TOKEN: Address = Address::repeat_byte(0x5f);
pub const BLOCK_SECONDS: u64 = 2;
/// Blocks after which nothing is taken back.
pub const FINALITY: usize = 8;
pub const GAS_USED: u64 = 60_000;
pub const GAS_PRICE: u128 = 1_000_000_000;

/// A nonce of an owner.
pub type Authorization = (Address, B256);

#[derive(Clone, Debug)]
pub enum Call {
    Transfer(TransferCall),
    /// `cancelAuthorization`, by whoever has the payer's key.
    Cancel(Authorization),
    /// A plain `transfer`: a refund, or money from outside.
    Move {
        from: Address,
        to: Address,
        value: U256,
    },
}

impl Call {
    pub fn authorization(&self) -> Option<Authorization> {
        match self {
            Self::Transfer(call) => Some((call.from, call.nonce)),
            Self::Cancel(authorization) => Some(*authorization),
            Self::Move { .. } => None,
        }
    }

    fn is_in_time(&self, timestamp: u64) -> bool {
        match self {
            Self::Transfer(call) => U256::from(timestamp) < call.valid_before,
            Self::Cancel(_) | Self::Move { .. } => true,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Tx {
    pub hash: B256,
    pub sender: Address,
    /// Of accounts whose transactions come one after another: the relayer.
    pub account_nonce: Option<u64>,
    pub call: Call,
}

#[derive(Clone, Debug)]
pub struct Mined {
    pub tx: Tx,
    pub block: Block,
    pub success: bool,
}

impl Mined {
    pub fn transfers(&self) -> Vec<TransferLog> {
        let log = |from, to, value| vec![TransferLog { asset: TOKEN, from, to, value }];
        match &self.tx.call {
            _ if !self.success => Vec::new(),
            Call::Transfer(call) => log(call.from, call.to, call.value),
            Call::Move { from, to, value } => log(*from, *to, *value),
            Call::Cancel(_) => Vec::new(),
        }
    }
}

pub struct ModelChain {
    pub blocks: Vec<(Block, Vec<Mined>)>,
    pub pool: Vec<Tx>,
    /// Prepared or sent transactions by their bytes.
    pub known: BTreeMap<Bytes, Tx>,
    pub used: BTreeMap<Authorization, (u64, B256)>,
    mined: BTreeMap<B256, u64>,
    balances: BTreeMap<Address, U256>,
    nonces: BTreeMap<Address, u64>,
    forks: u64,
}

impl ModelChain {
    pub fn new(start: Micros) -> Self {
        let timestamp = u64::try_from(start.seconds()).unwrap();
        let genesis = Block { number: 0, hash: B256::repeat_byte(0xee), timestamp };
        let mut chain = Self {
            blocks: vec![(genesis, Vec::new())],
            pool: Vec::new(),
            known: BTreeMap::new(),
            used: BTreeMap::new(),
            mined: BTreeMap::new(),
            balances: BTreeMap::new(),
            nonces: BTreeMap::new(),
            forks: 0,
        };
        let mut dice = Dice::new(0);
        (1..=6).for_each(|number| chain.mine(timestamp + number * BLOCK_SECONDS, &mut dice));
        chain
    }

    pub fn give(&mut self, owner: Address, value: U256) {
        *self.balances.entry(owner).or_default() += value;
    }

    pub fn head(&self) -> usize {
        self.blocks.len() - 1
    }

    pub fn at(&self, number: usize) -> Block {
        self.blocks[number].0
    }

    pub fn finalized(&self) -> Block {
        self.at(self.head().saturating_sub(FINALITY))
    }

    pub fn use_of(&self, authorization: &Authorization) -> Option<&Mined> {
        let (number, hash) = self.used.get(authorization)?;
        self.blocks[usize::try_from(*number).unwrap()].1.iter().find(|mined| mined.tx.hash == *hash)
    }

    pub fn find(&self, hash: &B256) -> Option<&Mined> {
        let number = usize::try_from(*self.mined.get(hash)?).unwrap();
        self.blocks[number].1.iter().find(|mined| mined.tx.hash == *hash)
    }

    pub fn all(&self) -> impl Iterator<Item = &Mined> {
        self.blocks.iter().flat_map(|(_, mined)| mined)
    }

    pub fn nonce(&self, account: Address) -> u64 {
        self.nonces.get(&account).copied().unwrap_or_default()
    }

    pub fn balance(&self, owner: Address) -> U256 {
        self.balances.get(&owner).copied().unwrap_or_default()
    }

    /// Bytes are taken once, whoever sends them again.
    pub fn send(&mut self, tx: Tx) {
        if !self.mined.contains_key(&tx.hash) && !self.pool.iter().any(|waiting| waiting.hash == tx.hash) {
            self.pool.push(tx);
        }
    }

    /// A transaction by the bytes that stand for it.
    pub fn write(&mut self, sender: Address, account_nonce: Option<u64>, call: Call) -> (Bytes, Tx) {
        let raw = Bytes::from(format!("{sender}/{account_nonce:?}/{call:?}").into_bytes());
        let tx = Tx { hash: keccak256(&raw), sender, account_nonce, call };
        self.known.insert(raw.clone(), tx.clone());
        (raw, tx)
    }

    /// Blocks up to now. Long waits are mined in few blocks.
    pub fn advance(&mut self, now: Micros, dice: &mut Dice) {
        let now = u64::try_from(now.seconds()).unwrap();
        let last = self.at(self.head()).timestamp;
        let width = now.saturating_sub(last);
        let count = (width / BLOCK_SECONDS).min(12);
        for number in 1..=count {
            self.mine(last + width * number / count, dice);
        }
    }

    fn open(&mut self, timestamp: u64) -> Block {
        self.forks += 1;
        let number = u64::try_from(self.blocks.len()).unwrap();
        let hash = keccak256([number.to_be_bytes(), self.forks.to_be_bytes()].concat());
        let block = Block { number, hash, timestamp };
        self.blocks.push((block, Vec::new()));
        block
    }

    /// One block, with most of what waits, in any order.
    fn mine(&mut self, timestamp: u64, dice: &mut Dice) {
        let block = self.open(timestamp);
        let mut waiting = std::mem::take(&mut self.pool);
        let mut left = Vec::new();
        while !waiting.is_empty() {
            let tx = waiting.swap_remove(dice.below(waiting.len()));
            if dice.chance(700) { self.pool.push(tx) } else { left.push(tx) }
        }
        while let Some(place) = self.pool.iter().position(|tx| self.is_next(tx)) {
            let tx = self.pool.remove(place);
            self.execute(tx, block);
        }
        self.pool.extend(left);
        let nonces = &self.nonces;
        let next = |tx: &Tx| nonces.get(&tx.sender).copied().unwrap_or_default();
        self.pool.retain(|tx| tx.account_nonce.is_none_or(|nonce| nonce >= next(tx)));
    }

    fn is_next(&self, tx: &Tx) -> bool {
        tx.account_nonce.is_none_or(|nonce| nonce == self.nonce(tx.sender))
    }

    fn execute(&mut self, tx: Tx, block: Block) {
        let success = match &tx.call {
            Call::Transfer(call) => {
                let in_time = tx.call.is_in_time(block.timestamp);
                in_time && !self.used.contains_key(&(call.from, call.nonce)) && self.balance(call.from) >= call.value
            }
            Call::Cancel(authorization) => !self.used.contains_key(authorization),
            Call::Move { from, value, .. } => self.balance(*from) >= *value,
        };
        if tx.account_nonce.is_some() {
            *self.nonces.entry(tx.sender).or_default() += 1;
        }
        let mined = Mined { tx, block, success };
        if let Some(authorization) = mined.tx.call.authorization().filter(|_| success) {
            self.used.insert(authorization, (block.number, mined.tx.hash));
        }
        for log in mined.transfers() {
            *self.balances.entry(log.from).or_default() -= log.value;
            *self.balances.entry(log.to).or_default() += log.value;
        }
        self.mined.insert(mined.tx.hash, block.number);
        self.blocks.last_mut().unwrap().1.push(mined);
    }

    fn undo(&mut self, mined: &Mined) {
        self.mined.remove(&mined.tx.hash);
        for log in mined.transfers() {
            *self.balances.entry(log.to).or_default() -= log.value;
            *self.balances.entry(log.from).or_default() += log.value;
        }
        if let Some(authorization) = mined.tx.call.authorization().filter(|_| mined.success) {
            self.used.remove(&authorization);
        }
        if mined.tx.account_nonce.is_some() {
            *self.nonces.entry(mined.tx.sender).or_default() -= 1;
        }
    }

    /// Other blocks in the place of the youngest ones, with the same transactions in other blocks and another order. Some
    /// wait in the pool again, and some are gone, until somebody sends them once more.
    pub fn reorganise(&mut self, depth: usize, dice: &mut Dice) {
        let depth = depth.min(FINALITY).min(self.head() - 1);
        let popped = self.pop(depth);
        let popped = self.lose(popped, dice);
        let times: Vec<u64> = popped.iter().map(|(block, _)| block.timestamp).collect();
        let all = || popped.iter().flat_map(|(_, mined)| mined);
        let canceled = |tx: &Tx| matches!(tx.call, Call::Cancel(_));
        let contested: BTreeSet<_> =
            all().filter(|mined| canceled(&mined.tx)).filter_map(|mined| mined.tx.call.authorization()).collect();
        let mut blocks: Vec<Vec<Tx>> = times.iter().map(|_| Vec::new()).collect();
        for (place, (_, mined)) in popped.iter().enumerate() {
            for Mined { tx, .. } in mined {
                let bound = tx.call.authorization().is_some_and(|one| contested.contains(&one));
                let last = times.iter().rposition(|time| tx.call.is_in_time(*time)).unwrap_or(place);
                // A relayer's come in their order, and a cancellation and a payment of one nonce keep theirs.
                let to = if bound || tx.account_nonce.is_some() { place } else { dice.below(last + 1) };
                let at = if bound || tx.account_nonce.is_some() {
                    blocks[to].len()
                } else {
                    dice.below(blocks[to].len() + 1)
                };
                blocks[to].insert(at, tx.clone());
            }
        }
        for (time, transactions) in times.into_iter().zip(blocks) {
            let block = self.open(time);
            transactions.into_iter().for_each(|tx| self.execute(tx, block));
        }
    }

    /// Empty blocks in the place of all that can be taken back.
    pub fn empty(&mut self) {
        let popped = self.pop(FINALITY.min(self.head() - 1));
        for (block, _) in popped {
            self.open(block.timestamp);
        }
    }

    /// Most reorganisations lose something. Of an account whose transactions come one after another, all that came
    /// after one that is not there again wait for it.
    fn lose(&mut self, popped: Vec<(Block, Vec<Mined>)>, dice: &mut Dice) -> Vec<(Block, Vec<Mined>)> {
        let mut waits = BTreeSet::new();
        let loses = dice.chance(700);
        let mut left = Vec::new();
        for (block, mined) in popped {
            let mut kept = Vec::new();
            for one in mined {
                let is_late = one.tx.account_nonce.is_some() && waits.contains(&one.tx.sender);
                let is_lost = is_late || (loses && dice.chance(750));
                if !is_lost {
                    kept.push(one);
                    continue;
                }
                waits.insert(one.tx.sender);
                if dice.chance(250) {
                    self.pool.push(one.tx);
                }
            }
            left.push((block, kept));
        }
        left
    }

    /// Takes the youngest blocks back and puts none in their place.
    pub fn pop(&mut self, depth: usize) -> Vec<(Block, Vec<Mined>)> {
        let popped = self.blocks.split_off(self.blocks.len() - depth);
        for mined in popped.iter().rev().flat_map(|(_, mined)| mined.iter().rev()) {
            self.undo(mined);
        }
        popped
    }
}
