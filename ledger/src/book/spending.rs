//! The wallet's rules: what is held, signed, settled, released.

use super::presenting::{off_rail, on_rail};
use super::{Draft, Outcome, charging, done, drawing, unknown_budget, unknown_spend};
use crate::account::Account;
use crate::budget::{Budget, BudgetKind, BudgetMove, BudgetState, BudgetStep};
use crate::command::{Hold, ReleaseProof};
use crate::effects::{Effects, Fact, Operation};
use crate::gate::Scope;
use crate::id::{CallerKind, Micros, RailReference, SpendId};
use crate::money::{Amount, AssetId};
use crate::rejection::{Fault, Refusal, Rejection};
use crate::spend::{Observation, Rail, Spend, SpendState};
use crate::transfer::{Layer, Resolves, Transfer, TransferCode, TransferId};
use crate::view::View;
use crate::window::{Counted, WindowKey, WindowMove, counted};

impl Draft<'_> {
    pub(super) fn hold(&self, hold: &Hold) -> Result<Outcome, Refusal> {
        if let Some(answer) = self.answer_of_key(hold)? {
            return Ok(answer);
        }
        if hold.money.amount.is_zero() || hold.authority.amount.is_zero() {
            return Err(Rejection::AmountZero { found: hold.money.amount.min(hold.authority.amount) }.into());
        }
        let path = self.path_of(hold)?;
        self.check_gates_of_hold(hold)?;
        let pinned = self.check_payee(hold)?;
        self.check_open_purchase(hold)?;
        let transaction = self.step_of(hold)?;
        self.check_claims(hold)?;
        for node in &path {
            self.check_hours(node)?;
            self.check_room(node, hold)?;
        }
        let windows = windows(self.view, hold, self.at)?;
        for counted in &windows {
            self.check_window(counted, hold)?;
        }
        let windows: Vec<WindowKey> = windows.into_iter().map(|counted| counted.written).collect();
        let mut effects = self.effects(Operation::Hold);
        effects.moves = moves(&path, BudgetStep::Hold, hold.authority.amount);
        effects.windows = window_moves(&windows, BudgetStep::Hold, hold.authority.amount);
        effects.claims = self.claims_of(hold)?.into_iter().chain(pinned).collect();
        effects.decision = hold.review.as_ref().map(|review| self.queued(review, effects.seq)).transpose()?;
        let spend = Spend {
            id: hold.spend,
            state: SpendState::Held,
            young: None,
            announced: None,
            budget: hold.budget,
            windows,
            authority: hold.authority.amount,
            money: hold.money.clone(),
            rate: hold.rate,
            payee: hold.payee.clone(),
            pay_to: hold.pay_to.clone(),
            purchase: hold.purchase,
            authorization: hold.authorization.clone(),
            valid_before: hold.valid_before,
            since_block: hold.since_block,
            expires_at: hold.expires_at,
            hold: TransferId { seq: effects.seq, leg: 0 },
            transaction,
            refunded: Amount::ZERO,
            build: self.request.caller.build,
            issuer: self.request.caller.issuer.clone(),
            evidence: hold.evidence,
        };
        effects.transfers = vec![purchase_leg(&spend, TransferCode::Hold, Layer::Pending)];
        effects.spend = Some(spend);
        done(effects)
    }

    /// The nodes that this hold debits, leaf first, each one able to take part at all.
    fn path_of(&self, hold: &Hold) -> Result<Vec<&Budget>, Refusal> {
        let leaf = self.view.budgets.find(&hold.budget)?.ok_or_else(|| unknown_budget(hold.budget))?;
        if leaf.kind != BudgetKind::Mandate {
            return Err(unknown_budget(hold.budget).into());
        }
        let caller = &self.request.caller;
        if caller.kind != CallerKind::Service && caller.principal != leaf.holder {
            let (expected, found) = (leaf.holder.to_string(), caller.principal.to_string());
            return Err(Rejection::OwnerMismatch { expected, found }.into());
        }
        self.usable_path(leaf, &hold.authority.asset)
    }

    /// The nodes from this one to the root, each one active, not over and in this asset.
    pub(super) fn usable_path(&self, leaf: &Budget, asset: &AssetId) -> Result<Vec<&Budget>, Refusal> {
        let mut path = Vec::with_capacity(leaf.path.len());
        for id in &leaf.path {
            let node = self.view.budgets.find(id)?;
            path.push(node.ok_or_else(|| Fault::Broken(format!("budget {id} of a path is not there")))?);
        }
        for node in &path {
            match node.state {
                BudgetState::Active => {}
                BudgetState::Suspended => return Err(Rejection::MandateSuspended { budget: node.id }.into()),
                BudgetState::Revoked => return Err(Rejection::MandateRevoked { budget: node.id }.into()),
            }
            if let Some(expires_at) = node.caps.expires_at.filter(|expires_at| self.at >= *expires_at) {
                let (expires_at, now) = (expires_at.seconds(), self.at.seconds());
                return Err(Rejection::MandateExpired { budget: node.id, expires_at, now }.into());
            }
            if node.asset != *asset {
                let (expected, found) = (node.asset.clone(), asset.clone());
                return Err(Rejection::AssetMismatch { expected, found }.into());
            }
        }
        Ok(path)
    }

    pub(super) fn void(&self, spend: SpendId) -> Result<Outcome, Refusal> {
        match self.spend_in(spend, &[SpendState::Held], &[SpendState::Voided])? {
            Some(found) => self.give_back(found, SpendState::Voided, Operation::Void),
            None => Ok(Outcome::Known),
        }
    }

    pub(super) fn expire(&self, spend: SpendId) -> Result<Outcome, Refusal> {
        let found = self.spend_in(spend, &[SpendState::Held], &[SpendState::Expired])?;
        let Some(found) = found else { return Ok(Outcome::Known) };
        if self.at < found.expires_at {
            let (expires_at, now) = (found.expires_at.seconds(), self.at.seconds());
            return Err(Rejection::NotExpired { spend, expires_at, now }.into());
        }
        self.give_back(found, SpendState::Expired, Operation::Expire)
    }

    fn give_back(&self, found: &Spend, state: SpendState, operation: Operation) -> Result<Outcome, Refusal> {
        // A book that was set back may not know that this was signed.
        self.check_gate(&Scope::Fence)?;
        self.check_is_known(found)?;
        let mut effects = self.effects(operation);
        self.move_budgets(&mut effects, found, BudgetStep::Release)?;
        let mut leg = purchase_leg(found, TransferCode::Release, Layer::Void);
        leg.resolves = Some(Resolves { transfer: found.hold, amount: found.money.amount });
        effects.transfers = vec![leg];
        effects.spend = Some(Spend { state, ..found.clone() });
        done(effects)
    }

    /// The state of the path is read once more: a mandate revoked since the hold is not signed for.
    pub(super) fn commit(&self, spend: SpendId) -> Result<Outcome, Refusal> {
        let signed = [SpendState::Committed, SpendState::Submitted, SpendState::Unknown, SpendState::Settled];
        let Some(found) = self.spend_in(spend, &[SpendState::Held], &signed)? else { return Ok(Outcome::Known) };
        off_rail(found, Rail::Vault)?;
        self.check_unexpired(found)?;
        self.check_may_be_signed(found)?;
        let mut effects = self.effects(Operation::Commit);
        let mut issue = purchase_leg(found, TransferCode::Issue, Layer::Posted);
        issue.resolves = Some(Resolves { transfer: found.hold, amount: found.money.amount });
        let cheque = leg(found, TransferCode::IssueCheque, Account::Payable(found.payee.clone()), Account::Issued);
        effects.transfers = vec![issue, cheque];
        effects.spend = Some(Spend { state: SpendState::Committed, ..drawing::raised(found)? });
        done(effects)
    }

    /// Every node of its path stands, and no stop covers it.
    pub(super) fn check_may_be_signed(&self, found: &Spend) -> Result<(), Refusal> {
        for node in self.path(found)? {
            match node.state {
                BudgetState::Active => {}
                BudgetState::Suspended => return Err(Rejection::MandateSuspended { budget: node.id }.into()),
                BudgetState::Revoked => return Err(Rejection::MandateRevoked { budget: node.id }.into()),
            }
        }
        self.check_gates_of_spend(found)
    }

    pub(super) fn submit(&self, spend: SpendId, transaction: &RailReference) -> Result<Outcome, Refusal> {
        let later = [SpendState::Submitted, SpendState::Settled];
        let open = [SpendState::Committed, SpendState::Unknown];
        let Some(found) = self.spend_in(spend, &open, &later)? else { return Ok(Outcome::Known) };
        on_rail(found, Rail::Chain)?;
        let mut effects = self.effects(Operation::Submit);
        if found.state == SpendState::Unknown {
            effects.transfers = vec![leg(found, TransferCode::Doubt, Account::Suspense, Account::Issued)];
        }
        let (state, transaction) = (SpendState::Submitted, Some(transaction.clone()));
        effects.spend = Some(Spend { state, transaction, ..found.clone() });
        done(effects)
    }

    pub(super) fn doubt(&self, spend: SpendId) -> Result<Outcome, Refusal> {
        let open = [SpendState::Committed, SpendState::Submitted];
        let Some(found) = self.spend_in(spend, &open, &[SpendState::Unknown])? else { return Ok(Outcome::Known) };
        let mut effects = self.effects(Operation::Doubt);
        if found.authorization.rail() != Rail::Vault {
            effects.transfers = vec![leg(found, TransferCode::Doubt, Account::Issued, Account::Suspense)];
        }
        effects.spend = Some(Spend { state: SpendState::Unknown, ..found.clone() });
        done(effects)
    }

    pub(super) fn settle(&self, spend: SpendId, seen: &Observation, finalized: u64) -> Result<Outcome, Refusal> {
        let Some(found) = self.signed(spend, SpendState::Settled)? else { return Ok(Outcome::Known) };
        let taken = charging::taken(found, seen, finalized)?;
        let mut effects = self.effects(Operation::Settle);
        self.move_budgets(&mut effects, found, BudgetStep::Post)?;
        effects.transfers = vec![leg(&taken, TransferCode::Settle, outstanding(found), found.wallet())];
        self.give_rest_back(&mut effects, found, &taken)?;
        let transaction = Some(seen.transaction.clone());
        effects.spend = Some(Spend { state: SpendState::Settled, young: seen.young(finalized), transaction, ..taken });
        effects.fact = Some(Fact::Seen(seen.clone()));
        done(effects)
    }

    pub(super) fn release(&self, spend: SpendId, proof: &ReleaseProof) -> Result<Outcome, Refusal> {
        let Some(found) = self.signed(spend, SpendState::Released)? else { return Ok(Outcome::Known) };
        if let ReleaseProof::Unused(proof) = proof
            && proof.finalized_timestamp < found.valid_before
        {
            let (valid_before, finalized_at) = (found.valid_before, proof.finalized_timestamp);
            return Err(Rejection::NotProved { spend, valid_before, finalized_at }.into());
        }
        let mut effects = self.released(found)?;
        effects.spend = Some(Spend { state: SpendState::Released, ..found.clone() });
        effects.fact = Some(match proof {
            ReleaseProof::Unused(proof) => Fact::Unused(proof.clone()),
            ReleaseProof::Canceled(reference) => Fact::Canceled(reference.clone()),
        });
        done(effects)
    }

    /// Held for good until a human sorts it out: the budget does not get it back.
    pub(super) fn misspend(&self, spend: SpendId, transaction: &RailReference) -> Result<Outcome, Refusal> {
        let Some(found) = self.signed(spend, SpendState::SpentOtherwise)? else { return Ok(Outcome::Known) };
        let mut effects = self.effects(Operation::Misspend);
        if found.state != SpendState::Unknown {
            effects.transfers = vec![leg(found, TransferCode::Misspend, Account::Issued, Account::Suspense)];
        }
        let transaction = Some(transaction.clone());
        effects.spend = Some(Spend { state: SpendState::SpentOtherwise, transaction, ..found.clone() });
        done(effects)
    }

    /// Signed for the chain: what the chain shows is about it.
    fn signed(&self, spend: SpendId, known: SpendState) -> Result<Option<&Spend>, Refusal> {
        let open = [SpendState::Committed, SpendState::Submitted, SpendState::Unknown];
        let found = self.spend_in(spend, &open, &[known])?;
        found.map_or(Ok(()), |found| on_rail(found, Rail::Chain))?;
        Ok(found)
    }

    /// The spend when it is in one of the states; `None` when it is past them already in the way that was asked for.
    pub(super) fn spend_in(
        &self,
        spend: SpendId,
        from: &[SpendState],
        known: &[SpendState],
    ) -> Result<Option<&Spend>, Refusal> {
        let found = self.view.spends.find(&spend)?.ok_or_else(|| unknown_spend(spend))?;
        if from.contains(&found.state) {
            Ok(Some(found))
        } else if known.contains(&found.state) {
            Ok(None)
        } else {
            let expected = from.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" or ");
            Err(Rejection::SpendStateWrong { spend, expected, found: found.state.to_string() }.into())
        }
    }

    pub(super) fn path(&self, spend: &Spend) -> Result<Vec<&Budget>, Refusal> {
        let missing = |id| Fault::Broken(format!("budget {id} of a spend is not there"));
        let leaf = self.view.budgets.find(&spend.budget)?.ok_or_else(|| missing(spend.budget))?;
        let nodes = leaf.path.iter().map(|id| Ok(self.view.budgets.find(id)?.ok_or_else(|| missing(*id))?));
        nodes.collect()
    }

    /// Every node of the path, and every window that the hold was counted in.
    pub(super) fn move_budgets(&self, effects: &mut Effects, spend: &Spend, step: BudgetStep) -> Result<(), Refusal> {
        effects.moves = moves(&self.path(spend)?, step, spend.authority);
        effects.windows = window_moves(&spend.windows, step, spend.authority);
        Ok(())
    }

    fn check_hours(&self, node: &Budget) -> Result<(), Refusal> {
        match &node.caps.hours {
            Some(hours) if !hours.contain(self.at)? => {
                let (budget, hours, now) = (node.id, hours.to_string(), self.at.seconds());
                Err(Rejection::OutsideHours { budget, hours, now }.into())
            }
            _ => Ok(()),
        }
    }

    /// Room at one node: a payment's own limit, then how often and how soon, then how much.
    fn check_room(&self, node: &Budget, hold: &Hold) -> Result<(), Refusal> {
        let requested = hold.authority.amount;
        if let Some(limit) = node.caps.per_payment.filter(|limit| requested > *limit) {
            return Err(Rejection::AmountExceedsPaymentLimit { budget: node.id, requested, limit }.into());
        }
        if let Some(limit) = node.caps.occurrences.filter(|limit| node.count >= *limit) {
            return Err(Rejection::OccurrencesExhausted { budget: node.id, used: node.count, limit }.into());
        }
        self.check_recurrence(node)?;
        let used = node.used().ok_or_else(|| Fault::Broken(format!("budget {} overflows", node.id)))?;
        let overflow = Rejection::AmountOverflow { held: used, requested };
        let after = used.checked_add(requested).ok_or(overflow)?;
        match (node.caps.total, node.available()) {
            (Some(cap), Some(available)) if after > cap => {
                Err(Rejection::AmountExceedsBudget { budget: node.id, requested, available, cap }.into())
            }
            _ => Ok(()),
        }
    }

    /// In whole seconds, as whoever verifies the mandate without a book counts.
    fn check_recurrence(&self, node: &Budget) -> Result<(), Refusal> {
        let (now, due) = (self.at.seconds(), node.due_seconds()?);
        match (node.caps.frequency, node.last_use, due) {
            (Some(frequency), Some(last), Some(due)) if now < due => {
                let (budget, frequency, last) = (node.id, frequency.to_string(), last.at.seconds());
                Err(Rejection::RecurrenceTooSoon { budget, frequency, last, due, now }.into())
            }
            _ => Ok(()),
        }
    }

    /// Room in what a payment now is counted against: how often, then how much.
    fn check_window(&self, counted: &Counted, hold: &Hold) -> Result<(), Refusal> {
        let budget = counted.written.budget;
        let node = self.view.budgets.find(&budget)?;
        let limit = node.and_then(|node| node.caps.limits.get(usize::from(counted.written.limit)));
        let limit = limit.ok_or_else(|| Fault::Broken(format!("budget {budget} lost a limit")))?;
        let overflow = || Fault::Broken(format!("the windows of budget {budget} overflow"));
        let (mut count, mut used) = (0_u64, Amount::ZERO);
        for key in &counted.read {
            let Some(window) = self.view.windows.find(key)? else { continue };
            count = count.checked_add(window.count).ok_or_else(overflow)?;
            used = window.used().and_then(|more| used.checked_add(more)).ok_or_else(overflow)?;
        }
        if let Some(cap) = limit.payments.filter(|cap| count >= *cap) {
            return Err(Rejection::PaymentsExceedPeriod { budget, limit: limit.to_string(), used: count, cap }.into());
        }
        let Some(cap) = limit.amount else { return Ok(()) };
        let (requested, available) = (hold.authority.amount, cap.checked_sub(used).unwrap_or(Amount::ZERO));
        if requested > available {
            let limit = limit.to_string();
            return Err(Rejection::AmountExceedsPeriod { budget, limit, requested, available, cap }.into());
        }
        Ok(())
    }
}

