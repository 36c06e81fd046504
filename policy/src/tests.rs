#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod ladder;

use std::collections::BTreeSet;

use ledger::id::{BudgetId, Digest, Micros, PayeeId, PrincipalId};
use ledger::origin::Build;

use super::*;

const HEAD: &str = "purser_policy = 1\nversion = \"1\"\n";

fn read(rules: &str) -> Result<Policy, Vec<Finding>> {
    Policy::read(&format!("{HEAD}{rules}"))
}

fn policy(rules: &str) -> Policy {
    read(rules).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

/// What is paid where a test says nothing else: one cent over x402, by an agent, on a Wednesday noon, not the first.
struct Paid {
    rail: Rail,
    currency: &'static str,
    amount: &'static str,
    payee: PayeeId,
    agent: PrincipalId,
    build: Option<Build>,
    mandates: Vec<BudgetId>,
    at: Micros,
    is_first: bool,
    is_vouched: bool,
    standing: Standing,
}

fn paid() -> Paid {
    Paid {
        rail: Rail::X402,
        currency: "USD",
        amount: "0.01",
        payee: "shop".parse().unwrap(),
        agent: "agent".parse().unwrap(),
        build: None,
        mandates: vec![BudgetId([1; 32])],
        // 2026-12-02T12:00:00Z
        at: Micros::from_seconds(1_796_212_800),
        is_first: false,
        is_vouched: true,
        standing: Standing::default(),
    }
}

fn judge(policy: &Policy, paid: &Paid) -> Judgement {
    let Paid { rail, currency, amount, payee, agent, build, mandates, at, is_first, is_vouched, standing } = paid;
    let facts = Facts {
        rail: *rail,
        currency,
        amount: amount.parse().unwrap(),
        payee,
        agent,
        build: *build,
        mandates,
        at: *at,
        is_first: *is_first,
        is_vouched: *is_vouched,
        standing: *standing,
    };
    policy.judge(&facts).unwrap()
}

fn verb(rules: &str, paid: &Paid) -> &'static str {
    judge(&policy(rules), paid).verb
}

/// One rule that allows on this condition: what does not meet it has to be asked for.
fn allowed(when: &str, paid: &Paid) -> bool {
    let rule = format!("[[rules]]\nname = \"one\"\nverb = \"allow\"\n[rules.when]\n{when}\n");
    let judged = judge(&policy(&rule), paid);
    assert_eq!(judged.fired.len(), usize::from(judged.verb == "allow"));
    judged.verb == "allow"
}

