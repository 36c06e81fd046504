//! Every refusal by name, one event a line.

use super::memory::Told;
use super::opened;
use super::stream::{
    FINAL, PAY_TO, PERSON, ROOT, START, VALID_BEFORE, agent, authorization, by, caller, claim, decide, gate, hold,
    mandate, money, open, propose, seen, service, settlement, spend, total, unused, user,
};
use crate::budget::{BudgetKind, BudgetState, Caps};
use crate::command::{Command, FailureProof, Hold, Pin, Propose, ReleaseProof, Request};
use crate::decision::Answer;
use crate::gate::{GateState, Scope};
use crate::id::{BudgetId, CallerKind, DecisionId, Digest, Micros};
use crate::money::Amount;
use crate::rejection::{Rejection, RejectionCode as Code};
use crate::settlement::Role;

/// What happened before, the clock in seconds after the start, what is asked, and how it is refused.
pub(super) type Case = (Vec<Request>, i64, Request, Code);

pub(super) fn holds(hold: Hold) -> Request {
    by(agent(), Command::Hold(Box::new(hold)))
}

pub(super) fn plain(number: u8, units: u128) -> Request {
    holds(hold(number, mandate(0), units))
}

/// A hold that differs in one thing.
pub(super) fn but(number: u8, units: u128, change: impl FnOnce(&mut Hold)) -> Request {
    let mut hold = hold(number, mandate(0), units);
    change(&mut hold);
    holds(hold)
}

pub(super) fn on(command: Command) -> Request {
    by(service(), command)
}

pub(super) fn state(budget: BudgetId, to: BudgetState) -> Request {
    by(user(), Command::ChangeBudget { budget, to })
}

pub(super) fn commit(number: u8) -> Request {
    on(Command::Commit { spend: spend(number) })
}

pub(super) fn void(number: u8) -> Request {
    on(Command::Void { spend: spend(number) })
}

fn claims(number: u8, units: u128) -> Request {
    on(Command::Claim(Box::new(claim(number, Role::Seller, units))))
}

pub(super) fn pinned(hold: &mut Hold) {
    hold.pin = Some(Pin { origin: "https://shop".to_owned(), network: "eip155:31337".to_owned() });
}

pub(super) fn elsewhere(hold: &mut Hold) {
    pinned(hold);
    hold.pay_to = "0x00000000000000000000000000000000000000cc".to_owned();
}

pub(super) fn fiat(hold: &mut Hold) {
    hold.authority.asset = "iso4217:USD".parse().unwrap();
}

fn budget_cases() -> Vec<Case> {
    let dollars = match open(mandate(8), Some(PERSON), BudgetKind::Person, Caps::default(), None) {
        Request { caller, command: Command::OpenBudget(mut open) } => {
            open.asset = "iso4217:USD".parse().unwrap();
            by(caller, Command::OpenBudget(open))
        }
        other => other,
    };
    let chain = |depth: u8| {
        let node = |number: u8| BudgetId([100 + number; 32]);
        let parent = |number: u8| if number == 0 { ROOT } else { node(number - 1) };
        let node = |number| open(node(number), Some(parent(number)), BudgetKind::Person, Caps::default(), None);
        (0..depth).map(node).collect::<Vec<_>>()
    };
    let per_payment = |limit| Caps { per_payment: Some(Amount::new(limit)), ..Caps::default() };
    let under_second = |caps| open(mandate(8), Some(mandate(1)), BudgetKind::Person, caps, None);
    vec![
        (vec![], 0, open(mandate(0), Some(PERSON), BudgetKind::Mandate, total(501), Some(0)), Code::MandateExists),
        (vec![], 0, open(mandate(0), Some(ROOT), BudgetKind::Mandate, total(500), Some(0)), Code::MandateExists),
        (vec![], 0, open(PERSON, Some(ROOT), BudgetKind::Tenant, total(700), None), Code::MandateExists),
        (vec![], 0, open(mandate(8), Some(mandate(9)), BudgetKind::Person, total(1), None), Code::MandateUnknown),
        (vec![], 0, open(mandate(8), Some(PERSON), BudgetKind::Person, total(701), None), Code::CapExceedsParent),
        (vec![], 0, under_second(per_payment(121)), Code::CapExceedsParent),
        (vec![], 0, dollars, Code::AssetMismatch),
        (chain(15), 0, chain(16).remove(15), Code::PathTooDeep),
        (vec![], 0, open(mandate(8), Some(PERSON), BudgetKind::Mandate, total(1), None), Code::ApprovalRequired),
        (vec![], 0, open(mandate(8), Some(PERSON), BudgetKind::Mandate, total(1), Some(0)), Code::ApprovalRequired),
        (
            vec![propose(8)],
            0,
            open(mandate(8), Some(PERSON), BudgetKind::Mandate, total(1), Some(8)),
            Code::ApprovalRequired,
        ),
        (
            vec![propose(8), decide(8, Answer::Deny)],
            0,
            open(mandate(8), Some(PERSON), BudgetKind::Mandate, total(1), Some(8)),
            Code::ApprovalRequired,
        ),
        (vec![], 0, open(mandate(8), Some(PERSON), BudgetKind::Mandate, total(1), Some(8)), Code::DecisionUnknown),
        (
            vec![state(PERSON, BudgetState::Suspended)],
            0,
            open(mandate(8), Some(PERSON), BudgetKind::Person, total(1), None),
            Code::MandateSuspended,
        ),
        (
            vec![state(PERSON, BudgetState::Revoked)],
            0,
            open(mandate(8), Some(PERSON), BudgetKind::Person, total(1), None),
            Code::MandateRevoked,
        ),
        (vec![], 0, state(mandate(9), BudgetState::Suspended), Code::MandateUnknown),
        (
            vec![state(mandate(0), BudgetState::Revoked)],
            0,
            state(mandate(0), BudgetState::Active),
            Code::StateChangeRefused,
        ),
        (
            vec![state(mandate(0), BudgetState::Revoked)],
            0,
            state(mandate(0), BudgetState::Suspended),
            Code::StateChangeRefused,
        ),
    ]
}

