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
}

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
}

/// How long an answer is kept, in seconds: twice what ACP asks for.
pub const ANSWER_SECONDS: i64 = 2 * 24 * 3_600;

#[async_trait]
pub trait Sessions: Send + Sync {
    async fn session(&self, tenant: &TenantId, id: &str) -> Result<Option<Kept>, StoreError>;

    /// Nothing where the key is older than [`ANSWER_SECONDS`].
    async fn answered(&self, tenant: &TenantId, key: &Digest, now: i64) -> Result<Option<Answered>, StoreError>;

    /// Both or neither, durably.
    async fn write(
        &self,
        tenant: &TenantId,
        session: Option<SessionWrite>,
        key: Option<KeyWrite>,
    ) -> Result<Written, StoreError>;
}