#[test]
fn nonsense_is_refused_with_its_line() {
    let rule = |more: &str| format!("[[rules]]\nname = \"one\"\n{more}");
    let allow = |when: &str| rule(&format!("verb = \"allow\"\n[rules.when]\n{when}"));
    let approval = |more: &str| rule(&format!("verb = \"require_approval\"\n{more}"));
    let deny_all = "[[rules]]\nname = \"never\"\nverb = \"deny\"\n";
    for (text, line, code) in [
        (String::new(), 1, "policy_empty"),
        ("rules = []".into(), 1, "policy_empty"),
        ("rules = [".into(), 3, "policy_unreadable"),
        (rule("verb = \"allow\"\nuser_confirmed = true"), 6, "policy_unreadable"),
        (allow("reason = \"the user said so\""), 7, "policy_unreadable"),
        ("[[rules]]\nverb = \"allow\"".into(), 3, "policy_unreadable"),
        ("[[rules]]\nname = \"One\"\nverb = \"allow\"".into(), 4, "name_malformed"),
        ("[[rules]]\nname = \"\"\nverb = \"allow\"".into(), 4, "name_malformed"),
        (rule("verb = \"permit\""), 5, "verb_unknown"),
        (rule("verb = \"Allow\""), 5, "verb_unknown"),
        // Controls that control nothing.
        (rule("verb = \"allow\"\nreview_seconds = 3600"), 4, "review_cannot_reverse"),
        (rule("verb = \"allow\"\nreview_seconds = 3600\nwhen.rails = [\"x402\"]"), 4, "review_cannot_reverse"),
        (rule("verb = \"allow\"\nreview_seconds = 3600\nwhen.rails = [\"ap2\", \"acp\"]"), 4, "review_cannot_reverse"),
        (rule("verb = \"allow\"\nreview_seconds = 3600\nwhen.reversible = false"), 4, "review_cannot_reverse"),
        (rule("verb = \"allow\"\nreview_seconds = 0\nwhen.rails = [\"acp\"]"), 6, "seconds_out_of_range"),
        (rule("verb = \"allow\"\nsample = \"0\""), 6, "sample_malformed"),
        (rule("verb = \"allow\"\nsample = \"1.1\""), 6, "sample_malformed"),
        (rule("verb = \"allow\"\nsample = \"0.0000001\""), 6, "sample_malformed"),
        (rule("verb = \"allow\"\nsample = \"-0.5\""), 6, "sample_malformed"),
        (rule("verb = \"allow\"\nsample = 0.5"), 6, "policy_unreadable"),
        (
            rule("verb = \"allow\"\nsample = \"0.5\"\nreview_seconds = 1\nwhen.rails = [\"acp\"]"),
            6,
            "member_without_effect",
        ),
        (rule("verb = \"allow\"\nsample = \"0.5\"\nsample_seconds = 0"), 7, "seconds_out_of_range"),
        (rule("verb = \"allow\"\nsample = \"0.5\"\nsample_seconds = 31622401"), 7, "seconds_out_of_range"),
        (rule("verb = \"allow\"\nsample = \"0.5\"\noverdue = \"deny\""), 7, "overdue_unknown"),
        (rule("verb = \"allow\"\nsample = \"0.5\"\noverdue = \"Suspend\""), 7, "overdue_unknown"),
        (rule("verb = \"allow\"\nsample = \"0.5\"\noverdue = true"), 7, "policy_unreadable"),
        // How somebody looks, where nobody does.
        (rule("verb = \"allow\"\noverdue = \"suspend\""), 6, "member_without_effect"),
        (rule("verb = \"deny\"\noverdue = \"suspend\""), 6, "member_without_effect"),
        (rule("verb = \"allow\"\nsample_seconds = 60"), 6, "member_without_effect"),
        (
            rule("verb = \"allow\"\nreview_seconds = 60\nsample_seconds = 60\nwhen.rails = [\"acp\"]"),
            7,
            "member_without_effect",
        ),
        (rule("verb = \"allow\"\nttl_seconds = 1"), 6, "member_without_effect"),
        (rule("verb = \"deny\"\nsample = \"0.5\""), 6, "member_without_effect"),
        (rule("verb = \"step_up\"\nk = 1\nttl_seconds = 1"), 6, "member_without_effect"),
        // Questions that nobody can answer.
        (approval(""), 5, "ttl_missing"),
        (rule("verb = \"step_up\""), 5, "ttl_missing"),
        (rule("verb = \"step_up\"\nttl_seconds = 0"), 6, "seconds_out_of_range"),
        (approval("ttl_seconds = 0"), 6, "seconds_out_of_range"),
        (approval("ttl_seconds = 604801"), 6, "seconds_out_of_range"),
        (approval("ttl_seconds = -1"), 6, "policy_unreadable"),
        (approval("ttl_seconds = 60\nk = 0"), 7, "quorum_impossible"),
        (approval("ttl_seconds = 60\nk = 2"), 7, "quorum_impossible"),
        (approval("ttl_seconds = 60\napprovers = [\"a\", \"b\"]\nk = 3"), 8, "quorum_impossible"),
        (approval("ttl_seconds = 60\napprovers = [\"a\", \"b\"]"), 5, "quorum_missing"),
        (approval("ttl_seconds = 60\napprovers = [\"a\", \"a\"]\nk = 1"), 7, "value_twice"),
        (approval("ttl_seconds = 60\napprovers = []\nk = 1"), 7, "list_empty"),
        (approval("ttl_seconds = 60\napprovers = [\"a b\"]\nk = 1"), 7, "value_malformed"),
        // Conditions that never hold.
        (allow("rails = []"), 7, "list_empty"),
        (allow("rails = [\"sepa\"]"), 7, "value_malformed"),
        (allow("rails = [\"x402\"]\nreversible = true"), 4, "rule_never_fires"),
        (allow("rails = [\"acp\"]\nreversible = false"), 4, "rule_never_fires"),
        (allow("categories = [\"toys\"]"), 4, "category_unknown"),
        (allow("payees = []"), 7, "list_empty"),
        (allow("agents = [\"a\", \"a\"]"), 7, "value_twice"),
        (allow("builds = [\"sha256:12\"]"), 7, "value_malformed"),
        (allow("mandates = [\"12\"]"), 7, "value_malformed"),
        (allow("amounts = []"), 7, "list_empty"),
        (allow("amounts = [{ currency = \"USD\" }]"), 7, "amount_range_empty"),
        (allow("amounts = [{ currency = \"USD\", above = \"2\", up_to = \"2.00\" }]"), 7, "amount_range_empty"),
        (allow("amounts = [{ currency = \"USDC\", up_to = \"2\" }]"), 7, "currency_without_exponent"),
        (allow("amounts = [{ currency = \"XAU\", up_to = \"2\" }]"), 7, "currency_without_exponent"),
        (
            allow("amounts = [{ currency = \"USD\", up_to = \"2\" }, { currency = \"USD\", above = \"5\" }]"),
            7,
            "currencies_overlap",
        ),
        (allow("amounts = [{ currency = \"USD\", up_to = 2.0 }]"), 7, "policy_unreadable"),
        (allow("amounts = [{ currency = \"USD\", up_to = \"-2\" }]"), 7, "amount_malformed"),
        (allow("amounts = [{ currency = \"USD\", up_to = \"1e3\" }]"), 7, "amount_malformed"),
        (allow("amounts = [{ currency = \"USD\", up_to = \"1,5\" }]"), 7, "amount_malformed"),
        (allow("amounts = [{ currency = \"USD\", up_to = \"0.000000001\" }]"), 7, "amount_malformed"),
        (allow("amounts = [{ currency = \"JPY\", up_to = \"0.0000001\" }]"), 7, "amount_malformed"),
        (allow("hours = { zone = \"Europe/Berlin\", from = \"08:00\", to = \"08:00\" }"), 7, "hours_malformed"),
        (allow("hours = { zone = \"Mars/Base\", from = \"08:00\", to = \"09:00\" }"), 7, "hours_malformed"),
        (allow("hours = { zone = \"UTC\", from = \"8\", to = \"09:00\" }"), 7, "hours_malformed"),
        (allow("hours = { zone = \"UTC\", from = \"08:00\", to = \"24:01\" }"), 7, "hours_malformed"),
        (
            allow("hours = { zone = \"UTC\", from = \"08:00\", to = \"09:00\", days = [\"montag\"] }"),
            7,
            "value_malformed",
        ),
        // Rules beside each other.
        (format!("{}\n{}", rule("verb = \"allow\""), rule("verb = \"allow\"")), 7, "name_twice"),
        (format!("{deny_all}{}", rule("verb = \"allow\"")), 7, "rule_shadowed"),
        (format!("{}\n{deny_all}", allow("payees = [\"shop\"]")), 4, "rule_shadowed"),
        (
            format!(
                "[[rules]]\nname = \"a\"\nverb = \"deny\"\nwhen.rails = [\"x402\"]\n{}",
                allow("rails = [\"x402\"]\namounts = [{ currency = \"USD\", up_to = \"1\" }]")
            ),
            8,
            "rule_shadowed",
        ),
        (
            format!(
                "[[rules]]\nname = \"a\"\nverb = \"deny\"\nwhen.reversible = false\n{}",
                allow("rails = [\"x402\"]")
            ),
            8,
            "rule_shadowed",
        ),
        (
            format!(
                "categories.toys = [\"bear\", \"shop\"]\n[[rules]]\nname = \"a\"\nverb = \"deny\"\nwhen.categories = [\"toys\"]\n{}",
                allow("payees = [\"bear\"]")
            ),
            9,
            "rule_shadowed",
        ),
        (
            format!(
                "[[rules]]\nname = \"a\"\nverb = \"require_approval\"\nttl_seconds = 9\n{}",
                allow("first_payment = true")
            ),
            8,
            "rule_shadowed",
        ),
    ] {
        let findings = read(&text).expect_err(&text);
        let found = findings.iter().any(|finding| (finding.line, finding.code) == (line, code));
        assert!(found, "{code} in line {line} was expected of\n{HEAD}{text}\n{findings:#?}");
        assert!(findings[0].to_string().starts_with(&format!("line {}: ", findings[0].line)));
    }
    for (head, code) in [
        ("", "policy_unreadable"),
        ("version = \"1\"\n", "policy_unreadable"),
        ("purser_policy = 2\nversion = \"1\"\n", "policy_format_unknown"),
        ("purser_policy = 1\nversion = \"\"\n", "policy_version_malformed"),
        ("purser_policy = 1\nversion = \"a b\"\n", "policy_version_malformed"),
        ("purser_policy = 1\nversion = 1\n", "policy_unreadable"),
    ] {
        let findings = Policy::read(&format!("{head}{}", rule("verb = \"deny\""))).unwrap_err();
        assert_eq!(findings[0].code, code, "{head}");
    }
    let long = format!("{HEAD}# {}", "x".repeat(300_000));
    assert_eq!(Policy::read(&long).unwrap_err()[0].code, "policy_too_long");
    let many: String = (0..257).map(|n| format!("[[rules]]\nname = \"r{n}\"\nverb = \"deny\"\n")).collect();
    assert_eq!(read(&many).unwrap_err()[0].code, "policy_too_long");
}

