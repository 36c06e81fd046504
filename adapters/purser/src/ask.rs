//! `purser ask`: an agent asks a person for a mandate, and may wait for the answer.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::AskArgs;
use crate::client::Client;
use crate::pay::service;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Prints the approval's id; with `--wait` the mandate's below it. `Ok(false)` when the answer is no, or none in time.
pub async fn run(args: &AskArgs) -> Result<bool, String> {
    let service = service(args.service.as_deref())?;
    let (client, credential) = (Client::new(&service.url).map_err(|error| error.to_string())?, service.credential()?);
    let request = json!({
        "user": args.user, "description": args.description, "currency": args.currency, "total": args.total,
        "per_payment": args.per_payment, "payments": args.payments, "frequency": args.frequency,
        "expires_in_seconds": args.expires_in_seconds, "limits": args.limits, "hours": args.hours,
        "cost_centre": args.cost_centre,
    });
    let Value::Object(mut request) = request else { return Err("a request is an object".into()) };
    request.retain(|_, value| !value.is_null());
    let asked = client.call_as(&credential, Method::POST, "/v1/mandates/intents", None, Some(request.into())).await;
    let asked = asked.map_err(|error| error.to_string())?;
    let id = asked["approval"]["id"].as_str().ok_or("the service gave the question no id")?.to_owned();
    println!("{id}");
    let page = asked["approval_url"].as_str().unwrap_or_default();
    eprintln!("{} is asked, and answers at {page}; or purser approve {id} where a token is enough", args.user);
    let Some(seconds) = args.wait else { return Ok(true) };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let path = format!("/v1/approvals/{id}");
        let seen =
            client.call_as(&credential, Method::GET, &path, None, None).await.map_err(|error| error.to_string())?;
        match (seen["state"].as_str().unwrap_or_default(), seen["mandate"].as_str()) {
            (_, Some(mandate)) => {
                println!("{mandate}");
                return Ok(true);
            }
            ("denied", _) => {
                eprintln!("the answer is no");
                return Ok(false);
            }
            _ if Instant::now() >= deadline => {
                eprintln!("no answer within {seconds} s; the question still stands");
                return Ok(false);
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
