//! What people look through page by page. Every list here is answered by an index: what a page costs is what it shows, not
//! what the book holds.

use async_trait::async_trait;

use crate::budget::Budget;
use crate::gate::{Gate, Scope};
use crate::id::{BudgetId, Micros, PrincipalId, TenantId};
use crate::spend::{Spend, SpendState};
use crate::store::StoreError;

/// Which spends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Among {
    All,
    /// In one state in which money may still move; of a node and of everything below it, where one is named.
    Open(SpendState, Option<BudgetId>),
    /// Those that came to nothing, in one of the states in [`COME_TO_NOTHING`].
    Ended(SpendState),
    /// Of a node and of everything below it.
    Under(BudgetId),
    /// The same, of the mandates that one agent holds there.
    HeldUnder(BudgetId, PrincipalId),
    /// Of every mandate that one agent holds.
    HeldBy(PrincipalId),
}

/// The states that few spends end in, so that those few have an index of their own.
pub const COME_TO_NOTHING: [SpendState; 4] =
    [SpendState::Voided, SpendState::Expired, SpendState::Released, SpendState::SpentOtherwise];

/// A spend, and when its last record was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub spend: Spend,
    pub at: Micros,
}

#[async_trait]
pub trait Listings: Send + Sync {
    /// Those that were held before this record, newest first; at most `limit`.
    async fn spends_before(
        &self,
        tenant: &TenantId,
        among: &Among,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError>;
    /// What was turned last at this scope, closed or open; nothing where it never was closed.
    async fn gate(&self, tenant: &TenantId, scope: &Scope) -> Result<Option<Gate>, StoreError>;
    /// Those whose id begins with these bytes, by id; at most `limit`.
    async fn spends_named(&self, tenant: &TenantId, prefix: &[u8], limit: u32) -> Result<Vec<Listed>, StoreError>;
    /// These nodes, by id; those that are not there are left out.
    async fn budgets_named(&self, tenant: &TenantId, ids: &[BudgetId]) -> Result<Vec<Budget>, StoreError>;
    /// The nodes right under one, by id, after one of them; at most `limit`.
    async fn budgets_under(
        &self,
        tenant: &TenantId,
        parent: BudgetId,
        after: Option<BudgetId>,
        limit: u32,
    ) -> Result<Vec<Budget>, StoreError>;
    /// Everything below these nodes, which are not named again; at most `limit`.
    async fn budgets_below(&self, tenant: &TenantId, roots: &[BudgetId], limit: u32)
    -> Result<Vec<Budget>, StoreError>;
}
