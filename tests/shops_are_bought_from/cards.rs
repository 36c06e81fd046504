//! The flow that ACP is for: a session, an allowance for it in a vault, and the session completed with the vault's token.

use ledger::id::CallerKind;
use purser::world::SHOP;
use reqwest::Method;
use serde_json::{Value, json};

use super::orders::refund;
use crate::harness::checkout::{Answer, Platform};
use crate::harness::closing::figures;
use crate::harness::shop::{intent, new_key, refused};
use crate::harness::text;
use crate::harness::vault::{DELEGATE, VERSION, merge, post, request, with_card};

pub(super) async fn session(platform: &Platform, items: u64) -> Value {
    let body =
        json!({ "line_items": [{ "id": "gift_card", "quantity": items }], "currency": "usd", "capabilities": {} });
    let answer = platform.acp(Method::POST, "", Some(body)).await;
    assert_eq!((answer.status, text(&answer.body, "status")), (201, "ready_for_payment"), "{}", answer.body);
    answer.body
}

pub(super) async fn token(platform: &Platform, mandate: &str, session: &Value, cents: u64, differing: Value) -> String {
    let handler = &session["capabilities"]["payment"]["handlers"][0];
    let mut body = request(mandate, cents, differing);
    let allowance = json!({ "merchant_id": handler["config"]["merchant_id"], "checkout_session_id": session["id"] });
    merge(&mut body["allowance"], &allowance);
    let headers = [("API-Version", VERSION), ("Idempotency-Key", &*new_key())];
    let url = format!("{}{DELEGATE}", text(handler, "psp"));
    post(&url, &platform.shop.agent, &headers, body.to_string().into_bytes()).await.token()
}

