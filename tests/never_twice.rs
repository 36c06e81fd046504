//! Promise 3: one purchase, at most one payment; the same request gets the same answer; unknown is not failed.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use purser::world::shop_address;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;

async fn signed(shop: &Shop, path: &str) -> (String, Value) {
    let mandate = shop.mandate(intent()).await;
    let required = shop.met(path).await;
    let payment = shop.pay(&mandate, &required, &new_key()).await.expect("a payment");
    (text(&payment, "payment_signature").to_owned(), payment)
}

fn shop_text() -> String {
    format!("{:#x}", shop_address())
}

/// Ten requests at once with one signature: one run of the handler, one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn one_signature_runs_the_handler_once() {
    let shop = Arc::new(Shop::open().await);
    let (signature, _) = signed(&shop, "/paid/report").await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let (shop, signature) = (shop.clone(), signature.clone());
        tasks.push(tokio::spawn(async move { shop.fetch("/paid/report", Some(&signature)).await }));
    }
    let mut served = 0;
    for task in tasks {
        let fetched = task.await.unwrap();
        let body: Value = serde_json::from_slice(&fetched.body).expect("JSON, whatever the answer is");
        match fetched.status.as_u16() {
            200 => {
                assert_eq!(body["served"], 1, "everyone gets the answer of the one run");
                served += 1;
            }
            409 => assert_eq!(body["code"], "payment_in_flight"),
            other => panic!("{other}: {body}"),
        }
    }
    assert!(served >= 1, "the payer was served");
    let again = shop.fetch("/paid/report", Some(&signature)).await;
    let body: Value = serde_json::from_slice(&again.body).unwrap();
    assert_eq!((again.status.as_u16(), body["served"].as_u64()), (200, Some(1)), "the stored answer");
    assert!(again.header("payment-response").is_some());
    assert_eq!(shop.transfers(&shop.wallet(), &shop_text()).len(), 1, "one transaction was mined");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_a_payment_is_the_same_payment() {
    let shop = Shop::open().await;
    let (signature, _) = signed(&shop, "/paid/report").await;
    assert_eq!(shop.fetch("/paid/report", Some(&signature)).await.status.as_u16(), 200);
    let bytes = STANDARD.decode(&signature).unwrap();
    let mut value: Value = serde_json::from_slice(&bytes).unwrap();
    value["unknown"] = json!("member");
    let spaced = serde_json::to_string_pretty(&value).unwrap();
    for spelling in
        [URL_SAFE_NO_PAD.encode(&bytes), STANDARD.encode(&spaced), signature.trim_end_matches('=').to_owned()]
    {
        let fetched = shop.fetch("/paid/report", Some(&spelling)).await;
        let body: Value = serde_json::from_slice(&fetched.body).unwrap();
        assert_eq!((fetched.status.as_u16(), body["served"].as_u64()), (200, Some(1)), "{body}");
    }
    assert_eq!(shop.transfers(&shop.wallet(), &shop_text()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_buys_one_thing() {
    let shop = Shop::open().await;
    let (signature, _) = signed(&shop, "/paid/report").await;
    let mut payload: Value = serde_json::from_slice(&STANDARD.decode(&signature).unwrap()).unwrap();
    payload.as_object_mut().unwrap().remove("resource");
    let anonymous = STANDARD.encode(payload.to_string());
    // The same price, the same terms: only the claim knows that it was for another resource.
    assert_eq!(shop.fetch("/paid/report", Some(&anonymous)).await.status.as_u16(), 200);
    let other = shop.fetch("/paid/note", Some(&anonymous)).await;
    let body: Value = serde_json::from_slice(&other.body).unwrap();
    assert_eq!((other.status.as_u16(), text(&body, "error")), (402, "payment_used_for_other_resource"), "{body}");
    let dearer = shop.fetch("/paid/dataset", Some(&anonymous)).await;
    assert_eq!(dearer.status.as_u16(), 402, "another price");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_authorization() {
    let shop = Arc::new(Shop::open().await);
    let mandate = shop.mandate(intent()).await;
    let required = Arc::new(shop.met("/paid/report").await);
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let (shop, mandate, required) = (shop.clone(), mandate.clone(), required.clone());
        tasks.push(tokio::spawn(async move { shop.pay(&mandate, &required, "same-key").await }));
    }
    let mut signatures = std::collections::BTreeSet::new();
    for task in tasks {
        signatures.insert(text(&task.await.unwrap().expect("the same answer"), "payment_signature").to_owned());
    }
    assert_eq!(signatures.len(), 1, "ten tries, one authorization, byte for byte");
    let (status, conflict, _) = refused(shop.pay(&mandate, &shop.met("/paid/note").await, "same-key").await);
    assert_eq!((status, conflict.as_str()), (409, "idempotency_key_reused"));
    let figures = shop.figures(&mandate).await;
    assert_eq!(figures["payments"]["used"], 1);
}

/// Agents draw new keys when they retry: the same thing is not bought twice by accident.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_for_an_unresolved_purchase_must_be_meant() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let required = shop.met("/paid/report").await;
    let first = shop.pay(&mandate, &required, "first-key").await.expect("a payment");
    let (status, unresolved, detail) = refused(shop.pay(&mandate, &required, "second-key").await);
    assert_eq!((status, unresolved.as_str()), (409, "purchase_unresolved"));
    assert!(detail.contains(text(&first, "id")), "it names the spend: {detail}");
    let meant = json!({ "again_after": first["id"] });
    let second = shop.pay_as(&shop.agent, &mandate, &required, "third-key", meant).await.expect("meant");
    assert_ne!(first["id"], second["id"]);
    assert_ne!(first["nonce"], second["nonce"]);
}

async fn settle(shop: &Shop, signature: &str, required: &x402::wire::PaymentRequired, key: Option<&str>) -> Value {
    let payload: Value = serde_json::from_slice(&STANDARD.decode(signature).unwrap()).unwrap();
    let body = json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": required.accepts[0] });
    let url = shop.url("/settle");
    let mut request = reqwest::Client::new().post(url).json(&body);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let response = request.send().await.expect("the facilitator answers");
    assert_eq!(response.status().as_u16(), 200);
    response.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_settle_says_so_and_sends_nothing() {
    let shop = Shop::open().await;
    let required = shop.met("/paid/report").await;
    let (signature, _) = signed(&shop, "/paid/report").await;
    let first = settle(&shop, &signature, &required, None).await;
    assert_eq!(first["success"], true, "{first}");
    let second = settle(&shop, &signature, &required, None).await;
    assert_eq!(second["success"], false);
    assert_eq!(second["errorReason"], "invalid_exact_evm_nonce_already_used");
    assert_eq!(second["transaction"], "");
    assert_eq!(second["extra"]["transaction"], first["transaction"]);
    let keyed = settle(&shop, &signature, &required, Some("seller-1")).await;
    assert_eq!((keyed["success"].clone(), keyed["transaction"].clone()), (json!(true), first["transaction"].clone()));
    assert_eq!(shop.transfers(&shop.wallet(), &shop_text()).len(), 1);
}

/// Ten at once, who cannot be told apart: one is told of the success, and one transaction is sent.
#[tokio::test(flavor = "multi_thread")]
async fn one_settlement_is_one_success() {
    let shop = Arc::new(Shop::open().await);
    for _ in 0..5 {
        let required = Arc::new(shop.met("/paid/report").await);
        let (signature, _) = signed(&shop, "/paid/report").await;
        let before = shop.transfers(&shop.wallet(), &shop_text()).len();
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let (shop, signature, required) = (shop.clone(), signature.clone(), required.clone());
            tasks.push(tokio::spawn(async move { settle(&shop, &signature, &required, None).await }));
        }
        let mut successes = 0;
        for task in tasks {
            let answer = task.await.unwrap();
            match answer["success"].as_bool() {
                Some(true) => successes += 1,
                _ => assert_eq!(answer["errorReason"], "invalid_exact_evm_nonce_already_used", "{answer}"),
            }
        }
        assert_eq!(successes, 1);
        assert_eq!(shop.transfers(&shop.wallet(), &shop_text()).len(), before + 1);
    }
}

/// Sent and not mined: pending with the hash, the same answer to the next, success once to who first learns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_is_not_mined_is_pending_and_not_failed() {
    let shop = Shop::open().await;
    let required = shop.met("/paid/report").await;
    let (signature, payment) = signed(&shop, "/paid/report").await;
    shop.rpc("evm_setAutomine", json!([false]));
    let pending = settle(&shop, &signature, &required, None).await;
    assert_eq!(pending["success"], false);
    assert_eq!(pending["errorReason"], "settlement_pending");
    let transaction = text(&pending, "transaction").to_owned();
    assert!(transaction.starts_with("0x"), "the hash is told: {pending}");
    shop.rpc("evm_mine", json!([]));
    let learned = settle(&shop, &signature, &required, None).await;
    assert_eq!((learned["success"].clone(), text(&learned, "transaction")), (json!(true), transaction.as_str()));
    let after = settle(&shop, &signature, &required, None).await;
    assert_eq!(after["errorReason"], "invalid_exact_evm_nonce_already_used");
    shop.rpc("evm_setAutomine", json!([true]));
    let path = format!("/v1/payments/{}/outcome", text(&payment, "id"));
    let spend = shop.call(Method::POST, &path, &shop.agent, Some(json!({}))).await.unwrap();
    assert_eq!(spend["state"], "settled", "the wallet saw it without anyone's word");
}

/// Somebody else submits the signed authorization first: the payee was paid, so the payer is served, and it is posted.
#[tokio::test(flavor = "multi_thread")]
async fn a_front_run_payment_is_a_payment() {
    let shop = Shop::open().await;
    let required = shop.met("/paid/report").await;
    let (signature, _) = signed(&shop, "/paid/report").await;
    let carried = settle(&shop, &signature, &required, None).await;
    assert_eq!(carried["success"], true);
    let fetched = shop.fetch("/paid/report", Some(&signature)).await;
    let body: Value = serde_json::from_slice(&fetched.body).unwrap();
    assert_eq!(fetched.status.as_u16(), 200, "{body}");
    assert_eq!(shop.transfers(&shop.wallet(), &shop_text()).len(), 1);
    let again = shop.fetch("/paid/report", Some(&signature)).await;
    let body: Value = serde_json::from_slice(&again.body).unwrap();
    assert_eq!(body["served"], 1, "and once only");
}

/// The counterparty says failed, or names a foreign transaction: the chain decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_sellers_word_neither_settles_nor_releases() {
    let shop = Shop::open().await;
    let (_, payment) = signed(&shop, "/paid/report").await;
    let path = format!("/v1/payments/{}/outcome", text(&payment, "id"));
    let claims = [
        json!({ "success": true, "transaction": format!("0x{}", "ab".repeat(32)), "network": "eip155:31337" }),
        json!({ "success": false, "errorReason": "insufficient_funds", "transaction": "", "network": "eip155:31337" }),
    ];
    for claim in claims {
        let header = STANDARD.encode(claim.to_string());
        let body = json!({ "payment_response": header, "status": 402 });
        let spend = shop.call(Method::POST, &path, &shop.agent, Some(body)).await.unwrap();
        let state = text(&spend, "state");
        assert!(["committed", "submitted"].contains(&state), "neither settled nor released: {state}");
    }
    let (_, voided, _) = refused(shop.call(Method::POST, &path.replace("outcome", "void"), &shop.agent, None).await);
    assert_eq!(voided, "spend_state", "what is signed cannot be voided");
}

