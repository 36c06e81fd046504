//! Limits that come back: so much a day, a week, a month, a year, within any so many seconds, or to each payee; and the
//! hours in which anything may be paid at all. What AP2 cannot say lives here, on the budget's node.
//!
//! The one rule about edges: a hold counts in the windows of the instant at which it was reserved, and whatever becomes
//! of it (signed, settled, given back, found years later) moves those rows and no others. So a late settlement neither
//! fails for want of room nor eats the room of the period in which it arrives.
//!
//! | what happens           | the windows of the reservation    | the windows of now |
//! |------------------------|-----------------------------------|--------------------|
//! | hold                   | held + a, count + 1               | the same           |
//! | void, expiry, release  | held - a, count - 1               | nothing            |
//! | signed, reported, unknown, spent otherwise | nothing       | nothing            |
//! | settled                | held - a, posted + a              | nothing            |
//! | settlement taken back by the chain | held + a, posted - a | nothing            |
//! | refund, where the node restores | posted - a               | nothing            |
//! | refund, where it keeps | nothing                           | nothing            |
//!
//! How the same things move the last use of a mandate that recurs is the table of [`crate::recurrence`].
//!
//! A calendar window is named by its first day as its zone's clocks show it, not by an instant: two builds that know
//! other rules of a zone still count one local day in one row. A rolling window of n seconds is counted in
//! [`ROLLING_PARTS`] parts of it, the oldest one whole: in no n seconds is more paid than the limit, and now and then less
//! than could have been.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::budget::{BudgetStep, ImpossibleMove};
use crate::codec::{Canon, DecodeError, Reader, canon_struct};
use crate::id::{BudgetId, Micros, PayeeId};
use crate::money::Amount;
use crate::rejection::Fault;

/// Limits of one node, beside its own caps.
pub const LIMITS_MAX: usize = 16;
/// Parts of a rolling window, that is rows which are read for one payment.
pub const ROLLING_PARTS: u32 = 24;
/// The shortest and the longest rolling window, in seconds: a minute and ten years.
pub const ROLLING_SECONDS: std::ops::RangeInclusive<u32> = 60..=315_360_000;
const ZONE_BYTES_MAX: usize = 64;
const MINUTES_OF_DAY: u16 = 24 * 60;

/// A time zone by its name in the IANA database, which is built in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("a time zone of the IANA database was expected, `{0}` was given")]
    Zone(String),
    #[error("a rolling window of a minute to ten years was expected, {0} seconds were given")]
    Rolling(u32),
    #[error("a day of the month, 1 to 31, was expected, {0} was given")]
    Day(u8),
    #[error("a limit says an amount or a number of payments; this one says neither")]
    Empty,
    #[error("at most {LIMITS_MAX} limits were expected, {0} were given")]
    TooMany(usize),
    #[error("a distance of two uses was expected, ON_DEMAND was given; without one nothing is said")]
    OnDemand,
    #[error("hours lie between 00:00 and 24:00, begin and end at two times, and are of one day at least")]
    Hours,
}

impl FromStr for Zone {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let is_named = text.len() <= ZONE_BYTES_MAX && TimeZone::get(text).is_ok();
        if is_named { Ok(Self(text.to_owned())) } else { Err(LimitError::Zone(text.chars().take(64).collect())) }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Zone {
    /// What the clocks of the zone show. A zone that this build does not know any more is ours to mend: nothing is paid.
    fn at(&self, at: Micros) -> Result<ZonedDateTime, Fault> {
        let zone = TimeZone::get(&self.0).map_err(|_| Fault::Broken(format!("time zone {self} is not known")))?;
        let instant = Timestamp::from_microsecond(at.0);
        let instant = instant.map_err(|_| Fault::Broken(format!("{} is no instant of any calendar", at.0)))?;
        Ok(instant.to_zoned_datetime(zone))
    }
}

/// Written as its name; read back without a look at the database, which a later build may have changed.
impl Canon for Zone {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        String::read(input).map(Self)
    }
}

/// When a limit begins anew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    Never,
    Day(Zone),
    /// From Monday, ISO 8601.
    Week(Zone),
    /// From this day of each month, or from the month's last where it is shorter: 31 January, 28 February, 31 March.
    Month(Zone, u8),
    Year(Zone),
    /// Within any so many seconds.
    Rolling(u32),
}

