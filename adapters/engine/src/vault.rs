//! The vault: an agent leaves a card and an allowance, a merchant gets a token for it and redeems it once (ACP 2026-04-17,
//! delegate payment; how a token is redeemed ACP leaves to the payment processor). UCP's way in is [`tokenize`].
//!
//! A token is one more right to move money under the same book, so it goes the way of every other:
//!
//! 1. Close the agent's mandate over the allowance, for ourselves, and verify the whole chain.
//! 2. Hold the most that the merchant may take: limit on every ancestor, claims of key and token, sealed card, books and
//!    journal, in one unit. Only then is the token given out.
//! 3. Its merchant redeems it: mandate and stops are looked at again, the attempt is written down, and only then is the
//!    processor asked.
//! 4. What the processor says posts it, with a signed receipt, and gives the rest back; a refusal leaves the token as it was.
//!    Where it says nothing the payment is unknown and stays held, until the processor answers the same question, its signed
//!    notice comes, or its settlement file is taken at its word.
//!
//! A token is derived from the tenant's secret and the purchase, so a retry gets the same one and none is stored; the book
//! knows its hash. ACP says nothing of mandates: `metadata.mandate` names one, or the caller's access token does.

mod answer;
mod busy;
mod delegate;
mod heard;
mod redeem;
mod refund;
mod sessions;
mod settle;
mod tokenize;

use std::sync::Arc;

use async_trait::async_trait;
use commerce::acp::{Allowance, Card, CardFace, Refusal};
use ledger::claim::{ClaimKey, ClaimOutcome};
use ledger::id::{Digest, PrincipalId, SpendId, TenantId};
use ledger::money::Amount;
use ledger::spend::{Authorization, Spend, VAULT_NETWORK};
use mandates::base64url;
use mandates::canonical::canonical;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use self::answer::KeptAnswer;
pub(crate) use self::busy::Busy;
pub use self::delegate::{Delegated, Delegation};
pub use self::heard::{OrderHeard, OrderSecret, is_overdue};
pub use self::redeem::{Redeemed, Redemption, TokenView};
pub use self::refund::Refunding;
pub(crate) use self::sessions::Taken;
pub use self::settle::Notice;
pub use self::tokenize::{Detokenized, Detokenizing, Tokenizing};
use crate::consent::fiat;
use crate::error::EngineError;
use crate::evidence::{Bundle, Rail};
use crate::ports::{Relayed, SignError};
use crate::tenant::{Payee, Tenant};
use crate::{Engine, Identity};

/// What a tenant needs to be a vault.
#[derive(Clone)]
pub struct Vault {
    pub processor: Arc<dyn Processor>,
    pub seal: Arc<dyn CardSeal>,
}

/// What a payee is called in ACP, and who redeems its tokens.
#[derive(Clone, Debug, Default)]
pub struct AcpPayee {
    /// Every `merchant_id` that means it.
    pub ids: Vec<String>,
    /// A principal of this service, maybe of another tenant: that of the merchant.
    pub redeemer: Option<(TenantId, PrincipalId)>,
    /// Whether it has taken upon itself to be handed cards (UCP, `/detokenize`).
    pub receives_cards: bool,
    /// What it signs with what it tells of orders, where that is taken.
    pub orders: Option<Arc<dyn OrderSecret>>,
}

/// Keeps cards. What is sealed for one payment opens for that payment only.
pub trait CardSeal: Send + Sync {
    fn seal(&self, payment: SpendId, card: &[u8]) -> Result<Vec<u8>, SignError>;
    fn open(&self, payment: SpendId, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SignError>;
}

/// What a processor is asked to capture.
#[derive(Debug)]
pub struct CaptureOrder<'a> {
    /// The same attempt has the same key, for ever: whoever asks again gets the same answer.
    pub key: &'a str,
    pub payment: SpendId,
    pub merchant_id: &'a str,
    /// Minor units.
    pub amount: Amount,
    pub currency: &'a str,
    pub card: &'a Card,
}

#[derive(Debug)]
pub struct RefundOrder<'a> {
    pub key: &'a str,
    /// What the processor calls the capture.
    pub capture: &'a str,
    pub amount: Amount,
    pub currency: &'a str,
}

/// What a processor says of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum ProcessorAnswer {
    /// `id` is the processor's name for it, `network_id` the card network's.
    Done { id: String, network_id: String, amount: Amount, currency: String },
    /// Nothing was taken, and nothing will be under this key.
    Declined { code: String, message: String },
}

