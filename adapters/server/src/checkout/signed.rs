//! Requests that a platform signed, and answers that the shop signs (RFC 9421, as UCP's `signatures.md` has it).
//!
//! Whoever names a profile without a signature is anybody. Whoever signs is the one that publishes the profile: what they open
//! is theirs, and nobody gets at it by naming the same profile unsigned. What is signed and does not hold is refused.
//!
//! UCP keeps replays out by the `Idempotency-Key`, which a signed write covers. A nonce, where one comes, is used once.

use axum::body::Body;
use axum::response::Response;
use commerce::signatures::{
    Bare, CONTENT_DIGEST, Finding, Keys, Message, SIGNATURE, SIGNATURE_INPUT, Subject, UCP_REQUEST, Unsigned, Verified,
    content_digest, is_signed, verify,
};
use commerce::store::ANSWER_SECONDS;
use engine::error::EngineError;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use mandates::json::Object;
use serde_json::Value;

use super::Doors;
use crate::problem::Problem;

/// Longer than any checkout.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a request is not taken for its sender's.
pub(super) enum Unproven {
    Finding(Finding),
    Failed(Problem),
}

impl From<Finding> for Unproven {
    fn from(finding: Finding) -> Self {
        Self::Finding(finding)
    }
}

impl From<EngineError> for Unproven {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.into())
    }
}

/// The parts of the address that this service is reached at, as a signer knows it: whatever stands between may call it
/// something else.
struct Address {
    scheme: String,
    authority: String,
    path: String,
}

fn address(doors: &Doors, parts: &Parts) -> Address {
    let public = url::Url::parse(&doors.app.settings.public_url).ok();
    let host = public.as_ref().and_then(url::Url::host_str).unwrap_or_default();
    let port = public.as_ref().and_then(url::Url::port);
    let before = public.as_ref().map_or("", |url| url.path().trim_end_matches('/'));
    Address {
        scheme: public.as_ref().map_or_else(String::new, |url| url.scheme().to_owned()),
        authority: port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
        path: format!("{before}{}", parts.uri.path()),
    }
}

fn with<T>(doors: &Doors, parts: &Parts, body: &[u8], look: impl FnOnce(&Message<'_>) -> T) -> T {
    let Address { scheme, authority, path } = address(doors, parts);
    let (method, query) = (parts.method.as_str(), parts.uri.query());
    let subject = Subject::Request { method, scheme: &scheme, authority: &authority, path: &path, query };
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    look(&Message { subject, fields, body })
}

/// Whether a request says that it is signed.
pub(super) fn claims(doors: &Doors, parts: &Parts) -> bool {
    with(doors, parts, &[], is_signed)
}

/// Holds a request's signature against the keys of the profile that it names, and uses its nonce up.
pub(super) async fn prove(doors: &Doors, parts: &Parts, body: &[u8], profile: &Object) -> Result<Verified, Unproven> {
    let lists = ["keys", "signing_keys"].into_iter().filter_map(|name| profile.get(name)).filter_map(Value::as_array);
    let keys = Keys::read(lists.flatten());
    let now = doors.app.engine.clock.now().seconds();
    let verified = with(doors, parts, body, |message| verify(message, &UCP_REQUEST, &keys, now))?;
    if let Some(nonce) = &verified.nonce {
        let found = nonce.until.saturating_sub(now);
        if found > ANSWER_SECONDS {
            return Err(Finding::Lifetime { most: ANSWER_SECONDS, found }.into());
        }
        let engine = &doors.app.engine;
        if !engine.first_use(&doors.setup.tenant, &verified.thumbprint, &nonce.text).await? {
            return Err(Finding::Replayed { nonce: nonce.text.clone() }.into());
        }
    }
    Ok(verified)
}

/// Signs an answer with the key of the shop's profile. An answer that cannot be signed is given as it is: UCP recommends
/// signatures on answers, and what is answered has happened.
pub(super) async fn sign(doors: &Doors, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await else {
        return Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).body(Body::empty()).unwrap_or_default();
    };
    if let Ok(digest) = HeaderValue::from_str(&content_digest(&body)) {
        parts.headers.insert(HeaderName::from_static(CONTENT_DIGEST), digest);
    }
    match signature(doors, &parts, &body).await {
        Ok(fields) => parts.headers.extend(fields),
        Err(why) => tracing::warn!("an answer was not signed: {why}"),
    }
    Response::from_parts(parts, Body::from(body))
}

type Fields = [(HeaderName, HeaderValue); 2];

async fn signature(doors: &Doors, parts: &http::response::Parts, body: &[u8]) -> Result<Fields, String> {
    let signer = doors.signer().map_err(|problem| problem.detail)?;
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let message = Message { subject: Subject::Response { status: parts.status.as_u16() }, fields, body };
    let parameters = vec![
        ("created".to_owned(), Bare::Integer(doors.app.engine.clock.now().seconds())),
        ("keyid".to_owned(), Bare::Text(signer.public().key_id().as_str().to_owned())),
    ];
    let covered = ["@status", CONTENT_DIGEST, "content-type"];
    let unsigned = Unsigned::over(&message, "sig1", &covered, parameters).map_err(|finding| finding.to_string())?;
    let (input, signature) = signer.sign_message(unsigned).await.map_err(|error| error.to_string())?;
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
    let named = HeaderName::from_static;
    Ok([(named(SIGNATURE_INPUT), value(&input)?), (named(SIGNATURE), value(&signature)?)])
}
