//! The table of `window`, row by row, and the calendars.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, commit, holds, on, void};
use super::stream::{
    FINAL, PERSON, START, VALID_BEFORE, daily, decide, hold, mandate, open, propose, rolling, seen, spend, taken_back,
    to_each, total, unused,
};
use crate::budget::{BudgetKind, Caps};
use crate::command::{Command, Hold, ReleaseProof, Request};
use crate::decision::Answer;
use crate::id::{Micros, RailReference};
use crate::money::Amount;
use crate::rejection::{Rejection, RejectionCode as Code};
use crate::window::{Hours, LIMITS_MAX, Limit, LimitError, Period, WindowKey, counted};

const DAY: i64 = 86_400;

fn with(limits: Vec<Limit>) -> Caps {
    Caps { limits, ..total(500) }
}

fn hours(from: u16, to: u16, days: u8) -> Hours {
    Hours { zone: "America/Los_Angeles".parse().unwrap(), days, from, to }
}

/// A mandate of this number, opened on an approval of its own.
fn opens(number: u8, caps: Caps) -> Vec<Request> {
    vec![
        propose(number),
        decide(number, Answer::Approve),
        open(mandate(number), Some(PERSON), BudgetKind::Mandate, caps, Some(number)),
    ]
}

fn pays(number: u8, from: u8, units: u128) -> Request {
    holds(Hold { expires_at: Micros(i64::MAX), ..hold(number, mandate(from), units) })
}

fn to(payee: &str, number: u8, from: u8, units: u128) -> Request {
    let plain = hold(number, mandate(from), units);
    holds(Hold { payee: payee.parse().unwrap(), expires_at: Micros(i64::MAX), ..plain })
}

pub(super) fn limit_cases() -> Vec<Case> {
    let after = |caps: Caps, more: Vec<Request>| [opens(9, caps), more].concat();
    let refused = |limits: Vec<Limit>| open(mandate(9), Some(PERSON), BudgetKind::Mandate, with(limits), Some(9));
    let asked = || vec![propose(9), decide(9, Answer::Approve)];
    let zone = || "Europe/Berlin".parse().unwrap();
    let monthly = |day| Limit { period: Period::Month(zone(), day), ..daily(1) };
    let opened = |caps: Caps| open(mandate(9), Some(PERSON), BudgetKind::Mandate, caps, Some(9));
    let each = |units, payments| Limit { payments, ..to_each(units) };
    vec![
        (after(with(vec![daily(50)]), vec![pays(1, 9, 30)]), 0, pays(2, 9, 21), Code::AmountExceedsPeriod),
        (after(with(vec![daily(50)]), vec![]), 0, pays(2, 9, 51), Code::AmountExceedsPeriod),
        (after(with(vec![daily(50)]), vec![pays(1, 9, 50)]), DAY - 1, pays(2, 9, 1), Code::AmountExceedsPeriod),
        (after(with(vec![rolling(600, 50, 9)]), vec![pays(1, 9, 50)]), 599, pays(2, 9, 1), Code::AmountExceedsPeriod),
        (after(with(vec![rolling(600, 50, 1)]), vec![pays(1, 9, 1)]), 599, pays(2, 9, 1), Code::PaymentsExceedPeriod),
        (after(with(vec![to_each(50)]), vec![pays(1, 9, 30)]), 900 * DAY, pays(2, 9, 21), Code::AmountExceedsPeriod),
        (after(with(vec![each(50, Some(1))]), vec![pays(1, 9, 3)]), DAY, pays(2, 9, 2), Code::PaymentsExceedPeriod),
        // The second limit is the narrower one.
        (after(with(vec![daily(50), daily(20)]), vec![]), 0, pays(2, 9, 21), Code::AmountExceedsPeriod),
        // 00:00 on a Friday.
        (
            after(Caps { hours: Some(hours(540, 1_020, 0x7f)), ..total(9) }, vec![]),
            0,
            pays(1, 9, 1),
            Code::OutsideHours,
        ),
        (
            after(Caps { hours: Some(hours(0, 600, 0b110_1111)), ..total(9) }, vec![]),
            0,
            pays(1, 9, 1),
            Code::OutsideHours,
        ),
        (
            after(Caps { hours: Some(hours(1_320, 360, 0b110_0111)), ..total(9) }, vec![]),
            0,
            pays(1, 9, 1),
            Code::OutsideHours,
        ),
        (asked(), 0, refused(vec![Limit { amount: None, ..daily(1) }]), Code::LimitInvalid),
        (asked(), 0, refused(vec![daily(1); LIMITS_MAX + 1]), Code::LimitInvalid),
        (asked(), 0, refused(vec![rolling(59, 1, 1)]), Code::LimitInvalid),
        (asked(), 0, refused(vec![rolling(u32::MAX, 1, 1)]), Code::LimitInvalid),
        (asked(), 0, refused(vec![monthly(0)]), Code::LimitInvalid),
        (asked(), 0, refused(vec![monthly(32)]), Code::LimitInvalid),
        (asked(), 0, opened(Caps { hours: Some(hours(60, 60, 1)), ..total(9) }), Code::LimitInvalid),
        (asked(), 0, opened(Caps { hours: Some(hours(60, 1_441, 1)), ..total(9) }), Code::LimitInvalid),
        (asked(), 0, opened(Caps { hours: Some(hours(1_440, 60, 1)), ..total(9) }), Code::LimitInvalid),
        (asked(), 0, opened(Caps { hours: Some(hours(1, 60, 0)), ..total(9) }), Code::LimitInvalid),
        (asked(), 0, opened(Caps { hours: Some(hours(1, 60, 0x80)), ..total(9) }), Code::LimitInvalid),
    ]
}

