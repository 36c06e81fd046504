//! What protocol version 1 calls a network: a word instead of a CAIP-2 id.
//!
//! A name is read as the network that the official SDKs mean by it (npm `@x402/evm` 2.27.0 `EVM_NETWORK_CHAIN_ID_MAP`,
//! PyPI `x402` 2.25.0 `V1_NETWORK_CHAIN_IDS`). Where they mean different chains (`story`, `educhain`,
//! `skale-base-sepolia`) it has no meaning here. A CAIP-2 id in its place is read too: nobody can take it for another.

use std::collections::BTreeMap;

use super::Network;
use crate::limit::NETWORK_NAME_BYTES_MAX;
use crate::refusal::echo;

/// Names of networks, from this module and from the operator's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkNames(BTreeMap<String, Network>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkNameError {
    #[error("a name of a network is 1 to {NETWORK_NAME_BYTES_MAX} of a-z, 0-9 and `-`; this is `{0}`")]
    Spelling(String),
    #[error("{name} is {listed} for everybody; it cannot be {found} here")]
    Taken { name: String, listed: Network, found: Network },
    #[error("{network} is called {listed}; it cannot be called {found} as well")]
    Named { network: Network, listed: String, found: String },
}

impl NetworkNameError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Spelling(_) => "network_name_spelling",
            Self::Taken { .. } => "network_name_taken",
            Self::Named { .. } => "network_named_already",
        }
    }
}

impl NetworkNames {
    pub const fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// The rows of this module.
    pub fn trusted() -> Self {
        Self(ROWS.iter().map(|&(name, chain_id)| (name.to_owned(), Network(chain_id))).collect())
    }

    /// Names a network that has no name (a devnet). One name, one network, and the other way round.
    pub fn add(&mut self, name: &str, network: Network) -> Result<(), NetworkNameError> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NETWORK_NAME_BYTES_MAX || !name.bytes().all(is_word) {
            return Err(NetworkNameError::Spelling(echo(name)));
        }
        match (self.0.get(name), self.name(network)) {
            (Some(listed), _) if *listed != network => {
                Err(NetworkNameError::Taken { name: name.to_owned(), listed: *listed, found: network })
            }
            (None, Some(listed)) => {
                let (listed, found) = (listed.to_owned(), name.to_owned());
                Err(NetworkNameError::Named { network, listed, found })
            }
            _ => {
                self.0.insert(name.to_owned(), network);
                Ok(())
            }
        }
    }

    /// The network that a message of version 1 means; `None` for a name that is not known.
    pub fn find(&self, text: &str) -> Option<Network> {
        self.0.get(text).copied().or_else(|| text.parse().ok())
    }

    pub fn name(&self, network: Network) -> Option<&str> {
        self.0.iter().find(|(_, listed)| **listed == network).map(|(name, _)| name.as_str())
    }
}

const ROWS: &[(&str, u64)] = &[
    ("abstract", 2741),
    ("abstract-testnet", 11_124),
    ("avalanche", 43_114),
    ("avalanche-fuji", 43_113),
    ("base", 8453),
    ("base-sepolia", 84_532),
    ("celo", 42_220),
    ("ethereum", 1),
    ("flare", 14),
    ("iotex", 4689),
    ("megaeth", 4326),
    ("monad", 143),
    ("monad-testnet", 10_143),
    ("peaq", 3338),
    ("polygon", 137),
    ("polygon-amoy", 80_002),
    ("sei", 1329),
    ("sei-testnet", 1328),
    ("sepolia", 11_155_111),
    ("stable", 988),
    ("stable-testnet", 2201),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn network(chain_id: u64) -> Network {
        Network::new(chain_id).unwrap()
    }

    #[test]
    fn what_is_no_name_is_no_network() {
        let names = NetworkNames::trusted();
        for text in
            ["", "Base", "base ", "BASE-SEPOLIA", "base_sepolia", "solana", "8453", "eip155:", "eip155:08453", "story"]
        {
            assert_eq!(names.find(text), None, "{text:?} was read as a network");
        }
        for (text, chain_id) in [("base", 8453), ("base-sepolia", 84_532), ("eip155:31337", 31_337)] {
            assert_eq!(names.find(text), Some(network(chain_id)));
        }
    }

    #[test]
    fn a_name_is_one_network_and_a_network_has_one_name() {
        let mut names = NetworkNames::trusted();
        for (name, chain_id, code) in [
            ("", 31_337, "network_name_spelling"),
            ("Hardhat", 31_337, "network_name_spelling"),
            ("eip155:1", 31_337, "network_name_spelling"),
            (&"x".repeat(NETWORK_NAME_BYTES_MAX + 1), 31_337, "network_name_spelling"),
            ("base", 31_337, "network_name_taken"),
            ("base-sepolia", 8453, "network_name_taken"),
            ("mainnet", 1, "network_named_already"),
        ] {
            assert_eq!(names.add(name, network(chain_id)).unwrap_err().code(), code, "{name}");
        }
        assert_eq!(names, NetworkNames::trusted(), "a refusal changes nothing");
        assert_eq!(names.add("hardhat", network(31_337)), Ok(()));
        assert_eq!(names.add("hardhat", network(31_337)), Ok(()), "the same again");
        assert_eq!(names.add("base", network(8453)), Ok(()));
        assert_eq!(names.name(network(31_337)), Some("hardhat"));
        assert_eq!(names.name(network(999)), None);
    }

    #[test]
    fn every_name_finds_its_network_and_back() {
        let names = NetworkNames::trusted();
        for (name, chain_id) in ROWS {
            assert_eq!(names.find(name), Some(network(*chain_id)));
            assert_eq!(names.name(network(*chain_id)), Some(*name), "two names for one network");
        }
    }
}
