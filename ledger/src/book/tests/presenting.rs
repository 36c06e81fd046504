//! Mandates that are closed for somebody else: only their receipt, or that nobody ever got them, frees what they hold.

use super::answering::resolve;
use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, but, commit, on, plain, state, void};
use super::stream::stories::{accept, merchant};
use super::stream::{
    FINAL, PERSON, ROOT, START, VALID_BEFORE, agent, by, gate, mandate, presented_for, refund, seen, spend, unused,
    user,
};
use crate::budget::BudgetState;
use crate::claim::ClaimOutcome;
use crate::command::{Accept, Acknowledgement, Answered, Command, ReleaseProof, Request};
use crate::effects::{Fact, Operation};
use crate::event::{EventType, events};
use crate::gate::{GateState, Scope};
use crate::id::Digest;
use crate::posting::pattern;
use crate::rejection::RejectionCode as Code;
use crate::spend::SpendState;

/// Seconds after the start at which it can be presented no more.
pub(super) fn over() -> i64 {
    VALID_BEFORE - START.seconds()
}

/// A hold on the mandate rail that does not lapse before it is over.
pub(super) fn held(number: u8, units: u128) -> Request {
    but(number, units, |hold| {
        hold.authorization = presented_for(number);
        hold.expires_at = START.plus_micros(100_000_000_000);
    })
}

pub(super) fn present(number: u8) -> Request {
    on(Command::Present { spend: spend(number), document: Digest::of(b"chain") })
}

pub(super) fn acknowledge(number: u8, answer: Answered) -> Request {
    let receipt = Acknowledgement { document: Digest::of(b"receipt"), transaction: "r-1".parse().unwrap(), answer };
    on(Command::Acknowledge { spend: spend(number), receipt })
}

fn lapse(number: u8) -> Request {
    on(Command::Lapse { spend: spend(number) })
}

pub(super) fn fence(to: GateState) -> Request {
    on(Command::Gate { scope: Scope::Fence, to })
}

/// One whose time is over at the start.
pub(super) fn early() -> Request {
    but(1, 100, |hold| {
        hold.authorization = presented_for(1);
        hold.valid_before = START.seconds();
        hold.expires_at = START.plus_micros(100_000_000_000);
    })
}

/// A book with these records that got a fence and was let on.
fn set_back(records: Vec<Request>) -> Vec<Request> {
    records.into_iter().chain([fence(GateState::Closed), fence(GateState::Open)]).collect()
}

pub(super) fn cases() -> Vec<Case> {
    [of_the_other_rail(), out_of_turn(), accepted_before()].concat()
}

/// What was presented to us is used up by whoever accepts it first.
fn accepted_before() -> Vec<Case> {
    let accepts = |number, request| by(merchant(), Command::Accept(Box::new(accept(number, request))));
    let as_held = |request| {
        let same = Accept { mandate: mandate(0), nonce: "leaf-1".to_owned(), ..accept(1, request) };
        by(merchant(), Command::Accept(Box::new(same)))
    };
    let stop = |number| on(gate(number, GateState::Closed));
    let by_whom = |who| by(who, Command::Accept(Box::new(accept(1, 1))));
    vec![
        (vec![accepts(1, 1)], 0, accepts(1, 2), Code::MandateConsumed),
        (vec![plain(1, 10)], 0, as_held(1), Code::MandateConsumed),
        (vec![as_held(1)], 0, plain(1, 10), Code::MandateConsumed),
        (vec![], 0, by_whom(agent()), Code::OwnerMismatch),
        (vec![], 0, by_whom(user()), Code::OwnerMismatch),
        (vec![stop(0)], 0, accepts(1, 1), Code::Stopped),
        (vec![fence(GateState::Closed)], 0, accepts(1, 1), Code::Stopped),
    ]
}

