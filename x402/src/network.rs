//! Networks (CAIP-2) and the assets on them whose scale and EIP-712 domain are trusted.
//!
//! Decimals and domain come from this table or from the operator's configuration, never from the counterparty: a
//! 402 that says otherwise is refused. The rows are those on which the official TypeScript and Python SDKs agree,
//! or that one of them states (npm `@x402/evm` 2.27.0, PyPI `x402` 2.25.0); rows of x402-rs alone give no decimals
//! and are left out. Base mainnet's token is named "USD Coin" and Base Sepolia's "USDC".

mod names;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use alloy_primitives::{Address, address};
use ledger::money::AssetId;

use crate::exact::TokenDomain;
use crate::limit::DOMAIN_TEXT_BYTES_MAX;
use crate::refusal::echo;

pub use names::{NetworkNameError, NetworkNames};

/// An EVM chain, `eip155:N` in CAIP-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(u64);

impl Network {
    /// `None` for chain id 0, which no chain has.
    pub const fn new(chain_id: u64) -> Option<Self> {
        if chain_id == 0 { None } else { Some(Self(chain_id)) }
    }

    pub const fn chain_id(self) -> u64 {
        self.0
    }

    /// The CAIP-19 name of a token here, in lower case, so that one contract has one name.
    pub fn asset_id(self, token: Address) -> Result<AssetId, ledger::money::ParseAssetIdError> {
        format!("{self}/erc20:{token:#x}").parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eip155:{}", self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is `eip155:` and a chain id without leading zero; this is `{0}`")]
pub struct ParseNetworkError(String);

impl ParseNetworkError {
    pub const fn code(&self) -> &'static str {
        "invalid_network"
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("eip155:")
            .filter(|digits| !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .and_then(Self::new)
            .ok_or_else(|| ParseNetworkError(echo(text)))
    }
}

/// How a token can be moved by a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferMethod {
    Eip3009,
    Permit2,
}

/// A token that we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    pub network: Network,
    pub address: Address,
    /// EIP-712 domain.
    pub name: String,
    pub version: String,
    pub decimals: u8,
    pub transfer: TransferMethod,
}

impl Asset {
    pub fn id(&self) -> Result<AssetId, ledger::money::ParseAssetIdError> {
        self.network.asset_id(self.address)
    }

    pub fn domain(&self) -> TokenDomain {
        TokenDomain {
            name: self.name.clone(),
            version: self.version.clone(),
            chain_id: self.network.chain_id(),
            verifying_contract: self.address,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssetTableError {
    #[error("{network} {address}: the table has this asset already, with other facts; a trusted row is not replaced")]
    AlreadyListed { network: Network, address: Address },
    #[error("{field}: expected 1 to {max} bytes, found {found}")]
    Text { field: &'static str, max: usize, found: usize },
    #[error("decimals: expected at most {max}, found {found}")]
    Decimals { max: u8, found: u8 },
}

impl AssetTableError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AlreadyListed { .. } => "asset_already_listed",
            Self::Text { .. } => "asset_text_length",
            Self::Decimals { .. } => "asset_decimals",
        }
    }
}

/// 10^38 is the largest power of ten in a `u128`.
const DECIMALS_MAX: u8 = 38;

/// The assets that are accepted at all. Everything else is refused.
#[derive(Clone, Debug)]
pub struct AssetTable(BTreeMap<(Network, Address), Asset>);

impl AssetTable {
    pub const fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// The rows of this module.
    pub fn trusted() -> Self {
        Self(
            ROWS.iter()
                .map(|&(chain_id, address, name, version, decimals, transfer)| {
                    let network = Network(chain_id);
                    let asset = Asset {
                        network,
                        address,
                        name: name.to_owned(),
                        version: version.to_owned(),
                        decimals,
                        transfer,
                    };
                    ((network, address), asset)
                })
                .collect(),
        )
    }

    /// Adds an asset of the operator's (a devnet's). The same facts again change nothing; other facts are refused.
    pub fn add(&mut self, asset: Asset) -> Result<(), AssetTableError> {
        for (field, text) in [("name", &asset.name), ("version", &asset.version)] {
            if text.is_empty() || text.len() > DOMAIN_TEXT_BYTES_MAX {
                return Err(AssetTableError::Text { field, max: DOMAIN_TEXT_BYTES_MAX, found: text.len() });
            }
        }
        if asset.decimals > DECIMALS_MAX {
            return Err(AssetTableError::Decimals { max: DECIMALS_MAX, found: asset.decimals });
        }
        let key = (asset.network, asset.address);
        match self.0.get(&key) {
            Some(listed) if *listed != asset => {
                Err(AssetTableError::AlreadyListed { network: asset.network, address: asset.address })
            }
            _ => {
                self.0.insert(key, asset);
                Ok(())
            }
        }
    }

    pub fn find(&self, network: Network, address: Address) -> Option<&Asset> {
        self.0.get(&(network, address))
    }

    /// Whether there is an asset of it here.
    pub fn has(&self, network: Network) -> bool {
        self.0.keys().any(|(of, _)| *of == network)
    }

