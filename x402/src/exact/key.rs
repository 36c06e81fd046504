//! A wallet's key.

use std::fmt;

use alloy_primitives::{Address, B256};
use k256::ecdsa::SigningKey;

use super::authorization::EvmSignature;

/// A secp256k1 key. Shows its address and nothing else; the scalar is wiped when dropped (`k256`).
#[derive(Clone)]
pub struct WalletKey(SigningKey);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Says nothing of what came: it may be most of a key.
    #[error("a key is 32 bytes, in text `0x` and 64 hexadecimal digits, and no key has that value")]
    Malformed,
    #[error("the key could not sign")]
    Signing,
}

impl KeyError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed_wallet_key",
            Self::Signing => "wallet_key_signing",
        }
    }
}

impl WalletKey {
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        SigningKey::from_slice(bytes).map(Self).map_err(|_| KeyError::Malformed)
    }

    /// `0x` may be left out.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).map_err(|_| KeyError::Malformed)?;
        Self::from_bytes(&bytes)
    }

    pub fn address(&self) -> Address {
        Address::from_private_key(&self.0)
    }

    /// The public point, for a key's name (RFC 7638 over a secp256k1 JWK, RFC 8812).
    pub fn public_point(&self) -> Option<([u8; 32], [u8; 32])> {
        let point = self.0.verifying_key().to_encoded_point(false);
        Some(((*point.x()?).into(), (*point.y()?).into()))
    }

    /// Signs a digest, deterministically (RFC 6979): the same digest has the same signature for ever.
    /// Callers sign [`crate::select::Unsigned`], which comes from a frozen offer; a bare digest is for tests of peers.
    pub fn sign(&self, digest: B256) -> Result<EvmSignature, KeyError> {
        let (signature, recovery) =
            self.0.sign_prehash_recoverable(digest.as_slice()).map_err(|_| KeyError::Signing)?;
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = recovery.to_byte();
        EvmSignature::new(&bytes).map_err(|_| KeyError::Signing)
    }
}

impl fmt::Debug for WalletKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalletKey({})", self.address())
    }
}
