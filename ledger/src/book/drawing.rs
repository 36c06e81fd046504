//! Payments out of a channel (see [`crate::channel`]): one step at a time, never beyond what was reserved for it.
//!
//! What a payee says that it charged is its word. A voucher stays good for the whole that was signed until another one takes
//! its place or nothing is left in the channel, so the whole stays spent until then, and only then does the rest come back.
//! What is spent and held is never less than what the payee can claim.

use super::presenting::DRAWN;
use super::spending::{leg, moves, outstanding, window_moves};
use super::{Draft, Outcome, claimant, done};
use crate::account::Account;
use crate::budget::BudgetStep;
use crate::channel::{Step, is_same, number_of, sibling};
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::command::{Covering, Hold, Refund};
use crate::effects::{Fact, Operation};
use crate::id::{Digest, RailReference, SpendId};
use crate::money::Amount;
use crate::rejection::{Fault, Refusal, Rejection};
use crate::settlement::{Role, SettlementKey};
use crate::spend::{Authorization, Spend, SpendState};
use crate::transfer::{Money, Transfer, TransferCode};
use crate::view::{Keys, View};

/// Money of the wallet's own for a channel, which its subject names.
pub(super) fn is_deposit(key: &SettlementKey) -> bool {
    key.role == Role::Wallet && key.authorization.nonce_space().is_none()
}

/// The same transfer from the wallet into the channel.
pub(super) fn deposit(key: &SettlementKey, channel: Digest, transfer: Transfer) -> Transfer {
    let own = &key.authorization;
    let credit = Account::Wallet(format!("{}:{}", own.chain(), own.payer));
    let debit = Account::channel(&Authorization { nonce: channel.0, ..own.clone() });
    Transfer { debit, credit, ..transfer }
}

fn step_before(authorization: &Authorization) -> Option<ClaimKey> {
    let number = number_of(authorization)?.checked_sub(1)?;
    Some(ClaimKey::Authorization(sibling(authorization, number)))
}

/// The step before, and then its spend.
pub(super) fn wants_step_before(view: &View, authorization: &Authorization, keys: &mut Keys) {
    let Some(key) = step_before(authorization) else { return };
    keys.claim(view, &key);
    if let Ok(Some(found)) = view.claims.find(&key.digest())
        && let ClaimOutcome::Spend(spend) = found.claim.outcome
    {
        keys.spend(view, spend);
    }
}

pub(super) fn wants_cover(view: &View, spend: SpendId, by: &Covering, keys: &mut Keys) {
    keys.spend(view, spend);
    if let Covering::Step(by) = by {
        keys.spend(view, *by);
    }
}

pub(super) fn wants_withdraw(view: &View, step: SpendId, refund: &Refund, keys: &mut Keys) {
    keys.spend(view, step);
    keys.claim(view, &ClaimKey::Refund(refund.place.clone()));
}

/// The spend once it is signed, with how its channel stands then.
pub(super) fn raised(found: &Spend) -> Result<Spend, Refusal> {
    if !found.authorization.is_drawn() {
        return Ok(found.clone());
    }
    let step = Step::of(found)?;
    let signed = step.signed(found.money.amount).ok_or_else(too_much)?;
    let transaction = Some(Step { highest: step.highest.max(signed), ..step }.reference()?);
    Ok(Spend { transaction, ..found.clone() })
}

fn too_much() -> Fault {
    Fault::Broken("the vouchers of a channel leave the range of an amount".to_owned())
}

