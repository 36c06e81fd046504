//! `payment.amount_range`: the amount lies in [min, max], both inclusive, in the same currency. Minor units.

use ledger::money::Amount;

use super::Finding;
use crate::currency::Currency;
use crate::json::{Members, Object};
use crate::payment::ClosedPayment;
use crate::rejection::{Code, Rejection};
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmountRange {
    pub currency: Currency,
    pub max: Amount,
    pub min: Option<Amount>,
}

impl AmountRange {
    pub const TYPE: &'static str = "payment.amount_range";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self {
            currency: Currency::read(claims)?,
            max: schema::amount(claims, "max")?,
            min: schema::optional_amount(claims, "min")?,
        })
    }

    pub(super) fn claims(&self) -> Object {
        let mut claims = Object::from_iter([
            ("currency".to_owned(), self.currency.as_str().into()),
            ("max".to_owned(), schema::number_of(self.max)),
        ]);
        if let Some(min) = self.min {
            claims.insert("min".to_owned(), schema::number_of(min));
        }
        claims
    }

    pub(super) fn evaluate(&self, payment: &ClosedPayment) -> Result<Finding, Rejection> {
        let paid = &payment.payment_amount;
        if paid.currency != self.currency {
            let message = format!("the amount is in {}; {} came", self.currency, paid.currency);
            return Err(Rejection::new(Code::CurrencyMismatch, message).at("payment_amount.currency"));
        }
        if let Some(min) = self.min
            && paid.amount < min
        {
            let message = format!("the amount is at least {}; {} came", self.shown(min), self.shown(paid.amount));
            return Err(Rejection::new(Code::AmountBelowMin, message).at("payment_amount.amount"));
        }
        if paid.amount > self.max {
            let message = format!("the amount is at most {}; {} came", self.shown(self.max), self.shown(paid.amount));
            return Err(Rejection::new(Code::AmountAboveMax, message).at("payment_amount.amount"));
        }
        let least = self.min.map(|min| format!("{} to ", self.shown(min))).unwrap_or_default();
        Ok(Finding::Holds(format!("{} is within {least}{}", self.shown(paid.amount), self.shown(self.max))))
    }

    fn shown(&self, minor: Amount) -> impl std::fmt::Display {
        self.currency.shown(minor)
    }
}
