//! A UCP checkout with its merchant's detached signature: `checkout_response` as it came and the merchant's `jwk`; what
//! the file gives beside them (`jcs_payload`, `reattached_checkout_jwt`, `checkout_hash_sha256_b64u`) must come out.

use std::collections::BTreeMap;
use std::path::Path;

use mandates::base64url;
use mandates::digest::HashAlgorithm;
use mandates::json;
use mandates::keys::{KeySet, PublicKey};
use mandates::ucp;
use serde_json::value::RawValue;

use super::Line;

pub(super) fn run(file: &Path, text: &[u8]) -> Result<Line, String> {
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let unreadable = |what: &str| format!("{} cannot be read: {what}", file.display());
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(text).map_err(|error| unreadable(&error.to_string()))?;
    let member = |name: &str| members.get(name).map(|raw| raw.get().as_bytes());
    let checkout = member("checkout_response").ok_or_else(|| unreadable("it has no checkout_response"))?;
    let jwk = member("jwk").ok_or_else(|| unreadable("it has no jwk"))?;
    let keys = json::parse_object(jwk).and_then(|jwk| PublicKey::from_jwk(&jwk)).and_then(|key| KeySet::new([key]));
    let keys = keys.map_err(|refused| unreadable(&refused.message))?;
    let outcome = verify(checkout, &keys, &|name: &str| {
        member(name).and_then(|text| serde_json::from_slice::<String>(text).ok())
    });
    Ok(Line::valid(&name, outcome))
}

fn verify(checkout: &[u8], keys: &KeySet, given: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let signed = ucp::verify(checkout, keys).map_err(|refused| format!("invalid {}", refused.code()))?;
    let payload = signed.checkout_jwt.split('.').nth(1).and_then(base64url::decode).unwrap_or_default();
    let came = [
        ("jcs_payload", String::from_utf8(payload).unwrap_or_default()),
        ("reattached_checkout_jwt", signed.checkout_jwt.clone()),
        ("checkout_hash_sha256_b64u", signed.hash(HashAlgorithm::Sha256)),
    ];
    match came.into_iter().find(|(name, came)| given(name).is_some_and(|wanted| wanted != *came)) {
        None => Ok(()),
        Some((name, came)) => Err(format!("another {name}: {came}")),
    }
}
