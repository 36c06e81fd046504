//! Stops by build and by issuer: what an agent runs and by whom it comes, when it reserved and when it is signed for.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{commit, state, void};
use super::stream::{
    ISSUER, START, agent, build, by, caller, decide, gate, hold, mandate, open, propose, service, spend, total, user,
};
use crate::budget::{BudgetKind, BudgetState};
use crate::command::{Command, Request};
use crate::decision::Answer;
use crate::gate::{GateState, Scope};
use crate::id::{Caller, CallerKind};
use crate::origin::Build;
use crate::rejection::{Rejection, RejectionCode as Code};

fn operator() -> Caller {
    caller("operator", CallerKind::Operator)
}

fn turn(scope: Scope, to: GateState) -> Request {
    by(operator(), Command::Gate { scope, to })
}

fn ours() -> Caller {
    caller("agent-1", CallerKind::Agent)
}

fn running(build: Build) -> Caller {
    Caller { build: Some(build), ..ours() }
}

fn come_by(issuer: &str, caller: Caller) -> Caller {
    Caller { issuer: Some(issuer.parse().unwrap()), ..caller }
}

fn holds(who: Caller, number: u8) -> Request {
    by(who, Command::Hold(Box::new(hold(number, mandate(0), 1))))
}

fn signs(who: Caller, number: u8) -> Request {
    by(who, Command::Commit { spend: spend(number) })
}

fn done(memory: &mut Memory, request: &Request) {
    let told = memory.run(START, request);
    assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
}

fn stopped(memory: &mut Memory, request: &Request, by: &Scope) {
    let told = memory.run(START, request);
    let Told::Rejected(Rejection::Stopped { scope, .. }) = &told else { panic!("{told:?} for {request:?}") };
    assert_eq!(*scope, by.to_string(), "{request:?}");
}

#[test]
fn a_build_bars_who_runs_it_now_and_what_it_reserved() {
    let (old, new) = (build(1), build(2));
    let scope = Scope::Build(old);
    let mut memory = opened();
    done(&mut memory, &holds(running(old), 1));
    done(&mut memory, &holds(running(new), 2));
    done(&mut memory, &holds(ours(), 3));
    done(&mut memory, &turn(scope.clone(), GateState::Closed));
    stopped(&mut memory, &holds(running(old), 4), &scope);
    // Another build, or none that was stated, is out of it.
    done(&mut memory, &holds(running(new), 5));
    done(&mut memory, &holds(ours(), 6));
    // What the old build reserved is barred whoever asks for the signature: the agent as it is now, or a part of ours.
    for who in [running(old), running(new), ours(), service()] {
        stopped(&mut memory, &signs(who, 1), &scope);
    }
    // And what another build reserved, where the stopped one asks.
    stopped(&mut memory, &signs(running(old), 2), &scope);
    done(&mut memory, &signs(running(new), 2));
    done(&mut memory, &signs(ours(), 3));
    done(&mut memory, &turn(scope, GateState::Open));
    done(&mut memory, &signs(running(new), 1));
}

#[test]
fn a_stop_of_another_build_or_issuer_bars_nothing() {
    let mut memory = opened();
    for scope in [
        Scope::Build(build(2)),
        Scope::Issuer("https://idp.example".parse().unwrap()),
        Scope::Issuer("https://idp.example/b".parse().unwrap()),
        Scope::Issuer("https://idp.example/a/b".parse().unwrap()),
        Scope::Issuer("http://idp.example/a".parse().unwrap()),
        Scope::Issuer("https://idp.example:8443/a".parse().unwrap()),
    ] {
        done(&mut memory, &turn(scope, GateState::Closed));
    }
    done(&mut memory, &holds(agent(), 1));
    done(&mut memory, &signs(agent(), 1));
    done(&mut memory, &propose(9));
    done(&mut memory, &decide(9, Answer::Approve));
}

