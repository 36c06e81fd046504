//! Who is paid, by what each rail calls them, and the vault that holds cards for them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayeeConfig {
    pub id: String,
    pub merchant_id: String,
    pub name: String,
    #[serde(default)]
    pub website: Option<String>,
    #[serde(default)]
    pub origins: Vec<String>,
    /// Addresses by CAIP-2 network.
    #[serde(default)]
    pub pay_to: BTreeMap<String, Vec<String>>,
    /// Public keys that it signs carts with.
    #[serde(default)]
    pub keys: Vec<mandates::json::Object>,
    /// That vault tokens may be asked for in its favour (ACP); none where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acp: Option<AcpConfig>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcpConfig {
    /// What agents call it (`allowance.merchant_id`); `merchant_id` where nothing is said.
    #[serde(default)]
    pub ids: Vec<String>,
    /// The merchant that redeems its tokens, as `tenant:principal` of this service.
    pub redeemed_by: String,
    /// Whether that merchant is handed the cards themselves (UCP, `/detokenize`). Whoever says so answers for what the
    /// merchant does with them (PCI DSS).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub receives_cards: bool,
    /// What it signs with what it tells of orders (`Merchant-Signature`): a file of 16 bytes or more. Nothing is taken
    /// without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders_secret_file: Option<PathBuf>,
}

/// That agents of this tenant may leave cards here, and who charges them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// The base address of the payment processor, `https://…`; on the devnet `http://127.0.0.1…` too (`purser acquirer`).
    pub acquirer: String,
    /// What it knows us by, and signs its notices with: a file of 16 bytes or more. On the devnet it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// How long it is waited for. Whoever is not answered by then is told that nobody knows yet.
    #[serde(default = "timeout_millis")]
    pub timeout_millis: u64,
}

const fn timeout_millis() -> u64 {
    10_000
}

impl VaultConfig {
    pub fn at(acquirer: &str) -> Self {
        Self { acquirer: acquirer.to_owned(), secret_file: None, timeout_millis: timeout_millis() }
    }
}
