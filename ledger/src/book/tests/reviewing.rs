//! Payments that are looked at after they went: refusals first, then what an answer is, and what it means that none came.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, but, commit, on, plain, state};
use super::stream::{ISSUER, START, agent, by, caller, gate, mandate, review, service, spend, user};
use crate::budget::BudgetState;
use crate::command::{Command, Request};
use crate::decision::{Answer, DecisionState, Finding};
use crate::effects::{Fact, Operation};
use crate::event::{EventType, events};
use crate::gate::GateState;
use crate::id::{Caller, CallerKind, DecisionId, Digest};
use crate::rejection::RejectionCode as Code;

const HOUR: i64 = 3_600;

fn put(number: u8) -> Request {
    but(number, 40, |hold| hold.review = Some(review(number, false)))
}

fn found(who: Caller, number: u8, finding: Finding) -> Request {
    let put = review(number, false);
    let (review, subject, spend) = (put.decision, put.subject, spend(number));
    by(who, Command::Review { review, subject, spend, finding, because: Digest::of(b"because") })
}

fn overdue(number: u8, suspend: bool) -> Request {
    on(Command::Overdue { review: review(number, false).decision, spend: spend(number), suspend })
}

fn operator() -> Caller {
    caller("operator-1", CallerKind::Operator)
}

/// The same with another name, subject or payment.
fn other(change: impl FnOnce(&mut DecisionId, &mut Digest, &mut crate::id::SpendId)) -> Request {
    let Request { caller, command } = found(user(), 1, Finding::Fine);
    let Command::Review { mut review, mut subject, mut spend, finding, because } = command else { unreachable!() };
    change(&mut review, &mut subject, &mut spend);
    by(caller, Command::Review { review, subject, spend, finding, because })
}

pub(super) fn cases() -> Vec<Case> {
    let both = || vec![put(1), put(2)];
    let answered = |finding| vec![put(1), found(user(), 1, finding)];
    let question = DecisionId([0; 32]);
    let decide = Command::Decide {
        decision: review(1, false).decision,
        subject: review(1, false).subject,
        answer: Answer::Approve,
        evidence: None,
    };
    let mut cases = vec![
        (vec![plain(1, 40)], 0, found(user(), 1, Finding::Fine), Code::DecisionUnknown),
        (vec![put(1)], 0, other(|review, _, _| *review = question), Code::DecisionUnknown),
        (vec![put(1)], 0, other(|_, subject, _| *subject = Digest::of(b"x")), Code::DecisionSubjectWrong),
        (both(), 0, other(|_, _, payment| *payment = spend(2)), Code::DecisionUnknown),
        (vec![put(1)], 0, other(|_, _, payment| *payment = spend(9)), Code::SpendUnknown),
        (vec![put(1)], 0, found(caller("user-2", CallerKind::User), 1, Finding::Fine), Code::NotYourDecision),
        (answered(Finding::Fine), 0, found(user(), 1, Finding::Dispute), Code::DecisionStateWrong),
        (answered(Finding::Dispute), 0, found(operator(), 1, Finding::Fine), Code::DecisionStateWrong),
        // It is no question, and no answer to one opens anything by it.
        (vec![put(1)], 0, by(user(), decide), Code::DecisionStateWrong),
        (vec![put(1)], 0, but(2, 40, |hold| hold.review = Some(review(1, false))), Code::DecisionExists),
        (vec![put(1)], HOUR - 1, overdue(1, true), Code::DecisionStateWrong),
        (answered(Finding::Fine), HOUR, overdue(1, true), Code::DecisionStateWrong),
        (answered(Finding::Dispute), HOUR, overdue(1, true), Code::DecisionStateWrong),
        (vec![plain(1, 40)], HOUR, overdue(1, true), Code::DecisionUnknown),
        (vec![put(1)], HOUR, by(user(), overdue(1, true).command), Code::OwnerMismatch),
        (vec![put(1)], HOUR, by(agent(), overdue(1, false).command), Code::OwnerMismatch),
        (vec![put(1), by(service(), gate_of_issuer())], 0, found(user(), 1, Finding::Fine), Code::Stopped),
    ];
    // Whoever paid says nothing of it, not under the name of the person either.
    for kind in [CallerKind::Agent, CallerKind::Merchant, CallerKind::Service] {
        cases.push((vec![put(1)], 0, found(caller("user-1", kind), 1, Finding::Fine), Code::OnlyAUserDecides));
    }
    cases
}

