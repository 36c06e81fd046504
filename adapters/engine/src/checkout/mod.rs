//! A merchant's checkouts, by whichever protocol they are spoken to: opened, shown, changed, cancelled, completed.
//!
//! The promise: a key and what is written under it are one unit, so a retry gets the answer that was given; of two who
//! race on a session one goes first and the other sees what it did; whoever completes a session claims it durably before
//! anything is accepted, and what is accepted for it is accepted once, so that a retry after a crash goes on where it was;
//! and a session is completed by a proof that it is paid, never by a request.
//!
//! What nobody touches is looked at all the same: a session that was being paid for when a process died ends by what the
//! book says of it, and what is over is taken out.
//!
//! Read in this order: here, [`document`] (what lies in the database), [`complete`] (how it is paid), [`means`] (with what), [`card`] (by a vault
//! token), [`sweep`], [`reply`]; [`orders`] (what was bought).

mod card;
mod complete;
mod document;
mod means;
pub mod orders;
mod reply;
mod sweep;

use commerce::checkout::session::Opening;
use commerce::checkout::{Change, Protocol, Refusal, Session};
use commerce::store::{Answered, KeyWrite, SessionWrite, Sessions, Written};
use commerce::ucp::mandate::MandateError;
use commerce::ucp::negotiate::Active;
use ledger::id::{Digest, PrincipalId, TenantId};
use std::sync::Arc;

use self::document::Document;
pub use self::means::{Presented, Redemption, Tokens};
pub use self::orders::OrderChange;
pub use self::reply::Reply;
use crate::Engine;
use crate::error::EngineError;
use crate::tenant::{MerchantRole, Tenant};

/// What a tenant with a shop is configured with.
#[derive(Clone)]
pub struct ShopRole {
    pub shop: commerce::checkout::Shop,
    /// Who signs its checkouts and answers for what is bought.
    pub merchant: PrincipalId,
}

/// Who calls, by which protocol, in whose shop.
#[derive(Clone, Debug)]
pub struct Call {
    pub tenant: TenantId,
    pub protocol: Protocol,
    /// The caller's own name. Sessions of others are not there for them.
    pub owner: String,
    /// Whose sessions are counted together: a caller that proved who it is, or an address.
    pub opener: String,
    pub key: Option<Key>,
}

/// An idempotency key as it came.
#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    /// Of the endpoint: with the caller it is the key's scope (ACP 2026-04-17, "Idempotency").
    pub path: String,
    /// Of the request: canonical JSON for ACP, the bytes for UCP.
    pub fingerprint: Digest,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Open {
        change: Change,
        active: Active,
    },
    Show {
        id: String,
    },
    Change {
        id: String,
        change: Change,
    },
    Cancel {
        id: String,
    },
    Complete {
        id: String,
        presented: Presented,
    },
    /// A request that could not be read: that is answered under its key, too.
    Unread(Refusal),
}

/// Why nothing came of a request, for good: the same request would get the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Request(Refusal),
    /// There is no such session for this caller.
    Session(String),
    Mandate(MandateError, String),
    /// It is being completed by somebody else.
    Busy,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Request(refusal)
    }
}

/// What an operation comes to: an answer, and the session to be written with it.
struct Done {
    reply: Reply,
    session: Option<SessionWrite>,
}

/// What becomes of a session.
type Changing<'a> = Box<dyn Fn(&Session) -> Result<Session, Refusal> + Send + Sync + 'a>;

/// How long a request may be under way before another one takes its place: far longer than any is.
const LEASE_SECONDS: i64 = 30;
/// How often a session is changed before another one has to be opened: each change is kept under its key.
const CHANGES_MAX: u64 = 100;
/// How often two who race try again.
const ATTEMPTS: u32 = 8;

struct Shopping<'a> {
    tenant: &'a Tenant,
    role: &'a ShopRole,
    merchant: &'a MerchantRole,
    sessions: &'a Arc<dyn Sessions>,
    call: &'a Call,
    now: i64,
}

