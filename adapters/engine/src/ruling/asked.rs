//! Who allowed a payment, who is still to answer, and the questions that are put for it.

use ledger::command::{Command, Propose};
use ledger::decision::{Decision, DecisionState};
use ledger::id::{DecisionId, Digest, Micros, PrincipalId};
use ledger::rejection::Rejection;
use policy::Asking;
use serde::Serialize;

use super::Approved;
use super::question::{PaymentQuestion, PaymentTerms, QUESTION_TYPE};
use crate::consent::{Question, to_canonical_document};
use crate::error::EngineError;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

/// Of the questions that wait for a person, how many are looked at for the same one.
const LOOKED_AT: u32 = 100;

/// A payment that waits for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Whoever has not answered yet.
    pub approvals: Vec<Waiting>,
    pub needed: u16,
    pub given: u16,
    /// The rule that asks; none where no rule is about it.
    pub rule: Option<String>,
    pub policy_version: String,
    pub policy_digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub id: DecisionId,
    pub approver: PrincipalId,
    /// Where they answer; none where the service has no address for it.
    pub url: Option<String>,
    /// Unix seconds.
    pub expires_at: i64,
}

/// How the questions for a payment stand.
#[derive(Default)]
struct Tally {
    allowed: Vec<Approved>,
    waiting: Vec<Decision>,
    unasked: Vec<(PrincipalId, DecisionId)>,
    denied: Vec<PrincipalId>,
}

impl Engine {
    /// Those who allowed exactly this; or the refusal that it takes until enough of them have.
    pub(super) async fn allowed_by(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        terms: &PaymentTerms,
        asking: &Asking,
    ) -> Result<Vec<Approved>, EngineError> {
        let stranger = terms.approvers.iter().find(|approver| !tenant.people.contains_key(*approver));
        if let Some(stranger) = stranger {
            return Err(EngineError::NotFound { what: "approver of the policy", id: stranger.to_string() });
        }
        let mut tally = self.tally(identity, tenant, terms).await?;
        let needed = usize::from(terms.needed);
        if tally.allowed.len() >= needed {
            return Ok(tally.allowed);
        }
        let reachable = tally.allowed.len().saturating_add(tally.waiting.len()).saturating_add(tally.unasked.len());
        if reachable < needed {
            return Err(match tally.denied.first() {
                Some(by) => EngineError::ApprovalDenied { payment: terms.payment, by: by.to_string() },
                None => EngineError::ApprovalExpired { payment: terms.payment },
            });
        }
        if tally.unasked.len() == terms.approvers.len()
            && let Some(waiting) = self.asked_likewise(identity, terms).await?
        {
            return Err(self.pending(terms, &tally, waiting));
        }
        let seconds = asking.ttl_seconds.map_or(tenant.limits.decision_seconds, i64::from);
        for (user, id) in std::mem::take(&mut tally.unasked) {
            tally.waiting.push(self.put_question(identity, tenant, (user, id), terms, seconds).await?);
        }
        let waiting = std::mem::take(&mut tally.waiting);
        Err(self.pending(terms, &tally, waiting))
    }

    async fn tally(&self, identity: &Identity, tenant: &Tenant, terms: &PaymentTerms) -> Result<Tally, EngineError> {
        let now = self.clock.now();
        let mut tally = Tally::default();
        for user in &terms.approvers {
            let id = terms.decision(tenant, user)?;
            let Some(decision) = self.store.decision(&identity.tenant, id).await? else {
                tally.unasked.push((user.clone(), id));
                continue;
            };
            let question = self.payment_question(identity, &decision).await?;
            let is_theirs = question.decision == id && question.user == *user && decision.approver == *user;
            if !is_theirs || question.payment != *terms {
                return Err(EngineError::Broken(format!("question {id} is about another payment than its name")));
            }
            match decision.state {
                DecisionState::Approved if now.seconds() < question.use_by => {
                    tally.allowed.push(Approved { decision: id, approver: user.clone(), question: decision.subject })
                }
                DecisionState::Pending if now < decision.expires_at => tally.waiting.push(decision),
                DecisionState::Denied => tally.denied.push(user.clone()),
                // Its time is over.
                DecisionState::Approved | DecisionState::Pending => {}
                DecisionState::InReview
                | DecisionState::Confirmed
                | DecisionState::Disputed
                | DecisionState::Overdue => {
                    return Err(EngineError::Broken(format!("question {id} is a review")));
                }
            }
        }
        Ok(tally)
    }

