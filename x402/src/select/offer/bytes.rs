//! One form for each value, so that the digest of an offer is one digest.

use serde_json::{Map, Value};

pub(super) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    // every field is bounded far below 4 GiB (crate::limit); the length saturates rather than wraps
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Keys sorted by bytes, so that the build's map type (`preserve_order` or not) does not enter the digest.
pub(super) fn push_object(out: &mut Vec<u8>, object: &Map<String, Value>) {
    let mut entries: Vec<_> = object.iter().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    push(out, b"object");
    push(out, &u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (key, value) in entries {
        push(out, key.as_bytes());
        push_value(out, value);
    }
}

/// Depth is bounded by the parser (128).
fn push_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => push(out, b"null"),
        Value::Bool(truth) => push(out, if *truth { b"true" } else { b"false" }),
        Value::Number(number) => {
            push(out, b"number");
            push(out, number.to_string().as_bytes());
        }
        Value::String(text) => {
            push(out, b"string");
            push(out, text.as_bytes());
        }
        Value::Array(items) => {
            push(out, b"array");
            push(out, &u32::try_from(items.len()).unwrap_or(u32::MAX).to_be_bytes());
            for item in items {
                push_value(out, item);
            }
        }
        Value::Object(object) => push_object(out, object),
    }
}
