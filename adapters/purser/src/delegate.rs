//! `purser delegate`: an agent hands part of its mandate on to another agent.

use std::path::PathBuf;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::json as value;
use crate::client::Client;
use crate::pay::service;

#[derive(Debug, Args)]
pub struct DelegateArgs {
    /// The mandate that the calling agent holds.
    pub mandate: String,
    /// The agent that gets a part of it.
    #[arg(long)]
    pub to: String,
    /// Of all payments together, in major units of the mandate's currency.
    #[arg(long)]
    pub total: String,
    /// As the mandate has it where nothing is said.
    #[arg(long)]
    pub per_payment: Option<String>,
    /// How many payments; one where nothing is said.
    #[arg(long)]
    pub payments: Option<u64>,
    /// How far apart they lie, as for `ask`; as far as in the mandate where nothing is said.
    #[arg(long)]
    pub frequency: Option<String>,
    /// Who may be paid: '{"id":"shop","name":"The Shop"}'. May be repeated; whoever the mandate allows where nothing is said.
    #[arg(long = "payee", value_name = "JSON", value_parser = value)]
    pub payees: Vec<Value>,
    /// As long as the mandate where nothing is said.
    #[arg(long)]
    pub expires_in_seconds: Option<u64>,
    /// So much a period, as for `ask`. May be repeated; those of the mandate bind all the same.
    #[arg(long = "limit", value_name = "JSON", value_parser = value)]
    pub limits: Vec<Value>,
    /// When anything may be paid, as for `ask`.
    #[arg(long, value_name = "JSON", value_parser = value)]
    pub hours: Option<Value>,
    /// The same key is one delegation: the same mandate again, never a second one.
    #[arg(long)]
    pub idempotency_key: String,
    /// As for `pay`.
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
}

/// Prints the id of the new mandate.
pub async fn run(args: &DelegateArgs) -> Result<(), String> {
    let service = service(args.service.as_deref())?;
    let (client, credential) = (Client::new(&service.url).map_err(|error| error.to_string())?, service.credential()?);
    let payees = (!args.payees.is_empty()).then_some(&args.payees);
    let request = json!({
        "to": args.to, "total": args.total, "per_payment": args.per_payment, "payments": args.payments,
        "frequency": args.frequency,
        "payees": payees, "expires_in_seconds": args.expires_in_seconds, "limits": args.limits, "hours": args.hours,
    });
    let Value::Object(mut request) = request else { return Err("a request is an object".into()) };
    request.retain(|_, value| !value.is_null());
    let (path, key) = (format!("/v1/mandates/{}/delegate", args.mandate), Some(args.idempotency_key.as_str()));
    let made = client.call_as(&credential, Method::POST, &path, key, Some(request.into())).await;
    let made = made.map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    println!("{}", text(&made["id"]));
    eprintln!(
        "{} may spend {} {} of it, until {}",
        text(&made["agent"]),
        text(&made["cap"]["amount"]),
        text(&made["currency"]),
        made["expires_at"]
    );
    Ok(())
}
