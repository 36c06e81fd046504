//! `purser doctor`: a line each, PASS or FAIL with the mend. Exit 1 when anything fails.

use std::path::Path;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use chain::rpc::{RpcChain, RpcConfig};
use ledger::store::Store;
use store::Schema;
use tokio::net::TcpStream;
use tokio::time::timeout;
use x402::chain::{At, Chain, ChainError};
use x402::exact::TokenDomain;

use crate::assembly::{assets, network, open_store, refuse_test_keys};
use crate::config::{Config, TenantConfig};
use crate::fetch::Fetcher;
use crate::keys::{Purpose, Ring, Slot};
use crate::operate::master_key;
use crate::trust::file::TrustFile;

/// Clocks further apart than this make payments that are dead on arrival.
const CLOCK_SECONDS_MAX: u64 = 30;
/// A node that takes longer keeps buyers waiting.
const NODE_PATIENCE: Duration = Duration::from_secs(5);
/// Gas for about a hundred settlements at one gwei.
const RELAYER_WEI_MIN: u128 = 10_000_000_000_000_000;

/// The lines, as they come; whether all of them passed.
struct Report {
    sound: bool,
}

impl Report {
    fn line(&mut self, what: &str, result: Result<String, String>) {
        match result {
            Ok(detail) => println!("PASS {what}: {detail}"),
            Err(mend) => {
                self.sound = false;
                println!("FAIL {what}: {mend}");
            }
        }
    }
}

pub async fn run(path: &Path) -> Result<bool, String> {
    let mut report = Report { sound: true };
    let config = Config::read(path);
    report.line("configuration", config.as_ref().map(|_| path.display().to_string()).map_err(ToString::to_string));
    let Ok(config) = config else { return Ok(false) };
    report
        .line("safety", config.check_for_service().map(|()| "fit for serve".into()).map_err(|error| error.to_string()));
    let master = master_key(&config);
    report.line("master key", master.as_ref().map(|_| "64 digits".to_owned()).map_err(Clone::clone));
    let Ok(master) = master else { return Ok(false) };
    let ring = Ring::open(&config.database, master, Schema::Refuse).await;
    let ring = match ring {
        Ok(ring) => ring,
        Err(error) => {
            report.line("keys", Err(format!("{error}; run purser migrate --config {}", path.display())));
            return Ok(false);
        }
    };
    keys(&mut report, &config, &ring);
    database(&mut report, &config, &ring).await;
    for tenant in &config.tenants {
        trust(&mut report, &config, tenant).await;
        policy(&mut report, tenant);
        sold(&mut report, &config, tenant, &ring).await;
    }
    let Some(rpc) = nodes(&mut report, &config).await else {
        report.line("clock, assets, purses", Err("not looked at: no node is fit to be asked".into()));
        return Ok(false);
    };
    clock(&mut report, &rpc).await;
    token_facts(&mut report, &config, &rpc).await;
    for tenant in &config.tenants {
        purses(&mut report, &config, tenant, &ring, &rpc).await;
    }
    Ok(report.sound)
}

fn patience() -> RpcConfig {
    RpcConfig { timeout: NODE_PATIENCE, ..RpcConfig::default() }
}

/// With the code that a payment would be refused with.
fn told(error: &ChainError) -> String {
    match error {
        ChainError::Unavailable(_) => format!("chain_unavailable: {error}; start the node or correct rpc_url"),
        ChainError::Reverted { .. } | ChainError::Refused { .. } | ChainError::Gas { .. } => {
            format!(
                "chain_refused: {error}; the node answers and does not serve this: ask its operator, or take another"
            )
        }
    }
}

fn keys(report: &mut Report, config: &Config, ring: &Ring) {
    let lacking: Vec<String> =
        Slot::all(config).iter().filter(|slot| ring.find(slot).is_none()).map(Slot::to_string).collect();
    let result = match refuse_test_keys(config, ring) {
        Err(error) => Err(format!("{error}; purser keys rotate")),
        Ok(()) if lacking.is_empty() => Ok(format!("{} open, none that everybody knows", ring.keys().len())),
        Ok(()) => Err(format!("key_missing: {}; purser migrate draws them", lacking.join(", "))),
    };
    report.line("keys", result);
}

