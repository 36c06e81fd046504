//! Coming back for what was paid: refusals first, then what is written down.

use super::memory::Told;
use super::opened;
use super::rejections::{Case, at, commit, on, plain};
use super::stream::{
    FINAL, PAY_TO, PERSON, agent, by, caller, change_caps, decide, hold, mandate, open, presented_for, propose, refund,
    seen, service, spend, taken_back, total, user,
};
use crate::budget::{BudgetKind, BudgetState};
use crate::command::{Acknowledgement, Answered, Command, OpenBudget, Request};
use crate::decision::Answer;
use crate::effects::{Fact, Operation};
use crate::event::{EventType, events};
use crate::gate::{GateState, Scope};
use crate::id::{BudgetId, CallerKind, Digest, PrincipalId};
use crate::rejection::RejectionCode as Code;
use crate::spend::SpendState;

fn text() -> Digest {
    Digest::of(b"the text")
}

fn sign_in(number: u8, under: BudgetId) -> Command {
    Command::SignIn { spend: spend(number), under, document: text() }
}

fn comes(number: u8, under: u8) -> Request {
    by(agent(), sign_in(number, mandate(under)))
}

fn settle(number: u8, units: u128, finalized: u64) -> Request {
    on(Command::Settle { spend: spend(number), seen: seen(units), finalized })
}

/// Under mandate 0, final.
fn paid() -> Vec<Request> {
    vec![plain(1, 40), commit(1), settle(1, 40, FINAL)]
}

fn back(units: u128) -> Request {
    by(agent(), Command::Refund { spend: spend(1), refund: refund(1, units) })
}

fn stop(scope: Scope) -> Request {
    by(service(), Command::Gate { scope, to: GateState::Closed })
}

fn change(budget: BudgetId, to: BudgetState) -> Request {
    by(user(), Command::ChangeBudget { budget, to })
}

/// A mandate of another agent's, of the same person.
fn others() -> Vec<Request> {
    let Command::OpenBudget(opened) = open(mandate(9), Some(PERSON), BudgetKind::Mandate, total(9), Some(9)).command
    else {
        unreachable!()
    };
    let opened = OpenBudget { holder: "agent-2".parse().unwrap(), ..opened };
    let asked = by(agent(), propose(9).command);
    vec![asked, decide(9, Answer::Approve), by(user(), Command::OpenBudget(opened))]
}

/// Closed for somebody else, and paid as they say.
fn presented() -> Vec<Request> {
    let mut hold = hold(1, mandate(0), 40);
    hold.authorization = presented_for(1);
    let receipt = Acknowledgement { document: text(), transaction: "0x79".parse().unwrap(), answer: Answered::Paid };
    vec![
        by(agent(), Command::Hold(Box::new(hold))),
        commit(1),
        on(Command::Present { spend: spend(1), document: text() }),
        on(Command::Acknowledge { spend: spend(1), receipt }),
    ]
}

