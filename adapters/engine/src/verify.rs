//! Verification for others: a presented chain and what the verifier expects, in; a verdict with every check and a
//! signed receipt, out.

use std::sync::Arc;

use mandates::chain::reference_hashes;
use mandates::constraint::OpenCheckout;
use mandates::json::Object;
use mandates::keys::KeySet;
use mandates::receipt::{Answer, Failure, Receipt};
use mandates::rejection::Code;
use mandates::trust::Roots;
use mandates::verify::{
    Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, Verdict, verify, verify_remembering,
};
use serde::Deserialize;
use serde_json::Value;

pub use crate::accept::Acceptance;
use crate::accept::Former;
use crate::error::EngineError;
use crate::mint::LEAF_AGE_SECONDS_MAX;
use crate::standing::Vouched;
use crate::{Engine, Identity};

/// Clocks of parties differ; AP2's SDK allows this much both ways.
pub const SKEW_SECONDS: u32 = 60;

/// `POST /v1/mandates/verify`. What is expected is named or said to be unknown; nothing is skipped in silence.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    #[serde(alias = "token", alias = "chain")]
    pub presented: String,
    /// `aud` and `nonce` that this verifier gave out. Both or neither; neither gives a verdict of strength `on_its_own`.
    #[serde(default)]
    #[serde(alias = "aud")]
    pub audience: Option<String>,
    #[serde(default)]
    pub nonce: Option<String>,
    /// The merchant's signed checkout that is paid for.
    #[serde(default)]
    pub checkout_jwt: Option<String>,
    /// Or the hash of it, or of an offer that nobody signed.
    #[serde(default)]
    pub transaction_id: Option<String>,
    /// The merchant's keys, as a JWK set, for a cart.
    #[serde(default)]
    pub merchant_jwks: Option<Object>,
    /// The roots that the verifier trusts, as a JWK set; this tenant's where nothing is said: its own, and those of its trust file.
    #[serde(default)]
    #[serde(alias = "jwks")]
    pub trust: Option<Object>,
    /// What the caller answers for where it is valid. The mandate is used up, and the receipt says so.
    #[serde(default)]
    pub accept: Option<Acceptance>,
}

/// The verdict, and its receipt where there was a closed mandate to answer.
#[derive(Clone, Debug)]
pub struct Verified {
    pub verdict: Verdict,
    pub receipt: Option<String>,
}

impl Verified {
    pub fn to_json(&self) -> Value {
        let mut json = self.verdict.to_json();
        if let (Value::Object(object), Some(receipt)) = (&mut json, &self.receipt) {
            object.insert("receipt".into(), receipt.as_str().into());
        }
        json
    }
}

