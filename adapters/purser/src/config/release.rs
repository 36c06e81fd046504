//! When a route or a tool gives what it sells.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use x402::release::{Amount, Beyond, Exposure, PayFirst, Release, When};

use super::ChainConfig;

/// Beside the other fields of a route or a tool. Amounts are in atomic units of the token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseConfig {
    /// `confirmed` where nothing is said.
    #[serde(default)]
    pub release: ReleaseWhen,
    /// With `confirmed`: in how many blocks a settlement is before its answer is given; as many as the chain's where nothing is
    /// said, and never fewer.
    #[serde(default)]
    pub confirmations: Option<NonZeroU64>,
    /// With `submitted` and `verified`: the most that one payer is given and has not paid yet.
    #[serde(default)]
    pub exposure_max: Option<Amount>,
    /// The same of all payers of the tenant together.
    #[serde(default)]
    pub exposure_total_max: Option<Amount>,
    #[serde(default)]
    pub beyond_exposure: BeyondExposure,
    /// What costs more is settled before anything is done for it.
    #[serde(default)]
    pub settle_first_above: Option<Amount>,
    /// So is whatever is bought by a payer who has never paid here in a final block.
    #[serde(default)]
    pub settle_first_without_history: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseWhen {
    /// The answer is held back until it is settled.
    #[default]
    Confirmed,
    /// … until its settlement is broadcast.
    Submitted,
    /// … until its authorization is verified and claimed.
    Verified,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeyondExposure {
    /// It is served as with `confirmed`.
    #[default]
    Wait,
    Refuse,
}

impl ReleaseConfig {
    /// Beside a chain whose settlements are posted in so many blocks.
    pub fn read(&self, chain: NonZeroU64) -> Result<Release, String> {
        let confirmations = self.confirmations.unwrap_or(chain);
        if confirmations < chain {
            return Err(format!(
                "confirmations: at least the {chain} of the chain were expected, {confirmations} are there"
            ));
        }
        let exposure = |name: &str| match (self.exposure_max, self.confirmations) {
            (_, Some(found)) => {
                Err(format!("confirmations go with release \"confirmed\"; {found} stand beside \"{name}\""))
            }
            (None, None) => {
                Err(format!("release \"{name}\": exposure_max was expected, what one payer may owe at most"))
            }
            (Some(payer_max), None) => Ok(Exposure {
                payer_max,
                total_max: self.exposure_total_max,
                beyond: match self.beyond_exposure {
                    BeyondExposure::Wait => Beyond::Wait,
                    BeyondExposure::Refuse => Beyond::Refuse,
                },
            }),
        };
        let when = match self.release {
            ReleaseWhen::Confirmed => {
                let bounded = self.exposure_max.or(self.exposure_total_max);
                if let Some(found) = bounded {
                    return Err(format!(
                        "nothing is owed with release \"confirmed\"; an exposure of {found} stands beside it"
                    ));
                }
                When::Confirmed
            }
            ReleaseWhen::Submitted => When::Submitted(exposure("submitted")?),
            ReleaseWhen::Verified => When::Verified(exposure("verified")?),
        };
        let (above, without_history) = (self.settle_first_above, self.settle_first_without_history);
        Ok(Release { when, confirmations, pay_first: PayFirst { above, without_history } })
    }
}

/// Of a route or a tool, with the fields that it has and nobody knows.
pub fn read(
    release: &ReleaseConfig,
    unknown: &BTreeMap<String, serde_json::Value>,
    chain: &ChainConfig,
) -> Result<Release, String> {
    match unknown.keys().next() {
        Some(name) => Err(format!("there is no field `{name}`")),
        None => release.read(chain.confirmations),
    }
}

#[cfg(test)]
mod tests {
    use figment::Figment;
    use figment::providers::{Format, Toml};

    use super::*;

    fn read(text: &str, chain: u64) -> Result<Release, String> {
        let config: ReleaseConfig = Figment::from(Toml::string(text)).extract().map_err(|error| error.to_string())?;
        config.read(NonZeroU64::new(chain).unwrap())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_says_why() {
        for (text, said) in [
            ("release = \"at once\"", "unknown variant"),
            ("release = \"verified\"", "exposure_max"),
            ("release = \"submitted\"", "exposure_max"),
            ("release = \"verified\"\nexposure_total_max = \"9\"", "exposure_max"),
            ("release = \"verified\"\nexposure_max = \"9\"\nconfirmations = 3", "confirmations"),
            ("exposure_max = \"9\"", "nothing is owed"),
            ("exposure_total_max = \"9\"", "nothing is owed"),
            ("confirmations = 2", "at least the 3"),
            ("confirmations = 0", "nonzero"),
            ("release = \"verified\"\nexposure_max = \"9.5\"", "ASCII digits"),
            ("release = \"verified\"\nexposure_max = \"-1\"", "ASCII digits"),
            ("settle_first_above = \"1e3\"", "ASCII digits"),
        ] {
            let refused = read(text, 3).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn a_policy_is_read() {
        assert_eq!(read("", 3).unwrap(), Release { confirmations: NonZeroU64::new(3).unwrap(), ..Release::default() });
        assert_eq!(read("confirmations = 12", 3).unwrap().confirmations.get(), 12);
        let said =
            "release = \"verified\"\nexposure_max = \"9\"\nexposure_total_max = \"90\"\nbeyond_exposure = \"refuse\"";
        let exposure = Exposure { payer_max: Amount::new(9), total_max: Some(Amount::new(90)), beyond: Beyond::Refuse };
        assert_eq!(read(said, 1).unwrap().when, When::Verified(exposure));
        let first = read("settle_first_above = \"5\"\nsettle_first_without_history = true", 1).unwrap().pay_first;
        assert_eq!(first, PayFirst { above: Some(Amount::new(5)), without_history: true });
    }
}
