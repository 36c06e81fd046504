//! Sets of public keys: JWK sets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{KeyId, PublicKey, refuse_private};
use crate::json::{Json, Members, Object};
use crate::limits::KEYS_MAX;
use crate::rejection::{Code, Rejection, shown};

/// Keys that someone trusts, found by `kid`. A name that two keys carry is refused: a verifier must not choose.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: BTreeMap<KeyId, PublicKey>,
}

impl KeySet {
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, Rejection> {
        let mut set = Self::default();
        for key in keys {
            let name = key.key_id();
            if set.keys.len() >= KEYS_MAX {
                let message = format!("a key set has at most {KEYS_MAX} keys; more came");
                return Err(Rejection::new(Code::KeySetInvalid, message));
            }
            if set.keys.insert(name.clone(), key).is_some() {
                let message = format!("a kid names one key of a set; {} names two", shown(name.as_str()));
                return Err(Rejection::new(Code::KeySetInvalid, message).at("kid"));
            }
        }
        Ok(set)
    }

    /// A JWK set (RFC 7517 section 5). Keys of other types or for other uses are passed over, a broken P-256 key is an error.
    pub fn from_jwks<'t>(jwks: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let Some(Json::Array(entries)) = jwks.into().get("keys") else {
            return Err(Rejection::new(Code::KeySetInvalid, "a JWK set has an array `keys`; none came").at("keys"));
        };
        let mut keys = Vec::new();
        for entry in entries.iter().take(KEYS_MAX.saturating_add(1)) {
            let Json::Object(jwk) = entry else {
                let message = format!("a key of a JWK set is an object; {} came", entry.kind());
                return Err(Rejection::new(Code::KeySetInvalid, message).at("keys"));
            };
            refuse_private(jwk)?;
            let is_for = |name: &str, wanted: &str| jwk.get(name).is_none_or(|value| value.as_str() == Some(wanted));
            if !is_for("use", "sig") || !is_for("alg", "ES256") {
                continue;
            }
            match PublicKey::from_published_jwk(jwk) {
                Ok(key) => keys.push(key),
                Err(refused) if refused.code == Code::KeyNotP256 => {}
                Err(refused) => return Err(refused),
            }
        }
        Self::new(keys)
    }

    pub fn to_jwks(&self) -> Object {
        let keys =
            self.keys.iter().map(|(name, key)| Value::Object(key.clone().named(name.clone()).to_jwk())).collect();
        Object::from_iter([("keys".to_owned(), Value::Array(keys))])
    }

    pub fn find(&self, key_id: &str) -> Option<&PublicKey> {
        self.keys.get(key_id)
    }

    /// The key of a set of one.
    pub fn only(&self) -> Option<&PublicKey> {
        if self.keys.len() == 1 { self.keys.values().next() } else { None }
    }

    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
