//! The vault by UCP: a card is left for a checkout (`/tokenize`), and may be handed out once to the merchant who takes it upon
//! itself (`/detokenize`).
//!
//! What is left is an allowance like any other, under the agent's mandate. Where the request does not say how much, it is the
//! total of the checkout, which then is one of this service's shops'.
//!
//! A card that is handed out is a signed cheque: from just before on, everything that the token holds is committed, no expiry
//! touches it, and this service asks its processor for nothing. What became of it is said by the processor's notice or its
//! settlement file, under the payment and the key that were handed out with the card.

use commerce::acp::Card;
use commerce::tokenize::{Binding, Most, TOKEN_SECONDS, Tokenization};
use ledger::command::{Attempt, Command};
use ledger::id::{BudgetId, CallerKind, Digest, Micros};
use ledger::money::Amount;
use ledger::spend::SpendState;
use serde::{Deserialize, Serialize};

use super::answer::order_key;
use super::delegate::purchase;
use super::redeem::{KeptRedemption, RELEASE_TYPE, Standing, check_open, session, standing};
use super::{Delegated, Delegation, Found, VaultError, vault};
use crate::consent::{forbidden, to_document};
use crate::error::EngineError;
use crate::rate::authority_from_minor;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

/// `POST /tokenize`.
#[derive(Debug)]
pub struct Tokenizing<'a> {
    pub request: &'a Tokenization,
    /// `Idempotency-Key`. Without one the request itself is the key.
    pub key: Option<&'a str>,
    /// The mandate that the caller's access token names.
    pub mandate: Option<BudgetId>,
}

/// `POST /detokenize`.
#[derive(Debug)]
pub struct Detokenizing<'a> {
    pub token: &'a str,
    pub binding: &'a Binding,
    /// `Idempotency-Key`: under it the card is handed out again to whom it was. Without one it is handed out once.
    pub key: Option<&'a str>,
}

/// A card that was handed out, and what its capture goes by.
#[derive(Debug)]
pub struct Detokenized {
    pub card: Card,
    pub payment: ledger::id::SpendId,
    /// What the processor is to call the order: its notice and its settlement file are found by it.
    pub capture_key: String,
}

/// What is written down before a card is handed out. `released` has a name of its own: a release that knows redemptions alone
/// must not read it as one, and ask a processor for what the merchant charges.
#[derive(Debug, Serialize, Deserialize)]
struct Release {
    r#type: String,
    payment: ledger::id::SpendId,
    merchant: String,
    released: Amount,
    currency: String,
    key: Digest,
}

impl Engine {
    pub async fn tokenize(&self, identity: &Identity, asked: &Tokenizing<'_>) -> Result<Delegated, EngineError> {
        if identity.caller.kind != CallerKind::Agent {
            return Err(forbidden("an agent", identity));
        }
        let tenant = self.tenant(&identity.tenant)?;
        vault(&tenant)?;
        let request = asked.request;
        let own = || tenant.secret.seal("purser/tokenize-key/1", request.expose_canonical()).to_string();
        let key = asked.key.map_or_else(own, str::to_owned);
        let (_, spend) = purchase(&tenant, identity, &key)?;
        // A retry gets its token though the checkout may be over by now.
        if let Some(known) = self.known_token(identity, &tenant, spend, request.expose_canonical()).await? {
            return Ok(known);
        }
        let merchant_id = request.binding.identity.as_deref().ok_or(VaultError::BindingIdentityMissing)?;
        let most = match &request.most {
            Some(most) => most.clone(),
            None => self.total_of(&tenant, merchant_id, &request.binding.checkout_id).await?,
        };
        let now = self.clock.now();
        let ends = now.0.saturating_add(Micros::from_seconds(TOKEN_SECONDS).0);
        let mut allowed = request.allowed(merchant_id, &most, ends);
        if let Some(mandate) = &request.mandate {
            allowed.metadata.insert("mandate".to_owned(), mandate.clone());
        }
        self.delegate_payment(identity, &Delegation { request: &allowed, key: &key, mandate: asked.mandate }).await
    }

