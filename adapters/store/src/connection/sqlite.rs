//! SQLite: one file, a single writer that syncs every commit, readers that cannot write.
//!
//! The engine is called where the task runs: a unit of work is some forty statements, and from one thread to another and
//! back, as sqlx goes, each costs more than it takes. sqlx runs the migrations.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement, ToSql};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::release::{self, Applied};
use super::scan::Value;
use super::{Dialect, Schema, migration, sqlite_schema};
use crate::cell::{Cell, Row};
use crate::failure::Failure;
use crate::limits::{STATEMENTS_CACHED, WAL_PAGES, WRITER_CACHE_KIB};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Whether other tasks have to be let go on while this thread waits for a disk. A runtime of one thread has none to give.
pub(super) fn has_workers() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// What may wait for a disk, or take its time, without holding up the tasks of this thread.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    if has_workers() { tokio::task::block_in_place(work) } else { work() }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

/// A variable `$2` is the second cell, wherever it stands; `?` is the next one.
fn bind(statement: &mut Statement<'_>, cells: &[Cell]) -> Result<(), Failure> {
    let mut next = 0_usize;
    for index in 1..=statement.parameter_count() {
        let place = match statement.parameter_name(index) {
            None => Some(next),
            Some(name) => name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok()?.checked_sub(1)),
        };
        next = next.saturating_add(1);
        let cell = place.and_then(|place| cells.get(place));
        let missing = || Failure::Broken(format!("{} values came, and none for variable {index}", cells.len()));
        let cell = cell.ok_or_else(missing)?;
        statement.raw_bind_parameter(index, cell)?;
    }
    Ok(())
}

/// Every row that a query gives, in its order; the inner error is the visitor's, and ends it.
pub(super) fn each<E>(
    connection: &Connection,
    text: &str,
    cells: &[Cell],
    visit: &mut impl FnMut(&[Value<'_>]) -> Result<(), E>,
) -> Result<Result<(), E>, Failure> {
    let mut statement = connection.prepare_cached(text)?;
    bind(&mut statement, cells)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(columns);
        for column in 0..columns {
            values.push(match row.get_ref(column)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(value) => Value::Integer(value),
                ValueRef::Blob(value) => Value::Blob(value),
                ValueRef::Text(value) => {
                    let text = std::str::from_utf8(value);
                    Value::Text(text.map_err(|error| Failure::Broken(format!("a text is stored as no text: {error}")))?)
                }
                ValueRef::Real(value) => {
                    return Err(Failure::Broken(format!("a value of type REAL is stored: {value}")));
                }
            });
        }
        if let Err(stop) = visit(&values) {
            return Ok(Err(stop));
        }
    }
    Ok(Ok(()))
}

pub(super) fn fetch(connection: &Connection, text: &str, cells: &[Cell]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let read = each(connection, text, cells, &mut |row| {
        rows.push(Row(row.iter().map(|value| value.owned()).collect()));
        Ok::<_, std::convert::Infallible>(())
    })?;
    match read {
        Ok(()) => Ok(rows),
        Err(never) => match never {},
    }
}

/// How many rows were written.
pub(super) fn execute(connection: &Connection, text: &str, cells: &[Cell]) -> Result<u64, Failure> {
    let mut statement = connection.prepare_cached(text)?;
    bind(&mut statement, cells)?;
    let written = statement.raw_execute()?;
    u64::try_from(written).map_err(|_| Failure::Broken(format!("{written} rows were written")))
}

/// A text without variables, as it is.
pub(super) fn run(connection: &Connection, text: &str) -> Result<(), Failure> {
    Ok(connection.execute_batch(text)?)
}

/// How connections are opened, again after each fault.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    path: PathBuf,
    busy_timeout: Duration,
}

/// What holds of every connection.
const EVERYWHERE: &str = "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";

/// FULL: a commit that was answered survives a power cut, and the log is synced before it is folded.
const DURABLE: &str = "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;";

impl Opener {
    pub fn new(path: &Path, busy_timeout: Duration) -> Self {
        Self { path: path.to_owned(), busy_timeout }
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        run(&connection, EVERYWHERE)?;
        Ok(connection)
    }

