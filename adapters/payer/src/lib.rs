//! Fetching for agents: a 402 is met, paid once through a wallet, and the resource comes back.
//!
//! The promise:
//! 1. One key is one purchase: the wallet is asked once a fetch, and gives the same payment for the same key.
//! 2. A payment goes to the origin that asked for it: no redirect is followed, with it or without.
//! 3. A 402 after a payment is an answer, not a reason to pay again.
//! 4. Whoever paid before comes back by who they are, once, where seller and wallet let them; else it is paid.
//! 5. Whatever the seller says or does not say, the wallet is told to look: the payer believes nobody.
//!
//! Read in this order: [`Wallet`] (the port), [`Payer::fetch`]; [`Payer::open`] and [`Payer::present`] are its halves, for
//! whoever passes answers on as they come.
//!
//! Tools of an MCP server are paid for in [`tool`], what another agent does (A2A) in [`agent`]. A shop of the Agentic
//! Commerce Protocol is bought from in [`shop`].
//!
//! Never here: keys, mandates, budgets, a chain, the engine. Others can mount it on any wallet.

pub mod agent;
mod demand;
pub mod shop;
#[cfg(test)]
mod tests;
pub mod tool;

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use x402::sign_in::SIGN_IN_WITH_X;
use x402::wire::{PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, X_PAYMENT, X_PAYMENT_RESPONSE};

pub use demand::{Demand, Offered, wants_allowance};

/// The longest answer that is read.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a seller asked for, and under which key it is bought.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub key: &'a str,
    pub demand: &'a Demand,
}

/// A payment to present.
#[derive(Clone, Debug)]
pub struct Payment {
    /// The wallet's name for it.
    pub id: String,
    /// The value of the header that the demand asks for: PAYMENT-SIGNATURE, or X-PAYMENT of version 1.
    pub header: String,
}

impl Payment {
    /// The object in the header, for a transport that has none. `None` where the wallet wrote no such header.
    fn object(&self) -> Option<Value> {
        serde_json::from_slice(&STANDARD.decode(&self.header).ok()?).ok()
    }
}

/// What the seller answered to a payment.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// `None` where no answer came.
    pub status: Option<u16>,
    /// The value of PAYMENT-RESPONSE, or of X-PAYMENT-RESPONSE of version 1. A claim, not a fact.
    pub response: Option<&'a str>,
    /// The value of PAYMENT-REQUIRED, where a payment was answered with another demand: of a channel it says where that stands.
    pub demanded: Option<&'a str>,
}

/// Who pays. Money is lost if `pay` gives two payments for one key, or if `look` takes the seller's word.
#[async_trait]
pub trait Wallet: Send + Sync {
    type Outcome: Send;
    type Error: std::error::Error + Send + Sync + 'static;

    async fn pay(&self, asked: Asked<'_>) -> Result<Payment, Self::Error>;

    /// The value of SIGN-IN-WITH-X, where what is asked for was paid for before and the demand lets its payer come back.
    /// `None` where it is to be paid, for whatever reason.
    async fn sign_in(&self, _: Asked<'_>) -> Option<String> {
        None
    }

    /// Finds out what became of a payment.
    async fn look(&self, payment: &Payment, reported: Reported<'_>) -> Result<Self::Outcome, Self::Error>;
}

#[derive(Debug, thiserror::Error)]
pub enum PayerError<E: std::error::Error + 'static> {
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String, source: Option<reqwest::Error> },
    #[error("{url} answered with more than {BODY_BYTES_MAX} bytes")]
    TooLong { url: String },
    #[error("{url} answered 402 without a demand that can be read: {why}")]
    NotPayable { url: String, why: String },
    #[error("{url} answered 412: expected a 402 that a signed transfer pays, found a demand for a Permit2 allowance")]
    AllowanceRequired { url: String },
    #[error("{url} does not answer as {expected}: {why}")]
    Unreadable { url: String, expected: &'static str, why: String },
    #[error("{url} refused: {why}")]
    Refused { url: String, why: String },
    #[error(transparent)]
    Wallet(E),
}

impl<E: std::error::Error + 'static> PayerError<E> {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "seller_unreachable",
            Self::TooLong { .. } => "answer_too_long",
            Self::NotPayable { .. } => "not_payable",
            Self::AllowanceRequired { .. } => "permit2_allowance_required",
            Self::Unreadable { .. } => "seller_unreadable",
            Self::Refused { .. } => "seller_refused",
            Self::Wallet(_) => "wallet_refused",
        }
    }
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Fetched {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The seller's receipt, of whichever version.
    pub fn receipt(&self) -> Option<&str> {
        receipt(&self.headers)
    }
}

/// A resource, and the payment that it took where it took one.
#[derive(Debug)]
pub struct Bought<O> {
    pub fetched: Fetched,
    pub paid: Option<(Payment, O)>,
}

