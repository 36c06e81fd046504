//! What an approver is shown of one payment, and what their answer is about.

use ledger::command::Hold;
use ledger::id::{BudgetId, DecisionId, Digest, PrincipalId, SpendId};
use ledger::money::{Amount, AssetId};
use ledger::origin::Build;
use mandates::json::Object;
use mandates::keys::PublicKey;
use policy::{Asking, Passkey};
use serde::{Deserialize, Serialize};

use super::{Reservation, Ruled, mandates_of, rail_of};
use crate::consent::{MandateView, agent_of, to_canonical_document};
use crate::error::EngineError;
use crate::evidence::{Bundle, Rail};
use crate::rate::authority_to_major;
use crate::tenant::Tenant;

pub(crate) const QUESTION_TYPE: &str = "purser.payment-question/1";
const DECISION_TAG: &str = "purser/payment-decision/1";
const CHAIN_TAG: &str = "purser/mandate-chain/1";

/// The document. Its bytes are kept; its SHA-256 is what the answer is about, and the challenge of a passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentQuestion {
    pub r#type: String,
    /// Made with the tenant's secret from the terms and from whom is asked: the same question has the same, another has
    /// another, and nobody outside can tell it beforehand.
    pub decision: DecisionId,
    pub tenant: String,
    /// Who is asked.
    pub user: PrincipalId,
    pub payment: PaymentTerms,
    /// Unix seconds.
    pub issued_at: i64,
    pub answer_by: i64,
    /// What was allowed is held by then, or never.
    pub use_by: i64,
}

/// The payment, to the letter: a change of any of it is another question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentTerms {
    pub payment: SpendId,
    /// What the agent's idempotency key stands for.
    pub request: Digest,
    pub agent: PrincipalId,
    /// RFC 7638 thumbprint.
    pub agent_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_build: Option<Build>,
    pub mandate: BudgetId,
    /// Over the mandate and those that it was handed on from.
    pub mandate_chain: Digest,
    /// Who gave the mandate.
    pub given_by: PrincipalId,
    pub rail: String,
    /// Major units of `currency`: what is debited.
    pub amount: String,
    pub currency: String,
    pub moves: Moves,
    pub payee: Object,
    /// The registry's name, or the origin's where it has none.
    pub payee_id: String,
    pub pay_to: String,
    /// RFC 7638 thumbprints of the keys that are on record for the payee.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payee_keys: Vec<String>,
    /// What is bought, where the rail says it: the seller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    pub purchase: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cart: Option<Digest>,
    pub first_payment: bool,
    pub policy: PolicyText,
    /// Everybody who is asked, and how many of them it takes.
    pub approvers: Vec<PrincipalId>,
    pub needed: u16,
    /// Whether a token is not enough.
    pub passkey: bool,
}

/// What leaves, on the rail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moves {
    pub asset: AssetId,
    pub amount: Amount,
}

/// Why it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    pub version: String,
    pub digest: Digest,
    pub verb: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    pub fired: Vec<String>,
}

impl PolicyText {
    pub(crate) fn of(ruled: &Ruled) -> Self {
        Self {
            version: ruled.version.clone(),
            digest: ruled.digest,
            verb: ruled.verb.clone(),
            rule: ruled.rule.clone(),
            fired: ruled.fired.clone(),
        }
    }
}

