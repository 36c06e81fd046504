//! Objects of a closed JSON schema, member by member. Values are never repeated in a refusal: they may be a card's.

use std::str::FromStr;

use mandates::json::{Object, kind};
use rust_decimal::Decimal;
use serde_json::{Number, Value};

use super::refusal::Refusal;

/// What a member may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Text,
    /// At most so many characters.
    TextTo(usize),
    /// So many characters from the first to the second.
    TextOf(usize, usize),
    OneOf(&'static [&'static str]),
    /// Lower-case letters, three of them.
    Currency,
    /// Four digits.
    LastFour,
    Integer,
    Flag,
    /// A list of these.
    Several(&'static [&'static str]),
    /// Texts by name.
    Texts,
    /// Looked at on its own.
    Object,
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

pub(crate) type Member = (&'static str, Shape, Need);

/// The object, where it has all that it needs and nothing that the schema does not name.
pub(crate) fn closed<'a>(value: &'a Value, path: &str, members: &[Member]) -> Result<&'a Object, Refusal> {
    let object = open(value, path, members)?;
    match object.keys().find(|name| !members.iter().any(|(known, ..)| known == name)) {
        None => Ok(object),
        Some(name) => {
            let message = format!("only members of the schema were expected, `{}` came", super::refusal::shown(name));
            Err(Refusal::malformed("invalid_request", Some(path), message))
        }
    }
}

/// The same of a schema that lets others add members.
pub(crate) fn open<'a>(value: &'a Value, path: &str, members: &[Member]) -> Result<&'a Object, Refusal> {
    let Value::Object(object) = value else {
        return Err(wrong(path, "an object", kind(value)));
    };
    for (name, shape, need) in members {
        let path = format!("{path}.{name}");
        match object.get(*name) {
            Some(value) => fits(value, &path, *shape)?,
            None if *need == Need::Required => {
                return Err(wrong(&path, "this member", "nothing"));
            }
            None => {}
        }
    }
    Ok(object)
}

fn fits(value: &Value, path: &str, shape: Shape) -> Result<(), Refusal> {
    let text = |expected: String, holds: &dyn Fn(&str) -> bool| match value {
        Value::String(text) if holds(text) => Ok(()),
        Value::String(_) => Err(wrong(path, &expected, "another text")),
        other => Err(wrong(path, &expected, kind(other))),
    };
    let length = |text: &str| text.chars().count();
    match shape {
        Shape::Text => text("a text".into(), &|_| true),
        Shape::TextTo(most) => text(format!("a text of at most {most} characters"), &|text| length(text) <= most),
        Shape::TextOf(least, most) => {
            text(format!("a text of {least} to {most} characters"), &|text| (least..=most).contains(&length(text)))
        }
        Shape::OneOf(known) => text(format!("one of {}", known.join(", ")), &|text| known.contains(&text)),
        Shape::Currency => text("three lower-case letters".into(), &|text| {
            text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase())
        }),
        Shape::LastFour => {
            text("four digits".into(), &|text| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
        }
        Shape::Integer => match value {
            Value::Number(number) if is_whole(number) => Ok(()),
            Value::Number(_) => Err(wrong(path, "a whole number", "another number")),
            other => Err(wrong(path, "a whole number", kind(other))),
        },
        Shape::Flag => match value {
            Value::Bool(_) => Ok(()),
            other => Err(wrong(path, "true or false", kind(other))),
        },
        Shape::Several(known) => {
            let expected = format!("a list of {}", known.join(", "));
            let Value::Array(list) = value else { return Err(wrong(path, &expected, kind(value))) };
            let all = list.iter().all(|one| one.as_str().is_some_and(|one| known.contains(&one)));
            if all { Ok(()) } else { Err(wrong(path, &expected, "another element")) }
        }
        Shape::Texts => {
            let Value::Object(object) = value else { return Err(wrong(path, "an object of texts", kind(value))) };
            let all = object.values().all(Value::is_string);
            if all { Ok(()) } else { Err(wrong(path, "an object of texts", "another value in it")) }
        }
        Shape::Object => match value {
            Value::Object(_) => Ok(()),
            other => Err(wrong(path, "an object", kind(other))),
        },
        Shape::List => match value {
            Value::Array(_) => Ok(()),
            other => Err(wrong(path, "a list", kind(other))),
        },
    }
}

/// JSON Schema has integers without end.
fn is_whole(number: &Number) -> bool {
    let text = number.to_string();
    let digits = text.strip_prefix('-').unwrap_or(&text);
    whole(number).is_some() || digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// A number without a fraction, however it is written: JSON Schema calls `2000.0` an integer. Nothing where none of ours
/// holds it.
pub(crate) fn whole(number: &Number) -> Option<i64> {
    let text = number.to_string();
    let decimal = Decimal::from_str_exact(&text).ok().or_else(|| Decimal::from_scientific(&text).ok())?;
    if !decimal.is_integer() {
        return None;
    }
    i64::from_str(&decimal.normalize().to_string()).ok()
}

pub(crate) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

fn wrong(path: &str, expected: &str, found: &str) -> Refusal {
    Refusal::malformed("invalid_request", Some(path), format!("{expected} was expected at {path}, {found} came"))
}
