//! What people sign in with: used once, counted upwards, gone when it is over.

use ledger::approver::{Approvers as _, Code, CodePurpose, Passkey, Session};
use ledger::id::Digest;

use super::{Place, on_both_engines, salts, tenant};
use crate::{Options, Purpose, Schema, SqlStore, copy};

on_both_engines!(
    "multi_thread":
    a_code_is_used_once_by_one,
    a_registration_is_whole_or_nothing,
    a_counter_moves_for_one_and_never_falls,
    a_session_ends_with_its_time_and_its_passkey,
    a_copy_has_the_passkeys_and_no_session,
);

const NOW: i64 = 1_000;

fn code(text: &str, purpose: CodePurpose) -> Code {
    let owner = (purpose == CodePurpose::Invite).then(|| (tenant(), "user".parse().unwrap()));
    Code { digest: Digest::of(text.as_bytes()), purpose, owner, expires_at: NOW + 10 }
}

fn passkey(number: u8) -> Passkey {
    Passkey {
        tenant: tenant(),
        principal: "user".parse().unwrap(),
        credential: vec![number; 16],
        key: vec![0xa5, number],
        sign_count: 7,
        created_at: NOW,
    }
}

fn session(text: &str, number: u8) -> Session {
    let digest = Digest::of(text.as_bytes());
    let principal = "user".parse().unwrap();
    Session { digest, tenant: tenant(), principal, credential: vec![number; 16], expires_at: NOW + 10 }
}

/// With one passkey and one session of it.
async fn opened(place: &Place) -> SqlStore {
    let store = place.opened().await;
    store.add_code(code("invited", CodePurpose::Invite), NOW).await.unwrap();
    let digest = Digest::of(b"invited");
    assert!(store.register(digest, passkey(1), session("one", 1), NOW).await.unwrap());
    store
}

async fn a_code_is_used_once_by_one(place: Place) {
    let store = place.opened().await;
    let (digest, wanted) = (Digest::of(b"challenge"), code("challenge", CodePurpose::SignIn));
    store.add_code(wanted.clone(), NOW).await.unwrap();
    assert_eq!(store.code(digest, CodePurpose::Invite, NOW).await.unwrap(), None, "for another purpose");
    assert_eq!(store.use_code(digest, CodePurpose::Invite, NOW).await.unwrap(), None);
    assert_eq!(store.code(digest, CodePurpose::SignIn, NOW + 10).await.unwrap(), None, "over");
    assert_eq!(store.use_code(digest, CodePurpose::SignIn, NOW + 10).await.unwrap(), None);
    assert_eq!(store.use_code(Digest::of(b"guess"), CodePurpose::SignIn, NOW).await.unwrap(), None);
    assert_eq!(store.code(digest, CodePurpose::SignIn, NOW).await.unwrap(), Some(wanted.clone()));
    let both = tokio::join!(
        store.use_code(digest, CodePurpose::SignIn, NOW),
        store.use_code(digest, CodePurpose::SignIn, NOW)
    );
    let got = [both.0.unwrap(), both.1.unwrap()];
    assert_eq!(got.iter().flatten().collect::<Vec<_>>(), [&wanted], "one of two at once");
    store.add_code(wanted, NOW).await.unwrap();
    store.add_code(code("later", CodePurpose::SignIn), NOW + 10).await.unwrap();
    assert_eq!(store.use_code(digest, CodePurpose::SignIn, NOW).await.unwrap(), None, "taken out once it was over");
}

async fn a_registration_is_whole_or_nothing(place: Place) {
    let store = opened(&place).await;
    let digest = Digest::of(b"second");
    assert!(!store.register(digest, passkey(2), session("two", 2), NOW).await.unwrap(), "nobody was invited");
    store.add_code(code("second", CodePurpose::Invite), NOW).await.unwrap();
    let other = Passkey { key: vec![1], ..passkey(1) };
    assert!(!store.register(digest, other, session("two", 1), NOW).await.unwrap(), "the credential is taken");
    assert_eq!(store.passkey(&[1; 16]).await.unwrap(), Some(passkey(1)), "and is what it was");
    assert_eq!(store.session(Digest::of(b"two"), NOW).await.unwrap(), None);
    assert!(!store.register(digest, passkey(2), session("two", 2), NOW + 10).await.unwrap(), "too late");
    assert!(store.register(digest, passkey(2), session("two", 2), NOW).await.unwrap(), "the code was not used up");
    assert!(!store.register(digest, passkey(3), session("three", 3), NOW).await.unwrap(), "twice");
    let known = store.passkeys_of(&tenant(), &"user".parse().unwrap()).await.unwrap();
    assert_eq!(known.len(), 2);
    assert_eq!(store.passkeys_of(&tenant(), &"other".parse().unwrap()).await.unwrap(), []);
}

async fn a_counter_moves_for_one_and_never_falls(place: Place) {
    let store = opened(&place).await;
    assert!(!store.count(&[1; 16], 6, 8).await.unwrap(), "from where it is not");
    assert!(!store.count(&[9; 16], 7, 8).await.unwrap(), "of a key that nobody has");
    let both = tokio::join!(store.count(&[1; 16], 7, 8), store.count(&[1; 16], 7, 8));
    assert_eq!([both.0.unwrap(), both.1.unwrap()].iter().filter(|moved| **moved).count(), 1);
    assert!(store.count(&[1; 16], 8, 3).await.is_err(), "downwards");
    assert!(store.count(&[1; 16], 8, u32::MAX).await.unwrap(), "what failed before stands in nobody's way");
    assert_eq!(store.passkey(&[1; 16]).await.unwrap().unwrap().sign_count, u32::MAX);
}

async fn a_session_ends_with_its_time_and_its_passkey(place: Place) {
    let store = opened(&place).await;
    let one = Digest::of(b"one");
    assert_eq!(store.session(Digest::of(b"guess"), NOW).await.unwrap(), None);
    assert_eq!(store.session(one, NOW + 10).await.unwrap(), None, "over");
    assert_eq!(store.session(one, NOW).await.unwrap(), Some(session("one", 1)));
    store.add_session(session("two", 1), NOW).await.unwrap();
    store.end_session(one).await.unwrap();
    assert_eq!(store.session(one, NOW).await.unwrap(), None, "signed out");
    assert!(!store.end_passkey(&[9; 16]).await.unwrap());
    assert!(store.end_passkey(&[1; 16]).await.unwrap());
    assert_eq!(store.session(Digest::of(b"two"), NOW).await.unwrap(), None, "with the key that began it");
    assert_eq!(store.passkey(&[1; 16]).await.unwrap(), None);
}

async fn a_copy_has_the_passkeys_and_no_session(place: Place) {
    let store = opened(&place).await;
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.db");
    copy(&place.location, &kept.clone().into(), Purpose::Keep).await.unwrap();
    let options = Options { skew_max: None, clock: place.dial.clock(), ..Options::new(Schema::Refuse) };
    let other = SqlStore::open(kept, salts(), options).await.unwrap();
    assert_eq!(other.passkey(&[1; 16]).await.unwrap(), store.passkey(&[1; 16]).await.unwrap());
    assert_eq!(other.session(Digest::of(b"one"), NOW).await.unwrap(), None);
}