/// held, posted, count
type Figures = (u128, u128, u64);

/// What stands in the window of a node's first limit on a day, counted from the stream's first.
fn day(memory: &mut Memory, node: u8, number: i64) -> Figures {
    let limit = daily(1);
    let when = START.plus_micros(number * DAY * 1_000_000);
    let key = counted(mandate(node), 0, &limit, &"shop".parse().unwrap(), when).unwrap().written;
    memory.view.windows.load(key.clone(), None);
    let found = memory.view.windows.find(&key).unwrap();
    found.map_or((0, 0, 0), |window| (window.held.get(), window.posted.get(), window.count))
}

fn done(memory: &mut Memory, seconds: i64, request: &Request) {
    let told = memory.run(at(seconds), request);
    assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
}

fn opened_with(caps: Caps) -> Memory {
    let mut memory = opened();
    opens(9, caps).iter().for_each(|request| done(&mut memory, 0, request));
    memory
}

/// Whatever becomes of a hold moves the windows of the day on which it was reserved.
#[test]
fn the_table_row_by_row() {
    let transaction: RailReference = "0x77".parse().unwrap();
    let settle = |units| on(Command::Settle { spend: spend(1), seen: seen(units), finalized: FINAL });
    let settle_young = |units| on(Command::Settle { spend: spend(1), seen: seen(units), finalized: FINAL - 1 });
    let taken = on(Command::Unsettle { spend: spend(1), proof: taken_back(0) });
    let expire = on(Command::Expire { spend: spend(1) });
    let doubt = on(Command::Doubt { spend: spend(1) });
    let submit = on(Command::Submit { spend: spend(1), transaction: transaction.clone() });
    let misspend = on(Command::Misspend { spend: spend(1), transaction });
    let release = on(Command::Release { spend: spend(1), proof: ReleaseProof::Unused(unused(VALID_BEFORE)) });
    // What happens the day after, and what then stands in yesterday's window: held, posted, count.
    let rows: Vec<(&str, Vec<Request>, Figures)> = vec![
        ("void", vec![void(1)], (0, 0, 0)),
        ("expiry", vec![expire], (0, 0, 0)),
        ("signed", vec![commit(1)], (40, 0, 1)),
        ("reported", vec![commit(1), submit.clone()], (40, 0, 1)),
        ("unknown", vec![commit(1), doubt.clone()], (40, 0, 1)),
        ("settled", vec![commit(1), settle(40)], (0, 40, 1)),
        ("taken back by the chain", vec![commit(1), settle_young(40), taken.clone()], (40, 0, 1)),
        ("and settled again", vec![commit(1), settle_young(40), taken, settle(40)], (0, 40, 1)),
        ("settled after a report", vec![commit(1), submit, settle(40)], (0, 40, 1)),
        ("found", vec![commit(1), doubt.clone(), settle(40)], (0, 40, 1)),
        ("released by proof", vec![commit(1), release.clone()], (0, 0, 0)),
        ("released from doubt", vec![commit(1), doubt, release], (0, 0, 0)),
        ("spent otherwise", vec![commit(1), misspend], (40, 0, 1)),
    ];
    for (name, steps, yesterday) in rows {
        let mut memory = opened_with(with(vec![daily(50)]));
        let first = Hold { expires_at: at(2 * DAY), ..hold(1, mandate(9), 40) };
        done(&mut memory, DAY - 1, &holds(first));
        assert_eq!(day(&mut memory, 9, 0), (40, 0, 1), "{name}");
        for step in &steps {
            // An expiry comes when it is due.
            let seconds = if matches!(step.command, Command::Expire { .. }) { 2 * DAY } else { DAY + 60 };
            done(&mut memory, seconds, step);
        }
        assert_eq!(day(&mut memory, 9, 0), yesterday, "{name}: the day of the reservation");
        assert_eq!(day(&mut memory, 9, 1), (0, 0, 0), "{name}: the day of the event");
        // The new day is whole, whatever yesterday came to.
        let next = memory.run(at(DAY + 90).max(Micros(memory.view.head.last_at.unwrap().0)), &pays(2, 9, 50));
        assert!(matches!(next, Told::New(_)), "{name}: {next:?}");
    }
}

