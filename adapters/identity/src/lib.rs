//! Who calls: access tokens, proofs of possession, client assertions.
//!
//! The promise: a caller is who its credential says, and a credential that was stolen without its key spends nothing.
//! Tokens are short-lived, ours or of an issuer that the operator named, and good for registered principals only; a token bound to a key (RFC 9449, DPoP) is worth nothing without a fresh
//! proof by that key for this very request; a proof and an assertion are used once.
//!
//! Read in this order: [`callers`] (the door), [`token`] (what we sign), [`issuer`] (what others sign), [`dpop`] (proof of
//! possession), [`assertion`] (how a client gets a token, RFC 7523), [`svid`] (workloads of a trust
//! domain), [`replay`].
//!
//! What it never does: decide what a caller may do; read a clock; log or repeat anything that a credential contains.

pub mod assertion;
pub mod callers;
pub mod dpop;
pub mod issuer;
pub mod replay;
pub mod svid;
pub mod token;

/// Compares texts whose equality opens something, in a time that says nothing about where they differ.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
