//! Whole databases copied: to either engine, while they are used and for good; and that a copy is known for one.

use ledger::command::Command;
use ledger::store::{Freshness, Store as _, StoreError};

use super::{Place, assert_sound, document, holds, on, on_both_engines, run, stream, tenant};
use crate::keys::KeyTable;
use crate::{Location, Purpose, Schema, SqlStore, copy, erase};

on_both_engines!(
    "multi_thread":
    a_copy_of_a_book_in_use_has_the_same_root_in_either_engine,
    what_was_moved_is_left_behind,
    a_copy_wants_an_empty_database,
    what_is_erased_is_gone_and_the_book_is_sound,
);

/// A book with a bit of everything in it.
async fn written(place: &Place) -> SqlStore {
    let store = place.opened().await;
    for number in 0..40 {
        let mut work = holds(stream::hold(number, stream::mandate(if number % 2 == 0 { 0 } else { 22 }), 3));
        work.documents.push(document(&format!("evidence {number}")));
        let _ = run(&store, work).await;
    }
    for number in [0, 2, 4] {
        let spend = stream::spend(number);
        run(&store, on(Command::Commit { spend })).await.unwrap();
        run(&store, on(Command::Settle { spend, seen: stream::seen(3), finalized: stream::FINAL })).await.unwrap();
    }
    run(&store, on(Command::Refund { spend: stream::spend(0), refund: stream::refund(1, 2) })).await.unwrap();
    run(&store, on(Command::Claim(Box::new(stream::claim(7, ledger::settlement::Role::Seller, 5))))).await.unwrap();
    store
}

async fn key(place: &Place) {
    let mut keys = KeyTable::open(&place.location, Schema::Migrate).await.unwrap();
    let row = crate::keys::SealedKey {
        tenant: "acme".into(),
        purpose: "wallet".into(),
        kid: "k".into(),
        state: crate::keys::KeyState::Active,
        created_at: 5,
        ended_at: None,
        master: "m".into(),
        data_key: vec![1],
        secret: vec![2],
    };
    keys.change::<StoreError>(|_| Ok(vec![row])).await.unwrap();
    keys.close().await.unwrap();
}

async fn keys_of(location: &Location) -> Vec<crate::keys::SealedKey> {
    let mut keys = KeyTable::open(location, Schema::Refuse).await.unwrap();
    let rows = keys.rows().await.unwrap();
    keys.close().await.unwrap();
    rows
}

async fn a_copy_of_a_book_in_use_has_the_same_root_in_either_engine(place: Place) {
    key(&place).await;
    let store = written(&place).await;
    store.settle().await.unwrap();
    assert!(store.home().await.unwrap().is_same());
    let head = store.head(&tenant()).await.unwrap();
    let balances = format!("{:?}", store.balances(&tenant()).await.unwrap());
    let mut postgres = Place::postgres();
    postgres.dial = place.dial.clone();
    for target in [Place { dial: place.dial.clone(), ..Place::new() }, postgres] {
        // Somebody goes on paying meanwhile: the copy has one state.
        let (busy, number) = (store.clone(), if target.location.file().is_some() { 60 } else { 70 });
        let paying = tokio::spawn(async move {
            for number in number..number + 8 {
                run(&busy, holds(stream::hold(number, stream::mandate(0), 1))).await.unwrap();
            }
        });
        let copied = copy(&place.location, &target.location, Purpose::Keep).await.unwrap();
        paying.await.unwrap();
        let there = target.open(Schema::Refuse).await.unwrap();
        let found = there.head(&tenant()).await.unwrap();
        assert_eq!(vec![(copied[0].entries, copied[0].root)], vec![found]);
        assert!(found.0 >= head.0, "the copy is older than what was there before it");
        assert_sound(&there).await;
        assert_eq!(keys_of(&target.location).await, keys_of(&place.location).await);
        let home = there.home().await.unwrap();
        assert!(!home.is_same() && home.recorded.is_none(), "{home:?}");
        if found == head {
            assert_eq!(format!("{:?}", there.balances(&tenant()).await.unwrap()), balances);
        }
        // It is a book like any other: a key has its answer there, and it goes on.
        let again = run(&there, holds(stream::hold(2, stream::mandate(0), 3))).await.unwrap();
        assert_eq!(again.freshness, Freshness::Known);
        run(&there, holds(stream::hold(90, stream::mandate(0), 1))).await.unwrap();
        there.settle().await.unwrap();
        assert!(there.home().await.unwrap().is_same());
        assert_sound(&there).await;
    }
    assert!(store.home().await.unwrap().is_same(), "the source is where it was");
    assert_sound(&store).await;
}

