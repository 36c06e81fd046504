//! The HTTP surface: one route table, translations, no rule and no SQL.
//!
//! The promise: every route answers JSON; every refusal is a problem document with a stable code, both values and
//! whether to try again (the x402 routes answer in their protocol's own shapes); a caller is who its token says; a
//! route without a caller takes its tenant from the configuration, never from the request.
//!
//! Read in this order: [`router`], [`call`], [`problem`], then a route's module.
//!
//! What it never does: decide about money, mandates or payments; speak to a database or a chain; log a token.

pub mod a2a;
mod acp;
mod approve;
mod books;
pub mod call;
mod carrier;
pub mod checkout;
mod closing;
mod console;
mod delegation;
mod discovery;
mod docs;
mod errors;
pub mod events;
pub mod facilitator;
pub mod hop;
mod intake;
mod kill;
pub mod limits;
pub mod listen;
mod mandates;
pub mod mcp;
pub mod metrics;
mod oauth;
mod observe;
mod page;
mod paging;
pub mod paid;
mod payments;
pub mod problem;
mod reviews;
mod sales;
mod schema;
mod signatures;
mod status;
pub mod till;
pub mod upstream;
pub mod wallet;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Router, middleware};
use engine::Engine;
use http::{StatusCode, Uri};
use identity::callers::Callers;
use ledger::id::TenantId;
use ledger::store::StoreError;
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use x402::chain::At;
use x402::network::NetworkNames;

use crate::limits::{Limiter, Unread};
use crate::metrics::{Metrics, MetricsReaders};
use crate::problem::{Problem, ok};

/// What the routes share.
#[derive(Clone)]
pub struct App {
    pub engine: Arc<Engine>,
    pub callers: Arc<Callers>,
    pub settings: Arc<Settings>,
    pub limiter: Arc<Limiter>,
    pub metrics: Arc<Metrics>,
}

/// What routes without a caller need to know.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub public_url: String,
    /// Where browsers find the pages: the same, or `localhost` where that is a number of this machine.
    pub page_url: String,
    /// Whose book the facilitator routes post in.
    pub facilitator: Option<TenantId>,
    /// Whose roots a caller without a token verifies under; `None` where verifying takes a token.
    pub verifier: Option<TenantId>,
    pub metrics: MetricsReaders,
    /// Priced resources, for discovery.
    pub listing: Vec<Value>,
    /// What x402 version 1 calls networks.
    pub names: NetworkNames,
    /// Streams end when it says so: they would never by themselves.
    pub stopped: Option<tokio::sync::watch::Receiver<bool>>,
}

impl Settings {
    /// Ends when the service does; never where nothing says so.
    pub(crate) async fn stopping(&self) {
        match self.stopped.clone() {
            Some(mut stopped) => drop(stopped.wait_for(|stopped| *stopped).await),
            None => std::future::pending().await,
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Purser",
        description = "Mandates, payments and books for AI agents that spend real money. Errors are RFC 9457 problem documents with a stable `code`."
    ),
    paths(
        mandates::ask,
        mandates::pending,
        mandates::approval,
        mandates::delegation,
        mandates::decide,
        reviews::list,
        reviews::answer,
        mandates::cart,
        mandates::verify,
        signatures::check,
        delegation::delegate,
        closing::close,
        mandates::show,
        mandates::spend,
        mandates::revoke,
        mandates::suspend,
        mandates::resume,
        payments::pay,
        payments::sign_in,
        payments::show,
        payments::outcome,
        payments::void,
        payments::refund,
        payments::evidence,
        sales::show,
        sales::refund,
        books::accounts,
        books::balance,
        books::trial_balance,
        books::transfers,
        books::journal,
        events::list,
        kill::stop,
        kill::list,
        kill::lift,
        oauth::token,
        oauth::metadata,
        carrier::verify,
        carrier::settle,
        carrier::supported,
        discovery::resources,
        discovery::search,
        discovery::well_known,
        jwks,
        did,
        status::list,
        docs::openapi,
        docs::show,
        errors::list,
        errors::show,
        metrics::show,
        acp::delegate::delegate,
        acp::redeem::verify,
        acp::redeem::capture,
        acp::redeem::void,
        acp::redeem::refund,
        acp::redeem::notice,
        acp::tokenize::tokenize,
        acp::tokenize::detokenize,
        acp::heard::hear,
        acp::heard::show,
        checkout::acp::open,
        checkout::acp::show,
        checkout::acp::change,
        checkout::acp::complete,
        checkout::acp::cancel,
        checkout::orders::show,
        checkout::orders::change,
        checkout::acp::discovery,
        checkout::acp::ap2,
        checkout::ucp::open,
        checkout::ucp::show,
        checkout::ucp::change,
        checkout::ucp::complete,
        checkout::ucp::cancel,
        checkout::ucp::profile,
        healthz,
        readyz
    ),
    components(schemas(schema::answers::Problem))
)]
struct Documentation;

