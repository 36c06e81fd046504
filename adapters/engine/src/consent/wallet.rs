//! A person's wallet signs the mandate itself: with the credential that its issuer gave the person, over exactly what the
//! approval page shows (OpenID4VP 1.0, AP2's `delegate` transaction data).
//!
//! The nonce is made of the digest of the document, which has the random name of the decision in it: one for each question,
//! and whoever has the evidence can say which question a signature was for. A question is answered once, so a nonce is.
//!
//! It comes beside the answer, never instead of it: whatever an answer takes otherwise, it takes all the same.

use ledger::id::{CallerKind, DecisionId, Digest};
use mandates::base64url;
use mandates::json::Object;
use mandates::keys::KeySet;
use mandates::mandate::{Mandate, Vct};
use mandates::openid4vp::{Card, Delegation, Taking};
use mandates::trust::{self, Named, Roots};
use mandates::verify::verify;

use super::{IntentDocument, Question, forbidden};
use crate::error::EngineError;
use crate::mint::{Minted, WALLET_SKEW_SECONDS};
use crate::tenant::{Tenant, UserCredentials};
use crate::{Engine, Identity};

/// How old a wallet's answer may be.
const ANSWER_SECONDS_MAX: u32 = 300;
const NONCE_TAG: &str = "purser/delegation-nonce/1";

/// What a wallet is asked for.
#[derive(Clone, Debug)]
pub struct WalletRequest {
    /// The argument of `navigator.credentials.get`, `digital`.
    pub request: Object,
    /// The page that may ask: the answer is for nobody else.
    pub origin: String,
    pub nonce: String,
    /// What the answer to the question names.
    pub digest: Digest,
    /// Unix seconds.
    pub expires_at: i64,
}

/// Both mandates of a wallet's answer.
pub(super) struct Signed {
    pub minted: Minted,
    /// Of the issuer of the credential, where it is named by a `kid`: for the evidence.
    pub issuer_key: Option<Object>,
}

struct Asked {
    mandates: [Mandate; 2],
    nonce: String,
    card: Option<(String, String)>,
    expires_at: i64,
}

/// What a wallet signs beside the mandates of this question.
pub(crate) fn nonce(tenant: &str, subject: Digest) -> String {
    base64url::encode(&Digest::of_parts(NONCE_TAG, &[tenant.as_bytes(), &subject.0]).0)
}

/// Whom it answers (OpenID4VP 1.0, appendix A.4).
fn audience(origin: &str) -> String {
    format!("origin:{origin}")
}

impl Engine {
    /// What the person's wallet is to be asked, for an open question about a mandate.
    pub async fn delegation(&self, identity: &Identity, id: DecisionId) -> Result<WalletRequest, EngineError> {
        if identity.caller.kind != CallerKind::User {
            return Err(forbidden("a person", identity));
        }
        let tenant = self.tenant(&identity.tenant)?;
        let credentials = credentials(&tenant)?;
        let origin = self.pages()?.party()?.origin.clone();
        let digest = self.approval(identity, id).await?.decision.subject;
        let asked = self.asked_of_wallet(identity, &tenant, id, digest).await?;
        let request = with_delegation(credentials, &asked, |delegation| delegation.request())?;
        Ok(WalletRequest { request, origin, nonce: asked.nonce, digest, expires_at: asked.expires_at })
    }

    /// Whether people of this tenant may sign with a credential of theirs.
    pub fn takes_credentials(&self, identity: &Identity) -> bool {
        self.tenant(&identity.tenant).is_ok_and(|tenant| tenant.user_credentials.is_some())
    }

