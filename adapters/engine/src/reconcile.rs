//! What became of what may have gone out. The chain decides; a counterparty's word is at most a reason to look.

use std::time::Duration;

use alloy_primitives::B256;
use ledger::command::{Command, FailureProof, ReleaseProof};
use ledger::id::{SpendId, TenantId};
use ledger::settlement::{Role, Settlement, SettlementState};
use ledger::spend::{Spend, SpendState};
use x402::settlement::{Outcome, observe};

use crate::book::{self, service};
use crate::error::EngineError;
use crate::{Engine, Identity};

/// Spends looked at in one sweep of a tenant, oldest first; the rest waits for the next.
const SWEEP_MAX: u32 = 500;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub looked_at: u32,
    pub resolved: u32,
}

impl Engine {
    /// Once at start and then in a loop: everything that is open is held against the chain.
    pub async fn sweep(&self, tenant: &TenantId) -> Result<Swept, EngineError> {
        let identity = service(tenant, "reconciler")?;
        let mut swept = Swept::default();
        for spend in self.store.open_spends(tenant, None, SWEEP_MAX).await? {
            swept.looked_at += 1;
            match self.reconcile_spend(&identity, &spend).await {
                Ok(state) if !state.is_open() => swept.resolved += 1,
                Ok(_) => {}
                Err(error) => tracing::warn!(spend = %spend.id, code = error.code(), "not reconciled: {error}"),
            }
        }
        for settlement in self.store.open_settlements(tenant, SWEEP_MAX).await? {
            swept.looked_at += 1;
            match self.reconcile_settlement(&identity, &settlement).await {
                Ok(state) if !state.is_open() => swept.resolved += 1,
                Ok(_) => {}
                Err(error) => tracing::warn!(code = error.code(), "settlement not reconciled: {error}"),
            }
        }
        Ok(swept)
    }

    /// Holds one spend against the clock and the chain, and posts what is proved.
    pub async fn reconcile_spend(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        if spend.state == SpendState::Held {
            return self.expire(identity, spend).await;
        }
        if !spend.state.is_signed() {
            return Ok(spend.state);
        }
        let expected = book::expected_of_spend(spend)?;
        let id = spend.id;
        let command = match observe(self.chain.as_ref(), &expected, None, spend.since_block).await? {
            Outcome::Settled { transaction, block } => {
                Command::Settle { spend: id, seen: book::observation(&expected, transaction, &block)? }
            }
            Outcome::ProvedUnused { finalized } => {
                Command::Release { spend: id, proof: ReleaseProof::Unused(book::proof(&finalized)) }
            }
            Outcome::Canceled { transaction, block } => {
                if !self.is_final(block.number).await? {
                    return Ok(spend.state);
                }
                Command::Release { spend: id, proof: ReleaseProof::Canceled(book::reference(transaction)?) }
            }
            Outcome::SpentOtherwise { transaction, block, .. } => {
                if !self.is_final(block.number).await? {
                    return Ok(spend.state);
                }
                tracing::error!(spend = %id, "the authorization was consumed and our payee was not paid");
                Command::Misspend { spend: id, transaction: book::reference(transaction)? }
            }
            Outcome::Pending | Outcome::Unknown => return self.wait_or_doubt(identity, spend).await,
        };
        self.state_after(identity, spend, command).await
    }

    /// Past its last moment and still neither seen nor disproved: it is unknown, and stays held.
    async fn wait_or_doubt(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        if spend.state == SpendState::Unknown || self.clock.now().seconds() < spend.valid_before {
            return Ok(spend.state);
        }
        self.state_after(identity, spend, Command::Doubt { spend: spend.id }).await
    }

    async fn expire(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        if self.clock.now() < spend.expires_at {
            return Ok(spend.state);
        }
        self.state_after(identity, spend, Command::Expire { spend: spend.id }).await
    }

    async fn state_after(
        &self,
        identity: &Identity,
        spend: &Spend,
        command: Command,
    ) -> Result<SpendState, EngineError> {
        let answer = self.run(identity, command, Vec::new()).await?;
        let state = answer.spend.map_or(spend.state, |after| after.state);
        tracing::info!(spend = %spend.id, from = %spend.state, to = %state, "spend reconciled");
        Ok(state)
    }

    pub(crate) async fn is_final(&self, number: u64) -> Result<bool, EngineError> {
        Ok(self.chain.block(x402::chain::At::Finalized).await?.number >= number)
    }

