//! Many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ledger::command::Command;
use ledger::id::{BudgetId, Digest};
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::spend::SpendState::{Committed, Held};
use ledger::store::{Freshness, Store as _, StoreError, Work};
use tokio::task::JoinSet;

use super::{Place, assert_sound, document, holds, on, on_both_engines, run, stream, tenant};

on_both_engines!(
    "multi_thread":
    two_hundred_holds_against_a_budget_for_fifty,
    one_key_from_forty_callers_is_one_purchase,
    two_stores_on_one_file_never_pass_the_cap_together,
    a_caller_that_goes_away_leaves_its_unit_behind_whole,
    a_command_that_the_database_refuses_does_not_harm_its_neighbours,
    tenants_have_books_of_their_own,
    documents_become_durable_with_what_is_new_and_only_then,
    what_comes_along_is_done_in_the_same_unit_or_was_not_asked,
    a_stop_bites_inside_the_reservation,
);

/// Holds of 10 under a mandate of 500: fifty fit.
fn small_hold(number: u8) -> Work {
    holds(stream::hold(number, stream::mandate(0), 10))
}

async fn used(store: &crate::SqlStore, id: BudgetId) -> (u128, u128) {
    let budget = store.budget(&tenant(), id).await.unwrap().unwrap();
    (budget.used().unwrap().get(), budget.caps.total.unwrap().get())
}

async fn two_hundred_holds_against_a_budget_for_fifty(place: Place) {
    let store = place.opened().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let sampler = tokio::spawn({
        let (store, is_over) = (store.clone(), is_over.clone());
        async move {
            let mut samples = 0_u32;
            while !is_over.load(Ordering::SeqCst) {
                for id in [stream::mandate(0), stream::PERSON, stream::ROOT] {
                    let (used, cap) = used(&store, id).await;
                    assert!(used <= cap, "{used} of {cap} at an instant");
                }
                samples += 1;
            }
            samples
        }
    });
    let mut callers = JoinSet::new();
    for number in 0..200 {
        let store = store.clone();
        callers.spawn(async move { run(&store, small_hold(number)).await });
    }
    let (mut held, mut refused) = (0, 0);
    for answer in callers.join_all().await {
        match answer {
            Ok(answer) => {
                assert_eq!(answer.freshness, Freshness::New);
                held += 1;
            }
            Err(StoreError::Rejected(Rejection::AmountExceedsBudget { available, cap, requested, .. })) => {
                assert_eq!((available, cap, requested), (Amount::ZERO, Amount::new(500), Amount::new(10)));
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    is_over.store(true, Ordering::SeqCst);
    assert!(sampler.await.unwrap() > 0, "nothing was sampled");
    assert_eq!((held, refused), (50, 150));
    assert_eq!(used(&store, stream::mandate(0)).await, (500, 500));
    assert_sound(&store).await;
}

async fn one_key_from_forty_callers_is_one_purchase(place: Place) {
    let store = place.opened().await;
    let mut callers = JoinSet::new();
    for _ in 0..40 {
        let store = store.clone();
        callers.spawn(async move { run(&store, small_hold(1)).await.unwrap() });
    }
    let answers = callers.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.freshness == Freshness::New).count(), 1);
    assert!(answers.iter().all(|answer| answer.spend == answers[0].spend && answer.spend.is_some()));
    assert_eq!(used(&store, stream::mandate(0)).await.0, 10);
    assert_sound(&store).await;
}

async fn two_stores_on_one_file_never_pass_the_cap_together(place: Place) {
    let one = place.opened().await;
    let two = place.open(crate::Schema::Refuse).await.unwrap();
    let mut callers = JoinSet::new();
    for number in 0..120 {
        let store = if number % 2 == 0 { one.clone() } else { two.clone() };
        callers.spawn(async move { run(&store, small_hold(number)).await });
    }
    let answers = callers.join_all().await;
    let held = answers.iter().filter(|answer| answer.is_ok()).count();
    let busy = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Unavailable(_)))).count();
    assert!(held <= 50 && (held == 50 || busy > 0), "{held} held, {busy} found the file busy");
    assert_eq!(used(&one, stream::mandate(0)).await.0, u128::try_from(held).unwrap() * 10);
    assert_sound(&two).await;
}

