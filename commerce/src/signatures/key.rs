//! Keys that signatures verify with, of a JWK set. A key that cannot be used here does no harm to the others
//! (UCP, `signatures.md`, "Signature Algorithms").

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use mandates::base64url;
use mandates::json::Object;
use mandates::keys::{KeySet, PublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::finding::Finding;

/// Keys of one signer that are looked at.
const KEYS_MAX: usize = 64;

/// By its name in the registry of RFC 9421.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    EcdsaP256Sha256,
    Ed25519,
}

impl Algorithm {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::Ed25519 => "ed25519",
        }
    }
}

#[derive(Clone)]
enum Kind {
    P256(PublicKey),
    Ed25519(ParsedPublicKey),
}

#[derive(Clone)]
pub(super) struct Key {
    kid: Option<String>,
    /// RFC 7638; of an `OKP` key by RFC 8037 section 2.
    pub thumbprint: String,
    kind: Kind,
}

impl Key {
    pub const fn algorithm(&self) -> Algorithm {
        match self.kind {
            Kind::P256(_) => Algorithm::EcdsaP256Sha256,
            Kind::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    pub fn verifies(&self, base: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::P256(key) => key.verify(base, signature).is_ok(),
            Kind::Ed25519(key) => key.verify_sig(base, signature).is_ok(),
        }
    }

    fn read(jwk: &Object) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let kid = text("kid").map(str::to_owned);
        match (text("kty"), text("crv"), text("alg")) {
            (Some("EC"), Some("P-256"), None | Some("ES256")) => {
                let one = json!({ "keys": [jwk] });
                let key = KeySet::from_jwks(one.as_object()?).ok()?.only()?.clone();
                Some(Self { kid, thumbprint: key.thumbprint(), kind: Kind::P256(key) })
            }
            (Some("OKP"), Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) if !jwk.contains_key("d") => {
                let x = base64url::decode(text("x")?)?;
                let key = ParsedPublicKey::new(&ED25519, &x).ok()?;
                let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url::encode(&x));
                let thumbprint = base64url::encode(&Sha256::digest(members));
                Some(Self { kid, thumbprint, kind: Kind::Ed25519(key) })
            }
            _ => None,
        }
    }
}

/// The keys of a signer.
#[derive(Clone, Default)]
pub struct Keys {
    usable: Vec<Key>,
    /// Names of keys for other algorithms.
    others: Vec<String>,
}

impl Keys {
    /// Of the entries of a JWK set. Those that are not for signatures are not there (RFC 7517 sections 4.2 and 4.3).
    pub fn read<'a>(jwks: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut keys = Self::default();
        for jwk in jwks.into_iter().take(KEYS_MAX).filter_map(Value::as_object).filter(|jwk| is_for_signatures(jwk)) {
            match Key::read(jwk) {
                Some(key) => keys.usable.push(key),
                None => keys.others.extend(jwk.get("kid").and_then(Value::as_str).map(str::to_owned)),
            }
        }
        keys
    }

    /// By `kid`, or by thumbprint. A name that two keys have names neither.
    pub(super) fn find(&self, keyid: &str) -> Result<&Key, Finding> {
        let named = |key: &&Key| key.kid.as_deref() == Some(keyid) || key.thumbprint == keyid;
        let mut found = self.usable.iter().filter(named);
        let shown = || keyid.chars().take(100).collect::<String>();
        match (found.next(), found.next()) {
            (Some(first), second) if second.is_none_or(|second| second.thumbprint == first.thumbprint) => Ok(first),
            (Some(_), _) => Err(Finding::KeyNotFound { found: shown(), what: "several" }),
            (None, _) if self.others.iter().any(|kid| kid == keyid) => {
                Err(Finding::Algorithm { expected: "a key for ecdsa-p256-sha256 or ed25519", found: shown() })
            }
            (None, _) => Err(Finding::KeyNotFound { found: shown(), what: "none" }),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }
}

fn is_for_signatures(jwk: &Object) -> bool {
    let verifies = |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
    jwk.get("use").is_none_or(|purpose| purpose == "sig") && jwk.get("key_ops").is_none_or(verifies)
}
