//! The service: engine, routes, sweeper, from a configuration. `serve`, `dev`, `demo` and the tests all run this.

mod collecting;
mod minting;
mod selling;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use chain::rpc::RpcChain;
use engine::ports::Facilitator;
use engine::reconcile::{SWEEP_REST, SWEEP_REST_MAX};
use engine::tenant::Tenant;
use engine::{Engine, Identity};
use identity::callers::{BearerPolicy, Callers, Client, Register, client_name};
use identity::issuer::Subject;
use identity::svid;
use ledger::id::{AuthMethod, Caller, CallerKind, PrincipalId, TenantId};
use mandates::keys::PublicKey;
use server::a2a;
use server::facilitator::{Local, Remote};
use server::limits::{Limiter, Rate, RateLimits};
use server::mcp::door::Setup;
use server::mcp::sold::Shop;
use server::metrics::MetricsReaders;
use server::paid::PaidRoute;
use server::paid::Selling;
use server::till::Books;
use server::{App, Settings};
use store::SqlStore;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::assembly::{AssemblyError, engine, names, principal, tenants};
use crate::config::{BearerConfig, Config, IssuerConfig, LimitsConfig, RateConfig};
use crate::fetch::{Fetcher, Outward, Poster};
use crate::issuers;
use crate::keys::Ring;
use crate::trust::file::TrustFile;
use crate::webhook::{self, Webhooks};

pub use minting::{is_known, mint, mint_under, minter};

/// How long a foreign facilitator may take to answer; FACILITATOR_TIMEOUT (seconds) in the environment says otherwise.
const FACILITATOR_SECONDS: u64 = 90;
/// How long requests under way may take to end when the service is asked to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// A running service.
pub struct Running {
    url: String,
    engine: Arc<Engine>,
    callers: Arc<Callers>,
    rpc: RpcChain,
    webhooks: Webhooks,
    /// What was started with, as far as it cannot change.
    fixed: Config,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub async fn start(
        config: &Config,
        ring: &Ring,
        store: SqlStore,
        rpc: RpcChain,
        listener: TcpListener,
    ) -> Result<Self, String> {
        let locals = Locals::default();
        let made = engine(config, ring, store.clone(), rpc.clone(), &|text| locals.make(text));
        let engine = Arc::new(made.map_err(|error| error.to_string())?);
        locals.connect(&engine);
        let callers = Arc::new(Callers::new(register(config, ring, Unvouched::Refused)?));
        let fetcher = Fetcher::new(config.reach())?;
        let webhooks = Webhooks::new(config, ring)?;
        let poster = Poster::new(config.reach())?;
        let (stop, stopped) = watch::channel(false);
        let router = routes(config, ring, &engine, &callers, stopped.clone())?;
        let every = Duration::from_millis(config.sweep_millis.max(50));
        let tasks = vec![
            tokio::spawn(server::listen::serve(listener, router, until(stopped.clone()))),
            tokio::spawn(sweep(engine.clone(), every, stopped.clone())),
            tokio::spawn(collecting::collect(engine.clone(), stopped.clone())),
            tokio::spawn(collecting::claim(engine.clone(), every, stopped.clone())),
            tokio::spawn(collecting::see_to_holds(engine.clone(), every, stopped.clone())),
            tokio::spawn(webhook::deliver(webhooks.clone(), engine.clone(), store, poster, stopped.clone())),
            tokio::spawn(issuers::keep_fresh(callers.clone(), fetcher, stopped)),
        ];
        Ok(Self { url: config.public_url(), engine, callers, rpc, webhooks, fixed: config.fixed(), stop, tasks })
    }

    /// Takes up principals, payees, rates, caps, limits and keys; what is under way ends under what it began with.
    /// Where anything else changed nothing is taken up.
    pub fn reload(&self, config: &Config, ring: &Ring) -> Result<(), String> {
        let same = |config: &Config| serde_json::to_value(config).map_err(|error| error.to_string());
        if same(&self.fixed)? != same(&config.fixed())? {
            return Err("more changed than a running service takes up; restart it".into());
        }
        let register = register(config, ring, Unvouched::LeftOut)?;
        let locals = Locals::default();
        let tenants = tenants(config, ring, &self.rpc, &|text| locals.make(text)).map_err(|error| error.to_string())?;
        locals.connect(&self.engine);
        self.webhooks.replace(config, ring)?;
        self.engine.replace_tenants(tenants);
        self.callers.replace(register);
        Ok(())
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes nothing new, lets what is under way end, and ends.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            if tokio::time::timeout(DRAIN, task).await.is_err() {
                tracing::warn!("a part of the service did not end in time");
            }
        }
    }
}

