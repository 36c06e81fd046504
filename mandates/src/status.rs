//! Status lists (IETF Token Status List, draft-ietf-oauth-status-list): whether a mandate still stands, for whoever cannot
//! ask its issuer. A list is an array of 1, 2, 4 or 8 bits a mandate, counted from the least significant bit of the first
//! byte on, compressed as zlib (RFC 1950), inside a signed JWT of type `statuslist+jwt`; a mandate says its place in it by
//! `status.status_list` `{idx, uri}`.
//!
//! Reading is fail closed: a list that is expired, for another address, signed by another key, shorter than the index, or
//! longer than [`STATUS_BYTES_MAX`] when it is inflated says nothing good of any mandate. Fetching is not done here.

use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
use serde_json::Value;

use crate::clock::{self, Clock};
use crate::json::{Json, Members, Object};
use crate::jws::{Jws, Unsigned};
use crate::keys::{KeyId, KeySet};
use crate::limits::{
    STATUS_AGE_SECONDS_MAX, STATUS_BYTES_MAX, STATUS_KEPT_SECONDS_MAX, STATUS_TTL_SECONDS, TOKEN_BYTES_MAX,
};
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::trust::{Named, Roots, Scope};
use crate::{base64url, chain, schema};

const TYPE: &str = "statuslist+jwt";
/// Highest of miniz; lists are long runs of nought.
const LEVEL: u8 = 9;

/// Status types 0, 1 and 2 (section 7.1). Any other value is refused where it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Valid,
    /// For ever.
    Invalid,
    /// For now.
    Suspended,
}

impl Status {
    const fn value(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Suspended => 2,
        }
    }
}

/// Where the status of one token stands (section 6.1): `{"status": {"status_list": {idx, uri}}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub index: u64,
    pub uri: String,
}

impl Place {
    /// Of a payload, where it says one. Another mechanism in `status` is not understood and so refused.
    pub fn of<'t>(payload: impl Into<Members<'t>>) -> Result<Option<Self>, Rejection> {
        let Some(status) = payload.into().get("status") else { return Ok(None) };
        let list = status.get("status_list").and_then(Json::as_object).ok_or_else(|| {
            let message = format!("status has a status_list {{idx, uri}}; {} came", shown_value(status));
            Rejection::new(Code::StatusUnreadable, message).at("status")
        })?;
        Ok(Some(Self { index: schema::count(list, "idx")?, uri: schema::text(list, "uri")? }))
    }

    /// The value of the `status` claim.
    pub fn claim(&self) -> Value {
        serde_json::json!({ "status_list": { "idx": self.index, "uri": self.uri } })
    }
}

/// Statuses of two bits each, as they are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    bits: u8,
    bytes: Vec<u8>,
}

impl List {
    /// As many entries, all valid, rounded up to a whole byte.
    pub fn of_valid(entries: usize) -> Self {
        Self { bits: 2, bytes: vec![0; entries.div_ceil(4)] }
    }

    /// An index beyond the list is left out.
    pub fn set(&mut self, index: usize, status: Status) {
        let shift = (index & 3) << 1;
        if let Some(byte) = self.bytes.get_mut(index >> 2) {
            *byte = (*byte & !(3 << shift)) | (status.value() << shift);
        }
    }

    /// Base64url of the zlib stream.
    fn packed(&self) -> String {
        base64url::encode(&compress_to_vec_zlib(&self.bytes, LEVEL))
    }

    fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let refused = |message: String| Rejection::new(Code::StatusUnreadable, message).at("status_list");
        let list = schema::object(claims, "status_list")?;
        let bits = schema::count(list, "bits")?;
        let bits = u8::try_from(bits).ok().filter(|bits| matches!(bits, 1 | 2 | 4 | 8));
        let bits = bits.ok_or_else(|| refused("a status has 1, 2, 4 or 8 bits; another number came".to_owned()))?;
        let packed = match list.get("lst") {
            Some(Json::String(text)) => base64url::decode(text),
            _ => None,
        };
        let packed = packed.ok_or_else(|| refused("lst is base64url without padding; it is not".to_owned()))?;
        match decompress_to_vec_zlib_with_limit(&packed, STATUS_BYTES_MAX) {
            Ok(bytes) => Ok(Self { bits, bytes }),
            Err(error) if error.status == TINFLStatus::HasMoreOutput => {
                Err(refused(format!("a list has at most {STATUS_BYTES_MAX} bytes; more came out of {}", packed.len())))
            }
            Err(error) => Err(refused(format!("lst is a zlib stream; {:?} came of it", error.status))),
        }
    }

    /// The status at an index, which must lie in the list.
    pub fn status(&self, index: u64) -> Result<Status, Rejection> {
        let each = u64::from(8 / self.bits);
        let entries = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX).saturating_mul(each);
        let byte = usize::try_from(index / each).ok().and_then(|at| self.bytes.get(at));
        let byte = byte.ok_or_else(|| {
            let message = format!("the list has {entries} entries; entry {index} was asked for");
            Rejection::new(Code::StatusUnreadable, message).at("idx")
        })?;
        let shift = u32::try_from(index % each).unwrap_or(0).saturating_mul(u32::from(self.bits));
        let mask = u8::MAX >> (8 - self.bits);
        match byte.checked_shr(shift).unwrap_or(0) & mask {
            0 => Ok(Status::Valid),
            1 => Ok(Status::Invalid),
            2 => Ok(Status::Suspended),
            other => {
                let message = format!("a status is 0 (valid), 1 (invalid) or 2 (suspended); {other} came");
                Err(Rejection::new(Code::StatusUnreadable, message).at("status_list"))
            }
        }
    }
}

/// The places that the segments of a presented chain name, from the root outwards. Whoever relies on the chain verifies it
/// first, and then looks at each.
pub fn places(presented: &str) -> Result<Vec<Place>, Rejection> {
    let mut places = Vec::new();
    for segment in chain::split(presented)? {
        places.extend(Place::of(segment.decode()?.jwt.payload())?);
    }
    Ok(places)
}

/// A list token's own claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms<'a> {
    pub key_id: &'a KeyId,
    pub issuer: &'a str,
    /// Where it is published: `sub`, and the `uri` of whoever refers to it.
    pub uri: &'a str,
    pub issued_at_seconds: i64,
    pub expires_at_seconds: i64,
    /// How long a reader may keep it without asking again.
    pub ttl_seconds: u32,
}

/// A list token to be signed (section 5.1).
pub fn unsigned(list: &List, terms: &Terms<'_>) -> Unsigned {
    let header = Object::from_iter([
        ("alg".to_owned(), "ES256".into()),
        ("kid".to_owned(), terms.key_id.as_str().into()),
        ("typ".to_owned(), TYPE.into()),
    ]);
    let claims = Object::from_iter([
        ("iss".to_owned(), terms.issuer.into()),
        ("sub".to_owned(), terms.uri.into()),
        ("iat".to_owned(), terms.issued_at_seconds.into()),
        ("exp".to_owned(), terms.expires_at_seconds.into()),
        ("ttl".to_owned(), terms.ttl_seconds.into()),
        ("status_list".to_owned(), serde_json::json!({ "bits": list.bits, "lst": list.packed() })),
    ]);
    Unsigned::new(&header, &claims)
}

/// What the list of `place` says of it now (section 8.3), given the token that was fetched from there and the keys of its
/// issuer. Every way in which the answer is not certain is a refusal.
pub fn look(token: &str, place: &Place, issuer_keys: &KeySet, clock: Clock) -> Result<Status, Rejection> {
    let jws = open(token)?;
    let kid = jws.kid().unwrap_or_default();
    let key = issuer_keys.find(kid).ok_or_else(|| {
        let message =
            format!("the list is signed by one of {} keys of its issuer; {} came", issuer_keys.len(), shown(kid));
        Rejection::new(Code::UnknownKid, message).at("kid")
    })?;
    jws.verify(key)?;
    read(&jws, place, clock)
}

/// Who may publish the status of a credential: a key that is trusted now, for exactly what the credential's own root is
/// trusted for, under the same `iss` where both name one. A root that is trusted for something else cannot vouch for it.
pub(crate) struct Authority<'a> {
    pub trusted: &'a dyn Roots,
    pub scopes: &'a [Scope],
    pub issuer: Option<&'a str>,
}

