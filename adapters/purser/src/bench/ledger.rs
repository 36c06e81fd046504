//! One hot budget on SQLite: our lane against one transaction a request. Both write the same rows to the same disk with
//! the same durability (WAL, FULL); the peer is the same store with units of one command.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::budget::{BudgetKind, Caps};
use ledger::command::{Command, Hold, OpenBudget, Request};
use ledger::decision::Answer;
use ledger::id::{AuthMethod, BudgetId, Caller, CallerKind, DecisionId, Digest, Micros, SpendId, TenantId};
use ledger::journal::SaltKey;
use ledger::money::Amount;
use ledger::spend::Authorization;
use ledger::store::{Store, Work};
use ledger::transfer::Money;
use serde_json::json;
use store::{Options, Schema, SqlStore};

use super::{Better, Row, median};

const ROUNDS: usize = 5;
const LANE_CALLERS: usize = 1_024;
const LANE_SPENDS: u64 = 8_192;
/// More callers only queue: SQLite has one writer.
const NAIVE_CALLERS: usize = 64;
const NAIVE_SPENDS: u64 = 512;

struct Bench {
    store: SqlStore,
    tenant: TenantId,
    mandate: BudgetId,
    _folder: tempfile::TempDir,
}

fn caller(kind: CallerKind, name: &str) -> Result<Caller, String> {
    let principal = name.parse().map_err(|_| "a principal".to_owned())?;
    Ok(Caller { principal, kind, method: AuthMethod::Internal })
}

async fn run(store: &SqlStore, tenant: &TenantId, caller: Caller, command: Command) -> Result<(), String> {
    let work = Work { request: Request { caller, command }, documents: Vec::new() };
    store.run(tenant, work).await.map(|_| ()).map_err(|error| error.to_string())
}

impl Bench {
    /// Tenant, person and mandate: every spend debits three nodes.
    async fn open(unit_commands_max: usize) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let tenant: TenantId = "bench".parse().map_err(|_| "a tenant")?;
        let salts = HashMap::from([(tenant.clone(), SaltKey::new([1; 32]))]);
        let options = Options { unit_commands_max, ..Options::new(Schema::Migrate) };
        let store = SqlStore::open(folder.path().join("bench.sqlite"), salts, options).await;
        let store = store.map_err(|error| error.to_string())?;
        let asset = "iso4217:USD".parse().map_err(|_| "an asset")?;
        let holder: ledger::id::PrincipalId = "agent".parse().map_err(|_| "a principal")?;
        let (user, decision) = (caller(CallerKind::User, "user")?, DecisionId([4; 32]));
        let propose = ledger::command::Propose {
            decision,
            subject: Digest([5; 32]),
            approver: user.principal.clone(),
            expires_at: Micros(i64::MAX),
        };
        run(&store, &tenant, caller(CallerKind::Agent, "agent")?, Command::Propose(propose)).await?;
        let decide = Command::Decide { decision, subject: Digest([5; 32]), answer: Answer::Approve };
        run(&store, &tenant, user, decide).await?;
        let ids = [BudgetId([1; 32]), BudgetId([2; 32]), BudgetId([3; 32])];
        let levels = [
            (ids[0], None, BudgetKind::Tenant),
            (ids[1], Some(ids[0]), BudgetKind::Person),
            (ids[2], Some(ids[1]), BudgetKind::Mandate),
        ];
        for (id, parent, kind) in levels {
            let decision = (kind == BudgetKind::Mandate).then_some(decision);
            let caps = Caps { total: Some(Amount::new(u128::MAX / 2)), ..Caps::default() };
            let (holder, asset) = (holder.clone(), ledger::money::AssetId::clone(&asset));
            let open = OpenBudget { id, parent, kind, holder, asset, caps, decision, document: None };
            run(&store, &tenant, caller(CallerKind::Service, "configuration")?, Command::OpenBudget(open)).await?;
        }
        Ok(Self { store, tenant, mandate: ids[2], _folder: folder })
    }

    fn hold(&self, number: u64) -> Result<Command, String> {
        let digest = Digest::of(&number.to_be_bytes());
        let asset: ledger::money::AssetId = "eip155:1/erc20:0x01".parse().map_err(|_| "an asset")?;
        Ok(Command::Hold(Box::new(Hold {
            spend: SpendId(digest.0),
            operation: "bench".into(),
            key: format!("key-{number}").parse().map_err(|_| "a key")?,
            request: digest,
            budget: self.mandate,
            leaf_nonce: number.to_string(),
            authority: Money { asset: "iso4217:USD".parse().map_err(|_| "an asset")?, amount: Amount::new(100) },
            money: Money { asset: asset.clone(), amount: Amount::new(1) },
            rate: None,
            payee: "shop".parse().map_err(|_| "a payee")?,
            pay_to: "0x02".into(),
            pin: None,
            purchase: digest,
            authorization: Authorization { network: "eip155:1".into(), asset, payer: "0x03".into(), nonce: digest.0 },
            valid_before: i64::MAX,
            since_block: 0,
            expires_at: Micros(i64::MAX),
            again_after: None,
            evidence: digest,
        })))
    }

    /// So many holds by so many callers in a closed loop: time a hold.
    async fn load(self: &Arc<Self>, callers: usize, from: u64, holds: u64) -> Result<Duration, String> {
        let started = Instant::now();
        let step = u64::try_from(callers).map_err(|error| error.to_string())?;
        let mut tasks = Vec::with_capacity(callers);
        for first in 0..step {
            let bench = self.clone();
            tasks.push(tokio::spawn(async move {
                let mut number = first;
                while number < holds {
                    let command = bench.hold(from + number)?;
                    run(&bench.store, &bench.tenant, caller(CallerKind::Agent, "agent")?, command).await?;
                    number += step;
                }
                Ok::<(), String>(())
            }));
        }
        for task in tasks {
            task.await.map_err(|error| error.to_string())??;
        }
        let count = u32::try_from(holds).map_err(|error| error.to_string())?;
        Ok(started.elapsed() / count)
    }
}

pub async fn rows() -> Result<Vec<Row>, String> {
    let lane = Arc::new(Bench::open(usize::MAX).await?);
    let naive = Arc::new(Bench::open(1).await?);
    lane.load(LANE_CALLERS, 0, LANE_SPENDS).await?;
    naive.load(NAIVE_CALLERS, 0, NAIVE_SPENDS).await?;
    let (mut ours, mut peer, mut alone, mut naive_alone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=u64::try_from(ROUNDS).map_err(|error| error.to_string())? {
        let base = round * 1_000_000;
        ours.push(lane.load(LANE_CALLERS, base, LANE_SPENDS).await?);
        peer.push(naive.load(NAIVE_CALLERS, base, NAIVE_SPENDS).await?);
        alone.push(lane.load(1, base + 500_000, 200).await?);
        naive_alone.push(naive.load(1, base + 500_000, 200).await?);
    }
    let row = |name, ours, peer, more| Row {
        name,
        ours: median(ours),
        peer: median(peer),
        peer_is: "one transaction a request, the same rows",
        rounds: ROUNDS,
        more,
        rate: true,
        better: Better::Higher,
    };
    Ok(vec![
        row(
            "sqlite_hot",
            ours,
            peer,
            json!({ "callers": LANE_CALLERS, "peer_callers": NAIVE_CALLERS, "budget_nodes": 3 }),
        ),
        row("sqlite_alone", alone, naive_alone, json!({ "callers": 1, "peer_callers": 1, "budget_nodes": 3 })),
    ])
}
