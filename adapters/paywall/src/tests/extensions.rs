//! Extensions that a route declares, and allowances that it does not know.

use serde_json::json;
use x402::wire::{PAYMENT_REQUIRED, PaymentRequired};

use super::*;

fn shop() -> Shop {
    let declared = json!({ "terms": { "info": { "version": 3, "url": "https://shop.example/terms" } } });
    let price = price(Repeat::Never).with_limits(short()).with_extensions(declared.as_object().cloned().unwrap());
    Shop::with(Goods::Text, Drawer::with(Fate::Settles), price.unwrap())
}

#[tokio::test]
async fn an_extension_that_is_echoed_otherwise_buys_nothing() {
    let shop = shop();
    let met = shop.send(Request::get("/goods").body(Body::empty()).unwrap()).await;
    let demand: PaymentRequired = read_header(met.headers[PAYMENT_REQUIRED].as_bytes()).unwrap();
    let declared = demand.extensions.expect("it is declared to every payer");
    for info in
        [json!(null), json!({}), json!({ "version": 3 }), json!({ "version": 4, "url": "https://shop.example/terms" })]
    {
        let mut one = payment("/goods", 1);
        one.extensions = json!({ "terms": { "info": info } }).as_object().cloned();
        let answer = shop.get("/goods", &header(&one)).await;
        answer.assert_withheld();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (402, "extension_echo_mismatch"));
    }
    assert_eq!((shop.runs(), shop.drawer.won()), (0, 0));
    let (mut echoed, mut added) = (payment("/goods", 2), payment("/goods", 3));
    echoed.extensions = Some(declared.clone());
    added.extensions = Some(declared);
    added.extensions.as_mut().unwrap()["terms"]["info"]["accepted"] = json!(true);
    for one in [payment("/goods", 1), echoed, added] {
        shop.get("/goods", &header(&one)).await.assert_bought();
    }
}

#[test]
fn extensions_that_do_not_fit_into_a_header_are_refused_when_the_route_is_built() {
    let long = json!({ "terms": { "info": { "text": "x".repeat(x402::limit::HEADER_BYTES_MAX) } } });
    let refused = price(Repeat::Never).with_extensions(long.as_object().cloned().unwrap()).unwrap_err();
    assert_eq!(refused.code(), "message_too_large");
}

#[tokio::test]
async fn a_missing_allowance_is_a_412_with_the_demand() {
    let shop = Shop::new(Goods::Text, Fate::WantsAllowance);
    let answer = shop.get("/goods", &header(&payment("/goods", 1))).await;
    answer.assert_withheld();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (412, "permit2_allowance_required"));
    assert!(answer.receipt().is_some_and(|receipt| !receipt.success));
    let demand: PaymentRequired = read_header(answer.headers[PAYMENT_REQUIRED].as_bytes()).unwrap();
    assert_eq!(demand.error.as_deref(), Some("permit2_allowance_required"));
}