/// Facilitators of this process, which need the engine that needs them.
#[derive(Default)]
pub(crate) struct Locals(std::sync::Mutex<Vec<Arc<Local>>>);

impl Locals {
    pub(crate) fn make(&self, text: &str) -> Result<Arc<dyn Facilitator>, AssemblyError> {
        let wrong = |why: String| AssemblyError::Tenant { tenant: "sell.facilitator".into(), why };
        if let Some(tenant) = text.strip_prefix("local:") {
            let tenant = tenant.parse().map_err(|_| wrong(format!("`{tenant}` is no tenant")))?;
            let local = Arc::new(Local::new(tenant));
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(local.clone());
            return Ok(local);
        }
        let seconds = std::env::var("FACILITATOR_TIMEOUT").ok().and_then(|text| text.parse().ok());
        let timeout = Duration::from_secs(seconds.unwrap_or(FACILITATOR_SECONDS));
        Ok(Arc::new(Remote::new(text, timeout).map_err(wrong)?))
    }

    pub(crate) fn connect(self, engine: &Arc<Engine>) {
        for local in self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            local.connect(engine);
        }
    }
}

fn routes(
    config: &Config,
    ring: &Ring,
    engine: &Arc<Engine>,
    callers: &Arc<Callers>,
    stopped: watch::Receiver<bool>,
) -> Result<Router, String> {
    let public_url = config.public_url();
    let verifier = config.open_verifier.as_ref().map(|id| id.parse().map_err(|_| format!("`{id}` is no tenant")));
    let metrics = if config.open_metrics { MetricsReaders::Everyone } else { MetricsReaders::Operators };
    let mut settings =
        Settings { public_url: public_url.clone(), verifier: verifier.transpose()?, metrics, ..Settings::default() };
    settings.stopped = Some(stopped);
    settings.page_url = config.page_url();
    settings.names = names(&config.chain).map_err(|error| error.to_string())?;
    let (mut paid, mut shop, mut agent) = (Router::new(), Shop::default(), a2a::sold::Shop::default());
    let since = jiff::Timestamp::now().to_string();
    for tenant in &config.tenants {
        let id: TenantId = tenant.id.parse().map_err(|_| format!("`{}` is no tenant", tenant.id))?;
        if tenant.facilitate.is_some()
            && let Some(other) = settings.facilitator.replace(id.clone())
        {
            return Err(format!("one tenant has the facilitator's routes; {other} and {id} were given"));
        }
        let sold = tenant.sell.as_ref().map(|sell| sell.paid_routes(&config.chain, ring, &tenant.id));
        let sold = sold.transpose()?.unwrap_or_default();
        settings.listing.extend(sold.iter().filter_map(|route| route.listing(&public_url, &since)));
        ask_carriers(engine, &id, &sold);
        let books = Books::new(engine.clone(), id, &public_url);
        let till: Arc<dyn paywall::Till> = Arc::new(books.clone());
        let selling =
            Selling { public_url: &public_url, till: till.clone(), names: &settings.names, assets: &engine.assets };
        let router = server::paid::router(sold, &selling).map_err(|error| error.to_string())?;
        paid = paid.merge(router);
        selling::sell_tools(&mut shop, config, tenant, &till)?;
        selling::sell_skills(&mut agent, config, tenant, &books, &selling)?;
    }
    let (limiter, metrics) = (Arc::new(Limiter::new(rates(&config.limits))), Arc::default());
    let (engine, callers, settings) = (engine.clone(), callers.clone(), Arc::new(settings));
    let app = App { engine, callers, settings, limiter, metrics };
    if let Some(setup) = crate::shop::setup(config)? {
        if setup.sandbox.is_some() {
            let _ = app.engine.checkout_tokens.set(Arc::new(server::checkout::sandbox::PlayMoney));
        }
        paid = paid.merge(server::checkout::routes(app.clone(), setup));
    }
    let mcp = Setup { outside: Arc::new(Outward::new(config.reach())?), shop: Arc::new(shop) };
    Ok(server::router(app, paid, mcp, Arc::new(agent)))
}

