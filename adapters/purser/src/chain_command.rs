//! `purser chain`: the devnet in a process of its own.

use std::time::Duration;

use chain::devnet::{self, Devnet, DevnetConfig};
use serde_json::json;
use tokio::net::TcpListener;

use crate::cli::ChainArgs;

pub async fn run(args: &ChainArgs, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let block_interval = (args.block_millis > 0).then(|| Duration::from_millis(args.block_millis));
    let (finalized_lag_blocks, data) = (args.finalized_lag, args.data.clone());
    let config = DevnetConfig { finalized_lag_blocks, block_interval, data, ..DevnetConfig::default() };
    let chain_id = config.chain_id;
    if args.genesis {
        println!("{}", devnet::genesis(chain_id).map_err(|error| error.to_string())?);
        return Ok(());
    }
    let devnet = Devnet::new(config).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!(
        "{}",
        json!({
            "rpc_url": format!("http://{address}"),
            "network": format!("eip155:{chain_id}"),
            "pid": std::process::id(),
            "asset": {
                "address": chain::token::ADDRESS, "name": chain::token::NAME,
                "version": chain::token::VERSION, "decimals": chain::token::DECIMALS,
            },
        })
    );
    devnet.serve(listener, shutdown).await.map_err(|error| error.to_string())
}
