//! A connection to either engine. Everything above speaks in texts with `$1` variables and in cells; what differs
//! between the engines is here, in the two files below, and in how a table takes rows in bulk (`table`).

mod erase;
mod fold;
mod notice;
mod postgres;
mod release;
mod scan;
mod sqlite;
mod sqlite_schema;

use std::borrow::Cow;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;

use self::sqlite::blocking;
use crate::cell::{Cell, Row};
use crate::failure::Failure;
use crate::location::Location;

pub(crate) use self::fold::Folder;
#[cfg(test)]
pub(crate) use self::postgres::catalog_of_migrations;
pub use self::release::{Change, LaterMigration, become_later};
pub(crate) use self::scan::{Scanner, Value};

/// What to do about the schema that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Create the database if there is none, and bring it up to date. For `init`, `migrate` and `dev`.
    Migrate,
    /// Refuse a database that is not there, or whose schema is neither ours nor ours with the additions of a later release
    /// that lets us serve (see `release`). For `serve`.
    Refuse,
    /// Refuse one whose schema is not exactly ours. For what must not leave anything out.
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// The few words in which the two SQLs differ where rows are read.
impl Dialect {
    /// SQLite keeps no figures about its tables: it is told which index to take, and refuses where it is gone.
    pub fn indexed_by(self, index: &str) -> String {
        match self {
            Self::Sqlite => format!("INDEXED BY {index}"),
            Self::Postgres => String::new(),
        }
    }

    /// SQLite's CROSS JOIN keeps the order of the tables as written.
    pub const fn join(self) -> &'static str {
        match self {
            Self::Sqlite => "CROSS JOIN",
            Self::Postgres => "JOIN",
        }
    }

    /// What rows were inserted in the order of.
    pub const fn insertion(self) -> &'static str {
        match self {
            Self::Sqlite => "rowid",
            Self::Postgres => "place",
        }
    }
}

pub(crate) enum Connection {
    Sqlite(rusqlite::Connection),
    SqliteReader(sqlite::Reader),
    Postgres(PgConnection),
    PostgresReader(PoolConnection<Postgres>),
}

