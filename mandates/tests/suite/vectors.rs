//! The AP2 v0.2 conformance file: no forged or broken mandate is accepted, and what is refused for lack of a part is named.

use mandates::conformance::{self, CaseResult, Validity};
use serde_json::Value;

/// Valid cases that are refused because a part is not built yet.
const WAITING: &[(&str, &str)] = &[];

fn results() -> Vec<CaseResult> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/ap2/v0.2.json");
    let file = std::fs::read(path).expect("the conformance file lies in fixtures");
    let cases: Vec<Value> = serde_json::from_slice(&file).expect("it is a JSON array");
    assert_eq!(cases.len(), 144, "the file is whole");
    cases.iter().map(|case| conformance::run(case).expect("each case is in the format")).collect()
}

#[test]
fn no_invalid_case_is_accepted() {
    let accepted: Vec<String> = results()
        .iter()
        .filter(|result| result.expected == Validity::Invalid && result.came == Validity::Valid)
        .map(CaseResult::line)
        .collect();
    assert_eq!(accepted, Vec::<String>::new());
}

#[test]
fn every_case_passes_but_those_that_wait_for_a_part() {
    let failed: Vec<String> = results()
        .iter()
        .filter(|result| !result.has_passed() && result.waits_for.is_none())
        .map(|result| format!("{} ({})", result.line(), result.message.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(failed, Vec::<String>::new());
    let results = results();
    let waiting: Vec<(&str, &str)> =
        results.iter().filter_map(|result| Some((result.id.as_str(), result.waits_for?))).collect();
    assert_eq!(waiting, WAITING);
}

#[test]
fn every_case_of_v0_1_passes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/ap2/v0.1.json");
    let file = std::fs::read(path).expect("the conformance file lies in fixtures");
    let cases: Vec<Box<serde_json::value::RawValue>> = serde_json::from_slice(&file).expect("it is a JSON array");
    assert_eq!(cases.len(), 12, "the file is whole");
    let results: Vec<CaseResult> =
        cases.iter().map(|case| conformance::run_text(case.get()).expect("each case is in the format")).collect();
    let failed: Vec<String> = results
        .iter()
        .filter(|result| !result.has_passed())
        .map(|result| format!("{} ({})", result.line(), result.message.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(failed, Vec::<String>::new());
    let code = |id: &str| results.iter().find(|result| result.id == id).and_then(|result| result.code);
    assert_eq!(code("v01-cart-tampered"), Some("cart_hash_mismatch"));
    assert_eq!(code("v01-cart-jti-replayed"), Some("replayed"));
    assert_eq!(code("v01-cart-wrong-aud"), Some("aud_mismatch"));
    assert_eq!(code("v01-payment-sd-hash"), Some("sd_hash_mismatch"));
    assert_eq!(code("v01-payment-wrong-nonce"), Some("nonce_mismatch"));
    assert_eq!(code("v01-payment-unauthorized"), Some("user_authorization_missing"));
    assert_eq!(code("v01-payment-total-differs-from-cart"), Some("payment_not_cart"));
    assert_eq!(code("v01-intent-expired"), Some("intent_expired"));
    assert_eq!(code("v01-intent-no-expiry"), Some("schema"));
}

/// Cases of the same kinds that the file does not have: each is a valid one with a change in what the verifier knows.
#[test]
fn what_a_case_asks_for_is_asked() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/ap2/v0.1.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let changed = |id: &str, pointer: &str, value: Value| {
        let mut case = cases.iter().find(|case| case["id"] == id).unwrap().clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        case.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        conformance::run_text(&case.to_string()).unwrap().code
    };
    let other_key = cases[0]["credential_issuer_jwk"].clone();
    for (id, pointer, value, code) in [
        ("v01-intent", "/context/user_signed", false.into(), Some("cart_confirmation_required")),
        ("v01-intent", "/context/user_signed", true.into(), None),
        ("v01-intent", "/mandate/user_cart_confirmation_required", "true".into(), Some("schema")),
        ("v01-cart", "/expected_aud", Value::Null, None),
        ("v01-cart", "/now", 1_777_343_000.into(), Some("expired")),
        ("v01-cart", "/now", 1_777_342_389.into(), Some("issued_in_future")),
        ("v01-cart", "/merchant_jwk", other_key.clone(), Some("unknown_kid")),
        ("v01-cart", "/mandate/merchant_authorization", Value::Null, Some("merchant_authorization_missing")),
        ("v01-cart", "/context/seen_jti", serde_json::json!(["another"]), None),
        ("v01-payment", "/expected_nonce", Value::Null, None),
        ("v01-payment", "/expected_aud", "another".into(), Some("aud_mismatch")),
        ("v01-payment", "/context/max_kb_age_seconds", 4.into(), Some("key_binding_stale")),
        ("v01-payment", "/merchant_jwk", other_key, Some("unknown_kid")),
        ("v01-payment", "/context/cart_mandate", Value::Null, Some("malformed_json")),
        ("v01-payment", "/credential_issuer_jwk", cases[0]["merchant_jwk"].clone(), Some("unknown_kid")),
    ] {
        assert_eq!(changed(id, pointer, value.clone()), code, "{id} {pointer} {value}");
    }
    let mut alone = cases.iter().find(|case| case["id"] == "v01-payment").unwrap().clone();
    alone["expected_nonce"] = Value::Null;
    alone["expected_aud"] = "another".into();
    assert_eq!(conformance::run_text(&alone.to_string()).unwrap().code, Some("aud_mismatch"));
    let twice =
        cases[0].to_string().replacen(r#""mandate":{"#, r#""mandate":{"intent_expiry":"2099-01-01T00:00:00Z","#, 1);
    assert_eq!(conformance::run_text(&twice).unwrap().code, Some("duplicate_json_key"));
}
