//! One hot budget: our lane against one transaction a request. Both write the same rows to the same disk with the same
//! durability (SQLite: WAL, FULL; PostgreSQL: `synchronous_commit`); the peer is the same store with units of one command,
//! and as many callers as serve it best. Then what becomes of the lane as the books grow, and how fast they verify.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ledger::budget::{BudgetKind, Caps};
use ledger::command::{Command, Hold, OpenBudget, Propose, Request};
use ledger::decision::Answer;
use ledger::id::{AuthMethod, BudgetId, Caller, CallerKind, DecisionId, Digest, Micros, SpendId, TenantId};
use ledger::journal::SaltKey;
use ledger::money::{Amount, AssetId};
use ledger::spend::Authorization;
use ledger::store::{Store, Verification, Work};
use ledger::transfer::Money;
use serde_json::json;
use store::{Location, Options, Schema, SqlStore};

use super::server::Server;
use super::{Better, Row, median};
use crate::cli::BenchArgs;

const ROUNDS: usize = 5;
const LANE_CALLERS: usize = 1_024;
const LANE_SPENDS: u64 = 8_192;
/// More callers only queue: one unit of a tenant runs at a time.
const NAIVE_CALLERS: [usize; 3] = [8, 32, 64];
const NAIVE_SPENDS: u64 = 512;

/// Each book is a tenant of its own: all of PostgreSQL's lie in one database.
static TENANTS: AtomicU64 = AtomicU64::new(0);

struct Bench {
    store: SqlStore,
    tenant: TenantId,
    mandate: BudgetId,
    next: AtomicU64,
    _folder: Option<tempfile::TempDir>,
}

fn caller(kind: CallerKind, name: &str) -> Result<Caller, String> {
    let principal = name.parse().map_err(|_| "a principal".to_owned())?;
    Ok(Caller::new(principal, kind, AuthMethod::Internal))
}

async fn run(store: &SqlStore, tenant: &TenantId, caller: Caller, command: Command) -> Result<(), String> {
    let work = Work::new(Request { caller, command }, Vec::new());
    store.run(tenant, work).await.map(|_| ()).map_err(|error| error.to_string())
}

fn fiat() -> Result<AssetId, String> {
    "iso4217:USD".parse().map_err(|_| "an asset".to_owned())
}

/// Which engine, and where.
enum Place<'a> {
    File,
    Server(&'a Location),
}

impl Bench {
    /// A book of its own: a mandate with nothing above it, or one under a person under a tenant, and then every spend
    /// debits three nodes.
    async fn open(place: &Place<'_>, unit_commands_max: usize, depth: u8) -> Result<Self, String> {
        // As long as tenants' names are: it stands in every key.
        let number = TENANTS.fetch_add(1, Ordering::SeqCst);
        let tenant: TenantId = format!("t{number}").parse().map_err(|_| "a tenant")?;
        let salts = HashMap::from([(tenant.clone(), SaltKey::new([1; 32]))]);
        let options = Options { unit_commands_max, ..Options::new(Schema::Migrate) };
        let (location, folder) = match place {
            Place::File => {
                let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
                (Location::from(folder.path().join("bench.sqlite")), Some(folder))
            }
            Place::Server(location) => ((*location).clone(), None),
        };
        let store = SqlStore::open(location, salts, options).await.map_err(|error| error.to_string())?;
        let bench = Self { store, tenant, mandate: BudgetId([3; 32]), next: AtomicU64::new(0), _folder: folder };
        let (root, person) = (BudgetId([1; 32]), BudgetId([2; 32]));
        if depth == 3 {
            bench.open_node(root, None, BudgetKind::Tenant, None).await?;
            bench.open_node(person, Some(root), BudgetKind::Person, None).await?;
        }
        bench.open_mandate(bench.mandate, (depth == 3).then_some(person)).await?;
        Ok(bench)
    }

    async fn open_node(
        &self,
        id: BudgetId,
        parent: Option<BudgetId>,
        kind: BudgetKind,
        decision: Option<DecisionId>,
    ) -> Result<(), String> {
        let holder = "agent".parse().map_err(|_| "a principal")?;
        let caps = Caps { total: Some(Amount::new(u128::MAX / 2)), ..Caps::default() };
        let open = OpenBudget { id, parent, kind, holder, asset: fiat()?, caps, decision, document: None };
        run(&self.store, &self.tenant, caller(CallerKind::Service, "configuration")?, Command::OpenBudget(open)).await
    }

    async fn open_mandate(&self, id: BudgetId, parent: Option<BudgetId>) -> Result<(), String> {
        let (user, decision, subject) = (caller(CallerKind::User, "user")?, DecisionId(id.0), Digest(id.0));
        let (approver, expires_at) = (user.principal.clone(), Micros(i64::MAX));
        let propose = Propose { decision, subject, approver, expires_at };
        run(&self.store, &self.tenant, caller(CallerKind::Agent, "agent")?, Command::Propose(propose)).await?;
        let decide = Command::Decide { decision, subject, answer: Answer::Approve, evidence: None };
        run(&self.store, &self.tenant, user, decide).await?;
        self.open_node(id, parent, BudgetKind::Mandate, Some(decision)).await
    }

