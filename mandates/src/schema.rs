//! Reading claims strictly: no coercion, bounded texts, and a refusal that names the claim.

use ledger::money::Amount;
use serde_json::{Number, Value};

use crate::json::{Object, kind};
use crate::limits::TEXT_BYTES_MAX;
use crate::rejection::{Code, Rejection, shown};

pub(crate) fn refused(field: &str, message: String) -> Rejection {
    Rejection::new(Code::Schema, message).at(field)
}

fn wrong_kind(field: &str, wanted: &str, came: Option<&Value>) -> Rejection {
    refused(field, format!("{field} is {wanted}; {} came", came.map_or("nothing", kind)))
}

pub(crate) fn text(object: &Object, field: &str) -> Result<String, Rejection> {
    text_of(object, field).map(str::to_owned)
}

pub(crate) fn optional_text(object: &Object, field: &str) -> Result<Option<String>, Rejection> {
    optional_text_of(object, field).map(|text| text.map(str::to_owned))
}

/// The text itself, where it lies.
pub(crate) fn text_of<'a>(object: &'a Object, field: &str) -> Result<&'a str, Rejection> {
    optional_text_of(object, field)?.ok_or_else(|| wrong_kind(field, "a string", None))
}

pub(crate) fn optional_text_of<'a>(object: &'a Object, field: &str) -> Result<Option<&'a str>, Rejection> {
    match object.get(field) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => {
            Err(refused(field, format!("{field} has characters; it is empty")))
        }
        Some(Value::String(text)) if text.len() > TEXT_BYTES_MAX => {
            Err(refused(field, format!("{field} has at most {TEXT_BYTES_MAX} bytes; {} came", text.len())))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        other => Err(wrong_kind(field, "a string", other)),
    }
}

pub(crate) fn object<'a>(object: &'a Object, field: &str) -> Result<&'a Object, Rejection> {
    match object.get(field) {
        Some(Value::Object(inner)) => Ok(inner),
        other => Err(wrong_kind(field, "an object", other)),
    }
}

pub(crate) fn list<'a>(object: &'a Object, field: &str, entries_max: usize) -> Result<&'a [Value], Rejection> {
    match object.get(field) {
        Some(Value::Array(entries)) if entries.len() > entries_max => {
            Err(refused(field, format!("{field} has at most {entries_max} entries; {} came", entries.len())))
        }
        Some(Value::Array(entries)) => Ok(entries),
        other => Err(wrong_kind(field, "an array", other)),
    }
}

/// Each entry of a list, as an object.
pub(crate) fn objects<'a>(object: &'a Object, field: &str, entries_max: usize) -> Result<Vec<&'a Object>, Rejection> {
    let entries = list(object, field, entries_max)?.iter().map(|entry| match entry {
        Value::Object(inner) => Ok(inner),
        other => Err(wrong_kind(field, "an array of objects", Some(other))),
    });
    entries.collect()
}

/// A whole number of minor units, written as an integer: `1.0`, `1e2`, `-0` and `"1"` are not integers here.
pub(crate) fn amount(object: &Object, field: &str) -> Result<Amount, Rejection> {
    optional_amount(object, field)?.ok_or_else(|| wrong_kind(field, "an integer", None))
}

pub(crate) fn optional_amount(object: &Object, field: &str) -> Result<Option<Amount>, Rejection> {
    match object.get(field) {
        None => Ok(None),
        Some(Value::Number(number)) => number.as_str().parse().map(Some).map_err(|_| {
            refused(
                field,
                format!("{field} is an integer of minor units, 0 or more; {} came", shown(&number.to_string())),
            )
        }),
        other => Err(wrong_kind(field, "an integer", other)),
    }
}

pub(crate) fn count(object: &Object, field: &str) -> Result<u64, Rejection> {
    match object.get(field) {
        Some(Value::Number(number)) => number.as_str().parse().map_err(|_| {
            refused(field, format!("{field} is an integer, 0 or more; {} came", shown(&number.to_string())))
        }),
        other => Err(wrong_kind(field, "an integer", other)),
    }
}

/// A boolean where the member is there.
pub(crate) fn flag(object: &Object, field: &str) -> Result<Option<bool>, Rejection> {
    match object.get(field) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        other => Err(wrong_kind(field, "a boolean", other)),
    }
}

/// A text for people, which may be empty.
pub(crate) fn prose(object: &Object, field: &str) -> Result<Option<String>, Rejection> {
    match object.get(field) {
        Some(Value::String(text)) if text.is_empty() => Ok(Some(String::new())),
        _ => optional_text(object, field),
    }
}

/// A list of texts where the member is there.
pub(crate) fn optional_texts(
    object: &Object,
    field: &str,
    entries_max: usize,
) -> Result<Option<Vec<String>>, Rejection> {
    if !object.contains_key(field) {
        return Ok(None);
    }
    let texts = list(object, field, entries_max)?.iter().map(|entry| match entry {
        Value::String(text) if !text.is_empty() && text.len() <= TEXT_BYTES_MAX => Ok(text.clone()),
        other => Err(wrong_kind(field, "an array of strings with characters", Some(other))),
    });
    texts.collect::<Result<_, _>>().map(Some)
}

/// An object where the member is there.
pub(crate) fn optional_object<'a>(outer: &'a Object, field: &str) -> Result<Option<&'a Object>, Rejection> {
    if outer.contains_key(field) { object(outer, field).map(Some) } else { Ok(None) }
}

pub(crate) fn number_of(amount: Amount) -> Value {
    amount.to_string().parse::<Number>().map_or(Value::Null, Value::Number)
}