#[test]
fn what_makes_sense_is_taken() {
    for text in [
        "[[rules]]\nname = \"a\"\nverb = \"deny\"",
        "[[rules]]\nname = \"a\"\nverb = \"allow\"\nreview_seconds = 3600\nwhen.rails = [\"acp\"]",
        "[[rules]]\nname = \"a\"\nverb = \"allow\"\nreview_seconds = 3600\nwhen.reversible = true",
        "[[rules]]\nname = \"a\"\nverb = \"allow\"\nsample = \"0.000001\"",
        "[[rules]]\nname = \"a\"\nverb = \"allow\"\nsample = \"1\"",
        "[[rules]]\nname = \"a\"\nverb = \"require_approval\"\nttl_seconds = 1\napprovers = [\"a\", \"b\"]\nk = 2",
        // A passkey stays beside an approval, and a deny of less shadows nothing.
        "[[rules]]\nname = \"a\"\nverb = \"require_approval\"\nttl_seconds = 1\n\
         [[rules]]\nname = \"b\"\nverb = \"step_up\"\nttl_seconds = 1\nwhen.first_payment = true",
        "[[rules]]\nname = \"a\"\nverb = \"deny\"\nwhen.payees = [\"x\"]\n[[rules]]\nname = \"b\"\nverb = \"allow\"",
        "[[rules]]\nname = \"a\"\nverb = \"deny\"\nwhen.amounts = [{ currency = \"USD\", above = \"5\" }]\n\
         [[rules]]\nname = \"b\"\nverb = \"allow\"\nwhen.amounts = [{ currency = \"USD\", above = \"4.99\" }]",
    ] {
        policy(text);
    }
}