/// What a payment at this instant is counted against, of every node of its path as far as that is loaded.
pub(super) fn windows(view: &View, hold: &Hold, at: Micros) -> Result<Vec<Counted>, Fault> {
    let Ok(Some(leaf)) = view.budgets.find(&hold.budget) else { return Ok(Vec::new()) };
    let mut windows = Vec::new();
    for node in leaf.path.iter().filter_map(|id| view.budgets.find(id).ok().flatten()) {
        for (number, limit) in node.caps.limits.iter().enumerate() {
            windows.push(counted(node.id, number, limit, &hold.payee, at)?);
        }
    }
    Ok(windows)
}

pub(super) fn window_moves(windows: &[WindowKey], step: BudgetStep, amount: Amount) -> Vec<WindowMove> {
    windows.iter().map(|key| WindowMove { key: key.clone(), step, amount }).collect()
}

pub(super) fn moves(path: &[&Budget], step: BudgetStep, amount: Amount) -> Vec<BudgetMove> {
    path.iter().map(|node| BudgetMove { budget: node.id, step, amount }).collect()
}

/// Amount and recipient of what the chain shows are those that were signed for.
pub(super) fn check_seen(seen: &Observation, pay_to: &str, amount: Amount) -> Result<(), Rejection> {
    if seen.pay_to == pay_to && seen.amount == amount {
        return Ok(());
    }
    let (expected, found) = (format!("{amount} to {pay_to}"), format!("{} to {}", seen.amount, seen.pay_to));
    Err(Rejection::SettlementMismatch { expected, found })
}

/// Where a signed spend stands as a liability.
pub(super) const fn outstanding(spend: &Spend) -> Account {
    match spend.state {
        SpendState::Unknown => Account::Suspense,
        _ => Account::Issued,
    }
}

pub(super) fn purchase_leg(spend: &Spend, code: TransferCode, layer: Layer) -> Transfer {
    let payable = Account::Payable(spend.payee.clone());
    Transfer { layer, ..leg(spend, code, Account::Spend(spend.budget), payable) }
}

pub(super) fn leg(spend: &Spend, code: TransferCode, debit: Account, credit: Account) -> Transfer {
    Transfer {
        code,
        debit,
        credit,
        asset: spend.money.asset.clone(),
        amount: spend.money.amount,
        layer: Layer::Posted,
        resolves: None,
    }
}