fn decision_cases() -> Vec<Case> {
    let answer = |who, subject: &[u8]| {
        let (decision, subject) = (DecisionId([8; 32]), Digest::of(subject));
        by(who, Command::Decide { decision, subject, answer: Answer::Approve, evidence: None })
    };
    let again = Command::Propose(Propose {
        decision: DecisionId([8; 32]),
        subject: Digest::of(b"another"),
        approver: "user-1".parse().unwrap(),
        expires_at: START,
    });
    let asked = || vec![propose(8)];
    let mut cases = vec![
        (asked(), 0, by(agent(), again), Code::DecisionExists),
        (vec![], 0, answer(user(), &[8]), Code::DecisionUnknown),
        (asked(), 0, answer(caller("user-2", CallerKind::User), &[8]), Code::NotYourDecision),
        (asked(), 0, answer(user(), b"another"), Code::DecisionSubjectWrong),
        (asked(), 900, answer(user(), &[8]), Code::DecisionExpired),
        (vec![propose(8), decide(8, Answer::Deny)], 0, answer(user(), &[8]), Code::DecisionStateWrong),
        (vec![propose(8), decide(8, Answer::Approve)], 0, decide(8, Answer::Deny), Code::DecisionStateWrong),
    ];
    // Whatever else they may do, and even under the approver's own name.
    for kind in [CallerKind::Agent, CallerKind::Merchant, CallerKind::Operator, CallerKind::Service] {
        cases.push((asked(), 0, answer(caller("user-1", kind), &[8]), Code::OnlyAUserDecides));
    }
    cases
}