impl Canon for Period {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Never => out.push(1),
            Self::Day(zone) => {
                out.push(2);
                zone.write(out);
            }
            Self::Week(zone) => {
                out.push(3);
                zone.write(out);
            }
            Self::Month(zone, day) => {
                out.push(4);
                zone.write(out);
                day.write(out);
            }
            Self::Year(zone) => {
                out.push(5);
                zone.write(out);
            }
            Self::Rolling(seconds) => {
                out.push(6);
                seconds.write(out);
            }
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(input)? {
            1 => Ok(Self::Never),
            2 => Canon::read(input).map(Self::Day),
            3 => Canon::read(input).map(Self::Week),
            4 => Ok(Self::Month(Canon::read(input)?, Canon::read(input)?)),
            5 => Canon::read(input).map(Self::Year),
            6 => Canon::read(input).map(Self::Rolling),
            other => Err(DecodeError::Value { what: "a period", found: other.to_string() }),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("in all"),
            Self::Day(zone) => write!(f, "a day ({zone})"),
            Self::Week(zone) => write!(f, "a week ({zone})"),
            Self::Month(zone, 1) => write!(f, "a month ({zone})"),
            Self::Month(zone, day) => write!(f, "a month from day {day} ({zone})"),
            Self::Year(zone) => write!(f, "a year ({zone})"),
            Self::Rolling(seconds) => write!(f, "within {seconds} s"),
        }
    }
}

/// So much, or so many payments, a period; for all payees together or for each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub period: Period,
    pub each_payee: bool,
    pub amount: Option<Amount>,
    pub payments: Option<u64>,
}
canon_struct!(Limit { period, each_payee, amount, payments });

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = if self.each_payee { " to one payee" } else { "" };
        write!(f, "{}{whom}", self.period)
    }
}

impl Limit {
    pub fn check(&self) -> Result<(), LimitError> {
        match self.period {
            Period::Rolling(seconds) if !ROLLING_SECONDS.contains(&seconds) => Err(LimitError::Rolling(seconds)),
            Period::Month(_, day) if !(1..=31).contains(&day) => Err(LimitError::Day(day)),
            _ if self.amount.is_none() && self.payments.is_none() => Err(LimitError::Empty),
            _ => Ok(()),
        }
    }

    /// The same kind of limit, to be compared by its figures.
    pub fn is_like(&self, other: &Self) -> bool {
        self.period == other.period && self.each_payee == other.each_payee
    }

    /// The windows that count for a payment at this instant; the last one is the one it is counted in.
    fn places(&self, at: Micros) -> Result<std::ops::RangeInclusive<i64>, Fault> {
        let day = |zone: &Zone| zone.at(at).map(|zoned| zoned.date());
        let one = |place: i64| place..=place;
        Ok(match &self.period {
            Period::Never => one(0),
            Period::Day(zone) => one(day_number(day(zone)?)),
            Period::Week(zone) => one(day_number(day(zone)?).saturating_add(3).div_euclid(7)),
            Period::Month(zone, first) => one(month_number(day(zone)?, *first)),
            Period::Year(zone) => one(day(zone)?.year().into()),
            Period::Rolling(seconds) => {
                let parts = i64::from(ROLLING_PARTS);
                let length = i64::from(*seconds).saturating_mul(1_000_000).div_euclid(parts).max(1);
                let last = at.0.div_euclid(length);
                last.saturating_sub(parts)..=last
            }
        })
    }
}

fn day_number(date: Date) -> i64 {
    // Counted from a day that both calendars agree on; a span of days between dates needs no zone.
    let epoch = Date::constant(1970, 1, 1);
    epoch.duration_until(date).as_hours().div_euclid(24)
}

/// Months since year 0; one earlier before the day from which the month counts.
fn month_number(date: Date, first: u8) -> i64 {
    let month = i64::from(date.year()).saturating_mul(12).saturating_add(i64::from(date.month()).saturating_sub(1));
    let first = i64::from(first).min(date.days_in_month().into());
    if i64::from(date.day()) < first { month.saturating_sub(1) } else { month }
}

/// One window of one limit of a node, for one payee where the limit is for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowKey {
    pub budget: BudgetId,
    /// Which of the node's limits.
    pub limit: u16,
    pub payee: Option<PayeeId>,
    /// Which of its periods, counted from a fixed one.
    pub place: i64,
}
canon_struct!(WindowKey { budget, limit, payee, place });

/// The keys that count for a payment now: all that are read, and the one that it is counted in.
pub struct Counted {
    pub read: Vec<WindowKey>,
    pub written: WindowKey,
}

