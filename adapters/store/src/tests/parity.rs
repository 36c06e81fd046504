//! The same commands give the same answers and the same root, however they fall into units of work.

use ledger::command::Request;
use ledger::id::Micros;
use ledger::rejection::Rejection;
use ledger::store::{Freshness, Store as _, StoreError};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::memory::{Memory, Told};
use super::{Place, assert_sound, run, salts, stream, tenant, work};
use crate::Schema;

fn memory() -> Memory {
    let salt_key = salts().find(&tenant()).unwrap();
    Memory::new(salt_key, |rejection: &Rejection| serde_json::to_vec(rejection).unwrap())
}

type Steps = Vec<(i64, Request)>;

/// Each case syncs a disk some dozen times.
fn on_streams(place: Place) {
    let config = ProptestConfig { cases: 24, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = std::cell::RefCell::new(place);
    let streams = (stream::steps(160), prop::collection::vec(1..30_usize, 160));
    let checked = TestRunner::new(config).run(&streams, |(steps, groups)| {
        let mut place = place.borrow_mut();
        place.fresh();
        runtime.block_on(check_stream(&place, &steps, groups));
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}

#[test]
fn any_grouping_gives_the_answers_and_the_root_of_memory_on_sqlite() {
    on_streams(Place::new());
}

#[test]
fn any_grouping_gives_the_answers_and_the_root_of_memory_on_postgres() {
    on_streams(Place::postgres());
}

async fn check_stream(place: &Place, steps: &Steps, groups: Vec<usize>) {
    let store = place.opened().await;
    let mut memory = memory();
    for request in stream::preamble() {
        memory.run(stream::START, &request);
    }
    let mut clock = stream::START;
    let mut steps = steps.as_slice();
    for group in groups {
        let (now, rest) = steps.split_at(group.min(steps.len()));
        steps = rest;
        let Some((pause, _)) = now.first() else { break };
        // One unit takes its instants from one clock.
        clock = clock.plus_micros(*pause);
        place.dial.turn(clock);
        // Polled in this order on one thread, and so queued in this order; the lane drains them together.
        let mut waiting = tokio::task::JoinSet::new();
        for (number, (_, request)) in now.iter().enumerate() {
            let (store, work) = (store.clone(), work(request.clone()));
            waiting.spawn(async move { (number, run(&store, work).await) });
        }
        let mut answers = waiting.join_all().await;
        answers.sort_by_key(|(number, _)| *number);
        for ((_, request), (_, answer)) in now.iter().zip(answers) {
            let told = memory.run(clock, request);
            match (&told, &answer) {
                (Told::New(effects), Ok(answer)) => {
                    assert_eq!((answer.freshness, answer.seq), (Freshness::New, Some(effects.seq)));
                    assert!(effects.spend.is_none() || answer.spend == effects.spend);
                    assert!(effects.settlement.is_none() || answer.settlement == effects.settlement);
                }
                (Told::Known, Ok(answer)) => assert_eq!((answer.freshness, answer.seq), (Freshness::Known, None)),
                (Told::Rejected(expected), Err(StoreError::Rejected(found))) => assert_eq!(found, expected),
                other => panic!("{other:?} for {request:?}"),
            }
        }
    }
    let frontier = &memory.view.head.frontier;
    assert_eq!(store.head(&tenant()).await.unwrap(), (frontier.size(), frontier.root()));
    assert_eq!(assert_sound(&store).await, frontier.size());
    check_reads(&store, &memory).await;
    store.close().await.unwrap();

    // And what was written is there for another process.
    let store = place.open(Schema::Refuse).await.unwrap();
    assert_eq!(assert_sound(&store).await, frontier.size());
}

fn frontier_of(memory: &Memory) -> u64 {
    memory.view.head.frontier.size()
}

fn last<T>(page: &[(ledger::store::Place, T)]) -> Option<ledger::store::Place> {
    page.last().map(|(place, _)| *place)
}

async fn check_reads(store: &crate::SqlStore, memory: &Memory) {
    for (id, budget) in memory.view.budgets.changed() {
        assert_eq!(store.budget(&tenant(), *id).await.unwrap().as_ref(), Some(budget));
    }
    let mut open = Vec::new();
    for (id, spend) in memory.view.spends.changed() {
        assert_eq!(store.spend(&tenant(), *id).await.unwrap().as_ref(), Some(spend));
        if spend.is_unfinished() {
            open.push(spend.clone());
        }
        let records = store.records_of_spend(&tenant(), *id).await.unwrap();
        let expected =
            memory.records.iter().filter(|record| record.spend.as_ref().is_some_and(|found| found.id == *id));
        assert!(records.iter().map(|(_, effects)| effects).eq(expected));
    }
    open.sort_by_key(|spend| spend.hold);
    assert_eq!(store.open_spends(&tenant(), None, 1_000).await.unwrap(), open);
    if let Some(first) = open.first() {
        assert_eq!(store.open_spends(&tenant(), Some(first.hold.seq), 1_000).await.unwrap(), open[1..]);
    }
    for (key, settlement) in memory.view.settlements.changed() {
        assert_eq!(store.settlement(&tenant(), key).await.unwrap().as_ref(), Some(settlement));
    }
    let settlements = memory.view.settlements.changed().filter(|(_, settlement)| settlement.state.is_open());
    let open = store.open_settlements(&tenant(), None, 1_000).await.unwrap();
    assert_eq!(open.len(), settlements.count());
    let young = memory.view.settlements.changed().filter(|(_, settlement)| settlement.young.is_some());
    let found = store.young_settlements(&tenant(), None, 1_000).await.unwrap();
    assert_eq!(found.len(), young.count());
    let (mut open_by_one, mut young_by_one) = (Vec::new(), Vec::new());
    while let Some(next) = store.open_settlements(&tenant(), last(&open_by_one), 1).await.unwrap().pop() {
        open_by_one.push(next);
    }
    // However many that are not young lie before it.
    while let Some(next) = store.young_settlements(&tenant(), last(&young_by_one), 1).await.unwrap().pop() {
        young_by_one.push(next);
    }
    assert_eq!((open_by_one, young_by_one), (open, found));
    let records = store.records(&tenant(), 2, 3).await.unwrap();
    assert!(records.iter().map(|(_, effects)| effects).eq(memory.records[2..].iter().take(3)));
    let expected: Vec<_> = memory.records.iter().flat_map(ledger::event::events).collect();
    assert_eq!(store.events(&tenant(), None, 1_000).await.unwrap(), expected);
    for (at, event) in expected.iter().enumerate().step_by(7) {
        let after = store.events(&tenant(), Some((event.seq, event.number)), 3).await.unwrap();
        assert!(after.iter().eq(expected[at + 1..].iter().take(3)), "after {}-{}", event.seq, event.number);
    }
    let mut under: Vec<_> = memory.view.spends.changed().map(|(_, spend)| spend.clone()).collect();
    under.sort_by_key(|spend| std::cmp::Reverse(spend.hold));
    assert_eq!(store.spends_of(&tenant(), stream::ROOT, 0..u64::MAX, 1_000).await.unwrap(), under);
    if let Some(middle) = under.get(under.len() / 2).map(|spend| spend.hold.seq) {
        let newer: Vec<_> = under.iter().filter(|spend| spend.hold.seq >= middle).cloned().collect();
        assert_eq!(store.spends_of(&tenant(), stream::ROOT, middle..u64::MAX, 1_000).await.unwrap(), newer);
        let older: Vec<_> = under.iter().filter(|spend| spend.hold.seq < middle).take(2).cloned().collect();
        assert_eq!(store.spends_of(&tenant(), stream::ROOT, 0..middle, 2).await.unwrap(), older);
    }
    for record in memory.records.iter().step_by(11) {
        let before = Micros(record.at.0 - 1);
        let later =
            memory.records.iter().find(|later| later.at > record.at).map_or(frontier_of(memory), |later| later.seq);
        assert_eq!(store.record_at(&tenant(), record.at).await.unwrap(), record.seq);
        assert!(store.record_at(&tenant(), before).await.unwrap() <= record.seq);
        assert_eq!(store.record_at(&tenant(), record.at.plus_micros(1)).await.unwrap(), later);
    }
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = store.balances_after(&tenant(), after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.account.to_string(), last.asset.to_string()));
        paged.extend(page.iter().map(|entry| format!("{entry:?}")));
    }
    let whole = store.balances(&tenant()).await.unwrap();
    assert_eq!(paged, whole.iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>());
    under.retain(|spend| spend.budget == stream::mandate(0));
    assert_eq!(store.spends_of(&tenant(), stream::mandate(0), 0..u64::MAX, 1_000).await.unwrap(), under);
}

/// serde's tagged enums lose numbers under serde_json's `arbitrary_precision`; a kept refusal must come back whole.
#[test]
fn every_kept_refusal_reads_back() {
    use ledger::claim::ClaimOutcome;
    use ledger::id::Digest;
    use ledger::money::Amount;
    let budget = stream::mandate(0);
    let amount = Amount::MAX;
    for rejection in [
        Rejection::AmountExceedsBudget { budget, requested: amount, available: amount, cap: amount },
        Rejection::AmountExceedsPaymentLimit { budget, requested: amount, limit: amount },
        Rejection::OccurrencesExhausted { budget, used: u64::MAX, limit: 0 },
        Rejection::MandateExpired { budget, expires_at: i64::MIN, now: i64::MAX },
        Rejection::MandateRevoked { budget },
        Rejection::MandateSuspended { budget },
        Rejection::MandateConsumed { mandate: budget },
        Rejection::AuthorizationClaimed { spend: "\u{1f980}\"\\".to_owned() },
    ] {
        let text = serde_json::to_string(&rejection).unwrap();
        let outcome = ClaimOutcome::Rejected { code: rejection.code(), text: Digest::of(text.as_bytes()) };
        assert_eq!(crate::load::kept(&outcome, Some(&text)).unwrap(), Some(rejection));
        assert!(crate::load::kept(&outcome, Some(&format!("{text} "))).is_err(), "another text was taken");
        assert!(crate::load::kept(&outcome, None).is_err(), "a missing text was taken");
    }
}