fn cases() -> Vec<Case> {
    let agent_2 = || caller("agent-2", CallerKind::Agent);
    let named = |name: &str| name.parse::<PrincipalId>().unwrap();
    let after = |more: Vec<Request>| [paid(), more].concat();
    let unsettle = on(Command::Unsettle { spend: spend(1), proof: taken_back(0) });
    vec![
        (vec![], 0, comes(1, 0), Code::SpendUnknown),
        (vec![plain(1, 40)], 0, comes(1, 0), Code::SpendStateWrong),
        (vec![plain(1, 40), commit(1)], 0, comes(1, 0), Code::SpendStateWrong),
        (vec![plain(1, 40), on(Command::Void { spend: spend(1) })], 0, comes(1, 0), Code::SpendStateWrong),
        (vec![plain(1, 40), commit(1), settle(1, 40, FINAL - 1), unsettle], 0, comes(1, 0), Code::SpendStateWrong),
        (after(vec![back(40)]), 0, comes(1, 0), Code::SpendStateWrong),
        (presented(), 0, comes(1, 0), Code::RailMismatch),
        (paid(), 0, comes(1, 99), Code::MandateUnknown),
        (paid(), 0, by(agent(), sign_in(1, PERSON)), Code::MandateUnknown),
        // Another agent's, whichever mandate it names; and another person's.
        (paid(), 0, by(agent_2(), sign_in(1, mandate(0))), Code::OwnerMismatch),
        (after(others()), 0, by(agent_2(), sign_in(1, mandate(9))), Code::OwnerMismatch),
        (after(others()), 0, comes(1, 9), Code::OwnerMismatch),
        (after(others()), 0, by(service(), sign_in(1, mandate(9))), Code::OwnerMismatch),
        (paid(), 0, comes(1, 3), Code::OwnerMismatch),
        // What was paid under, and what is named now.
        (after(vec![change(mandate(0), BudgetState::Revoked)]), 0, comes(1, 1), Code::MandateRevoked),
        (after(vec![change(mandate(1), BudgetState::Revoked)]), 0, comes(1, 1), Code::MandateRevoked),
        (after(vec![change(mandate(0), BudgetState::Suspended)]), 0, comes(1, 0), Code::MandateSuspended),
        (after(vec![change(PERSON, BudgetState::Suspended)]), 0, comes(1, 0), Code::MandateSuspended),
        (after(vec![stop(Scope::Everything)]), 0, comes(1, 0), Code::Stopped),
        (after(vec![stop(Scope::Fence)]), 0, comes(1, 0), Code::Stopped),
        (after(vec![stop(Scope::Agent(named("agent-1")))]), 0, comes(1, 0), Code::Stopped),
        (after(vec![stop(Scope::Person(named("user-1")))]), 0, comes(1, 0), Code::Stopped),
        (after(vec![stop(Scope::Payee("shop".parse().unwrap()))]), 0, comes(1, 0), Code::Stopped),
        (after(vec![stop(Scope::Mandate(mandate(0)))]), 0, comes(1, 1), Code::Stopped),
        (after(vec![stop(Scope::Mandate(mandate(1)))]), 0, comes(1, 1), Code::Stopped),
        (after(vec![stop(Scope::Build(super::stream::build(1)))]), 0, comes(1, 0), Code::Stopped),
        (after(vec![stop(Scope::Issuer(super::stream::ISSUER.parse().unwrap()))]), 0, comes(1, 0), Code::Stopped),
    ]
}

#[test]
fn nobody_comes_back_for_what_is_not_theirs_and_paid() {
    for (before, seconds, request, code) in cases() {
        let mut memory = opened();
        for step in &before {
            let told = memory.run(at(1), step);
            assert!(matches!(told, Told::New(_)), "{told:?} for {step:?}");
        }
        let records = memory.records.len();
        match memory.run(at(1 + seconds), &request) {
            Told::Rejected(rejection) => assert_eq!(rejection.code(), code, "{before:?}"),
            other => panic!("{other:?} after {before:?}"),
        }
        assert_eq!(memory.records.len(), records, "a refusal wrote something");
    }
}

/// As often as they come, by whichever mandate of theirs; nothing moves, and each has its record.
#[test]
fn what_was_signed_stands_in_the_journal_and_moves_nothing() {
    let mut memory = opened();
    for step in [paid(), vec![back(39), by(service(), change_caps(PERSON, total(300)))]].concat() {
        assert!(matches!(memory.run(at(1), &step), Told::New(_)), "{step:?}");
    }
    let before = memory.view.spends.find(&spend(1)).unwrap().unwrap().clone();
    assert_eq!((before.state, before.pay_to.as_str()), (SpendState::Settled, PAY_TO));
    for under in [0, 0, 1] {
        let told = memory.run(at(2), &comes(1, under));
        assert!(matches!(told, Told::New(_)), "{told:?}");
        let record = memory.records.last().unwrap();
        assert_eq!((record.operation, &record.fact), (Operation::SignIn, &Some(Fact::Reference(text()))));
        assert!(record.transfers.is_empty() && record.moves.is_empty() && record.windows.is_empty());
        assert_eq!(record.spend.as_ref(), Some(&before));
        let told: Vec<EventType> = events(record).into_iter().map(|event| event.kind).collect();
        assert_eq!(told, [EventType::PaymentSignedIn]);
    }
}
