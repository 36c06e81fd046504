//! The chain itself: clock, pool, state and blocks, and how one becomes the next.

use alloy::consensus::transaction::Recovered;
use alloy::consensus::{Eip658Value, Receipt, ReceiptEnvelope, Transaction, TxEnvelope, TxType};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{B256, U256};
use revm::context::result::{ExecutionResult, Output};
use revm::context_interface::cfg::gas::calculate_initial_tx_gas;

use super::blocks::{Blocks, MinedBlock, MinedTransaction};
use super::diary::{Diary, Event, NotedBlock};
use super::execution::{Call, Environment, Executed, FORK, run_call, run_transaction};
use super::genesis;
use super::pool::{Pool, decode};
use super::refusal::RpcRefusal;
use super::state::{State, View};
use super::{DevnetConfig, DevnetError};
use crate::limits::{BLOCK_GAS_MAX, TIME_LEAP_SECONDS_MAX};

/// What a unit of gas costs at least, and what is suggested on top. Constant: the chain is never full.
pub(super) const BASE_FEE_WEI: u64 = 1_000_000_000;
pub(super) const PRIORITY_FEE_WEI: u64 = 1_000_000_000;

/// When sent transactions are mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// At once, a block for each.
    Automatic,
    /// When `evm_mine` says so; until then they wait in the pool.
    OnDemand,
}

pub(super) struct Node {
    pub(super) config: DevnetConfig,
    pub(super) state: State,
    pub(super) blocks: Blocks,
    pub(super) pool: Pool,
    pub(super) mining: Mining,
    /// Seconds that chain time is ahead of the clock (or behind it, when negative).
    pub(super) clock_offset_seconds: i64,
    next_timestamp: Option<u64>,
    /// How many calls were answered; each of a batch counts.
    pub(super) calls: u64,
    diary: Option<Diary>,
}

impl Node {
    pub(super) fn new(mut config: DevnetConfig) -> Result<Self, DevnetError> {
        // What is not final can be taken back, and what is final must be readable: both need their past.
        config.state_blocks_kept = config.state_blocks_kept.max(config.finalized_lag_blocks);
        let blocks_needed = usize::try_from(config.state_blocks_kept).unwrap_or(usize::MAX).saturating_add(1);
        config.blocks_kept = config.blocks_kept.max(blocks_needed);
        let diary = config.data.as_deref().map(Diary::open).transpose()?;
        let began = diary.as_ref().map(|diary| diary.genesis(config.chain_id)).transpose()?.flatten();
        let timestamp = began.unwrap_or_else(|| (config.clock)());
        let state = genesis::state(config.chain_id, timestamp)?;
        let genesis = MinedBlock::seal(B256::ZERO, 0, timestamp, BASE_FEE_WEI, Vec::new());
        let mut node = Self {
            mining: config.mining,
            config,
            state,
            blocks: Blocks::new(genesis),
            pool: Pool::default(),
            clock_offset_seconds: 0,
            next_timestamp: None,
            calls: 0,
            diary: None,
        };
        node.diary = diary.map(|diary| diary.replay(&mut node)).transpose()?;
        if began.is_none() {
            node.note(|node| Event::Genesis { chain_id: node.config.chain_id, timestamp });
        }
        Ok(node)
    }

    pub(super) fn note(&mut self, event: impl FnOnce(&Self) -> Event) {
        if let Some(mut diary) = self.diary.take() {
            diary.note(&event(self));
            self.diary = Some(diary);
        }
    }

    pub(super) fn finalized(&self) -> u64 {
        self.blocks.head().number.saturating_sub(self.config.finalized_lag_blocks)
    }

    /// The number that a tag, a number or a hash stands for; it may name a block that is not there.
    pub(super) fn block_number(&self, id: BlockId) -> Result<u64, RpcRefusal> {
        let number = match id {
            BlockId::Hash(hash) => {
                let found = self.blocks.by_hash(hash.block_hash);
                return found.map(|b| b.header.number).ok_or_else(|| RpcRefusal::server("header for hash not found"));
            }
            BlockId::Number(number) => number,
        };
        Ok(match number {
            BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => self.blocks.head().number,
            BlockNumberOrTag::Finalized | BlockNumberOrTag::Safe => self.finalized(),
            BlockNumberOrTag::Earliest => 0,
            BlockNumberOrTag::Number(number) => number,
        })
    }

