//! The hashes of SD-JWT (RFC 9901 section 4.1.1): over received ASCII, as base64url text.

use sha2::digest::Output;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::base64url;
use crate::json::{Json, Members};
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
    pub fn of(payload: Members<'_>) -> Result<Self, Rejection> {
        match payload.get("_sd_alg") {
            None => Ok(Self::Sha256),
            Some(Json::String(name)) => Self::named(name),
            Some(other) => Err(unsupported(other.kind())),
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
        match self {
            Self::Sha256 => base64url::encode(&over::<Sha256>(parts)),
            Self::Sha384 => base64url::encode(&over::<Sha384>(parts)),
            Self::Sha512 => base64url::encode(&over::<Sha512>(parts)),
        }
    }
}

/// SHA-256 so far: over what is signed, whose hash is verified, and with what stands behind it, which `sd_hash` names too.
#[derive(Clone)]
pub(crate) struct Hashed(Sha256);

impl Hashed {
    pub fn over(message: &[u8]) -> Self {
        Self(Sha256::new_with_prefix(message))
    }

    pub fn sha256(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }

    /// base64url of the hash over what was hashed and these behind it.
    pub fn followed_by(mut self, parts: &[&str]) -> String {
        parts.iter().for_each(|part| self.0.update(part));
        base64url::encode(&self.0.finalize())
    }
}

fn unsupported(came: &str) -> Rejection {
    let message = format!("_sd_alg is sha-256, sha-384 or sha-512; {came} came");
    Rejection::new(Code::SdAlgUnsupported, message).at("_sd_alg")
}

fn over<D: Digest>(parts: &[impl AsRef<[u8]>]) -> Output<D> {
    let mut digest = D::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// SHA-256 over several parts, for identities; the caller separates the parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    over::<Sha256>(parts).into()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;

    use super::*;

    /// The library that verifies signatures has the same hashes.
    #[test]
    fn parts_are_hashed_as_one_text() {
        for length in 0..300 {
            let text: String = ('!'..='~').cycle().take(length).collect();
            let (before, behind) = text.split_at(length / 3);
            for (ours, theirs) in [
                (HashAlgorithm::Sha256, &digest::SHA256),
                (HashAlgorithm::Sha384, &digest::SHA384),
                (HashAlgorithm::Sha512, &digest::SHA512),
            ] {
                let wanted = base64url::encode(digest::digest(theirs, text.as_bytes()).as_ref());
                assert_eq!(ours.digest_text(&text), wanted, "{text}");
                assert_eq!(ours.digest_parts(&[before, behind, ""]), wanted, "{text}");
            }
            let wanted = digest::digest(&digest::SHA256, text.as_bytes());
            assert_eq!(sha256(&[before.as_bytes(), behind.as_bytes()]), wanted.as_ref(), "{text}");
        }
    }
}
