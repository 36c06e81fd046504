//! The book against a naive model, and every refusal by name.

mod answering;
mod attesting;
mod carts;
mod charging;
mod crediting;
mod delegating;
mod drawing;
mod ending;
mod following;
mod giving_back;
mod holding;
pub mod memory;
mod mending;
mod model;
mod naming;
mod orders;
mod origins;
mod precedence;
mod presenting;
mod recurring;
mod redeeming;
mod rejections;
mod reviewing;
pub mod stream;
mod visiting;
mod vouchers;
mod windows;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use self::memory::{Memory, Told};
use self::model::Model;
use crate::codec::{decode, encode};
use crate::effects::{Effects, Operation};
use crate::journal::SaltKey;
use crate::posting::{PATTERNS, pattern};
use crate::rejection::{Rejection, RejectionCode};
use crate::view::View;

fn memory() -> Memory {
    Memory::new(SaltKey::new([1; 32]), |rejection: &Rejection| rejection.to_string().into_bytes())
}

/// The preamble, all of which must be new.
fn opened() -> Memory {
    let mut memory = memory();
    for request in stream::preamble() {
        let told = memory.run(stream::START, &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
    memory
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Never over, always balanced, held is what is open, a key has one answer, nothing is resolved twice.
    #[test]
    fn the_book_agrees_with_a_naive_model(steps in stream::steps(120)) {
        let mut memory = memory();
        let mut model = Model::default();
        for request in stream::preamble() {
            let told = memory.run(stream::START, &request);
            model.hear(stream::START, &request, &told);
        }
        let mut clock = stream::START;
        for (pause, request) in &steps {
            clock = clock.plus_micros(*pause);
            let told = memory.run(clock, request);
            model.hear(clock, request, &told);
            model.compare(&memory.view);
        }
    }

    /// A record is its bytes, and a fresh view that takes the records in is the same book.
    #[test]
    fn records_read_back_and_rebuild_the_book(steps in stream::steps(60)) {
        let mut memory = opened();
        let mut clock = stream::START;
        for (pause, request) in &steps {
            clock = clock.plus_micros(*pause);
            memory.run(clock, request);
        }
        let mut again = View::default();
        for (seq, record) in (0..).zip(&memory.records) {
            prop_assert_eq!(record.seq, seq);
            let bytes = record.to_bytes();
            let read = Effects::from_bytes(&bytes);
            prop_assert_eq!(read.as_ref(), Ok(record));
            record.windows.iter().for_each(|step| again.windows.load(step.key.clone(), None));
            again.absorb(record, None).unwrap();
            again.head.append(&SaltKey::new([1; 32]), record);
        }
        prop_assert_eq!(&again.head, &memory.view.head);
        prop_assert!(again.budgets.changed().eq(memory.view.budgets.changed()));
        prop_assert!(again.windows.changed().eq(memory.view.windows.changed()));
        prop_assert!(again.spends.changed().eq(memory.view.spends.changed()));
        prop_assert!(again.settlements.changed().eq(memory.view.settlements.changed()));
        prop_assert!(again.decisions.changed().eq(memory.view.decisions.changed()));
        for (_, budget) in memory.view.budgets.changed() {
            prop_assert_eq!(decode(&encode(budget)), Ok(budget.clone()));
        }
        for (_, spend) in memory.view.spends.changed() {
            prop_assert_eq!(decode(&encode(spend)), Ok(spend.clone()));
        }
    }

    /// No bytes panic the decoder, and what it takes is canonical: it writes back as the same bytes.
    #[test]
    fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(effects) = Effects::from_bytes(&bytes) {
            prop_assert_eq!(effects.to_bytes(), bytes);
        }
    }

    /// Nor does a real record with a byte changed, cut short or made longer; and no other bytes are the same record.
    #[test]
    fn a_changed_record_is_another_record_or_none(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1..=255_u8, cut in any::<bool>()) {
        let memory = opened();
        let record = pick.get(&memory.records);
        let mut bytes = record.to_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= flip;
        }
        if let Ok(other) = Effects::from_bytes(&bytes) {
            prop_assert_ne!(&other, record);
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }
}

/// The streams would prove little if they did not get anywhere.
#[test]
fn the_streams_reach_every_operation_and_most_refusals_of_a_hold() {
    let mut runner = TestRunner::deterministic();
    let (mut operations, mut posted) = (BTreeSet::new(), BTreeSet::new());
    let mut refusals = BTreeSet::new();
    for _ in 0..60 {
        let steps = stream::steps(120).new_tree(&mut runner).unwrap().current();
        let mut memory = opened();
        let mut clock = stream::START;
        for (pause, request) in &steps {
            clock = clock.plus_micros(*pause);
            if let Told::Rejected(rejection) = memory.run(clock, request) {
                refusals.insert(rejection.code());
            }
        }
        for transfer in memory.records.iter().flat_map(|record| &record.transfers) {
            posted.insert(pattern(transfer).unwrap_or_else(|| panic!("{transfer:?} is in no table")).when);
        }
        operations.extend(memory.records.iter().map(|record| record.operation));
    }
    let unposted = PATTERNS.iter().filter(|pattern| !posted.contains(&pattern.when)).collect::<Vec<_>>();
    assert!(unposted.is_empty(), "no stream posts {unposted:?}");
    let missing = Operation::ALL.iter().filter(|operation| !operations.contains(operation)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "no stream does {missing:?}");
    let limits = [RejectionCode::AmountExceedsPeriod, RejectionCode::PaymentsExceedPeriod];
    assert!(limits.iter().all(|code| refusals.contains(code)), "no stream passes a limit of a period");
    assert!(refusals.len() >= 27, "the streams are refused in {} ways only: {refusals:?}", refusals.len());
}