    pub fn find_id(&self, id: &AssetId) -> Option<&Asset> {
        let (network, token) = id.as_str().split_once("/erc20:")?;
        self.find(network.parse().ok()?, crate::value::address(token).ok()?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Asset> {
        self.0.values()
    }
}

type Row = (u64, Address, &'static str, &'static str, u8, TransferMethod);

use TransferMethod::{Eip3009, Permit2};

const ROWS: &[Row] = &[
    (1, address!("A0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"), "USD Coin", "2", 6, Eip3009),
    (14, address!("e7cd86e13AC4309349F30B3435a9d337750fC82D"), "USD\u{20ae}0", "1", 6, Eip3009),
    (50, address!("fA2958CB79b0491CC627c1557F441eF849Ca8eb1"), "USDC", "2", 6, Eip3009),
    (51, address!("b5AB69F7bBada22B28e79C8FFAECe55eF1c771D4"), "USDC", "2", 6, Eip3009),
    (137, address!("3c499c542cEF5E3811e1192ce70d8cC03d5c3359"), "USD Coin", "2", 6, Eip3009),
    (143, address!("754704Bc059F8C67012fEd69BC8A327a5aafb603"), "USDC", "2", 6, Eip3009),
    (988, address!("779Ded0c9e1022225f8E0630b35a9b54bE713736"), "USDT0", "1", 6, Eip3009),
    (1328, address!("4fCF1784B31630811181f670Aea7A7bEF803eaED"), "USDC", "2", 6, Eip3009),
    (1329, address!("e15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392"), "USDC", "2", 6, Eip3009),
    (2201, address!("78Cf24370174180738C5B8E352B6D14c83a6c9A9"), "USDT0", "1", 6, Eip3009),
    (4326, address!("FAfDdbb3FC7688494971a79cc65DCa3EF82079E7"), "MegaUSD", "1", 18, Permit2),
    (5042, address!("3600000000000000000000000000000000000000"), "USDC", "2", 6, Eip3009),
    (8453, address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"), "USD Coin", "2", 6, Eip3009),
    (10143, address!("534b2f3A21130d7a60830c2Df862319e593943A3"), "USDC", "2", 6, Eip3009),
    (31611, address!("118917a40FAF1CD7a13dB0Ef56C86De7973Ac503"), "Mezo USD", "1", 18, Permit2),
    (31612, address!("dD468A1DDc392dcdbEf6db6e34E89AA338F9F186"), "Mezo USD", "1", 18, Permit2),
    (36900, address!("9cb8142aEBBcdc60AF7c97Af897A67A8f3CA71C2"), "USDC.e", "2", 6, Eip3009),
    (38833, address!("A5b8BF902b2844dA17d4506cc827F7F1681735E7"), "USDC", "1", 6, Permit2),
    (42161, address!("af88d065e77c8cC2239327C5EDb3A432268e5831"), "USD Coin", "2", 6, Eip3009),
    (42220, address!("cebA9300f2b948710d2653dD7B07f33A8B32118C"), "USDC", "2", 6, Eip3009),
    (42220, address!("48065fbBE25f71C9282ddf5e1cD6D6A887483D5e"), "Tether USD", "1", 6, Eip3009),
    (42220, address!("D2ab3C9A02DBBAB236BfEC45D1d755DF4267F771"), "Tether America USD", "1", 6, Eip3009),
    (43114, address!("B97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"), "USD Coin", "2", 6, Eip3009),
    (72344, address!("33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb"), "Stable Coin", "1", 6, Permit2),
    (84532, address!("036CbD53842c5426634e7929541eC2318f3dCF7e"), "USDC", "2", 6, Eip3009),
    (181228, address!("401eCb1D350407f13ba348573E5630B83638E30D"), "Bridged USDC", "2", 6, Eip3009),
    (190415, address!("401eCb1D350407f13ba348573E5630B83638E30D"), "Bridged USDC", "2", 6, Eip3009),
    (421614, address!("75faf114eafb1BDbe2F0316DF893fd58CE46AA4d"), "USD Coin", "2", 6, Eip3009),
    (723487, address!("33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb"), "Stable Coin", "1", 6, Permit2),
    (5042002, address!("3600000000000000000000000000000000000000"), "USDC", "2", 6, Eip3009),
    (11142220, address!("01C5C0122039549AD1493B8220cABEdD739BC44E"), "USDC", "2", 6, Eip3009),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_one_spelling() {
        for text in [
            "",
            "eip155:",
            "eip155:0",
            "eip155:08453",
            "eip155:-1",
            "eip155: 1",
            "eip155:1 ",
            "eip155:*",
            "EIP155:1",
            "base",
            "solana:5eykt4Us",
            "eip155:18446744073709551616",
            "eip155:+1",
            "eip155:0x1",
            "eip155:\u{ff11}",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text:?} was read as a network");
        }
        assert_eq!("eip155:8453".parse::<Network>().map(|network| network.to_string()), Ok("eip155:8453".to_owned()));
    }

    #[test]
    fn a_trusted_row_is_not_replaced() {
        let mut table = AssetTable::trusted();
        let base = table.iter().find(|asset| asset.network.chain_id() == 8453).unwrap().clone();
        let lie = Asset { decimals: 18, ..base.clone() };
        assert_eq!(table.add(lie).unwrap_err().code(), "asset_already_listed");
        assert_eq!(table.add(Asset { name: String::new(), ..base.clone() }).unwrap_err().code(), "asset_text_length");
        assert_eq!(table.add(Asset { decimals: 39, ..base.clone() }).unwrap_err().code(), "asset_decimals");
        assert_eq!(table.add(base.clone()), Ok(()));
        assert_eq!(table.find(base.network, base.address), Some(&base));
    }

    #[test]
    fn every_row_has_an_asset_id_that_finds_it() {
        let table = AssetTable::trusted();
        assert_eq!(table.iter().count(), ROWS.len(), "a row stands twice");
        for asset in table.iter() {
            let id = asset.id().unwrap();
            assert_eq!(table.find_id(&id), Some(asset), "{id}");
        }
        assert!(table.find_id(&AssetId::fiat("USD").unwrap()).is_none());
    }
}
