//! Mandates as W3C Verifiable Credentials: VCDM 2.0 secured as `application/vc+jwt` (VC-JOSE-COSE, 2025), with ES256.
//!
//! The payload of the JWT is the credential itself; `vc` and `vp` claims do not occur. The mandate is one member of the
//! subject and a JSON literal to a JSON-LD processor, so that no reader gives its members another meaning:
//!
//! ```json
//! {"@context": ["https://www.w3.org/ns/credentials/v2", {"mandate": {"@id": "…", "@type": "@json"}, …}],
//!  "type": ["VerifiableCredential", "CartMandate"], "id": "urn:uuid:…", "issuer": "https://shop.example",
//!  "validFrom": "…", "validUntil": "…", "credentialSubject": {"id": "…", "mandate": {…}}}
//! ```
//!
//! What this says is who signed which mandate for how long. It is bound to no presentation, so it is no authority to pay
//! by itself: money moves under [`crate::verify`], or under [`crate::v0_1::payment`] with its KB-JWT. For an
//! `IntentMandate` of AP2 v0.1, which has no signature of its own, it is the one there is.

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::json::{Json, Members, Object, kind};
use crate::jws::{Jws, Unsigned};
use crate::key_binding::check_envelope;
use crate::keys::{KeyId, KeySet};
use crate::limits::LIST_ENTRIES_MAX;
use crate::mandate::Mandate;
use crate::party::Instant;
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::schema;
use crate::v0_1::cart::CartContents;
use crate::v0_1::intent::IntentMandate;
use crate::v0_1::payment::PaymentMandateContents;

const CONTEXT: &str = "https://www.w3.org/ns/credentials/v2";
const VOCABULARY: &str = "https://github.com/google-agentic-commerce/ap2/tree/v0.1#";
const BASE_TYPE: &str = "VerifiableCredential";
const TYPE: &str = "vc+jwt";

/// The mandate of a credential; the first three are those of AP2 v0.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Intent(IntentMandate),
    /// What the merchant stands for; the credential takes the place of `merchant_authorization`.
    Cart(CartContents),
    /// What the person stands for; the credential takes the place of `user_authorization`.
    Payment(PaymentMandateContents),
    /// One of AP2 v0.2, by its `vct`.
    Versioned(Mandate),
}

/// The type that a credential has beside `VerifiableCredential`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Intent,
    Cart,
    Payment,
    Versioned,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "IntentMandate",
            Self::Cart => "CartMandate",
            Self::Payment => "PaymentMandate",
            Self::Versioned => "VersionedMandate",
        }
    }

    fn read(self, claims: Members<'_>) -> Result<Content, Rejection> {
        match self {
            Self::Intent => IntentMandate::read(&claims.to_object()).map(Content::Intent),
            Self::Cart => CartContents::read(&claims.to_object()).map(Content::Cart),
            Self::Payment => PaymentMandateContents::read(&claims.to_object()).map(Content::Payment),
            Self::Versioned => Mandate::parse(claims).map(Content::Versioned),
        }
    }
}

impl Content {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Intent(_) => Kind::Intent,
            Self::Cart(_) => Kind::Cart,
            Self::Payment(_) => Kind::Payment,
            Self::Versioned(_) => Kind::Versioned,
        }
    }

    fn claims(&self) -> Object {
        match self {
            Self::Intent(intent) => intent.claims(),
            Self::Cart(cart) => cart.claims.clone(),
            Self::Payment(payment) => payment.claims.clone(),
            Self::Versioned(mandate) => mandate.claims(),
        }
    }
}

/// What a credential says beside its mandate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A URL; never used before by this issuer.
    pub id: String,
    /// A URL (a DID or an https origin).
    pub issuer: String,
    /// Whom the mandate is about or empowers, as a URL.
    pub subject: Option<String>,
    pub valid_from: Instant,
    pub valid_until: Instant,
}

/// A credential that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Credential {
    pub terms: Terms,
    pub content: Content,
}

/// One issuer and its keys. A key speaks for its own issuer only.
#[derive(Clone, Copy, Debug)]
pub struct Issuer<'a> {
    pub id: &'a str,
    pub keys: &'a KeySet,
}

