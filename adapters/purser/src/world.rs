//! The small world of `dev` and `demo`: the user's, the seller's and the facilitator's tenant on an embedded chain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use chain::accounts::ACCOUNTS;
use chain::devnet::{Devnet, DevnetConfig, DevnetError};
use chain::rpc::RpcChain;
use engine::rate::Peg;
use ledger::account::Account;
use ledger::command::{Command, Request};
use ledger::id::{AuthMethod, Caller, CallerKind, Digest, TenantId};
use ledger::money::Amount;
use ledger::store::{Store, Work};
use ledger::transfer::Money;
use mandates::json::Object;
use mandates::keys::LocalKey;
use serde_json::{Value, json};
use store::{Location, Schema, SqlStore};
use x402::chain::{At, Chain};

use crate::assembly::{AssemblyError, names, network};
use crate::config::{
    AgentConfig, AssetConfig, BearerConfig, ChainConfig, Config, FacilitateConfig, HotWalletMax, LimitsConfig,
    MerchantConfig, OperatorConfig, PayeeConfig, PersonConfig, RoleConfig, RouteConfig, SellConfig, TenantConfig,
    ToolConfig, WalletConfig,
};
use crate::keys::{KeyError, MasterKey, Purpose, Ring, Slot};

pub const HOME: &str = "home";
pub const SHOP: &str = "shop";
pub const CARRIER: &str = "carrier";
pub const USER: &str = "user";
pub const AGENT: &str = "shopper";
/// Others of the same tenant, who have no business with the agent's mandates.
pub const NEIGHBOUR: &str = "neighbour";
pub const BYSTANDER: &str = "bystander";
pub const MERCHANT: &str = "merchant";
pub const ADMIN: &str = "admin";
/// What the paid resource contains and nothing else does.
/// Other tools have this name for the chain id of a devnet; the official SDKs of x402 version 1 have none.
const V1_NAME: &str = "hardhat";
pub const MARKER: &str = "purser-paid-content-7d1f";

/// The demo's resources and their prices, in atomic units of a token with six decimals: 0.01 twice, 0.25 and 2.50.
pub const PRICES: [(&str, &str); 4] =
    [("/paid/report", "10000"), ("/paid/note", "10000"), ("/paid/dataset", "250000"), ("/paid/archive", "2500000")];

/// A tool for MCP clients at the first price.
pub const PAID_TOOL: &str = "paid_hello";

/// A million cents: what the home wallet starts with.
const WALLET_UNITS: u128 = 10_000_000_000;
/// A thousand times the first price, for foreign clients.
const BUYER_UNITS: u128 = 10_000_000;
/// A million tokens.
const CEILING: Amount = Amount::new(1_000_000_000_000);
/// A hundred ether for the relayer's gas.
const RELAYER_WEI: u128 = 100_000_000_000_000_000_000;

/// Well-known test accounts of the devnet, each with one role.
pub fn buyer() -> &'static chain::accounts::TestAccount {
    &ACCOUNTS[1]
}

pub fn shop_address() -> Address {
    ACCOUNTS[2].address
}

/// How the facilitator of the shop is reached.
pub fn local_facilitator() -> String {
    format!("local:{CARRIER}")
}

#[derive(Clone, Debug)]
pub struct WorldOptions {
    pub listen: SocketAddr,
    pub database: Location,
    pub rpc_url: String,
    /// `local:carrier`, or the URL of a foreign facilitator.
    pub facilitator: String,
    pub chain_id: u64,
}

/// The chain id of the embedded chain. Clients that know networks by name alone (x402 version 1) need one that has a name;
/// what is signed for it is good for a token of that address on that network, so it is a test network's.
pub fn chain_id(chosen: Option<u64>) -> Result<u64, String> {
    match chosen {
        None => Ok(DevnetConfig::default().chain_id),
        Some(chain_id) if crate::config::is_test_chain(chain_id) => Ok(chain_id),
        Some(other) => Err(format!("--chain-id: the id of a test network was expected, {other} is none that is known")),
    }
}

