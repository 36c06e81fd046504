//! The open keys of this process, and every change to those that lie in the database.

use std::sync::Arc;

use alloy_primitives::Address;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use engine::ports::MandateSigner;
use ledger::checkpoint::VerifierKey;
use ledger::id::Micros;
use mandates::base64url;
use mandates::keys::{KeyId, LocalKey, PublicKey};
use sha2::{Digest as _, Sha256};
use store::keys::{KeyState, KeyTable, SealedKey};
use store::{Location, Schema};
use x402::exact::WalletKey;
use zeroize::Zeroizing;

use super::envelope::{self, Label};
use super::signers::LocalSigner;
use super::slot::{Material, Purpose, Slot};
use super::{KeyError, MasterKey, random_bytes};

/// About one draw in 2^32 is no scalar: a second is never needed in practice.
const DRAWS_MAX: u8 = 8;

/// An open key.
pub struct Key {
    pub slot: Slot,
    pub sealed: SealedKey,
    secret: Zeroizing<[u8; 32]>,
}

pub struct Ring {
    database: Location,
    master: MasterKey,
    keys: Vec<Key>,
}

impl Ring {
    /// Opens every key of the database, or says which one does not open.
    pub async fn open(database: &Location, master: MasterKey, schema: Schema) -> Result<Self, KeyError> {
        let mut table = KeyTable::open(database, schema).await?;
        let rows = table.rows().await?;
        table.close().await?;
        let keys = open_all(&master, &rows)?;
        Ok(Self { database: database.clone(), master, keys })
    }

    /// Draws what lacks, durably, in one transaction. What another process drew meanwhile is taken as it is.
    pub async fn provide(&mut self, slots: &[Slot]) -> Result<(), KeyError> {
        let lacking: Vec<&Slot> = slots.iter().filter(|slot| self.find(slot).is_none()).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let mut table = KeyTable::open(&self.database, Schema::Refuse).await?;
        for slot in &lacking {
            // A journal that was salted with a key goes on with that key or not at all.
            if slot.purpose.material() == Material::Mac && table.has_book(&slot.tenant).await? {
                return Err(KeyError::Lost((*slot).clone()));
            }
        }
        let master = &self.master;
        let rows = table.change(|rows| {
            let active = |slot: &Slot| rows.iter().any(|row| row.state == KeyState::Active && is_of(row, slot));
            let drawn = |slot: &&Slot| seal(master, slot, &*draw(slot)?);
            lacking.iter().copied().filter(|slot| !active(slot)).map(|slot| drawn(&slot)).collect()
        });
        let rows: Result<Vec<SealedKey>, KeyError> = rows.await;
        let rows = rows?;
        table.close().await?;
        self.keys = open_all(&self.master, &rows)?;
        Ok(())
    }

    /// Puts a first key into an empty place.
    pub async fn add(&mut self, slot: &Slot, secret: &[u8; 32]) -> Result<(), KeyError> {
        self.change(|master, keys| match keys.iter().find(|key| key.is_active_at(slot)) {
            Some(key) => Err(KeyError::Exists { slot: slot.clone(), kid: key.sealed.kid.clone() }),
            None => Ok(vec![seal(master, slot, secret)?]),
        })
        .await
    }

    /// A new key for new work; the old one is kept for what was begun with it.
    pub async fn rotate(&mut self, slot: &Slot, secret: &[u8; 32]) -> Result<(), KeyError> {
        if slot.purpose.material() == Material::Mac {
            return Err(KeyError::NotRotatable(slot.clone()));
        }
        self.change(|master, keys| {
            let old = keys.iter().find(|key| key.is_active_at(slot)).ok_or_else(|| KeyError::Missing(slot.clone()))?;
            let new = seal(master, slot, secret)?;
            if keys.iter().any(|key| key.slot == *slot && key.sealed.kid == new.kid) {
                return Err(KeyError::Exists { slot: slot.clone(), kid: new.kid });
            }
            // The old one first: a place has one active key at any moment.
            let ended = (KeyState::Retired, Some(now()));
            Ok(vec![envelope::reseal(master, master, &old.sealed, ended)?, new])
        })
        .await
    }

