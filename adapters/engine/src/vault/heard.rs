//! What a shop tells afterwards of what was bought from it with a vault's token (ACP 2026-04-17, order webhooks).
//!
//! The rule: it is kept beside the payment as what the shop says, and moves nothing, neither money nor budget. Money is given
//! back when the payment processor says so ([`super::refund`]), and then, and only then, the book posts it; whether it can be
//! spent again the mandate and the caps say. Where a shop says that it gave back more than came, both figures are shown.

use commerce::acp_buyer::Told;
use commerce::store::{Heard, Hearing};
use ledger::id::{Digest, SpendId, TenantId};
use ledger::money::Amount;

use super::{VaultError, allowed};
use crate::error::EngineError;
use crate::rate::authority_from_minor;
use crate::{Engine, Identity};

/// What a shop signs its messages with.
pub trait OrderSecret: Send + Sync + std::fmt::Debug {
    /// Whether `Merchant-Signature` is of this body, and of about now.
    fn is_signed(&self, signature: &str, body: &[u8], now_seconds: i64) -> bool;
}

/// What was told of a payment's order last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderHeard {
    /// Unix seconds.
    pub at: i64,
    pub told: Told,
    /// How often something was told.
    pub count: usize,
    /// In minor units: what the shop says that it gave back.
    pub said_refunded: u64,
    /// Whether the book has at least as much.
    pub is_in_book: bool,
}

impl Engine {
    /// Takes a message of a shop's. Told again it changes nothing.
    pub async fn hear_order(
        &self,
        tenant: &TenantId,
        payee: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<(), EngineError> {
        let found = self.tenant(tenant)?;
        let unknown = || EngineError::NotFound { what: "shop", id: crate::error::shortened(payee) };
        let payee = found.payees.all().find(|known| known.id.as_str() == payee).ok_or_else(unknown)?;
        let secret = payee.acp.orders.as_ref().ok_or_else(unknown)?;
        let now = self.clock.now().seconds();
        if !secret.is_signed(signature, body, now) {
            return Err(VaultError::OrderUnsigned.into());
        }
        let told = Told::read(body).map_err(|unmet| VaultError::OrderUnreadable(unmet.message))?;
        if self.attempts(tenant, payee, &told.session).await?.is_empty() {
            return Err(VaultError::OrderUnknown { session: crate::error::shortened(&told.session) }.into());
        }
        let parts = [payee.id.as_str().as_bytes(), told.order.as_bytes(), body];
        let heard = Heard {
            digest: Digest::of_parts("purser/order-heard/1", &parts),
            payee: payee.id.as_str().to_owned(),
            session: told.session.clone(),
            at: now,
            document: serde_json::to_vec(&told).map_err(|error| EngineError::Broken(error.to_string()))?,
        };
        let sessions = self.sessions.get().ok_or(EngineError::NotConfigured("place for orders"))?;
        match sessions.hear(tenant, heard).await? {
            Hearing::New | Hearing::Known => Ok(()),
            Hearing::TooMany => Err(VaultError::OrderTooMany { limit: commerce::store::HEARD_MAX }.into()),
        }
    }

    /// What the shop told of a payment of the caller's; nothing where it told nothing, or the payment is on another rail.
    pub async fn order_heard(&self, identity: &Identity, id: SpendId) -> Result<Option<OrderHeard>, EngineError> {
        let spend = self.own_spend(identity, id).await?;
        if spend.authorization.rail() != ledger::spend::Rail::Vault {
            return Ok(None);
        }
        let bundle = self.bundle(identity, &spend).await?;
        let allowance = &allowed(&bundle)?.allowance;
        let tenant = self.tenant(&identity.tenant)?;
        let Some(payee) = tenant.payees.acp(&allowance.merchant_id) else { return Ok(None) };
        let sessions = self.sessions.get().ok_or(EngineError::NotConfigured("place for orders"))?;
        let heard = sessions.heard(&tenant.id, payee.id.as_str(), &allowance.checkout_session_id).await?;
        let Some((at, document)) = heard.last() else { return Ok(None) };
        let told: Told = serde_json::from_slice(document)
            .map_err(|error| EngineError::Broken(format!("what a shop told cannot be read: {error}")))?;
        let said_refunded = told.refunded();
        let said = authority_from_minor(Amount::new(said_refunded.into()))?;
        Ok(Some(OrderHeard { at: *at, told, count: heard.len(), said_refunded, is_in_book: spend.refunded >= said }))
    }
}
