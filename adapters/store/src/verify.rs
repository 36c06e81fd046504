//! Reads everything again and recomputes it. The journal is walked from its first record; whatever follows from it
//! (balances, budgets, spends, settlements, decisions, claims, transfers) is built anew and compared, cell by cell,
//! with what the tables hold. The first difference ends it.

mod journal;
mod tables;

use ledger::id::TenantId;
use ledger::journal::SaltKey;
use ledger::store::{StoreError, Verification};

use crate::connection::{Connection, Opener, check_integrity, check_schema};
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

pub(crate) async fn verify(opener: &Opener, tenant: &TenantId, salt_key: &SaltKey) -> Result<Verification, StoreError> {
    told(check(opener, tenant, salt_key).await)
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
    connection: &mut Connection,
    tenant: &TenantId,
    salt_key: &SaltKey,
) -> Result<Verification, StoreError> {
    told(check_tables(connection, tenant, salt_key).await)
}

async fn check(opener: &Opener, tenant: &TenantId, salt_key: &SaltKey) -> Result<Verification, Stop> {
    // One transaction on a connection of its own: one snapshot, whatever is written meanwhile, and gone with it.
    let mut connection = opener.reader().await.map_err(|failure| Stop::reading(0, failure))?;
    connection.begin_snapshot().await.map_err(|failure| Stop::reading(0, failure))?;
    let found = check_snapshot(&mut connection, tenant, salt_key).await;
    if let Err(failure) = connection.close().await {
        tracing::warn!(reason = ?failure, "the verifying connection did not close");
    }
    found
}

async fn check_snapshot(
    connection: &mut Connection,
    tenant: &TenantId,
    salt_key: &SaltKey,
) -> Result<Verification, Stop> {
    check_schema(connection).await.map_err(|failure| Stop::reading(0, failure))?;
    if let Some(damage) = check_integrity(connection).await.map_err(|failure| Stop::reading(0, failure))? {
        return Err(Stop::at(0, damage));
    }
    check_tables(connection, tenant, salt_key).await
}

async fn check_tables(
    connection: &mut Connection,
    tenant: &TenantId,
    salt_key: &SaltKey,
) -> Result<Verification, Stop> {
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