    /// Nothing is taken that a retired key signed, and nothing is signed with it.
    pub async fn revoke(&mut self, slot: &Slot, kid: &str) -> Result<(), KeyError> {
        self.change(|master, keys| {
            let found = keys.iter().find(|key| key.slot == *slot && key.sealed.kid == kid);
            let found = found.ok_or_else(|| {
                let known: Vec<&str> =
                    keys.iter().filter(|key| key.slot == *slot).map(|key| key.sealed.kid.as_str()).collect();
                KeyError::Unknown { expected: format!("{slot}: {}", known.join(", ")), found: kid.to_owned() }
            })?;
            match found.sealed.state {
                KeyState::Active => Err(KeyError::NotEnded { kid: kid.to_owned(), state: KeyState::Active.as_str() }),
                KeyState::Revoked => Ok(Vec::new()),
                KeyState::Retired => {
                    let ended = (KeyState::Revoked, found.sealed.ended_at);
                    Ok(vec![envelope::reseal(master, master, &found.sealed, ended)?])
                }
            }
        })
        .await
    }

    /// Seals every data key under another master key, all or none; what is under it already stays. Returns how many.
    pub async fn rewrap(database: &Location, from: &MasterKey, to: &MasterKey) -> Result<usize, KeyError> {
        let mut table = KeyTable::open(database, Schema::Refuse).await?;
        let mut count = 0;
        let rows = table.change(|rows| {
            let old: Vec<&SealedKey> = rows.iter().filter(|row| row.master != to.id()).collect();
            count = old.len();
            let again = |row: &&SealedKey| {
                open_key(from, row)?;
                envelope::reseal(from, to, row, (row.state, row.ended_at))
            };
            old.iter().map(again).collect::<Result<Vec<_>, KeyError>>()
        });
        let rows = rows.await?;
        table.close().await?;
        open_all(to, &rows)?;
        Ok(count)
    }

    async fn change(
        &mut self,
        decide: impl FnOnce(&MasterKey, &[Key]) -> Result<Vec<SealedKey>, KeyError>,
    ) -> Result<(), KeyError> {
        let mut table = KeyTable::open(&self.database, Schema::Refuse).await?;
        let master = &self.master;
        let rows = table.change(|rows| decide(master, &open_all(master, rows)?)).await?;
        table.close().await?;
        self.keys = open_all(&self.master, &rows)?;
        Ok(())
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub fn find(&self, slot: &Slot) -> Option<&Key> {
        self.keys.iter().find(|key| key.is_active_at(slot))
    }

    pub fn active(&self, slot: &Slot) -> Result<&Key, KeyError> {
        self.find(slot).ok_or_else(|| KeyError::Missing(slot.clone()))
    }

    /// Keys that were active here once and still count for what was begun with them.
    pub fn retired(&self, slot: &Slot) -> impl Iterator<Item = &Key> {
        let slot = slot.clone();
        self.keys.iter().filter(move |key| key.slot == slot && key.sealed.state == KeyState::Retired)
    }

    pub fn secret(&self, slot: &Slot) -> Result<[u8; 32], KeyError> {
        Ok(*self.active(slot)?.secret)
    }

    pub fn p256(&self, slot: &Slot) -> Result<LocalKey, KeyError> {
        self.active(slot)?.p256()
    }

    pub fn signer(&self, slot: &Slot) -> Result<Arc<dyn MandateSigner>, KeyError> {
        Ok(Arc::new(LocalSigner(self.p256(slot)?)))
    }

    pub fn retired_signers(&self, slot: &Slot) -> Result<Vec<Arc<dyn MandateSigner>>, KeyError> {
        self.retired(slot).map(|key| Ok(Arc::new(LocalSigner(key.p256()?)) as Arc<dyn MandateSigner>)).collect()
    }

    /// What verifies signatures of this place: the active key's half and those of the retired ones.
    pub fn publics(&self, slot: &Slot) -> Result<Vec<PublicKey>, KeyError> {
        let keys = std::iter::once(self.active(slot)?).chain(self.retired(slot));
        keys.map(|key| Ok(key.p256()?.public().clone())).collect()
    }

    pub fn address(&self, slot: &Slot) -> Result<Address, KeyError> {
        Ok(self.active(slot)?.wallet()?.address())
    }
}

impl Key {
    fn is_active_at(&self, slot: &Slot) -> bool {
        self.sealed.state == KeyState::Active && self.slot == *slot
    }

    /// An ES256 key, named by its RFC 7638 thumbprint.
    pub fn p256(&self) -> Result<LocalKey, KeyError> {
        let key = LocalKey::from_random(&self.secret).map_err(|_| KeyError::Unmade(self.slot.clone()))?;
        let name = KeyId::new(key.public().thumbprint());
        Ok(key.named(name))
    }

