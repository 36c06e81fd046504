//! An allowance becomes a hold and a token.

use std::collections::BTreeMap;

use commerce::acp::DelegateRequest;
use ledger::command::Hold;
use ledger::id::{BudgetId, CallerKind, Digest, IdempotencyKey, Micros, SpendId};
use ledger::rejection::Rejection;
use ledger::store::Document;
use ledger::transfer::Money;
use mandates::currency::Currency;
use mandates::json::Object;
use mandates::keys::PublicKey;
use mandates::mandate::{Family, Mandate};
use mandates::party::Instrument;
use mandates::payment::ClosedPayment;
use mandates::verify::Purchase;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Allowed, SealedCard, VaultError, allowed, authorization, token, transaction_id, vault};
use crate::authorize::check_obligations;
use crate::closing::Addressee;
use crate::consent::{CartDemand, MandateView, agent_of, fiat, forbidden};
use crate::error::EngineError;
use crate::evidence::{BUNDLE_TYPE, Bundle, Rail};
use crate::rate::authority_from_minor;
use crate::ruling::{Reservation, UNSET};
use crate::tenant::{Payee, Tenant};
use crate::{Engine, Identity};

/// The name of this operation among keys.
const OPERATION: &str = "delegate_payment";
/// What the kind of a sealed card is called among documents.
const CARD: &str = "sealed-card";
/// Members of `metadata` that name the mandate.
const MANDATE_NAMES: [&str; 2] = ["mandate", "mandate_id"];

/// `POST /agentic_commerce/delegate_payment`.
#[derive(Debug)]
pub struct Delegation<'a> {
    pub request: &'a DelegateRequest,
    /// `Idempotency-Key`, as it came.
    pub key: &'a str,
    /// The mandate that the caller's access token names.
    pub mandate: Option<BudgetId>,
}

/// A token, as the agent gets it.
#[derive(Clone, Debug)]
pub struct Delegated {
    pub token: String,
    pub created: String,
    pub metadata: BTreeMap<String, String>,
    /// The key was used before, for the same request.
    pub is_replay: bool,
}

struct Draft<'a> {
    tenant: &'a Tenant,
    payee: &'a Payee,
    view: MandateView,
    money: Money,
    expires_at: Micros,
    spend: SpendId,
    token: String,
}

impl Engine {
    pub async fn delegate_payment(
        &self,
        identity: &Identity,
        delegation: &Delegation<'_>,
    ) -> Result<Delegated, EngineError> {
        if identity.caller.kind != CallerKind::Agent {
            return Err(forbidden("an agent", identity));
        }
        let tenant = self.tenant(&identity.tenant)?;
        vault(&tenant)?;
        let (key, spend) = purchase(&tenant, identity, delegation.key)?;
        let digest = request_digest(&tenant, delegation.request.expose_canonical());
        let _in_hand = self.busy.take(spend, Some(Digest(spend.0)))?;
        let canonical = delegation.request.expose_canonical();
        if let Some(known) = self.known_token(identity, &tenant, spend, canonical).await? {
            return Ok(known);
        }
        self.check_quota(identity, &tenant.limits).await?;
        let held = self.hold_allowance(identity, &tenant, delegation, spend, &key, digest).await;
        let bundle = held.inspect_err(|error| self.count_refusal(identity, &tenant.limits, error))?;
        Ok(said(&tenant, spend, allowed(&bundle)?, false))
    }

    /// What was given for the purchase, if that is the same request.
    pub(super) async fn known_token(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        spend: SpendId,
        canonical: &[u8],
    ) -> Result<Option<Delegated>, EngineError> {
        let Some(known) = self.store.spend(&identity.tenant, spend).await? else { return Ok(None) };
        let bundle = self.bundle(identity, &known).await?;
        let (first, found) = (bundle.request, request_digest(tenant, canonical));
        if first != found {
            return Err(EngineError::Book(Rejection::IdempotencyKeyReused { first, found }));
        }
        Ok(Some(said(tenant, spend, allowed(&bundle)?, true)))
    }