    pub async fn open(&self, schema: Schema) -> Result<Connection, Failure> {
        if schema == Schema::Migrate {
            self.create()?;
            let options = SqliteConnectOptions::new()
                .filename(&self.path)
                .busy_timeout(self.busy_timeout)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .pragma("recursive_triggers", "ON");
            let applied = sqlite_schema::applied(&self.connect()?).or_else(|failure| match failure {
                // Nothing is there yet; where something else is wrong, the migrations say it.
                Failure::Broken(_) => Ok(Vec::new()),
                failure => Err(failure),
            })?;
            let mut connection = SqliteConnection::connect_with(&options).await?;
            migrate(&mut connection, &applied).await?;
            connection.close().await?;
        }
        let expected = sqlite_schema::expected().await?;
        let connection = self.connect()?;
        // recursive_triggers: a row replaced is a row deleted.
        let text = format!(
            "PRAGMA journal_mode = WAL; {DURABLE} PRAGMA recursive_triggers = ON; PRAGMA cache_size = {WRITER_CACHE_KIB};
             PRAGMA wal_autocheckpoint = {WAL_PAGES};"
        );
        run(&connection, &text)?;
        sqlite_schema::check(&connection, expected, schema)?;
        // A commit of a process that died may be in the log and not yet on the disk. Folding the log in syncs it
        // first, so that nothing is answered from what a power cut could still take back.
        blocking(|| run(&connection, "PRAGMA wal_checkpoint(PASSIVE)"))?;
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

    /// Folds the log, and writes nothing of its own.
    pub fn folder(&self) -> Result<Connection, Failure> {
        let connection = self.connect()?;
        run(&connection, DURABLE)?;
        Ok(connection)
    }

    pub fn reader(&self) -> Result<Connection, Failure> {
        let connection = self.connect()?;
        run(&connection, "PRAGMA query_only = ON")?;
        Ok(connection)
    }
}

/// A reader, and the right to it.
pub(crate) struct Reader {
    connection: OwnedMutexGuard<Connection>,
    _turn: OwnedSemaphorePermit,
}

impl Reader {
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Open readers, which are taken in turns.
pub(crate) struct Readers {
    turns: Arc<Semaphore>,
    connections: Mutex<Vec<Arc<tokio::sync::Mutex<Connection>>>>,
    timeout: Duration,
}

impl Readers {
    pub fn open(opener: &Opener, count: u32, timeout: Duration) -> Result<Self, Failure> {
        let opened = (0..count.max(1)).map(|_| Ok(Arc::new(tokio::sync::Mutex::new(opener.reader()?))));
        let connections = opened.collect::<Result<Vec<_>, Failure>>()?;
        Ok(Self { turns: Arc::new(Semaphore::new(connections.len())), connections: Mutex::new(connections), timeout })
    }

    pub async fn acquire(&self) -> Result<Reader, Failure> {
        let closed = || Failure::Unavailable("the store is closed".to_owned());
        let turn = tokio::time::timeout(self.timeout, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Failure::Unavailable(format!("no reader came free in {:?}", self.timeout)))?;
        let turn = turn.map_err(|_| closed())?;
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        // As many turns as connections: one is free.
        let free = connections.iter().find_map(|connection| connection.clone().try_lock_owned().ok());
        let connection = free.ok_or_else(closed)?;
        // Whoever had it went away in the middle of a snapshot.
        if !connection.is_autocommit() {
            run(&connection, "ROLLBACK")?;
        }
        Ok(Reader { connection, _turn: turn })
    }

