//! How a sale is served, which its claim in the book depends on.

use ledger::command::{ClaimSettlement, Command, Credit};
use ledger::id::TenantId;
use ledger::rejection::Rejection;
use ledger::settlement::PayerKey;
use ledger::store::{Answer, Document};
use x402::release::{Beyond, Exposure, History, Manner};
use x402::{auth_capture, upto};

use super::Presented;
use crate::error::EngineError;
use crate::{Engine, Identity};

impl Engine {
    /// What is paid already waits for nothing, and what is priced by usage waits for its price.
    async fn manner(
        &self,
        tenant: &TenantId,
        presented: &Presented,
        claim: &ClaimSettlement,
    ) -> Result<Manner, EngineError> {
        let release = &presented.release;
        let by_usage = [upto::SCHEME, auth_capture::SCHEME].contains(&presented.requirements.scheme.as_str());
        if claim.cover.is_none() || by_usage {
            return Ok(Manner::HeldBack);
        }
        let has_paid =
            !release.pay_first.without_history || self.store.has_paid(tenant, &PayerKey::of(&claim.key)).await?;
        let history = if has_paid { History::Paid } else { History::None };
        Ok(release.manner(claim.money.amount, history))
    }

    /// Beyond what may be given before it is paid the work is done and its answer held back; for whoever owes not even the
    /// work is done.
    pub(super) async fn claim_sale(
        &self,
        identity: &Identity,
        claim: ClaimSettlement,
        documents: Vec<Document>,
        presented: &Presented,
    ) -> Result<(Manner, Answer), EngineError> {
        let manner = self.manner(&identity.tenant, presented, &claim).await?;
        let exposure = presented.release.exposure(manner);
        let credit = exposure.map(|Exposure { payer_max, total_max, .. }| Credit { payer_max, total_max });
        let first = ClaimSettlement { credit, ..claim.clone() };
        let refused = match self.run(identity, Command::Claim(Box::new(first)), documents.clone()).await {
            Ok(answer) => return Ok((manner, answer)),
            Err(error) => error,
        };
        let waits = exposure.is_some_and(|exposure| exposure.beyond == Beyond::Wait);
        let manner = match &refused {
            EngineError::Book(Rejection::ExposureExceeded { .. }) if waits => Manner::HeldBack,
            EngineError::Book(Rejection::PayerBlocked { .. }) if waits => Manner::PaidFirst,
            _ => return Err(refused),
        };
        tracing::info!(code = refused.code(), "not given before it is paid: {refused}");
        Ok((manner, self.run(identity, Command::Claim(Box::new(claim)), documents).await?))
    }
}
