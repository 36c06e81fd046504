//! A cart for an order, in the form of AP2 v0.1: what is sold, for how much in money that people know, and how it is paid.

use ledger::id::{IdempotencyKey, TenantId};
use ledger::money::{Amount, AssetId};
use mandates::json::{self, Object};
use mandates::v0_1::cart::{AuthorizationTerms, CartContents};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x402::network::Network;
use x402::wire::PaymentRequirements;

use crate::Engine;
use crate::error::EngineError;
use crate::rate::{Peg, authority_digits, authority_to_major};
use crate::tenant::{MerchantRole, Tenant};

/// How a payment method of x402 is named in a cart (`a2a-x402` v0.2 section 5.3).
pub const METHOD: &str = "https://www.x402.org/";
/// AP2 v0.1 speaks of 5 to 15 minutes.
const CART_SECONDS: i64 = 900;

/// What a cart is made of.
#[derive(Clone, Copy, Debug)]
pub struct OrderTerms<'a> {
    pub order: &'a IdempotencyKey,
    pub label: &'a str,
    pub requirements: &'a PaymentRequirements,
    /// The same as x402 asks for it.
    pub demand: &'a Value,
    /// Who takes the payment.
    pub audience: &'a str,
}

impl Engine {
    /// Whether this seller can write carts for what it sells in this token: it has a merchant's key, and said what the token is
    /// worth.
    pub fn writes_carts(&self, tenant: &TenantId, requirements: &PaymentRequirements) -> Result<bool, EngineError> {
        let tenant = self.tenant(tenant)?;
        Ok(merchant(&tenant).is_some() && peg(&tenant, &asset(requirements)?).is_some())
    }

    /// The `CartMandate`, signed by the seller's merchant.
    pub async fn sign_order(&self, tenant: &TenantId, terms: &OrderTerms<'_>) -> Result<Object, EngineError> {
        let tenant = self.tenant(tenant)?;
        let role = merchant(&tenant).ok_or(EngineError::NotConfigured("merchant who signs carts"))?;
        let now = self.clock.now().seconds();
        let contents = CartContents::parse(self.contents(&tenant, role, terms, now)?.to_string().as_bytes())?;
        let jti: String = self.entropy.bytes()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let merchant = &role.merchant;
        let unsigned = contents.unsigned(&AuthorizationTerms {
            key_id: &role.signer.public().key_id(),
            issuer: merchant.website.as_ref().unwrap_or(&merchant.id),
            subject: &merchant.id,
            audience: terms.audience,
            jti: &jti,
            issued_at_seconds: now,
            expires_at_seconds: now.saturating_add(CART_SECONDS),
        })?;
        let signed = role.signer.sign(unsigned).await?;
        Ok(contents.authorized(signed)?.claims())
    }

    fn contents(
        &self,
        tenant: &Tenant,
        role: &MerchantRole,
        terms: &OrderTerms<'_>,
        now: i64,
    ) -> Result<Value, EngineError> {
        let expires = OffsetDateTime::from_unix_timestamp(now.saturating_add(CART_SECONDS)).ok();
        let expires = expires.and_then(|at| at.format(&Rfc3339).ok());
        let expires = expires.ok_or_else(|| EngineError::Broken("no time is left for a cart".into()))?;
        let total = json!({ "label": terms.label, "amount": self.price(tenant, terms.requirements)? });
        let order = terms.order.as_str();
        Ok(json!({
            "id": order,
            "user_cart_confirmation_required": false,
            "payment_request": {
                "method_data": [{ "supported_methods": METHOD, "data": terms.demand }],
                "details": { "id": order, "display_items": [total.clone()], "total": total },
            },
            "cart_expiry": expires,
            "merchant_name": role.merchant.name,
        }))
    }

    fn price(&self, tenant: &Tenant, requirements: &PaymentRequirements) -> Result<Value, EngineError> {
        let token = asset(requirements)?;
        let peg = peg(tenant, &token).ok_or(EngineError::NotConfigured("rate for what it sells in"))?;
        let digits = self.assets.find_id(&token).map(|asset| asset.decimals);
        let digits = digits.ok_or_else(|| EngineError::Broken(format!("{token} is sold and not in the table")))?;
        let units: Amount =
            requirements.amount.parse().map_err(|_| EngineError::Broken("a price is no amount".into()))?;
        let currency = &tenant.currency;
        let major = peg.convert(units, u32::from(digits), authority_digits(currency)?)?;
        // As its own text: a number of JSON that no float ever was.
        let value = json::parse(authority_to_major(major, currency)?.as_bytes())?;
        Ok(json!({ "currency": currency, "value": value }))
    }
}

/// The merchant whose payee the seller is; of several, the first.
fn merchant(tenant: &Tenant) -> Option<&MerchantRole> {
    let payee = &tenant.seller.as_ref()?.payee;
    tenant.merchants.values().find(|role| role.merchant.id == payee.as_str())
}

fn peg<'a>(tenant: &'a Tenant, token: &AssetId) -> Option<&'a Peg> {
    let quote: AssetId = format!("iso4217:{}", tenant.currency).parse().ok()?;
    tenant.pegs.iter().find(|peg| peg.base == *token && peg.quote == quote)
}

fn asset(requirements: &PaymentRequirements) -> Result<AssetId, EngineError> {
    let broken = || EngineError::Broken(format!("{} on {} is no asset", requirements.asset, requirements.network));
    let network: Network = requirements.network.parse().map_err(|_| broken())?;
    network.asset_id(requirements.asset.parse().map_err(|_| broken())?).map_err(|_| broken())
}
