//! Payers that speak version 1.

use serde_json::json;
use x402::wire::{PAYMENT_REQUIRED, PaymentRequired, X_PAYMENT_RESPONSE, v1};

use super::drawer::{older, older_price};
use super::*;

fn shop(goods: Goods, fate: Fate) -> Shop {
    Shop::with(goods, Drawer::with(fate), older_price(Repeat::Never).with_limits(short()))
}

async fn get(shop: &Shop, path: &str, header: &str) -> Answer {
    shop.send(Request::get(path).header(X_PAYMENT, header).body(Body::empty()).unwrap()).await
}

fn changed(change: impl Fn(&mut Value)) -> String {
    use base64::Engine;
    let mut value = serde_json::to_value(v1::PaymentPayload::of(&payment("/goods", 1), "hardhat")).unwrap();
    change(&mut value);
    base64::engine::general_purpose::STANDARD.encode(value.to_string())
}

#[tokio::test]
async fn what_is_no_payment_of_version_one_is_answered_by_name() {
    let good = older(&payment("/goods", 1));
    let mismatch = "invalid_exact_evm_payload_authorization_value_mismatch";
    let cases: Vec<(String, u16, &str)> = vec![
        ("!!!".into(), 400, "not_base64"),
        (String::new(), 400, "not_json"),
        (changed(|value| *value = json!({})), 400, "invalid_payload"),
        (changed(|value| value["payload"] = Value::Null), 400, "invalid_payload"),
        (changed(|value| value["payload"]["authorization"] = json!({})), 400, "invalid_payload"),
        (changed(|value| value["payload"]["authorization"]["nonce"] = json!("0x01")), 400, "invalid_payload"),
        (format!("{good}, {good}"), 400, "not_base64"),
        ("A".repeat(x402::limit::HEADER_BYTES_MAX + 1), 431, "payment_header_too_large"),
        (header(&payment("/goods", 1)), 402, "invalid_x402_version"),
        (changed(|value| value["x402Version"] = json!(3)), 402, "invalid_x402_version"),
        (changed(|value| value["network"] = json!("base")), 402, "invalid_exact_evm_network_mismatch"),
        (changed(|value| value["network"] = json!("nowhere")), 402, "invalid_exact_evm_network_mismatch"),
        (changed(|value| value["scheme"] = json!("upto")), 402, "invalid_exact_evm_scheme"),
        (changed(|value| value["payload"]["authorization"]["value"] = json!("9999")), 402, mismatch),
        (changed(|value| value["payload"]["authorization"]["value"] = json!("20000")), 402, mismatch),
        (changed(|value| value["payload"]["signature"] = json!("0x")), 402, "invalid_exact_evm_signature"),
    ];
    let shop = shop(Goods::Text, Fate::Settles);
    for (header, status, code) in cases {
        let answer = get(&shop, "/goods", &header).await;
        answer.assert_withheld();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{header:.80}");
    }
    let two = Request::get("/goods").header(X_PAYMENT, &good).header(X_PAYMENT, &good).body(Body::empty()).unwrap();
    assert_eq!(shop.send(two).await.code(), "duplicate_payment_header");
    let both = Request::get("/goods").header(X_PAYMENT, &good).header(PAYMENT_SIGNATURE, header(&payment("/goods", 1)));
    let both = shop.send(both.body(Body::empty()).unwrap()).await;
    assert_eq!((both.status.as_u16(), both.code().as_str()), (400, "duplicate_payment_header"));
    assert_eq!((shop.runs(), shop.drawer.won()), (0, 0));
}

#[tokio::test]
async fn a_shop_whose_network_has_no_name_speaks_version_two_alone() {
    let unnamed = Shop::new(Goods::Text, Fate::Settles);
    let answer = get(&unnamed, "/goods", &older(&payment("/goods", 1))).await;
    answer.assert_withheld();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (402, "invalid_x402_version"));
    assert_eq!(answer.json()["x402Version"], 2);
    assert_eq!(unnamed.drawer.won(), 0);
}

