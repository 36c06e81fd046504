//! Reading claims strictly: no coercion, bounded texts, and a refusal that names the claim.

use ledger::money::Amount;
use serde_json::{Number, Value};

use crate::json::{Entries, Json, Members};
use crate::limits::TEXT_BYTES_MAX;
use crate::rejection::{Code, Rejection, shown};

pub(crate) fn refused(field: &str, message: String) -> Rejection {
    Rejection::new(Code::Schema, message).at(field)
}

fn wrong_kind(field: &str, wanted: &str, came: Option<Json<'_>>) -> Rejection {
    refused(field, format!("{field} is {wanted}; {} came", came.map_or("nothing", Json::kind)))
}

pub(crate) fn text<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<String, Rejection> {
    text_of(object, field).map(str::to_owned)
}

pub(crate) fn optional_text<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<Option<String>, Rejection> {
    optional_text_of(object, field).map(|text| text.map(str::to_owned))
}

/// The text itself, where it lies.
pub(crate) fn text_of<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<&'t str, Rejection> {
    optional_text_of(object, field)?.ok_or_else(|| wrong_kind(field, "a string", None))
}

pub(crate) fn optional_text_of<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<Option<&'t str>, Rejection> {
    match object.into().get(field) {
        None => Ok(None),
        Some(Json::String("")) => Err(refused(field, format!("{field} has characters; it is empty"))),
        Some(Json::String(text)) if text.len() > TEXT_BYTES_MAX => {
            Err(refused(field, format!("{field} has at most {TEXT_BYTES_MAX} bytes; {} came", text.len())))
        }
        Some(Json::String(text)) => Ok(Some(text)),
        other => Err(wrong_kind(field, "a string", other)),
    }
}

pub(crate) fn object<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<Members<'t>, Rejection> {
    match object.into().get(field) {
        Some(Json::Object(inner)) => Ok(inner),
        other => Err(wrong_kind(field, "an object", other)),
    }
}

pub(crate) fn list<'t>(
    object: impl Into<Members<'t>>,
    field: &str,
    entries_max: usize,
) -> Result<Entries<'t>, Rejection> {
    match object.into().get(field) {
        Some(Json::Array(entries)) if entries.len() > entries_max => {
            Err(refused(field, format!("{field} has at most {entries_max} entries; {} came", entries.len())))
        }
        Some(Json::Array(entries)) => Ok(entries),
        other => Err(wrong_kind(field, "an array", other)),
    }
}

/// Each entry of a list, as an object.
pub(crate) fn objects<'t>(
    object: impl Into<Members<'t>>,
    field: &str,
    entries_max: usize,
) -> Result<Vec<Members<'t>>, Rejection> {
    let entries = list(object, field, entries_max)?.iter().map(|entry| match entry {
        Json::Object(inner) => Ok(inner),
        other => Err(wrong_kind(field, "an array of objects", Some(other))),
    });
    entries.collect()
}

/// A whole number of minor units, written as an integer: `1.0`, `1e2`, `-0` and `"1"` are not integers here.
pub(crate) fn amount<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<Amount, Rejection> {
    optional_amount(object, field)?.ok_or_else(|| wrong_kind(field, "an integer", None))
}

pub(crate) fn optional_amount<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<Option<Amount>, Rejection> {
    match object.into().get(field) {
        None => Ok(None),
        Some(Json::Number(number)) => number.parse().map(Some).map_err(|_| {
            refused(field, format!("{field} is an integer of minor units, 0 or more; {} came", shown(number)))
        }),
        other => Err(wrong_kind(field, "an integer", other)),
    }
}

pub(crate) fn count<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<u64, Rejection> {
    match object.into().get(field) {
        Some(Json::Number(number)) => number
            .parse()
            .map_err(|_| refused(field, format!("{field} is an integer, 0 or more; {} came", shown(number)))),
        other => Err(wrong_kind(field, "an integer", other)),
    }
}

/// A boolean where the member is there.
pub(crate) fn flag<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<Option<bool>, Rejection> {
    match object.into().get(field) {
        None => Ok(None),
        Some(Json::Bool(flag)) => Ok(Some(flag)),
        other => Err(wrong_kind(field, "a boolean", other)),
    }
}

/// A text for people, which may be empty.
pub(crate) fn prose<'t>(object: impl Into<Members<'t>>, field: &str) -> Result<Option<String>, Rejection> {
    let object = object.into();
    match object.get(field) {
        Some(Json::String("")) => Ok(Some(String::new())),
        _ => optional_text(object, field),
    }
}

/// A list of texts where the member is there.
pub(crate) fn optional_texts<'t>(
    object: impl Into<Members<'t>>,
    field: &str,
    entries_max: usize,
) -> Result<Option<Vec<String>>, Rejection> {
    let object = object.into();
    if !object.contains_key(field) {
        return Ok(None);
    }
    let texts = list(object, field, entries_max)?.iter().map(|entry| match entry {
        Json::String(text) if !text.is_empty() && text.len() <= TEXT_BYTES_MAX => Ok(text.to_owned()),
        other => Err(wrong_kind(field, "an array of strings with characters", Some(other))),
    });
    texts.collect::<Result<_, _>>().map(Some)
}

/// An object where the member is there.
pub(crate) fn optional_object<'t>(
    outer: impl Into<Members<'t>>,
    field: &str,
) -> Result<Option<Members<'t>>, Rejection> {
    let outer = outer.into();
    if outer.contains_key(field) { object(outer, field).map(Some) } else { Ok(None) }
}

pub(crate) fn number_of(amount: Amount) -> Value {
    amount.to_string().parse::<Number>().map_or(Value::Null, Value::Number)
}
