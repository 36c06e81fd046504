//! How often somebody may call.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// For each principal.
    pub principal: RateConfig,
    /// For each address that calls without a good token.
    pub anonymous: RateConfig,
    /// Addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// So many calls a second over time, so many at once; none of either means no limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    pub per_second: u32,
    pub burst: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let principal = RateConfig { per_second: 100, burst: 200 };
        Self { principal, anonymous: RateConfig { per_second: 100, burst: 500 }, trusted_proxies: Vec::new() }
    }
}

impl LimitsConfig {
    /// No limit: for a service that plays alone.
    pub const fn none() -> Self {
        let none = RateConfig { per_second: 0, burst: 0 };
        Self { principal: none, anonymous: none, trusted_proxies: Vec::new() }
    }
}

/// A ceiling that is watched: what lies at a hot wallet beyond it raises an alarm.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotWalletMax {
    /// A token's address.
    pub asset: String,
    /// Atomic units.
    pub amount: ledger::money::Amount,
}

/// That it stands there makes the tenant pay.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletConfig {
    /// The tenant of this configuration whose relayers carry cancellations of what was signed when a stop or a revocation
    /// finds it unpaid; the tenant itself where it facilitates, and nobody where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// How long its money may be held in an escrow (x402, `auth-capture`) before it can be taken back, in seconds; a day where
    /// nothing is said, and nothing is held at 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_seconds_max: Option<u64>,
    /// What share of it, in basis points, may go to somebody else than who is paid; none where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_fee_bps_max: Option<u16>,
}
