//! How a dev service differs from the usual one.

use std::path::PathBuf;

use store::Location;

use crate::config::{BearerConfig, FacilitateConfig, LimitsConfig, WebhookConfig};

#[derive(Clone, Debug, Default)]
pub struct DevOptions {
    pub port: u16,
    pub finalized_lag_blocks: u64,
    /// A foreign x402 facilitator to settle through.
    pub facilitator: Option<String>,
    /// What unbound tokens are good for; everything where nothing is said.
    pub bearer: Option<BearerConfig>,
    /// How often somebody may call; as often as they like where nothing is said.
    pub limits: Option<LimitsConfig>,
    /// A folder that keeps the service over restarts.
    pub data: Option<PathBuf>,
    /// Another place for the books than a file in that folder.
    pub database: Option<Location>,
    /// What the embedded chain is of; the devnet's own where nothing is said.
    pub chain_id: Option<u64>,
    /// Contracts that may be called to make payers' wallets.
    pub wallet_factories: Vec<String>,
    /// A payment processor to charge cards through; one in this process where none is named.
    pub acquirer: Option<String>,
    /// Roots that the shop trusts beside this service's own, as JWKs.
    pub shop_roots: Vec<mandates::json::Object>,
    /// Who is told what happens at home.
    pub webhooks: Vec<WebhookConfig>,
    /// How many unbought checkouts a caller or an address may have; as many as in any shop where nothing is said.
    pub shop_sessions_max: Option<u64>,
    /// Whether the shop takes signed requests alone, where UCP is spoken.
    pub shop_signed_only: bool,
    /// How often what nobody asked for is looked at.
    pub sweep_millis: Option<u64>,
    /// How payments are carried.
    pub facilitate: Option<FacilitateConfig>,
}