    fn hold(&self, number: u64) -> Result<Command, String> {
        let digest = Digest::of(&number.to_be_bytes());
        let asset: AssetId = "eip155:1/erc20:0x01".parse().map_err(|_| "an asset")?;
        Ok(Command::Hold(Box::new(Hold {
            spend: SpendId(digest.0),
            operation: "bench".into(),
            key: format!("key-{number}").parse().map_err(|_| "a key")?,
            request: digest,
            budget: self.mandate,
            leaf_nonce: number.to_string(),
            authority: Money { asset: fiat()?, amount: Amount::new(100) },
            money: Money { asset: asset.clone(), amount: Amount::new(1) },
            rate: None,
            payee: "shop".parse().map_err(|_| "a payee")?,
            pay_to: "0x02".into(),
            pin: None,
            purchase: digest,
            cart: None,
            authorization: Authorization { network: "eip155:1".into(), asset, payer: "0x03".into(), nonce: digest.0 },
            valid_before: i64::MAX,
            since_block: 0,
            expires_at: Micros(i64::MAX),
            again_after: None,
            evidence: digest,
            review: None,
        })))
    }

    /// So many holds by so many callers in a closed loop: time a hold, and how long the slowest hundredth waited.
    async fn load(self: &Arc<Self>, callers: usize, holds: u64) -> Result<Load, String> {
        let started = Instant::now();
        let end = self.next.load(Ordering::SeqCst) + holds;
        let mut tasks = Vec::with_capacity(callers);
        for _ in 0..callers {
            let bench = self.clone();
            tasks.push(tokio::spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let number = bench.next.fetch_add(1, Ordering::SeqCst);
                    if number >= end {
                        return Ok::<_, String>(waits);
                    }
                    let (began, command) = (Instant::now(), bench.hold(number)?);
                    run(&bench.store, &bench.tenant, caller(CallerKind::Agent, "agent")?, command).await?;
                    waits.push(began.elapsed());
                }
            }));
        }
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.map_err(|error| error.to_string())??);
        }
        let count = u32::try_from(holds).map_err(|error| error.to_string())?;
        let each = started.elapsed() / count;
        waits.sort_unstable();
        let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or_default();
        Ok(Load { each, p99 })
    }
}

struct Load {
    each: Duration,
    p99: Duration,
}

const PEER: &str = "one transaction a request, the same rows";

/// A row of an engine: many callers at one budget.
async fn hot(place: &Place<'_>, name: &'static str, depth: u8) -> Result<Row, String> {
    let lane = Arc::new(Bench::open(place, usize::MAX, depth).await?);
    let naive = Arc::new(Bench::open(place, 1, depth).await?);
    // The naive side with the number of callers that serves it best.
    let mut best = (Duration::MAX, 0);
    for callers in NAIVE_CALLERS {
        best = best.min((naive.load(callers, NAIVE_SPENDS).await?.each, callers));
    }
    lane.load(LANE_CALLERS, LANE_SPENDS).await?;
    let (mut ours, mut peer, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let load = lane.load(LANE_CALLERS, LANE_SPENDS).await?;
        ours.push(load.each);
        p99.push(load.p99);
        peer.push(naive.load(best.1, NAIVE_SPENDS).await?.each);
    }
    let p99_ms = u64::try_from(median(p99).as_millis()).unwrap_or(u64::MAX);
    let more = json!({ "callers": LANE_CALLERS, "peer_callers": best.1, "budget_nodes": depth, "p99_ms": p99_ms });
    Ok(rate(name, ours, peer, PEER, more))
}

async fn alone(place: &Place<'_>, name: &'static str) -> Result<Row, String> {
    let lane = Arc::new(Bench::open(place, usize::MAX, 1).await?);
    let naive = Arc::new(Bench::open(place, 1, 1).await?);
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (one, other) = (lane.load(1, 200).await?.each, naive.load(1, 200).await?.each);
        // The first is for warmth.
        if round > 0 {
            ours.push(one);
            peer.push(other);
        }
    }
    Ok(rate(name, ours, peer, PEER, json!({ "callers": 1, "peer_callers": 1, "budget_nodes": 1 })))
}

fn rate(
    name: &'static str,
    ours: Vec<Duration>,
    peer: Vec<Duration>,
    peer_is: &'static str,
    more: serde_json::Value,
) -> Row {
    let rounds = ours.len();
    Row {
        name,
        ours: median(ours),
        peer: Some(median(peer)),
        peer_is,
        rounds,
        more,
        rate: true,
        better: Better::Higher,
    }
}

