//! Reading the texts inside the wire types into values, strictly.
//!
//! Two readers that differ on an amount are a theft waiting to happen: both official SDKs take `" 10000 "`,
//! `"+10000"`, `"010000"`; one takes hex, the other `"10_000"`. Here an amount has exactly one spelling.

use alloy_primitives::{Address, B256, U256};

pub use ledger::money::Amount;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("a number is written in ASCII digits alone")]
    NotDigits,
    #[error("a number has no leading zero")]
    LeadingZero,
    #[error("a number is at most 2^256 - 1")]
    TooLarge,
    #[error("an address is `0x` and 40 hexadecimal digits")]
    NotAddress,
    #[error("a 32-byte value is `0x` and 64 hexadecimal digits")]
    NotBytes32,
    #[error("bytes are `0x` and an even number of hexadecimal digits")]
    NotHex,
}

/// 2^256 - 1 has 78 digits.
const UINT256_DIGITS_MAX: usize = 78;

pub fn uint256(text: &str) -> Result<U256, ValueError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::NotDigits);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(ValueError::LeadingZero);
    }
    if text.len() > UINT256_DIGITS_MAX {
        return Err(ValueError::TooLarge);
    }
    U256::from_str_radix(text, 10).map_err(|_| ValueError::TooLarge)
}

/// Any case: the checksum of EIP-55 is a help for people who type, and not everybody writes it.
pub fn address(text: &str) -> Result<Address, ValueError> {
    fixed::<20>(text).map(Address::from).ok_or(ValueError::NotAddress)
}

pub fn bytes32(text: &str) -> Result<B256, ValueError> {
    fixed::<32>(text).map(B256::from).ok_or(ValueError::NotBytes32)
}

/// At most `bytes_max` bytes; the length is compared before anything is decoded.
pub fn bytes(text: &str, bytes_max: usize) -> Result<Vec<u8>, ValueError> {
    let digits = text.strip_prefix("0x").ok_or(ValueError::NotHex)?;
    if digits.len() > bytes_max.saturating_mul(2) {
        return Err(ValueError::TooLarge);
    }
    hex::decode(digits).map_err(|_| ValueError::NotHex)
}

fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for text in [
            "",
            " 1",
            "1 ",
            "+1",
            "-1",
            "01",
            "00",
            "1_0",
            "0x1",
            "1e3",
            "1.0",
            "\u{ff11}",
            "1\n",
            "NaN",
            "null",
            "115792089237316195423570985008687907853269984665640564039457584007913129639936",
            "1157920892373161954235709850086879078532699846656405640394575840079131296399350",
        ] {
            assert!(uint256(text).is_err(), "{text:?} was read as a number");
        }
        assert_eq!(uint256("0"), Ok(U256::ZERO));
        assert_eq!(
            uint256("115792089237316195423570985008687907853269984665640564039457584007913129639935"),
            Ok(U256::MAX)
        );
    }

    #[test]
    fn an_address_is_forty_digits_in_any_case() {
        let digits = "5FbDB2315678afecb367f032d93F642f64180aa3";
        for text in [
            "",
            "0x",
            digits,
            "0x5FbDB2315678afecb367f032d93F642f64180aa",
            "0X5FbDB2315678afecb367f032d93F642f64180aa3",
            " 0x5FbDB2315678afecb367f032d93F642f64180aa3",
            "0x5FbDB2315678afecb367f032d93F642f64180aaG",
            "merchant",
            "0x5FbDB2315678afecb367f032d93F642f64180aa300",
        ] {
            assert!(address(text).is_err(), "{text:?} was read as an address");
        }
        let spellings =
            [format!("0x{digits}"), format!("0x{}", digits.to_lowercase()), format!("0x{}", digits.to_uppercase())];
        let read: Vec<_> = spellings.iter().map(|text| address(text)).collect();
        assert!(read[0].is_ok());
        assert!(read.iter().all(|one| *one == read[0]));
    }

    #[test]
    fn bytes_are_bounded_before_they_are_decoded() {
        for text in ["", "00", "0x0", "0xzz", "0x000000"] {
            assert!(bytes(text, 2).is_err(), "{text:?} was read as bytes");
        }
        assert!(bytes32(&format!("0x{}", "0".repeat(63))).is_err());
        assert!(bytes32(&"0".repeat(64)).is_err());
        assert_eq!(bytes("0x00ff", 2), Ok(vec![0, 255]));
        assert_eq!(bytes32(&format!("0x{}", "0".repeat(64))), Ok(B256::ZERO));
    }
}