/// The one route table. `paid` holds the priced routes, which bring their own layers; the doors of MCP call the table; A2A sells
/// beside it.
pub fn router(app: App, paid: Router, mcp: mcp::door::Setup, agent: Arc<a2a::sold::Shop>) -> Router {
    let (limiter, metrics) = (app.limiter.clone(), app.metrics.clone());
    let api = table(app.clone()).layer(middleware::from_fn(explain));
    table(app.clone())
        .merge(paid)
        .merge(approve::routes(app.clone()))
        .merge(console::routes(app.clone()))
        .merge(mcp::door::routes(app.clone(), api, mcp))
        .merge(a2a::door::routes(app.clone(), agent))
        .merge(acp::routes(app))
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(Arc::<Unread>::default(), intake::intake))
        .layer(middleware::from_fn_with_state(limiter, limits::admit))
        .layer(middleware::from_fn(explain))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(acp::speak))
        .layer(middleware::from_fn_with_state(metrics, observe::observe))
}

fn table(app: App) -> Router {
    Router::new()
        .route("/v1/mandates/intents", post(mandates::ask))
        .route("/v1/mandates/carts", post(mandates::cart))
        .route("/v1/mandates/payments", post(closing::close))
        .route("/v1/mandates/verify", post(mandates::verify))
        .route("/v1/signatures/verify", post(signatures::check))
        .route("/v1/mandates/{id}", get(mandates::show))
        .route("/v1/mandates/{id}/spend", get(mandates::spend))
        .route("/v1/mandates/{id}/delegate", post(delegation::delegate))
        .route("/v1/mandates/{id}/revoke", post(mandates::revoke))
        .route("/v1/mandates/{id}/suspend", post(mandates::suspend))
        .route("/v1/mandates/{id}/resume", post(mandates::resume))
        .route("/v1/approvals", get(mandates::pending))
        .route("/v1/approvals/{id}", get(mandates::approval))
        .route("/v1/approvals/{id}/delegation", get(mandates::delegation))
        .route("/v1/approvals/{id}/decision", post(mandates::decide))
        .route("/v1/reviews", get(reviews::list))
        .route("/v1/reviews/{id}", post(reviews::answer))
        .route("/v1/payments", post(payments::pay))
        .route("/v1/sign-ins", post(payments::sign_in))
        .route("/v1/payments/{id}", get(payments::show))
        .route("/v1/payments/{id}/outcome", post(payments::outcome))
        .route("/v1/payments/{id}/void", post(payments::void))
        .route("/v1/payments/{id}/refund", post(payments::refund))
        .route("/v1/payments/{id}/evidence", get(payments::evidence))
        .route("/v1/sales/{id}", get(sales::show))
        .route("/v1/sales/{id}/refund", post(sales::refund))
        .route("/v1/ledger/accounts", get(books::accounts))
        .route("/v1/ledger/accounts/{id}/balance", get(books::balance))
        .route("/v1/ledger/trial-balance", get(books::trial_balance))
        .route("/v1/ledger/transfers", get(books::transfers))
        .route("/v1/ledger/journal", get(books::journal))
        .route("/v1/events", get(events::list))
        .route("/v1/kill", post(kill::stop).get(kill::list))
        .route("/v1/kill/{id}", delete(kill::lift))
        .route("/oauth/token", post(oauth::token))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata))
        .route("/verify", post(carrier::verify))
        .route("/settle", post(carrier::settle))
        .route("/supported", get(carrier::supported))
        .route("/discovery/resources", get(discovery::resources))
        .route("/discovery/search", get(discovery::search))
        .route("/.well-known/x402", get(discovery::well_known))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/.well-known/did.json", get(did))
        .route("/status/{n}", get(status::list))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::show))
        .route("/errors", get(errors::list))
        .route("/errors/{code}", get(errors::show))
        .route("/metrics", get(metrics::show))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(app)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX))
}

