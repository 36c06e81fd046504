//! A whole database into another one, of either engine: backup, restore, and the move to PostgreSQL. The rows are the same
//! and so is every root. And where a database is at home, so that a copy is known for one.

use ledger::budget::Budget;
use ledger::codec::decode;
use ledger::id::{Digest, TenantId};
use ledger::store::StoreError;

use crate::approvers::copy_passkeys;
use crate::cell::{Cell, Cells};
use crate::connection::{Connection, Opener, Schema};
use crate::failure::Failure;
use crate::limits::{BUSY_TIMEOUT_DEFAULT, COPY_PAGE_DOCUMENTS, COPY_PAGE_ROWS};
use crate::location::Location;
use crate::table::{Start, Table};
use crate::{SqlStore, load, rows};

/// What a copy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be kept, while the source goes on: one snapshot of it.
    Keep,
    /// To go on elsewhere: nobody else may have the source open, and it is left behind for good.
    Move,
}

/// What was copied of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub tenant: TenantId,
    pub entries: u64,
    pub root: Digest,
}

/// Where a database is, and where it was when it was last used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub actual: String,
    pub recorded: Option<String>,
}

impl Home {
    /// The same database as before, and not a copy of it.
    pub fn is_same(&self) -> bool {
        self.recorded.as_ref() == Some(&self.actual)
    }
}

const MOVED: &str = "moved";

impl SqlStore {
    pub async fn home(&self) -> Result<Home, StoreError> {
        let mut connection = self.shared.opener.reader().await?;
        let home = home(&mut connection).await?;
        connection.close().await?;
        Ok(home)
    }

    /// Whose books are here.
    pub async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let mut connection = self.shared.opener.reader().await?;
        let found = connection.fetch("SELECT tenant FROM head WHERE size > 0 ORDER BY tenant", []).await?;
        connection.close().await?;
        Ok(found.iter().map(|row| row.parsed(0)).collect::<Result<_, Failure>>()?)
    }

    /// Whether no tenant has a record here.
    pub async fn is_unwritten(&self) -> Result<bool, StoreError> {
        Ok(self.tenants().await?.is_empty())
    }

    /// From here on this is where the database is at home.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let mut connection = self.shared.opener.reopen().await?;
        let actual = connection.home().await?;
        settle(&mut connection, actual).await?;
        Ok(connection.close().await?)
    }
}

async fn home(connection: &mut Connection) -> Result<Home, Failure> {
    let actual = connection.home().await?;
    let row = connection.fetch_one("SELECT name FROM home WHERE id = 1", []).await?;
    let recorded = row.map(|row| row.text(0).map(str::to_owned)).transpose()?;
    if recorded.as_deref() == Some(MOVED) {
        return Err(Failure::Broken(
            "this database was moved elsewhere by `migrate --to`, and is left behind".to_owned(),
        ));
    }
    Ok(Home { actual, recorded })
}

async fn settle(connection: &mut Connection, name: String) -> Result<(), Failure> {
    let text = "INSERT INTO home (id, name) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET name = excluded.name";
    connection.execute(text, [Cell::Text(name)]).await.map(drop)
}

/// Copies every tenant's rows and every key into a database that has none yet; all of it or nothing. The copy has no
/// home, so that whoever serves from it finds it behind its fence; a database that was moved has its new one.
pub async fn copy(from: &Location, to: &Location, purpose: Purpose) -> Result<Vec<Copied>, StoreError> {
    let source = Opener::new(from, BUSY_TIMEOUT_DEFAULT);
    let target = Opener::new(to, BUSY_TIMEOUT_DEFAULT);
    let mut source = source.open(Schema::Exact).await?;
    home(&mut source).await?;
    match purpose {
        Purpose::Keep => source.begin_snapshot().await?,
        Purpose::Move => source.begin_alone().await?,
    }
    let mut target = target.open(Schema::Migrate).await?;
    target.begin().await?;
    let copied = rows_of(&mut source, &mut target).await?;
    if purpose == Purpose::Move {
        let name = target.home().await?;
        settle(&mut target, name).await?;
    }
    // The target first: should this process end here, both have the book, and the source still says that it is its own.
    target.commit().await?;
    match purpose {
        Purpose::Keep => source.roll_back().await?,
        Purpose::Move => {
            settle(&mut source, MOVED.to_owned()).await?;
            source.commit().await?;
        }
    }
    target.close().await?;
    source.close().await?;
    Ok(copied)
}

