//! Compact JWS (RFC 7515) with ES256 and nothing else: the received bytes are kept, because only they may be hashed or
//! verified, and the algorithm is ours to say, never the token's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base64url;
use crate::digest::Hashed;
use crate::json::{Json, Members, Object, Place, Tree};
use crate::keys::{PublicKey, Signature};
use crate::rejection::{Code, Rejection, shown, shown_value};

/// The three parts of `header.payload.signature`, still as text.
#[derive(Clone, Copy, Debug)]
pub struct RawJws<'a> {
    text: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> RawJws<'a> {
    pub fn split(text: &'a str) -> Result<Self, Rejection> {
        let mut parts = text.split('.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(header), Some(payload), Some(signature), None) if !header.is_empty() && !payload.is_empty() => {
                Ok(Self { text, header, payload, signature })
            }
            _ => {
                let message = format!("a JWT has three parts; {} has {}", shown(text), text.split('.').take(4).count());
                Err(Rejection::new(Code::MalformedJwt, message))
            }
        }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// `header.payload` as received: what is signed, and what names a mandate.
    pub fn signing_input(&self) -> &'a str {
        let end = self.text.len().saturating_sub(self.signature.len()).saturating_sub(1);
        self.text.get(..end).unwrap_or_default()
    }

    pub fn decode(self) -> Result<Jws<'a>, Rejection> {
        self.decode_with(self.text.len(), &mut Vec::new())
    }

    /// `encoded` characters will be in the tree, by way of `bytes`.
    pub(crate) fn decode_with(self, encoded: usize, bytes: &mut Vec<u8>) -> Result<Jws<'a>, Rejection> {
        let mut tree = Tree::with_capacity(encoded.saturating_sub(encoded >> 2));
        let mut part = |text: &str, name: &str| {
            base64url::decode_into(text, bytes).ok_or_else(|| {
                let message = format!("a JWT {name} is base64url without padding; {} came", shown(text));
                Rejection::new(Code::MalformedJwt, message)
            })?;
            tree.read_object(bytes)
        };
        let (header, payload) = (part(self.header, "header")?, part(self.payload, "payload")?);
        let signature = base64url::decode(self.signature).ok_or_else(|| {
            let message = format!("a signature is base64url without padding; {} came", shown(self.signature));
            Rejection::new(Code::MalformedSignature, message)
        })?;
        Ok(Jws { raw: self, tree, header, payload, signature })
    }
}

/// A decoded JWS whose signature nobody has checked yet.
#[derive(Clone, Debug)]
pub struct Jws<'a> {
    raw: RawJws<'a>,
    /// Header and payload; of an SD-JWT its disclosures too.
    pub(crate) tree: Tree,
    header: Place,
    pub(crate) payload: Place,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Rejection> {
        RawJws::split(text)?.decode()
    }

    pub fn text(&self) -> &'a str {
        self.raw.text
    }

    pub fn header(&self) -> Members<'_> {
        self.tree.members(self.header)
    }

    pub fn payload(&self) -> Members<'_> {
        self.tree.members(self.payload)
    }

    /// `header.payload` as received: what is signed, and what names a mandate.
    pub fn signing_input(&self) -> &'a str {
        self.raw.signing_input()
    }

    pub fn kid(&self) -> Option<&str> {
        self.header().get("kid").and_then(Json::as_str)
    }

    pub fn typ(&self) -> Option<&str> {
        self.header().get("typ").and_then(Json::as_str)
    }

    /// `alg` is ES256 and no extension must be understood. `jwk`, `jku` and `x5u` are not looked at: a token does not
    /// bring its own key.
    pub fn check_header(&self) -> Result<(), Rejection> {
        match self.header().get("alg") {
            Some(Json::String("ES256")) => {}
            other => {
                let came = other.map_or_else(|| "nothing".to_owned(), shown_value);
                return Err(Rejection::new(Code::AlgNotAllowed, format!("alg is ES256; {came} came")).at("alg"));
            }
        }
        match ["crit", "b64"].into_iter().find(|name| self.header().contains_key(name)) {
            None => Ok(()),
            Some(name) => {
                let message = format!("no header extension is understood here; `{name}` came");
                Err(Rejection::new(Code::HeaderNotAllowed, message).at(name))
            }
        }
    }

    pub fn verify(&self, key: &PublicKey) -> Result<(), Rejection> {
        self.verify_hash(&self.hashed(), key)
    }

    /// The hash of what is signed.
    pub(crate) fn hashed(&self) -> Hashed {
        Hashed::over(self.signing_input().as_bytes())
    }

    pub(crate) fn verify_hash(&self, hashed: &Hashed, key: &PublicKey) -> Result<(), Rejection> {
        key.verify_hash(hashed, &self.signature)
    }
}

/// A token that lacks only its signature: sign [`Unsigned::signing_input`] wherever the key lives, then
/// [`Unsigned::finish`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct Unsigned {
    before: String,
    signing_input: String,
    after: String,
}

impl Unsigned {
    pub(crate) fn new(header: &Object, payload: &Object) -> Self {
        Self::over(header, Value::Object(payload.clone()).to_string().as_bytes())
    }

    /// Over a payload whose bytes are already decided.
    pub fn over(header: &Object, payload: &[u8]) -> Self {
        let header = base64url::encode(Value::Object(header.clone()).to_string().as_bytes());
        let payload = base64url::encode(payload);
        Self { before: String::new(), signing_input: format!("{header}.{payload}"), after: String::new() }
    }

    pub(crate) fn between(mut self, before: String, after: String) -> Self {
        self.before = before;
        self.after = after;
        self
    }

    pub fn signing_input(&self) -> &[u8] {
        self.signing_input.as_bytes()
    }

    pub fn finish(self, signature: Signature) -> String {
        let Self { before, signing_input, after } = self;
        format!("{before}{signing_input}.{}{after}", base64url::encode(&signature))
    }
}
