//! Closing a mandate for somebody else: over a merchant's cart, for one verifier and one nonce of theirs (AP2 v0.2, closed
//! payment mandate, and beside it the closed checkout mandate for the merchant).
//!
//! Whoever gets a closed payment mandate can have it paid, so it is a cheque like one for a chain:
//!
//! 1. Verify the cart, with keys that are on record for who is paid.
//! 2. Close the mandate over it for ourselves, and verify the whole chain, as anyone would.
//! 3. Hold: limit on every ancestor, claims of key and of the verifier's nonce, books and journal, in one unit.
//! 4. Commit, close it for the verifier, write down what they get, and only then give it away.
//! 5. Their receipt posts it or frees it; nothing else does (AP2 v0.2, payment receipt).
//!
//! A retry with the same key gets the same bytes.

mod answer;
mod given;
mod terms;

use ledger::command::{Command, Hold};
use ledger::effects::{Fact, Operation};
use ledger::id::{BudgetId, CallerKind, Digest, IdempotencyKey, Micros, SpendId};
use ledger::spend::{Spend, SpendState};
use mandates::cart::Cart;
use mandates::checkout::ClosedCheckout;
use mandates::issue;
use mandates::json::Object;
use mandates::keys::{KeySet, PublicKey};
use mandates::mandate::{Family, Mandate};
use mandates::payment::ClosedPayment;
use mandates::verify::{Facts, Purchase};
use serde::{Deserialize, Serialize};

pub use self::answer::{KeptReceipt, Resolution};
pub(crate) use self::answer::{RESOLUTION_TYPE, said};
pub use self::given::Given;
use self::terms::Terms;
pub(crate) use self::terms::{cart_identity, claimed};
use crate::authorize::check_obligations;
use crate::consent::{MandateView, agent_of, forbidden, to_document};
use crate::error::EngineError;
use crate::evidence::{Bundle, Presented, Rail};
use crate::ruling::{Reservation, UNSET};
use crate::tenant::{Payee, Tenant};
use crate::{Engine, Identity};

/// The name of this operation among keys.
const OPERATION: &str = "closings";

/// Whom a closed mandate is for: `aud` and `nonce`, as they gave them out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addressee {
    pub audience: String,
    pub nonce: String,
}

/// `POST /v1/mandates/payments`.
#[derive(Clone, Debug)]
pub struct ClosingRequest {
    pub mandate: BudgetId,
    /// The merchant's signed checkout.
    pub cart: String,
    /// Who verifies the payment mandate: credential provider, network or payment processor.
    pub payment: Addressee,
    /// What they pay with: `id`, `type` and what the type adds.
    pub instrument: Object,
    /// The merchant, where it wants the checkout mandate.
    pub checkout: Option<Addressee>,
    pub key: IdempotencyKey,
    /// The caller knows that the same cart is being paid as that spend, and means a second payment.
    pub again_after: Option<SpendId>,
}

/// What was held, and what the verifiers get.
#[derive(Clone, Debug)]
pub struct Closing {
    pub spend: Spend,
    pub transaction_id: String,
    pub papers: Papers,
}

/// The chains as they are given away, kept beside the record that says so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Papers {
    pub r#type: String,
    pub payment: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<String>,
}

const PAPERS_TYPE: &str = "purser.presentation/1";

impl Engine {
    pub async fn close_for(&self, identity: &Identity, request: ClosingRequest) -> Result<Closing, EngineError> {
        if identity.caller.kind != CallerKind::Agent {
            return Err(forbidden("an agent", identity));
        }
        let tenant = self.tenant(&identity.tenant)?;
        terms::check(&tenant, &request)?;
        let spend = SpendId::derive(&tenant.secret, &identity.caller.principal, OPERATION, &request.key);
        let digest = terms::request_digest(&request)?;
        if let Some(known) = self.store.spend(&identity.tenant, spend).await? {
            let bundle = self.known(identity, &known, digest).await?;
            let committed = self.commit(identity, known).await?;
            return self.give(identity, &tenant, committed, &bundle).await;
        }
        self.check_quota(identity, &tenant.limits).await?;
        let held = self.hold_closing(identity, &tenant, &request, spend, digest).await;
        let (held, bundle) = held.inspect_err(|error| self.count_refusal(identity, &tenant.limits, error))?;
        let committed = self.commit(identity, held).await?;
        self.give(identity, &tenant, committed, &bundle).await
    }

