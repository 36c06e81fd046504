//! The devnet on a port, for a look from outside: `cargo run -p chain --example serve_devnet -- 8545`.

use chain::devnet::{Devnet, DevnetConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(8545), |port| port.parse())?;
    let devnet = Devnet::new(DevnetConfig::default())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{} token {}", listener.local_addr()?, devnet.token_address());
    devnet.serve(listener, std::future::pending()).await?;
    Ok(())
}
