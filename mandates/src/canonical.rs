//! Canonical JSON (RFC 8785, JCS): one spelling for one value, so that two parties can hash or sign what they hold as an
//! object and not as bytes.
//!
//! RFC 8785 writes numbers as ECMAScript prints a double. Money is never a double here, so only those numbers are
//! written whose digits ECMAScript would print again: at most 15 significant ones, a whole number up to 2^53, or 16 and
//! 17 that are the shortest spelling of a double (`0.30000000000000004`, found with whole numbers). No two of them
//! become the same text. Any other number is refused: its canonical text would be another number's (I-JSON, RFC 7493
//! section 2.2, says not to send it).

use serde_json::{Number, Value};

use crate::json::Object;
use crate::rejection::{Code, Rejection, shown};

/// Significant digits that every double keeps (`DBL_DIG`).
const DIGITS_MAX: usize = 15;
/// Every double has a spelling of at most so many.
const SHORTEST_DIGITS_MAX: usize = 17;
/// 2^53: up to here every whole number is a double of its own.
const WHOLE_MAX: u64 = 1 << 53;
/// Powers of ten well inside the normal range of doubles.
const POWER_MAX: i32 = 300;
/// From 10^21 on, and below 10^-6, ECMAScript writes an exponent (`Number::toString`).
const PLAIN_POWER_MAX: i32 = 21;
const PLAIN_POWER_MIN: i32 = -6;

/// The canonical text of a value. Its UTF-8 bytes are what is hashed or signed.
pub fn canonical(value: &Value) -> Result<String, Rejection> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out)
}

/// The same of an object.
pub fn canonical_object(object: &Object) -> Result<String, Rejection> {
    let mut out = String::new();
    write_object(object, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String) -> Result<(), Rejection> {
    match value {
        Value::Object(object) => return write_object(object, out),
        Value::Array(entries) => {
            out.push('[');
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(entry, out)?;
            }
            out.push(']');
        }
        Value::Number(number) => out.push_str(&number_text(number)?),
        // serde_json escapes as RFC 8785 section 3.2.2.2 asks: the short forms, `\u00xx` in lower case, nothing else.
        Value::String(_) | Value::Bool(_) | Value::Null => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// Members in the order of their names' UTF-16 code units (section 3.2.3).
fn write_object(object: &Object, out: &mut String) -> Result<(), Rejection> {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    out.push('{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(name.as_str()).to_string());
        out.push(':');
        write(value, out)?;
    }
    out.push('}');
    Ok(())
}

/// `0.digits * 10^power`, without leading or trailing zeros.
struct Digits {
    digits: String,
    power: i32,
}

fn number_text(number: &Number) -> Result<String, Rejection> {
    let text = number.to_string();
    let refused = || {
        let message = format!(
            "a canonical number has at most {DIGITS_MAX} significant digits, is whole and up to {WHOLE_MAX}, or is the shortest \
             spelling of a double; {} came",
            shown(&text)
        );
        Rejection::new(Code::NumberNotCanonical, message)
    };
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let number = Digits::read(unsigned).ok_or_else(refused)?;
    if number.digits.is_empty() {
        return Ok("0".to_owned());
    }
    if number.digits.len() > DIGITS_MAX && !number.is_small_whole() && !number.is_shortest() {
        return Err(refused());
    }
    Ok(format!("{sign}{}", number.text()))
}

impl Digits {
    fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let leading = all.len().checked_sub(significant.len())?;
        let power =
            i32::try_from(whole.len()).ok()?.checked_sub(i32::try_from(leading).ok()?)?.checked_add(exponent)?;
        let digits = significant.trim_end_matches('0').to_owned();
        if digits.is_empty() || (-POWER_MAX..=POWER_MAX).contains(&power) { Some(Self { digits, power }) } else { None }
    }

    fn zeros(count: i32) -> String {
        "0".repeat(usize::try_from(count).unwrap_or_default())
    }

    fn count(&self) -> i32 {
        i32::try_from(self.digits.len()).unwrap_or(i32::MAX)
    }

    fn is_small_whole(&self) -> bool {
        let missing = self.power.saturating_sub(self.count());
        // 2^53 has 16 digits; the bound keeps the text short before it is read.
        (0..=16).contains(&missing)
            && format!("{}{}", self.digits, Self::zeros(missing)).parse::<u64>().is_ok_and(|whole| whole <= WHOLE_MAX)
    }

    /// Whether ECMAScript prints the nearest double with these very digits: no shorter decimal reads back as the same
    /// double, and no other of this length is nearer to it. Only for fractions that fit 128 bits on the way.
    fn is_shortest(&self) -> bool {
        self.shortest().unwrap_or(false)
    }

    fn shortest(&self) -> Option<bool> {
        if self.digits.len() > SHORTEST_DIGITS_MAX {
            return None;
        }
        let scale = u32::try_from(self.count().checked_sub(self.power)?).ok().filter(|scale| *scale > 0)?;
        let value: u128 = self.digits.parse().ok()?;
        let double = Double::nearest(value, scale)?;
        let (shorter, coarser) = (value.checked_div(10)?, scale.checked_sub(1)?);
        let reads_back = |value: u128, scale: u32| Double::nearest(value, scale) == Some(double);
        if reads_back(shorter, coarser) || reads_back(shorter.checked_add(1)?, coarser) {
            return Some(false);
        }
        let distance = double.distance(value, scale)?;
        // Of two that are equally near, the even one is printed (RFC 8785 section 3.2.2.3, note).
        let limit = if value & 1 == 1 { distance.checked_add(1)? } else { distance };
        let is_worse = |other: u128| {
            let is_nearer = double.distance(other, scale).is_none_or(|other| other < limit);
            !(is_nearer && reads_back(other, scale))
        };
        Some(is_worse(value.checked_sub(1)?) && is_worse(value.checked_add(1)?))
    }

    /// ECMA-262 `Number::toString`, radix 10, from the digits on.
    fn text(&self) -> String {
        let (digits, power, count) = (self.digits.as_str(), self.power, self.count());
        if count <= power && power <= PLAIN_POWER_MAX {
            return format!("{digits}{}", Self::zeros(power.saturating_sub(count)));
        }
        if 0 < power && power <= PLAIN_POWER_MAX {
            let (whole, fraction) =
                digits.split_at_checked(usize::try_from(power).unwrap_or_default()).unwrap_or((digits, ""));
            return format!("{whole}.{fraction}");
        }
        if PLAIN_POWER_MIN < power && power <= 0 {
            return format!("0.{}{digits}", Self::zeros(power.saturating_neg()));
        }
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
        let point = if rest.is_empty() { "" } else { "." };
        let exponent = power.saturating_sub(1);
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{first}{point}{rest}e{sign}{}", exponent.unsigned_abs())
    }
}

/// A double without being one: `mantissa / 2^halvings`, 53 bits of mantissa.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Double {
    mantissa: u128,
    halvings: u32,
}

