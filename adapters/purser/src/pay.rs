//! `purser pay`: fetch, call a tool of an MCP server or send a message to an agent (A2A), and pay what is asked under a
//! mandate on the way. Exit 0 only on a 200, or on a result that is no failure; 3 after a preview.
//!
//! What was bought goes to standard output and nothing else does. What is asked, signed, answered and seen on the chain
//! is told on standard error, as it happens; texts of the seller's without anything that a terminal would obey.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use clap::Args;
use payer::agent::Errand;
use payer::tool::ToolCall;
use payer::{Answered, Demand, Fetched, Payer, PayerError};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};
use server::wallet::{Call, MandateWallet, Surface, Tell, offers, plain};
use x402::wire::{SettleResponse, WireError, read_header};

use crate::client::{Client, ClientError, TIMEOUT};
use crate::credential::Credential;

#[derive(Debug, Args)]
pub struct PayArgs {
    pub url: String,
    #[arg(long)]
    pub mandate: String,
    /// The same key is one purchase: the same authorization again, never a second one.
    #[arg(long)]
    pub idempotency_key: String,
    #[arg(long, default_value = "GET", conflicts_with_all = ["tool", "message"])]
    pub method: String,
    /// The URL is an MCP server's (streamable HTTP): call this tool of it.
    #[arg(long, value_name = "NAME", conflicts_with = "message")]
    pub tool: Option<String>,
    /// The tool's arguments: a JSON object.
    #[arg(long, value_name = "JSON", requires = "tool")]
    pub arguments: Option<String>,
    /// The URL is an agent's (A2A): tell it this, a skill's name or whatever it understands.
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Show what is asked and what the mandate has left, and pay nothing. Exit 3.
    #[arg(long)]
    pub preview: bool,
    /// The merchant's signed checkout.
    #[arg(long, value_name = "FILE")]
    pub cart: Option<PathBuf>,
    /// JSON with the `url` of the service and the `token` to call it with; without it, PURSER_URL and PURSER_TOKEN.
    /// Never on the command line: what stands there is seen by everybody on the machine.
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
}

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

/// The service over a connection, as one caller.
#[derive(Clone, Copy)]
pub struct Remote<'a> {
    pub client: &'a Client,
    pub credential: &'a Credential,
}

#[async_trait]
impl Surface for Remote<'_> {
    type Error = ClientError;

    async fn call(&self, call: Call) -> Result<Value, ClientError> {
        let Call { method, path, idempotency_key, body } = call;
        self.client.call_as(self.credential, method, &path, idempotency_key.as_deref(), body).await
    }

    fn code(error: &ClientError) -> Option<&str> {
        error.code()
    }
}

/// What is called, where that is no HTTP resource.
enum Called {
    Tool(ToolCall),
    Agent(Errand),
}

impl Called {
    fn of(args: &PayArgs) -> Result<Option<Self>, String> {
        let (url, key) = (args.url.clone(), args.idempotency_key.clone());
        Ok(match (&args.tool, &args.message) {
            (Some(tool), _) => {
                let arguments = args.arguments.as_deref().unwrap_or("{}");
                let arguments: Map<String, Value> = serde_json::from_str(arguments)
                    .map_err(|error| format!("--arguments: a JSON object was expected: {error}"))?;
                Some(Self::Tool(ToolCall { url, tool: tool.clone(), arguments, key }))
            }
            (None, Some(message)) => Some(Self::Agent(Errand { url, message: message.clone(), key })),
            (None, None) => None,
        })
    }

    async fn meet(&self, payer: &Payer<MandateWallet<'_, Remote<'_>>>) -> Result<Option<Demand>, ClientError> {
        let met = match self {
            Self::Tool(call) => payer.meet_tool(call).await,
            Self::Agent(errand) => payer.meet_errand(errand).await,
        };
        Ok(met.map_err(said)?.1)
    }

