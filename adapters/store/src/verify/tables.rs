//! The tables against what the journal comes to, and the sums that must hold among them.

use std::collections::BTreeMap;

use ledger::budget::{Budget, Refunds};
use ledger::id::{BudgetId, SpendId, TenantId};
use ledger::money::Amount;
use ledger::spend::{Spend, SpendState};
use ledger::store::Document;
use ledger::window::WindowKey;

use super::Stop;
use super::journal::{AccountIds, Book, count};
use crate::cell::{Cell, Cells};
use crate::connection::Connection;
use crate::limits::{VERIFY_PAGE_DOCUMENTS, VERIFY_PAGE_ROWS};
use crate::load;
use crate::rows;
use crate::table::{Start, Table};
use crate::write::windows;

pub(super) async fn accounts(connection: &mut Connection, tenant: &TenantId) -> Result<AccountIds, Stop> {
    let text = "SELECT name, asset, id FROM account WHERE tenant = $1 ORDER BY id";
    let found = connection.fetch(text, [Cell::text(tenant)]).await;
    let accounts =
        found.and_then(|rows| rows.iter().map(|row| Ok(((row.parsed(0)?, row.parsed(1)?), row.integer(2)?))).collect());
    accounts.map_err(|failure| Stop::reading(0, failure))
}

pub(super) async fn compare(
    connection: &mut Connection,
    tenant: &TenantId,
    book: &Book,
    accounts: &AccountIds,
) -> Result<(), Stop> {
    let entries = book.view.head.frontier.size();
    let view = &book.view;
    let stored = count(connection, tenant, "transfer").await?;
    if stored != book.legs {
        return Err(Stop::at(entries, format!("the journal has {} transfers, the table {stored}", book.legs)));
    }
    let mut check = Check { connection, tenant, entries };
    let mut balances = Vec::with_capacity(book.balances.len());
    for (key, balance) in &book.balances {
        let id = accounts.get(key).copied();
        let id = id.ok_or_else(|| Stop::at(entries, format!("account {} in {} has no row", key.0, key.1)))?;
        balances.push(rows::balance(id, balance));
    }
    if balances.len() != accounts.len() {
        let (expected, found) = (balances.len(), accounts.len());
        return Err(Stop::at(entries, format!("the journal uses {expected} accounts, the table has {found}")));
    }
    balances.sort_unstable();
    check.table(&rows::BALANCE, balances.into_iter()).await?;
    check.table(&rows::BUDGET, view.budgets.changed().map(|(_, budget)| rows::budget(budget))).await?;
    let windows = windows(view);
    check.table(&rows::WINDOW, windows.into_iter()).await?;
    let spend = |(id, seq): &(SpendId, u64)| Some(rows::spend(view.spends.find(id).ok()??, *seq));
    check.table(&rows::SPEND, book.spends.values().filter_map(spend)).await?;
    let later = book.spend_records.iter().map(|(held, seq)| vec![Cell::number(*held), Cell::number(*seq)]);
    check.table(&rows::SPEND_RECORD, later).await?;
    check.table(&rows::DECISION, view.decisions.changed().map(|(_, decision)| rows::decision(decision))).await?;
    let mut settlements: Vec<_> = view.settlements.changed().map(|(_, found)| rows::settlement(found)).collect();
    settlements.sort_unstable();
    check.table(&rows::SETTLEMENT, settlements.into_iter()).await?;
    let mut gates: Vec<_> = view.gates.changed().map(|(_, gate)| rows::gate(gate)).collect();
    gates.sort_unstable();
    check.table(&rows::GATE, gates.into_iter()).await?;
    check.claims(book).await?;
    check.documents().await?;
    check_balanced(book)?;
    check_budgets(book)?;
    check_windows(book)
}

struct Check<'a> {
    connection: &'a mut Connection,
    tenant: &'a TenantId,
    entries: u64,
}

