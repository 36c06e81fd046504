//! Every limit of this crate, in one place.

use std::time::Duration;

/// A JSON-RPC request to the devnet. The largest honest one is a contract creation: 49,152 bytes of init code
/// (EIP-3860), about 100 KB as hexadecimal.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// A JSON-RPC answer of the devnet, a whole batch included.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Calls in one batch.
pub const BATCH_CALLS_MAX: usize = 100;
/// A client that does not finish its request in this time is cut off.
pub const REQUEST_READ_TIME_MAX: Duration = Duration::from_secs(10);
/// How long connections may linger after the devnet was told to stop.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(3);

/// Logs in one answer.
pub const LOGS_MAX: usize = 10_000;
/// Addresses or topics in one position of a log filter.
pub const FILTER_ALTERNATIVES_MAX: usize = 1_000;
/// Blocks in one `eth_feeHistory` answer, as geth has it.
pub const FEE_HISTORY_BLOCKS_MAX: u64 = 1_024;
/// Percentiles in one `eth_feeHistory` request, as geth has it.
pub const FEE_HISTORY_PERCENTILES_MAX: usize = 100;
/// Transactions that wait to be mined.
pub const POOL_TRANSACTIONS_MAX: usize = 4_096;
/// Bytes of one raw transaction, as geth has it.
pub const TRANSACTION_BYTES_MAX: usize = 128 * 1024;
/// Empty blocks that one call may mine.
pub const MINE_BLOCKS_MAX: u64 = 4_096;
/// Gas of a block, of an `eth_call` and of an estimate.
pub const BLOCK_GAS_MAX: u64 = 30_000_000;
/// How far clocks may be pushed ahead by one call: a hundred years.
pub const TIME_LEAP_SECONDS_MAX: u64 = 100 * 366 * 24 * 60 * 60;

/// Gas of several settlements in one transaction: a sixth of the smallest block that a public chain has.
pub const BATCH_GAS_MAX: u64 = 5_000_000;
/// How long a chain is believed to have no Multicall3.
pub const NO_MULTICALL_FOR: Duration = Duration::from_secs(60);

/// Bytes of a node's answer to us. Receipts and narrow log queries are some kilobytes.
pub const NODE_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Characters of a node's own words that we repeat in an error.
pub const NODE_MESSAGE_CHARS_MAX: usize = 300;
/// Bytes of revert data that we keep.
pub const REVERT_BYTES_MAX: usize = 4_096;
/// Characters of a token's name or version.
pub const TOKEN_TEXT_CHARS_MAX: usize = 128;
/// Log queries of one search, each over `RpcConfig::log_blocks_max` blocks.
pub const LOG_QUERIES_MAX: u64 = 1_000;