    async fn payment_question(&self, identity: &Identity, decision: &Decision) -> Result<PaymentQuestion, EngineError> {
        match self.question(&identity.tenant, decision.subject).await? {
            Question::Payment(question) => Ok(*question),
            Question::Intent(_) | Question::Promotion(_) => {
                Err(EngineError::Broken(format!("question {} is about no payment", decision.id)))
            }
        }
    }

    /// The same purchase by the same agent under another key, where people are asked about it already.
    async fn asked_likewise(
        &self,
        identity: &Identity,
        terms: &PaymentTerms,
    ) -> Result<Option<Vec<Decision>>, EngineError> {
        let (tenant, now) = (&identity.tenant, self.clock.now());
        let Some(first) = terms.approvers.first() else { return Ok(None) };
        let waiting = self.store.decisions_of(tenant, first, DecisionState::Pending, 0..u64::MAX, LOOKED_AT).await?;
        let own = waiting.into_iter().filter(|decision| decision.requested_by == terms.agent);
        for decision in own.filter(|decision| now < decision.expires_at) {
            match self.question(tenant, decision.subject).await {
                Ok(Question::Payment(question)) if terms.is_like(&question.payment) => return Ok(Some(vec![decision])),
                Ok(_) | Err(EngineError::Erased { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn put_question(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        (user, decision): (PrincipalId, DecisionId),
        terms: &PaymentTerms,
        seconds: i64,
    ) -> Result<Decision, EngineError> {
        self.check_prompts(tenant, &user).await?;
        let issued_at = self.clock.now().seconds();
        let answer_by = issued_at.saturating_add(seconds);
        let question = PaymentQuestion {
            r#type: QUESTION_TYPE.into(),
            decision,
            tenant: tenant.id.to_string(),
            user: user.clone(),
            payment: terms.clone(),
            issued_at,
            answer_by,
            use_by: answer_by.saturating_add(seconds),
        };
        let stored = to_canonical_document("payment-question", &question)?;
        let expires_at = Micros::from_seconds(answer_by);
        let propose = Propose { decision, subject: stored.digest(), approver: user, expires_at };
        let put = match self.run(identity, Command::Propose(propose), vec![stored]).await {
            Ok(answer) => answer.decision,
            // Another process put it in this very moment.
            Err(EngineError::Book(Rejection::DecisionExists { .. })) => {
                self.store.decision(&identity.tenant, decision).await?
            }
            Err(error) => return Err(error),
        };
        put.ok_or_else(|| EngineError::Broken("a question without a row".into()))
    }

    fn pending(&self, terms: &PaymentTerms, tally: &Tally, waiting: Vec<Decision>) -> EngineError {
        let pages = self.pages().and_then(|pages| pages.party().map(|party| party.origin.clone())).ok();
        let waiting = waiting.into_iter().map(|decision| Waiting {
            id: decision.id,
            url: pages.as_ref().map(|origin| format!("{origin}/approve/{}", decision.id)),
            approver: decision.approver,
            expires_at: decision.expires_at.seconds(),
        });
        EngineError::PendingApproval(Box::new(Pending {
            approvals: waiting.collect(),
            needed: terms.needed,
            given: u16::try_from(tally.allowed.len()).unwrap_or(u16::MAX),
            rule: terms.policy.rule.clone(),
            policy_version: terms.policy.version.clone(),
            policy_digest: terms.policy.digest,
        }))
    }
}

impl std::fmt::Display for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rule = self.rule.as_deref().map_or_else(|| "no rule is about it".into(), |rule| format!("rule {rule}"));
        let Self { needed, given, policy_version, .. } = self;
        write!(f, "the approval of {needed} was expected before this is paid ({rule} of policy {policy_version}), ")?;
        write!(f, "{given} came; waiting for")?;
        for (at, waiting) in self.approvals.iter().enumerate() {
            let place = waiting.url.clone().unwrap_or_else(|| waiting.id.to_string());
            write!(f, "{} {} at {place}", if at == 0 { "" } else { "," }, waiting.approver)?;
        }
        Ok(())
    }
}