async fn a_caller_that_goes_away_leaves_its_unit_behind_whole(place: Place) {
    let store = place.opened().await;
    let mut going = Box::pin(run(&store, small_hold(1)));
    // Polled once: it is in the queue. Then the caller is gone.
    let poll = std::future::poll_fn(|context| std::task::Poll::Ready(going.as_mut().poll(context))).await;
    assert!(poll.is_pending());
    drop(going);
    let answer = run(&store, small_hold(1)).await.unwrap();
    assert_eq!(answer.freshness, Freshness::Known, "the command of the caller that left was lost");
    assert_sound(&store).await;
}

async fn a_command_that_the_database_refuses_does_not_harm_its_neighbours(place: Place) {
    let store = place.opened().await;
    let mut callers = JoinSet::new();
    for number in 0..9_u8 {
        let store = store.clone();
        callers.spawn(async move {
            let mut hold = stream::hold(number, stream::mandate(0), 10);
            if number == 4 {
                // Longer than a record takes: it would never read back.
                hold.pay_to = "x".repeat(70_000);
            }
            (number, run(&store, holds(hold)).await)
        });
    }
    for (number, answer) in callers.join_all().await {
        match (number, answer) {
            (4, Err(StoreError::Broken(_))) => {}
            (4, other) => panic!("a record that does not read back was written: {other:?}"),
            (_, answer) => assert_eq!(answer.unwrap().freshness, Freshness::New),
        }
    }
    assert_eq!(used(&store, stream::mandate(0)).await.0, 80);
    assert_sound(&store).await;
}

async fn tenants_have_books_of_their_own(place: Place) {
    let store = place.opened().await;
    let other = "other-tenant".parse().unwrap();
    assert!(store.budget(&other, stream::ROOT).await.unwrap().is_none());
    let fund = Command::Fund { wallet: "w".to_owned(), money: stream::money(5), reference: Digest::of(b"f") };
    store.run(&other, on(fund)).await.unwrap();
    assert_eq!(store.head(&other).await.unwrap().0, 1);
    assert!(matches!(store.verify(&other).await.unwrap(), ledger::store::Verification::Sound { entries: 1, .. }));
    let stranger = "stranger".parse().unwrap();
    let refused = store.run(&stranger, small_hold(1)).await;
    assert!(matches!(refused, Err(StoreError::Broken(_))), "a tenant without a salt key has a book: {refused:?}");
    assert_sound(&store).await;
}

async fn documents_become_durable_with_what_is_new_and_only_then(place: Place) {
    let store = place.opened().await;
    let with = |number, text: &str| Work { documents: vec![document(text)], ..small_hold(number) };
    run(&store, with(1, "one")).await.unwrap();
    run(&store, with(2, "one")).await.unwrap();
    run(&store, with(1, "late")).await.unwrap();
    let refused = Work { documents: vec![document("refused")], ..holds(stream::hold(3, stream::mandate(0), 9_999)) };
    assert!(run(&store, refused).await.is_err());
    assert_eq!(store.document(&tenant(), Digest::of(b"one")).await.unwrap(), Some(document("one")));
    for text in ["late", "refused", "never"] {
        assert_eq!(store.document(&tenant(), Digest::of(text.as_bytes())).await.unwrap(), None, "{text} was kept");
    }
    let too_large =
        Work { documents: vec![document(&"x".repeat(crate::limits::DOCUMENT_BYTES_MAX + 1))], ..small_hold(4) };
    let too_many = Work { documents: vec![document("x"); crate::limits::DOCUMENTS_MAX + 1], ..small_hold(4) };
    for work in [too_large, too_many] {
        assert!(matches!(run(&store, work).await, Err(StoreError::Broken(_))));
    }
    assert!(store.spend(&tenant(), stream::spend(4)).await.unwrap().is_none());
    assert_sound(&store).await;
}

