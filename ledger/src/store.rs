//! The port to a store.
//!
//! What must be durable before `run` returns `Ok`: the whole unit of work, that is the journal record, every row it
//! changes and the documents that came with it. Money is lost if a store answers before that, answers `Unavailable`
//! for a unit that was written, or runs two units of one tenant at once.

use std::ops::Range;

use async_trait::async_trait;

use crate::account::{Account, Balance};
use crate::budget::Budget;
use crate::claim::{Claim, ClaimKey};
use crate::command::{Command, Request};
use crate::decision::{Decision, DecisionState};
use crate::effects::Effects;
use crate::event::Event;
use crate::gate::{Gate, Scope};
use crate::id::{BudgetId, DecisionId, Digest, Micros, PrincipalId, SpendId, TenantId};
use crate::money::AssetId;
use crate::rejection::Rejection;
use crate::settlement::{PayerKey, Settlement, SettlementKey};
use crate::spend::{Spend, SpendState};
use crate::window::{Window, WindowKey};

/// A document that the ledger links to and never reads: a mandate, a cart, an offer, a signed payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub kind: String,
    pub bytes: Vec<u8>,
}

impl Document {
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// One command, and the documents that become durable with it.
#[derive(Clone, Debug)]
pub struct Work {
    pub request: Request,
    pub documents: Vec<Document>,
    /// What the same caller asks next, in the same unit, where the first is done. Refused, it was not asked: the answer then
    /// shows the first one's work alone.
    pub then: Option<Command>,
}

impl Work {
    pub const fn new(request: Request, documents: Vec<Document>) -> Self {
        Self { request, documents, then: None }
    }
}

/// Whether a command changed the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    New,
    Known,
}

/// The state of what a command was about, after it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub freshness: Freshness,
    /// The journal record, where one was written.
    pub seq: Option<u64>,
    pub spend: Option<Spend>,
    pub settlement: Option<Settlement>,
    pub decision: Option<Decision>,
    pub budget: Option<Budget>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Nothing was written. Try again.
    #[error("the store cannot be used now: {0}")]
    Unavailable(String),
    /// The unit may or may not have been written. Run the same keyed command again: it finds out.
    #[error("the answer to a commit was lost: {0}")]
    Unknown(String),
    /// What is stored contradicts itself, or a rule would break an invariant. Nothing was written.
    #[error("the store contradicts itself: {0}")]
    Broken(String),
}

/// A journal record as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    pub seq: u64,
    pub bytes: Vec<u8>,
    pub leaf: Digest,
}

#[derive(Clone, Debug)]
pub struct AccountBalance {
    pub account: Account,
    pub asset: AssetId,
    pub balance: Balance,
}

/// Where a settlement stands among its tenant's, in the order in which they were claimed. For going on from one page to the
/// next; no name of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

/// Where a verification failed, or that it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    Sound {
        entries: u64,
        root: Digest,
    },
    /// The first break: at this record, for this reason.
    Broken {
        seq: u64,
        reason: String,
    },
}

#[async_trait]
pub trait Store: Send + Sync {
    async fn run(&self, tenant: &TenantId, work: Work) -> Result<Answer, StoreError>;

    async fn spend(&self, tenant: &TenantId, id: SpendId) -> Result<Option<Spend>, StoreError>;
    async fn budget(&self, tenant: &TenantId, id: BudgetId) -> Result<Option<Budget>, StoreError>;
    /// Every node, by id, after `after`; at most `limit`.
    async fn budgets_after(
        &self,
        tenant: &TenantId,
        after: Option<BudgetId>,
        limit: u32,
    ) -> Result<Vec<Budget>, StoreError>;
    /// Those of these windows that anything was counted in.
    async fn windows(&self, tenant: &TenantId, keys: Vec<WindowKey>) -> Result<Vec<Window>, StoreError>;
    async fn settlement(&self, tenant: &TenantId, key: &SettlementKey) -> Result<Option<Settlement>, StoreError>;
    /// What was claimed under a key, and by which request.
    async fn claim(&self, tenant: &TenantId, key: &ClaimKey) -> Result<Option<Claim>, StoreError>;
    async fn decision(&self, tenant: &TenantId, id: DecisionId) -> Result<Option<Decision>, StoreError>;
    async fn document(&self, tenant: &TenantId, digest: Digest) -> Result<Option<Document>, StoreError>;

