//! Payments that somebody looks at after they went.
//!
//! 1. The policy takes a payment for a look ([`crate::ruling`]): one of a sample, drawn by the tenant's key over the payment's
//!    id, so that no agent can foresee it and an auditor can draw it again; or each of a rule. The unit that holds the payment
//!    puts it into the queue, with the [`ReviewDocument`].
//! 2. Whoever gave the mandate, or an operator in their place, says `fine` or `dispute`, and why. No agent does.
//! 3. What is disputed is taken back as far as its rail can: what is held is voided, what a card paid is asked back of its
//!    processor. What a chain settled stays settled, and disputed. The same answer again tries again.
//! 4. What nobody looked at in time is overdue: told and listed, and where the policy says so its mandate is suspended. It can
//!    still be answered.

use std::ops::Range;

use ledger::command::{Command, Propose};
use ledger::decision::{Decision, DecisionState, Finding};
use ledger::effects::{Fact, Operation};
use ledger::id::{BudgetId, CallerKind, DecisionId, Digest, Micros, PrincipalId, SpendId, TenantId};
use ledger::spend::{Rail, Spend, SpendState};
use ledger::store::Document;
use policy::Overdue;
use serde::{Deserialize, Serialize};

use crate::consent::{forbidden, to_canonical_document};
use crate::error::EngineError;
use crate::rate::authority_to_major;
use crate::ruling::question::{PolicyText, resource};
use crate::ruling::{Reservation, rail_of};
use crate::tenant::Tenant;
use crate::{Engine, Identity};

const REVIEW_TYPE: &str = "purser.review/1";
const ANSWER_TYPE: &str = "purser.review-answer/1";
const REVIEW_TAG: &str = "purser/review/1";
const BECAUSE_CHARS_MAX: usize = 2_000;
/// Overdue ones that one sweep writes down; the next goes on.
const SWEEP_MAX: u32 = 500;

/// What is to be looked at, as it is kept. Its digest is what the answer is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewDocument {
    pub r#type: String,
    pub review: DecisionId,
    pub tenant: String,
    /// Who gave the mandate.
    pub reviewer: PrincipalId,
    pub payment: SpendId,
    pub agent: PrincipalId,
    pub mandate: BudgetId,
    pub rail: String,
    /// Major units of `currency`: what was debited; of a vault token the most that it may come to.
    pub amount: String,
    pub currency: String,
    pub payee_id: String,
    pub pay_to: String,
    /// What is bought, where the rail says it: the seller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Why somebody is to look.
    pub policy: PolicyText,
    /// What becomes of it where nobody does.
    pub overdue: Overdue,
    /// Unix seconds.
    pub due_at: i64,
}

/// What was found, as it is kept; its record names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewAnswer {
    pub r#type: String,
    pub review: DecisionId,
    pub payment: SpendId,
    pub verdict: String,
    pub because: String,
    pub by: PrincipalId,
}

/// What a dispute came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reversal {
    /// Nothing was paid, and nothing will be.
    Voided,
    /// All of it came back.
    Refunded,
    /// It can be taken back, and is not yet: the same answer again tries it.
    Pending,
    /// Its rail takes nothing back. It stays as it is, disputed.
    NotReversible,
}

impl Reversal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voided => "voided",
            Self::Refunded => "refunded",
            Self::Pending => "pending",
            Self::NotReversible => "not_reversible",
        }
    }

    fn of(spend: &Spend) -> Self {
        let came_back = spend.refunded == spend.money.amount;
        match (spend.state, spend.authorization.rail()) {
            (SpendState::Voided | SpendState::Expired | SpendState::Released, _) => Self::Voided,
            (SpendState::Settled, _) if came_back => Self::Refunded,
            (SpendState::Held, _) | (_, Rail::Vault) => Self::Pending,
            _ => Self::NotReversible,
        }
    }
}

/// A review, with the payment that it is of.
#[derive(Clone, Debug)]
pub struct Reviewed {
    pub decision: Decision,
    pub document: ReviewDocument,
    pub spend: Spend,
    pub answer: Option<ReviewAnswer>,
    /// Of what is disputed.
    pub reversal: Option<Reversal>,
    /// Why it was not taken back just now, where it could be.
    pub refused: Option<String>,
}

/// A part of a list, and where it goes on.
#[derive(Clone, Debug, Default)]
pub struct Reviews {
    pub reviews: Vec<Reviewed>,
    pub next: Option<u64>,
}

fn name(tenant: &Tenant, payment: SpendId) -> DecisionId {
    DecisionId(tenant.secret.seal(REVIEW_TAG, &payment.0).0)
}