/// Who says that they do not carry what is sold is named in the log when the service begins.
fn ask_carriers(engine: &Arc<Engine>, tenant: &TenantId, sold: &[PaidRoute]) {
    let carriers = engine.tenant(tenant).ok().and_then(|tenant| tenant.seller.clone()).map(|seller| seller.carriers);
    let Some(carriers) = carriers else { return };
    // A price by `upto` goes to the one account that its payer permits.
    for scheme in [x402::exact::SCHEME, x402::auth_capture::SCHEME] {
        let mut offers = sold.iter().flat_map(|route| &route.offers);
        if let Some(offer) = offers.find(|offer| offer.scheme == scheme).cloned() {
            let carriers = carriers.clone();
            tokio::spawn(async move { carriers.look(&offer).await });
        }
    }
}

fn rates(config: &LimitsConfig) -> RateLimits {
    let rate = |rate: RateConfig| {
        let is_limit = rate.per_second > 0 && rate.burst > 0;
        is_limit.then_some(Rate { per_second: rate.per_second, burst: rate.burst })
    };
    RateLimits {
        principal: rate(config.principal),
        anonymous: rate(config.anonymous),
        trusted_proxies: config.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
    }
}

/// A principal whose issuer the trust file does not name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unvouched {
    /// A service does not start like that.
    Refused,
    /// One that runs takes the file up all the same: whoever is withdrawn is withdrawn now.
    LeftOut,
}

/// Every principal of a configuration, and how each proves itself.
fn register(config: &Config, ring: &Ring, unvouched: Unvouched) -> Result<Register, String> {
    let mut register = Register {
        minter: minter(config, ring)?,
        principals: BTreeMap::new(),
        clients: BTreeMap::new(),
        subjects: BTreeMap::new(),
        bundles: BTreeMap::new(),
        policy: match config.bearer {
            BearerConfig::Reading => BearerPolicy::Reading,
            BearerConfig::Everything => BearerPolicy::Everything,
        },
    };
    for tenant in &config.tenants {
        let trust = tenant.trust.as_ref().map(|path| TrustFile::read(path)).transpose()?;
        // Keys of a domain are the domain's, whichever tenant names them; two tenants do not name two.
        for (domain, bundle) in
            trust.iter().map(TrustFile::bundles).collect::<Result<Vec<_>, _>>()?.into_iter().flatten()
        {
            let (said, former) = (format!("{bundle:?}"), register.bundles.insert(domain.clone(), bundle));
            if former.is_some_and(|former| format!("{former:?}") != said) {
                return Err(format!("the trust files name two bundles of {domain}"));
            }
        }
        let people = tenant.people.iter().map(|one| (&one.id, CallerKind::User, &one.jwk, &one.issuer, None));
        let agents = tenant.agents.iter().map(|one| (&one.id, CallerKind::Agent, &one.jwk, &one.issuer, one.build));
        let merchants = tenant.merchants.iter().map(|one| (&one.id, CallerKind::Merchant, &one.jwk, &one.issuer, None));
        let operators = tenant.operators.iter().map(|one| (&one.id, CallerKind::Operator, &one.jwk, &one.issuer, None));
        for (id, kind, jwk, issuer, build) in people.chain(agents).chain(merchants).chain(operators) {
            let mut identity = identity(&tenant.id, id, kind, AuthMethod::Dpop)?;
            identity.caller.build = build;
            let mut issuer = issuer.as_ref();
            if let (Some(trust), Some(IssuerConfig { url, .. })) = (&trust, issuer)
                && !trust.vouches(url, kind)
            {
                let file = format!("the trust file of {} names for no {kind}", tenant.id);
                let why = format!("{kind} {id} comes by {url}, which {file}");
                if unvouched == Unvouched::Refused {
                    return Err(why);
                }
                tracing::warn!("{why}: refused from now on");
                issuer = None;
            }
            let sponsor = tenant.agents.iter().find(|agent| kind == CallerKind::Agent && agent.id == *id);
            let sponsor =
                sponsor.map(|agent| principal(&agent.sponsor)).transpose().map_err(|error| error.to_string())?;
            enter(&mut register, &identity, jwk.as_ref(), issuer.map(|issuer| (issuer, sponsor)))?;
        }
    }
    Ok(register)
}

