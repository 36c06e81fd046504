//! The mandate rail: a payment mandate that is closed for somebody else, who pays with the instrument that it names and
//! answers with a receipt (AP2 v0.2, payment receipt). No chain shows what became of it; whoever it was closed for says it,
//! signed. Until then it is an uncleared cheque like any other.

use super::spending::{leg, outstanding};
use super::{Draft, Outcome, done};
use crate::account::Account;
use crate::budget::BudgetStep;
use crate::command::{Acknowledgement, Answered};
use crate::effects::{Effects, Fact, Operation};
use crate::gate::Scope;
use crate::id::{Digest, SpendId};
use crate::rejection::{Refusal, Rejection};
use crate::spend::{Rail, Spend, SpendState};
use crate::transfer::TransferCode;

impl Draft<'_> {
    /// The last thing before anyone gets it. Afterwards only its receipt frees it.
    pub(super) fn present(&self, spend: SpendId, document: Digest) -> Result<Outcome, Refusal> {
        let known = [SpendState::Submitted, SpendState::Unknown, SpendState::Settled];
        let Some(found) = self.spend_in(spend, &[SpendState::Committed], &known)? else { return Ok(Outcome::Known) };
        on_rail(found, Rail::Mandate)?;
        if self.at.seconds() >= found.valid_before {
            let (expires_at, now) = (found.valid_before, self.at.seconds());
            return Err(Rejection::HoldExpired { spend, expires_at, now }.into());
        }
        self.check_may_be_signed(found)?;
        let mut effects = self.effects(Operation::Submit);
        effects.spend = Some(Spend { state: SpendState::Submitted, ..found.clone() });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    /// What the verifier's receipt says. Whether it is theirs was checked before.
    pub(super) fn acknowledge(&self, spend: SpendId, receipt: &Acknowledgement) -> Result<Outcome, Refusal> {
        let state = match receipt.answer {
            Answered::Paid => SpendState::Settled,
            Answered::NotPaid => SpendState::Released,
        };
        let presented = [SpendState::Submitted, SpendState::Unknown];
        let Some(found) = self.spend_in(spend, &presented, &[state])? else { return Ok(Outcome::Known) };
        on_rail(found, Rail::Mandate)?;
        // A word that it was not paid frees nothing while it can still be paid.
        if receipt.answer == Answered::NotPaid && self.at.seconds() < found.valid_before {
            let (expires_at, now) = (found.valid_before, self.at.seconds());
            return Err(Rejection::NotExpired { spend, expires_at, now }.into());
        }
        let mut effects = match receipt.answer {
            Answered::Paid => {
                let mut effects = self.effects(Operation::Settle);
                self.move_budgets(&mut effects, found, BudgetStep::Post)?;
                effects.transfers = vec![leg(found, TransferCode::Settle, outstanding(found), found.wallet())];
                effects
            }
            Answered::NotPaid => self.released(found)?,
        };
        let transaction = Some(receipt.transaction.clone());
        effects.spend = Some(Spend { state, transaction, ..found.clone() });
        effects.fact = Some(Fact::Reference(receipt.document));
        done(effects)
    }

    /// Its time is over and nobody ever got it: whoever got it would stand in the book.
    pub(super) fn lapse(&self, spend: SpendId) -> Result<Outcome, Refusal> {
        let found = self.spend_in(spend, &[SpendState::Committed], &[SpendState::Released])?;
        let Some(found) = found else { return Ok(Outcome::Known) };
        on_rail(found, Rail::Mandate)?;
        self.check_gate(&Scope::Fence)?;
        self.check_is_known(found)?;
        if self.at.seconds() < found.valid_before {
            let (expires_at, now) = (found.valid_before, self.at.seconds());
            return Err(Rejection::NotExpired { spend, expires_at, now }.into());
        }
        let mut effects = self.released(found)?;
        effects.spend = Some(Spend { state: SpendState::Released, ..found.clone() });
        done(effects)
    }

    /// A book that was set back may not know that somebody got it: whatever is of a time before its fence was lifted is never
    /// taken for something that nobody has.
    pub(super) fn check_is_known(&self, found: &Spend) -> Result<(), Refusal> {
        let fence = self.view.gates.find(&Scope::Fence)?;
        match fence.filter(|_| found.authorization.rail() == Rail::Mandate).map(|gate| gate.since.seconds()) {
            Some(since) if since >= found.valid_before => {
                Err(Rejection::MayBeOut { spend: found.id, valid_before: found.valid_before, since }.into())
            }
            _ => Ok(()),
        }
    }

    /// The legs and moves of a signed payment that can never happen.
    pub(super) fn released(&self, found: &Spend) -> Result<Effects, Refusal> {
        let mut effects = self.effects(Operation::Release);
        self.move_budgets(&mut effects, found, BudgetStep::Release)?;
        let payable = Account::Payable(found.payee.clone());
        effects.transfers = vec![
            leg(found, TransferCode::Unissue, outstanding(found), payable.clone()),
            leg(found, TransferCode::Release, payable, Account::Spend(found.budget)),
        ];
        Ok(effects)
    }
}

/// What one rail shows says nothing of a payment on the other.
pub(super) fn on_rail(found: &Spend, expected: Rail) -> Result<(), Rejection> {
    let rail = found.authorization.rail();
    if rail == expected {
        return Ok(());
    }
    Err(Rejection::RailMismatch { spend: found.id, expected: expected.to_string(), found: rail.to_string() })
}
