//! The mandate rail: a payment mandate that is closed for somebody else, who pays with the instrument that it names and
//! answers with a receipt (AP2 v0.2, payment receipt). No chain shows what became of it; whoever it was closed for says it,
//! signed. Until then it is an uncleared cheque like any other.

use super::spending::{leg, outstanding};
use super::{Draft, Outcome, done};
use crate::account::Account;
use crate::budget::{BudgetMove, BudgetStep};
use crate::command::{Acknowledgement, Answered};
use crate::effects::{Effects, Fact, Operation};
use crate::gate::Scope;
use crate::id::{CallerKind, Digest, SpendId};
use crate::money::Amount;
use crate::rejection::{Refusal, Rejection};
use crate::spend::{Rail, Spend, SpendState};
use crate::transfer::TransferCode;
use crate::window::{Window, WindowMove};

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
        let found = self.view.spends.find(&spend)?.filter(|found| found.authorization.rail() == Rail::Mandate);
        match (found, receipt.answer) {
            // Both statements are kept already.
            (Some(found), _) if found.state == SpendState::SpentOtherwise => Ok(Outcome::Known),
            (Some(found), Answered::NotPaid) if found.state == SpendState::Settled => self.doubted(found, receipt),
            // What lapsed has no answer: nobody had it.
            (Some(found), Answered::Paid) if found.state == SpendState::Released && found.transaction.is_some() => {
                self.paid_after_all(found, receipt)
            }
            _ => self.answered(spend, receipt),
        }
    }

    /// Whoever it was closed for said that it was paid, and now says that it was not. Nothing is given back on that word:
    /// it is held again until a human has sorted it out, and stands in suspense.
    fn doubted(&self, found: &Spend, receipt: &Acknowledgement) -> Result<Outcome, Refusal> {
        let mut effects = self.effects(Operation::Misspend);
        self.move_budgets(&mut effects, found, BudgetStep::Unpost)?;
        effects.transfers = vec![
            leg(found, TransferCode::Unsettle, found.wallet(), Account::Issued),
            leg(found, TransferCode::Misspend, Account::Issued, Account::Suspense),
        ];
        done(contradicted(effects, found, receipt))
    }

    /// The other way round: it was given back, and may have been spent again since. The money is gone, so the books have it
    /// in full, and each node is charged as far as it has room: no cap is passed, and what passes one shows in suspense.
    fn paid_after_all(&self, found: &Spend, receipt: &Acknowledgement) -> Result<Outcome, Refusal> {
        let mut effects = self.effects(Operation::Misspend);
        for node in self.path(found)? {
            let amount = node.available().unwrap_or(Amount::MAX).min(room_beside(node.used())).min(found.authority);
            if !amount.is_zero() {
                effects.moves.push(BudgetMove { budget: node.id, step: BudgetStep::Charge, amount });
            }
        }
        for key in &found.windows {
            let limit = self.view.budgets.find(&key.budget)?;
            let limit = limit.and_then(|node| node.caps.limits.get(usize::from(key.limit)));
            let window = self.view.windows.find(key)?;
            let used = window.map_or(Some(Amount::ZERO), Window::used);
            // A limit that was lowered under what is counted takes nothing more, whatever it counts.
            let is_full = limit.is_none_or(|limit| {
                limit.payments.is_some_and(|most| window.is_some_and(|window| window.count > most))
            });
            let cap = limit.and_then(|limit| limit.amount).unwrap_or(Amount::MAX);
            let left = cap.checked_sub(used.unwrap_or(Amount::MAX)).unwrap_or(Amount::ZERO);
            let amount = left.min(room_beside(used)).min(found.authority);
            if !amount.is_zero() && !is_full {
                effects.windows.push(WindowMove { key: key.clone(), step: BudgetStep::Charge, amount });
            }
        }
        effects.transfers = vec![leg(found, TransferCode::Misspend, Account::Spend(found.budget), Account::Suspense)];
        done(contradicted(effects, found, receipt))
    }

    /// An operator says what became of it, where whoever it was closed for never does. Their receipt still counts
    /// afterwards: one that says otherwise is an incident.
    pub(super) fn resolve(&self, spend: SpendId, resolution: &Acknowledgement) -> Result<Outcome, Refusal> {
        let caller = &self.request.caller;
        if caller.kind != CallerKind::Operator {
            let (expected, found) = (CallerKind::Operator.to_string(), caller.kind.to_string());
            return Err(Rejection::OwnerMismatch { expected, found }.into());
        }
        self.check_gate(&Scope::Fence)?;
        self.answered(spend, resolution)
    }

    fn answered(&self, spend: SpendId, receipt: &Acknowledgement) -> Result<Outcome, Refusal> {
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
        match fence.filter(|_| found.authorization.rail() != Rail::Chain).map(|gate| gate.since.seconds()) {
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

/// A record that keeps the second of two statements which cannot both be true.
fn contradicted(effects: Effects, found: &Spend, receipt: &Acknowledgement) -> Effects {
    let (state, transaction) = (SpendState::SpentOtherwise, Some(receipt.transaction.clone()));
    let spend = Some(Spend { state, transaction, ..found.clone() });
    Effects { spend, fact: Some(Fact::Reference(receipt.document)), ..effects }
}

/// What can be added to a figure at all.
fn room_beside(used: Option<Amount>) -> Amount {
    used.and_then(|used| Amount::MAX.checked_sub(used)).unwrap_or(Amount::ZERO)
}

/// What one rail shows says nothing of a payment on the other.
pub(super) fn on_rail(found: &Spend, expected: Rail) -> Result<(), Rejection> {
    let rail = found.authorization.rail();
    // No transaction of a chain is one voucher's.
    let is_drawn = found.authorization.is_drawn();
    if rail == expected && !is_drawn {
        return Ok(());
    }
    let found_rail = if is_drawn { DRAWN.to_owned() } else { rail.to_string() };
    Err(Rejection::RailMismatch { spend: found.id, expected: expected.to_string(), found: found_rail })
}

/// What a payment is that a channel pays.
pub(super) const DRAWN: &str = "a voucher of a channel";

pub(super) fn off_rail(found: &Spend, other: Rail) -> Result<(), Rejection> {
    let rail = found.authorization.rail();
    if rail != other {
        return Ok(());
    }
    let others = [Rail::Chain, Rail::Mandate, Rail::Vault].into_iter().filter(|rail| *rail != other);
    let expected = others.map(|rail| rail.to_string()).collect::<Vec<_>>().join(" or ");
    Err(Rejection::RailMismatch { spend: found.id, expected, found: rail.to_string() })
}