fn enter(
    register: &mut Register,
    identity: &Identity,
    jwk: Option<&mandates::json::Object>,
    issuer: Option<(&IssuerConfig, Option<PrincipalId>)>,
) -> Result<(), String> {
    let (tenant, caller) = (&identity.tenant, &identity.caller);
    let id = &caller.principal;
    if let Some(jwk) = jwk {
        let key = PublicKey::from_jwk(jwk).map_err(|error| format!("the key of {id}: {error}"))?;
        let client = Client { identity: identity.clone(), key };
        // `client_id` says no kind: a name is one client.
        if register.clients.insert(client_name(tenant.as_str(), id.as_str()), client).is_some() {
            return Err(format!("{id} of tenant {tenant} is registered twice"));
        }
    }
    if let Some((issuer, sponsor)) = issuer {
        let is_domain = issuer.url.starts_with(svid::SCHEME);
        if is_domain && !register.bundles.contains_key(&issuer.url) {
            return Err(format!("{id} comes by {}, whose bundle no trust file names under [[callers]]", issuer.url));
        }
        if is_domain && svid::trust_domain(&issuer.subject) != Some(issuer.url.as_str()) {
            let expected = format!("an id of {}", issuer.url);
            return Err(format!("the subject of {id}: {expected} was expected, `{}` is there", issuer.subject));
        }
        let mut identity = identity.clone();
        identity.caller.issuer = Some(issuers::named(&issuer.url)?);
        let subjects = register.subjects.entry(issuer.url.clone()).or_default();
        if subjects.insert(issuer.subject.clone(), Subject { identity, sponsor }).is_some() {
            return Err(format!("subject {} of {} is two principals here", issuer.subject, issuer.url));
        }
    }
    if register.principals.insert((tenant.clone(), id.clone(), caller.kind), caller.build).is_some() {
        return Err(format!("{} {id} of tenant {tenant} is registered twice", caller.kind));
    }
    Ok(())
}

fn identity(tenant: &str, principal: &str, kind: CallerKind, method: AuthMethod) -> Result<Identity, String> {
    let principal = principal.parse().map_err(|_| format!("`{principal}` is no principal"))?;
    let tenant = tenant.parse().map_err(|_| format!("`{tenant}` is no tenant"))?;
    Ok(Identity { tenant, caller: Caller::new(principal, kind, method) })
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Who answers for agents changes by the configuration, and days pass slowly.
const AGENTS_EVERY: Duration = Duration::from_secs(60);

/// Holds what is open against the chain: at once, then again and again.
async fn sweep(engine: Arc<Engine>, every: Duration, mut stopped: watch::Receiver<bool>) {
    let mut known: Vec<Arc<Tenant>> = Vec::new();
    let mut agents_at: Option<Instant> = None;
    loop {
        let tenants = engine.tenants();
        if !same(&known, &tenants) && take_up_caps(&engine, &tenants).await {
            known = tenants;
        }
        let began = Instant::now();
        let looks_at_agents = agents_at.is_none_or(|at| at.elapsed() >= AGENTS_EVERY);
        if looks_at_agents {
            agents_at = Some(Instant::now());
        }
        for tenant in engine.tenants() {
            if looks_at_agents && let Err(error) = engine.sweep_agents(&tenant.id).await {
                tracing::warn!(tenant = %tenant.id, code = error.code(), "sweep of agents: {error}");
            }
            match engine.sweep(&tenant.id).await {
                Ok(swept) if swept.resolved > 0 => {
                    tracing::info!(tenant = %tenant.id, looked_at = swept.looked_at, resolved = swept.resolved, "swept");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(tenant = %tenant.id, code = error.code(), "sweep: {error}"),
            }
            if let Err(error) = engine.sweep_checkouts(&tenant.id).await {
                tracing::warn!(tenant = %tenant.id, code = error.code(), "sweep of checkouts: {error}");
            }
        }
        let rest = began.elapsed().saturating_mul(SWEEP_REST).min(SWEEP_REST_MAX);
        tokio::select! {
            () = tokio::time::sleep(every.max(rest)) => {}
            () = engine.hurried() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

fn same(known: &[Arc<Tenant>], now: &[Arc<Tenant>]) -> bool {
    known.len() == now.len() && known.iter().zip(now).all(|(known, now)| Arc::ptr_eq(known, now))
}

/// Whether every tenant's open nodes have the caps of the configuration; where not, it is tried again.
async fn take_up_caps(engine: &Engine, tenants: &[Arc<Tenant>]) -> bool {
    let mut all = true;
    for tenant in tenants {
        if let Err(error) = engine.take_up_caps(tenant).await {
            all = false;
            tracing::warn!(tenant = %tenant.id, code = error.code(), "caps were not taken up: {error}");
        }
    }
    all
}
