//! What a service refuses to run with, and how a configuration is refused at all.

use super::{BearerConfig, Config};

pub(super) const DEVNET_CHAIN_ID: u64 = 31_337;

/// Chains whose coins are worth nothing: the devnet, and the test networks of the asset table.
const TEST_CHAIN_IDS: [u64; 8] = [DEVNET_CHAIN_ID, 84_532, 421_614, 11_142_220, 1_328, 10_143, 2_201, 43_113];

/// Whether nobody's money is on a chain.
pub fn is_test_chain(chain_id: u64) -> bool {
    TEST_CHAIN_IDS.contains(&chain_id)
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration {path} cannot be read: {why}")]
    Unreadable { path: String, why: String },
    #[error("{field}: {expected} was expected, `{found}` is there")]
    Value { field: String, expected: String, found: String },
    #[error("chain {0} is no test network; write allow_mainnet = true under [chain] if real money is meant")]
    MainnetNotAllowed(u64),
    #[error("{field} = true of tenant {tenant} is for the devnet (chain 31337); this is chain {chain_id}")]
    AnyoneOffDevnet { field: &'static str, tenant: String, chain_id: u64 },
    #[error("bearer = \"everything\" is for the devnet (chain 31337); this is chain {0}")]
    BearerOffDevnet(u64),
}

impl Config {
    /// What `serve` refuses to run with.
    pub fn check_for_service(&self) -> Result<(), ConfigError> {
        if self.bearer == BearerConfig::Everything && !self.is_devnet() {
            return Err(ConfigError::BearerOffDevnet(self.chain.chain_id));
        }
        for tenant in self.tenants.iter().filter(|_| !self.is_devnet()) {
            let carries = tenant.facilitate.as_ref().is_some_and(|facilitate| facilitate.anyone);
            let open = [(carries, "facilitate.anyone"), (tenant.any_verifier, "any_verifier")];
            if let Some((_, field)) = open.into_iter().find(|(is_open, _)| *is_open) {
                let (tenant, chain_id) = (tenant.id.clone(), self.chain.chain_id);
                return Err(ConfigError::AnyoneOffDevnet { field, tenant, chain_id });
            }
        }
        self.check_approval()?;
        self.check_webhooks()?;
        if is_test_chain(self.chain.chain_id) || self.chain.allow_mainnet {
            return Ok(());
        }
        Err(ConfigError::MainnetNotAllowed(self.chain.chain_id))
    }
}
