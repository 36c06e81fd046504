//! Refunds, caps that change, and payments that a restored book finds: refusals first, then the rules row by row.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, commit, holds, on, plain};
use super::stream::{
    FINAL, PERSON, ROOT, agent, authorization, by, change_caps, daily, decide, hold, mandate, open, propose, recover,
    refund, seen, spend, total, user,
};
use crate::account::Account;
use crate::budget::{BudgetKind, Caps, Refunds};
use crate::command::{Command, Recover, Refund, Request};
use crate::decision::Answer;
use crate::gate::{GateState, Scope};
use crate::id::BudgetId;
use crate::rejection::{Rejection, RejectionCode as Code};
use crate::spend::Observation;

fn back(number: u8, refund: Refund) -> Request {
    by(agent(), Command::Refund { spend: spend(number), refund })
}

fn settle(number: u8, units: u128) -> Request {
    on(Command::Settle { spend: spend(number), seen: seen(units), finalized: FINAL })
}

fn paid(number: u8, units: u128) -> Vec<Request> {
    vec![plain(number, units), commit(number), settle(number, units)]
}

fn fence(to: GateState) -> Request {
    on(Command::Gate { scope: Scope::Fence, to })
}

fn recovers(recover: Recover) -> Request {
    on(Command::Recover(Box::new(recover)))
}

fn caps(budget: BudgetId, caps: Caps) -> Request {
    on(change_caps(budget, caps))
}

fn elsewhere(units: u128) -> Refund {
    let refund = refund(1, units);
    Refund {
        seen: Observation { pay_to: "0x00000000000000000000000000000000000000cc".to_owned(), ..refund.seen },
        ..refund
    }
}

pub(super) fn cases() -> Vec<Case> {
    let two = [paid(1, 40), paid(2, 40)].concat();
    let unfenced = Recover { money: super::stream::money(0), ..recover(9, 5) };
    let twice = [daily(5), daily(6)];
    let many = (1..=17).map(|seconds| super::stream::rolling(seconds * 60, 1, 1)).collect();
    vec![
        (vec![], 0, back(1, refund(1, 5)), Code::SpendUnknown),
        (vec![plain(1, 40)], 0, back(1, refund(1, 5)), Code::SpendStateWrong),
        (vec![plain(1, 40), commit(1)], 0, back(1, refund(1, 5)), Code::SpendStateWrong),
        (paid(1, 40), 0, back(1, refund(1, 0)), Code::AmountZero),
        (paid(1, 40), 0, back(1, refund(1, 41)), Code::RefundExceedsPayment),
        (paid(1, 40), 0, back(1, refund(1, u128::MAX)), Code::RefundExceedsPayment),
        ([paid(1, 40), vec![back(1, refund(1, 30))]].concat(), 0, back(1, refund(2, 11)), Code::RefundExceedsPayment),
        (paid(1, 40), 0, back(1, elsewhere(5)), Code::SettlementMismatch),
        ([two, vec![back(1, refund(1, 5))]].concat(), 0, back(2, refund(1, 5)), Code::RefundClaimed),
        (vec![], 0, recovers(recover(9, 5)), Code::NotFenced),
        (vec![fence(GateState::Closed), fence(GateState::Open)], 0, recovers(recover(9, 5)), Code::NotFenced),
        (vec![fence(GateState::Closed)], 0, recovers(unfenced), Code::AmountZero),
        (vec![fence(GateState::Closed)], 0, by(user(), Command::Recover(Box::new(recover(9, 5)))), Code::OwnerMismatch),
        (
            vec![fence(GateState::Closed)],
            0,
            recovers(Recover { nodes: vec![mandate(99)], ..recover(9, 5) }),
            Code::MandateUnknown,
        ),
        (vec![fence(GateState::Closed)], 0, plain(1, 1), Code::Stopped),
        // It may have been signed: the book was set back.
        (vec![plain(1, 1), fence(GateState::Closed)], 0, super::rejections::void(1), Code::Stopped),
        (vec![plain(1, 1), fence(GateState::Closed)], 300, on(Command::Expire { spend: spend(1) }), Code::Stopped),
        (vec![plain(1, 1), fence(GateState::Closed)], 0, commit(1), Code::Stopped),
        (
            vec![fence(GateState::Closed)],
            0,
            by(user(), Command::Gate { scope: Scope::Fence, to: GateState::Open }),
            Code::NotYoursToLift,
        ),
        (vec![], 0, by(user(), Command::Gate { scope: Scope::Fence, to: GateState::Closed }), Code::NotYoursToLift),
        // The nonce of a payment that was found is nobody's any more.
        (
            vec![fence(GateState::Closed), recovers(recover(1, 5)), fence(GateState::Open)],
            0,
            plain(1, 5),
            Code::AuthorizationClaimed,
        ),
        (vec![], 0, caps(mandate(99), total(1)), Code::MandateUnknown),
        (vec![], 0, caps(mandate(0), total(1)), Code::StateChangeRefused),
        (vec![], 0, by(user(), change_caps(PERSON, total(1))), Code::StateChangeRefused),
        (vec![], 0, by(agent(), change_caps(ROOT, total(1))), Code::StateChangeRefused),
        (vec![], 0, caps(PERSON, total(1_001)), Code::CapExceedsParent),
        (vec![], 0, caps(PERSON, Caps { limits: vec![daily(1_001)], ..total(1) }), Code::CapExceedsParent),
        (vec![], 0, caps(PERSON, Caps { limits: many, ..total(1) }), Code::LimitInvalid),
        (vec![caps(ROOT, Caps { limits: twice.to_vec(), ..total(10) })], 0, plain(1, 6), Code::AmountExceedsPeriod),
        (vec![caps(PERSON, total(39))], 0, plain(1, 40), Code::AmountExceedsBudget),
        ([paid(1, 40), vec![caps(PERSON, total(39))]].concat(), 0, plain(2, 1), Code::AmountExceedsBudget),
        (
            [paid(1, 40), vec![caps(ROOT, Caps { limits: vec![daily(39)], ..total(900) })]].concat(),
            0,
            plain(2, 1),
            Code::AmountExceedsPeriod,
        ),
    ]
}