#[test]
fn an_issuer_bars_its_agents_and_the_decisions_of_its_people() {
    let scope = Scope::Issuer(ISSUER.parse().unwrap());
    let (inside, outside) = (come_by(ISSUER, ours()), come_by("https://idp.example/b", ours()));
    let mut memory = opened();
    done(&mut memory, &holds(inside.clone(), 1));
    done(&mut memory, &holds(ours(), 2));
    for number in [9, 10] {
        done(&mut memory, &propose(number));
    }
    done(&mut memory, &decide(10, Answer::Approve));
    done(&mut memory, &turn(scope.clone(), GateState::Closed));
    stopped(&mut memory, &holds(inside.clone(), 3), &scope);
    stopped(&mut memory, &signs(ours(), 1), &scope);
    stopped(&mut memory, &signs(inside, 2), &scope);
    done(&mut memory, &signs(outside, 2));
    // The same person with a token of ours decides; with one of the issuer's neither that, nor what follows from it.
    let approve = decide(9, Answer::Approve);
    stopped(&mut memory, &approve, &scope);
    stopped(&mut memory, &decide(9, Answer::Deny), &scope);
    stopped(&mut memory, &decide(10, Answer::Approve), &scope);
    let opens = open(mandate(11), Some(super::stream::PERSON), BudgetKind::Mandate, total(5), Some(10));
    stopped(&mut memory, &by(user(), opens.command.clone()), &scope);
    done(&mut memory, &by(service(), opens.command));
    done(&mut memory, &by(caller("user-1", CallerKind::User), approve.command));
    // To stop is never barred, to let go on is.
    done(&mut memory, &state(mandate(0), BudgetState::Suspended));
    stopped(&mut memory, &state(mandate(0), BudgetState::Active), &scope);
    done(&mut memory, &void(1));
    done(&mut memory, &turn(scope, GateState::Open));
    done(&mut memory, &state(mandate(0), BudgetState::Active));
}

/// Whoever holds the issuer's key can be anybody of it, an operator too.
#[test]
fn nobody_lifts_anything_by_a_stopped_issuer() {
    let scope = Scope::Issuer(ISSUER.parse().unwrap());
    let forged = come_by(ISSUER, operator());
    let mut memory = opened();
    // Whoever sees it first may stop it, also by that issuer.
    done(&mut memory, &by(forged.clone(), Command::Gate { scope: scope.clone(), to: GateState::Closed }));
    done(&mut memory, &by(forged.clone(), gate(0, GateState::Closed)));
    stopped(&mut memory, &by(forged.clone(), Command::Gate { scope: scope.clone(), to: GateState::Open }), &scope);
    stopped(&mut memory, &by(forged, gate(0, GateState::Open)), &scope);
    let mine = by(user(), Command::Gate { scope: scope.clone(), to: GateState::Open });
    stopped(&mut memory, &mine, &scope);
    let plain = by(caller("user-1", CallerKind::User), mine.command);
    let told = memory.run(START, &plain);
    assert!(matches!(&told, Told::Rejected(found) if found.code() == Code::NotYoursToLift), "{told:?}");
    done(&mut memory, &turn(scope, GateState::Open));
    done(&mut memory, &turn(Scope::Everything, GateState::Open));
}

#[test]
fn a_spend_says_what_reserved_it_for_ever() {
    let mut memory = opened();
    done(&mut memory, &holds(agent(), 1));
    done(&mut memory, &holds(ours(), 2));
    done(&mut memory, &commit(1));
    let found = |number: u8| memory.view.spends.find(&spend(number)).unwrap().unwrap().clone();
    assert_eq!((found(1).build, found(1).issuer), (Some(build(1)), Some(ISSUER.parse().unwrap())));
    assert_eq!((found(2).build, found(2).issuer), (None, None));
    let callers: Vec<_> = memory.records.iter().rev().take(3).map(|record| record.caller.build).collect();
    assert_eq!(callers, [None, None, Some(build(1))], "the journal says who ran what");
}
