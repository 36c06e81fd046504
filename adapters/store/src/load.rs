//! Filling a view: the head first (it is the tenant's lock), then whatever the commands name, in bulk.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::{Account, Balance};
use ledger::claim::ClaimOutcome;
use ledger::codec::{Canon, decode};
use ledger::effects::Effects;
use ledger::gate::{Gate, Scope};
use ledger::id::{BudgetId, Digest, Micros, SpendId, TenantId};
use ledger::journal::Frontier;
use ledger::money::AssetId;
use ledger::rejection::Rejection;
use ledger::settlement::{PayerKey, Settlement};
use ledger::spend::Spend;
use ledger::store::JournalEntry;
use ledger::view::{Head, Keys, PurchaseKey, StoredClaim, View};
use ledger::window::WindowKey;

use crate::cell::{Cell, Cells, Row};
use crate::connection::{Connection, Dialect};
use crate::failure::Failure;
use crate::limits::READ_ROWS_MAX;
use crate::rows;
use crate::table::LookUp;

pub(crate) const HEAD: &str = "SELECT size, frontier, root, last_at FROM head WHERE tenant = $1";

/// Where the journal stands, checked against itself; an empty head where there is none yet.
pub(crate) async fn head(connection: &mut Connection, tenant: &TenantId) -> Result<Head, Failure> {
    head_of(connection.fetch_one(HEAD, [Cell::text(tenant)]).await?, tenant)
}

/// The same, and nobody else's until the unit of work ends. What is read after it is read in later statements: one that
/// waits for the lock sees the rows as they were before it waited.
pub(crate) async fn locked_head(connection: &mut Connection, tenant: &TenantId) -> Result<Head, Failure> {
    if connection.dialect() == Dialect::Sqlite {
        // The whole file is this unit's already.
        return head(connection, tenant).await;
    }
    let text = "SELECT size, frontier, root, last_at FROM head WHERE tenant = $1 FOR NO KEY UPDATE";
    if let Some(row) = connection.fetch_one(text, [Cell::text(tenant)]).await? {
        return head_of(Some(row), tenant);
    }
    // The first unit of a tenant makes the row that it locks.
    let empty = Frontier::default();
    let zero =
        "INSERT INTO head (tenant, size, frontier, root, last_at) VALUES ($1, 0, $2, $3, $4) ON CONFLICT DO NOTHING";
    let (frontier, root) = (Cell::Blob(ledger::codec::encode(&empty)), Cell::blob(empty.root().0));
    connection.execute(zero, [Cell::text(tenant), frontier, root, Cell::Integer(i64::MIN)]).await?;
    head_of(connection.fetch_one(text, [Cell::text(tenant)]).await?, tenant)
}

pub(crate) fn head_of(row: Option<Row>, tenant: &TenantId) -> Result<Head, Failure> {
    let Some(row) = row else { return Ok(Head::default()) };
    let (size, root) = (row.number(0)?, row.digest(2)?);
    let frontier: Frontier = row.decoded(1)?;
    if !frontier.is_sound() || frontier.size() != size || frontier.root() != root {
        return Err(Failure::Broken(format!(
            "the head of {tenant} says {size} records and root {root}, its frontier {} and {}",
            frontier.size(),
            frontier.root()
        )));
    }
    let last_at = (size > 0).then(|| row.integer(3).map(Micros)).transpose()?;
    Ok(Head { frontier, last_at })
}

pub(crate) async fn keys(
    connection: &mut Connection,
    tenant: &TenantId,
    keys: &Keys,
    view: &mut View,
) -> Result<(), Failure> {
    let ids = keys.budgets.iter().map(|id| vec![Cell::blob(id.0)]).collect();
    let mut found = bodies(connection, tenant, &rows::find::BUDGETS, ids).await?;
    for id in &keys.budgets {
        let budget = owned(found.remove(&id.0[..]), |budget: &ledger::budget::Budget| budget.id == *id)?;
        view.budgets.load(*id, budget);
    }
    windows(connection, tenant, &keys.windows, view).await?;
    let ids = keys.spends.iter().map(|id| vec![Cell::blob(id.0)]).collect();
    for row in rows::find::SPENDS.find(connection, tenant, ids).await? {
        let spend = spend_of(&row, 1)?;
        if row.array(0)? != spend.id.0 {
            return Err(Failure::Broken(format!("the row of a spend leads to a record of {}", spend.id)));
        }
        view.spends.load(spend.id, Some(spend));
    }
    for id in &keys.spends {
        view.spends.load(*id, None);
    }
    let ids = keys.decisions.iter().map(|id| vec![Cell::blob(id.0)]).collect();
    let mut found = bodies(connection, tenant, &rows::find::DECISIONS, ids).await?;
    for id in &keys.decisions {
        let decision = owned(found.remove(&id.0[..]), |decision: &ledger::decision::Decision| decision.id == *id)?;
        view.decisions.load(*id, decision);
    }
    gates(connection, tenant, &keys.gates, view).await?;
    claims(connection, tenant, &keys.claims, view).await?;
    settlements(connection, tenant, keys, view).await?;
    payers(connection, tenant, &keys.payers, view).await?;
    purchases(connection, tenant, &keys.purchases, view).await
}

