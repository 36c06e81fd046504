//! What survives, what is refused at the door, and what a lock from outside does.

use ledger::command::Command;
use ledger::rejection::Rejection;
use ledger::store::{Freshness, Store as _, StoreError};
use sqlx::Connection as _;

use super::{Place, assert_sound, document, holds, on, on_both_engines, run, stream, tenant};
use crate::Schema;

on_both_engines!(
    "current_thread":
    a_kept_refusal_answers_the_same_after_reopening,
    dropped_without_closing_everything_answered_is_there,
    a_closed_store_takes_nothing_and_finishes_what_waits,
    migrating_twice_changes_nothing,
);

async fn a_kept_refusal_answers_the_same_after_reopening(place: Place) {
    let store = place.opened().await;
    run(&store, holds(stream::hold(1, stream::mandate(0), 500))).await.unwrap();
    let first = run(&store, holds(stream::hold(2, stream::mandate(0), 100))).await.unwrap_err();
    assert!(matches!(first, StoreError::Rejected(Rejection::AmountExceedsBudget { .. })));
    run(&store, on(Command::Void { spend: stream::spend(1) })).await.unwrap();
    let head = store.head(&tenant()).await.unwrap();
    store.close().await.unwrap();

    let store = place.open(Schema::Refuse).await.unwrap();
    assert_eq!(store.head(&tenant()).await.unwrap(), head);
    // There is room now; the key has its answer.
    assert_eq!(run(&store, holds(stream::hold(2, stream::mandate(0), 100))).await.unwrap_err(), first);
    assert_eq!(store.head(&tenant()).await.unwrap(), head, "an answer given again is no record");
    run(&store, holds(stream::hold(3, stream::mandate(0), 100))).await.unwrap();
    assert_sound(&store).await;
}

async fn dropped_without_closing_everything_answered_is_there(place: Place) {
    let store = place.opened().await;
    let held = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await.unwrap();
    let head = store.head(&tenant()).await.unwrap();
    drop(store);
    let store = place.open(Schema::Refuse).await.unwrap();
    assert_eq!(store.head(&tenant()).await.unwrap(), head);
    assert_eq!(store.spend(&tenant(), stream::spend(1)).await.unwrap(), held.spend);
    let again = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await.unwrap();
    assert_eq!((again.freshness, again.spend), (Freshness::Known, held.spend));
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_lock_held_from_outside_is_unavailable_and_writes_nothing() {
    let place = Place::new();
    let store = place.opened().await;
    let head = store.head(&tenant()).await.unwrap();
    let mut outside = place.shell().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut outside).await.unwrap();
    let started = std::time::Instant::now();
    let answer = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert!(started.elapsed() >= std::time::Duration::from_millis(250), "it did not wait for the lock");
    // Reads go on.
    assert_eq!(store.head(&tenant()).await.unwrap(), head);
    sqlx::raw_sql("ROLLBACK").execute(&mut outside).await.unwrap();
    assert!(store.spend(&tenant(), stream::spend(1)).await.unwrap().is_none());
    let answer = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await.unwrap();
    assert_eq!(answer.freshness, Freshness::New);
    assert_sound(&store).await;
}

/// The writer folds the log at twenty thousand pages, while those who pay wait; these are a fifth of that.
#[tokio::test]
async fn the_log_is_folded_while_units_go_on() {
    let place = Place::new();
    let store = place.opened().await;
    let mut outside = place.shell().await;
    let mut longest = 0;
    let mut left = async || {
        let text = "PRAGMA wal_checkpoint(NOOP)";
        let row = sqlx::query_as::<_, (i64, i64, i64)>(text).fetch_one(&mut outside).await.unwrap();
        longest = longest.max(row.1);
        row.1 - row.2
    };
    for number in 1..=200 {
        run(&store, holds(stream::hold(number, stream::mandate(0), 1))).await.unwrap();
    }
    for _ in 0..100 {
        if left().await < crate::limits::FOLD_PAGES {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(left().await < crate::limits::FOLD_PAGES, "nobody folds it");
    assert!(
        (crate::limits::FOLD_PAGES..crate::limits::WAL_PAGES.into()).contains(&longest),
        "a log of {longest} pages"
    );
    assert_sound(&store).await;
}

async fn a_closed_store_takes_nothing_and_finishes_what_waits(place: Place) {
    let store = place.opened().await;
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await }
    });
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    assert!(waiting.await.unwrap().is_ok(), "what waited was dropped");
    let late = run(&store, holds(stream::hold(2, stream::mandate(0), 7))).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert!(store.head(&tenant()).await.is_err(), "a closed store reads");
}

#[tokio::test]
async fn serving_refuses_a_file_that_is_not_there_or_not_ours() {
    let place = Place::new();
    let refused = place.open(Schema::Refuse).await.err();
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
    assert!(!place.path().exists(), "a refused file was created");

    std::fs::write(place.path(), b"").unwrap();
    let refused = place.open(Schema::Refuse).await.err();
    assert!(matches!(refused, Some(StoreError::Broken(_))), "an empty file was served: {refused:?}");

    std::fs::write(place.path(), vec![b'x'; 8_192]).unwrap();
    for schema in [Schema::Refuse, Schema::Migrate] {
        let refused = place.open(schema).await.err();
        assert!(matches!(refused, Some(StoreError::Broken(_))), "a text file was opened: {refused:?}");
    }
}

#[tokio::test]
async fn serving_refuses_a_schema_that_it_does_not_know() {
    for change in [
        "CREATE TABLE later (id INTEGER)",
        "DROP TRIGGER journal_update",
        "DROP INDEX spend_open",
        "ALTER TABLE decision ADD COLUMN note TEXT",
    ] {
        let place = Place::new();
        place.opened().await.close().await.unwrap();
        let mut shell = place.shell().await;
        sqlx::raw_sql(change).execute(&mut shell).await.unwrap();
        shell.close().await.unwrap();
        for schema in [Schema::Refuse, Schema::Migrate] {
            let refused = place.open(schema).await.err();
            assert!(matches!(refused, Some(StoreError::Broken(_))), "{change}: {refused:?}");
        }
    }
}

async fn migrating_twice_changes_nothing(place: Place) {
    let store = place.opened().await;
    let head = store.head(&tenant()).await.unwrap();
    store.close().await.unwrap();
    let store = place.open(Schema::Migrate).await.unwrap();
    assert_eq!(store.head(&tenant()).await.unwrap(), head);
    assert!(store.document(&tenant(), document("none").digest()).await.unwrap().is_none());
    assert_sound(&store).await;
}

/// Others on the machine read neither the books nor the log of what is being written.
#[tokio::test]
async fn the_file_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let store = place.opened().await;
    run(&store, holds(stream::hold(1, stream::mandate(0), 100))).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", place.path().display());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path} has mode {mode:o}");
    }
}
