//! What a stop does to questions that wait: nobody approves under it, and the service may say no to them, nothing else.

use super::memory::{Memory, Told};
use super::opened;
use super::stream::{START, agent, by, caller, decide, propose, service, user};
use crate::command::{Command, Request};
use crate::decision::{Answer, DecisionState};
use crate::gate::{GateState, Scope};
use crate::id::{CallerKind, PrincipalId};
use crate::rejection::RejectionCode as Code;

fn turn(scope: Scope, to: GateState) -> Request {
    by(caller("operator", CallerKind::Operator), Command::Gate { scope, to })
}

fn done(memory: &mut Memory, request: &Request) {
    let told = memory.run(START, request);
    assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
}

fn refused(memory: &mut Memory, request: &Request, code: Code) {
    let told = memory.run(START, request);
    let Told::Rejected(rejection) = &told else { panic!("{told:?} for {request:?}") };
    assert_eq!(rejection.code(), code, "{request:?}");
}

fn answered_by_service(number: u8, answer: Answer) -> Request {
    by(service(), decide(number, answer).command)
}

#[test]
fn nobody_approves_under_a_stop_and_a_no_is_always_taken() {
    for scope in [Scope::Everything, Scope::Person(user().principal), Scope::Agent(agent().principal)] {
        let mut memory = opened();
        for number in [9, 10, 11] {
            done(&mut memory, &propose(number));
        }
        done(&mut memory, &turn(scope.clone(), GateState::Closed));
        refused(&mut memory, &decide(9, Answer::Approve), Code::Stopped);
        done(&mut memory, &decide(10, Answer::Deny));
        done(&mut memory, &answered_by_service(9, Answer::Deny));
        done(&mut memory, &turn(scope.clone(), GateState::Open));
        refused(&mut memory, &decide(9, Answer::Approve), Code::DecisionStateWrong);
        // What nobody ended can be answered when the stop is lifted.
        done(&mut memory, &decide(11, Answer::Approve));
    }
}

#[test]
fn a_stop_of_others_bars_no_answer() {
    let other: PrincipalId = "somebody".parse().unwrap();
    let mut memory = opened();
    for scope in [Scope::Person(other.clone()), Scope::Agent(other), Scope::Payee("shop".parse().unwrap())] {
        done(&mut memory, &turn(scope, GateState::Closed));
    }
    done(&mut memory, &propose(9));
    done(&mut memory, &decide(9, Answer::Approve));
}

#[test]
fn the_service_ends_what_waits_and_approves_nothing() {
    let mut memory = opened();
    done(&mut memory, &propose(9));
    refused(&mut memory, &answered_by_service(9, Answer::Approve), Code::OnlyAUserDecides);
    for kind in [CallerKind::Agent, CallerKind::Merchant, CallerKind::Operator] {
        let no = by(caller("user-1", kind), decide(9, Answer::Deny).command);
        refused(&mut memory, &no, Code::OnlyAUserDecides);
    }
    refused(&mut memory, &answered_by_service(12, Answer::Deny), Code::DecisionUnknown);
    let Command::Decide { decision, answer, .. } = decide(9, Answer::Deny).command else { panic!("a decision") };
    let subject = crate::id::Digest::of(b"another");
    let other = by(service(), Command::Decide { decision, subject, answer, evidence: None });
    refused(&mut memory, &other, Code::DecisionSubjectWrong);
    done(&mut memory, &propose(10));
    done(&mut memory, &decide(10, Answer::Approve));
    refused(&mut memory, &answered_by_service(10, Answer::Deny), Code::DecisionStateWrong);
    done(&mut memory, &answered_by_service(9, Answer::Deny));
    let found = memory.view.decisions.find(&decision).unwrap().unwrap();
    assert_eq!(found.state, DecisionState::Denied);
}
