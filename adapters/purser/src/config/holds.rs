//! How a seller lets money be held.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Money of payers that an escrow holds while the work is done for it (scheme `auth-capture`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldsConfig {
    /// How long after the demand it may be captured; from then on its payer can take it back.
    #[serde(default = "capture_seconds")]
    pub capture_seconds: NonZeroU64,
}

const fn capture_seconds() -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(3_599)
}

impl Default for HoldsConfig {
    fn default() -> Self {
        Self { capture_seconds: capture_seconds() }
    }
}

/// Beside the time of a payment: for its payer to sign it, and for what went wrong to be sent again.
const MARGIN_SECONDS: u64 = 600;

impl HoldsConfig {
    pub(super) fn check(&self, max_timeout_seconds: u64) -> Result<(), String> {
        let least = max_timeout_seconds.saturating_add(MARGIN_SECONDS);
        let found = self.capture_seconds;
        if found.get() < least {
            let expected = format!("at least {least}, which is the route's max_timeout_seconds and {MARGIN_SECONDS}");
            return Err(format!("sell.holds.capture_seconds: {expected}, was expected, {found} is there"));
        }
        Ok(())
    }
}