fn gate_of_issuer() -> Command {
    Command::Gate { scope: crate::gate::Scope::Issuer(ISSUER.parse().unwrap()), to: GateState::Closed }
}

fn kinds(memory: &Memory) -> Vec<EventType> {
    memory.records.last().map(events).unwrap_or_default().into_iter().map(|event| event.kind).collect()
}

fn stands(memory: &Memory, number: u8) -> DecisionState {
    memory.view.decisions.find(&review(number, false).decision).unwrap().unwrap().state
}

#[test]
fn a_payment_is_in_the_queue_from_its_hold_on_and_is_answered_once() {
    let mut memory = opened();
    assert!(matches!(memory.run(START, &put(1)), Told::New(_)));
    assert_eq!(kinds(&memory), [EventType::PaymentHeld, EventType::ReviewOpened]);
    assert_eq!(memory.run(START, &put(1)), Told::Known, "the same payment is put there once");
    assert!(matches!(memory.run(START, &commit(1)), Told::New(_)), "it goes meanwhile");
    assert_eq!(stands(&memory, 1), DecisionState::InReview);
    let told = memory.run(START, &found(user(), 1, Finding::Dispute));
    let Told::New(effects) = told else { panic!("{told:?}") };
    assert_eq!((effects.operation, &effects.fact), (Operation::Review, &Some(Fact::Reference(Digest::of(b"because")))));
    assert_eq!((stands(&memory, 1), kinds(&memory)), (DecisionState::Disputed, vec![EventType::ReviewDisputed]));
    assert_eq!(memory.run(START, &found(operator(), 1, Finding::Dispute)), Told::Known);
    assert!(effects.moves.is_empty() && effects.transfers.is_empty(), "an answer moves no money by itself");
}

#[test]
fn what_nobody_looked_at_in_time_is_said_and_can_still_be_answered() {
    for suspend in [false, true] {
        let mut memory = opened();
        assert!(matches!(memory.run(START, &put(1)), Told::New(_)));
        assert!(matches!(memory.run(at(HOUR), &overdue(1, suspend)), Told::New(_)));
        assert_eq!(memory.run(at(HOUR), &overdue(1, suspend)), Told::Known);
        let expected = [EventType::ReviewOverdue, EventType::MandateSuspended];
        assert_eq!(kinds(&memory), expected[..1 + usize::from(suspend)]);
        let mandate = memory.view.budgets.find(&mandate(0)).unwrap().unwrap().state;
        assert_eq!(mandate, if suspend { BudgetState::Suspended } else { BudgetState::Active });
        let told = memory.run(at(HOUR), &found(operator(), 1, Finding::Fine));
        assert!(matches!(told, Told::New(_)), "{told:?}");
        assert_eq!((stands(&memory, 1), kinds(&memory)), (DecisionState::Confirmed, vec![EventType::ReviewConfirmed]));
        let after = memory.view.budgets.find(&super::stream::mandate(0)).unwrap().unwrap().state;
        assert_eq!(after, mandate, "whoever suspended it, a person resumes it");
    }
}

#[test]
fn a_mandate_that_ended_is_not_brought_back_by_being_suspended() {
    let mut memory = opened();
    for request in [put(1), state(mandate(0), BudgetState::Revoked)] {
        assert!(matches!(memory.run(START, &request), Told::New(_)));
    }
    assert!(matches!(memory.run(at(HOUR), &overdue(1, true)), Told::New(_)));
    assert_eq!(kinds(&memory), [EventType::ReviewOverdue]);
    assert_eq!(memory.view.budgets.find(&mandate(0)).unwrap().unwrap().state, BudgetState::Revoked);
    // A stop bars no look at what went before it.
    let mut memory = opened();
    for request in [put(1), by(service(), gate(0, GateState::Closed)), found(user(), 1, Finding::Dispute)] {
        let told = memory.run(START, &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
}