impl Double {
    const MANTISSA_MIN: u128 = 1 << 52;
    const MANTISSA_END: u128 = 1 << 53;

    /// The double nearest to `value / 10^scale`, ties to even; `None` where it is 2^53 or more, or 128 bits are too few.
    fn nearest(value: u128, scale: u32) -> Option<Self> {
        let divisor = 10_u128.checked_pow(scale)?;
        let (mut scaled, mut halvings) = (value, 0_u32);
        if scaled == 0 {
            return None;
        }
        while scaled.checked_div(divisor)? < Self::MANTISSA_MIN {
            scaled = scaled.checked_mul(2)?;
            halvings = halvings.checked_add(1)?;
        }
        let (whole, rest) = (scaled.checked_div(divisor)?, scaled.checked_rem(divisor)?);
        if whole >= Self::MANTISSA_END {
            return None;
        }
        let above = rest.checked_mul(2)?.cmp(&divisor);
        let is_up = above.is_gt() || above.is_eq() && whole & 1 == 1;
        let mantissa = if is_up { whole.checked_add(1)? } else { whole };
        if mantissa < Self::MANTISSA_END {
            return Some(Self { mantissa, halvings });
        }
        Some(Self { mantissa: Self::MANTISSA_MIN, halvings: halvings.checked_sub(1)? })
    }

    /// How far `value / 10^scale` is from it, times `10^scale * 2^halvings`.
    fn distance(self, value: u128, scale: u32) -> Option<u128> {
        let theirs = value.checked_mul(1_u128.checked_shl(self.halvings)?)?;
        let ours = self.mantissa.checked_mul(10_u128.checked_pow(scale)?)?;
        Some(theirs.abs_diff(ours))
    }
}

/// The object without members that are null, at any depth: a member that is null says what an absent one says.
pub(crate) fn without_nulls(object: &Object) -> Object {
    object.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), bare(value))).collect()
}

fn bare(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(without_nulls(object)),
        Value::Array(entries) => Value::Array(entries.iter().map(bare).collect()),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn text(json: &str) -> Result<String, Code> {
        canonical(&parse(json.as_bytes()).unwrap()).map_err(|refused| refused.code)
    }

    #[test]
    fn a_number_that_a_double_would_change_is_refused() {
        for json in [
            "9007199254740993",
            "0.123456789012345678",
            "0.30000000000000003",
            "0.300000000000000041",
            "19.990000000000001",
            "73752450895442.37",
            "0.30000000000000004e-30",
            "1e400",
            "1e-400",
            "123456789012345678901",
            "-9007199254740994",
            "1e2147483648",
            "[1,{\"a\":1.0000000000000001}]",
            "18446744073709551615",
            "4.9e-324",
        ] {
            assert_eq!(text(json), Err(Code::NumberNotCanonical), "{json}");
        }
    }

    #[test]
    fn numbers_are_written_as_ecmascript_writes_them() {
        for (json, wanted) in [
            ("120.0", "120"),
            ("-0", "0"),
            ("0.000", "0"),
            ("0e99", "0"),
            ("4.50", "4.5"),
            ("2e-3", "0.002"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1.5e-7", "1.5e-7"),
            ("1E30", "1e+30"),
            ("1e21", "1e+21"),
            ("100000000000000000000", "100000000000000000000"),
            ("333333333.333333", "333333333.333333"),
            ("-19.99", "-19.99"),
            ("9007199254740992", "9007199254740992"),
            ("9007199254740991", "9007199254740991"),
            ("12e1", "120"),
            ("1.20e2", "120"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("119.99000000000001", "119.99000000000001"),
            ("0.1234567890123456", "0.1234567890123456"),
            ("5959.7699999999995", "5959.7699999999995"),
            ("30000000000000004e-17", "0.30000000000000004"),
            ("73752450895442.38", "73752450895442.38"),
        ] {
            assert_eq!(text(json).as_deref().unwrap_or("refused"), wanted, "{json}");
        }
    }

    /// The example of RFC 8785 section 3.2.3, and its strings of section 3.2.2.
    #[test]
    fn members_are_sorted_by_utf_16_and_strings_escaped_once() {
        let json = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
            "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let wanted = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
            \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
            \"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}";
        assert_eq!(text(json).unwrap(), wanted);
        let strings = r#"{"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
        let wanted = "{\"literals\":[null,true,false],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(text(strings).unwrap(), wanted);
    }
}
