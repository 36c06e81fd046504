//! The tables against what the journal comes to, and the sums that must hold among them.

use std::collections::BTreeMap;

use ledger::id::{Digest, TenantId};
use ledger::rejection::Rejection;
use ledger::store::Document;

use super::Stop;
use super::expected::{RowHash, Sum};
use super::journal::Book;
use crate::cell::{Cell, Cells};
use crate::connection::{Scanner, Value};
use crate::failure::Failure;
use crate::rows;
use crate::table::Table;
use crate::write::windows;

/// Every table that is a sum of rows; journal and transfers are compared as they are read.
const SUMMED: [&Table; 9] = [
    &rows::BALANCE,
    &rows::BUDGET,
    &rows::WINDOW,
    &rows::SPEND,
    &rows::SPEND_RECORD,
    &rows::DECISION,
    &rows::SETTLEMENT,
    &rows::GATE,
    &rows::CLAIM,
];

/// The rows of what the whole journal moves, once it is read.
pub(super) fn expect_state(book: &mut Book) -> Result<(), Stop> {
    let entries = book.view.head.frontier.size();
    for (asset, accounts) in &book.accounts {
        for (account, posted) in accounts {
            let Some(balance) = &posted.balance else {
                return Err(Stop::at(
                    entries,
                    format!("account {account} in {asset} has a row, and no record moves it"),
                ));
            };
            book.expected.put(&rows::BALANCE, rows::balance(posted.id, balance));
        }
    }
    for (_, budget) in book.view.budgets.changed() {
        book.expected.put(&rows::BUDGET, rows::budget(budget));
    }
    for window in windows(&book.view) {
        book.expected.put(&rows::WINDOW, window);
    }
    Ok(())
}