/// What the other rail shows says nothing.
fn of_the_other_rail() -> Vec<Case> {
    let transaction = || "0x77".parse().unwrap();
    let one = spend(1);
    let given = || vec![held(1, 100), commit(1), present(1)];
    let paid = || vec![held(1, 100), commit(1), present(1), acknowledge(1, Answered::Paid)];
    let on_chain = || vec![plain(1, 100), commit(1)];
    let submitted = || vec![plain(1, 100), commit(1), on(Command::Submit { spend: one, transaction: transaction() })];
    let unproved = on(Command::Release { spend: one, proof: ReleaseProof::Unused(unused(VALID_BEFORE)) });
    vec![
        // An unused nonce of a chain that never heard of it proves nothing.
        (given(), over(), unproved.clone(), Code::RailMismatch),
        (vec![held(1, 100), commit(1)], over(), unproved, Code::RailMismatch),
        (
            given(),
            0,
            on(Command::Release { spend: one, proof: ReleaseProof::Canceled(transaction()) }),
            Code::RailMismatch,
        ),
        (given(), 0, on(Command::Settle { spend: one, seen: seen(100), finalized: FINAL }), Code::RailMismatch),
        (given(), 0, on(Command::Misspend { spend: one, transaction: transaction() }), Code::RailMismatch),
        (
            vec![held(1, 100), commit(1)],
            0,
            on(Command::Submit { spend: one, transaction: transaction() }),
            Code::RailMismatch,
        ),
        (paid(), 0, on(Command::Refund { spend: one, refund: refund(1, 10) }), Code::RailMismatch),
        (on_chain(), 0, present(1), Code::RailMismatch),
        (on_chain(), over(), lapse(1), Code::RailMismatch),
        (submitted(), 0, acknowledge(1, Answered::Paid), Code::RailMismatch),
        (submitted(), 0, acknowledge(1, Answered::NotPaid), Code::RailMismatch),
    ]
}

fn out_of_turn() -> Vec<Case> {
    let held = || held(1, 100);
    let given = || vec![held(), commit(1), present(1)];
    let kill = |number| on(gate(number, GateState::Closed));
    let signed_and = |request| vec![held(), commit(1), request];
    vec![
        (vec![], 0, present(9), Code::SpendUnknown),
        (vec![], 0, acknowledge(9, Answered::Paid), Code::SpendUnknown),
        (vec![], 0, lapse(9), Code::SpendUnknown),
        (vec![held()], 0, present(1), Code::SpendStateWrong),
        (vec![held()], 0, acknowledge(1, Answered::NotPaid), Code::SpendStateWrong),
        (vec![held()], over(), lapse(1), Code::SpendStateWrong),
        (given(), 0, void(1), Code::SpendStateWrong),
        // Nobody can answer what nobody got.
        (vec![held(), commit(1)], 0, acknowledge(1, Answered::Paid), Code::SpendStateWrong),
        (vec![held(), commit(1)], 0, acknowledge(1, Answered::NotPaid), Code::SpendStateWrong),
        // What somebody got does not lapse.
        (given(), over(), lapse(1), Code::SpendStateWrong),
        (vec![held(), commit(1)], over() - 1, lapse(1), Code::NotExpired),
        (vec![held(), commit(1)], over(), present(1), Code::HoldExpired),
        (vec![held(), commit(1), fence(GateState::Closed)], over(), lapse(1), Code::Stopped),
        // While it can be paid, a word that it was not frees nothing.
        (given(), over() - 1, acknowledge(1, Answered::NotPaid), Code::NotExpired),
        // A book that was set back, and let on when all that it knows was over.
        (set_back(vec![early(), commit(1)]), 0, lapse(1), Code::MayBeOut),
        (set_back(vec![early(), commit(1)]), 9_000, lapse(1), Code::MayBeOut),
        (set_back(vec![early()]), 0, void(1), Code::MayBeOut),
        (set_back(vec![early()]), 100_001, on(Command::Expire { spend: spend(1) }), Code::MayBeOut),
        // Stopped between signature and hand-over.
        (signed_and(state(mandate(0), BudgetState::Suspended)), 0, present(1), Code::MandateSuspended),
        (signed_and(state(PERSON, BudgetState::Suspended)), 0, present(1), Code::MandateSuspended),
        (signed_and(state(ROOT, BudgetState::Revoked)), 0, present(1), Code::MandateRevoked),
        (signed_and(kill(0)), 0, present(1), Code::Stopped),
        (signed_and(kill(3)), 0, present(1), Code::Stopped),
        // One verifier's nonce, once.
        (vec![held()], 0, but(2, 100, |hold| hold.authorization = presented_for(1)), Code::AuthorizationClaimed),
    ]
}

pub(super) fn done(memory: &mut Memory, seconds: i64, request: &Request) {
    let told = memory.run(START.plus_micros(seconds * 1_000_000), request);
    assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
}

