//! A payee's signed receipt: refusals first; then it is kept once, and nothing moves.

use super::memory::Told;
use super::opened;
use super::rejections::{at, commit, on, plain};
use super::stream::{FINAL, VALID_BEFORE, agent, by, hold, mandate, presented_for, seen, spend, unused};
use crate::command::{Command, ReleaseProof, Request};
use crate::effects::{Fact, Operation};
use crate::event::{EventType, events};
use crate::id::Digest;
use crate::rejection::RejectionCode as Code;

fn receipt(text: &[u8]) -> Digest {
    Digest::of(text)
}

fn attest(number: u8, text: &[u8]) -> Request {
    by(agent(), Command::Attest { spend: spend(number), document: receipt(text) })
}

fn settle() -> Request {
    on(Command::Settle { spend: spend(1), seen: seen(40), finalized: FINAL })
}

#[test]
fn what_was_not_signed_for_has_no_receipt() {
    let mut closed = hold(1, mandate(0), 40);
    closed.authorization = presented_for(1);
    let closed = by(agent(), Command::Hold(Box::new(closed)));
    let released = on(Command::Release { spend: spend(1), proof: ReleaseProof::Unused(unused(VALID_BEFORE)) });
    for (before, code) in [
        (vec![], Code::SpendUnknown),
        (vec![plain(1, 40)], Code::SpendStateWrong),
        (vec![plain(1, 40), on(Command::Void { spend: spend(1) })], Code::SpendStateWrong),
        (vec![plain(1, 40), commit(1), released], Code::SpendStateWrong),
        (vec![closed, commit(1)], Code::RailMismatch),
    ] {
        let mut memory = opened();
        for step in &before {
            assert!(matches!(memory.run(at(1), step), Told::New(_)), "{step:?}");
        }
        match memory.run(at(1), &attest(1, b"paid")) {
            Told::Rejected(rejection) => assert_eq!(rejection.code(), code, "{before:?}"),
            other => panic!("{other:?} after {before:?}"),
        }
    }
}

#[test]
fn the_first_receipt_is_kept_and_moves_nothing() {
    for before in [vec![plain(1, 40), commit(1)], vec![plain(1, 40), commit(1), settle()]] {
        let mut memory = opened();
        for step in &before {
            assert!(matches!(memory.run(at(1), step), Told::New(_)), "{step:?}");
        }
        let found = memory.view.spends.find(&spend(1)).unwrap().unwrap().clone();
        assert!(matches!(memory.run(at(2), &attest(1, b"paid")), Told::New(_)));
        let record = memory.records.last().unwrap().clone();
        assert_eq!((record.operation, &record.fact), (Operation::Attest, &Some(Fact::Reference(receipt(b"paid")))));
        assert!(record.transfers.is_empty() && record.moves.is_empty() && record.windows.is_empty());
        assert_eq!(record.spend.as_ref(), Some(&found));
        assert_eq!(events(&record).iter().map(|event| event.kind).collect::<Vec<_>>(), [EventType::PaymentAttested]);
        for again in [&b"paid"[..], b"not paid"] {
            assert_eq!(memory.run(at(3), &attest(1, again)), Told::Known);
        }
        assert_eq!(memory.records.last(), Some(&record));
    }
}