/// The same under trusted roots.
pub(crate) fn look_under(
    token: &str,
    place: &Place,
    authority: &Authority<'_>,
    clock: Clock,
) -> Result<Status, Rejection> {
    let jws = open(token)?;
    let candidates = authority.trusted.candidates(&Named::by(&jws, clock.now_seconds))?;
    let mut refused = None;
    let is_signed =
        candidates.iter().filter(|candidate| authority.scopes.contains(&candidate.scope)).any(|candidate| {
            let verified = jws.verify(&candidate.key);
            let is_signed = verified.is_ok();
            refused = verified.err().or(refused.take());
            is_signed
        });
    if !is_signed {
        let message = "a status list is signed by the root of its credential; another root's key is named";
        return Err(refused.unwrap_or_else(|| Rejection::new(Code::RootOutOfScope, message).at("kid")));
    }
    let named = jws.payload().get("iss").and_then(Json::as_str);
    if let (Some(named), Some(issuer)) = (named, authority.issuer)
        && named != issuer
    {
        let message = format!("iss of the list is {}, as of its credential; {} came", shown(issuer), shown(named));
        return Err(Rejection::new(Code::RootIssuerMismatch, message).at("iss"));
    }
    read(&jws, place, clock)
}

/// Where a list token says that it is published, unverified: to find it among files.
pub fn address(token: &str) -> Option<String> {
    open(token).ok()?.payload().get("sub")?.as_str().map(str::to_owned)
}

/// How long a list that is fetched now may be shown again without asking (`ttl`, and no longer than `exp`; section 5.1),
/// unverified: whoever publishes it decides. Nothing where it cannot be read, [`STATUS_KEPT_SECONDS_MAX`] at most.
pub fn kept_seconds(token: &str, now_seconds: i64) -> u32 {
    let Ok(jws) = open(token) else { return 0 };
    let seconds = |name: &str| clock::numeric_date(jws.payload(), name).ok().flatten().and_then(clock::whole_seconds);
    let ttl = seconds("ttl").unwrap_or(i64::from(STATUS_TTL_SECONDS));
    let left = seconds("exp").map_or(ttl, |exp| exp.saturating_sub(now_seconds));
    let kept = ttl.min(left).clamp(0, i64::from(STATUS_KEPT_SECONDS_MAX));
    u32::try_from(kept).unwrap_or(0)
}

fn open(token: &str) -> Result<Jws<'_>, Rejection> {
    if token.len() > TOKEN_BYTES_MAX {
        let message = format!("a list token has at most {TOKEN_BYTES_MAX} bytes; {} came", token.len());
        return Err(Rejection::new(Code::TokenTooLarge, message));
    }
    let jws = Jws::parse(token)?;
    jws.check_header()?;
    let typ = jws.typ().unwrap_or_default().to_ascii_lowercase();
    if typ.trim_start_matches("application/") != TYPE {
        return Err(Rejection::new(Code::TypWrong, format!("typ is {TYPE}; {} came", shown(&typ))).at("typ"));
    }
    Ok(jws)
}

fn read(jws: &Jws<'_>, place: &Place, clock: Clock) -> Result<Status, Rejection> {
    let claims = jws.payload();
    if claims.get("sub").and_then(Json::as_str) != Some(place.uri.as_str()) {
        let came = claims.get("sub").map_or_else(|| "nothing".to_owned(), shown_value);
        let message = format!("the list is the one of {}; {came} came", shown(&place.uri));
        return Err(Rejection::new(Code::StatusElsewhere, message).at("sub"));
    }
    check_times(claims, clock)?;
    List::parse(claims)?.status(place.index)
}

/// `iat` is required. A list without `exp` is good for a day: one that was valid long ago says nothing of today.
fn check_times(claims: Members<'_>, clock: Clock) -> Result<(), Rejection> {
    clock.check(claims, "the status list")?;
    let issued_at = clock::numeric_date(claims, "iat")?.ok_or_else(|| {
        let came = claims.get("iat").map_or("nothing", Json::kind);
        Rejection::new(Code::IatMissing, format!("a status list says when it was issued; {came} came")).at("iat")
    })?;
    let oldest = clock.earliest() - rust_decimal::Decimal::from(STATUS_AGE_SECONDS_MAX);
    if !claims.contains_key("exp") && issued_at < oldest {
        let message = format!("a list without exp is at most {STATUS_AGE_SECONDS_MAX} s old; it is of {issued_at}");
        return Err(Rejection::new(Code::Expired, message).at("iat"));
    }
    Ok(())
}