/// The lane on a book of a thousand records, and on one of so many.
async fn growth(place: &Place<'_>, [name, verify]: [&'static str; 2], records: u64) -> Result<[Row; 2], String> {
    let small = Arc::new(Bench::open(place, usize::MAX, 1).await?);
    let large = Arc::new(Bench::open(place, usize::MAX, 1).await?);
    small.load(LANE_CALLERS, 1_000).await?;
    large.load(LANE_CALLERS, records).await?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(large.load(LANE_CALLERS, 4_096).await?.each);
        // A fresh one each round: it would grow, too.
        let fresh = Arc::new(Bench::open(place, usize::MAX, 1).await?);
        fresh.load(LANE_CALLERS, 1_000).await?;
        peer.push(fresh.load(LANE_CALLERS, 4_096).await?.each);
    }
    let began = Instant::now();
    let entries = match large.store.verify(&large.tenant).await.map_err(|error| error.to_string())? {
        Verification::Sound { entries, .. } => entries,
        Verification::Broken { seq, reason } => return Err(format!("broken at {seq}: {reason}")),
    };
    let each = began.elapsed() / u32::try_from(entries).map_err(|error| error.to_string())?;
    // Bare SHA-256 over as many bytes as a record has: what no verification can do without.
    let block = vec![7_u8; 600];
    let began = Instant::now();
    let mut folded = 0_u8;
    for _ in 0..100_000 {
        folded ^= Digest::of(std::hint::black_box(&block)).0[0];
    }
    std::hint::black_box(folded);
    let bare = began.elapsed() / 100_000;
    let verified = rate(verify, vec![each], vec![bare], "SHA-256 over 600 bytes", json!({ "entries": entries }));
    Ok([rate(name, ours, peer, "a book of 1,000 records", json!({ "records": records })), verified])
}

/// The lane beside so many other mandates, and beside none.
async fn mandates(place: &Place<'_>, name: &'static str, others: u64) -> Result<Row, String> {
    let bench = Arc::new(Bench::open(place, usize::MAX, 1).await?);
    let mut tasks = Vec::new();
    let next = Arc::new(AtomicU64::new(0));
    for _ in 0..LANE_CALLERS {
        let (bench, next) = (bench.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= others {
                    return Ok::<_, String>(());
                }
                bench.open_mandate(BudgetId(Digest::of(&number.to_be_bytes()).0), None).await?;
            }
        }));
    }
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    bench.load(LANE_CALLERS, 1_000).await?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(bench.load(LANE_CALLERS, 4_096).await?.each);
        let fresh = Arc::new(Bench::open(place, usize::MAX, 1).await?);
        fresh.load(LANE_CALLERS, 1_000).await?;
        peer.push(fresh.load(LANE_CALLERS, 4_096).await?.each);
    }
    Ok(rate(name, ours, peer, "a book with one mandate", json!({ "mandates": others })))
}

pub async fn rows(args: &BenchArgs) -> Result<Vec<Row>, String> {
    let mut rows = on_place(&Place::File, args).await?;
    if args.only.starts_with("sqlite") {
        return Ok(rows);
    }
    // Never the one of the environment: a ledger that is in use would keep what is written here for ever.
    let own = args.database.as_deref().map(str::parse::<Location>).transpose();
    let own = own.map_err(|error| format!("--database: {error}"))?;
    let server = if own.is_some() { None } else { Server::start()? };
    let location = match (&own, &server) {
        (Some(location), _) => location.clone(),
        (None, Some(server)) => server.location()?,
        (None, None) => {
            eprintln!("no PostgreSQL is measured: it is not on this machine, and --database names none");
            return Ok(rows);
        }
    };
    rows.extend(on_place(&Place::Server(&location), args).await?);
    Ok(rows)
}

async fn on_place(place: &Place<'_>, args: &BenchArgs) -> Result<Vec<Row>, String> {
    let [hot_name, tree, alone_name, entries, verified, others] = match place {
        Place::File => [
            "sqlite_hot",
            "sqlite_tree_3",
            "sqlite_alone",
            "sqlite_growth_entries",
            "sqlite_journal_verify",
            "sqlite_growth_mandates",
        ],
        Place::Server(_) => {
            ["postgres_hot", "postgres_tree_3", "postgres_alone", "growth_entries", "journal_verify", "growth_mandates"]
        }
    };
    let is_asked = |name: &str| name.starts_with(&args.only);
    let mut rows = Vec::new();
    if is_asked(hot_name) {
        rows.push(hot(place, hot_name, 1).await?);
    }
    if is_asked(tree) {
        rows.push(hot(place, tree, 3).await?);
    }
    if is_asked(alone_name) {
        rows.push(alone(place, alone_name).await?);
    }
    if is_asked(entries) || is_asked(verified) {
        rows.extend(growth(place, [entries, verified], args.entries).await?);
    }
    if is_asked(others) {
        rows.push(mandates(place, others, args.mandates).await?);
    }
    Ok(rows)
}