#[test]
fn the_strictest_rule_that_fired_decides() {
    let rule = |name: &str, verb: &str| {
        format!("[[rules]]\nname = \"{name}\"\n{verb}\nwhen.agents = [\"agent\", \"{name}\"]\n")
    };
    let verbs = [
        ("allow", "verb = \"allow\""),
        ("allow_sample", "verb = \"allow\"\nsample = \"0.5\""),
        ("allow_review", "verb = \"allow\"\nreview_seconds = 60\nwhen.rails = [\"acp\"]"),
        ("step_up", "verb = \"step_up\"\nttl_seconds = 60"),
        ("require_approval", "verb = \"require_approval\"\nttl_seconds = 60"),
        ("deny", "verb = \"deny\""),
    ];
    let card = Paid { rail: Rail::Acp, ..paid() };
    for (strict, (name, stricter)) in verbs.iter().enumerate() {
        for (other, weaker) in verbs.iter().take(strict + 1).filter(|(other, _)| other != name) {
            for text in [
                format!("{}{}", rule("one", weaker), rule("two", stricter)),
                format!("{}{}", rule("one", stricter), rule("two", weaker)),
            ] {
                let judged = judge(&policy(&text), &card);
                assert_eq!((judged.verb, judged.fired.len()), (*name, 2), "{name} beside {other}");
            }
        }
    }
}

