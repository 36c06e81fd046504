//! The one secret that the operator keeps.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{KeyError, random_bytes};

#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

impl MasterKey {
    pub fn random() -> Result<Self, KeyError> {
        Ok(Self(Zeroizing::new(random_bytes()?)))
    }

    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let bytes = hex::decode(text).ok().map(Zeroizing::new);
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        bytes.map(|bytes| Self(Zeroizing::new(bytes))).ok_or(KeyError::MasterKey(text.chars().count()))
    }

    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_slice())
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A public name: 64 bits of a MAC, so that it says which key was used and nothing about it.
    pub fn id(&self) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else { return String::new() };
        mac.update(b"purser/master-key-id/1");
        hex::encode(mac.finalize().into_bytes().get(..8).unwrap_or_default())
    }
}
