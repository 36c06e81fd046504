//! How a key is sealed: AES-256-GCM under a data key of its own, and the data key under the master key.
//!
//! Everything that a row says is authenticated. Tenant, purpose and kid by both seals; master key, state and times by
//! the seal of the data key, so that whoever can write rows can neither move a key nor bring an ended one back.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use store::keys::{KeyState, SealedKey};
use zeroize::Zeroizing;

use super::{KeyError, MasterKey, random_bytes};

const SECRET: &str = "purser/secret/1";
const DATA_KEY: &str = "purser/data-key/1";

/// What a row says beside its ciphertexts.
#[derive(Clone, Debug)]
pub struct Label {
    pub tenant: String,
    pub purpose: String,
    pub kid: String,
    pub state: KeyState,
    pub created_at: i64,
    pub ended_at: Option<i64>,
}

impl Label {
    fn of(row: &SealedKey) -> Self {
        let (tenant, purpose, kid) = (row.tenant.clone(), row.purpose.clone(), row.kid.clone());
        Self { tenant, purpose, kid, state: row.state, created_at: row.created_at, ended_at: row.ended_at }
    }

    fn name(&self) -> String {
        format!("{} of {} ({})", self.purpose, self.tenant, self.kid)
    }

    fn for_secret(&self) -> Vec<u8> {
        join(&[SECRET, &self.tenant, &self.purpose, &self.kid])
    }

    fn for_data_key(&self, master: &str) -> Vec<u8> {
        let (created, ended) =
            (self.created_at.to_string(), self.ended_at.map_or_else(String::new, |at| at.to_string()));
        let state = self.state.as_str();
        join(&[DATA_KEY, &self.tenant, &self.purpose, &self.kid, master, state, &created, &ended])
    }
}

/// Each part with its length before it: no two lists of parts have the same bytes.
fn join(parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

pub fn seal(master: &MasterKey, label: &Label, secret: &[u8; 32]) -> Result<SealedKey, KeyError> {
    let data_key = Zeroizing::new(random_bytes()?);
    let sealed = encrypt(&data_key, &label.for_secret(), secret, label)?;
    row(master, label, &data_key, sealed)
}

/// The secret, where every word of the row is what was sealed.
pub fn open(master: &MasterKey, row: &SealedKey) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let label = Label::of(row);
    let data_key = data_key(master, row)?;
    decrypt(&data_key, &label.for_secret(), &row.secret, &label)
}

/// The same secret in another state, or under another master key: the data key is sealed again and nothing else.
pub fn reseal(
    from: &MasterKey,
    to: &MasterKey,
    sealed: &SealedKey,
    (state, ended_at): (KeyState, Option<i64>),
) -> Result<SealedKey, KeyError> {
    let data_key = data_key(from, sealed)?;
    row(to, &Label { state, ended_at, ..Label::of(sealed) }, &data_key, sealed.secret.clone())
}

fn row(master: &MasterKey, label: &Label, data_key: &[u8; 32], secret: Vec<u8>) -> Result<SealedKey, KeyError> {
    let id = master.id();
    let data_key = encrypt(master.bytes(), &label.for_data_key(&id), data_key, label)?;
    let Label { tenant, purpose, kid, state, created_at, ended_at } = label.clone();
    Ok(SealedKey { tenant, purpose, kid, state, created_at, ended_at, master: id, data_key, secret })
}

fn data_key(master: &MasterKey, row: &SealedKey) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let (label, id) = (Label::of(row), master.id());
    if row.master != id {
        let (key, expected) = (label.name(), row.master.clone());
        return Err(KeyError::MasterKeyMismatch { key, expected, found: id });
    }
    decrypt(master.bytes(), &label.for_data_key(&id), &row.data_key, &label)
}

/// Nonce, ciphertext, tag. The nonce is random: a key seals one secret, the master key far fewer than 2^32.
fn encrypt(key: &[u8; 32], aad: &[u8], plain: &[u8; 32], label: &Label) -> Result<Vec<u8>, KeyError> {
    let broken = |_| KeyError::Damaged(label.name());
    let mut text = plain.to_vec();
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(broken)?;
    let nonce = key.seal_in_place_append_tag(Aad::from(aad), &mut text).map_err(broken)?;
    Ok([nonce.as_ref().as_slice(), &text].concat())
}

fn decrypt(key: &[u8; 32], aad: &[u8], sealed: &[u8], label: &Label) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let damaged = || KeyError::Damaged(label.name());
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| damaged())?;
    let mut text = Zeroizing::new(text.to_vec());
    let plain = key.open_in_place(nonce, Aad::from(aad), text.as_mut_slice()).map_err(|_| damaged())?;
    <[u8; 32]>::try_from(&*plain).map(Zeroizing::new).map_err(|_| damaged())
}