    async fn hold_closing(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        request: &ClosingRequest,
        spend: SpendId,
        digest: Digest,
    ) -> Result<(Spend, Bundle), EngineError> {
        let view = self.mandate(identity, request.mandate).await?;
        if view.record.agent != identity.caller.principal {
            return Err(forbidden(view.record.agent.as_str(), identity));
        }
        let terms = Terms::of(tenant, &view, request, self.clock.now().seconds())?;
        let payee = terms.payee;
        let keys = KeySet::new(payee.keys.iter().cloned())?;
        let purchase = Purchase::Cart { checkout_jwt: &request.cart, merchant_keys: &keys };
        let (audience, nonce) = (&tenant.issuer, spend.to_string());
        let own = Addressee { audience: audience.clone(), nonce };
        let chain = self.close_payment(tenant, &view, &own, terms.payment.clone()).await?;
        let verdict = self.judge(tenant, &chain, Family::Payment, &own, purchase).await;
        let checks = verdict.checks.iter().map(|check| check.to_json().to_string()).collect();
        let facts: Facts = verdict.outcome?;
        let links = self.links(&tenant.id, &view).await?;
        check_obligations(&facts, &links, spend)?;
        if request.checkout.is_some() {
            let checkout = self.close_checkout(tenant, &view, &own, terms.checkout.clone()).await?;
            self.judge(tenant, &checkout, Family::Checkout, &own, purchase).await.outcome?;
        }
        let bundle = bundle(request, &view, &terms, tenant, digest, (chain, checks));
        let lapses = self.clock.now().seconds().saturating_add(tenant.limits.hold_seconds);
        let hold = Hold {
            spend,
            operation: OPERATION.into(),
            key: request.key.clone(),
            request: digest,
            budget: view.budget.id,
            leaf_nonce: spend.to_string(),
            authority: terms.money.clone(),
            money: terms.money.clone(),
            rate: None,
            payee: payee.id.clone(),
            pay_to: request.payment.audience.clone(),
            pin: None,
            purchase: terms::purchase_digest(&request.cart),
            cart: Some(cart_identity(&request.cart)?),
            authorization: terms.authorization.clone(),
            valid_before: terms.valid_before,
            since_block: 0,
            expires_at: Micros::from_seconds(lapses),
            again_after: request.again_after,
            evidence: UNSET,
            review: None,
        };
        self.reserve(identity, Reservation { tenant, view: &view, hold, bundle, documents: Vec::new() }).await
    }

    /// Signs what is committed, keeps it, and gives it away. What was given once is given again as it was.
    async fn give(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        spend: Spend,
        bundle: &Bundle,
    ) -> Result<Closing, EngineError> {
        let Rail::Mandate(terms) = &bundle.rail else {
            return Err(EngineError::Broken(format!("spend {} is of another rail", spend.id)));
        };
        let spend = match spend.state {
            SpendState::Committed => {
                let papers = self.sign_papers(identity, tenant, &spend, bundle, terms).await?;
                let document = to_document("presentation", &papers)?;
                let present = Command::Present { spend: spend.id, document: document.digest() };
                let answer = self.run(identity, present, vec![document]).await?;
                answer.spend.ok_or_else(|| EngineError::Broken("a presentation without a spend".into()))?
            }
            _ => spend,
        };
        let papers = self.papers(identity, &spend).await?;
        let missing = || EngineError::Broken(format!("spend {} was given away without its papers", spend.id));
        let (_, papers) = papers.ok_or_else(missing)?;
        let payment = ClosedPayment::parse(&terms.payment)?;
        Ok(Closing { spend, transaction_id: payment.transaction_id, papers })
    }

