//! How long whoever has a payment carried waits for it.

use std::time::Duration;

use ledger::id::TenantId;
use ledger::settlement::{Settlement, SettlementKey, SettlementState};
use x402::reason::Reason;
use x402::wire::{FacilitatorRequest, SettleResponse};

use super::Repeater;
use super::carriage::Carriage;
use crate::error::EngineError;
use crate::{Engine, Identity};

impl Engine {
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
