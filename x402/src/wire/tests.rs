mod fuzzing;

use serde_json::{Value, json};

use super::*;
use crate::fixture;
use crate::limit::{HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, OFFERS_MAX};

fn payload_text() -> String {
    serde_json::to_string(&fixture::payload()).unwrap()
}

fn code<T: Message + std::fmt::Debug>(bytes: &[u8]) -> &'static str {
    read_message::<T>(bytes).unwrap_err().code()
}

fn encoded(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn what_is_not_a_header_is_refused() {
    let long = "A".repeat(HEADER_BYTES_MAX + 1);
    let good = fixture::exact()["PAYMENT-SIGNATURE"].as_str().unwrap().to_owned();
    let cases = [
        ("!!!", "not_base64"),
        ("", "not_json"),
        ("AAAA", "not_json"),
        ("a", "not_base64"),
        (&long, "message_too_large"),
        (&format!("{good},{good}"), "not_base64"),
        (&format!("{good} {good}"), "not_base64"),
        (&format!("{good}==="), "not_base64"),
        (&encoded("not json"), "not_json"),
        (&encoded("[]"), "not_json"),
        (&encoded("1e400"), "not_json"),
        (&encoded("{}"), "invalid_payload"),
        (&encoded(&"[".repeat(10_000)), "not_json"),
        (&encoded(r#"{"x402Version":1}"#), "invalid_x402_version"),
        (&encoded(r#"{"x402Version":3}"#), "invalid_x402_version"),
        (&encoded(r#"{"x402Version":"2"}"#), "invalid_x402_version"),
        (&encoded(r#"{"x402Version":2.0}"#), "invalid_x402_version"),
        (&encoded(r#"{"x402Version":null}"#), "invalid_x402_version"),
    ];
    for (header, expected) in cases {
        let found = read_header::<PaymentPayload>(header.as_bytes()).unwrap_err();
        assert_eq!(found.code(), expected, "{}", &header[..header.len().min(60)]);
        assert!(found.to_string().len() < 600, "an error repeats little of what came");
    }
    assert!(read_header::<PaymentPayload>(&[0xff, 0xfe]).is_err());
}

#[test]
fn keys_that_stand_twice_are_refused_at_any_depth() {
    let text = payload_text();
    for (from, to, key) in [
        (r#"{"x402Version":2"#, r#"{"x402Version":2,"x402Version":2"#, "x402Version"),
        (r#""value":"10000""#, r#""value":"10000","value":"1""#, "value"),
        (r#""amount":"10000""#, r#""amount":"1","amount":"10000""#, "amount"),
        (r#""value":"10000""#, r#""value":"10000","\u0076alue":"1""#, "value"),
        (r#""name":"USD Coin""#, r#""name":"USD Coin","a":[{"b":1,"b":2}]"#, "b"),
    ] {
        let doubled = text.replacen(from, to, 1);
        assert_ne!(doubled, text, "{from}");
        let found = read_message::<PaymentPayload>(doubled.as_bytes());
        assert_eq!(found.unwrap_err(), WireError::DuplicateKey { key: key.to_owned() });
    }
}

#[test]
fn missing_and_mistyped_fields_are_refused() {
    let whole = serde_json::to_value(fixture::payload()).unwrap();
    for field in ["x402Version", "accepted", "payload"] {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(field);
        assert_eq!(code::<PaymentPayload>(part.to_string().as_bytes()), "invalid_payload", "{field}");
    }
    for (pointer, value) in [
        ("/accepted/amount", json!(10000)),
        ("/accepted/maxTimeoutSeconds", json!("60")),
        ("/accepted/maxTimeoutSeconds", json!(-1)),
        ("/accepted/maxTimeoutSeconds", json!(1.5)),
        ("/payload", json!("x")),
        ("/accepted", json!([])),
    ] {
        let mut other = whole.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert_eq!(code::<PaymentPayload>(other.to_string().as_bytes()), "invalid_payload", "{pointer}");
    }
    assert_eq!(code::<PaymentPayload>(&vec![b' '; MESSAGE_BYTES_MAX + 1]), "message_too_large");
}

#[test]
fn a_demand_has_offers_and_not_too_many() {
    let with = |count: usize| {
        let mut value = fixture::exact()["paymentRequired"].clone();
        value["accepts"] = Value::Array(vec![value["accepts"][0].clone(); count]);
        read_message::<PaymentRequired>(value.to_string().as_bytes()).map(|_| ())
    };
    assert_eq!(with(0).unwrap_err().code(), "invalid_offer_count");
    assert_eq!(with(OFFERS_MAX + 1).unwrap_err().code(), "invalid_offer_count");
    assert_eq!(with(OFFERS_MAX), Ok(()));
}

#[test]
fn version_one_is_refused_by_name() {
    let others = fixture::others();
    let header = others["X-PAYMENT"].as_str().unwrap();
    assert_eq!(read_header::<PaymentPayload>(header.as_bytes()).unwrap_err().reason(), Reason::InvalidX402Version);
    let request =
        json!({"x402Version": 1, "paymentPayload": others["payload"], "paymentRequirements": others["requirements"]});
    assert_eq!(code::<FacilitatorRequest>(request.to_string().as_bytes()), "invalid_x402_version");
    let mixed =
        json!({"x402Version": 2, "paymentPayload": others["payload"], "paymentRequirements": fixture::requirements()});
    assert_eq!(code::<FacilitatorRequest>(mixed.to_string().as_bytes()), "invalid_x402_version");
    assert_eq!(code::<FacilitatorRequest>(b"{\"x402Version\":2}"), "invalid_payload");
}

#[test]
fn every_honest_encoding_reads_as_the_same_payment() {
    let recorded = fixture::exact()["PAYMENT-SIGNATURE"].as_str().unwrap().to_owned();
    let spaced = serde_json::to_string_pretty(&fixture::payload()).unwrap();
    let spellings = [
        recorded.clone(),
        recorded.trim_end_matches('=').to_owned(),
        recorded.replace('+', "-").replace('/', "_"),
        format!("  {recorded}\t"),
        encoded(&spaced),
        encoded(&format!("\n {spaced} \n")),
        write_header(&fixture::payload()).unwrap(),
    ];
    for header in spellings {
        assert_eq!(read_header::<PaymentPayload>(header.as_bytes()), Ok(fixture::payload()));
    }
}

#[test]
fn null_is_absent_and_the_unknown_is_kept() {
    let mut value = fixture::exact()["paymentPayload"].clone();
    value["resource"] = Value::Null;
    value["extensions"] = Value::Null;
    value["later"] = serde_json::from_str(r#"{"n": 1.50, "big": 123456789012345678901234567890}"#).unwrap();
    value["accepted"]["later"] = json!(7);
    let read: PaymentPayload = read_message(value.to_string().as_bytes()).unwrap();
    assert_eq!(read.resource, None);
    assert_eq!(read.extensions, None);
    assert_eq!(read.unknown["later"]["n"].to_string(), "1.50");
    let written: Value = serde_json::from_slice(&write_message(&read).unwrap()).unwrap();
    assert_eq!(written["later"], value["later"]);
    assert_eq!(written["accepted"], value["accepted"]);
    assert!(written.get("resource").is_none());
}

#[test]
fn answers_with_nulls_and_unknown_fields_are_read_and_kept() {
    for missing in [
        json!({ "errorReason": "x", "transaction": "", "network": "" }),
        json!({ "success": null, "transaction": "", "network": "" }),
        json!({ "success": false, "network": "" }),
        json!({ "success": false, "transaction": "" }),
        json!({ "success": false, "transaction": 7, "network": "" }),
    ] {
        assert_eq!(code::<SettleResponse>(missing.to_string().as_bytes()), "invalid_payload", "{missing}");
    }
    let null = json!({ "success": false, "errorReason": null, "payer": null, "transaction": null, "network": null });
    let read: SettleResponse = read_message(null.to_string().as_bytes()).unwrap();
    assert_eq!((read.transaction.as_str(), read.network.as_str(), read.payer), ("", "", None));
    let kind = json!({ "x402Version": 2, "scheme": "exact", "network": "eip155:1", "extra": null, "later": [1] });
    let supported = json!({ "kinds": [kind], "extensions": null, "signers": null, "later": { "a": 1 } });
    let read: SupportedResponse = read_message(supported.to_string().as_bytes()).unwrap();
    let written: Value = serde_json::from_slice(&write_message(&read).unwrap()).unwrap();
    assert_eq!((&written["later"], &written["kinds"][0]["later"]), (&supported["later"], &json!([1])));
    assert_eq!((&written["extensions"], &written["signers"]), (&json!([]), &json!({})));
}

#[test]
fn the_recorded_headers_read_and_write() {
    let data = fixture::exact();
    let header = data["PAYMENT-REQUIRED"].as_str().unwrap();
    let demand: PaymentRequired = read_header(header.as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&demand).unwrap(), data["paymentRequired"]);
    assert_eq!(read_header::<PaymentRequired>(write_header(&demand).unwrap().as_bytes()), Ok(demand));
    let header = data["settledExample"]["PAYMENT-RESPONSE"].as_str().unwrap();
    let receipt: SettleResponse = read_header(header.as_bytes()).unwrap();
    assert!(receipt.success);
    assert_eq!(receipt.network, "eip155:31337");
}

#[test]
fn a_message_too_long_for_a_header_is_not_written() {
    let mut demand = PaymentRequired::new(ResourceInfo::new("https://a"), vec![fixture::requirements()], None);
    demand.resource.description = Some("x".repeat(HEADER_BYTES_MAX));
    assert_eq!(write_header(&demand).unwrap_err().code(), "message_too_large");
    demand.resource.description = Some("x".repeat(MESSAGE_BYTES_MAX));
    assert_eq!(write_message(&demand).unwrap_err().code(), "message_too_large");
}
