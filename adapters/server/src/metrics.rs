//! What a monitor reads: OpenMetrics text. Labels are few and bounded: templates of routes, never a path or an id.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use alloy_primitives::U256;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::error::EngineError;
use engine::tenant::FacilitatorRole;
use http::{Method, StatusCode, header};
use ledger::gate::Scope;
use ledger::id::CallerKind;
use ledger::settlement::SettlementState;
use ledger::spend::SpendState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use x402::chain::At;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    tenant: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBlock {
    block: &'static str,
}

/// Payments that a human must look at, where there is one.
const WATCHED: [SpendState; 2] = [SpendState::Unknown, SpendState::SpentOtherwise];
/// How many of them are counted at most.
const WATCHED_MAX: u32 = 500;

pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    records: Family<Tenant, Gauge<u64, AtomicU64>>,
    payments: Family<InState, Gauge<u64, AtomicU64>>,
    oldest: Family<InState, Gauge>,
    stops: Family<Tenant, Gauge<u64, AtomicU64>>,
    fenced: Family<Tenant, Gauge<u64, AtomicU64>>,
    relayer: Family<Tenant, Gauge>,
    relayer_max: Family<Tenant, Gauge>,
    wallet: Family<Tenant, Gauge>,
    wallet_max: Family<Tenant, Gauge>,
    owed: Family<InState, Gauge<u64, AtomicU64>>,
    reorganised: Counter,
    chain_up: Gauge,
    block_age: Family<OfBlock, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("purser");
        let requests = Family::<Answered, Counter>::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let records = Family::<Tenant, Gauge<u64, AtomicU64>>::default();
        let (payments, oldest) =
            (Family::<InState, Gauge<u64, AtomicU64>>::default(), Family::<InState, Gauge>::default());
        let (stops, fenced): (Family<Tenant, Gauge<u64, AtomicU64>>, Family<Tenant, _>) = Default::default();
        let relayer = Family::<Tenant, Gauge>::default();
        let [relayer_max, wallet, wallet_max] = [(); 3].map(|()| Family::<Tenant, Gauge>::default());
        let owed = Family::<InState, Gauge<u64, AtomicU64>>::default();
        registry.register("relayer_max_gwei", "What a facilitator may have for gas", relayer_max.clone());
        registry.register("hot_wallet_units", "What a wallet has of the token that its ceiling names", wallet.clone());
        registry.register("hot_wallet_max", "That ceiling", wallet_max.clone());
        registry.register("owed", "Sales that were given and never paid, or paid and not given", owed.clone());
        let reorganised = Counter::default();
        let (chain_up, block_age) = (Gauge::default(), Family::<OfBlock, Gauge>::default());
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_seconds", "How long an answer took", seconds.clone());
        registry.register("journal_records", "Records in a tenant's journal", records.clone());
        registry.register("payments", "Payments in a state that a human must look at", payments.clone());
        registry.register("oldest_payment_seconds", "How long ago the oldest of them was reserved", oldest.clone());
        registry.register("stops", "Scopes that are stopped", stops.clone());
        registry.register("fenced", "Whether a restored book waits behind its fence", fenced.clone());
        registry.register("relayer_gwei", "What a facilitator has for gas", relayer.clone());
        registry.register("reorganised", "Settlements that the chain took back, as seen here", reorganised.clone());
        registry.register("chain_up", "Whether the chain answered", chain_up.clone());
        registry.register("block_age_seconds", "How old a block is by the clock here", block_age.clone());
        registry.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self {
            registry,
            requests,
            seconds,
            records,
            payments,
            oldest,
            stops,
            fenced,
            relayer,
            relayer_max,
            wallet,
            wallet_max,
            owed,
            reorganised,
            chain_up,
            block_age,
        }
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
        look_at_book(&app, &tenant).await?;
    }
    look_at_chain(&app).await;
    let reorganised = &app.metrics.reorganised;
    reorganised.inc_by(app.engine.taken_back().saturating_sub(reorganised.get()));
    let mut text = String::new();
    let broken = |error: std::fmt::Error| EngineError::Broken(error.to_string());
    encode(&mut text, &app.metrics.registry).map_err(broken)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn look_at_book(app: &App, tenant: &engine::tenant::Tenant) -> Result<(), EngineError> {
    let (store, metrics) = (&app.engine.store, &app.metrics);
    let label = Tenant { tenant: tenant.id.to_string() };
    let (records, _) = store.head(&tenant.id).await?;
    metrics.records.get_or_create(&label).set(records);
    let gates = store.closed_gates(&tenant.id).await?;
    metrics.stops.get_or_create(&label).set(u64::try_from(gates.len()).unwrap_or(u64::MAX));
    let is_fenced = gates.iter().any(|gate| gate.scope == Scope::Fence);
    metrics.fenced.get_or_create(&label).set(u64::from(is_fenced));
    for state in WATCHED {
        let found = store.spends_in(&tenant.id, state, None, WATCHED_MAX).await?;
        let label = InState { tenant: tenant.id.to_string(), state: state.as_str() };
        metrics.payments.get_or_create(&label).set(u64::try_from(found.len()).unwrap_or(u64::MAX));
        let held = match found.iter().map(|spend| spend.hold.seq).min() {
            Some(seq) => store.records(&tenant.id, seq, 1).await?.first().map(|(_, effects)| effects.at.seconds()),
            None => None,
        };
        let age = held.map_or(0, |held| app.engine.clock.now().seconds().saturating_sub(held));
        metrics.oldest.get_or_create(&label).set(age);
    }
    // The one that has the least: it is the next to stand still.
    let mut least = None;
    for relayer in tenant.facilitator.iter().flat_map(FacilitatorRole::relayers) {
        if let Ok(wei) = app.engine.chain.native_balance(relayer.address()).await {
            least = Some(least.map_or(wei, |least: U256| least.min(wei)));
        }
    }
    if let Some(wei) = least {
        let gwei = i64::try_from(wei / U256::from(1_000_000_000_u64)).unwrap_or(i64::MAX);
        metrics.relayer.get_or_create(&label).set(gwei);
    }
    look_at_owed(app, tenant).await?;
    look_at_ceilings(app, tenant).await;
    Ok(())
}

