//! Places among the events: of two who deliver one goes on, nobody takes another's place, and a copy of the database has
//! them.

use ledger::id::Micros;

use super::{Place, on_both_engines, tenant};
use crate::{Bookmark, Purpose, Schema, copy};

on_both_engines!(
    "multi_thread":
    whoever_read_something_else_moves_nothing,
    a_place_is_kept_apart_and_copied,
);

fn at(seq: u64, number: u16, failures: u32, due_at: i64) -> Bookmark {
    Bookmark { next: (seq, number), failures, due_at: Micros(due_at) }
}

async fn whoever_read_something_else_moves_nothing(place: Place) {
    let store = place.opened().await;
    let (first, next) = (at(7, 2, 1, 1_000), at(9, 0, 0, 2_000));
    assert!(!store.move_bookmark(&tenant(), "books", (first, next)).await.unwrap(), "there is none");
    store.open_bookmark(&tenant(), "books", first).await.unwrap();
    store.open_bookmark(&tenant(), "books", at(0, 0, 0, 0)).await.unwrap();
    assert_eq!(store.bookmark(&tenant(), "books").await.unwrap(), Some(first), "one that is there is kept");
    for other in [at(8, 2, 1, 1_000), at(7, 3, 1, 1_000), at(7, 2, 0, 1_000), at(7, 2, 1, 999), at(7, 2, 1, 1_001)] {
        assert!(!store.move_bookmark(&tenant(), "books", (other, next)).await.unwrap(), "{other:?}");
    }
    assert!(store.move_bookmark(&tenant(), "books", (first, at(u64::MAX, 0, 0, 0))).await.is_err());
    let racing = (0..12_u64).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            store.move_bookmark(&tenant(), "books", (first, at(100 + number, 0, 0, 5))).await.unwrap()
        })
    });
    let mut moved = 0;
    for one in racing.collect::<Vec<_>>() {
        moved += usize::from(one.await.unwrap());
    }
    assert_eq!(moved, 1);
    store.close().await.unwrap();
}

async fn a_place_is_kept_apart_and_copied(place: Place) {
    let store = place.opened().await;
    let mine = at(3, u16::MAX, u32::MAX, i64::MAX);
    store.open_bookmark(&tenant(), "books", mine).await.unwrap();
    for (tenant, name) in [(tenant(), "Books"), (tenant(), "other"), ("another".parse().unwrap(), "books")] {
        assert_eq!(store.bookmark(&tenant, name).await.unwrap(), None, "{tenant} {name}");
    }
    let target = Place { dial: place.dial.clone(), ..Place::new() };
    copy(&place.location, &target.location, Purpose::Keep).await.unwrap();
    let copied = target.open(Schema::Refuse).await.unwrap();
    assert_eq!(copied.bookmark(&tenant(), "books").await.unwrap(), Some(mine));
    copied.close().await.unwrap();
    store.close().await.unwrap();
}

#[test]
fn a_place_names_the_event_before_it() {
    assert_eq!(at(0, 0, 0, 0).last(), None);
    assert_eq!(at(0, 1, 0, 0).last(), Some((0, 0)));
    assert_eq!(at(5, 0, 0, 0).last(), Some((4, u16::MAX)));
    assert_eq!(at(5, 3, 0, 0).last(), Some((5, 2)));
}
