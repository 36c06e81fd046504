//! A table as data: how rows go in, in bulk, and how they come out again to be compared. Writing and verifying use
//! the same descriptions, so that a column that is written is a column that is checked.

use ledger::id::TenantId;
use ledger::money::Amount;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqliteConnection, TypeInfo as _, ValueRef as _};

use crate::limits::INSERT_ROWS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// A row is written once.
    Append,
    /// A row is written again under its key.
    Replace,
}

/// Where a page of rows begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    First,
    After,
}

/// The tenant is the first column of every table and is not named here.
pub(crate) struct Table {
    pub name: &'static str,
    pub columns: &'static [&'static str],
    /// How many of the first columns are the key.
    pub key_columns: usize,
    pub growth: Growth,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Cell {
    /// A number past SQLite's integers becomes the largest one: a journal sequence of that size is refused by the
    /// journal's own trigger, and nothing else comes near.
    pub fn number(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }

    pub fn amount(value: Amount) -> Self {
        Self::Blob(value.to_be_bytes().to_vec())
    }

    pub fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    pub fn blob(value: impl AsRef<[u8]>) -> Self {
        Self::Blob(value.as_ref().to_vec())
    }

    pub fn flag(value: bool) -> Self {
        Self::Integer(i64::from(value))
    }

    pub fn optional<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, cell)
    }
}

pub(crate) type Cells = Vec<Cell>;

impl Table {
    fn insert_text(&self, rows: usize) -> String {
        let mut text = format!("INSERT INTO {} (tenant, {}) VALUES ", self.name, self.columns.join(", "));
        // Plain `?`: SQLite looks a numbered variable's name up in a list, which in a long statement is most of the work.
        let row = format!("(?{})", ", ?".repeat(self.columns.len()));
        text.push_str(&vec![row; rows].join(", "));
        if self.growth == Growth::Replace {
            let (key, rest) = self.columns.split_at(self.key_columns);
            let sets = rest.iter().map(|column| format!("{column} = excluded.{column}")).collect::<Vec<_>>();
            text.push_str(&format!(" ON CONFLICT (tenant, {}) DO UPDATE SET {}", key.join(", "), sets.join(", ")));
        }
        text
    }

    /// The rows of a tenant in the order of the key, from the first or from the one after a key; variables: the
    /// tenant, the key's cells, how many.
    pub fn page_text(&self, start: Start) -> String {
        let key = self.columns.split_at(self.key_columns).0.join(", ");
        let after = match start {
            Start::First => String::new(),
            Start::After => format!(" AND ({key}) > ({})", vec!["?"; self.key_columns].join(", ")),
        };
        let (name, columns) = (self.name, self.columns.join(", "));
        format!("SELECT {columns} FROM {name} WHERE tenant = ?{after} ORDER BY {key} LIMIT ?")
    }

    pub async fn insert(
        &self,
        connection: &mut SqliteConnection,
        tenant: &TenantId,
        rows: Vec<Cells>,
    ) -> Result<(), sqlx::Error> {
        let mut rows = rows.into_iter();
        while let Some(size) = INSERT_ROWS.into_iter().find(|size| *size <= rows.len()) {
            let mut query = sqlx::query(AssertSqlSafe(self.insert_text(size)));
            for row in rows.by_ref().take(size) {
                query = row.into_iter().fold(query.bind(tenant.as_str()), bind);
            }
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }
}

pub(crate) type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

pub(crate) fn bind(query: Query<'_>, cell: Cell) -> Query<'_> {
    match cell {
        Cell::Null => query.bind(None::<i64>),
        Cell::Integer(value) => query.bind(value),
        Cell::Text(value) => query.bind(value),
        Cell::Blob(value) => query.bind(value),
    }
}

/// The cells of a row as they are, without any conversion that could hide a difference.
pub(crate) fn cells(row: &SqliteRow) -> Result<Cells, sqlx::Error> {
    (0..row.len())
        .map(|column| {
            let value = row.try_get_raw(column)?;
            if value.is_null() {
                return Ok(Cell::Null);
            }
            let kind = value.type_info().name().to_owned();
            match kind.as_str() {
                "INTEGER" => row.try_get(column).map(Cell::Integer),
                "TEXT" => row.try_get(column).map(Cell::Text),
                "BLOB" => row.try_get(column).map(Cell::Blob),
                other => Err(sqlx::Error::Decode(format!("a value of type {other}").into())),
            }
        })
        .collect()
}
