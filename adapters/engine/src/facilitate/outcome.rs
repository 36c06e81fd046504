//! What became of a transaction that was sent, and the same bytes again where nothing did yet.

use std::time::Instant;

use alloy_primitives::B256;
use ledger::command::{Command, FailureProof, Gas};
use ledger::money::Amount;
use ledger::settlement::{Settlement, SettlementState};
use x402::batch_settlement::CallKind;
use x402::chain::{Receipt, UsedNonce};
use x402::settlement::{Expected, NonceSpace, Outcome, observe_after};

use super::claims::charged_nothing;
use crate::desk::Seen;
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
        let (finalized, receipt, sent) = self.mined(identity, settlement, ours).await?;
        let ours = receipt.as_ref().map(|receipt| receipt.transaction).or(ours);
        let last = receipt.as_ref().filter(|receipt| receipt.block.number <= finalized);
        let gas = last.map(|receipt| self.gas(identity, &expected, receipt)).transpose()?.flatten();
        let is_mined = last.is_some();
        // In a block that can be taken back it may yet move the money, where it comes before whatever made it revert.
        // A call of the escrow has no other way than ours: where it is final without its log, it came to nothing.
        let is_call = matches!(expected.key.space, NonceSpace::Escrow(_) | NonceSpace::Gas);
        let reverted = last.is_some_and(|receipt| !receipt.success || is_call);
        let has_reverted = receipt.as_ref().is_some_and(|receipt| !receipt.success);
        let key = key.clone();
        let fetched = receipt.clone().filter(|_| expected.key.space == NonceSpace::Escrow(CallKind::Finalize));
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
                let is_early = fetched.is_some() && block.number > finalized;
                if is_early || !self.is_confirmed(&block).await? {
                    return Ok(settlement.state);
                }
                // Before it is over: from then on nobody looks at it again.
                if let Some(receipt) = &fetched {
                    self.book_withdrawal(identity, receipt, &expected).await?;
                }
                let seen = book::observation(&expected, transaction, &block)?;
                Command::Receive { settlement: key, seen, finalized, gas }
            }
            // In its final block, and not among what moved there: others did, or it reverted as a whole. It can be tried again.
            (Outcome::Pending, Some(_)) if is_mined && self.goes_together(identity, settlement).await? => {
                self.desk.failed_among_others(&identity.tenant, &key);
                Command::Abandon { settlement: key }
            }
            (Outcome::ProvedUnused { finalized }, _) => {
                let proof = FailureProof::Unused(book::proof(&finalized));
                Command::Fail { settlement: key, proof, gas }
            }
            (_, Some(ours)) if reverted || self.is_overtaken(identity, settlement, &expected).await? => {
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

    /// The receipt of whichever of its transactions is in a block, the last final block as it was before, and those that may
    /// carry it, as far as that had to be asked.
    async fn mined(
        &self,
        identity: &Identity,
        settlement: &Settlement,
        ours: Option<B256>,
    ) -> Result<(u64, Option<Receipt>, Vec<B256>), EngineError> {
        let Some(transaction) = ours else { return Ok((self.finalized().await?, None, Vec::new())) };
        let (finalized, mut receipt) = self.seen(transaction).await?;
        if receipt.is_some() {
            return Ok((finalized, receipt, vec![transaction]));
        }
        // One of those that replace it may be in a block.
        let sent = self.sent(identity, settlement).await?;
        for transaction in sent.iter().skip(1) {
            if receipt.is_none() {
                receipt = self.seen(*transaction).await?.1;
            }
        }
        Ok((finalized, receipt, sent))
    }

    /// A transaction's receipt, and the last final block as it was before. Those who share it look once.
    async fn seen(&self, transaction: B256) -> Result<(u64, Option<Receipt>), EngineError> {
        let asked = Instant::now();
        let look = self.desk.look(transaction);
        let mut last = look.lock().await;
        if let Some(seen) = last.as_ref().filter(|seen| seen.begun >= asked) {
            return Ok((seen.finalized, seen.receipt.clone()));
        }
        let begun = Instant::now();
        let receipt = async { Ok::<_, EngineError>(self.chain.receipt(transaction).await?) };
        let (finalized, receipt) = tokio::try_join!(self.finalized(), receipt)?;
        *last = Some(Seen { begun, finalized, receipt: receipt.clone() });
        Ok((finalized, receipt))
    }

    /// What carrying it took. Those whose payments moved in one transaction bear it together, to the last unit.
    pub(crate) fn gas(
        &self,
        identity: &Identity,
        expected: &Expected,
        receipt: &Receipt,
    ) -> Result<Option<Gas>, EngineError> {
        let (key, tenant) = (expected.key, self.tenant(&identity.tenant)?);
        let payer = match (key.space, &tenant.facilitator) {
            (NonceSpace::Escrow(kind), _) if kind.takes_back() => expected.to,
            (_, Some(role)) => role.sender(receipt.sender),
            (_, None) => return Ok(None),
        };
        let mut gas = book::gas(payer, self.network, receipt)?;
        // What a payer was given for its approval is what carrying its payment took.
        if key.space == NonceSpace::Gas && receipt.success {
            let given = gas.money.amount.checked_add(book::amount(expected.value)?);
            gas.money.amount = given.ok_or_else(|| EngineError::Broken("gas leaves the range of an amount".into()))?;
        }
        if receipt.used.len() > 1 {
            let is_own = |used: &UsedNonce| key.used_in(receipt) == Some(used);
            let Some(place) = receipt.used.iter().position(is_own) else { return Ok(None) };
            gas.money.amount = share(gas.money.amount, place, receipt.used.len());
        }
        Ok(Some(gas))
    }
}

/// One part of so many; what does not divide falls to the later ones.
fn share(whole: Amount, place: usize, parts: usize) -> Amount {
    let [place, parts] = [place, parts].map(|number| u128::try_from(number).unwrap_or(u128::MAX));
    let (each, rest) = (whole.get() / parts.max(1), whole.get() % parts.max(1));
    Amount::new(each.saturating_add(u128::from(place >= parts.saturating_sub(rest))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_transaction_are_all_of_it() {
        for (whole, parts) in [(0, 1), (0, 5), (1, 2), (7, 3), (100, 16), (u128::MAX, 7), (5, 1)] {
            let shares = (0..parts).map(|place| share(Amount::new(whole), place, parts).get());
            assert_eq!(shares.clone().sum::<u128>(), whole, "{whole} in {parts}");
            assert!(shares.clone().max().unwrap() - shares.min().unwrap() <= 1);
        }
    }
}