impl Check<'_> {
    /// Both sides in the order of the key; the first difference is named.
    async fn table(&mut self, table: &Table, mut expected: impl Iterator<Item = Cells>) -> Result<(), Stop> {
        let mut page = self.page(table, None).await?;
        while let Some(last) = page.last().cloned() {
            for found in page {
                match expected.next() {
                    Some(row) if row == found => {}
                    Some(row) => return Err(self.differs(table, &row, &found)),
                    None => {
                        let reason = format!("{} has a row that no record made: {found:?}", table.name);
                        return Err(Stop::at(self.entries, reason));
                    }
                }
            }
            page = self.page(table, Some(last)).await?;
        }
        match expected.next() {
            None => Ok(()),
            Some(row) => Err(Stop::at(self.entries, format!("{} lacks the row {row:?}", table.name))),
        }
    }

    async fn page(&mut self, table: &Table, after: Option<Cells>) -> Result<Vec<Cells>, Stop> {
        let start = if after.is_some() { Start::After } else { Start::First };
        let key = after.into_iter().flat_map(|row| row.into_iter().take(table.key_columns));
        let limit = if table.name == rows::DOCUMENT.name { VERIFY_PAGE_DOCUMENTS } else { VERIFY_PAGE_ROWS };
        let cells = std::iter::once(Cell::text(self.tenant)).chain(key).chain([Cell::Integer(limit.into())]);
        let cells: Cells = cells.collect();
        let found = self.connection.fetch(table.page_text(start), cells).await;
        let rows = found.map_err(|failure| Stop::reading(self.entries, failure))?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    fn differs(&self, table: &Table, expected: &Cells, found: &Cells) -> Stop {
        let key = expected.iter().take(table.key_columns).map(printed).collect::<Vec<_>>().join(", ");
        let pairs = table.columns.iter().zip(expected.iter().zip(found));
        let reason = match pairs.into_iter().find(|(_, (expected, found))| expected != found) {
            Some(((column, _), (expected, found))) => format!(
                "{} ({key}): {column} is {}, the journal says {}",
                table.name,
                printed(found),
                printed(expected)
            ),
            None => format!("{} ({key}) has another number of columns", table.name),
        };
        Stop::at(self.entries, reason)
    }

    /// A claim's row carries the text of a kept refusal, of which the journal has the digest.
    async fn claims(&mut self, book: &Book) -> Result<(), Stop> {
        let mut expected = book.view.claims.changed();
        let mut page = self.page(&rows::CLAIM, None).await?;
        while let Some(last) = page.last().cloned() {
            for found in page {
                let Some((key, stored)) = expected.next() else {
                    return Err(Stop::at(self.entries, format!("a claim is stored that no record made: {found:?}")));
                };
                let seq = book.claims.get(key).copied().unwrap_or(self.entries);
                let text = match found.get(2) {
                    Some(Cell::Text(text)) => Some(text.clone()),
                    _ => None,
                };
                let row = rows::claim(*key, seq, text.clone());
                if row != found {
                    return Err(self.differs(&rows::CLAIM, &row, &found));
                }
                load::kept(&stored.claim.outcome, text.as_deref()).map_err(|failure| Stop::reading(seq, failure))?;
            }
            page = self.page(&rows::CLAIM, Some(last)).await?;
        }
        match expected.next() {
            None => Ok(()),
            Some((key, _)) => Err(Stop::at(self.entries, format!("the claim {key} has no row"))),
        }
    }

    async fn documents(&mut self) -> Result<(), Stop> {
        let mut page = self.page(&rows::DOCUMENT, None).await?;
        while let Some(last) = page.last().cloned() {
            for found in page {
                let (Some(Cell::Text(kind)), Some(Cell::Blob(bytes))) = (found.get(1), found.get(2)) else {
                    return Err(Stop::at(self.entries, format!("a document is stored as {found:?}")));
                };
                // Named and sealed anew: whatever differs is named as in every other table.
                let document = Document { kind: kind.clone(), bytes: bytes.clone() };
                let expected = rows::document(document.digest(), document);
                if expected != found {
                    return Err(self.differs(&rows::DOCUMENT, &expected, &found));
                }
            }
            page = self.page(&rows::DOCUMENT, Some(last)).await?;
        }
        Ok(())
    }
}

fn printed(cell: &Cell) -> String {
    match cell {
        Cell::Null => "nothing".to_owned(),
        Cell::Integer(value) => value.to_string(),
        Cell::Text(value) => format!("`{value}`"),
        Cell::Blob(value) => hex::encode(value),
    }
}

/// Total debits = total credits, an asset and a layer. Modulo 2^128: each account's total is within it, their sum may not be.
fn check_balanced(book: &Book) -> Result<(), Stop> {
    let mut sums: BTreeMap<&ledger::money::AssetId, [u128; 4]> = BTreeMap::new();
    for ((_, asset), balance) in &book.balances {
        let parts = [balance.debit_posted, balance.credit_posted, balance.debit_pending, balance.credit_pending];
        for (sum, part) in sums.entry(asset).or_default().iter_mut().zip(parts) {
            *sum = sum.wrapping_add(part.get());
        }
    }
    for (asset, [debit_posted, credit_posted, debit_pending, credit_pending]) in sums {
        if debit_posted != credit_posted || debit_pending != credit_pending {
            let reason = format!(
                "{asset}: debits {debit_posted} and {debit_pending} pending, credits {credit_posted} and {credit_pending} pending"
            );
            return Err(Stop::at(book.view.head.frontier.size(), reason));
        }
    }
    Ok(())
}

#[derive(Default, PartialEq, Eq, Debug)]
struct Figures {
    held: Amount,
    posted: Amount,
    count: u64,
}

