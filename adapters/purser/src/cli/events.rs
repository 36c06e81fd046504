//! What is asked about events.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct WebhookArgs {
    #[command(subcommand)]
    pub action: WebhookAction,
}

#[derive(Debug, Subcommand)]
pub enum WebhookAction {
    /// Each receiver of the configuration, how far it was told, and what its last attempts came to.
    List(WebhookPlace),
    /// Print the secret that a receiver verifies with; after a rotation the new one first.
    Secret {
        name: String,
        #[command(flatten)]
        place: WebhookPlace,
    },
    /// Tell a receiver again, from this record of the journal on; or pass over what it was not told, up to there.
    Replay {
        name: String,
        #[arg(long, value_name = "RECORD")]
        from: u64,
        #[command(flatten)]
        place: WebhookPlace,
    },
}

#[derive(Debug, Args)]
pub struct WebhookPlace {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "main")]
    pub tenant: String,
}

#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Whom to tell.
    #[arg(long, value_name = "URL")]
    pub forward_to: String,
    /// `payment.settled`, or `payment.*`; everything where nothing is said. May be repeated.
    #[arg(long = "event", value_name = "EVENT")]
    pub events: Vec<String>,
    /// What happened before, too.
    #[arg(long)]
    pub from_start: bool,
    /// `url`, and `token` or `client_id` and `key`; PURSER_URL and PURSER_TOKEN where nothing is said.
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct TriggerArgs {
    /// Its name, as `payment.settled`.
    pub event: String,
    /// Whom to tell. The secret is in PURSER_WEBHOOK_SECRET.
    #[arg(long, value_name = "URL")]
    pub forward_to: String,
}