/// The place in the queue of a payment that is about to be held, where the policy took it.
pub(crate) fn put(it: &Reservation<'_>) -> Result<Option<(Propose, Document)>, EngineError> {
    let Reservation { tenant, view, hold, bundle, .. } = it;
    let Some((ruled, due_at)) = bundle.policy.as_ref().and_then(|ruled| Some((ruled, ruled.review_until?))) else {
        return Ok(None);
    };
    let document = ReviewDocument {
        r#type: REVIEW_TYPE.into(),
        review: name(tenant, hold.spend),
        tenant: tenant.id.to_string(),
        reviewer: view.record.user.clone(),
        payment: hold.spend,
        agent: bundle.agent.clone(),
        mandate: bundle.mandate,
        rail: rail_of(&bundle.rail).to_string(),
        amount: authority_to_major(bundle.authority, &bundle.currency)?,
        currency: bundle.currency.clone(),
        payee_id: hold.payee.to_string(),
        pay_to: hold.pay_to.clone(),
        resource: resource(bundle),
        policy: PolicyText::of(ruled),
        overdue: ruled.overdue,
        due_at,
    };
    let stored = to_canonical_document("review", &document)?;
    let place = Propose {
        decision: document.review,
        subject: stored.digest(),
        approver: document.reviewer,
        expires_at: Micros::from_seconds(due_at),
    };
    Ok(Some((place, stored)))
}