#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub clock: Clock,
    pub issuers: &'a [Issuer<'a>],
    pub kind: Kind,
    pub audience: Audience<'a>,
}

/// Whom the JWT's `aud` must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    /// Where the credential names an audience, this one is among it (RFC 7519 section 4.1.3).
    Among(&'a str),
    /// The credential is only looked at.
    NotAsked,
}

/// The credential to sign with the key `key_id` of the issuer.
pub fn unsigned(credential: &Credential, key_id: &KeyId) -> Result<Unsigned, Rejection> {
    let Terms { id, issuer, subject, valid_from, valid_until } = &credential.terms;
    if valid_until.at() <= valid_from.at() {
        let message = format!("validUntil is after {}; {} came", valid_from.as_str(), valid_until.as_str());
        return Err(malformed("validUntil", message));
    }
    for (field, url) in [("id", Some(id)), ("issuer", Some(issuer)), ("credentialSubject.id", subject.as_ref())] {
        url.map_or(Ok(()), |url| check_url(field, url))?;
    }
    let kind = credential.content.kind().as_str();
    let mut about = Object::from_iter([("mandate".to_owned(), Value::Object(credential.content.claims()))]);
    if let Some(subject) = subject {
        about.insert("id".to_owned(), subject.as_str().into());
    }
    let terms = Object::from_iter([
        ("mandate".to_owned(), json!({ "@id": format!("{VOCABULARY}mandate"), "@type": "@json" })),
        (kind.to_owned(), format!("{VOCABULARY}{kind}").into()),
    ]);
    let claims = Object::from_iter([
        ("@context".to_owned(), json!([CONTEXT, terms])),
        ("type".to_owned(), json!([BASE_TYPE, kind])),
        ("id".to_owned(), id.as_str().into()),
        ("issuer".to_owned(), issuer.as_str().into()),
        ("iss".to_owned(), issuer.as_str().into()),
        ("validFrom".to_owned(), valid_from.as_str().into()),
        ("validUntil".to_owned(), valid_until.as_str().into()),
        ("credentialSubject".to_owned(), about.into()),
    ]);
    let header = Object::from_iter([
        ("alg".to_owned(), "ES256".into()),
        ("cty".to_owned(), "vc".into()),
        ("kid".to_owned(), key_id.as_str().into()),
        ("typ".to_owned(), TYPE.into()),
    ]);
    Ok(Unsigned::new(&header, &claims))
}

/// Verifies a credential in its JWT form.
///
/// In this order: header (`alg`, `typ`, `cty`); `issuer`, its key by `kid`, the signature; no `vc` or `vp`; `@context`,
/// `type`, `id`; `iss`, `jti`, `sub` and `aud` agree where they are there; times; no status that nobody looked up; the
/// mandate by its own schema. Expiry of the mandate itself (`intent_expiry`, `cart_expiry`, `exp`) is the mandate's to
/// check.
pub fn verify(token: &str, context: &Context<'_>) -> Result<Credential, Rejection> {
    check_envelope(token)?;
    let jws = Jws::parse(token)?;
    check_header(&jws)?;
    let claims = jws.payload();
    let issuer = issuer_of(claims)?;
    jws.verify(key_of(&jws, &issuer, context)?)?;
    if let Some(name) = ["vc", "vp"].into_iter().find(|name| claims.contains_key(name)) {
        return Err(malformed(name, format!("the payload is the credential itself; a claim {name} came")));
    }
    check_types(claims, context.kind)?;
    let subject = match claims.get("credentialSubject") {
        Some(Json::Object(subject)) => subject,
        other => {
            let came = other.map_or("nothing", kind);
            return Err(malformed("credentialSubject", format!("a mandate has one subject, an object; {came} came")));
        }
    };
    let terms = read_terms(claims, subject, issuer)?;
    check_agreement(claims, &terms, &context.audience)?;
    check_times(claims, &terms, &context.clock)?;
    // `status` is where an IETF status list is named.
    if let Some(name) = ["credentialStatus", "status"].into_iter().find(|name| claims.contains_key(name)) {
        let message = format!("a status must be looked up before a credential is believed; {name} came");
        return Err(Rejection::new(Code::VcStatusNotBuilt, message).at(name));
    }
    let content = context.kind.read(schema::object(subject, "mandate")?)?;
    Ok(Credential { terms, content })
}

