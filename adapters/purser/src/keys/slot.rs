//! What keys there are: a place for one is a tenant and a purpose.

use std::fmt;
use std::str::FromStr;

use crate::config::{Config, FacilitateConfig, SellConfig};

/// What a key is for. One key, one purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The trusted surface: root of every mandate of the tenant.
    Provider,
    Receipts,
    /// An agent's key, held here; it closes that agent's mandates.
    Agent(String),
    /// A merchant's key; it signs carts.
    Merchant(String),
    /// The key with which a demo principal proves itself: of `dev` only.
    Client(String),
    /// The service's access tokens.
    Tokens,
    Wallet,
    Relayer,
    /// The second account that carries payments, and so on.
    FurtherRelayer(u32),
    /// Authorizes claims and refunds of channels for whoever sells.
    Channels,
    /// Authorizes what is captured of held payments, and what goes back, for whoever sells.
    Holds,
    /// Names purchases, so that a retry after a crash derives the same nonce.
    TenantSecret,
    /// Salts the journal's leaves.
    JournalSalt,
    /// Signs the journal's checkpoints.
    Journal,
    /// Seals the cards of the vault.
    Vault,
    /// Signs what a receiver of events is told; the receiver has it too.
    Webhook(String),
}

/// What a key of a purpose is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Material {
    P256,
    Secp256k1,
    Ed25519,
    /// 32 bytes for a MAC.
    Mac,
    /// 32 bytes that seal.
    Sealing,
    /// 32 bytes for a MAC that another party checks.
    Shared,
}

impl Purpose {
    /// Of every account that carries payments.
    pub fn relayers(config: &FacilitateConfig) -> impl Iterator<Item = Self> + use<> {
        std::iter::once(Self::Relayer).chain((2..=config.signers.get()).map(Self::FurtherRelayer))
    }

    pub const fn material(&self) -> Material {
        match self {
            Self::Wallet | Self::Relayer | Self::FurtherRelayer(_) => Material::Secp256k1,
            Self::Channels | Self::Holds => Material::Secp256k1,
            Self::TenantSecret | Self::JournalSalt => Material::Mac,
            Self::Journal => Material::Ed25519,
            Self::Vault => Material::Sealing,
            Self::Webhook(_) => Material::Shared,
            Self::Provider | Self::Receipts | Self::Tokens => Material::P256,
            Self::Agent(_) | Self::Merchant(_) | Self::Client(_) => Material::P256,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider => f.write_str("provider"),
            Self::Receipts => f.write_str("receipts"),
            Self::Agent(name) => write!(f, "agent/{name}"),
            Self::Merchant(name) => write!(f, "merchant/{name}"),
            Self::Client(name) => write!(f, "client/{name}"),
            Self::Tokens => f.write_str("tokens"),
            Self::Wallet => f.write_str("wallet"),
            Self::Relayer => f.write_str("relayer"),
            Self::FurtherRelayer(number) => write!(f, "relayer/{number}"),
            Self::Channels => f.write_str("channels"),
            Self::Holds => f.write_str("holds"),
            Self::TenantSecret => f.write_str("tenant-secret"),
            Self::JournalSalt => f.write_str("journal-salt"),
            Self::Journal => f.write_str("journal"),
            Self::Vault => f.write_str("vault"),
            Self::Webhook(name) => write!(f, "webhook/{name}"),
        }
    }
}

impl FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('/') {
            Some(("agent", name)) if !name.is_empty() => Self::Agent(name.to_owned()),
            Some(("merchant", name)) if !name.is_empty() => Self::Merchant(name.to_owned()),
            Some(("client", name)) if !name.is_empty() => Self::Client(name.to_owned()),
            Some(("webhook", name)) if !name.is_empty() => Self::Webhook(name.to_owned()),
            Some(("relayer", number)) => further_relayer(number).ok_or_else(|| unknown(text))?,
            None => match text {
                "provider" => Self::Provider,
                "receipts" => Self::Receipts,
                "tokens" => Self::Tokens,
                "wallet" => Self::Wallet,
                "relayer" => Self::Relayer,
                "channels" => Self::Channels,
                "holds" => Self::Holds,
                "tenant-secret" => Self::TenantSecret,
                "journal-salt" => Self::JournalSalt,
                "journal" => Self::Journal,
                "vault" => Self::Vault,
                _ => return Err(unknown(text)),
            },
            Some(_) => return Err(unknown(text)),
        })
    }
}

/// One spelling a number: `relayer/02` is no second place.
fn further_relayer(number: &str) -> Option<Purpose> {
    let parsed: u32 = number.parse().ok()?;
    (parsed >= 2 && parsed.to_string() == number).then_some(Purpose::FurtherRelayer(parsed))
}

fn unknown(text: &str) -> String {
    let known = "provider, receipts, agent/NAME, merchant/NAME, tokens, wallet, relayer, relayer/2, channels, holds, tenant-secret, journal-salt, journal, vault or webhook/NAME";
    format!("a purpose is {known}; `{text}` was given")
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub tenant: String,
    pub purpose: Purpose,
}

/// Whose the keys are that belong to no tenant.
pub const SERVICE: &str = "service";

impl Slot {
    pub fn new(tenant: &str, purpose: Purpose) -> Self {
        Self { tenant: tenant.to_owned(), purpose }
    }

    pub fn tokens() -> Self {
        Self::new(SERVICE, Purpose::Tokens)
    }

    /// Every key that a configuration needs.
    pub fn all(config: &Config) -> Vec<Self> {
        let mut slots = vec![Self::tokens()];
        for tenant in &config.tenants {
            let mut add = |purpose| slots.push(Self::new(&tenant.id, purpose));
            add(Purpose::TenantSecret);
            add(Purpose::JournalSalt);
            add(Purpose::Journal);
            add(Purpose::Provider);
            add(Purpose::Receipts);
            tenant.agents.iter().for_each(|agent| add(Purpose::Agent(agent.id.clone())));
            tenant.merchants.iter().for_each(|merchant| add(Purpose::Merchant(merchant.id.clone())));
            if tenant.wallet.is_some() {
                add(Purpose::Wallet);
            }
            if tenant.sell.as_ref().is_some_and(SellConfig::has_channels) {
                add(Purpose::Channels);
            }
            if tenant.sell.as_ref().is_some_and(SellConfig::has_holds) {
                add(Purpose::Holds);
            }
            if tenant.vault.is_some() {
                add(Purpose::Vault);
            }
            tenant.webhooks.iter().for_each(|webhook| add(Purpose::Webhook(webhook.name.clone())));
            if let Some(facilitate) = &tenant.facilitate {
                Purpose::relayers(facilitate).for_each(add);
            }
        }
        slots
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.purpose, self.tenant)
    }
}
