//! Vault tokens (ACP, delegate payment): an allowance holds the most that may be taken, its merchant redeems it once, and a
//! payment processor captures what the merchant asks for.
//!
//! | step | state | books |
//! | --- | --- | --- |
//! | redeem | held -> committed | as they were: the hold is pending, and no expiry and no void touches it any more |
//! | capture | -> settled | what was captured is posted, the rest of the hold comes back at every node and window |
//! | decline | -> held | as they were: a token is used up by a capture, not by a refusal |
//! | nobody knows | -> unknown | as they were: nothing is issued, so nothing is in suspense |
//!
//! One attempt is under way at a time; its document and amount stand in the spend, and only an answer to that very attempt
//! is taken.

use super::presenting::on_rail;
use super::spending::{leg, moves, purchase_leg, window_moves};
use super::{Draft, Outcome, claiming, done, gating};
use crate::account::Account;
use crate::budget::BudgetStep;
use crate::claim::{Claim, ClaimOutcome};
use crate::command::{Attempt, Request};
use crate::effects::{Effects, Fact, Operation};
use crate::id::{Digest, RailReference, SpendId};
use crate::rejection::{Fault, Refusal, Rejection};
use crate::spend::{Rail, Spend, SpendState};
use crate::transfer::{Layer, Money, Resolves, TransferCode};
use crate::view::{Keys, View};

/// A processor is asked, or nobody knows what it answered.
const UNDER_WAY: [SpendState; 2] = [SpendState::Committed, SpendState::Unknown];

pub(super) fn wants(view: &View, request: &Request, spend: SpendId, cart: Digest, keys: &mut Keys) {
    keys.spend(view, spend);
    if let Ok(Some(found)) = view.spends.find(&spend) {
        keys.gates(view, gating::gates_of_spend(view, &request.caller, found));
    }
    claiming::wants_cart(view, cart, keys);
}

impl Attempt {
    /// How an attempt stands in its spend while it is under way.
    pub fn reference(&self) -> Result<RailReference, Fault> {
        let text = format!("{}/{}", self.document, self.amount);
        text.parse().map_err(|_| Fault::Broken(format!("`{text}` is no reference")))
    }
}