    /// The transaction of somebody else that used the authorization up for good. Ours can move nothing any more, also
    /// where it never comes into a block because its account's nonce went to another one.
    pub(crate) async fn used_by_another(
        &self,
        outcome: &Outcome,
        ours: Option<B256>,
    ) -> Result<Option<B256>, EngineError> {
        let (transaction, block) = match outcome {
            Outcome::Settled { transaction, block }
            | Outcome::Canceled { transaction, block }
            | Outcome::SpentOtherwise { transaction, block, .. } => (*transaction, block),
            Outcome::Pending | Outcome::ProvedUnused { .. } | Outcome::Unknown => return Ok(None),
        };
        let is_final = Some(transaction) != ours && self.is_final(block.number).await?;
        Ok(is_final.then_some(transaction))
    }

    /// The same for what we sell or carry.
    pub async fn reconcile_settlement(
        &self,
        identity: &Identity,
        settlement: &Settlement,
    ) -> Result<SettlementState, EngineError> {
        match (settlement.key.role, settlement.state) {
            (_, state) if !state.is_open() => Ok(state),
            // The document is written before anything is sent: a claim without one has sent nothing. But only the
            // process that made it may be about to; so it is given up when its time is over, or at start.
            (Role::Facilitator, SettlementState::Claimed) => {
                if self.clock.now().seconds() < settlement.valid_before {
                    return Ok(settlement.state);
                }
                let key = settlement.key.clone();
                self.settlement_after(identity, settlement, Command::Abandon { settlement: key }).await
            }
            (Role::Facilitator, _) => self.carry_on(identity, settlement).await,
            // Its handler runs, or its settlement is awaited: whoever has it in hand looks.
            _ if self.desk.has(&identity.tenant, &settlement.key) => Ok(settlement.state),
            _ => self.look_for_sale(identity, settlement).await,
        }
    }

    /// A sale is settled by whoever submits the authorization: the transfer to our payee is what counts.
    pub(crate) async fn look_for_sale(
        &self,
        identity: &Identity,
        sale: &Settlement,
    ) -> Result<SettlementState, EngineError> {
        let expected = book::expected(&sale.key.authorization, &sale.pay_to, sale.money.amount, sale.valid_before)?;
        let key = sale.key.clone();
        let command = match observe(self.chain.as_ref(), &expected, None, sale.since_block).await? {
            Outcome::Settled { transaction, block } => {
                let seen = book::observation(&expected, transaction, &block)?;
                Command::Receive { settlement: key, seen, gas: None }
            }
            Outcome::ProvedUnused { finalized } => {
                let proof = FailureProof::Unused(book::proof(&finalized));
                Command::Fail { settlement: key, proof, gas: None }
            }
            Outcome::Canceled { transaction, block } | Outcome::SpentOtherwise { transaction, block, .. } => {
                if !self.is_final(block.number).await? {
                    return Ok(sale.state);
                }
                let proof = FailureProof::Reverted(book::reference(transaction)?);
                Command::Fail { settlement: key, proof, gas: None }
            }
            Outcome::Pending | Outcome::Unknown => return Ok(sale.state),
        };
        self.settlement_after(identity, sale, command).await
    }

    pub(crate) async fn settlement_after(
        &self,
        identity: &Identity,
        settlement: &Settlement,
        command: Command,
    ) -> Result<SettlementState, EngineError> {
        let answer = self.run(identity, command, Vec::new()).await?;
        Ok(answer.settlement.map_or(settlement.state, |after| after.state))
    }

    /// Looks at one spend until it is resolved or the time is over.
    pub async fn await_spend(
        &self,
        identity: &Identity,
        id: SpendId,
        patience: Duration,
    ) -> Result<Spend, EngineError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut pause = Duration::from_millis(20);
        loop {
            let spend = self.spend(identity, id).await?;
            if spend.state.is_signed() {
                self.reconcile_spend(identity, &spend).await?;
            }
            let spend = self.spend(identity, id).await?;
            if !spend.state.is_open() || tokio::time::Instant::now() + pause >= deadline {
                return Ok(spend);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    pub async fn spend(&self, identity: &Identity, id: SpendId) -> Result<Spend, EngineError> {
        let spend = self.store.spend(&identity.tenant, id).await?;
        spend.ok_or_else(|| EngineError::NotFound { what: "payment", id: id.to_string() })
    }
}
