//! What only PostgreSQL has: commits whose answer is lost, connections that break, locks of other processes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ledger::command::Command;
use ledger::rejection::Rejection;
use ledger::settlement::Role;
use ledger::store::{Freshness, Store as _, StoreError, Work};
use tokio::task::JoinSet;

use super::cluster::{Cluster, QUICK};
use super::cut::{Cut, Road};
use super::{Place, assert_sound, document, holds, on, run, salts, stream, tenant};
use crate::connection::Opener;
use crate::{Options, Schema, SqlStore};

/// `UPDATE_GOLDEN=1` writes the file anew, from what the migrations make.
#[tokio::test]
async fn the_catalog_is_what_the_migrations_make() {
    let cluster = Cluster::start(QUICK);
    let found = crate::connection::catalog_of_migrations(&cluster.url(&cluster.create())).await.unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/connection/postgres_catalog.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, format!("{}\n", found.join("\n"))).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    assert_eq!(found, expected.lines().collect::<Vec<_>>());
}

impl Place {
    fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().unwrap()
    }

    pub(super) fn database(&self) -> String {
        self.cluster.as_ref().unwrap().latest()
    }

    /// As the writer's connections plan.
    async fn plan(&self, text: &str, variables: &str) -> String {
        let opener = Opener::new(&self.location, Duration::from_secs(5));
        let mut connection = opener.reopen().await.unwrap();
        let prepare = format!("PREPARE look_up AS {text}");
        connection.execute(prepare, []).await.unwrap();
        let lines = connection.fetch(format!("EXPLAIN EXECUTE look_up ({variables})"), []).await.unwrap();
        connection.close().await.unwrap();
        lines.iter().map(|row| format!("{}\n", row.text(0).unwrap())).collect()
    }

    async fn by_road(&self, road: &Road) -> SqlStore {
        let options = Options { clock: self.dial.clock(), skew_max: None, ..Options::new(Schema::Refuse) };
        SqlStore::open(road.url(&self.database()).parse::<crate::Location>().unwrap(), salts(), options).await.unwrap()
    }
}

/// A book with a row in every table.
pub(super) async fn filled(place: &Place) -> SqlStore {
    let store = place.opened().await;
    let held = holds(stream::hold(1, stream::mandate(0), 100));
    run(&store, Work { documents: vec![document("evidence")], ..held }).await.unwrap();
    run(&store, holds(stream::hold(8, stream::mandate(22), 20))).await.unwrap();
    let looked_at = Some(stream::review(7, false));
    let hold = ledger::command::Hold { review: looked_at, ..stream::hold(7, stream::mandate(23), 20) };
    run(&store, holds(hold)).await.unwrap();
    run(&store, on(Command::Commit { spend: stream::spend(1) })).await.unwrap();
    run(&store, on(Command::Claim(Box::new(stream::claim(1, Role::Seller, 5))))).await.unwrap();
    assert!(run(&store, holds(stream::hold(9, stream::mandate(0), 9_999))).await.is_err(), "a refusal to keep");
    run(&store, on(stream::gate(4, ledger::gate::GateState::Closed))).await.unwrap();
    store
}

