//! The HTTP surface as a wallet: a 402 is paid under a mandate, and the chain is looked at. One code for whoever speaks
//! to the service over a connection (`purser pay`, `purser mcp`) and for what runs within it (`/mcp`).

use async_trait::async_trait;
use http::Method;
use ledger::id::{Digest, IdempotencyKey};
use payer::{Asked, Demand, Payment, Reported, Wallet};
use serde_json::{Value, json};
use x402::reason::Reason;

/// One call of a route under `/v1`.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub idempotency_key: Option<String>,
    pub body: Option<Value>,
}

impl Call {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), idempotency_key: None, body: None }
    }

    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), idempotency_key: None, body: Some(body) }
    }
}

/// The service, as one caller sees it.
#[async_trait]
pub trait Surface: Send + Sync {
    type Error: std::error::Error + Send + Sync + 'static;

    /// The JSON of a success.
    async fn call(&self, call: Call) -> Result<Value, Self::Error>;

    /// The stable code of a refusal.
    fn code(error: &Self::Error) -> Option<&str>;
}

/// Why nobody signs in where nothing is wrong: nothing was paid for here yet, the key has bought it, the wallet does not do that.
const NOTHING_TO_TELL: [&str; 3] = [Reason::SignInUnpaid.as_str(), "spend_state", "not_configured"];

/// Hears what happens.
pub type Tell<'a> = &'a (dyn Fn(String) + Sync);

/// Pays under one mandate.
pub struct MandateWallet<'a, S> {
    pub surface: &'a S,
    pub mandate: &'a str,
    /// The merchant's signed checkout.
    pub cart: Option<&'a str>,
    /// The payment that this one is meant to follow, where the same thing is bought again.
    pub again_after: Option<&'a str>,
    pub tell: Tell<'a>,
}

impl<S> MandateWallet<'_, S> {
    /// What was met, for one of the routes that answer it.
    fn call(&self, path: &str, asked: &Asked<'_>) -> Call {
        let mut body = json!({
            "mandate": self.mandate,
            "method": asked.method,
            "url": asked.url,
            "cart": self.cart,
            "again_after": self.again_after,
        });
        match asked.demand {
            Demand::Header { header, .. } => body["payment_required_header"] = header.as_str().into(),
            Demand::Body { body: came, required } => {
                body["payment_required"] = serde_json::from_slice(came).unwrap_or_else(|_| json!(required));
            }
        }
        Call { idempotency_key: Some(asked.key.to_owned()), ..Call::post(path, body) }
    }
}

#[async_trait]
impl<S: Surface> Wallet for MandateWallet<'_, S> {
    type Outcome = Value;
    type Error = S::Error;

    async fn pay(&self, asked: Asked<'_>) -> Result<Payment, S::Error> {
        (self.tell)(format!("{} asks for {}", plain(asked.url), offers(asked.demand)));
        let payment = self.surface.call(self.call("/v1/payments", &asked)).await?;
        let text = |name: &str| payment.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (amount, asset, pay_to, ends) = (text("amount"), text("asset"), text("pay_to"), &payment["valid_before"]);
        (self.tell)(format!("payment {}: {amount} of {asset} to {pay_to} is signed, good until {ends}", text("id")));
        let header = match asked.demand {
            Demand::Header { .. } => text("payment_signature"),
            Demand::Body { .. } => text("x_payment"),
        };
        Ok(Payment { id: text("id"), header })
    }

    /// Whoever brings a cart, or means another purchase, buys.
    async fn sign_in(&self, asked: Asked<'_>) -> Option<String> {
        if self.cart.is_some() || self.again_after.is_some() {
            return None;
        }
        match self.surface.call(self.call("/v1/sign-ins", &asked)).await {
            Ok(signed) => {
                let text = |name: &str| signed.get(name).and_then(Value::as_str);
                let paid = plain(text("payment").unwrap_or("-"));
                (self.tell)(format!("{} was paid for with payment {paid}: signing in", plain(asked.url)));
                text("sign_in_with_x").map(ToOwned::to_owned)
            }
            Err(error) => {
                if !S::code(&error).is_some_and(|code| NOTHING_TO_TELL.contains(&code)) {
                    (self.tell)(format!("nobody signs in to {}: {error}", plain(asked.url)));
                }
                None
            }
        }
    }

    async fn look(&self, payment: &Payment, reported: Reported<'_>) -> Result<Value, S::Error> {
        let answered = reported.status.map_or_else(|| "nothing".to_owned(), |status| status.to_string());
        (self.tell)(format!("the seller answered {answered}; looking at the chain"));
        let outcome = json!({
            "payment_response": reported.response, "payment_required": reported.demanded, "status": reported.status,
        });
        let outcome = self.surface.call(Call::post(format!("/v1/payments/{}/outcome", payment.id), outcome)).await?;
        let text = |name: &str| outcome.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let (id, state, amount, asset) = (text("id"), text("state"), text("amount"), text("asset"));
        (self.tell)(format!("payment {id} is {state}: {amount} of {asset} to {}", text("pay_to")));
        (self.tell)(if state == "settled" {
            format!("transaction {}", text("transaction"))
        } else {
            "the chain does not show it yet; the amount stays held until it does or cannot any more".to_owned()
        });
        Ok(outcome)
    }
}

/// The idempotency key of a purchase: its name, where that is one; else the digest of its name, so that any words do.
pub fn key_of(purchase: &str) -> String {
    match purchase.parse::<IdempotencyKey>() {
        Ok(key) => key.to_string(),
        Err(_) => format!("purchase-{}", Digest::of(purchase.as_bytes())),
    }
}

/// At most three, for people; the service decides which one is paid, if any.
pub fn offers(demand: &Demand) -> String {
    let all = demand.offers();
    let shown = all.iter().take(3).map(|it| {
        let name = it.name.unwrap_or(it.asset);
        format!("{} of {} on {} to {}", plain(it.amount), plain(name), plain(it.network), plain(it.pay_to))
    });
    let shown = shown.collect::<Vec<_>>().join(", or ");
    match all.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown}, or {more} others"),
    }
}

/// A seller's text on our terminal: short, and without what a terminal obeys or an eye reads wrongly.
pub fn plain(text: &str) -> String {
    text.chars().take(100).map(|letter| if (' '..='~').contains(&letter) { letter } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sellers_text_cannot_move_the_cursor() {
        assert_eq!(plain("\u{1b}[2J\r\nok \u{202e}evil\u{0}"), "?[2J??ok ?evil?");
        assert_eq!(plain(&"x".repeat(1_000)).len(), 100);
    }
}
