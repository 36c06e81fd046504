//! What a checkout is paid with.

use async_trait::async_trait;
use ledger::id::{BudgetId, Digest};
use mandates::chain;

use super::document::Signed;
use crate::ports::Relayed;

/// What a request to complete brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// The payment handler's id.
    pub handler: Option<String>,
    /// What pays: with handler `ap2`, the closed payment mandate.
    pub token: Option<String>,
    pub checkout_mandate: Option<String>,
}

/// What a token is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption<'a> {
    pub handler: &'a str,
    pub token: &'a str,
    pub session: &'a str,
    pub order: &'a str,
    /// In minor units.
    pub amount: u64,
    pub currency: &'a str,
}

/// Tokens of payment handlers other than `ap2` and this service's vault. Taking one again for its order is the same.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Whether there is such a handler.
    fn knows(&self, handler: &str) -> bool;
    /// Paid, or the reason why not. Silence is neither.
    async fn redeem(&self, redemption: &Redemption<'_>) -> Relayed<Result<(), String>>;
    /// Whether an order was paid by any of them: asked by whoever finds one that nobody finished.
    async fn has_paid(&self, order: &str) -> Relayed<bool>;
}

impl Presented {
    pub(super) fn digest(&self) -> String {
        let parts =
            [&self.handler, &self.token, &self.checkout_mandate].map(|part| part.as_deref().unwrap_or_default());
        Digest::of_parts("purser/checkout-presented/1", &parts.map(str::as_bytes)).to_string()
    }
}

/// How it is going to be paid, once it was looked at.
pub(super) enum Means<'a> {
    Mandates { checkout: &'a str, payment: &'a str, signed: &'a Signed },
    Token { handler: &'a str, token: &'a str },
}

impl Means<'_> {
    /// What is written down before anything is used up, so that whoever finds it finds what became of it.
    pub fn claim(&self, presented: &Presented) -> String {
        let digest = presented.digest();
        let Self::Mandates { checkout, payment, .. } = self else { return digest };
        let under = |mandate: &str| chain::claimed(mandate).ok().map(|names| BudgetId(*names.under.as_bytes()));
        match (under(checkout), under(payment)) {
            (Some(checkout), Some(payment)) => format!("{digest} {checkout} {payment}"),
            _ => digest,
        }
    }
}
