//! A primary that dies under load, and its standby that takes its place: with `synchronous_commit` nothing that was
//! answered is lost, and nothing is paid twice. Without it something is, which is how this would be noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger::budget::BudgetKind;
use ledger::command::{Command, Hold};
use ledger::effects::{Effects, Operation};
use ledger::id::{BudgetId, Digest};
use ledger::rejection::Rejection;
use ledger::spend::{Spend, SpendState};
use ledger::store::{Freshness, Store as _, StoreError, Work};
use tokio::task::JoinSet;

use super::cluster::{Cluster, QUICK};
use super::{Dial, assert_sound, holds, on, run, salts, stream, tenant, work};
use crate::{Location, Options, Schema, SqlStore};

const CALLERS: usize = 32;
const UNITS: u128 = 7;
const MANDATE: BudgetId = BudgetId([40; 32]);

/// A primary and a standby that its commits wait for, with an empty database.
pub(super) struct Pair {
    pub primary: Cluster,
    pub standby: Cluster,
    pub database: String,
    dial: Dial,
}

impl Pair {
    pub fn start() -> Self {
        // Memory that is shared as a file of the server's folder goes with it, however the server ends.
        let settings = [QUICK, &["dynamic_shared_memory_type=mmap"]].concat();
        let primary = Cluster::start(&settings);
        let database = primary.create();
        let standby = primary.standby();
        primary.wait_for_standby();
        Self { primary, standby, database, dial: Dial::new() }
    }

    pub fn open(&self, cluster: &Cluster, schema: Schema) -> impl Future<Output = SqlStore> + use<> {
        let options = Options { clock: self.dial.clock(), skew_max: None, ..Options::new(schema) };
        let location: Location = cluster.url(&self.database).parse().unwrap();
        async move { SqlStore::open(location, salts(), options).await.unwrap() }
    }

    /// The primary's store, with a mandate for so much.
    pub async fn opened(&self, cap: u128) -> SqlStore {
        let store = self.open(&self.primary, Schema::Migrate).await;
        let fund = Command::Fund {
            wallet: "eip155:31337:0xaa".to_owned(),
            money: stream::money(cap),
            reference: Digest::of(b"f"),
        };
        let open = |id, parent, kind, decision| stream::open(id, parent, kind, stream::total(cap), decision);
        let requests = [
            stream::by(stream::service(), fund),
            open(stream::ROOT, None, BudgetKind::Tenant, None),
            open(stream::PERSON, Some(stream::ROOT), BudgetKind::Person, None),
            stream::propose(0),
            stream::decide(0, ledger::decision::Answer::Approve),
            open(MANDATE, Some(stream::PERSON), BudgetKind::Mandate, Some(0)),
        ];
        for request in requests {
            run(&store, work(request)).await.unwrap();
        }
        store
    }

    /// Until so many records have come to the standby.
    async fn wait_for_records(&self, count: u64) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while self.standby.psql(&self.database, "SELECT count(*) FROM journal").parse::<u64>().unwrap() < count {
            assert!(std::time::Instant::now() < deadline, "{count} records did not come to the standby");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The primary dies and the standby takes its place.
    pub async fn fail_over(&mut self) -> SqlStore {
        self.primary.destroy();
        self.standby.promote();
        self.open(&self.standby, Schema::Refuse).await
    }
}

/// A hold whose names no other has.
pub(super) fn numbered(number: u64) -> Hold {
    let digest = Digest::of(&number.to_be_bytes());
    let mut hold = stream::hold(0, MANDATE, UNITS);
    (hold.spend.0, hold.request, hold.purchase, hold.evidence) = (digest.0, digest, digest, digest);
    (hold.key, hold.leaf_nonce) = (format!("pay-{number}").parse().unwrap(), format!("leaf-{number}"));
    hold.authorization.nonce = digest.0;
    hold
}

/// What a caller does about one payment, step by step: some stay held, some are signed, paid, given back.
fn plan(number: u64) -> Vec<Work> {
    let hold = numbered(number);
    let spend = hold.spend;
    let seen =
        ledger::spend::Observation { transaction: format!("0x{number:x}").parse().unwrap(), ..stream::seen(UNITS) };
    let more = match number % 4 {
        0 => vec![],
        1 => vec![Command::Commit { spend }],
        2 => vec![Command::Commit { spend }, Command::Settle { spend, seen, finalized: stream::FINAL }],
        _ => vec![Command::Void { spend }],
    };
    std::iter::once(holds(hold)).chain(more.into_iter().map(on)).collect()
}

/// What a caller was told: the record and the spend after it, or why not.
type Told = Result<(u64, Spend), Rejection>;

/// Kept outside of both servers: every answer that a caller got, by payment and step.
#[derive(Default)]
struct Log {
    next: AtomicU64,
    told: Mutex<BTreeMap<(u64, usize), Told>>,
}

impl Log {
    fn answers(&self) -> usize {
        self.told.lock().unwrap().len()
    }
}

/// One payment after another, until an answer stays out.
async fn pay(store: SqlStore, log: Arc<Log>) {
    loop {
        let number = log.next.fetch_add(1, Ordering::SeqCst);
        for (step, work) in plan(number).into_iter().enumerate() {
            let told = match run(&store, work).await {
                Ok(answer) => Ok((answer.seq.unwrap(), answer.spend.unwrap())),
                Err(StoreError::Rejected(rejection)) => Err(rejection),
                Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => return,
                Err(other) => panic!("{other}"),
            };
            let is_refused = told.is_err();
            log.told.lock().unwrap().insert((number, step), told);
            if is_refused {
                break;
            }
        }
    }
}

fn callers(store: &SqlStore, log: &Arc<Log>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(pay(store.clone(), log.clone()));
    }
    callers
}

