//! Carts: a merchant signs its checkout, and anyone can tell that it did.

use ledger::id::CallerKind;
use mandates::cart::{self, Cart};
use mandates::digest::HashAlgorithm;
use mandates::json::Object;
use mandates::keys::KeySet;
use serde_json::Value;

use crate::consent::forbidden;
use crate::error::EngineError;
use crate::{Engine, Identity};

/// A signed checkout: AP2's `checkout_jwt`, and the hash by which mandates name it.
#[derive(Clone, Debug)]
pub struct SignedCart {
    pub checkout_jwt: String,
    pub checkout_hash: String,
    pub cart: Cart,
}

impl Engine {
    /// Signs a UCP checkout for the merchant that asks. The `merchant` member is the caller's own record, whatever
    /// the checkout says.
    pub async fn sign_cart(&self, identity: &Identity, checkout: Object) -> Result<SignedCart, EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        if identity.caller.kind != CallerKind::Merchant {
            return Err(forbidden("a merchant", identity));
        }
        let principal = &identity.caller.principal;
        let role = tenant.merchants.get(principal);
        let role = role.ok_or_else(|| EngineError::NotFound { what: "merchant", id: principal.to_string() })?;
        let mut checkout = checkout;
        let own = Value::Object(role.merchant.claims());
        match checkout.get("merchant") {
            Some(stated) if *stated != own => {
                return Err(EngineError::invalid("merchant", own.to_string(), stated.to_string()));
            }
            _ => checkout.insert("merchant".into(), own),
        };
        let public = role.signer.public();
        let unsigned = cart::unsigned(&checkout, &public.key_id())?;
        let checkout_jwt = role.signer.sign(unsigned).await?;
        let keys = KeySet::new([public.clone()])?;
        let cart = cart::verify(&checkout_jwt, &keys, &self.mandate_clock(0))?;
        Ok(SignedCart { checkout_hash: cart::hash(&checkout_jwt, HashAlgorithm::Sha256), checkout_jwt, cart })
    }
}