/// A devnet whose time goes on by itself: a block a second, so that finality and expiry come without traffic.
pub fn devnet(chain_id: u64, finalized_lag_blocks: u64, data: Option<PathBuf>) -> Result<Devnet, DevnetError> {
    let block_interval = Some(Duration::from_secs(1));
    Devnet::new(DevnetConfig { chain_id, finalized_lag_blocks, block_interval, data, ..DevnetConfig::default() })
}

/// The chain, for the line of `dev`.
pub fn chain_line(rpc_url: &str, config: &Config) -> Result<Value, String> {
    let said = |error: AssemblyError| error.to_string();
    let (network, names) = (network(&config.chain).map_err(said)?, names(&config.chain).map_err(said)?);
    Ok(json!({
        "rpc_url": rpc_url,
        "network": network.to_string(),
        "v1_network": names.name(network),
        "asset": {
            "address": chain::token::ADDRESS.to_string(), "name": chain::token::NAME,
            "version": chain::token::VERSION, "decimals": chain::token::DECIMALS,
        },
    }))
}

pub fn config(options: &WorldOptions, ring: &Ring) -> Result<Config, AssemblyError> {
    let url = format!("http://{}", options.listen);
    let chain = ChainConfig {
        rpc_url: options.rpc_url.clone(),
        fallback_rpc_urls: Vec::new(),
        confirmations: NonZeroU64::MIN,
        allow_mainnet: false,
        chain_id: options.chain_id,
        assets: vec![AssetConfig {
            address: format!("{:#x}", chain::token::ADDRESS),
            name: chain::token::NAME.into(),
            version: chain::token::VERSION.into(),
            decimals: chain::token::DECIMALS,
        }],
        v1_name: (options.chain_id == DevnetConfig::default().chain_id).then(|| V1_NAME.into()),
        wallet_factories: Vec::new(),
    };
    let tenants = vec![home(&url, &chain, ring)?, shop(options, &chain)?, carrier()];
    Ok(Config {
        listen: options.listen,
        public_url: Some(url),
        database: options.database.clone(),
        master_key_file: None,
        chain,
        tenants,
        bearer: BearerConfig::Everything,
        open_verifier: Some(HOME.into()),
        limits: LimitsConfig::none(),
        open_metrics: false,
        internal_hosts: Vec::new(),
        notes: None,
        screening: None,
        sweep_millis: 250,
    })
}

fn tenant(id: &str) -> TenantConfig {
    TenantConfig {
        id: id.into(),
        approval: Default::default(),
        decision_seconds: None,
        prompts_per_hour: None,
        currency: "USD".into(),
        cap: None,
        limits: Vec::new(),
        hours: None,
        refunds: Default::default(),
        trust: None,
        user_credentials: None,
        policy: None,
        people: Vec::new(),
        agents: Vec::new(),
        merchants: Vec::new(),
        operators: vec![OperatorConfig { id: ADMIN.into(), jwk: None, issuer: None }],
        payees: Vec::new(),
        verifiers: Vec::new(),
        any_verifier: false,
        pegs: Vec::new(),
        wallet: None,
        // Far above what lies there, so that the figures are there and no alarm is.
        hot_wallet_max: Some(HotWalletMax { asset: format!("{:#x}", chain::token::ADDRESS), amount: CEILING }),
        relayer_max_gwei: Some(100_000_000_000_000),
        sell: None,
        facilitate: None,
        shop: None,
        vault: None,
        webhooks: Vec::new(),
        payment_seconds: None,
        closing_seconds: None,
        hold_seconds: None,
        open_payments: None,
        refusals_burst: None,
    }
}

fn person(id: &str) -> PersonConfig {
    PersonConfig {
        id: id.into(),
        role: RoleConfig::default(),
        cap: None,
        limits: Vec::new(),
        hours: None,
        refunds: Default::default(),
        jwk: None,
        issuer: None,
    }
}

fn agent(id: &str, sponsor: &str) -> AgentConfig {
    AgentConfig {
        id: id.into(),
        sponsor: sponsor.into(),
        jwk: None,
        issuer: None,
        build: None,
        cost_centre: None,
        review_by: None,
        dormant_after_days: None,
    }
}