    /// The block whose state a read asks for. Refuses what is not there or no longer known; never answers zero for it.
    pub(super) fn state_block(&self, id: BlockId) -> Result<u64, RpcRefusal> {
        let (number, head) = (self.block_number(id)?, self.blocks.head().number);
        if number > head {
            return Err(RpcRefusal::server(format!("header not found: block {number}, head {head}")));
        }
        let oldest = head.saturating_sub(self.config.state_blocks_kept);
        if number < oldest {
            let message = format!("missing trie node: state of block {number} is pruned, the oldest kept is {oldest}");
            return Err(RpcRefusal::server(message));
        }
        Ok(number)
    }

    /// Runs a call on the state of a block.
    pub(super) fn call(&self, id: BlockId, call: &Call) -> Result<Executed, RpcRefusal> {
        let environment = self.environment(id, call.gas_price > 0)?;
        run_call(self.view(environment.number), environment, call)
    }

    /// At the newest block a call sees the time that the next one would have.
    pub(super) fn environment(&self, id: BlockId, is_priced: bool) -> Result<Environment, RpcRefusal> {
        let number = self.state_block(id)?;
        let timestamp = match id {
            BlockId::Number(BlockNumberOrTag::Latest | BlockNumberOrTag::Pending) => self.upcoming_timestamp(),
            _ => self.blocks.by_number(number).map_or(self.blocks.head().timestamp, |block| block.header.timestamp),
        };
        let base_fee = if is_priced { BASE_FEE_WEI } else { 0 };
        Ok(Environment { chain_id: self.config.chain_id, number, timestamp, base_fee })
    }

    /// Takes in a signed transaction, and mines it when mining is automatic.
    pub(super) fn send(&mut self, raw: &[u8]) -> Result<B256, RpcRefusal> {
        let transaction = decode(raw)?;
        self.admit(&transaction)?;
        let hash = *transaction.tx_hash();
        match self.mining {
            Mining::OnDemand => self.pool.insert(transaction)?,
            Mining::Automatic => {
                let next = self.state.nonce(transaction.signer(), self.blocks.head().number);
                let is_next = transaction.nonce() == next;
                self.pool.insert(transaction)?;
                let mined = self.mine_pool_one_by_one();
                if let Some(refusal) = mined.into_iter().find(|(dropped, _)| is_next && *dropped == hash) {
                    return Err(refusal.1);
                }
            }
        }
        Ok(hash)
    }

    pub(super) fn switch_mining(&mut self, mining: Mining) {
        self.mining = mining;
        if mining == Mining::Automatic {
            self.mine_pool_one_by_one();
        }
    }

    /// Mines one block with whatever is ready in the pool and fits, even when that is nothing.
    pub(super) fn mine(&mut self) {
        self.mine_block(Take::AllThatFit);
    }

    /// Mines one block that leaves the pool alone, so that time passes and finality moves while transactions wait.
    pub(super) fn mine_empty(&mut self) {
        self.mine_block(Take::Nothing);
    }

    pub(super) fn increase_time(&mut self, seconds: u64) -> Result<i64, RpcRefusal> {
        let leap = i64::try_from(seconds.min(TIME_LEAP_SECONDS_MAX)).unwrap_or(i64::MAX);
        if seconds > TIME_LEAP_SECONDS_MAX {
            let message = format!("cannot leap {seconds} seconds, at most {TIME_LEAP_SECONDS_MAX}");
            return Err(RpcRefusal::params(message));
        }
        self.clock_offset_seconds = self.clock_offset_seconds.saturating_add(leap);
        Ok(self.clock_offset_seconds)
    }

    pub(super) fn choose_next_timestamp(&mut self, timestamp: u64) -> Result<(), RpcRefusal> {
        let head = self.blocks.head().timestamp;
        let latest = head.max((self.config.clock)()).saturating_add(TIME_LEAP_SECONDS_MAX);
        if !(head..=latest).contains(&timestamp) {
            let message = format!("timestamp {timestamp} is not between the head's, {head}, and {latest}");
            return Err(RpcRefusal::params(message));
        }
        self.next_timestamp = Some(timestamp);
        Ok(())
    }

