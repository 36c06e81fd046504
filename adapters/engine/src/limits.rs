//! Limits as people write them, in a question, in a configuration and in what a mandate shows, and as the book takes
//! them (`ledger::window`).

use ledger::budget::{Budget, Refunds};
use ledger::id::{Micros, PayeeId};
use ledger::money::Amount;
use ledger::window::{Hours, LIMITS_MAX, Limit, LimitError, Period, WindowKey, Zone, counted};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::error::EngineError;
use crate::rate::authority_from_major;

/// `{"period": "day", "zone": "Europe/Berlin", "amount": "20.00"}`: so much, or so many payments, a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitText {
    pub period: PeriodText,
    /// The IANA time zone whose clocks say when a calendar period begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The day from which a month counts; the first where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_day: Option<u8>,
    /// The length of a rolling period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// Whether every payee has this limit for itself.
    #[serde(default, skip_serializing_if = "is_no")]
    pub each_payee: bool,
    /// Decimal, major units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payments: Option<u64>,
}

const fn is_no(flag: &bool) -> bool {
    !*flag
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeriodText {
    /// It never begins anew.
    Total,
    Day,
    Week,
    Month,
    Year,
    Rolling,
}

/// `{"zone": "Europe/Berlin", "from": "09:00", "to": "17:30", "days": ["mon", "tue"]}`; every day where none is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoursText {
    pub zone: String,
    pub from: String,
    /// Not after this; earlier than `from` where the hours go past midnight.
    pub to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<DayText>>,
}

/// Whether what a payee gives back can be spent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundsText {
    #[default]
    Keep,
    Restore,
}

