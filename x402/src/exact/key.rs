//! A wallet's key.

use std::fmt;

use alloy_primitives::{Address, B256};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};

use super::authorization::EvmSignature;

/// A secp256k1 key, of a wallet or of an account that sends transactions. Shows its address and nothing else; the scalar is
/// wiped when it is dropped.
#[derive(Clone)]
pub struct WalletKey {
    secret: SecretKey,
    public: PublicKey,
}

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
        let secret = SecretKey::from_byte_array(*bytes).map_err(|_| KeyError::Malformed)?;
        Ok(Self { secret, public: secret.public_key(SECP256K1) })
    }

    /// `0x` may be left out.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).map_err(|_| KeyError::Malformed)?;
        Self::from_bytes(&bytes)
    }

    pub fn address(&self) -> Address {
        let (x, y) = self.public_point();
        Address::from_raw_public_key(&[x, y].concat())
    }

    /// The public point, for a key's name (RFC 7638 over a secp256k1 JWK, RFC 8812).
    pub fn public_point(&self) -> ([u8; 32], [u8; 32]) {
        // SEC 1, section 2.3.3: 0x04, x, y.
        let [_, point @ ..] = self.public.serialize_uncompressed();
        let (mut x, mut y) = ([0; 32], [0; 32]);
        let (first, second) = point.split_at(32);
        x.copy_from_slice(first);
        y.copy_from_slice(second);
        (x, y)
    }

    /// Signs a digest, deterministically (RFC 6979): the same digest has the same signature for ever.
    /// Callers sign [`crate::select::Unsigned`], which comes from a frozen offer, or a transaction of their own; a bare
    /// digest is for tests of peers.
    pub fn sign(&self, digest: B256) -> Result<EvmSignature, KeyError> {
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.secret);
        let (recovery, scalars) = signature.serialize_compact();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&scalars);
        bytes[64] = u8::try_from(i32::from(recovery)).map_err(|_| KeyError::Signing)?;
        EvmSignature::new(&bytes).map_err(|_| KeyError::Signing)
    }
}

impl Drop for WalletKey {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

impl fmt::Debug for WalletKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalletKey({})", self.address())
    }
}
