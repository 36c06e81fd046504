//! What is barred, and by whom.

use super::{Draft, Outcome, done};
use crate::command::Hold;
use crate::decision::Decision;
use crate::effects::Operation;
use crate::gate::{Gate, GateState, Scope, scopes_of_origin, scopes_of_path};
use crate::id::{BudgetId, Caller, CallerKind, PayeeId, PrincipalId};
use crate::rejection::{Refusal, Rejection};
use crate::spend::Spend;
use crate::view::View;

/// Every gate that a new payment passes.
pub(super) fn gates_of_hold(view: &View, caller: &Caller, hold: &Hold) -> Vec<Scope> {
    let mut scopes = gates(view, hold.budget, &hold.payee);
    scopes.extend(gates_of_caller(caller));
    scopes
}

/// Every gate that the signature of a held one passes: those of what it was reserved by, and of who asks now.
pub(super) fn gates_of_spend(view: &View, caller: &Caller, spend: &Spend) -> Vec<Scope> {
    let mut scopes = gates(view, spend.budget, &spend.payee);
    scopes.extend(scopes_of_origin(spend.build, spend.issuer.as_ref()));
    scopes.extend(gates_of_caller(caller));
    scopes
}

/// Every gate that a signature passes by which somebody comes back: those of the payment, and of the mandate that is named now.
pub(super) fn gates_of_visit(view: &View, caller: &Caller, spend: &Spend, under: BudgetId) -> Vec<Scope> {
    let mut scopes = gates_of_spend(view, caller, spend);
    scopes.extend(gates_of_path(view, under));
    scopes
}

/// Where whoever asks comes from: a person who comes by a stopped issuer decides nothing, and lets nothing go on.
pub(super) fn gates_of_caller(caller: &Caller) -> impl Iterator<Item = Scope> {
    scopes_of_origin(caller.build, caller.issuer.as_ref())
}

/// Every gate that the approval of a question passes, beside those of who answers.
pub(super) fn gates_of_question(question: &Decision) -> [Scope; 3] {
    let (asked, asks) = (question.approver.clone(), question.requested_by.clone());
    [Scope::Everything, Scope::Person(asked), Scope::Agent(asks)]
}

/// Every gate that handing a mandate on passes: nobody gets anything from or through whoever is stopped.
pub(super) fn gates_of_delegation(view: &View, caller: &Caller, parent: BudgetId, to: &PrincipalId) -> Vec<Scope> {
    let mut scopes = vec![Scope::Fence, Scope::Everything, Scope::Agent(to.clone())];
    scopes.extend(gates_of_path(view, parent));
    scopes.extend(gates_of_caller(caller));
    scopes
}

fn gates(view: &View, mandate: BudgetId, payee: &PayeeId) -> Vec<Scope> {
    let mut scopes = vec![Scope::Fence, Scope::Everything, Scope::Payee(payee.clone())];
    scopes.extend(gates_of_path(view, mandate));
    scopes
}

/// As far as the path of the mandate is loaded.
fn gates_of_path(view: &View, mandate: BudgetId) -> Vec<Scope> {
    let Ok(Some(leaf)) = view.budgets.find(&mandate) else { return Vec::new() };
    scopes_of_path(leaf.path.iter().filter_map(|id| view.budgets.find(id).ok().flatten()))
}

impl Draft<'_> {
    pub(super) fn check_gates_of_hold(&self, hold: &Hold) -> Result<(), Refusal> {
        let scopes = gates_of_hold(self.view, &self.request.caller, hold);
        scopes.iter().try_for_each(|scope| self.check_gate(scope))
    }

    pub(super) fn check_gates_of_spend(&self, spend: &Spend) -> Result<(), Refusal> {
        let scopes = gates_of_spend(self.view, &self.request.caller, spend);
        scopes.iter().try_for_each(|scope| self.check_gate(scope))
    }

    pub(super) fn check_gates_of_caller(&self) -> Result<(), Refusal> {
        gates_of_caller(&self.request.caller).try_for_each(|scope| self.check_gate(&scope))
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
        // Whoever holds the issuer's key could make an operator of it, and undo the stop.
        if to == GateState::Open {
            self.check_gates_of_caller()?;
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
