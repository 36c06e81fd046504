//! A message's signatures held against a profile and a signer's keys.

use super::base::Message;
use super::fields::{Bare, Dictionary, InnerList, Item, Member, parameter};
use super::finding::Finding;
use super::key::{Algorithm, Key, Keys};
use super::profile::{Profile, WEB_BOT_AUTH, WEB_BOT_AUTH_TAG};
use super::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_AGENT, SIGNATURE_INPUT, digest};

/// Signatures of one message that are tried.
const SIGNATURES_MAX: usize = 4;
/// Components of one signature.
const COMPONENTS_MAX: usize = 32;
/// How far ahead a signer's clock may run, in seconds.
const AHEAD_SECONDS_MAX: i64 = 60;
/// Longest nonce that is taken: twice what Web Bot Auth recommends, in base64.
const NONCE_CHARS_MAX: usize = 256;

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub label: String,
    pub tag: Option<String>,
    /// The key, by its RFC 7638 thumbprint.
    pub thumbprint: String,
    pub algorithm: Algorithm,
    pub created: Option<i64>,
    pub nonce: Option<Nonce>,
}

/// What may be used once by this key until a moment: whoever takes the signature remembers it until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce {
    pub text: String,
    /// Unix seconds.
    pub until: i64,
}

/// Whether a message says that it is signed. Such a one is verified and never taken for one that is not.
pub fn is_signed(message: &Message<'_>) -> bool {
    message.has(SIGNATURE) || message.has(SIGNATURE_INPUT)
}

/// The first signature of the message that the profile takes, under one of the signer's keys. Where none is taken, what was
/// wrong with the first that could have been (RFC 9421 section 3.2; UCP, `overview.md`, "Identity Resolution Algorithm").
pub fn verify(message: &Message<'_>, profile: &Profile, keys: &Keys, now: i64) -> Result<Verified, Finding> {
    let input = dictionary(message, SIGNATURE_INPUT, "Signature-Input")?;
    let signatures = dictionary(message, SIGNATURE, "Signature")?;
    if input.len() > SIGNATURES_MAX {
        let why = format!("at most {SIGNATURES_MAX} signatures were expected, {} came", input.len());
        return Err(Finding::Malformed { field: "Signature-Input", why });
    }
    let mut first = None;
    for (label, member) in input.iter() {
        let Member::List(covered) = member else {
            first.get_or_insert_with(|| malformed(format!("{label} is a list of components, something else came")));
            continue;
        };
        if !is_of(profile, covered) {
            continue;
        }
        match candidate(message, profile, keys, now, (label, covered, &signatures)) {
            Ok(verified) => return Ok(verified),
            Err(finding) => {
                first.get_or_insert(finding);
            }
        }
    }
    Err(first.unwrap_or_else(|| Finding::Missing {
        expected: match profile.tags {
            [] => "a signature".to_owned(),
            tags => format!("a signature with tag {}", tags.join(" or ")),
        },
        found: if input.is_empty() { "none came".to_owned() } else { "others came".to_owned() },
    }))
}

fn malformed(why: String) -> Finding {
    Finding::Malformed { field: "Signature-Input", why }
}

fn dictionary(message: &Message<'_>, name: &str, field: &'static str) -> Result<Dictionary, Finding> {
    let missing = || Finding::Missing { expected: format!("the header {field}"), found: "none came".to_owned() };
    let value = message.field(name)?.ok_or_else(missing)?;
    Dictionary::parse(&value).map_err(|why| Finding::Malformed { field, why: why.to_string() })
}

fn text<'a>(covered: &'a InnerList, name: &str) -> Option<&'a str> {
    match parameter(&covered.parameters, name) {
        Some(Bare::Text(text)) => Some(text),
        _ => None,
    }
}

fn is_of(profile: &Profile, covered: &InnerList) -> bool {
    profile.tags.is_empty() || text(covered, "tag").is_some_and(|tag| profile.tags.contains(&tag))
}

fn candidate(
    message: &Message<'_>,
    profile: &Profile,
    keys: &Keys,
    now: i64,
    (label, covered, signatures): (&str, &InnerList, &Dictionary),
) -> Result<Verified, Finding> {
    if covered.items.len() > COMPONENTS_MAX {
        let found = covered.items.len();
        return Err(malformed(format!("at most {COMPONENTS_MAX} components were expected, {found} came")));
    }
    let Some(Member::Item(Item { bare: Bare::Bytes(signature), .. })) = signatures.get(label) else {
        let why = format!("bytes under {label}, as Signature-Input names it, were expected; none came");
        return Err(Finding::Malformed { field: "Signature", why });
    };
    let is_bot = text(covered, "tag") == Some(WEB_BOT_AUTH_TAG);
    // A signature for two audiences is held to what both of them ask.
    let rules = [Some(profile), Some(&WEB_BOT_AUTH).filter(|other| is_bot && other.name != profile.name)];
    for rules in rules.iter().flatten() {
        check_covered(message, rules, covered, label, is_bot)?;
        check_parameters(rules, covered)?;
    }
    let keyid = text(covered, "keyid").unwrap_or_default();
    let key = keys.find(keyid)?;
    for rules in rules.iter().flatten() {
        check_key(rules, covered, key, keyid)?;
        check_times(rules, covered, now)?;
    }
    if covered.items.iter().any(|item| item.text() == Some(CONTENT_DIGEST)) {
        digest::check(message)?;
    }
    let base = message.base(covered)?;
    if !key.verifies(base.as_bytes(), signature) {
        return Err(Finding::Invalid { key: key.thumbprint.clone() });
    }
    Ok(Verified {
        label: label.to_owned(),
        tag: text(covered, "tag").map(str::to_owned),
        thumbprint: key.thumbprint.clone(),
        algorithm: key.algorithm(),
        created: integer(covered, "created")?,
        nonce: nonce(covered)?,
    })
}

