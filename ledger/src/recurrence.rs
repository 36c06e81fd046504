//! How far apart two uses of a mandate lie (AP2 v0.2, `payment.agent_recurrence`).
//!
//! AP2 leaves open whether a period is a calendar's or rolls from the last use. The stricter reading is the rule, here and
//! for whoever verifies a mandate without a book: the next use is due one whole period after the last one, in seconds and
//! UTC; a month later is the same day and time of the next month, or its last day where that is shorter.
//!
//! A node that recurs remembers its last use. A hold is one; what is given back was none:
//!
//! | what happens           | the last use of every node of the path that recurs             |
//! |------------------------|-----------------------------------------------------------------|
//! | hold                   | this spend, at the instant of the reservation                    |
//! | void, expiry, release  | nothing, where it was this spend; otherwise as it was            |
//! | signed, reported, unknown, spent otherwise, settled | as it was                           |
//! | settlement taken back by the chain | as it was: the spend lives                           |
//! | refund                 | as it was, whatever the node restores: a use is not given back   |
//!
//! Nothing, and never the use before it: that one lies a whole period before the use that was given back, or that could
//! not have been reserved, and time in a book only rises; so it is due by then. For the same reason one that is given back
//! out of order, while a later one lives, changes nothing. So no two uses that live are nearer than the period, and one
//! instant a node is all that must be known.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::codec::{canon_names, canon_struct};
use crate::id::Micros;

canon_names!(
    /// From the shortest distance of two uses, which is none, to the longest.
    Frequency {
        OnDemand = 1 "ON_DEMAND",
        Daily = 2 "DAILY",
        Weekly = 3 "WEEKLY",
        Biweekly = 4 "BIWEEKLY",
        Monthly = 5 "MONTHLY",
        Quarterly = 6 "QUARTERLY",
        Annually = 7 "ANNUALLY",
    }
);

const DAY_SECONDS: i64 = 86_400;

impl Frequency {
    /// The first second at which another use is due; `None` where no calendar has it.
    pub fn due_after_seconds(self, last_used_at_seconds: i64) -> Option<i64> {
        let days = |days: i64| last_used_at_seconds.checked_add(days.checked_mul(DAY_SECONDS)?);
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
    let at = TimeZone::UTC.to_datetime(Timestamp::from_second(seconds).ok()?);
    let later = at.checked_add(Span::new().try_months(months).ok()?).ok()?;
    Some(TimeZone::UTC.to_timestamp(later).ok()?.as_second())
}

/// The use of a node that came last, of those that live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// The record of its hold.
    pub hold: u64,
    /// When it was reserved.
    pub at: Micros,
}
canon_struct!(LastUse { hold, at });

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn a_use_is_due_one_whole_period_after_the_last() {
        for (frequency, last, due) in [
            (Frequency::OnDemand, "2026-02-28T23:59:59Z", "2026-02-28T23:59:59Z"),
            (Frequency::Daily, "2026-02-28T23:59:59Z", "2026-03-01T23:59:59Z"),
            // A day is 86,400 seconds, also where clocks somewhere are put forward.
            (Frequency::Daily, "2026-03-29T00:30:00Z", "2026-03-30T00:30:00Z"),
            (Frequency::Weekly, "2027-12-30T12:00:00Z", "2028-01-06T12:00:00Z"),
            (Frequency::Biweekly, "2028-02-20T12:00:00Z", "2028-03-05T12:00:00Z"),
            (Frequency::Monthly, "2026-01-31T06:00:00Z", "2026-02-28T06:00:00Z"),
            (Frequency::Monthly, "2028-01-31T06:00:00Z", "2028-02-29T06:00:00Z"),
            // From there on it stays the 28th: the last use is what is counted from.
            (Frequency::Monthly, "2026-02-28T06:00:00Z", "2026-03-28T06:00:00Z"),
            (Frequency::Monthly, "2026-12-15T06:00:00Z", "2027-01-15T06:00:00Z"),
            (Frequency::Quarterly, "2026-11-30T06:00:00Z", "2027-02-28T06:00:00Z"),
            (Frequency::Annually, "2028-02-29T06:00:00Z", "2029-02-28T06:00:00Z"),
            (Frequency::Annually, "1969-12-31T23:59:59Z", "1970-12-31T23:59:59Z"),
        ] {
            assert_eq!(frequency.due_after_seconds(seconds(last)), Some(seconds(due)), "{frequency} after {last}");
        }
    }

    #[test]
    fn what_no_calendar_has_is_never_due() {
        let end = seconds("9999-12-01T00:00:00Z");
        for frequency in [Frequency::Monthly, Frequency::Quarterly, Frequency::Annually] {
            assert_eq!(frequency.due_after_seconds(end), None, "{frequency}");
            assert_eq!(frequency.due_after_seconds(i64::MAX), None, "{frequency}");
            assert_eq!(frequency.due_after_seconds(i64::MIN), None, "{frequency}");
        }
        for frequency in [Frequency::Daily, Frequency::Weekly, Frequency::Biweekly] {
            assert_eq!(frequency.due_after_seconds(i64::MAX), None, "{frequency}");
        }
        assert!("daily".parse::<Frequency>().is_err() && "HOURLY".parse::<Frequency>().is_err());
    }

    /// A rarer frequency is due no earlier, whatever the day: what narrowing rests on.
    #[test]
    fn the_order_is_that_of_the_distances() {
        for day in 0..1_500 {
            let last = seconds("2026-01-01T12:00:00Z") + day * DAY_SECONDS;
            let dues: Vec<_> = Frequency::ALL.iter().map(|frequency| frequency.due_after_seconds(last)).collect();
            assert!(dues.windows(2).all(|pair| pair[0] < pair[1]), "{dues:?} after {last}");
            let later = Frequency::ALL.iter().map(|frequency| frequency.due_after_seconds(last + 1));
            assert!(dues.iter().zip(later).all(|(due, later)| *due <= later), "a later use is due no earlier: {last}");
        }
        assert!(Frequency::ALL.is_sorted());
    }
}
