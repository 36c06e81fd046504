//! Access tokens of outside issuers (RFC 9068), read with the keys that the issuer publishes (RFC 7517).
//!
//! Only subjects that are registered here are anybody; an issuer vouches for nobody else. Keys come from outside: this
//! module is told them, and says when it misses one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError, RwLock};

use engine::Identity;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use ledger::id::{AuthMethod, CallerKind, PrincipalId};
use mandates::base64url;
use mandates::json::Object;
use serde_json::Value;

use crate::token::{Token, TokenError, confirmation, in_time};

/// Signatures with a public key. A MAC would be verified with a key that everybody can read.
const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::RS512,
    Algorithm::PS512,
];
/// Tokens of others carry more than ours; none that is honest is longer.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Who is registered with which issuer: by issuer, as its tokens have it in `iss`, and subject.
pub type Subjects = BTreeMap<String, BTreeMap<String, Subject>>;

/// Somebody who comes with tokens of an outside issuer.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its caller says which issuer that is, for the gates.
    pub identity: Identity,
    /// The person who answers for it, where it is an agent.
    pub sponsor: Option<PrincipalId>,
}

/// The published keys of every issuer, as far as they were fetched.
#[derive(Default)]
pub struct IssuerKeys {
    sets: RwLock<BTreeMap<String, JwkSet>>,
    /// Issuers whose set lacked the key that a token names.
    missed: Mutex<BTreeSet<String>>,
}

impl IssuerKeys {
    pub fn learn(&self, issuer: &str, keys: JwkSet) {
        self.sets.write().unwrap_or_else(PoisonError::into_inner).insert(issuer.to_owned(), keys);
    }

    pub fn knows(&self, issuer: &str) -> bool {
        self.sets.read().unwrap_or_else(PoisonError::into_inner).contains_key(issuer)
    }

    /// Whether a key of this issuer was missed since this was last asked.
    pub fn take_missed(&self, issuer: &str) -> bool {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).remove(issuer)
    }

    fn find(&self, issuer: &str, kid: &str) -> Result<DecodingKey, TokenError> {
        self.find_where(issuer, kid, |_| true)
    }

    /// A key that its publisher says to be for this use.
    pub(crate) fn find_for(&self, issuer: &str, kid: &str, r#use: &str) -> Result<DecodingKey, TokenError> {
        let named = PublicKeyUse::Other(r#use.to_owned());
        self.find_where(issuer, kid, |key| key.common.public_key_use.as_ref() == Some(&named))
    }

    fn find_where(&self, issuer: &str, kid: &str, fits: impl Fn(&Jwk) -> bool) -> Result<DecodingKey, TokenError> {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        let found = sets.get(issuer).map(|set| set.find(kid).map(|key| (fits(key), DecodingKey::from_jwk(key))));
        match found {
            Some(Some((true, key))) => key.map_err(|_| TokenError::Invalid),
            Some(Some((false, _))) => Err(TokenError::Invalid),
            Some(None) => {
                self.missed.lock().unwrap_or_else(PoisonError::into_inner).insert(issuer.to_owned());
                Err(TokenError::Invalid)
            }
            None => Err(TokenError::IssuerUnavailable),
        }
    }
}

/// The `iss` that a token claims, unverified: whose keys to look up.
pub fn claimed(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let payload = base64url::decode(token.split('.').nth(1)?)?;
    let claims = mandates::json::parse_object(&payload).ok()?;
    claims.get("iss").and_then(Value::as_str).map(str::to_owned)
}

/// A token of this issuer for us (`audience`), now, about somebody who is registered.
pub fn verify(
    token: &str,
    (issuer, audience): (&str, &str),
    subjects: &BTreeMap<String, Subject>,
    keys: &IssuerKeys,
    now: i64,
) -> Result<Token, TokenError> {
    let invalid = |_| TokenError::Invalid;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Invalid);
    }
    let header = decode_header(token).map_err(invalid)?;
    // RFC 9068 section 4: an ID token or a proof of the same issuer is no access token.
    let kind = header.typ.as_deref().map(|kind| kind.trim_start_matches("application/").to_ascii_lowercase());
    if kind.as_deref() != Some("at+jwt") || !ALGORITHMS.contains(&header.alg) {
        return Err(TokenError::Invalid);
    }
    let key = keys.find(issuer, header.kid.as_deref().ok_or(TokenError::Invalid)?)?;
    let mut validation = Validation::new(header.alg);
    // The library checks the signature alone: it takes a list of issuers for any of them, and its clock is not ours.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims: Object = decode(token, &key, &validation).map_err(invalid)?.claims;
    let is_for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        _ => false,
    };
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) || !is_for_us {
        return Err(TokenError::Invalid);
    }
    let issued_at = in_time(&claims, now)?;
    let mut identity = caller(&claims, issuer, subjects)?.clone();
    let bound_to = confirmation(&claims)?;
    identity.caller.method = if bound_to.is_some() { AuthMethod::Dpop } else { AuthMethod::Bearer };
    Ok(Token { identity, bound_to, issued_at })
}

