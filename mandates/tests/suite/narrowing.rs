//! Handing on: what a child may say under its parent, dimension by dimension, and against the verifier itself.

use ledger::money::Amount;
use mandates::constraint::{
    AgentRecurrence, AllowedInstruments, AllowedMerchants, AllowedPisps, AmountRange, Budget, Constraint,
    ExecutionDate, Frequency, Item, LineItems, Reference, Slot, Written,
};
use mandates::currency::Currency;
use mandates::limits::DELEGATIONS_MAX;
use mandates::mandate::{Mandate, Open, Vct};
use mandates::narrowing::{check, check_line};
use mandates::party::{Instant, Instrument, Merchant, Pisp};
use mandates::rejection::{Ap2Error, Code};
use mandates::verify::{ExpectedFamily, Purchase, verify};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cast::*;

pub fn range(min: Option<u128>, max: u128, currency: &str) -> Constraint {
    let currency = Currency::new(currency).unwrap();
    Constraint::AmountRange(AmountRange { currency, max: Amount::new(max), min: min.map(Amount::new) })
}

pub fn budget(max: u32, currency: &str) -> Constraint {
    Constraint::Budget(Budget { max: max.into(), currency: Currency::new(currency).unwrap() })
}

pub fn often(frequency: Frequency, max_occurrences: Option<u64>) -> Constraint {
    Constraint::AgentRecurrence(AgentRecurrence { frequency, max_occurrences })
}

fn at(not_before: Option<&str>, not_after: Option<&str>) -> Constraint {
    let instant = |text: &str| Instant::parse("execution_date", text).unwrap();
    Constraint::ExecutionDate(ExecutionDate { not_before: not_before.map(instant), not_after: not_after.map(instant) })
}

fn instrument(id: &str, kind: &str, details: Value) -> Instrument {
    let details = details.as_object().unwrap().clone();
    Instrument { id: id.into(), kind: kind.into(), description: None, details }
}

fn instruments(allowed: Vec<Instrument>) -> Constraint {
    Constraint::AllowedInstruments(AllowedInstruments { allowed })
}

fn pisp(name: &str) -> Pisp {
    Pisp { legal_name: name.into(), brand_name: name.into(), domain_name: format!("{name}.example") }
}

fn pisps(names: &[&str]) -> Constraint {
    Constraint::AllowedPisps(AllowedPisps { allowed: names.iter().map(|name| pisp(name)).collect() })
}

fn reference(hash: &str) -> Constraint {
    Constraint::Reference(Reference { conditional_transaction_id: hash.into() })
}

fn sellers(allowed: &[Merchant]) -> Constraint {
    Constraint::AllowedMerchants(AllowedMerchants { allowed: allowed.to_vec() })
}

fn slots(slots: &[(&[&str], u64)]) -> Constraint {
    let slot = |(number, (items, quantity)): (usize, &(&[&str], u64))| Slot {
        id: format!("slot-{number}"),
        acceptable_items: items.iter().map(|id| Item { id: (*id).into(), title: None }).collect(),
        quantity: *quantity,
    };
    Constraint::LineItems(LineItems { slots: slots.iter().enumerate().map(slot).collect() })
}

fn anywhere(id: &str) -> Merchant {
    Merchant { website: None, ..merchant(id) }
}

fn of(vct: Vct, constraints: Vec<Constraint>) -> Open {
    open(vct, &agent(), constraints)
}

fn family(constraint: &Constraint) -> Vct {
    match constraint.family() {
        mandates::mandate::Family::Checkout => Vct::OpenCheckout,
        mandates::mandate::Family::Payment => Vct::OpenPayment,
    }
}

fn refused(child: &Open, parent: &Open) -> Option<Code> {
    check(child, parent).err().map(|refused| refused.code)
}

