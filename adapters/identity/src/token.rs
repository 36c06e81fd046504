//! Short-lived access tokens: who calls, in whose book, and with which key.
//!
//! An ES256 JWT of type `at+jwt` (RFC 9068): `iss`, `aud`, `sub`, `iat`, `exp`, `jti`, ours `tenant`, `kind` and, where it was
//! exchanged for one of an outside issuer, `came_by`; for a bound one `cnf.jkt` (RFC 9449 section 6.1). Unbound ones are minted by `dev`, `demo` and operators.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::Identity;
use ledger::id::{AuthMethod, Caller, CallerKind, Digest};
use mandates::base64url;
use mandates::json::{Json, Members};
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
const TOKENS_REMEMBERED_MAX: usize = 4_096;

/// Why a token is not taken. Says nothing about what the token contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("an access token was expected, none came")]
    Missing,
    #[error("this call spends or decides: a token bound to a key (DPoP) was expected, a bearer token came")]
    Unbound,
    #[error("a token that is bound to a key comes with the scheme DPoP and a proof; it came as a bearer token")]
    Scheme,
    #[error("the token is not one of this service's")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    #[error("the principal of this token is not registered here")]
    Unregistered,
    #[error("who acts for somebody (act) is an agent, for the person who answers for it; this token says otherwise")]
    Delegation,
    #[error("the keys of the token's issuer are not known yet")]
    IssuerUnavailable,
}

impl TokenError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Unbound => "sender_constraint_required",
            Self::Scheme => "token_bound",
            Self::Invalid => "token_invalid",
            Self::Expired => "token_expired",
            Self::Unregistered => "principal_unknown",
            Self::Delegation => "delegation_refused",
            Self::IssuerUnavailable => "issuer_unavailable",
        }
    }
}

/// What a token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// The RFC 7638 thumbprint of the only key that may use it.
    Key(&'a str),
    /// Whoever holds it may use it.
    Bearer,
}

/// A token that is ours and in time.
#[derive(Clone, Debug)]
pub struct Token {
    pub identity: Identity,
    /// The thumbprint that it is bound to.
    pub bound_to: Option<String>,
    /// Unix seconds; the earliest that it can have been where it does not say.
    pub issued_at: i64,
}

/// Signs tokens.
pub struct Minter {
    key: LocalKey,
    verifier: Verifier,
}

impl Minter {
    /// `issuer` is the service's public URL, and the only audience.
    pub fn new(key: LocalKey, issuer: impl Into<String>) -> Self {
        let verifier = Verifier { key: key.public().clone(), issuer: issuer.into(), signed: Mutex::default() };
        Self { key, verifier }
    }

    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub fn issuer(&self) -> &str {
        &self.verifier.issuer
    }

    /// `id` names the token; it need not be secret, only its own.
    pub fn mint(&self, identity: &Identity, binding: Binding<'_>, id: &str, now: i64, seconds: u32) -> Option<String> {
        self.mint_for(identity, binding, id, (now, seconds), None)
    }

    /// The same; `mandate` is meant where a call names none.
    pub fn mint_for(
        &self,
        identity: &Identity,
        binding: Binding<'_>,
        id: &str,
        (now, seconds): (i64, u32),
        mandate: Option<&str>,
    ) -> Option<String> {
        let header = json!({ "alg": "ES256", "typ": TYPE, "kid": self.key.key_id().as_str() });
        let mut claims = json!({
            "iss": self.issuer(), "aud": self.issuer(), "sub": identity.caller.principal, "tenant": identity.tenant,
            "kind": identity.caller.kind.as_str(), "iat": now, "exp": now.saturating_add(i64::from(seconds)), "jti": id,
        });
        if let Binding::Key(thumbprint) = binding {
            claims["cnf"] = json!({ "jkt": thumbprint });
        }
        // Whom somebody came by stays with them, for the stops.
        if let Some(issuer) = &identity.caller.issuer {
            claims["came_by"] = issuer.as_str().into();
        }
        if let Some(mandate) = mandate {
            claims["mandate"] = mandate.into();
        }
        sign(&self.key, &header, &claims)
    }
}

