//! The delegate SD-JWT chain on the wire: segments joined by `~~` (draft-delegate-sd-jwt; AP2 v0.2).
//!
//! `chain := segment_0 ~~ … ~~ segment_n ~`, each segment an SD-JWT minus its final `~`. This module splits and binds;
//! the order of the checks is in [`crate::verify`].

use crate::base64url;
use crate::digest::{HashAlgorithm, Hashed, sha256};
use crate::json::{Json, Members};
use crate::keys::PublicKey;
use crate::limits::{DISCLOSURES_MAX, SEGMENTS_MAX, TOKEN_BYTES_MAX};
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::sd_jwt::{Delegate, RawSdJwt, Resolved, SdJwt};
use crate::verify::Presentation;

/// Root types that name key-bound hops: such a token starts no chain.
const HOP_TYPES: [&str; 5] = ["kb+sd-jwt", "kb-sd-jwt", "kb+sd-jwt+kb", "kb-sd-jwt+kb", "kb+jwt"];
const MIDDLE_TYPES: [&str; 2] = ["kb+sd-jwt+kb", "kb-sd-jwt+kb"];
const LEAF_TYPES: [&str; 2] = ["kb+sd-jwt", "kb-sd-jwt"];

/// Splits a presented token into its segments; nothing is decoded.
pub fn split(presented: &str) -> Result<Vec<RawSdJwt<'_>>, Rejection> {
    if presented.len() > TOKEN_BYTES_MAX {
        let message = format!("a token has at most {TOKEN_BYTES_MAX} bytes; this one has {}", presented.len());
        return Err(Rejection::new(Code::TokenTooLarge, message));
    }
    // All at once first, which is one pass of wide instructions.
    if !presented.as_bytes().iter().fold(true, |graphic, byte| graphic & byte.is_ascii_graphic())
        && let Some(found) = presented.chars().find(|c| !c.is_ascii_graphic())
    {
        return Err(Rejection::new(Code::TokenNotAscii, format!("a token is printable ASCII; {found:?} came")));
    }
    let Some(text) = presented.strip_suffix('~') else {
        let message = "a chain ends with `~`; this one has a key-binding JWT after it, or lacks it";
        return Err(Rejection::new(Code::FinalTildeMissing, message));
    };
    let mut segments = Vec::new();
    let mut disclosures = 0_usize;
    for part in parts(text) {
        if segments.len() >= SEGMENTS_MAX {
            let message = format!("a chain has at most {SEGMENTS_MAX} segments; more came");
            return Err(Rejection::new(Code::TooManySegments, message));
        }
        let segment = RawSdJwt::split(part)?;
        disclosures = disclosures.saturating_add(segment.disclosure_count());
        if disclosures > DISCLOSURES_MAX {
            let message = format!(
                "a chain has at most {DISCLOSURES_MAX} disclosures; {disclosures} came by segment {}",
                segments.len()
            );
            return Err(Rejection::new(Code::TooManyDisclosures, message));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// `text` between its `~~`, from the left: searched by the single byte, which is several times faster.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(text);
    std::iter::from_fn(move || {
        let text = left.take()?;
        let double = text.match_indices('~').find(|(at, _)| text.as_bytes().get(at.saturating_add(1)) == Some(&b'~'));
        let Some((before, behind)) = double.and_then(|(at, _)| text.split_at_checked(at)) else { return Some(text) };
        left = behind.strip_prefix("~~");
        Some(before)
    })
}

/// The `typ` of a root. AP2 and its SDK leave it open; only a hop's type is refused.
pub(crate) fn check_root_type(root: &SdJwt<'_>) -> Result<(), Rejection> {
    match root.jwt.header().get("typ") {
        None => Ok(()),
        // Media types are case-insensitive and `application/` may be spelled out (RFC 7515 section 4.1.9).
        Some(Json::String(typ))
            if !HOP_TYPES.contains(&typ.to_ascii_lowercase().trim_start_matches("application/")) =>
        {
            Ok(())
        }
        Some(other) => {
            let message = format!("a root is no key-bound hop; its typ is {}", shown_value(other));
            Err(Rejection::new(Code::TypWrong, message).at("typ"))
        }
    }
}

pub(crate) fn check_hop_type(hop: &SdJwt<'_>, position: Position) -> Result<(), Rejection> {
    let wanted = match position {
        Position::Middle => MIDDLE_TYPES,
        Position::Leaf => LEAF_TYPES,
    };
    match hop.jwt.header().get("typ") {
        Some(Json::String(typ)) if wanted.contains(&typ) => Ok(()),
        other => {
            let came = other.map_or_else(|| "nothing".to_owned(), shown_value);
            let message = format!("typ here is {}; {came} came", wanted.join(" or "));
            Err(Rejection::new(Code::TypWrong, message).at("typ"))
        }
    }
}

/// Where a hop stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Hands authority on: carries an open mandate and the next key.
    Middle,
    /// Ends the chain: carries the closed mandate.
    Leaf,
}