/// The child's constraint, the parent's, and what is said of it.
#[track_caller]
fn wider(child: Constraint, parent: Constraint, code: Code) {
    let vct = family(&parent);
    let (child, parent) = (of(vct, vec![child]), of(vct, vec![parent]));
    assert_eq!(refused(&child, &parent), Some(code), "{child:?}");
    assert_eq!(refused(&of(vct, Vec::new()), &parent), Some(code), "what is left out is not restated");
    assert_eq!(check(&parent, &parent), Ok(()));
}

#[track_caller]
fn narrower(child: Constraint, parent: Constraint) {
    let vct = family(&parent);
    assert_eq!(check(&of(vct, vec![child]), &of(vct, vec![parent])), Ok(()));
}

#[test]
fn amounts_are_within_the_parents() {
    let code = Code::ChildWidensAmountRange;
    wider(range(None, 2001, "USD"), range(None, 2000, "USD"), code);
    wider(range(None, 2000, "EUR"), range(None, 2000, "USD"), code);
    wider(range(None, 2000, "USD"), range(Some(1), 2000, "USD"), code);
    wider(range(Some(0), 2000, "USD"), range(Some(1), 2000, "USD"), code);
    wider(range(Some(9), u128::MAX, "USD"), range(Some(10), 2000, "USD"), code);
    wider(budget(1, "USD"), range(None, 2000, "USD"), code);
    narrower(range(Some(5), 2000, "USD"), range(Some(5), 2000, "USD"));
    narrower(range(Some(6), 1, "USD"), range(Some(5), 2000, "USD"));
    narrower(range(None, 0, "USD"), range(Some(0), 2000, "USD"));
}

type ListOf = fn(&[Merchant]) -> Constraint;

#[test]
fn payees_and_merchants_are_among_the_parents() {
    let lists: [(ListOf, Code); 2] = [(payees, Code::ChildWidensPayees), (sellers, Code::ChildWidensMerchants)];
    for (list, code) in lists {
        wider(list(&[shop(), merchant("other")]), list(&[shop()]), code);
        wider(list(&[merchant("other")]), list(&[shop()]), code);
        wider(list(&[anywhere("shop")]), list(&[shop()]), code);
        wider(list(&[Merchant { name: "the shop".into(), ..shop() }]), list(&[shop()]), code);
        wider(list(&[Merchant { website: Some("https://evil.example".into()), ..shop() }]), list(&[shop()]), code);
        wider(list(&[shop()]), list(&[]), code);
        narrower(list(&[shop()]), list(&[merchant("other"), shop()]));
        narrower(list(&[shop()]), list(&[anywhere("shop")]));
        narrower(list(&[]), list(&[shop()]));
    }
}

#[test]
fn instruments_name_all_that_the_parents_name() {
    let code = Code::ChildWidensInstruments;
    let card = || instrument("pi-1", "card", json!({ "network": "visa" }));
    wider(instruments(vec![instrument("pi-1", "card", json!({}))]), instruments(vec![card()]), code);
    wider(instruments(vec![instrument("pi-2", "card", json!({ "network": "visa" }))]), instruments(vec![card()]), code);
    wider(instruments(vec![instrument("pi-1", "x402", json!({ "network": "visa" }))]), instruments(vec![card()]), code);
    wider(instruments(vec![instrument("pi-1", "card", json!({ "network": "Visa" }))]), instruments(vec![card()]), code);
    let precise = || instrument("pi-1", "card", json!({ "network": "visa", "last4": "1111" }));
    narrower(instruments(vec![precise()]), instruments(vec![card()]));
    narrower(instruments(vec![card(), precise()]), instruments(vec![card()]));
}

#[test]
fn initiators_are_among_the_parents() {
    let code = Code::ChildWidensPisps;
    wider(pisps(&["a", "b"]), pisps(&["a"]), code);
    let half = Pisp { brand_name: "b".into(), ..pisp("a") };
    wider(Constraint::AllowedPisps(AllowedPisps { allowed: vec![half] }), pisps(&["a"]), code);
    wider(pisps(&["a"]), pisps(&[]), code);
    narrower(pisps(&["b"]), pisps(&["a", "b"]));
}

