//! `payment.execution_date`: the payment is executed within [not_before, not_after], compared as instants. A closed
//! mandate without a date is executed at once, so the verifier's clock is its date.

use super::Finding;
use crate::clock::Clock;
use crate::json::{Members, Object};
use crate::party::Instant;
use crate::payment::ClosedPayment;
use crate::rejection::{Code, Rejection};
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionDate {
    pub not_before: Option<Instant>,
    pub not_after: Option<Instant>,
}

impl ExecutionDate {
    pub const TYPE: &'static str = "payment.execution_date";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self { not_before: Instant::read(claims, "not_before")?, not_after: Instant::read(claims, "not_after")? })
    }

    pub(super) fn claims(&self) -> Object {
        let bounds = [("not_before", &self.not_before), ("not_after", &self.not_after)];
        let written =
            bounds.into_iter().filter_map(|(name, bound)| Some((name.to_owned(), bound.as_ref()?.as_str().into())));
        written.collect()
    }

    pub(super) fn evaluate(&self, payment: &ClosedPayment, clock: Clock) -> Result<Finding, Rejection> {
        let at = match &payment.execution_date {
            Some(date) => date.at(),
            None => OffsetDateTime::from_unix_timestamp(clock.now_seconds)
                .map_err(|_| self.refused(Code::ExecutionTooLate, "a time that no calendar has"))?,
        };
        let seconds = at.unix_timestamp().to_string();
        if self.not_before.as_ref().is_some_and(|bound| at < bound.at()) {
            return Err(self.refused(Code::ExecutionTooEarly, &seconds));
        }
        if self.not_after.as_ref().is_some_and(|bound| at > bound.at()) {
            return Err(self.refused(Code::ExecutionTooLate, &seconds));
        }
        Ok(Finding::Holds(format!("{seconds} is within the window")))
    }

    fn refused(&self, code: Code, came: &str) -> Rejection {
        let bound = |instant: &Option<Instant>| {
            instant.as_ref().map_or_else(|| "any time".to_owned(), |instant| instant.unix_seconds().to_string())
        };
        let (from, to) = (bound(&self.not_before), bound(&self.not_after));
        let message = format!("execution lies between {from} and {to} (Unix seconds); {came} came");
        Rejection::new(code, message).at("execution_date")
    }
}