    async fn hold_allowance(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        delegation: &Delegation<'_>,
        spend: SpendId,
        key: &IdempotencyKey,
        digest: Digest,
    ) -> Result<Bundle, EngineError> {
        let draft = self.draft_allowance(identity, tenant, delegation, spend).await?;
        let sealed = seal(tenant, delegation.request, spend)?;
        let bundle = self.judge_allowance(&draft, delegation, digest, sealed.digest()).await?;
        let hold = Hold {
            spend,
            operation: OPERATION.into(),
            key: key.clone(),
            request: digest,
            budget: draft.view.budget.id,
            leaf_nonce: spend.to_string(),
            authority: draft.money.clone(),
            money: draft.money.clone(),
            rate: None,
            payee: draft.payee.id.clone(),
            pay_to: delegation.request.allowance.merchant_id.clone(),
            pin: None,
            // Each allowance is its own; what is paid once is the checkout session, when it is redeemed.
            purchase: Digest::of_parts("purser/vault-purchase/1", &[&spend.0]),
            cart: None,
            authorization: authorization(&tenant.currency, &draft.token)?,
            valid_before: draft.expires_at.seconds(),
            since_block: 0,
            expires_at: draft.expires_at,
            again_after: None,
            evidence: UNSET,
            review: None,
        };
        let it = Reservation { tenant, view: &draft.view, hold, bundle, documents: vec![sealed] };
        Ok(self.reserve(identity, it).await?.1)
    }

    async fn draft_allowance<'a>(
        &self,
        identity: &Identity,
        tenant: &'a Tenant,
        delegation: &Delegation<'_>,
        spend: SpendId,
    ) -> Result<Draft<'a>, EngineError> {
        let allowance = &delegation.request.allowance;
        allowance.check_time(self.clock.now().0).map_err(VaultError::from)?;
        let view = self.mandate(identity, named(delegation)?).await?;
        if view.record.agent != identity.caller.principal {
            return Err(forbidden(view.record.agent.as_str(), identity));
        }
        if view.record.cart == CartDemand::Required {
            return Err(EngineError::CartRequired);
        }
        let payee = tenant.payees.acp(&allowance.merchant_id);
        let payee = payee.ok_or_else(|| VaultError::MerchantUnknown { found: shown(&allowance.merchant_id) })?;
        let currency = &view.record.currency;
        if allowance.currency != *currency {
            let (expected, found) = (fiat(currency)?, fiat(&allowance.currency)?);
            return Err(EngineError::Book(Rejection::AssetMismatch { expected, found }));
        }
        let money = Money { asset: fiat(currency)?, amount: authority_from_minor(allowance.max_amount)? };
        // No token outlives its mandate.
        let expires_at = Micros(allowance.expires_at_micros).min(Micros::from_seconds(view.record.expires_at));
        Ok(Draft { tenant, payee, view, money, expires_at, spend, token: token(tenant, spend) })
    }

    /// The agent's key closes its mandate over the allowance; then the whole chain is verified as anyone would.
    async fn judge_allowance(
        &self,
        draft: &Draft<'_>,
        delegation: &Delegation<'_>,
        digest: Digest,
        sealed: Digest,
    ) -> Result<Bundle, EngineError> {
        let Draft { tenant, payee, view, spend, .. } = draft;
        let DelegateRequest { allowance, face, .. } = delegation.request;
        let record = &view.record;
        let transaction_id = transaction_id(allowance)?;
        let payment = ClosedPayment {
            transaction_id: transaction_id.clone(),
            payee: payee.merchant.clone(),
            payment_amount: mandates::party::Money {
                amount: allowance.max_amount,
                currency: Currency::new(&record.currency)?,
            },
            payment_instrument: Instrument {
                id: format!("vault:{}", Digest::of(draft.token.as_bytes())),
                kind: "card".into(),
                description: Some(format!("{} ****{}", face.brand, face.last4)),
                details: Object::new(),
            },
            pisp: None,
            execution_date: None,
            risk_data: None,
            issued_at_seconds: None,
            expires_at_seconds: Some(draft.expires_at.seconds()),
            others: Object::new(),
        };
        let own = Addressee { audience: tenant.issuer.clone(), nonce: spend.to_string() };
        let open = self.token(tenant, record, &record.payment).await?;
        let signer = agent_of(tenant, &record.agent)?.holding(&record.agent_key)?;
        let chain = self.close(signer, &open, Mandate::Payment(payment), &own).await?;
        let purchase = Purchase::TransactionId(&transaction_id);
        let verdict = self.judge(tenant, &chain, Family::Payment, &own, purchase).await;
        let checks = verdict.checks.iter().map(|check| check.to_json().to_string()).collect();
        let facts = verdict.outcome?;
        let links = self.links(&tenant.id, view).await?;
        check_obligations(&facts, &links, *spend)?;
        let allowed = Allowed {
            allowance: allowance.clone(),
            card: face.clone(),
            sealed,
            created: rfc3339(self.clock.now())?,
            metadata: metadata(delegation, draft)?,
        };
        Ok(Bundle {
            r#type: BUNDLE_TYPE.into(),
            request: digest,
            mandate: view.budget.id,
            decision: record.decision,
            agent: record.agent.clone(),
            line: record.line.clone(),
            chain,
            audience: tenant.issuer.clone(),
            cart: None,
            merchant_keys: Some(payee.keys.iter().map(PublicKey::to_jwk).collect()),
            rail: Rail::Vault(Box::new(allowed)),
            payee: payee.merchant.claims(),
            authority: draft.money.amount,
            currency: record.currency.clone(),
            rate: None,
            checks,
            policy: None,
        })
    }
}

