//! A card, as far as it is needed to charge it. It prints as its last four digits, wherever it is printed.

use std::fmt;

use mandates::json::Object;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::refusal::Refusal;
use super::shape::text;

/// Shortest and longest number (ISO/IEC 7812-1).
const DIGITS: std::ops::RangeInclusive<usize> = 12..=19;

/// What an issuer must be shown. Sealed wherever it is kept, and wiped from memory with its owner.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// `fpan`, `network_token` or `dpan`.
    pub number_type: String,
    /// What UCP calls the credential that it came as; nothing of one that came by ACP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_type: Option<String>,
    /// Digits only.
    pub number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp_month: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp_year: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cvc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cryptogram: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eci_value: Option<String>,
}

/// What of a card anyone may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardFace {
    /// `visa`, `mastercard`, …; of the number itself, not what the agent calls it.
    pub brand: String,
    pub last4: String,
    /// `credit`, `debit` or `prepaid`, as the agent says.
    pub funding: String,
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({} ****{})", self.brand(), self.last_four())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.number.zeroize();
        let others = [&mut self.exp_month, &mut self.exp_year, &mut self.name, &mut self.cvc, &mut self.cryptogram];
        others.into_iter().for_each(Zeroize::zeroize);
    }
}

impl Card {
    /// Of a payment method that fits its schema.
    pub(super) fn read(method: &Object) -> Result<Self, Refusal> {
        let owned = |name: &str| text(method, name).map(str::to_owned);
        let card = Self {
            number_type: owned("card_number_type").unwrap_or_default(),
            credential_type: None,
            number: digits(text(method, "number").unwrap_or_default()),
            exp_month: owned("exp_month"),
            exp_year: owned("exp_year"),
            name: owned("name"),
            cvc: owned("cvc"),
            cryptogram: owned("cryptogram"),
            eci_value: owned("eci_value"),
        };
        card.check(text(method, "number").unwrap_or_default())?;
        if let Some(said) = text(method, "display_last4").filter(|said| *said != card.last_four()) {
            let message = format!("the last four digits of the number were expected, {said} came");
            return Err(invalid("display_last4", message));
        }
        if text(method, "iin").is_some_and(|iin| !card.number.starts_with(iin)) {
            return Err(invalid("iin", "the first digits of the number were expected, others came".into()));
        }
        Ok(card)
    }

    /// Whether a card can be like that. Whether it has expired or is good its issuer says, when it is charged.
    pub(crate) fn check(&self, written: &str) -> Result<(), Refusal> {
        let is_plain = written.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ' || byte == b'-');
        if !is_plain || !DIGITS.contains(&self.number.len()) || !passes_luhn(&self.number) {
            let message = "12 to 19 digits with the check digit of ISO/IEC 7812-1 were expected, another number came";
            return Err(invalid("number", message.into()));
        }
        let is_month = |text: &str| text.parse::<u8>().is_ok_and(|month| (1..=12).contains(&month));
        if self.exp_month.as_deref().is_some_and(|month| !all_digits(month) || !is_month(month)) {
            return Err(invalid("exp_month", "01 to 12 was expected, another text came".into()));
        }
        if self.exp_year.as_deref().is_some_and(|year| !all_digits(year) || !matches!(year.len(), 2 | 4)) {
            return Err(invalid("exp_year", "two or four digits were expected, another text came".into()));
        }
        if self.cvc.as_deref().is_some_and(|cvc| !all_digits(cvc) || !matches!(cvc.len(), 3 | 4)) {
            return Err(invalid("cvc", "three or four digits were expected, another text came".into()));
        }
        Ok(())
    }

    pub fn face(&self, funding: &str) -> CardFace {
        CardFace { brand: self.brand().to_owned(), last4: self.last_four().to_owned(), funding: funding.to_owned() }
    }

    pub fn last_four(&self) -> &str {
        let start = self.number.len().saturating_sub(4);
        self.number.get(start..).unwrap_or_default()
    }

    /// By the leading digits, as the networks publish them.
    fn brand(&self) -> &'static str {
        let lead =
            |count: usize| self.number.get(..count).and_then(|lead| lead.parse::<u32>().ok()).unwrap_or_default();
        match (lead(1), lead(2), lead(4)) {
            (4, ..) => "visa",
            (_, 51..=55, _) | (_, _, 2221..=2720) => "mastercard",
            (_, 34 | 37, _) => "american_express",
            (_, 65, _) | (_, _, 6011) => "discover",
            (_, _, 3528..=3589) => "jcb",
            (_, 36 | 38 | 39, _) => "diners_club",
            (_, 62, _) => "unionpay",
            _ => "unknown",
        }
    }

    /// Whether a text has the number in it, however it is spaced.
    pub(crate) fn is_in(&self, other: &str) -> bool {
        digits(other).contains(&self.number)
    }
}

pub(crate) fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Whether a text is nothing but what a card's number could be, however it is spaced: such a one is neither logged nor given
/// back.
pub fn could_be_number(text: &str) -> bool {
    let is_spaced = text.chars().all(|letter| letter.is_ascii_digit() || "-_. ".contains(letter));
    let number = digits(text);
    is_spaced && (12..=19).contains(&number.len()) && passes_luhn(&number)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// ISO/IEC 7812-1, annex B.
fn passes_luhn(number: &str) -> bool {
    let doubled =
        |digit: u32| if digit > 4 { digit.saturating_mul(2).saturating_sub(9) } else { digit.saturating_mul(2) };
    let digits = number.chars().rev().filter_map(|digit| digit.to_digit(10)).enumerate();
    let sum: u32 = digits.map(|(place, digit)| if place % 2 == 1 { doubled(digit) } else { digit }).sum();
    sum.is_multiple_of(10)
}

fn invalid(member: &str, message: String) -> Refusal {
    Refusal::unacceptable("invalid_card", &format!("$.payment_method.{member}"), message)
}

#[cfg(test)]
mod tests {
    use super::could_be_number;

    #[test]
    fn what_could_be_a_card_number_is_told_from_other_ids() {
        for text in ["4242424242424242", "4242-4242-4242-4242", "4242.4242_4242 4242", "4000000000005126"] {
            assert!(could_be_number(text), "{text}");
        }
        for text in [
            "",
            "-",
            "0",
            "4242424242424241",
            "42424242424",
            "42424242424242424242",
            "r-4242424242424242",
            "4242424242424242a",
            "11aa4242-4242-4242-8242-424242424242",
            "４２４２４２４２４２４２４２４２",
        ] {
            assert!(!could_be_number(text), "{text}");
        }
    }
}
