//! Issuing: the same wire format from the other side.
//!
//! Nothing here signs. Each function returns an [`Unsigned`] whose bytes go to wherever the key lives; salts are the
//! caller's, 128 fresh random bits each (RFC 9901 section 9.3), because this crate has no randomness. After signing,
//! verify what you issued: these functions keep the wire right, [`crate::verify`] keeps the authority right.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::base64url;
use crate::chain::{self, MandateId, Position};
use crate::constraint::{AllowedInstruments, AllowedMerchants, AllowedPayees, LineItems};
use crate::digest::HashAlgorithm;
use crate::json::{Entries, Json, Members, Object};
use crate::jws::Unsigned;
use crate::keys::KeyId;
use crate::limits::DISCLOSURES_MAX;
use crate::mandate::{Family, Mandate, Vct};
use crate::party::Merchant;
use crate::rejection::{Code, Rejection};
use crate::sd_jwt::SdJwt;
use crate::status::Place;

pub type Salt = [u8; 16];

/// A root in the Trusted Agent Provider model.
#[derive(Clone, Debug)]
pub struct RootTerms<'a> {
    pub key_id: &'a KeyId,
    pub issuer: &'a str,
    pub issued_at_seconds: i64,
    pub addressed: Addressed<'a>,
    /// Where it is published whether the root still stands. Beside `iss`, outside of the mandates: there it would be a
    /// preset claim, which every closed mandate must repeat.
    pub status: Option<&'a Place>,
}

/// Whether a root names its verifier. A direct closed mandate should: it has no hop that would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed<'a> {
    To { audience: &'a str, nonce: &'a str },
    ToNobody,
}

/// A hop: delegation to another key, or the closed mandate itself.
#[derive(Clone, Copy, Debug)]
pub struct HopTerms<'a> {
    pub position: Position,
    pub audience: &'a str,
    pub nonce: &'a str,
    pub issued_at_seconds: i64,
}

/// A root over one mandate, or over one open mandate of each family for the wallet-to-agent hand-over; each verifier then
/// gets its own through [`present_only`].
pub fn root(
    terms: &RootTerms<'_>,
    mandates: &[Mandate],
    salts: &mut dyn FnMut() -> Salt,
) -> Result<Unsigned, Rejection> {
    check_hand_over(mandates)?;
    let mut claims = Object::from_iter([
        ("iss".to_owned(), terms.issuer.into()),
        ("iat".to_owned(), terms.issued_at_seconds.into()),
    ]);
    if let Addressed::To { audience, nonce } = terms.addressed {
        claims.insert("aud".to_owned(), audience.into());
        claims.insert("nonce".to_owned(), nonce.into());
    }
    if let Some(place) = terms.status {
        claims.insert("status".to_owned(), place.claim());
    }
    let header = Object::from_iter([
        ("alg".to_owned(), "ES256".into()),
        ("kid".to_owned(), terms.key_id.as_str().into()),
        ("typ".to_owned(), "sd-jwt".into()),
    ]);
    let disclosures = conceal(mandates, &mut claims, salts)?;
    Ok(Unsigned::new(&header, &claims).between(String::new(), tail(&disclosures)))
}

/// A hop behind a chain as it will be presented: `sd_hash` freezes what the chain shows, so thin it out first.
/// The signature must come from the key that the chain's last mandate names.
pub fn hop(
    previous: &str,
    terms: &HopTerms<'_>,
    mandates: &[Mandate],
    salts: &mut dyn FnMut() -> Salt,
) -> Result<Unsigned, Rejection> {
    let (before, last) = last_segment(previous)?;
    let last = last.decode()?;
    check_succession(&last, terms.position, mandates)?;
    let mut claims = Object::from_iter([
        ("aud".to_owned(), terms.audience.into()),
        ("iat".to_owned(), terms.issued_at_seconds.into()),
        ("nonce".to_owned(), terms.nonce.into()),
        ("sd_hash".to_owned(), last.sd_hash()?.into()),
    ]);
    let typ = match terms.position {
        Position::Middle => "kb+sd-jwt+kb",
        Position::Leaf => "kb+sd-jwt",
    };
    let header = Object::from_iter([("alg".to_owned(), "ES256".into()), ("typ".to_owned(), typ.into())]);
    let disclosures = conceal(mandates, &mut claims, salts)?;
    Ok(Unsigned::new(&header, &claims).between(format!("{before}~~"), tail(&disclosures)))
}

