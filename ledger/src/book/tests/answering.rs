//! What becomes of a payment whose verifier contradicts itself, and of one about which an operator speaks in its place.

use super::memory::{Memory, Told};
use super::opened;
use super::presenting::{acknowledge, done, fence, held, over, present};
use super::rejections::{Case, commit, on};
use super::stream::{PERSON, ROOT, START, agent, by, caller, mandate, service, spend, user};
use crate::account::Account;
use crate::command::{Acknowledgement, Answered, Command, Request};
use crate::effects::{Fact, Operation};
use crate::event::{EventType, events};
use crate::gate::GateState;
use crate::id::{CallerKind, Digest};
use crate::posting::pattern;
use crate::rejection::RejectionCode as Code;
use crate::spend::SpendState;

pub(super) fn resolve(number: u8, answer: Answered) -> Request {
    let transaction = "op-1".parse().unwrap();
    let resolution = Acknowledgement { document: Digest::of(b"because"), transaction, answer };
    by(caller("operator-1", CallerKind::Operator), Command::Resolve { spend: spend(number), resolution })
}

fn given() -> Vec<Request> {
    vec![held(1, 40), commit(1), present(1)]
}

fn with(more: Request) -> Vec<Request> {
    [given(), vec![more]].concat()
}

pub(super) fn cases() -> Vec<Case> {
    let by_whom = |who, answer| by(who, resolve(1, answer).command);
    let on_chain = || vec![super::rejections::plain(1, 40), commit(1)];
    let paid = || with(acknowledge(1, Answered::Paid));
    vec![
        (vec![], 0, resolve(9, Answered::Paid), Code::SpendUnknown),
        (given(), 0, by_whom(agent(), Answered::Paid), Code::OwnerMismatch),
        (given(), 0, by_whom(user(), Answered::Paid), Code::OwnerMismatch),
        (given(), 0, by_whom(service(), Answered::NotPaid), Code::OwnerMismatch),
        (given(), over() - 1, resolve(1, Answered::NotPaid), Code::NotExpired),
        (vec![held(1, 40)], over(), resolve(1, Answered::NotPaid), Code::SpendStateWrong),
        // Nobody got it: it lapses by itself.
        (vec![held(1, 40), commit(1)], over(), resolve(1, Answered::NotPaid), Code::SpendStateWrong),
        (vec![held(1, 40), commit(1)], over(), resolve(1, Answered::Paid), Code::SpendStateWrong),
        (on_chain(), over(), resolve(1, Answered::Paid), Code::SpendStateWrong),
        (
            [on_chain(), vec![on(Command::Submit { spend: spend(1), transaction: "0x77".parse().unwrap() })]].concat(),
            over(),
            resolve(1, Answered::NotPaid),
            Code::RailMismatch,
        ),
        (with(fence(GateState::Closed)), over(), resolve(1, Answered::Paid), Code::Stopped),
        (with(fence(GateState::Closed)), over(), resolve(1, Answered::NotPaid), Code::Stopped),
        // An operator contradicts nobody's signature.
        (paid(), over(), resolve(1, Answered::NotPaid), Code::SpendStateWrong),
        (
            [paid(), vec![acknowledge(1, Answered::NotPaid)]].concat(),
            over(),
            resolve(1, Answered::Paid),
            Code::SpendStateWrong,
        ),
        // Of what only lapsed nobody says anything.
        (
            vec![super::presenting::early(), commit(1), on(Command::Lapse { spend: spend(1) })],
            0,
            acknowledge(1, Answered::Paid),
            Code::SpendStateWrong,
        ),
    ]
}

/// Held, posted and count of a node.
fn figures(memory: &Memory, node: crate::id::BudgetId) -> (u128, u128, u64) {
    let node = memory.view.budgets.find(&node).unwrap().unwrap();
    (node.held.get(), node.posted.get(), node.count)
}

