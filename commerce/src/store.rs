//! The port behind which sessions lie, and what was answered under which key.

use async_trait::async_trait;
use ledger::id::{Digest, TenantId};
use ledger::store::StoreError;

/// A session as it lies: its document and how often it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub revision: u64,
    pub document: Vec<u8>,
}

/// What lies under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Of the request that came first.
    pub fingerprint: Digest,
    /// Unix seconds: when it was answered, or when it was taken up.
    pub at: i64,
    /// The status and body that it was answered with; nothing while it is worked on.
    pub answer: Option<(u16, Vec<u8>)>,
}

/// A session written, where it still is as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionWrite {
    pub id: String,
    /// The revision that it was read at; zero for a new one.
    pub from: u64,
    pub document: Vec<u8>,
    /// Unix seconds: when it is looked at, where nobody touches it before. What is done then is said by the document alone.
    pub due: i64,
    pub counts: Counts,
    /// Of one that was bought. What is known under its id already stays as it is.
    pub order: Option<OrderWrite>,
}

/// Whether a session takes one of the places that whoever opened it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// A new one: of at most so many that lie here and were not bought.
    Against {
        opener: Digest,
        most: u64,
    },
    AsBefore,
    /// It was bought.
    NoMore,
}

/// An order as it is from now on: its next revision, where nobody else wrote that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderWrite {
    pub id: String,
    /// From 1 on.
    pub revision: u64,
    pub document: Vec<u8>,
}

/// A revision of an order as it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revised {
    /// Its place among all revisions of the tenant's orders, from 1 on and without a gap.
    pub seq: u64,
    pub revision: u64,
    pub document: Vec<u8>,
}

/// What a shop of others told of an order, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Of the whole message: the same told again is the same.
    pub digest: Digest,
    /// The payee that told it.
    pub payee: String,
    /// Its checkout session.
    pub session: String,
    /// Unix seconds.
    pub at: i64,
    pub document: Vec<u8>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    New,
    /// It was told before. Nothing was written.
    Known,
    /// As much as is kept was told of this session. Nothing was written.
    TooMany,
}

/// So many messages are kept of one session.
pub const HEARD_MAX: u64 = 200;

/// What a key stands for from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWrite {
    /// Names who called, where, and the key.
    pub key: Digest,
    /// The time of the request that is under way and whose place this takes; nothing for a new key.
    pub from: Option<i64>,
    pub now: Answered,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// Somebody else wrote the session since it was read. Nothing was written.
    SessionMoved,
    /// Somebody else took the key. Nothing was written.
    KeyTaken,
    /// Whoever opens has all their places taken. Nothing was written.
    TooMany,
}

/// How long an answer is kept, in seconds: twice what ACP asks for.
pub const ANSWER_SECONDS: i64 = 2 * 24 * 3_600;

#[async_trait]
pub trait Sessions: Send + Sync {
    async fn session(&self, tenant: &TenantId, id: &str) -> Result<Option<Kept>, StoreError>;

    /// Nothing where the key is older than [`ANSWER_SECONDS`].
    async fn answered(&self, tenant: &TenantId, key: &Digest, now: i64) -> Result<Option<Answered>, StoreError>;

    /// Both or neither, durably; with the session the order that it became.
    async fn write(
        &self,
        tenant: &TenantId,
        session: Option<SessionWrite>,
        key: Option<KeyWrite>,
    ) -> Result<Written, StoreError>;

    /// The next revision of an order; [`Written::SessionMoved`] where somebody else wrote one.
    async fn write_order(&self, tenant: &TenantId, order: OrderWrite) -> Result<Written, StoreError>;

    /// The last revision of an order.
    async fn order(&self, tenant: &TenantId, id: &str) -> Result<Option<Revised>, StoreError>;

    /// Revisions of all orders after a place, in the order in which they were written.
    async fn orders_after(&self, tenant: &TenantId, seq: u64, limit: u32) -> Result<Vec<Revised>, StoreError>;

    async fn hear(&self, tenant: &TenantId, heard: Heard) -> Result<Hearing, StoreError>;

    /// Everything that a payee told of a session, in the order in which it came: when, and what.
    async fn heard(&self, tenant: &TenantId, payee: &str, session: &str) -> Result<Vec<(i64, Vec<u8>)>, StoreError>;

    /// Sessions to be looked at, by id, those that are due longest first; at most `limit`.
    async fn due(&self, tenant: &TenantId, now: i64, limit: u32) -> Result<Vec<(String, Kept)>, StoreError>;

    /// Takes a session out for good, where it still is as it was read.
    async fn remove(&self, tenant: &TenantId, id: &str, revision: u64) -> Result<Written, StoreError>;

    /// Takes out every key that is older than [`ANSWER_SECONDS`], answered or given up; how many there were.
    async fn forget_answers(&self, tenant: &TenantId, now: i64) -> Result<u64, StoreError>;
}