/// Who calls: the subject, or whoever acts for it (RFC 8693 section 4.1).
///
/// With `act` the call is the actor's, and never the subject's: an agent that shows its person's token is an agent, and
/// decides nothing. It must be registered with the same issuer, and act for the person who answers for it; a token that
/// somebody else was given for it says nothing here. Actors that are nested deeper are history and are not looked at.
fn caller<'a>(
    claims: &Object,
    issuer: &str,
    subjects: &'a BTreeMap<String, Subject>,
) -> Result<&'a Identity, TokenError> {
    let find = |subject: Option<&Value>| {
        let subject = subject.and_then(Value::as_str).ok_or(TokenError::Invalid)?;
        subjects.get(subject).ok_or(TokenError::Unregistered)
    };
    let subject = find(claims.get("sub"))?;
    let Some(act) = claims.get("act") else { return Ok(&subject.identity) };
    let act = act.as_object().ok_or(TokenError::Invalid)?;
    if act.get("iss").is_some_and(|named| named != issuer) {
        return Err(TokenError::Invalid);
    }
    let actor = find(act.get("sub"))?;
    let (person, agent) = (&subject.identity, &actor.identity);
    let is_delegation = person.caller.kind == CallerKind::User
        && agent.caller.kind == CallerKind::Agent
        && person.tenant == agent.tenant
        && actor.sponsor.as_ref() == Some(&person.caller.principal);
    if is_delegation { Ok(agent) } else { Err(TokenError::Delegation) }
}

#[cfg(test)]
mod tests {
    use ledger::id::Caller;
    use mandates::keys::{KeyId, LocalKey};
    use serde_json::json;

    use super::*;
    use crate::token::sign;

    const NOW: i64 = 1_000_000;
    const WHERE: (&str, &str) = ("https://idp", "https://us");

    struct Stage {
        key: LocalKey,
        keys: IssuerKeys,
        subjects: BTreeMap<String, Subject>,
    }

    impl Stage {
        fn new() -> Self {
            let key = LocalKey::from_random(&[7; 32]).unwrap().named(KeyId::new("k1"));
            let keys = IssuerKeys::default();
            let jwks = json!({ "keys": [key.public().to_jwk()] });
            keys.learn(WHERE.0, serde_json::from_value(jwks).unwrap());
            let subject = |tenant: &str, name: &str, kind, sponsor: Option<&str>| {
                let caller = Caller::new(name.parse().unwrap(), kind, AuthMethod::Bearer);
                let identity = Identity { tenant: tenant.parse().unwrap(), caller };
                Subject { identity, sponsor: sponsor.map(|sponsor| sponsor.parse().unwrap()) }
            };
            let subjects = [
                ("abc", subject("main", "shopper", CallerKind::Agent, Some("user"))),
                ("person", subject("main", "user", CallerKind::User, None)),
                ("stranger", subject("main", "other", CallerKind::User, None)),
                ("namesake", subject("shop", "user", CallerKind::User, None)),
                ("operator", subject("main", "admin", CallerKind::Operator, None)),
            ];
            let subjects = subjects.map(|(name, subject)| (name.to_owned(), subject)).into();
            Self { key, keys, subjects }
        }

        fn check(&self, header: &Value, claims: &Value) -> Result<Token, TokenError> {
            let token = sign(&self.key, header, claims).unwrap();
            assert_eq!(claimed(&token).as_deref(), claims["iss"].as_str(), "whose keys to look up");
            verify(&token, WHERE, &self.subjects, &self.keys, NOW)
        }
    }