    /// A wallet's answer, held against what it was asked and verified as any mandate that is paid under.
    pub(super) async fn signed_by_wallet(
        &self,
        identity: &Identity,
        id: DecisionId,
        subject: Digest,
        presentation: &Object,
    ) -> Result<Signed, EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        let credentials = credentials(&tenant)?;
        let source = tenant.trust.as_ref().ok_or(EngineError::NotConfigured("trust file"))?;
        let audience = audience(&self.pages()?.party()?.origin);
        let asked = self.asked_of_wallet(identity, &tenant, id, subject).await?;
        let presented =
            with_delegation(credentials, &asked, |delegation| delegation.presented(presentation).map(str::to_owned))?;
        let trusted = source.roots_for(&presented).await;
        let taking = Taking {
            clock: self.mandate_clock(WALLET_SKEW_SECONDS),
            trusted: trusted.as_ref(),
            audience: &audience,
            age_seconds_max: ANSWER_SECONDS_MAX,
        };
        let taken = with_delegation(credentials, &asked, |delegation| delegation.take(presentation, &taking))?;
        let chain = |wanted| {
            let found = taken.chains.iter().find(|(vct, _)| *vct == wanted).map(|(_, chain)| chain.clone());
            found.ok_or_else(|| EngineError::Broken(format!("no {wanted} in what a wallet signed")))
        };
        let minted = self.minted(&tenant, chain(Vct::OpenPayment)?, chain(Vct::OpenCheckout)?).await?;
        let issuer_key = self.issuer_key(&minted.payment, trusted.as_ref());
        Ok(Signed { minted, issuer_key })
    }

    async fn asked_of_wallet(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        id: DecisionId,
        subject: Digest,
    ) -> Result<Asked, EngineError> {
        let approval = self.approval(identity, id).await?;
        self.check_approvable(identity, &approval, subject)?;
        let Question::Intent(document) = &approval.document else {
            let expected = "nothing beside the answer to a question that opens no mandate";
            return Err(EngineError::invalid("presentation", expected, "a wallet's"));
        };
        let above = match &document.standing {
            Some(standing) => Some(self.mandate(identity, standing.under).await?),
            None => None,
        };
        let mandates = self.open_mandates(tenant, document, above.as_ref()).await?;
        let nonce = nonce(tenant.id.as_str(), subject);
        let expires_at = approval.decision.expires_at.seconds();
        Ok(Asked { mandates, nonce, card: card(document), expires_at })
    }

    /// The key that the credential verifies under, as a JWK.
    fn issuer_key(&self, chain: &str, trusted: &dyn Roots) -> Option<Object> {
        let named = Named { kid: trust::root_kid(chain), x5c: None, now_seconds: self.clock.now().seconds() };
        let mut candidates = trusted.candidates(&named).ok()?.into_iter().map(|candidate| candidate.key);
        let key = candidates.find(|key| {
            let alone = KeySet::new([key.clone()]);
            alone.is_ok_and(|alone| verify(chain, &self.on_its_own(&alone, WALLET_SKEW_SECONDS)).is_valid())
        });
        key.map(|key| key.to_jwk())
    }
}

fn credentials(tenant: &Tenant) -> Result<&UserCredentials, EngineError> {
    let missing = EngineError::NotConfigured("credentials that people sign with ([tenants.user_credentials])");
    tenant.user_credentials.as_ref().ok_or(missing)
}

/// For the eyes, where one payee is named: what binds is the mandates.
fn card(document: &IntentDocument) -> Option<(String, String)> {
    match document.payees.as_deref() {
        Some([payee]) => Some((payee.name.clone(), format!("{} {}", document.currency, document.total))),
        _ => None,
    }
}

fn with_delegation<T>(
    credentials: &UserCredentials,
    asked: &Asked,
    with: impl FnOnce(&Delegation<'_>) -> Result<T, mandates::rejection::Rejection>,
) -> Result<T, EngineError> {
    let vct_values: Vec<&str> = credentials.vct_values.iter().map(String::as_str).collect();
    let claims: Vec<Vec<&str>> =
        credentials.claims.iter().map(|path| path.iter().map(String::as_str).collect()).collect();
    let claims: Vec<&[&str]> = claims.iter().map(Vec::as_slice).collect();
    let card = asked.card.as_ref();
    let card = card.map(|(merchant_name, amount)| Card { merchant_name, amount, additional_info: None });
    let delegation = Delegation {
        credential_id: &credentials.id,
        vct_values: &vct_values,
        claims: &claims,
        nonce: &asked.nonce,
        mandates: &asked.mandates,
        card,
    };
    Ok(with(&delegation)?)
}
