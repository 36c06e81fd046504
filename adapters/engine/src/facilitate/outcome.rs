//! What became of a transaction that was sent, and the same bytes again where nothing did yet.

use ledger::command::{Command, FailureProof, Gas};
use ledger::settlement::{Settlement, SettlementState};
use x402::chain::Receipt;
use x402::settlement::{Outcome, observe_after};

use super::claims::charged_nothing;
use crate::error::EngineError;
use crate::{Engine, Identity, book};

impl Engine {
    /// After a restart, or when nobody waits any more: the same bytes again, and a look at the chain. Who asks next is
    /// the first to learn it; unless somebody in this process is waiting, who then learns it first.
    pub(crate) async fn carry_on(
        &self,
        identity: &Identity,
        settlement: &Settlement,
    ) -> Result<SettlementState, EngineError> {
        let Some(_in_hand) = self.desk.take(&identity.tenant, &settlement.key) else { return Ok(settlement.state) };
        let listed = settlement.state;
        let now = self.store.settlement(&identity.tenant, &settlement.key).await?;
        let Some(settlement) = now.filter(|now| now.state == SettlementState::Submitted) else {
            return Ok(listed);
        };
        if settlement.taken_back.is_none() {
            self.desk.owe_answer(&identity.tenant, &settlement.key);
        }
        let state = self.look(identity, &settlement).await?;
        if state == SettlementState::Submitted && !charged_nothing(&settlement) {
            self.resume_ladder(identity, &settlement).await?;
            self.send(identity, &settlement, self.due(&identity.tenant, &settlement.key)).await;
        }
        Ok(state)
    }

    pub(super) async fn look(
        &self,
        identity: &Identity,
        settlement: &Settlement,
    ) -> Result<SettlementState, EngineError> {
        if !settlement.state.is_open() {
            return Ok(settlement.state);
        }
        let (key, amount) = (&settlement.key, settlement.money.amount);
        let expected = book::expected(&key.authorization, &settlement.pay_to, amount, settlement.valid_before)?;
        let ours = settlement.transaction.as_ref().and_then(book::transaction);
        let receipt = async {
            match ours {
                Some(transaction) => Ok::<_, EngineError>(self.chain.receipt(transaction).await?),
                None => Ok(None),
            }
        };
        let (finalized, mut receipt) = tokio::try_join!(self.finalized(), receipt)?;
        let mut sent: Vec<_> = ours.into_iter().collect();
        if receipt.is_none() {
            // One of those that replace it may be in a block.
            sent = self.sent(identity, settlement).await?;
            for transaction in sent.iter().skip(1) {
                receipt = receipt.or(self.chain.receipt(*transaction).await?);
            }
        }
        let ours = receipt.as_ref().map(|receipt| receipt.transaction).or(ours);
        let last = receipt.as_ref().filter(|receipt| receipt.block.number <= finalized);
        let gas = last.map(|receipt| self.gas(identity, receipt)).transpose()?.flatten();
        // In a block that can be taken back it may yet move the money, where it comes before whatever made it revert.
        let reverted = last.is_some_and(|receipt| !receipt.success);
        let has_reverted = receipt.as_ref().is_some_and(|receipt| !receipt.success);
        let key = key.clone();
        let outcome = observe_after(self.chain.as_ref(), &expected, receipt, settlement.since_block).await?;
        // Final or not: a wallet that does it again before that is not carried for meanwhile.
        if has_reverted && matches!(outcome, Outcome::Pending | Outcome::ProvedUnused { .. }) {
            self.desk.wasted_gas(expected.key.payer);
        }
        let other = Self::used_by_another(&outcome, ours, finalized).filter(|other| !sent.contains(other));
        let command = match (outcome, ours) {
            (Outcome::Settled { transaction, block, .. }, _)
                if ours == Some(transaction) || sent.contains(&transaction) =>
            {
                if !self.is_confirmed(&block).await? {
                    return Ok(settlement.state);
                }
                let seen = book::observation(&expected, transaction, &block)?;
                Command::Receive { settlement: key, seen, finalized, gas }
            }
            (Outcome::ProvedUnused { finalized }, _) => {
                let proof = FailureProof::Unused(book::proof(&finalized));
                Command::Fail { settlement: key, proof, gas }
            }
            (_, Some(ours)) if reverted => {
                let proof = FailureProof::Reverted(book::reference(ours)?);
                Command::Fail { settlement: key, proof, gas }
            }
            _ if let Some(other) = other => {
                let proof = FailureProof::Reverted(book::reference(other)?);
                Command::Fail { settlement: key, proof, gas }
            }
            _ => return Ok(settlement.state),
        };
        let came_to_nothing = matches!(command, Command::Fail { .. });
        let state = self.settlement_after(identity, settlement, command).await?;
        if came_to_nothing {
            self.desk.distrust_lanes(&identity.tenant);
        }
        self.desk.waits_no_more(&identity.tenant, &settlement.key);
        Ok(state)
    }

    pub(crate) fn gas(&self, identity: &Identity, receipt: &Receipt) -> Result<Option<Gas>, EngineError> {
        let role = self.tenant(&identity.tenant)?.facilitator.clone();
        role.map(|role| book::gas(&role, self.network, receipt)).transpose()
    }
}
