//! Proof of possession (RFC 9449): the caller signs this request, now, with the key that its token is bound to.

use mandates::base64url;
use mandates::json::Json;
use mandates::jws::Jws;
use mandates::keys::{LocalKey, PublicKey};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::replay::{Replay, Use};
use crate::same;

const TYPE: &str = "dpop+jwt";
const PROOF_BYTES_MAX: usize = 4 * 1024;
/// How old a proof may be (RFC 9449 section 11.1: a short window).
pub const PROOF_SECONDS_MAX: i64 = 60;
/// How far ahead a caller's clock may run.
const AHEAD_SECONDS_MAX: i64 = 5;
const ID_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("a DPoP proof was expected, none came")]
    Missing,
    #[error("one DPoP proof was expected; what came is none, or several")]
    Malformed,
    #[error("the proof is not signed by the key that it carries")]
    Signature,
    #[error("the proof is for another method")]
    Method,
    #[error("the proof is for another address")]
    Address,
    #[error("the proof is not of now")]
    Time,
    #[error("the proof was used before")]
    Replayed,
    #[error("the proof is for another token")]
    Token,
    #[error("the proof is by another key than the token is bound to")]
    Key,
    #[error("too many proofs are remembered; try again")]
    Busy,
}

impl ProofError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "dpop_proof_missing",
            Self::Malformed => "dpop_proof_malformed",
            Self::Signature => "dpop_proof_signature",
            Self::Method => "dpop_proof_method",
            Self::Address => "dpop_proof_address",
            Self::Time => "dpop_proof_time",
            Self::Replayed => "dpop_proof_replayed",
            Self::Token => "dpop_proof_token",
            Self::Key => "dpop_proof_key",
            Self::Busy => "dpop_busy",
        }
    }

    pub const fn retryable(self) -> bool {
        matches!(self, Self::Busy)
    }
}

/// The request that a proof must be for. `address` is our own public URL of it, without query and fragment.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub address: &'a str,
    pub now: i64,
}

/// Whether the proof comes with a token, which it must then name.
#[derive(Clone, Copy, Debug)]
pub enum With<'a> {
    Token(&'a str),
    /// At the token endpoint there is none yet.
    NoToken,
}

/// A proof that is true, and not used up yet. By key, so that nobody burns another's ids.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a proof that is not used up can be shown again"]
pub struct Proof {
    pub thumbprint: String,
    id: String,
    expires_at: i64,
}

impl Proof {
    /// Last, when all else of the call was found to be true: what is refused burns nothing.
    pub fn use_up(self, replay: &Replay, now: i64) -> Result<(), ProofError> {
        match replay.use_once(format!("{} {}", self.thumbprint, self.id), self.expires_at, now) {
            Use::First => Ok(()),
            Use::Again => Err(ProofError::Replayed),
            Use::Full => Err(ProofError::Busy),
        }
    }
}

/// Whether some key made this proof, for this request.
pub fn check(proof: &str, request: Request<'_>, with: With<'_>) -> Result<Proof, ProofError> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err(ProofError::Malformed);
    }
    let jws = Jws::parse(proof).map_err(|_| ProofError::Malformed)?;
    jws.check_header().map_err(|_| ProofError::Malformed)?;
    if jws.typ() != Some(TYPE) {
        return Err(ProofError::Malformed);
    }
    let jwk = jws.header().get("jwk").and_then(Json::as_object).ok_or(ProofError::Malformed)?;
    // A private key in a header is given away; whoever signs with it could be anyone.
    let key = PublicKey::from_jwk(jwk).map_err(|_| ProofError::Malformed)?;
    jws.verify(&key).map_err(|_| ProofError::Signature)?;
    let text = |name: &str| jws.payload().get(name).and_then(Json::as_str).ok_or(ProofError::Malformed);
    if text("htm")? != request.method {
        return Err(ProofError::Method);
    }
    if without_query(text("htu")?) != without_query(request.address) {
        return Err(ProofError::Address);
    }
    let issued_at = jws.payload().get("iat").and_then(Json::as_i64).ok_or(ProofError::Malformed)?;
    let age = request.now.checked_sub(issued_at).ok_or(ProofError::Time)?;
    if !(-AHEAD_SECONDS_MAX..=PROOF_SECONDS_MAX).contains(&age) {
        return Err(ProofError::Time);
    }
    if let With::Token(token) = with
        && !same(text("ath")?, &token_hash(token))
    {
        return Err(ProofError::Token);
    }
    let id = text("jti")?;
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(ProofError::Malformed);
    }
    let expires_at = issued_at.saturating_add(PROOF_SECONDS_MAX);
    Ok(Proof { thumbprint: key.thumbprint(), id: id.to_owned(), expires_at })
}