/// The name that the mandate of the last segment will have once it is signed: a signature is no part of it, so whatever must
/// be durable before the signature can be written down under it.
pub fn identity(unsigned: &Unsigned) -> Result<MandateId, Rejection> {
    let as_if = unsigned.clone().finish([0; 64]);
    let (_, last) = last_segment(&as_if)?;
    let last = last.decode()?;
    let resolved = last.resolve()?;
    let (delegate, _) = chain::single_delegate(&resolved)?;
    Ok(MandateId::of(last.jwt.signing_input(), resolved.digest(delegate)))
}

/// The chain with only the mandate of this type shown in its last segment: what one verifier gets of a hand-over.
pub fn present_only(presented: &str, vct: Vct) -> Result<String, Rejection> {
    let (before, last) = last_segment(presented)?;
    let last = last.decode()?;
    let shown = Shown::of(&last)?;
    let delegates = shown.delegates();
    let is_wanted = |digest: &String| {
        let value = shown.by_digest.get(digest).map(|(_, value)| value);
        value.and_then(|value| value.get("vct")).and_then(Json::as_str) == Some(vct.as_str())
    };
    let wanted = delegates.iter().filter(|digest| is_wanted(digest)).count();
    if wanted != 1 {
        let message = format!("one mandate {vct} is in the last segment; {wanted} are");
        return Err(Rejection::new(Code::DelegatePayloadCount, message).at("delegate_payload"));
    }
    let mut dropped = BTreeSet::new();
    for digest in delegates.iter().filter(|digest| !is_wanted(digest)) {
        shown.collect(digest, &mut dropped);
    }
    Ok(without(before, &last, &shown, &dropped))
}

/// The chain with only this merchant shown in the lists of allowed payees and allowed merchants of its last segment: whom
/// else a person allowed is no business of who verifies (RFC 9901 section 10.1). Lists without it, and segments that a hop
/// froze, stay as they are.
pub fn present_only_merchant(presented: &str, merchant: &Merchant) -> Result<String, Rejection> {
    const LISTS: [&str; 2] = [AllowedPayees::TYPE, AllowedMerchants::TYPE];
    let (before, last) = last_segment(presented)?;
    let last = last.decode()?;
    let shown = Shown::of(&last)?;
    let value = |digest: &String| shown.by_digest.get(digest).map(|(_, value)| *value);
    let is_it = |digest: &&String| {
        let entry = value(digest).and_then(Json::as_object);
        entry.and_then(|entry| Merchant::parse(entry).ok()).is_some_and(|entry| entry.is(merchant))
    };
    let mut dropped = BTreeSet::new();
    for mandate in shown.delegates().iter().filter_map(value) {
        let constraints = mandate.get("constraints").and_then(Json::as_array);
        for constraint in constraints.into_iter().flat_map(Entries::iter) {
            let kind = constraint.get("type").and_then(Json::as_str).unwrap_or_default();
            if LISTS.contains(&kind) {
                let entries = shown.elements(constraint.get("allowed"));
                let (kept, others): (Vec<_>, Vec<_>) = entries.iter().partition(is_it);
                let others = others.into_iter().filter(|_| !kept.is_empty());
                others.for_each(|digest| shown.collect(digest, &mut dropped));
            }
        }
    }
    Ok(without(before, &last, &shown, &dropped))
}

/// The chain without these disclosures of its last segment.
fn without(before: &str, last: &SdJwt<'_>, shown: &Shown<'_>, dropped: &BTreeSet<String>) -> String {
    let kept = last.disclosures.iter().map(|disclosure| disclosure.text());
    let kept: Vec<&str> = kept.filter(|text| !dropped.contains(&shown.algorithm.digest_text(text))).collect();
    let head = before.strip_suffix(last.presented().trim_end_matches('~')).unwrap_or_default();
    format!("{head}{}{}", last.jwt.text(), tail(&kept))
}

