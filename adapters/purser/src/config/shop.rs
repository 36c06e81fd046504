//! `[tenants.shop]`: a catalogue, and what it costs to send things. Amounts are minor units of the tenant's currency.

use std::collections::BTreeMap;

use commerce::checkout::Off;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShopConfig {
    /// Who of `[[tenants.merchants]]` signs checkouts and answers for orders.
    pub merchant: String,
    pub products: Vec<ProductConfig>,
    /// Ways to send what ships.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<RateOfShop>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<CodeConfig>,
    /// In hundredths of a percent.
    #[serde(default)]
    pub tax_basis_points: u32,
    #[serde(default = "half_an_hour")]
    pub session_seconds: i64,
    /// How long a checkout that was bought is kept; others are taken out a day after they are over.
    #[serde(default = "thirty_days")]
    pub kept_seconds: i64,
    /// How many that were not bought one caller (ACP) or one address (UCP) may have lying here.
    #[serde(default = "two_thousand")]
    pub sessions_max: u64,
    /// Whether platforms that speak UCP must sign what they ask (RFC 9421) with a key of their profile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed_requests_only: bool,
    /// `terms_of_service`, `privacy_policy`, `refund_policy`, …: addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// With it, play money is taken: never read from a file, `dev` alone sets it.
    #[serde(skip)]
    pub sandbox_secret: Option<String>,
}

const fn half_an_hour() -> i64 {
    1_800
}

pub(crate) const fn thirty_days() -> i64 {
    30 * 24 * 3_600
}

pub(crate) const fn two_thousand() -> u64 {
    2_000
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductConfig {
    pub id: String,
    pub title: String,
    pub price: u64,
    /// Without end where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<u64>,
    #[serde(default)]
    pub ships: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateOfShop {
    pub id: String,
    pub title: String,
    pub price: u64,
    /// Rates of one service are alternatives by country.
    pub service: String,
    /// ISO 3166-1 alpha-2; anywhere else where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_from: Option<u64>,
    /// Products with which it is free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free_for: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeConfig {
    pub code: String,
    pub title: String,
    /// `{ percent = 10 }` or `{ amount = 500 }`.
    pub off: Off,
}