    /// Spends on which money may still move, and those settled in a block that may be taken back; oldest first, after those
    /// that record `after` reserved; at most `limit`.
    async fn open_spends(&self, tenant: &TenantId, after: Option<u64>, limit: u32) -> Result<Vec<Spend>, StoreError>;
    /// Every spend under a budget node that was held by one of these records, newest first; at most `limit`.
    async fn spends_of(
        &self,
        tenant: &TenantId,
        budget: BudgetId,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Spend>, StoreError>;
    /// Those that may still come to something, oldest first, after a place; at most `limit`.
    async fn open_settlements(
        &self,
        tenant: &TenantId,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, StoreError>;
    /// Those of a payer that are not over.
    async fn settlements_of(&self, tenant: &TenantId, payer: &PayerKey) -> Result<Vec<Settlement>, StoreError>;
    /// Whether a payer has ever paid for good.
    async fn has_paid(&self, tenant: &TenantId, payer: &PayerKey) -> Result<bool, StoreError>;
    /// What a payer paid for this very subject and is settled, whether or not it may still be taken back.
    async fn paid_for(
        &self,
        tenant: &TenantId,
        payer: &PayerKey,
        subject: Digest,
    ) -> Result<Vec<Settlement>, StoreError>;
    /// Those where one side owes the other for good, oldest first; at most `limit`.
    async fn owed_settlements(&self, tenant: &TenantId, limit: u32) -> Result<Vec<Settlement>, StoreError>;
    /// Those settled in a block that may be taken back, oldest first, after a place; at most `limit`, and fewer only where
    /// there are no more.
    async fn young_settlements(
        &self,
        tenant: &TenantId,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, StoreError>;
    /// Questions put to one user by one of these records, in one state, newest first; at most `limit`.
    async fn decisions_of(
        &self,
        tenant: &TenantId,
        approver: &PrincipalId,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError>;

    /// Reviews in one state, of payments that were held by one of these records, newest first; at most `limit`.
    async fn reviews_in(
        &self,
        tenant: &TenantId,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError>;
    /// Reviews that nobody answered and whose time is over then, the longest first; at most `limit`.
    async fn reviews_due(&self, tenant: &TenantId, at: Micros, limit: u32) -> Result<Vec<Decision>, StoreError>;

    /// What was turned last at each of these scopes, closed or open; those that never were closed are left out.
    async fn gates(&self, tenant: &TenantId, scopes: &[Scope]) -> Result<Vec<Gate>, StoreError>;
    /// What is stopped, by scope.
    async fn closed_gates(&self, tenant: &TenantId) -> Result<Vec<Gate>, StoreError>;

    async fn balances(&self, tenant: &TenantId) -> Result<Vec<AccountBalance>, StoreError>;
    /// The same by name and asset, after a place; at most `limit`.
    async fn balances_after(
        &self,
        tenant: &TenantId,
        after: Option<&(String, String)>,
        limit: u32,
    ) -> Result<Vec<AccountBalance>, StoreError>;
    /// What the balances were before a record, by name and asset; accounts that nothing had moved yet are left out.
    async fn balances_before(&self, tenant: &TenantId, seq: u64) -> Result<Vec<AccountBalance>, StoreError>;
    /// How many payments under the mandates of one holder are open; not counted beyond `most`.
    async fn count_open(&self, tenant: &TenantId, holder: &PrincipalId, most: u32) -> Result<u32, StoreError>;
    /// Spends in one state, oldest first, after those that record `after` reserved; at most `limit`.
    async fn spends_in(
        &self,
        tenant: &TenantId,
        state: SpendState,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Spend>, StoreError>;
    /// The first record of this instant or later; the number of records where none is.
    async fn record_at(&self, tenant: &TenantId, at: Micros) -> Result<u64, StoreError>;
    /// Records from `from` on, decoded; at most `limit`.
    async fn records(
        &self,
        tenant: &TenantId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<(JournalEntry, Effects)>, StoreError>;
    /// Leaves of the tree from `from` on, in their order; at most `limit`.
    async fn leaves(&self, tenant: &TenantId, from: u64, limit: u32) -> Result<Vec<Digest>, StoreError>;
    /// Events after a place (record and number), oldest first; at most `limit`.
    async fn events(&self, tenant: &TenantId, after: Option<(u64, u16)>, limit: u32) -> Result<Vec<Event>, StoreError>;
    /// The records of one spend, oldest first.
    async fn records_of_spend(
        &self,
        tenant: &TenantId,
        spend: SpendId,
    ) -> Result<Vec<(JournalEntry, Effects)>, StoreError>;
    /// Number of records and root of the tree.
    async fn head(&self, tenant: &TenantId) -> Result<(u64, Digest), StoreError>;
    /// Reads everything again and recomputes it: bytes, leaves, root, budgets, spends, balances.
    async fn verify(&self, tenant: &TenantId) -> Result<Verification, StoreError>;
}