#[test]
fn a_budget_is_at_most_the_parents() {
    let code = Code::ChildWidensBudget;
    wider(budget(11, "USD"), budget(10, "USD"), code);
    wider(budget(10, "EUR"), budget(10, "USD"), code);
    let hair = Constraint::Budget(Budget { max: "10.01".parse().unwrap(), currency: usd() });
    wider(hair, budget(10, "USD"), code);
    narrower(budget(10, "USD"), budget(10, "USD"));
    narrower(budget(0, "USD"), budget(10, "USD"));
}

#[test]
fn uses_are_at_most_as_many_and_at_least_as_far_apart() {
    let with = |recurrence: Option<Constraint>| {
        let mut constraints = vec![range(None, 2000, "USD"), budget(10, "USD")];
        constraints.extend(recurrence);
        of(Vct::OpenPayment, constraints)
    };
    let code = Some(Code::ChildWidensRecurrence);
    let weekly = || with(Some(often(Frequency::Weekly, Some(5))));
    for (child, parent) in [
        (with(Some(often(Frequency::Weekly, Some(6)))), weekly()),
        (with(Some(often(Frequency::Weekly, None))), weekly()),
        (with(Some(often(Frequency::Daily, Some(5)))), weekly()),
        (with(Some(often(Frequency::OnDemand, Some(1)))), weekly()),
        // without a recurrence a mandate pays once
        (with(Some(often(Frequency::Annually, Some(1)))), with(None)),
        (with(None), with(Some(often(Frequency::Weekly, Some(0))))),
    ] {
        assert_eq!(refused(&child, &parent), code, "{child:?}");
    }
    for child in [
        with(None),
        weekly(),
        with(Some(often(Frequency::Weekly, Some(0)))),
        with(Some(often(Frequency::Biweekly, Some(5)))),
        with(Some(often(Frequency::Monthly, Some(1)))),
    ] {
        assert_eq!(check(&child, &weekly()), Ok(()));
    }
    let unbounded = of(Vct::OpenPayment, vec![often(Frequency::Weekly, None), budget(10, "USD")]);
    assert_eq!(refused(&weekly(), &unbounded), Some(Code::RecurrenceNeedsBudget), "it pays nothing itself");
}

#[test]
fn execution_lies_within_the_parents_window() {
    let code = Code::ChildWidensExecutionDate;
    let (first, last) = ("2027-01-15T00:00:00Z", "2027-02-15T00:00:00Z");
    let whole = || at(Some(first), Some(last));
    wider(at(Some(first), None), whole(), code);
    wider(at(None, Some(last)), whole(), code);
    wider(at(Some("2027-01-14T23:59:59Z"), Some(last)), whole(), code);
    wider(at(Some(first), Some("2027-02-15T00:00:00-01:00")), whole(), code);
    wider(at(None, None), whole(), code);
    narrower(at(Some("2027-01-15T01:00:00+01:00"), Some(last)), whole());
    narrower(at(Some("2027-01-20T00:00:00Z"), Some("2027-01-21T00:00:00Z")), whole());
}

#[test]
fn the_open_checkout_is_the_parents() {
    wider(reference("def"), reference("abc"), Code::ChildWidensReference);
    wider(reference("ABC"), reference("abc"), Code::ChildWidensReference);
    narrower(reference("abc"), reference("abc"));
}

#[test]
fn every_cart_of_the_child_is_one_of_the_parents() {
    let code = Code::ChildWidensLineItems;
    wider(slots(&[(&["a", "b"], 1)]), slots(&[(&["a"], 1)]), code);
    wider(slots(&[(&["a"], 2)]), slots(&[(&["a"], 1)]), code);
    wider(slots(&[(&["a"], 1)]), slots(&[(&["a"], 2)]), code);
    wider(slots(&[(&["a"], 2)]), slots(&[(&["a"], 1), (&["b"], 1)]), code);
    wider(slots(&[(&["a", "b"], 2)]), slots(&[(&["a"], 1), (&["b"], 1)]), code);
    wider(slots(&[(&["a"], 1), (&["a"], 1)]), slots(&[(&["a", "b"], 1), (&["b"], 1)]), code);
    // it would do, together with the other slot; nothing sees that, so it is refused
    wider(slots(&[(&["a", "b"], 1), (&["c"], 1)]), slots(&[(&["a", "c"], 1), (&["b", "c"], 1)]), code);
    narrower(slots(&[(&["a"], 1), (&["b"], 2)]), slots(&[(&["a", "b"], 3)]));
    narrower(slots(&[(&["a"], 3)]), slots(&[(&["a", "b"], 1), (&["a"], 2)]));
}