async fn unknown(uri: Uri) -> Problem {
    Problem::not_found(uri.path())
}

/// axum's own refusals (405, a path that does not decode) get the shape of ours. `Allow` is added after this.
async fn explain(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    let status = response.status();
    let is_plain = !response.headers().contains_key(http::header::CONTENT_TYPE)
        || response
            .headers()
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    // What was paid and not delivered is said with its receipt, in the handler's own words.
    let is_paid = response.headers().contains_key(x402::wire::PAYMENT_RESPONSE);
    if !status.is_client_error() && !status.is_server_error() || !is_plain || is_paid {
        return response;
    }
    let problem = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            let method = problem::shown(method.as_str());
            let detail = format!("one of the methods that Allow names was expected, {method} came");
            Problem::new(status, "method_not_allowed", detail)
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(status, "body_too_large", "a shorter body was expected"),
        _ => Problem::new(status, "request_refused", format!("the request was refused with {status}")),
    };
    problem.into_response()
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let detail = "a defect of this service; its log has the cause under this request's id";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail).into_response()
}

#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "trust",
    description = "The public keys of every tenant of this service that roots or receipts verify under.",
    responses((status = 200)))]
async fn jwks(State(app): State<App>) -> Response {
    let mut keys = Vec::new();
    for tenant in app.engine.tenants() {
        keys.extend(tenant.roots.iter().chain(tenant.receipt_keys.iter()).map(|key| Value::Object(key.to_jwk())));
    }
    ok(json!({ "keys": keys }))
}

#[utoipa::path(get, path = "/.well-known/did.json", tag = "trust",
    description = "The did:web document of this service: what its sellers sign offers and receipts with.",
    responses((status = 200), (status = 404)))]
async fn did(State(app): State<App>) -> Response {
    match engine::attest::did_web(&app.settings.public_url) {
        Some(did) => ok(engine::attest::did_document(&did, &app.engine.tenants())),
        None => Problem::new(StatusCode::NOT_FOUND, "not_found", "this service has no address that a DID can name")
            .into_response(),
    }
}

#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200)))]
async fn healthz() -> Response {
    ok(json!({ "status": "ok" }))
}

#[utoipa::path(get, path = "/readyz", tag = "operations", description = "Whether store and chain answer.",
    responses((status = 200), (status = 503)))]
async fn readyz(State(app): State<App>) -> Response {
    let mut parts = serde_json::Map::new();
    for tenant in app.engine.tenants() {
        let store = app.engine.store.head(&tenant.id).await;
        parts.insert(format!("store/{}", tenant.id), said(store.as_ref().map(|_| ()).map_err(StoreError::to_string)));
    }
    let chain = app.engine.chain.block(At::Latest).await;
    parts.insert("chain".into(), said(chain.map(|_| ()).map_err(|error| error.to_string())));
    let ready = parts.values().all(|part| part == "ok");
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({ "ready": ready, "parts": parts }))).into_response()
}

fn said(result: Result<(), String>) -> Value {
    match result {
        Ok(()) => "ok".into(),
        Err(why) => problem::shown(&why).into(),
    }
}
