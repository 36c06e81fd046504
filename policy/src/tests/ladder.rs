//! Ladders: nonsense first, then what a level adds to the rules, and that nothing rises by itself.

use super::*;
use crate::autonomy::TTL_SECONDS;

const TRIAL: &str = "[[autonomy.levels]]\nname = \"trial\"\nverb = \"require_approval\"\nttl_seconds = 600\n";
const SMALL: &str = "[[autonomy.levels]]\nname = \"small\"\nverb = \"allow\"\nafter = 3\n\
    amounts = [{ currency = \"USD\", up_to = \"0.10\" }]\n";

/// With one rule that is about nothing which is paid here: a document without rules makes no sense.
fn ladder(levels: &str) -> String {
    format!("[[rules]]\nname = \"not_the_bank\"\nverb = \"deny\"\nwhen.payees = [\"bank\"]\n{levels}")
}

fn at(level: usize) -> Paid {
    Paid { standing: Standing { level, has_drifted: false }, ..paid() }
}

fn drifted(level: usize) -> Paid {
    Paid { standing: Standing { level, has_drifted: true }, ..paid() }
}

#[test]
fn a_ladder_that_makes_no_sense_is_refused() {
    let level = |name: &str, more: &str| format!("[[autonomy.levels]]\nname = \"{name}\"\n{more}\n");
    let many: String = (0..9).map(|n| level(&format!("l{n}"), "verb = \"allow\"\nafter = 1")).collect();
    for (text, code) in [
        ("[autonomy]\nlevels = []\n".to_owned(), "ladder_empty"),
        (TRIAL.to_owned(), "ladder_empty"),
        (format!("{TRIAL}{many}"), "ladder_empty"),
        ("[autonomy]\n".to_owned(), "policy_unreadable"),
        (format!("[autonomy]\non_drift = \"forgive\"\n{TRIAL}{SMALL}"), "on_drift_unknown"),
        (format!("[autonomy]\non_drift = true\n{TRIAL}{SMALL}"), "policy_unreadable"),
        (format!("{TRIAL}after = 1\n{SMALL}"), "member_without_effect"),
        (format!("{TRIAL}{}", SMALL.replace("after = 3\n", "")), "after_missing"),
        (format!("{TRIAL}{}", SMALL.replace("after = 3", "after = 0")), "after_out_of_range"),
        (format!("{TRIAL}{}", SMALL.replace("after = 3", "after = 401")), "after_out_of_range"),
        (format!("{TRIAL}{}", SMALL.replace("after = 3", "after = -1")), "policy_unreadable"),
        (format!("{TRIAL}{}", SMALL.replace("small", "trial")), "name_twice"),
        (format!("{TRIAL}{}", SMALL.replace("small", "Small")), "name_malformed"),
        // A step up never asks more, and something is paid on each.
        (format!("{}{}after = 1\n", SMALL.replace("after = 3\n", ""), TRIAL), "ladder_does_not_rise"),
        (format!("{}{SMALL}", level("never", "verb = \"deny\"")), "ladder_does_not_rise"),
        // Members of rules that a level does not have.
        (format!("{TRIAL}{SMALL}builds = [\"x\"]\n"), "policy_unreadable"),
        (format!("{TRIAL}{SMALL}approvers = [\"agent\"]\n"), "policy_unreadable"),
        (format!("{TRIAL}{SMALL}sample = \"2\"\n"), "sample_malformed"),
        (format!("{TRIAL}{SMALL}overdue = \"suspend\"\n"), "member_without_effect"),
    ] {
        let findings = read(&ladder(&text)).expect_err(&text);
        assert!(findings.iter().any(|finding| finding.code == code), "{code}: {findings:?}\n{text}");
    }
}