impl PaymentTerms {
    pub(super) fn new(
        it: &Reservation<'_>,
        ruled: &Ruled,
        asking: &Asking,
        build: Option<Build>,
    ) -> Result<Self, EngineError> {
        let Reservation { tenant, view, hold, bundle, .. } = it;
        let MandateView { record, .. } = view;
        let Hold { spend, request, money, payee, pay_to, purchase, cart, .. } = hold;
        let chain = mandates_of(bundle);
        let chain: Vec<&[u8]> = chain.iter().map(|mandate| &mandate.0[..]).collect();
        let approvers = match asking.approvers.is_empty() {
            true => vec![record.user.clone()],
            false => asking.approvers.iter().cloned().collect(),
        };
        Ok(Self {
            payment: *spend,
            request: *request,
            agent: bundle.agent.clone(),
            agent_key: agent_of(tenant, &bundle.agent)?.signer.public().thumbprint(),
            agent_build: build,
            mandate: bundle.mandate,
            mandate_chain: Digest::of_parts(CHAIN_TAG, &chain),
            given_by: record.user.clone(),
            rail: rail_of(&bundle.rail).to_string(),
            amount: authority_to_major(bundle.authority, &bundle.currency)?,
            currency: bundle.currency.clone(),
            moves: Moves { asset: money.asset.clone(), amount: money.amount },
            payee: bundle.payee.clone(),
            payee_id: payee.to_string(),
            pay_to: pay_to.clone(),
            payee_keys: payee_keys(tenant, payee.as_str()),
            resource: resource(bundle),
            purchase: *purchase,
            cart: *cart,
            first_payment: ruled.first_payment,
            policy: PolicyText::of(ruled),
            approvers,
            needed: asking.needed,
            passkey: asking.passkey == Passkey::Demanded,
        })
    }

    /// The name of the question to one of them.
    pub(super) fn decision(&self, tenant: &Tenant, user: &PrincipalId) -> Result<DecisionId, EngineError> {
        let mut terms = to_canonical_document("terms", self)?.bytes;
        terms.push(0);
        terms.extend_from_slice(user.as_str().as_bytes());
        Ok(DecisionId(tenant.secret.seal(DECISION_TAG, &terms).0))
    }

    /// Whether the same is bought, under whichever key, and for whichever verifier or by whichever card.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        // A vault token is a purchase of its own; what it is for is its session.
        let purchase = if self.rail == policy::Rail::Acp.as_str() { other.purchase } else { self.purchase };
        let (payment, request, pay_to) = (other.payment, other.request, other.pay_to.clone());
        let is_elsewhere = self.pay_to != other.pay_to && self.rail != policy::Rail::Ap2.as_str();
        Self { payment, request, purchase, pay_to, ..self.clone() } == *other && !is_elsewhere
    }
}

/// Thumbprints of the keys that a payee signs carts with, in order.
pub(super) fn payee_keys(tenant: &Tenant, payee: &str) -> Vec<String> {
    let known = tenant.payees.all().find(|known| known.id.as_str() == payee);
    let keys = known.into_iter().flat_map(|known| &known.keys);
    let mut keys: Vec<String> = keys.map(PublicKey::thumbprint).collect();
    keys.sort_unstable();
    keys
}

pub(crate) fn resource(bundle: &Bundle) -> Option<String> {
    match &bundle.rail {
        Rail::X402(offered) => Some(offered.payment_required.resource.url.clone()),
        Rail::Mandate(_) => None,
        Rail::Vault(allowed) => Some(allowed.allowance.checkout_session_id.clone()),
    }
}

/// Whether what the question says is so still. Where it is not, an answer would let nothing through.
pub(crate) fn check_unchanged(tenant: &Tenant, question: &PaymentQuestion) -> Result<(), EngineError> {
    let terms = &question.payment;
    let changed = |what, expected: String, found: String| Err(EngineError::QuestionChanged { what, expected, found });
    let found = tenant.policy.as_ref().map_or_else(|| "none".into(), |policy| policy.digest().to_string());
    if found != terms.policy.digest.to_string() {
        return changed("the policy", terms.policy.digest.to_string(), found);
    }
    let agent = agent_of(tenant, &terms.agent)?;
    if agent.build != terms.agent_build {
        let text = |build: &Option<Build>| build.map_or_else(|| "none".into(), |build| build.to_string());
        return changed("the agent's build", text(&terms.agent_build), text(&agent.build));
    }
    let key = agent.signer.public().thumbprint();
    if key != terms.agent_key {
        return changed("the agent's key", terms.agent_key.clone(), key);
    }
    let keys = payee_keys(tenant, &terms.payee_id);
    if keys != terms.payee_keys {
        return changed("the record of a payee", terms.payee_keys.join(" "), keys.join(" "));
    }
    Ok(())
}
