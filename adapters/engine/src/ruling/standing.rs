//! Standing approvals: "allow payments like this for a while, up to so much". A mandate of their own, narrower than the one
//! that it hangs under; while it stands, what the policy would ask for passes under it without another question.
//!
//! The person's passkey signs the terms, as it signs one payment. It covers what they saw and no more: this payee and its
//! address, this agent, key and build, this rail and asset, and no rule that had not fired then. It never stands for a
//! `step_up`, for several approvers or against a `deny`; another edition of the policy asks again, and a stop ends it for
//! good: what was given before the lift lets nothing pass.

pub mod propose;

use ledger::budget::{Budget, BudgetKind, BudgetState};
use ledger::command::Command;
use ledger::decision::Answer;
use ledger::gate::{Scope, scopes_of_origin, scopes_of_path};
use ledger::id::{BudgetId, DecisionId, Digest, Micros, PrincipalId, TenantId};
use ledger::money::{Amount, AssetId};
use serde::{Deserialize, Serialize};

use super::question::{PaymentTerms, PolicyText, payee_keys};
use crate::consent::{IntentDocument, MandateRecord, Question, agent_of, check_intent};
use crate::error::EngineError;
use crate::rate::authority_from_major;
use crate::stop::ends_what_was;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

/// Mandates under one that are looked through; whoever has more is asked.
const PAGE: u32 = 100;
const LOOKED_AT: usize = 1_000;

/// Beside the terms of its mandate, in the document that the passkey signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingTerms {
    /// The mandate that it hangs under: what is paid is debited there as well.
    pub under: BudgetId,
    pub mandate_chain: Digest,
    /// The question about one payment that it answers as well, by its id and its digest.
    pub question: DecisionId,
    pub question_digest: Digest,
    pub rail: String,
    pub asset: AssetId,
    pub payee_id: String,
    pub pay_to: String,
    /// RFC 7638 thumbprints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payee_keys: Vec<String>,
    /// What asked.
    pub policy: PolicyText,
}

/// By which standing approval a payment passed, in its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stood {
    pub mandate: BudgetId,
    pub decision: DecisionId,
    pub approver: PrincipalId,
}

/// Whether payments pass under a standing approval now, as far as that is the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    Passes,
    /// The agent, the policy or the record of the payee is not what was signed.
    Changed,
    Stopped,
    /// Its time is over, or it does not stand.
    Over,
}

/// Whether one person alone, with a mandate of theirs, can say it of payments to come.
fn is_standable(terms: &PaymentTerms, user: &PrincipalId) -> bool {
    let is_asked_alone = terms.needed == 1 && terms.approvers.contains(user);
    terms.given_by == *user && is_asked_alone && !terms.passkey && terms.policy.verb == "require_approval"
}

/// The first thing in which a payment is not what the person signed; nothing where it is.
pub(crate) fn differs(
    document: &IntentDocument,
    standing: &StandingTerms,
    terms: &PaymentTerms,
    now: i64,
) -> Result<Option<&'static str>, EngineError> {
    let currency = &document.currency;
    let most = document.per_payment.as_ref().unwrap_or(&document.total);
    let is_like = terms.currency == *currency;
    let is_above = !is_like || authority_from_major(&terms.amount, currency)? > authority_from_major(most, currency)?;
    let fired = |rule: &String| standing.policy.fired.contains(rule);
    let all = [
        ("agent", terms.agent != document.agent),
        ("agent_key", terms.agent_key != document.agent_key),
        ("agent_build", terms.agent_build != document.agent_build),
        ("approver", !is_standable(terms, &document.user)),
        ("rail", terms.rail != standing.rail),
        ("asset", terms.moves.asset != standing.asset),
        ("payee", terms.payee_id != standing.payee_id),
        ("pay_to", terms.pay_to != standing.pay_to),
        ("payee_keys", terms.payee_keys != standing.payee_keys),
        ("policy", terms.policy.digest != standing.policy.digest),
        ("rule", !terms.policy.fired.iter().all(fired)),
        ("amount", is_above),
        ("expired", now >= document.expires_at),
    ];
    Ok(all.into_iter().find_map(|(what, differs)| differs.then_some(what)))
}

/// Whether policy, key of the agent and record of the payee are what the document says.
pub(crate) fn check_unchanged(
    tenant: &Tenant,
    document: &IntentDocument,
    standing: &StandingTerms,
) -> Result<(), EngineError> {
    let policy = tenant.policy.as_ref().map_or_else(|| "none".into(), |policy| policy.digest().to_string());
    let key = agent_of(tenant, &document.agent)?.signer.public().thumbprint();
    let keys = payee_keys(tenant, &standing.payee_id);
    for (what, expected, found) in [
        ("the policy", standing.policy.digest.to_string(), policy),
        ("the agent's key", document.agent_key.clone(), key),
        ("the record of a payee", standing.payee_keys.join(" "), keys.join(" ")),
    ] {
        if expected != found {
            return Err(EngineError::QuestionChanged { what, expected, found });
        }
    }
    Ok(())
}

