//! ISO 4217: codes are three capitals, and the exponents come from the list, never from a counterparty.

use std::fmt;

use ledger::money::Amount;
use rust_decimal::Decimal;

use crate::json::Object;
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(String);

impl Currency {
    pub fn new(code: &str) -> Result<Self, Rejection> {
        if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Ok(Self(code.to_owned()));
        }
        Err(schema::refused("currency", format!("a currency is three capitals (ISO 4217); {} came", shown(code))))
    }

    pub(crate) fn read(object: &Object) -> Result<Self, Rejection> {
        Self::new(&schema::text(object, "currency")?)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Digits behind the point: 2 for USD, 0 for JPY, 3 for KWD. A code that is not on the list has none.
    pub fn exponent(&self) -> Option<u32> {
        // Three letters and a space each: compared at every fourth byte.
        let has = |codes: &str| codes.as_bytes().chunks(4).any(|code| code.get(..3) == Some(self.0.as_bytes()));
        EXPONENTS.iter().find(|(codes, _)| has(codes)).map(|(_, exponent)| *exponent)
    }

    /// Minor units as an exact decimal of major units.
    pub fn major(&self, minor: Amount) -> Result<Decimal, Rejection> {
        let exponent = self.exponent().ok_or_else(|| {
            let message = format!("the currency is on the ISO 4217 list, which gives its exponent; {self} is not");
            Rejection::new(Code::CurrencyUnknown, message).at("currency")
        })?;
        let units = i128::try_from(minor.get()).ok();
        units
            .and_then(|units| Decimal::try_from_i128_with_scale(units, exponent).ok())
            .ok_or_else(|| schema::refused("amount", format!("an amount in minor units is below 2^96; {minor} came")))
    }
}

impl Currency {
    /// An amount of minor units for people: major units where the list gives the exponent, and always with the currency.
    pub fn shown(&self, minor: Amount) -> String {
        self.major(minor).map_or_else(|_| format!("{minor} minor units of {self}"), |major| format!("{major} {self}"))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// ISO 4217 list one (active codes) by exponent. Fund and metal codes without a minor unit are left out on purpose.
const EXPONENTS: &[(&str, u32)] = &[
    ("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF", 0),
    (
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE \
         CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL \
         HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR \
         MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK \
         SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD \
         XCG YER ZAR ZMW ZWG",
        2,
    ),
    ("BHD IQD JOD KWD LYD OMR TND", 3),
    ("CLF UYW", 4),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_three_capitals() {
        for code in ["", "US", "usd", "USDC", "US1", "U D", "ÜSD"] {
            assert_eq!(Currency::new(code).unwrap_err().code, Code::Schema, "{code}");
        }
    }

    #[test]
    fn the_scale_comes_from_the_list() {
        let major = |code: &str, minor| Currency::new(code).unwrap().major(Amount::new(minor));
        assert_eq!(major("USD", 1999).unwrap().to_string(), "19.99");
        assert_eq!(major("JPY", 1999).unwrap().to_string(), "1999");
        assert_eq!(major("KWD", 1999).unwrap().to_string(), "1.999");
        assert_eq!(major("XXX", 1).unwrap_err().code, Code::CurrencyUnknown);
        assert_eq!(major("USD", 1 << 96).unwrap_err().code, Code::Schema);
        assert_eq!(major("USD", u128::MAX).unwrap_err().code, Code::Schema);
    }

    #[test]
    fn an_amount_is_shown_with_its_unit() {
        let shown = |code: &str, minor| Currency::new(code).unwrap().shown(Amount::new(minor));
        assert_eq!(shown("USD", 1), "0.01 USD");
        assert_eq!(shown("JPY", 500), "500 JPY");
        assert_eq!(shown("XXX", 1), "1 minor units of XXX", "its scale is nobody's guess");
        assert_eq!(shown("USD", u128::MAX), format!("{} minor units of USD", u128::MAX));
    }
}