/// Plans are made on tables that are still empty and kept as long as the connection: one that reads all of a tenant's
/// rows for each key serves a fresh database at a tenth of its speed.
#[tokio::test]
async fn every_look_up_probes_by_its_whole_key() {
    use crate::rows::find;
    let place = Place::postgres();
    let store = place.opened().await;
    let cluster = place.cluster.as_ref().unwrap();
    let look_ups = [
        find::WINDOWS,
        find::BUDGETS,
        find::SPENDS,
        find::DECISIONS,
        find::GATES,
        find::DOCUMENTS,
        find::CLAIMS,
        find::SETTLEMENTS,
        find::PURCHASES,
        find::ACCOUNTS,
    ];
    for round in ["empty", "filled", "analyzed"] {
        match round {
            "filled" => drop(filled(&place).await),
            "analyzed" => drop(cluster.psql(&place.database(), "ANALYZE")),
            _ => {}
        }
        for look_up in &look_ups {
            let variables = (0..=look_up.key.len()).map(|_| "NULL").collect::<Vec<_>>().join(", ");
            let plan = place.plan(&look_up.lists(), &variables).await;
            let probe = plan.split_once(&format!(" on {} t", look_up.table)).unwrap_or_else(|| panic!("{plan}")).1;
            let condition = probe.lines().nth(1).unwrap_or_default();
            for (name, _) in look_up.key {
                let is_held = condition.contains("Index Cond") && condition.contains(&format!("{name} = "));
                assert!(is_held, "{round}: {} is not looked up by {name}:\n{plan}", look_up.table);
            }
        }
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_and_never_guessed() {
    let place = Place::postgres();
    let store = place.opened().await;
    let road = Road::to(place.cluster.as_ref().unwrap().host());
    let far = place.by_road(&road).await;
    for (number, cut) in [(1, Cut::AfterCommit), (2, Cut::BeforeCommit), (3, Cut::AfterCommit)] {
        let before = store.head(&tenant()).await.unwrap().0;
        road.cut_next(cut);
        // A claim of a seller tells a caller whether it is theirs: a guess of "known" would lose the sale.
        let claim = on(Command::Claim(Box::new(stream::claim(number, Role::Seller, 5))));
        let answer = run(&far, claim).await.unwrap();
        assert_eq!((answer.freshness, answer.seq), (Freshness::New, Some(before)), "{cut:?}");
        assert_eq!(store.head(&tenant()).await.unwrap().0, before + 1, "{cut:?}: written once");
    }
    assert_eq!(road.cuts.load(Ordering::SeqCst), 3);
    // The same with neighbours in one unit: each has its own answer, those that were refused too.
    road.cut_next(Cut::AfterCommit);
    let mut callers = JoinSet::new();
    for number in 10..20_u8 {
        let far = far.clone();
        let units = if number % 2 == 0 { 10 } else { 9_999 };
        callers.spawn(async move { (number, run(&far, holds(stream::hold(number, stream::mandate(0), units))).await) });
    }
    for (number, answer) in callers.join_all().await {
        match answer {
            Ok(answer) => assert_eq!((number % 2, answer.freshness), (0, Freshness::New)),
            Err(StoreError::Rejected(Rejection::AmountExceedsBudget { .. })) => assert_eq!(number % 2, 1),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(road.cuts.load(Ordering::SeqCst), 4);
    assert_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_load_loses_nothing_that_was_answered() {
    let mut place = Place::postgres();
    let store = place.opened().await;
    let mut callers = JoinSet::new();
    for caller in 0..8_u8 {
        let store = store.clone();
        callers.spawn(async move {
            let mut answered = Vec::new();
            for number in (caller * 30)..(caller * 30 + 30) {
                loop {
                    // In doubt or refused for now: the same key again, as callers do.
                    match run(&store, holds(stream::hold(number, stream::mandate(0), 2))).await {
                        Ok(_) => break answered.push(number),
                        Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            answered
        });
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        place.cluster().kill();
        place.cluster().launch();
    }
    let answered: Vec<u8> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(answered.len(), 240);
    for number in answered {
        assert!(
            store.spend(&tenant(), stream::spend(number)).await.unwrap().is_some(),
            "{number} was answered and is gone"
        );
    }
    let budget = store.budget(&tenant(), stream::mandate(0)).await.unwrap().unwrap();
    assert_eq!((budget.held.get(), budget.count), (480, 240), "none twice");
    assert_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn roads_that_break_at_random_never_pass_a_cap() {
    let place = Place::postgres();
    let near = place.opened().await;
    let road = Road::to(place.cluster.as_ref().unwrap().host());
    let stores = [place.by_road(&road).await, place.by_road(&road).await];
    // One at least, however few messages the lanes need.
    road.cut_next(Cut::BeforeCommit);
    road.cut_one_in(Some(60));
    let mut callers = JoinSet::new();
    // Two mandates of one person: 500 and 700 beneath a cap of 700.
    for number in 0..200_u8 {
        let store = stores[usize::from(number % 2)].clone();
        let mandate = stream::mandate(if number % 4 < 2 { 0 } else { 2 });
        callers.spawn(async move {
            let mut hold = stream::hold(number, mandate, 7);
            hold.expires_at = ledger::id::Micros(i64::MAX);
            loop {
                match run(&store, holds(hold.clone())).await {
                    Ok(_) => break true,
                    Err(StoreError::Rejected(_)) => break false,
                    Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    let held = callers.join_all().await.into_iter().filter(|held| *held).count();
    assert!(road.cuts.load(Ordering::SeqCst) > 0, "nothing was cut");
    let one = near.budget(&tenant(), stream::mandate(0)).await.unwrap().unwrap();
    let two = near.budget(&tenant(), stream::mandate(2)).await.unwrap().unwrap();
    let person = near.budget(&tenant(), stream::PERSON).await.unwrap().unwrap();
    // Seventy-one of seven for the first; three payments for the second, which has no more.
    assert_eq!(one.held.get(), 7 * u128::from(one.count));
    assert_eq!((two.held.get(), two.count), (21, 3));
    assert_eq!(person.held.get(), one.held.get() + two.held.get());
    assert_eq!(u64::try_from(held).unwrap(), one.count + two.count);
    assert_eq!(one.count, 71, "a mandate of 500 has room for 71 of 7");
    assert_sound(&near).await;
}

/// A lane whose head another process holds waits, says so when it took too long, and loses nothing.
#[tokio::test]
async fn a_lock_that_does_not_come_is_unavailable() {
    let place = Place::postgres();
    let store = place.opened().await;
    let mut other = crate::connection::Opener::new(&place.location, Duration::from_secs(1));
    let mut blocking = { &mut other }.reopen().await.unwrap();
    blocking.begin().await.unwrap();
    crate::load::locked_head(&mut blocking, &tenant()).await.unwrap();
    let answer = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    blocking.roll_back().await.unwrap();
    let answer = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await.unwrap();
    assert_eq!(answer.freshness, Freshness::New);
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_clock_that_is_not_the_databases_is_refused() {
    let place = Place::postgres();
    let store = place.opened().await;
    store.close().await.unwrap();
    // The dial stands somewhere in 2027.
    let options = Options { clock: place.dial.clock(), ..Options::new(Schema::Refuse) };
    let store = SqlStore::open(place.location.clone(), salts(), options).await.unwrap();
    let refused = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await.unwrap_err();
    assert!(refused.to_string().contains("clock_jump"), "{refused}");
    assert!(store.spend(&tenant(), stream::spend(1)).await.unwrap().is_none());
}