async fn journal(store: &SqlStore) -> Vec<Effects> {
    let (mut all, size) = (Vec::new(), store.head(&tenant()).await.unwrap().0);
    while u64::try_from(all.len()).unwrap() < size {
        let from = u64::try_from(all.len()).unwrap();
        all.extend(store.records(&tenant(), from, 1_000).await.unwrap().into_iter().map(|(_, effects)| effects));
    }
    all
}

/// The payments and steps whose answers the journal does not bear out. A refusal is asked for again later.
fn lost(log: &Log, journal: &[Effects]) -> Vec<(u64, usize)> {
    let told = log.told.lock().unwrap();
    let is_there = |seq: u64, spend: &Spend| {
        journal.get(usize::try_from(seq).unwrap()).is_some_and(|effects| effects.spend.as_ref() == Some(spend))
    };
    let is_lost = |told: &Told| told.as_ref().is_ok_and(|(seq, spend)| !is_there(*seq, spend));
    told.iter().filter(|(_, told)| is_lost(told)).map(|(step, _)| *step).collect()
}

/// The same keys again, as callers do after a failure: answered steps say what they said, others are done, once. The
/// state that the payment ends in; `None` where it was refused.
async fn retry(store: &SqlStore, log: &Log, number: u64) -> Option<SpendState> {
    let told = |step| log.told.lock().unwrap().get(&(number, step)).cloned();
    let mut last = None;
    for (step, work) in plan(number).into_iter().enumerate() {
        if let Some(Ok((_, spend))) = told(step) {
            last = Some(spend.state);
            continue;
        }
        match (run(store, work.clone()).await, told(step)) {
            (Err(StoreError::Rejected(again)), Some(Err(first))) => {
                assert_eq!(again, first, "payment {number} was refused otherwise");
                return None;
            }
            (Err(StoreError::Rejected(Rejection::AmountExceedsBudget { .. })), None) if step == 0 => return None,
            (Ok(answer), None) => {
                let again = run(store, work).await;
                match again {
                    Ok(again) => assert_eq!((again.freshness, &again.spend), (Freshness::Known, &answer.spend)),
                    other => panic!("payment {number}, step {step}, asked twice: {other:?}"),
                }
                last = answer.spend.map(|spend| spend.state);
            }
            (answer, told) => panic!("payment {number}, step {step}: told {told:?}, now {answer:?}"),
        }
    }
    // The first key, long after: what became of it, and never a second payment.
    match run(store, holds(numbered(number))).await {
        Ok(answer) => {
            assert_eq!((answer.freshness, answer.spend.map(|spend| spend.state)), (Freshness::Known, last));
        }
        Err(StoreError::Rejected(Rejection::SpendReleased { .. })) => assert_eq!(last, Some(SpendState::Voided)),
        Err(other) => panic!("payment {number}: {other}"),
    }
    last
}