#[test]
fn presets_stand_as_they_are() {
    let with = |presets: Value| {
        let mut open = of(Vct::OpenPayment, Vec::new());
        open.presets = presets.as_object().unwrap().clone();
        open
    };
    let parent = with(json!({ "payee": shop().claims(), "made_up": 1 }));
    for child in [
        json!({}),
        json!({ "payee": shop().claims() }),
        json!({ "payee": merchant("other").claims(), "made_up": 1 }),
        json!({ "payee": shop().claims(), "made_up": "1" }),
        json!({ "payee": shop().claims(), "made_up": null }),
        json!({ "payee": anywhere("shop").claims(), "made_up": 1 }),
    ] {
        let refused = check(&with(child), &parent).unwrap_err();
        assert_eq!((refused.code, refused.ap2_error()), (Code::ChildWidensPreset, Ap2Error::InvalidMandate));
    }
    assert_eq!(check(&parent, &parent), Ok(()));
    assert_eq!(
        check(&with(json!({ "payee": shop().claims(), "made_up": 1, "payment_amount": money(5).claims() })), &parent),
        Ok(())
    );
}

#[test]
fn the_childs_life_lies_within_the_parents() {
    let lives = |iat: Option<i64>, nbf: Option<i64>, exp: Option<i64>| {
        let mut open = of(Vct::OpenPayment, Vec::new());
        (open.issued_at_seconds, open.not_before_seconds, open.expires_at_seconds) = (iat, nbf, exp);
        open
    };
    let parent = lives(Some(10), Some(20), Some(30));
    for (child, code) in [
        (lives(Some(10), Some(20), Some(31)), Code::ChildWidensExpiry),
        (lives(Some(10), Some(20), None), Code::ChildWidensExpiry),
        (lives(Some(9), Some(20), Some(30)), Code::ChildWidensStart),
        (lives(None, Some(20), Some(30)), Code::ChildWidensStart),
        (lives(Some(10), Some(19), Some(30)), Code::ChildWidensStart),
        (lives(Some(10), None, Some(30)), Code::ChildWidensStart),
    ] {
        assert_eq!(refused(&child, &parent), Some(code), "{child:?}");
    }
    assert_eq!(check(&lives(Some(11), Some(20), Some(29)), &parent), Ok(()));
    assert_eq!(check(&parent, &lives(None, None, None)), Ok(()));
}

#[test]
fn what_is_not_understood_is_not_handed_on() {
    let with = |vct, value: Value| {
        let mut open = of(vct, Vec::new());
        open.constraints = vec![Written::parse(&value).unwrap()];
        open
    };
    let plain = || of(Vct::OpenPayment, Vec::new());
    for (value, code) in [
        (json!({ "type": "payment.made_up", "max": 1 }), Code::UnknownConstraint),
        (json!({ "max": 1 }), Code::ConstraintWithoutType),
        (json!("all"), Code::ConstraintWithoutType),
        (json!({ "type": "checkout.allowed_merchants", "allowed": [] }), Code::ConstraintWrongFamily),
    ] {
        let strange = with(Vct::OpenPayment, value);
        assert_eq!(refused(&strange, &plain()), Some(code), "of the child");
        assert_eq!(refused(&plain(), &strange), Some(code), "of the parent");
        assert_eq!(refused(&strange, &strange), Some(code), "of both, to the letter");
    }
    assert_eq!(refused(&of(Vct::OpenCheckout, Vec::new()), &plain()), Some(Code::ChildWidensFamily));
    assert_eq!(refused(&plain(), &of(Vct::OpenCheckout, Vec::new())), Some(Code::ChildWidensFamily));
    let sentence =
        check(&of(Vct::OpenPayment, vec![budget(11, "USD")]), &of(Vct::OpenPayment, vec![budget(10, "USD")]));
    let sentence = sentence.unwrap_err().message;
    assert!(sentence.contains("10 USD") && sentence.contains("11 USD"), "both values: {sentence}");
}