fn hold_cases() -> Vec<Case> {
    let first = || vec![plain(1, 100)];
    let third = || (1..4).map(|number| holds(hold(number, mandate(2), 1))).collect::<Vec<_>>();
    vec![
        (vec![], 0, plain(1, 501), Code::AmountExceedsBudget),
        (first(), 0, plain(2, 401), Code::AmountExceedsBudget),
        (vec![plain(1, 500)], 0, holds(hold(2, mandate(2), 201)), Code::AmountExceedsBudget),
        (vec![], 0, plain(1, u128::MAX), Code::AmountExceedsBudget),
        (vec![holds(hold(1, mandate(3), 1))], 0, holds(hold(2, mandate(3), u128::MAX)), Code::AmountOverflow),
        (vec![], 0, holds(hold(1, mandate(1), 121)), Code::AmountExceedsPaymentLimit),
        (third(), 0, holds(hold(4, mandate(2), 1)), Code::OccurrencesExhausted),
        (vec![], 600, holds(hold(1, mandate(3), 1)), Code::MandateExpired),
        (vec![state(mandate(0), BudgetState::Suspended)], 0, plain(1, 1), Code::MandateSuspended),
        (vec![state(mandate(0), BudgetState::Revoked)], 0, plain(1, 1), Code::MandateRevoked),
        (vec![state(PERSON, BudgetState::Suspended)], 0, plain(1, 1), Code::MandateSuspended),
        (vec![state(ROOT, BudgetState::Revoked)], 0, plain(1, 1), Code::MandateRevoked),
        (vec![], 0, holds(hold(1, mandate(9), 1)), Code::MandateUnknown),
        (vec![], 0, holds(hold(1, PERSON, 1)), Code::MandateUnknown),
        (vec![], 0, but(1, 1, fiat), Code::AssetMismatch),
        (vec![], 0, plain(1, 0), Code::AmountZero),
        (vec![], 0, but(1, 1, |hold| hold.money = money(0)), Code::AmountZero),
        (first(), 0, but(1, 100, |hold| hold.request = Digest::of(b"other")), Code::IdempotencyKeyReused),
        (vec![plain(1, 100), void(1)], 0, plain(1, 100), Code::SpendReleased),
        (first(), 0, but(2, 1, |hold| hold.purchase = Digest::of(&[b'p', 1])), Code::PurchaseUnresolved),
        (
            first(),
            0,
            but(2, 1, |hold| (hold.purchase, hold.again_after) = (Digest::of(&[b'p', 1]), Some(spend(3)))),
            Code::SpendUnknown,
        ),
        (first(), 0, but(2, 1, |hold| hold.again_after = Some(spend(1))), Code::AgainAfterElsewhere),
        (first(), 0, holds(Hold { again_after: Some(spend(1)), ..hold(2, mandate(1), 1) }), Code::AgainAfterElsewhere),
        (
            vec![plain(1, 1), void(1), but(2, 1, |hold| hold.purchase = Digest::of(&[b'p', 1]))],
            0,
            but(3, 1, |hold| (hold.purchase, hold.again_after) = (Digest::of(&[b'p', 1]), Some(spend(1)))),
            Code::AgainAfterMismatch,
        ),
        // Two that are meant as the same second purchase, under keys of their own: one is.
        (
            vec![
                plain(1, 1),
                but(2, 1, |hold| (hold.purchase, hold.again_after) = (Digest::of(&[b'p', 1]), Some(spend(1)))),
            ],
            0,
            but(3, 1, |hold| (hold.purchase, hold.again_after) = (Digest::of(&[b'p', 1]), Some(spend(1)))),
            Code::AgainAfterUsed,
        ),
        (first(), 0, but(2, 1, |hold| hold.authorization = authorization(1)), Code::AuthorizationClaimed),
        (first(), 0, but(2, 1, |hold| hold.leaf_nonce = "leaf-1".to_owned()), Code::MandateConsumed),
        // A nonce and a closed mandate are used up by a hold that was given back, too.
        (
            vec![plain(1, 1), void(1)],
            0,
            but(2, 1, |hold| hold.authorization = authorization(1)),
            Code::AuthorizationClaimed,
        ),
        (vec![plain(1, 1), void(1)], 0, but(2, 1, |hold| hold.leaf_nonce = "leaf-1".to_owned()), Code::MandateConsumed),
        (
            vec![],
            0,
            by(caller("agent-2", CallerKind::Agent), Command::Hold(Box::new(hold(1, mandate(0), 1)))),
            Code::OwnerMismatch,
        ),
        (vec![but(1, 1, pinned)], 0, but(2, 1, elsewhere), Code::PayeeChanged),
    ]
}