/// The mandate that a token names. Of a token that was verified before, and of nothing else.
pub fn named_mandate(verified: &str) -> Option<String> {
    let payload = base64url::decode(verified.split('.').nth(1)?)?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims.get("mandate").and_then(Value::as_str).map(str::to_owned)
}

/// A compact JWS over these claims.
pub fn sign(key: &LocalKey, header: &Value, claims: &Value) -> Option<String> {
    let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
    let input = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(input.as_bytes()).ok()?;
    Some(format!("{input}.{}", base64url::encode(&signature)))
}

/// Reads tokens.
pub struct Verifier {
    key: PublicKey,
    issuer: String,
    signed: Mutex<Signed>,
}

/// Tokens that the verifier's key signed, by the SHA-256 of all their bytes: the same tomorrow, and half of what a call with
/// a bearer token costs. Whether one is in time is asked each time. The oldest goes first; strangers cannot push one out.
#[derive(Default)]
struct Signed {
    digests: BTreeSet<[u8; 32]>,
    oldest_first: VecDeque<[u8; 32]>,
}

impl Signed {
    fn keep(&mut self, digest: [u8; 32]) {
        if self.digests.insert(digest) {
            self.oldest_first.push_back(digest);
        }
        if self.oldest_first.len() > TOKENS_REMEMBERED_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }
}

impl Verifier {
    /// Every change is whole before the lock is given back.
    fn signed(&self) -> MutexGuard<'_, Signed> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn verify(&self, token: &str, now: i64) -> Result<Token, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let jws = Jws::parse(token).map_err(|_| TokenError::Invalid)?;
        jws.check_header().map_err(|_| TokenError::Invalid)?;
        if jws.typ() != Some(TYPE) || jws.kid() != Some(self.key.key_id().as_str()) {
            return Err(TokenError::Invalid);
        }
        let digest = Digest::of(token.as_bytes()).0;
        if !self.signed().digests.contains(&digest) {
            jws.verify(&self.key).map_err(|_| TokenError::Invalid)?;
            self.signed().keep(digest);
        }
        self.read(jws.payload(), now)
    }

    fn read(&self, claims: Members<'_>, now: i64) -> Result<Token, TokenError> {
        let text = |name: &str| claims.get(name).and_then(Json::as_str).ok_or(TokenError::Invalid);
        if text("iss")? != self.issuer || text("aud")? != self.issuer {
            return Err(TokenError::Invalid);
        }
        let issued_at = in_time(claims, now)?;
        let kind: CallerKind = text("kind")?.parse().map_err(|_| TokenError::Invalid)?;
        if kind == CallerKind::Service {
            return Err(TokenError::Invalid); // a part of the service calls itself in process, never over HTTP
        }
        let principal = text("sub")?.parse().map_err(|_| TokenError::Invalid)?;
        let tenant = text("tenant")?.parse().map_err(|_| TokenError::Invalid)?;
        let bound_to = confirmation(claims)?;
        let method = if bound_to.is_some() { AuthMethod::Dpop } else { AuthMethod::Bearer };
        let mut caller = Caller::new(principal, kind, method);
        caller.issuer = match claims.get("came_by") {
            None => None,
            Some(issuer) => Some(issuer.as_str().and_then(|text| text.parse().ok()).ok_or(TokenError::Invalid)?),
        };
        Ok(Token { identity: Identity { tenant, caller }, bound_to, issued_at })
    }
}

/// Issued, not over, and never for long. When it was issued.
pub(crate) fn in_time<'t>(claims: impl Into<Members<'t>>, now: i64) -> Result<i64, TokenError> {
    let claims = claims.into();
    let seconds = |name: &str| claims.get(name).and_then(Json::as_i64).ok_or(TokenError::Invalid);
    let (issued_at, expires_at) = (seconds("iat")?, seconds("exp")?);
    if now >= expires_at.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::Expired);
    }
    let lives = expires_at.checked_sub(issued_at).ok_or(TokenError::Invalid)?;
    if issued_at > now.saturating_add(LEEWAY_SECONDS) || !(0..=LIFE_SECONDS_MAX).contains(&lives) {
        return Err(TokenError::Invalid);
    }
    Ok(issued_at)
}