/// The windows of one limit, which is the `number`th of its node.
pub fn counted(budget: BudgetId, number: usize, limit: &Limit, payee: &PayeeId, at: Micros) -> Result<Counted, Fault> {
    let number = u16::try_from(number).map_err(|_| Fault::Broken(format!("budget {budget} has too many limits")))?;
    let payee = limit.each_payee.then(|| payee.clone());
    let places = limit.places(at)?;
    let key = |place| WindowKey { budget, limit: number, payee: payee.clone(), place };
    let written = key(*places.end());
    Ok(Counted { read: places.map(key).collect(), written })
}

/// What was reserved and paid in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub key: WindowKey,
    pub held: Amount,
    pub posted: Amount,
    pub count: u64,
    /// The figures of the limit when this was last moved, where they were kept: one that was lowered since is not.
    pub cap: Option<Amount>,
    pub most: Option<u64>,
}
canon_struct!(Window { key, held, posted, count, cap, most });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowMove {
    pub key: WindowKey,
    pub step: BudgetStep,
    pub amount: Amount,
}
canon_struct!(WindowMove { key, step, amount });

impl Window {
    pub const fn empty(key: WindowKey) -> Self {
        Self { key, held: Amount::ZERO, posted: Amount::ZERO, count: 0, cap: None, most: None }
    }

    pub fn used(&self) -> Option<Amount> {
        self.held.checked_add(self.posted)
    }

    /// The second of a pair of checks, as [`crate::budget::Budget::take`] is: one window never passes its limit.
    pub fn take(&self, step: &WindowMove, limit: &Limit) -> Result<Self, ImpossibleMove> {
        let impossible = || ImpossibleMove {
            budget: self.key.budget,
            step: step.step,
            amount: step.amount,
            held: self.held,
            posted: self.posted,
            count: self.count,
        };
        let (held, posted, count) =
            step.step.apply(self.held, self.posted, self.count, step.amount).ok_or_else(impossible)?;
        let used = held.checked_add(posted).ok_or_else(impossible)?;
        let (cap, most) = (limit.amount, limit.payments);
        let (kept, counted) = (cap.filter(|cap| used <= *cap), most.filter(|most| count <= *most));
        // Only a limit that was lowered can be passed, and then by nothing new.
        if step.step.takes() && (kept, counted) != (cap, most) {
            return Err(impossible());
        }
        Ok(Self { key: self.key.clone(), held, posted, count, cap: kept, most: counted })
    }
}

/// When anything may be paid: on these days of the week, from one time to another, as the clocks of a zone show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    pub zone: Zone,
    /// One bit a day on which they begin, Monday the lowest.
    pub days: u8,
    /// Minutes after midnight.
    pub from: u16,
    /// The first minute that is too late; before `from` where the hours go past midnight.
    pub to: u16,
}
canon_struct!(Hours { zone, days, from, to });

impl Hours {
    pub fn check(&self) -> Result<(), LimitError> {
        let within = self.from < MINUTES_OF_DAY && self.to <= MINUTES_OF_DAY && self.from != self.to;
        if within && (1..1 << 7).contains(&self.days) { Ok(()) } else { Err(LimitError::Hours) }
    }

    pub fn contain(&self, at: Micros) -> Result<bool, Fault> {
        let zoned = self.zone.at(at)?;
        let minute = u16::from(zoned.hour().unsigned_abs()) * 60 + u16::from(zoned.minute().unsigned_abs());
        let today = u32::from(zoned.weekday().to_monday_zero_offset().unsigned_abs());
        let begins_on = |day: u32| self.days & (1 << (day % 7)) != 0;
        Ok(if self.from < self.to {
            begins_on(today) && (self.from..self.to).contains(&minute)
        } else {
            // Past midnight: the evening of today, or the morning after yesterday's.
            (begins_on(today) && minute >= self.from) || (begins_on(today + 6) && minute < self.to)
        })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<_> = (0_u8..).zip(names).filter(|(bit, _)| self.days & (1 << bit) != 0).collect();
        let days: Vec<_> = days.into_iter().map(|(_, name)| name).collect();
        let (from, to) = (self.from, self.to);
        let (zone, days) = (&self.zone, days.join(","));
        write!(f, "{days} {:02}:{:02}-{:02}:{:02} ({zone})", from / 60, from % 60, to / 60, to % 60)
    }
}
