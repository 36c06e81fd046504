//! A shop's checkouts: of two who write the same thing one is told, a key and what is under it are one unit, and a copy of
//! the database has them.

use commerce::store::{
    ANSWER_SECONDS, Answered, Counts, HEARD_MAX, Heard, Hearing, KeyWrite, OrderWrite, SessionWrite, Sessions as _,
    Written,
};
use ledger::id::Digest;

use super::{Place, on_both_engines, tenant};
use crate::cell::Cell;
use crate::{Purpose, Schema, copy};

on_both_engines!(
    "multi_thread":
    what_was_written_meanwhile_is_not_written_over,
    a_key_and_what_is_under_it_are_written_together_or_not_at_all,
    answers_are_forgotten_and_what_is_worked_on_is_not,
    keys_of_any_kind_end_with_their_time,
    what_is_due_is_found_and_taken_out_as_it_was_read,
    nobody_has_more_places_than_they_may,
    what_an_older_release_wrote_is_due_at_once,
    a_copy_has_the_checkouts,
    orders_lie_in_one_row_and_come_with_their_session,
    what_shops_tell_is_kept_once_and_not_without_end,
);

const NOW: i64 = 1_800_000_000;

fn session(id: &str, from: u64, text: &str) -> Option<SessionWrite> {
    due(id, from, text, NOW)
}

fn due(id: &str, from: u64, text: &str, due: i64) -> Option<SessionWrite> {
    let (id, document, counts) = (id.to_owned(), text.as_bytes().to_vec(), Counts::AsBefore);
    Some(SessionWrite { id, from, document, due, counts, order: None })
}

fn of(opener: &str, id: &str, most: u64) -> Option<SessionWrite> {
    let counts = Counts::Against { opener: Digest::of(opener.as_bytes()), most };
    session(id, 0, "new").map(|write| SessionWrite { counts, ..write })
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

async fn keys_of_any_kind_end_with_their_time(place: Place) {
    let store = place.opened().await;
    for (name, at, answer) in [
        ("old", NOW, Some("answer")),
        ("given up", NOW, None),
        ("young", NOW + 1, Some("answer")),
        ("under way", NOW + 1, None),
    ] {
        store.write(&tenant(), None, key(name, None, at, answer)).await.unwrap();
    }
    assert_eq!(store.forget_answers(&tenant(), NOW + ANSWER_SECONDS).await.unwrap(), 0, "not a second too early");
    assert_eq!(store.forget_answers(&"another".parse().unwrap(), NOW + 2 * ANSWER_SECONDS).await.unwrap(), 0);
    assert_eq!(store.forget_answers(&tenant(), NOW + ANSWER_SECONDS + 1).await.unwrap(), 2);
    for (name, is_there) in [("old", false), ("given up", false), ("young", true), ("under way", true)] {
        let found = store.answered(&tenant(), &Digest::of(name.as_bytes()), NOW + 2).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{name}");
    }
    store.close().await.unwrap();
}

async fn what_is_due_is_found_and_taken_out_as_it_was_read(place: Place) {
    let store = place.opened().await;
    for (id, at) in [("c", NOW + 3), ("a", NOW + 1), ("b", NOW + 2)] {
        store.write(&tenant(), due(id, 0, id, at), None).await.unwrap();
    }
    let found = async |now: i64, limit| {
        let found = store.due(&tenant(), now, limit).await.unwrap();
        found.into_iter().map(|(id, kept)| (id, kept.revision)).collect::<Vec<_>>()
    };
    assert_eq!(found(NOW, 10).await, []);
    assert_eq!(found(NOW + 2, 10).await, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(found(NOW + 9, 2).await, [("a".to_owned(), 1), ("b".to_owned(), 1)], "those that wait longest first");
    assert_eq!(store.due(&"another".parse().unwrap(), NOW + 9, 10).await.unwrap(), []);
    // Written meanwhile: it is another one, and later.
    store.write(&tenant(), due("a", 1, "again", NOW + 7), None).await.unwrap();
    assert_eq!(found(NOW + 3, 10).await, [("b".to_owned(), 1), ("c".to_owned(), 1)]);
    for (id, revision, expected) in [
        ("a", 1, Written::SessionMoved),
        ("a", 3, Written::SessionMoved),
        ("nothing", 1, Written::SessionMoved),
        ("a", 2, Written::Done),
        ("a", 2, Written::SessionMoved),
    ] {
        assert_eq!(store.remove(&tenant(), id, revision).await.unwrap(), expected, "{id} at {revision}");
    }
    assert_eq!(store.session(&tenant(), "a").await.unwrap(), None);
    assert!(store.session(&tenant(), "b").await.unwrap().is_some());
    store.close().await.unwrap();
}

async fn nobody_has_more_places_than_they_may(place: Place) {
    let store = place.opened().await;
    let open = async |opener: &str, id: &str| store.write(&tenant(), of(opener, id, 2), None).await.unwrap();
    assert_eq!((open("a", "1").await, open("a", "2").await), (Written::Done, Written::Done));
    assert_eq!(open("a", "3").await, Written::TooMany);
    let refused = store.write(&tenant(), of("a", "3", 2), key("k", None, NOW, Some("answer"))).await.unwrap();
    assert_eq!(refused, Written::TooMany);
    assert_eq!(store.answered(&tenant(), &Digest::of(b"k"), NOW).await.unwrap(), None, "nothing of it was written");
    assert_eq!(open("b", "3").await, Written::Done, "others have places of their own");
    // What is changed keeps its place; what is bought or taken out gives it back.
    store.write(&tenant(), session("1", 1, "changed"), None).await.unwrap();
    assert_eq!(open("a", "4").await, Written::TooMany);
    let bought = session("1", 2, "bought").map(|write| SessionWrite { counts: Counts::NoMore, ..write });
    assert_eq!(store.write(&tenant(), bought, None).await.unwrap(), Written::Done);
    assert_eq!((open("a", "4").await, open("a", "5").await), (Written::Done, Written::TooMany));
    store.remove(&tenant(), "2", 1).await.unwrap();
    // At once: one place, one of them.
    let racing = (0..6).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.write(&tenant(), of("a", &format!("r{number}"), 2), None).await.unwrap() })
    });
    let mut done = 0;
    for one in racing.collect::<Vec<_>>() {
        done += usize::from(one.await.unwrap() == Written::Done);
    }
    assert_eq!(done, 1);
    store.close().await.unwrap();
}

