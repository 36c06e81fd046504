//! Answering a mandate that was closed for us: a signed receipt on acceptance (AP2 v0.2, checkout receipt and payment
//! receipt), and the mandate used up with it, so that no replica and no retry accepts it twice.

use std::sync::Arc;

use ledger::claim::{ClaimKey, ClaimOutcome};
use ledger::command::{Accept, Command};
use ledger::id::{BudgetId, CallerKind, Digest};
use ledger::rejection::Rejection;
use mandates::chain::{self, Claimed, reference_hashes};
use mandates::clock::Clock;
use mandates::keys::KeySet;
use mandates::mandate::Family;
use mandates::receipt::{self, Answer, Receipt, ReceiptKind, References};
use mandates::verify::{Closed, ClosedFacts, Facts, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::closing::KeptReceipt;
use crate::consent::{forbidden, to_document};
use crate::error::{EngineError, shortened};
use crate::ports::MandateSigner;
use crate::tenant::Tenant;
use crate::verify::SKEW_SECONDS;
use crate::{Engine, Identity};

/// What the caller answers for when the mandate is valid: that it takes the order, or that it took the money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "AcceptanceBody")]
pub enum Acceptance {
    Order { order_id: String },
    Payment { payment_id: String, psp_confirmation_id: String, network_confirmation_id: String },
}

/// As it comes: one of the two, and a refusal that names the member which is missing or too much.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "accept: an object with order_id, or with the three ids of a payment")]
struct AcceptanceBody {
    order_id: Option<Value>,
    payment_id: Option<Value>,
    psp_confirmation_id: Option<Value>,
    network_confirmation_id: Option<Value>,
}

impl TryFrom<AcceptanceBody> for Acceptance {
    type Error = String;

    fn try_from(body: AcceptanceBody) -> Result<Self, String> {
        let expected = "order_id alone, or payment_id, psp_confirmation_id and network_confirmation_id, was expected";
        let id = |name: &str, value: Option<Value>| match value {
            Some(Value::String(id)) => Ok(id),
            Some(other) => Err(format!("accept.{name}: a string was expected, {} came", shortened(&other.to_string()))),
            None => Err(format!("accept.{name}: {expected}; {name} is missing")),
        };
        let names = ["payment_id", "psp_confirmation_id", "network_confirmation_id"];
        let ids = [body.payment_id, body.psp_confirmation_id, body.network_confirmation_id];
        let first = names.iter().zip(&ids).find(|(_, id)| id.is_some()).map(|(name, _)| *name);
        match (first, body.order_id) {
            (Some(name), Some(_)) => Err(format!("accept.{name}: {expected}; order_id and {name} came")),
            (None, order_id) => Ok(Self::Order { order_id: id("order_id", order_id)? }),
            (Some(_), None) => {
                let [payment_id, psp_confirmation_id, network_confirmation_id] = ids;
                Ok(Self::Payment {
                    payment_id: id("payment_id", payment_id)?,
                    psp_confirmation_id: id("psp_confirmation_id", psp_confirmation_id)?,
                    network_confirmation_id: id("network_confirmation_id", network_confirmation_id)?,
                })
            }
        }
    }
}

/// Longest id that a receipt names.
const ID_BYTES_MAX: usize = 256;

const ACCEPTANCE_TYPE: &str = "purser.acceptance/1";

impl Acceptance {
    const fn family(&self) -> Family {
        match self {
            Self::Order { .. } => Family::Checkout,
            Self::Payment { .. } => Family::Payment,
        }
    }

    /// Ids that whoever reads the receipt can read.
    fn check(&self) -> Result<(), EngineError> {
        let ids = match self {
            Self::Order { order_id } => vec![order_id],
            Self::Payment { payment_id, psp_confirmation_id, network_confirmation_id } => {
                vec![payment_id, psp_confirmation_id, network_confirmation_id]
            }
        };
        match ids.into_iter().find(|id| id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control)) {
            Some(id) => {
                let expected = format!("ids of 1 to {ID_BYTES_MAX} bytes without control characters");
                Err(EngineError::invalid("accept", expected, id.clone()))
            }
            None => Ok(()),
        }
    }

    fn answer(&self) -> Answer {
        match self.clone() {
            Self::Order { order_id } => Answer::Ordered { order_id },
            Self::Payment { payment_id, psp_confirmation_id, network_confirmation_id } => {
                Answer::Paid { payment_id, psp_confirmation_id, network_confirmation_id }
            }
        }
    }
}

/// The name of one verifier's nonce among the nonces under a mandate.
fn claimed(audience: &str, nonce: &str) -> String {
    Digest::of_parts("purser/presented-to/1", &[audience.as_bytes(), nonce.as_bytes()]).to_string()
}

/// What was answered before, of a mandate that goes by the same names as the one at hand.
pub(crate) struct Former {
    names: Claimed,
    /// Digest of what it was accepted as.
    request: Digest,
    kept: KeptReceipt,
    receipt: Receipt,
}

