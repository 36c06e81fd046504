//! The configuration of a service: one TOML file, every field named here. `dev` and `demo` build the same value in
//! memory.

mod approval;
mod channels;
mod credentials;
mod facilitate;
mod holds;
mod limits;
mod offer;
mod payees;
pub mod policy;
pub mod release;
mod safety;
mod sell;
mod shop;
mod tools;
mod webhooks;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use engine::limits::{HoursText, LimitText, RefundsText};
use engine::rate::Peg;
use figment::Figment;
use figment::providers::{Format, Toml};
use ledger::origin::Build;
use serde::{Deserialize, Serialize};
use store::{Location, LocationError};

pub use approval::{ApprovalConfig, BearerConfig, RoleConfig};
pub use channels::ChannelsConfig;
pub use credentials::UserCredentialsConfig;
pub use facilitate::FacilitateConfig;
pub use holds::HoldsConfig;
pub use limits::{HotWalletMax, LimitsConfig, RateConfig, WalletChannelsConfig, WalletConfig};
pub use offer::Offer;
pub use payees::{AcpConfig, PayeeConfig, VaultConfig};
pub use policy::PolicyConfig;
pub use release::{BeyondExposure, ReleaseConfig, ReleaseWhen};
use safety::DEVNET_CHAIN_ID;
pub use safety::{ConfigError, is_test_chain};
pub use sell::{CatalogueConfig, Identified, PayBy, RouteConfig, SellConfig};
pub use shop::{CodeConfig, ProductConfig, RateOfShop, ShopConfig};
pub(crate) use shop::{thirty_days, two_thousand};
pub use tools::ToolConfig;
pub use webhooks::{WebhookConfig, check_pattern, matches};

use crate::fetch::{Loopback, Reach};
use crate::screening::ScreeningConfig;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    /// How others reach this service; `http://{listen}` where nothing is said.
    #[serde(default)]
    pub public_url: Option<String>,
    /// A SQLite file, or the address of a PostgreSQL database (`postgres://…`); `DATABASE_URL` in the environment wins.
    pub database: Location,
    /// A file with the master key in hexadecimal; `PURSER_MASTER_KEY` in the environment wins.
    #[serde(default)]
    pub master_key_file: Option<PathBuf>,
    pub chain: ChainConfig,
    #[serde(default)]
    pub tenants: Vec<TenantConfig>,
    /// What a token that is not bound to a key is good for. `everything` is refused by `serve` off the devnet.
    #[serde(default)]
    pub bearer: BearerConfig,
    /// The tenant whose roots callers without a token verify under; verifying takes a token where none is named.
    #[serde(default)]
    pub open_verifier: Option<String>,
    /// How often somebody may call.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Whether `/metrics` takes no token.
    #[serde(default)]
    pub open_metrics: bool,
    /// Where the notes of the books are kept, outside of the database; beside this file where nothing is said.
    #[serde(default)]
    pub notes: Option<PathBuf>,
    /// Hosts of the operator's own network that keys may be fetched from; others are asked at public addresses only.
    #[serde(default)]
    pub internal_hosts: Vec<String>,
    /// Whom money may come from and go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screening: Option<ScreeningConfig>,
    /// How often what is open is held against the chain.
    #[serde(default = "sweep_millis")]
    pub sweep_millis: u64,
}

const fn sweep_millis() -> u64 {
    1_000
}

