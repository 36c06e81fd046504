//! The store against the book in memory, against many callers, against the engines' own shells, and against a flipped
//! byte. What is the store's contract is asked of both engines.

mod approvers;
mod cancelled;
mod checkouts;
pub(crate) mod cluster;
mod concurrency;
mod copies;
mod cut;
mod damage;
mod durability;
mod guards;
mod listings;
#[path = "../../../ledger/src/book/tests/memory.rs"]
pub(crate) mod memory;
mod parity;
mod payers;
mod postgres;
mod postgres_guards;
mod releases;
mod standby;
#[path = "../../../ledger/src/book/tests/stream.rs"]
pub(crate) mod stream;
mod webhooks;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ledger::command::{Command, Request};
use ledger::id::{Micros, TenantId};
use ledger::journal::SaltKey;
use ledger::store::{Answer, Document, Store as _, StoreError, Verification, Work};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

use self::cluster::Cluster;
use crate::{Clock, Location, Options, Salts, Schema, SqlStore};

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

fn salts() -> Salts {
    Salts::new(|tenant| {
        let number = u8::try_from(tenant.as_str().len()).unwrap();
        (tenant.as_str() != "stranger").then(|| SaltKey::new([number; 32]))
    })
}

/// A clock that tests set.
#[derive(Clone)]
struct Dial(Arc<AtomicI64>);

impl Dial {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(stream::START.0)))
    }

    fn turn(&self, to: Micros) {
        self.0.store(to.0, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let dial = self.0.clone();
        Arc::new(move || Micros(dial.load(Ordering::SeqCst)))
    }
}

/// Each of these is a test on SQLite and a test on PostgreSQL.
macro_rules! on_both_engines {
    ($flavor:literal: $($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = $flavor)]
                async fn $name() {
                    super::$name(super::Place::new()).await;
                }
            )*
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = $flavor)]
                async fn $name() {
                    super::$name(super::Place::postgres()).await;
                }
            )*
        }
    };
}
use on_both_engines;

struct Place {
    location: Location,
    dial: Dial,
    // Dropped last: where the books are.
    cluster: Option<Cluster>,
    _folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(folder.path().join("book.db"));
        Self { location, dial: Dial::new(), cluster: None, _folder: folder }
    }

    fn postgres() -> Self {
        let cluster = Cluster::start(cluster::QUICK);
        let location = cluster.url(&cluster.create()).parse().unwrap();
        Self { location, cluster: Some(cluster), ..Self::new() }
    }

    /// Another place beside this one: a folder, or a database of the same server.
    fn fresh(&mut self) {
        self.dial = Dial::new();
        match &self.cluster {
            Some(cluster) => self.location = cluster.url(&cluster.create()).parse().unwrap(),
            None => *self = Self::new(),
        }
    }

    fn path(&self) -> &Path {
        self.location.file().unwrap()
    }

    async fn open(&self, schema: Schema) -> Result<SqlStore, StoreError> {
        let clock = self.dial.clock();
        let busy_timeout = Duration::from_millis(300);
        let skew_max = None; // the dial is not the time
        let options = Options { clock, busy_timeout, skew_max, ..Options::new(schema) };
        SqlStore::open(self.location.clone(), salts(), options).await
    }

    /// A store with the preamble of the streams in it.
    async fn opened(&self) -> SqlStore {
        let store = self.open(Schema::Migrate).await.unwrap();
        for request in stream::preamble() {
            store.run(&tenant(), work(request)).await.unwrap();
        }
        store
    }

    /// As the `sqlite3` shell comes to it: SQLite's own defaults, none of ours.
    async fn shell(&self) -> SqliteConnection {
        shell(self.path()).await
    }
}

async fn shell(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
    SqliteConnection::connect_with(&options).await.unwrap()
}

fn work(request: Request) -> Work {
    Work::new(request, Vec::new())
}

pub(crate) fn holds(hold: ledger::command::Hold) -> Work {
    work(stream::by(stream::agent(), Command::Hold(Box::new(hold))))
}

fn on(command: Command) -> Work {
    work(stream::by(stream::service(), command))
}

fn document(text: &str) -> Document {
    Document { kind: "note".to_owned(), bytes: text.as_bytes().to_vec() }
}

async fn run(store: &SqlStore, work: Work) -> Result<Answer, StoreError> {
    store.run(&tenant(), work).await
}

async fn assert_sound(store: &SqlStore) -> u64 {
    match store.verify(&tenant()).await.unwrap() {
        Verification::Sound { entries, root } => {
            assert_eq!(store.head(&tenant()).await.unwrap(), (entries, root));
            entries
        }
        Verification::Broken { seq, reason } => panic!("broken at {seq}: {reason}"),
    }
}
