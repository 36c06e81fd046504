//! With what a person proves on a page that it is them: passkeys, one-time codes, sessions. The book knows none of it; the
//! decisions that come of it are its own.
//!
//! What is secret (a code, a session's token) is here by its digest only. Times are unix seconds.

use async_trait::async_trait;

use crate::codec::canon_names;
use crate::id::{Digest, PrincipalId, TenantId};
use crate::store::StoreError;

/// A public key that an authenticator made, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    pub tenant: TenantId,
    pub principal: PrincipalId,
    /// The authenticator's name for it.
    pub credential: Vec<u8>,
    /// COSE_Key (RFC 9052 section 7).
    pub key: Vec<u8>,
    /// As it was last signed.
    pub sign_count: u32,
    pub created_at: i64,
}

canon_names!(
    /// What a code is good for.
    CodePurpose {
        /// Registers a passkey for the person whom it was made for.
        Invite = 1 "invite",
        /// The challenge of one sign-in.
        SignIn = 2 "sign_in",
    }
);

/// Good for one use, and for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub digest: Digest,
    pub purpose: CodePurpose,
    /// Nobody's where anybody may sign in with it.
    pub owner: Option<(TenantId, PrincipalId)>,
    pub expires_at: i64,
}

/// A browser in which a person signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Of the token that the browser holds.
    pub digest: Digest,
    pub tenant: TenantId,
    pub principal: PrincipalId,
    /// The passkey that began it.
    pub credential: Vec<u8>,
    pub expires_at: i64,
}

/// Where they are kept. Each write is durable before it is answered.
#[async_trait]
pub trait Approvers: Send + Sync {
    /// Takes out what has expired, too.
    async fn add_code(&self, code: Code, now: i64) -> Result<(), StoreError>;
    async fn code(&self, digest: Digest, purpose: CodePurpose, now: i64) -> Result<Option<Code>, StoreError>;
    /// Nothing where it was used, has expired or never was; of several at once one gets it.
    async fn use_code(&self, digest: Digest, purpose: CodePurpose, now: i64) -> Result<Option<Code>, StoreError>;
    /// Uses an invitation and adds the passkey and the session, in one unit. `false` where the invitation is not good any
    /// more or the credential is registered, and nothing is changed.
    async fn register(
        &self,
        invitation: Digest,
        passkey: Passkey,
        session: Session,
        now: i64,
    ) -> Result<bool, StoreError>;
    async fn passkey(&self, credential: &[u8]) -> Result<Option<Passkey>, StoreError>;
    async fn passkeys_of(&self, tenant: &TenantId, principal: &PrincipalId) -> Result<Vec<Passkey>, StoreError>;
    /// Moves the signature counter. `false` where it is not `before` any more: the same assertion came at once elsewhere.
    async fn count(&self, credential: &[u8], before: u32, after: u32) -> Result<bool, StoreError>;
    /// Takes the passkey out, and every session that it began.
    async fn end_passkey(&self, credential: &[u8]) -> Result<bool, StoreError>;
    async fn add_session(&self, session: Session, now: i64) -> Result<(), StoreError>;
    async fn session(&self, digest: Digest, now: i64) -> Result<Option<Session>, StoreError>;
    async fn end_session(&self, digest: Digest) -> Result<(), StoreError>;
}