enum Raw<'a> {
    /// By `&mut`, because what is lent to one only may go from thread to thread with its task.
    Sqlite(&'a mut rusqlite::Connection),
    Postgres(&'a mut PgConnection),
}

impl Connection {
    fn raw(&mut self) -> Raw<'_> {
        match self {
            Self::Sqlite(connection) => Raw::Sqlite(connection),
            Self::SqliteReader(reader) => Raw::Sqlite(reader.connection()),
            Self::Postgres(connection) => Raw::Postgres(connection),
            Self::PostgresReader(connection) => Raw::Postgres(connection),
        }
    }

    pub const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) | Self::SqliteReader(_) => Dialect::Sqlite,
            Self::Postgres(_) | Self::PostgresReader(_) => Dialect::Postgres,
        }
    }

    pub async fn fetch(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        cells: impl Into<Vec<Cell>>,
    ) -> Result<Vec<Row>, Failure> {
        let (text, cells) = (text.into(), cells.into());
        match self.raw() {
            Raw::Sqlite(connection) => blocking(|| sqlite::fetch(connection, &text, &cells)),
            Raw::Postgres(connection) => postgres::fetch(connection, text, cells).await,
        }
    }

    /// The same of a few rows by their whole key, in less time than another thread takes to stand in for this one.
    pub async fn look_up(&mut self, text: String, cells: Vec<Cell>) -> Result<Vec<Row>, Failure> {
        match self.raw() {
            Raw::Sqlite(connection) => sqlite::fetch(connection, &text, &cells),
            Raw::Postgres(connection) => postgres::fetch(connection, text.into(), cells).await,
        }
    }

    pub async fn fetch_one(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        cells: impl Into<Vec<Cell>>,
    ) -> Result<Option<Row>, Failure> {
        Ok(self.fetch(text, cells).await?.into_iter().next())
    }

    /// How many rows were written.
    pub async fn execute(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        cells: impl Into<Vec<Cell>>,
    ) -> Result<u64, Failure> {
        let (text, cells) = (text.into(), cells.into());
        match self.raw() {
            Raw::Sqlite(connection) => blocking(|| sqlite::execute(connection, &text, &cells)),
            Raw::Postgres(connection) => postgres::execute(connection, text, cells).await,
        }
    }

    /// One statement for many rows, a list of values a column. PostgreSQL only.
    pub async fn execute_columns(
        &mut self,
        text: String,
        first: Cell,
        columns: Vec<crate::table::Column>,
    ) -> Result<u64, Failure> {
        match self.raw() {
            Raw::Postgres(connection) => postgres::execute_columns(connection, text, first, columns).await,
            Raw::Sqlite(_) => Err(Failure::Broken("SQLite has no lists".to_owned())),
        }
    }

    pub async fn fetch_columns(
        &mut self,
        text: String,
        first: Cell,
        columns: Vec<crate::table::Column>,
    ) -> Result<Vec<Row>, Failure> {
        match self.raw() {
            Raw::Postgres(connection) => postgres::fetch_columns(connection, text, first, columns).await,
            Raw::Sqlite(_) => Err(Failure::Broken("SQLite has no lists".to_owned())),
        }
    }

    /// A text without variables, as it is.
    pub async fn run(&mut self, text: impl Into<Cow<'static, str>>) -> Result<(), Failure> {
        let text = text.into();
        match self.raw() {
            Raw::Sqlite(connection) => blocking(|| sqlite::run(connection, &text)),
            Raw::Postgres(connection) => Ok(sqlx::raw_sql(ours(text)).execute(connection).await.map(drop)?),
        }
    }

    /// SQLite: IMMEDIATE takes its one write lock now, where a read that turns into a write later fails at once.
    /// PostgreSQL: the head row is the tenant's lock, and it is read first.
    ///
    /// Either way the first statement asks whether this release still serves, and keeps `migrate` from saying otherwise
    /// until the unit ends.
    pub async fn begin(&mut self) -> Result<(), Failure> {
        match self.raw() {
            Raw::Sqlite(connection) => blocking(|| sqlite::begin(connection)),
            Raw::Postgres(connection) => postgres::begin(connection).await,
        }
    }

    /// One state of the whole database, whatever is written meanwhile.
    pub async fn begin_snapshot(&mut self) -> Result<(), Failure> {
        match self.dialect() {
            Dialect::Sqlite => self.run("BEGIN").await,
            Dialect::Postgres => self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await,
        }
    }

    /// Whatever goes wrong here, it is not known what was written: except where the database says that it was nothing.
    pub async fn commit(&mut self) -> Result<(), Failure> {
        match self.raw() {
            Raw::Sqlite(connection) => blocking(|| sqlite::commit(connection)),
            Raw::Postgres(connection) => postgres::commit(connection).await,
        }
    }

    /// The name of the database itself, which a copy of it does not have.
    pub async fn home(&mut self) -> Result<String, Failure> {
        match self.raw() {
            Raw::Sqlite(connection) => sqlite::home(connection),
            Raw::Postgres(connection) => postgres::home(connection).await,
        }
    }

    /// Begins a unit while nobody else has the database open, and keeps others out until it ends.
    pub async fn begin_alone(&mut self) -> Result<(), Failure> {
        match self.raw() {
            Raw::Sqlite(connection) => blocking(|| sqlite::alone(connection)),
            Raw::Postgres(connection) => postgres::alone(connection).await,
        }
    }

    pub async fn roll_back(&mut self) -> Result<(), Failure> {
        self.run("ROLLBACK").await
    }

    pub async fn close(self) -> Result<(), Failure> {
        match self {
            // The last one folds the log in.
            Self::Sqlite(connection) => blocking(|| connection.close().map_err(|(_, error)| error))?,
            Self::Postgres(connection) => connection.close().await?,
            // Given back to their pools.
            Self::SqliteReader(_) | Self::PostgresReader(_) => {}
        }
        Ok(())
    }
}

/// How connections are opened, again after each fault.
#[derive(Clone, Debug)]
pub(crate) enum Opener {
    Sqlite(sqlite::Opener),
    Postgres(Box<postgres::Opener>),
}

pub(crate) enum Readers {
    Sqlite(sqlite::Readers),
    Postgres(PgPool),
}

impl Opener {
    pub fn new(location: &Location, busy_timeout: Duration) -> Self {
        match location {
            Location::Sqlite(path) => Self::Sqlite(sqlite::Opener::new(path, busy_timeout)),
            Location::Postgres(address) => {
                Self::Postgres(Box::new(postgres::Opener::new(&address.options, busy_timeout)))
            }
        }
    }

    pub const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A connection that writes, and whose commits are durable before they are answered.
    pub async fn open(&self, schema: Schema) -> Result<Connection, Failure> {
        match self {
            Self::Sqlite(opener) => opener.open(schema).await.map(Connection::Sqlite),
            Self::Postgres(opener) => opener.open(schema).await.map(Connection::Postgres),
        }
    }

    /// The same to a database whose schema was looked at already.
    pub async fn reopen(&self) -> Result<Connection, Failure> {
        match self {
            Self::Sqlite(_) => self.open(Schema::Refuse).await,
            Self::Postgres(opener) => opener.connect().await.map(Connection::Postgres),
        }
    }

