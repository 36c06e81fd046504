//! `purser dev`: everything on this machine, ready in seconds; gone when it is stopped, or kept in a folder.

mod a2a;
pub mod acp;
mod approvals;
pub(crate) mod exports;
pub(crate) mod home;
mod mcp;
mod options;
pub(crate) mod shop;
mod standing;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::Address;
use chain::devnet::{Devnet, DevnetError};
use chain::rpc::{RpcChain, RpcConfig};
use identity::callers::client_name;
use ledger::id::{CallerKind, TenantId};
use ledger::journal::SaltKey;
use mandates::keys::{KeySet, LocalKey};
use serde_json::{Value, json};
use store::{Location, Schema, SqlStore};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::assembly::{issuer, open_store, salts};
use crate::cli::DevArgs;
use crate::config::Config;
use crate::dev::home::{Home, Remembered};
use crate::keys::{Purpose, Ring, Slot};
use crate::pay::Service;
use crate::service::{Running, mint, minter};
use crate::world::{
    self, ADMIN, AGENT, CARRIER, HOME, MARKER, MERCHANT, PRICES, SHOP, USER, WorldOptions, buyer, client_key, config,
    devnet, fund, local_facilitator, merchant_key, shop_address, wallet_address,
};

pub use options::DevOptions;

/// How long the tokens of a dev service live.
const TOKEN_SECONDS: u32 = 24 * 3_600;

#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("a dev service runs in {0} already; stop it first, or ask it with --env")]
    Running(String),
    #[error("{what} {port}, which the service of this folder had, cannot be taken: {why}; end what listens there")]
    Port { what: &'static str, port: u16, why: String },
    #[error("{0}")]
    Part(String),
}

impl From<String> for DevError {
    fn from(why: String) -> Self {
        Self::Part(why)
    }
}

/// A running world.
pub struct DevService {
    running: Running,
    config: Config,
    ring: Ring,
    store: SqlStore,
    rpc: RpcChain,
    rpc_url: String,
    chain_stop: Option<oneshot::Sender<()>>,
    chain: JoinHandle<()>,
    acquirer: Option<crate::acquirer::simulator::Running>,
    roots: KeySet,
    wallet: Address,
    devnet: Devnet,
    home: Home,
    remembered: Remembered,
}

