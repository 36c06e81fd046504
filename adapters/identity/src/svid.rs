//! JWT-SVIDs (SPIFFE, `JWT-SVID.md`): a workload says who it is with a token of its trust domain, read with the domain's
//! bundle (`SPIFFE_Trust_Domain_and_Bundle.md`).
//!
//! An SVID is a bearer token: whoever holds it may show it. So by itself it reads at most; to spend or to decide it is
//! exchanged at the token endpoint for a token of ours that is bound to a key (`draft-ietf-oauth-spiffe-client-auth`).
//! Only ids that are registered here are anybody; a trust domain vouches for nobody else.

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use ledger::id::AuthMethod;
use mandates::base64url;
use mandates::json::Object;
use serde_json::Value;

use crate::issuer::{IssuerKeys, Subjects};
use crate::token::{Token, TokenError};

pub const SCHEME: &str = "spiffe://";
/// JWT-SVID section 3: these and no other algorithms, as far as the library has them.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// SPIFFE-ID section 2.
const ID_BYTES_MAX: usize = 2_048;
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
const LEEWAY_SECONDS: i64 = 5;
/// SVIDs live for minutes; one that lives longer than this says more than we believe.
const LIFE_SECONDS_MAX: i64 = 3_600;

/// The trust domain of a SPIFFE id, as `spiffe://domain`; nothing where the text is no id of a workload.
pub fn trust_domain(id: &str) -> Option<&str> {
    let rest = id.strip_prefix(SCHEME)?;
    let (name, path) = rest.split_once('/')?;
    let is_of = |text: &str, letters: fn(&u8) -> bool| {
        !text.is_empty() && text.bytes().all(|byte| letters(&byte) || byte.is_ascii_digit() || b"._-".contains(&byte))
    };
    let segments = path.split('/').all(|part| is_of(part, u8::is_ascii_alphabetic) && part != "." && part != "..");
    let is_id = is_of(name, u8::is_ascii_lowercase)
        && name.len() <= TRUST_DOMAIN_BYTES_MAX
        && segments
        && id.len() <= ID_BYTES_MAX;
    id.get(..SCHEME.len().saturating_add(name.len())).filter(|_| is_id)
}

/// The id that a token claims, unverified: whose bundle to look up.
pub fn claimed(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let payload = base64url::decode(token.split('.').nth(1)?)?;
    let claims = mandates::json::parse_object(&payload).ok()?;
    let id = claims.get("sub").and_then(Value::as_str)?;
    trust_domain(id).map(|_| id.to_owned())
}

/// An SVID of this id for one of these audiences, now, about somebody who is registered with its trust domain.
pub fn verify(
    token: &str,
    id: &str,
    audiences: &[&str],
    subjects: &Subjects,
    bundles: &IssuerKeys,
    now: i64,
) -> Result<Token, TokenError> {
    let invalid = |_| TokenError::Invalid;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Invalid);
    }
    let domain = trust_domain(id).ok_or(TokenError::Invalid)?;
    check_header(token)?;
    let header = decode_header(token).map_err(invalid)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(TokenError::Invalid);
    }
    let key = bundles.find_for(domain, header.kid.as_deref().ok_or(TokenError::Invalid)?, "jwt-svid")?;
    let mut validation = Validation::new(header.alg);
    // The library checks the signature alone: its clock is not ours.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims: Object = decode(token, &key, &validation).map_err(invalid)?.claims;
    let is_for_us = match claims.get("aud") {
        Some(Value::String(one)) => audiences.contains(&one.as_str()),
        Some(Value::Array(several)) => {
            several.iter().any(|one| one.as_str().is_some_and(|one| audiences.contains(&one)))
        }
        _ => false,
    };
    if claims.get("sub").and_then(Value::as_str) != Some(id) || !is_for_us {
        return Err(TokenError::Invalid);
    }
    let issued_at = in_time(&claims, now)?;
    let subject = subjects.get(domain).and_then(|known| known.get(id)).ok_or(TokenError::Unregistered)?;
    let mut identity = subject.identity.clone();
    identity.caller.method = AuthMethod::Bearer;
    Ok(Token { identity, bound_to: None, issued_at })
}

