//! How long whoever has a payment carried waits for it.

use std::time::Duration;

use ledger::id::TenantId;
use ledger::settlement::{Role, Settlement, SettlementKey, SettlementState};
use x402::permit2::approval;
use x402::reason::Reason;
use x402::wire::{FacilitatorRequest, SettleResponse};

use super::Repeater;
use super::carriage::Carriage;
use crate::error::EngineError;
use crate::{Engine, Identity};

/// Whether the answer says that the payer's approval, or the gas for it, is in no block yet: nobody but whoever settles goes
/// on with the payment then.
pub fn is_approving(request: &FacilitatorRequest, response: &SettleResponse) -> bool {
    let extensions = request.payment_payload.extensions.as_ref();
    let signed = extensions.and_then(|all| all.get(approval::EXTENSION)?.get("info")?.get("signedTransaction"));
    signed.is_some() && response.error_reason.as_deref() == Some(Reason::SettlementPending.as_str())
}

impl Engine {
    /// Behind such an answer: once more; whether nothing is left to do. Whoever asks again is told.
    pub async fn facilitator_go_on(&self, tenant: &TenantId, request: &FacilitatorRequest) -> bool {
        let (payload, required) = (&request.payment_payload, &request.payment_requirements);
        let known = match self.settlement_of(tenant, Role::Facilitator, payload, required).await {
            Ok(Some(known)) if known.state == SettlementState::Claimed => known,
            Ok(_) => return true,
            Err(error) => {
                tracing::warn!(code = error.code(), "a payment behind its approval: {error}");
                return false;
            }
        };
        match self.facilitator_submit(tenant, request, Repeater::Anonymous).await {
            Ok(response) if is_approving(request, &response) => false,
            Ok(response) => {
                // Nobody was told: the first to ask is.
                if response.success {
                    self.desk.owe_answer(tenant, &known.key);
                }
                true
            }
            Err(error) => {
                tracing::warn!(code = error.code(), "a payment behind its approval: {error}");
                false
            }
        }
    }

    /// Until it is in a block, or as long as the tenant says.
    pub async fn facilitator_settle(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        repeater: Repeater,
    ) -> Result<SettleResponse, EngineError> {
        let wait = Duration::from_millis(self.tenant(tenant)?.limits.settle_wait_millis);
        self.settle_within(tenant, request, repeater, wait).await
    }

    /// Until it is sent: `settlement_pending` with its transaction.
    pub async fn facilitator_submit(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        repeater: Repeater,
    ) -> Result<SettleResponse, EngineError> {
        self.settle_within(tenant, request, repeater, Duration::ZERO).await
    }

    pub(super) async fn await_receipt(&self, carriage: &Carriage<'_>) -> Result<SettleResponse, EngineError> {
        let settlement = self.watch(&carriage.identity, &carriage.key, carriage.wait).await?;
        let transaction = settlement.transaction.as_ref().map_or("", |reference| reference.as_str());
        Ok(match settlement.state {
            SettlementState::Settled => carriage.settled(&settlement),
            SettlementState::Failed => {
                let message = "the transaction is mined and reverted";
                carriage.failed(Reason::TransactionFailed, message, transaction)
            }
            SettlementState::Abandoned => carriage.given_up(),
            _ => carriage.pending(&settlement),
        })
    }

    /// Until it is over or `wait` is; then it is still open, and its answer is owed.
    pub(super) async fn watch(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        wait: Duration,
    ) -> Result<Settlement, EngineError> {
        let deadline = tokio::time::Instant::now() + wait;
        let (mut pause, mut rung) = (Duration::from_millis(5), 0);
        loop {
            let settlement = self.carried(&identity.tenant, key).await?;
            let due = self.due(&identity.tenant, key);
            if due > rung {
                self.send(identity, &settlement, due).await;
                rung = due;
            }
            // An outage while waiting says nothing about the payment.
            if let Err(error) = self.look(identity, &settlement).await {
                tracing::warn!(code = error.code(), "waiting for a receipt: {error}");
            }
            let settlement = self.carried(&identity.tenant, key).await?;
            if !settlement.state.is_open() {
                return Ok(settlement);
            }
            if tokio::time::Instant::now() + pause >= deadline {
                self.desk.owe_answer(&identity.tenant, key);
                return Ok(settlement);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}
