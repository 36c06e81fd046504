//! Orders: what a seller sells once, whoever pays for it. The first payment that is claimed for an order is the one, in
//! the unit of work of its claim, so that no replica and no second payer pays it again; and what became of it is read from
//! the book.

pub mod cart;

use std::num::NonZeroU64;

use ledger::claim::{ClaimKey, ClaimOutcome};
use ledger::codec;
use ledger::id::{Digest, IdempotencyKey, TenantId};
use ledger::settlement::{Settlement, SettlementKey, SettlementState};
use ledger::store::Document;
use x402::reason::Reason;
use x402::wire::SettleResponse;

use crate::book::service;
use crate::error::EngineError;
use crate::sell::{Content, SELLER, failed, settled};
use crate::{Engine, Identity};

/// What became of an order that a payment was claimed for.
#[derive(Clone, Debug)]
pub enum Ordered {
    /// Given back before anything went out: the same payment may be presented again, and no other.
    Returned,
    /// Claimed, and not known to be paid.
    UnderWay,
    /// Settled, as deep as its seller wants it, with the stored answer.
    Paid { answer: Vec<u8>, response: SettleResponse },
    /// Given before it is paid.
    Owed { answer: Vec<u8> },
    /// Paid, and nothing was delivered: the same payment has it tried again.
    Undelivered(SettleResponse),
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

    /// `None` where no payment was claimed for it. `confirmations` are those in which its seller gives what is paid.
    pub async fn order(
        &self,
        tenant: &TenantId,
        key: &IdempotencyKey,
        confirmations: NonZeroU64,
    ) -> Result<Option<Ordered>, EngineError> {
        let identity = service(tenant, SELLER)?;
        let claim = self.store.claim(tenant, &ClaimKey::order(&identity.caller.principal, key)).await?;
        let Some(claim) = claim else { return Ok(None) };
        let broken = |what: &str| EngineError::Broken(format!("the payment of order {key}: {what}"));
        let ClaimOutcome::Accepted(digest) = claim.outcome else { return Err(broken("claimed by something else")) };
        let document = self.store.document(tenant, digest).await?.ok_or_else(|| broken("not stored"))?;
        let paid_by: SettlementKey = codec::decode(&document.bytes).map_err(|error| broken(&error.to_string()))?;
        let sale = self.store.settlement(tenant, &paid_by).await?.ok_or_else(|| broken("not in the book"))?;
        self.ordered(&identity, sale, confirmations).await.map(Some)
    }

    async fn ordered(
        &self,
        identity: &Identity,
        sale: Settlement,
        confirmations: NonZeroU64,
    ) -> Result<Ordered, EngineError> {
        let never = || Ordered::Failed(failed(&sale, Reason::TransactionFailed));
        match sale.state {
            SettlementState::Failed | SettlementState::Unpaid => return Ok(never()),
            SettlementState::Abandoned => return Ok(Ordered::Returned),
            SettlementState::Undelivered => return Ok(Ordered::Undelivered(settled(&sale))),
            SettlementState::Settled if !self.is_deep(&sale, confirmations).await? => return Ok(Ordered::UnderWay),
            SettlementState::Settled
            | SettlementState::Claimed
            | SettlementState::Promised
            | SettlementState::Submitted => {}
        }
        let is_paid = sale.state == SettlementState::Settled;
        match self.content(&identity.tenant, &sale).await? {
            Some(Content::Answer(answer) | Content::Served { answer, .. }) if is_paid => {
                self.hand_over(identity, &sale).await?;
                Ok(Ordered::Paid { answer, response: settled(&sale) })
            }
            Some(Content::Served { answer, .. }) if sale.is_sold_unpaid() => Ok(Ordered::Owed { answer }),
            // Written off: it was made good elsewhere.
            Some(Content::Undelivered) => Ok(Ordered::Undelivered(settled(&sale))),
            _ => Ok(Ordered::UnderWay),
        }
    }
}
