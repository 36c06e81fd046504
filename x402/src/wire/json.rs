//! JSON in and out: bounded, without duplicate keys, of the version spoken.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    FacilitatorRequest, PaymentPayload, PaymentRequired, SettleResponse, SupportedResponse, VerifyResponse, WireError,
    X402_VERSION, v1,
};
use crate::limit::{MESSAGE_BYTES_MAX, OFFERS_MAX};
use crate::refusal::echo;
use crate::sign_in;

/// A message of the protocol. Closed: the types of [`super`].
pub trait Message: DeserializeOwned + Serialize + sealed::Checked {}

impl<T: DeserializeOwned + Serialize + sealed::Checked> Message for T {}

mod sealed {
    /// What must hold of the raw object before its fields are read.
    pub trait Checked {
        fn check(_object: &serde_json::Value) -> Result<(), super::WireError> {
            Ok(())
        }
    }
}

impl sealed::Checked for PaymentRequired {
    fn check(object: &Value) -> Result<(), WireError> {
        check_version(object)?;
        check_offers(object)
    }
}

impl sealed::Checked for v1::PaymentRequired {
    fn check(object: &Value) -> Result<(), WireError> {
        check_version_one(object)?;
        check_offers(object)
    }
}

impl sealed::Checked for v1::PaymentPayload {
    fn check(object: &Value) -> Result<(), WireError> {
        check_version_one(object)
    }
}

impl sealed::Checked for v1::FacilitatorRequest {
    fn check(object: &Value) -> Result<(), WireError> {
        check_version_one(object)?;
        object.get("paymentPayload").map_or(Ok(()), check_version_one)
    }
}

impl sealed::Checked for PaymentPayload {
    fn check(object: &Value) -> Result<(), WireError> {
        check_version(object)
    }
}

impl sealed::Checked for FacilitatorRequest {
    fn check(object: &Value) -> Result<(), WireError> {
        check_version(object)?;
        object.get("paymentPayload").map_or(Ok(()), check_version)
    }
}

impl sealed::Checked for VerifyResponse {}
impl sealed::Checked for SettleResponse {}
impl sealed::Checked for SupportedResponse {}
impl sealed::Checked for sign_in::Signed {}

fn check_version(object: &Value) -> Result<(), WireError> {
    check_version_is(object, X402_VERSION, "2")
}

fn check_version_one(object: &Value) -> Result<(), WireError> {
    check_version_is(object, v1::X402_VERSION, "1")
}

/// A missing version is a missing field, reported as such when the fields are read.
fn check_version_is(object: &Value, spoken: u64, expected: &'static str) -> Result<(), WireError> {
    match object.get("x402Version") {
        Some(version) if version.as_u64() != Some(spoken) => {
            Err(WireError::Version { expected, found: echo(&version.to_string()) })
        }
        _ => Ok(()),
    }
}

fn check_offers(object: &Value) -> Result<(), WireError> {
    match object.get("accepts").and_then(Value::as_array).map(Vec::len) {
        Some(found) if found == 0 || found > OFFERS_MAX => Err(WireError::Offers { max: OFFERS_MAX, found }),
        _ => Ok(()),
    }
}

/// The version that a message says it is of, so that it can be read as that. Nothing else of it is looked at; `None`
/// where it says none, or is no JSON object.
pub fn version_of(bytes: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Versioned {
        x402_version: Value,
    }
    if bytes.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(bytes).ok().and_then(|Versioned { x402_version }| x402_version.as_u64())
}

/// Bounded JSON in which no object has a key twice.
pub(super) fn check_keys(bytes: &[u8]) -> Result<(), WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLarge { max_bytes: MESSAGE_BYTES_MAX, found_bytes: bytes.len() });
    }
    let UniqueKeys(duplicate) =
        serde_json::from_slice(bytes).map_err(|error| WireError::NotJson { detail: echo(&error.to_string()) })?;
    if let Some(key) = duplicate {
        return Err(WireError::DuplicateKey { key: echo(&key) });
    }
    Ok(())
}

/// Reads the body of a request or answer.
pub fn read_message<T: Message>(bytes: &[u8]) -> Result<T, WireError> {
    check_keys(bytes)?;
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| WireError::NotJson { detail: echo(&error.to_string()) })?;
    if !value.is_object() {
        return Err(WireError::NotJson { detail: "it is a value of another type".to_owned() });
    }
    T::check(&value)?;
    // from the bytes, not from `value`: an integer above u64 in an unknown field does not survive the detour
    serde_json::from_slice(bytes).map_err(|error| WireError::Shape { detail: echo(&error.to_string()) })
}

/// Compact JSON, refused where the other side would be right to refuse it for its size.
pub fn write_message<T: Message>(message: &T) -> Result<Vec<u8>, WireError> {
    let bytes = serde_json::to_vec(message).map_err(|error| WireError::Shape { detail: echo(&error.to_string()) })?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLarge { max_bytes: MESSAGE_BYTES_MAX, found_bytes: bytes.len() });
    }
    Ok(bytes)
}

/// The first key that stands twice in one object, at any depth. `serde_json` keeps the last one silently, other
/// readers the first: two honest readers would then see two payments. Depth is bounded by `serde_json` (128).
struct UniqueKeys(Option<String>);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyScan)
    }
}

struct KeyScan;

impl<'de> Visitor<'de> for KeyScan {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = HashSet::new();
        let mut duplicate = None;
        while let Some(key) = map.next_key::<String>()? {
            let UniqueKeys(inner) = map.next_value()?;
            duplicate = duplicate.or(inner);
            if let Some(key) = keys.replace(key) {
                duplicate = duplicate.or(Some(key));
            }
        }
        Ok(UniqueKeys(duplicate))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut duplicate = None;
        while let Some(UniqueKeys(inner)) = seq.next_element()? {
            duplicate = duplicate.or(inner);
        }
        Ok(UniqueKeys(duplicate))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(UniqueKeys(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(UniqueKeys(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(UniqueKeys(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(UniqueKeys(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(UniqueKeys(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(UniqueKeys(None))
    }
}

/// With whole numbers as they were meant: an SDK of A2A 1.0 keeps metadata in protocol buffers, which have doubles only, and
/// writes `2.0` for `2` (ProtoJSON, `google.protobuf.Value`).
pub fn whole(members: &Map<String, Value>) -> Map<String, Value> {
    members.iter().map(|(name, value)| (name.clone(), whole_value(value))).collect()
}

fn whole_value(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let text = number.to_string();
            let digits = text.strip_suffix(".0").and_then(|digits| digits.parse::<u64>().ok());
            digits.map_or_else(|| value.clone(), Value::from)
        }
        Value::Array(entries) => entries.iter().map(whole_value).collect(),
        Value::Object(members) => Value::Object(whole(members)),
        other => other.clone(),
    }
}
