//! From the asset that moves to the currency that a budget counts in.
//!
//! Crossing assets needs an explicit, recorded rate: there is none by default, and a stablecoin is not a dollar until
//! somebody who answers for it has written that it is. Amounts of authority are kept with the currency's ISO 4217
//! exponent and six digits more, because 402 prices are often below a cent.

use ledger::id::Digest;
use ledger::money::{Amount, AssetId};
use mandates::currency::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Digits of authority beyond the ISO 4217 exponent.
pub const AUTHORITY_EXTRA_DIGITS: u32 = 6;

/// `1 unit of base = rate units of quote`, both major units, as somebody decided at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peg {
    pub base: AssetId,
    pub quote: AssetId,
    /// A decimal text such as `1` or `0.9985`.
    pub rate: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    #[error(
        "there is no rate from {base} to {quote}; add `[[pegs]] base = \"{base}\" quote = \"{quote}\" rate = \"1\"` if that is your decision"
    )]
    Missing { base: AssetId, quote: AssetId },
    #[error("a rate is a decimal above zero with at most 18 fraction digits; this one is `{0}`")]
    Malformed(String),
    #[error("{0} at this rate leaves the range of an amount")]
    Overflow(Amount),
    #[error("`{0}` is not a currency whose ISO 4217 exponent is known here")]
    Currency(String),
    #[error(
        "`{found}` is not an amount of {currency}: a decimal of at most {digits} fraction digits above zero was expected"
    )]
    Text { found: String, currency: String, digits: u32 },
}

impl Peg {
    /// What the journal records of it.
    pub fn digest(&self) -> Digest {
        Digest::of_parts(
            "purser/peg/1",
            &[self.base.as_str().as_bytes(), self.quote.as_str().as_bytes(), self.rate.as_bytes()],
        )
    }

    fn ratio(&self) -> Result<(u128, u32), RateError> {
        let malformed = || RateError::Malformed(self.rate.clone());
        let rate = plain_decimal(&self.rate).filter(|rate| rate.scale() <= 18).ok_or_else(malformed)?;
        Ok((rate.mantissa().unsigned_abs(), rate.scale()))
    }

    /// Atomic units of `base` as atomic units of `quote`, rounded up: a budget is never debited less than moved.
    pub fn convert(&self, amount: Amount, base_digits: u32, quote_digits: u32) -> Result<Amount, RateError> {
        let (mantissa, scale) = self.ratio()?;
        let overflow = || RateError::Overflow(amount);
        let down = base_digits.saturating_add(scale);
        let shift = |digits: u32| 10_u128.checked_pow(digits).ok_or_else(overflow);
        let (multiply, divide) =
            if quote_digits >= down { (shift(quote_digits - down)?, 1) } else { (1, shift(down - quote_digits)?) };
        let numerator = mantissa.checked_mul(multiply).ok_or_else(overflow)?;
        amount.checked_ratio_up(numerator, divide).ok_or_else(overflow)
    }
}

/// The ISO 4217 exponent, from the table that the mandates crate evaluates budgets with.
pub fn exponent(currency: &str) -> Result<u32, RateError> {
    let known = Currency::new(currency).ok().and_then(|currency| currency.exponent());
    known.ok_or_else(|| RateError::Currency(currency.to_owned()))
}

/// Digits in which authority over a currency is counted.
pub fn authority_digits(currency: &str) -> Result<u32, RateError> {
    exponent(currency).map(|exponent| exponent.saturating_add(AUTHORITY_EXTRA_DIGITS))
}

/// Digits, at most one point between digits, above zero: no sign, no exponent, no separator, which the library takes, and
/// no zero in front, which people read past.
fn plain_decimal(text: &str) -> Option<Decimal> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let padded = text.strip_prefix('0').is_some_and(|rest| !rest.starts_with('.'));
    if !plain || padded || text.starts_with('.') || text.ends_with('.') {
        return None;
    }
    text.parse::<Decimal>().ok().map(|value| value.normalize()).filter(|value| *value > Decimal::ZERO)
}

