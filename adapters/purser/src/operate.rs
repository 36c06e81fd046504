//! Commands of operators: tokens, the schema, questions to the books. They read the configuration that `serve` reads.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chain::rpc::{RpcChain, RpcConfig};
use engine::Engine;
use ledger::id::{Micros, TenantId};
use ledger::spend::SpendState;
use ledger::store::{Store, StoreError, Verification};
use store::{Change, Location, LocationError, Purpose, Schema, SqlStore};

use crate::assembly::{self, open_store};
use crate::cli::{BalancesArgs, LedgerScope, MigrateArgs, SpendsArgs, TokenArgs};
use crate::config::Config;
use crate::keys::{MasterKey, Ring, Slot};
use crate::ledger::{TrialBalance, record_json, record_line, spend_json, spend_line, verification_line};
use crate::restore;
use crate::service::{Locals, minter};

/// How often a verification says how far it is.
const PROGRESS: Duration = Duration::from_secs(2);
/// Payments read at once.
const SPENDS_PAGE: u32 = 500;

/// From the environment, or from the file that the configuration names.
pub fn master_key(config: &Config) -> Result<MasterKey, String> {
    let text = match (std::env::var("PURSER_MASTER_KEY"), &config.master_key_file) {
        (Ok(text), _) => text,
        (Err(_), Some(path)) => {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?
        }
        (Err(_), None) => return Err("no master key: set PURSER_MASTER_KEY or master_key_file".into()),
    };
    MasterKey::from_hex(&text).map_err(|error| error.to_string())
}

/// The open keys of a configuration's database.
pub async fn ring(config: &Config, schema: Schema) -> Result<Ring, String> {
    Ring::open(&config.database, master_key(config)?, schema).await.map_err(|error| error.to_string())
}

/// The engine of a configuration, for a command that asks it something: with the chain, and nobody served.
pub fn connected(config: &Config, ring: &Ring, store: SqlStore) -> Result<Arc<Engine>, String> {
    let rpc = RpcChain::http_any(&config.rpc_urls(), RpcConfig::default()).map_err(|error| error.to_string())?;
    let locals = Locals::default();
    let made = assembly::engine(config, ring, store, rpc, &|text| locals.make(text));
    let made = Arc::new(made.map_err(|error| error.to_string())?);
    locals.connect(&made);
    Ok(made)
}

pub async fn migrate(args: &MigrateArgs) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    if args.plan {
        for step in store::plan(&config.database).await.map_err(|error| error.to_string())? {
            let state = if step.is_applied { "applied" } else { "to be applied" };
            let others = match step.change {
                Change::Additive => "older releases go on beside it",
                Change::Breaking => "older releases take no unit of work any more",
            };
            println!("{} {}: {state}; {others}", step.version, step.description);
        }
        return Ok(());
    }
    if let Some(to) = &args.to {
        return move_to(&config, to).await;
    }
    let mut ring = ring(&config, Schema::Migrate).await?;
    ring.provide(&Slot::all(&config)).await.map_err(|error| error.to_string())?;
    let opened = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    // A database without a book is at home where it was made; one with books that wakes up elsewhere is a copy.
    if opened.is_unwritten().await.map_err(|error| error.to_string())? {
        opened.settle().await.map_err(|error| error.to_string())?;
    }
    opened.close().await.map_err(|error| error.to_string())?;
    println!("{} is up to date", config.database);
    if let Some(role) = &args.grant {
        store::grant(&config.database, role).await.map_err(|error| error.to_string())?;
        println!("{role} may serve: add and read, never change what was written");
    }
    Ok(())
}

async fn move_to(config: &Config, to: &str) -> Result<(), String> {
    let target: Location = to.parse().map_err(|error: LocationError| error.to_string())?;
    let copied = store::copy(&config.database, &target, Purpose::Move).await.map_err(|error| error.to_string())?;
    restore::report(&copied);
    let moved = Config { database: target, ..config.clone() };
    restore::check(&moved, &copied).await?;
    println!("moved to {}; say so in `database`, the old one is not served from any more", moved.database);
    Ok(())
}

pub async fn token(args: &TokenArgs) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let tenant = config.tenant(&args.tenant).ok_or_else(|| format!("there is no tenant {}", args.tenant))?;
    let kind = args.kind.parse().map_err(|_| format!("{} is no kind: user, agent, merchant or operator", args.kind))?;
    if !crate::service::is_known(tenant, &args.principal, kind) {
        return Err(format!("tenant {} has no {kind} {}", args.tenant, args.principal));
    }
    let minter = minter(&config, &ring)?;
    println!("{}", crate::service::mint(&minter, &args.tenant, &args.principal, kind, args.seconds)?);
    Ok(())
}

