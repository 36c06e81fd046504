//! `payment.agent_recurrence`: more than one payment under one open mandate, spaced by `frequency` and at most
//! `max_occurrences`.
//!
//! When the next use is due is the rule of [`ledger::recurrence`], which a book that holds the mandate enforces by. As in
//! the SDK, it stands only beside an amount range and a budget.

pub use ledger::recurrence::Frequency;

use super::{Case, Constraint, Duty, Finding, Used};
use crate::json::{Json, Members, Object};
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

fn frequency(text: &str) -> Result<Frequency, Rejection> {
    text.parse().map_err(|_| {
        let names = Frequency::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
        schema::refused("frequency", format!("frequency is one of {names}; {} came", shown(text)))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentRecurrence {
    pub frequency: Frequency,
    pub max_occurrences: Option<u64>,
}

impl AgentRecurrence {
    pub const TYPE: &'static str = "payment.agent_recurrence";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let max_occurrences = match claims.get("max_occurrences") {
            None => None,
            Some(Json::Number(_)) => Some(schema::count(claims, "max_occurrences")?),
            Some(other) => {
                let message = format!("max_occurrences is an integer; {} came", other.kind());
                return Err(schema::refused("max_occurrences", message));
            }
        };
        Ok(Self { frequency: frequency(&schema::text(claims, "frequency")?)?, max_occurrences })
    }

    pub(super) fn claims(&self) -> Object {
        let mut claims = Object::from_iter([("frequency".to_owned(), self.frequency.as_str().into())]);
        if let Some(max) = self.max_occurrences {
            claims.insert("max_occurrences".to_owned(), max.into());
        }
        claims
    }

    pub(super) fn evaluate(&self, case: &Case<'_>) -> Result<Finding, Rejection> {
        let has = |wanted: fn(&Constraint) -> bool| case.siblings.iter().filter_map(super::Written::known).any(wanted);
        let is_bounded = has(|other| matches!(other, Constraint::AmountRange(_)))
            && has(|other| matches!(other, Constraint::Budget(_)));
        if !is_bounded {
            let message =
                "a recurrence stands beside payment.amount_range and payment.budget; one of them is not there";
            return Err(Rejection::new(Code::RecurrenceNeedsBudget, message).at("constraints"));
        }
        match case.used {
            Some(used) => self.check(used, case.clock.now_seconds),
            None if self.max_occurrences == Some(0) => Err(self.exhausted(0)),
            None => {
                let detail = format!("{} and its count are the ledger's to hold", self.frequency.as_str());
                Ok(Finding::LeftToState(Duty::Occurrences(*self), detail))
            }
        }
    }

    fn check(&self, used: Used, now_seconds: i64) -> Result<Finding, Rejection> {
        if self.max_occurrences.is_some_and(|max| used.uses >= max) {
            return Err(self.exhausted(used.uses));
        }
        let Some(last) = used.last_used_at_seconds else {
            return Ok(Finding::Holds(format!("use {} is the first", used.uses.saturating_add(1))));
        };
        match self.frequency.due_after_seconds(last) {
            Some(due) if now_seconds >= due => Ok(Finding::Holds(format!("due since {due}; it is {now_seconds}"))),
            due => {
                let due = due.map_or_else(|| "never".to_owned(), |due| due.to_string());
                let frequency = self.frequency.as_str();
                let message = format!("the next use ({frequency}, last {last}) is due at {due}; it is {now_seconds}");
                Err(Rejection::new(Code::RecurrenceTooSoon, message).at("constraints"))
            }
        }
    }

    fn exhausted(&self, uses: u64) -> Rejection {
        let max = self.max_occurrences.unwrap_or_default();
        let message = format!("at most {max} uses; {uses} came before this one");
        Rejection::new(Code::RecurrenceExhausted, message).at("constraints")
    }
}
