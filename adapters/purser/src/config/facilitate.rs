//! `[tenants.facilitate]`: whose payments are carried to the chain, and how.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use x402::limit::WALLET_TIMEOUT_SECONDS_MAX;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FacilitateConfig {
    /// Addresses that it carries payments to.
    #[serde(default)]
    pub payees: Vec<String>,
    /// Carries for any payee: only on the embedded devnet.
    #[serde(default)]
    pub anyone: bool,
    /// How many accounts send settlements, each with gas of its own: `purser keys list` shows their addresses.
    #[serde(default = "one_signer")]
    pub signers: NonZeroU32,
    /// After how many seconds a settlement that is in no block is sent again at twice the fee, and once more; within the caps.
    #[serde(default = "raise_seconds")]
    pub raise_seconds: NonZeroU32,
    /// How many settlements that wait for the same account go in one transaction at most; 1 sends each by itself.
    #[serde(default = "batch_max")]
    pub batch_max: NonZeroU32,
    /// The longest `maxTimeoutSeconds` of a payment that it carries; no wallet of ours signs a longer one.
    #[serde(default = "timeout_seconds_max")]
    pub timeout_seconds_max: u64,
    /// Wei that a payer without gas gets at most for an approval of Permit2 that it signed (x402,
    /// `erc20ApprovalGasSponsoring`); 0 gives none. Whoever gets it may use it for something else.
    #[serde(default = "gas_grant_wei")]
    pub gas_grant_wei: u64,
    /// How many such grants a payer gets, ever.
    #[serde(default = "gas_grants_payer")]
    pub gas_grants_payer: u32,
    /// How many are given in a day, to all payers together.
    #[serde(default = "gas_grants_day")]
    pub gas_grants_day: u32,
}

/// What official clients ask for at their fallback fee (70,000 gas at 1 gwei), three times.
const fn gas_grant_wei() -> u64 {
    210_000_000_000_000
}

const fn gas_grants_payer() -> u32 {
    2
}

const fn gas_grants_day() -> u32 {
    100
}

const fn batch_max() -> NonZeroU32 {
    match NonZeroU32::new(16) {
        Some(most) => most,
        None => NonZeroU32::MIN,
    }
}

const fn timeout_seconds_max() -> u64 {
    WALLET_TIMEOUT_SECONDS_MAX
}

const fn raise_seconds() -> NonZeroU32 {
    match NonZeroU32::new(15) {
        Some(seconds) => seconds,
        None => NonZeroU32::MIN,
    }
}

impl Default for FacilitateConfig {
    fn default() -> Self {
        let (signers, raise_seconds) = (one_signer(), raise_seconds());
        let (batch_max, timeout_seconds_max) = (batch_max(), timeout_seconds_max());
        let (gas_grant_wei, gas_grants_payer, gas_grants_day) = (gas_grant_wei(), gas_grants_payer(), gas_grants_day());
        Self {
            payees: Vec::new(),
            anyone: false,
            signers,
            raise_seconds,
            batch_max,
            timeout_seconds_max,
            gas_grant_wei,
            gas_grants_payer,
            gas_grants_day,
        }
    }
}

const fn one_signer() -> NonZeroU32 {
    NonZeroU32::MIN
}
