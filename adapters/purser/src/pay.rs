//! `purser pay`: fetch, and settle a 402 under a mandate on the way. Exit 0 only on a 200.

use async_trait::async_trait;
use payer::{Asked, Fetched, Payer, PayerError, Payment, Reported, Wallet};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::PayArgs;
use crate::client::{Client, ClientError, TIMEOUT};
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
    pub payment_signature: Option<String>,
}

/// The service as a wallet: it pays under a mandate, and looks at the chain.
struct ServiceWallet<'a> {
    service: &'a Client,
    credential: &'a Credential,
    mandate: &'a str,
    cart: Option<&'a str>,
}

#[async_trait]
impl Wallet for ServiceWallet<'_> {
    type Outcome = Value;
    type Error = ClientError;

    async fn pay(&self, asked: Asked<'_>) -> Result<Payment, ClientError> {
        let body = json!({
            "mandate": self.mandate,
            "payment_required_header": asked.header,
            "method": asked.method,
            "url": asked.url,
            "cart": self.cart,
        });
        let path = "/v1/payments";
        let payment = self.service.call_as(self.credential, Method::POST, path, Some(asked.key), Some(body)).await?;
        let text = |name: &str| payment.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Payment { id: text("id"), header: text("payment_signature") })
    }

    async fn look(&self, payment: &Payment, reported: Reported<'_>) -> Result<Value, ClientError> {
        let outcome = json!({ "payment_response": reported.response, "status": reported.status });
        let path = format!("/v1/payments/{}/outcome", payment.id);
        self.service.call_as(self.credential, Method::POST, &path, None, Some(outcome)).await
    }
}

/// Meets the 402, pays once, tells the service how it ended.
pub async fn buy(service: &Client, credential: &Credential, purchase: &Purchase) -> Result<Bought, ClientError> {
    let cart = purchase.cart.as_deref();
    let wallet = ServiceWallet { service, credential, mandate: &purchase.mandate, cart };
    let payer = Payer::new(wallet, TIMEOUT).map_err(said)?;
    let wanted = payer::Purchase {
        method: purchase.method.clone(),
        url: purchase.url.clone(),
        key: purchase.key.clone(),
        ..payer::Purchase::default()
    };
    let bought = payer.fetch(&wanted).await.map_err(said)?;
    let (payment_signature, payment) = bought.paid.map(|(payment, outcome)| (payment.header, outcome)).unzip();
    Ok(Bought { fetched: bought.fetched, payment, payment_signature })
}

fn said(error: PayerError<ClientError>) -> ClientError {
    match error {
        PayerError::Wallet(error) => error,
        PayerError::Unreachable { url, why } => ClientError::Unreachable { url, why },
        PayerError::NotPayable { ref url, .. } | PayerError::TooLong { ref url } => {
            ClientError::Unreadable { url: url.clone(), why: error.to_string() }
        }
    }
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