#[test]
fn of_equals_the_one_that_asks_for_more_decides() {
    let approval = |name: &str, k: u16, ttl: u32| {
        format!(
            "[[rules]]\nname = \"{name}\"\nverb = \"require_approval\"\napprovers = [\"a\", \"b\", \"c\"]\nk = {k}\n\
             ttl_seconds = {ttl}\n"
        )
    };
    for (text, expected) in [
        (format!("{}{}", approval("one", 1, 5), approval("two", 2, 900)), "two"),
        (format!("{}{}", approval("one", 2, 900), approval("two", 2, 5)), "two"),
        (format!("{}{}", approval("one", 2, 5), approval("two", 2, 5)), "one"),
        (format!("{}{}", approval("one", 3, 900), approval("two", 2, 5)), "one"),
    ] {
        assert_eq!(judge(&policy(&text), &paid()).decided_by.as_deref(), Some(expected), "{text}");
    }
    let step_up = "[[rules]]\nname = \"s\"\nverb = \"step_up\"\nttl_seconds = 60\n";
    let passkey = |text: &str| match judge(&policy(text), &paid()).verdict {
        Verdict::Ask(asking) => asking.passkey,
        other => panic!("{other:?}"),
    };
    assert_eq!(passkey(&approval("one", 1, 5)), Passkey::AsTheTenantSays);
    assert_eq!(passkey(&approval("one", 2, 5)), Passkey::Demanded, "several are told apart by their keys");
    assert_eq!(passkey(&format!("{}{step_up}", approval("one", 1, 5))), Passkey::Demanded, "a passkey stays demanded");
    assert_eq!(passkey(step_up), Passkey::Demanded);
}

#[test]
fn what_no_rule_is_about_is_asked_for() {
    let judged = judge(&policy("[[rules]]\nname = \"a\"\nverb = \"allow\"\nwhen.payees = [\"other\"]"), &paid());
    let Verdict::Ask(asking) = judged.verdict else { panic!("{judged:?}") };
    assert_eq!((asking.approvers, asking.needed, asking.ttl_seconds), (BTreeSet::new(), 1, None));
    assert_eq!((judged.verb, judged.decided_by, judged.fired), ("require_approval", None, Vec::new()));
}