impl Former {
    /// The verdict that a retry gets is that of then: what has expired or was revoked since was good when it was accepted.
    pub(crate) fn clock(&self) -> Clock {
        Clock { now_seconds: self.receipt.issued_at_seconds, skew_seconds: SKEW_SECONDS }
    }

    pub(crate) fn is_for(&self, audience: Option<&String>, nonce: Option<&String>) -> bool {
        (audience, nonce) == (Some(&self.names.audience), Some(&self.names.nonce))
    }
}

/// Digest of what a mandate is accepted as. Whoever presents it, however it is spelled: the same leaf accepted as the same.
fn request_digest(leaf: chain::MandateId, acceptance: &Acceptance) -> Result<Digest, EngineError> {
    let asked = serde_json::to_vec(acceptance).map_err(|error| EngineError::Broken(error.to_string()))?;
    Ok(Digest::of_parts("purser/acceptance/1", &[leaf.as_bytes(), &asked]))
}

/// A merchant answers for what is bought from it, not for its neighbours.
fn check_own(identity: &Identity, tenant: &Tenant, closed: &ClosedFacts) -> Result<(), EngineError> {
    if identity.caller.kind != CallerKind::Merchant {
        return Ok(());
    }
    let principal = &identity.caller.principal;
    let role = tenant.merchants.get(principal);
    let role = role.ok_or_else(|| EngineError::NotFound { what: "merchant", id: principal.to_string() })?;
    let named = match &closed.mandate {
        Closed::Payment(payment) => Some(&payment.payee),
        Closed::Checkout { cart, .. } => cart.merchant.as_ref(),
    };
    match named {
        Some(merchant) if merchant.is(&role.merchant) => Ok(()),
        other => {
            let found =
                other.map_or_else(|| "nobody".to_owned(), |merchant| format!("{} ({})", merchant.name, merchant.id));
            let expected = format!("{} ({})", role.merchant.name, role.merchant.id);
            Err(EngineError::CartMismatch { expected, found })
        }
    }
}

/// Merchants sign with the key of their carts; everyone else with the tenant's key for receipts.
fn answering<'a>(identity: &Identity, tenant: &'a Tenant) -> (&'a Arc<dyn MandateSigner>, &'a String) {
    let role = tenant.merchants.get(&identity.caller.principal);
    match role.filter(|_| identity.caller.kind == CallerKind::Merchant) {
        Some(role) => (&role.signer, role.merchant.website.as_ref().unwrap_or(&role.merchant.id)),
        None => (&tenant.receipts, &tenant.issuer),
    }
}

impl Engine {
    /// What must be so before anything is verified: who answers, and that nothing was left out that the answer is about.
    pub(crate) fn may_accept(identity: &Identity, is_bound: bool) -> Result<(), EngineError> {
        if !matches!(identity.caller.kind, CallerKind::Merchant | CallerKind::Operator | CallerKind::Service) {
            return Err(forbidden("a merchant or an operator", identity));
        }
        if !is_bound {
            let expected = "audience, nonce and checkout_jwt beside it: what is accepted is bound to all three";
            return Err(EngineError::invalid("accept", expected, "an expectation left out"));
        }
        Ok(())
    }

    /// The receipt of a valid mandate. The same acceptance gives the same receipt, for ever.
    pub(crate) async fn accept(
        &self,
        identity: &Identity,
        presented: &str,
        facts: &Facts,
        acceptance: &Acceptance,
    ) -> Result<String, EngineError> {
        if acceptance.family() != facts.family {
            let expected = format!("an acceptance of a {} mandate", facts.family.as_str());
            return Err(EngineError::invalid("accept", expected, format!("of a {}", acceptance.family().as_str())));
        }
        let closed = facts.closed.as_ref();
        let closed = closed.ok_or_else(|| EngineError::invalid("accept", "a closed mandate", "an open one"))?;
        let presentation = closed.presentation.as_ref();
        let nonce = presentation.map(|presentation| claimed(&presentation.audience, &presentation.nonce));
        let nonce = nonce.ok_or_else(|| EngineError::invalid("accept", "a mandate with a nonce", "one without"))?;
        acceptance.check()?;
        let mandate = facts.open.last().map_or(closed.identity, |open| open.identity);
        let tenant = self.tenant(&identity.tenant)?;
        check_own(identity, &tenant, closed)?;
        let receipt = self.success(identity, &tenant, presented, acceptance).await?;
        let document = to_document("receipt", &receipt)?;
        let accept = Accept {
            mandate: BudgetId(*mandate.as_bytes()),
            nonce,
            request: request_digest(closed.identity, acceptance)?,
            document: document.digest(),
        };
        let key = accept.claim_key();
        self.run(identity, Command::Accept(Box::new(accept)), vec![document]).await?;
        let claim = self.store.claim(&identity.tenant, &key).await?;
        match claim.map(|claim| claim.outcome) {
            Some(ClaimOutcome::Accepted(digest)) => Ok(self.kept_receipt(identity, digest).await?.receipt),
            other => Err(EngineError::Broken(format!("an acceptance without its claim: {other:?}"))),
        }
    }

