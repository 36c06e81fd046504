//! Handing on: who may, under what, what a key opens, and that the tree holds the sum.

use super::memory::{Memory, Told};
use super::opened;
use super::stream::{START, agent, by, caller, hold, mandate, service, spend, token, total, user};
use crate::budget::{Budget, BudgetKind, BudgetState, Caps, PATH_NODES_MAX};
use crate::claim::ClaimOutcome;
use crate::command::{Command, Delegate, OpenBudget, Request};
use crate::effects::Operation;
use crate::event::{EventType, events};
use crate::gate::{GateState, Scope};
use crate::id::{BudgetId, Caller, CallerKind, DecisionId, Digest};
use crate::money::Amount;
use crate::rejection::{Rejection, RejectionCode as Code};

fn to(name: &str) -> Caller {
    caller(name, CallerKind::Agent)
}

/// A node under a mandate, for another agent; its key is its number.
fn child(number: u8, parent: BudgetId, holder: &str, caps: Caps) -> Delegate {
    Delegate {
        operation: "delegations".to_owned(),
        key: format!("key-{number}").parse().unwrap(),
        request: Digest::of(&[number]),
        open: OpenBudget {
            id: mandate(number),
            parent: Some(parent),
            kind: BudgetKind::Mandate,
            holder: holder.parse().unwrap(),
            asset: token(),
            caps,
            decision: Some(DecisionId([0; 32])),
            document: Some(Digest::of(b"child")),
        },
    }
}

fn handed(who: Caller, delegate: Delegate) -> Request {
    by(who, Command::Delegate(Box::new(delegate)))
}

fn pays(who: &str, number: u8, under: BudgetId, units: u128) -> Request {
    by(to(who), Command::Hold(Box::new(hold(number, under, units))))
}

#[track_caller]
fn done(memory: &mut Memory, request: &Request) {
    let told = memory.run(START, request);
    assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
}

#[track_caller]
fn refused(memory: &mut Memory, request: &Request, code: Code) -> Rejection {
    let before = memory.records.len();
    let told = memory.run(START, request);
    let Told::Rejected(rejection) = told else { panic!("{told:?} for {request:?}") };
    assert_eq!(rejection.code(), code, "{request:?}");
    let opened = memory.records[before..].iter().any(|record| !record.opened.is_empty());
    assert!(!opened, "a refusal opens nothing");
    rejection
}

fn node(memory: &Memory, id: BudgetId) -> Budget {
    memory.view.budgets.find(&id).unwrap().unwrap().clone()
}

fn with_child() -> Memory {
    let mut memory = opened();
    done(&mut memory, &handed(agent(), child(40, mandate(0), "agent-2", total(300))));
    memory
}

#[test]
fn only_its_holder_hands_a_mandate_on_and_only_what_it_has() {
    let mut memory = opened();
    let fine = || child(40, mandate(0), "agent-2", total(300));
    for who in [to("agent-2"), to("agent-9"), user(), service(), caller("agent-1", CallerKind::User)] {
        refused(&mut memory, &handed(who, fine()), Code::OwnerMismatch);
    }
    let changed = |change: &dyn Fn(&mut OpenBudget)| {
        let mut delegate = fine();
        change(&mut delegate.open);
        delegate
    };
    for (delegate, code) in [
        (changed(&|open| open.parent = None), Code::MandateUnknown),
        (changed(&|open| open.parent = Some(mandate(99))), Code::MandateUnknown),
        // a person and a tenant hand nothing on: that is what decisions are for
        (changed(&|open| open.parent = Some(super::stream::PERSON)), Code::MandateUnknown),
        (changed(&|open| open.parent = Some(super::stream::ROOT)), Code::MandateUnknown),
        (changed(&|open| open.asset = "iso4217:USD".parse().unwrap()), Code::AssetMismatch),
        (changed(&|open| open.caps = total(501)), Code::CapExceedsParent),
        // who approved it is who approved the parent
        (changed(&|open| open.decision = None), Code::ApprovalRequired),
        (changed(&|open| open.decision = Some(DecisionId([1; 32]))), Code::ApprovalRequired),
        (changed(&|open| open.kind = BudgetKind::Person), Code::ApprovalRequired),
        (changed(&|open| open.id = mandate(1)), Code::MandateExists),
    ] {
        refused(&mut memory, &handed(agent(), delegate), code);
    }
    done(&mut memory, &handed(agent(), fine()));
    let opened = node(&memory, mandate(40));
    assert_eq!(opened.path[..2], [mandate(40), mandate(0)]);
    assert_eq!(opened.decision, node(&memory, mandate(0)).decision);
    let record = memory.records.last().unwrap();
    assert_eq!((record.operation, &record.decision), (Operation::OpenBudget, &None), "no decision is used up");
    assert_eq!(record.claims[0].outcome, ClaimOutcome::Opened(mandate(40)));
    assert_eq!(events(record)[0].kind, EventType::MandateOpened);
}

#[test]
fn a_key_opens_one_node() {
    let mut memory = with_child();
    let again = || child(40, mandate(0), "agent-2", total(300));
    let count = memory.records.len();
    // A retry has drawn other salts, so another node; the key answers with the first.
    let mut retry = again();
    retry.open.id = mandate(41);
    let request = handed(agent(), retry.clone());
    assert_eq!(memory.run(START, &request), Told::Known);
    assert_eq!(retry.opened(&memory.view, &request), Some(mandate(40)));
    assert_eq!(memory.records.len(), count);
    let mut other = again();
    other.request = Digest::of(b"other");
    refused(&mut memory, &handed(agent(), other), Code::IdempotencyKeyReused);
    // Also when the parent has ended since.
    done(&mut memory, &by(user(), Command::ChangeBudget { budget: mandate(0), to: BudgetState::Revoked }));
    assert_eq!(memory.run(START, &handed(agent(), again())), Told::Known);
}

