use serde_json::{Value, json};

use super::*;
use crate::exact::{claim_key, verify};
use crate::fixture;
use crate::network::{AssetTable, Network};
use crate::wire::{read_header, write_header};

/// Within the window of the recorded payment of version 1.
const NOW: u64 = 1_795_491_400;

fn names() -> NetworkNames {
    NetworkNames::trusted()
}

/// A recorded request, as JSON.
fn request() -> Value {
    let others = fixture::others();
    json!({
        "x402Version": 1, "paymentPayload": others["payload"], "paymentRequirements": others["requirements"],
    })
}

fn read(request: &Value) -> Result<(crate::wire::FacilitatorRequest, Spoken), WireError> {
    read_request(request.to_string().as_bytes(), &names())
}

fn verdict(request: &Value) -> Result<(), &'static str> {
    let (request, _) = read(request).unwrap();
    verify(&request.payment_payload, &request.payment_requirements, &AssetTable::trusted(), NOW)
        .map(|_| ())
        .map_err(|refusal| refusal.code())
}

#[test]
fn a_request_of_another_version_or_without_its_parts_is_refused() {
    let with = |pointer: &str, value: Value| {
        let mut request = request();
        *request.pointer_mut(pointer).unwrap() = value;
        request
    };
    let without = |pointer: &str, field: &str| {
        let mut request = request();
        request.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        request
    };
    let mut cases = vec![
        (with("/x402Version", json!(0)), "invalid_x402_version"),
        (with("/x402Version", json!(2)), "invalid_x402_version"),
        (with("/x402Version", json!(3)), "invalid_x402_version"),
        (with("/x402Version", json!("1")), "invalid_x402_version"),
        (with("/paymentPayload/x402Version", json!(2)), "invalid_x402_version"),
        (without("/paymentPayload", "x402Version"), "invalid_payload"),
        (with("/paymentPayload", fixture::exact()["paymentPayload"].clone()), "invalid_x402_version"),
        (with("/paymentRequirements", fixture::exact()["paymentRequirements"].clone()), "invalid_payload"),
        (with("/paymentRequirements/maxAmountRequired", json!(10000)), "invalid_payload"),
        (with("/paymentRequirements/maxTimeoutSeconds", json!("60")), "invalid_payload"),
        (with("/paymentRequirements/extra", json!("{")), "invalid_payload"),
        (with("/paymentRequirements/extra", json!("[]")), "invalid_payload"),
        (with("/paymentRequirements/extra", json!(7)), "invalid_payload"),
        (with("/paymentRequirements/extra", json!(r#"{"name":"USDC","name":"USD Coin"}"#)), "invalid_payload"),
    ];
    for field in ["scheme", "network", "maxAmountRequired", "resource", "payTo", "maxTimeoutSeconds", "asset"] {
        cases.push((without("/paymentRequirements", field), "invalid_payload"));
    }
    for field in ["scheme", "network", "payload"] {
        cases.push((without("/paymentPayload", field), "invalid_payload"));
    }
    for (request, code) in cases {
        assert_eq!(read(&request).unwrap_err().code(), code, "{request}");
    }
    let doubled = request().to_string().replacen(r#""value":"10000""#, r#""value":"10000","value":"1""#, 1);
    assert_eq!(read_request(doubled.as_bytes(), &names()).unwrap_err().code(), "duplicate_key");
    let said = read(&with("/x402Version", json!(3))).unwrap_err().to_string();
    assert_eq!(said, "x402Version: expected 1 or 2, found 3");
}

#[test]
fn what_is_signed_is_held_to_the_terms_as_in_version_two() {
    let mismatch = "invalid_exact_evm_payload_authorization_value_mismatch";
    for (pointer, value, code) in [
        ("/paymentRequirements/maxAmountRequired", json!("9999"), mismatch),
        ("/paymentRequirements/maxAmountRequired", json!("10001"), mismatch),
        ("/paymentRequirements/maxAmountRequired", json!("0"), "invalid_payment_requirements"),
        ("/paymentRequirements/maxAmountRequired", json!("0x2710"), "invalid_payment_requirements"),
        ("/paymentRequirements/maxAmountRequired", json!(" 10000"), "invalid_payment_requirements"),
        ("/paymentRequirements/network", json!("base"), "invalid_exact_evm_network_mismatch"),
        ("/paymentRequirements/network", json!("nowhere"), "invalid_exact_evm_network_mismatch"),
        ("/paymentPayload/network", json!("nowhere"), "invalid_exact_evm_network_mismatch"),
        ("/paymentPayload/network", json!("Base-Sepolia"), "invalid_exact_evm_network_mismatch"),
        ("/paymentPayload/scheme", json!("upto"), "invalid_exact_evm_scheme"),
        ("/paymentRequirements/scheme", json!("upto"), "invalid_exact_evm_scheme"),
        (
            "/paymentRequirements/payTo",
            json!("0x700b6A60ce7EaaEA56F065753d8dcB9653dbAD35"),
            "invalid_exact_evm_recipient_mismatch",
        ),
        ("/paymentRequirements/extra/name", json!("USD Coin"), "invalid_exact_evm_token_name_mismatch"),
        ("/paymentRequirements/extra", Value::Null, "invalid_exact_evm_missing_eip712_domain"),
        ("/paymentPayload/payload/signature", json!("0x"), "invalid_exact_evm_signature"),
        ("/paymentPayload/payload/authorization/nonce", json!("0x01"), "invalid_payload"),
        ("/paymentPayload/payload/authorization/value", json!("10001"), mismatch),
    ] {
        let mut request = request();
        *request.pointer_mut(pointer).unwrap() = value;
        assert_eq!(verdict(&request), Err(code), "{pointer}");
    }
    let mut both = request();
    both["paymentPayload"]["network"] = json!("nowhere");
    both["paymentRequirements"]["network"] = json!("nowhere");
    assert_eq!(verdict(&both), Err("invalid_network"));
    assert_eq!(verdict(&request()), Ok(()));
}

#[test]
fn a_recorded_payment_is_one_claim_whichever_version_carries_it() {
    let (one, spoken) = read(&request()).unwrap();
    assert_eq!(spoken, Spoken::One { network: "base-sepolia".to_owned() });
    assert_eq!(spoken.network("eip155:84532"), "base-sepolia");
    let two = json!({
        "x402Version": 2, "paymentRequirements": one.payment_requirements, "paymentPayload": one.payment_payload,
    });
    let (two, spoken) = read(&two).unwrap();
    assert_eq!((&spoken, spoken.network("eip155:84532")), (&Spoken::Two, "eip155:84532"));
    let key = |request: &crate::wire::FacilitatorRequest| {
        claim_key(&request.payment_payload, &request.payment_requirements).unwrap().to_bytes()
    };
    assert_eq!(key(&one), key(&two));
    assert_eq!(one.payment_requirements.network, "eip155:84532");
}

#[test]
fn form_is_read_leniently() {
    let plain = read(&request()).unwrap().0;
    let terms = |request: &Value| read(request).unwrap().0.payment_requirements;
    let mut lenient = request();
    let requirements = lenient["paymentRequirements"].as_object_mut().unwrap();
    requirements.remove("description");
    requirements.insert("mimeType".to_owned(), Value::Null);
    requirements.insert("outputSchema".to_owned(), Value::Null);
    requirements.insert("extra".to_owned(), json!(r#"{"name":"USDC","version":"2"}"#));
    requirements.insert("network".to_owned(), json!("eip155:84532"));
    assert_eq!(terms(&lenient), plain.payment_requirements, "the same terms");
    assert_eq!(verdict(&lenient), Ok(()));
    let mut later = request();
    later["later"] = json!(1);
    later["paymentRequirements"]["later"] = json!({ "n": 1 });
    later["paymentPayload"]["later"] = json!([2]);
    let kept = read(&later).unwrap().0;
    assert_eq!(kept.unknown["later"], 1);
    assert_eq!(kept.payment_requirements.unknown["later"]["n"], 1);
    assert_eq!(kept.payment_payload.unknown["later"][0], 2);
}

#[test]
fn a_demand_that_is_ambiguous_is_not_brought_into_the_other_form() {
    let offer = fixture::others()["requirements"].clone();
    let mut elsewhere = offer.clone();
    elsewhere["resource"] = json!("https://other.example/x");
    let read = |accepts: Value| {
        let demand = json!({ "x402Version": 1, "error": {}, "accepts": accepts }).to_string();
        let demand: PaymentRequired = crate::wire::read_message(demand.as_bytes())?;
        demand.upgraded(&names())
    };
    assert_eq!(read(json!([])).unwrap_err().code(), "invalid_offer_count");
    assert_eq!(read(json!(vec![offer.clone(); 33])).unwrap_err().code(), "invalid_offer_count");
    assert_eq!(read(json!([offer, elsewhere])).unwrap_err().code(), "offers_of_several_resources");
    let mut unknown = offer.clone();
    unknown["network"] = json!("solana");
    let demand = read(json!([unknown, offer])).unwrap();
    assert_eq!((demand.accepts[0].network.as_str(), demand.accepts[1].network.as_str()), ("solana", "eip155:84532"));
    assert_eq!((demand.resource.url.as_str(), &demand.error), ("https://api.example.com/x", &None));
    let assets = AssetTable::trusted();
    let chosen = crate::select::select(&demand, "GET", crate::select::Wallet::new(&assets)).unwrap();
    assert_eq!(chosen.network(), Network::new(84_532).unwrap());
}

#[test]
fn what_we_write_reads_back_as_it_was() {
    let payload: PaymentPayload = read_header(fixture::others()["X-PAYMENT"].as_str().unwrap().as_bytes()).unwrap();
    let offered: PaymentRequirements = serde_json::from_value(fixture::others()["requirements"].clone()).unwrap();
    let terms = offered.upgraded(&names());
    let upgraded = payload.upgraded(&terms, &names());
    let written = write_header(&PaymentPayload::of(&upgraded, &payload.network)).unwrap();
    assert_eq!(read_header::<PaymentPayload>(written.as_bytes()), Ok(payload));
    let mut resource = ResourceInfo::new("https://api.example.com/x");
    resource.description = Some("d".to_owned());
    resource.mime_type = Some("application/json".to_owned());
    assert_eq!(PaymentRequirements::of(&terms, &resource, &names()), Some(offered));
    assert_eq!(PaymentRequirements::of(&fixture::requirements(), &resource, &names()), None, "31337 has no name");
    let version_two = fixture::exact()["PAYMENT-SIGNATURE"].as_str().unwrap().to_owned();
    let refused = read_header::<PaymentPayload>(version_two.as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "invalid_x402_version");
}

/// Every prefix of a good request, and every byte of it changed: an answer, and never another authorization or other terms
/// that verify.
#[test]
fn a_damaged_request_is_read_or_refused() {
    let whole = request().to_string().into_bytes();
    for end in 0..whole.len() {
        assert!(read_request(&whole[..end], &names()).is_err(), "{end} bytes were read as a request");
    }
    let good = read_request(&whole, &names()).unwrap().0;
    let good = claim_key(&good.payment_payload, &good.payment_requirements).unwrap();
    for place in 0..whole.len() {
        for change in [0x01, 0x10, 0x80] {
            let mut damaged = whole.clone();
            damaged[place] ^= change;
            let Ok((request, _)) = read_request(&damaged, &names()) else { continue };
            let (payload, requirements) = (&request.payment_payload, &request.payment_requirements);
            if let Ok(payment) = verify(payload, requirements, &AssetTable::trusted(), NOW) {
                assert_eq!(payment.claim_key(), good, "byte {place}");
            }
        }
    }
}
