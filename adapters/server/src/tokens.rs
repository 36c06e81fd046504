//! Short-lived signed bearer tokens: who calls, in whose book. Proof of possession comes with real callers; until then
//! these are minted by `dev`, `demo` and an operator who holds the master key.
//!
//! An ES256 JWT of type `at+jwt` (RFC 9068): `iss`, `aud`, `sub`, `iat`, `exp`, `jti`, and ours: `tenant`, `kind`.

use engine::Identity;
use ledger::id::{AuthMethod, Caller, CallerKind};
use mandates::base64url;
use mandates::json::Object;
use mandates::jws::Jws;
use mandates::keys::{LocalKey, PublicKey};
use serde_json::{Value, json};

/// The longest token that is read.
const TOKEN_BYTES_MAX: usize = 4 * 1024;
/// How far the clocks of minter and verifier may be apart.
const LEEWAY_SECONDS: i64 = 5;
/// No token lives longer, whatever it says.
const LIFE_SECONDS_MAX: i64 = 24 * 3_600;
const TYPE: &str = "at+jwt";

/// Why a token is not taken. Says nothing about what the token contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("a bearer token was expected, none came")]
    Missing,
    #[error("the token is not one of this service's")]
    Invalid,
    #[error("the token has expired")]
    Expired,
}

impl TokenError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Invalid => "token_invalid",
            Self::Expired => "token_expired",
        }
    }
}

/// Signs tokens.
pub struct Minter {
    key: LocalKey,
    issuer: String,
}

impl Minter {
    /// `issuer` is the service's public URL, and the only audience.
    pub fn new(key: LocalKey, issuer: impl Into<String>) -> Self {
        Self { key, issuer: issuer.into() }
    }

    pub fn verifier(&self) -> Verifier {
        Verifier { key: self.key.public().clone(), issuer: self.issuer.clone() }
    }

    /// `id` names the token; it need not be secret, only its own.
    pub fn mint(&self, identity: &Identity, id: &str, now: i64, seconds: u32) -> Option<String> {
        let header = json!({ "alg": "ES256", "typ": TYPE, "kid": self.key.key_id().as_str() });
        let claims = json!({
            "iss": self.issuer, "aud": self.issuer, "sub": identity.caller.principal, "tenant": identity.tenant,
            "kind": identity.caller.kind.as_str(), "iat": now, "exp": now.saturating_add(i64::from(seconds)), "jti": id,
        });
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(input.as_bytes()).ok()?;
        Some(format!("{input}.{}", base64url::encode(&signature)))
    }
}

/// Reads tokens.
#[derive(Clone)]
pub struct Verifier {
    key: PublicKey,
    issuer: String,
}