/// A payment processor (acquirer). Every order has a key under which it is done once, however often it is asked.
#[async_trait]
pub trait Processor: Send + Sync {
    async fn capture(&self, order: &CaptureOrder<'_>) -> Relayed<ProcessorAnswer>;
    async fn refund(&self, order: &RefundOrder<'_>) -> Relayed<ProcessorAnswer>;
    /// What it tells by itself, where this is its own and of now.
    fn read_notice(&self, signature: &str, body: &[u8], now: i64) -> Option<Notice>;
}

/// What a card is sealed as.
#[derive(Serialize, Deserialize)]
struct SealedCard {
    card: Card,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    billing_address: Option<mandates::json::Object>,
}

/// The allowance as it was taken, kept with the evidence of its payment. The card is apart from it, by digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Allowed {
    pub allowance: Allowance,
    pub card: CardFace,
    /// The sealed card, a document of its own.
    pub sealed: Digest,
    /// RFC 3339.
    pub created: String,
    /// As it was given back to the agent.
    pub metadata: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error(transparent)]
    Acp(#[from] Refusal),
    #[error("a request with this Idempotency-Key is being processed; try again in a second")]
    InFlight,
    #[error("a token that nobody works on was expected, another request about this one is; try again in a second")]
    Busy,
    #[error("metadata.mandate or an access token that names a mandate was expected, neither came")]
    MandateMissing,
    #[error("binding.identity.access_token was expected to name the merchant that the token is for, nothing came")]
    BindingIdentityMissing,
    #[error("the token is bound to {expected}, {found} was named")]
    BindingMismatch { expected: String, found: String },
    #[error(
        "an allowance, or a checkout of that merchant's shop here, was expected; {checkout} is none that costs something"
    )]
    AllowanceMissing { checkout: String },
    #[error("a merchant that is handed cards was expected, {merchant} is not: it captures here")]
    CardsNotReceived { merchant: String },
    #[error("a merchant of the payee registry was expected, {found} is none")]
    MerchantUnknown { found: String },
    #[error("a vault token of this merchant's was expected, there is none like it")]
    TokenUnknown,
    #[error("the token is for the checkout session {expected}, {found} was named")]
    SessionMismatch { expected: String, found: String },
    #[error("the token is for {expected}, {found} was asked for")]
    CurrencyMismatch { expected: String, found: String },
    #[error("at most {limit} was expected, {requested} was asked for")]
    AmountExceedsAllowance { requested: Amount, limit: Amount },
    #[error("this token was redeemed before, for {first}; now {found} was asked for")]
    TokenUsed { first: String, found: String },
    #[error("at most {limit} attempts to redeem a token were expected, this would be another")]
    AttemptsExhausted { limit: usize },
    #[error("a token that is {expected} was expected, it is {found}")]
    TokenState { expected: &'static str, found: String },
    #[error("a refund that the processor makes was expected, it said {code}")]
    RefundDeclined { code: String },
    #[error("a notice that the payment processor signed was expected, another one came")]
    NoticeUnsigned,
    #[error("an answer about an attempt that is under way was expected; of {payment} the book says {found}")]
    NoticeContradicts { payment: SpendId, found: String },
    #[error("a message that the shop signed within five minutes was expected, another one came")]
    OrderUnsigned,
    #[error("{0}")]
    OrderUnreadable(String),
    #[error("an order of a session that was paid here was expected, one of {session} came")]
    OrderUnknown { session: String },
    #[error("at most {limit} messages about one session were expected, this would be another")]
    OrderTooMany { limit: u64 },
}

impl VaultError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Acp(refusal) => refusal.code,
            Self::InFlight => "idempotency_in_flight",
            Self::Busy => "token_in_progress",
            Self::MandateMissing => "mandate_missing",
            Self::BindingIdentityMissing => "binding_identity_missing",
            Self::BindingMismatch { .. } => "binding_mismatch",
            Self::AllowanceMissing { .. } => "allowance_missing",
            Self::CardsNotReceived { .. } => "cards_not_received",
            Self::MerchantUnknown { .. } => "merchant_unknown",
            Self::TokenUnknown => "token_unknown",
            Self::SessionMismatch { .. } => "checkout_session_mismatch",
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::AmountExceedsAllowance { .. } => "amount_exceeds_allowance",
            Self::TokenUsed { .. } => "token_used",
            Self::AttemptsExhausted { .. } => "attempts_exhausted",
            Self::TokenState { .. } => "token_state",
            Self::RefundDeclined { .. } => "refund_declined",
            Self::NoticeUnsigned => "notice_unsigned",
            Self::NoticeContradicts { .. } => "notice_contradicts",
            Self::OrderUnsigned => "order_event_unsigned",
            Self::OrderUnreadable(_) => "order_event_unreadable",
            Self::OrderUnknown { .. } => "order_event_unknown",
            Self::OrderTooMany { .. } => "order_events_exhausted",
        }
    }
}

/// A token and all that hangs on it.
struct Found {
    /// Whoever asks, as the book of the token's tenant calls them.
    identity: Identity,
    tenant: Arc<Tenant>,
    spend: Spend,
    bundle: Bundle,
}

impl Found {
    fn allowed(&self) -> Result<&Allowed, EngineError> {
        allowed(&self.bundle)
    }

    fn vault(&self) -> Result<&Vault, EngineError> {
        vault(&self.tenant)
    }
}

