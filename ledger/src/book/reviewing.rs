//! The rules of looking at a payment after it went: the hold itself puts it into the queue, a human answers it once, and
//! where nobody does in time that is written down, too.

use super::{Draft, Outcome, done, unknown_spend};
use crate::budget::BudgetState;
use crate::command::Propose;
use crate::decision::{Decision, DecisionState, Finding};
use crate::effects::{BudgetStateChange, Fact, Operation};
use crate::id::{CallerKind, DecisionId, Digest, SpendId};
use crate::rejection::{Refusal, Rejection};
use crate::spend::Spend;

impl Draft<'_> {
    /// The place in the queue, for the unit that holds.
    pub(super) fn queued(&self, review: &Propose, seq: u64) -> Result<Decision, Refusal> {
        if self.view.decisions.find(&review.decision)?.is_some() {
            return Err(Rejection::DecisionExists { decision: review.decision }.into());
        }
        Ok(Decision {
            id: review.decision,
            state: DecisionState::InReview,
            subject: review.subject,
            approver: review.approver.clone(),
            requested_by: self.request.caller.principal.clone(),
            expires_at: review.expires_at,
            asked: seq,
            opened: None,
        })
    }

    /// The person who is named, or an operator in their place. Late is better than never; once it is answered it stays so.
    pub(super) fn review(
        &self,
        id: DecisionId,
        subject: Digest,
        spend: SpendId,
        finding: Finding,
        because: Digest,
    ) -> Result<Outcome, Refusal> {
        let caller = &self.request.caller;
        if !matches!(caller.kind, CallerKind::User | CallerKind::Operator) {
            return Err(Rejection::OnlyAUserDecides { found: caller.kind.to_string() }.into());
        }
        self.check_gates_of_caller()?;
        let (found, spend) = self.reviewed(id, spend)?;
        if caller.kind == CallerKind::User && found.approver != caller.principal {
            let (expected, found) = (found.approver.to_string(), caller.principal.to_string());
            return Err(Rejection::NotYourDecision { expected, found }.into());
        }
        if found.subject != subject {
            return Err(Rejection::DecisionSubjectWrong { expected: found.subject, found: subject }.into());
        }
        let state = finding.state();
        if found.state == state {
            return Ok(Outcome::Known);
        }
        if !found.state.is_unreviewed() {
            let (expected, found) = (DecisionState::InReview.to_string(), found.state.to_string());
            return Err(Rejection::DecisionStateWrong { decision: id, expected, found }.into());
        }
        let mut effects = self.effects(Operation::Review);
        effects.decision = Some(Decision { state, ..found.clone() });
        effects.spend = Some(spend.clone());
        effects.fact = Some(Fact::Reference(because));
        done(effects)
    }

    pub(super) fn overdue(&self, id: DecisionId, spend: SpendId, suspend: bool) -> Result<Outcome, Refusal> {
        let caller = &self.request.caller;
        if caller.kind != CallerKind::Service {
            let found = format!("{} {}", caller.kind, caller.principal);
            return Err(Rejection::OwnerMismatch { expected: CallerKind::Service.to_string(), found }.into());
        }
        let (found, spend) = self.reviewed(id, spend)?;
        if found.state == DecisionState::Overdue {
            return Ok(Outcome::Known);
        }
        if found.state != DecisionState::InReview || self.at < found.expires_at {
            let expected = format!("{} until {}", DecisionState::InReview, found.expires_at.seconds());
            let found = format!("{} at {}", found.state, self.at.seconds());
            return Err(Rejection::DecisionStateWrong { decision: id, expected, found }.into());
        }
        let mut effects = self.effects(Operation::Overdue);
        effects.decision = Some(Decision { state: DecisionState::Overdue, ..found.clone() });
        let mandate = self.view.budgets.find(&spend.budget)?;
        if suspend && mandate.is_some_and(|mandate| mandate.state == BudgetState::Active) {
            effects.states = vec![BudgetStateChange { budget: spend.budget, to: BudgetState::Suspended }];
        }
        effects.spend = Some(spend.clone());
        done(effects)
    }

    fn reviewed(&self, id: DecisionId, spend: SpendId) -> Result<(&Decision, &Spend), Refusal> {
        let found = self.view.decisions.find(&id)?.filter(|found| found.state.is_review());
        let found = found.ok_or(Rejection::DecisionUnknown { decision: id })?;
        let spend = self.view.spends.find(&spend)?.ok_or_else(|| unknown_spend(spend))?;
        // The unit that held the payment put it there: no other payment is meant.
        if found.asked != spend.hold.seq {
            return Err(Rejection::DecisionUnknown { decision: id }.into());
        }
        Ok((found, spend))
    }
}
