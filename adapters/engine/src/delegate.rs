//! Handing a mandate on: an agent gives part of what it may spend to another agent.
//!
//! 1. Find who gets it, and that the chain may be handed on to them at all.
//! 2. Restate the parent's mandates, narrowed; refuse what is wider anywhere (`mandates::narrowing`).
//! 3. Open the node under the parent's, with both hops as they will be signed, in one durable unit, once a key.
//! 4. Sign, and verify as anyone would.
//!
//! Nobody is asked: a child allows nothing that its parent does not, and every spend under it debits the parent, the
//! person and the tenant. Who approved, the issuer and the root stay what they are.

use ledger::budget::{BudgetKind, Refunds};
use ledger::claim::{ClaimKey, ClaimOutcome};
use ledger::command::{Command, Delegate, OpenBudget};
use ledger::id::{BudgetId, CallerKind, Digest, IdempotencyKey, PrincipalId};
use ledger::rejection::Rejection;
use mandates::chain::Position;
use mandates::constraint::{Constraint, Written};
use mandates::issue::{self, HopTerms};
use mandates::jws::Unsigned;
use mandates::keys::PublicKey;
use mandates::mandate::{Mandate, Open};
use mandates::narrowing;
use mandates::verify::Facts;
use serde::{Deserialize, Serialize};

use crate::consent::{
    self, CartDemand, IntentDocument, IntentRequest, MANDATE_TYPE, MandateRecord, MandateState, MandateView,
    MerchantText, agent_of, check_request, fiat, forbidden, shown, to_document,
};
use crate::error::EngineError;
use crate::limits::{HoursText, LimitText, RefundsText};
use crate::mint::{checkout_constraints, payment_constraints};
use crate::rate::authority_from_major;
use crate::recurrence::{FrequencyText, check_life};
use crate::tenant::Tenant;
use crate::token::{Delegator, Token};
use crate::{Engine, Identity};

/// The name of this operation among keys.
const OPERATION: &str = "delegations";

/// What an agent hands on: `POST /v1/mandates/{id}/delegate`. Amounts are decimals in major units of the mandate's
/// currency. What is left out is as the parent has it, save the number of payments, which is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationRequest {
    /// The agent that gets it.
    pub to: PrincipalId,
    pub total: String,
    #[serde(default)]
    pub per_payment: Option<String>,
    #[serde(default)]
    pub payments: Option<u64>,
    /// How far apart the payments lie, as far as in the parent or farther.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<FrequencyText>,
    #[serde(default)]
    pub payees: Option<Vec<MerchantText>>,
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
    /// Beside those of the parent, which bind all the same.
    #[serde(default)]
    pub limits: Vec<LimitText>,
    #[serde(default)]
    pub hours: Option<HoursText>,
    #[serde(default)]
    pub refunds: RefundsText,
    #[serde(default)]
    pub cart: Option<CartDemand>,
}

/// Both hops, and the name of the payment mandate.
struct Hops {
    payment: Unsigned,
    checkout: Unsigned,
    identity: BudgetId,
}

impl Engine {
    /// The same key gives the same mandate, whatever has become of it or of its parent since.
    pub async fn delegate(
        &self,
        identity: &Identity,
        parent: BudgetId,
        key: IdempotencyKey,
        request: DelegationRequest,
    ) -> Result<MandateState, EngineError> {
        if identity.caller.kind != CallerKind::Agent {
            return Err(forbidden("an agent", identity));
        }
        let view = self.mandate(identity, parent).await?;
        if view.record.agent != identity.caller.principal {
            return Err(forbidden(view.record.agent.as_str(), identity));
        }
        let asked = serde_json::to_vec(&request).map_err(|error| EngineError::Broken(error.to_string()))?;
        let digest = Digest::of_parts("purser/delegation-request/1", &[&parent.0, &asked]);
        if let Some(known) = self.delegated_under(identity, &key, digest).await? {
            return self.mandate_state(identity, known).await;
        }
        let tenant = self.tenant(&identity.tenant)?;
        self.check_delegations(identity, &tenant.limits)?;
        let terms = self.terms(&tenant, &view, &request)?;
        let hops = self.hops(&tenant, &view, &request.to, &terms).await?;
        let record = child_record(&view, &terms, &hops);
        let stored = to_document("mandate", &record)?;
        let open = OpenBudget {
            id: hops.identity,
            parent: Some(parent),
            kind: BudgetKind::Mandate,
            holder: request.to,
            asset: fiat(&terms.currency)?,
            caps: consent::caps(&terms)?,
            decision: view.budget.decision,
            document: Some(stored.digest()),
        };
        let delegate = Delegate { operation: OPERATION.into(), key, request: digest, open };
        let answer = self.run(identity, Command::Delegate(Box::new(delegate)), vec![stored]).await?;
        let opened = answer.budget.ok_or_else(|| EngineError::Broken("a delegation without a node".into()))?;
        let state = self.mandate_state(identity, opened.id).await?;
        if let Some(tokens) = &state.tokens {
            self.look_at(&tenant, &tokens.payment).await?;
            self.look_at(&tenant, &tokens.checkout).await?;
        }
        Ok(state)
    }

