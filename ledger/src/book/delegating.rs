//! The rules of handing on: who may, under what, and that a key opens one node.

use super::{Draft, Outcome, done, gating, unknown_budget};
use crate::budget::{Budget, BudgetKind};
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::command::{Delegate, Request};
use crate::effects::Operation;
use crate::id::{BudgetId, CallerKind, DecisionId};
use crate::rejection::{Fault, Refusal, Rejection};
use crate::view::{Keys, View};

fn key(request: &Request, delegate: &Delegate) -> ClaimKey {
    ClaimKey::Idempotency {
        principal: request.caller.principal.clone(),
        operation: delegate.operation.clone(),
        key: delegate.key.clone(),
    }
}

pub(super) fn wants(view: &View, request: &Request, delegate: &Delegate, keys: &mut Keys) {
    let key = key(request, delegate);
    keys.claim(view, &key);
    if let Ok(Some(found)) = view.claims.find(&key.digest())
        && let ClaimOutcome::Opened(budget) = found.claim.outcome
    {
        keys.budget(view, budget);
    }
    keys.budget(view, delegate.open.id);
    if let Some(parent) = delegate.open.parent {
        keys.budget(view, parent);
        keys.gates(view, gating::gates_of_delegation(view, &request.caller, parent, &delegate.open.holder));
    }
}

impl Draft<'_> {
    /// A mandate under a mandate, by whoever holds that one. The decision stays the one that a person took: nobody was
    /// asked anew, so it is not used up, and it cannot become another one.
    pub(super) fn delegate(&self, delegate: &Delegate) -> Result<Outcome, Refusal> {
        let key = key(self.request, delegate).digest();
        if let Some(found) = self.view.claims.find(&key)? {
            let claim = &found.claim;
            if claim.request != delegate.request {
                let (first, found) = (claim.request, delegate.request);
                return Err(Rejection::IdempotencyKeyReused { first, found }.into());
            }
            return match claim.outcome {
                ClaimOutcome::Opened(_) => Ok(Outcome::Known),
                _ => Err(Fault::Broken("the key of a delegation opened nothing".to_owned()).into()),
            };
        }
        let open = &delegate.open;
        let parent = self.parent_mandate(open.parent)?;
        let caller = &self.request.caller;
        if caller.kind != CallerKind::Agent || caller.principal != parent.holder {
            let (expected, found) = (parent.holder.to_string(), caller.principal.to_string());
            return Err(Rejection::OwnerMismatch { expected, found }.into());
        }
        self.usable_path(parent, &open.asset)?;
        let scopes = gating::gates_of_delegation(self.view, caller, parent.id, &open.holder);
        scopes.iter().try_for_each(|scope| self.check_gate(scope))?;
        if open.kind != BudgetKind::Mandate || open.decision.is_none() || open.decision != parent.decision {
            let decision = open.decision.or(parent.decision).unwrap_or(DecisionId([0; 32]));
            return Err(Rejection::ApprovalRequired { decision }.into());
        }
        if self.view.budgets.find(&open.id)?.is_some() {
            return Err(Rejection::MandateExists { budget: open.id }.into());
        }
        let mut effects = self.effects(Operation::OpenBudget);
        effects.opened = vec![self.opened(open)?];
        effects.claims = vec![Claim { key, request: delegate.request, outcome: ClaimOutcome::Opened(open.id) }];
        done(effects)
    }

    fn parent_mandate(&self, parent: Option<BudgetId>) -> Result<&Budget, Refusal> {
        let Some(parent) = parent else { return Err(unknown_budget(BudgetId([0; 32])).into()) };
        let found = self.view.budgets.find(&parent)?;
        let mandate = found.filter(|node| node.kind == BudgetKind::Mandate);
        mandate.ok_or_else(|| unknown_budget(parent).into())
    }
}

impl Delegate {
    /// The node that the key of this delegation opened, where the view has its claim.
    pub fn opened(&self, view: &View, request: &Request) -> Option<BudgetId> {
        match view.claims.find(&key(request, self).digest()).ok().flatten()?.claim.outcome {
            ClaimOutcome::Opened(budget) => Some(budget),
            _ => None,
        }
    }
}