#[test]
fn each_condition_means_what_it_says() {
    let build: Build = format!("sha256:{}", "7".repeat(64)).parse().unwrap();
    let with = |change: fn(&mut Paid)| {
        let mut paid = paid();
        change(&mut paid);
        paid
    };
    let (mandate, other) = ("01".repeat(32), "02".repeat(32));
    for (when, paid, expected) in [
        ("rails = [\"x402\"]".to_owned(), paid(), true),
        ("rails = [\"acp\", \"ap2\"]".into(), paid(), false),
        ("reversible = false".into(), paid(), true),
        ("reversible = true".into(), paid(), false),
        ("reversible = true".into(), with(|paid| paid.rail = Rail::Acp), true),
        ("reversible = true".into(), with(|paid| paid.rail = Rail::Ap2), false),
        ("payees = [\"shop\"]".into(), paid(), true),
        ("payees = [\"shop2\", \"sho\"]".into(), paid(), false),
        ("agents = [\"agent\"]".into(), paid(), true),
        ("agents = [\"AGENT\"]".into(), paid(), false),
        ("first_payment = true".into(), paid(), false),
        ("first_payment = true".into(), with(|paid| paid.is_first = true), true),
        ("first_payment = false".into(), with(|paid| paid.is_first = true), false),
        (format!("builds = [\"{build}\"]"), paid(), false),
        (format!("builds = [\"{build}\"]"), Paid { build: Some(build), ..paid() }, true),
        (format!("builds = [\"sha256:{}\"]", "8".repeat(64)), Paid { build: Some(build), ..paid() }, false),
        (format!("mandates = [\"{mandate}\"]"), paid(), true),
        (format!("mandates = [\"{other}\"]"), paid(), false),
        (format!("mandates = [\"{other}\"]"), with(|paid| paid.mandates.push(BudgetId([2; 32]))), true),
        ("hours = { zone = \"UTC\", from = \"12:00\", to = \"12:01\", days = [\"wed\"] }".into(), paid(), true),
        ("hours = { zone = \"UTC\", from = \"12:01\", to = \"12:00\" }".into(), paid(), false),
        ("hours = { zone = \"UTC\", from = \"12:00\", to = \"12:01\", days = [\"thu\"] }".into(), paid(), false),
        ("hours = { zone = \"Europe/Berlin\", from = \"12:00\", to = \"12:30\" }".into(), paid(), false),
        ("amounts = [{ currency = \"USD\", up_to = \"0.01\" }]".into(), paid(), true),
        ("amounts = [{ currency = \"USD\", up_to = \"0.00999999\" }]".into(), paid(), false),
        ("amounts = [{ currency = \"USD\", above = \"0.01\" }]".into(), paid(), false),
        ("amounts = [{ currency = \"USD\", above = \"0.00999999\", up_to = \"1\" }]".into(), paid(), true),
        ("amounts = [{ currency = \"EUR\", up_to = \"5\" }]".into(), paid(), false),
        (
            "amounts = [{ currency = \"EUR\", up_to = \"5\" }, { currency = \"USD\", up_to = \"5\" }]".into(),
            paid(),
            true,
        ),
    ] {
        assert_eq!(allowed(&when, &paid), expected, "{when}");
    }
    let toys = "categories.toys = [\"shop\"]\n[[rules]]\nname = \"a\"\nverb = \"deny\"\nwhen.categories = [\"toys\"]";
    assert_eq!(verb(toys, &paid()), "deny");
    assert_eq!(verb(toys, &Paid { payee: "bank".parse().unwrap(), ..paid() }), "require_approval");
}

