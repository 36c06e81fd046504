//! How far receivers of events were told, beside the books: one row each, written by whoever names what they read.

use ledger::id::{Micros, TenantId};
use ledger::store::StoreError;

use crate::SqlStore;
use crate::approvers::Unit;
use crate::cell::{Cell, Row};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::table::Kind::{Integer, Text};
use crate::table::{Growth, Table};

const COLUMNS: &str = "next_seq, next_number, failures, due_at";

/// For copies.
pub(crate) const TABLE: Table = Table {
    name: "webhook",
    columns: &[
        ("name", Text),
        ("next_seq", Integer),
        ("next_number", Integer),
        ("failures", Integer),
        ("due_at", Integer),
    ],
    key_columns: 1,
    growth: Growth::Replace,
};

/// A place among the events of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// The next event's record, and its place among that record's events.
    pub next: (u64, u16),
    /// Attempts in a row that failed.
    pub failures: u32,
    /// Not before.
    pub due_at: Micros,
}

impl Bookmark {
    /// As `Store::events` wants to know it: the last one that was told.
    pub const fn last(&self) -> Option<(u64, u16)> {
        match self.next {
            (0, 0) => None,
            (seq, 0) => Some((seq.saturating_sub(1), u16::MAX)),
            (seq, number) => Some((seq, number.saturating_sub(1))),
        }
    }

    fn cells(&self) -> Result<[Cell; 4], Failure> {
        let (seq, number) = self.next;
        let seq = i64::try_from(seq).map_err(|_| Failure::Broken("a record's number does not fit".to_owned()))?;
        let Micros(due_at) = self.due_at;
        Ok([
            Cell::Integer(seq),
            Cell::Integer(number.into()),
            Cell::Integer(self.failures.into()),
            Cell::Integer(due_at),
        ])
    }
}

fn bookmark(row: &Row) -> Result<Bookmark, Failure> {
    let broken = |_| Failure::Broken("a place among the events is out of range".to_owned());
    Ok(Bookmark {
        next: (row.number(0)?, u16::try_from(row.integer(1)?).map_err(broken)?),
        failures: u32::try_from(row.integer(2)?).map_err(broken)?,
        due_at: Micros(row.integer(3)?),
    })
}

impl SqlStore {
    pub async fn bookmark(&self, tenant: &TenantId, name: &str) -> Result<Option<Bookmark>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let text = format!("SELECT {COLUMNS} FROM webhook WHERE tenant = $1 AND name = $2");
        let row = connection.fetch_one(text, [Cell::text(tenant), Cell::text(name)]).await?;
        Ok(row.as_ref().map(bookmark).transpose()?)
    }

    /// For a receiver that is new. One that has a place keeps it.
    pub async fn open_bookmark(&self, tenant: &TenantId, name: &str, first: Bookmark) -> Result<(), StoreError> {
        self.unit(async |connection| {
            let text = format!(
                "INSERT INTO webhook (tenant, name, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (tenant, name) DO NOTHING"
            );
            let cells = [Cell::text(tenant), Cell::text(name)].into_iter().chain(first.cells()?);
            connection.execute(text, cells.collect::<Vec<_>>()).await?;
            Ok(Unit::Write(()))
        })
        .await
    }

    /// Whether it was still as it was read. Of two who deliver to the same receiver one goes on.
    pub async fn move_bookmark(
        &self,
        tenant: &TenantId,
        name: &str,
        (read, write): (Bookmark, Bookmark),
    ) -> Result<bool, StoreError> {
        self.unit(async |connection| {
            let moved = update(connection, tenant, name, (read, write)).await?;
            Ok(if moved { Unit::Write(true) } else { Unit::Leave(false) })
        })
        .await
    }
}

async fn update(
    connection: &mut Connection,
    tenant: &TenantId,
    name: &str,
    (read, write): (Bookmark, Bookmark),
) -> Result<bool, Failure> {
    let text = "UPDATE webhook SET next_seq = $3, next_number = $4, failures = $5, due_at = $6
        WHERE tenant = $1 AND name = $2
          AND next_seq = $7 AND next_number = $8 AND failures = $9 AND due_at = $10";
    let place = [Cell::text(tenant), Cell::text(name)].into_iter();
    let cells = place.chain(write.cells()?).chain(read.cells()?);
    Ok(connection.execute(text, cells.collect::<Vec<_>>()).await? == 1)
}
