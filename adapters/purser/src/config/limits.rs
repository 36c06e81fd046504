//! How often somebody may call.

use std::net::IpAddr;
use std::num::NonZeroU32;

use engine::tenant::{SignIns, WalletChannels};
use ledger::money::Amount;
use serde::{Deserialize, Serialize};
use x402::batch_settlement::WITHDRAW_DELAY_SECONDS;

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
    pub amount: Amount,
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
    /// Whether the wallet takes back by itself what an escrow holds past its deadline, at the cost of its own gas; it does where
    /// nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_back: Option<bool>,
    /// What a transaction of the wallet's own, by which it takes its money back, may cost at most, in gwei of the chain's own
    /// coin; 20,000,000 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_back_gwei_max: Option<u64>,
    /// Where it stands there, the wallet pays out of channels too (scheme `batch-settlement`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<WalletChannelsConfig>,
    /// Whether it says who it is where a seller lets whoever paid come back without paying (extension `sign-in-with-x`); it
    /// does where nothing is said, because what it signs moves nothing and stands for what is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<bool>,
    /// Sentences of sellers that it puts its name under then; without them our own, and texts that have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sign_in_statements: Vec<String>,
}

const STATEMENTS_MAX: usize = 100;
const STATEMENT_BYTES_MAX: usize = 200;

impl WalletConfig {
    /// Under which texts it puts its name, where it does.
    pub fn sign_ins(&self) -> Result<Option<SignIns>, String> {
        let statements = self.sign_in_statements.clone();
        if statements.len() > STATEMENTS_MAX {
            let found = statements.len();
            return Err(format!(
                "wallet.sign_in_statements: at most {STATEMENTS_MAX} were expected, {found} are there"
            ));
        }
        // A line more would be another text.
        let is_sentence = |text: &String| {
            (1..=STATEMENT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        if let Some(odd) = statements.iter().find(|text| !is_sentence(text)) {
            return Err(format!(
                "wallet.sign_in_statements: one line of 1 to {STATEMENT_BYTES_MAX} printable ASCII characters was expected, {odd:?} is there"
            ));
        }
        Ok(self.sign_in.unwrap_or(true).then_some(SignIns { statements }))
    }
}

/// A fiftieth of a coin of 10^18 units.
const TAKE_BACK_GWEI_MAX: u64 = 20_000_000;
const WEI_OF_GWEI: u128 = 1_000_000_000;

impl WalletConfig {
    /// Wei.
    pub fn take_back_wei_max(&self) -> u128 {
        u128::from(self.take_back_gwei_max.unwrap_or(TAKE_BACK_GWEI_MAX)).saturating_mul(WEI_OF_GWEI)
    }
}

/// How much the wallet puts into channels, in atomic units of whichever token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletChannelsConfig {
    /// Bound in one channel, at most.
    pub bound_max: Amount,
    /// Bound in all of them, at most.
    pub total_max: Amount,
    /// Prices of what is bought that are put in at once, as far as there is room.
    #[serde(default = "deposit_prices")]
    pub deposit_prices: NonZeroU32,
    /// The longest that the wallet would wait for money that its payee does not give back; others' channels are not paid into.
    #[serde(default = "withdraw_delay_seconds_max")]
    pub withdraw_delay_seconds_max: u64,
    /// Channels before other offers of the same 402, and not only where there is no other.
    #[serde(default)]
    pub preferred: bool,
}

const fn deposit_prices() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(9)
}

const fn withdraw_delay_seconds_max() -> u64 {
    86_400
}

impl WalletChannelsConfig {
    /// What could never be used, or would be used by nobody.
    pub fn read(&self) -> Result<WalletChannels, String> {
        let (bound, total) = (self.bound_max, self.total_max);
        if bound.is_zero() || bound > total {
            return Err(format!(
                "wallet.channels.bound_max: 1 to the total_max of {total} was expected, {bound} is there"
            ));
        }
        let delay = self.withdraw_delay_seconds_max;
        if !WITHDRAW_DELAY_SECONDS.contains(&delay) {
            let (least, most) = WITHDRAW_DELAY_SECONDS.into_inner();
            return Err(format!(
                "wallet.channels.withdraw_delay_seconds_max: {least} to {most} were expected, {delay} is there"
            ));
        }
        Ok(WalletChannels {
            bound_max: bound,
            total_max: total,
            deposit_prices: self.deposit_prices,
            withdraw_delay_seconds_max: delay,
            preferred: self.preferred,
        })
    }
}
