//! How a mandate comes to be: an agent asks, a human decides on exactly that, and the trusted surface signs it.
//!
//! No endpoint believes an agent that the user agreed. The question is a document; its digest is what the answer
//! binds; an approval opens one mandate, once. A crash between the answer and the mandate loses nothing: the answer
//! given again, or the next look at it by the person, opens it.

mod again;
pub mod answer;
mod question;
mod record;
pub mod signed;
pub(crate) mod wallet;

use std::ops::Range;

use ledger::budget::{Budget, Caps};
use ledger::command::{Command, Propose};
use ledger::decision::{Decision, DecisionState};
use ledger::id::{CallerKind, DecisionId, Digest, Micros, PrincipalId};
use ledger::money::{Amount, AssetId};
use ledger::origin::Build;
use ledger::store::Document;
use mandates::party::Merchant;
use serde::{Deserialize, Serialize};

pub use self::question::Question;
pub(crate) use self::record::{check_unchanged as check_intent, on_record};
pub use self::wallet::WalletRequest;
use crate::consent::record::PayeeOnRecord;
use crate::error::EngineError;
use crate::limits::{self, HoursText, LimitState, LimitText, RefundsText};
use crate::rate::{authority_from_major, authority_to_major};
use crate::recurrence::{self, FrequencyText};
use crate::ruling::standing::StandingTerms;
use crate::tenant::{Duty, Tenant, check_cost_centre};
use crate::token::{Delegator, Token, Tokens};
use crate::{Engine, Identity};

/// Longest text in which an agent says what it is about.
const DESCRIPTION_CHARS_MAX: usize = 2_000;
const PAYEES_MAX: usize = 64;

/// What an agent asks a person for: `POST /v1/mandates/intents`. Amounts are decimals in major units.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentRequest {
    /// The person who is to decide.
    pub user: PrincipalId,
    /// The agent's own words: shown to the person as a quote, never interpreted.
    pub description: String,
    pub currency: String,
    pub total: String,
    #[serde(default)]
    pub per_payment: Option<String>,
    /// How many payments; one where nothing is said, as in AP2.
    #[serde(default)]
    pub payments: Option<u64>,
    /// How far apart the payments lie; nothing where nothing is said. Beside several payments only.
    #[serde(default)]
    pub frequency: Option<FrequencyText>,
    /// Who may be paid; anyone where nothing is said.
    #[serde(default)]
    pub payees: Option<Vec<MerchantText>>,
    pub expires_in_seconds: u64,
    /// What AP2 cannot say: so much a day, to each payee. It binds here, and stands in no credential.
    #[serde(default)]
    pub limits: Vec<LimitText>,
    /// When anything may be paid; at any time where nothing is said.
    #[serde(default)]
    pub hours: Option<HoursText>,
    /// Whether what a payee gives back can be spent again.
    #[serde(default)]
    pub refunds: RefundsText,
    /// Whether every payment needs a cart that the merchant signed.
    #[serde(default)]
    pub cart: CartDemand,
    /// Whose expense it is, for the exports; the agent's of the configuration where nothing is said. It binds nothing.
    #[serde(default)]
    pub cost_centre: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MerchantText {
    pub id: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CartDemand {
    Required,
    #[default]
    Optional,
}

/// The document that the person is shown. Its bytes are kept; its SHA-256 is what the answer is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentDocument {
    pub r#type: String,
    pub decision: DecisionId,
    pub tenant: String,
    pub user: PrincipalId,
    pub agent: PrincipalId,
    /// RFC 7638 thumbprint of the key that will sign for the agent.
    pub agent_key: String,
    /// What its software was registered as when it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_build: Option<Build>,
    pub quoted_from_agent: String,
    pub currency: String,
    pub total: String,
    pub per_payment: Option<String>,
    pub payments: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<FrequencyText>,
    pub payees: Option<Vec<MerchantText>>,
    /// What the registry has of those payees: another key or address is another question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_record: Vec<PayeeOnRecord>,
    pub cart: CartDemand,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<HoursText>,
    #[serde(default, skip_serializing_if = "RefundsText::is_keep")]
    pub refunds: RefundsText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_centre: Option<String>,
    /// Unix seconds.
    pub issued_at: i64,
    pub expires_at: i64,
    /// Until when it can be answered; not there in documents of before passkeys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_by: Option<i64>,
    /// Where what the policy would ask for passes under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<StandingTerms>,
}

pub(crate) const INTENT_TYPE: &str = "purser.intent/1";