fn without_query(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or(address).trim_end_matches('/')
}

/// `ath`: RFC 9449 section 4.2.
pub fn token_hash(token: &str) -> String {
    base64url::encode(&Sha256::digest(token.as_bytes()))
}

/// A proof, for callers of ours. `id` must be new each time.
pub fn prove(key: &LocalKey, request: Request<'_>, with: With<'_>, id: &str) -> Option<String> {
    let header = json!({ "alg": "ES256", "typ": TYPE, "jwk": key.public().to_jwk() });
    let mut claims = json!({
        "jti": id, "htm": request.method, "htu": without_query(request.address), "iat": request.now,
    });
    if let With::Token(token) = with {
        claims["ath"] = token_hash(token).into();
    }
    crate::token::sign(key, &header, &claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// The thumbprint of the key, and the proof is used up.
    fn verify(proof: &str, request: Request<'_>, with: With<'_>, replay: &Replay) -> Result<String, ProofError> {
        let proof = check(proof, request, with)?;
        proof.clone().use_up(replay, request.now).map(|()| proof.thumbprint)
    }

    const HERE: Request<'_> = Request { method: "POST", address: "http://a/v1/payments", now: NOW };

    fn key(seed: u8) -> LocalKey {
        LocalKey::from_random(&[seed; 32]).unwrap()
    }

    #[test]
    fn a_proof_for_anything_else_is_refused() {
        let replay = Replay::default();
        let ours = key(1);
        let prove = |request, with, id: &str| super::prove(&ours, request, with, id).unwrap();
        let check = |proof: &str| verify(proof, HERE, With::Token("token"), &replay);
        let cases = [
            (prove(Request { method: "GET", ..HERE }, With::Token("token"), "1"), ProofError::Method),
            (prove(Request { address: "http://a/v1/other", ..HERE }, With::Token("token"), "2"), ProofError::Address),
            (
                prove(Request { address: "http://b/v1/payments", ..HERE }, With::Token("token"), "3"),
                ProofError::Address,
            ),
            (prove(Request { now: NOW - 61, ..HERE }, With::Token("token"), "4"), ProofError::Time),
            (prove(Request { now: NOW + 6, ..HERE }, With::Token("token"), "5"), ProofError::Time),
            (prove(HERE, With::Token("another"), "6"), ProofError::Token),
            (prove(HERE, With::NoToken, "7"), ProofError::Malformed),
            (prove(HERE, With::Token("token"), ""), ProofError::Malformed),
            (String::new(), ProofError::Malformed),
            ("a.b.c".into(), ProofError::Malformed),
            ("x".repeat(5_000), ProofError::Malformed),
        ];
        for (proof, expected) in cases {
            assert_eq!(check(&proof), Err(expected));
        }
        let good = prove(HERE, With::Token("token"), "8");
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(check(&String::from_utf8(bytes).unwrap()).is_err(), "byte {at} changed");
        }
        assert_eq!(check(&good), Ok(ours.public().thumbprint()), "what was refused burnt nothing");
        assert_eq!(check(&good), Err(ProofError::Replayed));
    }

    #[test]
    fn a_proof_whose_key_did_not_sign_is_refused() {
        let (ours, theirs) = (key(1), key(2));
        let header = json!({ "alg": "ES256", "typ": TYPE, "jwk": theirs.public().to_jwk() });
        let claims = json!({ "jti": "1", "htm": "POST", "htu": HERE.address, "iat": NOW, "ath": token_hash("token") });
        let forged = crate::token::sign(&ours, &header, &claims).unwrap();
        assert_eq!(verify(&forged, HERE, With::Token("token"), &Replay::default()), Err(ProofError::Signature));
        let mut jwk = ours.public().to_jwk();
        jwk.insert("d".into(), base64url::encode(&ours.expose_scalar().unwrap()).into());
        let private = json!({ "alg": "ES256", "typ": TYPE, "jwk": jwk });
        let given_away = crate::token::sign(&ours, &private, &claims).unwrap();
        assert_eq!(verify(&given_away, HERE, With::Token("token"), &Replay::default()), Err(ProofError::Malformed));
    }

    #[test]
    fn the_query_is_not_part_of_the_address() {
        let asked = Request { address: "http://a/v1/payments?page=2", ..HERE };
        let proof = prove(&key(1), HERE, With::Token("token"), "1").unwrap();
        assert!(verify(&proof, asked, With::Token("token"), &Replay::default()).is_ok());
    }
}