#[test]
fn a_level_says_what_no_rule_does_and_lets_nothing_pass_that_one_stops() {
    let text = ladder(&format!("{TRIAL}{SMALL}"));
    let judged = |paid: &Paid| {
        let judged = judge(&policy(&text), paid);
        (judged.verb, judged.decided_by)
    };
    assert_eq!(judged(&at(0)), ("require_approval", Some("autonomy/trial".into())));
    assert_eq!(judged(&at(1)), ("allow", Some("autonomy/small".into())));
    // Beyond the level's amount, in a currency that it does not name, and on a level that is none.
    for beyond in [Paid { amount: "0.11", ..at(1) }, Paid { currency: "EUR", ..at(1) }] {
        assert_eq!(judged(&beyond), ("require_approval", Some("autonomy/beyond".into())));
    }
    assert_eq!(judged(&at(9)), ("require_approval", Some("autonomy/trial".into())), "none that is known is the first");
    let bank = Paid { payee: "bank".parse().unwrap(), ..at(1) };
    assert_eq!(judged(&bank), ("deny", Some("not_the_bank".into())));
    // A rule that lets everything pass does not lift a level that asks.
    let open = format!("{text}[[rules]]\nname = \"all\"\nverb = \"allow\"\n");
    assert_eq!(verb(&open, &at(0)), "require_approval");
    assert_eq!(verb(&open, &Paid { amount: "0.11", ..at(1) }), "require_approval");
    let strict = format!("{text}[[rules]]\nname = \"all\"\nverb = \"step_up\"\nttl_seconds = 60\n");
    assert_eq!(verb(&strict, &at(1)), "step_up");
    let Verdict::Ask(asking) = judge(&policy(&text), &Paid { amount: "9", ..at(1) }).verdict else { panic!() };
    assert_eq!((asking.needed, asking.ttl_seconds), (1, Some(TTL_SECONDS)));
    assert!(asking.approvers.is_empty(), "whoever gave the mandate");
}

#[test]
fn another_build_is_asked_about_or_refused_as_the_ladder_says() {
    let text = |on_drift: &str| ladder(&format!("[autonomy]\n{on_drift}\n{TRIAL}{SMALL}"));
    for (on_drift, first, small) in [
        ("", "require_approval", "step_up"),
        ("on_drift = \"step_up\"", "require_approval", "step_up"),
        ("on_drift = \"deny\"", "deny", "deny"),
        ("on_drift = \"notify\"", "require_approval", "allow"),
    ] {
        assert_eq!(
            (verb(&text(on_drift), &drifted(0)), verb(&text(on_drift), &drifted(1))),
            (first, small),
            "{on_drift}"
        );
        assert_eq!(verb(&text(on_drift), &at(1)), "allow", "{on_drift}");
    }
    let Verdict::Ask(asking) = judge(&policy(&text("")), &drifted(0)).verdict else { panic!() };
    assert_eq!(asking.passkey, Passkey::Demanded, "a step up stays beside the approval");
}

#[test]
fn nobody_rises_without_every_step_below_being_allowed() {
    let big = "[[autonomy.levels]]\nname = \"big\"\nverb = \"allow\"\nafter = 5\n";
    let policy = policy(&ladder(&format!("{TRIAL}{SMALL}{big}")));
    let ladder = policy.ladder().unwrap();
    assert_eq!(ladder.level(|_| false), 0);
    assert_eq!(ladder.level(|level| level == 2), 0, "a step that is skipped");
    assert_eq!(ladder.level(|level| level == 1), 1);
    assert_eq!(ladder.level(|_| true), 2);
    assert_eq!([0, 2, 3, 400].map(|clean| ladder.next(0, clean)), [None, None, Some(1), Some(1)]);
    assert_eq!([4, 5].map(|clean| ladder.next(1, clean)), [None, Some(2)]);
    assert_eq!((ladder.next(2, u32::MAX), ladder.next(usize::MAX, u32::MAX)), (None, None));
}

#[test]
fn a_document_without_a_ladder_has_the_digest_that_it_had() {
    let plain = policy(&ladder(""));
    assert!(plain.ladder().is_none() && !plain.canonical().contains("autonomy"));
    let with = policy(&ladder(&format!("{TRIAL}{SMALL}")));
    assert_ne!(plain.digest(), with.digest());
    for (from, to) in [("after = 3", "after = 4"), ("0.10", "0.20"), ("\"small\"", "\"tiny\""), ("600", "601")] {
        let other = policy(&ladder(&format!("{TRIAL}{SMALL}")).replace(from, to));
        assert_ne!(with.digest(), other.digest(), "{from}");
    }
    let drift = policy(&ladder(&format!("[autonomy]\non_drift = \"deny\"\n{TRIAL}{SMALL}")));
    assert_ne!(with.digest(), drift.digest());
}
