//! A table as data: how rows go in, in bulk, how they are looked up by many keys at once, and how they come out again to
//! be compared. Writing and verifying use the same descriptions, so that a column that is written is a column that is
//! checked. Here alone the engines differ in how many values reach one statement: SQLite takes a variable a value,
//! PostgreSQL a list a column.

use ledger::id::TenantId;

use crate::cell::{Cell, Cells, Row};
use crate::connection::{Connection, Dialect};
use crate::failure::Failure;
use crate::limits::{INSERT_ROWS, LOOK_UP_KEYS};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Text,
    Blob,
}

impl Kind {
    const fn list(self) -> &'static str {
        match self {
            Self::Integer => "bigint[]",
            Self::Text => "text[]",
            Self::Blob => "bytea[]",
        }
    }
}

/// The values of one column, for a statement that takes them all.
pub(crate) enum Column {
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Blobs(Vec<Option<Vec<u8>>>),
}

impl Column {
    fn empty(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Integer => Self::Integers(Vec::with_capacity(rows)),
            Kind::Text => Self::Texts(Vec::with_capacity(rows)),
            Kind::Blob => Self::Blobs(Vec::with_capacity(rows)),
        }
    }

    fn push(&mut self, cell: Cell) -> Result<(), Failure> {
        match (self, cell) {
            (Self::Integers(values), Cell::Integer(value)) => values.push(Some(value)),
            (Self::Texts(values), Cell::Text(value)) => values.push(Some(value)),
            (Self::Blobs(values), Cell::Blob(value)) => values.push(Some(value)),
            (Self::Integers(values), Cell::Null) => values.push(None),
            (Self::Texts(values), Cell::Null) => values.push(None),
            (Self::Blobs(values), Cell::Null) => values.push(None),
            (_, cell) => return Err(Failure::Broken(format!("{cell:?} is of another kind than its column"))),
        }
        Ok(())
    }
}

fn columns(named: &[(&str, Kind)], rows: Vec<Cells>) -> Result<Vec<Column>, Failure> {
    let mut columns: Vec<Column> = named.iter().map(|(_, kind)| Column::empty(*kind, rows.len())).collect();
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            column.push(cell)?;
        }
    }
    Ok(columns)
}

fn names(named: &[(&'static str, Kind)]) -> Vec<&'static str> {
    named.iter().map(|(name, _)| *name).collect()
}

/// `UNNEST($2::bigint[], $3::text[], …)`; the first variable is the tenant.
fn unnest(named: &[(&str, Kind)]) -> String {
    let lists = named.iter().zip(2..).map(|((_, kind), place)| format!("${place}::{}", kind.list()));
    format!("UNNEST({})", lists.collect::<Vec<_>>().join(", "))
}

/// The tenant is the first column of every table and is not named here.
pub(crate) struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, Kind)],
    /// How many of the first columns are the key.
    pub key_columns: usize,
    pub growth: Growth,
}

impl Table {
    pub fn column_names(&self) -> Vec<&'static str> {
        names(self.columns)
    }

    fn on_conflict(&self) -> String {
        if self.growth == Growth::Append {
            return String::new();
        }
        let (key, rest) = self.columns.split_at(self.key_columns);
        let sets = names(rest).iter().map(|column| format!("{column} = excluded.{column}")).collect::<Vec<_>>();
        format!(" ON CONFLICT (tenant, {}) DO UPDATE SET {}", names(key).join(", "), sets.join(", "))
    }

    fn insert_values(&self, rows: usize) -> String {
        // Plain `?`: SQLite looks a numbered variable's name up in a list, which in a long statement is most of the work.
        let row = format!("(?{})", ", ?".repeat(self.columns.len()));
        let (name, columns) = (self.name, self.column_names().join(", "));
        let rows = vec![row; rows].join(", ");
        format!("INSERT INTO {name} (tenant, {columns}) VALUES {rows}{}", self.on_conflict())
    }

    fn insert_lists(&self) -> String {
        let (name, columns) = (self.name, self.column_names().join(", "));
        let (lists, on_conflict) = (unnest(self.columns), self.on_conflict());
        format!("INSERT INTO {name} (tenant, {columns}) SELECT $1, added.* FROM {lists} AS added{on_conflict}")
    }

    /// The rows of a tenant in the order of the key, from the first or from the one after a key; variables: the
    /// tenant, the key's cells, how many.
    pub fn page_text(&self, start: Start) -> String {
        let key = names(self.columns.split_at(self.key_columns).0).join(", ");
        let place = |number: usize| format!("${number}");
        let (after, limit) = match start {
            Start::First => (String::new(), place(2)),
            Start::After => {
                let variables = (2..).take(self.key_columns).map(place).collect::<Vec<_>>().join(", ");
                (format!(" AND ({key}) > ({variables})"), place(self.key_columns.saturating_add(2)))
            }
        };
        let (name, columns) = (self.name, self.column_names().join(", "));
        format!("SELECT {columns} FROM {name} WHERE tenant = $1{after} ORDER BY {key} LIMIT {limit}")
    }

    pub async fn insert(
        &self,
        connection: &mut Connection,
        tenant: &TenantId,
        rows: Vec<Cells>,
    ) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let place = Cell::text(tenant);
        if connection.dialect() == Dialect::Postgres {
            let columns = columns(self.columns, rows)?;
            return connection.execute_columns(self.insert_lists(), place, columns).await.map(drop);
        }
        let mut rows = rows.into_iter();
        while let Some(size) = INSERT_ROWS.into_iter().find(|size| *size <= rows.len()) {
            let cells = rows.by_ref().take(size).flat_map(|row| std::iter::once(place.clone()).chain(row));
            let cells: Cells = cells.collect();
            connection.execute(self.insert_values(size), cells).await?;
        }
        Ok(())
    }
}

