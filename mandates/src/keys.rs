//! P-256 keys: strict JWKs in, ES256 checks out, thumbprints for names.
//!
//! Signing keys live outside (an HSM, the engine's key store): issuing hands out the bytes to sign and takes 64 bytes
//! back. [`LocalKey`] is the plain in-memory key that an adapter may put behind its port.

mod local;
mod set;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};

use crate::base64url;
use crate::digest::{Hashed, sha256};
use crate::json::{Json, Members, Object};
use crate::rejection::{Code, Rejection, shown, shown_value};
pub use local::LocalKey;
pub use set::KeySet;

/// 64 bytes, r then s (RFC 7518 section 3.4).
pub type Signature = [u8; 64];

/// The name of a key: `kid` of its JWK, or its RFC 7638 thumbprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A point on P-256, checked to be on the curve, and the name its JWK gave it.
#[derive(Clone)]
pub struct PublicKey(Arc<NamedPoint>);

#[derive(Clone)]
struct NamedPoint {
    x: [u8; 32],
    y: [u8; 32],
    key_id: Option<KeyId>,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    pub fn from_coordinates(x: [u8; 32], y: [u8; 32]) -> Result<Self, Rejection> {
        // As SubjectPublicKeyInfo: of a bare point aws-lc-rs checks twice that it is on the curve.
        let mut spki = [0; P256_SPKI.len() + 64];
        let parts = P256_SPKI.iter().chain(&x).chain(&y);
        spki.iter_mut().zip(parts).for_each(|(place, byte)| *place = *byte);
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, spki)
            .map_err(|_| Rejection::new(Code::KeyInvalid, "x and y are a point of P-256; these are not"))?;
        Ok(Self(Arc::new(NamedPoint { x, y, key_id: None, parsed })))
    }

    /// A public JWK as AP2's `types/jwk.json` has it: no member beyond the listed ones, and no private part.
    pub fn from_jwk<'t>(jwk: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let jwk = jwk.into();
        refuse_private(jwk)?;
        if let Some(name) = jwk.keys().find(|name| !JWK_MEMBERS.contains(name)) {
            let message = format!("a JWK here has {}; {} came", JWK_MEMBERS.join(", "), shown(name));
            return Err(Rejection::new(Code::KeyInvalid, message).at(name));
        }
        Self::from_public_jwk(jwk)
    }

    /// The same without the list of members: key sets of others carry more (RFC 7517 section 4 says to ignore it).
    pub(crate) fn from_published_jwk<'t>(jwk: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let jwk = jwk.into();
        refuse_private(jwk)?;
        Self::from_public_jwk(jwk)
    }

    fn from_public_jwk(jwk: Members<'_>) -> Result<Self, Rejection> {
        expect_member(jwk, "kty", "EC")?;
        expect_member(jwk, "crv", "P-256")?;
        for (name, wanted) in [("alg", "ES256"), ("use", "sig")] {
            match jwk.get(name) {
                None => {}
                Some(Json::String(value)) if value == wanted => {}
                Some(other) => {
                    let message = format!("{name} of a signing key is {wanted}; {} came", other.to_value());
                    return Err(Rejection::new(Code::KeyInvalid, message).at(name));
                }
            }
        }
        let key = Self::from_coordinates(coordinate(jwk, "x")?, coordinate(jwk, "y")?)?;
        match jwk.get("kid") {
            None => Ok(key),
            Some(Json::String(kid)) => Ok(key.named(KeyId::new(kid))),
            Some(other) => {
                let message = format!("kid is a string; {} came", other.kind());
                Err(Rejection::new(Code::KeyInvalid, message).at("kid"))
            }
        }
    }

    /// A `SubjectPublicKeyInfo` in DER (RFC 5480): DER has one spelling, so that of an uncompressed P-256 point is compared.
    pub fn from_spki(der: &[u8]) -> Result<Self, Rejection> {
        let not_p256 = || {
            let message =
                format!("a P-256 key in {} bytes of DER was expected; {} came", P256_SPKI.len() + 64, der.len());
            Rejection::new(Code::KeyNotP256, message)
        };
        let point = der.strip_prefix(P256_SPKI.as_slice()).ok_or_else(not_p256)?;
        let (x, y) = point.split_at_checked(32).ok_or_else(not_p256)?;
        let (Ok(x), Ok(y)) = (<[u8; 32]>::try_from(x), <[u8; 32]>::try_from(y)) else { return Err(not_p256()) };
        Self::from_coordinates(x, y)
    }

    /// A compressed point (SEC 1 section 2.3.3): 33 bytes, 2 or 3 first.
    pub fn from_compressed(point: &[u8]) -> Result<Self, Rejection> {
        let invalid = || {
            let message = format!("a compressed point of P-256 has 33 bytes; {} bytes that are none came", point.len());
            Rejection::new(Code::KeyInvalid, message)
        };
        if point.len() != 33 || !matches!(point.first(), Some(2 | 3)) {
            return Err(invalid());
        }
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| invalid())?;
        let der: PublicKeyX509Der<'_> = parsed.as_der().map_err(|_| invalid())?;
        Self::from_spki(der.as_ref()).map_err(|_| invalid())
    }

    #[must_use]
    pub fn named(mut self, key_id: KeyId) -> Self {
        Arc::make_mut(&mut self.0).key_id = Some(key_id);
        self
    }

    /// The name from the JWK, else the thumbprint.
    pub fn key_id(&self) -> KeyId {
        self.0.key_id.clone().unwrap_or_else(|| KeyId(self.thumbprint()))
    }

    /// RFC 7638: SHA-256 over the required members in lexical order, base64url.
    pub fn thumbprint(&self) -> String {
        let (x, y) = (base64url::encode(&self.0.x), base64url::encode(&self.0.y));
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        base64url::encode(&sha256(&[canonical.as_bytes()]))
    }

    pub fn coordinates(&self) -> ([u8; 32], [u8; 32]) {
        (self.0.x, self.0.y)
    }

    /// The public JWK; `kid` only where the key was given one.
    pub fn to_jwk(&self) -> Object {
        let mut jwk = Object::new();
        jwk.insert("kty".to_owned(), "EC".into());
        jwk.insert("crv".to_owned(), "P-256".into());
        jwk.insert("x".to_owned(), base64url::encode(&self.0.x).into());
        jwk.insert("y".to_owned(), base64url::encode(&self.0.y).into());
        if let Some(key_id) = &self.0.key_id {
            jwk.insert("kid".to_owned(), key_id.as_str().into());
        }
        jwk
    }

    /// ES256 over `message`. AP2 and RFC 7518 have no low-S rule, so `s` and `n - s` both pass: never use a signature,
    /// or a hash over one, as a name.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Rejection> {
        self.verify_hash(&Hashed::over(message), signature)
    }

    /// The same where what is signed was hashed already.
    pub(crate) fn verify_hash(&self, message: &Hashed, signature: &[u8]) -> Result<(), Rejection> {
        let Some((r, s)) = signature.split_first_chunk().and_then(|(r, s)| Some((r, <&[u8; 32]>::try_from(s).ok()?)))
        else {
            let message = format!("an ES256 signature has 64 bytes; this one has {}", signature.len());
            return Err(Rejection::new(Code::SignatureLength, message));
        };
        let hash = Digest::import_less_safe(&message.sha256(), &SHA256);
        hash.and_then(|hash| self.0.parsed.verify_digest_sig(&hash, &der(r, s))).map_err(|_| {
            let message = format!("the signature must verify with key {}; it does not", shown(self.key_id().as_str()));
            Rejection::new(Code::SignatureInvalid, message)
        })
    }
}