fn tail<T: AsRef<str>>(disclosures: &[T]) -> String {
    disclosures.iter().fold("~".to_owned(), |text, disclosure| text + disclosure.as_ref() + "~")
}

/// The chain without its final `~`, and its last segment.
fn last_segment(presented: &str) -> Result<(&str, crate::sd_jwt::RawSdJwt<'_>), Rejection> {
    let last = chain::split(presented)?.pop();
    let last = last.ok_or_else(|| Rejection::new(Code::MalformedJwt, "a chain has a segment; this one has none"))?;
    Ok((presented.strip_suffix('~').unwrap_or(presented), last))
}

/// One mandate; or one of each family, all open or all closed.
pub(crate) fn check_hand_over(mandates: &[Mandate]) -> Result<(), Rejection> {
    let families: BTreeSet<Family> = mandates.iter().map(|mandate| mandate.vct().family()).collect();
    let open = mandates.iter().filter(|mandate| mandate.vct().is_open()).count();
    let is_fine = !mandates.is_empty() && families.len() == mandates.len() && (open == 0 || open == mandates.len());
    if is_fine {
        return Ok(());
    }
    let names: Vec<&str> = mandates.iter().map(|mandate| mandate.vct().as_str()).collect();
    let message = format!("one mandate a family, all open or all closed, is delegated at once; {names:?} came");
    Err(Rejection::new(Code::DelegatePayloadCount, message).at("delegate_payload"))
}

fn check_succession(last: &SdJwt<'_>, position: Position, mandates: &[Mandate]) -> Result<(), Rejection> {
    check_hand_over(mandates)?;
    let resolved = last.resolve()?;
    let is_user_credential = resolved.claims().contains_key("cnf") && resolved.delegates.is_none();
    let family: Option<Family> = if is_user_credential {
        chain::confirmation_key(resolved.claims())?;
        None
    } else {
        let (_, claims) = chain::single_delegate(&resolved)?;
        chain::confirmation_key(claims)?;
        Some(Vct::of(claims)?.family())
    };
    for vct in mandates.iter().map(Mandate::vct) {
        match position {
            Position::Leaf if vct.is_open() => {
                return Err(Rejection::new(Code::LeafNotClosed, format!("a leaf closes; {vct} is open")).at("vct"));
            }
            Position::Middle if !vct.is_open() => {
                return Err(
                    Rejection::new(Code::NonleafNotOpen, format!("a middle hop delegates; {vct} is closed")).at("vct")
                );
            }
            _ => {}
        }
        if let Some(family) = family.filter(|family| *family != vct.family()) {
            let message = format!("the chain is of family {}; {vct} came", family.as_str());
            return Err(Rejection::new(Code::FamilyMixed, message).at("vct"));
        }
    }
    Ok(())
}

/// Puts the mandates behind digests in `delegate_payload`; returns the disclosures, nested ones first.
fn conceal(
    mandates: &[Mandate],
    claims: &mut Object,
    salts: &mut dyn FnMut() -> Salt,
) -> Result<Vec<String>, Rejection> {
    let mut concealer = Concealer { algorithm: HashAlgorithm::Sha256, disclosures: Vec::new(), salts };
    let delegates: Vec<Value> = mandates.iter().map(|mandate| concealer.mandate(mandate)).collect();
    let Concealer { algorithm, disclosures, .. } = concealer;
    if disclosures.len() > DISCLOSURES_MAX {
        let message = format!("a chain has at most {DISCLOSURES_MAX} disclosures; {} came", disclosures.len());
        return Err(Rejection::new(Code::TooManyDisclosures, message));
    }
    claims.insert("delegate_payload".to_owned(), delegates.into());
    claims.insert("_sd_alg".to_owned(), algorithm.name().into());
    Ok(disclosures)
}

struct Concealer<'a> {
    algorithm: HashAlgorithm,
    disclosures: Vec<String>,
    salts: &'a mut dyn FnMut() -> Salt,
}

