//! Where an agent stands on the ladder of its tenant's policy, counted from the book: for one build of its software, one
//! mandate and one payee.
//!
//! A step up is a question to whoever gave the mandate, put by the service and signed with their passkey; no agent puts it. It
//! names how many complaints there were: disputed payments and refused questions. One more, and no step of before counts: the
//! complaint itself is the step down, in the unit that writes it. Another build, mandate or payee begins at the first level.

use ledger::command::{Command, Propose};
use ledger::decision::{Decision, DecisionState};
use ledger::id::{BudgetId, DecisionId, Digest, Micros, PayeeId, PrincipalId, TenantId};
use ledger::origin::Build;
use ledger::spend::{Spend, SpendState};
use mandates::canonical::canonical;
use policy::{Ladder, Standing};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::book::service;
use crate::consent::{Question, agent_of, to_canonical_document};
use crate::error::EngineError;
use crate::ruling::Reservation;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

pub(crate) const PROMOTION_TYPE: &str = "purser.promotion/1";
const PROMOTION_TAG: &str = "purser/promotion/1";
/// How long a person has to answer, and how often they are asked for one step.
const ANSWER_SECONDS: i64 = 7 * 24 * 3_600;
const ATTEMPTS_MAX: u8 = 4;
const PAGE: u32 = 100;
/// Complaints and payments that are looked through. Who is complained about more often stays where everybody begins.
const COMPLAINTS_MAX: usize = 200;
const PAYMENTS_MAX: u32 = 500;

/// Whose standing it is, to the letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromotionTerms {
    pub agent: PrincipalId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_build: Option<Build>,
    pub mandate: BudgetId,
    pub payee_id: PayeeId,
    /// Of the ladder as the policy has it: another ladder is climbed anew.
    pub ladder: Digest,
    pub from: String,
    pub to: String,
    pub level: usize,
    /// What the level lets pass, as the policy has it.
    pub what: Value,
    /// Against it, ever. One more and this step does not count.
    pub complaints: usize,
}

/// The document. Its bytes are kept; its SHA-256 is the challenge of the passkey that allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromotionQuestion {
    pub r#type: String,
    pub decision: DecisionId,
    pub tenant: String,
    /// Who is asked: whoever gave the mandate.
    pub user: PrincipalId,
    pub promotion: PromotionTerms,
    /// Payments since the last step that nobody complained about.
    pub clean: u32,
    pub issued_at: i64,
    pub answer_by: i64,
}

/// Where it stood when a payment was judged, in its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stood {
    pub level: String,
    pub complaints: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_drifted: bool,
}

/// What is known of a payment's agent, build, mandate and payee.
pub(crate) struct Climb<'a> {
    pub standing: Standing,
    tenant: &'a Tenant,
    ladder: &'a Ladder,
    user: &'a PrincipalId,
    agent: PrincipalId,
    build: Option<Build>,
    mandate: BudgetId,
    payee: PayeeId,
    complaints: usize,
    /// The record after which payments count towards the next step.
    since: u64,
}

fn digest(ladder: &Ladder) -> Result<Digest, EngineError> {
    Ok(Digest::of(canonical(&json!(ladder))?.as_bytes()))
}

impl Climb<'_> {
    fn name(&self, level: usize) -> String {
        let name = self.ladder.levels.get(level).map_or("", |level| level.rule.name.as_str());
        name.strip_prefix("autonomy/").unwrap_or(name).to_owned()
    }

    pub fn stood(&self) -> Stood {
        let Standing { level, has_drifted } = self.standing;
        Stood { level: self.name(level), complaints: self.complaints, has_drifted }
    }

    fn terms(&self, level: usize) -> Result<PromotionTerms, EngineError> {
        Ok(PromotionTerms {
            agent: self.agent.clone(),
            agent_build: self.build,
            mandate: self.mandate,
            payee_id: self.payee.clone(),
            ladder: digest(self.ladder)?,
            from: self.name(level.saturating_sub(1)),
            to: self.name(level),
            level,
            what: json!(self.ladder.levels.get(level).map(|level| &level.rule)),
            complaints: self.complaints,
        })
    }

    /// The name of the question: nobody outside can tell it beforehand.
    fn decision(&self, level: usize, attempt: u8) -> Result<DecisionId, EngineError> {
        let mut terms = to_canonical_document("terms", &self.terms(level)?)?.bytes;
        terms.push(attempt);
        terms.extend_from_slice(self.user.as_str().as_bytes());
        Ok(DecisionId(self.tenant.secret.seal(PROMOTION_TAG, &terms).0))
    }

    fn is_of(&self, spend: &Spend) -> bool {
        spend.budget == self.mandate && spend.payee == self.payee && spend.build == self.build
    }
}

