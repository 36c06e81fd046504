//! A shop's checkouts: of two who write the same thing one is told, a key and what is under it are one unit, and a copy of
//! the database has them.

use commerce::store::{ANSWER_SECONDS, Answered, KeyWrite, SessionWrite, Sessions as _, Written};
use ledger::id::Digest;

use super::{Place, on_both_engines, tenant};
use crate::{Purpose, Schema, copy};

on_both_engines!(
    "multi_thread":
    what_was_written_meanwhile_is_not_written_over,
    a_key_and_what_is_under_it_are_written_together_or_not_at_all,
    answers_are_forgotten_and_what_is_worked_on_is_not,
    a_copy_has_the_checkouts,
);

const NOW: i64 = 1_800_000_000;

fn session(id: &str, from: u64, text: &str) -> Option<SessionWrite> {
    Some(SessionWrite { id: id.to_owned(), from, document: text.as_bytes().to_vec() })
}

fn key(name: &str, from: Option<i64>, at: i64, answer: Option<&str>) -> Option<KeyWrite> {
    let answer = answer.map(|text| (200, text.as_bytes().to_vec()));
    let now = Answered { fingerprint: Digest::of(b"request"), at, answer };
    Some(KeyWrite { key: Digest::of(name.as_bytes()), from, now })
}

async fn what_was_written_meanwhile_is_not_written_over(place: Place) {
    let store = place.opened().await;
    for (from, text, expected) in [
        (1, "of nothing", Written::SessionMoved),
        (0, "first", Written::Done),
        (0, "again", Written::SessionMoved),
        (2, "too early", Written::SessionMoved),
        (7, "of another", Written::SessionMoved),
    ] {
        assert_eq!(store.write(&tenant(), session("cs", from, text), None).await.unwrap(), expected, "{text}");
    }
    let racing = (0..12).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.write(&tenant(), session("cs", 1, &number.to_string()), None).await.unwrap() })
    });
    let mut done = 0;
    for one in racing.collect::<Vec<_>>() {
        done += usize::from(one.await.unwrap() == Written::Done);
    }
    assert_eq!(done, 1);
    assert_eq!(store.session(&tenant(), "cs").await.unwrap().unwrap().revision, 2);
    assert_eq!(store.session(&tenant(), "CS").await.unwrap(), None);
    assert_eq!(store.session(&"another".parse().unwrap(), "cs").await.unwrap(), None);
    store.close().await.unwrap();
}

async fn a_key_and_what_is_under_it_are_written_together_or_not_at_all(place: Place) {
    let store = place.opened().await;
    let done = store.write(&tenant(), session("cs", 0, "first"), key("k", None, NOW, Some("answer"))).await;
    assert_eq!(done.unwrap(), Written::Done);
    for (from, key, expected) in [
        (1, key("k", None, NOW, Some("other")), Written::KeyTaken),
        (1, key("k", Some(NOW), NOW, Some("other")), Written::KeyTaken),
        (9, key("fresh", None, NOW, Some("other")), Written::SessionMoved),
    ] {
        assert_eq!(store.write(&tenant(), session("cs", from, "second"), key).await.unwrap(), expected);
    }
    assert_eq!(store.session(&tenant(), "cs").await.unwrap().unwrap().document, b"first");
    assert_eq!(store.answered(&tenant(), &Digest::of(b"fresh"), NOW).await.unwrap(), None, "nothing of it was written");
    let kept = store.answered(&tenant(), &Digest::of(b"k"), NOW).await.unwrap().unwrap();
    assert_eq!(kept.answer, Some((200, b"answer".to_vec())));
    store.close().await.unwrap();
}

async fn answers_are_forgotten_and_what_is_worked_on_is_not(place: Place) {
    let store = place.opened().await;
    store.write(&tenant(), None, key("old", None, NOW, Some("answer"))).await.unwrap();
    store.write(&tenant(), None, key("taken", None, NOW, None)).await.unwrap();
    // One who gives it up lets the next one go on; the one before does not answer any more.
    assert_eq!(store.write(&tenant(), None, key("taken", Some(NOW), 0, None)).await.unwrap(), Written::Done);
    assert_eq!(
        store.write(&tenant(), None, key("taken", Some(NOW), NOW, Some("late"))).await.unwrap(),
        Written::KeyTaken
    );
    let later = NOW + ANSWER_SECONDS + 1;
    assert_eq!(store.answered(&tenant(), &Digest::of(b"old"), later).await.unwrap(), None);
    store.write(&tenant(), None, key("new", None, later, Some("answer"))).await.unwrap();
    assert_eq!(store.answered(&tenant(), &Digest::of(b"old"), NOW).await.unwrap(), None, "it is gone");
    assert!(store.answered(&tenant(), &Digest::of(b"taken"), later).await.unwrap().is_some());
    assert_eq!(
        store.write(&tenant(), None, key("taken", Some(0), later, Some("at last"))).await.unwrap(),
        Written::Done
    );
    store.close().await.unwrap();
}

async fn a_copy_has_the_checkouts(place: Place) {
    let store = place.opened().await;
    store.write(&tenant(), session("cs", 0, "first"), key("k", None, NOW, Some("answer"))).await.unwrap();
    let found = store.session(&tenant(), "cs").await.unwrap();
    let target = Place { dial: place.dial.clone(), ..Place::new() };
    copy(&place.location, &target.location, Purpose::Keep).await.unwrap();
    let copied = target.open(Schema::Refuse).await.unwrap();
    assert_eq!(copied.session(&tenant(), "cs").await.unwrap(), found);
    assert!(copied.answered(&tenant(), &Digest::of(b"k"), NOW).await.unwrap().is_some());
    copied.close().await.unwrap();
    store.close().await.unwrap();
}