fn allowed(bundle: &Bundle) -> Result<&Allowed, EngineError> {
    match &bundle.rail {
        Rail::Vault(allowed) => Ok(allowed),
        _ => Err(EngineError::Broken("a vault token with the evidence of another rail".into())),
    }
}

fn vault(tenant: &Tenant) -> Result<&Vault, EngineError> {
    tenant.vault.as_ref().ok_or(EngineError::NotConfigured("vault"))
}

/// What the closed payment mandate names as its transaction: there is no cart that a merchant signed, so it is the
/// allowance itself.
pub(crate) fn transaction_id(allowance: &Allowance) -> Result<String, EngineError> {
    let value = serde_json::to_value(allowance).map_err(|error| EngineError::Broken(error.to_string()))?;
    Ok(base64url::encode(&Digest::of_parts("purser/acp-allowance/1", &[canonical(&value)?.as_bytes()]).0))
}

/// Of a purchase, and of the tenant's secret: nobody can guess one, and the same purchase has the same.
fn token(tenant: &Tenant, payment: SpendId) -> String {
    format!("vt_{}", tenant.secret.seal("purser/vault-token/1", &payment.0))
}

/// The right to move money that a token is. Who pays, in the books, is whoever's card it is.
fn authorization(currency: &str, token: &str) -> Result<Authorization, EngineError> {
    Ok(Authorization {
        network: VAULT_NETWORK.to_owned(),
        asset: fiat(currency)?,
        payer: "external".to_owned(),
        nonce: Digest::of(token.as_bytes()).0,
    })
}

impl Engine {
    /// The token in whichever vault it is, for whoever may know of it: its merchant, the agent that asked for it.
    async fn find_token(&self, identity: &Identity, token: &str) -> Result<Found, EngineError> {
        for tenant in self.tenants().into_iter().filter(|tenant| tenant.vault.is_some()) {
            let key = ClaimKey::Authorization(authorization(&tenant.currency, token)?);
            let Some(claim) = self.store.claim(&tenant.id, &key).await? else { continue };
            let ClaimOutcome::Spend(id) = claim.outcome else { continue };
            return self.found(identity, tenant, id).await;
        }
        Err(VaultError::TokenUnknown.into())
    }

    /// The sealed card of a payment, apart from its evidence.
    pub(crate) async fn sealed_card(&self, tenant: &TenantId, spend: &Spend) -> Result<Option<Digest>, EngineError> {
        if spend.authorization.rail() != ledger::spend::Rail::Vault {
            return Ok(None);
        }
        let Some(document) = self.store.document(tenant, spend.evidence).await? else { return Ok(None) };
        let text = String::from_utf8(document.bytes).map_err(|_| EngineError::Broken("evidence is no text".into()))?;
        let bundle = Bundle::parse(&text);
        let bundle = bundle.map_err(|error| EngineError::Broken(format!("evidence cannot be read: {error}")))?;
        Ok(Some(allowed(&bundle)?.sealed))
    }

    async fn found(&self, identity: &Identity, tenant: Arc<Tenant>, id: SpendId) -> Result<Found, EngineError> {
        let spend = self.store.spend(&tenant.id, id).await?;
        let spend =
            spend.ok_or_else(|| EngineError::Broken(format!("a token names spend {id}, which is not there")))?;
        let own = Identity { tenant: tenant.id.clone(), caller: identity.caller.clone() };
        let bundle = self.bundle(&own, &spend).await?;
        let merchant_id = &allowed(&bundle)?.allowance.merchant_id;
        let redeemer = tenant.payees.acp(merchant_id).and_then(|payee| payee.acp.redeemer.as_ref());
        let is_merchant = redeemer.is_some_and(|(of, principal)| {
            *of == identity.tenant
                && *principal == identity.caller.principal
                && identity.caller.kind == ledger::id::CallerKind::Merchant
        });
        let identity = if is_merchant {
            in_book_of(&tenant, identity)?
        } else if identity.tenant == tenant.id && bundle.agent == identity.caller.principal {
            own
        } else {
            return Err(VaultError::TokenUnknown.into());
        };
        Ok(Found { identity, tenant, spend, bundle })
    }
}

/// The merchant, who is a principal of another tenant, under a name that no principal of this one has.
fn in_book_of(tenant: &Tenant, identity: &Identity) -> Result<Identity, EngineError> {
    let mut caller = identity.caller.clone();
    let name = format!("{}:{}", identity.tenant, caller.principal);
    caller.principal = name.parse().map_err(|_| EngineError::Broken(format!("`{name}` is no principal")))?;
    Ok(Identity { tenant: tenant.id.clone(), caller })
}

/// A payee by any of the names that ACP has for it.
impl crate::tenant::Payees {
    pub fn acp(&self, merchant_id: &str) -> Option<&Payee> {
        self.all().find(|payee| payee.acp.ids.iter().any(|id| id == merchant_id))
    }
}