#[test]
fn the_name_of_a_payee_whom_nobody_vouches_for_lets_nothing_pass() {
    let unknown = Paid { is_vouched: false, is_first: true, ..paid() };
    let rule = |verb: &str| format!("categories.toys = [\"shop\"]\n[[rules]]\nname = \"a\"\n{verb}\n");
    for when in ["when.payees = [\"shop\"]", "when.categories = [\"toys\"]"] {
        for verb in ["verb = \"allow\"", "verb = \"allow\"\nsample = \"1\""] {
            let judged = judge(&policy(&format!("{}{when}", rule(verb))), &unknown);
            assert_eq!((judged.verb, judged.decided_by), ("require_approval", None), "{verb} {when}");
        }
        assert_eq!(verb(&format!("{}{when}", rule("verb = \"allow\"")), &paid()), "allow");
        assert_eq!(verb(&format!("{}{when}", rule("verb = \"deny\"")), &unknown), "deny", "it stops all the same");
        assert_eq!(verb(&format!("{}{when}", rule("verb = \"step_up\"\nttl_seconds = 1")), &unknown), "step_up");
    }
    assert_eq!(
        verb("[[rules]]\nname = \"a\"\nverb = \"allow\"", &unknown),
        "allow",
        "who allows anybody means anybody"
    );
}

#[test]
fn a_digest_is_of_what_is_meant() {
    let text = "[[rules]]\nname = \"a\"\nverb = \"allow\"\nwhen.payees = [\"x\", \"y\"]\n\
        when.amounts = [{ currency = \"USD\", up_to = \"1.50\" }]\n";
    let same = "# the same\n[[rules]]\nverb = \"allow\"\nname = \"a\"\n[rules.when]\npayees = [ \"y\", \"x\" ]\n\
        amounts = [{ up_to = \"1.5\", currency = \"USD\" }]\n";
    assert_eq!(policy(text).digest(), policy(same).digest());
    assert_eq!(policy(text).digest(), Digest::of(policy(text).canonical().as_bytes()));
    for (from, to) in [("1.50", "1.51"), ("\"x\"", "\"z\""), ("\"a\"", "\"b\""), ("allow", "deny")] {
        assert_ne!(policy(text).digest(), policy(&text.replace(from, to)).digest(), "{from}");
    }
    let other = Policy::read(&format!("purser_policy = 1\nversion = \"2\"\n{text}")).unwrap();
    assert_ne!(other.digest(), policy(text).digest(), "another edition");
}

#[test]
fn a_look_is_within_a_week_and_told_where_nothing_else_is_said() {
    let rule = |more: &str| format!("[[rules]]\nname = \"a\"\nverb = \"allow\"\n{more}");
    let card = Paid { rail: Rail::Acp, ..paid() };
    let look = |more: &str| match judge(&policy(&rule(more)), &card).verdict {
        Verdict::Sample(_, look) | Verdict::Review(look) => look,
        other => panic!("{other:?}"),
    };
    let review = "when.reversible = true\nreview_seconds = 60\n";
    assert_eq!(look("sample = \"1\""), Look::SAMPLED);
    assert_eq!(look(review), Look { seconds: 60, overdue: Overdue::Notify });
    assert_eq!(look(&format!("{review}overdue = \"suspend\"")).overdue, Overdue::Suspend);
    let strict = "sample = \"1\"\nsample_seconds = 60\noverdue = \"suspend\"";
    assert_eq!(look(strict), Look { seconds: 60, overdue: Overdue::Suspend });
    // What says nothing more than before is the same document.
    let usual = policy(&rule("sample = \"1\""));
    assert!(!usual.canonical().contains("look"), "{}", usual.canonical());
    assert_eq!(usual.digest(), policy(&rule("sample = \"1\"\noverdue = \"notify\"")).digest());
    assert_ne!(usual.digest(), policy(&rule(strict)).digest());
    assert!(policy(&rule(review)).canonical().contains("\"seconds\":60"));
}

#[test]
fn a_sample_takes_its_share_and_nobody_can_foresee_which() {
    let taken = |rate: u32| (0_u32..20_000).filter(|n| Rate(rate).takes(&Digest::of(&n.to_be_bytes()))).count();
    assert_eq!((taken(0), taken(1_000_000)), (0, 20_000));
    assert!((800..1_200).contains(&taken(50_000)), "{}", taken(50_000));
    assert!(!Rate(999_999).takes(&Digest([0xff; 32])) && Rate(1).takes(&Digest([0; 32])));
}