impl Draft<'_> {
    /// Where the channel stands at this step: the one before it is answered, or was never signed.
    pub(super) fn step_of(&self, hold: &Hold) -> Result<Option<RailReference>, Refusal> {
        if !hold.authorization.is_drawn() {
            return Ok(None);
        }
        let number = number_of(&hold.authorization);
        number.ok_or_else(|| Fault::Broken("a voucher that is no step of its channel".to_owned()))?;
        let own = ClaimKey::Authorization(hold.authorization.clone());
        if let Some(found) = self.view.claims.find(&own.digest())? {
            return Err(Rejection::ChannelBusy { spend: claimant(&found.claim.outcome), state: "begun".into() }.into());
        }
        let Some(key) = step_before(&hold.authorization) else { return Ok(Some(Step::default().reference()?)) };
        let before = match self.view.claims.find(&key.digest())?.map(|found| &found.claim.outcome) {
            Some(ClaimOutcome::Spend(spend)) => self.view.spends.find(spend)?,
            _ => None,
        };
        let missing = || Rejection::ChannelBusy { spend: "the step before".to_owned(), state: "missing".to_owned() };
        let before = before.ok_or_else(missing)?;
        let step = Step::of(before)?;
        if !step.is_over(before.state) {
            let (spend, state) = (before.id.to_string(), before.state.to_string());
            return Err(Rejection::ChannelBusy { spend, state }.into());
        }
        let after = step.after().ok_or_else(too_much)?;
        Ok(Some(Step { before: after, charged: None, highest: step.highest }.reference()?))
    }

    /// Posted as a whole: what was not charged of it can still be claimed.
    pub(super) fn answer(&self, spend: SpendId, charged: Amount, document: Digest) -> Result<Outcome, Refusal> {
        let open = [SpendState::Committed, SpendState::Submitted, SpendState::Unknown];
        let known = [SpendState::Settled, SpendState::Released];
        let Some(found) = self.drawn(spend, &open, &known)? else { return Ok(Outcome::Known) };
        let step = Step::of(found)?;
        check_charge(found, charged)?;
        let mut effects = self.effects(Operation::Answer);
        self.move_budgets(&mut effects, found, BudgetStep::Post)?;
        effects.transfers = vec![leg(found, TransferCode::Settle, outstanding(found), found.wallet())];
        let transaction = Some(Step { charged: Some(charged), ..step }.reference()?);
        effects.spend = Some(Spend { state: SpendState::Settled, transaction, ..found.clone() });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    pub(super) fn cover(&self, spend: SpendId, by: &Covering) -> Result<Outcome, Refusal> {
        match by {
            Covering::Step(by) => {
                let Some(found) = self.drawn(spend, &[SpendState::Settled], &[])? else { return Ok(Outcome::Known) };
                let step = Step::of(found)?;
                let charged = step.charged.ok_or_else(|| Fault::Broken("settled without an answer".to_owned()))?;
                self.check_covered(found, &step, *by)?;
                self.uncharge(found, step, charged, Fact::Reference(found.evidence))
            }
            Covering::Closed { charged, proof } => {
                let fact = Fact::Unused(proof.clone());
                let open = [SpendState::Committed, SpendState::Submitted, SpendState::Unknown, SpendState::Settled];
                let Some(found) = self.drawn(spend, &open, &[SpendState::Released])? else { return Ok(Outcome::Known) };
                let step = Step::of(found)?;
                check_charge(found, *charged)?;
                if let Some(said) = step.charged.filter(|said| said > charged) {
                    let (expected, found) = (format!("a charge of at least {said}"), charged.to_string());
                    return Err(Rejection::SettlementMismatch { expected, found }.into());
                }
                if found.state != SpendState::Settled && proof.finalized_timestamp < found.valid_before {
                    let (valid_before, finalized_at) = (found.valid_before, proof.finalized_timestamp);
                    return Err(Rejection::NotProved { spend, valid_before, finalized_at }.into());
                }
                match found.state {
                    SpendState::Settled => self.uncharge(found, step, *charged, fact),
                    _ => self.close(found, step, *charged, fact),
                }
            }
        }
    }

    /// By a voucher of the same channel that is signed later, for as much or more, and whose own money is reserved or spent.
    fn check_covered(&self, found: &Spend, step: &Step, by: SpendId) -> Result<(), Refusal> {
        use SpendState::{Committed, Settled, Submitted, Unknown};
        let later = self.view.spends.find(&by)?.ok_or(Rejection::SpendUnknown { spend: by })?;
        let is_later = is_same(&found.authorization, &later.authorization)
            && number_of(&later.authorization) > number_of(&found.authorization)
            && matches!(later.state, Committed | Submitted | Unknown | Settled);
        let signed = step.signed(found.money.amount).ok_or_else(too_much)?;
        let reached = match is_later {
            true => Step::of(later)?.signed(later.money.amount).ok_or_else(too_much)?,
            false => Amount::ZERO,
        };
        if !is_later || reached < signed {
            return Err(Rejection::NotCovered { spend: found.id, signed, found: reached }.into());
        }
        Ok(())
    }

    /// What was posted and not charged comes back, at every node and window that counted it.
    fn uncharge(&self, found: &Spend, step: Step, charged: Amount, fact: Fact) -> Result<Outcome, Refusal> {
        let rest = found.money.amount.checked_sub(charged).unwrap_or(Amount::ZERO);
        if rest.is_zero() && step.charged == Some(charged) {
            return Ok(Outcome::Known);
        }
        let mut effects = self.effects(Operation::Cover);
        let taken = taken(found, step, charged)?;
        let back = found.authority.checked_sub(taken.authority).unwrap_or(Amount::ZERO);
        if !back.is_zero() {
            effects.moves = moves(&self.path(found)?, BudgetStep::Restore, back);
            effects.windows = window_moves(&found.windows, BudgetStep::Restore, back);
        }
        if !rest.is_zero() {
            let undone = leg(found, TransferCode::Uncharge, found.wallet(), Account::Spend(found.budget));
            effects.transfers = vec![Transfer { amount: rest, ..undone }];
        }
        effects.spend = Some(taken);
        effects.fact = Some(fact);
        done(effects)
    }

    /// Of one that nobody answered: what the escrow shows was charged, and the rest, or all of it, never can be.
    fn close(&self, found: &Spend, step: Step, charged: Amount, fact: Fact) -> Result<Outcome, Refusal> {
        let taken = taken(found, step, charged)?;
        if charged.is_zero() {
            let mut effects = self.released(found)?;
            effects.operation = Operation::Cover;
            let transaction = taken.transaction;
            effects.spend = Some(Spend { state: SpendState::Released, transaction, ..found.clone() });
            effects.fact = Some(fact);
            return done(effects);
        }
        let mut effects = self.effects(Operation::Cover);
        self.move_budgets(&mut effects, found, BudgetStep::Post)?;
        effects.transfers = vec![leg(&taken, TransferCode::Settle, outstanding(found), found.wallet())];
        self.give_rest_back(&mut effects, found, &taken)?;
        effects.spend = Some(taken);
        effects.fact = Some(fact);
        done(effects)
    }

    /// Once for each transfer, whoever names it.
    pub(super) fn withdraw(&self, step: SpendId, refund: &Refund, finalized: u64) -> Result<Outcome, Refusal> {
        let found = self.view.spends.find(&step)?.ok_or(Rejection::SpendUnknown { spend: step })?;
        check_drawn(found)?;
        let key = ClaimKey::Refund(refund.place.clone());
        let request = Digest::of(found.wallet().to_string().as_bytes());
        match self.view.claims.find(&key.digest())? {
            Some(known) if known.claim.request == request => return Ok(Outcome::Known),
            Some(known) => {
                let (transfer, by) = (refund.place.transaction.to_string(), claimant(&known.claim.outcome));
                return Err(Rejection::RefundClaimed { transfer, by }.into());
            }
            None => {}
        }
        let seen = &refund.seen;
        if seen.amount.is_zero() || seen.pay_to != found.authorization.payer {
            let expected = format!("something that comes to {}", found.authorization.payer);
            let found = format!("{} to {}", seen.amount, seen.pay_to);
            return Err(Rejection::SettlementMismatch { expected, found }.into());
        }
        if seen.block_number > finalized {
            let (what, block) = (format!("transaction {}", seen.transaction), seen.block_number);
            return Err(Rejection::NotFinal { what, block, finalized }.into());
        }
        let mut effects = self.effects(Operation::Withdraw);
        let wallet = Account::Wallet(format!("{}:{}", found.authorization.chain(), found.authorization.payer));
        let back = leg(found, TransferCode::Withdraw, wallet, found.wallet());
        effects.transfers = vec![Transfer { amount: seen.amount, ..back }];
        let outcome = ClaimOutcome::Seen(seen.transaction.clone());
        effects.claims = vec![Claim { key: key.digest(), request, outcome }];
        effects.fact = Some(Fact::Seen(seen.clone()));
        done(effects)
    }

    fn drawn(&self, spend: SpendId, from: &[SpendState], known: &[SpendState]) -> Result<Option<&Spend>, Refusal> {
        let found = self.spend_in(spend, from, known)?;
        found.map_or(Ok(()), check_drawn)?;
        Ok(found)
    }
}

