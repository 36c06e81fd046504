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
