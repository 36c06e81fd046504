//! Scheme `exact` on EVM, moved by EIP-3009 `transferWithAuthorization` or by [`crate::permit2`] (`scheme_exact_evm.md`).
//!
//! A payer signs exactly (from, to, value, time window, nonce), with EIP-3009 under the token's EIP-712 domain.
//! [`Terms`] are what a seller requires, [`Signed`] what a payer signs; [`verify`] compares them and [`VerifiedPayment`] is the
//! only thing that it makes. [`verify_on_chain`] then asks the chain what a signature cannot say.

mod authorization;
mod key;
mod onchain;
mod payment;
mod signed;
mod terms;
#[cfg(test)]
mod tests;

pub use authorization::{Authorization, EvmSignature, SignatureError, TokenDomain, nonce};
pub use key::{KeyError, WalletKey};
pub use onchain::{ClaimedElsewhere, OnChainError, verify_on_chain};
pub(crate) use payment::recover;
pub use payment::{VerifiedPayment, check_accepted, claim_key, is_signed_for, read_payload, read_signed, verify};
pub use signed::Signed;
pub(crate) use terms::read_address;
pub use terms::{Terms, Transfer};

/// The name of the scheme on the wire.
pub const SCHEME: &str = "exact";