fn suspense(memory: &Memory) -> i128 {
    let legs = memory.records.iter().flat_map(|record| &record.transfers);
    let moved = |account: &Account, amount| if *account == Account::Suspense { amount } else { 0 };
    legs.map(|leg| {
        assert!(pattern(leg).is_some(), "{leg:?} is in no table");
        let amount = i128::try_from(leg.amount.get()).unwrap();
        moved(&leg.credit, amount) - moved(&leg.debit, amount)
    })
    .sum()
}

#[test]
fn two_statements_that_cannot_both_be_true_are_an_incident() {
    let (paid, not_paid) = (|| acknowledge(1, Answered::Paid), || acknowledge(1, Answered::NotPaid));
    type Row<'a> = (&'a str, Request, Request, (u128, u128, u64));
    let rows: Vec<Row<'_>> = vec![
        ("paid, then not", paid(), not_paid(), (40, 0, 1)),
        ("not paid, then paid", not_paid(), paid(), (0, 40, 0)),
        ("resolved as paid, then not", resolve(1, Answered::Paid), not_paid(), (40, 0, 1)),
        ("resolved as not paid, then paid", resolve(1, Answered::NotPaid), paid(), (0, 40, 0)),
    ];
    for (name, first, second, expected) in rows {
        let mut memory = opened();
        given().iter().for_each(|request| done(&mut memory, 0, request));
        done(&mut memory, over(), &first);
        done(&mut memory, over(), &second);
        let last = memory.records.last().unwrap().clone();
        assert_eq!(last.spend.as_ref().unwrap().state, SpendState::SpentOtherwise, "{name}");
        assert_eq!((last.operation, last.fact), (Operation::Misspend, Some(Fact::Reference(Digest::of(b"receipt")))));
        assert_eq!(events(memory.records.last().unwrap())[0].kind, EventType::PaymentSpentOtherwise);
        for node in [mandate(0), PERSON, ROOT] {
            assert_eq!(figures(&memory, node), expected, "{name}: {node}");
        }
        assert_eq!(suspense(&memory), 40, "{name}");
        // Whatever is said again, nothing moves any more.
        for again in [paid(), not_paid()] {
            assert!(matches!(memory.run(START.plus_micros((over() + 9) * 1_000_000), &again), Told::Known), "{name}");
        }
    }
}

/// What was given back has been spent again: no cap is passed, and the books have all of it.
#[test]
fn what_was_paid_after_all_passes_no_cap() {
    let mut memory = opened();
    let room = memory.view.budgets.find(&mandate(0)).unwrap().unwrap().caps.total.unwrap().get();
    given().iter().for_each(|request| done(&mut memory, 0, request));
    done(&mut memory, over(), &acknowledge(1, Answered::NotPaid));
    let rest = super::rejections::but(2, room - 10, |hold| {
        hold.expires_at = crate::id::Micros(i64::MAX);
        hold.valid_before = i64::MAX;
    });
    done(&mut memory, over(), &rest);
    done(&mut memory, over(), &acknowledge(1, Answered::Paid));
    assert_eq!(figures(&memory, mandate(0)), (room - 10, 10, 1));
    assert_eq!(suspense(&memory), 40);
}

/// An operator's word posts and frees like a receipt, and a receipt that says the same is known.
#[test]
fn an_operator_ends_what_nobody_answers() {
    for (answer, expected, state) in
        [(Answered::Paid, (0, 40, 1), SpendState::Settled), (Answered::NotPaid, (0, 0, 0), SpendState::Released)]
    {
        let mut memory = opened();
        with(on(Command::Doubt { spend: spend(1) })).iter().for_each(|request| done(&mut memory, 0, request));
        done(&mut memory, over(), &resolve(1, answer));
        let record = memory.records.last().unwrap();
        assert_eq!(record.spend.as_ref().unwrap().state, state);
        assert_eq!(
            (record.caller.kind, record.fact.clone()),
            (CallerKind::Operator, Some(Fact::Reference(Digest::of(b"because"))))
        );
        assert_eq!(figures(&memory, mandate(0)), expected);
        assert_eq!(suspense(&memory), 0);
        for same in [acknowledge(1, answer), resolve(1, answer)] {
            assert!(matches!(memory.run(START.plus_micros((over() + 9) * 1_000_000), &same), Told::Known));
        }
    }
}