    async fn delegated_under(
        &self,
        identity: &Identity,
        key: &IdempotencyKey,
        request: Digest,
    ) -> Result<Option<BudgetId>, EngineError> {
        let (principal, operation) = (identity.caller.principal.clone(), OPERATION.to_owned());
        let key = ClaimKey::Idempotency { principal, operation, key: key.clone() };
        match self.store.claim(&identity.tenant, &key).await? {
            None => Ok(None),
            Some(claim) if claim.request != request => {
                Err(EngineError::Book(Rejection::IdempotencyKeyReused { first: claim.request, found: request }))
            }
            Some(claim) => match claim.outcome {
                ClaimOutcome::Opened(budget) => Ok(Some(budget)),
                _ => Err(EngineError::Broken("the key of a delegation opened nothing".into())),
            },
        }
    }

    /// What the child allows, in the shape in which a person is asked.
    fn terms(
        &self,
        tenant: &Tenant,
        parent: &MandateView,
        request: &DelegationRequest,
    ) -> Result<IntentDocument, EngineError> {
        let (record, caps, now) = (&parent.record, &parent.budget.caps, self.clock.now().seconds());
        let left = u64::try_from(record.expires_at.saturating_sub(now)).unwrap_or(0);
        if left == 0 {
            let (budget, expires_at) = (parent.budget.id, record.expires_at);
            return Err(EngineError::Book(Rejection::MandateExpired { budget, expires_at, now }));
        }
        let total = authority_from_major(&request.total, &record.currency)?;
        let inherited = caps.per_payment.filter(|limit| *limit <= total).map(|limit| shown(limit, &record.currency));
        // One payment is as far from the next as it can be.
        let frequency = caps.frequency.filter(|_| request.payments.unwrap_or(1) > 1).map(FrequencyText);
        let asked = IntentRequest {
            user: record.user.clone(),
            description: String::new(),
            currency: record.currency.clone(),
            total: request.total.clone(),
            per_payment: request.per_payment.clone().or(inherited),
            payments: request.payments,
            frequency: request.frequency.or(frequency),
            payees: request.payees.clone(),
            expires_in_seconds: request.expires_in_seconds.unwrap_or(left),
            limits: request.limits.clone(),
            hours: request.hours.clone(),
            refunds: request.refunds,
            cart: request.cart.unwrap_or(record.cart),
            cost_centre: record.cost_centre.clone(),
        };
        let payments = asked.payments.unwrap_or(1);
        check_request(&asked, payments, tenant)?;
        check_life(asked.expires_in_seconds, caps.frequency)?;
        if (record.cart, asked.cart) == (CartDemand::Required, CartDemand::Optional) {
            return Err(wider("child_widens_cart", "a cart for every payment", "payments without one"));
        }
        if (caps.refunds, asked.refunds) == (Refunds::Keep, RefundsText::Restore) {
            return Err(wider("child_widens_refunds", "what is given back is not spent again", "it is"));
        }
        let lives = i64::try_from(asked.expires_in_seconds).unwrap_or(i64::MAX);
        Ok(IntentDocument {
            r#type: MANDATE_TYPE.into(),
            decision: record.decision,
            tenant: tenant.id.to_string(),
            user: asked.user,
            agent: request.to.clone(),
            agent_key: agent_of(tenant, &request.to)?.signer.public().thumbprint(),
            agent_build: None,
            quoted_from_agent: asked.description,
            currency: asked.currency,
            total: asked.total,
            per_payment: asked.per_payment,
            payments,
            frequency: asked.frequency,
            payees: asked.payees,
            on_record: Vec::new(),
            cart: asked.cart,
            limits: asked.limits,
            hours: asked.hours,
            refunds: asked.refunds,
            cost_centre: asked.cost_centre,
            issued_at: now,
            expires_at: now.saturating_add(lives),
            answer_by: None,
            standing: None,
        })
    }