/// JWT-SVID section 2: `alg`, `kid` and `typ` (`JWT` or `JOSE`), and nothing else.
fn check_header(token: &str) -> Result<(), TokenError> {
    let header = token.split('.').next().and_then(base64url::decode).ok_or(TokenError::Invalid)?;
    let header = mandates::json::parse_object(&header).map_err(|_| TokenError::Invalid)?;
    let typ = header.get("typ").is_none_or(|typ| typ == "JWT" || typ == "JOSE");
    let is_bare = header.keys().all(|name| matches!(name.as_str(), "alg" | "kid" | "typ"));
    if typ && is_bare { Ok(()) } else { Err(TokenError::Invalid) }
}

/// Not over, begun, and soon over. `iat` and `nbf` may be left out: then it was issued as early as its end allows.
fn in_time(claims: &Object, now: i64) -> Result<i64, TokenError> {
    let seconds = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or(TokenError::Invalid),
    };
    let expires_at = seconds("exp")?.ok_or(TokenError::Invalid)?;
    if now >= expires_at.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::Expired);
    }
    let latest = now.saturating_add(LEEWAY_SECONDS);
    let (issued_at, not_before) = (seconds("iat")?, seconds("nbf")?);
    let begun = [issued_at, not_before].into_iter().flatten().all(|at| at <= latest);
    let is_short = expires_at <= now.saturating_add(LIFE_SECONDS_MAX);
    match begun && is_short {
        true => Ok(issued_at.unwrap_or_else(|| expires_at.saturating_sub(LIFE_SECONDS_MAX))),
        false => Err(TokenError::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine::Identity;
    use ledger::id::{Caller, CallerKind};
    use mandates::keys::{KeyId, LocalKey};
    use serde_json::json;

    use super::*;
    use crate::issuer::Subject;
    use crate::token::sign;

    const NOW: i64 = 1_000_000;
    const ID: &str = "spiffe://bank.example/agents/shopper";
    const US: &str = "https://us";

    fn key(seed: u8) -> LocalKey {
        LocalKey::from_random(&[seed; 32]).unwrap().named(KeyId::new("k1"))
    }

    fn bundle(key: &LocalKey, r#use: Value) -> IssuerKeys {
        let mut jwk = Value::Object(key.public().to_jwk());
        jwk["use"] = r#use;
        let keys = IssuerKeys::default();
        keys.learn("spiffe://bank.example", serde_json::from_value(json!({ "keys": [jwk] })).unwrap());
        keys
    }

    fn subjects() -> Subjects {
        let caller = Caller::new("shopper".parse().unwrap(), CallerKind::Agent, AuthMethod::Dpop);
        let identity = Identity { tenant: "main".parse().unwrap(), caller };
        let known = [(ID.to_owned(), Subject { identity, sponsor: None })].into();
        BTreeMap::from([("spiffe://bank.example".to_owned(), known)])
    }

    fn header() -> Value {
        json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" })
    }

    fn claims() -> Value {
        json!({ "sub": ID, "aud": [US], "exp": NOW + 300, "iat": NOW })
    }

    fn judged(header: &Value, claims: &Value, keys: &IssuerKeys) -> Result<Identity, TokenError> {
        let token = sign(&key(7), header, claims).unwrap();
        let id = claimed(&token).ok_or(TokenError::Invalid)?;
        verify(&token, &id, &[US], &subjects(), keys, NOW).map(|token| token.identity)
    }

    #[test]
    fn without_a_time_of_issue_it_is_as_old_as_it_can_be() {
        let keys = bundle(&key(7), json!("jwt-svid"));
        for (issued_at, expected) in [(json!(NOW - 10), NOW - 10), (json!(null), NOW + 300 - 3_600)] {
            let mut claims = claims();
            match issued_at.is_null() {
                true => drop(claims.as_object_mut().unwrap().remove("iat")),
                false => claims["iat"] = issued_at,
            }
            let token = sign(&key(7), &header(), &claims).unwrap();
            let found = verify(&token, ID, &[US], &subjects(), &keys, NOW).unwrap();
            assert_eq!(found.issued_at, expected);
        }
    }

    #[test]
    fn what_is_no_svid_for_us_now_about_somebody_known_is_refused() {
        let keys = bundle(&key(7), json!("jwt-svid"));
        for (member, value, expected) in [
            ("sub", json!("spiffe://bank.example/agents/other"), TokenError::Unregistered),
            ("sub", json!("spiffe://evil.example/agents/shopper"), TokenError::IssuerUnavailable),
            ("sub", json!("spiffe://bank.example"), TokenError::Invalid),
            ("sub", json!("shopper"), TokenError::Invalid),
            ("sub", json!(null), TokenError::Invalid),
            ("aud", json!("https://them"), TokenError::Invalid),
            ("aud", json!([]), TokenError::Invalid),
            ("aud", json!(null), TokenError::Invalid),
            ("exp", json!(NOW - 5), TokenError::Expired),
            ("exp", json!(NOW + 3_601), TokenError::Invalid),
            ("exp", json!(null), TokenError::Invalid),
            ("exp", json!("soon"), TokenError::Invalid),
            ("iat", json!(NOW + 60), TokenError::Invalid),
            ("nbf", json!(NOW + 60), TokenError::Invalid),
        ] {
            let mut claims = claims();
            claims[member] = value.clone();
            assert_eq!(judged(&header(), &claims, &keys).err(), Some(expected), "{member} {value}");
        }
        for (member, value) in [
            ("typ", json!("at+jwt")),
            ("typ", json!("dpop+jwt")),
            ("typ", json!(null)),
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!("EdDSA")),
            ("alg", json!("ES384")),
            ("kid", json!("k2")),
            ("kid", json!(null)),
            ("jku", json!("https://evil.example")),
            ("x5c", json!([])),
            ("crit", json!(["b64"])),
        ] {
            let mut header = header();
            header[member] = value.clone();
            assert_eq!(judged(&header, &claims(), &keys).err(), Some(TokenError::Invalid), "{member} {value}");
        }
        for r#use in [json!("x509-svid"), json!("sig"), json!(null)] {
            let keys = bundle(&key(7), r#use.clone());
            assert_eq!(
                judged(&header(), &claims(), &keys).err(),
                Some(TokenError::Invalid),
                "use {use}",
                r#use = r#use
            );
        }
        let forged = bundle(&key(8), json!("jwt-svid"));
        assert_eq!(judged(&header(), &claims(), &forged).err(), Some(TokenError::Invalid));
        // A domain that was taken back publishes no key.
        let empty = IssuerKeys::default();
        empty.learn("spiffe://bank.example", serde_json::from_value(json!({ "keys": [] })).unwrap());
        assert_eq!(judged(&header(), &claims(), &empty).err(), Some(TokenError::Invalid));
    }

    #[test]
    fn an_id_names_a_workload_of_a_domain() {
        for wrong in [
            "",
            "spiffe://",
            "spiffe:///a",
            "spiffe://bank.example",
            "spiffe://bank.example/",
            "spiffe://bank.example/a/",
            "spiffe://bank.example//a",
            "spiffe://bank.example/a/../b",
            "spiffe://bank.example/./b",
            "spiffe://Bank.example/a",
            "spiffe://bank.example:443/a",
            "spiffe://user@bank.example/a",
            "spiffe://bank.example/a?b",
            "spiffe://bank.example/a%62",
            "https://bank.example/a",
            "SPIFFE://bank.example/a",
        ] {
            assert_eq!(trust_domain(wrong), None, "{wrong}");
        }
        assert_eq!(trust_domain(&format!("spiffe://bank.example/{}", "a".repeat(2_048))), None);
        assert_eq!(trust_domain("spiffe://bank.example/ns/A_1/x.y-z"), Some("spiffe://bank.example"));
    }

    #[test]
    fn a_registered_workload_is_who_it_is_here() {
        let keys = bundle(&key(7), json!("jwt-svid"));
        let identity = judged(&header(), &claims(), &keys).unwrap();
        assert_eq!((identity.caller.principal.as_str(), identity.caller.method), ("shopper", AuthMethod::Bearer));
        let mut bare = header();
        bare.as_object_mut().unwrap().remove("typ");
        let mut one = claims();
        one["aud"] = json!(US);
        assert!(judged(&bare, &one, &keys).is_ok());
    }
}