fn done(memory: &mut Memory, request: &Request) {
    let told = memory.run(at(1), request);
    assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
}

fn posted(memory: &Memory, id: BudgetId) -> u128 {
    memory.view.budgets.find(&id).unwrap().unwrap().posted.get()
}

/// A payment of 40 tokens under an authority of 41 units, refunded in parts: to the nodes that restore, what the parts
/// come to together and never a unit more; to the others nothing.
#[test]
fn a_refund_gives_back_where_the_node_says_so() {
    let mut memory = opened();
    done(&mut memory, &propose(9));
    done(&mut memory, &decide(9, Answer::Approve));
    let restoring = Caps { limits: vec![daily(100)], refunds: Refunds::Restore, ..total(100) };
    done(&mut memory, &open(mandate(9), Some(PERSON), BudgetKind::Mandate, restoring, Some(9)));
    let mut paid = hold(1, mandate(9), 40);
    paid.authority = super::stream::money(41);
    for request in [holds(paid), commit(1), settle(1, 40)] {
        done(&mut memory, &request);
    }
    let rows = [(1, 1, 40), (2, 18, 22), (3, 20, 2), (4, 1, 0)];
    for (transaction, units, left) in rows {
        done(&mut memory, &back(1, refund(transaction, units)));
        assert_eq!(posted(&memory, mandate(9)), left, "after {units} more");
        assert_eq!(posted(&memory, PERSON), left, "the person's node restores too");
        assert_eq!(posted(&memory, ROOT), 41, "the tenant's keeps");
    }
    let found = memory.view.spends.find(&spend(1)).unwrap().unwrap();
    assert_eq!((found.refunded.get(), found.state.is_open()), (40, false));
    let windows = memory.view.windows.changed().map(|(_, window)| window.posted.get());
    assert_eq!(windows.filter(|posted| *posted == 0).count(), 1, "the window of the mandate");
    // Told again, nothing happens; and the count of payments is not given back.
    assert_eq!(memory.run(at(2), &back(1, refund(4, 1))), Told::Known);
    assert_eq!(memory.view.budgets.find(&mandate(9)).unwrap().unwrap().count, 1);
    let books: Vec<_> = memory.records.iter().flat_map(|record| &record.transfers).collect();
    let back = books.iter().filter(|leg| leg.credit == Account::Refunds);
    assert_eq!(back.map(|leg| leg.amount.get()).sum::<u128>(), 40);
}

