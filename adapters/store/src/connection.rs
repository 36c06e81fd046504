//! Connections to the one file: a single writer that syncs every commit, readers that cannot write, and what is
//! known about the schema.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, Row as _, SqliteConnection, SqlitePool};

use crate::failure::Failure;
use crate::limits::{STATEMENTS_CACHED, WAL_PAGES};

static MIGRATOR: Migrator = sqlx::migrate!();

/// What to do about the schema that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Create the file if there is none, and bring it up to date. For `init`, `migrate` and `dev`.
    Migrate,
    /// Refuse a file that is not there or whose schema is not exactly ours. For `serve`.
    Refuse,
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
            MIGRATOR.run_direct(None, &mut connection, false).await.map_err(|error| match error {
                sqlx::migrate::MigrateError::Execute(error) => Failure::from(error),
                other => Failure::Broken(format!("the schema cannot be brought up to date: {other}")),
            })?;
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

    pub async fn readers(&self, count: u32, timeout: Duration) -> Result<SqlitePool, Failure> {
        let options = SqlitePoolOptions::new().max_connections(count.max(1)).acquire_timeout(timeout);
        Ok(options.connect_with(self.reader.clone()).await?)
    }
}

/// Refuses any schema but ours, to the letter: another version, a dropped trigger, a changed constraint.
pub(crate) async fn check_schema(connection: &mut SqliteConnection) -> Result<(), Failure> {
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

pub(crate) async fn roll_back(connection: &mut SqliteConnection) -> Result<(), Failure> {
    sqlx::raw_sql("ROLLBACK").execute(connection).await?;
    Ok(())
}
