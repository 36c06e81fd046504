//! Orders: what a seller sells once, whoever pays for it. The first payment that is claimed for an order is the one, in
//! the unit of work of its claim, so that no replica and no second payer pays it again; and what became of it is read from
//! the book.

pub mod cart;

use ledger::claim::{ClaimKey, ClaimOutcome};
use ledger::codec;
use ledger::id::{Digest, IdempotencyKey, TenantId};
use ledger::settlement::{Settlement, SettlementKey, SettlementState};
use ledger::store::Document;
use x402::reason::Reason;
use x402::wire::SettleResponse;

use crate::Engine;
use crate::book::service;
use crate::error::EngineError;
use crate::sell::{SELLER, failed, settled};

/// What became of an order that a payment was claimed for.
#[derive(Clone, Debug)]
pub enum Ordered {
    /// Given back before anything went out: the same payment may be presented again, and no other.
    Returned,
    /// Claimed, and not known to be paid.
    UnderWay,
    /// Settled, with the stored answer.
    Paid { answer: Vec<u8>, response: SettleResponse },
    /// Proved: its payment moved nothing and never will.
    Failed(SettleResponse),
}

const KIND: &str = "order-payment";

/// Which payment an order is paid by.
pub(crate) fn document(key: &SettlementKey) -> Document {
    Document { kind: KIND.into(), bytes: codec::encode(key) }
}

impl Engine {
    /// Marks what is said of an order as this seller's own words. Replicas that share the tenant's secret read each other's.
    pub fn seal_order(&self, tenant: &TenantId, said: &[u8]) -> Result<Digest, EngineError> {
        Ok(self.tenant(tenant)?.secret.seal("purser/order/1", said))
    }

    /// `None` where no payment was claimed for it.
    pub async fn order(&self, tenant: &TenantId, key: &IdempotencyKey) -> Result<Option<Ordered>, EngineError> {
        let principal = service(tenant, SELLER)?.caller.principal;
        let Some(claim) = self.store.claim(tenant, &ClaimKey::order(&principal, key)).await? else { return Ok(None) };
        let broken = |what: &str| EngineError::Broken(format!("the payment of order {key}: {what}"));
        let ClaimOutcome::Accepted(digest) = claim.outcome else { return Err(broken("claimed by something else")) };
        let document = self.store.document(tenant, digest).await?.ok_or_else(|| broken("not stored"))?;
        let paid_by: SettlementKey = codec::decode(&document.bytes).map_err(|error| broken(&error.to_string()))?;
        let sale = self.store.settlement(tenant, &paid_by).await?.ok_or_else(|| broken("not in the book"))?;
        self.ordered(tenant, sale).await.map(Some)
    }

    async fn ordered(&self, tenant: &TenantId, sale: Settlement) -> Result<Ordered, EngineError> {
        match (sale.state, sale.document) {
            (SettlementState::Settled, Some(digest)) => {
                let answer = self.store.document(tenant, digest).await?;
                let answer = answer.ok_or_else(|| EngineError::Broken("a stored answer is gone".into()))?;
                Ok(Ordered::Paid { answer: answer.bytes, response: settled(&sale) })
            }
            (SettlementState::Failed, _) => Ok(Ordered::Failed(failed(&sale, Reason::TransactionFailed))),
            (SettlementState::Abandoned, _) => Ok(Ordered::Returned),
            _ => Ok(Ordered::UnderWay),
        }
    }
}
