//! Asking for a standing approval: by the person who is asked about one payment, from its page, and by nobody else.

use ledger::budget::Budget;
use ledger::command::{Command, Propose};
use ledger::decision::{Answer, DecisionState};
use ledger::id::{CallerKind, DecisionId, Digest, Micros};
use ledger::money::Amount;

use super::{PAGE, StandingTerms, is_standable};
use crate::consent::{
    Approval, INTENT_TYPE, IntentDocument, IntentRequest, MandateView, MerchantText, Question, check_request,
    forbidden, on_record, shown, to_canonical_document,
};
use crate::error::EngineError;
use crate::limits::RefundsText;
use crate::rate::authority_from_major;
use crate::recurrence::{FrequencyText, check_life};
use crate::ruling::question::{PaymentQuestion, PaymentTerms};
use crate::tenant::Tenant;
use crate::{Engine, Identity};

const DAY_SECONDS: i64 = 24 * 3_600;
/// What is offered where the person says nothing else: so many days, and so many payments like the one that is asked.
const DAYS: u16 = 30;
const PAYMENTS: u128 = 10;
const DAYS_MAX: u16 = 366;

/// What a person would let pass. Amounts are decimals in major units of the mandate's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingWish {
    pub per_payment: String,
    pub total: String,
    pub days: u16,
}

impl StandingTerms {
    fn of(question: &PaymentQuestion, question_digest: Digest) -> Self {
        let terms = &question.payment;
        Self {
            under: terms.mandate,
            mandate_chain: terms.mandate_chain,
            question: question.decision,
            question_digest,
            rail: terms.rail.clone(),
            asset: terms.moves.asset.clone(),
            payee_id: terms.payee_id.clone(),
            pay_to: terms.pay_to.clone(),
            payee_keys: terms.payee_keys.clone(),
            policy: terms.policy.clone(),
        }
    }
}

impl Engine {
    /// What a person could let pass beside this payment, as it is offered first; nothing where it cannot be.
    pub async fn standing_offer(
        &self,
        identity: &Identity,
        approval: &Approval,
    ) -> Result<Option<StandingWish>, EngineError> {
        let Question::Payment(question) = &approval.document else { return Ok(None) };
        let terms = &question.payment;
        if !is_standable(terms, &question.user) {
            return Ok(None);
        }
        let view = self.mandate(identity, terms.mandate).await?;
        let Some(left) = left(&view.budget) else { return Ok(None) };
        let asked = authority_from_major(&terms.amount, &terms.currency)?;
        let total = Amount::new(asked.get().saturating_mul(PAYMENTS)).min(left);
        let life = view.record.expires_at.saturating_sub(self.clock.now().seconds());
        let days = u16::try_from(life / DAY_SECONDS).unwrap_or(DAYS).clamp(1, DAYS);
        let is_single = view.budget.caps.occurrences.is_some_and(|most| most <= 1);
        Ok((!is_single && total >= asked).then(|| StandingWish {
            per_payment: terms.amount.clone(),
            total: shown(total, &terms.currency),
            days,
        }))
    }

    /// Puts the question to the person who is asked about one payment; nobody else may, and it allows nothing by itself. An
    /// earlier one beside the same payment gives way.
    pub async fn propose_standing(
        &self,
        identity: &Identity,
        id: DecisionId,
        subject: Digest,
        wish: &StandingWish,
    ) -> Result<Approval, EngineError> {
        if identity.caller.kind != CallerKind::User {
            return Err(forbidden("a person", identity));
        }
        self.check_acts(identity)?;
        let approval = self.approval(identity, id).await?;
        self.check_approvable(identity, &approval, subject)?;
        let Question::Payment(question) = &approval.document else {
            return Err(EngineError::invalid("question", "one about a payment", "one about something else"));
        };
        if !is_standable(&question.payment, &question.user) {
            let (expected, found) =
                ("the word of one person, by their own mandate, alone", &question.payment.policy.verb);
            let found = format!("{found} by {} of {}", question.payment.needed, question.payment.approvers.len());
            return Err(EngineError::invalid("question", expected, found));
        }
        let tenant = self.tenant(&identity.tenant)?;
        let view = self.mandate(identity, question.payment.mandate).await?;
        let document = self.standing_document(&tenant, &view, (question, subject), wish)?;
        self.withdraw(identity, id).await?;
        let stored = to_canonical_document("intent", &document)?;
        let answer_by = document.answer_by.unwrap_or(document.issued_at);
        let propose = Propose {
            decision: document.decision,
            subject: stored.digest(),
            approver: document.user.clone(),
            expires_at: Micros::from_seconds(answer_by),
        };
        let answer = self.run(identity, Command::Propose(propose), vec![stored]).await?;
        let decision = answer.decision.ok_or_else(|| EngineError::Broken("a question without a row".into()))?;
        Ok(Approval { decision, document: Question::Intent(Box::new(document)) })
    }

