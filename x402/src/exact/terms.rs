//! What a seller requires, read from the wire.

use alloy_primitives::{Address, U256};
use ledger::money::Amount;
use serde_json::Value;

use super::{SCHEME, TokenDomain};
use crate::auth_capture::EscrowTerms;
use crate::limit::DOMAIN_TEXT_BYTES_MAX;
use crate::network::{Asset, AssetTable, Network, TransferMethod};
use crate::permit2;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::value;
use crate::wire::PaymentRequirements;

/// How a requirement wants the token moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    Eip3009,
    /// Scheme `exact` by Permit2.
    Permit2,
    /// Scheme `upto`, which moves by Permit2 alone.
    Upto {
        facilitator: Address,
    },
    /// Scheme `batch-settlement`: into the escrow, by EIP-3009.
    Channel {
        receiver_authorizer: Address,
        /// Seconds.
        withdraw_delay: u64,
    },
    /// Scheme `auth-capture`: held in the escrow, by EIP-3009.
    Escrow(EscrowTerms),
}

impl Transfer {
    /// What moves only tokens that have it, and is signed in the token's own domain.
    const fn is_by_eip3009(self) -> bool {
        match self {
            Self::Eip3009 | Self::Channel { .. } | Self::Escrow(_) => true,
            Self::Permit2 | Self::Upto { .. } => false,
        }
    }
}

/// The values of one requirement. Not yet trusted: see [`Terms::trusted_asset`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub network: Network,
    pub token: Address,
    /// With `upto` the most that may be charged.
    pub amount: Amount,
    pub pay_to: Address,
    pub max_timeout_seconds: u64,
    pub transfer: Transfer,
    /// By Permit2 nothing is signed in it, so name and version may be left out, and are empty then.
    pub domain: TokenDomain,
}

impl Terms {
    /// Of a requirement of scheme `exact`.
    pub fn read(requirements: &PaymentRequirements) -> Result<Self, Refusal> {
        if requirements.scheme != SCHEME {
            return Err(Refusal::new(Reason::ExactScheme, "scheme", SCHEME, &requirements.scheme));
        }
        Self::read_values(requirements, transfer_method)
    }

    /// Of whichever scheme this is; `transfer` reads how the token moves.
    pub(crate) fn read_values(
        requirements: &PaymentRequirements,
        transfer: impl FnOnce(&PaymentRequirements) -> Result<Transfer, Refusal>,
    ) -> Result<Self, Refusal> {
        let network: Network = requirements.network.parse().map_err(|_| {
            Refusal::new(Reason::InvalidNetwork, "network", "eip155 and a chain id", &requirements.network)
        })?;
        let transfer = transfer(requirements)?;
        let token = read_address(&requirements.asset, "asset")?;
        Ok(Self {
            network,
            token,
            transfer,
            domain: TokenDomain {
                name: domain_text(requirements, transfer, "name", "extra.name")?,
                version: domain_text(requirements, transfer, "version", "extra.version")?,
                chain_id: network.chain_id(),
                verifying_contract: token,
            },
            amount: read_amount(&requirements.amount)?,
            pay_to: read_address(&requirements.pay_to, "payTo")?,
            max_timeout_seconds: read_timeout(requirements.max_timeout_seconds)?,
        })
    }

    /// The row of the table for this token. Its name and version must be those that the requirement states. Permit2
    /// moves any token; EIP-3009 only those that have it.
    pub fn trusted_asset<'a>(&self, assets: &'a AssetTable) -> Result<&'a Asset, Refusal> {
        let asset = assets.find(self.network, self.token).ok_or_else(|| {
            if !assets.has(self.network) {
                let expected = "a network of the trusted table";
                return Refusal::new(Reason::InvalidNetwork, "network", expected, self.network);
            }
            let found = format!("{} on {}", self.token, self.network);
            Refusal::new(Reason::AssetUnknown, "asset", "an asset of the trusted table", found)
        })?;
        let stated = |text: &str| self.transfer.is_by_eip3009() || !text.is_empty();
        if stated(&self.domain.name) && asset.name != self.domain.name {
            return Err(Refusal::new(Reason::TokenNameMismatch, "extra.name", &asset.name, &self.domain.name));
        }
        if stated(&self.domain.version) && asset.version != self.domain.version {
            let (expected, found) = (&asset.version, &self.domain.version);
            return Err(Refusal::new(Reason::TokenVersionMismatch, "extra.version", expected, found));
        }
        if self.transfer.is_by_eip3009() && asset.transfer != TransferMethod::Eip3009 {
            let found = format!("{} moves by Permit2 only", self.token);
            return Err(Refusal::new(Reason::Eip3009NotSupported, "asset", "a token with EIP-3009", found));
        }
        Ok(asset)
    }

    pub fn value(&self) -> U256 {
        U256::from(self.amount.get())
    }
}

fn transfer_method(requirements: &PaymentRequirements) -> Result<Transfer, Refusal> {
    match requirements.extra_field("assetTransferMethod") {
        None => Ok(Transfer::Eip3009),
        Some(Value::String(method)) if method == "eip3009" => Ok(Transfer::Eip3009),
        Some(Value::String(method)) if method == permit2::METHOD => Ok(Transfer::Permit2),
        Some(other) => {
            let expected = "eip3009, permit2 or none";
            Err(Refusal::new(Reason::UnsupportedPayloadType, "extra.assetTransferMethod", expected, other))
        }
    }
}

fn domain_text(
    requirements: &PaymentRequirements,
    transfer: Transfer,
    name: &str,
    field: &'static str,
) -> Result<String, Refusal> {
    match requirements.extra_field(name) {
        None if !transfer.is_by_eip3009() => Ok(String::new()),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= DOMAIN_TEXT_BYTES_MAX => Ok(text.clone()),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), Value::to_string);
            Err(Refusal::new(Reason::MissingDomain, field, "the text of the token's EIP-712 domain", found))
        }
    }
}

pub(crate) fn read_address(text: &str, field: &'static str) -> Result<Address, Refusal> {
    let address =
        value::address(text).map_err(|error| Refusal::new(Reason::InvalidPaymentRequirements, field, error, text))?;
    if address.is_zero() {
        return Err(Refusal::new(Reason::InvalidPaymentRequirements, field, "an address other than zero", text));
    }
    Ok(address)
}

/// Zero is refused (SDKs truncate small prices to it); so is more than the ledger counts.
fn read_amount(text: &str) -> Result<Amount, Refusal> {
    match text.parse::<Amount>() {
        Ok(amount) if !amount.is_zero() => Ok(amount),
        Ok(_) => Err(Refusal::new(Reason::InvalidPaymentRequirements, "amount", "more than zero", text)),
        Err(error) => Err(Refusal::new(Reason::InvalidPaymentRequirements, "amount", error, text)),
    }
}

fn read_timeout(seconds: u64) -> Result<u64, Refusal> {
    if seconds == 0 {
        let field = "maxTimeoutSeconds";
        return Err(Refusal::new(Reason::InvalidPaymentRequirements, field, "more than zero", seconds));
    }
    Ok(seconds)
}
