//! What lies in the database of a session, and the merchant's signatures under it.
//!
//! Signed once, when it is written, and shown so from then on: what a mandate is closed over is byte for byte what lies
//! here.

use commerce::acp_checkout::write as acp;
use commerce::checkout::Status;
use commerce::checkout::{Protocol, Session};
use commerce::order::Order;
use commerce::store::{Counts, SessionWrite};
use commerce::ucp::negotiate::Active;
use commerce::ucp::{self, AP2, CHECKOUT, FULFILMENT};
use ledger::id::{BudgetId, Digest};
use mandates::json::Object;
use mandates::ucp::{authorization_of, unsigned};
use serde::{Deserialize, Serialize};

use super::Shopping;
use crate::Engine;
use crate::error::EngineError;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub session: Session,
    pub owner: String,
    /// What was negotiated when it was opened. With AP2 in it, it is signed and completed by mandate alone, for ever.
    pub active: Active,
    /// What mandates for it are bound to.
    pub nonce: String,
    pub signed: Option<Signed>,
    /// What it is being completed with: whoever comes with the same again goes on. A digest, and where mandates pay, what
    /// both are closed under, a space before each: to a release that knows the digest alone it is somebody else's.
    pub claim: Option<String>,
    pub receipts: Option<Receipts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    /// The checkout as UCP has it, signed: what AP2's mandates are closed over.
    pub checkout_jwt: String,
    /// `ap2.merchant_authorization` of the session as its own protocol shows it.
    pub authorization: String,
    pub audience: String,
}

/// What the merchant signed when it took the order and the money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipts {
    pub checkout: String,
    pub payment: String,
}

impl Document {
    pub fn new(session: Session, owner: String, active: Active, nonce: String) -> Self {
        Self { session, owner, active, nonce, signed: None, claim: None, receipts: None }
    }

    pub fn read(bytes: &[u8]) -> Result<Self, EngineError> {
        serde_json::from_slice(bytes)
            .map_err(|error| EngineError::Broken(format!("a checkout cannot be read: {error}")))
    }

    pub fn write(&self, from: u64, shopping: &Shopping<'_>) -> Result<SessionWrite, EngineError> {
        let document = serde_json::to_vec(self).map_err(|error| EngineError::Broken(error.to_string()))?;
        let shop = &shopping.role.shop;
        let counts = match (from, self.session.status) {
            (0, _) => {
                let opener = Digest::of_parts("purser/checkout-opener/1", &[shopping.call.opener.as_bytes()]);
                Counts::Against { opener, most: shop.sessions_max }
            }
            (_, Status::Completed) => Counts::NoMore,
            _ => Counts::AsBefore,
        };
        let order = Order::of(&self.session, &self.owner).map(|order| super::orders::written(&order, 1)).transpose()?;
        Ok(SessionWrite { id: self.session.id.clone(), from, document, due: self.session.due(shop), counts, order })
    }

    pub fn is_claimed(&self) -> bool {
        matches!(self.session.status, Status::CompleteInProgress | Status::InProgress)
    }

    pub fn is_claimed_with(&self, presented: &str) -> bool {
        self.claim.as_ref().and_then(|claim| claim.split(' ').next()) == Some(presented)
    }

    /// What the mandates that pay for it are closed under: of the checkout, of the payment.
    pub fn paid_under(&self) -> Option<(BudgetId, BudgetId)> {
        let mut words = self.claim.as_ref()?.split(' ').skip(1);
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    }

    pub fn is_locked(&self) -> bool {
        self.active.has(AP2)
    }

    /// As UCP shows it, without `ap2`. What ACP has of its own (the way it is sent) is in it in UCP's words.
    pub fn checkout(&self, shop: &commerce::checkout::Shop) -> Object {
        match self.session.protocol {
            Protocol::Ucp => ucp::write::checkout(&self.session, shop, &self.active),
            Protocol::Acp => ucp::write::checkout(&self.session, shop, &Active::of([CHECKOUT, FULFILMENT, AP2])),
        }
    }
}

impl Engine {
    /// Signs the session as it is now, where that was negotiated.
    pub(super) async fn signed(&self, shopping: &Shopping<'_>, document: Document) -> Result<Document, EngineError> {
        if !document.is_locked() {
            return Ok(document);
        }
        let (shop, signer) = (&shopping.role.shop, &shopping.merchant.signer);
        let key_id = signer.public().key_id();
        let checkout_jwt = signer.sign(unsigned(&document.checkout(shop), &key_id)?.into_unsigned()).await?;
        let authorization = match document.session.protocol {
            Protocol::Ucp => authorization_of(&checkout_jwt)?,
            Protocol::Acp => {
                let session = acp::session(&document.session, shop, acp::Security::Ap2);
                authorization_of(&signer.sign(unsigned(&session, &key_id)?.into_unsigned()).await?)?
            }
        };
        let merchant = &shopping.merchant.merchant;
        let audience = merchant.website.as_ref().unwrap_or(&merchant.id).clone();
        Ok(Document { signed: Some(Signed { checkout_jwt, authorization, audience }), ..document })
    }
}