async fn open(scope: &LedgerScope) -> Result<(SqlStore, Vec<TenantId>), String> {
    let config = Config::read(&scope.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let tenants = config.tenants.iter().filter(|tenant| scope.tenant.as_ref().is_none_or(|id| *id == tenant.id));
    let tenants = tenants.map(|tenant| tenant.id.parse().map_err(|_| format!("{} is no tenant", tenant.id)));
    let tenants = tenants.collect::<Result<Vec<TenantId>, _>>()?;
    match (tenants.is_empty(), &scope.tenant) {
        (true, Some(id)) => Err(format!("there is no tenant {id}")),
        _ => Ok((store, tenants)),
    }
}

/// Whether there is none.
pub async fn spends(args: &SpendsArgs) -> Result<bool, String> {
    let states = match &args.state {
        Some(text) => vec![text.parse().map_err(|_| format!("`{text}` is no state of a payment"))?],
        None if args.announced => vec![SpendState::Settled],
        None => SpendState::ALL.iter().copied().filter(|state| state.is_open()).collect::<Vec<_>>(),
    };
    let (store, tenants) = open(&args.of).await?;
    let now = store::wall_clock()().seconds();
    let mut count = 0_usize;
    for tenant in &tenants {
        let mut found = Vec::new();
        for state in &states {
            let mut after = None;
            loop {
                let page = match args.announced {
                    // Among those that are looked at again, not among all that were ever settled.
                    true => store.open_spends(tenant, after, SPENDS_PAGE).await,
                    false => store.spends_in(tenant, *state, after, SPENDS_PAGE).await,
                };
                let page = page.map_err(|error| error.to_string())?;
                let Some(last) = page.last() else { break };
                after = Some(last.hold.seq);
                found.extend(page.into_iter().filter(|spend| !args.announced || spend.announced.is_some()));
            }
        }
        found.sort_by_key(|spend| spend.hold.seq);
        for spend in found {
            let record = store.records(tenant, spend.hold.seq, 1).await.map_err(|error| error.to_string())?;
            let held_at = record.first().map_or(0, |(_, effects)| effects.at.seconds());
            let since = spend.announced.filter(|_| args.announced).map_or(held_at, |told| told.since.seconds());
            if now.saturating_sub(since) < i64::from(args.older_than) {
                continue;
            }
            count += 1;
            match args.of.json {
                true => println!("{}", spend_json(tenant, &spend, held_at)),
                false => println!("{}", spend_line(tenant, &spend, now.saturating_sub(held_at))),
            }
        }
    }
    Ok(count == 0)
}

pub async fn balances(args: &BalancesArgs) -> Result<bool, String> {
    let scope = &args.of;
    let (store, tenants) = open(scope).await?;
    let mut balanced = true;
    for tenant in &tenants {
        let trial = match args.at {
            Some(at) => TrialBalance::read_at(&store, tenant, Micros::from_seconds(at)).await,
            None => TrialBalance::read(&store, tenant).await,
        };
        let trial = trial.map_err(|error| error.to_string())?;
        balanced &= trial.is_balanced();
        if scope.json {
            let mut json = trial.to_json();
            json["tenant"] = tenant.as_str().into();
            println!("{json}");
        } else {
            println!("{tenant}");
            trial.lines().iter().for_each(|line| println!("  {line}"));
        }
    }
    Ok(balanced)
}

pub async fn journal(scope: &LedgerScope) -> Result<bool, String> {
    let (store, tenants) = open(scope).await?;
    for tenant in &tenants {
        for (entry, effects) in crate::ledger::journal(&store, tenant).await.map_err(|error| error.to_string())? {
            if scope.json {
                let mut json = record_json(&entry, &effects);
                json["tenant"] = tenant.as_str().into();
                println!("{json}");
            } else {
                println!("{tenant} {}", record_line(&effects));
            }
        }
    }
    Ok(true)
}

/// A line on standard error every few seconds: a long journal takes minutes.
async fn verify_aloud(store: &SqlStore, tenant: &TenantId) -> Result<Verification, StoreError> {
    let read = Arc::new(AtomicU64::new(0));
    let mut verified = pin!(store.verify_watched(tenant, read.clone()));
    let began = Instant::now();
    loop {
        tokio::select! {
            verification = &mut verified => return verification,
            () = tokio::time::sleep(PROGRESS) => {
                let (records, seconds) = (read.load(Ordering::Relaxed), began.elapsed().as_secs());
                eprintln!("{tenant}: {records} records read in {seconds} s");
            }
        }
    }
}

pub async fn verify(scope: &LedgerScope) -> Result<bool, String> {
    let (store, tenants) = open(scope).await?;
    let mut sound = true;
    for tenant in &tenants {
        let verification = verify_aloud(&store, tenant).await.map_err(|error| error.to_string())?;
        sound &= matches!(verification, Verification::Sound { .. });
        println!("{}", verification_line(tenant, &verification));
    }
    Ok(sound)
}
