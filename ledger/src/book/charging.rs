//! Payments of which less may be taken than was signed (x402 scheme `upto`): the hold is the most, and what was taken is
//! for the chain to say.
//!
//! The signature is a cheque for the most until its nonce is used up for good. So such a payment is settled by a final
//! block alone: from a young one the rest could be given back, spent again, and then be taken after all.

use super::spending::{check_seen, leg, moves, outstanding, window_moves};
use super::{Draft, settling};
use crate::account::Account;
use crate::budget::BudgetStep;
use crate::effects::Effects;
use crate::money::Amount;
use crate::rejection::{Fault, Refusal, Rejection};
use crate::settlement::Settlement;
use crate::spend::{Observation, Spend};
use crate::transfer::{Layer, Money, Resolves, Transfer, TransferCode, TransferId};

/// The spend with what was taken in place of what was signed for.
pub(super) fn taken(found: &Spend, seen: &Observation, finalized: u64) -> Result<Spend, Refusal> {
    if !found.authorization.is_at_most() {
        check_seen(seen, &found.pay_to, found.money.amount)?;
        return Ok(found.clone());
    }
    let most = found.money.amount;
    let left = most.checked_sub(seen.amount).filter(|_| !seen.amount.is_zero() && seen.pay_to == found.pay_to);
    let Some(left) = left else {
        let expected = format!("at most {most} to {}", found.pay_to);
        let found = format!("{} to {}", seen.amount, seen.pay_to);
        return Err(Rejection::SettlementMismatch { expected, found }.into());
    };
    if seen.block_number > finalized {
        let what = format!("spend {}", found.id);
        return Err(Rejection::NotFinal { what, block: seen.block_number, finalized }.into());
    }
    // What is not a whole unit of the rest stays spent.
    let authority = found.authority.checked_sub(found.authority_of(left));
    let authority = authority.ok_or_else(|| Fault::Broken("a rest is more than its whole".to_owned()))?;
    let money = Money { amount: seen.amount, ..found.money.clone() };
    Ok(Spend { authority, money, ..found.clone() })
}

impl Draft<'_> {
    /// What was signed for and not taken, at every node and window that held it.
    pub(super) fn give_rest_back(&self, effects: &mut Effects, found: &Spend, taken: &Spend) -> Result<(), Refusal> {
        let broken = || Fault::Broken("more was taken than was signed".to_owned());
        let authority = found.authority.checked_sub(taken.authority).ok_or_else(broken)?;
        if !authority.is_zero() {
            effects.moves.extend(moves(&self.path(found)?, BudgetStep::Restore, authority));
            effects.windows.extend(window_moves(&found.windows, BudgetStep::Restore, authority));
        }
        let rest = found.money.amount.checked_sub(taken.money.amount).ok_or_else(broken)?;
        if !rest.is_zero() {
            let payable = || Account::Payable(found.payee.clone());
            let back = leg(found, TransferCode::Unissue, outstanding(found), payable());
            effects.transfers.push(Transfer { amount: rest, ..back });
            let undone = leg(found, TransferCode::Release, payable(), Account::Spend(found.budget));
            effects.transfers.push(Transfer { amount: rest, ..undone });
        }
        Ok(())
    }
}

/// A seller's own word on what it charges, before anybody carries it: never more than was claimed. Of nothing there is
/// nothing to wait for.
pub(super) fn charge(effects: &mut Effects, found: &Settlement, charged: Amount) -> Result<Settlement, Refusal> {
    let most = found.money.amount;
    if charged > most {
        let (expected, found) = (format!("a charge of at most {most}"), charged.to_string());
        return Err(Rejection::SettlementMismatch { expected, found }.into());
    }
    let Some(pending) = found.pending.filter(|_| charged != most) else { return Ok(found.clone()) };
    let resolves = Some(Resolves { transfer: pending, amount: most });
    effects.transfers.push(settling::sale(&found.money, TransferCode::Release, Layer::Void, resolves));
    let money = Money { amount: charged, ..found.money.clone() };
    let pending = (!charged.is_zero()).then(|| {
        effects.transfers.push(settling::sale(&money, TransferCode::Sale, Layer::Pending, None));
        TransferId { seq: effects.seq, leg: 1 }
    });
    Ok(Settlement { money, pending, ..found.clone() })
}