    async fn buy(&self, payer: &Payer<MandateWallet<'_, Remote<'_>>>) -> Result<Answered<Value>, ClientError> {
        match self {
            Self::Tool(call) => payer.call_tool(call).await,
            Self::Agent(errand) => payer.send_errand(errand).await,
        }
        .map_err(said)
    }
}

/// Meets the 402, pays once, tells the service how it ended.
pub async fn buy(
    service: &Client,
    credential: &Credential,
    purchase: &Purchase,
    tell: Tell<'_>,
) -> Result<Bought, ClientError> {
    let cart = purchase.cart.as_deref();
    let surface = &Remote { client: service, credential };
    let wallet = MandateWallet { surface, mandate: &purchase.mandate, cart, again_after: None, tell };
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
        PayerError::Unreachable { url, why, .. } => ClientError::Unreachable { url, why },
        PayerError::NotPayable { ref url, .. }
        | PayerError::TooLong { ref url }
        | PayerError::Unreadable { ref url, .. }
        | PayerError::Refused { ref url, .. }
        | PayerError::AllowanceRequired { ref url } => {
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
    pub fn credential(&self) -> Result<Credential, String> {
        match (&self.token, &self.client_id, &self.key) {
            (Some(token), None, None) => Ok(Credential::bearer(token)),
            (None, Some(client_id), Some(key)) => Credential::key(client_id, key),
            _ => Err("a service file has `token`, or `client_id` and `key`".into()),
        }
    }
}

/// From a file, or from the environment.
pub fn service(file: Option<&Path>) -> Result<Service, String> {
    if let Some(path) = file {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // The parser's message could repeat the token.
        return serde_json::from_slice(&text)
            .map_err(|_| format!("{}: `url`, and `token` or `client_id` and `key` were expected", path.display()));
    }
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("set {name}, or give --service FILE"));
    Ok(Service { url: variable("PURSER_URL")?, token: Some(variable("PURSER_TOKEN")?), client_id: None, key: None })
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Delivered,
    Refused,
    /// Looked at; nothing was signed.
    Previewed,
}

pub async fn run(args: &PayArgs) -> Result<Ended, String> {
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
    let service = service(args.service.as_deref())?;
    let (purser, credential) = (Client::new(&service.url).map_err(|error| error.to_string())?, service.credential()?);
    let tell = |line: String| eprintln!("{line}");
    if let Some(called) = Called::of(args)? {
        return call(&purser, &credential, &called, &purchase, args.preview).await;
    }
    if args.preview {
        preview(&purser, &credential, &purchase).await?;
        return Ok(Ended::Previewed);
    }
    let bought = buy(&purser, &credential, &purchase, &tell).await.map_err(|error| error.to_string())?;
    if let Some(payment) = &bought.payment {
        receipt(payment, &bought.fetched);
        eprintln!("{}", left(&purser, &credential, &purchase.mandate).await?);
    }
    use std::io::Write;
    std::io::stdout().write_all(&bought.fetched.body).map_err(|error| error.to_string())?;
    if bought.fetched.status == StatusCode::OK {
        return Ok(Ended::Delivered);
    }
    eprintln!("the seller answered {}", bought.fetched.status.as_u16());
    if let Some(elsewhere) = bought.fetched.header("location").filter(|_| bought.fetched.status.is_redirection()) {
        eprintln!("it sends to {}, which is not followed: ask for that address itself", plain(elsewhere));
    }
    if payer::wants_allowance(bought.fetched.status, &bought.fetched.headers) {
        eprintln!(
            "permit2_allowance_required: it wants the token allowed to Permit2 first, which is for the wallet's owner to do; nothing else is signed"
        );
    }
    Ok(Ended::Refused)
}

