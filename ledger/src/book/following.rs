//! What was settled in a block that the chain could still take back: looked at again until it is final, and held again
//! where it is gone.

use super::settling::{burn, given_up, owed_again, sale};
use super::spending::{check_seen, leg};
use super::{Draft, Outcome, done};
use crate::account::Account;
use crate::budget::BudgetStep;
use crate::command::Gas;
use crate::effects::{Fact, Operation};
use crate::id::{RailReference, SpendId};
use crate::rejection::{Refusal, Rejection};
use crate::settlement::{Role, Settlement, SettlementKey, SettlementState};
use crate::spend::{BlockRef, Observation, Spend, SpendState, TakenBack};
use crate::transfer::{Layer, TransferCode, TransferId};

impl Draft<'_> {
    /// The reverse of the settlement, at every node and window that counted it. What is held and posted together stays as
    /// it was, so it fits wherever the settlement fitted. The cheque is uncleared again: only a proof releases it.
    pub(super) fn unsettle(&self, spend: SpendId, proof: &TakenBack) -> Result<Outcome, Refusal> {
        let Some(found) = self.spend_in(spend, &[SpendState::Settled], &[])? else { return Ok(Outcome::Known) };
        let what = || format!("spend {spend}");
        check_taken_back(what, found.young, found.transaction.as_ref(), proof)?;
        let mut effects = self.effects(Operation::Unsettle);
        self.move_budgets(&mut effects, found, BudgetStep::Unpost)?;
        effects.transfers = vec![leg(found, TransferCode::Unsettle, found.wallet(), Account::Issued)];
        effects.spend = Some(Spend { state: SpendState::Submitted, young: None, ..found.clone() });
        effects.fact = Some(Fact::TakenBack(proof.clone()));
        done(effects)
    }

    /// The same transaction may have come into another block since: the one that is final is the one that is named.
    pub(super) fn finalise(&self, spend: SpendId, seen: &Observation, finalized: u64) -> Result<Outcome, Refusal> {
        let Some(found) = self.spend_in(spend, &[SpendState::Settled], &[])? else { return Ok(Outcome::Known) };
        if found.young.is_none() {
            return Ok(Outcome::Known);
        }
        check_seen(seen, &found.pay_to, found.money.amount)?;
        check_final(|| format!("spend {spend}"), found.transaction.as_ref(), seen, finalized)?;
        let mut effects = self.effects(Operation::Finalise);
        effects.spend = Some(Spend { young: None, ..found.clone() });
        effects.fact = Some(Fact::Seen(seen.clone()));
        done(effects)
    }

    /// What was served cannot be unserved: the sale stands, and its price is owed until the chain shows it again or proves
    /// that it never will. What was not given is not sold yet: the sale waits for its payment, as it did before.
    pub(super) fn unreceive(&self, key: &SettlementKey, proof: &TakenBack) -> Result<Outcome, Refusal> {
        let Some(found) = self.settled(key)? else { return Ok(Outcome::Known) };
        check_taken_back(|| named(key), found.young, found.transaction.as_ref(), proof)?;
        let mut effects = self.effects(Operation::Unreceive);
        if found.key.role == Role::Seller {
            effects.transfers = vec![owed_again(found)];
        }
        let pending = found.pending.filter(|_| found.is_kept());
        let pending = pending.map(|_| {
            effects.transfers.push(given_up(found));
            effects.transfers.push(sale(&found.money, TransferCode::Sale, Layer::Pending, None));
            TransferId { seq: effects.seq, leg: 2 }
        });
        let again = Settlement { young: None, taken_back: found.young, pending, ..found.clone() };
        effects.settlement = Some(match (found.state, found.document) {
            // Nothing was given for it and nothing is paid: the payment may be presented again.
            (SettlementState::Undelivered, _) => {
                effects.transfers.push(given_up(found));
                Settlement { state: SettlementState::Abandoned, document: None, transaction: None, ..again }
            }
            // Back to where it was: one whose answer was never stored is claimed, and no more.
            (_, Some(_)) => Settlement { state: SettlementState::Submitted, ..again },
            (_, None) => Settlement { state: SettlementState::Claimed, ..again },
        });
        effects.fact = Some(Fact::TakenBack(proof.clone()));
        done(effects)
    }

    pub(super) fn conclude(
        &self,
        key: &SettlementKey,
        seen: &Observation,
        finalized: u64,
        gas: Option<&Gas>,
    ) -> Result<Outcome, Refusal> {
        let Some(found) = self.settled(key)? else { return Ok(Outcome::Known) };
        if found.young.is_none() {
            return Ok(Outcome::Known);
        }
        check_seen(seen, &found.pay_to, found.money.amount)?;
        check_final(|| named(key), found.transaction.as_ref(), seen, finalized)?;
        let mut effects = self.effects(Operation::Conclude);
        burn(&mut effects, gas);
        effects.settlement = Some(Settlement { young: None, ..found.clone() });
        effects.fact = Some(Fact::Seen(seen.clone()));
        done(effects)
    }

    fn settled(&self, key: &SettlementKey) -> Result<Option<&Settlement>, Refusal> {
        let settled = [SettlementState::Settled, SettlementState::Undelivered];
        self.settlement_in(key, &settled, SettlementState::Settled)
    }
}

pub(super) fn named(key: &SettlementKey) -> String {
    format!("the authorization {}", hex::encode(key.authorization.nonce))
}

/// Another block in the place of the very one that was booked, and of none that is final.
fn check_taken_back(
    what: impl Fn() -> String,
    young: Option<BlockRef>,
    transaction: Option<&RailReference>,
    proof: &TakenBack,
) -> Result<(), Rejection> {
    let Some(block) = young else {
        return Err(Rejection::SettlementFinal { what: what(), found: proof.block.to_string() });
    };
    if proof.block == block && proof.instead != block.hash && transaction == Some(&proof.transaction) {
        return Ok(());
    }
    let text = |transaction: &str, block: BlockRef| format!("{transaction} in block {block}");
    let expected = text(transaction.map_or("", |transaction| transaction.as_str()), block);
    let instead = hex::encode(proof.instead);
    let found = format!("{}, and 0x{instead} in its place", text(proof.transaction.as_str(), proof.block));
    Err(Rejection::NotReorganised { expected, found })
}

/// The transaction that was booked, in a block that is final.
fn check_final(
    what: impl Fn() -> String,
    transaction: Option<&RailReference>,
    seen: &Observation,
    finalized: u64,
) -> Result<(), Rejection> {
    if transaction != Some(&seen.transaction) {
        let expected = transaction.map_or_else(String::new, ToString::to_string);
        return Err(Rejection::SettlementMismatch { expected, found: seen.transaction.to_string() });
    }
    if seen.block_number > finalized {
        return Err(Rejection::NotFinal { what: what(), block: seen.block_number, finalized });
    }
    Ok(())
}
