//! A key that signs.

use std::fmt;

use aws_lc_rs::agreement;
use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use super::{KeyId, PublicKey, Signature, coordinate};
use crate::json::Object;
use crate::rejection::{Code, Rejection};

/// A signing key in this process's memory. ECDSA's per-signature secret comes from aws-lc's own generator: the one place
/// of the crate that is not a pure function of its arguments.
pub struct LocalKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl LocalKey {
    /// From 32 random bytes; about one in 2^32 is no scalar of P-256 and is refused, so draw again.
    pub fn from_random(bytes: &[u8; 32]) -> Result<Self, Rejection> {
        let refused = |_| Rejection::new(Code::KeyInvalid, "a private key is a scalar of P-256; these bytes are not");
        let scalar = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, bytes).map_err(|_| refused(()))?;
        let point = scalar.compute_public_key().map_err(|_| refused(()))?;
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes, point.as_ref())
                .map_err(|_| refused(()))?;
        Self::from_pair(pair)
    }

    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Rejection> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| Rejection::new(Code::KeyInvalid, "a PKCS #8 P-256 key was expected; something else came"))?;
        Self::from_pair(pair)
    }

    /// A private JWK; its `x` and `y` must belong to its `d`.
    pub fn from_jwk(jwk: &Object) -> Result<Self, Rejection> {
        let key = Self::from_random(&coordinate(jwk.into(), "d")?)?;
        let mut public = jwk.clone();
        public.remove("d");
        let public = PublicKey::from_jwk(&public)?;
        if public != key.public {
            return Err(Rejection::new(Code::KeyInvalid, "x and y belong to d; they are another key's").at("d"));
        }
        Ok(Self { public, ..key })
    }

    fn from_pair(pair: EcdsaKeyPair) -> Result<Self, Rejection> {
        let invalid = || Rejection::new(Code::KeyInvalid, "a P-256 point has 65 bytes; this one has not");
        let point = pair.public_key().as_ref().to_vec();
        let x = point.get(1..33).and_then(|x| <[u8; 32]>::try_from(x).ok()).ok_or_else(invalid)?;
        let y = point.get(33..65).and_then(|y| <[u8; 32]>::try_from(y).ok()).ok_or_else(invalid)?;
        let public = PublicKey::from_coordinates(x, y)?;
        Ok(Self { pair, public })
    }

    #[must_use]
    pub fn named(mut self, key_id: KeyId) -> Self {
        self.public = self.public.named(key_id);
        self
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub fn key_id(&self) -> KeyId {
        self.public.key_id()
    }

    pub fn sign(&self, message: &[u8]) -> Result<Signature, Rejection> {
        let refused = || Rejection::new(Code::KeyInvalid, "ES256 gives 64 bytes; the library refused to sign");
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| refused())?;
        Signature::try_from(signature.as_ref()).map_err(|_| refused())
    }

    /// The private scalar, for sealing. The caller answers for what becomes of it.
    pub fn expose_scalar(&self) -> Result<[u8; 32], Rejection> {
        let refused = || Rejection::new(Code::KeyInvalid, "a P-256 scalar has 32 bytes; the library gave none");
        let scalar = self.pair.private_key().as_be_bytes().map_err(|_| refused())?;
        <[u8; 32]>::try_from(scalar.as_ref()).map_err(|_| refused())
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({})", self.key_id())
    }
}
