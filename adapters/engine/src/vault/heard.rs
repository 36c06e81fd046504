//! What a shop tells afterwards of what was bought from it with a vault's token (ACP 2026-04-17, order webhooks).
//!
//! The rule: it is kept beside the payment as what the shop says, and moves neither money nor budget. Money is given back when
//! the payment processor says so ([`super::refund`]), and then, and only then, it is posted; whether it can be spent again the
//! mandate and the caps say. Until then the book has it as a promise: what the shop says in all (refunds, credits,
//! cancellations, disputes; all of it where the order is cancelled), less what came, is a pending transfer, at most what was
//! captured. What comes ends it; what the shop says last is what counts.

use commerce::acp_buyer::Told;
use commerce::store::{Heard, Hearing};
use ledger::command::Command;
use ledger::id::{Digest, SpendId, TenantId};
use ledger::money::Amount;
use ledger::spend::{Announced, SpendState};

use super::{VaultError, allowed};
use crate::book::service;
use crate::consent::to_document;
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
    /// What it announced and did not come.
    pub outstanding: Option<Announced>,
}

/// What a consumer is given to reimburse at most (Directive 2011/83/EU, article 13): a promise that is older is overdue.
const REFUND_SECONDS: i64 = 14 * 24 * 3_600;

/// Whether what was announced should have come by now.
pub fn is_overdue(announced: &Announced, now_seconds: i64) -> bool {
    announced.since.seconds().saturating_add(REFUND_SECONDS) <= now_seconds
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
        let attempts = self.attempts(tenant, payee, &told.session).await?;
        if attempts.is_empty() {
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
            Hearing::New | Hearing::Known => {}
            Hearing::TooMany => return Err(VaultError::OrderTooMany { limit: commerce::store::HEARD_MAX }.into()),
        }
        // An older message that comes again is not what the shop says now.
        match last_of(&sessions.heard(tenant, payee.id.as_str(), &told.session).await?)? {
            Some((_, last)) => self.announce(tenant, &last, attempts).await,
            None => Ok(()),
        }
    }

    /// Where nothing is captured yet there is nothing to give back.
    async fn announce(&self, tenant: &TenantId, told: &Told, attempts: Vec<SpendId>) -> Result<(), EngineError> {
        let identity = service(tenant, "shop")?;
        let refunds = match told.announced() {
            Some(minor) => authority_from_minor(Amount::new(minor.into()))?,
            None => Amount::MAX,
        };
        for spend in attempts {
            let found = self.store.spend(tenant, spend).await?;
            if found.is_some_and(|found| found.state == SpendState::Settled) {
                let document = to_document("order-told", told)?;
                let announce = Command::Announce { spend, refunds, document: document.digest() };
                self.run(&identity, announce, vec![document]).await?;
            }
        }
        Ok(())
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
        let Some((at, told)) = last_of(&heard)? else { return Ok(None) };
        let said_refunded = told.refunded();
        let said = authority_from_minor(Amount::new(said_refunded.into()))?;
        let (count, is_in_book, outstanding) = (heard.len(), spend.refunded >= said, spend.announced);
        Ok(Some(OrderHeard { at, told, count, said_refunded, is_in_book, outstanding }))
    }
}

fn last_of(heard: &[(i64, Vec<u8>)]) -> Result<Option<(i64, Told)>, EngineError> {
    let Some((at, document)) = heard.last() else { return Ok(None) };
    let told = serde_json::from_slice(document)
        .map_err(|error| EngineError::Broken(format!("what a shop told cannot be read: {error}")))?;
    Ok(Some((*at, told)))
}
