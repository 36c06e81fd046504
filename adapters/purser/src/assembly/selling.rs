//! Who sells, through whom, and how channels of those who pay are kept.

use std::sync::Arc;

use engine::carriers::{Carrier, Carriers};
use engine::tenant::{Channels, Seller};

use super::{AssemblyError, FacilitatorMaker, value};
use crate::config::{SellConfig, TenantConfig};
use crate::keys::signers::LocalChannels;
use crate::keys::{KeyError, Purpose, Ring, Slot};

pub(super) fn seller(
    tenant: &TenantConfig,
    ring: &Ring,
    facilitators: FacilitatorMaker<'_>,
) -> Result<Option<Seller>, AssemblyError> {
    let Some(sell) = &tenant.sell else { return Ok(None) };
    let payee = sell.payee.parse().map_err(|_| value("sell.payee", "printable ASCII without spaces", &sell.payee))?;
    let carrier = |name: &String| Ok::<_, AssemblyError>(Carrier::new(name, facilitators(name)?));
    let mut carriers = sell.carriers().map(carrier);
    let expected = "a facilitator, in sell.facilitator or sell.facilitators";
    let first = carriers.next().ok_or_else(|| value("sell.facilitator", expected, "none"))??;
    let carriers = Arc::new(Carriers::new(first, carriers.collect::<Result<_, _>>()?));
    Ok(Some(Seller { carriers, payee, channels: channels(tenant, ring)? }))
}

fn channels(tenant: &TenantConfig, ring: &Ring) -> Result<Option<Channels>, AssemblyError> {
    let Some(sell) = tenant.sell.as_ref().filter(|sell| SellConfig::has_channels(sell)) else { return Ok(None) };
    let slot = Slot::new(&tenant.id, Purpose::Channels);
    let keys = ring.keys().iter().filter(|key| key.slot == slot).map(|key| Ok((key.wallet()?, key.sealed.state)));
    let keys = keys.collect::<Result<Vec<_>, KeyError>>()?;
    let signer = Arc::new(LocalChannels::new(keys).ok_or_else(|| KeyError::Missing(slot.clone()))?);
    let config = sell.channels.clone().unwrap_or_default();
    let (claim_above, claim_after_seconds) = (config.claim_above, config.claim_after_seconds.into());
    Ok(Some(Channels { signer, claim_above, claim_after_seconds }))
}
