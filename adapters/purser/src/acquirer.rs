//! A payment processor (acquirer): how ours is asked ([`client`]), and one that moves no money, for `dev`, for tests and for
//! whoever builds on the vault ([`simulator`]).
//!
//! What is said between the two, JSON over HTTP, amounts in minor units as texts:
//!
//! | call | body | answer |
//! | --- | --- | --- |
//! | `POST /v1/captures` | `payment`, `merchant_id`, `amount`, `currency`, `card`, `notify_url` | 200 `done`, 402 `declined` |
//! | `POST /v1/authorizations`, `…/{id}/capture`, `…/{id}/void` | the same; `amount`; nothing | the same |
//! | `POST /v1/captures/{id}/refund` | `amount`, `currency` | the same |
//! | `GET /v1/payments/{payment}` | | everything that was done for a payment |
//! | `GET /v1/settlement.csv` | | what was settled and refused, for `purser reconcile --settlement` |
//!
//! Every POST has `Authorization: Bearer SECRET` and an `Idempotency-Key`: what was done under a key is answered again and not
//! done again; another request under it is a 409. Notices go to `notify_url`, signed as ACP signs webhooks:
//! `Acquirer-Signature: t=UNIX_SECONDS,v1=HEX`, HMAC-SHA-256 under the secret over `t.body`.

pub mod client;
pub mod simulator;

pub(crate) mod signature;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use self::simulator::Simulator;

/// What a simulator and a service on the devnet know each other by, where nothing else is said: no secret at all.
pub const DEVNET_SECRET: &str = "the-acquirer-of-the-devnet";
const SECRET_BYTES_MIN: usize = 16;

#[derive(Debug, Args)]
pub struct AcquirerArgs {
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// A file from which it knows after a restart what it did; made where there is none. No card is in it.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// What its callers know it by, and its notices are signed with.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// `purser acquirer`: the simulator as a process of its own.
pub async fn run(args: &AcquirerArgs, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let secret = secret(args.secret_file.as_deref())?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await.map_err(|error| error.to_string())?;
    let url = format!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
    let simulator = Simulator::open(&secret, args.data.as_deref())?;
    println!(
        "{}",
        json!({ "url": url, "pid": std::process::id(), "settlement_url": format!("{url}/v1/settlement.csv"),
            "cards": simulator::cards() })
    );
    simulator.serve(listener, stop).await
}

/// The secret of a file, or the devnet's where none is named.
pub fn secret(path: Option<&Path>) -> Result<String, String> {
    let Some(path) = path else { return Ok(DEVNET_SECRET.to_owned()) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = text.trim();
    if text.len() < SECRET_BYTES_MIN {
        let found = text.len();
        return Err(format!("{}: {SECRET_BYTES_MIN} bytes or more were expected, {found} are there", path.display()));
    }
    Ok(text.to_owned())
}