async fn retry_all(store: &SqlStore, log: &Arc<Log>) -> Vec<Option<SpendState>> {
    let mut callers = JoinSet::new();
    let numbers = log.next.load(Ordering::SeqCst);
    for caller in 0..u64::try_from(CALLERS).unwrap() {
        let (store, log) = (store.clone(), log.clone());
        callers.spawn(async move {
            let mut ends = Vec::new();
            for number in (caller..numbers).step_by(CALLERS) {
                ends.push(retry(&store, &log, number).await);
            }
            ends
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

/// Every step of every payment is one record, and the budget is their sum.
async fn assert_each_once(store: &SqlStore, ends: &[Option<SpendState>], cap: u128) {
    let mut steps = BTreeSet::new();
    for effects in journal(store).await {
        if effects.operation != Operation::Reject
            && let Some(spend) = effects.spend
        {
            assert!(steps.insert((spend.id, effects.operation)), "{} twice", effects.operation.as_str());
        }
    }
    let held = steps.iter().filter(|(_, operation)| *operation == Operation::Hold).count();
    assert_eq!(held, ends.iter().flatten().count(), "payments that nobody asked for");
    let taken = ends.iter().flatten().filter(|state| **state != SpendState::Voided).count();
    let budget = store.budget(&tenant(), MANDATE).await.unwrap().unwrap();
    let used = budget.used().unwrap().get();
    assert_eq!((used, budget.count), (UNITS * u128::try_from(taken).unwrap(), u64::try_from(taken).unwrap()));
    assert!(used <= cap, "{used} of {cap}");
    assert_sound(store).await;
}

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes) % below
}

async fn wait_for_answers(log: &Log, count: usize) {
    while log.answers() < count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// `PURSER_PROMOTION_RUNS` for more rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_outlives_a_primary_that_dies_under_load() {
    let runs = std::env::var("PURSER_PROMOTION_RUNS").map_or(3, |runs| runs.parse().unwrap());
    for round in 0..runs {
        let mut pair = Pair::start();
        // Used up before the primary dies, or not.
        let cap = UNITS * u128::from(60 + random(600));
        let store = pair.opened(cap).await;
        let log = Arc::new(Log::default());
        let mut callers = callers(&store, &log);
        wait_for_answers(&log, 200).await;
        tokio::time::sleep(Duration::from_micros(random(3_000_000))).await;

        let promoted = pair.fail_over().await;
        // Half of them give up; the others wait until they are told that it is not known.
        if round % 2 == 0 {
            callers.abort_all();
        }
        while callers.join_next().await.is_some_and(|ended| ended.is_ok() || ended.unwrap_err().is_cancelled()) {}
        let (answers, begun) = (log.answers(), log.next.load(Ordering::SeqCst));
        assert_eq!(lost(&log, &journal(&promoted).await), [], "answers of {answers} are lost");
        let ends = retry_all(&promoted, &log).await;
        assert_each_once(&promoted, &ends, cap).await;
        let paid = ends.iter().flatten().count();
        println!("round {round}: {answers} answers, none lost; {begun} payments begun, {paid} held, cap {cap}");
    }
}

/// The measure of the test above: with `synchronous_commit = off` a standby that lags has lost answers, and the same key
/// is a new payment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_wait_a_promoted_standby_has_lost_what_was_answered() {
    let mut pair = Pair::start();
    let cap = UNITS * 1_000_000;
    let store = pair.opened(cap).await;
    pair.primary.set("synchronous_commit", "off");
    let log = Arc::new(Log::default());
    let mut callers = callers(&store, &log);
    wait_for_answers(&log, 200).await;
    // A standby follows when it comes to it; something of the load has to be there.
    pair.wait_for_records(50).await;
    let frozen = pair.primary.freeze_sender();
    wait_for_answers(&log, log.answers() + 200).await;

    let promoted = pair.fail_over().await;
    drop(frozen);
    callers.abort_all();
    while callers.join_next().await.is_some() {}
    let (answers, lost) = (log.answers(), lost(&log, &journal(&promoted).await));
    println!("{} of {answers} answers are lost", lost.len());
    assert!(lost.len() >= 100, "only {} of {answers} answers are lost: what is the wait for?", lost.len());
    assert!(lost.len() < answers, "nothing was replicated at all");
    let (number, _) = lost.iter().find(|(_, step)| *step == 0).unwrap();
    let again = run(&promoted, holds(numbered(*number))).await.unwrap();
    assert_eq!(again.freshness, Freshness::New, "a payment that its caller was told of is one that nobody made");
    // What is there is a sound book all the same.
    assert_sound(&promoted).await;
}
