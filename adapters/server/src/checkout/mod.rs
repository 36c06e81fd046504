//! A shop's checkouts over HTTP, by ACP and by UCP. They stand beside the route table: their messages, errors and versions
//! are other protocols'.
//!
//! A bearer token is enough to open a checkout, and UCP asks for none: nothing is bought by it. What pays is a mandate,
//! and that is bound to its audience and nonce.

pub(crate) mod acp;
pub(crate) mod orders;
pub mod sandbox;
mod signed;
pub(crate) mod ucp;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::checkout::{Key, Reply};
use engine::error::EngineError;
use engine::ports::MandateSigner;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ledger::id::{Digest, TenantId};
use mandates::json::Object;
use serde_json::Value;

use crate::App;
use crate::limits::Peer;
use crate::problem::Problem;

/// Longest `Idempotency-Key` and `Request-Id`, in bytes.
const NAME_BYTES_MAX: usize = 255;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Whose shop it is, and how profiles of platforms are read.
#[derive(Clone)]
pub struct Setup {
    pub tenant: TenantId,
    pub profiles: Arc<dyn Profiles>,
    /// Whether UCP's platforms must sign what they ask (RFC 9421).
    pub signed_only: bool,
    /// In a dev service only.
    pub sandbox: Option<sandbox::Sandbox>,
}

/// Profiles of platforms, at addresses that anybody may name: whoever fetches them guards against that.
#[async_trait]
pub trait Profiles: Send + Sync {
    async fn profile(&self, url: &str) -> Result<Object, NoProfile>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoProfile {
    /// No address that is ever asked.
    Url(String),
    Unreachable(String),
}

#[derive(Clone)]
pub(crate) struct Doors {
    app: App,
    setup: Setup,
}

pub fn routes(app: App, setup: Setup) -> Router {
    let doors = Doors { app, setup };
    let router = Router::new()
        .route("/checkout_sessions", post(acp::open))
        .route("/checkout_sessions/{id}", get(acp::show).post(acp::change))
        .route("/checkout_sessions/{id}/complete", post(acp::complete))
        .route("/checkout_sessions/{id}/cancel", post(acp::cancel))
        .route("/.well-known/acp.json", get(acp::discovery))
        .route("/acp/ap2.json", get(acp::ap2))
        .route("/orders/{id}", get(orders::show).post(orders::change))
        .route("/checkout-sessions", post(ucp::open))
        .route("/checkout-sessions/{id}", get(ucp::show).put(ucp::change))
        .route("/checkout-sessions/{id}/complete", post(ucp::complete))
        .route("/checkout-sessions/{id}/cancel", post(ucp::cancel))
        .route("/.well-known/ucp", get(ucp::profile))
        .with_state(doors.clone());
    match doors.setup.sandbox.clone() {
        Some(sandbox) => router.merge(sandbox::routes(doors, sandbox)),
        None => router,
    }
}

impl Doors {
    fn shop(&self) -> Result<(commerce::checkout::Shop, mandates::keys::KeySet), Problem> {
        let tenant = self.app.engine.tenant(&self.setup.tenant)?;
        let role = tenant.shop.as_ref().ok_or(EngineError::NotConfigured("shop"))?;
        let keys = mandates::keys::KeySet::new([self.signer()?.public().clone()]);
        Ok((role.shop.clone(), keys.map_err(EngineError::from)?))
    }

    /// What the shop signs with.
    fn signer(&self) -> Result<Arc<dyn MandateSigner>, Problem> {
        let tenant = self.app.engine.tenant(&self.setup.tenant)?;
        let role = tenant.shop.as_ref().ok_or(EngineError::NotConfigured("shop"))?;
        let merchant = tenant.merchants.get(&role.merchant);
        let merchant = merchant.ok_or(EngineError::NotConfigured("merchant of the shop"))?;
        Ok(merchant.signer.clone())
    }
}

/// A header that names something: once, not too long. It is opaque: bytes beyond ASCII are characters of their own.
fn name(headers: &HeaderMap, header: &HeaderName) -> Result<Option<String>, String> {
    let mut values = headers.get_all(header).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(header) {
            true => Err(format!("one {header} was expected, several came")),
            false => Ok(None),
        };
    };
    let bytes = value.as_bytes();
    match (1..=NAME_BYTES_MAX).contains(&bytes.len()) {
        true => Ok(Some(bytes.iter().copied().map(char::from).collect())),
        false => Err(format!("{header} has 1 to {NAME_BYTES_MAX} characters; {} came", bytes.len())),
    }
}

/// Where somebody calls from who does not prove who they are. Whoever is in this process has no address.
fn address(parts: &Parts) -> String {
    parts.extensions.get::<Peer>().map_or_else(|| "address:none".to_owned(), |peer| format!("address:{peer}"))
}

fn key(parts: &Parts, text: String, fingerprint: Digest) -> Key {
    Key { text, path: format!("{} {}", parts.method, parts.uri.path()), fingerprint }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// With what was named echoed, as far as it can be.
fn answer(headers: &HeaderMap, reply: Reply) -> Response {
    let mut response = (status(reply.status), axum::Json(reply.body)).into_response();
    let answered = response.headers_mut();
    for header in [IDEMPOTENCY_KEY, REQUEST_ID] {
        if let (Ok(Some(_)), Some(value)) = (name(headers, &header), headers.get(&header)) {
            answered.insert(header, value.clone());
        }
    }
    if reply.replayed {
        answered.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(seconds) = reply.retry_after {
        answered.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if reply.status == 401 {
        answered.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What anybody may keep for a while.
fn published(body: Value) -> Response {
    let cache = [(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"))];
    (cache, axum::Json(body)).into_response()
}

/// An answer that was made here, not by the engine.
fn said(status: u16, body: Value) -> Reply {
    let retry_after = matches!(status, 409 | 429 | 503).then_some(1);
    Reply { status, body, replayed: false, retry_after }
}