const fn one_block() -> NonZeroU64 {
    NonZeroU64::MIN
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    pub rpc_url: String,
    /// Other nodes of the same chain, asked where the first gives no answer.
    #[serde(default)]
    pub fallback_rpc_urls: Vec<String>,
    pub chain_id: u64,
    /// In how many blocks a settlement must be before it is posted, its own counted. Until a block is final the chain may
    /// take it back all the same; the books follow.
    #[serde(default = "one_block")]
    pub confirmations: NonZeroU64,
    /// Real money: `serve` refuses a chain that is neither the devnet nor a known test network without it.
    #[serde(default)]
    pub allow_mainnet: bool,
    /// Tokens beyond the built-in table. Their scale is trusted because it stands here.
    #[serde(default)]
    pub assets: Vec<AssetConfig>,
    /// What x402 version 1 calls this chain, where the official SDKs have no name for it.
    #[serde(default)]
    pub v1_name: Option<String>,
    /// Contracts that may be called to make a payer's wallet which is not there yet (ERC-6492), at the relayer's expense.
    #[serde(default)]
    pub wallet_factories: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetConfig {
    pub address: String,
    pub name: String,
    pub version: String,
    pub decimals: u8,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    pub id: String,
    /// What an approval takes: `token` or `passkey`.
    #[serde(default)]
    pub approval: ApprovalConfig,
    /// How long a question to a person stands, and how many are put to one within an hour.
    #[serde(default)]
    pub decision_seconds: Option<i64>,
    #[serde(default)]
    pub prompts_per_hour: Option<u32>,
    pub currency: String,
    /// The cap of the whole tenant in major units; none where nothing is said.
    #[serde(default)]
    pub cap: Option<String>,
    /// So much, or so many payments, a period or to each payee: of the whole tenant.
    #[serde(default)]
    pub limits: Vec<LimitText>,
    /// When anything may be paid.
    #[serde(default)]
    pub hours: Option<HoursText>,
    /// `keep` or `restore`: whether what payees give back can be spent again. Of a node that is open it never changes.
    #[serde(default)]
    pub refunds: RefundsText,
    /// A trust file: who may be root of what is verified here for others, and whose tokens say who calls.
    #[serde(default)]
    pub trust: Option<PathBuf>,
    /// With which credentials people may sign their mandates themselves; with none where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_credentials: Option<UserCredentialsConfig>,
    /// What is done with payments that a mandate allows; where nothing is said they are paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyConfig>,
    #[serde(default)]
    pub people: Vec<PersonConfig>,
    #[serde(default)]
    pub agents: Vec<AgentConfig>,
    #[serde(default)]
    pub merchants: Vec<MerchantConfig>,
    #[serde(default)]
    pub operators: Vec<OperatorConfig>,
    #[serde(default)]
    pub payees: Vec<PayeeConfig>,
    /// Whom payment mandates may be closed for beside the payees themselves: credential providers, networks, processors.
    #[serde(default)]
    pub verifiers: Vec<VerifierConfig>,
    /// Closes for any verifier, and takes the payee's receipt for theirs: refused by `serve` off the devnet.
    #[serde(default)]
    pub any_verifier: bool,
    #[serde(default)]
    pub pegs: Vec<Peg>,
    /// Whether this tenant pays; `purser keys list` shows the address.
    #[serde(default)]
    pub wallet: Option<WalletConfig>,
    /// How much may lie in the wallet, whose key is in memory; above it `/metrics` and an alert say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_wallet_max: Option<HotWalletMax>,
    /// The same of the relayer, in gwei of the chain's own coin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relayer_max_gwei: Option<u64>,
    #[serde(default)]
    pub sell: Option<SellConfig>,
    #[serde(default)]
    pub facilitate: Option<FacilitateConfig>,
    /// A catalogue that ACP and UCP sell from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shop: Option<ShopConfig>,
    /// That its agents may leave cards here, for vault tokens (ACP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultConfig>,
    /// Who is told what happens here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookConfig>,
    /// Seconds a signed payment lives at most.
    #[serde(default)]
    pub payment_seconds: Option<u64>,
    /// Seconds that a mandate which is closed for somebody else lives at most.
    #[serde(default)]
    pub closing_seconds: Option<i64>,
    #[serde(default)]
    pub hold_seconds: Option<i64>,
    /// How many payments of one agent may be open at once, and how many refusals that the journal keeps it may cause in a
    /// short time: beyond, a 429.
    #[serde(default)]
    pub open_payments: Option<u32>,
    #[serde(default)]
    pub refusals_burst: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonConfig {
    pub id: String,
    /// What this person does in the console beside answering for agents of their own.
    #[serde(default)]
    pub role: RoleConfig,
    #[serde(default)]
    pub cap: Option<String>,
    /// The same over all of this person's mandates.
    #[serde(default)]
    pub limits: Vec<LimitText>,
    #[serde(default)]
    pub hours: Option<HoursText>,
    #[serde(default)]
    pub refunds: RefundsText,
    /// The public key with which this person's client gets tokens (RFC 7523).
    #[serde(default)]
    pub jwk: Option<mandates::json::Object>,
    #[serde(default)]
    pub issuer: Option<IssuerConfig>,
}

/// An outside authorization server whose access tokens (RFC 9068) this principal comes with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// As its tokens have it in `iss`.
    pub url: String,
    /// What its tokens call the principal in `sub`.
    pub subject: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    pub id: String,
    #[serde(default)]
    pub jwk: Option<mandates::json::Object>,
    #[serde(default)]
    pub issuer: Option<IssuerConfig>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    pub id: String,
    /// The person who answers for it.
    pub sponsor: String,
    #[serde(default)]
    pub jwk: Option<mandates::json::Object>,
    #[serde(default)]
    pub issuer: Option<IssuerConfig>,
    /// What its software is: `sha256:` and 64 digits. In no build's scope where nothing is said.
    #[serde(default)]
    pub build: Option<Build>,
    /// Whose expense it is where the agent does not say (`cost_centre` of a mandate).
    #[serde(default)]
    pub cost_centre: Option<String>,
    /// The day (`2027-01-31`, UTC) from which on somebody must have looked at it again: `purser principal report` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_by: Option<String>,
    /// Days without a payment after which it is stopped; never where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dormant_after_days: Option<NonZeroU32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MerchantConfig {
    /// The principal that may sign carts.
    pub id: String,
    pub merchant_id: String,
    pub name: String,
    #[serde(default)]
    pub website: Option<String>,
    #[serde(default)]
    pub jwk: Option<mandates::json::Object>,
    #[serde(default)]
    pub issuer: Option<IssuerConfig>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierConfig {
    /// What it has mandates closed for, in `aud`.
    pub audience: String,
    /// Public keys that it signs receipts with.
    pub keys: Vec<mandates::json::Object>,
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |why: String| ConfigError::Unreadable { path: path.display().to_string(), why };
        if !path.is_file() {
            return Err(unreadable("there is no such file".into()));
        }
        let read = Figment::new().merge(Toml::file_exact(path)).extract();
        let mut config: Self = read.map_err(|error| unreadable(error.to_string()))?;
        if let Ok(url) = std::env::var("DATABASE_URL") {
            config.database =
                url.parse().map_err(|error: LocationError| unreadable(format!("DATABASE_URL: {error}")))?;
        }
        Ok(config)
    }

    pub fn public_url(&self) -> String {
        let url = self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listen));
        url.trim_end_matches('/').to_owned()
    }

    pub fn is_devnet(&self) -> bool {
        self.chain.chain_id == DEVNET_CHAIN_ID
    }

    /// Whom keys may be fetched from: on the devnet this machine, too.
    pub fn reach(&self) -> Reach {
        let loopback = if self.is_devnet() { Loopback::Allowed } else { Loopback::Refused };
        Reach { loopback, internal_hosts: self.internal_hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// Every node, the preferred one first.
    pub fn rpc_urls(&self) -> Vec<String> {
        std::iter::once(&self.chain.rpc_url).chain(&self.chain.fallback_rpc_urls).cloned().collect()
    }

    /// What a running service cannot take up: the rest may change under it.
    pub fn fixed(&self) -> Self {
        let mut fixed = self.clone();
        for tenant in &mut fixed.tenants {
            *tenant = TenantConfig {
                approval: ApprovalConfig::Token,
                decision_seconds: None,
                prompts_per_hour: None,
                cap: None,
                limits: Vec::new(),
                hours: None,
                refunds: RefundsText::Keep,
                trust: None,
                user_credentials: None,
                policy: None,
                people: Vec::new(),
                agents: Vec::new(),
                merchants: Vec::new(),
                operators: Vec::new(),
                payees: Vec::new(),
                verifiers: Vec::new(),
                any_verifier: false,
                pegs: Vec::new(),
                webhooks: Vec::new(),
                payment_seconds: None,
                closing_seconds: None,
                hold_seconds: None,
                open_payments: None,
                refusals_burst: None,
                ..tenant.clone()
            };
        }
        fixed
    }

    pub fn tenant(&self, id: &str) -> Option<&TenantConfig> {
        self.tenants.iter().find(|tenant| tenant.id == id)
    }
}
