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

use super::{Schema, migration, ours};
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
        Self { path: path.to_owned(), writer, reader }
    }

    pub async fn open(&self, schema: Schema) -> Result<SqliteConnection, Failure> {
        if schema == Schema::Migrate {
            self.create()?;
        }
        let mut connection = SqliteConnection::connect_with(&self.writer).await?;
        if schema == Schema::Migrate {
            MIGRATOR.run_direct(None, &mut connection, false).await.map_err(migration)?;
        }
        check_schema(&mut connection).await?;
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

/// Nobody else, until the connection closes. Refused where somebody is there already: in WAL mode a file that others have
/// open cannot be locked whole.
pub(super) async fn alone(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let taken = sqlx::raw_sql("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").execute(connection).await;
    taken.map(drop).map_err(|error| Failure::Unavailable(format!("the file is in use, stop `serve` first: {error}")))
}

/// Refuses any schema but ours, to the letter: another version, a dropped trigger, a changed constraint.
pub(in crate::connection) async fn check_schema(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let mut fresh = SqliteConnection::connect_with(&SqliteConnectOptions::new().in_memory(true)).await?;
    MIGRATOR
        .run_direct(None, &mut fresh, false)
        .await
        .map_err(|error| Failure::Broken(format!("the embedded schema cannot be built: {error}")))?;
    let expected = schema_of(&mut fresh).await?;
    let found = schema_of(connection).await?;
    let unequal = expected.iter().find(|item| !found.contains(item)).map(|item| ("is missing or changed", item));
    let unequal =
        unequal.or_else(|| found.iter().find(|item| !expected.contains(item)).map(|item| ("is unknown", item)));
    if let Some((problem, (kind, name, _))) = unequal {
        let versions = MIGRATOR.iter().map(|migration| migration.version.to_string()).collect::<Vec<_>>().join(", ");
        return Err(Failure::Broken(format!(
            "the schema is not the one of this program (migrations {versions}): {kind} {name} {problem}"
        )));
    }
    Ok(())
}

type SchemaItem = (String, String, String);

async fn schema_of(connection: &mut SqliteConnection) -> Result<Vec<SchemaItem>, Failure> {
    let rows = sqlx::query(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         ORDER BY type, name",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Pages, indexes, constraints and references; what is wrong first, where something is.
pub(in crate::connection) async fn check_integrity(
    connection: &mut SqliteConnection,
) -> Result<Option<String>, Failure> {
    for row in sqlx::query("PRAGMA integrity_check(1)").fetch_all(&mut *connection).await? {
        let found: String = row.try_get(0)?;
        if found != "ok" {
            return Ok(Some(format!("the file is damaged: {found}")));
        }
    }
    let rows = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *connection).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let table: String = row.try_get(0)?;
    Ok(Some(format!("a row of {table} refers to one that is not there")))
}