impl Concealer<'_> {
    fn mandate(&mut self, mandate: &Mandate) -> Value {
        let mut claims = mandate.claims();
        if let Some(Value::Array(constraints)) = claims.get_mut("constraints") {
            constraints.iter_mut().for_each(|constraint| self.constraint(constraint));
        }
        if let Some(checkout_jwt) = claims.remove("checkout_jwt") {
            let digest = self.disclose(&[Value::from("checkout_jwt"), checkout_jwt]);
            claims.insert("_sd".to_owned(), Value::Array(vec![digest.into()]));
        }
        self.element(claims.into())
    }

    /// What the AP2 schemas mark as selectively disclosable: entries of three lists, and acceptable items.
    fn constraint(&mut self, constraint: &mut Value) {
        const LISTS: [&str; 3] = [AllowedPayees::TYPE, AllowedInstruments::TYPE, AllowedMerchants::TYPE];
        let kind = constraint.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if LISTS.contains(&kind.as_str()) {
            self.entries(constraint.get_mut("allowed"));
        } else if kind == LineItems::TYPE
            && let Some(Value::Array(slots)) = constraint.get_mut("items")
        {
            slots.iter_mut().for_each(|slot| self.entries(slot.get_mut("acceptable_items")));
        }
    }

    fn entries(&mut self, list: Option<&mut Value>) {
        if let Some(Value::Array(entries)) = list {
            for entry in entries {
                *entry = self.element(entry.take());
            }
        }
    }

    fn element(&mut self, value: Value) -> Value {
        let digest = self.disclose(&[value]);
        Object::from_iter([("...".to_owned(), digest.into())]).into()
    }

    fn disclose(&mut self, rest: &[Value]) -> String {
        let mut parts = vec![Value::from(base64url::encode(&(self.salts)()))];
        parts.extend_from_slice(rest);
        let text = base64url::encode(Value::Array(parts).to_string().as_bytes());
        let digest = self.algorithm.digest_text(&text);
        self.disclosures.push(text);
        digest
    }
}

/// The disclosures of one segment by digest, to follow which belongs inside which.
struct Shown<'a> {
    algorithm: HashAlgorithm,
    payload: Members<'a>,
    by_digest: BTreeMap<String, (&'a str, Json<'a>)>,
}

impl<'a> Shown<'a> {
    fn of(segment: &'a SdJwt<'a>) -> Result<Self, Rejection> {
        let algorithm = segment.algorithm()?;
        let by_digest = segment
            .disclosures
            .iter()
            .map(|disclosure| {
                (algorithm.digest_text(disclosure.text()), (disclosure.text(), segment.value(disclosure)))
            })
            .collect();
        Ok(Self { algorithm, payload: segment.jwt.payload(), by_digest })
    }

    fn delegates(&self) -> Vec<String> {
        self.elements(self.payload.get("delegate_payload"))
    }

    /// The digests of an array's concealed elements that are disclosed.
    fn elements(&self, array: Option<Json<'_>>) -> Vec<String> {
        let Some(Json::Array(elements)) = array else { return Vec::new() };
        let digests = elements.iter().filter_map(|element| element.get("...").and_then(Json::as_str));
        digests.filter(|digest| self.by_digest.contains_key(*digest)).map(str::to_owned).collect()
    }

    /// The digest and all that lie inside its disclosure. Ends because a disclosure cannot contain its own digest.
    fn collect(&self, digest: &str, into: &mut BTreeSet<String>) {
        let mut open = vec![digest.to_owned()];
        while let Some(digest) = open.pop() {
            if let Some((_, value)) = self.by_digest.get(&digest)
                && into.insert(digest)
            {
                strings(*value, &mut open);
            }
        }
    }
}

/// Every string in a value: any of them may be a digest, and only those that are one are followed.
fn strings(value: Json<'_>, into: &mut Vec<String>) {
    match value {
        Json::String(text) => into.push(text.to_owned()),
        Json::Array(entries) => entries.iter().for_each(|entry| strings(entry, into)),
        Json::Object(members) => members.iter().for_each(|(_, member)| strings(member, into)),
        _ => {}
    }
}