async fn what_comes_along_is_done_in_the_same_unit_or_was_not_asked(place: Place) {
    let store = place.opened().await;
    let size = async || store.head(&tenant()).await.unwrap().0;
    let with = |number, then| Work { then: Some(then), ..small_hold(number) };
    let commit = |number| Command::Commit { spend: stream::spend(number) };
    let submit = |number| Command::Submit { spend: stream::spend(number), transaction: "0x01".parse().unwrap() };
    let state = async |number| store.spend(&tenant(), stream::spend(number)).await.unwrap().map(|spend| spend.state);

    let before = size().await;
    let done = run(&store, with(1, commit(1))).await.unwrap();
    assert_eq!((done.freshness, done.seq, done.spend.unwrap().state), (Freshness::New, Some(before), Committed));
    assert_eq!((size().await, state(1).await), (before + 2, Some(Committed)));
    let again = run(&store, with(1, commit(1))).await.unwrap();
    assert_eq!((again.freshness, again.seq, again.spend.unwrap().state), (Freshness::Known, None, Committed));
    assert_eq!(size().await, before + 2, "nothing is written twice");

    // What cannot follow: nothing that is held was submitted.
    let alone = run(&store, with(2, submit(2))).await.unwrap();
    assert_eq!((alone.freshness, alone.seq, alone.spend.unwrap().state), (Freshness::New, Some(before + 2), Held));
    assert_eq!((size().await, state(2).await), (before + 3, Some(Held)));
    let absent = run(&store, with(3, commit(99))).await.unwrap();
    assert_eq!((absent.seq, absent.spend.unwrap().state), (Some(before + 3), Held), "of a spend that is not there");
    // Held before, and committed when it is asked for again.
    let later = run(&store, with(2, commit(2))).await.unwrap();
    assert_eq!((later.freshness, later.seq, later.spend.unwrap().state), (Freshness::Known, None, Committed));

    // A refusal brings nothing along, and its answer is its own.
    let refused = Work { then: Some(commit(3)), ..holds(stream::hold(4, stream::mandate(0), 9_999)) };
    let told = run(&store, refused).await.unwrap_err();
    assert!(
        matches!(
            told,
            StoreError::Rejected(Rejection::AmountExceedsPaymentLimit { .. } | Rejection::AmountExceedsBudget { .. })
        ),
        "{told}"
    );
    assert_eq!((state(3).await, state(4).await), (Some(Held), None));
    assert_sound(&store).await;
}

/// Sixty-four clients hold as fast as they can; a stop lands in between. After the call returned nothing is reserved, until
/// it is lifted; and it is called back as soon as the units before it are done.
async fn a_stop_bites_inside_the_reservation(place: Place) {
    const ROUNDS: usize = 200;
    let store = place.open(crate::Schema::Migrate).await.unwrap();
    for request in super::stream::preamble() {
        run(&store, super::work(request)).await.unwrap();
    }
    let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let (store, next, is_over) = (store.clone(), next.clone(), is_over.clone());
        callers.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let mut hold = stream::hold(0, stream::mandate(3), 1);
                // Names that no other has.
                let digest = Digest::of(&number.to_be_bytes());
                (hold.spend.0, hold.request, hold.purchase, hold.evidence) = (digest.0, digest, digest, digest);
                (hold.key, hold.leaf_nonce) = (format!("kill-{number}").parse().unwrap(), format!("kill-{number}"));
                hold.authorization.nonce = digest.0;
                let spend = hold.spend;
                match run(&store, holds(hold)).await {
                    // Given back at once: the budget is not what this is about.
                    Ok(_) => drop(run(&store, on(Command::Void { spend })).await),
                    Err(StoreError::Rejected(Rejection::Stopped { .. } | Rejection::AmountExceedsBudget { .. })) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    let mut took = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let began = std::time::Instant::now();
        let closed = run(&store, on(stream::gate(2, ledger::gate::GateState::Closed))).await.unwrap().seq.unwrap();
        took.push(began.elapsed());
        let returned = store.head(&tenant()).await.unwrap().0;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let lifted = run(&store, on(stream::gate(2, ledger::gate::GateState::Open))).await.unwrap().seq.unwrap();
        assert!(closed < returned && returned <= lifted);
        let mut from = closed;
        while from < lifted {
            let records = store.records(&tenant(), from, 1_000).await.unwrap();
            for (_, effects) in records.iter().filter(|(entry, _)| entry.seq < lifted) {
                assert_ne!(effects.operation, ledger::effects::Operation::Hold, "reserved under a stop");
            }
            from = records.last().map_or(lifted, |(entry, _)| entry.seq + 1);
        }
    }
    is_over.store(true, Ordering::SeqCst);
    callers.join_all().await;
    took.sort_unstable();
    println!("a stop came back in {:?} at the median of {ROUNDS}, {:?} at most", took[ROUNDS / 2], took[ROUNDS - 1]);
    assert!(next.load(Ordering::SeqCst) > 1_000, "hardly anything was asked for meanwhile");
    assert_sound(&store).await;
}