#[tokio::test]
async fn the_demand_says_the_same_in_both_versions() {
    let shop = shop(Goods::Text, Fate::Settles);
    let answer = shop.send(Request::get("/goods").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status.as_u16(), 402);
    let newer: PaymentRequired = read_header(answer.headers[PAYMENT_REQUIRED].as_bytes()).unwrap();
    let older: v1::PaymentRequired = x402::wire::read_message(answer.body.as_bytes()).unwrap();
    assert_eq!((older.accepts.len(), older.accepts[0].network.as_str()), (1, "hardhat"));
    assert_eq!(older.accepts[0].resource, "https://shop.example/goods");
    assert!(older.accepts[0].description.is_some() && older.accepts[0].mime_type.is_some(), "older clients want them");
    let upgraded = older.upgraded(&older_price(Repeat::Never).names).unwrap();
    assert_eq!((upgraded.accepts, upgraded.resource.url), (newer.accepts, newer.resource.url));
    assert_eq!(newer.error, upgraded.error);
}

#[tokio::test]
async fn a_payment_is_one_claim_whichever_header_carries_it() {
    let shop = shop(Goods::Text, Fate::Settles);
    let one = payment("/goods", 1);
    let first = get(&shop, "/goods", &older(&one)).await;
    assert_eq!((first.status, first.body.as_str()), (StatusCode::OK, "the goods"));
    assert!(first.receipt().is_none(), "version 1 has a header of its own");
    let receipt: SettleResponse = read_header(first.headers[X_PAYMENT_RESPONSE].as_bytes()).unwrap();
    assert_eq!((receipt.success, receipt.network.as_str()), (true, "hardhat"));
    assert!(!receipt.unknown.contains_key("extensionResponses"));
    let newer = shop.get("/goods", &header(&one)).await;
    newer.assert_bought();
    assert_eq!(newer.receipt().unwrap().network, "eip155:31337");
    assert!(!newer.headers.contains_key(X_PAYMENT_RESPONSE));
    let elsewhere = get(&shop, "/gold", &older(&one)).await;
    assert_eq!(
        elsewhere.code(),
        "payment_used_for_other_resource",
        "what was bought is known though it does not say it"
    );
    let id = changed(|value| value["network"] = json!("eip155:31337"));
    let again = get(&shop, "/goods", &id).await;
    let receipt: SettleResponse = read_header(again.headers[X_PAYMENT_RESPONSE].as_bytes()).unwrap();
    assert_eq!((again.status.as_u16(), receipt.network.as_str()), (200, "eip155:31337"), "in the payer's own spelling");
    assert_eq!((shop.runs(), shop.drawer.won()), (1, 1));
}

#[tokio::test]
async fn of_several_offers_the_one_that_was_signed_for_is_meant() {
    let mut dearer = offer();
    dearer.amount = "20000".into();
    let mut other = offer();
    other.extra = json!({ "name": "Other", "version": "2" }).as_object().cloned();
    let names = older_price(Repeat::Never).names;
    let resource = x402::wire::ResourceInfo::new("https://shop.example");
    let price = Price::new("shop", vec![dearer, other, offer()], resource, Address::Under, Repeat::Never).unwrap();
    let price = price.with_names(names).with_limits(short());
    let shop = Shop::with(Goods::Text, Drawer::with(Fate::Settles), price);
    let forged = changed(|value| value["payload"]["authorization"]["value"] = json!("10001"));
    let refused = get(&shop, "/goods", &forged).await;
    assert_eq!(refused.code(), "invalid_exact_evm_payload_authorization_value_mismatch");
    let bought = get(&shop, "/goods", &older(&payment("/goods", 1))).await;
    assert_eq!((bought.status.as_u16(), shop.drawer.won()), (200, 1), "{bought:?}");
}

#[tokio::test]
async fn a_failed_settlement_is_told_in_the_payers_version() {
    let shop = shop(Goods::Text, Fate::Fails);
    let failed = get(&shop, "/goods", &older(&payment("/goods", 1))).await;
    failed.assert_withheld();
    assert_eq!((failed.status.as_u16(), failed.json()["x402Version"].as_u64()), (402, Some(1)));
    assert_eq!(failed.json()["error"], "invalid_exact_evm_transaction_failed");
    let receipt: SettleResponse = read_header(failed.headers[X_PAYMENT_RESPONSE].as_bytes()).unwrap();
    assert_eq!((receipt.success, receipt.network.as_str()), (false, "hardhat"));
}
