//! Odd requests to the vault: what is refused is refused in words that are true, and nothing that came is given back that
//! nobody may see.

use reqwest::Method;
use serde_json::json;

use crate::harness::checkout::Platform;
use crate::harness::shop::new_key;
use crate::harness::vault::{Answer, DELEGATE, PAN, VERSION, Vault, post, request};

/// The sentence names the limit that holds, a list is no object, no id that could be a card's number comes back, and JSON is
/// spoken of in its own words.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_objects_within_the_limit_that_is_named_and_no_id_is_a_card_number() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("100.00").await;
    let given = vault.token_of(&mandate, 100, json!({})).await;
    let merchant = vault.shop.merchant.clone();
    let said = |answer: &Answer| format!("{}{}", answer.body["detail"], answer.body["message"]);
    let ask = async |path: &str, body: Vec<u8>| {
        post(&vault.shop.url(path), &merchant, &[("Idempotency-Key", &new_key())], body).await
    };
    let long = json!({ "token": "x".repeat(70_000) }).to_string().into_bytes();
    for path in [
        "/v1/vault/verify",
        "/v1/vault/capture",
        "/v1/vault/void",
        "/v1/vault/refund",
        "/v1/vault/notices/home",
        "/detokenize",
        "/agentic_checkout/webhooks/order_events/home/shop",
    ] {
        let answer = ask(path, long.clone()).await;
        assert_eq!((answer.status, answer.code()), (413, "body_too_large"), "{path}: {answer:?}");
        assert!(said(&answer).contains("at most 65536 bytes"), "{path}: {answer:?}");
    }
    for (body, words) in [
        (json!([given.token]), "a JSON object was expected; an array came"),
        (json!(null), "a JSON object was expected; null came"),
        (json!(given.token), "a JSON object was expected; a string came"),
    ] {
        let answer = ask("/v1/vault/verify", body.to_string().into_bytes()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{body}: {answer:?}");
        assert!(said(&answer).contains(words), "{body}: {answer:?}");
    }
    let negative = json!({ "token": given.token, "amount": -1 }).to_string().into_bytes();
    let negative = ask("/v1/vault/refund", negative).await;
    assert!(negative.status == 400 && said(&negative).contains("a whole number of 0 or more"), "{negative:?}");
    for (id, is_given_back) in [(PAN, false), ("4242-4242-4242-4242", false), ("r-1", true), ("1796043913", true)] {
        let headers = [("API-Version", VERSION), ("Request-Id", id), ("X-Request-Id", id)];
        let key = new_key();
        let headers = [&headers[..], &[("Idempotency-Key", key.as_str())]].concat();
        let body = request(&mandate, 100, json!({})).to_string().into_bytes();
        let answer = post(&vault.shop.url(DELEGATE), &vault.shop.agent, &headers, body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        for name in ["request-id", "x-request-id"] {
            assert_eq!(answer.header(name) == Some(id), is_given_back, "{name} {id}: {answer:?}");
        }
    }
    vault.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_beyond_what_there_is_is_refused_for_that() {
    let platform = Platform::open().await;
    for (quantity, words) in [
        (json!(0), "1 to 18446744073709551615; 0 came"),
        (json!(-1), "-1 came"),
        (serde_json::from_str("18446744073709551616").unwrap(), "1 to 18446744073709551615; 18446744073709551616 came"),
    ] {
        let body = json!({ "line_items": [{ "id": "gift_card", "quantity": quantity }], "currency": "usd" });
        let answer = platform.acp(Method::POST, "", Some(body)).await;
        assert_eq!(answer.said(), (400, "invalid"), "{quantity}: {}", answer.body);
        assert!(answer.body["message"].as_str().unwrap().contains(words), "{quantity}: {}", answer.body);
    }
    let opened = platform.open_ucp().await;
    let body = json!({ "payment": { "instruments": [] } });
    let path = format!("/{}/complete", opened["id"].as_str().unwrap());
    let none = platform.ucp_as(&platform.plain, Method::POST, &path, &new_key(), Some(&body)).await;
    assert!(none.status >= 400 && !none.body.to_string().contains("``"), "{}", none.body);
    platform.shop.service.stop().await;
}