    async fn sign_papers(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        spend: &Spend,
        bundle: &Bundle,
        terms: &Presented,
    ) -> Result<Papers, EngineError> {
        let view = self.mandate(identity, spend.budget).await?;
        let jwt = bundle.cart.as_ref().ok_or_else(|| EngineError::Broken("a closing without its cart".into()))?;
        let keys = bundle.merchant_keys.clone().unwrap_or_default();
        let keys = KeySet::new(keys.iter().map(PublicKey::from_jwk).collect::<Result<Vec<_>, _>>()?)?;
        let purchase = Purchase::Cart { checkout_jwt: jwt, merchant_keys: &keys };
        let payment = ClosedPayment::parse(&terms.payment)?;
        let ends = payment.expires_at_seconds;
        let payment = self.close_payment(tenant, &view, &terms.verifier, payment).await?;
        self.judge(tenant, &payment, Family::Payment, &terms.verifier, purchase).await.outcome?;
        let checkout = match &terms.merchant {
            Some(merchant) => {
                let closed = terms::checkout(jwt, ends);
                let chain = self.close_checkout(tenant, &view, merchant, closed).await?;
                self.judge(tenant, &chain, Family::Checkout, merchant, purchase).await.outcome?;
                Some(chain)
            }
            None => None,
        };
        Ok(Papers { r#type: PAPERS_TYPE.into(), payment, checkout })
    }

    async fn close_payment(
        &self,
        tenant: &Tenant,
        view: &MandateView,
        to: &Addressee,
        payment: ClosedPayment,
    ) -> Result<String, EngineError> {
        let open = self.token(tenant, &view.record, &view.record.payment).await?;
        let open = issue::present_only_merchant(&open, &payment.payee)?;
        let signer = agent_of(tenant, &view.record.agent)?.holding(&view.record.agent_key)?;
        self.close(signer, &open, Mandate::Payment(payment), to).await
    }

    async fn close_checkout(
        &self,
        tenant: &Tenant,
        view: &MandateView,
        to: &Addressee,
        checkout: ClosedCheckout,
    ) -> Result<String, EngineError> {
        let open = self.token(tenant, &view.record, &view.record.checkout).await?;
        let open = match Cart::parse(&checkout.checkout_jwt)?.merchant {
            Some(merchant) => issue::present_only_merchant(&open, &merchant)?,
            None => open,
        };
        let signer = agent_of(tenant, &view.record.agent)?.holding(&view.record.agent_key)?;
        self.close(signer, &open, Mandate::Checkout(checkout), to).await
    }

    /// What was given away, and the digest under which it is kept; nothing where nobody got anything.
    pub(crate) async fn papers(
        &self,
        identity: &Identity,
        spend: &Spend,
    ) -> Result<Option<(Digest, Papers)>, EngineError> {
        let Some(digest) = self.reference(identity, spend.id, &[Operation::Submit]).await? else { return Ok(None) };
        let text = self.document_text(identity, digest).await?;
        let papers = serde_json::from_str(&text);
        let papers = papers.map_err(|error| EngineError::Broken(format!("papers cannot be read: {error}")))?;
        Ok(Some((digest, papers)))
    }

    /// The document that the last record of one of these operations names.
    pub(crate) async fn reference(
        &self,
        identity: &Identity,
        spend: SpendId,
        operations: &[Operation],
    ) -> Result<Option<Digest>, EngineError> {
        let records = self.store.records_of_spend(&identity.tenant, spend).await?;
        let named = records.iter().rev().filter(|(_, record)| operations.contains(&record.operation));
        let mut named = named.filter_map(|(_, record)| match &record.fact {
            Some(Fact::Reference(digest)) => Some(*digest),
            _ => None,
        });
        Ok(named.next())
    }
}

fn bundle(
    request: &ClosingRequest,
    view: &MandateView,
    terms: &Terms<'_>,
    tenant: &Tenant,
    digest: Digest,
    (chain, checks): (String, Vec<String>),
) -> Bundle {
    let record = &view.record;
    let Payee { merchant, keys, .. } = terms.payee;
    Bundle {
        r#type: crate::evidence::BUNDLE_TYPE.into(),
        request: digest,
        mandate: view.budget.id,
        decision: record.decision,
        agent: record.agent.clone(),
        line: record.line.clone(),
        chain,
        audience: tenant.issuer.clone(),
        cart: Some(request.cart.clone()),
        merchant_keys: Some(keys.iter().map(PublicKey::to_jwk).collect()),
        rail: Rail::Mandate(Presented {
            verifier: request.payment.clone(),
            merchant: request.checkout.clone(),
            payment: terms.payment.claims(),
            keys: terms.keys.to_jwks(),
        }),
        payee: merchant.claims(),
        authority: terms.money.amount,
        currency: record.currency.clone(),
        rate: None,
        checks,
        policy: None,
    }
}