/// What a node holds and has posted after each way that it can end.
#[test]
fn the_table_row_by_row() {
    let given = [held(1, 40), commit(1), present(1)];
    let doubt = on(Command::Doubt { spend: spend(1) });
    let paid = || acknowledge(1, Answered::Paid);
    let not_paid = || acknowledge(1, Answered::NotPaid);
    // Name, steps at the start, one when it is over, then held, posted, count and state.
    type Row<'a> = (&'a str, Vec<Request>, Option<Request>, (u128, u128, u64), SpendState);
    let rows: Vec<Row<'_>> = vec![
        ("given", given.to_vec(), None, (40, 0, 1), SpendState::Submitted),
        ("paid", [&given[..], &[paid()]].concat(), None, (0, 40, 1), SpendState::Settled),
        ("not paid", given.to_vec(), Some(not_paid()), (0, 0, 0), SpendState::Released),
        ("in doubt", given.to_vec(), Some(doubt.clone()), (40, 0, 1), SpendState::Unknown),
        (
            "paid after all",
            [&given[..], std::slice::from_ref(&doubt)].concat(),
            Some(paid()),
            (0, 40, 1),
            SpendState::Settled,
        ),
        ("refused after all", [&given[..], &[doubt]].concat(), Some(not_paid()), (0, 0, 0), SpendState::Released),
        ("never given", given[..2].to_vec(), Some(lapse(1)), (0, 0, 0), SpendState::Released),
    ];
    for (name, steps, last, figures, state) in rows {
        let mut memory = opened();
        steps.iter().for_each(|request| done(&mut memory, 0, request));
        last.iter().for_each(|request| done(&mut memory, over(), request));
        for node in [mandate(0), PERSON, ROOT] {
            let node = memory.view.budgets.find(&node).unwrap().unwrap();
            assert_eq!((node.held.get(), node.posted.get(), node.count), figures, "{name}: {}", node.id);
        }
        assert_eq!(memory.view.spends.find(&spend(1)).unwrap().unwrap().state, state, "{name}");
        for transfer in memory.records.iter().flat_map(|record| &record.transfers) {
            assert!(pattern(transfer).is_some(), "{name}: {transfer:?} is in no table");
        }
        // Told again, each step is known.
        let last = last.iter().chain(steps.last()).next().unwrap();
        assert!(matches!(memory.run(START.plus_micros((over() + 1) * 1_000_000), last), Told::Known), "{name}");
    }
}

#[test]
fn what_was_not_paid_is_over() {
    let mut memory = opened();
    [held(1, 40), commit(1), present(1)].iter().for_each(|request| done(&mut memory, 0, request));
    done(&mut memory, over(), &acknowledge(1, Answered::NotPaid));
    for (request, code) in [
        (resolve(1, Answered::Paid), Code::SpendStateWrong),
        (present(1), Code::SpendStateWrong),
        (held(1, 40), Code::SpendReleased),
    ] {
        let told = memory.run(START.plus_micros((over() + 1) * 1_000_000), &request);
        assert!(matches!(&told, Told::Rejected(rejection) if rejection.code() == code), "{code}: {told:?}");
    }
}

/// What was reserved after the fence was lifted is known.
#[test]
fn a_fence_of_before_bars_nothing_of_after() {
    let mut memory = opened();
    set_back(Vec::new()).iter().for_each(|request| done(&mut memory, 0, request));
    [held(1, 40), commit(1)].iter().for_each(|request| done(&mut memory, 0, request));
    done(&mut memory, over(), &lapse(1));
}

/// The same acceptance again is known, and moves nothing; another nonce is another use.
#[test]
fn an_acceptance_is_one() {
    let mut memory = opened();
    let accepts = |number| by(merchant(), Command::Accept(Box::new(accept(number, 1))));
    done(&mut memory, 0, &accepts(1));
    assert!(matches!(memory.run(START, &accepts(1)), Told::Known));
    done(&mut memory, 0, &accepts(2));
    let record = memory.records.last().unwrap();
    assert_eq!(record.claims[0].outcome, ClaimOutcome::Accepted(accept(2, 1).document));
    assert_eq!((record.transfers.len(), record.moves.len()), (0, 0));
    assert_eq!(events(record)[0].kind, EventType::MandateAccepted);
}

/// What somebody got and what they answered can be found from the record.
#[test]
fn the_records_name_both_documents() {
    let mut memory = opened();
    for request in [held(1, 40), commit(1), present(1), acknowledge(1, Answered::Paid)] {
        done(&mut memory, 0, &request);
    }
    let last = &memory.records[memory.records.len() - 2..];
    let told: Vec<_> = last.iter().map(|record| (record.operation, record.fact.clone())).collect();
    let reference = |text: &[u8]| Some(Fact::Reference(Digest::of(text)));
    assert_eq!(told, [(Operation::Submit, reference(b"chain")), (Operation::Settle, reference(b"receipt"))]);
}
