//! Which of two refusals comes first, what a refusal says, and what it leaves behind.

use super::memory::Told;
use super::opened;
use super::rejections::{Case, at, but, commit, elsewhere, fiat, holds, on, pinned, plain, state, void};
use super::stream::{FINAL, ROOT, START, authorization, by, caller, hold, mandate, seen, spend};
use crate::book::wants;
use crate::budget::BudgetState;
use crate::command::{Command, Hold, Request};
use crate::id::{CallerKind, Digest};
use crate::money::Amount;
use crate::rejection::{Rejection, RejectionCode as Code};
use crate::view::{PurchaseKey, View};

/// Each request breaks the rule of its line and those of all lines below that can be broken with it.
#[test]
fn the_first_rule_of_the_fixed_order_answers() {
    let over = u128::MAX;
    let stop = || state(mandate(0), BudgetState::Suspended);
    let first = || but(1, 1, pinned);
    let bad = |hold: &mut Hold| {
        elsewhere(hold);
        hold.purchase = Digest::of(&[b'p', 1]);
        hold.leaf_nonce = "leaf-1".to_owned();
        hold.authorization = authorization(1);
    };
    let stranger = |request: Request| by(caller("agent-2", CallerKind::Agent), request.command);
    let cases: Vec<Case> = vec![
        (vec![first(), stop()], 0, but(1, 0, |hold| hold.request = Digest::of(b"x")), Code::IdempotencyKeyReused),
        (vec![stop()], 0, holds(hold(2, mandate(9), 0)), Code::AmountZero),
        (vec![stop()], 0, stranger(holds(hold(2, mandate(9), over))), Code::MandateUnknown),
        (vec![first(), stop()], 0, stranger(but(2, over, bad)), Code::OwnerMismatch),
        (vec![first(), stop()], 0, but(2, over, bad), Code::MandateSuspended),
        (
            vec![first()],
            600,
            holds(Hold { purchase: Digest::of(&[b'p', 1]), ..hold(2, mandate(3), over) }),
            Code::MandateExpired,
        ),
        (
            vec![first()],
            0,
            but(2, over, |hold| {
                bad(hold);
                fiat(hold);
            }),
            Code::AssetMismatch,
        ),
        (vec![first()], 0, but(2, over, bad), Code::PayeeChanged),
        (
            vec![first()],
            0,
            but(2, over, |hold| {
                bad(hold);
                hold.pin = None;
            }),
            Code::PurchaseUnresolved,
        ),
        (
            vec![first()],
            0,
            but(2, over, |hold| {
                bad(hold);
                (hold.pin, hold.again_after) = (None, Some(spend(1)));
            }),
            Code::MandateConsumed,
        ),
        (vec![first()], 0, but(2, over, |hold| hold.authorization = authorization(1)), Code::AuthorizationClaimed),
        (vec![], 0, holds(hold(2, mandate(1), over)), Code::AmountExceedsPaymentLimit),
        (
            (1..4).map(|number| holds(hold(number, mandate(2), 1))).collect(),
            0,
            holds(hold(4, mandate(2), 698)),
            Code::OccurrencesExhausted,
        ),
    ];
    for (number, (before, seconds, request, code)) in cases.into_iter().enumerate() {
        let mut memory = opened();
        for request in &before {
            assert!(matches!(memory.run(START, request), Told::New(_)), "case {number}: {request:?}");
        }
        match memory.run(at(seconds), &request) {
            Told::Rejected(rejection) => assert_eq!(rejection.code(), code, "case {number}: {rejection}"),
            other => panic!("case {number}: {code} expected, got {other:?}"),
        }
    }
}

#[test]
fn a_refusal_names_both_values() {
    let mut memory = opened();
    memory.run(START, &plain(1, 450));
    let told = memory.run(START, &plain(2, 51));
    let expected = Rejection::AmountExceedsBudget {
        budget: mandate(0),
        requested: Amount::new(51),
        available: Amount::new(50),
        cap: Amount::new(500),
    };
    assert_eq!(told, Told::Rejected(expected.clone()));
    let sentence = expected.to_string();
    assert!(sentence.contains("51") && sentence.contains("50 of 500"), "{sentence}");
}

#[test]
fn a_refusal_that_depends_on_the_book_stays_the_answer_of_its_key() {
    let mut memory = opened();
    memory.run(START, &plain(1, 500));
    let size = memory.records.len();
    let first = memory.run(START, &plain(2, 100));
    assert_eq!(memory.records.len(), size + 1, "the refusal is a record");
    assert!(matches!(memory.run(START, &void(1)), Told::New(_)));
    // There is room now, and a new key gets it.
    assert_eq!(memory.run(START, &plain(2, 100)), first);
    assert_eq!(memory.records.len(), size + 2, "an answer given again is no record");
    assert!(matches!(memory.run(START, &plain(3, 100)), Told::New(_)));
}

#[test]
fn a_refusal_of_the_request_itself_burns_no_key() {
    let mut memory = opened();
    memory.run(START, &plain(1, 1));
    let size = memory.records.len();
    for request in [
        plain(2, 0),
        but(2, 1, fiat),
        but(2, 1, |hold| hold.purchase = Digest::of(&[b'p', 1])),
        by(caller("agent-2", CallerKind::Agent), Command::Hold(Box::new(hold(2, mandate(0), 1)))),
    ] {
        assert!(matches!(memory.run(START, &request), Told::Rejected(_)), "{request:?}");
    }
    assert_eq!(memory.records.len(), size, "a key was burnt");
    assert!(matches!(memory.run(START, &plain(2, 1)), Told::New(_)));
}

#[test]
fn a_signed_payment_stays_held_past_its_expiry_and_its_mandate() {
    let mut memory = opened();
    for request in [plain(1, 100), commit(1), state(mandate(0), BudgetState::Revoked)] {
        assert!(matches!(memory.run(START, &request), Told::New(_)), "{request:?}");
    }
    assert!(matches!(memory.run(at(5_000), &on(Command::Expire { spend: spend(1) })), Told::Rejected(_)));
    let settle = on(Command::Settle { spend: spend(1), seen: seen(100), finalized: FINAL });
    assert!(matches!(memory.run(at(5_000), &settle), Told::New(_)));
    assert_eq!(memory.run(at(5_000), &settle), Told::Known);
    let root = memory.view.budgets.find(&ROOT).unwrap().unwrap();
    assert_eq!((root.held, root.posted, root.count), (Amount::ZERO, Amount::new(100), 1));
}

/// A store that loads what is asked for, and nothing else, must come to the same sentence as one that has it all.
#[test]
fn the_state_of_an_open_purchase_is_asked_for_before_it_is_named() {
    let key = PurchaseKey { budget: mandate(0), purchase: Digest::of(&[b'p', 1]) };
    let request = but(2, 1, |hold| hold.purchase = key.purchase);
    let mut view = View::default();
    assert!(wants(&view, START, &request).unwrap().purchases.contains(&key));
    view.open_purchases.load(key, Some([spend(1), spend(3)].into()));
    assert!(wants(&view, START, &request).unwrap().spends.contains(&spend(1)), "the first open spend is not asked for");
}