fn has_room(budget: &Budget, amount: Amount, now: Micros) -> bool {
    let used = budget.used().and_then(|used| used.checked_add(amount));
    let caps = &budget.caps;
    budget.state == BudgetState::Active
        && caps.total.is_none_or(|cap| used.is_some_and(|used| used <= cap))
        && caps.occurrences.is_none_or(|most| budget.count < most)
        && caps.expires_at.is_none_or(|end| now < end)
}

impl Engine {
    /// What the passkey signed names the payment that was asked about: that one is allowed with it.
    pub(crate) async fn answer_beside(&self, identity: &Identity, standing: &StandingTerms) -> Result<(), EngineError> {
        let (decision, subject) = (standing.question, standing.question_digest);
        let yes = Command::Decide { decision, subject, answer: Answer::Approve, evidence: None };
        match self.run(identity, yes, Vec::new()).await {
            // It was answered before, or its time is over.
            Err(EngineError::Book(rejection)) => tracing::debug!("not allowed beside: {rejection}"),
            other => drop(other?),
        }
        Ok(())
    }

    /// By which standing approval a payment passes that the policy asks for: that of its own mandate, or of one that hangs
    /// under it and has room for it.
    pub(crate) async fn standing_for(
        &self,
        tenant: &Tenant,
        terms: &PaymentTerms,
    ) -> Result<Option<Stood>, EngineError> {
        let Some(own) = self.store.budget(&tenant.id, terms.mandate).await? else { return Ok(None) };
        if let Some(found) = self.stands(&tenant.id, &own, terms).await? {
            return Ok(Some(found));
        }
        let Ok(listings) = self.listings() else { return Ok(None) };
        let (amount, now) = (authority_from_major(&terms.amount, &terms.currency)?, self.clock.now());
        let (mut after, mut looked_at) = (None, 0_usize);
        while looked_at < LOOKED_AT {
            let page = listings.budgets_under(&tenant.id, own.id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            (after, looked_at) = (Some(last.id), looked_at.saturating_add(page.len()));
            for below in page.iter().filter(|below| below.holder == terms.agent && has_room(below, amount, now)) {
                if let Some(found) = self.stands(&tenant.id, below, terms).await? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The terms of a mandate that stands for others' questions, and whether it was signed.
    async fn standing_terms(&self, tenant: &TenantId, budget: &Budget) -> Result<Option<IntentDocument>, EngineError> {
        let (Some(decision), Some(record)) = (budget.decision, budget.document) else { return Ok(None) };
        let decision = self.store.decision(tenant, decision).await?;
        // What was handed on has the decision of the one above it, which opened that one.
        let decision = decision.filter(|found| found.opened == Some(budget.id) && budget.kind == BudgetKind::Mandate);
        let Some(decision) = decision else { return Ok(None) };
        let document = match self.question(tenant, decision.subject).await {
            Ok(Question::Intent(document)) if document.standing.is_some() => *document,
            Ok(_) | Err(EngineError::Erased { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(stored) = self.store.document(tenant, record).await? else { return Ok(None) };
        let record: MandateRecord = serde_json::from_slice(&stored.bytes)
            .map_err(|error| EngineError::Broken(format!("a mandate cannot be read: {error}")))?;
        Ok(record.approval.map(|_| document))
    }

    /// How a mandate stands as an approval beforehand; nothing where it is none.
    pub async fn passing(&self, tenant: &TenantId, budget: &Budget) -> Result<Option<Passing>, EngineError> {
        let Some(document) = self.standing_terms(tenant, budget).await? else { return Ok(None) };
        if budget.state != BudgetState::Active || self.clock.now().seconds() >= document.expires_at {
            return Ok(Some(Passing::Over));
        }
        if self.is_ended_by_a_stop(tenant, budget, &document).await? {
            return Ok(Some(Passing::Stopped));
        }
        match check_intent(&*self.tenant(tenant)?, &document) {
            Ok(()) => Ok(Some(Passing::Passes)),
            Err(EngineError::QuestionChanged { .. } | EngineError::NotFound { .. }) => Ok(Some(Passing::Changed)),
            Err(error) => Err(error),
        }
    }

    async fn stands(
        &self,
        tenant: &TenantId,
        budget: &Budget,
        terms: &PaymentTerms,
    ) -> Result<Option<Stood>, EngineError> {
        let Some(document) = self.standing_terms(tenant, budget).await? else { return Ok(None) };
        let Some(standing) = &document.standing else { return Ok(None) };
        if let Some(what) = differs(&document, standing, terms, self.clock.now().seconds())? {
            tracing::debug!(mandate = %budget.id, what, "a standing approval is of something else");
            return Ok(None);
        }
        let (decision, approver) = (document.decision, document.user.clone());
        let stood = Stood { mandate: budget.id, decision, approver };
        Ok((!self.is_ended_by_a_stop(tenant, budget, &document).await?).then_some(stood))
    }

    /// Whether something that covers it was stopped, and let go on, since it was asked for.
    async fn is_ended_by_a_stop(
        &self,
        tenant: &TenantId,
        budget: &Budget,
        document: &IntentDocument,
    ) -> Result<bool, EngineError> {
        let mut path = Vec::with_capacity(budget.path.len());
        for id in &budget.path {
            path.extend(self.store.budget(tenant, *id).await?);
        }
        let mut scopes = vec![Scope::Fence, Scope::Everything];
        let payee = document.standing.as_ref().and_then(|standing| standing.payee_id.parse().ok());
        scopes.extend(payee.map(Scope::Payee));
        scopes.extend(scopes_of_path(&path));
        scopes.extend(scopes_of_origin(document.agent_build, None));
        let gates = self.store.gates(tenant, &scopes).await?;
        Ok(gates.iter().any(|gate| ends_what_was(gate, document.issued_at)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_000;

    fn hex(byte: &str) -> String {
        byte.repeat(32)
    }

    fn policy() -> Value {
        json!({ "version": "1", "digest": hex("01"), "verb": "require_approval", "rule": "ask", "fired": ["ask", "new"] })
    }

    fn document() -> IntentDocument {
        let document = json!({
            "type": "purser.intent/1", "decision": hex("0a"), "tenant": "home", "user": "ann", "agent": "shopper",
            "agent_key": "thumb", "agent_build": format!("sha256:{}", hex("0b")), "quoted_from_agent": "",
            "currency": "USD", "total": "5.00", "per_payment": "0.02", "payments": 10,
            "payees": [{ "id": "shop", "name": "Shop" }], "cart": "optional", "issued_at": 0, "expires_at": NOW + 1,
            "standing": {
                "under": hex("0c"), "mandate_chain": hex("0d"), "question": hex("0e"), "question_digest": hex("0f"),
                "rail": "x402", "asset": "eip155:1/erc20:0x01", "payee_id": "shop", "pay_to": "0x02",
                "payee_keys": ["one"], "policy": policy(),
            },
        });
        serde_json::from_value(document).unwrap()
    }

    fn terms() -> Value {
        json!({
            "payment": hex("10"), "request": hex("11"), "agent": "shopper", "agent_key": "thumb",
            "agent_build": format!("sha256:{}", hex("0b")), "mandate": hex("0c"), "mandate_chain": hex("0d"),
            "given_by": "ann", "rail": "x402", "amount": "0.02", "currency": "USD",
            "moves": { "asset": "eip155:1/erc20:0x01", "amount": "20000" }, "payee": { "id": "shop", "name": "Shop" },
            "payee_id": "shop", "pay_to": "0x02", "payee_keys": ["one"], "purchase": hex("12"), "first_payment": false,
            "policy": policy(), "approvers": ["ann"], "needed": 1, "passkey": false,
        })
    }

    fn found(terms: &Value, now: i64) -> Option<&'static str> {
        let (document, terms) = (document(), serde_json::from_value(terms.clone()).unwrap());
        differs(&document, document.standing.as_ref().unwrap(), &terms, now).unwrap()
    }

    #[test]
    fn whatever_is_not_what_was_signed_is_asked_for() {
        for (pointer, value, expected) in [
            ("/agent", json!("other"), "agent"),
            ("/agent_key", json!("other"), "agent_key"),
            ("/agent_build", json!(format!("sha256:{}", hex("0c"))), "agent_build"),
            ("/agent_build", json!(null), "agent_build"),
            ("/given_by", json!("bob"), "approver"),
            ("/approvers", json!(["bob"]), "approver"),
            ("/approvers", json!([]), "approver"),
            ("/needed", json!(2), "approver"),
            ("/passkey", json!(true), "approver"),
            ("/policy/verb", json!("step_up"), "approver"),
            ("/rail", json!("acp"), "rail"),
            ("/moves/asset", json!("eip155:1/erc20:0x02"), "asset"),
            ("/payee_id", json!("shoq"), "payee"),
            ("/pay_to", json!("0x03"), "pay_to"),
            ("/payee_keys", json!([]), "payee_keys"),
            ("/payee_keys", json!(["one", "two"]), "payee_keys"),
            ("/policy/digest", json!(hex("02")), "policy"),
            ("/policy/fired", json!(["ask", "other"]), "rule"),
            ("/amount", json!("0.020001"), "amount"),
            ("/amount", json!("5.00"), "amount"),
            ("/currency", json!("EUR"), "amount"),
        ] {
            let mut changed = terms();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(found(&changed, NOW), Some(expected), "{pointer}");
        }
        assert_eq!(found(&terms(), NOW + 1), Some("expired"));
    }

    #[test]
    fn what_is_like_it_passes() {
        for (pointer, value) in [
            ("/payment", json!(hex("20"))),
            ("/amount", json!("0.000001")),
            ("/purchase", json!(hex("21"))),
            ("/mandate", json!(hex("22"))),
            ("/policy/fired", json!(["ask"])),
            ("/policy/fired", json!([])),
            ("/approvers", json!(["ann", "bob"])),
        ] {
            let mut changed = terms();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(found(&changed, NOW), None, "{pointer}");
        }
    }
}