    /// A reader of its own, outside of the pool, for one long look.
    pub async fn reader(&self) -> Result<Connection, Failure> {
        match self {
            Self::Sqlite(opener) => opener.reader().map(Connection::Sqlite),
            Self::Postgres(opener) => opener.reader().await.map(Connection::Postgres),
        }
    }

    pub async fn readers(&self, count: u32, timeout: Duration) -> Result<Readers, Failure> {
        match self {
            Self::Sqlite(opener) => sqlite::Readers::open(opener, count, timeout).map(Readers::Sqlite),
            Self::Postgres(opener) => opener.readers(count, timeout).await.map(Readers::Postgres),
        }
    }
}

impl Readers {
    pub async fn acquire(&self) -> Result<Connection, Failure> {
        match self {
            Self::Sqlite(readers) => Ok(Connection::SqliteReader(readers.acquire().await?)),
            Self::Postgres(pool) => Ok(Connection::PostgresReader(pool.acquire().await?)),
        }
    }

    pub async fn close(&self) {
        match self {
            Self::Sqlite(readers) => readers.close(),
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Refuses any schema but ours: another version, a dropped trigger, a changed constraint; and beside it anything but the
/// additions of a later release.
pub(crate) async fn check_schema(connection: &mut Connection) -> Result<(), Failure> {
    let expected = sqlite_schema::expected().await?;
    match connection.raw() {
        Raw::Sqlite(connection) => sqlite_schema::check(connection, expected, Schema::Refuse),
        Raw::Postgres(connection) => postgres::check_schema(connection, Schema::Refuse).await,
    }
}

/// A migration of this program, and whether the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub version: i64,
    pub description: String,
    pub is_applied: bool,
    pub change: Change,
}

/// What `migrate` would do, without doing it. A database that is not there yet has nothing.
pub(crate) async fn plan(opener: &Opener) -> Result<Vec<Step>, Failure> {
    let applied = match opener.reader().await {
        Ok(mut connection) => {
            let text = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
            // Refused where the table is not there: nothing was ever applied.
            let found = connection.fetch(text, []).await.or_else(|failure| match failure {
                Failure::Unavailable(_) => Err(failure),
                _ => Ok(Vec::new()),
            })?;
            found.iter().map(|row| row.integer(0)).collect::<Result<Vec<_>, _>>()?
        }
        Err(_) if opener.dialect() == Dialect::Sqlite => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let step = |migration: &sqlx::migrate::Migration| Step {
        version: migration.version,
        description: migration.description.to_string(),
        is_applied: applied.contains(&migration.version),
        change: release::change(migration),
    };
    Ok(release::migrator(opener.dialect()).iter().map(step).collect())
}

/// The database as its own engine sees it: pages, indexes, references. On a thread of its own.
pub(crate) async fn check_integrity(connection: Connection) -> Result<Option<String>, Failure> {
    match connection {
        Connection::Sqlite(connection) => {
            let checked = tokio::task::spawn_blocking(move || sqlite::check_integrity(&connection)).await;
            checked.map_err(|error| Failure::Unavailable(format!("the look at the file ended: {error}")))?
        }
        // PostgreSQL checks references as they are written; what a superuser forged differs from the journal.
        _ => Ok(None),
    }
}

/// A unit of work of an engine that is called where the task runs, without holding up the tasks of this thread.
pub(crate) async fn whole<T>(dialect: Dialect, unit: impl Future<Output = T>) -> T {
    if dialect == Dialect::Sqlite && sqlite::has_workers() {
        return tokio::task::block_in_place(|| Handle::current().block_on(unit));
    }
    unit.await
}

/// Lets a role of the database serve, and nothing more. Run by whoever owns the tables.
pub(crate) async fn grant(connection: &mut Connection, role: &str) -> Result<(), Failure> {
    match connection.raw() {
        Raw::Postgres(connection) => postgres::grant(connection, role).await,
        Raw::Sqlite(_) => Err(Failure::Broken("a SQLite file has no roles: its owner may do everything".to_owned())),
    }
}

fn migration(error: sqlx::migrate::MigrateError) -> Failure {
    match error {
        sqlx::migrate::MigrateError::Execute(error) => Failure::from(error),
        other => Failure::Broken(format!("the schema cannot be brought up to date: {other}")),
    }
}

/// A text that is one of ours, whole or put together from ours.
fn ours(text: Cow<'static, str>) -> AssertSqlSafe<String> {
    AssertSqlSafe(text.into_owned())
}