impl Engine {
    pub async fn checkout(&self, call: &Call, operation: &Operation) -> Result<Reply, EngineError> {
        let tenant = self.tenant(&call.tenant)?;
        let role = tenant.shop.as_ref().ok_or(EngineError::NotConfigured("shop"))?;
        let merchant = tenant.merchants.get(&role.merchant);
        let merchant = merchant.ok_or(EngineError::NotConfigured("merchant of the shop"))?;
        let sessions = self.sessions.get().ok_or(EngineError::NotConfigured("place for checkouts"))?;
        for _ in 0..ATTEMPTS {
            let now = self.clock.now().seconds();
            let shopping = Shopping { tenant: &tenant, role, merchant, sessions, call, now };
            if let Some(reply) = self.attempt(&shopping, operation).await? {
                return Ok(reply);
            }
        }
        Ok(reply::contended(call.protocol))
    }

    /// Whether a signer's nonce is used for the first time. It is remembered among the answers, for as long as those are
    /// (`ANSWER_SECONDS`), by every process that shares the database.
    pub async fn first_use(&self, tenant: &TenantId, signer: &str, nonce: &str) -> Result<bool, EngineError> {
        let sessions = self.sessions.get().ok_or(EngineError::NotConfigured("place for checkouts"))?;
        let key = Digest::of_parts("purser/signature-nonce/1", &[signer.as_bytes(), nonce.as_bytes()]);
        let now = Answered { fingerprint: key, at: self.clock.now().seconds(), answer: Some((204, Vec::new())) };
        Ok(sessions.write(tenant, None, Some(KeyWrite { key, from: None, now })).await? == Written::Done)
    }

    /// Nothing where somebody else came first: then it is looked at again.
    async fn attempt(&self, shopping: &Shopping<'_>, operation: &Operation) -> Result<Option<Reply>, EngineError> {
        let mut from = None;
        if let Some(known) = shopping.known().await? {
            match shopping.answered(&known) {
                Some(reply) => return Ok(Some(reply)),
                None => from = Some(known.at),
            }
        }
        if let Operation::Complete { id, presented } = operation {
            return self.complete_checkout(shopping, id, presented, from).await;
        }
        let (reply, session, key) = match self.perform(shopping, operation).await? {
            Ok(Done { reply, session }) => {
                let key = shopping.key_write(from, Some(&reply));
                (reply, session, key)
            }
            Err(refused) => {
                let reply = reply::refused(shopping.call.protocol, &refused);
                let key = shopping.refusal_write(from, &reply);
                (reply, None, key)
            }
        };
        if session.is_none() && key.is_none() {
            return Ok(Some(reply));
        }
        Ok(match shopping.sessions.write(&shopping.call.tenant, session, key).await? {
            Written::Done => Some(reply),
            Written::TooMany => Some(reply::too_many(shopping.call.protocol, shopping.role.shop.sessions_max)),
            Written::SessionMoved | Written::KeyTaken => None,
        })
    }

    async fn perform(
        &self,
        shopping: &Shopping<'_>,
        operation: &Operation,
    ) -> Result<Result<Done, Refused>, EngineError> {
        let (shop, now, protocol) = (&shopping.role.shop, shopping.now, shopping.call.protocol);
        let (id, changed): (_, Changing<'_>) = match operation {
            Operation::Open { change, active } => return self.open(shopping, change, active).await,
            Operation::Unread(refusal) => return Ok(Err(refusal.clone().into())),
            Operation::Complete { id, .. } | Operation::Show { id } => (id, Box::new(|session| Ok(session.at(now)))),
            Operation::Change { id, change } => (id, Box::new(|session| session.changed(shop, now, change))),
            Operation::Cancel { id } => (id, Box::new(|session| session.cancelled(now))),
        };
        let (revision, document) = match self.loaded(shopping, id).await? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        if matches!(operation, Operation::Change { .. }) && revision >= CHANGES_MAX {
            let message =
                format!("a checkout that was written less than {CHANGES_MAX} times was expected; open another");
            return Ok(Err(Refusal::new(commerce::checkout::Code::TooMuch, "$", message).into()));
        }
        // Not for good: it is open again where it comes to nothing.
        if document.is_claimed() && !matches!(operation, Operation::Show { .. }) {
            return Ok(Err(Refused::Busy));
        }
        let next = match changed(&document.session) {
            Ok(next) => next,
            Err(refused) => return Ok(Err(refused.into())),
        };
        // Shown as it lies: the signature under it is that of then.
        if next == document.session {
            return Ok(Ok(Done { reply: reply::session(200, protocol, &document, shop), session: None }));
        }
        let document = self.signed(shopping, Document { session: next, ..document }).await?;
        let reply = reply::session(200, protocol, &document, shop);
        Ok(Ok(Done { reply, session: Some(document.write(revision, shopping)?) }))
    }