pub(super) async fn complete(platform: &Platform, session: &Value, token: &str, key: &str) -> Answer {
    let instrument = json!({ "type": "card", "credential": { "type": "spt", "token": token } });
    let body = json!({ "payment_data": { "handler_id": "card_tokenized", "instrument": instrument } });
    let path = format!("/{}/complete", text(session, "id"));
    platform.acp_as(&platform.shop.agent, Method::POST, &path, key, Some(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_completed_by_a_token_for_its_card_and_by_no_other() {
    let platform = Platform::open().await;
    let mandate = platform.shop.mandate(intent()).await;
    let bought = session(&platform, 1).await;
    let handler = &bought["capabilities"]["payment"]["handlers"][0];
    assert_eq!((text(handler, "id"), text(handler, "name")), ("card_tokenized", "dev.acp.tokenized.card"));

    // Not for this session, not for as much, not one at all: declined, and open as before.
    let other = session(&platform, 1).await;
    let elsewhere = token(&platform, &mandate, &other, 100, json!({})).await;
    let scant = token(&platform, &mandate, &bought, 99, json!({})).await;
    let declines = purser::acquirer::simulator::cards();
    let declined = token(&platform, &mandate, &bought, 100, with_card(text(&declines, "declined"))).await;
    for wrong in [elsewhere.as_str(), scant.as_str(), declined.as_str(), "vt_none", ""] {
        let answer = complete(&platform, &bought, wrong, &new_key()).await;
        assert_eq!(text(&answer.body, "status"), "ready_for_payment", "{wrong}: {}", answer.body);
        assert_eq!(answer.code(), "payment_declined", "{wrong}: {}", answer.body);
    }
    assert_eq!(figures(&platform.shop, &mandate).await, ("2.99".into(), "0.00".into()));

    let good = token(&platform, &mandate, &bought, 150, json!({})).await;
    let key = new_key();
    let done = complete(&platform, &bought, &good, &key).await;
    assert_eq!((done.status, text(&done.body, "status")), (200, "completed"), "{}", done.body);
    assert!(done.body["order"]["id"].is_string());
    // What was not asked for came back.
    assert_eq!(figures(&platform.shop, &mandate).await, ("2.99".into(), "1.00".into()));
    let again = complete(&platform, &bought, &good, &key).await;
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&done.body, Some("true")));
    // The other session has a token of its own still; the one that paid pays for nothing else.
    let replayed = complete(&platform, &other, &good, &new_key()).await;
    assert_eq!(replayed.code(), "payment_declined", "{}", replayed.body);
    let second = complete(&platform, &other, &elsewhere, &new_key()).await;
    assert_eq!(text(&second.body, "status"), "completed", "{}", second.body);
    assert_eq!(figures(&platform.shop, &mandate).await, ("1.99".into(), "2.00".into()));
    platform.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_gave_is_not_kept_under_its_key() {
    let platform = Platform::open().await;
    let mandate = platform.shop.mandate(intent()).await;
    let bought = session(&platform, 1).await;
    let cards = purser::acquirer::simulator::cards();
    let lost = token(&platform, &mandate, &bought, 100, with_card(text(&cards, "lost_answer"))).await;
    let key = new_key();
    let unknown = complete_once(&platform, &bought, &lost, &key).await;
    assert_eq!((unknown.0, unknown.1["code"].as_str()), (503, Some("outcome_unknown")), "{}", unknown.1);
    let started = std::time::Instant::now();
    let done = loop {
        let (status, body) = complete_once(&platform, &bought, &lost, &key).await;
        if status == 200 {
            break body;
        }
        assert!([409, 503].contains(&status) && started.elapsed().as_secs() < 20, "{status}: {body}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(text(&done, "status"), "completed", "{done}");
    assert_eq!(figures(&platform.shop, &mandate).await, ("0.00".into(), "1.00".into()), "captured once");
    platform.shop.service.stop().await;
}

/// The same without the platform's belief that nothing breaks.
async fn complete_once(platform: &Platform, session: &Value, token: &str, key: &str) -> (u16, Value) {
    let instrument = json!({ "type": "card", "credential": { "type": "spt", "token": token } });
    let body = json!({ "payment_data": { "handler_id": "card_tokenized", "instrument": instrument } });
    let path = format!("/checkout_sessions/{}/complete", text(session, "id"));
    let headers = [("API-Version", VERSION), ("Idempotency-Key", key)];
    let answer = post(&platform.shop.url(&path), &platform.shop.agent, &headers, body.to_string().into_bytes()).await;
    (answer.status, answer.body)
}

/// Given back at the vault, by the merchant: the order says it as well, once for a key, and never more than there was.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_at_the_vault_is_in_the_order() {
    let platform = Platform::open().await;
    let mandate = platform.shop.mandate(intent()).await;
    let bought = session(&platform, 1).await;
    let token = token(&platform, &mandate, &bought, 100, json!({})).await;
    let done = complete(&platform, &bought, &token, &new_key()).await;
    let order = format!("/orders/{}", text(&done.body["order"], "id"));
    let merchant = platform.shop.service.token(SHOP, "merchant", CallerKind::Merchant).unwrap();
    let (client, agent) = (&platform.shop.client, &platform.shop.agent);
    let adjustments = async || {
        let order = client.call(Method::GET, &order, agent, None, None).await.unwrap();
        let said = order["adjustments"].as_array().unwrap().iter();
        said.map(|one| (text(one, "type").to_owned(), one["amount"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(adjustments().await, []);
    let back = async |who: &str, amount: u64, key: &str| {
        let body = json!({ "token": token, "amount": amount });
        client.call(Method::POST, "/v1/vault/refund", who, Some(key), Some(body)).await
    };
    // What is refused is in no order.
    for (who, amount, status) in [(&merchant, 101, 422), (&merchant, 0, 400), (agent, 10, 403)] {
        assert_eq!(refused(back(who, amount, &new_key()).await).0, status, "{amount}");
    }
    assert_eq!(adjustments().await, []);
    let key = new_key();
    for _ in 0..2 {
        back(&merchant, 30, &key).await.unwrap();
        assert_eq!(adjustments().await, [("refund".to_owned(), 30)]);
    }
    // The order's own way knows what is left.
    let more = |amount: u64| client.call(Method::POST, &order, &merchant, Some("order-key"), Some(refund(amount)));
    assert_eq!(refused(more(71).await).0, 422);
    more(70).await.unwrap();
    assert_eq!(adjustments().await, [("refund".to_owned(), 30), ("refund".to_owned(), 70)]);
    client.call(Method::POST, &order, &merchant, None, Some(json!({ "status": "canceled" }))).await.unwrap();
    platform.shop.service.stop().await;
}
