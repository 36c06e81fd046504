//! Reads everything again and recomputes it. The journal is walked from its first record; whatever follows from it
//! (balances, budgets, spends, settlements, decisions, claims, transfers) is built anew and compared, cell by cell,
//! with what the tables hold. The first difference ends it.

mod journal;
mod tables;

use ledger::id::TenantId;
use ledger::journal::SaltKey;
use ledger::store::{StoreError, Verification};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Row as _, SqlitePool};

use crate::connection::check_schema;
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
    readers: &SqlitePool,
    tenant: &TenantId,
    salt_key: &SaltKey,
) -> Result<Verification, StoreError> {
    match check(readers, tenant, salt_key).await {
        Ok(verification) => Ok(verification),
        Err(Stop::Break { seq, reason }) => Ok(Verification::Broken { seq, reason }),
        Err(Stop::Failed(error)) => Err(error),
    }
}

async fn check(readers: &SqlitePool, tenant: &TenantId, salt_key: &SaltKey) -> Result<Verification, Stop> {
    // One transaction: one snapshot, whatever is written meanwhile.
    let mut snapshot = readers.begin().await.map_err(|error| Stop::reading(0, error))?;
    let connection: &mut SqliteConnection = &mut snapshot;
    check_file(connection).await?;
    let head = load::head(connection, tenant).await.map_err(|failure| Stop::reading(0, failure))?;
    let accounts = tables::accounts(connection, tenant).await?;
    let book = journal::replay(connection, tenant, salt_key, &accounts).await?;
    let entries = book.view.head.frontier.size();
    if book.view.head != head {
        let (found, expected) = (head.frontier.root(), book.view.head.frontier.root());
        let reason = format!(
            "the journal has {entries} records and root {expected}, the head says {} and {found}",
            head.frontier.size()
        );
        return Err(Stop::at(entries, reason));
    }
    tables::compare(connection, tenant, &book, &accounts).await?;
    Ok(Verification::Sound { entries, root: head.frontier.root() })
}

/// The file as SQLite sees it: pages, indexes, constraints, references, and the guards themselves.
async fn check_file(connection: &mut SqliteConnection) -> Result<(), Stop> {
    check_schema(connection).await.map_err(|failure| Stop::reading(0, failure))?;
    let rows = sqlx::query("PRAGMA integrity_check(1)").fetch_all(&mut *connection).await;
    for row in rows.map_err(|error| Stop::reading(0, error))? {
        let found: String = row.try_get(0).map_err(|error| Stop::reading(0, error))?;
        if found != "ok" {
            return Err(Stop::at(0, format!("the file is damaged: {found}")));
        }
    }
    let rows = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *connection).await;
    match rows.map_err(|error| Stop::reading(0, error))?.first() {
        None => Ok(()),
        Some(row) => {
            let table: String = row.try_get(0).map_err(|error| Stop::reading(0, error))?;
            Err(Stop::at(0, format!("a row of {table} refers to one that is not there")))
        }
    }
}