fn check_header(jws: &Jws<'_>) -> Result<(), Rejection> {
    jws.check_header()?;
    // Media types are case-insensitive and `application/` may be spelled out (RFC 7515 sections 4.1.9 and 4.1.10).
    let is = |name: &str, wanted: &str| {
        let text = jws.header().get(name).and_then(Json::as_str).map(str::to_ascii_lowercase);
        text.is_some_and(|text| text.trim_start_matches("application/") == wanted)
    };
    let wrong = |name: &str, wanted: &str| {
        let came = jws.header().get(name).map_or_else(|| "nothing".to_owned(), shown_value);
        Err(Rejection::new(Code::TypWrong, format!("{name} of a credential is {wanted}; {came} came")).at(name))
    };
    if !is("typ", TYPE) {
        return wrong("typ", TYPE);
    }
    if jws.header().contains_key("cty") && !is("cty", "vc") {
        return wrong("cty", "vc");
    }
    Ok(())
}

/// `issuer`: a URL, or an object whose `id` is one (VCDM 2.0 section 4.7).
fn issuer_of(claims: Members<'_>) -> Result<String, Rejection> {
    let id = match claims.get("issuer") {
        Some(Json::String(id)) => id,
        Some(Json::Object(issuer)) => match issuer.get("id") {
            Some(Json::String(id)) => id,
            other => return Err(not_a_url("issuer.id", other)),
        },
        other => return Err(not_a_url("issuer", other)),
    };
    check_url("issuer", id).map(|()| id.to_owned())
}

fn key_of<'k>(jws: &Jws<'_>, issuer: &str, context: &Context<'k>) -> Result<&'k crate::keys::PublicKey, Rejection> {
    let known = context.issuers.iter().find(|known| known.id == issuer).ok_or_else(|| {
        let message = format!("issuer is one of {} known ones; {} came", context.issuers.len(), shown(issuer));
        Rejection::new(Code::IssuerUnknown, message).at("issuer")
    })?;
    jws.kid().and_then(|kid| known.keys.find(kid)).ok_or_else(|| {
        let came = jws.kid().map_or_else(|| "none".to_owned(), shown);
        let message = format!("kid is one of the {} keys of {}; {came} came", known.keys.len(), shown(issuer));
        Rejection::new(Code::UnknownKid, message).at("kid")
    })
}

/// `@context` begins with the one of VCDM 2.0; `type` has the base type and, of ours, exactly the one that is expected.
fn check_types(claims: Members<'_>, expected: Kind) -> Result<(), Rejection> {
    let first = match claims.get("@context") {
        Some(Json::Array(entries)) if entries.len() <= LIST_ENTRIES_MAX => entries.iter().next(),
        _ => None,
    };
    if first.and_then(Json::as_str) != Some(CONTEXT) {
        let came = first.map_or_else(|| "nothing".to_owned(), shown_value);
        return Err(malformed("@context", format!("@context is an array that begins with {CONTEXT}; {came} came")));
    }
    let types = match claims.get("type") {
        Some(Json::Array(types)) if types.len() <= LIST_ENTRIES_MAX => Some(types),
        _ => None,
    };
    let has = |wanted: &str| types.is_some_and(|types| types.iter().any(|name| name.as_str() == Some(wanted)));
    let others =
        [Kind::Intent, Kind::Cart, Kind::Payment, Kind::Versioned].into_iter().filter(|kind| *kind != expected);
    if !has(BASE_TYPE) || !has(expected.as_str()) || others.into_iter().any(|other| has(other.as_str())) {
        let came = claims.get("type").map_or_else(|| "nothing".to_owned(), shown_value);
        let message = format!("type is {BASE_TYPE} and {}; {came} came", expected.as_str());
        return Err(Rejection::new(Code::CredentialTypeWrong, message).at("type"));
    }
    Ok(())
}

