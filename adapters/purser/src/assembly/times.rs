//! How long things of a tenant last, how many there are at once, and what its wallets may hold.

use alloy_primitives::Address;
use engine::tenant::Limits;
use ledger::money::Amount;

use super::{AssemblyError, value};
use crate::config::{HotWalletMax, TenantConfig, WalletChannelsConfig};

/// What the configuration says, and what holds where it says nothing.
pub(super) fn of(tenant: &TenantConfig) -> Result<Limits, AssemblyError> {
    let mut times = Limits::default();
    times.payment_seconds = tenant.payment_seconds.unwrap_or(times.payment_seconds);
    times.closing_seconds = tenant.closing_seconds.unwrap_or(times.closing_seconds);
    times.open_payments = tenant.open_payments.unwrap_or(times.open_payments);
    times.refusals_burst = tenant.refusals_burst.unwrap_or(times.refusals_burst);
    times.decision_seconds = tenant.decision_seconds.unwrap_or(times.decision_seconds);
    times.prompts_per_hour = tenant.prompts_per_hour;
    times.hold_seconds = tenant.hold_seconds.unwrap_or(times.hold_seconds);
    let held = tenant.wallet.as_ref();
    times.held_seconds_max = held.and_then(|held| held.held_seconds_max).unwrap_or(times.held_seconds_max);
    times.held_fee_bps_max = held.and_then(|held| held.held_fee_bps_max).unwrap_or(times.held_fee_bps_max);
    let channels = tenant.wallet.as_ref().and_then(|wallet| wallet.channels.as_ref());
    let wrong = |why| AssemblyError::Tenant { tenant: tenant.id.clone(), why };
    times.channels = channels.map(WalletChannelsConfig::read).transpose().map_err(wrong)?;
    if let Some(wallet) = &tenant.wallet {
        times.sign_in = wallet.sign_ins().map_err(wrong)?;
    }
    times.ceilings.relayer_gwei = tenant.relayer_max_gwei;
    times.ceilings.wallet = tenant.hot_wallet_max.as_ref().map(wallet_max).transpose()?;
    Ok(times)
}

fn wallet_max(config: &HotWalletMax) -> Result<(Address, Amount), AssemblyError> {
    let asset = config.asset.parse().map_err(|_| value("hot_wallet_max.asset", "an address", &config.asset))?;
    Ok((asset, config.amount))
}
