//! `payment.agent_recurrence`: more than one payment under one open mandate, spaced by `frequency` and at most
//! `max_occurrences`.
//!
//! AP2 leaves open whether a period is a calendar's or rolls from the last use; the stricter reading is taken: one full
//! period after the last use. As in the SDK, it stands only beside an amount range and a budget.

use serde_json::Value;
use time::{Date, Duration, Month, OffsetDateTime};

use super::{Case, Constraint, Duty, Finding, Used};
use crate::json::{Object, kind};
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frequency {
    OnDemand,
    Daily,
    Weekly,
    Biweekly,
    Monthly,
    Quarterly,
    Annually,
}

impl Frequency {
    const ALL: [Self; 7] =
        [Self::OnDemand, Self::Daily, Self::Weekly, Self::Biweekly, Self::Monthly, Self::Quarterly, Self::Annually];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "ON_DEMAND",
            Self::Daily => "DAILY",
            Self::Weekly => "WEEKLY",
            Self::Biweekly => "BIWEEKLY",
            Self::Monthly => "MONTHLY",
            Self::Quarterly => "QUARTERLY",
            Self::Annually => "ANNUALLY",
        }
    }

    /// By the shortest distance of two uses, from none to a year.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::OnDemand => 0,
            Self::Daily => 1,
            Self::Weekly => 2,
            Self::Biweekly => 3,
            Self::Monthly => 4,
            Self::Quarterly => 5,
            Self::Annually => 6,
        }
    }

    fn parse(text: &str) -> Result<Self, Rejection> {
        Self::ALL.into_iter().find(|frequency| frequency.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            schema::refused("frequency", format!("frequency is one of {names}; {} came", shown(text)))
        })
    }

    /// The first second at which another use is due; `None` where no calendar has it.
    pub fn due_after_seconds(self, last_used_at_seconds: i64) -> Option<i64> {
        let days = |days| last_used_at_seconds.checked_add(Duration::days(days).whole_seconds());
        match self {
            Self::OnDemand => Some(last_used_at_seconds),
            Self::Daily => days(1),
            Self::Weekly => days(7),
            Self::Biweekly => days(14),
            Self::Monthly => months_later(last_used_at_seconds, 1),
            Self::Quarterly => months_later(last_used_at_seconds, 3),
            Self::Annually => months_later(last_used_at_seconds, 12),
        }
    }
}

/// The same day and time of a later month, UTC; the 31st falls back to the month's last day.
fn months_later(seconds: i64, months: i32) -> Option<i64> {
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let index = at.year().checked_mul(12)?.checked_add(i32::from(u8::from(at.month())))?.checked_sub(1)?;
    let later = index.checked_add(months)?;
    let month = Month::try_from(u8::try_from(later.rem_euclid(12)).ok()?.checked_add(1)?).ok()?;
    let year = later.div_euclid(12);
    let day = at.day().min(month.length(year));
    let date = Date::from_calendar_date(year, month, day).ok()?;
    Some(at.replace_date(date).unix_timestamp())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentRecurrence {
    pub frequency: Frequency,
    pub max_occurrences: Option<u64>,
}

impl AgentRecurrence {
    pub const TYPE: &'static str = "payment.agent_recurrence";

    pub(super) fn parse(claims: &Object) -> Result<Self, Rejection> {
        let max_occurrences = match claims.get("max_occurrences") {
            None => None,
            Some(Value::Number(_)) => Some(schema::count(claims, "max_occurrences")?),
            Some(other) => {
                let message = format!("max_occurrences is an integer; {} came", kind(other));
                return Err(schema::refused("max_occurrences", message));
            }
        };
        Ok(Self { frequency: Frequency::parse(&schema::text(claims, "frequency")?)?, max_occurrences })
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