    /// A reorganisation: takes the newest blocks back, with all that they changed. Their transactions are gone.
    pub(super) fn roll_back(&mut self, blocks: u64) -> Result<(), RpcRefusal> {
        let (head, finalized) = (self.blocks.head().number, self.finalized());
        let target = head.checked_sub(blocks).filter(|target| *target >= finalized);
        let Some(target) = target else {
            let message = format!("cannot take back {blocks} blocks from head {head}: {finalized} is finalized");
            return Err(RpcRefusal::params(message));
        };
        self.take_back(target)?;
        self.note(|_| Event::RolledBack { to: target });
        Ok(())
    }

    pub(super) fn take_back(&mut self, target: u64) -> Result<(), RpcRefusal> {
        while self.blocks.head().number > target {
            if self.blocks.pop().is_none() {
                return Err(RpcRefusal::server("no older block is kept"));
            }
        }
        self.state.forget_after(target);
        Ok(())
    }

    fn upcoming_timestamp(&self) -> u64 {
        let chosen = self.next_timestamp;
        let clock = (self.config.clock)().saturating_add_signed(self.clock_offset_seconds);
        chosen.unwrap_or(clock).max(self.blocks.head().timestamp)
    }

    pub(super) fn view(&self, block: u64) -> View<'_, impl Fn(u64) -> B256> {
        let hashes = |number| self.blocks.by_number(number).map_or(B256::ZERO, |block| block.header.seal());
        View { state: &self.state, block, hashes }
    }

    /// The checks of a node at the door of its pool, in geth's words.
    fn admit(&self, transaction: &Recovered<TxEnvelope>) -> Result<(), RpcRefusal> {
        let (sender, head) = (transaction.signer(), self.blocks.head().number);
        let refuse = |message: String| Err(RpcRefusal::server(message));
        if !matches!(transaction.tx_type(), TxType::Legacy | TxType::Eip2930 | TxType::Eip1559) {
            return refuse(format!("transaction type not supported: {}", transaction.tx_type() as u8));
        }
        match transaction.chain_id() {
            None => return refuse("only replay-protected (EIP-155) transactions allowed over RPC".to_owned()),
            Some(have) if have != self.config.chain_id => {
                return refuse(format!("invalid chain id for signer: have {have} want {}", self.config.chain_id));
            }
            Some(_) => {}
        }
        if self.pool.find(*transaction.tx_hash()).is_some() {
            return refuse("already known".to_owned());
        }
        let next = self.state.nonce(sender, head);
        if transaction.nonce() < next {
            return refuse(format!("nonce too low: next nonce {next}, tx nonce {}", transaction.nonce()));
        }
        if transaction.nonce() == u64::MAX {
            return refuse("nonce has max value".to_owned());
        }
        if transaction.gas_limit() > BLOCK_GAS_MAX {
            return refuse(format!("exceeds block gas limit: have {} want {BLOCK_GAS_MAX}", transaction.gas_limit()));
        }
        let fee = transaction.max_fee_per_gas();
        if fee < u128::from(BASE_FEE_WEI) {
            return refuse(format!("max fee per gas less than block base fee: have {fee} want {BASE_FEE_WEI}"));
        }
        if transaction.max_priority_fee_per_gas().is_some_and(|tip| tip > fee) {
            return refuse(format!("max priority fee per gas higher than max fee per gas: maxFeePerGas {fee}"));
        }
        let needed = intrinsic_gas(transaction);
        if transaction.gas_limit() < needed {
            return refuse(format!("intrinsic gas too low: have {}, want {needed}", transaction.gas_limit()));
        }
        let cost = U256::from(transaction.gas_limit()).saturating_mul(U256::from(fee));
        let (want, have) = (cost.saturating_add(transaction.value()), self.state.balance(sender, head));
        if have < want {
            return refuse(format!("insufficient funds for gas * price + value: have {have} want {want}"));
        }
        Ok(())
    }

    /// Returns what could not be mined and was dropped, with the reason.
    fn mine_pool_one_by_one(&mut self) -> Vec<(B256, RpcRefusal)> {
        let mut dropped = Vec::new();
        loop {
            let head = self.blocks.head().number;
            if self.pool.first_ready(|sender| self.state.nonce(sender, head)).is_none() {
                return dropped;
            }
            dropped.extend(self.mine_block(Take::First));
        }
    }

    fn mine_block(&mut self, take: Take) -> Vec<(B256, RpcRefusal)> {
        let parent = self.blocks.head();
        let timestamp = self.upcoming_timestamp();
        let (number, base_fee) = (parent.number.saturating_add(1), BASE_FEE_WEI);
        let environment = Environment { chain_id: self.config.chain_id, number, timestamp, base_fee };
        let mut filling = Filling::default();
        match take {
            Take::Nothing => {}
            Take::First => {
                self.take_next(environment, &mut filling);
            }
            Take::AllThatFit => while self.take_next(environment, &mut filling) {},
        }
        if take != Take::First || !filling.mined.is_empty() {
            self.append(MinedBlock::seal(parent.hash, number, timestamp, base_fee, filling.mined));
        }
        filling.dropped
    }

    /// Moves one transaction out of the pool; `false` when none is ready or the next does not fit. A transaction alone
    /// always fits: the pool admits none above the block's gas.
    fn take_next(&mut self, environment: Environment, filling: &mut Filling) -> bool {
        let number = environment.number;
        let Some(transaction) = self.pool.first_ready(|sender| self.state.nonce(sender, number)) else { return false };
        if filling.gas_used.saturating_add(transaction.gas_limit()) > BLOCK_GAS_MAX {
            return false;
        }
        let (sender, hash) = (transaction.signer(), *transaction.tx_hash());
        self.pool.remove(hash);
        match self.execute(environment, transaction, filling) {
            Ok(()) => self.pool.drop_outdated(sender, self.state.nonce(sender, number)),
            // Its sender's ether went elsewhere since it was admitted.
            Err(refusal) => {
                tracing::debug!(transaction = %hash, %refusal, "dropped from the pool");
                filling.dropped.push((hash, refusal));
            }
        }
        true
    }

    pub(super) fn execute(
        &mut self,
        environment: Environment,
        transaction: Recovered<TxEnvelope>,
        filling: &mut Filling,
    ) -> Result<(), RpcRefusal> {
        let executed = run_transaction(self.view(environment.number), environment, &transaction)?;
        self.state.commit(environment.number, executed.state);
        filling.record(transaction, executed.result);
        Ok(())
    }

    pub(super) fn append(&mut self, block: MinedBlock) {
        if let Some(chosen) = self.next_timestamp.take() {
            // From the chosen instant on, chain time runs with the clock again.
            let clock = (self.config.clock)();
            self.clock_offset_seconds = signed_difference(chosen, clock);
        }
        let number = block.header.number;
        self.note(|node| Event::Block(NotedBlock::of(&block, node.clock_offset_seconds)));
        self.blocks.push(block, self.config.blocks_kept);
        self.state.forget_before(number.saturating_sub(self.config.state_blocks_kept));
    }
}

