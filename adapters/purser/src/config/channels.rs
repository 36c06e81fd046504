//! How a seller keeps the channels of those who pay it.

use std::num::NonZeroU32;

use ledger::money::Amount;
use serde::{Deserialize, Serialize};
use x402::batch_settlement::WITHDRAW_DELAY_SECONDS;

/// Channels of payers (scheme `batch-settlement`): money that lies in an escrow, and is claimed for many requests at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelsConfig {
    /// How long payers wait for money that nobody claimed, 900 to 2592000; part of what names a channel.
    #[serde(default = "withdraw_delay_seconds")]
    pub withdraw_delay_seconds: u64,
    /// Vouchers of a channel are claimed once they are good for so many atomic units more than was claimed …
    #[serde(default = "claim_above")]
    pub claim_above: Amount,
    /// … or so long after the time of the first of them was over; at once where their payer asks for its money.
    #[serde(default = "claim_after_seconds")]
    pub claim_after_seconds: u32,
    /// What payers are told to put in at first, in prices of what they ask for.
    #[serde(default = "deposit_prices")]
    pub deposit_prices: NonZeroU32,
}

const fn withdraw_delay_seconds() -> u64 {
    86_400
}

const fn claim_above() -> Amount {
    Amount::new(10_000_000)
}

const fn claim_after_seconds() -> u32 {
    3_600
}

const fn deposit_prices() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(9)
}

impl Default for ChannelsConfig {
    fn default() -> Self {
        Self {
            withdraw_delay_seconds: withdraw_delay_seconds(),
            claim_above: claim_above(),
            claim_after_seconds: claim_after_seconds(),
            deposit_prices: deposit_prices(),
        }
    }
}

impl ChannelsConfig {
    /// What is claimed late can be gone.
    pub(super) fn check(&self) -> Result<(), String> {
        let (least, most) = WITHDRAW_DELAY_SECONDS.into_inner();
        let delay = self.withdraw_delay_seconds;
        if !WITHDRAW_DELAY_SECONDS.contains(&delay) {
            return Err(format!(
                "sell.channels.withdraw_delay_seconds: {least} to {most} were expected, {delay} is there"
            ));
        }
        let after = u64::from(self.claim_after_seconds);
        if after.saturating_mul(2) > delay {
            let expected = format!("at most half of the {delay} after which payers can leave");
            return Err(format!("sell.channels.claim_after_seconds: {expected} was expected, {after} is there"));
        }
        Ok(())
    }
}
