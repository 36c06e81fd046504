//! The keys of this service: drawn at random or imported, sealed one by one in the database, opened with the master key.
//!
//! A key is (tenant, purpose, kid). Each lies sealed under a data key of its own, and the data key under the master key,
//! which comes from the environment or a file and never touches the database. Who loses the master key loses every key
//! below it: wallets cannot be spent from, mandates not issued, journals not continued. Who has the database and not
//! the master key has ciphertext.
//!
//! Read in this order: [`slot`] (what keys there are), [`envelope`] (how one is sealed), [`ring`] (those that are open),
//! [`signers`] (what they sign with), `command`.

pub mod authorizers;
pub mod cards;
pub mod command;
pub mod envelope;
pub mod master;
pub mod ring;
pub mod signers;
pub mod slot;
#[cfg(test)]
mod tests;

use ledger::store::StoreError;

pub use master::MasterKey;
pub use ring::Ring;
pub use slot::{Purpose, Slot};

/// Every sentence begins with its code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("master_key_malformed: the master key is 64 hexadecimal digits; {0} characters were given")]
    MasterKey(usize),
    #[error("master_key_mismatch: {key} is sealed with master key {expected}, {found} was given")]
    MasterKeyMismatch { key: String, expected: String, found: String },
    #[error("key_damaged: {0} does not open; what is stored is not what was sealed. Restore it from a backup")]
    Damaged(String),
    #[error("key_missing: there is no active {0}; `purser migrate` draws what the configuration needs")]
    Missing(Slot),
    #[error("key_lost: {0} is gone and its journal is not; restore the database whole, a new key would not fit")]
    Lost(Slot),
    #[error("key_exists: {slot} is {kid}; `purser keys rotate` puts another in its place")]
    Exists { slot: Slot, kid: String },
    #[error("key_not_rotatable: {0} never changes: purchases are named and journal leaves are salted with it")]
    NotRotatable(Slot),
    #[error("key_unknown: the configuration has {expected}; {found} was asked for")]
    Unknown { expected: String, found: String },
    #[error("key_malformed: {expected} was expected for {slot}; {found}")]
    Malformed { slot: Slot, expected: &'static str, found: String },
    #[error(
        "key_known_to_all: {slot} would be a key that everybody knows; it is for the devnet, this is chain {chain_id}"
    )]
    KnownToAll { slot: Slot, chain_id: u64 },
    #[error("key_not_ended: {kid} is {state}; rotate first, then revoke")]
    NotEnded { kid: String, state: &'static str },
    #[error("key_unmade: {0} could not be made of what was drawn")]
    Unmade(Slot),
    #[error("no_entropy: the operating system gives no randomness: {0}")]
    Entropy(String),
    #[error("store_unavailable: {0}")]
    Store(#[from] StoreError),
}

/// 32 bytes that nobody knows yet.
pub fn random_bytes() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::Entropy(error.to_string()))?;
    Ok(bytes)
}