impl DevService {
    pub async fn start(options: DevOptions) -> Result<Self, DevError> {
        let say = |error: &dyn std::fmt::Display| DevError::Part(error.to_string());
        let home = Home::open(options.data.as_deref())?;
        let chain_id = world::chain_id(options.chain_id)?;
        let devnet = match devnet(chain_id, options.finalized_lag_blocks, home.chain()) {
            Err(DevnetError::DataInUse(path)) => return Err(DevError::Running(path)),
            other => other.map_err(|error| say(&error))?,
        };
        home.forget("line.json")?;
        let mut remembered = home.remembered()?;
        let chain_listener = listen("the chain's port", remembered.chain_port, remembered.chain_port).await?;
        let (rpc_url, chain_stop, chain) = serve_chain(&devnet, chain_listener)?;
        let port = if options.port == 0 { remembered.port } else { options.port };
        let listener = listen("port", port, remembered.port).await?;
        let listen: SocketAddr = listener.local_addr().map_err(|error| say(&error))?;
        let database = options.database.unwrap_or_else(|| home.file("purser.sqlite").into());
        let facilitator = options.facilitator.unwrap_or_else(local_facilitator);
        let world = WorldOptions { listen, database, rpc_url: rpc_url.clone(), facilitator, chain_id };
        let mut ring = world::ring(&world.database, home.master_key()?).await.map_err(|error| say(&error))?;
        let mut config = config(&world, &ring).map_err(|error| say(&error))?;
        config.chain.wallet_factories = options.wallet_factories;
        for tenant in config.tenants.iter_mut().filter(|tenant| tenant.facilitate.is_some()) {
            tenant.facilitate = options.facilitate.clone().or(tenant.facilitate.take());
        }
        for tenant in config.tenants.iter_mut().filter(|tenant| tenant.id == HOME) {
            tenant.webhooks = options.webhooks.clone();
        }
        let acquirer = acp::prepare(&mut config, options.acquirer.as_deref(), &home).await?;
        ring.provide(&Slot::all(&config)).await.map_err(|error| say(&error))?;
        let provider = ring.publics(&Slot::new(HOME, Purpose::Provider)).map_err(|error| say(&error))?;
        let roots = KeySet::new(provider).map_err(|error| say(&error))?;
        shop::furnish(&mut config, &home, &roots, &options.shop_roots)?;
        config.sweep_millis = options.sweep_millis.unwrap_or(config.sweep_millis);
        shop::limit(&mut config, options.shop_sessions_max, options.shop_signed_only);
        config.bearer = options.bearer.unwrap_or(config.bearer);
        config.limits = options.limits.unwrap_or(config.limits);
        let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| say(&error))?;
        let rpc = RpcChain::in_process(devnet.clone(), RpcConfig::default());
        if !remembered.funded {
            fund(&config, &ring, &devnet, &rpc, &store).await.map_err(|error| say(&error))?;
            remembered.funded = true;
        }
        remembered.port = listen.port();
        remembered.chain_port = port_of(&rpc_url);
        home.remember(&remembered)?;
        let running = Running::start(&config, &ring, store.clone(), rpc.clone(), listener).await?;
        let wallet = wallet_address(HOME, &ring).map_err(|error| say(&error))?;
        let chain_stop = Some(chain_stop);
        Ok(Self {
            running,
            config,
            ring,
            store,
            rpc,
            rpc_url,
            chain_stop,
            chain,
            acquirer,
            roots,
            wallet,
            devnet,
            home,
            remembered,
        })
    }

    pub fn url(&self) -> &str {
        self.running.url()
    }

    pub fn engine(&self) -> &engine::Engine {
        self.running.engine()
    }

    pub fn rpc(&self) -> &RpcChain {
        &self.rpc
    }

    pub fn devnet(&self) -> &Devnet {
        &self.devnet
    }

    pub fn store(&self) -> &SqlStore {
        &self.store
    }

    pub fn roots(&self) -> &KeySet {
        &self.roots
    }

    /// The salts of the tenants' journals, for whoever opens a copy of the database.
    pub fn salts(&self) -> Result<HashMap<TenantId, SaltKey>, String> {
        salts(&self.config, &self.ring).map_err(|error| error.to_string())
    }

    /// The wallet that the user's tenant pays from.
    pub fn wallet(&self) -> Address {
        self.wallet
    }

    pub fn database(&self) -> &Location {
        &self.config.database
    }

    pub fn tenant(&self, id: &str) -> Result<TenantId, String> {
        id.parse().map_err(|_| format!("`{id}` is no tenant"))
    }

    /// What the demo's merchant signs with.
    pub fn merchant_key(&self) -> Result<LocalKey, String> {
        world::merchant_key(&self.ring).map_err(|error| error.to_string())
    }

    /// The private key with which a demo principal proves itself.
    pub fn client_key(&self, principal: &str) -> Result<LocalKey, String> {
        client_key(HOME, principal, &self.ring).map_err(|error| error.to_string())
    }

    pub fn token(&self, tenant: &str, principal: &str, kind: CallerKind) -> Result<String, String> {
        mint(&minter(&self.config, &self.ring)?, tenant, principal, kind, TOKEN_SECONDS)
    }

    pub async fn stop(mut self) {
        self.running.stop().await;
        if let Some(stop) = self.chain_stop.take() {
            let _ = stop.send(());
        }
        let _ = self.chain.await;
        if let Some(acquirer) = self.acquirer.take() {
            acquirer.stop().await;
        }
        let _ = self.store.close().await;
        drop(self.home);
    }

    /// The line that other people's clients and suites are pointed at.
    async fn line(&mut self) -> Result<Value, String> {
        let url = self.url().to_owned();
        let user = self.token(HOME, USER, CallerKind::User)?;
        let agent = self.token(HOME, AGENT, CallerKind::Agent)?;
        let mandate = self.standing_mandate(&user, &agent).await?;
        let (mcp, acp) = (self.mcp(&agent)?, self.acp(&user, &agent).await?);
        let agent_key = private_jwk(&self.client_key(AGENT)?)?;
        let service = self.service_file(&agent_key)?;
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let id = mandate.get("id").and_then(Value::as_str).unwrap_or_default();
        let more: Vec<Value> = PRICES
            .iter()
            .skip(1)
            .map(|(path, amount)| json!({ "url": format!("{url}{path}"), "amount": amount }))
            .collect();
        let merchant = merchant_key(&self.ring).map_err(|error| error.to_string())?;
        let merchant_jwks = KeySet::new([merchant.public().clone()]).map_err(|error| error.to_string())?;
        Ok(json!({
            "url": url,
            "facilitator_url": url,
            "openapi_url": format!("{url}/openapi.json"),
            "pid": std::process::id(),
            "service_file": service,
            "database": self.config.database.to_string(),
            "chain": world::chain_line(&self.rpc_url, &self.config)?,
            "paid": {
                "url": format!("{url}{}", PRICES[0].0), "method": "GET", "amount": PRICES[0].1,
                "pay_to": shop_address().to_string(), "marker": MARKER, "more": more,
            },
            "buyer": { "address": buyer().address.to_string(), "private_key": buyer().private_key },
            "wallet": { "address": self.wallet.to_string() },
            "pay": {
                "command": [own, "pay", "{url}", "--mandate", id, "--idempotency-key", "{key}", "--service", service],
            },
            "seller": { "command": [own, "dev", "--facilitator", "{facilitator}", "--port", "0", "--json"] },
            "agent": { "id": AGENT, "token": agent, "client_id": client_name(HOME, AGENT), "key": agent_key },
            "mandate": mandate,
            "user": { "id": USER, "token": user },
            "approvals": self.approvals().await?,
            "console": { "url": self.console_url() },
            "merchant": {
                "id": MERCHANT,
                "token": self.token(SHOP, MERCHANT, CallerKind::Merchant)?,
                "jwks": merchant_jwks.to_jwks(),
            },
            "admin": { "token": self.token(HOME, ADMIN, CallerKind::Operator)? },
            "shop_admin": { "token": self.token(SHOP, ADMIN, CallerKind::Operator)? },
            "trust": { "jwks_url": format!("{url}/.well-known/jwks.json"), "issuer": issuer(&self.config, HOME) },
            "verify": { "url": format!("{url}/v1/mandates/verify") },
            "mcp": mcp,
            "acp": acp,
            "a2a": self.a2a(&agent),
            "ucp": self.ucp()?,
            "tenants": [HOME, SHOP, CARRIER],
        }))
    }

    /// What `purser pay` calls the service with, for this user's eyes only.
    fn service_file(&self, key: &Value) -> Result<PathBuf, String> {
        let key = key.as_object().cloned();
        let client_id = Some(client_name(HOME, AGENT));
        let service = Service { url: self.url().to_owned(), token: None, client_id, key };
        let text = serde_json::to_vec(&service).map_err(|error| error.to_string())?;
        self.home.write("agent.json", &text)
    }
}

