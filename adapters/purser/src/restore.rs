//! `purser backup`, `purser restore`: a whole database as one SQLite file, while it is used; and the way back, behind a
//! fence.

use std::path::PathBuf;

use clap::Args;
use engine::restore::{Missing, Restored};
use ledger::id::TenantId;
use ledger::store::{Store, Verification};
use serde_json::json;
use store::{Copied, Location, Purpose, Schema, SqlStore};

use crate::assembly::open_store;
use crate::checkpoint::{Compared, LedgerTenant, compare};
use crate::config::Config;
use crate::fence::{NoteFile, path_of};
use crate::operate::{connected, ring};

#[derive(Debug, Args)]
pub struct BackupArgs {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The new file. It opens with the same master key, which is not in it.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// A backup, into the empty database of the configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "lift", conflicts_with = "lift")]
    pub from: Option<PathBuf>,
    /// Hold the books against the chain and let them go on.
    #[arg(long)]
    pub lift: bool,
    /// With `--lift`: the newest checkpoint of a tenant that is kept elsewhere. May be repeated.
    #[arg(long, value_name = "FILE", requires = "lift")]
    pub checkpoint: Vec<PathBuf>,
    /// With `--lift`: one tenant; all that are fenced where none is named.
    #[arg(long, requires = "lift")]
    pub tenant: Option<String>,
    #[arg(long)]
    pub json: bool,
}

pub async fn backup(args: &BackupArgs) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    if args.out.exists() {
        return Err(format!("{} is there already; a backup is a new file", args.out.display()));
    }
    let target = Location::Sqlite(args.out.clone());
    let copied = store::copy(&config.database, &target, Purpose::Keep).await.map_err(|error| error.to_string())?;
    report(&copied);
    let backup = Config { database: target, ..config };
    check(&backup, &copied).await?;
    println!("{} is a copy of it, read again and recomputed", args.out.display());
    Ok(())
}

/// What was written is read again and recomputed, in the place where it lies now.
pub async fn check(config: &Config, copied: &[Copied]) -> Result<(), String> {
    let ring = ring(config, Schema::Refuse).await?;
    let store = open_store(config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    for copied in copied {
        let found = store.verify(&copied.tenant).await.map_err(|error| error.to_string())?;
        if found != (Verification::Sound { entries: copied.entries, root: copied.root }) {
            return Err(format!("{} is not what was copied: {found:?}", config.database));
        }
    }
    store.close().await.map_err(|error| error.to_string())
}

pub fn report(copied: &[Copied]) {
    for Copied { tenant, entries, root } in copied {
        println!("{tenant}: {entries} records, root {root}");
    }
}

pub async fn run(args: &RestoreArgs) -> Result<(), String> {
    match &args.from {
        Some(from) => restore(args, from.clone()).await,
        None => lift(args).await,
    }
}

async fn restore(args: &RestoreArgs, from: PathBuf) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let copied = store::copy(&Location::Sqlite(from), &config.database, Purpose::Keep).await;
    let copied = copied.map_err(|error| error.to_string())?;
    report(&copied);
    check(&config, &copied).await?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    // A copy is not at home: the fence of every book is closed before anybody serves from it.
    let file = NoteFile::open(path_of(&args.config, &config), store.clone())?;
    let fenced = file.guard(&tenants(&config)?).await?;
    store.close().await.map_err(|error| error.to_string())?;
    fenced.iter().for_each(|reason| println!("fenced: {reason}"));
    if !fenced.is_empty() {
        println!(
            "nothing is paid, sold or carried until `purser restore --lift --checkpoint FILE`, with the newest checkpoint"
        );
    }
    Ok(())
}

fn tenants(config: &Config) -> Result<Vec<TenantId>, String> {
    let parse = |id: &String| id.parse().map_err(|_| format!("`{id}` is no tenant"));
    config.tenants.iter().map(|tenant| parse(&tenant.id)).collect()
}

async fn lift(args: &RestoreArgs) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let file = NoteFile::open(path_of(&args.config, &config), store.clone())?;
    let fenced = fenced(&store, args, tenants(&config)?).await?;
    if fenced.is_empty() {
        return Err("no book is behind its fence".to_owned());
    }
    let made = connected(&config, &ring, store.clone())?;
    for tenant in &fenced {
        let (missing, why) = missing(args, &file, tenant).await?;
        let restored = made.restore(tenant, missing).await.map_err(|error| format!("{tenant}: {error}"))?;
        file.accept(tenant).await?;
        told(args, tenant, &why, restored);
    }
    store.close().await.map_err(|error| error.to_string())
}

async fn fenced(store: &SqlStore, args: &RestoreArgs, all: Vec<TenantId>) -> Result<Vec<TenantId>, String> {
    let mut fenced = Vec::new();
    for tenant in all.into_iter().filter(|id| args.tenant.as_ref().is_none_or(|asked| asked == id.as_str())) {
        let gates = store.closed_gates(&tenant).await.map_err(|error| error.to_string())?;
        if gates.iter().any(|gate| gate.scope == ledger::gate::Scope::Fence) {
            fenced.push(tenant);
        }
    }
    Ok(fenced)
}

/// Records are missing unless a checkpoint says that there are none, and nothing that was noted here says otherwise.
async fn missing(args: &RestoreArgs, file: &NoteFile, tenant: &TenantId) -> Result<(Missing, String), String> {
    let of = LedgerTenant { config: args.config.clone(), tenant: Some(tenant.to_string()) };
    // What is behind one of them is behind; else the newest counts.
    let mut compared: Option<Compared> = None;
    for path in &args.checkpoint {
        compared = match (compared, compare(&of, path).await?) {
            (Some(Compared::Contained { size }), Some(Compared::Contained { size: other })) => {
                Some(Compared::Contained { size: size.max(other) })
            }
            (Some(behind @ Compared::Behind { .. }), _) | (_, Some(behind @ Compared::Behind { .. })) => Some(behind),
            (one, other) => one.or(other),
        };
    }
    // Written before the fence was: what the book had then, and what it has now, the fence's own record included.
    let lost = file.note_of(tenant).await.lost.unwrap_or(0);
    Ok(match compared {
        None => (Missing::Something, "no checkpoint of it was given: what is missing is not known".to_owned()),
        Some(Compared::Behind { size, entries }) => (
            Missing::Something,
            format!("the checkpoint has {size} records, the book had {entries} when it was fenced"),
        ),
        Some(Compared::Contained { size }) if lost > size => {
            (Missing::Something, format!("the book had {lost} records once, the checkpoint is of {size}"))
        }
        Some(Compared::Contained { size }) => {
            (Missing::Nothing, format!("the book holds all {size} records of the checkpoint"))
        }
    })
}

fn told(args: &RestoreArgs, tenant: &TenantId, why: &str, restored: Restored) {
    let Restored { from_block, recovered, suspended, revoked } = restored;
    if args.json {
        let line = json!({
            "tenant": tenant, "compared": why, "from_block": from_block, "recovered": recovered,
            "mandates_suspended": suspended, "mandates_revoked": revoked,
        });
        println!("{line}");
        return;
    }
    println!("{tenant}: {why}");
    println!(
        "{tenant}: from block {from_block} on {recovered} payments were found that no record knows; {suspended} mandates \
         were suspended, {revoked} revoked; the fence is lifted"
    );
}