impl Verifier {
    /// The value of `Authorization`.
    pub fn identify(&self, authorization: Option<&[u8]>, now: i64) -> Result<Identity, TokenError> {
        let header = authorization.ok_or(TokenError::Missing)?;
        let text = std::str::from_utf8(header).map_err(|_| TokenError::Invalid)?;
        let (scheme, token) = text.split_once(' ').ok_or(TokenError::Invalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Missing);
        }
        self.verify(token.trim(), now)
    }

    pub fn verify(&self, token: &str, now: i64) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let jws = Jws::parse(token).map_err(|_| TokenError::Invalid)?;
        jws.check_header().map_err(|_| TokenError::Invalid)?;
        if jws.typ() != Some(TYPE) || jws.kid() != Some(self.key.key_id().as_str()) {
            return Err(TokenError::Invalid);
        }
        jws.verify(&self.key).map_err(|_| TokenError::Invalid)?;
        self.read(&jws.payload, now)
    }

    fn read(&self, claims: &Object, now: i64) -> Result<Identity, TokenError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(TokenError::Invalid);
        let seconds = |name: &str| claims.get(name).and_then(Value::as_i64).ok_or(TokenError::Invalid);
        if text("iss")? != self.issuer || text("aud")? != self.issuer {
            return Err(TokenError::Invalid);
        }
        let (issued_at, expires_at) = (seconds("iat")?, seconds("exp")?);
        let lives = expires_at.checked_sub(issued_at).ok_or(TokenError::Invalid)?;
        if issued_at > now.saturating_add(LEEWAY_SECONDS) || !(0..=LIFE_SECONDS_MAX).contains(&lives) {
            return Err(TokenError::Invalid);
        }
        if now >= expires_at.saturating_add(LEEWAY_SECONDS) {
            return Err(TokenError::Expired);
        }
        let kind: CallerKind = text("kind")?.parse().map_err(|_| TokenError::Invalid)?;
        if kind == CallerKind::Service {
            return Err(TokenError::Invalid); // a part of the service calls itself in process, never over HTTP
        }
        let principal = text("sub")?.parse().map_err(|_| TokenError::Invalid)?;
        let tenant = text("tenant")?.parse().map_err(|_| TokenError::Invalid)?;
        Ok(Identity { tenant, caller: Caller { principal, kind, method: AuthMethod::Bearer } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minter(seed: u8, issuer: &str) -> Minter {
        Minter::new(LocalKey::from_random(&[seed; 32]).unwrap(), issuer)
    }

    fn identity(kind: CallerKind) -> Identity {
        let caller = Caller { principal: "someone".parse().unwrap(), kind, method: AuthMethod::Bearer };
        Identity { tenant: "home".parse().unwrap(), caller }
    }

    fn token(minter: &Minter) -> String {
        minter.mint(&identity(CallerKind::Agent), "1", 1_000, 60).unwrap()
    }

    #[test]
    fn a_forged_stale_or_foreign_token_is_refused() {
        let ours = minter(1, "http://a");
        let verifier = ours.verifier();
        let good = token(&ours);
        let none =
            format!("{}.{}.", base64url::encode(br#"{"alg":"none","typ":"at+jwt"}"#), good.split('.').nth(1).unwrap());
        assert!(matches!(verifier.verify(&none, 1_000), Err(TokenError::Invalid)));
        assert!(matches!(verifier.verify(&token(&minter(2, "http://a")), 1_000), Err(TokenError::Invalid)));
        assert!(matches!(verifier.verify(&token(&minter(1, "http://b")), 1_000), Err(TokenError::Invalid)));
        assert!(matches!(verifier.verify(&good, 1_066), Err(TokenError::Expired)));
        assert!(matches!(verifier.verify(&good, 900), Err(TokenError::Invalid)), "from the future");
        assert!(matches!(verifier.verify("", 1_000), Err(TokenError::Invalid)));
        assert!(matches!(verifier.verify(&"a.".repeat(3_000), 1_000), Err(TokenError::Invalid)));
        let service = ours.mint(&identity(CallerKind::Service), "1", 1_000, 60).unwrap();
        assert!(matches!(verifier.verify(&service, 1_000), Err(TokenError::Invalid)));
        let for_ever = ours.mint(&identity(CallerKind::Agent), "1", 1_000, 10 * 24 * 3_600).unwrap();
        assert!(matches!(verifier.verify(&for_ever, 1_000), Err(TokenError::Invalid)));
        assert!(matches!(verifier.identify(None, 1_000), Err(TokenError::Missing)));
        assert!(matches!(verifier.identify(Some(b"Basic abc"), 1_000), Err(TokenError::Missing)));
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(verifier.verify(&text, 1_000).is_err(), "byte {at} changed and the token still stands");
        }
    }

    #[test]
    fn our_own_token_says_who_calls() {
        let ours = minter(1, "http://a");
        let header = format!("Bearer {}", token(&ours));
        let found = ours.verifier().identify(Some(header.as_bytes()), 1_030).unwrap();
        assert_eq!(found.caller, identity(CallerKind::Agent).caller);
        assert_eq!(found.tenant.as_str(), "home");
    }
}
