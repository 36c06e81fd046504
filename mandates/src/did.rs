//! Decentralized identifiers as names of keys (W3C DID Core 1.0): `did:key` and `did:jwk` carry their key, `did:web` says
//! where its document is published.
//!
//! Ours, and not `ssi`'s: the two pure methods are a decoding each, the third is a mapping to a URL and a reading of one
//! JSON object, while that library brings some three hundred crates, a quarter of a release build, and fetches whatever
//! host a DID names by a client of its own. Base58 and the arithmetic of the curve are libraries'.
//!
//! Keys are named by their DID URL, as `kid` has it. A DID that names one key only may be named without the fragment.

use serde_json::Value;

use crate::base64url;
use crate::json::{self, Object, kind};
use crate::keys::{KeyId, KeySet, PublicKey};
use crate::limits::{DID_BYTES_MAX, KEYS_MAX};
use crate::rejection::{Code, Rejection, shown};

/// Before a compressed P-256 point in a multikey: 0x1200 as an unsigned varint (multicodec table, `p256-pub`).
const P256_PUB: [u8; 2] = [0x80, 0x24];

/// A DID whose method is one of the three.
#[derive(Clone, Debug)]
pub struct Did {
    text: String,
    method: Method,
}

#[derive(Clone, Debug)]
enum Method {
    /// `did:key` and `did:jwk`.
    Itself { fragment: String, key: PublicKey },
    /// `did:web`: the https address of its document.
    Web(String),
}