    /// What a checkout of this service's shop comes to, where the merchant that the agent names has that shop.
    async fn total_of(&self, tenant: &Tenant, merchant_id: &str, checkout: &str) -> Result<Most, EngineError> {
        let unknown = || VaultError::AllowanceMissing { checkout: crate::error::shortened(checkout) };
        let payee = tenant.payees.acp(merchant_id);
        let payee = payee.ok_or_else(|| VaultError::MerchantUnknown { found: crate::error::shortened(merchant_id) })?;
        let (shop, merchant) = payee.acp.redeemer.as_ref().ok_or_else(unknown)?;
        let total = self.checkout_total(shop, merchant, checkout).await?;
        let (amount, currency) = total.ok_or_else(unknown)?;
        if amount == 0 {
            return Err(unknown().into());
        }
        Ok(Most { amount: Amount::new(amount.into()), currency })
    }

    pub async fn detokenize(&self, identity: &Identity, asked: &Detokenizing<'_>) -> Result<Detokenized, EngineError> {
        let found = self.find_token(identity, asked.token).await?;
        if identity.caller.kind != CallerKind::Merchant {
            return Err(forbidden("the merchant of the token", identity));
        }
        check(&found, asked.binding)?;
        let allowance = &found.allowed()?.allowance;
        let key = match asked.key {
            Some(key) => Digest::of(key.as_bytes()),
            None => Digest(self.entropy.bytes()?),
        };
        let release = Release {
            r#type: RELEASE_TYPE.into(),
            payment: found.spend.id,
            merchant: found.identity.caller.principal.to_string(),
            released: allowance.max_amount,
            currency: allowance.currency.clone(),
            key,
        };
        let document = to_document("card-release", &release)?;
        let attempt = Attempt { document: document.digest(), amount: authority_from_minor(allowance.max_amount)? };
        let _in_hand = self.busy.take(found.spend.id, Some(attempt.document))?;
        let records = self.store.records_of_spend(&found.identity.tenant, found.spend.id).await?;
        let (found, card) = match standing(records.iter().map(|(_, record)| record), attempt.document) {
            Standing::Answered(_) => {
                let first = format!("a card that was handed out and is {}", found.spend.state);
                return Err(VaultError::TokenUsed { first, found: "the card".to_owned() }.into());
            }
            Standing::UnderWay => {
                let card = self.open_card(&found).await?;
                (found, card)
            }
            Standing::New { before } => {
                check_open(&found, before, || "the card".to_owned())?;
                let card = self.open_card(&found).await?;
                let redeem = Command::Redeem { spend: found.spend.id, attempt, cart: session(&found)? };
                let after = self.run(&found.identity, redeem, vec![document]).await?.spend;
                (found.after(after)?, card)
            }
        };
        if !matches!(found.spend.state, SpendState::Committed | SpendState::Unknown) {
            let found = found.spend.state.to_string();
            return Err(VaultError::TokenState { expected: "committed", found }.into());
        }
        tracing::info!(payment = %found.spend.id, merchant = %found.identity.caller.principal, "a card was handed out");
        let capture_key = order_key(&found, &attempt.document);
        Ok(Detokenized { card: card.card, payment: found.spend.id, capture_key })
    }
}

impl KeptRedemption {
    /// Whether the card was handed out: then the merchant charges it, and this service asks nobody.
    pub(super) fn is_release(&self) -> bool {
        self.r#type == RELEASE_TYPE
    }
}

/// The merchant has taken upon itself to receive cards, and names what the token is bound to.
fn check(found: &Found, binding: &Binding) -> Result<(), EngineError> {
    let allowance = &found.allowed()?.allowance;
    let payee = found.tenant.payees.acp(&allowance.merchant_id);
    if !payee.is_some_and(|payee| payee.acp.receives_cards) {
        return Err(VaultError::CardsNotReceived { merchant: allowance.merchant_id.clone() }.into());
    }
    if binding.checkout_id != allowance.checkout_session_id {
        let expected = allowance.checkout_session_id.clone();
        let found = crate::error::shortened(&binding.checkout_id);
        return Err(VaultError::SessionMismatch { expected, found }.into());
    }
    // Left out it is the caller, whose token this is.
    if let Some(identity) = binding.identity.as_deref().filter(|identity| *identity != allowance.merchant_id) {
        let (expected, found) = (allowance.merchant_id.clone(), crate::error::shortened(identity));
        return Err(VaultError::BindingMismatch { expected, found }.into());
    }
    Ok(())
}