/// A demo key whole, for clients that prove possession of it.
pub fn private_jwk(key: &LocalKey) -> Result<Value, String> {
    let mut jwk = key.public().to_jwk();
    let scalar = key.expose_scalar().map_err(|error| error.to_string())?;
    jwk.insert("d".into(), mandates::base64url::encode(&scalar).into());
    Ok(Value::Object(jwk))
}

/// A port that is remembered is taken again or not at all: what others wrote down must stay true.
async fn listen(what: &'static str, port: u16, remembered: u16) -> Result<TcpListener, DevError> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if port != 0 && port == remembered => Err(DevError::Port { what, port, why: error.to_string() }),
        Err(error) => Err(DevError::Part(format!("{what} {port}: {error}"))),
    }
}

fn port_of(url: &str) -> u16 {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
}

fn serve_chain(
    devnet: &Devnet,
    listener: TcpListener,
) -> Result<(String, oneshot::Sender<()>, JoinHandle<()>), String> {
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let devnet = devnet.clone();
    let task = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        if let Err(error) = devnet.serve(listener, shutdown).await {
            tracing::error!("the devnet stopped: {error}");
        }
    });
    Ok((format!("http://{address}"), stop, task))
}

pub async fn run(args: &DevArgs, stop: impl Future<Output = ()>) -> Result<(), String> {
    // Read here: an address that cannot be read is not repeated, it may hold a password.
    let database = args.database.as_deref().map(str::parse).transpose();
    let database = database.map_err(|error: store::LocationError| format!("--database: {error}"))?;
    let options = DevOptions {
        port: args.port,
        finalized_lag_blocks: args.finalized_lag,
        facilitator: args.facilitator.clone(),
        bearer: None,
        limits: None,
        data: args.data.clone(),
        database,
        chain_id: args.chain_id,
        wallet_factories: Vec::new(),
        acquirer: args.acquirer.clone(),
        shop_roots: Vec::new(),
        webhooks: Vec::new(),
        shop_sessions_max: None,
        sweep_millis: None,
        shop_signed_only: false,
        facilitate: None,
    };
    let mut service = match DevService::start(options).await {
        // Another shell asks the one that runs.
        Err(DevError::Running(_)) if args.env => return show_running(args.data.as_deref()).await,
        other => other.map_err(|error| error.to_string())?,
    };
    let line = service.line().await?;
    service.home.write("line.json", line.to_string().as_bytes())?;
    if args.env {
        print!("{}", exports::of(&line)?);
    } else {
        if !args.json {
            eprint!("{}", greeting(&line));
        }
        println!("{line}");
    }
    stop.await;
    service.stop().await;
    Ok(())
}

/// For whoever reads it: where to answer, and how to have an agent ask and pay in another shell.
fn greeting(line: &Value) -> String {
    let text = |path: &str| line.pointer(path).and_then(Value::as_str).unwrap_or("-");
    let service = text("/service_file");
    format!(
        "Purser is running at {} until you stop it; the line below is for machines.\n\
         Answer its agents in a browser: {}\n\
         Have an agent ask you for something: purser ask --description coffee --total 1.00 --payments 10 --service {service}\n\
         Have it pay under what you allowed: purser pay {} --mandate MANDATE --idempotency-key first --service {service}\n\
         Then look at what they spend, and stop them: {}\n",
        text("/url"),
        text("/approvals/register_url"),
        text("/paid/url"),
        text("/console/url"),
    )
}

/// The service that holds the folder writes its line when it is ready.
async fn show_running(data: Option<&Path>) -> Result<(), String> {
    let home = Home::open(data)?;
    for _ in 0..100 {
        if let Some(line) = home.line()? {
            print!("{}", exports::of(&line)?);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("the service that runs there did not become ready".into())
}