/// The segment that a hop is bound to, and the hash algorithm that it names.
pub(crate) struct Previous<'a> {
    pub segment: RawSdJwt<'a>,
    pub algorithm: HashAlgorithm,
    /// Where its signature was verified just now.
    pub signed: Option<Hashed>,
}

impl Previous<'_> {
    fn sd_hash(&self) -> String {
        match &self.signed {
            Some(signed) if self.algorithm == HashAlgorithm::Sha256 => self.segment.sd_hash_behind(signed.clone()),
            _ => self.segment.sd_hash_by(self.algorithm),
        }
    }
}

/// `sd_hash` or `issuer_jwt_hash`, exactly one, equal to the previous segment's; the leaf is bound by `sd_hash`, so that
/// nobody can show another selection of what was delegated (AP2 security considerations).
pub(crate) fn check_binding(hop: &SdJwt<'_>, previous: &Previous<'_>, position: Position) -> Result<(), Rejection> {
    let claim = |name: &str| hop.jwt.payload().get(name);
    let (name, value, actual, mismatch) = match (claim("sd_hash"), claim("issuer_jwt_hash")) {
        (Some(value), None) => ("sd_hash", value, previous.sd_hash(), Code::SdHashMismatch),
        (None, Some(value)) => {
            let actual = previous.segment.issuer_jwt_hash_by(previous.algorithm);
            ("issuer_jwt_hash", value, actual, Code::IssuerJwtHashMismatch)
        }
        (None, None) => return Err(binding_count("none")),
        (Some(_), Some(_)) => return Err(binding_count("both")),
    };
    if position == Position::Leaf && name != "sd_hash" {
        let message = "a closed mandate is bound by sd_hash; issuer_jwt_hash came";
        return Err(Rejection::new(Code::ClosedNeedsSdHash, message).at(name));
    }
    if value.as_str() != Some(actual.as_str()) {
        let message = format!("{name} is {actual}, the hash of the segment before; {} came", shown_value(value));
        return Err(Rejection::new(mismatch, message).at(name));
    }
    Ok(())
}

fn binding_count(came: &str) -> Rejection {
    Rejection::new(Code::BindingCount, format!("a hop has exactly one of sd_hash and issuer_jwt_hash; {came} came"))
}

/// The one delegate payload that this verifier may see.
pub(crate) fn single_delegate(resolved: &Resolved) -> Result<(&Delegate, Members<'_>), Rejection> {
    match resolved.delegates.as_deref().unwrap_or_default() {
        [delegate] => match resolved.value(delegate) {
            Json::Object(members) => Ok((delegate, members)),
            other => Err(wrong_delegates(other.kind())),
        },
        several => Err(wrong_delegates(&several.len().to_string())),
    }
}

pub(crate) fn wrong_delegates(came: &str) -> Rejection {
    let message = format!("exactly one delegate payload, an object, is disclosed; {came} came");
    Rejection::new(Code::DelegatePayloadCount, message).at("delegate_payload")
}

/// The key in `cnf.jwk` (RFC 7800 section 3.2).
pub(crate) fn confirmation_key(claims: Members<'_>) -> Result<PublicKey, Rejection> {
    match claims.get("cnf") {
        None => Err(Rejection::new(Code::CnfMissing, "a delegated key in cnf was expected; none came").at("cnf")),
        Some(Json::Object(cnf)) => match cnf.get("jwk") {
            Some(Json::Object(jwk)) => PublicKey::from_jwk(jwk),
            _ => {
                let names = cnf.keys().map(shown).collect::<Vec<_>>().join(", ");
                Err(Rejection::new(Code::CnfMissing, format!("cnf carries a jwk; it has {names}")).at("cnf.jwk"))
            }
        },
        Some(other) => {
            Err(Rejection::new(Code::CnfMissing, format!("cnf is an object; {} came", other.kind())).at("cnf"))
        }
    }
}

/// The name of a mandate that no third party can change.
///
/// SHA-256 over these bytes, in this order:
/// 1. the ASCII text `purser/mandate-identity/v1` and one zero byte;
/// 2. the signing input of the mandate's own segment as received: `BASE64URL(header) "." BASE64URL(payload)`;
/// 3. one `~`;
/// 4. the digest of its delegate-payload disclosure as the signed payload spells it; nothing where the delegate payload
///    stands there in the clear.
///
/// The signature is left out because `s` and `n - s` both verify; the other disclosures are left out because a holder may
/// withhold them. Neither may give a spent mandate a new name (`~` occurs in neither part, so the bytes are unambiguous).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MandateId([u8; 32]);

