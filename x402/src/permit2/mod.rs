//! Payments that move by Uniswap's Permit2 (`scheme_exact_evm.md` section "Permit2", `scheme_upto_evm.md`).
//!
//! A payer signs that a proxy of x402 may take one token once, and in the witness where it goes; the proxy can send it
//! nowhere else. Scheme `exact` takes the whole amount; `upto` at most that, as one named facilitator says. It needs an
//! allowance of the token for Permit2, which stands on the chain already or comes along: as an EIP-2612 permit
//! ([`sponsor`]), or as a transaction of the payer's own ([`approval`]). Nonces are unordered and Permit2's own, one space for all tokens of a payer.

pub mod approval;
mod check;
mod onchain;
mod permit;
pub mod pledge;
pub mod sponsor;
#[cfg(test)]
mod tests;
mod transaction;

use alloy_primitives::{Address, address};

pub(crate) use check::{check, check_permit, seal};
pub(crate) use onchain::verify_on_chain;
pub use permit::{Permit, PermitWire, Witness, nonce, read_payload};

/// Permit2, at the same address on every chain.
pub const PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");
/// `x402ExactPermit2Proxy`: moves exactly what is permitted.
pub const EXACT_PROXY: Address = address!("402085c248EeA27D92E8b30b2C58ed07f9E20001");
/// `x402UptoPermit2Proxy`: moves at most what is permitted, for the facilitator of the witness alone.
pub const UPTO_PROXY: Address = address!("4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");

/// How a requirement names this way of moving a token (`extra.assetTransferMethod`).
pub const METHOD: &str = "permit2";
