//! Writing what a unit of work came to: every row of it, in bulk, before the one COMMIT. What each record is goes first, as
//! soon as it is judged; what they came to together, once all are.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::{Account, Balance, Side};
use ledger::codec::encode;
use ledger::effects::Effects;
use ledger::id::{Digest, TenantId};
use ledger::money::AssetId;
use ledger::store::{Document, JournalEntry};
use ledger::transfer::TransferId;
use ledger::view::View;

use crate::cell::{Cell, Cells};
use crate::connection::{Connection, Dialect};
use crate::failure::Failure;
use crate::load::{self, FoundAccount};
use crate::rows;

/// One record of the unit.
pub(crate) struct Written {
    pub entry: JournalEntry,
    pub effects: Effects,
    /// The text of the refusal that its claim answers with.
    pub rejection: Option<String>,
}

/// The next records of a journal, and what each claims.
pub(crate) async fn write_records(
    connection: &mut Connection,
    tenant: &TenantId,
    records: Vec<Written>,
) -> Result<Vec<Effects>, Failure> {
    let (mut journal, mut claims) = (Vec::with_capacity(records.len()), Vec::new());
    let mut effects = Vec::with_capacity(records.len());
    for record in records {
        let seq = record.entry.seq;
        journal.push(rows::journal(record.entry));
        let rejection = &record.rejection;
        claims.extend(record.effects.claims.iter().map(|claim| rows::claim(claim.key, seq, rejection.clone())));
        effects.push(record.effects);
    }
    rows::JOURNAL.insert(connection, tenant, journal).await?;
    rows::CLAIM.insert(connection, tenant, sorted(claims)).await?;
    Ok(effects)
}

/// What all records of a unit came to.
pub(crate) async fn write(
    connection: &mut Connection,
    tenant: &TenantId,
    view: &View,
    size_before: u64,
    effects: &[Effects],
    documents: BTreeMap<Digest, Document>,
) -> Result<(), Failure> {
    write_head(connection, tenant, view, size_before).await?;
    write_documents(connection, tenant, documents).await?;

    // By the record that reserved them; the last record of the unit that speaks of one says what it is.
    let (mut spends, mut later) = (BTreeMap::new(), Vec::new());
    for (seq, spend) in effects.iter().filter_map(|record| Some((record.seq, record.spend.as_ref()?))) {
        spends.insert(spend.hold.seq, rows::spend(spend, seq));
        if spend.hold.seq != seq {
            later.push(rows::spend_record(spend, seq));
        }
    }

    // Parents before children: a new child refers to its parent's row.
    let mut budgets: Vec<_> = view.budgets.changed().map(|(_, budget)| budget).collect();
    budgets.sort_by_key(|budget| budget.path.len());
    rows::BUDGET.insert(connection, tenant, budgets.into_iter().map(rows::budget).collect()).await?;
    rows::WINDOW.insert(connection, tenant, windows(view)).await?;
    rows::SPEND.insert(connection, tenant, spends.into_values().collect()).await?;
    rows::SPEND_RECORD.insert(connection, tenant, sorted(later)).await?;
    let settlements = view.settlements.changed().map(|(_, settlement)| rows::settlement(settlement)).collect();
    rows::SETTLEMENT.insert(connection, tenant, settlements).await?;
    let decisions = view.decisions.changed().map(|(_, decision)| rows::decision(decision)).collect();
    rows::DECISION.insert(connection, tenant, decisions).await?;
    // In the order of the key, which is the scope's text.
    let gates = sorted(view.gates.changed().map(|(_, gate)| rows::gate(gate)).collect());
    rows::GATE.insert(connection, tenant, gates).await?;
    write_transfers(connection, tenant, effects).await
}

/// The windows that a view changed, in the order of their key.
pub(crate) fn windows(view: &View) -> Vec<Cells> {
    sorted(view.windows.changed().map(|(_, window)| rows::window(window)).collect())
}

/// Rows of one table in the order of its key: neighbours on disk are written together.
fn sorted(mut rows: Vec<Cells>) -> Vec<Cells> {
    rows.sort_unstable();
    rows
}