/// The key of a purchase, and its name. A key is opaque, and maybe longer than one of ours.
pub(super) fn purchase(
    tenant: &Tenant,
    identity: &Identity,
    key: &str,
) -> Result<(IdempotencyKey, SpendId), EngineError> {
    let key: IdempotencyKey = Digest::of(key.as_bytes()).to_string().parse().map_err(|_| unmade())?;
    let spend = SpendId::derive(&tenant.secret, &identity.caller.principal, OPERATION, &key);
    Ok((key, spend))
}

fn request_digest(tenant: &Tenant, canonical: &[u8]) -> Digest {
    tenant.secret.seal("purser/acp-request/1", canonical)
}

/// Which mandate the allowance is to be within.
fn named(delegation: &Delegation<'_>) -> Result<BudgetId, EngineError> {
    let metadata = &delegation.request.metadata;
    let Some((name, text)) = MANDATE_NAMES.iter().find_map(|name| metadata.get_key_value(*name)) else {
        return delegation.mandate.ok_or_else(|| VaultError::MandateMissing.into());
    };
    text.parse()
        .map_err(|_| EngineError::NotFound { what: "mandate", id: format!("{} (metadata.{name})", shown(text)) })
}

/// The whole card, under this tenant's key and for this payment only.
fn seal(tenant: &Tenant, request: &DelegateRequest, spend: SpendId) -> Result<Document, EngineError> {
    let card = SealedCard { card: request.card.clone(), billing_address: request.billing_address.clone() };
    let plain = serde_json::to_vec(&card).map_err(|_| EngineError::Broken("a card cannot be written".into()))?;
    let plain = zeroize::Zeroizing::new(plain);
    let bytes = vault(tenant)?.seal.seal(spend, &plain)?;
    Ok(Document { kind: CARD.into(), bytes })
}

/// What came, and what the agent needs to find it again.
fn metadata(delegation: &Delegation<'_>, draft: &Draft<'_>) -> Result<BTreeMap<String, String>, EngineError> {
    let mut metadata = delegation.request.metadata.clone();
    let own = [
        ("merchant_id", delegation.request.allowance.merchant_id.clone()),
        ("idempotency_key", delegation.key.to_owned()),
        ("mandate", draft.view.budget.id.to_string()),
        ("payment", draft.spend.to_string()),
        ("expires_at", rfc3339(draft.expires_at)?),
    ];
    metadata.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Ok(metadata)
}

fn said(tenant: &Tenant, spend: SpendId, allowed: &Allowed, is_replay: bool) -> Delegated {
    let (created, metadata) = (allowed.created.clone(), allowed.metadata.clone());
    Delegated { token: token(tenant, spend), created, metadata, is_replay }
}

pub(super) fn rfc3339(at: Micros) -> Result<String, EngineError> {
    let broken = || EngineError::Broken("a time that no calendar has".into());
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0).saturating_mul(1_000)).map_err(|_| broken())?;
    at.format(&Rfc3339).map_err(|_| broken())
}

fn shown(text: &str) -> String {
    crate::error::shortened(text)
}

fn unmade() -> EngineError {
    EngineError::Broken("a digest is no key".into())
}