async fn what_an_older_release_wrote_is_due_at_once(place: Place) {
    let store = place.opened().await;
    let mut connection = store.shared.opener.reopen().await.unwrap();
    let text = "INSERT INTO checkout (tenant, id, revision, document) VALUES ($1, $2, $3, $4)";
    let cells = [Cell::text(tenant()), Cell::text("older"), Cell::number(1), Cell::blob(b"document")];
    connection.begin().await.unwrap();
    connection.execute(text, cells).await.unwrap();
    connection.commit().await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(store.due(&tenant(), 0, 10).await.unwrap().len(), 1);
    store.write(&tenant(), due("older", 1, "document", NOW), None).await.unwrap();
    assert_eq!(store.due(&tenant(), 0, 10).await.unwrap(), []);
    store.close().await.unwrap();
}

async fn a_copy_has_the_checkouts(place: Place) {
    let store = place.opened().await;
    store.write(&tenant(), session("cs", 0, "first"), key("k", None, NOW, Some("answer"))).await.unwrap();
    store.write(&tenant(), of("a", "counted", 1), None).await.unwrap();
    for revision in 1..=12 {
        store.write_order(&tenant(), order("o", revision, "order")).await.unwrap();
    }
    store.hear(&tenant(), heard("told", "shop", "cs")).await.unwrap();
    let found = store.session(&tenant(), "cs").await.unwrap();
    let target = Place { dial: place.dial.clone(), ..Place::new() };
    copy(&place.location, &target.location, Purpose::Keep).await.unwrap();
    let copied = target.open(Schema::Refuse).await.unwrap();
    assert_eq!(copied.session(&tenant(), "cs").await.unwrap(), found);
    assert!(copied.answered(&tenant(), &Digest::of(b"k"), NOW).await.unwrap().is_some());
    assert_eq!(copied.write(&tenant(), of("a", "another", 1), None).await.unwrap(), Written::TooMany);
    assert_eq!(copied.due(&tenant(), NOW, 10).await.unwrap().len(), 2);
    assert_eq!(copied.orders_after(&tenant(), 0, 20).await, store.orders_after(&tenant(), 0, 20).await);
    assert_eq!(copied.last_order(&tenant()).await.unwrap(), 12);
    assert_eq!(copied.heard(&tenant(), "shop", "cs").await.unwrap(), [(NOW, b"told".to_vec())]);
    copied.close().await.unwrap();
    store.close().await.unwrap();
}

