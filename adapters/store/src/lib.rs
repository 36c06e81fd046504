//! The books on disk: `ledger::store::Store` over one SQLite file or one PostgreSQL database.
//!
//! The promise: what was answered is on the disk (SQLite: WAL, synchronous FULL; PostgreSQL: as durable as its
//! `synchronous_commit`, also where somebody cancels its wait for a standby); a tenant's units of work run one after
//! another, also those of several processes, each the product of `ledger::book` alone; the journal, transfers, claims
//! and documents are append-only by the database itself; and `verify` finds any byte that is not what the journal says.
//! The same commands give the same rows and the same root in both.
//!
//! Read in this order: `migrations/*/0001_book.sql`, [`SqlStore`] here, `lane` (queue and writer), `unit` (one unit of
//! work), `load` and `write` (what goes in and out), `rows` and `table` (how things lie in tables), `cell` and
//! `connection` (where the engines differ), `read`, `verify`; `keys`, `checkouts`, `approvers` and `webhooks`
//! beside them.
//!
//! What it never does: no money rule, no check of a signature, no opening of a sealed key, no decision what a document
//! means. It never updates or deletes a journal row, never answers before COMMIT, never takes a failed COMMIT for a
//! failed command, and never a COMMIT with a warning for a done one.

mod approvers;
mod balances;
mod cell;
mod checkouts;
mod connection;
mod copy;
mod failure;
pub mod keys;
mod lane;
pub mod limits;
mod listings;
mod load;
mod location;
mod payers;
mod read;
mod rows;
mod settlements;
mod table;
#[cfg(test)]
mod tests;
mod unit;
mod verify;
mod webhooks;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ledger::id::{Micros, TenantId};
use ledger::journal::SaltKey;
use ledger::store::{Answer, StoreError, Work};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use crate::connection::{Change, Schema, Step};
use crate::connection::{Connection, Dialect, Folder, Opener, Readers};
#[doc(hidden)]
pub use crate::connection::{LaterMigration, become_later};
pub use crate::copy::{Copied, Home, Purpose, copy, erase};
use crate::lane::{Lane, Waiting, Writer};
pub use crate::location::{Location, LocationError};
pub use crate::webhooks::Bookmark;

/// What time it is. Asked after the tenant's lock is taken.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// The clock of the machine.
pub fn wall_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}

type SaltOf = dyn Fn(&TenantId) -> Option<SaltKey> + Send + Sync;

/// The salt key of each tenant. A tenant without one has no book here.
#[derive(Clone)]
pub struct Salts(Arc<SaltOf>);

impl Salts {
    pub fn new(salt_of: impl Fn(&TenantId) -> Option<SaltKey> + Send + Sync + 'static) -> Self {
        Self(Arc::new(salt_of))
    }

    fn find(&self, tenant: &TenantId) -> Result<SaltKey, StoreError> {
        (self.0)(tenant).ok_or_else(|| StoreError::Broken(format!("tenant {tenant} has no salt key here")))
    }
}

impl From<HashMap<TenantId, SaltKey>> for Salts {
    fn from(keys: HashMap<TenantId, SaltKey>) -> Self {
        Self::new(move |tenant| keys.get(tenant).cloned())
    }
}

impl std::fmt::Debug for Salts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salts(..)")
    }
}

#[derive(Clone)]
pub struct Options {
    pub schema: Schema,
    /// How long a unit waits for another process's write lock before it answers `Unavailable`.
    pub busy_timeout: Duration,
    pub readers: u32,
    /// How far the clock here and the database's may be apart, where the database has one of its own; `None` where the
    /// clock here is not the time.
    pub skew_max: Option<Duration>,
    /// Commands that share one unit of work at most.
    pub unit_commands_max: usize,
    pub clock: Clock,
}

impl Options {
    pub fn new(schema: Schema) -> Self {
        Self {
            schema,
            busy_timeout: limits::BUSY_TIMEOUT_DEFAULT,
            readers: limits::READERS_DEFAULT,
            skew_max: Some(limits::CLOCK_SKEW_MAX),
            unit_commands_max: limits::UNIT_COMMANDS_MAX,
            clock: wall_clock(),
        }
    }
}

/// One database with the books of every tenant. Cheap to clone; the clones share their lanes.
#[derive(Clone)]
pub struct SqlStore {
    shared: Arc<Shared>,
}

struct Shared {
    opener: Opener,
    /// SQLite's one writer, and what folds its log.
    writer: Arc<Writer>,
    folder: Option<Folder>,
    readers: Readers,
    salts: Salts,
    options: Options,
    lanes: Mutex<Lanes>,
    /// What checkouts are written over; opened at the first write.
    checkouts: tokio::sync::Mutex<Option<Connection>>,
    /// For what is written beside the books.
    approvers: tokio::sync::Mutex<Option<connection::Connection>>,
}

#[derive(Default)]
struct Lanes {
    is_closed: bool,
    queues: HashMap<TenantId, mpsc::Sender<Waiting>>,
    tasks: Vec<JoinHandle<()>>,
    writers: Vec<Arc<Writer>>,
}