/// What is held when a cap falls under it is signed, settled or given back as before; nothing new fits until it does.
#[test]
fn a_lowered_cap_takes_nothing_back_and_lets_nothing_in() {
    let mut memory = opened();
    for request in [plain(1, 100), plain(2, 100), caps(PERSON, Caps { limits: vec![daily(150)], ..total(150) })] {
        done(&mut memory, &request);
    }
    let refused = |memory: &mut Memory, number, units| {
        let told = memory.run(at(1), &plain(number, units));
        let Told::Rejected(Rejection::AmountExceedsBudget { available, cap, .. }) = told else { panic!("{told:?}") };
        (available.get(), cap.get())
    };
    assert_eq!(refused(&mut memory, 3, 1), (0, 150));
    for request in [commit(1), settle(1, 100)] {
        done(&mut memory, &request);
    }
    assert_eq!(refused(&mut memory, 4, 1), (0, 150));
    done(&mut memory, &on(Command::Void { spend: spend(2) }));
    assert_eq!(refused(&mut memory, 5, 51), (50, 150));
    // The limit is new: it counts from now on.
    done(&mut memory, &plain(6, 50));
    assert_eq!(refused(&mut memory, 7, 1), (0, 150));
    assert_eq!(memory.run(at(1), &caps(PERSON, Caps { limits: vec![daily(150)], ..total(150) })), Told::Known);
    // Raised again, and the limit gone: its place stays.
    done(&mut memory, &caps(PERSON, total(700)));
    done(&mut memory, &plain(8, 300));
    let node = memory.view.budgets.find(&PERSON).unwrap().unwrap();
    assert_eq!((node.caps.limits.len(), node.is_over, node.caps.refunds), (1, false, Refunds::Restore));
    // Asked for again it has counted all along.
    done(&mut memory, &caps(PERSON, Caps { limits: vec![daily(360)], ..total(700) }));
    let told = memory.run(at(1), &plain(9, 11));
    assert!(matches!(&told, Told::Rejected(Rejection::AmountExceedsPeriod { available, .. }) if available.get() == 10));
}

/// Each node above the mandates is charged as far as it has room, once.
#[test]
fn a_payment_that_is_found_is_charged_to_all_who_may_have_made_it() {
    let mut memory = opened();
    for request in [plain(1, 300), commit(1), fence(GateState::Closed), recovers(recover(9, 450))] {
        done(&mut memory, &request);
    }
    assert_eq!((posted(&memory, PERSON), posted(&memory, ROOT)), (400, 450));
    assert_eq!(memory.run(at(2), &recovers(recover(9, 450))), Told::Known);
    done(&mut memory, &recovers(recover(10, 1)));
    assert_eq!((posted(&memory, PERSON), posted(&memory, ROOT)), (400, 451));
    done(&mut memory, &fence(GateState::Open));
    assert!(matches!(memory.run(at(2), &plain(2, 1)), Told::Rejected(Rejection::AmountExceedsBudget { .. })));
    // A payment that the book does know is no news.
    done(&mut memory, &fence(GateState::Closed));
    let known = Recover { authorization: authorization(1), ..recover(1, 300) };
    assert_eq!(memory.run(at(2), &recovers(known)), Told::Known);
}

/// A book that was set back between the hold and the signature has the hold, and the chain has the payment.
#[test]
fn a_payment_of_a_spend_that_is_only_held_is_found_too() {
    let mut memory = opened();
    for request in [plain(1, 100), plain(2, 100), super::rejections::void(2), fence(GateState::Closed)] {
        done(&mut memory, &request);
    }
    for number in [1, 2] {
        let lost = Recover { authorization: authorization(number), ..recover(number, 100) };
        done(&mut memory, &recovers(lost.clone()));
        assert_eq!(memory.run(at(2), &recovers(lost)), Told::Known);
    }
    assert_eq!((posted(&memory, PERSON), posted(&memory, ROOT)), (200, 200));
    // The windows of the nodes too: of a thousand a day nothing else was used but the hold.
    let daily = memory.view.windows.changed().find(|(key, _)| key.budget == ROOT && key.payee.is_none());
    let (_, window) = daily.unwrap();
    assert_eq!((window.held.get(), window.posted.get(), window.count), (100, 200, 1));
}

/// Two limits of one kind are two limits, whatever is changed.
#[test]
fn limits_of_one_kind_are_told_apart_by_their_order() {
    let by_number = crate::window::Limit { amount: None, payments: Some(1), ..daily(1) };
    let limits = vec![daily(500), by_number];
    let mut memory = opened();
    done(&mut memory, &caps(PERSON, Caps { limits: limits.clone(), ..total(700) }));
    assert_eq!(memory.run(at(1), &caps(PERSON, Caps { limits: limits.clone(), ..total(700) })), Told::Known);
    done(&mut memory, &plain(1, 1));
    assert!(matches!(memory.run(at(1), &plain(2, 1)), Told::Rejected(Rejection::PaymentsExceedPeriod { .. })));
    done(&mut memory, &caps(PERSON, Caps { limits, ..total(699) }));
    assert!(matches!(memory.run(at(1), &plain(3, 1)), Told::Rejected(Rejection::PaymentsExceedPeriod { .. })));
}
