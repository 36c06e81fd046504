//! What is put right afterwards: money that comes back, and payments that a restored book does not know.

use super::following::named;
use super::presenting::{DRAWN, off_rail, on_rail};
use super::settling::{received, sale};
use super::spending::leg;
use super::{Draft, Outcome, claimant, done, drawing, unknown_budget};
use crate::account::Account;
use crate::budget::{BudgetMove, BudgetStep, Refunds};
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::codec::encode;
use crate::command::{Recover, Refund};
use crate::effects::{Fact, Operation};
use crate::gate::{GateState, Scope};
use crate::id::{BudgetId, CallerKind, Digest, Micros, PayeeId, SpendId};
use crate::money::Amount;
use crate::rejection::{Fault, Refusal, Rejection};
use crate::settlement::{Role, Settlement, SettlementKey, SettlementState};
use crate::spend::{Announced, Rail, Spend, SpendState};
use crate::transfer::{Layer, Resolves, Transfer, TransferCode, TransferId};
use crate::view::{Keys, View};
use crate::window::{Window, WindowKey, WindowMove, counted};

impl Draft<'_> {
    /// Never more than was paid, and one transfer on the rail once. What it gives back to a node is the node's to say.
    pub(super) fn refund(&self, spend: SpendId, refund: &Refund) -> Result<Outcome, Refusal> {
        let key = ClaimKey::Refund(refund.place.clone()).digest();
        if let Some(found) = self.view.claims.find(&key)? {
            return match &found.claim.outcome {
                ClaimOutcome::Spend(by) if *by == spend => Ok(Outcome::Known),
                by => {
                    let transfer = format!("{} of {}", refund.place.number, refund.place.transaction);
                    Err(Rejection::RefundClaimed { transfer, by: claimant(by) }.into())
                }
            };
        }
        let Some(found) = self.spend_in(spend, &[SpendState::Settled], &[])? else { return Ok(Outcome::Known) };
        off_rail(found, Rail::Mandate)?;
        // What comes back of one is the channel's; how much of it was spent may not be known yet.
        drawing::off_channel(found)?;
        // So a payment that gave something back is never taken back itself.
        if let Some(block) = found.young {
            return Err(Rejection::SettlementYoung { spend, block: block.number }.into());
        }
        let requested = refund.seen.amount;
        if requested.is_zero() {
            return Err(Rejection::AmountZero { found: requested }.into());
        }
        if refund.seen.pay_to != found.authorization.payer {
            let (expected, found) = (found.authorization.payer.clone(), refund.seen.pay_to.clone());
            return Err(Rejection::SettlementMismatch { expected, found }.into());
        }
        let left = found.money.amount.checked_sub(found.refunded).unwrap_or(Amount::ZERO);
        let refunded = found.refunded.checked_add(requested).filter(|_| requested <= left);
        let refunded = refunded.ok_or(Rejection::RefundExceedsPayment { spend, requested, left })?;
        let mut effects = self.effects(Operation::Refund);
        self.restore(&mut effects, found, refunded)?;
        let back = leg(found, TransferCode::Refund, found.wallet(), Account::Refunds);
        effects.transfers = vec![Transfer { amount: requested, resolves: announced(found), ..back }];
        effects.claims = vec![Claim { key, request: Digest::of(&spend.0), outcome: ClaimOutcome::Spend(spend) }];
        let outstanding = found.announced.and_then(|announced| announced.amount.checked_sub(requested));
        let announced = self.promise(&mut effects, found, outstanding.unwrap_or(Amount::ZERO));
        effects.spend = Some(Spend { refunded, announced, ..found.clone() });
        effects.fact = Some(Fact::Seen(refund.seen.clone()));
        done(effects)
    }

    /// Never more than was paid to us, from where it was paid to, to whoever paid it; and one transfer on the rail once. Both
    /// lie in final blocks: so a sale that gave something back is never taken back itself.
    pub(super) fn refund_sale(&self, key: &SettlementKey, refund: &Refund, finalized: u64) -> Result<Outcome, Refusal> {
        let (claim, own) = (ClaimKey::GivenBack(refund.place.clone()).digest(), Digest::of(&encode(key)));
        if let Some(taken) = self.view.claims.find(&claim)? {
            if taken.claim.request == own {
                return Ok(Outcome::Known);
            }
            let transfer = format!("{} of {}", refund.place.number, refund.place.transaction);
            return Err(Rejection::RefundClaimed { transfer, by: "another sale".to_owned() }.into());
        }
        let paid = [SettlementState::Settled, SettlementState::Undelivered];
        let Some(found) = self.settlement_in(key, &paid, SettlementState::Settled)? else { return Ok(Outcome::Known) };
        check_sold(found)?;
        let requested = refund.seen.amount;
        let refunded_in = Some(refund.seen.block_number).filter(|block| *block > finalized);
        if let Some(block) = found.young.map(|block| block.number).or(refunded_in) {
            return Err(Rejection::NotFinal { what: named(key), block, finalized }.into());
        }
        if requested.is_zero() {
            return Err(Rejection::AmountZero { found: requested }.into());
        }
        let payer = &key.authorization.payer;
        if refund.seen.pay_to != *payer {
            let (expected, found) = (payer.clone(), refund.seen.pay_to.clone());
            return Err(Rejection::SettlementMismatch { expected, found }.into());
        }
        let before = found.refunded.unwrap_or(Amount::ZERO);
        let left = found.money.amount.checked_sub(before).unwrap_or(Amount::ZERO);
        let refunded = before.checked_add(requested).filter(|_| requested <= left);
        let authorization = hex::encode(key.authorization.nonce);
        let refunded = refunded.ok_or(Rejection::RefundExceedsSale { authorization, requested, left })?;
        let mut effects = self.effects(Operation::GiveBack);
        let (wallet, code) = (received(found).debit, TransferCode::Refund);
        let given = sale(&found.money, code, Layer::Posted, None);
        effects.transfers = vec![Transfer { debit: Account::Returns, credit: wallet, amount: requested, ..given }];
        let outcome = ClaimOutcome::Seen(refund.seen.transaction.clone());
        effects.claims = vec![Claim { key: claim, request: own, outcome }];
        let after = Settlement { refunded: Some(refunded), ..found.clone() };
        effects.settlement = Some(match after.is_given_back() {
            // Nobody has anything to ask of the other for it.
            true => Settlement { state: SettlementState::Settled, pending: None, ..after },
            false => after,
        });
        effects.fact = Some(Fact::Seen(refund.seen.clone()));
        done(effects)
    }

    /// What the merchant says stands beside what came: the difference is promised, at most what it has of the payment.
    pub(super) fn announce(&self, spend: SpendId, refunds: Amount, document: Digest) -> Result<Outcome, Refusal> {
        let caller = &self.request.caller;
        if caller.kind != CallerKind::Service {
            let (expected, found) = (CallerKind::Service.to_string(), caller.kind.to_string());
            return Err(Rejection::OwnerMismatch { expected, found }.into());
        }
        let Some(found) = self.spend_in(spend, &[SpendState::Settled], &[])? else { return Ok(Outcome::Known) };
        on_rail(found, Rail::Vault)?;
        let due = refunds.min(found.money.amount).checked_sub(found.refunded).unwrap_or(Amount::ZERO);
        if due == found.announced.map_or(Amount::ZERO, |announced| announced.amount) {
            return Ok(Outcome::Known);
        }
        let mut effects = self.effects(Operation::Announce);
        if let Some(before) = announced(found) {
            let back = leg(found, TransferCode::Release, found.wallet(), Account::Refunds);
            let (amount, resolves) = (before.amount, Some(before));
            effects.transfers.push(Transfer { amount, layer: Layer::Void, resolves, ..back });
        }
        let announced = self.promise(&mut effects, found, due);
        effects.spend = Some(Spend { announced, ..found.clone() });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    /// A promise of this amount, as the last leg of the record; none of nothing.
    fn promise(&self, effects: &mut crate::effects::Effects, spend: &Spend, amount: Amount) -> Option<Announced> {
        if amount.is_zero() {
            return None;
        }
        let leg_number = u16::try_from(effects.transfers.len()).ok()?;
        let transfer = TransferId { seq: effects.seq, leg: leg_number };
        let back = leg(spend, TransferCode::Refund, spend.wallet(), Account::Refunds);
        effects.transfers.push(Transfer { amount, layer: Layer::Pending, ..back });
        let since = spend.announced.map_or(self.at, |announced| announced.since);
        Some(Announced { transfer, amount, since })
    }

    /// The nodes that say so get back what the refunds come to now, less what they got for earlier ones.
    fn restore(&self, effects: &mut crate::effects::Effects, spend: &Spend, refunded: Amount) -> Result<(), Refusal> {
        let (before, after) = (spend.authority_of(spend.refunded), spend.authority_of(refunded));
        let amount = after.checked_sub(before).ok_or_else(|| Fault::Broken("a refund takes".to_owned()))?;
        if amount.is_zero() {
            return Ok(());
        }
        let step = BudgetStep::Restore;
        for node in self.path(spend)?.into_iter().filter(|node| node.caps.refunds == Refunds::Restore) {
            effects.moves.push(BudgetMove { budget: node.id, step, amount });
            let windows = spend.windows.iter().filter(|key| key.budget == node.id);
            effects.windows.extend(windows.map(|key| WindowMove { key: key.clone(), step, amount }));
        }
        Ok(())
    }

    /// Of a payment that nobody here knows any more only this is sure: the wallet has paid it, and somebody above the
    /// mandates answers for it. Each node is charged as far as it has room.
    pub(super) fn recover(&self, recover: &Recover) -> Result<Outcome, Refusal> {
        let Some(key) = self.unaccounted(recover)? else { return Ok(Outcome::Known) };
        let caller = &self.request.caller;
        if caller.kind != CallerKind::Service {
            let (expected, found) = (CallerKind::Service.to_string(), caller.kind.to_string());
            return Err(Rejection::OwnerMismatch { expected, found }.into());
        }
        let fence = self.view.gates.find(&Scope::Fence)?.map_or(GateState::Open, |gate| gate.state);
        if fence != GateState::Closed {
            return Err(Rejection::NotFenced { found: fence.to_string() }.into());
        }
        if recover.money.amount.is_zero() {
            return Err(Rejection::AmountZero { found: recover.money.amount }.into());
        }
        let mut effects = self.effects(Operation::Recover);
        for id in &recover.nodes {
            let node = self.view.budgets.find(id)?.ok_or_else(|| unknown_budget(*id))?;
            let amount = node.available().map_or(recover.authority, |room| room.min(recover.authority));
            if !amount.is_zero() {
                effects.moves.push(BudgetMove { budget: *id, step: BudgetStep::Charge, amount });
            }
        }
        for (key, cap) in windows(self.view, &recover.nodes, self.at)? {
            let used = self.view.windows.find(&key)?.map_or(Some(Amount::ZERO), Window::used).unwrap_or(Amount::MAX);
            let room = cap.map_or(Amount::MAX, |cap| cap.checked_sub(used).unwrap_or(Amount::ZERO));
            let amount = room.min(recover.authority);
            if !amount.is_zero() && used.checked_add(amount).is_some() {
                effects.windows.push(WindowMove { key, step: BudgetStep::Charge, amount });
            }
        }
        let (network, payer) = (recover.authorization.chain(), &recover.authorization.payer);
        effects.transfers = vec![Transfer {
            code: TransferCode::Recover,
            debit: Account::Suspense,
            credit: Account::Wallet(format!("{network}:{payer}")),
            asset: recover.money.asset.clone(),
            amount: recover.money.amount,
            layer: Layer::Posted,
            resolves: None,
        }];
        let outcome = ClaimOutcome::Seen(recover.seen.transaction.clone());
        effects.claims = vec![Claim { key, request: Digest::of(recover.seen.pay_to.as_bytes()), outcome }];
        effects.fact = Some(Fact::Seen(recover.seen.clone()));
        done(effects)
    }

    /// The claim that a payment which was found takes; `None` where the book accounts for it already. A spend that is
    /// held, or was given back, says that nothing was signed: the book was set back between.
    fn unaccounted(&self, recover: &Recover) -> Result<Option<Digest>, Refusal> {
        let (first, second) = (
            ClaimKey::Authorization(recover.authorization.clone()).digest(),
            ClaimKey::Recovered(recover.authorization.clone()).digest(),
        );
        // The chain does not say whether what it shows was the most that was signed.
        let at_most = ClaimKey::Authorization(recover.authorization.clone().at_most()).digest();
        let found = match self.view.claims.find(&first)? {
            Some(found) => Some(found),
            None => self.view.claims.find(&at_most)?,
        };
        let Some(found) = found else { return Ok(Some(first)) };
        let ClaimOutcome::Spend(spend) = &found.claim.outcome else { return Ok(None) };
        let spend = self.view.spends.find(spend)?;
        let is_known = spend.is_some_and(|spend| match spend.state {
            SpendState::Held | SpendState::Voided | SpendState::Expired | SpendState::Released => false,
            SpendState::Committed
            | SpendState::Submitted
            | SpendState::Unknown
            | SpendState::Settled
            | SpendState::SpentOtherwise => true,
        });
        Ok((!is_known && self.view.claims.find(&second)?.is_none()).then_some(second))
    }
}

