//! What is asked again: the same question twice is one, and a person is not worn down by many.

use ledger::decision::DecisionState;
use ledger::id::{DecisionId, Micros, PrincipalId};

use super::answer::Standing;
use super::{Approval, IntentDocument, Question, to_canonical_document};
use crate::error::EngineError;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

/// Of the questions that wait for a person, how many are looked at for the same one.
const LOOKED_AT: u32 = 100;
const HOUR: Micros = Micros::from_seconds(3_600);

impl Engine {
    /// The same question of the same agent, where it still waits.
    pub(super) async fn asked_already(
        &self,
        identity: &Identity,
        document: &IntentDocument,
    ) -> Result<Option<Approval>, EngineError> {
        let (tenant, user) = (&identity.tenant, &document.user);
        let waiting = self.store.decisions_of(tenant, user, DecisionState::Pending, 0..u64::MAX, LOOKED_AT).await?;
        let wanted = wish(document)?;
        for decision in waiting.into_iter().filter(|decision| decision.requested_by == document.agent) {
            let approval = match self.show(identity, decision).await {
                // Somebody was forgotten; their question is nobody's any more.
                Err(EngineError::Erased { .. }) => continue,
                other => other?,
            };
            let Question::Intent(asked) = &approval.document else { continue };
            if wish(asked)? == wanted && self.standing_of(identity, &approval)? == Standing::Open {
                return Ok(Some(approval));
            }
        }
        Ok(None)
    }

    /// Counted from the book, by every process alike: what was put to this person within the last hour.
    pub(crate) async fn check_prompts(&self, tenant: &Tenant, user: &PrincipalId) -> Result<(), EngineError> {
        let Some(limit) = tenant.limits.prompts_per_hour else { return Ok(()) };
        let now = self.clock.now();
        let stood = Micros::from_seconds(tenant.limits.decision_seconds).0;
        let mut asked = Vec::new();
        // A review is put to nobody's prompts.
        for state in DecisionState::ALL.iter().filter(|state| !state.is_review()) {
            let found = self.store.decisions_of(&tenant.id, user, *state, 0..u64::MAX, limit).await?;
            for decision in found {
                asked.push(match self.question(&tenant.id, decision.subject).await {
                    Ok(question) if question.is_their_own() => continue,
                    Ok(question) => Micros::from_seconds(question.issued_at()),
                    // As far as that can be told without it.
                    Err(EngineError::Erased { .. }) => decision.expires_at.plus_micros(-stood),
                    Err(error) => return Err(error),
                });
            }
        }
        let since = now.plus_micros(-HOUR.0);
        asked.retain(|at| *at > since);
        let found = u32::try_from(asked.len()).unwrap_or(u32::MAX);
        if found < limit {
            return Ok(());
        }
        let oldest = asked.into_iter().min().unwrap_or(now);
        let wait = oldest.plus_micros(HOUR.0).seconds().saturating_sub(now.seconds());
        let retry_after = u32::try_from(wait).unwrap_or(1).max(1);
        Err(EngineError::PromptBudget { user: user.to_string(), limit, found, retry_after })
    }
}

/// What is asked for, without when and under which id.
fn wish(document: &IntentDocument) -> Result<Vec<u8>, EngineError> {
    let lives = document.expires_at.saturating_sub(document.issued_at);
    let wish = IntentDocument {
        decision: DecisionId([0; 32]),
        issued_at: 0,
        expires_at: lives,
        answer_by: None,
        ..document.clone()
    };
    Ok(to_canonical_document("wish", &wish)?.bytes)
}