#[test]
fn room_comes_back_with_a_void_and_not_with_a_settlement() {
    let mut memory = opened_with(with(vec![daily(50)]));
    done(&mut memory, 0, &pays(1, 9, 50));
    assert!(matches!(memory.run(at(1), &pays(2, 9, 1)), Told::Rejected(Rejection::AmountExceedsPeriod { .. })));
    done(&mut memory, 2, &void(1));
    done(&mut memory, 3, &pays(3, 9, 50));
    done(&mut memory, 4, &on(Command::Commit { spend: spend(3) }));
    done(&mut memory, 5, &on(Command::Settle { spend: spend(3), seen: seen(50), finalized: FINAL }));
    let told = memory.run(at(6), &pays(4, 9, 1));
    let Told::Rejected(rejection) = told else { panic!("{told:?}") };
    let text = rejection.to_string();
    assert!(text.contains("a day (America/Los_Angeles)") && text.contains("0 of 50"), "{text}");
    // The key keeps its answer the day after; another one pays.
    assert_eq!(memory.run(at(DAY), &pays(4, 9, 1)), Told::Rejected(rejection));
    done(&mut memory, DAY, &pays(5, 9, 1));
}

#[test]
fn a_parents_period_binds_all_of_its_children_together() {
    let mut memory = opened();
    let node = crate::id::BudgetId([0xe7; 32]);
    done(&mut memory, 0, &open(node, Some(PERSON), BudgetKind::Person, with(vec![daily(50)]), None));
    for number in [9, 10] {
        done(&mut memory, 0, &propose(number));
        done(&mut memory, 0, &decide(number, Answer::Approve));
        done(&mut memory, 0, &open(mandate(number), Some(node), BudgetKind::Mandate, total(500), Some(number)));
    }
    done(&mut memory, 1, &pays(1, 9, 30));
    let told = memory.run(at(2), &pays(2, 10, 21));
    assert!(
        matches!(&told, Told::Rejected(Rejection::AmountExceedsPeriod { budget, available, .. })
            if *budget == node && available.get() == 20),
        "{told:?}"
    );
    done(&mut memory, 3, &pays(3, 10, 20));
    done(&mut memory, DAY, &pays(4, 10, 50));
    let wider = open(mandate(11), Some(node), BudgetKind::Mandate, with(vec![daily(51)]), Some(11));
    done(&mut memory, DAY, &propose(11));
    assert!(
        matches!(memory.run(at(DAY), &wider), Told::Rejected(Rejection::CapExceedsParent { cap, .. }) if cap.get() == 50)
    );
}