/// What an open mandate is kept as, beside its budget node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MandateRecord {
    pub r#type: String,
    pub decision: DecisionId,
    pub user: PrincipalId,
    pub agent: PrincipalId,
    /// The RFC 7638 thumbprint of the key that closes it.
    pub agent_key: String,
    pub currency: String,
    pub cart: CartDemand,
    /// The open payment mandate as its verifiers get it.
    pub payment: Token,
    /// The open checkout mandate as merchants get it.
    pub checkout: Token,
    pub expires_at: i64,
    /// Through whose hands it came, from the agent that asked the person on; empty for that one's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<Delegator>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_centre: Option<String>,
    /// The passkey's signature, by the digest of its document, and the record of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// Of the issuer of the credential that the person's wallet signed with, as a JWK; nothing where we signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_key: Option<mandates::json::Object>,
}

pub(crate) const MANDATE_TYPE: &str = "purser.mandate/1";

/// A question and where it stands.
#[derive(Clone, Debug)]
pub struct Approval {
    pub decision: Decision,
    pub document: Question,
}

/// A mandate and its figures.
#[derive(Clone, Debug)]
pub struct MandateView {
    pub budget: Budget,
    pub record: MandateRecord,
}

/// The same, with what is used of each limit now.
pub struct MandateState {
    pub view: MandateView,
    pub limits: Vec<LimitState>,
    /// Nothing where the mandate was handed on and does not stand, or whoever handed it on cannot sign any more.
    pub tokens: Option<Tokens>,
}

impl Engine {
    /// Puts the question. The agent asks for itself, and only for itself.
    pub async fn propose_intent(&self, identity: &Identity, request: IntentRequest) -> Result<Approval, EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        let tenant = tenant.as_ref();
        if identity.caller.kind != CallerKind::Agent {
            return Err(forbidden("an agent", identity));
        }
        let agent = agent_of(tenant, &identity.caller.principal)?;
        // Whoever only reads is nobody to ask.
        if tenant.people.get(&request.user).is_none_or(|person| person.duty == Duty::Auditor) {
            return Err(EngineError::NotFound { what: "user", id: request.user.to_string() });
        }
        let now = self.clock.now();
        let payments = request.payments.unwrap_or(1);
        check_request(&request, payments, tenant)?;
        recurrence::check_life(request.expires_in_seconds, recurrence::distance(request.frequency))?;
        let decision = DecisionId(self.entropy.bytes()?);
        let answer_by = now.seconds().saturating_add(tenant.limits.decision_seconds);
        let lives = i64::try_from(request.expires_in_seconds).unwrap_or(i64::MAX);
        let document = IntentDocument {
            r#type: INTENT_TYPE.into(),
            decision,
            tenant: tenant.id.to_string(),
            user: request.user.clone(),
            agent: identity.caller.principal.clone(),
            agent_key: agent.signer.public().thumbprint(),
            agent_build: agent.build,
            quoted_from_agent: request.description,
            currency: request.currency,
            total: request.total,
            per_payment: request.per_payment,
            payments,
            frequency: request.frequency,
            on_record: record::on_record(tenant, request.payees.as_deref()),
            payees: request.payees,
            cart: request.cart,
            limits: request.limits,
            hours: request.hours,
            refunds: request.refunds,
            cost_centre: request.cost_centre.or_else(|| agent.cost_centre.clone()),
            issued_at: now.seconds(),
            expires_at: now.seconds().saturating_add(lives),
            answer_by: Some(answer_by),
            standing: None,
        };
        if let Some(approval) = self.asked_already(identity, &document).await? {
            return Ok(approval);
        }
        self.check_prompts(tenant, &document.user).await?;
        let stored = to_canonical_document("intent", &document)?;
        let propose = Propose {
            decision,
            subject: stored.digest(),
            approver: request.user,
            expires_at: Micros::from_seconds(answer_by),
        };
        let answer = self.run(identity, Command::Propose(propose), vec![stored]).await?;
        let decision = answer.decision.ok_or_else(|| EngineError::Broken("a question without a row".into()))?;
        Ok(Approval { decision, document: Question::Intent(Box::new(document)) })
    }

    pub async fn approval(&self, identity: &Identity, id: DecisionId) -> Result<Approval, EngineError> {
        let found = self.store.decision(&identity.tenant, id).await?.filter(|found| !found.state.is_review());
        let decision = found.ok_or(EngineError::NotFound { what: "approval", id: id.to_string() })?;
        let caller = &identity.caller;
        let concerned = caller.principal == decision.approver || caller.principal == decision.requested_by;
        if !concerned && caller.kind != CallerKind::Operator && caller.kind != CallerKind::Service {
            return Err(EngineError::NotFound { what: "approval", id: id.to_string() });
        }
        self.show(identity, decision).await
    }

    /// The questions that were put to this person by these records, newest first.
    pub async fn approvals(
        &self,
        identity: &Identity,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Approval>, EngineError> {
        let approver = &identity.caller.principal;
        let decisions = self.store.decisions_of(&identity.tenant, approver, state, records, limit).await?;
        let mut approvals = Vec::with_capacity(decisions.len());
        for decision in decisions {
            approvals.push(self.show(identity, decision).await?);
        }
        Ok(approvals)
    }

    async fn show(&self, identity: &Identity, decision: Decision) -> Result<Approval, EngineError> {
        let document = self.question(&identity.tenant, decision.subject).await?;
        Ok(Approval { decision, document })
    }
}

