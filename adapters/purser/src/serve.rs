//! `purser serve`: the service from a configuration file.

use std::path::Path;

use chain::rpc::{RpcChain, RpcConfig};
use serde_json::json;
use store::Schema;
use tokio::net::TcpListener;
use x402::chain::Chain;

use crate::assembly::{open_store, refuse_test_keys};
use crate::config::Config;
use crate::keys::{Ring, Slot};
use crate::opening;
use crate::operate::master_key;
use crate::service::Running;

pub async fn run(path: &Path, stop: impl Future<Output = ()>) -> Result<(), String> {
    let config = Config::read(path).map_err(|error| error.to_string())?;
    config.check_for_service().map_err(|error| error.to_string())?;
    let ring = Ring::open(&config.database, master_key(&config)?, Schema::Refuse).await;
    let mut ring = ring.map_err(|error| format!("{error} (purser migrate --config {})", path.display()))?;
    ring.provide(&Slot::all(&config)).await.map_err(|error| error.to_string())?;
    refuse_test_keys(&config, &ring).map_err(|error| error.to_string())?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let rpc = RpcChain::http_any(&config.rpc_urls(), RpcConfig::default()).map_err(|error| error.to_string())?;
    check_chains(&config).await?;
    // Without the chain there is no opening balance to read; the next start posts it.
    if let Err(error) = opening::post(&config, &ring, &store, &rpc).await {
        tracing::warn!("opening balances: {error}");
    }
    let listener = TcpListener::bind(config.listen).await.map_err(|error| format!("{}: {error}", config.listen))?;
    let running = Running::start(&config, &ring, store.clone(), rpc, listener).await?;
    println!("{}", json!({ "url": running.url(), "pid": std::process::id(), "database": config.database }));
    stop.await;
    tracing::info!("stopping");
    running.stop().await;
    store.close().await.map_err(|error| error.to_string())
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