/// The record in two columns, its number and its bytes, from this one on.
pub(crate) fn effects_of(row: &Row, first: usize) -> Result<Effects, Failure> {
    let (seq, effects) = (row.number(first)?, Effects::from_bytes(row.blob(first + 1)?)?);
    if effects.seq == seq {
        Ok(effects)
    } else {
        Err(Failure::Broken(format!("record {seq} says that it is record {}", effects.seq)))
    }
}

/// What a record says of its spend.
pub(crate) fn spend_of(row: &Row, first: usize) -> Result<Spend, Failure> {
    let effects = effects_of(row, first)?;
    let seq = effects.seq;
    effects.spend.ok_or_else(|| Failure::Broken(format!("a spend is looked for in record {seq}, which has none")))
}

/// A row that answers to a name must say the same name itself.
fn owned<T: Canon>(body: Option<Vec<u8>>, is_named: impl FnOnce(&T) -> bool) -> Result<Option<T>, Failure> {
    let Some(body) = body else { return Ok(None) };
    let value: T = decode(&body)?;
    if is_named(&value) {
        Ok(Some(value))
    } else {
        Err(Failure::Broken("a row holds something of another name".to_owned()))
    }
}

async fn bodies(
    connection: &mut Connection,
    tenant: &TenantId,
    look_up: &LookUp,
    ids: Vec<Cells>,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Failure> {
    let rows = look_up.find(connection, tenant, ids).await?;
    rows.iter().map(|row| Ok((row.blob(0)?.to_vec(), row.blob(1)?.to_vec()))).collect()
}

async fn windows(
    connection: &mut Connection,
    tenant: &TenantId,
    wanted: &BTreeSet<WindowKey>,
    view: &mut View,
) -> Result<(), Failure> {
    let cells = wanted.iter().map(rows::window_key).collect();
    for row in rows::find::WINDOWS.find(connection, tenant, cells).await? {
        let window = rows::window_of(&row)?;
        view.windows.load(window.key.clone(), Some(window));
    }
    for key in wanted {
        view.windows.load(key.clone(), None);
    }
    Ok(())
}

async fn gates(
    connection: &mut Connection,
    tenant: &TenantId,
    wanted: &BTreeSet<Scope>,
    view: &mut View,
) -> Result<(), Failure> {
    let cells = wanted.iter().map(|scope| vec![Cell::text(scope)]).collect();
    for row in rows::find::GATES.find(connection, tenant, cells).await? {
        let gate: Gate = row.decoded(0)?;
        if !wanted.contains(&gate.scope) {
            return Err(Failure::Broken("a row holds a gate of another scope".to_owned()));
        }
        view.gates.load(gate.scope.clone(), Some(gate));
    }
    for scope in wanted {
        view.gates.load(scope.clone(), None);
    }
    Ok(())
}

async fn claims(
    connection: &mut Connection,
    tenant: &TenantId,
    wanted: &BTreeSet<Digest>,
    view: &mut View,
) -> Result<(), Failure> {
    let cells = wanted.iter().map(|key| vec![Cell::blob(key.0)]).collect();
    for row in &rows::find::CLAIMS.find(connection, tenant, cells).await? {
        let key = row.digest(0)?;
        let effects = effects_of(row, 1)?;
        let claim = effects.claims.into_iter().find(|claim| claim.key == key);
        let claim = claim.ok_or_else(|| Failure::Broken(format!("record {} claims no {key}", effects.seq)))?;
        let rejection = kept(&claim.outcome, row.optional_text(3)?)?;
        view.claims.load(key, Some(StoredClaim { claim, rejection }));
    }
    for key in wanted {
        view.claims.load(*key, None);
    }
    Ok(())
}

/// The text of a kept refusal, which must be the one that the journal names by digest.
///
/// Read as a value first: serde's tagged enums and serde_json's `arbitrary_precision`, which another crate of the
/// graph switches on, do not agree about numbers.
pub(crate) fn kept(outcome: &ClaimOutcome, text: Option<&str>) -> Result<Option<Rejection>, Failure> {
    match (outcome, text) {
        (
            ClaimOutcome::Spend(_) | ClaimOutcome::Seen(_) | ClaimOutcome::Opened(_) | ClaimOutcome::Accepted(_),
            None,
        ) => Ok(None),
        (ClaimOutcome::Rejected { code, text: expected }, Some(text)) => {
            let found = Digest::of(text.as_bytes());
            if found != *expected {
                return Err(Failure::Broken(format!("the text of a kept refusal is {found}, {expected} was recorded")));
            }
            let parsed = serde_json::from_str::<serde_json::Value>(text).and_then(serde_json::from_value::<Rejection>);
            let rejection =
                parsed.map_err(|error| Failure::Broken(format!("a kept refusal cannot be read: {error}")))?;
            if rejection.code() != *code {
                return Err(Failure::Broken(format!("a kept refusal says {}, {code} was recorded", rejection.code())));
            }
            Ok(Some(rejection))
        }
        (_, text) => {
            let found = if text.is_some() { "with" } else { "without" };
            Err(Failure::Broken(format!("a claim that answers {outcome:?} is stored {found} a refusal")))
        }
    }
}

async fn settlements(
    connection: &mut Connection,
    tenant: &TenantId,
    keys: &Keys,
    view: &mut View,
) -> Result<(), Failure> {
    let cells = keys.settlements.iter().map(rows::settlement_key).collect();
    for row in rows::find::SETTLEMENTS.find(connection, tenant, cells).await? {
        let settlement: Settlement = row.decoded(0)?;
        if !keys.settlements.contains(&settlement.key) {
            return Err(Failure::Broken("a row holds a settlement of another name".to_owned()));
        }
        view.settlements.load(settlement.key.clone(), Some(settlement));
    }
    for key in &keys.settlements {
        view.settlements.load(key.clone(), None);
    }
    Ok(())
}

async fn payers(
    connection: &mut Connection,
    tenant: &TenantId,
    wanted: &BTreeSet<PayerKey>,
    view: &mut View,
) -> Result<(), Failure> {
    let mut found: Vec<Settlement> = Vec::new();
    for (look_up, is_one) in [(&rows::find::SETTLEMENTS_OF, true), (&rows::find::SETTLEMENTS_IN, false)] {
        let cells = wanted.iter().filter(|key| key.payer.is_some() == is_one).map(rows::payer_key).collect();
        for row in look_up.find(connection, tenant, cells).await? {
            found.push(row.decoded(0)?);
        }
    }
    for key in wanted {
        let own = found.iter().filter(|settlement| key.has(&settlement.key)).cloned();
        view.load_payer(key.clone(), own.collect::<Vec<_>>());
    }
    Ok(())
}

async fn purchases(
    connection: &mut Connection,
    tenant: &TenantId,
    wanted: &BTreeSet<PurchaseKey>,
    view: &mut View,
) -> Result<(), Failure> {
    let purchases: BTreeSet<Digest> = wanted.iter().map(|key| key.purchase).collect();
    let cells = purchases.iter().map(|purchase| vec![Cell::blob(purchase.0)]).collect();
    let mut open: BTreeMap<PurchaseKey, BTreeSet<SpendId>> = BTreeMap::new();
    for row in rows::find::PURCHASES.find(connection, tenant, cells).await? {
        let key = PurchaseKey { budget: BudgetId(row.array(0)?), purchase: row.digest(1)? };
        open.entry(key).or_default().insert(SpendId(row.array(2)?));
    }
    for key in wanted {
        view.open_purchases.load(key.clone(), open.remove(key));
    }
    Ok(())
}

/// An account's row number and what stood on it.
pub(crate) struct FoundAccount {
    pub id: i64,
    pub balance: Balance,
}

pub(crate) async fn accounts(
    connection: &mut Connection,
    tenant: &TenantId,
    wanted: &BTreeSet<(Account, AssetId)>,
) -> Result<BTreeMap<(Account, AssetId), FoundAccount>, Failure> {
    let cells = wanted.iter().map(|(account, asset)| vec![Cell::text(account), Cell::text(asset)]).collect();
    let rows = rows::find::ACCOUNTS.find(connection, tenant, cells).await?;
    let found = |row: &Row| {
        let key = (row.parsed(1)?, row.parsed(2)?);
        Ok((key, FoundAccount { id: row.integer(0)?, balance: row.balance(3)? }))
    };
    rows.iter().map(found).collect()
}

/// Which of these digests are stored already.
pub(crate) async fn documents(
    connection: &mut Connection,
    tenant: &TenantId,
    wanted: impl Iterator<Item = &Digest>,
) -> Result<BTreeSet<Digest>, Failure> {
    let cells = wanted.map(|digest| vec![Cell::blob(digest.0)]).collect();
    let rows = rows::find::DOCUMENTS.find(connection, tenant, cells).await?;
    rows.iter().map(|row| row.digest(0)).collect()
}

/// A page's size as a statement takes it.
pub(crate) fn limited(limit: u32) -> Cell {
    Cell::Integer(limit.min(READ_ROWS_MAX).into())
}

pub(crate) fn record_of(row: &Row) -> Result<(JournalEntry, Effects), Failure> {
    let effects = effects_of(row, 0)?;
    Ok((JournalEntry { seq: effects.seq, bytes: row.blob(1)?.to_vec(), leaf: row.digest(2)? }, effects))
}
