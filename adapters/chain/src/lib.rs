//! The chain: what Purser asks of a node, and a node of its own for demos and tests.
//!
//! Promise:
//! 1. A question that could not be answered is never answered: timeouts, odd replies and refusals stay errors.
//! 2. Whatever a node says is checked against what was asked: ids, hashes, addresses, topics, sizes.
//! 3. Every call is bounded in time, in bytes and in gas; settlements also in their fee.
//! 4. The devnet speaks plain Ethereum JSON-RPC, so that clients of others run on it unmodified.
//! 5. There is one implementation of the port: in process or over HTTP, the same bytes pass.
//!
//! Read in this order: [`rpc`] (the port over JSON-RPC), [`relayer`] (who pays the gas) and [`payer`], then [`devnet`]
//! (an EVM behind a JSON-RPC door) with [`accounts`], [`token`] and Permit2, which stand in its genesis.
//!
//! It never decides what an observation means for money (the engine does), never retries on its own, never keeps
//! a mandate, a claim or a balance, and never logs a key, a signature or an RPC URL (which may hold a secret).

pub mod accounts;
mod channels;
pub mod devnet;
mod escrow;
pub mod limits;
mod multicall;
pub mod payer;
mod permit2;
pub mod relayer;
pub mod rpc;
pub mod token;
mod wallet;

#[cfg(test)]
mod tests;
