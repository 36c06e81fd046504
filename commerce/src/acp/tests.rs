//! The specification's own request, everything near it, and what nobody must be shown.

use serde_json::{Value, json};

use super::{DelegateRequest, RefusalKind, VERSION, negotiate};

const EXAMPLES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/acp/examples.delegate_payment.json"));
const PAN: &str = "4242424242424242";

fn example() -> Value {
    serde_json::from_str::<Value>(EXAMPLES).unwrap()["delegate_payment_request"].clone()
}

fn read(value: &Value) -> Result<DelegateRequest, super::Refusal> {
    DelegateRequest::read(value.to_string().as_bytes())
}

#[test]
fn no_bytes_near_a_request_panic_and_no_refusal_repeats_the_card() {
    let text = example().to_string();
    for place in 0..text.len() {
        for byte in [b'"', b'{', b'}', b'0', b'-', b'e', b',', b' ', 0, 0xff] {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = byte;
            if let Err(refusal) = DelegateRequest::read(&bytes) {
                assert!(!refusal.to_string().contains(PAN) && !refusal.to_string().contains("Jane"), "{refusal}");
            }
        }
        assert!(DelegateRequest::read(&text.as_bytes()[..place]).is_err(), "cut at {place}");
    }
}

#[test]
fn amounts_that_are_none_are_refused() {
    for (amount, kind) in [
        ("0", RefusalKind::Unacceptable),
        ("-0", RefusalKind::Unacceptable),
        ("-2000", RefusalKind::Unacceptable),
        ("0.5", RefusalKind::Malformed),
        ("1e-2", RefusalKind::Malformed),
        ("1e400", RefusalKind::Malformed),
        ("9223372036854775808", RefusalKind::Unacceptable),
        ("340282366920938463463374607431768211456", RefusalKind::Unacceptable),
    ] {
        let text = example().to_string().replace("\"max_amount\":2000", &format!("\"max_amount\":{amount}"));
        assert_eq!(DelegateRequest::read(text.as_bytes()).unwrap_err().kind, kind, "{amount}");
    }
    for (amount, expected) in [("2000.0", 2_000), ("2e3", 2_000), ("1", 1)] {
        let text = example().to_string().replace("\"max_amount\":2000", &format!("\"max_amount\":{amount}"));
        let request = DelegateRequest::read(text.as_bytes()).unwrap();
        assert_eq!(request.allowance.max_amount.get(), expected);
    }
}

#[test]
fn equal_json_is_one_request_and_null_is_no_absence() {
    let canonical = |text: &str| DelegateRequest::read(text.as_bytes()).unwrap().expose_canonical().to_vec();
    let text = example().to_string();
    assert_eq!(canonical(&text), canonical(&text.replace("\"max_amount\":2000", "\"max_amount\" : 2.0e3")));
    let mut other = example();
    other["payment_method"]["checks_performed"] = json!(["cvv", "avs"]);
    assert_ne!(canonical(&text), canonical(&other.to_string()), "the order of a list counts");
    other["payment_method"]["virtual"] = Value::Null;
    assert!(read(&other).is_err());
}

#[test]
fn the_example_of_the_specification_is_read_and_shows_no_card() {
    let request = read(&example()).unwrap();
    assert_eq!((request.allowance.max_amount.get(), request.allowance.currency.as_str()), (2_000, "USD"));
    assert_eq!((request.face.brand.as_str(), request.face.last4.as_str()), ("visa", "4242"));
    let shown = format!("{request:?} {:?} {:?} {:?}", request.card, request.face, request.allowance);
    assert!(!shown.contains(PAN) && !shown.contains("223") && !shown.contains("Jane"), "{shown}");
    // It is of last year: what has ended says so, at the moment itself.
    let ends = request.allowance.expires_at_micros;
    assert!(request.allowance.check_time(ends).is_err() && request.allowance.check_time(ends + 1).is_err());
    assert!(request.allowance.check_time(ends - 1).is_ok());
    assert!(request.check_apart_from("a header", "4242 4242-4242 4242").is_err());
    assert!(request.check_apart_from("a header", "idem_1").is_ok());
    for (version, is_spoken) in [(None, false), (Some("2025-09-29"), false), (Some(""), false), (Some(VERSION), true)] {
        assert_eq!(negotiate(version).is_ok(), is_spoken, "{version:?}");
    }
}