/// What is of payments on a chain alone.
pub(super) fn off_channel(found: &Spend) -> Result<(), Rejection> {
    if !found.authorization.is_drawn() {
        return Ok(());
    }
    let expected = found.authorization.rail().to_string();
    Err(Rejection::RailMismatch { spend: found.id, expected, found: DRAWN.to_owned() })
}

fn check_drawn(found: &Spend) -> Result<(), Rejection> {
    if found.authorization.is_drawn() {
        return Ok(());
    }
    let (expected, what) = (DRAWN.to_owned(), found.authorization.rail().to_string());
    Err(Rejection::RailMismatch { spend: found.id, expected, found: what })
}

fn check_charge(found: &Spend, charged: Amount) -> Result<(), Rejection> {
    let most = found.money.amount;
    if charged <= most {
        return Ok(());
    }
    let (expected, found) = (format!("a charge of at most {most}"), charged.to_string());
    Err(Rejection::SettlementMismatch { expected, found })
}

/// The spend with what was charged in place of what was signed for.
fn taken(found: &Spend, step: Step, charged: Amount) -> Result<Spend, Refusal> {
    let rest = found.money.amount.checked_sub(charged).unwrap_or(Amount::ZERO);
    // What is not a whole unit of the rest stays spent; of nothing nothing does.
    let back = if charged.is_zero() { found.authority } else { found.authority_of(rest) };
    let authority = found.authority.checked_sub(back);
    let authority = authority.ok_or_else(|| Fault::Broken("a rest is more than its whole".to_owned()))?;
    let transaction = Some(Step { charged: Some(charged), ..step }.reference()?);
    let money = Money { amount: charged, ..found.money.clone() };
    Ok(Spend { state: SpendState::Settled, authority, money, transaction, ..found.clone() })
}
