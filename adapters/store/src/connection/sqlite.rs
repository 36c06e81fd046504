//! SQLite: one file, a single writer that syncs every commit, readers that cannot write.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{
    Connection as _, Executor as _, Row as _, Sqlite, SqliteConnection, SqlitePool, TypeInfo as _, ValueRef as _,
};

use super::{Dialect, Schema, migration, ours, release, sqlite_schema};
use crate::cell::{Cell, Row};
use crate::failure::Failure;
use crate::limits::{STATEMENTS_CACHED, WAL_PAGES, WRITER_CACHE_KIB};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

fn query(text: Cow<'static, str>, cells: Vec<Cell>) -> Query<'static> {
    cells.into_iter().fold(sqlx::query(ours(text)), |query, cell| match cell {
        Cell::Null => query.bind(None::<i64>),
        Cell::Integer(value) => query.bind(value),
        Cell::Text(value) => query.bind(value),
        Cell::Blob(value) => query.bind(value),
    })
}

pub(super) async fn fetch(
    connection: &mut SqliteConnection,
    text: Cow<'static, str>,
    cells: Vec<Cell>,
) -> Result<Vec<Row>, Failure> {
    connection.fetch_all(query(text, cells)).await?.iter().map(row).collect()
}

pub(super) async fn execute(
    connection: &mut SqliteConnection,
    text: Cow<'static, str>,
    cells: Vec<Cell>,
) -> Result<u64, Failure> {
    Ok(connection.execute(query(text, cells)).await?.rows_affected())
}

fn row(row: &SqliteRow) -> Result<Row, Failure> {
    let cell = |column: usize| {
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
    };
    Ok(Row((0..row.len()).map(cell).collect::<Result<_, sqlx::Error>>()?))
}

/// How the writer is opened, again after each fault.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    path: PathBuf,
    writer: SqliteConnectOptions,
    reader: SqliteConnectOptions,
    busy_timeout: Duration,
}

impl Opener {
    pub fn new(path: &Path, schema: Schema, busy_timeout: Duration) -> Self {
        let base = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(busy_timeout)
            .statement_cache_capacity(STATEMENTS_CACHED)
            .foreign_keys(true)
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON");
        // FULL: a commit that was answered survives a power cut. recursive_triggers: a row replaced is a row deleted.
        let writer = base
            .clone()
            .create_if_missing(schema == Schema::Migrate)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("fullfsync", "ON")
            .pragma("recursive_triggers", "ON")
            .pragma("cache_size", WRITER_CACHE_KIB.to_string())
            .pragma("wal_autocheckpoint", WAL_PAGES.to_string());
        let reader = base.pragma("query_only", "ON");
        Self { path: path.to_owned(), writer, reader, busy_timeout }
    }

    pub async fn open(&self, schema: Schema) -> Result<SqliteConnection, Failure> {
        if schema == Schema::Migrate {
            self.create()?;
        }
        let mut connection = SqliteConnection::connect_with(&self.writer).await?;
        if schema == Schema::Migrate {
            migrate(&mut connection).await?;
        }
        sqlite_schema::check(&mut connection, schema).await?;
        // A commit of a process that died may be in the log and not yet on the disk. Folding the log in syncs it
        // first, so that nothing is answered from what a power cut could still take back.
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_all(&mut connection).await?;
        Ok(connection)
    }

    /// For its owner's eyes only: mandates and payments lie in it. SQLite gives its log the same mode.
    fn create(&self) -> Result<(), Failure> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(Failure::Unavailable(format!("{}: {error}", self.path.display())))
            }
            _ => Ok(()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub const fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    pub async fn reader(&self) -> Result<SqliteConnection, Failure> {
        Ok(SqliteConnection::connect_with(&self.reader).await?)
    }

    pub async fn readers(&self, count: u32, timeout: Duration) -> Result<SqlitePool, Failure> {
        let options = SqlitePoolOptions::new().max_connections(count.max(1)).acquire_timeout(timeout);
        Ok(options.connect_with(self.reader.clone()).await?)
    }
}

/// A file is named by its inode and the time of its birth: moved within its disk it is itself, copied it is another.
pub(super) async fn home(connection: &mut SqliteConnection) -> Result<String, Failure> {
    let row = sqlx::query("SELECT file FROM pragma_database_list WHERE name = 'main'").fetch_one(connection).await?;
    let file: String = row.try_get(0)?;
    let facts = std::fs::metadata(&file).map_err(|error| Failure::Unavailable(format!("{file}: {error}")))?;
    let born = facts.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Ok(format!("sqlite:{}:{}", facts.ino(), born.map_or(0, |born| born.as_nanos())))
}

/// Brings the schema up to ours, and says first which releases it is for from then on. A newer one is left as it is.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let applied = sqlite_schema::applied(connection).await.or_else(|failure| match failure {
        // Nothing is there yet; where something else is wrong, the migrations say it.
        Failure::Broken(_) => Ok(Vec::new()),
        failure => Err(failure),
    })?;
    if applied.iter().any(|(version, _)| *version > release::own(Dialect::Sqlite)) {
        return Ok(());
    }
    let oldest = release::oldest(Dialect::Sqlite);
    let text = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'release'";
    let is_there: i64 = sqlx::query(text).fetch_one(&mut *connection).await?.try_get(0)?;
    if is_there > 0 {
        serve_from(connection, oldest).await?;
    }
    release::migrator(Dialect::Sqlite).run_direct(None, connection, false).await.map_err(migration)?;
    serve_from(connection, oldest).await
}

/// Takes the one write lock, so that no unit is under way.
async fn serve_from(connection: &mut SqliteConnection, oldest: i64) -> Result<(), Failure> {
    let raise = sqlx::query("UPDATE release SET serves_from = $1 WHERE serves_from < $1").bind(oldest);
    raise.execute(connection).await?;
    Ok(())
}

pub(super) async fn begin(connection: &mut SqliteConnection) -> Result<(), Failure> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let read = sqlx::query("SELECT serves_from FROM release").fetch_one(&mut *connection).await;
    let serves = read.map_err(Failure::from).and_then(|row| release::may_serve(Dialect::Sqlite, row.try_get(0)?));
    if serves.is_err() {
        // Whoever keeps the connection begins anew.
        let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
    }
    serves
}

/// Nobody else, until the connection closes. Refused where somebody is there already: in WAL mode a file that others have
/// open cannot be locked whole.
pub(super) async fn alone(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let taken = sqlx::raw_sql("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").execute(connection).await;
    taken.map(drop).map_err(|error| Failure::Unavailable(format!("the file is in use, stop `serve` first: {error}")))
}

/// Pages, indexes, constraints and references, of every tenant that the file has; what is wrong first, where something is.
pub(in crate::connection) async fn check_integrity(
    connection: &mut SqliteConnection,
) -> Result<Option<String>, Failure> {
    let row = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut *connection).await?;
    let found: String = row.try_get(0)?;
    if found != "ok" {
        return Ok(Some(format!("the file is damaged: {found}")));
    }
    let rows = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *connection).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let table: String = row.try_get(0)?;
    Ok(Some(format!("a row of {table} refers to one that is not there")))
}