/// The thumbprint that a token is bound to (RFC 9449 section 6.1). Bound in another way is bound, and not for us to read.
pub(crate) fn confirmation<'t>(claims: impl Into<Members<'t>>) -> Result<Option<String>, TokenError> {
    match claims.into().get("cnf") {
        None => Ok(None),
        Some(confirmation) => {
            let thumbprint = confirmation.get("jkt").and_then(Json::as_str).ok_or(TokenError::Invalid)?;
            Ok(Some(thumbprint.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minter(seed: u8, issuer: &str) -> Minter {
        Minter::new(LocalKey::from_random(&[seed; 32]).unwrap(), issuer)
    }

    fn identity(kind: CallerKind) -> Identity {
        let caller = Caller::new("someone".parse().unwrap(), kind, AuthMethod::Bearer);
        Identity { tenant: "home".parse().unwrap(), caller }
    }

    fn token(minter: &Minter) -> String {
        minter.mint(&identity(CallerKind::Agent), Binding::Bearer, "1", 1_000, 60).unwrap()
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
        let service = ours.mint(&identity(CallerKind::Service), Binding::Bearer, "1", 1_000, 60).unwrap();
        assert!(matches!(verifier.verify(&service, 1_000), Err(TokenError::Invalid)));
        let for_ever = ours.mint(&identity(CallerKind::Agent), Binding::Bearer, "1", 1_000, 10 * 24 * 3_600).unwrap();
        assert!(matches!(verifier.verify(&for_ever, 1_000), Err(TokenError::Invalid)));
        assert!(verifier.verify(&good, 1_000).is_ok());
        assert!(ours.verifier().signed().digests.contains(&Digest::of(good.as_bytes()).0), "known from here on");
        assert!(matches!(verifier.verify(&good, 1_066), Err(TokenError::Expired)), "known, and over");
        assert!(matches!(minter(2, "http://a").verifier().verify(&good, 1_000), Err(TokenError::Invalid)));
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(verifier.verify(&text, 1_000).is_err(), "byte {at} changed and the token still stands");
        }
    }

    #[test]
    fn of_known_tokens_so_many_are_kept() {
        let mut signed = Signed::default();
        for number in 0..=TOKENS_REMEMBERED_MAX {
            signed.keep(Digest::of(&number.to_be_bytes()).0);
        }
        assert_eq!((signed.digests.len(), signed.oldest_first.len()), (TOKENS_REMEMBERED_MAX, TOKENS_REMEMBERED_MAX));
        assert!(!signed.digests.contains(&Digest::of(&0_usize.to_be_bytes()).0), "the oldest went");
    }

    #[test]
    fn our_own_token_says_who_calls() {
        let ours = minter(1, "http://a");
        let found = ours.verifier().verify(&token(&ours), 1_030).unwrap();
        assert_eq!((found.identity.caller, found.bound_to), (identity(CallerKind::Agent).caller, None));
        let bound = ours.mint(&identity(CallerKind::Agent), Binding::Key("thumb"), "1", 1_000, 60).unwrap();
        let bound = ours.verifier().verify(&bound, 1_030).unwrap();
        assert_eq!((bound.bound_to.as_deref(), bound.identity.caller.method), (Some("thumb"), AuthMethod::Dpop));
        assert_eq!(bound.identity.tenant.as_str(), "home");
        let mut outside = identity(CallerKind::Agent);
        outside.caller.issuer = Some("spiffe://bank.example".parse().unwrap());
        let exchanged = ours.mint(&outside, Binding::Key("thumb"), "1", 1_000, 60).unwrap();
        let exchanged = ours.verifier().verify(&exchanged, 1_030).unwrap();
        assert_eq!(exchanged.identity.caller.issuer, outside.caller.issuer, "a stop of the issuer finds it");
    }
}