impl Engine {
    pub async fn verify(&self, identity: &Identity, request: VerifyRequest) -> Result<Verified, EngineError> {
        if request.accept.is_some() {
            let is_bound = request.audience.is_some() && request.nonce.is_some() && request.checkout_jwt.is_some();
            Self::may_accept(identity, is_bound)?;
        }
        let tenant = self.tenant(&identity.tenant)?;
        let trusted: Arc<dyn Roots> = match (&request.trust, &tenant.trust) {
            (Some(jwks), _) => Arc::new(KeySet::from_jwks(jwks)?),
            (None, Some(source)) => source.roots_for(&request.presented).await,
            (None, None) => tenant.roots.clone(),
        };
        let merchant_keys = match &request.merchant_jwks {
            Some(jwks) => KeySet::from_jwks(jwks)?,
            None => merchant_keys(&tenant)?,
        };
        let expected = match (&request.audience, &request.nonce) {
            (Some(audience), Some(nonce)) => Expected::Exactly { audience, nonce },
            (None, None) => Expected::OnItsOwn,
            (Some(_), None) => return Err(EngineError::invalid("nonce", "the nonce that goes with audience", "none")),
            (None, Some(_)) => {
                return Err(EngineError::invalid("audience", "the audience that goes with nonce", "none"));
            }
        };
        let purchase = match (&request.checkout_jwt, &request.transaction_id) {
            (Some(checkout_jwt), None) => Purchase::Cart { checkout_jwt, merchant_keys: &merchant_keys },
            (None, Some(id)) => Purchase::TransactionId(id),
            (None, None) => Purchase::OnItsOwn,
            (Some(_), Some(_)) => {
                return Err(EngineError::invalid("transaction_id", "none beside checkout_jwt", "both"));
            }
        };
        // Looked up first: what was answered once is answered so for ever.
        let former = match &request.accept {
            Some(_) => self.former(identity, &request.presented).await?,
            None => None,
        };
        let former = former.filter(|former| former.is_for(request.audience.as_ref(), request.nonce.as_ref()));
        let context = Context {
            clock: former.as_ref().map_or_else(|| self.mandate_clock(SKEW_SECONDS), Former::clock),
            trusted: trusted.as_ref(),
            family: ExpectedFamily::Either,
            expected,
            leaf_age_seconds_max: LEAF_AGE_SECONDS_MAX,
            purchase,
            open_checkout: OpenCheckout::Unknown,
            usage: Usage::Unknown,
            nonces: Nonces::LeftToState,
            revoked: Revoked::LeftToState,
        };
        // Keys that a caller brings may sign any number of roots: they do not push those of others out.
        let (vouched, verdict) = match &request.trust {
            Some(_) => (Vouched::ByCaller, verify(&request.presented, &context)),
            None => (Vouched::ByOperator, verify_remembering(&request.presented, &context, &self.remembered)),
        };
        if let (Some(former), Some(acceptance)) = (former, &request.accept) {
            let receipt = self.accept_again(identity, &request.presented, &verdict, former, acceptance)?;
            return Ok(Verified { verdict, receipt });
        }
        let verdict = self.held_to_status(&tenant, verdict, trusted.as_ref(), vouched, context.clock).await;
        let receipt = match (&verdict.outcome, &request.accept) {
            (Ok(facts), Some(acceptance)) => Some(self.accept(identity, &request.presented, facts, acceptance).await?),
            _ => self.receipt(identity, &request.presented, &verdict).await?,
        };
        Ok(Verified { verdict, receipt })
    }

    /// AP2 wants a receipt on acceptance and on rejection. A valid verdict accepts nothing by itself: only who takes the
    /// order or the money can say so ([`Acceptance`]), so here only refusals are answered.
    async fn receipt(
        &self,
        identity: &Identity,
        presented: &str,
        verdict: &Verdict,
    ) -> Result<Option<String>, EngineError> {
        let Some(rejection) = verdict.rejection() else { return Ok(None) };
        // What is for somebody else, or for another question of ours, is not ours to answer.
        if matches!(rejection.code, Code::AudMismatch | Code::NonceMismatch) {
            return Ok(None);
        }
        // Nor is anything said against what was accepted: two signed statements of ours never contradict each other.
        if self.former(identity, presented).await?.is_some() {
            return Ok(None);
        }
        // What cannot even be taken apart has no name that a receipt could carry.
        let Ok(hashes) = reference_hashes(presented) else { return Ok(None) };
        let tenant = self.tenant(&identity.tenant)?;
        let failure = Failure {
            error: rejection.ap2_error().as_str().to_owned(),
            error_description: rejection.code().to_owned(),
        };
        let receipt = Receipt {
            issuer: tenant.issuer.clone(),
            issued_at_seconds: self.clock.now().seconds(),
            reference: hashes.sd_hash,
            answer: Answer::NotOrdered { failure },
        };
        let unsigned = receipt.unsigned(&tenant.receipts.public().key_id());
        Ok(Some(tenant.receipts.sign(unsigned).await?))
    }
}

fn merchant_keys(tenant: &crate::tenant::Tenant) -> Result<KeySet, EngineError> {
    let keys = tenant.merchants.values().map(|merchant| merchant.signer.public().clone());
    Ok(KeySet::new(keys)?)
}
