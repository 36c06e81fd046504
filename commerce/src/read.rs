//! Members of a request, read leniently: what is not known is passed over, what is known has its type.

use mandates::json::{Object, kind};
use serde_json::Value;

use crate::checkout::{Code, Refusal};

/// Longest text that is taken from a request, in bytes.
pub const TEXT_BYTES_MAX: usize = 2_048;

/// `null` clears, absent keeps.
pub type Given<T> = Option<Option<T>>;

pub fn wrong(path: &str, expected: &str, came: &Value) -> Refusal {
    Refusal::new(Code::Invalid, path, format!("{path} is {expected}; {} came", kind(came)))
}

pub fn object<'a>(of: &'a Object, name: &str, path: &str) -> Result<Given<&'a Object>, Refusal> {
    match of.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::Object(object)) => Ok(Some(Some(object))),
        Some(other) => Err(wrong(&format!("{path}.{name}"), "an object", other)),
    }
}

pub fn list<'a>(of: &'a Object, name: &str, path: &str) -> Result<Given<&'a Vec<Value>>, Refusal> {
    match of.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::Array(list)) if list.len() > LIST_MAX => {
            let path = format!("{path}.{name}");
            let message = format!("{path} has at most {LIST_MAX} entries; {} came", list.len());
            Err(Refusal::new(Code::Invalid, path, message))
        }
        Some(Value::Array(list)) => Ok(Some(Some(list))),
        Some(other) => Err(wrong(&format!("{path}.{name}"), "an array", other)),
    }
}

/// Most entries of one list in a request.
pub const LIST_MAX: usize = 100;

pub fn entry<'a>(value: &'a Value, path: &str) -> Result<&'a Object, Refusal> {
    value.as_object().ok_or_else(|| wrong(path, "an object", value))
}

pub fn text(of: &Object, name: &str, path: &str) -> Result<Given<String>, Refusal> {
    match of.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) if text.len() > TEXT_BYTES_MAX => {
            let path = format!("{path}.{name}");
            let message = format!("{path} has at most {TEXT_BYTES_MAX} bytes; {} came", text.len());
            Err(Refusal::new(Code::Invalid, path, message))
        }
        Some(Value::String(text)) => Ok(Some(Some(text.clone()))),
        Some(other) => Err(wrong(&format!("{path}.{name}"), "a string", other)),
    }
}

/// The same, where `null` says as little as nothing.
pub fn optional(of: &Object, name: &str, path: &str) -> Result<Option<String>, Refusal> {
    Ok(text(of, name, path)?.flatten())
}

pub fn required(of: &Object, name: &str, path: &str) -> Result<String, Refusal> {
    optional(of, name, path)?.ok_or_else(|| {
        let path = format!("{path}.{name}");
        let message = format!("{path} is a string; nothing came");
        Refusal::new(Code::Missing, path, message)
    })
}

/// A date and time of RFC 3339.
pub fn is_moment(text: &str) -> bool {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).is_ok()
}

/// One where nothing is said. `2.0` is two, as JSON Schema counts.
pub fn quantity(of: &Object, path: &str) -> Result<u64, Refusal> {
    let whole = |text: String| match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole.parse().ok(),
        Some(_) => None,
        None => text.parse::<u64>().ok(),
    };
    match of.get("quantity") {
        None | Some(Value::Null) => Ok(1),
        Some(other) => {
            let count = other.as_number().and_then(|number| whole(number.to_string())).filter(|count| *count > 0);
            count.ok_or_else(|| {
                let path = format!("{path}.quantity");
                let message = format!("{path} is a whole number of 1 to {}; {other} came", u64::MAX);
                Refusal::new(Code::Invalid, path, message)
            })
        }
    }
}