impl Draft<'_> {
    /// The state of the path is read once more: a mandate that was revoked or stopped since is not paid under.
    pub(super) fn redeem(&self, spend: SpendId, attempt: Attempt, cart: Digest) -> Result<Outcome, Refusal> {
        let reference = attempt.reference()?;
        let known = self.view.spends.find(&spend)?.filter(|found| UNDER_WAY.contains(&found.state));
        if known.is_some_and(|found| found.transaction.as_ref() == Some(&reference)) {
            return Ok(Outcome::Known);
        }
        let Some(found) = self.spend_in(spend, &[SpendState::Held], &[])? else { return Ok(Outcome::Known) };
        on_rail(found, Rail::Vault)?;
        self.check_unexpired(found)?;
        if attempt.amount.is_zero() {
            return Err(Rejection::AmountZero { found: attempt.amount }.into());
        }
        if attempt.amount > found.money.amount {
            let (budget, requested, limit) = (found.budget, attempt.amount, found.money.amount);
            return Err(Rejection::AmountExceedsPaymentLimit { budget, requested, limit }.into());
        }
        self.check_may_be_signed(found)?;
        let mut effects = self.effects(Operation::Redeem);
        effects.claims = self.claim_cart(found, attempt, cart)?.into_iter().collect();
        effects.spend = Some(Spend { state: SpendState::Committed, transaction: Some(reference), ..found.clone() });
        effects.fact = Some(Fact::Reference(attempt.document));
        done(effects)
    }

    /// At the moment itself it is over.
    pub(super) fn check_unexpired(&self, found: &Spend) -> Result<(), Rejection> {
        if self.at < found.expires_at {
            return Ok(());
        }
        let (expires_at, now) = (found.expires_at.seconds(), self.at.seconds());
        Err(Rejection::HoldExpired { spend: found.id, expires_at, now })
    }

    /// What is bought is paid once, whichever token pays it: agents ask for new ones when they retry.
    fn claim_cart(&self, found: &Spend, attempt: Attempt, cart: Digest) -> Result<Option<Claim>, Refusal> {
        let (bought, next) = self.next_of_cart(cart)?;
        if bought.iter().any(|spend| spend.id == found.id) {
            return Ok(None);
        }
        // A token that is held took nothing: its merchant may take another one.
        let stands = |spend: &&&Spend| claiming::stands(spend.state) && spend.state != SpendState::Held;
        if let Some(other) = bought.iter().find(stands) {
            return Err(Rejection::PurchaseUnresolved { spend: other.id, state: other.state.to_string() }.into());
        }
        let outcome = ClaimOutcome::Spend(found.id);
        Ok(Some(Claim { key: next.digest(), request: attempt.document, outcome }))
    }

    pub(super) fn capture(
        &self,
        spend: SpendId,
        attempt: Attempt,
        transaction: &RailReference,
        document: Digest,
    ) -> Result<Outcome, Refusal> {
        let Some(found) = self.under_way(spend, attempt, SpendState::Settled)? else { return Ok(Outcome::Known) };
        let broken = || Fault::Broken("more was captured than was held".to_owned());
        let rest = found.money.amount.checked_sub(attempt.amount).ok_or_else(broken)?;
        let given_back = found.authority_of(rest);
        let authority = found.authority.checked_sub(given_back).ok_or_else(broken)?;
        let money = Money { amount: attempt.amount, ..found.money.clone() };
        let transaction = Some(transaction.clone());
        let taken = Spend { state: SpendState::Settled, authority, money, transaction, ..found.clone() };
        let mut effects = self.effects(Operation::Settle);
        self.move_budgets(&mut effects, found, BudgetStep::Post)?;
        if !given_back.is_zero() {
            effects.moves.extend(moves(&self.path(found)?, BudgetStep::Restore, given_back));
            effects.windows.extend(window_moves(&found.windows, BudgetStep::Restore, given_back));
        }
        let mut issue = purchase_leg(&taken, TransferCode::Issue, Layer::Posted);
        issue.resolves = Some(Resolves { transfer: found.hold, amount: found.money.amount });
        let payable = Account::Payable(found.payee.clone());
        effects.transfers = vec![
            issue,
            leg(&taken, TransferCode::IssueCheque, payable, Account::Issued),
            leg(&taken, TransferCode::Settle, Account::Issued, taken.wallet()),
        ];
        Ok(answered(effects, taken, document))
    }

    pub(super) fn decline(&self, spend: SpendId, attempt: Attempt, document: Digest) -> Result<Outcome, Refusal> {
        let Some(found) = self.under_way(spend, attempt, SpendState::Held)? else { return Ok(Outcome::Known) };
        let freed = Spend { state: SpendState::Held, transaction: None, ..found.clone() };
        Ok(answered(self.effects(Operation::Decline), freed, document))
    }

    /// The spend while this attempt is under way; nothing where it ended already, in this way or that of an answer before.
    fn under_way(&self, spend: SpendId, attempt: Attempt, known: SpendState) -> Result<Option<&Spend>, Refusal> {
        let Some(found) = self.spend_in(spend, &UNDER_WAY, &[known])? else { return Ok(None) };
        on_rail(found, Rail::Vault)?;
        let expected = attempt.reference()?;
        if found.transaction.as_ref() != Some(&expected) {
            let is = found.transaction.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
            return Err(Rejection::SettlementMismatch { expected: is, found: expected.to_string() }.into());
        }
        Ok(Some(found))
    }
}

fn answered(effects: Effects, spend: Spend, document: Digest) -> Outcome {
    Outcome::New(Box::new(Effects { spend: Some(spend), fact: Some(Fact::Reference(document)), ..effects }))
}
