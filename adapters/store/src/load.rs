//! Filling a view: the head first (it is the tenant's lock), then whatever the commands name, in bulk.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::{Account, Balance};
use ledger::claim::{Claim, ClaimOutcome};
use ledger::codec::{Canon, decode};
use ledger::gate::{Gate, Scope};
use ledger::id::{Digest, Micros, SpendId, TenantId};
use ledger::journal::Frontier;
use ledger::money::{Amount, AssetId};
use ledger::rejection::Rejection;
use ledger::settlement::Settlement;
use ledger::view::{Head, Keys, PurchaseKey, StoredClaim, View};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::failure::Failure;
use crate::limits::LOOK_UP_KEYS;
use crate::rows;
use crate::table::{Cell, Cells, bind};

/// Where the journal stands, checked against itself; an empty head where there is none yet.
pub(crate) async fn head(connection: &mut SqliteConnection, tenant: &TenantId) -> Result<Head, Failure> {
    let row = sqlx::query("SELECT size, frontier, root, last_at FROM head WHERE tenant = ?1")
        .bind(tenant.as_str())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(Head::default()) };
    let (size, root): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(2)?);
    let frontier: Frontier = decode(row.try_get(1)?)?;
    let is_sound = frontier.is_sound() && Ok(frontier.size()) == u64::try_from(size) && frontier.root().0[..] == root;
    if !is_sound {
        let found = hex::encode(root);
        return Err(Failure::Broken(format!(
            "the head of {tenant} says {size} records and root {found}, its frontier {} and {}",
            frontier.size(),
            frontier.root()
        )));
    }
    Ok(Head { frontier, last_at: Some(Micros(row.try_get(3)?)) })
}