/// Released only when the nonce is unused at a finalized block at or past `validBefore`; then its key says so for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_unused_payment_is_released_by_proof_and_never_reused() {
    let options = purser::dev::DevOptions { finalized_lag_blocks: 3, ..Default::default() };
    let shop = Shop::open_with(options).await;
    let mandate = shop.mandate(intent()).await;
    let required = shop.met("/paid/report").await;
    let payment = shop.pay(&mandate, &required, "to-be-released").await.expect("a payment");
    let path = format!("/v1/payments/{}", text(&payment, "id"));
    let state = async || text(&shop.call(Method::GET, &path, &shop.agent, None).await.unwrap(), "state").to_owned();
    shop.rpc("evm_increaseTime", json!([600]));
    shop.rpc("evm_mine", json!([]));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(state().await, "committed", "the head is past validBefore, the finalized block is not");
    assert_eq!(shop.figures(&mandate).await["held"]["amount"], "0.01", "so it stays held");
    for _ in 0..4 {
        shop.rpc("evm_mine", json!([]));
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while state().await != "released" {
        assert!(std::time::Instant::now() < deadline, "released once the proof is there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(shop.figures(&mandate).await["held"]["units"], "0", "the budget has it back");
    assert_eq!(code(shop.pay(&mandate, &required, "to-be-released").await), "spend_released");
    shop.pay(&mandate, &required, &new_key()).await.expect("a new purchase under a new key");
}
