//! How long whoever has a payment carried waits for it.

use std::time::Duration;

use ledger::id::TenantId;
use x402::wire::{FacilitatorRequest, SettleResponse};

use super::Repeater;
use crate::Engine;
use crate::error::EngineError;

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
}
