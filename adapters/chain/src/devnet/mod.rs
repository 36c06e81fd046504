//! An Ethereum chain in memory: an EVM, one block a transaction, and a JSON-RPC door.
//!
//! It is a real chain in the parts that money depends on: signatures and nonces are checked, gas is paid, the token
//! is a contract, blocks link to their parents, a transaction can be sent and not mined, the newest blocks can be
//! taken back, and `finalized` lies as far behind the head as the configuration says. It is not one in others: the
//! base fee is constant, the state root is that of an empty trie, blocks may share a timestamp (a chain that had to
//! add a second per block would run away from the clock under load). It lives in memory; with `DevnetConfig::data` the
//! same chain stands again after a restart.
//!
//! Read: [`DevnetConfig`], [`Devnet`]; then `node` (how a transaction becomes a block), `state` (the past),
//! `methods` (what JSON-RPC answers). Beside the Ethereum methods it has `evm_mine`, `evm_setAutomine`,
//! `evm_increaseTime`, `evm_setNextBlockTimestamp`, `anvil_mine`, `anvil_setBalance`, `anvil_setCode`, `anvil_setStorageAt`,
//! `anvil_dropTransaction`, `anvil_rollback` (the `hardhat_` names too, where they exist), `devnet_mint` and `devnet_calls` (how many
//! calls it has answered).
//!
//! While mining is on demand, only `evm_mine` and `anvil_mine` take transactions out of the pool; the blocks that
//! the configured interval adds stay empty, so that time and finality move on while a transaction is stuck.

mod blocks;
mod diary;
mod envelope;
mod execution;
mod genesis;
mod methods;
mod node;
mod pool;
mod refusal;
mod service;
mod simulate;
mod state;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, B256, TxKind, U256};
use alloy::sol_types::SolCall;

use crate::accounts::{ACCOUNTS, DEPLOYER, TestAccount};
use crate::token;
use node::{BASE_FEE_WEI, Node, PRIORITY_FEE_WEI};

pub use node::Mining;
pub(crate) use refusal::revert_reason;
pub use refusal::{
    EXECUTION_REVERTED, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, RpcRefusal,
    SERVER_ERROR,
};

/// Tells the Unix time in seconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

#[derive(Clone)]
pub struct DevnetConfig {
    pub chain_id: u64,
    /// `finalized` and `safe` are the head less this many blocks.
    pub finalized_lag_blocks: u64,
    pub mining: Mining,
    /// How often `serve` adds a block, so that finality reaches a deadline on an idle chain. `None`: never.
    pub block_interval: Option<Duration>,
    /// Blocks, with transactions and logs, that are kept. Queries that reach behind them are errors, not empty.
    pub blocks_kept: usize,
    /// Blocks behind the head at which the state can still be read.
    pub state_blocks_kept: u64,
    /// Where block timestamps come from.
    pub clock: Clock,
    /// The file from which the same chain stands again after a restart. `None`: it is gone with the process.
    pub data: Option<PathBuf>,
}

impl Default for DevnetConfig {
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            finalized_lag_blocks: 0,
            mining: Mining::Automatic,
            block_interval: None,
            // About 2.5 KB a block with one settlement: 160 MB at most.
            blocks_kept: 65_536,
            state_blocks_kept: 4_096,
            clock: Arc::new(system_clock),
            data: None,
        }
    }
}

impl fmt::Debug for DevnetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevnetConfig")
            .field("chain_id", &self.chain_id)
            .field("finalized_lag_blocks", &self.finalized_lag_blocks)
            .field("mining", &self.mining)
            .field("block_interval", &self.block_interval)
            .field("blocks_kept", &self.blocks_kept)
            .field("state_blocks_kept", &self.state_blocks_kept)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevnetError {
    #[error("the devnet's token could not be deployed: {0}")]
    TokenNotDeployed(String),
    #[error("a contract of the devnet could not be deployed: {0}")]
    ContractNotDeployed(String),
    #[error("the chain's file {0} is in use by another process")]
    DataInUse(String),
    #[error("the chain's file {0}")]
    DataUnusable(String),
    #[error("the chain's file cannot be read after line {line}: {why}")]
    DataBroken { line: u64, why: String },
}