/// Sold for a transfer of its own. What comes back of a channel is the channel's.
fn check_sold(found: &Settlement) -> Result<(), Rejection> {
    let authorization = &found.key.authorization;
    if found.key.role != Role::Seller {
        let (expected, found) = (Role::Seller.to_string(), found.key.role.to_string());
        return Err(Rejection::OwnerMismatch { expected, found });
    }
    if authorization.is_voucher() {
        let (expected, found) = ("one that was paid by a transfer of its own".to_owned(), DRAWN.to_owned());
        let authorization = hex::encode(authorization.nonce);
        return Err(Rejection::SettlementStateWrong { authorization, expected, found });
    }
    Ok(())
}

/// The windows of now of these nodes, each with its limit's amount; a payment whose payee is lost counts in none that is
/// for each payee.
pub(super) fn windows(view: &View, nodes: &[BudgetId], at: Micros) -> Result<Vec<(WindowKey, Option<Amount>)>, Fault> {
    let nobody: PayeeId = "-".parse().map_err(|_| Fault::Broken("a payee".to_owned()))?;
    let mut windows = Vec::new();
    for node in nodes.iter().filter_map(|id| view.budgets.find(id).ok().flatten()) {
        for (number, limit) in node.caps.limits.iter().enumerate().filter(|(_, limit)| !limit.each_payee) {
            windows.push((counted(node.id, number, limit, &nobody, at)?.written, limit.amount));
        }
    }
    Ok(windows)
}

/// What [`Draft::recover`] reads.
pub(super) fn wants(view: &View, at: Micros, recover: &Recover, keys: &mut Keys) -> Result<(), Fault> {
    keys.claim(view, &ClaimKey::Recovered(recover.authorization.clone()));
    for authorization in [recover.authorization.clone(), recover.authorization.clone().at_most()] {
        let claim = ClaimKey::Authorization(authorization);
        keys.claim(view, &claim);
        if let Ok(Some(found)) = view.claims.find(&claim.digest())
            && let ClaimOutcome::Spend(spend) = &found.claim.outcome
        {
            keys.spend(view, *spend);
        }
    }
    keys.gate(view, Scope::Fence);
    recover.nodes.iter().for_each(|node| keys.budget(view, *node));
    keys.windows(view, windows(view, &recover.nodes, at)?.into_iter().map(|(key, _)| key));
    Ok(())
}

/// The promise that a refund, or another word of the merchant's, ends.
fn announced(spend: &Spend) -> Option<Resolves> {
    spend.announced.map(|Announced { transfer, amount, .. }| Resolves { transfer, amount })
}
