//! `payment.budget`: what was spent before plus this payment stays within `max`, in MAJOR units (the docs' `1000.00`).
//! Exact: the amount becomes a decimal by the ISO 4217 exponent, nothing is multiplied by 100.

use rust_decimal::Decimal;
use serde_json::{Number, Value};

use super::{Duty, Finding, Used};
use crate::clock;
use crate::currency::Currency;
use crate::json::{Json, Members, Object};
use crate::payment::ClosedPayment;
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Major units.
    pub max: Decimal,
    pub currency: Currency,
}

impl Budget {
    pub const TYPE: &'static str = "payment.budget";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let wrong =
            |came: String| schema::refused("max", format!("max is a decimal of major units, 0 or more; {came} came"));
        let max = match claims.get("max") {
            Some(Json::Number(number)) => match clock::decimal(number) {
                Some(max) if !max.is_sign_negative() => max,
                _ => return Err(wrong(shown(number))),
            },
            other => return Err(wrong(other.map_or("nothing", Json::kind).to_owned())),
        };
        Ok(Self { max, currency: Currency::read(claims)? })
    }

    pub(super) fn claims(&self) -> Object {
        let max = self.max.to_string().parse::<Number>().map_or(Value::Null, Value::Number);
        Object::from_iter([("max".to_owned(), max), ("currency".to_owned(), self.currency.as_str().into())])
    }

    /// With no state the payment alone is held to the budget, and the sum is left to the ledger.
    pub(super) fn evaluate(&self, payment: &ClosedPayment, used: Option<Used>) -> Result<Finding, Rejection> {
        let paid = &payment.payment_amount;
        if paid.currency != self.currency {
            let message = format!("the budget is in {}; the payment is in {}", self.currency, paid.currency);
            return Err(Rejection::new(Code::BudgetCurrencyMismatch, message).at("payment_amount.currency"));
        }
        let before = used.unwrap_or_default().total;
        let sum = before.checked_add(paid.amount).ok_or_else(|| self.exceeded(before, paid.amount))?;
        if self.currency.major(sum)? > self.max {
            return Err(self.exceeded(before, paid.amount));
        }
        let (spent, now) = (self.currency.shown(before), self.currency.shown(paid.amount));
        let holds = format!("{spent} before and {now} now are within {} {}", self.max, self.currency);
        Ok(match used {
            Some(_) => Finding::Holds(holds),
            None => Finding::LeftToState(Duty::Budget(self.clone()), holds),
        })
    }

    fn exceeded(&self, before: ledger::money::Amount, amount: ledger::money::Amount) -> Rejection {
        let (spent, now) = (self.currency.shown(before), self.currency.shown(amount));
        let message = format!("at most {} {} in all; {now} came after {spent}", self.max, self.currency);
        Rejection::new(Code::BudgetExceeded, message).at("payment_amount.amount")
    }
}
