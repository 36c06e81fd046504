//! A payer's own name for a payment: refusals first, then who may take whose place.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, on};
use super::stream::{VALID_BEFORE, claim, settlement, unused};
use crate::book::naming::NAMED_MAX;
use crate::command::{Command, FailureProof, Request};
use crate::id::Digest;
use crate::rejection::RejectionCode as Code;
use crate::settlement::{Named, Role};

const NAME: &str = "pay_0123456789abcdef";

/// Authorization `number`, at a place under the name, after another one.
fn named(role: Role, number: u8, place: u8, follows: Option<u8>, content: u8) -> Request {
    let mut claim = claim(number, role, 5);
    claim.named = Some(Named {
        name: NAME.to_owned(),
        number: place,
        follows: follows.map(|number| settlement(number, role)),
        content: Digest::of(&[content]),
        document: Digest::of(&[b'd', number]),
    });
    on(Command::Claim(Box::new(claim)))
}

fn first(role: Role) -> Request {
    named(role, 1, 0, None, 1)
}

fn abandon(number: u8, role: Role) -> Request {
    on(Command::Abandon { settlement: settlement(number, role) })
}

fn fail(number: u8, role: Role) -> Request {
    let proof = FailureProof::Unused(unused(VALID_BEFORE));
    on(Command::Fail { settlement: settlement(number, role), proof, gas: None })
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for role in [Role::Seller, Role::Facilitator] {
        cases.extend([
            // Other content under the name, in its place and in the next one.
            (vec![first(role)], 0, named(role, 2, 0, None, 2), Code::IdempotencyKeyReused),
            (vec![first(role), abandon(1, role)], 0, named(role, 2, 1, Some(1), 2), Code::IdempotencyKeyReused),
            // A place that is taken, that comes after none, that comes after one that may yet be paid.
            (vec![first(role)], 0, named(role, 2, 0, None, 1), Code::AuthorizationClaimed),
            (vec![], 0, named(role, 2, 1, Some(1), 1), Code::AuthorizationClaimed),
            (vec![first(role)], 0, named(role, 2, 1, Some(1), 1), Code::AuthorizationClaimed),
            (vec![first(role), abandon(1, role)], 0, named(role, 2, 1, None, 1), Code::AuthorizationClaimed),
            (vec![first(role), abandon(1, role)], 0, named(role, 2, 1, Some(9), 1), Code::AuthorizationClaimed),
            // Whose place was taken after it was given up does not come back beside the other.
            (
                vec![first(role), abandon(1, role), named(role, 2, 1, Some(1), 1)],
                0,
                first(role),
                Code::AuthorizationClaimed,
            ),
        ]);
    }
    cases
}

fn done(memory: &mut Memory, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        let told = memory.run(at(1), &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
}

#[test]
fn what_came_to_nothing_makes_place_for_the_next() {
    let role = Role::Seller;
    let mut memory = opened();
    done(&mut memory, [first(role), abandon(1, role), first(role), fail(1, role), named(role, 2, 1, Some(1), 1)]);
    assert_eq!(memory.run(at(1), &named(role, 2, 1, Some(1), 1)), Told::Known, "the same again");
    done(&mut memory, [abandon(2, role), named(role, 3, 2, Some(2), 1)]);
    // The same name in the other role is another name.
    done(&mut memory, [first(Role::Facilitator)]);
    let named: usize = memory.records.iter().map(|record| record.claims.len()).sum::<usize>();
    assert!(named >= 4, "each place is claimed once");
}

#[test]
fn the_places_end() {
    let role = Role::Seller;
    let mut memory = opened();
    done(&mut memory, [first(role), abandon(1, role)]);
    for place in 1..NAMED_MAX {
        done(&mut memory, [named(role, place + 1, place, Some(place), 1), abandon(place + 1, role)]);
    }
    let refused = memory.run(at(1), &named(role, 200, NAMED_MAX, Some(NAMED_MAX), 1));
    assert!(matches!(refused, Told::Rejected(refused) if refused.code() == Code::AuthorizationClaimed));
}