fn heard(text: &str, payee: &str, session: &str) -> Heard {
    Heard {
        digest: Digest::of(format!("{text} {payee} {session}").as_bytes()),
        payee: payee.to_owned(),
        session: session.to_owned(),
        at: NOW,
        document: text.as_bytes().to_vec(),
    }
}

fn order(id: &str, revision: u64, text: &str) -> OrderWrite {
    OrderWrite { id: id.to_owned(), revision, document: text.as_bytes().to_vec() }
}

fn bought(id: &str, from: u64, of: &str) -> Option<SessionWrite> {
    session(id, from, "bought").map(|write| SessionWrite { order: Some(order(of, 1, "made")), ..write })
}

async fn orders_lie_in_one_row_and_come_with_their_session(place: Place) {
    let store = place.opened().await;
    // Neither without the other: of a session that moved there is no order, of a taken key neither.
    assert_eq!(store.write(&tenant(), bought("cs", 1, "o"), None).await.unwrap(), Written::SessionMoved);
    store.write(&tenant(), None, key("k", None, NOW, Some("answer"))).await.unwrap();
    let taken = store.write(&tenant(), bought("cs", 0, "o"), key("k", None, NOW, Some("other"))).await.unwrap();
    assert_eq!((taken, store.order(&tenant(), "o").await.unwrap()), (Written::KeyTaken, None));
    for (id, of) in [("cs", "o"), ("ct", "p")] {
        assert_eq!(store.write(&tenant(), bought(id, 0, of), None).await.unwrap(), Written::Done);
    }
    // Known already: the session is written, and the order stays.
    assert_eq!(store.write(&tenant(), bought("cs", 1, "o"), None).await.unwrap(), Written::Done);
    for (revision, text, expected) in [
        (1, "made again", Written::SessionMoved),
        (2, "sent", Written::Done),
        (2, "lost", Written::SessionMoved),
        (3, "received", Written::Done),
    ] {
        assert_eq!(store.write_order(&tenant(), order("o", revision, text)).await.unwrap(), expected, "{text}");
    }
    let last = store.order(&tenant(), "o").await.unwrap().unwrap();
    assert_eq!((last.seq, last.revision, last.document.as_slice()), (4, 3, b"received".as_slice()));
    assert_eq!(store.order(&"other".parse().unwrap(), "o").await.unwrap(), None, "another tenant's");
    let after = async |seq: u64, limit: u32| {
        let found = store.orders_after(&tenant(), seq, limit).await.unwrap();
        found.into_iter().map(|one| (one.seq, String::from_utf8(one.document).unwrap())).collect::<Vec<_>>()
    };
    let all = [(1, "made"), (2, "made"), (3, "sent"), (4, "received")].map(|(seq, text)| (seq, text.to_owned()));
    assert_eq!(
        (after(0, 10).await, after(2, 1).await, after(4, 10).await),
        (all.to_vec(), vec![all[2].clone()], vec![])
    );
    // Who write at once: each row has its place, and nobody's is lost.
    let writers = (0..8_u64).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let id = format!("r{number}");
            while store.write_order(&tenant(), order(&id, 1, "made")).await.unwrap() != Written::Done {}
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let places: Vec<u64> = after(0, 100).await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(places, (1..=12).collect::<Vec<_>>());
}

async fn what_shops_tell_is_kept_once_and_not_without_end(place: Place) {
    let store = place.opened().await;
    let hear = async |text: &str, payee: &str, session: &str| store.hear(&tenant(), heard(text, payee, session)).await;
    for (text, payee, expected) in
        [("made", "shop", Hearing::New), ("made", "shop", Hearing::Known), ("made", "other", Hearing::New)]
    {
        assert_eq!(hear(text, payee, "cs").await.unwrap(), expected, "{text} {payee}");
    }
    for number in 1..HEARD_MAX {
        assert_eq!(hear(&number.to_string(), "shop", "cs").await.unwrap(), Hearing::New);
    }
    assert_eq!(hear("more", "shop", "cs").await.unwrap(), Hearing::TooMany);
    assert_eq!(hear("made", "shop", "cs").await.unwrap(), Hearing::Known);
    assert_eq!(hear("more", "shop", "another").await.unwrap(), Hearing::New);
    let all = store.heard(&tenant(), "shop", "cs").await.unwrap();
    assert_eq!(
        (all.len() as u64, all[0].1.as_slice(), all[1].1.as_slice()),
        (HEARD_MAX, b"made".as_slice(), b"1".as_slice())
    );
    assert!(store.heard(&"other".parse().unwrap(), "shop", "cs").await.unwrap().is_empty());
}
