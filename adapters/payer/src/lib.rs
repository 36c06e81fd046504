//! Fetching for agents: a 402 is met, paid once through a wallet, and the resource comes back.
//!
//! The promise:
//! 1. One key is one purchase: the wallet is asked once a fetch, and gives the same payment for the same key.
//! 2. A payment goes to the origin that asked for it: no redirect is followed, with it or without.
//! 3. A 402 after a payment is an answer, not a reason to pay again.
//! 4. Whatever the seller says or does not say, the wallet is told to look: the payer believes nobody.
//!
//! Read in this order: [`Wallet`] (the port), [`Payer::fetch`].
//!
//! Never here: keys, mandates, budgets, a chain, the engine. Others can mount it on any wallet.

mod demand;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use x402::wire::{PAYMENT_RESPONSE, PAYMENT_SIGNATURE, X_PAYMENT, X_PAYMENT_RESPONSE};

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

/// What the seller answered to a payment.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// `None` where no answer came.
    pub status: Option<u16>,
    /// The value of PAYMENT-RESPONSE, or of X-PAYMENT-RESPONSE of version 1. A claim, not a fact.
    pub response: Option<&'a str>,
}

/// Who pays. Money is lost if `pay` gives two payments for one key, or if `look` takes the seller's word.
#[async_trait]
pub trait Wallet: Send + Sync {
    type Outcome: Send;
    type Error: std::error::Error + Send + Sync + 'static;

    async fn pay(&self, asked: Asked<'_>) -> Result<Payment, Self::Error>;

    /// Finds out what became of a payment.
    async fn look(&self, payment: &Payment, reported: Reported<'_>) -> Result<Self::Outcome, Self::Error>;
}

#[derive(Debug, thiserror::Error)]
pub enum PayerError<E: std::error::Error + 'static> {
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url} answered with more than {BODY_BYTES_MAX} bytes")]
    TooLong { url: String },
    #[error("{url} answered 402 without a demand that can be read: {why}")]
    NotPayable { url: String, why: String },
    #[error("{url} answered 412: expected a 402 that a signed transfer pays, found a demand for a Permit2 allowance")]
    AllowanceRequired { url: String },
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
        self.header(PAYMENT_RESPONSE).or_else(|| self.header(X_PAYMENT_RESPONSE))
    }
}

/// A resource, and the payment that it took where it took one.
#[derive(Debug)]
pub struct Bought<O> {
    pub fetched: Fetched,
    pub paid: Option<(Payment, O)>,
}

/// An answer without a payment, and what it asks for where it is a 402.
#[derive(Debug)]
pub struct Met {
    pub fetched: Fetched,
    pub demand: Option<Demand>,
}

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
        let http = built.map_err(|error| PayerError::Unreachable { url: String::new(), why: error.to_string() })?;
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
        let (method, url, key) = (purchase.method.as_str(), purchase.url.as_str(), purchase.key.as_str());
        let asked = Asked { method, url, key, demand: &demand };
        let payment = self.wallet.pay(asked).await.map_err(PayerError::Wallet)?;
        let fetched = self.send(purchase, Some((demand.payment_header(), &payment))).await;
        let answered = fetched.as_ref().ok();
        let reported = Reported {
            status: answered.map(|fetched| fetched.status.as_u16()),
            response: answered.and_then(Fetched::receipt),
        };
        let outcome = self.wallet.look(&payment, reported).await.map_err(PayerError::Wallet)?;
        Ok(Bought { fetched: fetched?, paid: Some((payment, outcome)) })
    }

    /// One request without a payment: what is given for nothing, or what is asked.
    pub async fn meet(&self, purchase: &Purchase) -> Result<Met, PayerError<W::Error>> {
        let fetched = self.send(purchase, None).await?;
        if wants_allowance(fetched.status, &fetched.headers) {
            return Err(PayerError::AllowanceRequired { url: purchase.url.clone() });
        }
        if fetched.status != StatusCode::PAYMENT_REQUIRED {
            return Ok(Met { fetched, demand: None });
        }
        let not_payable = |why: String| PayerError::NotPayable { url: purchase.url.clone(), why };
        let demand = Demand::read(&fetched.headers, &fetched.body).map_err(not_payable)?;
        Ok(Met { fetched, demand: Some(demand) })
    }

    async fn send(
        &self,
        purchase: &Purchase,
        payment: Option<(&'static str, &Payment)>,
    ) -> Result<Fetched, PayerError<W::Error>> {
        let unreachable = |why: String| PayerError::Unreachable { url: purchase.url.clone(), why };
        let lost = |error: reqwest::Error| unreachable(error.without_url().to_string());
        let method = Method::from_bytes(purchase.method.as_bytes()).map_err(|error| unreachable(error.to_string()))?;
        let mut headers = purchase.headers.clone();
        // Ours alone: a caller's own payment header would be a second one.
        headers.remove(PAYMENT_SIGNATURE);
        headers.remove(X_PAYMENT);
        let mut request = self.http.request(method, &purchase.url).headers(headers);
        if !purchase.body.is_empty() {
            request = request.body(purchase.body.clone());
        }
        if let Some((name, payment)) = payment {
            request = request.header(name, &payment.header);
        }
        let mut response = request.send().await.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len().saturating_add(chunk.len()) > BODY_BYTES_MAX {
                return Err(PayerError::TooLong { url: purchase.url.clone() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { status, headers, body })
    }
}
