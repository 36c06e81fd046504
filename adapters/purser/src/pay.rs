//! `purser pay`: fetch, and settle a 402 under a mandate on the way. Exit 0 only on a 200.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use x402::wire::{PAYMENT_REQUIRED, PAYMENT_RESPONSE};

use crate::cli::PayArgs;
use crate::client::{Client, ClientError, Fetched};
use crate::credential::Credential;

/// What a paid fetch needs to know.
#[derive(Clone, Debug)]
pub struct Purchase {
    pub url: String,
    pub method: String,
    pub mandate: String,
    pub key: String,
    pub cart: Option<String>,
}

/// A resource, and the payment that it took where it took one.
#[derive(Debug)]
pub struct Bought {
    pub fetched: Fetched,
    /// The service's own view of the payment, after its outcome was looked at.
    pub payment: Option<Value>,
    /// As the seller answered it.
    pub payment_signature: Option<String>,
}

/// Meets the 402, pays once, tells the service how it ended. A 402 after the payment never leads to a second one.
pub async fn buy(purser: &Client, credential: &Credential, purchase: &Purchase) -> Result<Bought, ClientError> {
    let met = purser.fetch(&purchase.method, &purchase.url, None).await?;
    if met.status != StatusCode::PAYMENT_REQUIRED {
        return Ok(Bought { fetched: met, payment: None, payment_signature: None });
    }
    let required = met.header(PAYMENT_REQUIRED).ok_or_else(|| ClientError::Unreadable {
        url: purchase.url.clone(),
        why: "a 402 without a PAYMENT-REQUIRED header".into(),
    })?;
    let body = json!({
        "mandate": purchase.mandate,
        "payment_required_header": required,
        "method": purchase.method,
        "url": purchase.url,
        "cart": purchase.cart,
    });
    let payment = purser.call_as(credential, Method::POST, "/v1/payments", Some(&purchase.key), Some(body)).await?;
    let text = |name: &str| payment.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (id, signature) = (text("id"), text("payment_signature"));
    let fetched = purser.fetch(&purchase.method, &purchase.url, Some(&signature)).await;
    let response = fetched.as_ref().ok().and_then(|fetched| fetched.header(PAYMENT_RESPONSE)).map(str::to_owned);
    let status = fetched.as_ref().ok().map(|fetched| fetched.status.as_u16());
    let outcome = json!({ "payment_response": response, "status": status });
    // Whatever the seller said or did not say, the service looks at the chain.
    let path = format!("/v1/payments/{id}/outcome");
    let payment = purser.call_as(credential, Method::POST, &path, None, Some(outcome)).await?;
    Ok(Bought { fetched: fetched?, payment: Some(payment), payment_signature: Some(signature) })
}

/// Where the service is, and as whom it is called.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub url: String,
    /// A bearer token; or `client_id` and `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The private JWK of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<mandates::json::Object>,
}

impl Service {
    fn credential(&self) -> Result<Credential, String> {
        match (&self.token, &self.client_id, &self.key) {
            (Some(token), None, None) => Ok(Credential::bearer(token)),
            (None, Some(client_id), Some(key)) => Credential::key(client_id, key),
            _ => Err("a service file has `token`, or `client_id` and `key`".into()),
        }
    }
}

fn service(args: &PayArgs) -> Result<Service, String> {
    if let Some(path) = &args.service {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // The parser's message could repeat the token.
        return serde_json::from_slice(&text)
            .map_err(|_| format!("{}: `url`, and `token` or `client_id` and `key` were expected", path.display()));
    }
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("set {name}, or give --service FILE"));
    Ok(Service { url: variable("PURSER_URL")?, token: Some(variable("PURSER_TOKEN")?), client_id: None, key: None })
}

/// Prints the body on standard output and what it cost on standard error. `Ok(true)` on a 200.
pub async fn run(args: &PayArgs) -> Result<bool, String> {
    let cart = match &args.cart {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?),
        None => None,
    };
    let purchase = Purchase {
        url: args.url.clone(),
        method: args.method.clone(),
        mandate: args.mandate.clone(),
        key: args.idempotency_key.clone(),
        cart: cart.map(|text| text.trim().to_owned()),
    };
    let service = service(args)?;
    let purser = Client::new(&service.url).map_err(|error| error.to_string())?;
    let bought = buy(&purser, &service.credential()?, &purchase).await.map_err(|error| error.to_string())?;
    if let Some(payment) = &bought.payment {
        let text = |name: &str| payment.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        eprintln!(
            "payment {} is {}: {} of {} to {}",
            text("id"),
            text("state"),
            text("amount"),
            text("asset"),
            text("pay_to")
        );
        eprintln!("transaction {}", text("transaction"));
    }
    use std::io::Write;
    std::io::stdout().write_all(&bought.fetched.body).map_err(|error| error.to_string())?;
    if bought.fetched.status != StatusCode::OK {
        eprintln!("the seller answered {}", bought.fetched.status.as_u16());
    }
    Ok(bought.fetched.status == StatusCode::OK)
}