/// `"10.00"` as units of authority. Exact or refused.
pub fn authority_from_major(text: &str, currency: &str) -> Result<Amount, RateError> {
    let digits = authority_digits(currency)?;
    let malformed =
        || RateError::Text { found: text.chars().take(64).collect(), currency: currency.to_owned(), digits };
    let value = plain_decimal(text).filter(|value| value.scale() <= digits).ok_or_else(malformed)?;
    let shift = 10_u128.checked_pow(digits - value.scale()).ok_or_else(malformed)?;
    value.mantissa().unsigned_abs().checked_mul(shift).map(Amount::new).ok_or_else(malformed)
}

/// Units of authority as decimal text in major units, without losing a digit.
pub fn authority_to_major(amount: Amount, currency: &str) -> Result<String, RateError> {
    let digits = authority_digits(currency)?;
    Ok(to_decimal_text(amount, digits, exponent(currency)?))
}

/// An integer with `digits` fraction digits as text; trailing zeros go, down to `keep` digits.
pub fn to_decimal_text(amount: Amount, digits: u32, keep: u32) -> String {
    let (digits, keep) = (digits as usize, keep as usize);
    let text = format!("{:0>width$}", amount.get(), width = digits + 1);
    let (whole, fraction) = text.split_at(text.len() - digits);
    let mut fraction = fraction.to_owned();
    while fraction.len() > keep && fraction.ends_with('0') {
        fraction.pop();
    }
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// Units of authority in the currency's minor units, rounded up, for AP2's `payment_amount`.
pub fn authority_to_minor_up(amount: Amount, _currency: &str) -> Result<Amount, RateError> {
    let divide = 10_u128.pow(AUTHORITY_EXTRA_DIGITS);
    amount.checked_ratio_up(1, divide).ok_or(RateError::Overflow(amount))
}

/// Units of authority in an amount of minor units.
pub fn authority_from_minor(amount: Amount) -> Result<Amount, RateError> {
    let units = 10_u128.checked_pow(AUTHORITY_EXTRA_DIGITS).and_then(|shift| amount.get().checked_mul(shift));
    units.map(Amount::new).ok_or(RateError::Overflow(amount))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peg(rate: &str) -> Peg {
        Peg {
            base: "eip155:31337/erc20:0x5fbdb2315678afecb367f032d93f642f64180aa3".parse().unwrap(),
            quote: "iso4217:USD".parse().unwrap(),
            rate: rate.into(),
        }
    }

    #[test]
    fn a_rate_is_exact_or_refused() {
        for rate in ["", "0", "-1", "1e2", "abc", "0.0000000000000000001", "NaN"] {
            assert!(peg(rate).convert(Amount::new(1), 6, 8).is_err(), "{rate:?} was taken");
        }
        assert_eq!(peg("1").convert(Amount::new(10_000), 6, 8), Ok(Amount::new(1_000_000)));
        assert_eq!(peg("0.5").convert(Amount::new(3), 6, 8), Ok(Amount::new(150)));
        assert_eq!(peg("1").convert(Amount::new(1), 18, 8), Ok(Amount::new(1)), "rounded up, never to nothing");
        assert!(peg("1000000").convert(Amount::MAX, 6, 8).is_err());
    }

    #[test]
    fn major_units_are_read_exactly() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "0",
            "0.00",
            "1,5",
            " 1",
            "0.000000001",
            "1_0",
            "01",
            "00.5",
            "007",
        ] {
            assert!(authority_from_major(text, "USD").is_err(), "{text:?} was taken");
        }
        assert_eq!(authority_from_major("19.99", "USD"), Ok(Amount::new(1_999_000_000)));
        assert_eq!(authority_from_major("0.00000001", "USD"), Ok(Amount::new(1)));
        assert_eq!(authority_from_major("5", "JPY"), Ok(Amount::new(5_000_000)));
        assert_eq!(authority_to_major(Amount::new(1_999_000_000), "USD").unwrap(), "19.99");
        assert_eq!(authority_to_major(Amount::new(1_000_001), "USD").unwrap(), "0.01000001");
        assert_eq!(authority_to_major(Amount::new(5_000_000), "JPY").unwrap(), "5");
        assert_eq!(authority_to_minor_up(Amount::new(1), "USD").unwrap(), Amount::new(1));
    }
}
