//! What was bought: shown to whoever bought it and to the merchant, and moved by the merchant.
//!
//! A refund is the vault's ([`crate::vault`]): the processor gives the money back and the book posts it, and only then the
//! order says so. A return or a dispute moves no money: it is said, and what follows of it is a refund or nothing.

use commerce::checkout::{Code, Refusal};
use commerce::order::{Adjustment, Kind, Order, OrderStatus};
use commerce::store::{OrderWrite, Revised, Sessions, Written};
use ledger::id::{AuthMethod, Caller, CallerKind, Digest, PrincipalId, TenantId};
use ledger::money::Amount;
use std::sync::Arc;

use super::complete::order_id;
use super::{ATTEMPTS, ShopRole};
use crate::error::EngineError;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

/// What a merchant says of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderChange {
    Status(OrderStatus),
    Adjustment {
        kind: Kind,
        /// Minor units.
        amount: u64,
        description: Option<String>,
        /// `Idempotency-Key`, as it came.
        key: String,
    },
}

pub(super) fn written(order: &Order, revision: u64) -> Result<OrderWrite, EngineError> {
    let document = serde_json::to_vec(order).map_err(|error| EngineError::Broken(error.to_string()))?;
    Ok(OrderWrite { id: order.id.clone(), revision, document })
}

/// As it lies.
pub fn read(revised: &Revised) -> Result<Order, EngineError> {
    serde_json::from_slice(&revised.document)
        .map_err(|error| EngineError::Broken(format!("an order cannot be read: {error}")))
}

fn unknown(id: &str) -> EngineError {
    EngineError::NotFound { what: "order", id: crate::error::shortened(id) }
}

impl Engine {
    fn shop_of<'a>(&'a self, tenant: &'a Tenant) -> Result<(&'a ShopRole, &'a Arc<dyn Sessions>), EngineError> {
        let role = tenant.shop.as_ref().ok_or(EngineError::NotConfigured("shop"))?;
        Ok((role, self.sessions.get().ok_or(EngineError::NotConfigured("place for checkouts"))?))
    }

    /// An order of the caller's own, `owner` being what its checkouts call it; the merchant and an operator see every one.
    /// Those of others are not there.
    pub async fn shop_order(
        &self,
        shop: &TenantId,
        identity: &Identity,
        owner: &str,
        id: &str,
    ) -> Result<Order, EngineError> {
        let tenant = self.tenant(shop)?;
        let (role, sessions) = self.shop_of(&tenant)?;
        let found = sessions.order(shop, id).await?.ok_or_else(|| unknown(id))?;
        let order = read(&found)?;
        let is_own = order.owner == owner;
        if is_own || may_move(shop, role, identity) { Ok(order) } else { Err(unknown(id)) }
    }

    /// The order as it is afterwards, or why nothing was changed.
    pub async fn change_order(
        &self,
        shop: &TenantId,
        identity: &Identity,
        id: &str,
        change: &OrderChange,
    ) -> Result<Result<Order, Refusal>, EngineError> {
        let tenant = self.tenant(shop)?;
        let (role, sessions) = self.shop_of(&tenant)?;
        if !may_move(shop, role, identity) {
            return Err(unknown(id));
        }
        let mut is_given_back = false;
        for _ in 0..ATTEMPTS {
            let found = sessions.order(shop, id).await?.ok_or_else(|| unknown(id))?;
            let order = read(&found)?;
            let next = match self.changed_order(&order, change) {
                Ok(next) if next == order => return Ok(Ok(order)),
                Ok(next) => next,
                Err(refused) => return Ok(Err(refused)),
            };
            if let OrderChange::Adjustment { kind: Kind::Refund, amount, key, .. } = change
                && !is_given_back
            {
                if let Err(refused) = order.check_refund(*amount) {
                    return Ok(Err(refused));
                }
                if let Err(refused) = self.refund_order(shop, role, &order, *amount, key).await? {
                    return Ok(Err(refused));
                }
                is_given_back = true;
            }
            let write = written(&next, found.revision.saturating_add(1))?;
            if sessions.write_order(shop, write).await? == Written::Done {
                return Ok(Ok(next));
            }
        }
        Err(EngineError::Contended("order"))
    }

    /// What the processor gave back on another way than the order's: where the session is of a shop here, its order says so
    /// too. The same key is one adjustment.
    pub(crate) async fn order_given_back(
        &self,
        (shop, merchant): &(TenantId, PrincipalId),
        session: &str,
        amount: Amount,
        key: &Digest,
    ) -> Result<(), EngineError> {
        let Ok(tenant) = self.tenant(shop) else { return Ok(()) };
        let is_its = tenant.shop.as_ref().is_some_and(|role| role.merchant == *merchant);
        let Some(sessions) = self.sessions.get().filter(|_| is_its) else { return Ok(()) };
        let id = order_id(&tenant, session);
        let amount = u64::try_from(amount.get()).unwrap_or(u64::MAX);
        let key = format!("vault/{key}");
        let change = OrderChange::Adjustment { kind: Kind::Refund, amount, description: None, key };
        for _ in 0..ATTEMPTS {
            let Some(found) = sessions.order(shop, &id).await? else { return Ok(()) };
            let order = read(&found)?;
            let next = match self.changed_order(&order, &change) {
                Ok(next) if next == order => return Ok(()),
                Ok(next) => next,
                Err(refused) => {
                    tracing::warn!(%shop, order = id, "a refund is not in its order: {}", refused.message);
                    return Ok(());
                }
            };
            let write = written(&next, found.revision.saturating_add(1))?;
            if sessions.write_order(shop, write).await? == Written::Done {
                return Ok(());
            }
        }
        Err(EngineError::Contended("order"))
    }

    fn changed_order(&self, order: &Order, change: &OrderChange) -> Result<Order, Refusal> {
        let now = self.clock.now().seconds();
        match change {
            OrderChange::Status(status) if *status == order.status => Ok(order.clone()),
            OrderChange::Status(status) => order.moved(*status, now),
            OrderChange::Adjustment { kind, amount, description, key } => {
                let parts = [order.id.as_bytes(), key.as_bytes()];
                let digest = Digest::of_parts("purser/order-adjustment/1", &parts).to_string();
                let id = format!("adj_{}", digest.chars().take(32).collect::<String>());
                let (kind, amount, description) = (*kind, *amount, description.clone());
                order.adjusted(Adjustment { id, kind, amount, at: now, description })
            }
        }
    }

    /// Of the payment that a vault token made for the order's session.
    async fn refund_order(
        &self,
        shop: &TenantId,
        role: &ShopRole,
        order: &Order,
        amount: u64,
        key: &str,
    ) -> Result<Result<(), Refusal>, EngineError> {
        let caller = Caller::new(role.merchant.clone(), CallerKind::Merchant, AuthMethod::Internal);
        let merchant = Identity { tenant: shop.clone(), caller };
        let key = format!("{}/{key}", order.id);
        match self.refund_session(&merchant, &order.session, Amount::new(amount.into()), &key).await? {
            Some(_) => Ok(Ok(())),
            None => {
                let message = "an order that a vault token of this service paid was expected: what mandates or others \
                     paid is given back where it was taken";
                Ok(Err(Refusal::new(Code::Invalid, "$.adjustment.type", message)))
            }
        }
    }
}

fn may_move(shop: &TenantId, role: &ShopRole, identity: &Identity) -> bool {
    let caller = &identity.caller;
    let is_merchant = caller.kind == CallerKind::Merchant && caller.principal == role.merchant;
    identity.tenant == *shop && (is_merchant || caller.kind == CallerKind::Operator)
}