async fn database(report: &mut Report, config: &Config, ring: &Ring) {
    let store = match open_store(config, ring, Schema::Refuse).await {
        Ok(store) => store,
        Err(error) => return report.line("database", Err(error.to_string())),
    };
    report.line("database", Ok(config.database.to_string()));
    for tenant in &config.tenants {
        let Ok(id) = tenant.id.parse() else { continue };
        let head = store.head(&id).await;
        let shown = head.map(|(entries, _)| format!("{entries} records")).map_err(|error| error.to_string());
        report.line(&format!("journal of {}", tenant.id), shown);
    }
    let _ = store.close().await;
}

/// The roots of a trust file, those that are published elsewhere by fetching them.
async fn trust(report: &mut Report, config: &Config, tenant: &TenantConfig) {
    let Some(path) = &tenant.trust else { return };
    let list = || TrustFile::read(path)?.list(Fetcher::new(config.reach())?);
    match list() {
        Err(why) => report.line(&format!("trust of {}", tenant.id), Err(why)),
        Ok(list) => {
            for (name, found) in list.look().await {
                report.line(&format!("root {name} of {}", tenant.id), found);
            }
        }
    }
}

fn policy(report: &mut Report, tenant: &TenantConfig) {
    let found = match tenant.read_policy() {
        Ok(None) => return,
        Ok(Some(policy)) => Ok(format!("version {}, sha256 {}", policy.version, policy.digest())),
        Err(why) => Err(why),
    };
    report.line(&format!("policy of {}", tenant.id), found);
}

/// Every priced route as `serve` reads it, and whether each upstream takes a connection. Nothing is asked for.
async fn sold(report: &mut Report, config: &Config, tenant: &TenantConfig, ring: &Ring) {
    let Some(sell) = &tenant.sell else { return };
    match sell.paid_routes(&config.chain, ring, &tenant.id) {
        Err(why) => return report.line(&format!("routes of {}", tenant.id), Err(why)),
        Ok(routes) => report.line(&format!("routes of {}", tenant.id), Ok(format!("{} priced", routes.len()))),
    }
    for (path, address) in sell.routes.iter().filter_map(|route| Some((&route.path, route.upstream.as_ref()?))) {
        let Ok(url) = reqwest::Url::parse(address) else { continue };
        let Some((host, port)) = url.host_str().zip(url.port_or_known_default()) else { continue };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let connected = timeout(NODE_PATIENCE, TcpStream::connect((host, port))).await;
        let result = match connected {
            Ok(Ok(_)) => Ok(format!("{host}:{port} takes connections")),
            Ok(Err(error)) => Err(format!("{host}:{port}: {error}; start the service, or correct upstream")),
            Err(_) => Err(format!("{host}:{port} does not answer; start the service, or correct upstream")),
        };
        report.line(&format!("upstream of {path}"), result);
    }
}

/// Every node by itself; those that answer for the right chain, to go on with.
async fn nodes(report: &mut Report, config: &Config) -> Option<RpcChain> {
    let mut fit = Vec::new();
    for (number, url) in config.rpc_urls().iter().enumerate() {
        // The URL may hold a provider's key: it is named by its place.
        let what = format!("node {}", number + 1);
        let result = match RpcChain::http(url, patience()) {
            Err(error) => Err(error.to_string()),
            Ok(rpc) => match rpc.chain_id().await {
                Ok(found) if found == config.chain.chain_id => {
                    fit.push(url.clone());
                    Ok(format!("chain {found}"))
                }
                Ok(found) => {
                    let expected = config.chain.chain_id;
                    Err(format!(
                        "chain_id_mismatch: chain {found}, {expected} was expected; correct rpc_url or chain_id"
                    ))
                }
                Err(error) => Err(told(&error)),
            },
        };
        report.line(&what, result);
    }
    if fit.is_empty() { None } else { RpcChain::http_any(&fit, patience()).ok() }
}

