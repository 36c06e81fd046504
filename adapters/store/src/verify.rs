//! Reads everything again and recomputes it. The journal is walked from its first record; whatever follows from it
//! (balances, budgets, spends, settlements, decisions, claims, transfers) is built anew and compared, cell by cell,
//! with what the tables hold. The first difference ends it.
//!
//! Rows go by once: transfers lie in the journal's order and are compared one by one, every other table as the sum of its
//! rows' hashes (`expected`). Where a sum differs the journal is walked a second time, with the rows of that table kept,
//! to say which row it is (`locate`).

mod expected;
mod figures;
mod journal;
mod recurrence;
mod tables;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ledger::id::TenantId;
use ledger::journal::SaltKey;
use ledger::store::{StoreError, Verification};
use ledger::view::Head;

use crate::cell::Cell;
use crate::connection::{Opener, Scanner, check_integrity, check_schema};
use crate::failure::Failure;
use crate::load;

/// Why a verification ends early.
pub(crate) enum Stop {
    /// The books are not what they say.
    Break { seq: u64, reason: String },
    /// Nothing can be said about the books: they could not be read now.
    Failed(StoreError),
}

impl Stop {
    fn at(seq: u64, reason: impl Into<String>) -> Self {
        Self::Break { seq, reason: reason.into() }
    }

    /// A file that contradicts itself is a finding, not a failure.
    fn reading(seq: u64, failure: impl Into<Failure>) -> Self {
        match failure.into() {
            Failure::Broken(reason) | Failure::Refused(reason) => Self::Break { seq, reason },
            other => Self::Failed(other.into()),
        }
    }
}

pub(crate) async fn verify(
    opener: &Opener,
    tenant: &TenantId,
    salt_key: &SaltKey,
    read: Arc<AtomicU64>,
) -> Result<Verification, StoreError> {
    told(check(opener, tenant, salt_key, read).await)
}

fn told(found: Result<Verification, Stop>) -> Result<Verification, StoreError> {
    match found {
        Ok(verification) => Ok(verification),
        Err(Stop::Break { seq, reason }) => Ok(Verification::Broken { seq, reason }),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The books alone, where nobody looks at the schema around them.
#[cfg(test)]
pub(crate) async fn check_books(
    opener: &Opener,
    tenant: &TenantId,
    salt_key: &SaltKey,
) -> Result<Verification, StoreError> {
    told(check_snapshot(opener, tenant, salt_key, Arc::default()).await)
}

async fn check(
    opener: &Opener,
    tenant: &TenantId,
    salt_key: &SaltKey,
    read: Arc<AtomicU64>,
) -> Result<Verification, Stop> {
    let mut connection = opener.reader().await.map_err(|failure| Stop::reading(0, failure))?;
    check_schema(&mut connection).await.map_err(|failure| Stop::reading(0, failure))?;
    // Side by side: the engine's own look at its pages takes longer than ours at the rows.
    let (damage, found) = tokio::join!(check_integrity(connection), check_snapshot(opener, tenant, salt_key, read));
    match damage.map_err(|failure| Stop::reading(0, failure))? {
        None => found,
        Some(damage) => Err(Stop::at(0, damage)),
    }
}

/// One snapshot, whatever is written meanwhile, on a thread that may block.
async fn check_snapshot(
    opener: &Opener,
    tenant: &TenantId,
    salt_key: &SaltKey,
    read: Arc<AtomicU64>,
) -> Result<Verification, Stop> {
    let mut scanner = Scanner::open(opener).await.map_err(|failure| Stop::reading(0, failure))?;
    let (tenant, salt_key) = (tenant.clone(), salt_key.clone());
    let done = tokio::task::spawn_blocking(move || check_tables(&mut scanner, &tenant, &salt_key, &read)).await;
    done.unwrap_or_else(|error| Err(Stop::Failed(StoreError::Unavailable(format!("the verifier ended: {error}")))))
}

fn check_tables(
    scanner: &mut Scanner,
    tenant: &TenantId,
    salt_key: &SaltKey,
    read: &AtomicU64,
) -> Result<Verification, Stop> {
    let head = head(scanner, tenant)?;
    let journal = journal::Journal { tenant, salt_key, read };
    let mut book = journal.replay(scanner, None)?;
    let entries = book.view.head.frontier.size();
    if book.view.head != head {
        let (found, expected) = (head.frontier.root(), book.view.head.frontier.root());
        let reason = format!(
            "the journal has {entries} records and root {expected}, the head says {} and {found}",
            head.frontier.size()
        );
        return Err(Stop::at(entries, reason));
    }
    tables::expect_state(&mut book)?;
    if let Some(table) = tables::differing(scanner, tenant, &book)? {
        let mut book = journal.replay(scanner, Some(table))?;
        tables::expect_state(&mut book)?;
        return Err(tables::locate(scanner, tenant, &book, table));
    }
    tables::check_documents(scanner, tenant, entries)?;
    tables::check_balanced(&book)?;
    book.uses.check(&book.view)?;
    book.tally.check(&book.view)?;
    Ok(Verification::Sound { entries, root: head.frontier.root() })
}

fn head(scanner: &mut Scanner, tenant: &TenantId) -> Result<Head, Stop> {
    let row = scanner.fetch(load::HEAD, &[Cell::text(tenant)]).map(|rows| rows.into_iter().next());
    row.and_then(|row| load::head_of(row, tenant)).map_err(|failure| Stop::reading(0, failure))
}