#[test]
fn a_line_ends_and_never_comes_back() {
    let keys: Vec<_> = (10..).take(DELEGATIONS_MAX + 2).map(|seed| key("k", seed)).collect();
    let holders: Vec<_> = keys.iter().map(|key| key.public()).collect();
    let code = |holders: &[&mandates::keys::PublicKey], to| check_line(holders, to).err().map(|refused| refused.code);
    let (last, line) = holders.split_last().unwrap();
    assert_eq!(code(line, last), Some(Code::DelegationTooDeep));
    for (number, holder) in line[..DELEGATIONS_MAX].iter().enumerate() {
        assert_eq!(code(&line[..DELEGATIONS_MAX], holder), Some(Code::DelegationCycle), "{number}");
    }
    assert_eq!(code(&line[..DELEGATIONS_MAX], last), None);
    assert_eq!(code(&line[..1], last), None);
}

/// A payment mandate with every dimension in it, small enough that payments often hit its edges.
fn some_open() -> impl Strategy<Value = Open> {
    let part = (
        (0..4_u128, 0..4_u128),
        1..6_u32,
        0..4_u8,
        0..7_usize,
        proptest::option::of(0..4_u64),
        0..4_u8,
        proptest::bool::ANY,
    );
    part.prop_map(|((min, max), most, who, frequency, uses, exp, single)| {
        let frequency = [
            Frequency::OnDemand,
            Frequency::Daily,
            Frequency::Weekly,
            Frequency::Biweekly,
            Frequency::Monthly,
            Frequency::Quarterly,
            Frequency::Annually,
        ][frequency];
        let who: &[Merchant] = match who {
            0 => &[],
            1 => &[shop()],
            2 => &[anywhere("shop")],
            _ => &[shop(), merchant("other")],
        };
        let mut constraints = vec![range(min.checked_sub(1), max, "USD"), budget(most, "USD"), payees(who)];
        constraints.extend((!single).then(|| often(frequency, uses)));
        let mut open = of(Vct::OpenPayment, constraints);
        open.expires_at_seconds = (exp > 0).then(|| NOW + i64::from(exp) - 2);
        open
    })
}

/// Whether this mandate alone lets the payment through.
fn buys(open: &Open, amount: u128, payee: &Merchant) -> bool {
    let cart = cart_jwt(amount);
    let closed = mandates::payment::ClosedPayment { payee: payee.clone(), ..payment(&cart, amount) };
    let intent = root(&[Mandate::Open(open.clone())]);
    let token = hop(&intent, &leaf_terms(), Mandate::Payment(closed), &agent());
    let trusted = keys(&provider());
    let hash = mandates::cart::hash(&cart, Default::default());
    verify(&token, &context(&trusted, Purchase::TransactionId(&hash))).is_valid()
}

fn fills(open: &Open, items: &[(String, u64)]) -> bool {
    let mut claims = cart_claims(1999);
    let line = |(number, (item, quantity)): (usize, &(String, u64))| {
        json!({ "id": format!("l{number}"), "item": { "id": item, "title": item, "price": 1 }, "quantity": quantity,
            "totals": [{ "type": "total", "amount": quantity }] })
    };
    claims.insert("line_items".into(), items.iter().enumerate().map(line).collect());
    let cart = sign_cart(&claims);
    let token = hop(&root(&[Mandate::Open(open.clone())]), &leaf_terms(), checkout(&cart), &agent());
    let (trusted, merchant_keys) = (keys(&provider()), keys(&merchant_key()));
    let mut context = context(&trusted, Purchase::Cart { checkout_jwt: &cart, merchant_keys: &merchant_keys });
    context.family = ExpectedFamily::Exactly(mandates::mandate::Family::Checkout);
    verify(&token, &context).is_valid()
}

