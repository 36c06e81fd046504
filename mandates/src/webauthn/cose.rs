//! Public keys as authenticators write them: COSE_Key (RFC 9052 section 7, RFC 9053 section 7, RFC 8230 section 4).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use minicbor::data::Type;
use minicbor::decode::Decoder;

use super::data::{broken, members};
use super::{PasskeyCode, Refused};

const KEY_MEMBERS_MAX: u64 = 16;
const KTY: i64 = 1;
const ALG: i64 = 3;
/// `crv` of EC2 and OKP, `n` of RSA.
const CRV_OR_N: i64 = -1;
/// `x` of EC2 and OKP, `e` of RSA.
const X_OR_E: i64 = -2;
const Y: i64 = -3;
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
const EXPONENT_BYTES: std::ops::RangeInclusive<usize> = 1..=8;

/// The algorithms that registrations ask for, best first (IANA COSE Algorithms).
pub const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

#[derive(Clone)]
enum Kind {
    Es256(ParsedPublicKey),
    EdDsa(ParsedPublicKey),
    Rs256 { n: Vec<u8>, e: Vec<u8> },
}

/// A key of an authenticator, whose bytes were understood whole.
#[derive(Clone)]
pub struct PasskeyKey {
    cose: Vec<u8>,
    kind: Kind,
}

impl fmt::Debug for PasskeyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasskeyKey({})", crate::base64url::encode(&self.cose))
    }
}

#[derive(Default)]
struct Members<'a> {
    kty: Option<i64>,
    alg: Option<i64>,
    crv: Option<i64>,
    n: Option<&'a [u8]>,
    x_or_e: Option<&'a [u8]>,
    y: Option<&'a [u8]>,
}

impl PasskeyKey {
    pub fn from_cose(bytes: &[u8]) -> Result<Self, Refused> {
        let found = Members::read(bytes)?;
        let unsupported = || {
            let detail = format!(
                "a key for ES256 on P-256, EdDSA on Ed25519 or RS256 was expected, kty {:?} with alg {:?} came",
                found.kty, found.alg
            );
            Refused::new(PasskeyCode::KeyUnsupported, detail)
        };
        let kind = match (found.kty, found.alg, found.crv) {
            (Some(2), Some(ES256), Some(1)) => {
                let (Some(x), Some(y)) = (found.x_or_e, found.y) else { return Err(unsupported()) };
                if x.len() != 32 || y.len() != 32 {
                    return Err(unsupported());
                }
                let point = [&[4], x, y].concat();
                Kind::Es256(ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| unsupported())?)
            }
            (Some(1), Some(EDDSA), Some(6)) => {
                let x = found.x_or_e.filter(|x| x.len() == 32).ok_or_else(unsupported)?;
                Kind::EdDsa(ParsedPublicKey::new(&ED25519, x).map_err(|_| unsupported())?)
            }
            (Some(3), Some(RS256), None) => {
                let (Some(n), Some(e)) = (found.n, found.x_or_e) else { return Err(unsupported()) };
                if !MODULUS_BYTES.contains(&n.len()) || !EXPONENT_BYTES.contains(&e.len()) {
                    return Err(unsupported());
                }
                Kind::Rs256 { n: n.to_vec(), e: e.to_vec() }
            }
            _ => return Err(unsupported()),
        };
        Ok(Self { cose: bytes.to_vec(), kind })
    }

    /// As it came.
    pub fn as_cose(&self) -> &[u8] {
        &self.cose
    }

    /// ECDSA signatures are in DER here (section 6.5.5), not fixed as in JOSE.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), Refused> {
        let verified = match &self.kind {
            Kind::Es256(key) | Kind::EdDsa(key) => key.verify_sig(signed, signature),
            Kind::Rs256 { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
        };
        verified.map_err(|_| {
            let detail = "a signature by the registered key over exactly this was expected, another came";
            Refused::new(PasskeyCode::SignatureInvalid, detail)
        })
    }
}

impl<'a> Members<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Refused> {
        let mut decoder = Decoder::new(bytes);
        let mut found = Self::default();
        let mut seen = Vec::new();
        for _ in 0..members(&mut decoder, KEY_MEMBERS_MAX)? {
            let label = decoder.i64().map_err(broken)?;
            if seen.contains(&label) {
                return Err(Refused::malformed(format!("a key with one member {label} was expected, two came")));
            }
            seen.push(label);
            let is_bytes = decoder.datatype().map_err(broken)? == Type::Bytes;
            match label {
                KTY => found.kty = Some(decoder.i64().map_err(broken)?),
                ALG => found.alg = Some(decoder.i64().map_err(broken)?),
                CRV_OR_N if is_bytes => found.n = Some(decoder.bytes().map_err(broken)?),
                CRV_OR_N => found.crv = Some(decoder.i64().map_err(broken)?),
                X_OR_E => found.x_or_e = Some(decoder.bytes().map_err(broken)?),
                Y => found.y = Some(decoder.bytes().map_err(broken)?),
                _ => decoder.skip().map_err(broken)?,
            }
        }
        if decoder.position() != bytes.len() {
            return Err(Refused::malformed("a key was expected, more came after it"));
        }
        Ok(found)
    }
}