/// What was said to a call of MCP or A2A, and the payment that it took where it took one.
#[derive(Debug)]
pub struct Answered<O> {
    /// As the protocol has it.
    pub result: Value,
    pub is_failure: bool,
    pub paid: Option<(Payment, O)>,
}

/// An answer without a payment, and what it asks for where it is a 402.
#[derive(Debug)]
pub struct Met {
    pub fetched: Fetched,
    pub demand: Option<Demand>,
}

/// What a request without a payment met.
#[derive(Debug)]
pub enum Opened {
    /// No 402, and not read yet.
    Answer(Response),
    Asked(Box<Challenge>),
}

/// A 402, and what it asks for; or why that cannot be read.
#[derive(Debug)]
pub struct Challenge {
    pub fetched: Fetched,
    pub demand: Result<Demand, String>,
}

/// A payment that was shown to its seller.
#[derive(Debug)]
pub struct Presented<W: Wallet> {
    pub payment: Payment,
    /// Not read yet.
    pub answer: Result<Response, PayerError<W::Error>>,
    /// What the wallet found; its failure takes nothing back of the answer.
    pub outcome: Result<W::Outcome, W::Error>,
}

type Shown<W> = (Payment, Result<Response, PayerError<<W as Wallet>::Error>>);

/// What to fetch.
#[derive(Clone, Debug, Default)]
pub struct Purchase {
    pub method: String,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The same key is the same purchase.
    pub key: String,
}

pub struct Payer<W> {
    http: reqwest::Client,
    wallet: W,
}

impl<W: Wallet> Payer<W> {
    pub fn new(wallet: W, timeout: Duration) -> Result<Self, PayerError<W::Error>> {
        let built = reqwest::Client::builder().redirect(Policy::none()).timeout(timeout).build();
        let http = built.map_err(|error| lost("", error))?;
        Ok(Self::with_client(http, wallet))
    }

    /// With a client of the caller's own, for whoever may not connect to everything. It must follow no redirect.
    pub const fn with_client(http: reqwest::Client, wallet: W) -> Self {
        Self { http, wallet }
    }

    pub const fn wallet(&self) -> &W {
        &self.wallet
    }

    /// Meets the 402 where there is one, pays once, and has the wallet look what became of it.
    pub async fn fetch(&self, purchase: &Purchase) -> Result<Bought<W::Outcome>, PayerError<W::Error>> {
        let Met { fetched: met, demand } = self.meet(purchase).await?;
        let Some(demand) = demand else { return Ok(Bought { fetched: met, paid: None }) };
        if let Some(answer) = self.come_back(purchase, &demand).await? {
            return Ok(Bought { fetched: read(&purchase.url, answer).await?, paid: None });
        }
        let (payment, answer) = self.show(purchase, &demand).await?;
        let fetched = match answer {
            Ok(answer) => read(&purchase.url, answer).await,
            Err(error) => Err(error),
        };
        let answered = fetched.as_ref().ok();
        let reported = Reported {
            status: answered.map(|fetched| fetched.status.as_u16()),
            response: answered.and_then(Fetched::receipt),
            demanded: answered.and_then(|fetched| fetched.header(PAYMENT_REQUIRED)),
        };
        let outcome = self.wallet.look(&payment, reported).await.map_err(PayerError::Wallet)?;
        Ok(Bought { fetched: fetched?, paid: Some((payment, outcome)) })
    }

    /// One request without a payment: what is given for nothing, or what is asked.
    pub async fn meet(&self, purchase: &Purchase) -> Result<Met, PayerError<W::Error>> {
        let url = || purchase.url.clone();
        match self.open(purchase).await? {
            Opened::Answer(answer) if wants_allowance(answer.status(), answer.headers()) => {
                Err(PayerError::AllowanceRequired { url: url() })
            }
            Opened::Answer(answer) => Ok(Met { fetched: read(&purchase.url, answer).await?, demand: None }),
            Opened::Asked(challenge) => match challenge.demand {
                Ok(demand) => Ok(Met { fetched: challenge.fetched, demand: Some(demand) }),
                Err(why) => Err(PayerError::NotPayable { url: url(), why }),
            },
        }
    }

