//! What a seller requires, read from the wire.

use alloy_primitives::{Address, U256};
use ledger::money::Amount;
use serde_json::Value;

use super::{SCHEME, TokenDomain};
use crate::limit::DOMAIN_TEXT_BYTES_MAX;
use crate::network::{Asset, AssetTable, Network};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::value;
use crate::wire::PaymentRequirements;

/// The values of one `exact` requirement. Not yet trusted: see [`Terms::trusted_asset`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub network: Network,
    pub token: Address,
    pub amount: Amount,
    pub pay_to: Address,
    pub max_timeout_seconds: u64,
    pub domain: TokenDomain,
}

impl Terms {
    pub fn read(requirements: &PaymentRequirements) -> Result<Self, Refusal> {
        if requirements.scheme != SCHEME {
            return Err(Refusal::new(Reason::ExactScheme, "scheme", SCHEME, &requirements.scheme));
        }
        let network: Network = requirements.network.parse().map_err(|_| {
            Refusal::new(Reason::InvalidNetwork, "network", "eip155 and a chain id", &requirements.network)
        })?;
        check_transfer_method(requirements)?;
        let token = read_address(&requirements.asset, "asset")?;
        Ok(Self {
            network,
            token,
            domain: TokenDomain {
                name: domain_text(requirements, "name", "extra.name")?,
                version: domain_text(requirements, "version", "extra.version")?,
                chain_id: network.chain_id(),
                verifying_contract: token,
            },
            amount: read_amount(&requirements.amount)?,
            pay_to: read_address(&requirements.pay_to, "payTo")?,
            max_timeout_seconds: read_timeout(requirements.max_timeout_seconds)?,
        })
    }

    /// The row of the table for this token. Its name and version must be those that the requirement states.
    pub fn trusted_asset<'a>(&self, assets: &'a AssetTable) -> Result<&'a Asset, Refusal> {
        let asset = assets.find(self.network, self.token).ok_or_else(|| {
            let found = format!("{} on {}", self.token, self.network);
            Refusal::new(Reason::AssetUnknown, "asset", "an asset of the trusted table", found)
        })?;
        if asset.name != self.domain.name {
            return Err(Refusal::new(Reason::TokenNameMismatch, "extra.name", &asset.name, &self.domain.name));
        }
        if asset.version != self.domain.version {
            let (expected, found) = (&asset.version, &self.domain.version);
            return Err(Refusal::new(Reason::TokenVersionMismatch, "extra.version", expected, found));
        }
        if asset.transfer != crate::network::TransferMethod::Eip3009 {
            let found = format!("{} moves by Permit2 only", self.token);
            return Err(Refusal::new(Reason::Eip3009NotSupported, "asset", "a token with EIP-3009", found));
        }
        Ok(asset)
    }

    pub fn value(&self) -> U256 {
        U256::from(self.amount.get())
    }
}

fn check_transfer_method(requirements: &PaymentRequirements) -> Result<(), Refusal> {
    match requirements.extra_field("assetTransferMethod") {
        None => Ok(()),
        Some(Value::String(method)) if method == "eip3009" => Ok(()),
        Some(other) => {
            Err(Refusal::new(Reason::UnsupportedPayloadType, "extra.assetTransferMethod", "eip3009 or none", other))
        }
    }
}

fn domain_text(requirements: &PaymentRequirements, name: &str, field: &'static str) -> Result<String, Refusal> {
    match requirements.extra_field(name) {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= DOMAIN_TEXT_BYTES_MAX => Ok(text.clone()),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), Value::to_string);
            Err(Refusal::new(Reason::MissingDomain, field, "the text of the token's EIP-712 domain", found))
        }
    }
}

fn read_address(text: &str, field: &'static str) -> Result<Address, Refusal> {
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