/// The same of a tool or an agent: its result, whole, to standard output.
async fn call(
    service: &Client,
    credential: &Credential,
    called: &Called,
    purchase: &Purchase,
    only_looks: bool,
) -> Result<Ended, String> {
    let (surface, tell) = (&Remote { client: service, credential }, |line: String| eprintln!("{line}"));
    let (mandate, cart) = (purchase.mandate.as_str(), purchase.cart.as_deref());
    let wallet = MandateWallet { surface, mandate, cart, again_after: None, tell: &tell };
    let payer = Payer::new(wallet, TIMEOUT).map_err(|error| said(error).to_string())?;
    if only_looks {
        match called.meet(&payer).await.map_err(|error| error.to_string())? {
            Some(demand) => eprintln!("{} asks for {}", plain(&purchase.url), offers(&demand)),
            None => eprintln!("{} answers without asking for a payment", plain(&purchase.url)),
        }
        eprintln!("{}", left(service, credential, mandate).await?);
        return Ok(Ended::Previewed);
    }
    let answered = called.buy(&payer).await.map_err(|error| error.to_string())?;
    if answered.paid.is_some() {
        eprintln!("{}", left(service, credential, mandate).await?);
    }
    println!("{}", answered.result);
    if answered.is_failure {
        eprintln!("the seller answered a failure");
        return Ok(Ended::Refused);
    }
    Ok(Ended::Delivered)
}

/// What would be asked, and what the mandate has left for it. Nothing is held and nothing is signed.
async fn preview(service: &Client, credential: &Credential, purchase: &Purchase) -> Result<(), String> {
    let met = service.fetch(&purchase.method, &purchase.url, None).await.map_err(|error| error.to_string())?;
    match met.status {
        StatusCode::PAYMENT_REQUIRED => {
            let demand = Demand::read(&met.headers, &met.body)?;
            eprintln!("{} asks for {}", plain(&purchase.url), offers(&demand));
        }
        status => eprintln!("{} answers {} without asking for a payment", plain(&purchase.url), status.as_u16()),
    }
    eprintln!("{}", left(service, credential, &purchase.mandate).await?);
    Ok(())
}

/// What the mandate has left.
async fn left(service: &Client, credential: &Credential, mandate: &str) -> Result<String, String> {
    let path = format!("/v1/mandates/{mandate}");
    let view = service.call_as(credential, Method::GET, &path, None, None).await.map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let (state, currency) = (text(&view["state"]), text(&view["currency"]));
    let (cap, available) = (text(&view["cap"]["amount"]), text(&view["available"]["amount"]));
    let used = view["payments"]["used"].as_u64().unwrap_or_default();
    let of = view["payments"]["limit"].as_u64().map_or_else(String::new, |limit| format!(" of {limit}"));
    Ok(format!("the mandate is {state}: {available} of {cap} {currency} are left, {used}{of} payments are made"))
}

/// What the chain shows, and whether the seller says the same of it.
fn receipt(payment: &Value, fetched: &Fetched) {
    let text = |name: &str| payment.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let (state, transaction) = (text("state"), text("transaction"));
    let said: Option<Result<SettleResponse, WireError>> =
        fetched.receipt().map(|header| read_header(header.as_bytes()));
    // No transaction pays for it: what the seller says of it is booked, or in doubt.
    if transaction.starts_with("channel:") {
        return eprintln!("paid out of a channel: {state}, {transaction}");
    }
    match said {
        None => eprintln!("the seller gave no receipt"),
        Some(Err(error)) => eprintln!("the seller's receipt cannot be read: {error}"),
        Some(Ok(said)) if said.success && state != "settled" => {
            eprintln!(
                "WARNING: the seller's receipt names {}, which is not seen on the chain",
                plain(&said.transaction)
            );
        }
        Some(Ok(said)) if said.success && said.transaction.eq_ignore_ascii_case(&transaction) => {
            eprintln!("the seller's receipt names the same transaction");
        }
        Some(Ok(said)) if said.success => {
            eprintln!("WARNING: the seller's receipt names transaction {}", plain(&said.transaction));
        }
        Some(Ok(_)) => eprintln!("WARNING: the seller's receipt says that the payment failed"),
    }
}
