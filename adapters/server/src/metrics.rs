//! What a monitor reads: OpenMetrics text. Labels are few and bounded: templates of routes, never a path or an id.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::error::EngineError;
use http::{Method, StatusCode, header};
use ledger::id::CallerKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::App;
use crate::call::CallerOrStranger;
use crate::problem::Problem;

/// Who may read the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsReaders {
    /// With a token.
    #[default]
    Operators,
    Everyone,
}

/// Seconds; a settlement waits for a block.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tenant {
    tenant: String,
}

pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    records: Family<Tenant, Gauge<u64, AtomicU64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("purser");
        let requests = Family::<Answered, Counter>::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let records = Family::<Tenant, Gauge<u64, AtomicU64>>::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_seconds", "How long an answer took", seconds.clone());
        registry.register("journal_records", "Records in a tenant's journal", records.clone());
        registry.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self { registry, requests, seconds, records }
    }
}

impl Metrics {
    pub fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let label = Answered { route: route.to_owned(), method: known(method), status: status.as_u16() };
        self.requests.get_or_create(&label).inc();
        self.seconds.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }
}

/// A method that somebody invented is no label of its own.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[utoipa::path(get, path = "/metrics", tag = "operations",
    description = "OpenMetrics text, for operators; for everyone where the configuration says so.",
    responses((status = 200, content_type = "application/openmetrics-text", body = String), (status = 401),
        (status = 403), (status = 503)))]
pub async fn show(State(app): State<App>, caller: CallerOrStranger) -> Result<Response, Problem> {
    if app.settings.metrics == MetricsReaders::Operators {
        let identity = caller.0?;
        if identity.caller.kind != CallerKind::Operator {
            let detail = format!("an operator reads the figures; the caller is of kind {}", identity.caller.kind);
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
    }
    for tenant in app.engine.tenants() {
        let (records, _) = app.engine.store.head(&tenant.id).await.map_err(EngineError::from)?;
        app.metrics.records.get_or_create(&Tenant { tenant: tenant.id.to_string() }).set(records);
    }
    let mut text = String::new();
    let broken = |error: std::fmt::Error| EngineError::Broken(error.to_string());
    encode(&mut text, &app.metrics.registry).map_err(broken)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