/// held = what the live spends under a node reserve; posted = what the settled ones took; neither over the cap.
fn check_budgets(book: &Book) -> Result<(), Stop> {
    let seq = book.view.head.frontier.size();
    let mut figures: BTreeMap<BudgetId, Figures> = BTreeMap::new();
    for (_, spend) in book.view.spends.changed() {
        let leaf = book.view.budgets.find(&spend.budget).ok().flatten();
        let leaf = leaf.ok_or_else(|| Stop::at(seq, format!("spend {} has no budget {}", spend.id, spend.budget)))?;
        for id in &leaf.path {
            let overflow = || Stop::at(seq, format!("budget {id} overflows with spend {}", spend.id));
            let refunds = refunds_at(book, id);
            count_in(figures.entry(*id).or_default(), spend, refunds).ok_or_else(overflow)?;
        }
    }
    for (id, charged) in &book.charged {
        let figures = figures.entry(*id).or_default();
        let posted = figures.posted.checked_add(*charged);
        figures.posted = posted.ok_or_else(|| Stop::at(seq, format!("budget {id} overflows with {charged}")))?;
    }
    for (id, budget) in book.view.budgets.changed() {
        let expected = figures.remove(id).unwrap_or_default();
        let found = Figures { held: budget.held, posted: budget.posted, count: budget.count };
        if expected != found {
            return Err(Stop::at(seq, format!("budget {id} has {found:?}, its spends come to {expected:?}")));
        }
        check_cap(seq, budget)?;
    }
    match figures.into_keys().next() {
        None => Ok(()),
        Some(id) => Err(Stop::at(seq, format!("spends refer to budget {id}, which is not there"))),
    }
}

/// The same for each window: what the spends that name it come to, and not over its limit.
fn check_windows(book: &Book) -> Result<(), Stop> {
    let seq = book.view.head.frontier.size();
    let mut figures: BTreeMap<&WindowKey, Figures> = BTreeMap::new();
    for (_, spend) in book.view.spends.changed() {
        for key in &spend.windows {
            let overflow = || Stop::at(seq, format!("a window of budget {} overflows", key.budget));
            let refunds = refunds_at(book, &key.budget);
            count_in(figures.entry(key).or_default(), spend, refunds).ok_or_else(overflow)?;
        }
    }
    for (key, charged) in &book.charged_windows {
        let figures = figures.entry(key).or_default();
        let posted = figures.posted.checked_add(*charged);
        figures.posted = posted.ok_or_else(|| Stop::at(seq, format!("a window of budget {} overflows", key.budget)))?;
    }
    for (key, window) in book.view.windows.changed() {
        let expected = figures.remove(key).unwrap_or_default();
        let found = Figures { held: window.held, posted: window.posted, count: window.count };
        if expected != found {
            return Err(Stop::at(seq, format!("{key:?} has {found:?}, its spends come to {expected:?}")));
        }
        let cap = window.cap;
        if cap.is_some_and(|cap| window.used().is_none_or(|used| used > cap)) {
            return Err(Stop::at(seq, format!("{key:?} has {found:?}, over its limit of {cap:?}")));
        }
    }
    match figures.into_keys().next() {
        None => Ok(()),
        Some(key) => Err(Stop::at(seq, format!("spends refer to {key:?}, which is not there"))),
    }
}

fn refunds_at(book: &Book, id: &BudgetId) -> Refunds {
    book.view.budgets.find(id).ok().flatten().map_or(Refunds::Keep, |node| node.caps.refunds)
}

fn count_in(figures: &mut Figures, spend: &Spend, refunds: Refunds) -> Option<()> {
    match spend.state {
        // A nonce that was spent otherwise keeps its hold until a human has sorted it out.
        SpendState::Held
        | SpendState::Committed
        | SpendState::Submitted
        | SpendState::Unknown
        | SpendState::SpentOtherwise => figures.held = figures.held.checked_add(spend.authority)?,
        SpendState::Settled => figures.posted = figures.posted.checked_add(spend.posted_at(refunds)?)?,
        SpendState::Voided | SpendState::Expired | SpendState::Released => return Some(()),
    }
    figures.count = figures.count.checked_add(1)?;
    Some(())
}

fn check_cap(seq: u64, budget: &Budget) -> Result<(), Stop> {
    let used = budget.used().ok_or_else(|| Stop::at(seq, format!("budget {} overflows", budget.id)))?;
    match budget.caps.total.filter(|cap| used > *cap) {
        None if budget.is_over => Err(Stop::at(seq, format!("budget {} has used {used} and says over", budget.id))),
        Some(cap) if !budget.is_over => Err(Stop::at(seq, format!("budget {} has used {used} of {cap}", budget.id))),
        _ => Ok(()),
    }
}
