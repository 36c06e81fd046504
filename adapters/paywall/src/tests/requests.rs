//! What comes in the headers and bodies of requests.

use http::Method;
use x402::limit::HEADER_BYTES_MAX;
use x402::wire::{PAYMENT_REQUIRED, PaymentRequired, ResourceInfo};

use super::*;

#[tokio::test]
async fn without_a_payment_there_is_a_demand_and_nothing_else() {
    let shop = Shop::new(Goods::Text, Fate::Settles);
    for method in [Method::GET, Method::POST, Method::HEAD, Method::DELETE] {
        let request = Request::builder()
            .method(method)
            .uri("/goods?size=1")
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .body(Body::empty())
            .unwrap();
        let answer = shop.send(request).await;
        answer.assert_withheld();
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        let demand: PaymentRequired = read_header(answer.headers[PAYMENT_REQUIRED].as_bytes()).unwrap();
        assert_eq!(demand.resource.url, "https://shop.example/goods?size=1", "Host has no say in it");
        assert_eq!(demand.accepts, [offer()]);
        assert_eq!(demand.error.as_deref(), Some("payment_required"));
    }
    let json = shop.send(Request::get("/goods").body(Body::empty()).unwrap()).await.json();
    assert_eq!(json["x402Version"], 2);
    assert_eq!(json["accepts"][0]["amount"], "10000");
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn headers_that_are_no_payment_are_answered_by_name() {
    let good = header(&payment("/goods", 1));
    let b64 = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let huge = "A".repeat(HEADER_BYTES_MAX + 1);
    let doubled = serde_json::to_string(&payment("/goods", 1)).unwrap().replacen(
        r#""value":"10000""#,
        r#""value":"10000","value":"1""#,
        1,
    );
    type Headers = Vec<(&'static str, String)>;
    let cases: Vec<(Headers, u16, &str)> = vec![
        (vec![("payment-signature", "!!!".into())], 400, "not_base64"),
        (vec![("payment-signature", String::new())], 400, "not_json"),
        (vec![("payment-signature", b64("{}"))], 400, "invalid_payload"),
        (vec![("payment-signature", b64("null"))], 400, "not_json"),
        (vec![("payment-signature", b64(&doubled))], 400, "duplicate_key"),
        (vec![("payment-signature", format!("{good}, {good}"))], 400, "not_base64"),
        (
            vec![("payment-signature", good.clone()), ("PAYMENT-SIGNATURE", good.clone())],
            400,
            "duplicate_payment_header",
        ),
        (vec![("payment-signature", good.clone()), ("x-payment", good.clone())], 400, "duplicate_payment_header"),
        (vec![("x-payment", good.clone())], 402, "invalid_x402_version"),
        (vec![("payment-signature", b64(r#"{"x402Version":1}"#))], 402, "invalid_x402_version"),
        (vec![("payment-signature", b64(r#"{"x402Version":3}"#))], 402, "invalid_x402_version"),
        (vec![("payment-signature", huge)], 431, "payment_header_too_large"),
    ];
    let shop = Shop::new(Goods::Text, Fate::Settles);
    for (headers, status, code) in cases {
        let mut request = Request::get("/goods");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = shop.send(request.body(Body::empty()).unwrap()).await;
        answer.assert_withheld();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
    }
    assert_eq!((shop.runs(), shop.drawer.won()), (0, 0));
}

#[tokio::test]
async fn a_payment_for_something_else_buys_nothing() {
    type Change = fn(&mut PaymentPayload);
    let auth = |payment: &mut PaymentPayload, field: &str, value: &str| {
        payment.payload["authorization"][field] = value.into();
    };
    let mut changed = Vec::new();
    let cases: [(Change, &str); 8] = [
        (|p| p.resource.as_mut().unwrap().url = "https://shop.example/gold".into(), "payment_for_other_resource"),
        (|p| p.resource.as_mut().unwrap().url = "https://evil.example/goods".into(), "payment_for_other_resource"),
        (|p| p.accepted.amount = "1".into(), "accepted_requirements_mismatch"),
        (|p| p.accepted.scheme = "upto".into(), "accepted_requirements_mismatch"),
        (|p| p.accepted.network = "eip155:1".into(), "accepted_requirements_mismatch"),
        (|p| p.accepted.pay_to = p.accepted.asset.clone(), "accepted_requirements_mismatch"),
        (|p| p.accepted.max_timeout_seconds = 6000, "accepted_requirements_mismatch"),
        (|p| p.accepted.extra = None, "accepted_requirements_mismatch"),
    ];
    for (change, code) in cases {
        let mut one = payment("/goods", 1);
        change(&mut one);
        changed.push((one, 402, code));
    }
    for (field, value, status, code) in [
        ("value", "1", 402, "invalid_exact_evm_payload_authorization_value_mismatch"),
        ("value", "20000", 402, "invalid_exact_evm_payload_authorization_value_mismatch"),
        ("to", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", 402, "invalid_exact_evm_recipient_mismatch"),
        ("from", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", 402, "invalid_exact_evm_signature"),
        ("validBefore", "1", 402, "invalid_exact_evm_payload_authorization_valid_before"),
        ("validAfter", "99999999999", 402, "invalid_exact_evm_payload_authorization_valid_after"),
        ("value", "0x2710", 400, "invalid_exact_evm_authorization_value"),
        ("nonce", "0x01", 400, "invalid_payload"),
    ] {
        let mut one = payment("/goods", 1);
        auth(&mut one, field, value);
        changed.push((one, status, code));
    }
    let shop = Shop::new(Goods::Text, Fate::Settles);
    for (payment, status, code) in changed {
        let answer = shop.get("/goods", &header(&payment)).await;
        answer.assert_withheld();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
    }
    assert_eq!((shop.runs(), shop.drawer.won()), (0, 0));
}

#[tokio::test]
async fn a_body_or_an_address_that_is_too_long_claims_nothing() {
    let shop = Shop::new(Goods::Text, Fate::Settles);
    let request = Request::post("/goods")
        .header(PAYMENT_SIGNATURE, header(&payment("/goods", 1)))
        .body(Body::from(vec![0; 1024 * 1024 + 1]))
        .unwrap();
    let answer = shop.send(request).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "body_too_large"));
    let long = format!("/goods?{}", "q".repeat(2048));
    let answer = shop.send(Request::get(long).body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (414, "resource_url_too_long"));
    assert_eq!((shop.runs(), shop.drawer.won()), (0, 0));
}

#[tokio::test]
async fn a_till_that_cannot_be_asked_serves_nothing_and_tells_nothing() {
    let shop = Shop::with(Goods::Text, Drawer::down(), price(Repeat::Never).with_limits(short()));
    let answer = shop.get("/goods", &header(&payment("/goods", 1))).await;
    answer.assert_withheld();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "till_unavailable"));
    assert_eq!(answer.json()["retryable"], true);
    assert!(!answer.body.contains("hunter2"), "what the till says to operators is not for clients");
    assert_eq!(shop.runs(), 0);
}

#[test]
fn a_price_that_nobody_can_pay_is_refused_when_the_route_is_built() {
    let build = |accepts: Vec<x402::wire::PaymentRequirements>, url: &str| {
        Price::new("shop", accepts, ResourceInfo::new(url), Address::Fixed, Repeat::Never).map(|_| ())
    };
    let with = |change: fn(&mut x402::wire::PaymentRequirements)| {
        let mut offer = offer();
        change(&mut offer);
        vec![offer]
    };
    let url = "https://shop.example/goods";
    for (accepts, url, code) in [
        (vec![], url, "invalid_offer_count"),
        (vec![offer(); 33], url, "invalid_offer_count"),
        (with(|offer| offer.amount = "0".into()), url, "invalid_payment_requirements"),
        (with(|offer| offer.amount = "0.01".into()), url, "invalid_payment_requirements"),
        (with(|offer| offer.pay_to = "merchant".into()), url, "invalid_payment_requirements"),
        (with(|offer| offer.extra = None), url, "invalid_exact_evm_missing_eip712_domain"),
        (vec![offer()], "", "invalid_resource_url"),
        (vec![offer()], "shop.example", "invalid_resource_url"),
        (vec![offer()], "https://shop.example/a b", "invalid_resource_url"),
    ] {
        assert_eq!(build(accepts, url).unwrap_err().code(), code);
    }
    assert_eq!(build(vec![offer()], url), Ok(()));
}

/// Nobody is charged for an answer that has no body.
#[tokio::test]
async fn head_is_never_paid_for() {
    let shop = Shop::new(Goods::Text, Fate::Settles);
    let paid = |method| {
        let request = Request::builder().method(method).uri("/goods");
        request.header("payment-signature", header(&payment("/goods", 1))).body(Body::empty()).unwrap()
    };
    let answer = shop.send(paid(Method::HEAD)).await;
    answer.assert_withheld();
    assert_eq!((answer.status, shop.runs()), (StatusCode::PAYMENT_REQUIRED, 0));
    assert_eq!(shop.send(paid(Method::GET)).await.status, StatusCode::OK, "and the payment is still good");
    assert_eq!(shop.runs(), 1);
}