impl PartialEq for PublicKey {
    /// The same point, whatever it is called.
    fn eq(&self, other: &Self) -> bool {
        self.0.x == other.0.x && self.0.y == other.0.y
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

/// `ECDSA-Sig-Value` (RFC 3279 section 2.2.3). Of two numbers aws-lc-rs makes this too, by way of two allocated ones.
fn der(r: &[u8; 32], s: &[u8; 32]) -> Vec<u8> {
    // 72 at most: short form throughout.
    let mut der = Vec::with_capacity(72);
    der.extend([0x30, 0]);
    for number in [r, s] {
        let zeros = number.iter().take(31).take_while(|byte| **byte == 0).count();
        let digits = number.get(zeros..).unwrap_or_default();
        // What begins with a set bit would be negative.
        let sign = digits.first().filter(|byte| **byte >= 0x80).map(|_| 0);
        let length = digits.len().saturating_add(usize::from(sign.is_some()));
        der.extend([0x02, u8::try_from(length).unwrap_or_default()]);
        der.extend(sign);
        der.extend(digits);
    }
    let length = u8::try_from(der.len().saturating_sub(2)).unwrap_or_default();
    if let Some(place) = der.get_mut(1) {
        *place = length;
    }
    der
}

/// What stands before the coordinates: ecPublicKey on prime256v1, a bit string of 65 bytes, 4.
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

const JWK_MEMBERS: [&str; 12] =
    ["kty", "crv", "x", "y", "use", "key_ops", "alg", "kid", "x5u", "x5c", "x5t", "x5t#S256"];

fn refuse_private(jwk: Members<'_>) -> Result<(), Rejection> {
    match ["d", "p", "q", "k"].into_iter().find(|name| jwk.contains_key(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("a public key has no private member; `{name}` came");
            Err(Rejection::new(Code::KeyPrivate, message).at(name))
        }
    }
}

fn expect_member(jwk: Members<'_>, name: &str, wanted: &str) -> Result<(), Rejection> {
    match jwk.get(name) {
        Some(Json::String(value)) if value == wanted => Ok(()),
        came => {
            let came = came.map_or_else(|| "nothing".to_owned(), shown_value);
            Err(Rejection::new(Code::KeyNotP256, format!("{name} of a key is {wanted}; {came} came")).at(name))
        }
    }
}

/// 32 octets, so 43 characters (RFC 7518 section 6.2.1.2): a shorter spelling of a small number is refused.
fn coordinate(jwk: Members<'_>, name: &str) -> Result<[u8; 32], Rejection> {
    let invalid = |came: String| {
        Rejection::new(Code::KeyInvalid, format!("{name} is base64url of 32 bytes; {came} came")).at(name)
    };
    let text = match jwk.get(name) {
        Some(Json::String(text)) => text,
        Some(other) => return Err(invalid(other.kind().to_owned())),
        None => return Err(invalid("nothing".to_owned())),
    };
    let bytes = base64url::decode(text).ok_or_else(|| invalid(format!("{} characters", text.chars().count())))?;
    <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| invalid(format!("{} bytes", bytes.len())))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    /// The order of P-256 (SEC 2, section 2.4.2).
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];

