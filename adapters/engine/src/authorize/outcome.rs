//! What the counterparty said of a payment: a reason to look, never a result. What it signed of it is kept.

use std::time::Duration;

use ledger::command::Command;
use ledger::id::SpendId;
use ledger::spend::{Rail, Spend};
use x402::wire::{PaymentRequired, SettleResponse};

use crate::error::EngineError;
use crate::{Engine, Identity};

impl Engine {
    pub async fn report_outcome(
        &self,
        identity: &Identity,
        id: SpendId,
        (reported, demanded): (Option<SettleResponse>, Option<PaymentRequired>),
    ) -> Result<Spend, EngineError> {
        let said = reported.clone();
        let spend = self.found_out(identity, id, (reported, demanded)).await?;
        // Its word is not what the payment waits for.
        if let Some(said) = said
            && let Err(error) = self.keep_receipt(identity, &spend, &said).await
        {
            tracing::warn!(spend = %id, code = error.code(), "a seller's receipt is not kept: {error}");
        }
        Ok(spend)
    }

    async fn found_out(
        &self,
        identity: &Identity,
        id: SpendId,
        (reported, demanded): (Option<SettleResponse>, Option<PaymentRequired>),
    ) -> Result<Spend, EngineError> {
        let spend = self.own_spend(identity, id).await?;
        if spend.authorization.is_drawn() {
            return self.hear_payee(identity, spend, (reported, demanded)).await;
        }
        if spend.authorization.rail() != Rail::Chain {
            return Ok(spend);
        }
        if let Some(response) = reported.filter(|response| !response.transaction.is_empty())
            && spend.state.is_signed()
        {
            let transaction = response.transaction;
            let reference = transaction.parse().ok().filter(|_| transaction.len() <= 66);
            let reference = reference.ok_or_else(|| EngineError::invalid("transaction", "a hash", transaction))?;
            self.run(identity, Command::Submit { spend: id, transaction: reference }, Vec::new()).await?;
        }
        let patience = Duration::from_millis(self.tenant(&identity.tenant)?.limits.settle_wait_millis);
        self.await_spend(identity, id, patience).await
    }
}
