//! A COMMIT that waits for its standby, and somebody who does not let it wait. PostgreSQL then takes the commit for
//! done, with a warning: it is seen on the primary and would be gone with it. Nobody may be told that it succeeded.

use std::collections::BTreeSet;

use ledger::store::{Answer, Freshness, Store as _, StoreError};
use tokio::task::JoinHandle;

use super::cluster::wait_until;
use super::standby::{Pair, numbered};
use super::{assert_sound, holds, run, tenant};
use crate::keys::{KeyState, KeyTable, SealedKey};
use crate::{Location, Schema, SqlStore};

const CAP: u128 = 1_000;

fn ask(store: &SqlStore) -> JoinHandle<Result<Answer, StoreError>> {
    let store = store.clone();
    tokio::spawn(async move { run(&store, holds(numbered(1))).await })
}

impl Pair {
    /// Server processes of ours whose COMMIT waits for the standby.
    fn waiting(&self) -> BTreeSet<String> {
        let text = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'purser'";
        self.primary.psql(&self.database, text).lines().map(str::to_owned).collect()
    }

    /// The next of them, while the caller has no answer.
    fn next_waiting<T>(&self, asked: &JoinHandle<T>, before: &mut BTreeSet<String>) -> String {
        let mut found = None;
        wait_until("a commit waits for the standby", || {
            assert!(!asked.is_finished(), "the caller was answered, and the standby knows nothing");
            found = self.waiting().difference(before).next().cloned();
            found.is_some()
        });
        let pid = found.unwrap();
        before.insert(pid.clone());
        pid
    }

    fn interrupt(&self, how: &str, pid: &str) {
        self.primary.psql(&self.database, &format!("SELECT {how}({pid})"));
    }

    async fn assert_held_after_fail_over(&mut self, first: &Answer) {
        let promoted = self.fail_over().await;
        let spend = promoted.spend(&tenant(), numbered(1).spend).await.unwrap();
        assert_eq!(spend, first.spend, "the standby has another answer");
        let again = run(&promoted, holds(numbered(1))).await.unwrap();
        assert_eq!((again.freshness, again.spend), (Freshness::Known, first.spend.clone()));
        assert_sound(&promoted).await;
    }
}

/// As often as somebody interrupts the wait, another takes its place, until the standby has it.
async fn interrupted(how: &str) {
    let mut pair = Pair::start();
    let store = pair.opened(CAP).await;
    let frozen = pair.standby.freeze_receiver();
    let asked = ask(&store);
    let mut before = BTreeSet::new();
    for _ in 0..3 {
        let pid = pair.next_waiting(&asked, &mut before);
        pair.interrupt(how, &pid);
    }
    pair.next_waiting(&asked, &mut before);
    // Readers of the primary see it meanwhile: a read is no promise.
    assert!(store.spend(&tenant(), numbered(1).spend).await.unwrap().is_some());
    drop(frozen);
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.freshness, Freshness::New);
    pair.assert_held_after_fail_over(&answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_standby_that_is_cancelled_is_no_answer() {
    interrupted("pg_cancel_backend").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_standby_that_is_terminated_is_no_answer() {
    interrupted("pg_terminate_backend").await;
}

/// The process that asked first is gone, its key is seen, and its commit is nowhere else: a retry by another process
/// is not answered from what it reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_elsewhere_waits_for_the_standby_too() {
    let mut pair = Pair::start();
    let store = pair.opened(CAP).await;
    let frozen = pair.standby.freeze_receiver();
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let opening = pair.open(&pair.primary, Schema::Refuse);
    let asked = process.spawn(async move { run(&opening.await, holds(numbered(1))).await });
    let mut before = BTreeSet::new();
    let first = pair.next_waiting(&asked, &mut before);
    process.shutdown_background();
    pair.interrupt("pg_cancel_backend", &first);
    wait_until("the first is gone", || pair.waiting().is_empty());

    let asked = ask(&store);
    for _ in 0..2 {
        let pid = pair.next_waiting(&asked, &mut before);
        pair.interrupt("pg_cancel_backend", &pid);
    }
    pair.next_waiting(&asked, &mut before);
    drop(frozen);
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.freshness, Freshness::Known);
    pair.assert_held_after_fail_over(&answer).await;
}

/// Where no wait is let through at all, the caller is told that nobody knows; and the standby, promoted, does not.
#[tokio::test(flavor = "multi_thread")]
async fn where_every_wait_is_cancelled_the_answer_is_unknown() {
    let mut pair = Pair::start();
    let store = pair.opened(CAP).await;
    let frozen = pair.primary.freeze_sender();
    let asked = ask(&store);
    let mut cancelled = BTreeSet::new();
    wait_until("the caller is answered", || {
        for pid in pair.waiting() {
            pair.interrupt("pg_cancel_backend", &pid);
            cancelled.insert(pid);
        }
        asked.is_finished()
    });
    assert!(matches!(asked.await.unwrap(), Err(StoreError::Unknown(_))));
    assert!(store.spend(&tenant(), numbered(1).spend).await.unwrap().is_some(), "it was not committed here");
    let promoted = pair.fail_over().await;
    drop(frozen);
    assert!(promoted.spend(&tenant(), numbered(1).spend).await.unwrap().is_none(), "it was replicated");
    let again = run(&promoted, holds(numbered(1))).await.unwrap();
    assert_eq!(again.freshness, Freshness::New);
    assert_sound(&promoted).await;
    println!("{} waits were cancelled", cancelled.len());
}

/// Keys are seen as soon as they are written here: who finds them waits for the standby as who wrote them did.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_only_the_primary_has_is_not_taken_for_kept() {
    let pair = Pair::start();
    pair.opened(CAP).await.close().await.unwrap();
    let location: Location = pair.primary.url(&pair.database).parse().unwrap();
    let change = |keys: Vec<SealedKey>| {
        let location = location.clone();
        tokio::spawn(async move {
            let mut table = KeyTable::open(&location, Schema::Refuse).await?;
            table.change(|_| Ok::<_, StoreError>(keys)).await
        })
    };
    let key = SealedKey {
        tenant: tenant().to_string(),
        purpose: "salt".to_owned(),
        kid: "one".to_owned(),
        state: KeyState::Active,
        created_at: 1,
        ended_at: None,
        master: "master".to_owned(),
        data_key: vec![1; 60],
        secret: vec![2; 60],
    };
    let frozen = pair.standby.freeze_receiver();
    let mut before = BTreeSet::new();
    for keys in [vec![key.clone()], vec![]] {
        let asked = change(keys);
        let pid = pair.next_waiting(&asked, &mut before);
        pair.interrupt("pg_cancel_backend", &pid);
        assert!(matches!(asked.await.unwrap(), Err(StoreError::Unknown(_))));
    }
    let asked = change(vec![]);
    pair.next_waiting(&asked, &mut before);
    drop(frozen);
    assert_eq!(asked.await.unwrap().unwrap(), [key]);
}
