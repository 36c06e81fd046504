//! `purser serve`: the service from a configuration file.

use std::path::Path;

use chain::rpc::{RpcChain, RpcConfig};
use serde_json::json;
use store::Schema;
use tokio::net::TcpListener;

use crate::assembly::open_store;
use crate::config::Config;
use crate::operate::master_key;
use crate::service::Running;

pub async fn run(path: &Path, stop: impl Future<Output = ()>) -> Result<(), String> {
    let config = Config::read(path).map_err(|error| error.to_string())?;
    config.check_for_service().map_err(|error| error.to_string())?;
    let master = master_key(&config)?;
    let store = open_store(&config, &master, Schema::Refuse).await;
    let store = store.map_err(|error| format!("{error} (purser migrate --config {})", path.display()))?;
    let rpc = RpcChain::http(&config.chain.rpc_url, RpcConfig::default()).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| format!("{}: {error}", config.listen))?;
    let running = Running::start(&config, &master, store.clone(), rpc, listener).await?;
    println!("{}", json!({ "url": running.url(), "pid": std::process::id(), "database": config.database }));
    stop.await;
    tracing::info!("stopping");
    running.stop().await;
    store.close().await.map_err(|error| error.to_string())
}
