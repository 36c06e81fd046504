//! The rules of consent and of the budget tree: who may answer, what an answer opens, how caps nest.

use super::{Draft, Outcome, done, gating, unknown_budget};
use crate::budget::{Budget, BudgetKind, BudgetState, Caps, PATH_NODES_MAX};
use crate::command::{OpenBudget, Propose};
use crate::decision::{Answer, Decision, DecisionState};
use crate::effects::{BudgetStateChange, CapsChange, Fact, Operation};
use crate::id::{BudgetId, CallerKind, DecisionId, Digest};
use crate::money::Amount;
use crate::rejection::{Refusal, Rejection};
use crate::window::LimitError;

impl Draft<'_> {
    pub(super) fn propose(&self, propose: &Propose) -> Result<Outcome, Refusal> {
        if let Some(found) = self.view.decisions.find(&propose.decision)? {
            let same = found.subject == propose.subject && found.approver == propose.approver;
            return if same {
                Ok(Outcome::Known)
            } else {
                Err(Rejection::DecisionExists { decision: propose.decision }.into())
            };
        }
        let mut effects = self.effects(Operation::Propose);
        effects.decision = Some(Decision {
            id: propose.decision,
            state: DecisionState::Pending,
            subject: propose.subject,
            approver: propose.approver.clone(),
            requested_by: self.request.caller.principal.clone(),
            expires_at: propose.expires_at,
            asked: effects.seq,
            opened: None,
        });
        done(effects)
    }

    /// No agent, merchant or operator decides, whatever else they may do. What a stop ends the service answers with a no.
    pub(super) fn decide(
        &self,
        id: DecisionId,
        subject: Digest,
        answer: Answer,
        evidence: Option<Digest>,
    ) -> Result<Outcome, Refusal> {
        let caller = &self.request.caller;
        let ends = caller.kind == CallerKind::Service && answer == Answer::Deny;
        if caller.kind != CallerKind::User && !ends {
            return Err(Rejection::OnlyAUserDecides { found: caller.kind.to_string() }.into());
        }
        self.check_gates_of_caller()?;
        let found = self.view.decisions.find(&id)?.ok_or(Rejection::DecisionUnknown { decision: id })?;
        if found.approver != caller.principal && !ends {
            let (expected, found) = (found.approver.to_string(), caller.principal.to_string());
            return Err(Rejection::NotYourDecision { expected, found }.into());
        }
        if found.subject != subject {
            return Err(Rejection::DecisionSubjectWrong { expected: found.subject, found: subject }.into());
        }
        let state = match answer {
            Answer::Approve => DecisionState::Approved,
            Answer::Deny => DecisionState::Denied,
        };
        if found.state == state {
            return Ok(Outcome::Known);
        }
        if found.state != DecisionState::Pending {
            let (expected, found) = (DecisionState::Pending.to_string(), found.state.to_string());
            return Err(Rejection::DecisionStateWrong { decision: id, expected, found }.into());
        }
        if self.at >= found.expires_at {
            let (expires_at, now) = (found.expires_at.seconds(), self.at.seconds());
            return Err(Rejection::DecisionExpired { decision: id, expires_at, now }.into());
        }
        if answer == Answer::Approve {
            gating::gates_of_question(found).iter().try_for_each(|scope| self.check_gate(scope))?;
        }
        let mut effects = self.effects(Operation::Decide);
        effects.decision = Some(Decision { state, ..found.clone() });
        effects.fact = evidence.map(Fact::Reference);
        done(effects)
    }

    pub(super) fn open_budget(&self, open: &OpenBudget) -> Result<Outcome, Refusal> {
        if let Some(found) = self.view.budgets.find(&open.id)? {
            let same = found.caps == open.caps
                && found.asset == open.asset
                && found.holder == open.holder
                && found.kind == open.kind
                && found.path.get(1).copied() == open.parent;
            return if same { Ok(Outcome::Known) } else { Err(Rejection::MandateExists { budget: open.id }.into()) };
        }
        self.check_gates_of_caller()?;
        let opened = self.opened(open)?;
        let mut effects = self.effects(Operation::OpenBudget);
        effects.decision = self.spend_decision(open)?;
        effects.opened = vec![opened];
        done(effects)
    }

    /// The new node, where it fits under its parent.
    pub(super) fn opened(&self, open: &OpenBudget) -> Result<Budget, Refusal> {
        open.caps.check().map_err(|error| Rejection::LimitInvalid { reason: error.to_string() })?;
        let mut path = vec![open.id];
        if let Some(parent) = open.parent {
            path.extend(self.parent_path(parent, open)?);
        }
        Ok(Budget {
            id: open.id,
            path,
            kind: open.kind,
            holder: open.holder.clone(),
            asset: open.asset.clone(),
            caps: open.caps.clone(),
            state: BudgetState::Active,
            last_use: None,
            decision: open.decision,
            document: open.document,
            held: Amount::ZERO,
            posted: Amount::ZERO,
            count: 0,
            is_over: false,
        })
    }

    fn parent_path(&self, parent: BudgetId, open: &OpenBudget) -> Result<Vec<BudgetId>, Refusal> {
        let found = self.view.budgets.find(&parent)?.ok_or_else(|| unknown_budget(parent))?;
        if found.state != BudgetState::Active {
            return Err(match found.state {
                BudgetState::Suspended => Rejection::MandateSuspended { budget: parent },
                _ => Rejection::MandateRevoked { budget: parent },
            }
            .into());
        }
        if found.asset != open.asset {
            let (expected, found) = (found.asset.clone(), open.asset.clone());
            return Err(Rejection::AssetMismatch { expected, found }.into());
        }
        if found.path.len() >= PATH_NODES_MAX {
            let depth = u64::try_from(found.path.len()).unwrap_or(u64::MAX).saturating_add(1);
            let limit = u64::try_from(PATH_NODES_MAX).unwrap_or(u64::MAX);
            return Err(Rejection::PathTooDeep { depth, limit }.into());
        }
        check_nesting(found, &open.caps)?;
        Ok(found.path.clone())
    }

    /// A mandate opens on an approval, and uses it up.
    fn spend_decision(&self, open: &OpenBudget) -> Result<Option<Decision>, Refusal> {
        let Some(id) = open.decision else {
            return if open.kind == BudgetKind::Mandate {
                Err(Rejection::ApprovalRequired { decision: DecisionId([0; 32]) }.into())
            } else {
                Ok(None)
            };
        };
        let found = self.view.decisions.find(&id)?.ok_or(Rejection::DecisionUnknown { decision: id })?;
        if found.state != DecisionState::Approved || found.opened.is_some() {
            return Err(Rejection::ApprovalRequired { decision: id }.into());
        }
        Ok(Some(Decision { opened: Some(open.id), ..found.clone() }))
    }

    pub(super) fn change_budget(&self, id: BudgetId, to: BudgetState) -> Result<Outcome, Refusal> {
        let found = self.view.budgets.find(&id)?.ok_or_else(|| unknown_budget(id))?;
        if found.state == to {
            return Ok(Outcome::Known);
        }
        // To let a mandate go on is a decision; to stop it is never barred.
        if to == BudgetState::Active {
            self.check_gates_of_caller()?;
        }
        if found.state == BudgetState::Revoked {
            let (expected, found) = (to.to_string(), found.state.to_string());
            return Err(Rejection::StateChangeRefused { budget: id, expected, found }.into());
        }
        let mut effects = self.effects(Operation::ChangeBudget);
        effects.states = vec![BudgetStateChange { budget: id, to }];
        done(effects)
    }
}