    async fn open(
        &self,
        shopping: &Shopping<'_>,
        change: &Change,
        active: &Active,
    ) -> Result<Result<Done, Refused>, EngineError> {
        let (call, shop) = (shopping.call, &shopping.role.shop);
        let drawn = self.entropy.bytes()?;
        let (name, nonce) = drawn.split_at(16);
        let prefix = match call.protocol {
            Protocol::Acp => "checkout_session",
            Protocol::Ucp => "chk",
        };
        let id = format!("{prefix}_{}", hex::encode(name));
        let opening = Opening { id, protocol: call.protocol, now: shopping.now };
        let session = match Session::open(shop, opening, change) {
            Ok(session) => session,
            Err(refused) => return Ok(Err(refused.into())),
        };
        let document = Document::new(session, call.owner.clone(), active.clone(), hex::encode(nonce));
        let document = self.signed(shopping, document).await?;
        let reply = reply::session(201, call.protocol, &document, shop);
        Ok(Ok(Done { reply, session: Some(document.write(0, shopping)?) }))
    }

    /// A session of this caller's, opened by this protocol. Others are not there, and not said to be.
    async fn loaded(&self, shopping: &Shopping<'_>, id: &str) -> Result<Result<(u64, Document), Refused>, EngineError> {
        let call = shopping.call;
        let unknown = || Refused::Session(id.chars().take(100).collect());
        let Some(kept) = shopping.sessions.session(&call.tenant, id).await? else { return Ok(Err(unknown())) };
        let document = Document::read(&kept.document)?;
        let is_own = document.owner == call.owner && document.session.protocol == call.protocol;
        Ok(if is_own { Ok((kept.revision, document)) } else { Err(unknown()) })
    }
}

impl Shopping<'_> {
    fn key(&self) -> Option<(Digest, Digest)> {
        let key = self.call.key.as_ref()?;
        let parts = [self.call.owner.as_bytes(), key.path.as_bytes(), key.text.as_bytes()];
        Some((Digest::of_parts("purser/checkout-key/1", &parts), key.fingerprint))
    }

    async fn known(&self) -> Result<Option<Answered>, EngineError> {
        let Some((key, _)) = self.key() else { return Ok(None) };
        Ok(self.sessions.answered(&self.call.tenant, &key, self.now).await?)
    }

    /// The answer to a key that is known; nothing where its request was given up and this one may take its place.
    fn answered(&self, known: &Answered) -> Option<Reply> {
        let protocol = self.call.protocol;
        if self.key().is_some_and(|(_, fingerprint)| fingerprint != known.fingerprint) {
            return Some(reply::conflict(protocol));
        }
        match &known.answer {
            Some((status, body)) => Some(reply::replayed(*status, body)),
            None if self.now < known.at.saturating_add(LEASE_SECONDS) => Some(reply::in_flight(protocol)),
            None => None,
        }
    }

    /// What is written under the key: an answer, or that it is worked on. An answer that another time would be another
    /// one is not kept.
    fn key_write(&self, from: Option<i64>, reply: Option<&Reply>) -> Option<KeyWrite> {
        let (key, fingerprint) = self.key()?;
        if reply.is_some_and(|reply| reply.retry_after.is_some()) {
            return None;
        }
        let answer = reply.map(|reply| (reply.status, reply.body.to_string().into_bytes()));
        Some(KeyWrite { key, from, now: Answered { fingerprint, at: self.now, answer } })
    }

    /// The same of a request that changed nothing. In UCP nobody proved who they are, so that what they ask in vain takes no
    /// room here: asked again, it is looked at again.
    fn refusal_write(&self, from: Option<i64>, reply: &Reply) -> Option<KeyWrite> {
        let is_anybody = self.call.protocol == Protocol::Ucp && from.is_none();
        if is_anybody { None } else { self.key_write(from, Some(reply)) }
    }
}
