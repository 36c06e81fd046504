//! Whoever paid comes back for it by who they are: a signature that moves nothing, and that is made only where a payment to
//! the same payee would be.

use super::gating::gates_of_visit;
use super::presenting::on_rail;
use super::{Draft, Outcome, done, unknown_budget, unknown_spend};
use crate::budget::{Budget, BudgetKind};
use crate::effects::{Fact, Operation};
use crate::id::{BudgetId, Caller, CallerKind, Digest, SpendId};
use crate::rejection::{Refusal, Rejection};
use crate::spend::{Rail, Spend, SpendState};
use crate::view::{Keys, View};

pub(super) fn wants(view: &View, caller: &Caller, spend: SpendId, under: BudgetId, keys: &mut Keys) {
    keys.spend(view, spend);
    keys.budget(view, under);
    if let Ok(Some(found)) = view.spends.find(&spend) {
        keys.gates(view, gates_of_visit(view, caller, found, under));
    }
}

impl Draft<'_> {
    /// The last thing before the signature. Of the same agent and the same person, paid and not given back.
    pub(super) fn sign_in(&self, spend: SpendId, under: BudgetId, document: Digest) -> Result<Outcome, Refusal> {
        let found = self.view.spends.find(&spend)?.ok_or_else(|| unknown_spend(spend))?;
        on_rail(found, Rail::Chain)?;
        check_paid(found)?;
        let leaf = self.view.budgets.find(&under)?.filter(|leaf| leaf.kind == BudgetKind::Mandate);
        let leaf = leaf.ok_or_else(|| unknown_budget(under))?;
        let path = self.usable_path(leaf, &leaf.asset)?;
        let paid_under = self.path(found)?;
        self.check_same(holder(&path), holder(&paid_under))?;
        same(person(&paid_under), person(&path))?;
        self.check_may_be_signed(found)?;
        let scopes = gates_of_visit(self.view, &self.request.caller, found, under);
        scopes.iter().try_for_each(|scope| self.check_gate(scope))?;
        let mut effects = self.effects(Operation::SignIn);
        effects.spend = Some(found.clone());
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    /// Whoever asks holds both mandates.
    fn check_same(&self, asked: String, paid: String) -> Result<(), Rejection> {
        let caller = &self.request.caller;
        if caller.kind != CallerKind::Service {
            same(asked.clone(), caller.principal.to_string())?;
        }
        same(paid, asked)
    }
}

fn check_paid(found: &Spend) -> Result<(), Rejection> {
    let is_paid = found.state == SpendState::Settled && found.refunded < found.money.amount;
    if is_paid {
        return Ok(());
    }
    let expected = "settled, and not given back".to_owned();
    let found_state = format!("{}, {} of {} given back", found.state, found.refunded, found.money.amount);
    Err(Rejection::SpendStateWrong { spend: found.id, expected, found: found_state })
}

fn same(expected: String, found: String) -> Result<(), Rejection> {
    if expected == found { Ok(()) } else { Err(Rejection::OwnerMismatch { expected, found }) }
}

fn holder(path: &[&Budget]) -> String {
    path.first().map_or_else(String::new, |leaf| leaf.holder.to_string())
}

/// Who answers for it.
fn person(path: &[&Budget]) -> String {
    let person = path.iter().find(|node| node.kind == BudgetKind::Person);
    person.map_or_else(String::new, |node| node.holder.to_string())
}