    /// The library's verdict on `r` and `s` as JOSE writes them, without our spelling of them.
    fn library_takes(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let (x, y) = key.coordinates();
        let point = [&[4][..], &x, &y].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
    }

    #[test]
    fn numbers_out_of_range_sign_nothing() {
        let key = LocalKey::from_random(&[3; 32]).unwrap();
        let good = key.sign(b"message").unwrap();
        let (r, s) = good.split_at(32);
        let (zero, one, most) = ([0; 32], [&[0; 31][..], &[1]].concat(), [0xff; 32]);
        for number in [&zero[..], &one, &ORDER, &most] {
            for forged in [[number, s].concat(), [r, number].concat(), [number, number].concat()] {
                let refused = key.public().verify(b"message", &forged).unwrap_err();
                assert_eq!(refused.code, Code::SignatureInvalid, "{forged:02x?}");
                assert!(!library_takes(key.public(), b"message", &forged));
            }
        }
        for length in [0, 1, 32, 63, 65, 128] {
            let cut: Vec<u8> = good.iter().copied().cycle().take(length).collect();
            assert_eq!(key.public().verify(b"message", &cut).unwrap_err().code, Code::SignatureLength, "{length}");
        }
        assert!(key.public().verify(b"message!", &good).is_err());
        key.public().verify(b"message", &good).unwrap();
    }

    /// Short numbers and such whose first bit is set among them.
    #[test]
    fn a_signature_is_read_as_the_library_reads_it() {
        let key = LocalKey::from_random(&[4; 32]).unwrap();
        let (mut short, mut high) = (0, 0);
        for count in 0_u32.. {
            if count >= 500 && short > 0 && high > 0 {
                break;
            }
            let message = count.to_be_bytes();
            let good = key.sign(&message).unwrap();
            short += usize::from(good[0] == 0) + usize::from(good[32] == 0);
            high += usize::from(good[0] >= 0x80) + usize::from(good[32] >= 0x80);
            key.public().verify(&message, &good).unwrap_or_else(|refused| panic!("{good:02x?}: {refused}"));
            assert!(library_takes(key.public(), &message, &good));
            let mut changed = good;
            changed[usize::try_from(count % 64).unwrap()] ^= 1;
            assert!(key.public().verify(&message, &changed).is_err(), "{changed:02x?}");
        }
    }
}