    fn header() -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" })
    }

    fn claims() -> Value {
        json!({
            "iss": "https://idp", "aud": "https://us", "sub": "abc", "iat": NOW, "exp": NOW + 300, "jti": "1",
            "client_id": "x", "cnf": { "jkt": "thumb" },
        })
    }

    #[test]
    fn a_token_that_is_not_of_this_issuer_for_us_now_about_somebody_known_is_refused() {
        let stage = Stage::new();
        for (member, value, expected) in [
            ("iss", json!("https://idp/"), TokenError::Invalid),
            ("iss", json!(["https://idp"]), TokenError::Invalid),
            ("aud", json!("https://them"), TokenError::Invalid),
            ("aud", json!(null), TokenError::Invalid),
            ("sub", json!("abcd"), TokenError::Unregistered),
            ("sub", json!(7), TokenError::Invalid),
            ("exp", json!(NOW - 5), TokenError::Expired),
            ("exp", json!("soon"), TokenError::Invalid),
            ("exp", json!(null), TokenError::Invalid),
            ("exp", json!(NOW + 2 * 24 * 3_600), TokenError::Invalid),
            ("iat", json!(NOW + 60), TokenError::Invalid),
            ("act", json!({ "sub": "agent" }), TokenError::Unregistered),
            ("act", json!({ "sub": "abc" }), TokenError::Delegation),
            ("act", json!(null), TokenError::Invalid),
            ("act", json!("abc"), TokenError::Invalid),
            ("act", json!({}), TokenError::Invalid),
            ("cnf", json!({ "x5t#S256": "thumb" }), TokenError::Invalid),
            ("cnf", json!("thumb"), TokenError::Invalid),
        ] {
            let mut claims = claims();
            claims[member] = value.clone();
            let found = stage.check(&header(), &claims).map(|token| token.bound_to);
            assert_eq!(found, Err(expected), "{member} {value}");
        }
        for (member, value) in [
            ("typ", json!("JWT")),
            ("typ", json!(null)),
            ("typ", json!("dpop+jwt")),
            ("alg", json!("HS256")),
            ("alg", json!("none")),
            ("alg", json!("ES384")),
            ("alg", json!("RS256")),
            ("kid", json!(null)),
            ("kid", json!("k2")),
        ] {
            let mut header = header();
            header[member] = value.clone();
            let found = stage.check(&header, &claims()).map(|token| token.bound_to);
            assert_eq!(found, Err(TokenError::Invalid), "{member} {value}");
        }
        assert!(stage.keys.take_missed(WHERE.0), "an unknown key is worth another look");
        assert!(!stage.keys.take_missed(WHERE.0), "once");
        let other = LocalKey::from_random(&[8; 32]).unwrap();
        let forged = sign(&other, &header(), &claims()).unwrap();
        assert!(verify(&forged, WHERE, &stage.subjects, &stage.keys, NOW).is_err());
        let nobody = IssuerKeys::default();
        let token = sign(&stage.key, &header(), &claims()).unwrap();
        let found = verify(&token, WHERE, &stage.subjects, &nobody, NOW).map(|token| token.bound_to);
        assert_eq!(found, Err(TokenError::IssuerUnavailable));
    }

    #[test]
    fn whoever_acts_for_somebody_is_never_taken_for_them() {
        let stage = Stage::new();
        let check = |subject: &str, act: Value| {
            let mut claims = claims();
            (claims["sub"], claims["act"]) = (json!(subject), act);
            stage.check(&header(), &claims).map(|token| token.identity.caller.principal.to_string())
        };
        for (subject, act, expected) in [
            ("stranger", json!({ "sub": "abc" }), TokenError::Delegation),
            ("namesake", json!({ "sub": "abc" }), TokenError::Delegation),
            ("operator", json!({ "sub": "abc" }), TokenError::Delegation),
            ("person", json!({ "sub": "operator" }), TokenError::Delegation),
            ("person", json!({ "sub": "person" }), TokenError::Delegation),
            ("abc", json!({ "sub": "person" }), TokenError::Delegation),
            ("nobody", json!({ "sub": "abc" }), TokenError::Unregistered),
            ("person", json!({ "sub": "nobody", "act": { "sub": "abc" } }), TokenError::Unregistered),
            ("person", json!({ "sub": "abc", "iss": "https://other" }), TokenError::Invalid),
            ("person", json!({ "sub": "abc", "iss": 7 }), TokenError::Invalid),
            ("person", json!([{ "sub": "abc" }]), TokenError::Invalid),
        ] {
            assert_eq!(check(subject, act.clone()), Err(expected), "{subject} {act}");
        }
        assert_eq!(check("person", json!({ "sub": "abc" })).as_deref(), Ok("shopper"));
        assert_eq!(check("person", json!({ "sub": "abc", "iss": "https://idp" })).as_deref(), Ok("shopper"));
        let nested = json!({ "sub": "abc", "client_id": "x", "act": { "sub": "operator" } });
        assert_eq!(check("person", nested).as_deref(), Ok("shopper"), "who acted before is history");
    }

    #[test]
    fn a_registered_subject_is_who_it_is_here() {
        let stage = Stage::new();
        let token = stage.check(&header(), &claims()).unwrap();
        assert_eq!((token.identity.caller.principal.as_str(), token.bound_to.as_deref()), ("shopper", Some("thumb")));
        assert_eq!(token.identity.caller.method, AuthMethod::Dpop);
        let mut bearer = claims();
        bearer.as_object_mut().unwrap().remove("cnf");
        bearer["aud"] = json!(["https://them", "https://us"]);
        let token = stage.check(&header(), &bearer).unwrap();
        assert_eq!((token.bound_to, token.identity.caller.method), (None, AuthMethod::Bearer));
    }
}