    fn standing_document(
        &self,
        tenant: &Tenant,
        above: &MandateView,
        (question, question_digest): (&PaymentQuestion, Digest),
        wish: &StandingWish,
    ) -> Result<IntentDocument, EngineError> {
        let (terms, record, caps) = (&question.payment, &above.record, &above.budget.caps);
        if !(1..=DAYS_MAX).contains(&wish.days) {
            return Err(EngineError::invalid("days", format!("1 to {DAYS_MAX}"), wish.days.to_string()));
        }
        let now = self.clock.now().seconds();
        let end = now.saturating_add(i64::from(wish.days).saturating_mul(DAY_SECONDS)).min(record.expires_at);
        let lives = u64::try_from(end.saturating_sub(now)).unwrap_or(0);
        let payments = caps.occurrences.map_or(u64::MAX, |most| most.saturating_sub(above.budget.count));
        let asked = request(above, terms, wish, (lives, payments))?;
        check_request(&asked, payments, tenant)?;
        check_life(lives, caps.frequency.filter(|_| payments > 1))?;
        check_amounts(above, terms, wish)?;
        Ok(IntentDocument {
            r#type: INTENT_TYPE.into(),
            decision: DecisionId(self.entropy.bytes()?),
            tenant: tenant.id.to_string(),
            user: asked.user,
            agent: terms.agent.clone(),
            agent_key: terms.agent_key.clone(),
            agent_build: terms.agent_build,
            quoted_from_agent: asked.description,
            currency: asked.currency,
            total: asked.total,
            per_payment: asked.per_payment,
            payments,
            frequency: asked.frequency,
            on_record: on_record(tenant, asked.payees.as_deref()),
            payees: asked.payees,
            cart: asked.cart,
            limits: asked.limits,
            hours: asked.hours,
            refunds: asked.refunds,
            cost_centre: asked.cost_centre,
            issued_at: now,
            expires_at: end,
            answer_by: Some(now.saturating_add(tenant.limits.decision_seconds)),
            standing: Some(StandingTerms::of(question, question_digest)),
        })
    }

    /// Of what a person asked themselves beside one payment, the last stands.
    async fn withdraw(&self, identity: &Identity, question: DecisionId) -> Result<(), EngineError> {
        let (tenant, person) = (&identity.tenant, &identity.caller.principal);
        for found in self.store.decisions_of(tenant, person, DecisionState::Pending, 0..u64::MAX, PAGE).await? {
            let is_beside = match self.question(tenant, found.subject).await {
                Ok(Question::Intent(document)) => {
                    document.standing.is_some_and(|standing| standing.question == question)
                }
                Ok(_) | Err(EngineError::Erased { .. }) => false,
                Err(error) => return Err(error),
            };
            if is_beside && found.expires_at > self.clock.now() {
                let (decision, subject) = (found.id, found.subject);
                let no = Command::Decide { decision, subject, answer: Answer::Deny, evidence: None };
                self.run(identity, no, Vec::new()).await?;
            }
        }
        Ok(())
    }
}

/// What can still be spent under a mandate itself.
fn left(budget: &Budget) -> Option<Amount> {
    budget.caps.total?.checked_sub(budget.used()?)
}

/// Nothing beyond the mandate, and the payment that was asked for within it.
fn check_amounts(above: &MandateView, terms: &PaymentTerms, wish: &StandingWish) -> Result<(), EngineError> {
    let currency = &above.record.currency;
    let units = |text: &str| authority_from_major(text, currency);
    let (asked, each, total) = (units(&terms.amount)?, units(&wish.per_payment)?, units(&wish.total)?);
    let left = left(&above.budget).unwrap_or(Amount::ZERO);
    let most = above.budget.caps.per_payment.unwrap_or(left).min(left);
    for (field, least, found, most) in [("per_payment", asked, each, most), ("total", each, total, left)] {
        if found < least || found > most {
            let expected = format!("{} to {} {currency}", shown(least, currency), shown(most, currency));
            return Err(EngineError::invalid(field, expected, shown(found, currency)));
        }
    }
    Ok(())
}

fn merchant(terms: &PaymentTerms) -> Result<MerchantText, EngineError> {
    let text = |name: &str| terms.payee.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let missing = || EngineError::invalid("payee", "an id and a name", terms.payee_id.clone());
    let (id, name) = (text("id").ok_or_else(missing)?, text("name").ok_or_else(missing)?);
    Ok(MerchantText { id, name, website: text("website") })
}

/// The mandate that is asked for: of this payee alone, and of nothing that the one above it does not give.
fn request(
    above: &MandateView,
    terms: &PaymentTerms,
    wish: &StandingWish,
    (lives, payments): (u64, u64),
) -> Result<IntentRequest, EngineError> {
    let (record, caps) = (&above.record, &above.budget.caps);
    Ok(IntentRequest {
        user: record.user.clone(),
        description: String::new(),
        currency: record.currency.clone(),
        total: wish.total.clone(),
        per_payment: Some(wish.per_payment.clone()),
        payments: Some(payments),
        frequency: caps.frequency.filter(|_| payments > 1).map(FrequencyText),
        payees: Some(vec![merchant(terms)?]),
        expires_in_seconds: lives,
        limits: Vec::new(),
        hours: None,
        refunds: RefundsText::Keep,
        cart: record.cart,
        cost_centre: record.cost_centre.clone(),
    })
}
