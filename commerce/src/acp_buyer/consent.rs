//! What was agreed on before a shop was asked, and what it shows held against it.

use std::collections::BTreeMap;

use mandates::currency::Currency;
use rust_decimal::Decimal;

use super::discovery::is_same_origin;
use super::{Seller, Shown, Unmet, UnmetCode, shown_text};
use crate::checkout::{AMOUNT_MAX, Status};

/// What is paid, at most, to whom and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// As the vault knows the merchant.
    pub merchant_id: String,
    /// The mandate's.
    pub currency: Currency,
    /// In minor units, with everything.
    pub total_max: u64,
    pub items: BTreeMap<String, u64>,
    /// The address of the one vault that the card is left in.
    pub vault: String,
}

/// For so long money is held at most: a session that is open for longer is not paid for.
pub const SESSION_SECONDS_MAX: i64 = 24 * 3_600;

/// Major units as a person writes them (`12.50`) in minor ones, exactly.
pub fn minor(currency: &Currency, major: &str) -> Result<u64, Unmet> {
    let wrong = |expected: &str| {
        let message = format!("{expected} was expected, {} came", shown_text(major));
        Unmet::new(UnmetCode::ConsentInvalid, message)
    };
    let exponent =
        currency.exponent().ok_or_else(|| wrong(&format!("a currency of ISO 4217 instead of {currency}")))?;
    let amount = Decimal::from_str_exact(major).map_err(|_| wrong("an amount in major units, as 12.50,"))?;
    let scale = Decimal::from(10_u64.saturating_pow(exponent));
    let units = amount.checked_mul(scale).filter(Decimal::is_integer);
    let units = units.ok_or_else(|| wrong(&format!("an amount of {currency} with at most {exponent} decimals")))?;
    let units: Option<u64> = units.normalize().to_string().parse().ok();
    units.filter(|units| *units <= AMOUNT_MAX).ok_or_else(|| wrong(&format!("0 to {AMOUNT_MAX} minor units")))
}

impl Consent {
    /// Whom a session pays, where it is nothing but what was agreed on. Says nothing of whether it can be paid now.
    pub fn allows<'a>(&self, shown: &'a Shown) -> Result<&'a Seller, Unmet> {
        let unmet = |code, message: String| Err(Unmet::new(code, message));
        if shown.items != self.items {
            let said = |items: &BTreeMap<String, u64>| {
                let said: Vec<String> =
                    items.iter().map(|(id, number)| format!("{number} {}", shown_text(id))).collect();
                said.join(", ")
            };
            let (expected, found) = (said(&self.items), said(&shown.items));
            return unmet(UnmetCode::ItemsMismatch, format!("[{expected}] was expected, [{found}] came"));
        }
        if shown.currency != self.currency.as_str() {
            let message =
                format!("{}, the mandate's, was expected, {} came", self.currency, shown_text(&shown.currency));
            return unmet(UnmetCode::CurrencyMismatch, message);
        }
        if shown.total > self.total_max {
            let message = format!(
                "a total of at most {} minor units of {} was agreed on, {} came",
                self.total_max, self.currency, shown.total
            );
            return unmet(UnmetCode::TotalBeyondConsent, message);
        }
        let Some(seller) = &shown.seller else {
            let message = "the payment handler dev.acp.tokenized.card was expected, it is not among the session's";
            return unmet(UnmetCode::HandlerMissing, message.to_owned());
        };
        if seller.merchant_id != self.merchant_id {
            let message =
                format!("merchant {} was expected, {} came", self.merchant_id, shown_text(&seller.merchant_id));
            return unmet(UnmetCode::MerchantMismatch, message);
        }
        if !is_same_origin(&self.vault, &seller.psp) {
            let message = format!("the vault at {} was expected, {} came", self.vault, shown_text(&seller.psp));
            return unmet(UnmetCode::VaultMismatch, message);
        }
        Ok(seller)
    }

    /// Whether a session can be paid now, or was by an earlier try; and until when, where the shop says so.
    pub fn payable(&self, shown: &Shown, now_seconds: i64) -> Result<(), Unmet> {
        let unmet = |code, message: String| Err(Unmet::new(code, message));
        match shown.status {
            // What an earlier try brought so far is asked for again, under the same keys.
            Some(Status::CompleteInProgress | Status::InProgress | Status::Completed) => return Ok(()),
            Some(Status::ReadyForPayment) => {}
            Some(over @ (Status::Canceled | Status::Expired)) => {
                let message = format!(
                    "an open session was expected, it is {}; the mandate's payments say whether this purchase was paid for, \
                     and another key is another purchase",
                    over.as_str()
                );
                return unmet(UnmetCode::SessionOver, message);
            }
            other => {
                let status = other.map_or("of no status that is known", Status::as_str);
                let message = format!("a session that is ready was expected, it is {status}: {}", shown.lacks());
                return unmet(UnmetCode::NotReady, message);
            }
        }
        let Some((text, at)) = &shown.expires_at else { return Ok(()) };
        if at.saturating_sub(now_seconds) > SESSION_SECONDS_MAX {
            let message =
                format!("a session of at most {SESSION_SECONDS_MAX} seconds was expected, it is open until {text}");
            return unmet(UnmetCode::SessionTooLong, message);
        }
        Ok(())
    }
}

/// What a shop says became of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Its id.
    Ordered(String),
    /// In the shop's words; the session is open again.
    Declined(String),
    /// Not yet over.
    UnderWay,
}

/// The answer to `complete`, about the session as it was looked at.
pub fn ended(before: &Shown, after: &Shown) -> Result<Deed, Unmet> {
    after.unchanged(before)?;
    match after.status {
        Some(Status::Completed) => match &after.order {
            Some((order, of)) if *of == before.id => Ok(Deed::Ordered(order.clone())),
            Some((_, of)) => {
                let message = format!("an order of session {} was expected, one of {} came", before.id, shown_text(of));
                Err(Unmet::new(UnmetCode::OrderUnproved, message))
            }
            None => {
                let message = format!("an order of session {} was expected, none came", before.id);
                Err(Unmet::new(UnmetCode::OrderUnproved, message))
            }
        },
        Some(Status::CompleteInProgress | Status::InProgress | Status::PendingApproval) => Ok(Deed::UnderWay),
        _ => Ok(Deed::Declined(after.lacks())),
    }
}