    /// One request without a payment. What is no 402 is not read yet.
    pub async fn open(&self, purchase: &Purchase) -> Result<Opened, PayerError<W::Error>> {
        let answer = self.send(purchase, None).await?;
        if answer.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(Opened::Answer(answer));
        }
        let fetched = read(&purchase.url, answer).await?;
        let demand = Demand::read(&fetched.headers, &fetched.body);
        Ok(Opened::Asked(Box::new(Challenge { fetched, demand })))
    }

    /// Says who comes back, once, where the demand lets whoever paid do that and the wallet paid. `None` where it is to be
    /// paid: the wallet signs nothing, or the seller asks all the same.
    pub async fn come_back(
        &self,
        purchase: &Purchase,
        demand: &Demand,
    ) -> Result<Option<Response>, PayerError<W::Error>> {
        if !demand.takes_sign_in() {
            return Ok(None);
        }
        let asked = Asked { method: &purchase.method, url: &purchase.url, key: &purchase.key, demand };
        let Some(header) = self.wallet.sign_in(asked).await else { return Ok(None) };
        let answer = self.send(purchase, Some((SIGN_IN_WITH_X, &header))).await?;
        let status = answer.status();
        let is_asked = status == StatusCode::PAYMENT_REQUIRED || wants_allowance(status, answer.headers());
        Ok((!is_asked).then_some(answer))
    }

    /// Pays what is asked, once, shows the payment, and has the wallet look as soon as the seller has begun to answer.
    /// An error says that there is no payment.
    pub async fn present(&self, purchase: &Purchase, demand: &Demand) -> Result<Presented<W>, PayerError<W::Error>> {
        let (payment, answer) = self.show(purchase, demand).await?;
        let answered = answer.as_ref().ok();
        let reported = Reported {
            status: answered.map(|answer| answer.status().as_u16()),
            response: answered.and_then(|answer| receipt(answer.headers())),
            demanded: answered.and_then(|answer| text(answer.headers(), PAYMENT_REQUIRED)),
        };
        let outcome = self.wallet.look(&payment, reported).await;
        Ok(Presented { payment, answer, outcome })
    }

    /// A payment, and what its seller begins to say to it.
    async fn show(&self, purchase: &Purchase, demand: &Demand) -> Result<Shown<W>, PayerError<W::Error>> {
        let asked = Asked { method: &purchase.method, url: &purchase.url, key: &purchase.key, demand };
        let payment = self.wallet.pay(asked).await.map_err(PayerError::Wallet)?;
        let answer = self.send(purchase, Some((demand.payment_header(), payment.header.as_str()))).await;
        Ok((payment, answer))
    }

    async fn send(
        &self,
        purchase: &Purchase,
        shown: Option<(&'static str, &str)>,
    ) -> Result<Response, PayerError<W::Error>> {
        let unreachable = |why: String| PayerError::Unreachable { url: purchase.url.clone(), why, source: None };
        let method = Method::from_bytes(purchase.method.as_bytes()).map_err(|error| unreachable(error.to_string()))?;
        let mut headers = purchase.headers.clone();
        // Ours alone: a caller's own payment header would be a second one.
        headers.remove(PAYMENT_SIGNATURE);
        headers.remove(X_PAYMENT);
        if let Some((name, _)) = shown {
            headers.remove(name);
        }
        let mut request = self.http.request(method, &purchase.url).headers(headers);
        if !purchase.body.is_empty() {
            request = request.body(purchase.body.clone());
        }
        if let Some((name, value)) = shown {
            request = request.header(name, value);
        }
        request.send().await.map_err(|error| lost(&purchase.url, error))
    }
}

/// No answer, and why.
pub fn lost<E: std::error::Error + 'static>(url: &str, error: reqwest::Error) -> PayerError<E> {
    let error = error.without_url();
    PayerError::Unreachable { url: url.to_owned(), why: causes(&error), source: Some(error) }
}

/// What an error comes of; the outermost alone says little.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A seller's text in a sentence of ours: bounded, and unable to forge a line or to steer a terminal.
fn shown(text: &str) -> String {
    text.chars().take(200).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Tells the wallet what was said to a payment, and has it look; then gives the answer, where one came.
async fn looked<W: Wallet>(
    wallet: &W,
    payment: Payment,
    answer: Result<(Value, bool, Option<Value>), PayerError<W::Error>>,
) -> Result<Answered<W::Outcome>, PayerError<W::Error>> {
    let said = answer.as_ref().ok();
    let response = said.and_then(|(_, _, receipt)| receipt.as_ref()).map(|it| STANDARD.encode(it.to_string()));
    let status = said.map(|(_, is_failure, _)| if *is_failure { StatusCode::PAYMENT_REQUIRED } else { StatusCode::OK });
    let reported =
        Reported { status: status.map(|status| status.as_u16()), response: response.as_deref(), demanded: None };
    let outcome = wallet.look(&payment, reported).await.map_err(PayerError::Wallet)?;
    let (result, is_failure, _) = answer?;
    Ok(Answered { result, is_failure, paid: Some((payment, outcome)) })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn receipt(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(PAYMENT_RESPONSE).or_else(|| headers.get(X_PAYMENT_RESPONSE));
    header.and_then(|value| value.to_str().ok())
}

/// Reads an answer whole.
async fn read<E: std::error::Error + 'static>(url: &str, mut response: Response) -> Result<Fetched, PayerError<E>> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(url, error))? {
        if body.len().saturating_add(chunk.len()) > BODY_BYTES_MAX {
            return Err(PayerError::TooLong { url: url.to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched { status, headers, body })
}