    /// Those in use close when they are given back.
    pub fn close(&self) {
        self.turns.close();
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A file is named by its inode and the time of its birth: moved within its disk it is itself, copied it is another.
pub(super) fn home(connection: &Connection) -> Result<String, Failure> {
    let file = connection.path().unwrap_or_default();
    let facts = std::fs::metadata(file).map_err(|error| Failure::Unavailable(format!("{file}: {error}")))?;
    let born = facts.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Ok(format!("sqlite:{}:{}", facts.ino(), born.map_or(0, |born| born.as_nanos())))
}

/// Brings the schema up to ours, and says first which releases it is for from then on. A newer one is left as it is.
async fn migrate(connection: &mut SqliteConnection, applied: &[Applied]) -> Result<(), Failure> {
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

/// The oldest release that may serve. Without a word about it there is nothing to go by.
pub(super) fn serves_from(connection: &Connection) -> Result<i64, Failure> {
    let rows = fetch(connection, "SELECT serves_from FROM release", &[])?;
    let row =
        rows.first().ok_or_else(|| Failure::Unavailable("the schema does not say which release serves it".into()))?;
    row.integer(0)
}

/// Takes the one write lock, so that no unit is under way.
async fn serve_from(connection: &mut SqliteConnection, oldest: i64) -> Result<(), Failure> {
    let raise = sqlx::query("UPDATE release SET serves_from = $1 WHERE serves_from < $1").bind(oldest);
    raise.execute(connection).await?;
    Ok(())
}

pub(super) fn begin(connection: &Connection) -> Result<(), Failure> {
    run(connection, "BEGIN IMMEDIATE")?;
    let serves = serves_from(connection).and_then(|oldest| release::may_serve(Dialect::Sqlite, oldest));
    if serves.is_err() {
        // Whoever keeps the connection begins anew.
        let _ = run(connection, "ROLLBACK");
    }
    serves
}

/// Whatever goes wrong here, it is not known what was written.
pub(super) fn commit(connection: &Connection) -> Result<(), Failure> {
    connection.execute_batch("COMMIT").map_err(|error| Failure::Unknown(error.to_string()))
}

/// Nobody else, until the connection closes. Refused where somebody is there already: in WAL mode a file that others have
/// open cannot be locked whole.
pub(super) fn alone(connection: &Connection) -> Result<(), Failure> {
    let taken = connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    taken.map_err(|error| Failure::Unavailable(format!("the file is in use, stop `serve` first: {error}")))
}

/// Pages, indexes, constraints and references, of every tenant that the file has; what is wrong first, where something is.
pub(super) fn check_integrity(connection: &Connection) -> Result<Option<String>, Failure> {
    let rows = fetch(connection, "PRAGMA integrity_check(1)", &[])?;
    let found = rows.first().map_or(Ok("nothing"), |row| row.text(0))?;
    if found != "ok" {
        return Ok(Some(format!("the file is damaged: {found}")));
    }
    let rows = fetch(connection, "PRAGMA foreign_key_check", &[])?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(format!("a row of {} refers to one that is not there", row.text(0)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: i64) -> Cell {
        Cell::Integer(value)
    }

    #[test]
    fn a_variable_is_the_cell_of_its_number_wherever_it_stands() {
        let connection = Connection::open_in_memory().unwrap();
        let cells = [number(1), number(2), number(3)];
        for (text, expected) in [
            ("SELECT $2, $1, $2, $3", Ok(vec![2, 1, 2, 3])),
            ("SELECT $3, $1", Ok(vec![3, 1])),
            ("SELECT ?, ?, ?", Ok(vec![1, 2, 3])),
            ("SELECT ?, ?, ?, ?", Err(())),
            ("SELECT $4", Err(())),
            ("SELECT $0", Err(())),
            ("SELECT $first", Err(())),
            ("SELECT :first", Err(())),
        ] {
            let found = fetch(&connection, text, &cells);
            let expected = expected.map(|row| vec![Row(row.into_iter().map(number).collect())]);
            assert_eq!(found.map_err(|failure| assert!(matches!(failure, Failure::Broken(_)))), expected, "{text}");
        }
        assert!(matches!(fetch(&connection, "SELECT 0.5", &[]), Err(Failure::Broken(_))), "no float is read");
    }

    /// What no crash of a process shows: only a power cut would.
    #[tokio::test]
    async fn a_writer_syncs_each_commit_and_keeps_references() {
        let folder = tempfile::tempdir().unwrap();
        let opener = Opener::new(&folder.path().join("book"), Duration::from_millis(10));
        let writer = opener.open(Schema::Migrate).await.unwrap();
        let said = |name: &str| fetch(&writer, &format!("PRAGMA {name}"), &[]).unwrap().remove(0).0.remove(0);
        assert_eq!(said("journal_mode"), Cell::text("wal"));
        for (name, expected) in
            [("synchronous", 2), ("foreign_keys", 1), ("recursive_triggers", 1), ("trusted_schema", 0)]
        {
            assert_eq!(said(name), number(expected), "{name}");
        }
        let reader = opener.reader().unwrap();
        let said = fetch(&reader, "PRAGMA query_only", &[]).unwrap();
        assert_eq!(said, [Row(vec![number(1)])]);
    }

    #[tokio::test]
    async fn a_reader_that_was_left_in_a_snapshot_does_not_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let opener = Opener::new(&folder.path().join("book"), Duration::from_millis(10));
        let writer = opener.open(Schema::Migrate).await.unwrap();
        let readers = Readers::open(&opener, 1, Duration::from_millis(50)).unwrap();
        let oldest = |connection: &Connection| serves_from(connection).unwrap();

        let mut left = readers.acquire().await.unwrap();
        run(left.connection(), "BEGIN").unwrap();
        let before = oldest(left.connection());
        assert!(matches!(readers.acquire().await, Err(Failure::Unavailable(why)) if why.contains("no reader")));
        drop(left);
        execute(&writer, "UPDATE release SET serves_from = $1", &[number(before + 1)]).unwrap();
        let mut next = readers.acquire().await.unwrap();
        assert_eq!(oldest(next.connection()), before + 1);
        assert!(execute(next.connection(), "UPDATE release SET serves_from = 1", &[]).is_err(), "a reader wrote");
        drop(next);
        readers.close();
        assert!(matches!(readers.acquire().await, Err(Failure::Unavailable(why)) if why.contains("closed")));
    }
}