#[test]
fn nothing_is_handed_on_from_what_does_not_stand() {
    let stop = |scope| by(service(), Command::Gate { scope, to: GateState::Closed });
    let change = |budget, to| by(user(), Command::ChangeBudget { budget, to });
    let grandchild = || handed(to("agent-2"), child(42, mandate(40), "agent-3", total(100)));
    for (before, code) in [
        (change(mandate(40), BudgetState::Suspended), Code::MandateSuspended),
        (change(mandate(40), BudgetState::Revoked), Code::MandateRevoked),
        (change(mandate(0), BudgetState::Suspended), Code::MandateSuspended),
        (change(mandate(0), BudgetState::Revoked), Code::MandateRevoked),
        (stop(Scope::Everything), Code::Stopped),
        (stop(Scope::Fence), Code::Stopped),
        (stop(Scope::Person("user-1".parse().unwrap())), Code::Stopped),
        (stop(Scope::Agent("agent-1".parse().unwrap())), Code::Stopped),
        (stop(Scope::Agent("agent-2".parse().unwrap())), Code::Stopped),
        (stop(Scope::Agent("agent-3".parse().unwrap())), Code::Stopped),
        (stop(Scope::Mandate(mandate(0))), Code::Stopped),
        (stop(Scope::Mandate(mandate(40))), Code::Stopped),
    ] {
        let mut memory = with_child();
        done(&mut memory, &before);
        refused(&mut memory, &grandchild(), code);
    }
    let mut memory = opened();
    let mut late = child(43, mandate(3), "agent-2", Caps::default());
    late.open.decision = Some(DecisionId([3; 32]));
    let told = memory.run(START.plus_micros(600_000_000), &handed(agent(), late));
    assert!(matches!(&told, Told::Rejected(Rejection::MandateExpired { .. })), "{told:?}");
    done(&mut with_child(), &grandchild());
}

#[test]
fn what_is_spent_under_a_child_is_spent_under_all_above_it() {
    let mut memory = with_child();
    done(&mut memory, &handed(agent(), child(41, mandate(0), "agent-3", total(300))));
    done(&mut memory, &handed(to("agent-2"), child(42, mandate(40), "agent-4", total(200))));
    done(&mut memory, &pays("agent-4", 1, mandate(42), 150));
    for id in node(&memory, mandate(42)).path {
        assert_eq!(node(&memory, id).held, Amount::new(150), "{id}");
    }
    assert_eq!(node(&memory, mandate(41)).held, Amount::ZERO, "a sibling is not debited");
    // 300 + 300 are within neither 500; the tree holds the sum.
    done(&mut memory, &pays("agent-3", 2, mandate(41), 300));
    let over = refused(&mut memory, &pays("agent-2", 3, mandate(40), 51), Code::AmountExceedsBudget);
    assert!(over.to_string().contains(&mandate(0).to_string()), "the parent is what is full: {over}");
    done(&mut memory, &pays("agent-2", 4, mandate(40), 50));
    for (who, under) in [("agent-1", mandate(40)), ("agent-3", mandate(40)), ("agent-2", mandate(0))] {
        refused(&mut memory, &pays(who, 5, under, 1), Code::OwnerMismatch);
    }
}

#[test]
fn a_stop_above_bars_holds_and_signatures_below() {
    let stop = |scope| by(service(), Command::Gate { scope, to: GateState::Closed });
    let change = |budget, to| by(user(), Command::ChangeBudget { budget, to });
    for (before, code) in [
        (change(mandate(0), BudgetState::Suspended), Code::MandateSuspended),
        (change(mandate(0), BudgetState::Revoked), Code::MandateRevoked),
        (stop(Scope::Mandate(mandate(0))), Code::Stopped),
        (stop(Scope::Agent("agent-1".parse().unwrap())), Code::Stopped),
        (stop(Scope::Agent("agent-2".parse().unwrap())), Code::Stopped),
        (stop(Scope::Person("user-1".parse().unwrap())), Code::Stopped),
    ] {
        let mut memory = with_child();
        done(&mut memory, &pays("agent-2", 1, mandate(40), 10));
        done(&mut memory, &before);
        refused(&mut memory, &pays("agent-2", 2, mandate(40), 10), code);
        refused(&mut memory, &by(to("agent-2"), Command::Commit { spend: spend(1) }), code);
    }
    // The other way round: a child that ends leaves its parent.
    let mut memory = with_child();
    done(&mut memory, &change(mandate(40), BudgetState::Revoked));
    done(&mut memory, &stop(Scope::Agent("agent-2".parse().unwrap())));
    done(&mut memory, &by(agent(), Command::Hold(Box::new(hold(3, mandate(0), 10)))));
}

#[test]
fn a_path_ends() {
    let mut memory = opened();
    let (mut parent, mut holder) = (mandate(0), "agent-1".to_owned());
    let room = u8::try_from(PATH_NODES_MAX - node(&memory, mandate(0)).path.len()).unwrap();
    for number in 0..=room {
        let next = format!("deep-{number}");
        let request = handed(to(&holder), child(100 + number, parent, &next, total(1)));
        if number == room {
            refused(&mut memory, &request, Code::PathTooDeep);
        } else {
            done(&mut memory, &request);
        }
        (parent, holder) = (mandate(100 + number), next);
    }
}