    async fn kept_receipt(&self, identity: &Identity, digest: Digest) -> Result<KeptReceipt, EngineError> {
        let text = self.document_text(identity, digest).await?;
        serde_json::from_str(&text).map_err(|error| EngineError::Broken(format!("a receipt cannot be read: {error}")))
    }

    /// The receipt by which a mandate was accepted for this audience and nonce, and what it says.
    pub(crate) async fn answered_under(
        &self,
        identity: &Identity,
        mandate: BudgetId,
        audience: &str,
        nonce: &str,
    ) -> Result<Option<(String, Answer)>, EngineError> {
        let key = ClaimKey::Leaf { mandate, nonce: claimed(audience, nonce) };
        let found = self.accepted_at(identity, &key).await?;
        Ok(found.map(|(_, kept, receipt)| (kept.receipt, receipt.answer)))
    }

    /// Digest of what was accepted, and the receipt, as it is kept and as it reads.
    async fn accepted_at(
        &self,
        identity: &Identity,
        key: &ClaimKey,
    ) -> Result<Option<(Digest, KeptReceipt, Receipt)>, EngineError> {
        let Some(claim) = self.store.claim(&identity.tenant, key).await? else { return Ok(None) };
        let ClaimOutcome::Accepted(digest) = claim.outcome else { return Ok(None) };
        let kept = self.kept_receipt(identity, digest).await?;
        let (keys, clock) = (KeySet::from_jwks(&kept.keys)?, self.mandate_clock(SKEW_SECONDS));
        let read = |kind| receipt::verify(&kept.receipt, kind, &keys, &clock, References::OnItsOwn);
        let receipt = read(ReceiptKind::Payment).or_else(|_| read(ReceiptKind::Checkout))?;
        Ok(Some((claim.request, kept, receipt)))
    }

    /// What this tenant answered before for what calls itself so; nothing where it has no such names, or was never accepted.
    pub(crate) async fn former(&self, identity: &Identity, presented: &str) -> Result<Option<Former>, EngineError> {
        let Ok(names) = chain::claimed(presented) else { return Ok(None) };
        let key = ClaimKey::Leaf {
            mandate: BudgetId(*names.under.as_bytes()),
            nonce: claimed(&names.audience, &names.nonce),
        };
        let found = self.accepted_at(identity, &key).await?;
        Ok(found.map(|(request, kept, receipt)| Former { names, request, kept, receipt }))
    }

    /// The same acceptance again gets the same receipt, whatever has become of the mandate since; another one is a second
    /// use. `verdict` is that of then.
    pub(crate) fn accept_again(
        &self,
        identity: &Identity,
        presented: &str,
        verdict: &Verdict,
        former: Former,
        acceptance: &Acceptance,
    ) -> Result<Option<String>, EngineError> {
        let is_same_text = reference_hashes(presented)?.sd_hash == former.receipt.reference;
        let closed = verdict.facts().and_then(|facts| facts.closed.as_ref());
        // Other bytes of the same name are worth what their signatures are worth.
        if closed.is_none() && !is_same_text {
            return Ok(None);
        }
        let tenant = self.tenant(&identity.tenant)?;
        closed.map_or(Ok(()), |closed| check_own(identity, &tenant, closed))?;
        let (_, issuer) = answering(identity, &tenant);
        if identity.caller.kind == CallerKind::Merchant && *issuer != former.receipt.issuer {
            let (expected, found) = (format!("a mandate that {issuer} answered"), former.receipt.issuer);
            return Err(EngineError::CartMismatch { expected, found: format!("one that {found} answered") });
        }
        acceptance.check()?;
        if request_digest(former.names.leaf, acceptance)? != former.request {
            let mandate = BudgetId(*former.names.under.as_bytes());
            return Err(EngineError::Book(Rejection::MandateConsumed { mandate }));
        }
        Ok(Some(former.kept.receipt))
    }

    async fn success(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        presented: &str,
        acceptance: &Acceptance,
    ) -> Result<KeptReceipt, EngineError> {
        let (signer, issuer) = answering(identity, tenant);
        let receipt = Receipt {
            issuer: issuer.clone(),
            issued_at_seconds: self.clock.now().seconds(),
            reference: reference_hashes(presented)?.sd_hash,
            answer: acceptance.answer(),
        };
        let unsigned = receipt.unsigned(&signer.public().key_id());
        let keys = KeySet::new([signer.public().clone()])?.to_jwks();
        Ok(KeptReceipt { r#type: ACCEPTANCE_TYPE.into(), receipt: signer.sign(unsigned).await?, keys })
    }
}