/// What a new block takes from the pool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    Nothing,
    First,
    AllThatFit,
}

fn intrinsic_gas(transaction: &Recovered<TxEnvelope>) -> u64 {
    let list = transaction.access_list().map_or(&[][..], |list| list.0.as_slice());
    let slots: usize = list.iter().map(|item| item.storage_keys.len()).sum();
    let (accounts, slots) = (list.len() as u64, slots as u64);
    let gas = calculate_initial_tx_gas(FORK, transaction.input(), transaction.is_create(), accounts, slots, 0, None);
    gas.initial_total_gas().max(gas.floor_gas)
}

/// A block while it is being filled.
#[derive(Default)]
pub(super) struct Filling {
    pub(super) mined: Vec<MinedTransaction>,
    dropped: Vec<(B256, RpcRefusal)>,
    gas_used: u64,
    logs: u64,
}

impl Filling {
    fn record(&mut self, transaction: Recovered<TxEnvelope>, result: ExecutionResult) {
        let (success, gas_used, logs_before) = (result.is_success(), result.tx_gas_used(), self.logs);
        let contract = match &result {
            ExecutionResult::Success { output: Output::Create(_, created), .. } => *created,
            _ => None,
        };
        // A transaction that failed leaves no logs behind.
        let logs = if success { result.into_logs() } else { Vec::new() };
        self.logs += logs.len() as u64;
        self.gas_used = self.gas_used.saturating_add(gas_used);
        let receipt = Receipt { status: Eip658Value::Eip658(success), cumulative_gas_used: self.gas_used, logs };
        let receipt = ReceiptEnvelope::from_typed(transaction.tx_type(), receipt.with_bloom());
        self.mined.push(MinedTransaction { transaction, receipt, gas_used, contract, logs_before });
    }
}

fn signed_difference(later: u64, earlier: u64) -> i64 {
    let difference = i128::from(later) - i128::from(earlier);
    i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN })
}
