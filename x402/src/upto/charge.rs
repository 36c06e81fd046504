//! What a handler says it charges of what was permitted, in the forms of the official SDKs (`SettlementOverrides`, npm
//! `@x402/core` 2.27.0): `"37"` atomic units, `"12.5%"` of what was permitted, `"$0.05"` by the scale of the trusted table.

use ledger::money::Amount;

use crate::refusal::echo;

/// The longest text that is read.
const TEXT_BYTES_MAX: usize = 64;
/// A whole, in hundredths of a percent.
const WHOLE: u128 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a charge is atomic units (`37`), a share (`12.5%`) or dollars (`$0.05`), found `{found}`")]
pub struct ChargeError {
    found: String,
}

impl ChargeError {
    pub fn of(found: &str) -> Self {
        Self { found: echo(found) }
    }

    pub const fn code(&self) -> &'static str {
        "charge_unreadable"
    }
}

/// The charge, and never more than was permitted. What is no whole unit is not charged. Without a scale nothing is read as
/// dollars.
pub fn charge(text: &str, permitted: Amount, decimals: Option<u8>) -> Result<Amount, ChargeError> {
    let wrong = || ChargeError::of(text);
    if text.len() > TEXT_BYTES_MAX {
        return Err(wrong());
    }
    let said = if let Some(percent) = text.strip_suffix('%') {
        let hundredths = scaled(percent, 2, Beyond::Refused).ok_or_else(wrong)?;
        share(permitted, hundredths.get().min(WHOLE)).ok_or_else(wrong)?
    } else if let Some(dollars) = text.strip_prefix('$') {
        let decimals = decimals.ok_or_else(wrong)?;
        scaled(dollars, usize::from(decimals), Beyond::CutOff).ok_or_else(wrong)?
    } else {
        text.parse().map_err(|_| wrong())?
    };
    Ok(said.min(permitted))
}

/// Digits behind the last one that counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beyond {
    Refused,
    CutOff,
}

/// A decimal number, times ten to the power of `digits`.
fn scaled(text: &str, digits: usize, beyond: Beyond) -> Option<Amount> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_point_bare = text.contains('.') && fraction.is_empty();
    if whole.is_empty() || is_point_bare || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    if fraction.len() > digits && beyond == Beyond::Refused {
        return None;
    }
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(digits).collect();
    format!("{whole}{kept}").parse().ok().map(Amount::new)
}

/// Rounded down; parted, so that no amount overflows.
fn share(permitted: Amount, hundredths: u128) -> Option<Amount> {
    let (whole, rest) = (permitted.get().checked_div(WHOLE)?, permitted.get().checked_rem(WHOLE)?);
    let of_rest = rest.checked_mul(hundredths)?.checked_div(WHOLE)?;
    whole.checked_mul(hundredths)?.checked_add(of_rest).map(Amount::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<u128, &'static str> {
        charge(text, Amount::new(10_001), Some(6)).map(Amount::get).map_err(|error| error.code())
    }

    #[test]
    fn what_is_no_charge_is_not_guessed() {
        let long = "1".repeat(TEXT_BYTES_MAX + 1);
        for text in [
            "",
            " 37",
            "37 ",
            "+37",
            "-1",
            "037",
            "1_0",
            "0x10",
            "1e3",
            "37.0",
            "٣",
            "%",
            "-1%",
            "1.234%",
            "1.%",
            ".5%",
            "1,5%",
            "50 %",
            "50%%",
            "$",
            "$-1",
            "$1.",
            "$.5",
            "$ 1",
            "$1e2",
            "1$",
            "€1",
            "NaN",
            "null",
            &long,
            "340282366920938463463374607431768211456",
        ] {
            assert_eq!(of(text), Err("charge_unreadable"), "`{text}`");
        }
        assert!(charge("$0.01", Amount::new(10_001), None).is_err(), "of a token without a scale");
    }

    #[test]
    fn a_charge_is_at_most_what_was_permitted() {
        for (text, units) in [
            ("0", 0),
            ("37", 37),
            ("10001", 10_001),
            ("10002", 10_001),
            ("340282366920938463463374607431768211455", 10_001),
            ("0%", 0),
            ("50%", 5_000),
            ("33.33%", 3_333),
            ("0.01%", 1),
            ("100%", 10_001),
            ("250%", 10_001),
            ("$0", 0),
            ("$0.005", 5_000),
            ("$0.0000019", 1),
            ("$0.0000009", 0),
            ("$1000000", 10_001),
        ] {
            assert_eq!(of(text), Ok(units), "`{text}`");
        }
        assert_eq!(charge("100%", Amount::MAX, None).map(Amount::get), Ok(u128::MAX), "no amount overflows");
    }
}