/// The first table that differs from what is expected.
pub(super) fn differing(scanner: &mut Scanner, tenant: &TenantId, book: &Book) -> Result<Option<&'static Table>, Stop> {
    let entries = book.view.head.frontier.size();
    let stored = count(scanner, tenant, rows::TRANSFER.name)?;
    if stored != book.legs {
        return Err(Stop::at(entries, format!("the journal has {} transfers, the table {stored}", book.legs)));
    }
    for table in SUMMED {
        let found = stored_sum(scanner, tenant, table, &book.expected.hash);
        if found.map_err(|failure| Stop::reading(entries, failure))? != book.expected.sum(table) {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

fn stored_sum(scanner: &mut Scanner, tenant: &TenantId, table: &Table, hash: &RowHash) -> Result<Sum, Failure> {
    let text = format!("SELECT {} FROM {} WHERE tenant = $1", table.column_names().join(", "), table.name);
    let mut sum = Sum::default();
    scanner.each(&text, &[Cell::text(tenant)], |row| {
        sum.add(match (table.name, row) {
            ("claim", [key, seq, Value::Text(text)]) => hash.of([*key, *seq, Value::Text(&kept(text)?)]),
            _ => hash.of(row.iter().copied()),
        });
        Ok::<_, Failure>(())
    })??;
    Ok(sum)
}

/// What the record says of a refusal that is kept; see `claim_row`.
fn kept(text: &str) -> Result<String, Failure> {
    // Read as a value first: see `load::kept`.
    let parsed = serde_json::from_str::<serde_json::Value>(text).and_then(serde_json::from_value::<Rejection>);
    let refused = parsed.map_err(|error| Failure::Broken(format!("a kept refusal cannot be read: {error}")))?;
    Ok(format!("{} {}", refused.code(), Digest::of(text.as_bytes())))
}

/// Names the first row, in the order of the keys, that is not what the journal says.
pub(super) fn locate(scanner: &mut Scanner, tenant: &TenantId, book: &Book, table: &'static Table) -> Stop {
    let entries = book.view.head.frontier.size();
    let mut stored = BTreeMap::new();
    let text = format!("SELECT {} FROM {} WHERE tenant = $1", table.column_names().join(", "), table.name);
    let read = scanner.each(&text, &[Cell::text(tenant)], |row| {
        let mut row: Cells = row.iter().map(|value| value.owned()).collect();
        if let ("claim", Some(Cell::Text(text))) = (table.name, row.get(2)) {
            let kept = Cell::Text(kept(text)?);
            row.truncate(2);
            row.push(kept);
        }
        let key = row.get(..table.key_columns).unwrap_or(&row).to_vec();
        match stored.insert(key, row) {
            None => Ok(()),
            Some(row) => Err(Failure::Broken(format!("{} has two rows of one key: {row:?}", table.name))),
        }
    });
    if let Err(failure) = read.and_then(|read| read) {
        return Stop::reading(entries, failure);
    }
    for (key, expected) in &book.expected.rows {
        match stored.remove(key) {
            Some(found) if found == *expected => {}
            Some(found) => return differs(entries, table, expected, &found),
            None => return Stop::at(entries, format!("{} lacks the row {expected:?}", table.name)),
        }
    }
    match stored.into_values().next() {
        Some(found) => Stop::at(entries, format!("{} has a row that no record made: {found:?}", table.name)),
        None => Stop::at(entries, format!("the rows of {} do not come to what the journal says", table.name)),
    }
}

fn differs(entries: u64, table: &Table, expected: &Cells, found: &Cells) -> Stop {
    let key = expected.iter().take(table.key_columns).map(printed).collect::<Vec<_>>().join(", ");
    let pairs = table.columns.iter().zip(expected.iter().zip(found));
    let reason = match pairs.into_iter().find(|(_, (expected, found))| expected != found) {
        Some(((column, _), (expected, found))) => {
            let (found, expected) = (printed(found), printed(expected));
            format!("{} ({key}): {column} is {found}, the journal says {expected}", table.name)
        }
        None => format!("{} ({key}) has another number of columns", table.name),
    };
    Stop::at(entries, reason)
}

fn printed(cell: &Cell) -> String {
    match cell {
        Cell::Null => "nothing".to_owned(),
        Cell::Integer(value) => value.to_string(),
        Cell::Text(value) => format!("`{value}`"),
        Cell::Blob(value) => hex::encode(value),
    }
}

/// Named and sealed anew: whatever differs is named as in every other table.
pub(super) fn check_documents(scanner: &mut Scanner, tenant: &TenantId, entries: u64) -> Result<(), Stop> {
    let text = format!("SELECT {} FROM document WHERE tenant = $1", rows::DOCUMENT.column_names().join(", "));
    let read = scanner.each(&text, &[Cell::text(tenant)], |row| {
        let [_, Value::Text(kind), Value::Blob(bytes), _] = row else {
            return Err(Stop::at(entries, format!("a document is stored as {row:?}")));
        };
        let document = Document { kind: (*kind).to_owned(), bytes: bytes.to_vec() };
        let expected = rows::document(document.digest(), document);
        if expected.iter().map(Cell::value).eq(row.iter().copied()) {
            return Ok(());
        }
        let found = row.iter().map(|value| value.owned()).collect();
        Err(differs(entries, &rows::DOCUMENT, &expected, &found))
    });
    read.map_err(|failure| Stop::reading(entries, failure))?
}

/// Total debits = total credits, an asset and a layer. Modulo 2^128: each account's total is within it, their sum may not be.
pub(super) fn check_balanced(book: &Book) -> Result<(), Stop> {
    for (asset, accounts) in &book.accounts {
        let mut sums = [0_u128; 4];
        for balance in accounts.values().filter_map(|posted| posted.balance.as_ref()) {
            let parts = [balance.debit_posted, balance.credit_posted, balance.debit_pending, balance.credit_pending];
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = sum.wrapping_add(part.get());
            }
        }
        let [debit_posted, credit_posted, debit_pending, credit_pending] = sums;
        if debit_posted != credit_posted || debit_pending != credit_pending {
            let reason = format!(
                "{asset}: debits {debit_posted} and {debit_pending} pending, credits {credit_posted} and {credit_pending} pending"
            );
            return Err(Stop::at(book.view.head.frontier.size(), reason));
        }
    }
    Ok(())
}

/// How many rows of a table are this tenant's.
fn count(scanner: &mut Scanner, tenant: &TenantId, table: &str) -> Result<u64, Stop> {
    let text = format!("SELECT count(*) FROM {table} WHERE tenant = $1");
    let rows = scanner.fetch(&text, &[Cell::text(tenant)]).map_err(|failure| Stop::reading(0, failure))?;
    rows.first().map_or(Ok(0), |row| row.number(0)).map_err(|failure| Stop::reading(0, failure))
}