#[test]
fn each_payee_has_a_room_of_its_own() {
    let mut memory = opened_with(with(vec![to_each(50)]));
    done(&mut memory, 0, &to("shop", 1, 9, 50));
    assert!(matches!(memory.run(at(1), &to("shop", 2, 9, 1)), Told::Rejected(Rejection::AmountExceedsPeriod { .. })));
    done(&mut memory, 1, &to("other", 3, 9, 50));
}

/// In no six hundred seconds is more paid than the limit, and after a part more there is room again.
#[test]
fn a_rolling_window_rolls() {
    let mut memory = opened_with(with(vec![rolling(600, 50, 9)]));
    done(&mut memory, 10, &pays(1, 9, 25));
    done(&mut memory, 300, &pays(2, 9, 25));
    for seconds in [301, 599, 600, 609] {
        let told = memory.run(at(seconds), &pays(u8::try_from(seconds % 100).unwrap() + 20, 9, 1));
        assert!(matches!(told, Told::Rejected(Rejection::AmountExceedsPeriod { .. })), "at {seconds}: {told:?}");
    }
    done(&mut memory, 10 + 600 + 25, &pays(3, 9, 25));
    assert!(matches!(memory.run(at(700), &pays(4, 9, 1)), Told::Rejected(Rejection::AmountExceedsPeriod { .. })));
    done(&mut memory, 300 + 600 + 25, &pays(5, 9, 25));
}

