//! Scheme `exact` on EVM, moved by EIP-3009 `transferWithAuthorization` or by [`crate::permit2`] (`scheme_exact_evm.md`).
//!
//! A payer signs exactly (from, to, value, time window, nonce), with EIP-3009 under the token's EIP-712 domain.
//! [`Terms`] are what a seller requires, [`Signed`] what a payer signs; [`check`] compares them. It makes a
//! [`VerifiedPayment`], or, where no key of the payer's signed, something that [`prove`] makes into one by asking the payer's
//! contract. [`verify_on_chain`] then asks the chain what a signature cannot say.

mod authorization;
mod key;
mod onchain;
mod payment;
mod signed;
mod terms;
#[cfg(test)]
mod tests;
mod wallet;

pub use authorization::{Authorization, EvmSignature, SignatureError, TokenDomain, cancellation_digest, nonce};
pub use key::{KeyError, WalletKey};
pub use onchain::{ClaimedElsewhere, OnChainError, check_findings, verify_on_chain};
pub(crate) use payment::Unsigned;
pub(crate) use payment::read_authorization;
pub use payment::{
    VerifiedPayment, check, check_accepted, claim_key, is_signed_for, read_payload, read_signed, verify,
};
pub use signed::Signed;
pub(crate) use terms::read_address;
pub use terms::{Terms, Transfer};
pub(crate) use wallet::PayerSignature;
pub use wallet::{Checked, Unproved, WalletSignature, prove};

/// The name of the scheme on the wire.
pub const SCHEME: &str = "exact";