impl RefundsText {
    pub(crate) const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl From<RefundsText> for Refunds {
    fn from(text: RefundsText) -> Self {
        match text {
            RefundsText::Keep => Self::Keep,
            RefundsText::Restore => Self::Restore,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayText {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl LimitText {
    pub fn read(&self, currency: &str) -> Result<Limit, EngineError> {
        let zone = || {
            let missing =
                || EngineError::invalid("limits.zone", "an IANA time zone, as a calendar period needs", "none");
            self.zone.as_ref().ok_or_else(missing)?.parse::<Zone>().map_err(wrong)
        };
        let period = match self.period {
            PeriodText::Total => Period::Never,
            PeriodText::Day => Period::Day(zone()?),
            PeriodText::Week => Period::Week(zone()?),
            PeriodText::Month => Period::Month(zone()?, self.from_day.unwrap_or(1)),
            PeriodText::Year => Period::Year(zone()?),
            PeriodText::Rolling => {
                let missing = || EngineError::invalid("limits.seconds", "how long a rolling period is", "nothing");
                Period::Rolling(self.seconds.ok_or_else(missing)?)
            }
        };
        // What would be without effect is not what was meant.
        let idle = [
            ("limits.from_day", self.from_day.is_some() && self.period != PeriodText::Month),
            ("limits.seconds", self.seconds.is_some() && self.period != PeriodText::Rolling),
            ("limits.zone", self.zone.is_some() && matches!(self.period, PeriodText::Total | PeriodText::Rolling)),
        ];
        if let Some((field, _)) = idle.into_iter().find(|(_, is_idle)| *is_idle) {
            return Err(EngineError::invalid(field, format!("nothing, with the period {:?}", self.period), "a value"));
        }
        let amount = self.amount.as_ref().map(|text| authority_from_major(text, currency)).transpose()?;
        let limit = Limit { period, each_payee: self.each_payee, amount, payments: self.payments };
        limit.check().map_err(wrong)?;
        Ok(limit)
    }
}

impl HoursText {
    pub fn read(&self) -> Result<Hours, EngineError> {
        let zone = self.zone.parse().map_err(wrong)?;
        let days = match &self.days {
            None => 0x7f,
            Some(days) => days.iter().fold(0, |mask, day| mask | day.bit()),
        };
        let hours = Hours { zone, days, from: minutes("hours.from", &self.from)?, to: minutes("hours.to", &self.to)? };
        hours.check().map_err(wrong)?;
        Ok(hours)
    }
}

impl DayText {
    const fn bit(self) -> u8 {
        match self {
            Self::Mon => 1,
            Self::Tue => 1 << 1,
            Self::Wed => 1 << 2,
            Self::Thu => 1 << 3,
            Self::Fri => 1 << 4,
            Self::Sat => 1 << 5,
            Self::Sun => 1 << 6,
        }
    }
}

/// `HH:MM`, up to 24:00.
fn minutes(field: &'static str, text: &str) -> Result<u16, EngineError> {
    let invalid = || EngineError::invalid(field, "a time as HH:MM, 00:00 to 24:00", text);
    let digits = |part: &str| {
        let two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if two { part.parse::<u16>().map_err(|_| invalid()) } else { Err(invalid()) }
    };
    let (hour, minute) = text.split_once(':').ok_or_else(invalid)?;
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    let all = hour * 60 + minute;
    if hour > 24 || minute > 59 || all > 24 * 60 { Err(invalid()) } else { Ok(all) }
}

fn wrong(error: LimitError) -> EngineError {
    let (field, expected, found) = match error {
        LimitError::Zone(found) => ("zone", "a time zone of the IANA database".to_owned(), found),
        LimitError::Rolling(found) => ("limits.seconds", "60 to 315360000".to_owned(), found.to_string()),
        LimitError::Day(found) => ("limits.from_day", "1 to 31".to_owned(), found.to_string()),
        LimitError::Empty => ("limits", "an amount or a number of payments".to_owned(), "neither".to_owned()),
        LimitError::OnDemand => ("frequency", "how far apart two uses lie".to_owned(), "ON_DEMAND".to_owned()),
        LimitError::TooMany(found) => ("limits", format!("at most {LIMITS_MAX}"), found.to_string()),
        LimitError::Hours => {
            ("hours", "two times from 00:00 to 24:00, on one day or more".to_owned(), "hours that never are".to_owned())
        }
    };
    EngineError::invalid(field, expected, found)
}

/// Limits and hours of one node, read together; the field is named where one is wrong.
pub fn read(limits: &[LimitText], currency: &str) -> Result<Vec<Limit>, EngineError> {
    let read: Vec<Limit> = limits.iter().map(|limit| limit.read(currency)).collect::<Result<_, _>>()?;
    if read.len() > LIMITS_MAX {
        return Err(wrong(LimitError::TooMany(read.len())));
    }
    Ok(read)
}

/// A limit of a node and what is used of it now; nothing is said of one that is for each payee.
pub struct LimitState {
    pub limit: Limit,
    pub used: Option<(Amount, u64)>,
}

impl Engine {
    /// Where each limit of a node stands at this instant.
    pub(crate) async fn limit_states(
        &self,
        tenant: &ledger::id::TenantId,
        budget: &Budget,
    ) -> Result<Vec<LimitState>, EngineError> {
        let now: Micros = self.clock.now();
        let nobody: PayeeId = "-".parse().map_err(|_| EngineError::Broken("a payee".into()))?;
        let mut states = Vec::with_capacity(budget.caps.limits.len());
        for (number, limit) in budget.caps.limits.iter().enumerate() {
            if limit.each_payee {
                states.push(LimitState { limit: limit.clone(), used: None });
                continue;
            }
            let counted = counted(budget.id, number, limit, &nobody, now);
            let keys: Vec<WindowKey> = counted.map_err(|fault| EngineError::Broken(fault.to_string()))?.read;
            let (mut used, mut count) = (Amount::ZERO, 0_u64);
            for window in self.store.windows(tenant, keys).await? {
                let overflow = || EngineError::Broken("the windows of a limit overflow".into());
                used = window.used().and_then(|more| used.checked_add(more)).ok_or_else(overflow)?;
                count = count.checked_add(window.count).ok_or_else(overflow)?;
            }
            states.push(LimitState { limit: limit.clone(), used: Some((used, count)) });
        }
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(json: &str) -> Result<Limit, String> {
        let text: LimitText = serde_json::from_str(json).map_err(|error| error.to_string())?;
        text.read("USD").map_err(|error| error.to_string())
    }

    fn hours(json: &str) -> Result<Hours, String> {
        let text: HoursText = serde_json::from_str(json).map_err(|error| error.to_string())?;
        text.read().map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for json in [
            r#"{"period": "fortnight", "amount": "1"}"#,
            r#"{"period": "day", "amount": "1"}"#,
            r#"{"period": "day", "zone": "Mars/Olympus", "amount": "1"}"#,
            r#"{"period": "day", "zone": "UTC"}"#,
            r#"{"period": "day", "zone": "UTC", "amount": "-1"}"#,
            r#"{"period": "day", "zone": "UTC", "amount": "1e3"}"#,
            r#"{"period": "day", "zone": "UTC", "amount": 1}"#,
            r#"{"period": "day", "zone": "UTC", "amount": "1", "from_day": 3}"#,
            r#"{"period": "day", "zone": "UTC", "amount": "1", "seconds": 60}"#,
            r#"{"period": "month", "zone": "UTC", "amount": "1", "from_day": 32}"#,
            r#"{"period": "rolling", "amount": "1"}"#,
            r#"{"period": "rolling", "seconds": 1, "amount": "1"}"#,
            r#"{"period": "rolling", "seconds": 3600, "zone": "UTC", "amount": "1"}"#,
            r#"{"period": "total", "zone": "UTC", "amount": "1"}"#,
            r#"{"period": "day", "zone": "UTC", "amount": "1", "unknown": 1}"#,
        ] {
            assert!(limit(json).is_err(), "{json}");
        }
        for json in [
            r#"{"zone": "UTC", "from": "9:00", "to": "17:00"}"#,
            r#"{"zone": "UTC", "from": "09:60", "to": "17:00"}"#,
            r#"{"zone": "UTC", "from": "09:00", "to": "24:01"}"#,
            r#"{"zone": "UTC", "from": "09:00", "to": "09:00"}"#,
            r#"{"zone": "UTC", "from": "+9:00", "to": "17:00"}"#,
            r#"{"zone": "UTC", "from": "09:00", "to": "17:00", "days": []}"#,
            r#"{"zone": "UTC", "from": "09:00", "to": "17:00", "days": ["monday"]}"#,
            r#"{"zone": "", "from": "09:00", "to": "17:00"}"#,
        ] {
            assert!(hours(json).is_err(), "{json}");
        }
    }

    #[test]
    fn what_is_meant_is_read() {
        let day =
            limit(r#"{"period": "day", "zone": "Europe/Berlin", "amount": "20.00", "each_payee": true}"#).unwrap();
        assert_eq!(day.to_string(), "a day (Europe/Berlin) to one payee");
        assert_eq!(day.amount, Some(authority_from_major("20", "USD").unwrap()));
        let month = limit(r#"{"period": "month", "zone": "UTC", "payments": 3}"#).unwrap();
        assert_eq!((month.to_string().as_str(), month.payments), ("a month (UTC)", Some(3)));
        let week =
            hours(r#"{"zone": "Europe/Berlin", "from": "22:00", "to": "06:00", "days": ["mon", "fri"]}"#).unwrap();
        assert_eq!(week.to_string(), "Mon,Fri 22:00-06:00 (Europe/Berlin)");
        assert_eq!(hours(r#"{"zone": "UTC", "from": "00:00", "to": "24:00"}"#).unwrap().days, 0x7f);
    }
}
