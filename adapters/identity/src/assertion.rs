//! How a client proves who it is to get a token: a JWT that it signs itself (RFC 7523 section 3, `private_key_jwt`).

use mandates::json::Json;
use mandates::jws::Jws;
use mandates::keys::PublicKey;

use crate::replay::{Replay, Use};

const ASSERTION_BYTES_MAX: usize = 4 * 1024;
/// The longest life of an assertion: it is made for one request.
const LIFE_SECONDS_MAX: i64 = 300;
const LEEWAY_SECONDS: i64 = 5;
const ID_BYTES_MAX: usize = 256;

/// One error for a client that is unknown and one that is not who it says: nobody learns which names exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    #[error("the client assertion is not one of a known client for this service")]
    Invalid,
    #[error("the client assertion has expired, or lives too long")]
    Time,
    #[error("the client assertion was used before")]
    Replayed,
    #[error("too many assertions are remembered; try again")]
    Busy,
}

/// The `sub` that an assertion claims, unverified: whose key to look up.
pub fn claimed_client(assertion: &str) -> Option<String> {
    if assertion.len() > ASSERTION_BYTES_MAX {
        return None;
    }
    let jws = Jws::parse(assertion).ok()?;
    jws.payload().get("sub").and_then(Json::as_str).map(str::to_owned)
}

/// An assertion that is true, and not used up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an assertion that is not used up can be shown again"]
pub struct Asserted {
    name: String,
    forgotten_at: i64,
}

impl Asserted {
    /// Last, when all else of the request was found to be true: what is refused burns nothing.
    pub fn use_up(self, replay: &Replay, now: i64) -> Result<(), AssertionError> {
        match replay.use_once(self.name, self.forgotten_at, now) {
            Use::First => Ok(()),
            Use::Again => Err(AssertionError::Replayed),
            Use::Full => Err(AssertionError::Busy),
        }
    }
}

/// Signed by this client's key, for one of these audiences (the issuer or its token endpoint), now.
pub fn check(
    assertion: &str,
    client: &str,
    key: &PublicKey,
    audiences: &[&str],
    now: i64,
) -> Result<Asserted, AssertionError> {
    let invalid = |_| AssertionError::Invalid;
    if assertion.len() > ASSERTION_BYTES_MAX {
        return Err(AssertionError::Invalid);
    }
    let jws = Jws::parse(assertion).map_err(invalid)?;
    jws.check_header().map_err(invalid)?;
    jws.verify(key).map_err(invalid)?;
    let text = |name: &str| jws.payload().get(name).and_then(Json::as_str).ok_or(AssertionError::Invalid);
    let seconds = |name: &str| jws.payload().get(name).and_then(Json::as_i64);
    if text("iss")? != client || text("sub")? != client {
        return Err(AssertionError::Invalid);
    }
    let named: Vec<&str> = match jws.payload().get("aud") {
        Some(Json::String(audience)) => vec![audience],
        // Several audiences would let each of them present it to the others.
        Some(Json::Array(several)) if several.len() == 1 => several.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    if !named.iter().any(|audience| audiences.contains(audience)) {
        return Err(AssertionError::Invalid);
    }
    let expires_at = seconds("exp").ok_or(AssertionError::Invalid)?;
    let issued_at = seconds("iat").unwrap_or(now);
    let not_before = seconds("nbf").unwrap_or(now);
    let is_now = expires_at > now.saturating_sub(LEEWAY_SECONDS)
        && expires_at <= now.saturating_add(LIFE_SECONDS_MAX)
        && issued_at <= now.saturating_add(LEEWAY_SECONDS)
        && not_before <= now.saturating_add(LEEWAY_SECONDS);
    if !is_now {
        return Err(AssertionError::Time);
    }
    let id = text("jti")?;
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(AssertionError::Invalid);
    }
    Ok(Asserted { name: format!("{client} {id}"), forgotten_at: expires_at.saturating_add(LEEWAY_SECONDS) })
}

#[cfg(test)]
mod tests {
    use mandates::keys::LocalKey;
    use serde_json::json;

    use super::*;
    use crate::token::sign;

    const NOW: i64 = 1_000_000;

    fn check(assertion: &str, key: &LocalKey, replay: &Replay) -> Result<(), AssertionError> {
        let audiences = ["http://a", "http://a/oauth/token"];
        super::check(assertion, "home:shopper", key.public(), &audiences, NOW)?.use_up(replay, NOW)
    }

    #[test]
    fn an_assertion_that_is_not_this_clients_for_us_now_is_refused() {
        let key = LocalKey::from_random(&[1; 32]).unwrap();
        let other = LocalKey::from_random(&[2; 32]).unwrap();
        let replay = Replay::default();
        let header = json!({ "alg": "ES256", "typ": "JWT" });
        let good = json!({ "iss": "home:shopper", "sub": "home:shopper", "aud": "http://a/oauth/token", "exp": NOW + 60, "iat": NOW, "jti": "1" });
        for (member, value, expected) in [
            ("iss", json!("home:other"), AssertionError::Invalid),
            ("sub", json!("home:other"), AssertionError::Invalid),
            ("aud", json!("http://b/oauth/token"), AssertionError::Invalid),
            ("aud", json!(["http://a", "http://b"]), AssertionError::Invalid),
            ("aud", json!(7), AssertionError::Invalid),
            ("exp", json!(NOW - 5), AssertionError::Time),
            ("exp", json!(NOW + 301), AssertionError::Time),
            ("exp", json!("soon"), AssertionError::Invalid),
            ("iat", json!(NOW + 6), AssertionError::Time),
            ("nbf", json!(NOW + 6), AssertionError::Time),
            ("jti", json!(""), AssertionError::Invalid),
            ("jti", json!(null), AssertionError::Invalid),
        ] {
            let mut claims = good.clone();
            claims[member] = value;
            assert_eq!(check(&sign(&key, &header, &claims).unwrap(), &key, &replay), Err(expected), "{member}");
        }
        let forged = sign(&other, &header, &good).unwrap();
        assert_eq!(check(&forged, &key, &replay), Err(AssertionError::Invalid));
        let assertion = sign(&key, &header, &good).unwrap();
        assert_eq!(claimed_client(&assertion).as_deref(), Some("home:shopper"));
        assert_eq!(check(&assertion, &key, &replay), Ok(()), "what was refused burnt nothing");
        assert_eq!(check(&assertion, &key, &replay), Err(AssertionError::Replayed));
    }
}
