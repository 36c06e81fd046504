//! Scheme `exact` on EVM, moved by EIP-3009 `transferWithAuthorization` (`scheme_exact_evm.md`).
//!
//! A payer signs exactly (from, to, value, time window, nonce) under the token's EIP-712 domain. [`Terms`] are what
//! a seller requires, [`Authorization`] what a payer signs; [`verify`] compares them and [`VerifiedPayment`] is the
//! only thing that it makes. [`verify_on_chain`] then asks the chain what a signature cannot say.

mod authorization;
mod key;
mod onchain;
mod payment;
mod terms;
#[cfg(test)]
mod tests;

pub use authorization::{Authorization, EvmSignature, SignatureError, TokenDomain, nonce};
pub use key::{KeyError, WalletKey};
pub use onchain::{OnChainError, verify_on_chain};
pub use payment::{VerifiedPayment, check_accepted, claim_key, is_signed_for, read_payload, verify};
pub use terms::Terms;

/// The name of the scheme on the wire.
pub const SCHEME: &str = "exact";
