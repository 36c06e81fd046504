//! The vault of a tenant, and who redeems its tokens.

use std::sync::Arc;

use engine::vault::{AcpPayee, OrderSecret, Vault};
use zeroize::Zeroizing;

use super::{AssemblyError, value};
use crate::acquirer::client::HttpProcessor;
use crate::acquirer::secret;
use crate::acquirer::signature::is_good;
use crate::config::{Config, PayeeConfig, TenantConfig};
use crate::fetch::Loopback;
use crate::keys::cards::CardKeys;
use crate::keys::{Purpose, Ring, Slot};

/// Below this the processor's notices are taken, each tenant's at its name.
pub const NOTICES: &str = "/v1/vault/notices";

pub(super) fn vault(config: &Config, tenant: &TenantConfig, ring: &Ring) -> Result<Option<Vault>, AssemblyError> {
    let Some(vault) = &tenant.vault else { return Ok(None) };
    let loopback = if config.is_devnet() { Loopback::Allowed } else { Loopback::Refused };
    let notices = format!("{}{NOTICES}/{}", config.public_url(), tenant.id);
    let wrong = |why| AssemblyError::Tenant { tenant: tenant.id.clone(), why };
    let processor = Arc::new(HttpProcessor::new(vault, notices, loopback).map_err(wrong)?);
    let seal = Arc::new(CardKeys::of(ring, &Slot::new(&tenant.id, Purpose::Vault))?);
    Ok(Some(Vault { processor, seal }))
}

pub(super) fn acp(config: &PayeeConfig) -> Result<AcpPayee, AssemblyError> {
    let Some(acp) = &config.acp else { return Ok(AcpPayee::default()) };
    let named = acp.redeemed_by.split_once(':').and_then(|(of, name)| Some((of.parse().ok()?, name.parse().ok()?)));
    let redeemer = named.ok_or_else(|| value("payees.acp.redeemed_by", "tenant:principal", &acp.redeemed_by))?;
    let ids = if acp.ids.is_empty() { vec![config.merchant_id.clone()] } else { acp.ids.clone() };
    let orders = acp.orders_secret_file.as_deref().map(|path| secret(Some(path))).transpose();
    let orders = orders.map_err(|why| AssemblyError::Tenant { tenant: format!("payee {}", config.id), why })?;
    let orders = orders.map(|text| Arc::new(SharedText(Zeroizing::new(text))) as Arc<dyn OrderSecret>);
    Ok(AcpPayee { ids, redeemer: Some(redeemer), receives_cards: acp.receives_cards, orders })
}

/// What a shop and we have: never shown.
struct SharedText(Zeroizing<String>);

impl std::fmt::Debug for SharedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedText")
    }
}

impl OrderSecret for SharedText {
    fn is_signed(&self, signature: &str, body: &[u8], now_seconds: i64) -> bool {
        is_good(&self.0, signature, body, now_seconds)
    }
}