fn some_slots() -> impl Strategy<Value = Open> {
    let slot = (proptest::sample::subsequence(vec!["a", "b", "c"], 1..=3), 1..3_u64);
    proptest::collection::vec(slot, 1..4).prop_map(|parts| {
        let parts: Vec<(&[&str], u64)> = parts.iter().map(|(items, quantity)| (items.as_slice(), *quantity)).collect();
        of(Vct::OpenCheckout, vec![slots(&parts)])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Nothing that the verifier lets through under the child would it refuse under the parent.
    #[test]
    fn whatever_a_child_buys_its_parent_could(child in some_open(), parent in some_open(), amount in 0..5_u128, who in 0..3_u8) {
        let payee = [shop(), anywhere("shop"), merchant("other")][usize::from(who)].clone();
        let is_beyond = buys(&child, amount, &payee) && !buys(&parent, amount, &payee);
        prop_assert!(!(is_beyond && check(&child, &parent).is_ok()), "{child:?} under {parent:?}");
    }

    #[test]
    fn whatever_cart_a_child_takes_its_parent_would(child in some_slots(), parent in some_slots(), a in 0..4_u64, b in 0..4_u64, c in 0..4_u64) {
        let named = [("a", a), ("b", b), ("c", c)].into_iter().filter(|(_, count)| *count > 0);
        let items: Vec<(String, u64)> = named.map(|(item, count)| (item.to_owned(), count)).collect();
        let is_beyond = fills(&child, &items) && !fills(&parent, &items);
        prop_assert!(!(is_beyond && check(&child, &parent).is_ok()), "{child:?} under {parent:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn the_order_is_one(a in some_open(), b in some_open(), c in some_open(), d in some_slots(), e in some_slots(), f in some_slots()) {
        for (a, b, c) in [(a, b, c), (d, e, f)] {
            prop_assert!(check(&a, &a).is_ok(), "reflexive: {a:?}");
            if check(&a, &b).is_ok() && check(&b, &c).is_ok() {
                prop_assert!(check(&a, &c).is_ok(), "transitive: {a:?} {b:?} {c:?}");
            }
        }
    }

    /// One step beyond the parent in one dimension, and whatever else is narrower does not make up for it.
    #[test]
    fn a_child_that_is_wider_anywhere_is_refused(parent in some_open(), dimension in 0..6_u8, fewer in proptest::bool::ANY) {
        let mut child = parent.clone();
        child.expires_at_seconds = child.expires_at_seconds.map(|exp| exp - i64::from(fewer));
        for written in &mut child.constraints {
            let Written::Known(constraint) = written else { continue };
            match (constraint, dimension) {
                (Constraint::AmountRange(range), 0) => range.max = range.max.checked_add(Amount::new(1)).unwrap(),
                (Constraint::Budget(budget), 1) => budget.max = "7".parse().unwrap(),
                (Constraint::AllowedPayees(list), 2) => list.allowed.push(merchant("beyond")),
                (Constraint::AgentRecurrence(recurrence), 3) => {
                    recurrence.max_occurrences = recurrence.max_occurrences.map(|most| most + 1);
                }
                _ => {}
            }
        }
        if dimension == 4 {
            child.expires_at_seconds = parent.expires_at_seconds.map(|exp| exp + 1);
        }
        if dimension == 5 {
            child.constraints.retain(|written| !matches!(written.known(), Some(Constraint::AllowedPayees(_))));
        }
        let is_same = (dimension == 3 && child.constraints == parent.constraints)
            || (dimension == 4 && parent.expires_at_seconds.is_none());
        prop_assert_eq!(check(&child, &parent).is_ok(), is_same, "{:?} under {:?}", child, parent);
    }
}
