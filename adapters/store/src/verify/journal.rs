//! The walk over the journal: every record decoded, hashed again, taken into a fresh view, its transfers posted and
//! compared with their rows.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::{Account, Balance, Side};
use ledger::budget::BudgetStep;
use ledger::effects::Effects;
use ledger::id::{BudgetId, Digest, SpendId, TenantId};
use ledger::journal::SaltKey;
use ledger::money::{Amount, AssetId};
use ledger::posting::pattern;
use ledger::store::JournalEntry;
use ledger::transfer::{Layer, Transfer, TransferId};
use ledger::view::View;
use ledger::window::WindowKey;

use super::Stop;
use crate::cell::{Cell, Cells};
use crate::connection::Connection;
use crate::limits::VERIFY_PAGE_RECORDS;
use crate::read::record_of;
use crate::rows;

pub(super) type AccountIds = BTreeMap<(Account, AssetId), i64>;

/// What the journal comes to.
#[derive(Default)]
pub(super) struct Book {
    pub view: View,
    pub balances: BTreeMap<(Account, AssetId), Balance>,
    /// The record that made each claim.
    pub claims: BTreeMap<Digest, u64>,
    /// By the record that reserved it: which spend, and the record that speaks of it last.
    pub spends: BTreeMap<u64, (SpendId, u64)>,
    pub spend_records: BTreeSet<(u64, u64)>,
    /// What no spend of a node accounts for: payments that a restored book found.
    pub charged: BTreeMap<BudgetId, Amount>,
    pub charged_windows: BTreeMap<WindowKey, Amount>,
    pub legs: u64,
    /// Pending transfers that nothing has ended yet.
    pending: BTreeMap<TransferId, Transfer>,
}

pub(super) async fn replay(
    connection: &mut Connection,
    tenant: &TenantId,
    salt_key: &SaltKey,
    accounts: &AccountIds,
) -> Result<Book, Stop> {
    let mut book = Book::default();
    loop {
        let from = book.view.head.frontier.size();
        let page = page(connection, tenant, from).await?;
        let Some(last) = page.last().map(|(entry, _)| entry.seq) else { break };
        let mut stored = transfers(connection, tenant, from, last).await?.into_iter().peekable();
        for (entry, effects) in &page {
            take_in(&mut book, salt_key, entry, effects)?;
            for (id, expected) in expected_rows(effects, accounts)? {
                match stored.next() {
                    Some(found) if found == expected => {}
                    Some(found) => {
                        let reason = format!("transfer {}.{} is {expected:?}, its row {found:?}", id.seq, id.leg);
                        return Err(Stop::at(id.seq, reason));
                    }
                    None => return Err(Stop::at(id.seq, format!("transfer {}.{} has no row", id.seq, id.leg))),
                }
            }
        }
        if let Some(extra) = stored.next() {
            return Err(Stop::at(last, format!("a transfer is stored that no record made: {extra:?}")));
        }
    }
    Ok(book)
}

async fn page(connection: &mut Connection, tenant: &TenantId, from: u64) -> Result<Vec<(JournalEntry, Effects)>, Stop> {
    let text = "SELECT seq, bytes, leaf FROM journal WHERE tenant = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
    let cells = [Cell::text(tenant), Cell::number(from), Cell::number(VERIFY_PAGE_RECORDS)];
    let rows = connection.fetch(text, cells).await.map_err(|failure| Stop::reading(from, failure))?;
    let mut records = Vec::with_capacity(rows.len());
    for (row, seq) in rows.iter().zip(from..) {
        records.push(record_of(row).map_err(|failure| Stop::reading(seq, failure))?);
    }
    Ok(records)
}

async fn transfers(connection: &mut Connection, tenant: &TenantId, first: u64, last: u64) -> Result<Vec<Cells>, Stop> {
    let columns = rows::TRANSFER.column_names().join(", ");
    let text = format!("SELECT {columns} FROM transfer WHERE tenant = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq, leg");
    let cells = [Cell::text(tenant), Cell::number(first), Cell::number(last)];
    let found = connection.fetch(text, cells).await.map_err(|failure| Stop::reading(first, failure))?;
    Ok(found.into_iter().map(|row| row.0).collect())
}

