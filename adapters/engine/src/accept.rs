//! Answering a mandate that was closed for us: a signed receipt on acceptance (AP2 v0.2, checkout receipt and payment
//! receipt), and the mandate used up with it, so that no replica and no retry accepts it twice.

use ledger::claim::ClaimOutcome;
use ledger::command::{Accept, Command};
use ledger::id::{BudgetId, CallerKind, Digest};
use mandates::chain::reference_hashes;
use mandates::mandate::Family;
use mandates::receipt::{Answer, Receipt};
use mandates::verify::{Closed, ClosedFacts, Facts};
use serde::{Deserialize, Serialize};

use crate::closing::KeptReceipt;
use crate::consent::{forbidden, to_document};
use crate::error::EngineError;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

/// What the caller answers for when the mandate is valid: that it takes the order, or that it took the money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Acceptance {
    Order { order_id: String },
    Payment { payment_id: String, psp_confirmation_id: String, network_confirmation_id: String },
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
        let asked = serde_json::to_vec(acceptance).map_err(|error| EngineError::Broken(error.to_string()))?;
        let tenant = self.tenant(&identity.tenant)?;
        check_own(identity, &tenant, closed)?;
        let receipt = self.success(identity, &tenant, presented, acceptance).await?;
        let document = to_document("receipt", &receipt)?;
        let accept = Accept {
            mandate: BudgetId(*mandate.as_bytes()),
            nonce,
            // Whoever presents it, however it is spelled: the same leaf accepted as the same.
            request: Digest::of_parts("purser/acceptance/1", &[closed.identity.as_bytes(), &asked]),
            document: document.digest(),
        };
        let key = accept.claim_key();
        self.run(identity, Command::Accept(Box::new(accept)), vec![document]).await?;
        let claim = self.store.claim(&identity.tenant, &key).await?;
        match claim.map(|claim| claim.outcome) {
            Some(ClaimOutcome::Accepted(digest)) => {
                let text = self.document_text(identity, digest).await?;
                let kept: KeptReceipt = serde_json::from_str(&text)
                    .map_err(|error| EngineError::Broken(format!("a receipt cannot be read: {error}")))?;
                Ok(kept.receipt)
            }
            other => Err(EngineError::Broken(format!("an acceptance without its claim: {other:?}"))),
        }
    }

    /// Merchants sign with the key of their carts; everyone else with the tenant's key for receipts.
    async fn success(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        presented: &str,
        acceptance: &Acceptance,
    ) -> Result<KeptReceipt, EngineError> {
        let role = tenant.merchants.get(&identity.caller.principal);
        let role = role.filter(|_| identity.caller.kind == CallerKind::Merchant);
        let (signer, issuer) = match role {
            Some(role) => (&role.signer, role.merchant.website.as_ref().unwrap_or(&role.merchant.id)),
            None => (&tenant.receipts, &tenant.issuer),
        };
        let receipt = Receipt {
            issuer: issuer.clone(),
            issued_at_seconds: self.clock.now().seconds(),
            reference: reference_hashes(presented)?.sd_hash,
            answer: acceptance.answer(),
        };
        let unsigned = receipt.unsigned(&signer.public().key_id());
        let keys = mandates::keys::KeySet::new([signer.public().clone()])?.to_jwks();
        Ok(KeptReceipt { r#type: ACCEPTANCE_TYPE.into(), receipt: signer.sign(unsigned).await?, keys })
    }
}
