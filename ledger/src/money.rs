//! Money: atomic units of a named asset. Nothing here knows a scale; scales come from a trusted table.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number of an asset's smallest units.
///
/// `u128` holds every ERC-20 supply in use (2^128 is 3.4 * 10^20 ether in wei); a token amount above it is refused
/// at the edge, never truncated. There is no `+`: each operation says what it does when it does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

impl Amount {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(u128::MAX);

    pub const fn new(units: u128) -> Self {
        Self(units)
    }

    pub const fn get(self) -> u128 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    pub fn checked_mul(self, factor: u128) -> Option<Self> {
        self.0.checked_mul(factor).map(Self)
    }

    /// `self * numerator / denominator`, rounded up. `None` for a zero denominator or an overflow of the product.
    pub fn checked_ratio_up(self, numerator: u128, denominator: u128) -> Option<Self> {
        let product = self.0.checked_mul(numerator)?;
        let whole = product.checked_div(denominator)?;
        if product.checked_rem(denominator)? == 0 { Some(Self(whole)) } else { whole.checked_add(1).map(Self) }
    }

    /// The same, rounded down.
    pub fn checked_ratio_down(self, numerator: u128, denominator: u128) -> Option<Self> {
        self.0.checked_mul(numerator)?.checked_div(denominator).map(Self)
    }

    /// Big-endian, so that the order of the bytes is the order of the numbers (what the stores compare).
    pub const fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub const fn from_be_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    #[error("an amount is one or more ASCII digits; this text has {0} characters, or another character among them")]
    NotDigits(usize),
    #[error("an amount has no leading zero; this one has {0} digits")]
    LeadingZero(usize),
    #[error("an amount is at most 2^128 - 1; this one has {0} digits")]
    TooLarge(usize),
}

/// Strict: ASCII digits, no sign, no space, no separator, no leading zero. Both official x402 SDKs take more,
/// and two readers that differ on an amount are a theft waiting to happen.
impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseAmountError::NotDigits(text.chars().count()));
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(ParseAmountError::LeadingZero(text.len()));
        }
        text.parse().map(Self).map_err(|_| ParseAmountError::TooLarge(text.len()))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of an asset: `eip155:8453/erc20:0x…` (CAIP-19, lower case) or `iso4217:USD`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetId(String);

/// CAIP-19 allows 8 + 1 + 32 (chain), 1, 8 + 1 + 128 (asset).
const ASSET_ID_BYTES_MAX: usize = 179;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAssetIdError {
    #[error("an asset id has at most {ASSET_ID_BYTES_MAX} bytes; this one has {0}")]
    TooLong(usize),
    #[error("an asset id is `iso4217:` with three capitals, or CAIP-19 in lower case; this is `{0}`")]
    Shape(String),
}

impl AssetId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ISO 4217 code, where the asset is a fiat currency.
    pub fn currency(&self) -> Option<&str> {
        self.0.strip_prefix("iso4217:")
    }

    pub fn fiat(currency: &str) -> Result<Self, ParseAssetIdError> {
        format!("iso4217:{currency}").parse()
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AssetId {
    type Err = ParseAssetIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > ASSET_ID_BYTES_MAX {
            return Err(ParseAssetIdError::TooLong(text.len()));
        }
        let is_fiat = text
            .strip_prefix("iso4217:")
            .is_some_and(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()));
        if is_fiat || is_caip19(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseAssetIdError::Shape(text.to_owned()))
        }
    }
}

/// Lower case only: two spellings of one contract must not be two assets.
fn is_caip19(text: &str) -> bool {
    let Some((chain, asset)) = text.split_once('/') else { return false };
    let pair = |part: &str| {
        part.split_once(':').is_some_and(|(name, value)| {
            !name.is_empty()
                && !value.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
        })
    };
    pair(chain) && pair(asset) && chain != "iso4217"
}

impl Serialize for AssetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AssetId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_ascii_digits_and_nothing_else() {
        for text in ["", " 1", "1 ", "+1", "-1", "01", "00", "1_0", "0x1", "1e3", "1.0", "\u{ff11}", "1\n", "NaN"] {
            assert!(text.parse::<Amount>().is_err(), "{text:?} was read as an amount");
        }
        assert!("340282366920938463463374607431768211456".parse::<Amount>().is_err(), "2^128 was read");
        assert_eq!("340282366920938463463374607431768211455".parse(), Ok(Amount::MAX));
        assert_eq!("0".parse(), Ok(Amount::ZERO));
        assert_eq!("10000".parse(), Ok(Amount::new(10_000)));
    }

    #[test]
    fn a_ratio_rounds_up_and_never_wraps() {
        assert_eq!(Amount::new(1).checked_ratio_up(1, 3), Some(Amount::new(1)));
        assert_eq!(Amount::new(6).checked_ratio_up(2, 3), Some(Amount::new(4)));
        assert_eq!(Amount::new(6).checked_ratio_up(2, 0), None);
        assert_eq!(Amount::MAX.checked_ratio_up(2, 2), None);
        assert_eq!(Amount::MAX.checked_add(Amount::new(1)), None);
        assert_eq!(Amount::ZERO.checked_sub(Amount::new(1)), None);
    }

    #[test]
    fn an_asset_has_one_spelling() {
        for text in
            ["", "usd", "iso4217:usd", "iso4217:USDX", "iso4217:", "eip155:1/erc20:0xAB", "eip155:1", "/", ":/:"]
        {
            assert!(text.parse::<AssetId>().is_err(), "{text:?} was read as an asset");
        }
        assert!(format!("eip155:1/erc20:{}", "a".repeat(200)).parse::<AssetId>().is_err());
        for text in
            ["iso4217:USD", "eip155:31337/erc20:0x5fbdb2315678afecb367f032d93f642f64180aa3", "eip155:1/slip44:60"]
        {
            assert!(text.parse::<AssetId>().is_ok(), "{text:?} was refused");
        }
    }
}