async fn rows_of(source: &mut Connection, target: &mut Connection) -> Result<Vec<Copied>, Failure> {
    let taken = "SELECT (SELECT count(*) FROM head WHERE size > 0) + (SELECT count(*) FROM sealed_key)";
    let taken = target.fetch_one(taken, []).await?.map_or(Ok(0), |row| row.number(0))?;
    if taken > 0 {
        return Err(Failure::Unavailable(format!("an empty database was expected, {taken} tenants or keys are there")));
    }
    keys(source, target).await?;
    copy_passkeys(source, target).await?;
    let mut copied = Vec::new();
    for row in source.fetch("SELECT tenant FROM head WHERE size > 0 ORDER BY tenant", []).await? {
        let tenant: TenantId = row.parsed(0)?;
        // Rows refer to records and accounts, windows and spends to budgets: in the order in which units write them.
        for table in [&rows::DOCUMENT, &rows::JOURNAL, &rows::CLAIM] {
            pages(source, target, &tenant, table).await?;
        }
        budgets(source, target, &tenant).await?;
        for table in [&rows::WINDOW, &rows::SPEND, &rows::SPEND_RECORD, &rows::SETTLEMENT, &rows::DECISION, &rows::GATE]
        {
            pages(source, target, &tenant, table).await?;
        }
        for table in [&rows::ACCOUNT, &rows::BALANCE, &rows::TRANSFER] {
            pages(source, target, &tenant, table).await?;
        }
        copied.push(head(source, target, tenant).await?);
    }
    // Whoever sells has checkouts before the first record.
    let shops = "SELECT tenant FROM checkout UNION SELECT tenant FROM shop_order UNION SELECT tenant FROM order_heard
        ORDER BY tenant";
    for row in source.fetch(shops, []).await? {
        let tenant: TenantId = row.parsed(0)?;
        for table in &crate::checkouts::TABLES {
            pages(source, target, &tenant, table).await?;
        }
    }
    for row in source.fetch("SELECT DISTINCT tenant FROM webhook ORDER BY tenant", []).await? {
        pages(source, target, &row.parsed(0)?, &crate::webhooks::TABLE).await?;
    }
    Ok(copied)
}

async fn pages(
    source: &mut Connection,
    target: &mut Connection,
    tenant: &TenantId,
    table: &Table,
) -> Result<(), Failure> {
    let has_documents =
        table.name == rows::DOCUMENT.name || crate::checkouts::TABLES.iter().any(|one| one.name == table.name);
    let limit = if has_documents { COPY_PAGE_DOCUMENTS } else { COPY_PAGE_ROWS };
    let mut last: Option<Cells> = None;
    loop {
        let start = if last.is_some() { Start::After } else { Start::First };
        let key = last.take().into_iter().flat_map(|row| row.into_iter().take(table.key_columns));
        let cells = std::iter::once(Cell::text(tenant)).chain(key).chain([Cell::Integer(limit.into())]);
        let cells: Cells = cells.collect();
        let found = source.fetch(table.page_text(start), cells).await?;
        let page: Vec<Cells> = found.into_iter().map(|row| row.0).collect();
        let Some(end) = page.last().cloned() else { return Ok(()) };
        table.insert(target, tenant, page).await?;
        last = Some(end);
    }
}

/// Parents before children.
async fn budgets(source: &mut Connection, target: &mut Connection, tenant: &TenantId) -> Result<(), Failure> {
    let text = format!("SELECT {} FROM budget WHERE tenant = $1", rows::BUDGET.column_names().join(", "));
    let found = source.fetch(text, [Cell::text(tenant)]).await?;
    let mut budgets = Vec::with_capacity(found.len());
    for row in found {
        let body = row.0.last();
        let Some(Cell::Blob(body)) = body else { return Err(Failure::Broken(format!("a budget is {body:?}"))) };
        budgets.push((decode::<Budget>(body)?.path.len(), row.0));
    }
    budgets.sort_unstable();
    rows::BUDGET.insert(target, tenant, budgets.into_iter().map(|(_, row)| row).collect()).await
}

async fn head(source: &mut Connection, target: &mut Connection, tenant: TenantId) -> Result<Copied, Failure> {
    let head = load::head(source, &tenant).await?;
    let text = "SELECT tenant, size, frontier, root, last_at FROM head WHERE tenant = $1";
    let row = source.fetch_one(text, [Cell::text(&tenant)]).await?;
    let row = row.ok_or_else(|| Failure::Broken(format!("the head of {tenant} is gone")))?;
    target
        .execute("INSERT INTO head (tenant, size, frontier, root, last_at) VALUES ($1, $2, $3, $4, $5)", row.0)
        .await?;
    Ok(Copied { tenant, entries: head.frontier.size(), root: head.frontier.root() })
}

/// As they lie, sealed: the copy opens with the same master key.
async fn keys(source: &mut Connection, target: &mut Connection) -> Result<(), Failure> {
    let columns = "tenant, purpose, kid, state, created_at, ended_at, master, data_key, secret";
    let found = source.fetch(format!("SELECT {columns} FROM sealed_key ORDER BY tenant, purpose, kid"), []).await?;
    for row in found {
        let text = format!("INSERT INTO sealed_key ({columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
        target.execute(text, row.0).await?;
    }
    Ok(())
}

/// Takes documents out, the bytes too; the guard against that is put back in the same unit. For whoever owns the
/// tables: the role that serves may not.
pub async fn erase(location: &Location, tenant: &TenantId, digests: &[Digest]) -> Result<u64, StoreError> {
    let opener = Opener::new(location, BUSY_TIMEOUT_DEFAULT);
    let mut connection = opener.open(Schema::Exact).await?;
    let guard = connection.lift_document_guard().await?;
    let mut erased = 0_u64;
    for digest in digests {
        let text = "DELETE FROM document WHERE tenant = $1 AND digest = $2";
        let cells = [Cell::text(tenant), Cell::blob(digest.0)];
        erased = erased.saturating_add(connection.execute(text, cells).await?);
    }
    connection.restore_document_guard(guard).await?;
    connection.commit().await?;
    connection.forget_erased().await?;
    connection.close().await?;
    Ok(erased)
}
