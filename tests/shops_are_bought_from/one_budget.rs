//! One budget, whichever way it is spent: by x402, by a vault's token (ACP), by a checkout of UCP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::checkout::{Platform, ucp_items};
use crate::harness::closing::answered;
use crate::harness::shop::{intent, new_key, refused};
use crate::harness::text;
use crate::harness::vault::{merge, post, request};

/// Held and posted: of the mandate, and of each rail.
async fn figures(platform: &Platform, mandate: &str) -> Vec<(String, String)> {
    let path = format!("/v1/mandates/{mandate}/spend");
    let shown = platform.shop.call(Method::GET, &path, &platform.shop.user, None).await.expect("the mandate");
    let pair = |of: &Value| (text(&of["held"], "amount").to_owned(), text(&of["posted"], "amount").to_owned());
    let rails = ["x402", "vault", "mandate"].map(|rail| pair(&shown["rails"][rail]));
    [pair(&shown)].into_iter().chain(rails).collect()
}

fn said(figures: &[(&str, &str)]) -> Vec<(String, String)> {
    figures.iter().map(|(held, posted)| ((*held).to_owned(), (*posted).to_owned())).collect()
}

/// So many dollars of gift cards, in UCP.
async fn cart(platform: &Platform, dollars: u64) -> Value {
    let answer = platform.ucp(Method::POST, "", Some(ucp_items("gift_card", dollars))).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_a_hundred_holds_over_x402_acp_and_ucp_to_the_cent() {
    let platform = Platform::open().await;
    let shop = &platform.shop;
    let mut asked = intent();
    merge(&mut asked, &json!({ "total": "100.00", "per_payment": null }));
    let mandate = shop.mandate(asked).await;

    // 40.00 by x402, settled on the chain.
    let offer = shop.offer("/paid/dear", 40_000_000);
    let paid = shop.pay(&mandate, &offer, &new_key()).await.expect("40.00 by x402");
    settle(&platform, &paid, &offer).await;
    assert_eq!(figures(&platform, &mandate).await[..2], said(&[("0.00", "40.00"), ("0.00", "40.00")]));

    // 35.00 by an ACP token; 30.00 are captured, 5.00 come back.
    let allowing = request(&mandate, 3_500, json!({}));
    let headers = [("API-Version", "2026-04-17"), ("Idempotency-Key", &*new_key())];
    let url = shop.url("/agentic_commerce/delegate_payment");
    let token = post(&url, &shop.agent, &headers, allowing.to_string().into_bytes()).await.token();
    assert_eq!(
        figures(&platform, &mandate).await,
        said(&[("35.00", "40.00"), ("0.00", "40.00"), ("35.00", "0.00"), ("0.00", "0.00")])
    );
    let capture = json!({ "token": token, "amount": 3_000, "currency": "usd",
        "checkout_session_id": allowing["allowance"]["checkout_session_id"] });
    let key = new_key();
    let url = shop.url("/v1/vault/capture");
    let captured = post(&url, &shop.merchant, &[("Idempotency-Key", &key)], capture.to_string().into_bytes()).await;
    assert_eq!(captured.status, 200, "{captured:?}");
    let spent = said(&[("0.00", "70.00"), ("0.00", "40.00"), ("0.00", "30.00"), ("0.00", "0.00")]);
    assert_eq!(figures(&platform, &mandate).await, spent);

    // 35.00 by UCP are 5.00 too much: no mandate is closed, so there is nothing to complete it with.
    let dear = cart(&platform, 35).await;
    let ap2 = &dear["ap2"];
    let close = json!({
        "mandate": mandate, "cart": ap2["checkout_jwt"], "audience": ap2["audience"], "nonce": ap2["nonce"],
        "checkout": { "audience": ap2["audience"], "nonce": ap2["nonce"] },
        "payment_instrument": { "id": "card-1", "type": "card", "description": "Card ****1234" },
    });
    let key = new_key();
    let closed = shop.client.call(Method::POST, "/v1/mandates/payments", &shop.agent, Some(&key), Some(close)).await;
    let (status, code, detail) = refused(closed);
    assert_eq!((status, code.as_str()), (422, "amount_exceeds_budget"), "{detail}");
    assert_eq!(figures(&platform, &mandate).await, spent);

    // 30.00 are what is left.
    let cheap = cart(&platform, 30).await;
    let closed = platform.chained(&mandate, &cheap).await;
    assert_eq!(figures(&platform, &mandate).await[3], ("30.00".to_owned(), "0.00".to_owned()));
    let done = platform.complete(&cheap, text(&closed, "checkout_mandate"), text(&closed, "payment_mandate")).await;
    assert_eq!((done.status, text(&done.body, "status")), (200, "completed"), "{}", done.body);
    answered(shop, &closed, text(&done.body["ap2"], "payment_receipt")).await.expect("the receipt posts it");
    assert_eq!(
        figures(&platform, &mandate).await,
        said(&[("0.00", "100.00"), ("0.00", "40.00"), ("0.00", "30.00"), ("0.00", "30.00")])
    );

    // Not a cent more, by any of them.
    let cent = shop.offer("/paid/cent", 10_000);
    assert_eq!(refused(shop.pay(&mandate, &cent, &new_key()).await).1, "amount_exceeds_budget");
    let headers = [("API-Version", "2026-04-17"), ("Idempotency-Key", &*new_key())];
    let body = request(&mandate, 1, json!({})).to_string().into_bytes();
    let answer = post(&shop.url("/agentic_commerce/delegate_payment"), &shop.agent, &headers, body).await;
    assert_eq!((answer.status, answer.code()), (422, "amount_exceeds_budget"), "{answer:?}");
    books(&platform).await;
    platform.shop.service.stop().await;
}

/// The payment is shown to the seller, and followed until the chain has it.
async fn settle(platform: &Platform, paid: &Value, offer: &x402::wire::PaymentRequired) {
    let header = text(paid, "payment_signature").to_owned();
    let payload: Value = serde_json::from_slice(&base64_of(&header)).expect("a payload");
    let asked = json!({ "x402Version": 2, "paymentPayload": payload,
        "paymentRequirements": serde_json::to_value(&offer.accepts[0]).unwrap() });
    let client = reqwest::Client::new();
    let settled = client.post(platform.shop.url("/settle")).json(&asked).send().await.expect("the facilitator");
    let settled: Value = settled.json().await.unwrap();
    assert_eq!(settled["success"], true, "{settled}");
    let path = format!("/v1/payments/{}", text(paid, "id"));
    let started = std::time::Instant::now();
    loop {
        let spend = platform.shop.call(Method::GET, &path, &platform.shop.agent, None).await.expect("the spend");
        if spend["state"] == "settled" {
            return;
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{spend}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

/// Debits are credits, and what left the budget is what the payee got, by every rail.
async fn books(platform: &Platform) {
    use ledger::store::{Store as _, Verification};
    let home = purser::world::HOME.parse().unwrap();
    let verified = platform.shop.service.store().verify(&home).await.unwrap();
    assert!(matches!(verified, Verification::Sound { .. }), "{verified:?}");
    let admin = platform.shop.service.token(purser::world::HOME, "admin", ledger::id::CallerKind::Operator).unwrap();
    let balance = platform.shop.call(Method::GET, "/v1/ledger/trial-balance", &admin, None).await.expect("balances");
    assert_eq!(
        (&balance["balanced"], balance["assets"].as_array().map(Vec::len)),
        (&json!(true), Some(2)),
        "{balance}"
    );
}