fn take_in(book: &mut Book, salt_key: &SaltKey, entry: &JournalEntry, effects: &Effects) -> Result<(), Stop> {
    let seq = book.view.head.frontier.size();
    if entry.seq != seq {
        return Err(Stop::at(seq, format!("record {seq} is missing, {} follows", entry.seq)));
    }
    if let Some(last) = book.view.head.last_at.filter(|last| effects.at <= *last) {
        return Err(Stop::at(seq, format!("record {seq} is of {}, the one before of {}", effects.at.0, last.0)));
    }
    let again = book.view.head.append(salt_key, effects);
    if again.bytes != entry.bytes {
        return Err(Stop::at(seq, format!("the bytes of record {seq} are not its canonical ones")));
    }
    if again.leaf != entry.leaf {
        let (expected, found) = (again.leaf, entry.leaf);
        return Err(Stop::at(seq, format!("the leaf of record {seq} is {found}, its bytes hash to {expected}")));
    }
    for claim in &effects.claims {
        if book.claims.insert(claim.key, seq).is_some() {
            return Err(Stop::at(seq, format!("record {seq} claims {} again", claim.key)));
        }
    }
    for step in effects.moves.iter().filter(|step| step.step == BudgetStep::Charge) {
        let charged = book.charged.entry(step.budget).or_default();
        let more = charged.checked_add(step.amount);
        *charged = more.ok_or_else(|| Stop::at(seq, format!("what budget {} is charged overflows", step.budget)))?;
    }
    for step in effects.windows.iter().filter(|step| step.step == BudgetStep::Charge) {
        let charged = book.charged_windows.entry(step.key.clone()).or_default();
        let more = charged.checked_add(step.amount);
        *charged = more.ok_or_else(|| Stop::at(seq, format!("what {:?} is charged overflows", step.key)))?;
    }
    if let Some(spend) = &effects.spend {
        book.spends.insert(spend.hold.seq, (spend.id, seq));
        if spend.hold.seq != seq {
            book.spend_records.insert((spend.hold.seq, seq));
        }
    }
    // Nobody else's: what no record has moved is not there.
    effects.windows.iter().for_each(|step| book.view.windows.load(step.key.clone(), None));
    book.view.absorb(effects, None).map_err(|fault| Stop::at(seq, fault.to_string()))?;
    for (leg, transfer) in (0..).zip(&effects.transfers) {
        post(book, TransferId { seq, leg }, transfer)?;
    }
    Ok(())
}

fn post(book: &mut Book, id: TransferId, transfer: &Transfer) -> Result<(), Stop> {
    let seq = id.seq;
    if transfer.moves_nothing() {
        return Err(Stop::at(seq, format!("transfer {seq}.{} moves nothing", id.leg)));
    }
    if pattern(transfer).is_none() {
        let (code, debit, credit) = (transfer.code, &transfer.debit, &transfer.credit);
        let reason = format!("transfer {seq}.{} is a {code} from {debit} to {credit}, which is no posting", id.leg);
        return Err(Stop::at(seq, reason));
    }
    if let Some(resolves) = &transfer.resolves {
        let name = format!("transfer {}.{}", resolves.transfer.seq, resolves.transfer.leg);
        let Some(pending) = book.pending.remove(&resolves.transfer) else {
            return Err(Stop::at(seq, format!("{name} is ended by record {seq} and is not pending")));
        };
        let is_its_own = pending.amount == resolves.amount
            && pending.asset == transfer.asset
            && pending.debit == transfer.debit
            && pending.credit == transfer.credit;
        if !is_its_own {
            return Err(Stop::at(seq, format!("{name} is ended by record {seq} with other terms")));
        }
    }
    if transfer.layer == Layer::Pending {
        book.pending.insert(id, transfer.clone());
    }
    for (side, account) in [(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)] {
        let balance = book.balances.entry((account.clone(), transfer.asset.clone())).or_default();
        balance.post(side, transfer).map_err(|error| Stop::at(seq, error.to_string()))?;
    }
    book.legs = book.legs.saturating_add(1);
    Ok(())
}

fn expected_rows(effects: &Effects, accounts: &AccountIds) -> Result<Vec<(TransferId, Cells)>, Stop> {
    let seq = effects.seq;
    let account = |account: &Account, asset: &AssetId| {
        let id = accounts.get(&(account.clone(), asset.clone())).copied();
        id.ok_or_else(|| Stop::at(seq, format!("account {account} in {asset} has no row")))
    };
    let row = |(leg, transfer): (u16, &Transfer)| {
        let id = TransferId { seq, leg };
        let debit = account(&transfer.debit, &transfer.asset)?;
        let credit = account(&transfer.credit, &transfer.asset)?;
        Ok((id, rows::transfer(id, transfer, debit, credit)))
    };
    (0..).zip(&effects.transfers).map(row).collect()
}

/// How many rows of a table are this tenant's.
pub(super) async fn count(connection: &mut Connection, tenant: &TenantId, table: &str) -> Result<u64, Stop> {
    let text = format!("SELECT count(*) FROM {table} WHERE tenant = $1");
    let row = connection.fetch_one(text, [Cell::text(tenant)]).await.map_err(|failure| Stop::reading(0, failure))?;
    row.map_or(Ok(0), |row| row.number(0)).map_err(|failure| Stop::reading(0, failure))
}