fn home(url: &str, chain: &ChainConfig, ring: &Ring) -> Result<TenantConfig, AssemblyError> {
    let network = network(chain)?;
    let key = merchant_key(ring)?;
    Ok(TenantConfig {
        cap: Some("10000".into()),
        people: vec![
            // One person plays with all of it.
            PersonConfig {
                cap: Some("5000".into()),
                role: RoleConfig::Operator,
                jwk: client_jwk(HOME, USER, ring)?,
                ..person(USER)
            },
            person(NEIGHBOUR),
        ],
        agents: vec![
            AgentConfig { jwk: client_jwk(HOME, AGENT, ring)?, ..agent(AGENT, USER) },
            agent(BYSTANDER, NEIGHBOUR),
        ],
        payees: vec![PayeeConfig {
            id: SHOP.into(),
            merchant_id: SHOP.into(),
            name: "Demo Shop".into(),
            website: Some(url.into()),
            origins: vec![url.into()],
            pay_to: BTreeMap::from([(network.to_string(), vec![format!("{:#x}", shop_address())])]),
            keys: vec![key.public().to_jwk()],
            acp: None,
        }],
        any_verifier: true,
        pegs: vec![dollar(HOME, chain)?],
        wallet: Some(WalletConfig { cancelled_by: Some(CARRIER.into()), ..WalletConfig::default() }),
        ..tenant(HOME)
    })
}

/// The demo's own statement: its test token is taken for a dollar.
fn dollar(tenant: &str, chain: &ChainConfig) -> Result<Peg, AssemblyError> {
    let broken = |why: String| AssemblyError::Tenant { tenant: tenant.into(), why };
    let base = network(chain)?.asset_id(chain::token::ADDRESS).map_err(|error| broken(error.to_string()))?;
    let quote = "iso4217:USD".parse().map_err(|_| broken("no dollar".into()))?;
    Ok(Peg { base, quote, rate: "1".into() })
}

/// The keys that the demo's configuration shows the public halves of.
pub async fn ring(database: &Location, master: MasterKey) -> Result<Ring, KeyError> {
    let mut ring = Ring::open(database, master, Schema::Migrate).await?;
    ring.provide(&[client_slot(HOME, USER), client_slot(HOME, AGENT), merchant_slot()]).await?;
    Ok(ring)
}

fn client_slot(tenant: &str, principal: &str) -> Slot {
    Slot::new(tenant, Purpose::Client(principal.to_owned()))
}

fn merchant_slot() -> Slot {
    Slot::new(SHOP, Purpose::Merchant(MERCHANT.to_owned()))
}

/// What the demo's merchant signs carts with.
pub fn merchant_key(ring: &Ring) -> Result<LocalKey, AssemblyError> {
    Ok(ring.p256(&merchant_slot())?)
}

/// The key with which a demo principal proves itself. The dev line shows it; the service needs the public half.
pub fn client_key(tenant: &str, principal: &str, ring: &Ring) -> Result<LocalKey, AssemblyError> {
    Ok(ring.p256(&client_slot(tenant, principal))?)
}

fn client_jwk(tenant: &str, principal: &str, ring: &Ring) -> Result<Option<Object>, AssemblyError> {
    Ok(Some(client_key(tenant, principal, ring)?.public().to_jwk()))
}