    /// The name of the log, and this key's half of it that others have.
    pub fn verifier(&self, name: &str) -> Result<VerifierKey, KeyError> {
        let public = ed25519_public(&self.secret).ok_or_else(|| KeyError::Unmade(self.slot.clone()))?;
        Ok(VerifierKey { name: name.to_owned(), public })
    }

    /// Ed25519, RFC 8032.
    pub fn sign_note(&self, text: &str) -> Result<[u8; 64], KeyError> {
        let unmade = || KeyError::Unmade(self.slot.clone());
        ed25519_sign(&self.secret, text.as_bytes()).ok_or_else(unmade)
    }

    pub fn wallet(&self) -> Result<WalletKey, KeyError> {
        WalletKey::from_bytes(&self.secret).map_err(|_| KeyError::Unmade(self.slot.clone()))
    }

    /// For a library that takes bytes.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// A random secret that is a key of this place.
pub fn draw(slot: &Slot) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    for _ in 0..DRAWS_MAX {
        let secret = Zeroizing::new(random_bytes()?);
        if kid(slot, &secret).is_some() {
            return Ok(secret);
        }
    }
    Err(KeyError::Unmade(slot.clone()))
}

fn seal(master: &MasterKey, slot: &Slot, secret: &[u8; 32]) -> Result<SealedKey, KeyError> {
    let kid = kid(slot, secret).ok_or_else(|| KeyError::Unmade(slot.clone()))?;
    let (tenant, purpose) = (slot.tenant.clone(), slot.purpose.to_string());
    let label = Label { tenant, purpose, kid, state: KeyState::Active, created_at: now(), ended_at: None };
    envelope::seal(master, &label, secret)
}

/// The RFC 7638 thumbprint; of a MAC key, whose JWK is the secret itself, a hash under a tag that says no more.
fn kid(slot: &Slot, secret: &[u8; 32]) -> Option<String> {
    match slot.purpose.material() {
        Material::P256 => Some(LocalKey::from_random(secret).ok()?.public().thumbprint()),
        Material::Secp256k1 => {
            let (x, y) = WalletKey::from_bytes(secret).ok()?.public_point();
            let (x, y) = (base64url::encode(&x), base64url::encode(&y));
            let jwk = format!(r#"{{"crv":"secp256k1","kty":"EC","x":"{x}","y":"{y}"}}"#);
            Some(base64url::encode(&Sha256::digest(jwk.as_bytes())))
        }
        Material::Ed25519 => {
            let x = base64url::encode(&ed25519_public(secret)?);
            Some(base64url::encode(&Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes())))
        }
        Material::Mac | Material::Sealing | Material::Shared => {
            let hash = Sha256::new().chain_update(b"purser/mac-key-id/1").chain_update(secret).finalize();
            Some(base64url::encode(hash.get(..16)?))
        }
    }
}

/// RFC 8032.
pub(crate) fn ed25519_sign(secret: &[u8; 32], text: &[u8]) -> Option<[u8; 64]> {
    Ed25519KeyPair::from_seed_unchecked(secret).ok()?.sign(text).as_ref().try_into().ok()
}

pub(crate) fn ed25519_public(secret: &[u8; 32]) -> Option<[u8; 32]> {
    Ed25519KeyPair::from_seed_unchecked(secret).ok()?.public_key().as_ref().try_into().ok()
}

fn is_of(row: &SealedKey, slot: &Slot) -> bool {
    row.tenant == slot.tenant && row.purpose == slot.purpose.to_string()
}

fn open_all(master: &MasterKey, rows: &[SealedKey]) -> Result<Vec<Key>, KeyError> {
    rows.iter().map(|row| open_key(master, row)).collect()
}

fn open_key(master: &MasterKey, row: &SealedKey) -> Result<Key, KeyError> {
    let damaged = || KeyError::Damaged(format!("{} of {} ({})", row.purpose, row.tenant, row.kid));
    let purpose: Purpose = row.purpose.parse().map_err(|_| damaged())?;
    let slot = Slot::new(&row.tenant, purpose);
    let secret = envelope::open(master, row)?;
    // What was sealed under this name is the key of this name.
    if kid(&slot, &secret).as_ref() != Some(&row.kid) {
        return Err(damaged());
    }
    Ok(Key { slot, sealed: row.clone(), secret })
}

fn now() -> i64 {
    let Micros(micros) = (store::wall_clock())();
    micros.div_euclid(1_000_000)
}