impl Engine {
    /// What is to be looked at, or was: of whoever asks, or of everybody for those who see the tenant. Newest first.
    pub async fn reviews(
        &self,
        identity: &Identity,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Reviews, EngineError> {
        let (tenant, most) = (&identity.tenant, limit.saturating_add(1));
        let mut found = match self.sees_reviews_of_all(identity)? {
            true => self.store.reviews_in(tenant, state, records, most).await?,
            false => self.store.decisions_of(tenant, &identity.caller.principal, state, records, most).await?,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| last.asked);
        let mut reviews = Vec::with_capacity(found.len());
        for decision in found.into_iter().filter(|decision| decision.state.is_review()) {
            match self.reviewed(tenant, decision).await {
                Ok(review) => reviews.push(review),
                // Its person was forgotten.
                Err(EngineError::Erased { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Reviews { reviews, next })
    }

    /// How the review of a payment stands, for whoever may see the payment; nothing where none was asked for.
    pub async fn review_of(&self, tenant: &TenantId, payment: SpendId) -> Result<Option<Decision>, EngineError> {
        let id = name(self.tenant(tenant)?.as_ref(), payment);
        Ok(self.store.decision(tenant, id).await?.filter(|found| found.state.is_review()))
    }

    /// `fine` or `dispute`, and why. What is disputed is taken back, where it can be.
    pub async fn answer_review(
        &self,
        identity: &Identity,
        id: DecisionId,
        finding: Finding,
        because: &str,
    ) -> Result<Reviewed, EngineError> {
        let acts = self.reviewer(identity)?;
        check_because(because)?;
        let missing = || EngineError::NotFound { what: "review", id: id.to_string() };
        let is_theirs = |found: &Decision| {
            found.state.is_review()
                && (acts.caller.kind == CallerKind::Operator || found.approver == acts.caller.principal)
        };
        let decision = self.store.decision(&acts.tenant, id).await?.filter(is_theirs).ok_or_else(missing)?;
        let document = self.review_document(&acts.tenant, decision.subject).await?;
        let answer = ReviewAnswer {
            r#type: ANSWER_TYPE.into(),
            review: id,
            payment: document.payment,
            verdict: finding.to_string(),
            because: because.to_owned(),
            by: acts.caller.principal.clone(),
        };
        let stored = to_canonical_document("review-answer", &answer)?;
        let command = Command::Review {
            review: id,
            subject: decision.subject,
            spend: document.payment,
            finding,
            because: stored.digest(),
        };
        let answered = self.run(&acts, command, vec![stored]).await?.decision;
        let decision = answered.ok_or_else(|| EngineError::Broken("an answer without a row".into()))?;
        // The dispute is written down before anything is taken back, and stands whether that comes about or not.
        let taken_back = match decision.state {
            DecisionState::Disputed => self.take_back(&acts, document.payment).await,
            _ => Ok(()),
        };
        let refused = taken_back.err().map(|error| {
            tracing::warn!(review = %id, code = error.code(), "what is disputed is not taken back: {error}");
            error.code().to_owned()
        });
        Ok(Reviewed { refused, ..self.reviewed(&acts.tenant, decision).await? })
    }

    /// Writes down what nobody looked at in time.
    pub(crate) async fn sweep_reviews(&self, identity: &Identity) -> Result<(), EngineError> {
        for review in self.store.reviews_due(&identity.tenant, self.clock.now(), SWEEP_MAX).await? {
            if let Err(error) = self.lapse_review(identity, &review).await {
                tracing::warn!(review = %review.id, code = error.code(), "not written down as overdue: {error}");
            }
        }
        Ok(())
    }

    async fn lapse_review(&self, identity: &Identity, review: &Decision) -> Result<(), EngineError> {
        let document = self.review_document(&identity.tenant, review.subject).await?;
        let suspend = document.overdue == Overdue::Suspend;
        let command = Command::Overdue { review: review.id, spend: document.payment, suspend };
        self.run(identity, command, Vec::new()).await.map(drop)
    }

    async fn take_back(&self, acts: &Identity, payment: SpendId) -> Result<(), EngineError> {
        let spend = self.spend(acts, payment).await?;
        match (spend.state, spend.authorization.rail()) {
            (_, Rail::Vault) => self.reverse_token(acts, payment).await,
            (SpendState::Held, _) => self.run(acts, Command::Void { spend: payment }, Vec::new()).await.map(drop),
            _ => Ok(()),
        }
    }

    fn sees_reviews_of_all(&self, identity: &Identity) -> Result<bool, EngineError> {
        match identity.caller.kind {
            CallerKind::Operator | CallerKind::Service => Ok(true),
            CallerKind::User => Ok(self.seat(identity)?.sees_all()),
            CallerKind::Agent | CallerKind::Merchant => Err(forbidden("a person or an operator", identity)),
        }
    }

    /// As whom they answer.
    fn reviewer(&self, identity: &Identity) -> Result<Identity, EngineError> {
        match identity.caller.kind {
            CallerKind::Operator => Ok(identity.clone()),
            CallerKind::User => self.seat(identity)?.acts(),
            CallerKind::Service | CallerKind::Agent | CallerKind::Merchant => {
                Err(forbidden("an approver or an operator", identity))
            }
        }
    }

    async fn reviewed(&self, tenant: &TenantId, decision: Decision) -> Result<Reviewed, EngineError> {
        let document = self.review_document(tenant, decision.subject).await?;
        let spend = self.store.spend(tenant, document.payment).await?;
        let spend = spend.ok_or_else(|| EngineError::Broken(format!("review {} is of no payment", decision.id)))?;
        let answer = if decision.state.is_unreviewed() { None } else { self.review_answer(tenant, &spend).await? };
        let reversal = (decision.state == DecisionState::Disputed).then(|| Reversal::of(&spend));
        Ok(Reviewed { decision, document, spend, answer, reversal, refused: None })
    }

    async fn review_answer(&self, tenant: &TenantId, spend: &Spend) -> Result<Option<ReviewAnswer>, EngineError> {
        let records = self.store.records_of_spend(tenant, spend.id).await?;
        let record = records.iter().rev().find(|(_, record)| record.operation == Operation::Review);
        let Some((_, record)) = record else { return Ok(None) };
        let Some(Fact::Reference(digest)) = record.fact else { return Ok(None) };
        let Some(found) = self.store.document(tenant, digest).await? else { return Ok(None) };
        let read = serde_json::from_slice(&found.bytes);
        read.map(Some).map_err(|error| EngineError::Broken(format!("an answer cannot be read: {error}")))
    }

    pub(crate) async fn review_document(
        &self,
        tenant: &TenantId,
        subject: Digest,
    ) -> Result<ReviewDocument, EngineError> {
        let found = self.store.document(tenant, subject).await?;
        let bytes = found.ok_or(EngineError::Erased { what: "the review", digest: subject })?.bytes;
        let read = serde_json::from_slice::<ReviewDocument>(&bytes).ok().filter(|found| found.r#type == REVIEW_TYPE);
        read.ok_or_else(|| EngineError::Broken(format!("the document of digest {subject} is no review")))
    }
}

fn check_because(because: &str) -> Result<(), EngineError> {
    let length = because.chars().count();
    let is_text = !because.chars().any(|letter| letter.is_control() && letter != '\n');
    if because.trim().is_empty() || length > BECAUSE_CHARS_MAX || !is_text {
        let expected = format!("1 to {BECAUSE_CHARS_MAX} characters, none of them a control character");
        return Err(EngineError::invalid("because", expected, format!("{length} characters")));
    }
    Ok(())
}