impl DevnetError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::TokenNotDeployed(_) => "token_not_deployed",
            Self::ContractNotDeployed(_) => "contract_not_deployed",
            Self::DataInUse(_) => "devnet_data_in_use",
            Self::DataUnusable(_) => "devnet_data_unusable",
            Self::DataBroken { .. } => "devnet_data_broken",
        }
    }

    pub fn retryable(&self) -> bool {
        match self {
            Self::DataInUse(_) => true,
            Self::TokenNotDeployed(_)
            | Self::ContractNotDeployed(_)
            | Self::DataUnusable(_)
            | Self::DataBroken { .. } => false,
        }
    }
}

/// What this chain begins with, as other nodes read it: the same accounts, contracts and addresses.
pub fn genesis(chain_id: u64) -> Result<serde_json::Value, DevnetError> {
    genesis::document(chain_id, system_clock())
}

/// A handle on a chain in memory. Clones share it.
#[derive(Clone)]
pub struct Devnet {
    node: Arc<Mutex<Node>>,
}

impl Devnet {
    pub fn new(config: DevnetConfig) -> Result<Self, DevnetError> {
        Ok(Self { node: Arc::new(Mutex::new(Node::new(config)?)) })
    }

    pub fn chain_id(&self) -> u64 {
        self.node().config.chain_id
    }

    /// Funded with ether; their keys are public. The last one is the deployer.
    pub fn accounts(&self) -> &'static [TestAccount; 10] {
        &ACCOUNTS
    }

    pub fn token_address(&self) -> Address {
        token::ADDRESS
    }

    /// Sends a minting transaction of the token's deployer. It is mined like any other: at once, or on demand.
    pub fn mint(&self, to: Address, amount: U256) -> Result<B256, RpcRefusal> {
        let mut node = self.node();
        let head = node.blocks.head().number;
        let mined = node.state.nonce(DEPLOYER.address, head);
        let mut transaction = TxEip1559 {
            chain_id: node.config.chain_id,
            nonce: node.pool.next_nonce(DEPLOYER.address, mined),
            gas_limit: 100_000,
            max_fee_per_gas: u128::from(BASE_FEE_WEI + PRIORITY_FEE_WEI),
            max_priority_fee_per_gas: u128::from(PRIORITY_FEE_WEI),
            to: TxKind::Call(token::ADDRESS),
            input: token::Token::mintCall { to, value: amount }.abi_encode().into(),
            ..TxEip1559::default()
        };
        let unsigned = |reason: String| RpcRefusal::new(INTERNAL_ERROR, format!("cannot sign as deployer: {reason}"));
        let signer = DEPLOYER.signer().ok_or_else(|| unsigned("its key is not a key".to_owned()))?;
        let signature = signer.sign_transaction_sync(&mut transaction).map_err(|e| unsigned(e.to_string()))?;
        node.send(&TxEnvelope::from(transaction.into_signed(signature)).encoded_2718())
    }

    /// Adds `blocks` blocks; the first takes what is ready in the pool.
    pub fn mine(&self, blocks: u64) {
        for _ in 0..blocks.min(crate::limits::MINE_BLOCKS_MAX) {
            self.node().mine();
        }
    }

    pub fn switch_mining(&self, mining: Mining) {
        self.node().switch_mining(mining);
    }

    /// Pushes chain time ahead of the clock; the next block shows it.
    pub fn increase_time(&self, seconds: u64) -> Result<(), RpcRefusal> {
        self.node().increase_time(seconds).map(|_| ())
    }

    /// A panic while the lock was held would have been a defect of one request; the chain goes on.
    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Devnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Devnet").finish_non_exhaustive()
    }
}

fn system_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