/// Which migrations there are, and which of them a database has.
pub async fn plan(location: &Location) -> Result<Vec<Step>, StoreError> {
    Ok(connection::plan(&Opener::new(location, limits::BUSY_TIMEOUT_DEFAULT)).await?)
}

/// Gives a role of a PostgreSQL database the rights to serve: to add and to read, never to change what was written.
pub async fn grant(location: &Location, role: &str) -> Result<(), StoreError> {
    let mut connection = Opener::new(location, limits::BUSY_TIMEOUT_DEFAULT).open(Schema::Exact).await?;
    connection::grant(&mut connection, role).await?;
    Ok(connection.close().await?)
}

impl SqlStore {
    /// What its units take the time from.
    pub fn clock(&self) -> Clock {
        self.shared.options.clock.clone()
    }

    pub async fn open(
        location: impl Into<Location>,
        salts: impl Into<Salts>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let opener = Opener::new(&location.into(), options.busy_timeout);
        let connection = opener.open(options.schema).await?;
        let readers = opener.readers(options.readers, options.busy_timeout).await?;
        let writer = Arc::new(Writer::new(opener.clone(), options.skew_max, Some(connection)));
        let folder = Folder::start(&opener, writer.written.clone())?;
        let shared = Shared {
            opener,
            writer,
            folder,
            readers,
            salts: salts.into(),
            options,
            lanes: Mutex::default(),
            checkouts: Default::default(),
            approvers: Default::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.shared.opener.dialect()
    }

    /// Finishes what waits, takes nothing new, closes the file. Reads fail afterwards too.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (tasks, writers) = {
            let mut lanes = self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.is_closed = true;
            lanes.queues.clear();
            (std::mem::take(&mut lanes.tasks), std::mem::take(&mut lanes.writers))
        };
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(reason = %error, "a lane ended badly");
            }
        }
        if let Some(connection) = self.shared.approvers.lock().await.take() {
            connection.close().await?;
        }
        self.shared.readers.close().await;
        if let Some(connection) = self.shared.checkouts.lock().await.take() {
            connection.close().await?;
        }
        for writer in writers {
            writer.close().await?;
        }
        if let Some(folder) = &self.shared.folder {
            folder.stop();
        }
        Ok(self.shared.writer.close().await?)
    }

    async fn run_in_lane(&self, tenant: &TenantId, work: Work) -> Result<Answer, StoreError> {
        check_documents(&work)?;
        let queue = self.lane(tenant)?;
        let (reply, answer) = oneshot::channel();
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        queue.send(Waiting { work, reply }).await.map_err(|_| closed())?;
        // Once it is in the queue it may be written, whatever becomes of the lane.
        answer.await.unwrap_or_else(|_| Err(StoreError::Unknown("the lane ended before it answered".to_owned())))
    }

    fn lane(&self, tenant: &TenantId) -> Result<mpsc::Sender<Waiting>, StoreError> {
        let mut lanes = self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.is_closed {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        }
        if let Some(queue) = lanes.queues.get(tenant).filter(|queue| !queue.is_closed()) {
            return Ok(queue.clone());
        }
        let salt_key = self.shared.salts.find(tenant)?;
        let writer = match self.dialect() {
            Dialect::Sqlite => self.shared.writer.clone(),
            Dialect::Postgres => Arc::new(Writer::new(self.shared.opener.clone(), self.shared.options.skew_max, None)),
        };
        lanes.writers.push(writer.clone());
        let lane = Lane {
            tenant: tenant.clone(),
            salt_key,
            writer,
            clock: self.shared.options.clock.clone(),
            unit_commands_max: self.shared.options.unit_commands_max.clamp(1, limits::UNIT_COMMANDS_MAX),
        };
        let (sender, queue) = mpsc::channel(limits::LANE_COMMANDS_MAX);
        lanes.tasks.retain(|task| !task.is_finished());
        lanes.tasks.push(tokio::spawn(lane.serve(queue)));
        lanes.queues.insert(tenant.clone(), sender.clone());
        Ok(sender)
    }
}

fn check_documents(work: &Work) -> Result<(), StoreError> {
    let refuse = |what: &str, limit: usize, found: usize| {
        Err(StoreError::Broken(format!("{what} of at most {limit} was expected, {found} came")))
    };
    if work.documents.len() > limits::DOCUMENTS_MAX {
        return refuse("a number of documents", limits::DOCUMENTS_MAX, work.documents.len());
    }
    for document in &work.documents {
        if document.bytes.len() > limits::DOCUMENT_BYTES_MAX {
            return refuse("a document size", limits::DOCUMENT_BYTES_MAX, document.bytes.len());
        }
        if document.kind.len() > limits::DOCUMENT_KIND_BYTES_MAX {
            return refuse("a length of a document's kind", limits::DOCUMENT_KIND_BYTES_MAX, document.kind.len());
        }
    }
    Ok(())
}