impl Engine {
    /// Where a payment that is about to be judged stands; nothing where the policy has no ladder.
    pub(crate) async fn climb<'a>(
        &self,
        identity: &Identity,
        it: &'a Reservation<'_>,
    ) -> Result<Option<Climb<'a>>, EngineError> {
        let Some(ladder) = it.tenant.policy.as_ref().and_then(|policy| policy.ladder()) else { return Ok(None) };
        let mut climb = Climb {
            standing: Standing::default(),
            tenant: it.tenant,
            ladder,
            user: &it.view.record.user,
            agent: it.bundle.agent.clone(),
            build: identity.caller.build,
            mandate: it.bundle.mandate,
            payee: it.hold.payee.clone(),
            complaints: 0,
            since: 0,
        };
        // What was paid under what it handed on is somebody else's.
        let paid = self.store.spends_of(&it.tenant.id, climb.mandate, 0..u64::MAX, PAGE).await?;
        let last = paid.iter().find(|spend| spend.budget == climb.mandate);
        climb.standing.has_drifted = last.is_some_and(|last| last.build != climb.build);
        self.count_complaints(&mut climb).await?;
        if climb.complaints > COMPLAINTS_MAX {
            return Ok(Some(climb));
        }
        let mut steps = Vec::new();
        for level in 1..ladder.levels.len() {
            let Some(step) = self.step(&climb, level).await?.filter(|step| step.state == DecisionState::Approved)
            else {
                break;
            };
            climb.since = climb.since.max(step.asked);
            steps.push(level);
        }
        climb.standing.level = ladder.level(|level| steps.contains(&level));
        Ok(Some(climb))
    }

    /// The last question that was put for a step.
    async fn step(&self, climb: &Climb<'_>, level: usize) -> Result<Option<Decision>, EngineError> {
        let mut found = None;
        for attempt in 0..ATTEMPTS_MAX {
            let Some(step) = self.store.decision(&climb.tenant.id, climb.decision(level, attempt)?).await? else {
                break;
            };
            found = Some(step);
        }
        Ok(found)
    }

    /// Disputed payments, and questions about payments that anybody said no to.
    async fn count_complaints(&self, climb: &mut Climb<'_>) -> Result<(), EngineError> {
        let tenant = &climb.tenant.id;
        let mut asked: Vec<PrincipalId> = vec![climb.user.clone()];
        asked.extend(climb.tenant.policy.iter().flat_map(|policy| policy.approvers()).cloned());
        asked.sort_unstable();
        asked.dedup();
        for person in &asked {
            for state in [DecisionState::Disputed, DecisionState::Denied] {
                let mut end = u64::MAX;
                loop {
                    let page = self.store.decisions_of(tenant, person, state, 0..end, PAGE).await?;
                    let Some(last) = page.last() else { break };
                    end = last.asked;
                    for decision in page.into_iter().filter(|decision| decision.requested_by == climb.agent) {
                        if self.is_complaint(climb, &decision).await? {
                            climb.complaints = climb.complaints.saturating_add(1);
                            climb.since = climb.since.max(decision.asked);
                        }
                    }
                    if climb.complaints > COMPLAINTS_MAX {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn is_complaint(&self, climb: &Climb<'_>, decision: &Decision) -> Result<bool, EngineError> {
        let tenant = &climb.tenant.id;
        if decision.state == DecisionState::Disputed {
            return match self.reviewed_payment(tenant, decision).await {
                Ok(spend) => Ok(climb.is_of(&spend)),
                // Whatever it was about: it was a complaint about this agent.
                Err(EngineError::Erased { .. }) => Ok(true),
                Err(error) => Err(error),
            };
        }
        match self.question(tenant, decision.subject).await {
            Ok(Question::Payment(question)) => {
                let terms = &question.payment;
                Ok(terms.mandate == climb.mandate
                    && terms.payee_id == climb.payee.as_str()
                    && terms.agent_build == climb.build)
            }
            Ok(Question::Intent(_) | Question::Promotion(_)) => Ok(false),
            Err(EngineError::Erased { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Payments since the last step or complaint that are paid, and that nobody is still to look at; no more than `most` are
    /// counted.
    async fn count_clean(&self, climb: &Climb<'_>, most: u32) -> Result<u32, EngineError> {
        let tenant = &climb.tenant.id;
        let mut clean = 0_u32;
        for spend in self.store.spends_of(tenant, climb.mandate, climb.since..u64::MAX, PAYMENTS_MAX).await? {
            if clean >= most {
                break;
            }
            if spend.state != SpendState::Settled || !climb.is_of(&spend) {
                continue;
            }
            let review = self.review_of(tenant, spend.id).await?;
            if review.is_none_or(|review| review.state == DecisionState::Confirmed) {
                clean = clean.saturating_add(1);
            }
        }
        Ok(clean)
    }

    /// Puts the next step to whoever gave the mandate, where it is time. Nothing that a payment waits for.
    pub(crate) async fn propose_step(&self, climb: &Climb<'_>) -> Result<(), EngineError> {
        let level = climb.standing.level;
        let Some(above) = climb.ladder.levels.get(level.saturating_add(1)) else { return Ok(()) };
        if climb.complaints > COMPLAINTS_MAX {
            return Ok(());
        }
        let clean = self.count_clean(climb, above.after).await?;
        let Some(next) = climb.ladder.next(level, clean) else { return Ok(()) };
        let now = self.clock.now();
        for attempt in 0..ATTEMPTS_MAX {
            let decision = climb.decision(next, attempt)?;
            match self.store.decision(&climb.tenant.id, decision).await? {
                // Nobody answered in time: it is asked once more.
                Some(found) if found.state == DecisionState::Pending && now >= found.expires_at => {}
                Some(_) => return Ok(()),
                None => return self.put_step(climb, (decision, next), clean, now).await,
            }
        }
        Ok(())
    }

    async fn put_step(
        &self,
        climb: &Climb<'_>,
        (decision, level): (DecisionId, usize),
        clean: u32,
        now: Micros,
    ) -> Result<(), EngineError> {
        self.check_prompts(climb.tenant, climb.user).await?;
        let answer_by = now.seconds().saturating_add(ANSWER_SECONDS);
        let question = PromotionQuestion {
            r#type: PROMOTION_TYPE.into(),
            decision,
            tenant: climb.tenant.id.to_string(),
            user: climb.user.clone(),
            promotion: climb.terms(level)?,
            clean,
            issued_at: now.seconds(),
            answer_by,
        };
        let stored = to_canonical_document("promotion", &question)?;
        let propose = Propose {
            decision,
            subject: stored.digest(),
            approver: question.user,
            expires_at: Micros::from_seconds(answer_by),
        };
        let identity = service(&climb.tenant.id, "autonomy")?;
        self.run(&identity, Command::Propose(propose), vec![stored]).await.map(drop)
    }

    async fn reviewed_payment(&self, tenant: &TenantId, decision: &Decision) -> Result<Spend, EngineError> {
        let payment = self.review_document(tenant, decision.subject).await?.payment;
        let spend = self.store.spend(tenant, payment).await?;
        spend.ok_or_else(|| EngineError::Broken(format!("review {} is of no payment", decision.id)))
    }
}

/// Whether the ladder and the agent are what the question says of them.
pub(crate) fn check_unchanged(tenant: &Tenant, question: &PromotionQuestion) -> Result<(), EngineError> {
    let terms = &question.promotion;
    let changed = |what, expected: String, found: String| Err(EngineError::QuestionChanged { what, expected, found });
    let ladder = tenant.policy.as_ref().and_then(|policy| policy.ladder()).map(digest).transpose()?;
    if ladder != Some(terms.ladder) {
        let found = ladder.map_or_else(|| "none".into(), |found| found.to_string());
        return changed("the ladder of the policy", terms.ladder.to_string(), found);
    }
    let build = agent_of(tenant, &terms.agent)?.build;
    if build != terms.agent_build {
        let text = |build: &Option<Build>| build.map_or_else(|| "none".into(), |build| build.to_string());
        return changed("the agent's build", text(&terms.agent_build), text(&build));
    }
    Ok(())
}