fn spend_cases() -> Vec<Case> {
    let held = || vec![plain(1, 100)];
    let signed = || vec![plain(1, 100), commit(1)];
    let one = spend(1);
    let settle = |seen| on(Command::Settle { spend: one, seen, finalized: FINAL });
    let release = |at| on(Command::Release { spend: one, proof: ReleaseProof::Unused(unused(at)) });
    let transaction = || "0x77".parse().unwrap();
    vec![
        (vec![], 0, void(9), Code::SpendUnknown),
        (vec![], 0, commit(9), Code::SpendUnknown),
        (signed(), 0, void(1), Code::SpendStateWrong),
        (signed(), 400, on(Command::Expire { spend: one }), Code::SpendStateWrong),
        (held(), 0, settle(seen(100)), Code::SpendStateWrong),
        (held(), 0, release(VALID_BEFORE), Code::SpendStateWrong),
        (held(), 0, on(Command::Doubt { spend: one }), Code::SpendStateWrong),
        (held(), 0, on(Command::Submit { spend: one, transaction: transaction() }), Code::SpendStateWrong),
        (held(), 0, on(Command::Misspend { spend: one, transaction: transaction() }), Code::SpendStateWrong),
        (vec![plain(1, 100), void(1)], 0, commit(1), Code::SpendStateWrong),
        (vec![plain(1, 100), commit(1), settle(seen(100))], 0, release(VALID_BEFORE), Code::SpendStateWrong),
        (vec![plain(1, 100), commit(1), release(VALID_BEFORE)], 0, settle(seen(100)), Code::SpendStateWrong),
        (signed(), 0, release(VALID_BEFORE - 1), Code::NotProved),
        (signed(), 0, settle(seen(99)), Code::SettlementMismatch),
        (signed(), 0, settle(seen(101)), Code::SettlementMismatch),
        (
            signed(),
            0,
            settle(crate::spend::Observation { pay_to: format!("{PAY_TO}0"), ..seen(100) }),
            Code::SettlementMismatch,
        ),
        (held(), 300, commit(1), Code::HoldExpired),
        (vec![plain(1, 1), state(PERSON, BudgetState::Suspended)], 0, commit(1), Code::MandateSuspended),
        (vec![plain(1, 1), state(ROOT, BudgetState::Revoked)], 0, commit(1), Code::MandateRevoked),
        (held(), 299, on(Command::Expire { spend: one }), Code::NotExpired),
    ]
}

fn settlement_cases() -> Vec<Case> {
    let key = || settlement(1, Role::Seller);
    let dispatch = || {
        let (settlement, document) = (key(), Digest::of(b"signed"));
        on(Command::Dispatch { settlement, document, transaction: None, account_nonce: None })
    };
    let receive = |units| on(Command::Receive { settlement: key(), seen: seen(units), finalized: FINAL, gas: None });
    let abandon = || on(Command::Abandon { settlement: key() });
    let fail = |at| on(Command::Fail { settlement: key(), proof: FailureProof::Unused(unused(at)), gas: None });
    let mut other = claim(1, Role::Seller, 5);
    other.subject = Digest::of(b"another resource");
    let fund = Command::Fund { wallet: "w".to_owned(), money: money(0), reference: Digest::of(b"f") };
    vec![
        (vec![], 0, claims(1, 0), Code::AmountZero),
        (vec![], 0, on(fund), Code::AmountZero),
        (vec![claims(1, 5)], 0, on(Command::Claim(Box::new(other))), Code::PaymentUsedForOtherResource),
        (vec![], 0, abandon(), Code::SettlementUnknown),
        (vec![], 0, dispatch(), Code::SettlementUnknown),
        (vec![], 0, receive(5), Code::SettlementUnknown),
        (vec![claims(2, 5)], 0, fail(VALID_BEFORE), Code::SettlementUnknown),
        (vec![claims(1, 5), receive(5)], 0, abandon(), Code::SettlementStateWrong),
        (vec![claims(1, 5), abandon()], 0, dispatch(), Code::SettlementStateWrong),
        (vec![claims(1, 5), abandon()], 0, receive(5), Code::SettlementStateWrong),
        (vec![claims(1, 5), fail(VALID_BEFORE)], 0, receive(5), Code::SettlementStateWrong),
        (vec![claims(1, 5)], 0, receive(4), Code::SettlementMismatch),
        (vec![claims(1, 5)], 0, receive(6), Code::SettlementMismatch),
        (vec![claims(1, 5), dispatch()], 0, fail(VALID_BEFORE - 1), Code::SettlementMismatch),
    ]
}

pub(super) fn at(seconds: i64) -> Micros {
    START.plus_micros(seconds * 1_000_000)
}