fn read_terms(claims: Members<'_>, subject: Members<'_>, issuer: String) -> Result<Terms, Rejection> {
    let url = |from: Members<'_>, name: &str, field: &str| match from.get(name) {
        None => Ok(None),
        Some(Json::String(url)) => check_url(field, url).map(|()| Some(url.to_owned())),
        other => Err(not_a_url(field, other)),
    };
    let instant = |field: &str| {
        let text = claims.get(field).and_then(Json::as_str).unwrap_or_default();
        Instant::parse(field, text).map_err(|refused| malformed(field, refused.message))
    };
    Ok(Terms {
        id: url(claims, "id", "id")?.ok_or_else(|| not_a_url("id", None))?,
        issuer,
        subject: url(subject, "id", "credentialSubject.id")?,
        valid_from: instant("validFrom")?,
        valid_until: instant("validUntil")?,
    })
}

/// Registered claims repeat what the credential says, or are not there (VC-JOSE-COSE section 4; RFC 7519).
fn check_agreement(claims: Members<'_>, terms: &Terms, audience: &Audience<'_>) -> Result<(), Rejection> {
    let same =
        [("iss", Some(&terms.issuer)), ("jti", Some(&terms.id)), ("sub", terms.subject.as_ref())].into_iter().find(
            |(name, wanted)| claims.get(name).is_some_and(|came| came.as_str() != wanted.map(|wanted| wanted.as_str())),
        );
    if let Some((name, wanted)) = same {
        let wanted = wanted.map_or("nothing", String::as_str);
        let came = claims.get(name).map_or_else(|| "nothing".to_owned(), shown_value);
        return Err(malformed(name, format!("{name} says what the credential says, {}; {came} came", shown(wanted))));
    }
    let named = match (claims.get("aud"), audience) {
        (None, _) | (_, Audience::NotAsked) => return Ok(()),
        (Some(Json::String(one)), Audience::Among(wanted)) => one == *wanted,
        (Some(Json::Array(many)), Audience::Among(wanted)) => many.iter().any(|one| one.as_str() == Some(*wanted)),
        _ => false,
    };
    if named {
        return Ok(());
    }
    let came = claims.get("aud").map_or_else(|| "nothing".to_owned(), shown_value);
    let wanted = if let Audience::Among(wanted) = audience { shown(wanted) } else { String::new() };
    Err(Rejection::new(Code::AudMismatch, format!("aud names {wanted} where it is there; {came} came")).at("aud"))
}

fn check_times(claims: Members<'_>, terms: &Terms, clock: &Clock) -> Result<(), Rejection> {
    clock.check(claims, "the credential")?;
    let (now, skew) = (clock.now_seconds, i64::from(clock.skew_seconds));
    if now.saturating_add(skew) < terms.valid_from.unix_seconds() {
        let message =
            format!("the credential is good from {} on (skew {skew} s); it is {now}", terms.valid_from.as_str());
        return Err(Rejection::new(Code::NotYetValid, message).at("validFrom"));
    }
    if now.saturating_sub(skew) >= terms.valid_until.unix_seconds() {
        let message =
            format!("the credential is good before {} (skew {skew} s); it is {now}", terms.valid_until.as_str());
        return Err(Rejection::new(Code::Expired, message).at("validUntil"));
    }
    Ok(())
}

/// A scheme, a colon and something behind it, in printable ASCII: enough to be no accident; nothing is fetched.
fn check_url(field: &str, url: &str) -> Result<(), Rejection> {
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let fits = url.len() <= crate::limits::TEXT_BYTES_MAX && url.bytes().all(|byte| byte.is_ascii_graphic());
    if is_scheme && !rest.is_empty() && fits {
        return Ok(());
    }
    Err(malformed(field, format!("{field} is a URL; {} came", shown(url))))
}

fn not_a_url(field: &str, came: Option<Json<'_>>) -> Rejection {
    malformed(field, format!("{field} is a URL; {} came", came.map_or("nothing", kind)))
}

fn malformed(field: &str, message: String) -> Rejection {
    Rejection::new(Code::VcMalformed, message).at(field)
}