fn shop(options: &WorldOptions, chain: &ChainConfig) -> Result<TenantConfig, AssemblyError> {
    let routes = PRICES.iter().map(|(path, amount)| RouteConfig {
        path: (*path).into(),
        amount: (*amount).into(),
        description: format!("demo resource {path}"),
        body: Some(MARKER.into()),
        ..RouteConfig::default()
    });
    Ok(TenantConfig {
        pegs: vec![dollar(SHOP, chain)?],
        // The same names in another tenant are other principals.
        people: vec![person(USER)],
        agents: vec![agent(AGENT, USER)],
        merchants: vec![MerchantConfig {
            id: MERCHANT.into(),
            merchant_id: SHOP.into(),
            name: "Demo Shop".into(),
            website: Some(format!("http://{}", options.listen)),
            jwk: None,
            issuer: None,
        }],
        shop: Some(crate::dev::shop::catalogue()),
        sell: Some(SellConfig {
            payee: SHOP.into(),
            pay_to: format!("{:#x}", shop_address()),
            asset: format!("{:#x}", chain::token::ADDRESS),
            facilitator: options.facilitator.clone(),
            facilitators: Vec::new(),
            facilitator_address: None,
            channels: None,
            holds: None,
            upstream_key_file: None,
            routes: routes.collect(),
            tools: vec![ToolConfig {
                name: PAID_TOOL.into(),
                amount: PRICES[0].1.into(),
                description: "Says hello to whoever pays.".into(),
                body: MARKER.into(),
                max_timeout_seconds: 60,
                release: Default::default(),
                unknown: Default::default(),
            }],
        }),
        ..tenant(SHOP)
    })
}

fn carrier() -> TenantConfig {
    let facilitate = FacilitateConfig { anyone: true, ..FacilitateConfig::default() };
    TenantConfig { facilitate: Some(facilitate), ..tenant(CARRIER) }
}

/// The address of the wallet that a tenant pays from.
pub fn wallet_address(tenant: &str, ring: &Ring) -> Result<Address, AssemblyError> {
    Ok(ring.address(&Slot::new(tenant, Purpose::Wallet))?)
}

/// The account that pays the demo's gas.
pub fn relayer_address(ring: &Ring) -> Result<Address, AssemblyError> {
    Ok(ring.address(&Slot::new(CARRIER, Purpose::Relayer))?)
}

/// Mints to the wallets and writes the same amounts into the books: both begin equal, and stay so. What was done before
/// is not done again: a process may have died in the middle.
pub async fn fund(
    config: &Config,
    ring: &Ring,
    devnet: &Devnet,
    rpc: &RpcChain,
    store: &SqlStore,
) -> Result<(), AssemblyError> {
    let network = network(&config.chain)?;
    let broken = |why: String| AssemblyError::Tenant { tenant: HOME.into(), why };
    let wallet = wallet_address(HOME, ring)?;
    for (owner, units) in [(wallet, WALLET_UNITS), (buyer().address, BUYER_UNITS)] {
        let held = rpc.balance_of(chain::token::ADDRESS, owner, At::Latest).await;
        if held.map_err(|error| broken(error.to_string()))?.is_zero() {
            devnet.mint(owner, U256::from(units)).map_err(|error| broken(error.to_string()))?;
        }
    }
    let relayer = relayer_address(ring)?;
    let call = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "anvil_setBalance", "params": [relayer, format!("{RELAYER_WEI:#x}")],
    });
    devnet.dispatch(call.to_string().as_bytes());
    let token = network.asset_id(chain::token::ADDRESS).map_err(|error| broken(error.to_string()))?;
    let native = format!("{network}/slip44:60").parse().map_err(|_| broken("no native asset".into()))?;
    let deposits = [
        (HOME, wallet, Money { asset: token, amount: Amount::new(WALLET_UNITS) }),
        (CARRIER, relayer, Money { asset: native, amount: Amount::new(RELAYER_WEI) }),
    ];
    for (tenant, owner, money) in deposits {
        let wallet = format!("{network}:{owner:#x}");
        let tenant: TenantId = tenant.parse().map_err(|_| broken("a tenant's name".into()))?;
        let account = Account::Wallet(wallet.clone());
        if store.balances(&tenant).await?.iter().any(|entry| entry.account == account) {
            continue;
        }
        let caller =
            Caller::new(crate::assembly::principal("configuration")?, CallerKind::Service, AuthMethod::Internal);
        let reference = Digest::of(wallet.as_bytes());
        let command = Command::Fund { wallet, money, reference };
        let work = Work::new(Request { caller, command }, Vec::new());
        store.run(&tenant, work).await?;
    }
    Ok(())
}
