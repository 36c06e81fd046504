//! Time claims (RFC 7519 section 4.1): exact decimals, one skew both ways, `now` from the caller.

use rust_decimal::Decimal;

use crate::json::{Json, Members};
use crate::rejection::{Code, Rejection, shown};

/// The verifier's clock. A token is expired from the very second of `exp` + skew on ("on or after", RFC 7519 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub now_seconds: i64,
    pub skew_seconds: u32,
}

impl Clock {
    pub(crate) fn earliest(&self) -> Decimal {
        Decimal::from(self.now_seconds.saturating_sub(i64::from(self.skew_seconds)))
    }

    pub(crate) fn latest(&self) -> Decimal {
        Decimal::from(self.now_seconds.saturating_add(i64::from(self.skew_seconds)))
    }

    /// `exp`, `nbf` and `iat` of one object, each where it is there.
    pub(crate) fn check<'t>(&self, claims: impl Into<Members<'t>>, place: &str) -> Result<(), Rejection> {
        let (claims, now, skew) = (claims.into(), self.now_seconds, self.skew_seconds);
        if let Some(exp) = numeric_date(claims, "exp")?
            && self.earliest() >= exp
        {
            let message = format!("{place} is good before {exp} (skew {skew} s); it is {now}");
            return Err(Rejection::new(Code::Expired, message).at("exp"));
        }
        if let Some(nbf) = numeric_date(claims, "nbf")?
            && self.latest() < nbf
        {
            let message = format!("{place} is good from {nbf} on (skew {skew} s); it is {now}");
            return Err(Rejection::new(Code::NotYetValid, message).at("nbf"));
        }
        if let Some(iat) = numeric_date(claims, "iat")?
            && self.latest() < iat
        {
            let message = format!("{place} was issued by {now} (skew {skew} s); it says {iat}");
            return Err(Rejection::new(Code::IssuedInFuture, message).at("iat"));
        }
        Ok(())
    }
}

/// A NumericDate: seconds, possibly with a fraction.
pub(crate) fn numeric_date<'t>(claims: impl Into<Members<'t>>, name: &str) -> Result<Option<Decimal>, Rejection> {
    let wrong = |came: String| {
        Rejection::new(Code::TimeClaimType, format!("{name} is a number of seconds; {came} came")).at(name)
    };
    match claims.into().get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => match decimal(number) {
            Some(seconds) if !seconds.is_sign_negative() || seconds.is_zero() => Ok(Some(seconds)),
            _ => Err(wrong(shown(number))),
        },
        Some(other) => Err(wrong(other.kind().to_owned())),
    }
}

/// A JSON number without loss, or nothing: more than 28 digits are not rounded away.
pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    // Nearly every number is whole and small.
    if let Ok(whole) = text.parse::<u64>() {
        return Some(Decimal::from(whole));
    }
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Decimal::from_str_exact(text).ok();
    };
    let mantissa = Decimal::from_str_exact(mantissa).ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    if !(-28..=28).contains(&exponent) {
        return None;
    }
    let step = if exponent < 0 { Decimal::new(1, 1) } else { Decimal::TEN };
    let mut value = mantissa;
    for _ in 0..exponent.unsigned_abs() {
        let next = value.checked_mul(step)?;
        // `checked_mul` rounds what does not fit 28 digits; a value that does not come back was rounded.
        if next.checked_div(step)? != value {
            return None;
        }
        value = next;
    }
    Some(value)
}

/// The whole second of a NumericDate, rounded down: an expiry is never later than what was signed.
pub(crate) fn whole_seconds(seconds: Decimal) -> Option<i64> {
    i64::try_from(seconds.floor()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse_object;

    fn date(json: &str) -> Result<Option<Decimal>, Code> {
        numeric_date(&parse_object(json.as_bytes()).unwrap(), "exp").map_err(|refused| refused.code)
    }

    #[test]
    fn a_date_is_a_number_that_fits() {
        for json in [
            r#"{"exp":"1"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":true}"#,
            r#"{"exp":[1]}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":1e99}"#,
            r#"{"exp":1e2147483647}"#,
            r#"{"exp":0.12345678901234567890123456789012345}"#,
        ] {
            assert_eq!(date(json), Err(Code::TimeClaimType), "{json}");
        }
        assert_eq!(date(r#"{"exp":1777342400.5}"#), Ok(Some(Decimal::new(17_773_424_005, 1))));
        assert_eq!(date(r#"{"exp":1.7773424e9}"#), Ok(Some(Decimal::from(1_777_342_400_i64))));
        assert_eq!(date("{}"), Ok(None));
    }

    #[test]
    fn expiry_bites_on_the_second_itself() {
        let at = |now_seconds| Clock { now_seconds, skew_seconds: 300 };
        let claims = parse_object(br#"{"exp":1000}"#).unwrap();
        assert_eq!(at(1300).check(&claims, "it").unwrap_err().code, Code::Expired);
        assert!(at(1299).check(&claims, "it").is_ok());
        let fraction = parse_object(br#"{"exp":1000.5}"#).unwrap();
        assert_eq!(at(1301).check(&fraction, "it").unwrap_err().code, Code::Expired);
        assert!(at(1300).check(&fraction, "it").is_ok());
        let future = parse_object(br#"{"nbf":1301}"#).unwrap();
        assert_eq!(at(1000).check(&future, "it").unwrap_err().code, Code::NotYetValid);
        assert!(at(1001).check(&future, "it").is_ok());
        let issued = parse_object(br#"{"iat":1301}"#).unwrap();
        assert_eq!(at(1000).check(&issued, "it").unwrap_err().code, Code::IssuedInFuture);
        assert!(at(1001).check(&issued, "it").is_ok());
    }
}
