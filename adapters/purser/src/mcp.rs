//! `purser mcp`: the tools of an agent over stdio, for a coding agent that starts it as a process.
//!
//! Standard output is the protocol's and nothing else's; the log goes to standard error. What is bought is fetched from
//! this machine, as `purser pay` does; the service signs, and never connects to a seller for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use reqwest::redirect::Policy;
use rmcp::ServiceExt as _;
use serde_json::{Map, Value, json};
use server::mcp::agent::{Errands, SELLER_PATIENCE};
use server::mcp::desk::Desk;
use server::mcp::sold::Shop;
use server::wallet::{Call, Surface};
use tokio::time::Instant;

use crate::client::{Client, ClientError};
use crate::credential::Credential;
use crate::pay::{Remote, service};

/// How long what was begun may take to end when the client has gone.
const DRAIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub struct McpArgs {
    /// As for `pay`.
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
    /// What is spent from where a call names no other.
    #[arg(long)]
    pub mandate: Option<String>,
}

/// The service over a connection, and sellers from this machine.
struct Agent {
    client: Client,
    credential: Credential,
    outside: reqwest::Client,
    mandate: Option<String>,
}

#[async_trait]
impl Surface for Agent {
    type Error = ClientError;

    async fn call(&self, call: Call) -> Result<Value, ClientError> {
        Remote { client: &self.client, credential: &self.credential }.call(call).await
    }

    fn code(error: &ClientError) -> Option<&str> {
        error.code()
    }
}

#[async_trait]
impl Errands for Agent {
    /// Whatever this machine can reach: it is the user's own, and the agent runs on it.
    async fn client_for(&self, _: &str) -> Result<reqwest::Client, String> {
        Ok(self.outside.clone())
    }

    fn told(error: &ClientError) -> Map<String, Value> {
        let told = match error {
            ClientError::Refused { code, detail, status, .. } => {
                let code = code.clone().unwrap_or_else(|| "request_refused".into());
                let retryable = [429, 503].contains(status);
                json!({ "code": code, "detail": detail, "retryable": retryable })
            }
            ClientError::Unreachable { .. } => {
                json!({ "code": "service_unreachable", "detail": error.to_string(), "retryable": true })
            }
            ClientError::Unreadable { .. } => json!({ "code": "service_unreadable", "detail": error.to_string() }),
        };
        told.as_object().cloned().unwrap_or_default()
    }

    fn mandate(&self) -> Option<&str> {
        self.mandate.as_deref()
    }
}

/// Serves until standard input ends.
pub async fn run(args: &McpArgs, stop: impl Future<Output = ()>) -> Result<(), String> {
    let service = service(args.service.as_deref())?;
    let outside = reqwest::Client::builder().redirect(Policy::none()).timeout(SELLER_PATIENCE).build();
    let agent = Agent {
        client: Client::new(&service.url).map_err(|error| error.to_string())?,
        credential: service.credential()?,
        outside: outside.map_err(|error| error.to_string())?,
        mandate: args.mandate.clone(),
    };
    let agent = Arc::new(agent);
    let desk = Desk { errands: Some(agent.clone()), shop: Arc::new(Shop::default()) };
    let ended = serve(desk, stop).await;
    finish(&agent).await;
    ended
}

/// A payment that was begun is seen to its end, though nobody listens any more; its purchase is safe without.
async fn finish(agent: &Arc<Agent>) {
    let deadline = Instant::now() + DRAIN;
    while Arc::strong_count(agent) > 1 && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn serve(desk: Desk<Agent>, stop: impl Future<Output = ()>) -> Result<(), String> {
    let running = desk.serve(rmcp::transport::stdio());
    let mut stop = std::pin::pin!(stop);
    let running = tokio::select! {
        running = running => running.map_err(|error| format!("the client did not begin: {error}"))?,
        () = &mut stop => return Ok(()),
    };
    let ended = running.cancellation_token();
    tokio::select! {
        ended = running.waiting() => ended.map(drop).map_err(|error| error.to_string()),
        () = &mut stop => {
            ended.cancel();
            Ok(())
        }
    }
}
