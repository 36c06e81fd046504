//! Who sells, through whom, and how channels of those who pay are kept.

use std::sync::Arc;

use engine::carriers::{Carrier, Carriers};
use engine::ports::HoldSigner;
use engine::tenant::{Channels, Seller};

use super::{AssemblyError, FacilitatorMaker, value};
use crate::config::{SellConfig, TenantConfig};
use crate::keys::authorizers::LocalAuthorizers;
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
    let holds = match sell.has_holds() {
        true => Some(authorizers(tenant, ring, Purpose::Holds)? as Arc<dyn HoldSigner>),
        false => None,
    };
    Ok(Some(Seller { carriers, payee, channels: channels(tenant, ring)?, holds }))
}

/// Those who sign for whoever is paid, former ones too.
fn authorizers(tenant: &TenantConfig, ring: &Ring, purpose: Purpose) -> Result<Arc<LocalAuthorizers>, AssemblyError> {
    let slot = Slot::new(&tenant.id, purpose);
    let keys = ring.keys().iter().filter(|key| key.slot == slot).map(|key| Ok((key.wallet()?, key.sealed.state)));
    let keys = keys.collect::<Result<Vec<_>, KeyError>>()?;
    Ok(Arc::new(LocalAuthorizers::new(keys).ok_or_else(|| KeyError::Missing(slot.clone()))?))
}

fn channels(tenant: &TenantConfig, ring: &Ring) -> Result<Option<Channels>, AssemblyError> {
    let Some(sell) = tenant.sell.as_ref().filter(|sell| SellConfig::has_channels(sell)) else { return Ok(None) };
    let signer = authorizers(tenant, ring, Purpose::Channels)?;
    let config = sell.channels.clone().unwrap_or_default();
    let (claim_above, claim_after_seconds) = (config.claim_above, config.claim_after_seconds.into());
    Ok(Some(Channels { signer, claim_above, claim_after_seconds }))
}