pub(crate) async fn keys(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    keys: &Keys,
    view: &mut View,
) -> Result<(), Failure> {
    let ids = keys.budgets.iter().map(|id| vec![Cell::blob(id.0)]).collect();
    let mut found = bodies(connection, tenant, "SELECT id, body FROM budget", ids).await?;
    for id in &keys.budgets {
        let budget = owned(found.remove(&id.0[..]), |budget: &ledger::budget::Budget| budget.id == *id)?;
        view.budgets.load(*id, budget);
    }
    let ids = keys.spends.iter().map(|id| vec![Cell::blob(id.0)]).collect();
    let mut found = bodies(connection, tenant, "SELECT id, body FROM spend", ids).await?;
    for id in &keys.spends {
        let spend = owned(found.remove(&id.0[..]), |spend: &ledger::spend::Spend| spend.id == *id)?;
        view.spends.load(*id, spend);
    }
    let ids = keys.decisions.iter().map(|id| vec![Cell::blob(id.0)]).collect();
    let mut found = bodies(connection, tenant, "SELECT id, body FROM decision", ids).await?;
    for id in &keys.decisions {
        let decision = owned(found.remove(&id.0[..]), |decision: &ledger::decision::Decision| decision.id == *id)?;
        view.decisions.load(*id, decision);
    }
    gates(connection, tenant, &keys.gates, view).await?;
    claims(connection, tenant, &keys.claims, view).await?;
    settlements(connection, tenant, keys, view).await?;
    purchases(connection, tenant, &keys.purchases, view).await
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
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    select: &str,
    ids: Vec<Cells>,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Failure> {
    let text = |rows: usize| {
        let variables = list(rows, "?");
        format!("{select} WHERE tenant = ? AND id IN ({variables})")
    };
    let rows = look_up(connection, tenant, ids, text).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn gates(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    wanted: &BTreeSet<Scope>,
    view: &mut View,
) -> Result<(), Failure> {
    let text = |rows: usize| format!("SELECT body FROM gate WHERE tenant = ? AND scope IN ({})", list(rows, "?"));
    let cells = wanted.iter().map(|scope| vec![Cell::text(scope)]).collect();
    for row in look_up(connection, tenant, cells, text).await? {
        let gate: Gate = decode(row.try_get(0)?)?;
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
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    wanted: &BTreeSet<Digest>,
    view: &mut View,
) -> Result<(), Failure> {
    let text = |rows: usize| {
        let variables = list(rows, "?");
        format!("SELECT key, request, outcome, rejection FROM claim WHERE tenant = ? AND key IN ({variables})")
    };
    let cells = wanted.iter().map(|key| vec![Cell::blob(key.0)]).collect();
    let rows = look_up(connection, tenant, cells, text).await?;
    for row in &rows {
        let outcome: ClaimOutcome = decode(row.try_get(2)?)?;
        let rejection = kept(&outcome, row.try_get(3)?)?;
        let claim = Claim { key: digest(row, 0)?, request: digest(row, 1)?, outcome };
        view.claims.load(claim.key, Some(StoredClaim { claim, rejection }));
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
pub(crate) fn kept(outcome: &ClaimOutcome, text: Option<String>) -> Result<Option<Rejection>, Failure> {
    match (outcome, text) {
        (ClaimOutcome::Spend(_), None) => Ok(None),
        (ClaimOutcome::Rejected { code, text: expected }, Some(text)) => {
            let found = Digest::of(text.as_bytes());
            if found != *expected {
                return Err(Failure::Broken(format!("the text of a kept refusal is {found}, {expected} was recorded")));
            }
            let parsed = serde_json::from_str::<serde_json::Value>(&text).and_then(serde_json::from_value::<Rejection>);
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
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    keys: &Keys,
    view: &mut View,
) -> Result<(), Failure> {
    let text = |rows: usize| {
        let tuples = list(rows, "(?, ?, ?, ?, ?)");
        format!(
            "WITH place (tenant) AS (SELECT ?), wanted (role, network, asset, payer, nonce) AS (VALUES {tuples})
             SELECT s.body FROM place p CROSS JOIN wanted w CROSS JOIN settlement s ON s.tenant = p.tenant AND s.role = w.role
             AND s.network = w.network AND s.asset = w.asset AND s.payer = w.payer AND s.nonce = w.nonce"
        )
    };
    let cells = keys.settlements.iter().map(rows::settlement_key).collect();
    for row in look_up(connection, tenant, cells, text).await? {
        let settlement: Settlement = decode(row.try_get(0)?)?;
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

async fn purchases(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    wanted: &BTreeSet<PurchaseKey>,
    view: &mut View,
) -> Result<(), Failure> {
    let text = |rows: usize| {
        let tuples = list(rows, "(?, ?)");
        format!(
            "WITH place (tenant) AS (SELECT ?), wanted (budget, purchase) AS (VALUES {tuples})
             SELECT s.budget, s.purchase, s.id FROM place p CROSS JOIN wanted w CROSS JOIN spend s INDEXED BY spend_purchase
             ON s.tenant = p.tenant AND s.budget = w.budget AND s.purchase = w.purchase AND s.open = 1"
        )
    };
    let cells = wanted.iter().map(|key| vec![Cell::blob(key.budget.0), Cell::blob(key.purchase.0)]).collect::<Vec<_>>();
    let mut open: BTreeMap<PurchaseKey, BTreeSet<SpendId>> = BTreeMap::new();
    for row in look_up(connection, tenant, cells, text).await? {
        let key = PurchaseKey { budget: ledger::id::BudgetId(digest(&row, 0)?.0), purchase: digest(&row, 1)? };
        open.entry(key).or_default().insert(SpendId(digest(&row, 2)?.0));
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
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    wanted: &BTreeSet<(Account, AssetId)>,
) -> Result<BTreeMap<(Account, AssetId), FoundAccount>, Failure> {
    let text = |rows: usize| {
        let tuples = list(rows, "(?, ?)");
        format!(
            "WITH place (tenant) AS (SELECT ?), wanted (name, asset) AS (VALUES {tuples})
             SELECT a.id, a.name, a.asset, b.debit_posted, b.credit_posted, b.debit_pending, b.credit_pending
             FROM place p CROSS JOIN wanted w CROSS JOIN account a ON a.tenant = p.tenant AND a.name = w.name AND a.asset = w.asset
             JOIN account_balance b ON b.tenant = p.tenant AND b.account = a.id"
        )
    };
    let cells = wanted.iter().map(|(account, asset)| vec![Cell::text(account), Cell::text(asset)]).collect();
    let rows = look_up(connection, tenant, cells, text).await?;
    rows.iter()
        .map(|row| {
            let key = (text_of(row, 1)?, text_of(row, 2)?);
            Ok((key, FoundAccount { id: row.try_get(0)?, balance: balance(row, 3)? }))
        })
        .collect()
}

pub(crate) fn balance(row: &SqliteRow, first: usize) -> Result<Balance, Failure> {
    Ok(Balance {
        debit_posted: amount(row, first)?,
        credit_posted: amount(row, first + 1)?,
        debit_pending: amount(row, first + 2)?,
        credit_pending: amount(row, first + 3)?,
    })
}

/// Which of these digests are stored already.
pub(crate) async fn documents(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    wanted: impl Iterator<Item = &Digest>,
) -> Result<BTreeSet<Digest>, Failure> {
    let text = |rows: usize| {
        let variables = list(rows, "?");
        format!("SELECT digest FROM document WHERE tenant = ? AND digest IN ({variables})")
    };
    let cells = wanted.map(|digest| vec![Cell::blob(digest.0)]).collect();
    let rows = look_up(connection, tenant, cells, text).await?;
    rows.iter().map(|row| digest(row, 0)).collect()
}

/// Asks for many keys in as few statements as the fixed sizes allow; the first variable is the tenant. A row may come
/// twice, where a key was repeated to fill a statement.
async fn look_up(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    keys: Vec<Cells>,
    text: impl Fn(usize) -> String,
) -> Result<Vec<SqliteRow>, Failure> {
    let mut found = Vec::new();
    let largest = LOOK_UP_KEYS.into_iter().max().unwrap_or(1);
    for keys in keys.chunks(largest) {
        let size = LOOK_UP_KEYS.into_iter().find(|size| *size >= keys.len()).unwrap_or(largest);
        let fill = keys.last().into_iter().cycle().take(size.saturating_sub(keys.len()));
        let query = sqlx::query(AssertSqlSafe(text(size))).bind(tenant.as_str());
        let query = keys.iter().chain(fill).flatten().cloned().fold(query, bind);
        found.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(found)
}

fn list(rows: usize, item: &str) -> String {
    vec![item; rows].join(", ")
}

fn bytes<const N: usize>(row: &SqliteRow, column: usize) -> Result<[u8; N], Failure> {
    let found: &[u8] = row.try_get(column)?;
    found.try_into().map_err(|_| Failure::Broken(format!("{N} bytes were expected, {} are stored", found.len())))
}

pub(crate) fn digest(row: &SqliteRow, column: usize) -> Result<Digest, Failure> {
    bytes(row, column).map(Digest)
}

fn amount(row: &SqliteRow, column: usize) -> Result<Amount, Failure> {
    bytes(row, column).map(Amount::from_be_bytes)
}

pub(crate) fn text_of<T: std::str::FromStr>(row: &SqliteRow, column: usize) -> Result<T, Failure> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| Failure::Broken(format!("`{text}` is not what column {column} holds")))
}