async fn what_was_moved_is_left_behind(place: Place) {
    key(&place).await;
    let store = written(&place).await;
    let head = store.head(&tenant()).await.unwrap();
    let target = Place { dial: place.dial.clone(), ..Place::new() };
    let refused = copy(&place.location, &target.location, Purpose::Move).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "somebody has it open: {refused:?}");
    store.close().await.unwrap();
    let copied = copy(&place.location, &target.location, Purpose::Move).await.unwrap();
    assert_eq!((copied[0].entries, copied[0].root), head);
    let there = target.open(Schema::Refuse).await.unwrap();
    assert!(there.home().await.unwrap().is_same(), "it is at home where it was moved to");
    assert_sound(&there).await;
    let left = place.open(Schema::Refuse).await.unwrap();
    let home = left.home().await;
    assert!(matches!(&home, Err(StoreError::Broken(why)) if why.contains("moved")), "{home:?}");
    let again = copy(&place.location, &Place::new().location, Purpose::Keep).await;
    assert!(matches!(&again, Err(StoreError::Broken(why)) if why.contains("moved")), "{again:?}");
}

async fn a_copy_wants_an_empty_database(place: Place) {
    let store = written(&place).await;
    let other = Place::new();
    let taken = other.opened().await;
    let head = taken.head(&tenant()).await.unwrap();
    let refused = copy(&place.location, &other.location, Purpose::Keep).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(taken.head(&tenant()).await.unwrap(), head);
    let keyed = Place::new();
    key(&keyed).await;
    assert!(copy(&place.location, &keyed.location, Purpose::Keep).await.is_err(), "another's keys are there");
    let nowhere: Location = std::path::Path::new("/nowhere/at/all.db").to_owned().into();
    assert!(copy(&nowhere, &Place::new().location, Purpose::Keep).await.is_err());
    assert_sound(&store).await;
}

async fn what_is_erased_is_gone_and_the_book_is_sound(place: Place) {
    let store = written(&place).await;
    let head = store.head(&tenant()).await.unwrap();
    let (gone, kept) = (document("evidence 26").digest(), document("evidence 4").digest());
    let unknown = document("never written").digest();
    assert_eq!(erase(&place.location, &tenant(), &[gone, unknown]).await.unwrap(), 1);
    assert_eq!(erase(&place.location, &"other".parse().unwrap(), &[kept]).await.unwrap(), 0, "another tenant's");
    assert_eq!(store.document(&tenant(), gone).await.unwrap(), None);
    assert_eq!(store.document(&tenant(), kept).await.unwrap().unwrap().digest(), kept);
    assert_eq!(store.head(&tenant()).await.unwrap(), head);
    assert_sound(&store).await;
    // The guard is back: the schema is ours to the letter, and a shell is refused.
    place.open(Schema::Refuse).await.unwrap().close().await.unwrap();
    if let Some(file) = place.location.file() {
        let mut shell = place.shell().await;
        assert!(sqlx::raw_sql("DELETE FROM document").execute(&mut shell).await.is_err());
        store.close().await.unwrap();
        let bytes = std::fs::read(file).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("evidence 4"), "what was not erased is there");
        assert!(!has("evidence 26"), "the bytes are gone from the file");
    }
}
