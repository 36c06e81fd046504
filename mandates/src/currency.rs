//! ISO 4217: codes are three capitals, and the exponents come from the list, never from a counterparty.

use std::fmt;

use ledger::money::Amount;
use rust_decimal::Decimal;

use crate::json::Members;
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    pub fn new(code: &str) -> Result<Self, Rejection> {
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(schema::refused(
                "currency",
                format!("a currency is three capitals (ISO 4217); {} came", shown(code)),
            )),
        }
    }

    pub(crate) fn read<'t>(object: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        Self::new(schema::text_of(object, "currency")?)
    }

    pub fn as_str(&self) -> &str {
        // Capitals, so never the default.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Digits behind the point: 2 for USD, 0 for JPY, 3 for KWD. A code that is not on the list has none.
    pub fn exponent(&self) -> Option<u32> {
        // ISO 4217 list one (active codes). Fund and metal codes without a minor unit are left out on purpose.
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF" | b"UGX"
            | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => Some(0),
            b"AED" | b"AFN" | b"ALL" | b"AMD" | b"ANG" | b"AOA" | b"ARS" | b"AUD" | b"AWG" | b"AZN" | b"BAM"
            | b"BBD" | b"BDT" | b"BGN" | b"BMD" | b"BND" | b"BOB" | b"BOV" | b"BRL" | b"BSD" | b"BTN" | b"BWP"
            | b"BYN" | b"BZD" | b"CAD" | b"CDF" | b"CHE" | b"CHF" | b"CHW" | b"CNY" | b"COP" | b"COU" | b"CRC"
            | b"CUP" | b"CVE" | b"CZK" | b"DKK" | b"DOP" | b"DZD" | b"EGP" | b"ERN" | b"ETB" | b"EUR" | b"FJD"
            | b"FKP" | b"GBP" | b"GEL" | b"GHS" | b"GIP" | b"GMD" | b"GTQ" | b"GYD" | b"HKD" | b"HNL" | b"HTG"
            | b"HUF" | b"IDR" | b"ILS" | b"INR" | b"IRR" | b"JMD" | b"KES" | b"KGS" | b"KHR" | b"KPW" | b"KYD"
            | b"KZT" | b"LAK" | b"LBP" | b"LKR" | b"LRD" | b"LSL" | b"MAD" | b"MDL" | b"MGA" | b"MKD" | b"MMK"
            | b"MNT" | b"MOP" | b"MRU" | b"MUR" | b"MVR" | b"MWK" | b"MXN" | b"MXV" | b"MYR" | b"MZN" | b"NAD"
            | b"NGN" | b"NIO" | b"NOK" | b"NPR" | b"NZD" | b"PAB" | b"PEN" | b"PGK" | b"PHP" | b"PKR" | b"PLN"
            | b"QAR" | b"RON" | b"RSD" | b"RUB" | b"SAR" | b"SBD" | b"SCR" | b"SDG" | b"SEK" | b"SGD" | b"SHP"
            | b"SLE" | b"SOS" | b"SRD" | b"SSP" | b"STN" | b"SVC" | b"SYP" | b"SZL" | b"THB" | b"TJS" | b"TMT"
            | b"TOP" | b"TRY" | b"TTD" | b"TWD" | b"TZS" | b"UAH" | b"USD" | b"USN" | b"UYU" | b"UZS" | b"VED"
            | b"VES" | b"WST" | b"XCD" | b"XCG" | b"YER" | b"ZAR" | b"ZMW" | b"ZWG" => Some(2),
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => Some(3),
            b"CLF" | b"UYW" => Some(4),
            _ => None,
        }
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
    pub fn shown(&self, minor: Amount) -> impl fmt::Display {
        let currency = self.clone();
        fmt::from_fn(move |f| {
            let Some(exponent) = currency.exponent() else { return write!(f, "{minor} minor units of {currency}") };
            let unit = 10_u128.saturating_pow(exponent);
            write!(f, "{}", minor.get().checked_div(unit).unwrap_or_default())?;
            if let (Some(part), Ok(width)) = (minor.get().checked_rem(unit), usize::try_from(exponent))
                && width > 0
            {
                write!(f, ".{part:0>width$}")?;
            }
            write!(f, " {currency}")
        })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Currency({:?})", self.as_str())
    }
}

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
    fn the_list_is_whole() {
        let letters = || b'A'..=b'Z';
        let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c])));
        let mut counts = [0_usize; 5];
        for code in codes {
            let Some(exponent) = Currency(code).exponent() else { continue };
            counts[usize::try_from(exponent).unwrap()] += 1;
        }
        assert_eq!(counts, [17, 0, 140, 7, 2], "active codes of list one with 0, 1, 2, 3 and 4 digits");
        assert_eq!(format!("{:?}", Currency(*b"USD")), "Currency(\"USD\")");
    }

    #[test]
    fn an_amount_is_shown_with_its_unit() {
        let shown = |code: &str, minor| Currency::new(code).unwrap().shown(Amount::new(minor)).to_string();
        assert_eq!(shown("USD", 1), "0.01 USD");
        assert_eq!(shown("JPY", 500), "500 JPY");
        assert_eq!(shown("XXX", 1), "1 minor units of XXX", "its scale is nobody's guess");
        assert_eq!(shown("KWD", 12_005), "12.005 KWD");
        assert_eq!(shown("USD", u128::MAX), "3402823669209384634633746074317682114.55 USD");
    }
}