impl Did {
    /// A DID without path, query or fragment.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        if text.len() > DID_BYTES_MAX {
            return Err(invalid(format!("a DID has at most {DID_BYTES_MAX} bytes; {} came", text.len())));
        }
        let rest = text.strip_prefix("did:").and_then(|rest| rest.split_once(':'));
        let method = match rest {
            Some(("key", id)) => Method::Itself { fragment: id.to_owned(), key: multikey(id)? },
            Some(("jwk", id)) => Method::Itself { fragment: "0".to_owned(), key: inline_jwk(id)? },
            Some(("web", id)) => Method::Web(web_address(id)?),
            _ => return Err(invalid(format!("did:key, did:jwk or did:web was expected; {} came", shown(text)))),
        };
        Ok(Self { text: text.to_owned(), method })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where its document is published; `None` for a DID that is its own.
    pub fn address(&self) -> Option<&str> {
        match &self.method {
            Method::Web(address) => Some(address),
            Method::Itself { .. } => None,
        }
    }

    /// The key of a DID that carries it; `None` where a document must be read.
    pub fn own_keys(&self) -> Result<Option<KeySet>, Rejection> {
        match &self.method {
            Method::Itself { fragment, key } => {
                self.name(vec![(format!("{}#{fragment}", self.text), key.clone())]).map(Some)
            }
            Method::Web(_) => Ok(None),
        }
    }

    /// The keys with which the document of this DID says that it makes assertions (DID Core section 5.3.2): credentials are
    /// assertions, and a key that only logs in signs none. Keys of other types are passed over, a broken one is an error.
    pub fn keys_of(&self, document: &Object) -> Result<KeySet, Rejection> {
        if document.get("id").and_then(Value::as_str) != Some(&self.text) {
            let came = document.get("id").map_or_else(|| "nothing".to_owned(), crate::rejection::shown_value);
            return Err(invalid(format!("the document is of {}; {came} came", shown(&self.text))).at("id"));
        }
        let methods = entries(document, "verificationMethod")?;
        let mut keys = Vec::new();
        for entry in entries(document, "assertionMethod")? {
            let method = match entry {
                Value::String(name) => {
                    let name = self.complete(name);
                    let named = |method: &&Value| self.id_of(method).as_ref() == Some(&name);
                    methods.iter().find(named).ok_or_else(|| {
                        invalid(format!("assertionMethod names a method of the document; {} is none", shown(&name)))
                    })?
                }
                other => other,
            };
            let Value::Object(method) = method else {
                return Err(invalid(format!("a verification method is an object; {} came", kind(method))));
            };
            keys.extend(self.key_of(method)?);
        }
        self.name(keys)
    }

    fn key_of(&self, method: &Object) -> Result<Option<(String, PublicKey)>, Rejection> {
        // Whoever else controls a key makes their own assertions with it.
        if method.get("controller").and_then(Value::as_str) != Some(&self.text) {
            return Ok(None);
        }
        let id = method.get("id").and_then(Value::as_str).map(|id| self.complete(id));
        let id =
            id.filter(|id| id.strip_prefix(&self.text).is_some_and(|rest| rest.starts_with('#') && rest.len() > 1));
        let id =
            id.ok_or_else(|| invalid(format!("a method is named beneath {}; this one is not", shown(&self.text))))?;
        let key = match (method.get("publicKeyJwk"), method.get("publicKeyMultibase")) {
            (Some(Value::Object(jwk)), None) => PublicKey::from_published_jwk(jwk),
            (None, Some(Value::String(text))) => multikey(text),
            (None, None) => return Ok(None),
            _ => {
                return Err(invalid(format!(
                    "a key has one of publicKeyJwk and publicKeyMultibase; {} has not",
                    shown(&id)
                )));
            }
        };
        match key {
            Ok(key) => Ok(Some((id, key))),
            Err(refused) if refused.code == Code::KeyNotP256 => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    fn id_of(&self, method: &Value) -> Option<String> {
        method.get("id").and_then(Value::as_str).map(|id| self.complete(id))
    }

    /// A relative DID URL is one of the document's DID (DID Core section 3.2.2).
    fn complete(&self, id: &str) -> String {
        if id.starts_with('#') { format!("{}{id}", self.text) } else { id.to_owned() }
    }

    fn name(&self, mut keys: Vec<(String, PublicKey)>) -> Result<KeySet, Rejection> {
        if let [(_, only)] = keys.as_slice() {
            keys.push((self.text.clone(), only.clone()));
        }
        KeySet::new(keys.into_iter().map(|(id, key)| key.named(KeyId::new(id))))
    }
}

fn entries<'a>(document: &'a Object, name: &'static str) -> Result<&'a [Value], Rejection> {
    match document.get(name) {
        None => Ok(&[]),
        Some(Value::Array(entries)) if entries.len() <= KEYS_MAX => Ok(entries),
        Some(other) => {
            let message = format!("{name} is an array of at most {KEYS_MAX} methods; {} came", kind(other));
            Err(invalid(message).at(name))
        }
    }
}

/// `z`, base58btc of the multicodec of the key type and the compressed point (did:key section 2.1; Controlled Identifiers 1.0
/// section 2.2.2, Multikey).
fn multikey(text: &str) -> Result<PublicKey, Rejection> {
    let broken = || invalid(format!("z and base58btc of a public key were expected; {} came", shown(text)));
    // Base58 takes quadratic time, so the length is held first.
    let encoded = text.strip_prefix('z').filter(|text| text.len() <= DID_BYTES_MAX).ok_or_else(broken)?;
    let bytes = bs58::decode(encoded).into_vec().map_err(|_| broken())?;
    match bytes.strip_prefix(P256_PUB.as_slice()) {
        Some(point) => PublicKey::from_compressed(point),
        None => Err(Rejection::new(
            Code::KeyNotP256,
            format!("a key on P-256 (p256-pub) was expected; {} came", shown(text)),
        )),
    }
}

/// base64url of a JWK (did:jwk).
fn inline_jwk(id: &str) -> Result<PublicKey, Rejection> {
    let broken = || invalid(format!("did:jwk is base64url of a JWK; {} came", shown(id)));
    let jwk = json::parse_object(&base64url::decode(id).ok_or_else(broken)?).map_err(|_| broken())?;
    PublicKey::from_published_jwk(&jwk)
}

/// `host[%3Aport][:path…]` as an address (did:web, "Read").
///
/// Only what a DID may contain is taken, and `%` only before the port: nothing in it can lead to another host or folder.
fn web_address(id: &str) -> Result<String, Rejection> {
    let broken = |why: &str| invalid(format!("did:web names a host and a path; {} has {why}", shown(id)));
    let mut parts = id.split(':');
    let authority = parts.next().unwrap_or_default().to_ascii_lowercase();
    let (host, port) = match authority.split_once("%3a") {
        Some((host, port)) => (host, Some(port)),
        None => (authority.as_str(), None),
    };
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_plain && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    if !host.split('.').all(is_label) {
        return Err(broken("no host"));
    }
    // The specification forbids addresses; names ending in a number are read as such.
    if host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x")) {
        return Err(broken("an IP address"));
    }
    let port = match port {
        None => String::new(),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            format!(":{port}")
        }
        Some(_) => return Err(broken("no port")),
    };
    let path: Vec<&str> = parts.collect();
    let is_segment = |segment: &&str| {
        let is_plain = segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        is_plain && !segment.is_empty() && !segment.bytes().all(|b| b == b'.')
    };
    if !path.iter().all(is_segment) {
        return Err(broken("no such path"));
    }
    let path = if path.is_empty() { ".well-known".to_owned() } else { path.join("/") };
    Ok(format!("https://{host}{port}/{path}/did.json"))
}

fn invalid(message: impl Into<String>) -> Rejection {
    Rejection::new(Code::DidInvalid, message).at("did")
}

#[cfg(test)]
mod tests;