fn instant(text: &str) -> Micros {
    Micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn place(period: &Period, text: &str) -> WindowKey {
    let limit = Limit { period: period.clone(), each_payee: false, amount: Some(Amount::new(1)), payments: None };
    counted(PERSON, 0, &limit, &"shop".parse().unwrap(), instant(text)).unwrap().written
}

/// Pairs of instants with whether they are of one window.
#[test]
fn calendars_begin_and_end_where_the_zones_clocks_say() {
    let zone = |name: &str| name.parse().unwrap();
    let berlin = || zone("Europe/Berlin");
    let cases = [
        (Period::Day(zone("UTC")), "2027-01-15T00:00:00Z", "2027-01-15T23:59:59.999999Z", true),
        (Period::Day(zone("UTC")), "2027-01-15T23:59:59.999999Z", "2027-01-16T00:00:00Z", false),
        // 23 hours: the clocks go forward.
        (Period::Day(berlin()), "2027-03-27T23:00:00Z", "2027-03-28T21:59:59Z", true),
        (Period::Day(berlin()), "2027-03-28T21:59:59Z", "2027-03-28T22:00:00Z", false),
        // 25 hours, the hour from two to three twice.
        (Period::Day(berlin()), "2027-10-30T22:00:00Z", "2027-10-31T22:59:59Z", true),
        (Period::Day(berlin()), "2027-10-31T22:59:59Z", "2027-10-31T23:00:00Z", false),
        // A day that was left out: after 29 December came the 31st.
        (Period::Day(zone("Pacific/Apia")), "2011-12-30T09:59:59Z", "2011-12-30T10:00:00Z", false),
        (Period::Day(zone("Asia/Kolkata")), "2027-01-14T18:30:00Z", "2027-01-15T18:29:59Z", true),
        // Sunday and Monday; the last days of a year and the first of the next in one ISO week.
        (Period::Week(zone("UTC")), "2027-01-17T23:59:59Z", "2027-01-18T00:00:00Z", false),
        (Period::Week(zone("UTC")), "2027-01-18T00:00:00Z", "2027-01-24T23:59:59Z", true),
        (Period::Week(zone("UTC")), "2026-12-28T00:00:00Z", "2027-01-03T23:59:59Z", true),
        (Period::Month(zone("UTC"), 1), "2027-02-01T00:00:00Z", "2027-02-28T23:59:59Z", true),
        (Period::Month(zone("UTC"), 1), "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", false),
        // From the 31st: 31 January to 27 February, 28 February to 30 March.
        (Period::Month(zone("UTC"), 31), "2027-01-31T00:00:00Z", "2027-02-27T23:59:59Z", true),
        (Period::Month(zone("UTC"), 31), "2027-02-27T23:59:59Z", "2027-02-28T00:00:00Z", false),
        (Period::Month(zone("UTC"), 31), "2027-02-28T00:00:00Z", "2027-03-30T23:59:59Z", true),
        (Period::Month(zone("UTC"), 31), "2027-03-30T23:59:59Z", "2027-03-31T00:00:00Z", false),
        (Period::Month(zone("UTC"), 31), "2028-02-28T00:00:00Z", "2028-02-29T00:00:00Z", false),
        (Period::Month(zone("UTC"), 15), "2026-12-15T00:00:00Z", "2027-01-14T23:59:59Z", true),
        (Period::Year(berlin()), "2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z", false),
        (Period::Year(berlin()), "2026-12-31T23:00:00Z", "2027-12-31T22:59:59Z", true),
        (Period::Day(zone("UTC")), "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", false),
    ];
    for (period, one, two, same) in cases {
        assert_eq!(place(&period, one) == place(&period, two), same, "{period}: {one} and {two}");
    }
}

#[test]
fn hours_go_past_midnight_and_belong_to_the_day_on_which_they_begin() {
    let night = Hours { zone: "Europe/Berlin".parse().unwrap(), days: 0b001_0000, from: 22 * 60, to: 6 * 60 };
    night.check().unwrap();
    // Friday evening to Saturday morning. Berlin is an hour ahead in January.
    for (text, within) in [
        ("2027-01-15T20:59:59Z", false),
        ("2027-01-15T21:00:00Z", true),
        ("2027-01-16T04:59:59Z", true),
        ("2027-01-16T05:00:00Z", false),
        ("2027-01-16T21:00:00Z", false),
        ("2027-01-15T04:00:00Z", false),
    ] {
        assert_eq!(night.contain(instant(text)).unwrap(), within, "{text}");
    }
    assert_eq!(night.to_string(), "Fri 22:00-06:00 (Europe/Berlin)");
    let sunday = Hours { days: 0b100_0000, ..night };
    assert!(sunday.contain(instant("2027-01-18T03:00:00Z")).unwrap(), "Sunday's night ends on Monday");
}

#[test]
fn a_zone_is_one_of_the_database() {
    for text in ["", "Mars/Olympus", "../../etc/passwd", "UTC+25", &"x".repeat(500)] {
        let refused = text.parse::<crate::window::Zone>().unwrap_err();
        assert!(matches!(&refused, LimitError::Zone(shown) if shown.len() <= 64), "{refused}");
    }
    // No calendar reaches there: nothing is paid, nothing panics.
    assert!(counted(PERSON, 0, &daily(1), &"shop".parse().unwrap(), Micros(i64::MAX)).is_err());
    let forever = counted(PERSON, 0, &rolling(600, 1, 1), &"shop".parse().unwrap(), Micros(i64::MIN)).unwrap();
    assert_eq!(forever.read.len(), 25);
}