pub(crate) fn check_request(request: &IntentRequest, payments: u64, tenant: &Tenant) -> Result<(), EngineError> {
    let total = authority_from_major(&request.total, &request.currency)?;
    limits::read(&request.limits, &request.currency)?;
    request.hours.as_ref().map(HoursText::read).transpose()?;
    if let Some(per_payment) = &request.per_payment
        && authority_from_major(per_payment, &request.currency)? > total
    {
        return Err(EngineError::invalid("per_payment", format!("at most {}", request.total), per_payment.clone()));
    }
    if payments == 0 {
        return Err(EngineError::invalid("payments", "1 or more", "0"));
    }
    recurrence::check(request.frequency, payments)?;
    request.cost_centre.as_deref().map_or(Ok(()), check_cost_centre)?;
    let length = request.description.chars().count();
    if length > DESCRIPTION_CHARS_MAX {
        let expected = format!("at most {DESCRIPTION_CHARS_MAX} characters");
        return Err(EngineError::invalid("description", expected, format!("{length} characters")));
    }
    if request.currency != tenant.currency {
        return Err(EngineError::invalid("currency", tenant.currency.clone(), request.currency.clone()));
    }
    match request.payees.as_ref().map(Vec::len) {
        Some(0) => Err(EngineError::invalid("payees", "one or more, or none named at all", "an empty list")),
        Some(count) if count > PAYEES_MAX => {
            Err(EngineError::invalid("payees", format!("at most {PAYEES_MAX}"), count.to_string()))
        }
        _ => Ok(()),
    }
}

/// The caps that the book holds, from the same document as the constraints that the credential carries.
pub(crate) fn caps(document: &IntentDocument) -> Result<Caps, EngineError> {
    let per_payment = document.per_payment.as_deref();
    Ok(Caps {
        total: Some(authority_from_major(&document.total, &document.currency)?),
        per_payment: per_payment.map(|text| authority_from_major(text, &document.currency)).transpose()?,
        occurrences: Some(document.payments),
        expires_at: Some(Micros::from_seconds(document.expires_at)),
        limits: limits::read(&document.limits, &document.currency)?,
        hours: document.hours.as_ref().map(HoursText::read).transpose()?,
        refunds: document.refunds.into(),
        frequency: recurrence::distance(document.frequency),
    })
}

pub(crate) fn fiat(currency: &str) -> Result<AssetId, EngineError> {
    AssetId::fiat(currency).map_err(|_| EngineError::invalid("currency", "three capitals", currency))
}

pub(crate) fn agent_of<'a>(
    tenant: &'a Tenant,
    principal: &PrincipalId,
) -> Result<&'a crate::tenant::Agent, EngineError> {
    tenant.agents.get(principal).ok_or_else(|| EngineError::NotFound { what: "agent", id: principal.to_string() })
}

pub(crate) fn to_document<T: Serialize>(kind: &str, value: &T) -> Result<Document, EngineError> {
    let bytes = serde_json::to_vec(value).map_err(|error| EngineError::Broken(error.to_string()))?;
    Ok(Document { kind: kind.to_owned(), bytes })
}

/// The same in one spelling (RFC 8785), so that whoever holds the values can recompute the digest.
pub(crate) fn to_canonical_document<T: Serialize>(kind: &str, value: &T) -> Result<Document, EngineError> {
    let value = serde_json::to_value(value).map_err(|error| EngineError::Broken(error.to_string()))?;
    Ok(Document { kind: kind.to_owned(), bytes: mandates::canonical::canonical(&value)?.into_bytes() })
}

pub(crate) fn forbidden(expected: &str, identity: &Identity) -> EngineError {
    let found = format!("{} ({})", identity.caller.principal, identity.caller.kind);
    EngineError::Forbidden { expected: expected.to_owned(), found }
}

impl From<&MerchantText> for Merchant {
    fn from(text: &MerchantText) -> Self {
        Self { id: text.id.clone(), name: text.name.clone(), website: text.website.clone() }
    }
}

/// Major units for people, from units of authority.
pub fn shown(amount: Amount, currency: &str) -> String {
    authority_to_major(amount, currency).unwrap_or_else(|_| amount.to_string())
}