impl MandateId {
    pub(crate) fn of(signing_input: &str, digest: Option<&str>) -> Self {
        let digest = digest.unwrap_or_default();
        Self(sha256(&[IDENTITY_TAG, signing_input.as_bytes(), b"~", digest.as_bytes()]))
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

const IDENTITY_TAG: &[u8] = b"purser/mandate-identity/v1\0";

impl std::fmt::Display for MandateId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::base64url::encode(&self.0))
    }
}

impl std::fmt::Debug for MandateId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MandateId({self})")
    }
}

/// The two spellings of "the hash of an open checkout mandate" that a `payment.reference` may carry.
///
/// AP2 does not say which bytes; the samples hash the segment with all its disclosures, which changes when the agent
/// withholds one, so the hash of the JWT alone is taken as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceHashes {
    pub sd_hash: String,
    pub issuer_jwt_hash: String,
}

/// The reference hashes of the last segment of a presented chain (for an open checkout handed over on its own: the
/// mandate's segment).
pub fn reference_hashes(presented: &str) -> Result<ReferenceHashes, Rejection> {
    let segments = split(presented)?;
    let Some(last) = segments.last() else {
        return Err(Rejection::new(Code::MalformedJwt, "a chain has a segment; this one has none"));
    };
    let last = last.decode()?;
    Ok(ReferenceHashes { sd_hash: last.sd_hash()?, issuer_jwt_hash: last.issuer_jwt_hash()? })
}

/// The order of P-256 (SEC 2, section 2.4.2), big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Both reference hashes of the last segment, under both spellings of its signature: `s` and `n - s` verify alike (FIPS 186-5
/// section 6.4), so whoever hands a chain on can choose which of the two its verifier hashes. All name what one key signed.
///
/// # Errors
/// As for [`reference_hashes`], and where the signature is not that of a P-256 key.
pub fn reference_spellings(presented: &str) -> Result<Vec<String>, Rejection> {
    let segments = split(presented)?;
    let text = segments.last().map_or("", RawSdJwt::text);
    let (jwt, disclosures) = text.split_at(text.find('~').unwrap_or(text.len()));
    let malformed = || Rejection::new(Code::MalformedSignature, "a signature of 64 bytes with s below n was expected");
    let (signed, signature) = jwt.rsplit_once('.').ok_or_else(malformed)?;
    let bytes = base64url::decode(signature).ok_or_else(malformed)?;
    let (r, s) = bytes.split_at_checked(32).filter(|(_, s)| s.len() == ORDER.len()).ok_or_else(malformed)?;
    let (mut difference, mut borrow) = (Vec::with_capacity(bytes.len()), false);
    for (n, s) in ORDER.iter().zip(s).rev() {
        let (less, first) = n.overflowing_sub(*s);
        let (less, second) = less.overflowing_sub(u8::from(borrow));
        borrow = first || second;
        difference.push(less);
    }
    if borrow {
        return Err(malformed());
    }
    difference.extend(r.iter().rev());
    difference.reverse();
    let other = format!("{signed}.{}{disclosures}", base64url::encode(&difference));
    let mut known = Vec::new();
    for text in [text, &other] {
        let segment = RawSdJwt::split(text)?.decode()?;
        known.extend([segment.sd_hash()?, segment.issuer_jwt_hash()?]);
    }
    Ok(known)
}

/// What a presented chain calls itself: nobody's signature was looked at, so it may be asked under which names something was
/// done before, and nothing may be done on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The mandate that the leaf was closed under; the leaf itself where there is none.
    pub under: MandateId,
    pub leaf: MandateId,
    pub audience: String,
    pub nonce: String,
}

/// The names in a chain that ends with a closed mandate and says whom it is for.
///
/// # Errors
/// As for [`split`], and where a segment is no SD-JWT with one delegate payload, or the last one lacks `iat`, `aud` or
/// `nonce`.
pub fn claimed(presented: &str) -> Result<Claimed, Rejection> {
    let mut named = Vec::new();
    let mut last = None;
    for raw in split(presented)? {
        let segment = raw.decode()?;
        let signed = segment.jwt.signing_input();
        let resolved = segment.into_resolved()?;
        // A user credential is a root without a mandate of its own.
        if resolved.delegates.is_some() {
            let (delegate, _) = single_delegate(&resolved)?;
            named.push(MandateId::of(signed, resolved.digest(delegate)));
        }
        last = Some(resolved);
    }
    let last = last.ok_or_else(|| wrong_delegates("0"))?;
    let Presentation { audience, nonce, .. } = Presentation::read(last.claims())?;
    let leaf = named.pop().ok_or_else(|| wrong_delegates("0"))?;
    Ok(Claimed { under: named.pop().unwrap_or(leaf), leaf, audience, nonce })
}
