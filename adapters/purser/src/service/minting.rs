//! Short-lived tokens that the service's own key signs.

use std::sync::atomic::{AtomicU64, Ordering};

use identity::token::{Binding, Minter};
use ledger::id::{AuthMethod, CallerKind};

use super::identity;
use crate::config::{Config, TenantConfig};
use crate::keys::{Ring, Slot};

/// Signs tokens for this service.
pub fn minter(config: &Config, ring: &Ring) -> Result<Minter, String> {
    let key = ring.p256(&Slot::tokens()).map_err(|error| error.to_string())?;
    Ok(Minter::new(key, config.public_url()))
}

/// A token for a principal of a tenant.
pub fn mint(minter: &Minter, tenant: &str, principal: &str, kind: CallerKind, seconds: u32) -> Result<String, String> {
    mint_with(minter, tenant, principal, kind, seconds, None)
}

/// The same, naming the mandate that is meant where a call names none.
pub fn mint_under(
    minter: &Minter,
    tenant: &str,
    principal: &str,
    kind: CallerKind,
    seconds: u32,
    mandate: &str,
) -> Result<String, String> {
    mint_with(minter, tenant, principal, kind, seconds, Some(mandate))
}

fn mint_with(
    minter: &Minter,
    tenant: &str,
    principal: &str,
    kind: CallerKind,
    seconds: u32,
    mandate: Option<&str>,
) -> Result<String, String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let identity = identity(tenant, principal, kind, AuthMethod::Bearer)?;
    let now = store::wall_clock()();
    let id = format!("{:x}-{:x}-{}", now.0, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let seconds = seconds.min(24 * 3_600);
    minter
        .mint_for(&identity, Binding::Bearer, &id, (now.seconds(), seconds), mandate)
        .ok_or_else(|| "the token could not be signed".to_owned())
}

/// Whether the configuration names this principal in this role.
pub fn is_known(tenant: &TenantConfig, principal: &str, kind: CallerKind) -> bool {
    match kind {
        CallerKind::User => tenant.people.iter().any(|person| person.id == principal),
        CallerKind::Agent => tenant.agents.iter().any(|agent| agent.id == principal),
        CallerKind::Merchant => tenant.merchants.iter().any(|merchant| merchant.id == principal),
        CallerKind::Operator => tenant.operators.iter().any(|operator| operator.id == principal),
        CallerKind::Service => false,
    }
}