async fn look_at_owed(app: &App, tenant: &engine::tenant::Tenant) -> Result<(), EngineError> {
    let found = app.engine.store.owed_settlements(&tenant.id, WATCHED_MAX).await?;
    for state in [SettlementState::Unpaid, SettlementState::Undelivered] {
        let count = found.iter().filter(|sale| sale.state == state).count();
        let label = InState { tenant: tenant.id.to_string(), state: state.as_str() };
        app.metrics.owed.get_or_create(&label).set(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok(())
}

async fn look_at_ceilings(app: &App, tenant: &engine::tenant::Tenant) {
    let (metrics, label) = (&app.metrics, Tenant { tenant: tenant.id.to_string() });
    if let Some(gwei) = tenant.limits.ceilings.relayer_gwei {
        metrics.relayer_max.get_or_create(&label).set(i64::try_from(gwei).unwrap_or(i64::MAX));
    }
    if let (Some((token, most)), Some(wallet)) = (tenant.limits.ceilings.wallet, &tenant.wallet)
        && let Ok(address) = wallet.address().parse()
        && let Ok(units) = app.engine.chain.balance_of(token, address, At::Latest).await
    {
        metrics.wallet.get_or_create(&label).set(i64::try_from(units).unwrap_or(i64::MAX));
        metrics.wallet_max.get_or_create(&label).set(i64::try_from(most.get()).unwrap_or(i64::MAX));
    }
}

async fn look_at_chain(app: &App) {
    let now = app.engine.clock.now().seconds();
    let mut is_up = true;
    for (block, at) in [("latest", At::Latest), ("finalized", At::Finalized)] {
        match app.engine.chain.block(at).await {
            Ok(found) => {
                let age = now.saturating_sub(i64::try_from(found.timestamp).unwrap_or(i64::MAX));
                app.metrics.block_age.get_or_create(&OfBlock { block }).set(age);
            }
            Err(_) => is_up = false,
        }
    }
    app.metrics.chain_up.set(i64::from(is_up));
}
