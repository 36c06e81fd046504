//! What is barred, and by whom.

use super::{Draft, Outcome, done};
use crate::budget::BudgetKind;
use crate::effects::Operation;
use crate::gate::{Gate, GateState, Scope};
use crate::id::{BudgetId, CallerKind, PayeeId};
use crate::rejection::{Refusal, Rejection};
use crate::view::View;

/// Every gate that a payment passes: as far as the path of its mandate is loaded.
pub(super) fn gates(view: &View, mandate: BudgetId, payee: &PayeeId) -> Vec<Scope> {
    let mut scopes = vec![Scope::Fence, Scope::Everything, Scope::Payee(payee.clone())];
    let Ok(Some(leaf)) = view.budgets.find(&mandate) else { return scopes };
    scopes.push(Scope::Agent(leaf.holder.clone()));
    for node in leaf.path.iter().filter_map(|id| view.budgets.find(id).ok().flatten()) {
        match node.kind {
            BudgetKind::Mandate => scopes.push(Scope::Mandate(node.id)),
            BudgetKind::Person => scopes.push(Scope::Person(node.holder.clone())),
            BudgetKind::Tenant => {}
        }
    }
    scopes
}

impl Draft<'_> {
    pub(super) fn check_gates(&self, mandate: BudgetId, payee: &PayeeId) -> Result<(), Refusal> {
        gates(self.view, mandate, payee).iter().try_for_each(|scope| self.check_gate(scope))
    }

    pub(super) fn check_gate(&self, scope: &Scope) -> Result<(), Refusal> {
        match self.view.gates.find(scope)?.filter(|gate| gate.state == GateState::Closed) {
            Some(gate) => {
                let (scope, by) = (scope.to_string(), gate.closed_by.principal.to_string());
                Err(Rejection::Stopped { scope, by, since: gate.since.seconds() }.into())
            }
            None => Ok(()),
        }
    }

    pub(super) fn gate(&self, scope: &Scope, to: GateState) -> Result<Outcome, Refusal> {
        let found = self.view.gates.find(scope)?;
        let caller = &self.request.caller;
        // A fence that is closed again is closed from now on: what may have been signed since the first time counts too.
        let again = *scope == Scope::Fence && to == GateState::Closed;
        if found.map_or(GateState::Open, |gate| gate.state) == to && !again {
            return Ok(Outcome::Known);
        }
        if *scope == Scope::Fence && caller.kind != CallerKind::Service {
            let (scope, expected) = (scope.to_string(), CallerKind::Service.to_string());
            return Err(Rejection::NotYoursToLift { scope, expected, found: caller.principal.to_string() }.into());
        }
        // A person does not undo what those did who answer for the whole tenant.
        if let Some(gate) = found.filter(|gate| gate.closed_by.kind != CallerKind::User && to == GateState::Open)
            && caller.kind == CallerKind::User
        {
            let (scope, expected) = (scope.to_string(), gate.closed_by.kind.to_string());
            return Err(Rejection::NotYoursToLift { scope, expected, found: caller.principal.to_string() }.into());
        }
        let closed_by = match (to, found) {
            (GateState::Open, Some(gate)) => gate.closed_by.clone(),
            _ => caller.clone(),
        };
        let mut effects = self.effects(Operation::Gate);
        effects.gate = Some(Gate { scope: scope.clone(), state: to, closed_by, since: self.at });
        done(effects)
    }
}
