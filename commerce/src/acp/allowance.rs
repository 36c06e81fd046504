//! What an agent allows a merchant to take: once, at most so much, for one checkout session, until a moment.

use ledger::money::Amount;
use mandates::json::Object;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::refusal::Refusal;
use super::shape::{text, whole};

/// Longest id of a checkout session that is taken; the schema says nothing of it.
const SESSION_CHARS_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Minor units, above zero.
    pub max_amount: Amount,
    /// ISO 4217, in capitals.
    pub currency: String,
    pub checkout_session_id: String,
    pub merchant_id: String,
    /// Unix microseconds: at and after it the token is good for nothing.
    pub expires_at_micros: i64,
}

impl Allowance {
    /// Of an allowance that fits its schema.
    pub(super) fn read(allowance: &Object) -> Result<Self, Refusal> {
        let owned = |name: &str| text(allowance, name).unwrap_or_default().to_owned();
        let amount = match allowance.get("max_amount") {
            Some(Value::Number(number)) => whole(number).ok_or_else(|| {
                let message = format!("an amount of at most {} was expected, one beyond came", i64::MAX);
                Refusal::unacceptable("invalid_request", "$.allowance.max_amount", message)
            })?,
            _ => 0,
        };
        let max_amount = u128::try_from(amount).ok().filter(|amount| *amount > 0).map(Amount::new);
        let max_amount = max_amount.ok_or_else(|| {
            let message = format!("an amount above zero was expected, {amount} came");
            Refusal::unacceptable("amount_zero", "$.allowance.max_amount", message)
        })?;
        for name in ["checkout_session_id", "merchant_id"] {
            let value = owned(name);
            let is_plain = !value.is_empty() && value.chars().count() <= SESSION_CHARS_MAX;
            if !is_plain || value.chars().any(char::is_control) {
                let message = format!("1 to {SESSION_CHARS_MAX} characters without control characters were expected");
                return Err(Refusal::unacceptable("invalid_request", &format!("$.allowance.{name}"), message));
            }
        }
        Ok(Self {
            max_amount,
            currency: owned("currency").to_ascii_uppercase(),
            checkout_session_id: owned("checkout_session_id"),
            merchant_id: owned("merchant_id"),
            expires_at_micros: micros(&owned("expires_at"))?,
        })
    }

    /// At the moment itself it is over.
    pub fn check_time(&self, now_micros: i64) -> Result<(), Refusal> {
        if now_micros < self.expires_at_micros {
            return Ok(());
        }
        let seconds = |micros: i64| micros.div_euclid(1_000_000);
        let message = format!(
            "a moment after {} (now, unix seconds) was expected, {} came",
            seconds(now_micros),
            seconds(self.expires_at_micros)
        );
        Err(Refusal::unacceptable("allowance_expired", "$.allowance.expires_at", message))
    }
}

/// RFC 3339, at least the second.
fn micros(text: &str) -> Result<i64, Refusal> {
    let malformed = || {
        let message = "a date and time of RFC 3339 was expected at $.allowance.expires_at, another text came";
        Refusal::malformed("invalid_request", Some("$.allowance.expires_at"), message.to_owned())
    };
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| malformed())?;
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).map_err(|_| malformed())
}
