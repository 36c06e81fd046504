//! The hashes of SD-JWT (RFC 9901 section 4.1.1): over received ASCII, as base64url text.

use aws_lc_rs::digest;
use serde_json::Value;

use crate::base64url;
use crate::json::{Object, kind};
use crate::rejection::{Code, Rejection, shown};

/// `_sd_alg`. RFC 9901 obliges to sha-256; the other two are taken because honest issuers may use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashAlgorithm {
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    /// The `_sd_alg` of a payload; sha-256 where it is absent.
    pub fn of(payload: &Object) -> Result<Self, Rejection> {
        match payload.get("_sd_alg") {
            None => Ok(Self::Sha256),
            Some(Value::String(name)) => Self::named(name),
            Some(other) => Err(unsupported(kind(other))),
        }
    }

    fn named(name: &str) -> Result<Self, Rejection> {
        match name {
            "sha-256" => Ok(Self::Sha256),
            "sha-384" => Ok(Self::Sha384),
            "sha-512" => Ok(Self::Sha512),
            other => Err(unsupported(&shown(other))),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// base64url of the hash over the ASCII bytes of `text`.
    pub fn digest_text(self, text: &str) -> String {
        self.digest_parts(&[text])
    }

    /// The same over several texts as if they stood one after the other.
    pub(crate) fn digest_parts(self, parts: &[&str]) -> String {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        let mut context = digest::Context::new(algorithm);
        parts.iter().for_each(|part| context.update(part.as_bytes()));
        base64url::encode(context.finish().as_ref())
    }
}

fn unsupported(came: &str) -> Rejection {
    let message = format!("_sd_alg is sha-256, sha-384 or sha-512; {came} came");
    Rejection::new(Code::SdAlgUnsupported, message).at("_sd_alg")
}

/// SHA-256 over several parts, for identities; the caller separates the parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0_u8; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}