    async fn hops(
        &self,
        tenant: &Tenant,
        parent: &MandateView,
        to: &PrincipalId,
        terms: &IntentDocument,
    ) -> Result<Hops, EngineError> {
        check_names(parent, to)?;
        let key = agent_of(tenant, to)?.holding(&terms.agent_key)?.public().clone();
        let tokens = self.tokens(tenant, &parent.record).await?;
        let nonce = hex::encode(self.entropy.bytes()?);
        let above = (self.look_at(tenant, &tokens.payment).await?, self.look_at(tenant, &tokens.checkout).await?);
        let hop = |previous: &str, facts: &Facts, constraints: Vec<Constraint>| {
            let holders: Vec<&PublicKey> = facts.open.iter().map(|open| &open.mandate.holder).collect();
            narrowing::check_line(&holders, &key)?;
            let above = facts.open.last().map(|open| &open.mandate);
            let above = above.ok_or_else(|| EngineError::Broken("a mandate without a mandate".into()))?;
            let child = Open {
                vct: above.vct,
                constraints: restated(constraints, &above.constraints),
                holder: key.clone(),
                presets: above.presets.clone(),
                issued_at_seconds: Some(terms.issued_at),
                not_before_seconds: above.not_before_seconds,
                expires_at_seconds: Some(terms.expires_at),
            };
            narrowing::check(&child, above)?;
            let (position, audience, nonce) = (Position::Middle, to.as_str(), nonce.as_str());
            let hop = HopTerms { position, audience, nonce, issued_at_seconds: terms.issued_at };
            Ok::<_, EngineError>(issue::hop(previous, &hop, &[Mandate::Open(child)], &mut self.salts()?)?)
        };
        let payment = hop(&tokens.payment, &above.0, payment_constraints(terms)?)?;
        let checkout = hop(&tokens.checkout, &above.1, checkout_constraints(terms))?;
        let identity = BudgetId(*issue::identity(&payment)?.as_bytes());
        Ok(Hops { payment, checkout, identity })
    }
}

/// A key may have been replaced since; the agent is the same.
fn check_names(parent: &MandateView, to: &PrincipalId) -> Result<(), EngineError> {
    let record = &parent.record;
    let mut names = record.line.iter().map(|by| &by.agent).chain([&record.agent]);
    match names.find(|name| *name == to) {
        Some(name) => {
            let found = format!("{name}, who holds a mandate of it already");
            Err(wider("delegation_cycle", "an agent that has no part in this chain", found))
        }
        None => Ok(()),
    }
}

/// What was asked for, and beside it whatever the parent says that the request says nothing of.
pub(crate) fn restated(asked: Vec<Constraint>, parent: &[Written]) -> Vec<Written> {
    let mut constraints = asked;
    for above in parent.iter().filter_map(Written::known) {
        match (constraints.iter_mut().find(|ours| ours.kind() == above.kind()), above) {
            (Some(Constraint::AmountRange(ours)), Constraint::AmountRange(above)) => ours.min = above.min,
            (Some(_), _) => {}
            // One payment is fewer than several.
            (None, Constraint::AgentRecurrence(_)) => {}
            (None, above) => constraints.push(above.clone()),
        }
    }
    let unknown = parent.iter().filter(|written| written.known().is_none()).cloned();
    constraints.into_iter().map(Written::Known).chain(unknown).collect()
}

fn child_record(parent: &MandateView, terms: &IntentDocument, hops: &Hops) -> MandateRecord {
    let above = &parent.record;
    let by = Delegator { mandate: parent.budget.id, agent: above.agent.clone(), agent_key: above.agent_key.clone() };
    MandateRecord {
        r#type: MANDATE_TYPE.into(),
        decision: above.decision,
        user: above.user.clone(),
        agent: terms.agent.clone(),
        agent_key: terms.agent_key.clone(),
        currency: terms.currency.clone(),
        cart: terms.cart,
        payment: Token::ToSign(hops.payment.clone()),
        checkout: Token::ToSign(hops.checkout.clone()),
        expires_at: terms.expires_at,
        approval: None,
        answered: None,
        issuer_key: None,
        line: above.line.iter().cloned().chain([by]).collect(),
        cost_centre: terms.cost_centre.clone(),
    }
}

fn wider(code: &'static str, expected: impl Into<String>, found: impl Into<String>) -> EngineError {
    EngineError::Delegation { code, expected: expected.into(), found: found.into() }
}
