//! `purser serve`: the service from a configuration file.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chain::rpc::{RpcChain, RpcConfig};
use serde_json::json;
use store::{Schema, SqlStore};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal as listen};
use tokio::sync::watch;
use x402::chain::Chain;

use crate::assembly::{open_store, refuse_test_keys};
use crate::config::{Config, TenantConfig};
use crate::fence::{NoteFile, follow, path_of};
use crate::keys::{Ring, Slot};
use crate::opening;
use crate::operate::master_key;
use crate::service::Running;

/// How soon a changed file is seen.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub async fn run(path: &Path, stop: impl Future<Output = ()>) -> Result<(), String> {
    let mut changes = Changes::new(path);
    let config = Config::read(path).map_err(|error| error.to_string())?;
    config.check_for_service().map_err(|error| error.to_string())?;
    changes.follow(&config);
    let ring = Ring::open(&config.database, master_key(&config)?, Schema::Refuse).await;
    let mut ring = ring.map_err(|error| format!("{error} (purser migrate --config {})", path.display()))?;
    ring.provide(&Slot::all(&config)).await.map_err(|error| error.to_string())?;
    refuse_test_keys(&config, &ring).map_err(|error| error.to_string())?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let rpc = RpcChain::http_any(&config.rpc_urls(), RpcConfig::default()).map_err(|error| error.to_string())?;
    check_chains(&config).await?;
    // Before anything is written.
    let notes = Arc::new(NoteFile::open(path_of(path, &config), store.clone())?);
    guard(&notes, &config).await?;
    // Without the chain there is no opening balance to read; the next start posts it.
    if let Err(error) = opening::post(&config, &ring, &store, &rpc).await {
        tracing::warn!("opening balances: {error}");
    }
    let listener = TcpListener::bind(config.listen).await.map_err(|error| format!("{}: {error}", config.listen))?;
    let running = Running::start(&config, &ring, store.clone(), rpc.clone(), listener).await?;
    let (ended, end) = watch::channel(false);
    let _ = running.engine().outside.set(notes.clone());
    let following = tokio::spawn(follow(running.engine().clone(), notes.clone(), end));
    println!("{}", json!({ "url": running.url(), "pid": std::process::id(), "database": config.database.to_string() }));
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = changes.next() => {}
        }
        if let Ok(config) = Config::read(path) {
            changes.follow(&config);
        }
        // What cannot be read or taken up changes nothing: the service goes on as it is.
        match reload(path, &running, &store, &rpc, &notes).await {
            Ok(()) => tracing::info!("the configuration was taken up"),
            Err(why) => tracing::error!("the configuration was not taken up: {why}"),
        }
    }
    tracing::info!("stopping");
    running.stop().await;
    let _ = ended.send(true);
    if let Err(error) = following.await {
        tracing::warn!("the notes of the books ended badly: {error}");
    }
    store.close().await.map_err(|error| error.to_string())
}

/// A book that is not the one that was here last stays behind its fence.
async fn guard(notes: &NoteFile, config: &Config) -> Result<(), String> {
    let parse = |id: &String| id.parse().map_err(|_| format!("`{id}` is no tenant"));
    let tenants = config.tenants.iter().map(|tenant| parse(&tenant.id)).collect::<Result<Vec<_>, _>>()?;
    for reason in notes.guard(&tenants).await? {
        tracing::error!("{reason}. Nothing is paid, sold or carried until `purser restore --lift`");
    }
    Ok(())
}

async fn reload(
    path: &Path,
    running: &Running,
    store: &SqlStore,
    rpc: &RpcChain,
    notes: &NoteFile,
) -> Result<(), String> {
    let config = Config::read(path).map_err(|error| error.to_string())?;
    config.check_for_service().map_err(|error| error.to_string())?;
    let ring = Ring::open(&config.database, master_key(&config)?, Schema::Refuse).await;
    let mut ring = ring.map_err(|error| error.to_string())?;
    ring.provide(&Slot::all(&config)).await.map_err(|error| error.to_string())?;
    refuse_test_keys(&config, &ring).map_err(|error| error.to_string())?;
    guard(notes, &config).await?;
    running.reload(&config, &ring)?;
    if let Err(error) = opening::post(&config, &ring, store, rpc).await {
        tracing::warn!("opening balances: {error}");
    }
    Ok(())
}

/// When to read the configuration again: at SIGHUP, and when its file or a trust file or policy that it names is another
/// one.
struct Changes {
    files: Vec<(PathBuf, Option<Seen>)>,
    asked: Option<Signal>,
}

impl Changes {
    fn new(path: &Path) -> Self {
        Self { files: vec![(path.to_path_buf(), look(path))], asked: listen(SignalKind::hangup()).ok() }
    }

    /// The trust files and policies of this configuration, too. Called before they are read, so that no change falls between.
    fn follow(&mut self, config: &Config) {
        self.files.truncate(1);
        let policy = |tenant: &TenantConfig| tenant.policy.as_ref().map(|policy| policy.file.clone());
        let named = config.tenants.iter().flat_map(|tenant| tenant.trust.clone().into_iter().chain(policy(tenant)));
        self.files.extend(named.map(|path| (path.clone(), look(&path))));
    }

    async fn next(&mut self) {
        loop {
            let asked = async {
                match &mut self.asked {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            if tokio::time::timeout(LOOK_EVERY, asked).await.is_ok() {
                return;
            }
            let mut has_changed = false;
            for (path, seen) in &mut self.files {
                let found = look(path);
                if found.is_some() && found != *seen {
                    *seen = found;
                    has_changed = true;
                }
            }
            if has_changed {
                return;
            }
        }
    }
}

type Seen = (u64, u64, SystemTime);

/// Which file it is, how long, and when it was written.
fn look(path: &Path) -> Option<Seen> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.ino(), facts.len(), facts.modified().ok()?))
}

/// A node of another chain would have us sign for it: refused. One that does not answer may come back.
async fn check_chains(config: &Config) -> Result<(), String> {
    for url in config.rpc_urls() {
        let rpc = RpcChain::http(&url, RpcConfig::default()).map_err(|error| error.to_string())?;
        match rpc.chain_id().await {
            Ok(found) if found == config.chain.chain_id => {}
            Ok(found) => {
                let expected = config.chain.chain_id;
                return Err(format!(
                    "chain_id_mismatch: a configured node is of chain {found}, {expected} was expected"
                ));
            }
            Err(error) => tracing::warn!("a configured node does not answer: {error}"),
        }
    }
    Ok(())
}