/// A question about many keys of one table, named `t` in what is selected.
pub(crate) struct LookUp {
    pub table: &'static str,
    pub select: &'static str,
    pub key: &'static [(&'static str, Kind)],
    /// For SQLite, which has to be told.
    pub index: Option<&'static str>,
    /// What else must hold of `t`.
    pub filter: &'static str,
    /// A table by its name in what is selected, of which one row belongs to each of `t`, and how.
    pub joined: Option<(&'static str, &'static str, &'static str)>,
}

impl LookUp {
    fn conditions(&self) -> String {
        let equal = self.key.iter().map(|(name, _)| format!(" AND t.{name} = w.{name}"));
        equal.collect()
    }

    /// SQLite: the wanted keys as a list of values, in whose order the table is probed.
    fn values(&self, keys: usize) -> String {
        let (table, select, filter) = (self.table, self.select, self.filter);
        if let ([(name, _)], None, None) = (self.key, self.index, self.joined) {
            let variables = vec!["?"; keys].join(", ");
            return format!("SELECT {select} FROM {table} t WHERE t.tenant = ? AND t.{name} IN ({variables}) {filter}");
        }
        let key = format!("(?{})", ", ?".repeat(self.key.len().saturating_sub(1)));
        let (wanted, names) = (vec![key; keys].join(", "), names(self.key).join(", "));
        let index = self.index.map(|index| format!(" INDEXED BY {index}")).unwrap_or_default();
        let joined =
            self.joined.map(|(table, name, on)| format!("JOIN {table} {name} ON {name}.tenant = p.tenant AND {on}"));
        format!(
            "WITH place (tenant) AS (SELECT ?), w ({names}) AS (VALUES {wanted})
             SELECT {select} FROM place p CROSS JOIN w CROSS JOIN {table} t{index} ON t.tenant = p.tenant{} {filter} {}",
            self.conditions(),
            joined.unwrap_or_default()
        )
    }

    /// PostgreSQL: the wanted keys as lists, and the table probed for each. OFFSET 0 keeps a subquery as it is written:
    /// left to itself, a planner that takes a tenant for small reads all of its rows and holds each against the lists.
    pub fn lists(&self) -> String {
        let (table, select, filter) = (self.table, self.select, self.filter);
        let (lists, names) = (unnest(self.key), names(self.key).join(", "));
        let probe = |table: &str, name: &str, on: &str| {
            format!(" CROSS JOIN LATERAL (SELECT * FROM {table} {name} WHERE {name}.tenant = $1{on} OFFSET 0) {name}")
        };
        let joined = self.joined.map(|(table, name, on)| probe(table, name, &format!(" AND {on}"))).unwrap_or_default();
        let found = probe(table, "t", &format!("{} {filter}", self.conditions()));
        format!("SELECT {select} FROM {lists} AS w ({names}){found}{joined}")
    }

    /// Asks in as few statements as the fixed sizes allow. A row may come twice, where a key was repeated to fill a
    /// statement.
    pub async fn find(
        &self,
        connection: &mut Connection,
        tenant: &TenantId,
        keys: Vec<Cells>,
    ) -> Result<Vec<Row>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let place = Cell::text(tenant);
        if connection.dialect() == Dialect::Postgres {
            return connection.fetch_columns(self.lists(), place, columns(self.key, keys)?).await;
        }
        let mut found = Vec::new();
        let largest = LOOK_UP_KEYS.into_iter().max().unwrap_or(1);
        for keys in keys.chunks(largest) {
            let size = LOOK_UP_KEYS.into_iter().find(|size| *size >= keys.len()).unwrap_or(largest);
            let fill = keys.last().into_iter().cycle().take(size.saturating_sub(keys.len()));
            let cells = std::iter::once(place.clone()).chain(keys.iter().chain(fill).flatten().cloned());
            let cells: Cells = cells.collect();
            found.extend(connection.look_up(self.values(size), cells).await?);
        }
        Ok(found)
    }
}
