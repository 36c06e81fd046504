//! Extension `payment-identifier` (`specs/extensions/payment_identifier.md`): a payer's own name for a purchase, so that
//! the same one is made once.
//!
//! It is not signed. So it counts under the payer whose signature was verified, and beside the content that it was first
//! used for; alone it opens nothing.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::reason::Reason;
use crate::refusal::Refusal;

/// The name of the extension.
pub const EXTENSION: &str = "payment-identifier";

const BYTES_MIN: usize = 16;
const BYTES_MAX: usize = 128;

/// 16 to 128 letters, digits, hyphens and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentIdentifier(String);

impl PaymentIdentifier {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PaymentIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a payment without a name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demanded {
    Required,
    Optional,
}

/// What a seller declares.
pub fn declaration(demanded: Demanded) -> Value {
    json!({
        "info": { "required": demanded == Demanded::Required },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "required": { "type": "boolean" },
                "id": { "type": "string", "minLength": BYTES_MIN, "maxLength": BYTES_MAX, "pattern": "^[a-zA-Z0-9_-]+$" },
            },
            "required": ["required"],
        },
    })
}

/// The name in a payment's extensions; `None` where the payer gave none.
pub fn read(extensions: Option<&Map<String, Value>>) -> Result<Option<PaymentIdentifier>, Refusal> {
    let Some(entry) = extensions.and_then(|all| all.get(EXTENSION)).filter(|entry| !entry.is_null()) else {
        return Ok(None);
    };
    let wrong = |found: &Value| {
        let expected = format!("{BYTES_MIN} to {BYTES_MAX} letters, digits, hyphens and underscores");
        Refusal::new(Reason::PaymentIdentifierInvalid, "extensions.payment-identifier.info.id", expected, found)
    };
    let info = entry.get("info").and_then(Value::as_object).ok_or_else(|| wrong(entry))?;
    match info.get("id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if is_name(id) => Ok(Some(PaymentIdentifier(id.clone()))),
        Some(other) => Err(wrong(other)),
    }
}

fn is_name(id: &str) -> bool {
    let fits = (BYTES_MIN..=BYTES_MAX).contains(&id.len());
    fits && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What a payer answers to a declaration: the same, and its own name. `None` where nothing is declared.
pub fn echo(declared: Option<&Map<String, Value>>, name: &str) -> Option<(String, Value)> {
    let mut entry = declared?.get(EXTENSION)?.clone();
    entry.get_mut("info")?.as_object_mut()?.insert("id".to_owned(), name.into());
    Some((EXTENSION.to_owned(), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: Value) -> Result<Option<String>, &'static str> {
        let extensions = json!({ EXTENSION: { "info": { "required": false, "id": id } } });
        let read = read(extensions.as_object()).map_err(|refusal| refusal.code());
        read.map(|found| found.map(|found| found.to_string()))
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let (short, long) = ("a".repeat(BYTES_MIN - 1), "a".repeat(BYTES_MAX + 1));
        for id in [
            json!(""),
            json!(short),
            json!(long),
            json!("pay 0123456789abcdef"),
            json!("pay/0123456789abcdef"),
            json!("pay.0123456789abcdef"),
            json!("pay_0123456789abcdeü"),
            json!("pay_0123456789abcdef\n"),
            json!(1_234_567_890_123_456_u64),
            json!(["pay_0123456789abcdef"]),
            json!({}),
            json!(true),
        ] {
            assert_eq!(of(id.clone()), Err("payment_identifier_invalid"), "{id}");
        }
        for entry in [json!("text"), json!([]), json!({}), json!({ "info": null }), json!({ "info": "text" })] {
            let extensions = json!({ EXTENSION: entry });
            assert!(read(extensions.as_object()).is_err(), "{extensions}");
        }
    }

    #[test]
    fn a_name_is_read_and_echoed() {
        let name = "pay_7d5d747be160e280504c099d984bcfe0";
        assert_eq!(of(json!(name)), Ok(Some(name.to_owned())));
        assert_eq!(of(json!(null)), Ok(None));
        for nothing in [None, Some(json!({})), Some(json!({ EXTENSION: null })), Some(json!({ "other": {} }))] {
            let extensions = nothing.as_ref().and_then(Value::as_object);
            assert_eq!(read(extensions), Ok(None));
            assert_eq!(echo(extensions, name), None);
        }
        let declared = json!({ EXTENSION: declaration(Demanded::Required) });
        let (key, entry) = echo(declared.as_object(), name).unwrap();
        let echoed = Map::from_iter([(key, entry)]);
        assert_eq!(read(Some(&echoed)).unwrap().map(|name| name.to_string()), Some(name.to_owned()));
        assert_eq!(crate::wire::extension::check_echo(declared.as_object(), Some(&echoed)), Ok(()));
    }
}