async fn write_head(
    connection: &mut Connection,
    tenant: &TenantId,
    view: &View,
    size_before: u64,
) -> Result<(), Failure> {
    let frontier = &view.head.frontier;
    let size = Cell::number(frontier.size());
    let last_at = view.head.last_at.ok_or_else(|| Failure::Broken("a record without a time".to_owned()))?;
    // In PostgreSQL the row was made when it was locked.
    let text = if size_before == 0 && connection.dialect() == Dialect::Sqlite {
        "INSERT INTO head (size, frontier, root, last_at, tenant) VALUES ($1, $2, $3, $4, $5)"
    } else {
        "UPDATE head SET size = $1, frontier = $2, root = $3, last_at = $4 WHERE tenant = $5"
    };
    let (encoded, root) = (Cell::Blob(encode(frontier)), Cell::blob(frontier.root().0));
    let cells = [size, encoded, root, Cell::Integer(last_at.0), Cell::text(tenant)];
    match connection.execute(text, cells).await? {
        1 => Ok(()),
        other => Err(Failure::Broken(format!("one head of {tenant} was to be written, {other} were"))),
    }
}

async fn write_documents(
    connection: &mut Connection,
    tenant: &TenantId,
    documents: BTreeMap<Digest, Document>,
) -> Result<(), Failure> {
    let known = load::documents(connection, tenant, documents.keys()).await?;
    let new = documents.into_iter().filter(|(digest, _)| !known.contains(digest));
    let rows = new.map(|(digest, document)| rows::document(digest, document)).collect();
    rows::DOCUMENT.insert(connection, tenant, rows).await
}

async fn write_transfers(connection: &mut Connection, tenant: &TenantId, effects: &[Effects]) -> Result<(), Failure> {
    let transfers = effects.iter().flat_map(|effects| &effects.transfers);
    let touched: BTreeSet<(Account, AssetId)> = transfers
        .flat_map(|transfer| [&transfer.debit, &transfer.credit].map(|side| (side.clone(), transfer.asset.clone())))
        .collect();
    if touched.is_empty() {
        return Ok(());
    }
    let mut accounts = load::accounts(connection, tenant, &touched).await?;
    open_accounts(connection, tenant, touched, &mut accounts).await?;

    let mut rows = Vec::new();
    for effects in effects {
        for (leg, transfer) in effects.transfers.iter().enumerate() {
            let leg = u16::try_from(leg).map_err(|_| Failure::Broken("a record with too many legs".to_owned()))?;
            let mut ids = [0; 2];
            for (id, (side, account)) in
                ids.iter_mut().zip([(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)])
            {
                let found = accounts.get_mut(&(account.clone(), transfer.asset.clone()));
                let found = found.ok_or_else(|| Failure::Broken(format!("account {account} was not opened")))?;
                found.balance.post(side, transfer).map_err(|error| Failure::Refused(error.to_string()))?;
                *id = found.id;
            }
            rows.push(rows::transfer(TransferId { seq: effects.seq, leg }, transfer, ids[0], ids[1]));
        }
    }
    rows::TRANSFER.insert(connection, tenant, rows).await?;
    let balances = accounts.values().map(|account| rows::balance(account.id, &account.balance)).collect();
    rows::BALANCE.insert(connection, tenant, sorted(balances)).await
}

/// Gives numbers to accounts that are named for the first time.
async fn open_accounts(
    connection: &mut Connection,
    tenant: &TenantId,
    touched: BTreeSet<(Account, AssetId)>,
    accounts: &mut BTreeMap<(Account, AssetId), FoundAccount>,
) -> Result<(), Failure> {
    let new: Vec<_> = touched.into_iter().filter(|key| !accounts.contains_key(key)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let text = "SELECT coalesce(max(id), 0) FROM account WHERE tenant = $1";
    let last = connection.fetch_one(text, [Cell::text(tenant)]).await?;
    let mut id = last.map_or(Ok(0), |row| row.integer(0))?;
    let mut opened = Vec::with_capacity(new.len());
    for (account, asset) in new {
        id = id.saturating_add(1);
        opened.push(vec![Cell::Integer(id), Cell::text(&account), Cell::text(&asset)]);
        accounts.insert((account, asset), FoundAccount { id, balance: Balance::default() });
    }
    rows::ACCOUNT.insert(connection, tenant, opened).await
}