/// Everything that the profile asks for is covered, as the whole of it: a member of a field stands for no field, but for
/// `Signature-Agent`, of which the member of this very signature is signed.
fn check_covered(
    message: &Message<'_>,
    profile: &Profile,
    covered: &InnerList,
    label: &str,
    is_bot: bool,
) -> Result<(), Finding> {
    let covers = |name: &str| {
        covered.items.iter().filter(|item| item.text() == Some(name)).any(|item| match item.parameters.as_slice() {
            [] => true,
            [(parameter, Bare::Text(key))] => {
                name == SIGNATURE_AGENT && is_bot && parameter == "key" && (key == label || profile.tags.len() == 1)
            }
            _ => false,
        })
    };
    match profile.required(message).find(|name| !covers(name)) {
        None => Ok(()),
        Some(expected) => {
            let found: Vec<String> = covered.items.iter().map(Item::written).collect();
            Err(Finding::Uncovered { expected: expected.to_owned(), found: format!("({})", found.join(" ")) })
        }
    }
}

fn check_parameters(profile: &Profile, covered: &InnerList) -> Result<(), Finding> {
    for name in profile.parameters {
        let (expected, is_there) = match *name {
            "created" | "expires" => ("unix seconds", integer(covered, name)?.is_some()),
            _ => ("a string", text(covered, name).is_some_and(|text| !text.is_empty())),
        };
        if !is_there {
            return Err(wrong(covered, name, expected.to_owned()));
        }
    }
    Ok(())
}

fn wrong(covered: &InnerList, name: &'static str, expected: String) -> Finding {
    let found = parameter(&covered.parameters, name).map_or_else(|| "nothing".to_owned(), Bare::written);
    Finding::Parameter { name, expected, found: found.chars().take(100).collect() }
}

fn integer(covered: &InnerList, name: &'static str) -> Result<Option<i64>, Finding> {
    match parameter(&covered.parameters, name) {
        None => Ok(None),
        Some(Bare::Integer(seconds)) => Ok(Some(*seconds)),
        Some(_) => Err(wrong(covered, name, "unix seconds".to_owned())),
    }
}

/// The algorithm is the key's. `alg` may say it again, in any case; it decides nothing.
fn check_key(profile: &Profile, covered: &InnerList, key: &Key, keyid: &str) -> Result<(), Finding> {
    let algorithm = key.algorithm().as_str();
    if parameter(&covered.parameters, "alg").is_some()
        && !text(covered, "alg").is_some_and(|named| named.eq_ignore_ascii_case(algorithm))
    {
        return Err(wrong(covered, "alg", format!("{algorithm}, the key's own")));
    }
    if profile.keyid_is_thumbprint && keyid != key.thumbprint {
        return Err(wrong(covered, "keyid", format!("the key's thumbprint {}", key.thumbprint)));
    }
    Ok(())
}

/// What says when it ends is held to it, whoever asks for that or not.
fn check_times(profile: &Profile, covered: &InnerList, now: i64) -> Result<(), Finding> {
    let (created, expires) = (integer(covered, "created")?, integer(covered, "expires")?);
    if let Some(created) = created.filter(|created| *created > now.saturating_add(AHEAD_SECONDS_MAX)) {
        return Err(Finding::Premature { now, created });
    }
    if let Some(expires) = expires.filter(|expires| *expires <= now) {
        return Err(Finding::Expired { now, expires });
    }
    if let (Some(most), Some(created), Some(expires)) = (profile.lifetime_max, created, expires) {
        let found = expires.saturating_sub(created);
        if !(1..=most).contains(&found) {
            return Err(Finding::Lifetime { most, found });
        }
    }
    Ok(())
}

/// A nonce without an end could not be forgotten.
fn nonce(covered: &InnerList) -> Result<Option<Nonce>, Finding> {
    let Some(given) = parameter(&covered.parameters, "nonce") else { return Ok(None) };
    match (given, integer(covered, "expires")?) {
        (Bare::Text(text), Some(until)) if (1..=NONCE_CHARS_MAX).contains(&text.len()) => {
            Ok(Some(Nonce { text: text.clone(), until }))
        }
        (_, None) => Err(wrong(covered, "expires", "there beside a nonce".to_owned())),
        _ => Err(wrong(covered, "nonce", format!("a string of 1 to {NONCE_CHARS_MAX} characters"))),
    }
}