/// Each scope bars a hold, and a signature of what was held before.
fn gate_cases() -> Vec<Case> {
    let close = |number| by(user(), gate(number, GateState::Closed));
    let mut cases: Vec<Case> = (0..7)
        .flat_map(|number| {
            [
                (vec![close(number)], 0, plain(1, 1), Code::Stopped),
                (vec![plain(1, 1), close(number)], 0, commit(1), Code::Stopped),
            ]
        })
        .collect();
    cases.push((vec![close(0)], 0, claims(1, 5), Code::Stopped));
    cases.push((
        vec![by(service(), gate(0, GateState::Closed))],
        0,
        by(user(), gate(0, GateState::Open)),
        Code::NotYoursToLift,
    ));
    cases
}

/// What is not in the scope goes on; what is signed goes its way; an open gate is as none.
#[test]
fn a_gate_bars_what_is_in_its_scope_and_nothing_else() {
    let closed = |scope| by(user(), Command::Gate { scope, to: GateState::Closed });
    let other = |kind: &str| format!("{kind}/somebody-else").parse().unwrap();
    let mut memory = opened();
    for request in [
        closed(other("person")),
        closed(other("agent")),
        closed(other("payee")),
        closed(format!("build/sha256:{}", "02".repeat(32)).parse().unwrap()),
        closed("issuer/https://idp.example".parse().unwrap()),
        closed(Scope::Mandate(mandate(1))),
        plain(1, 1),
        commit(1),
        closed(Scope::Everything),
    ] {
        assert!(matches!(memory.run(START, &request), Told::New(_)), "{request:?}");
    }
    assert_eq!(memory.run(START, &closed(Scope::Everything)), Told::Known, "closed is closed");
    let settle = on(Command::Settle { spend: spend(1), seen: seen(1), finalized: FINAL });
    assert!(matches!(memory.run(START, &settle), Told::New(_)), "an uncleared cheque is cleared");
    assert!(matches!(memory.run(START, &plain(2, 1)), Told::Rejected(Rejection::Stopped { .. })));
    let open = by(user(), gate(0, GateState::Open));
    assert!(matches!(memory.run(START, &open), Told::New(_)));
    assert_eq!(memory.run(START, &open), Told::Known);
    assert!(matches!(memory.run(START, &plain(3, 1)), Told::New(_)));
    assert!(
        matches!(memory.run(START, &plain(2, 1)), Told::Rejected(Rejection::Stopped { .. })),
        "a key keeps its answer"
    );
}

#[test]
fn each_refusal_has_its_name_and_changes_no_money() {
    let mut seen = std::collections::BTreeSet::new();
    let money = [hold_cases(), gate_cases(), spend_cases(), settlement_cases()];
    let more = [super::windows::limit_cases(), super::recurring::cases()];
    let later = [super::mending::cases(), super::following::cases(), super::presenting::cases()];
    let tokens = [super::redeeming::cases()];
    let answers = [
        super::answering::cases(),
        super::carts::cases(),
        super::charging::cases(),
        super::drawing::cases(),
        super::giving_back::cases(),
        super::crediting::cases(),
        super::naming::cases(),
        super::orders::cases(),
        super::reviewing::cases(),
    ];
    let more = more.into_iter().chain(later).chain(tokens).chain(answers);
    let groups = [budget_cases(), decision_cases()].into_iter().chain(more).chain(money);
    for (number, (before, seconds, request, code)) in groups.flatten().enumerate() {
        let mut memory = opened();
        for request in &before {
            let told = memory.run(START, request);
            assert!(matches!(told, Told::New(_)), "case {number}: {told:?} for {request:?}");
        }
        let was = memory.view.clone();
        let told = memory.run(at(seconds), &request);
        let Told::Rejected(rejection) = &told else { panic!("case {number}: {code} expected, got {told:?}") };
        assert_eq!(rejection.code(), code, "case {number}: {rejection}");
        assert!(memory.view.budgets.changed().eq(was.budgets.changed()), "case {number}: a budget moved");
        assert!(memory.view.spends.changed().eq(was.spends.changed()), "case {number}: a spend moved");
        assert!(memory.view.settlements.changed().eq(was.settlements.changed()), "case {number}: a settlement moved");
        assert!(memory.view.decisions.changed().eq(was.decisions.changed()), "case {number}: a decision moved");
        // Kept or not, the same request is refused the same way again.
        let again = memory.run(at(seconds), &request);
        assert!(matches!(&again, Told::Rejected(second) if second.code() == code), "case {number}: {again:?}");
        seen.insert(code);
    }
    let missing = Code::ALL.iter().filter(|code| !seen.contains(code)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "no case for {missing:?}");
}