async fn clock(report: &mut Report, rpc: &RpcChain) {
    let now = u64::try_from(store::wall_clock()().seconds()).unwrap_or(0);
    let result = match rpc.block(At::Latest).await {
        Ok(block) if block.timestamp.abs_diff(now) <= CLOCK_SECONDS_MAX => {
            Ok(format!("{} s from the chain's head", block.timestamp.abs_diff(now)))
        }
        Ok(block) => {
            Err(format!("the head is of {}, it is {now} here; set the clock, or the node is behind", block.timestamp))
        }
        Err(error) => Err(told(&error)),
    };
    report.line("clock", result);
}

/// What the table says of a token and what the token says of itself.
async fn token_facts(report: &mut Report, config: &Config, rpc: &RpcChain) {
    let (Ok(table), Ok(network)) = (assets(&config.chain), network(&config.chain)) else {
        return report.line("assets", Err("the table cannot be built; see [chain]".into()));
    };
    for asset in table.iter().filter(|asset| asset.network == network) {
        let domain = TokenDomain {
            name: asset.name.clone(),
            version: asset.version.clone(),
            chain_id: network.chain_id(),
            verifying_contract: asset.address,
        };
        let result = match rpc.token(asset.address).await {
            Ok(facts) if facts.domain_separator != domain.separator() => Err(format!(
                "its EIP-712 domain is not that of {} {}; correct name and version",
                asset.name, asset.version
            )),
            Ok(facts) if facts.decimals != asset.decimals => {
                Err(format!("it says {} decimals, the table {}; do not use it", facts.decimals, asset.decimals))
            }
            Ok(facts) => Ok(format!("{} {}, {} decimals", facts.name, facts.version, facts.decimals)),
            Err(ChainError::Reverted { reason, .. }) => {
                Err(format!("chain_refused: {reason}; is it deployed on this chain?"))
            }
            Err(error) => Err(told(&error)),
        };
        report.line(&format!("asset {}", asset.address), result);
    }
}

async fn purses(report: &mut Report, config: &Config, tenant: &TenantConfig, ring: &Ring, rpc: &RpcChain) {
    let address = |purpose| ring.address(&Slot::new(&tenant.id, purpose)).map_err(|error| error.to_string());
    if tenant.wallet.is_some() {
        let result = match address(Purpose::Wallet) {
            Err(error) => Err(error),
            Ok(owner) => balances(config, rpc, owner).await,
        };
        report.line(&format!("wallet of {}", tenant.id), result);
        if tenant.pegs.is_empty() {
            let mend = "rate_missing: no [[tenants.pegs]], so nothing can be bought; take the comment off if you answer for it";
            report.line(&format!("rates of {}", tenant.id), Err(mend.into()));
        }
    }
    for purpose in tenant.facilitate.iter().flat_map(Purpose::relayers) {
        let name = format!("{purpose} of {}", tenant.id);
        let result = match address(purpose) {
            Err(error) => Err(error),
            Ok(owner) => match rpc.native_balance(owner).await {
                Ok(wei) if wei >= U256::from(RELAYER_WEI_MIN) => Ok(format!("{owner} has {wei} wei for gas")),
                Ok(wei) => Err(format!("{owner} has {wei} wei, {RELAYER_WEI_MIN} or more were expected; send it some")),
                Err(error) => Err(told(&error)),
            },
        };
        report.line(&name, result);
    }
}

async fn balances(config: &Config, rpc: &RpcChain, owner: Address) -> Result<String, String> {
    let (table, network) = (assets(&config.chain), network(&config.chain));
    let (table, network) = (table.map_err(|error| error.to_string())?, network.map_err(|error| error.to_string())?);
    let mut held = Vec::new();
    for asset in table.iter().filter(|asset| asset.network == network) {
        let balance = rpc.balance_of(asset.address, owner, At::Latest).await.map_err(|error| told(&error))?;
        if !balance.is_zero() {
            held.push(format!("{balance} of {}", asset.name));
        }
    }
    if held.is_empty() {
        Err(format!("{owner} holds nothing; send it what it shall spend"))
    } else {
        Ok(format!("{owner}: {}", held.join(", ")))
    }
}