impl Draft<'_> {
    /// What was used stays used: a lower cap bars what comes, and takes nothing back.
    pub(super) fn change_caps(&self, id: BudgetId, asked: &Caps) -> Result<Outcome, Refusal> {
        let found = self.view.budgets.find(&id)?.ok_or_else(|| unknown_budget(id))?;
        let caller = &self.request.caller;
        if caller.kind != CallerKind::Service || found.kind == BudgetKind::Mandate {
            let found = format!("{} {}", caller.kind, caller.principal);
            return Err(Rejection::StateChangeRefused { budget: id, expected: "other caps".into(), found }.into());
        }
        let invalid = |error: LimitError| Rejection::LimitInvalid { reason: error.to_string() };
        asked.check().map_err(invalid)?;
        let caps = found.caps.amended(asked).map_err(invalid)?;
        if caps == found.caps {
            return Ok(Outcome::Known);
        }
        if let Some(parent) = found.path.get(1) {
            let parent = self.view.budgets.find(parent)?.ok_or_else(|| unknown_budget(*parent))?;
            check_nesting(parent, &caps)?;
        }
        let mut effects = self.effects(Operation::ChangeCaps);
        effects.caps = vec![CapsChange { budget: id, caps }];
        done(effects)
    }
}

/// Where both state a cap, the child's is at most the parent's. A child without one is bounded by the tree all the same.
fn check_nesting(parent: &Budget, caps: &Caps) -> Result<(), Refusal> {
    let pairs = [(parent.caps.total, caps.total), (parent.caps.per_payment, caps.per_payment)];
    for (above, asked) in pairs {
        if let (Some(cap), Some(requested)) = (above, asked)
            && requested > cap
        {
            return Err(Rejection::CapExceedsParent { budget: parent.id, requested, cap }.into());
        }
    }
    for asked in &caps.limits {
        for above in parent.caps.limits.iter().filter(|above| above.is_like(asked)) {
            if let (Some(cap), Some(requested)) = (above.amount, asked.amount)
                && requested > cap
            {
                return Err(Rejection::CapExceedsParent { budget: parent.id, requested, cap }.into());
            }
        }
    }
    Ok(())
}
