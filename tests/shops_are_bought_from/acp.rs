//! The same shop by ACP: headers, versions, keys, flat errors, and the extension by which mandates pay.

use purser::world::{BYSTANDER, HOME};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::checkout::{Answer, Platform};
use crate::harness::closing::{answered, figures};
use crate::harness::shop::{intent, new_key};
use crate::harness::text;

fn items(product: &str) -> Value {
    json!({ "currency": "usd", "line_items": [{ "id": product }], "capabilities": { "extensions": ["dev.purser.ap2"] } })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_in_acps_words() {
    let platform = Platform::open().await;
    let bearer = format!("Bearer {}", platform.shop.agent);
    let (auth, version, key) =
        (("authorization", bearer.as_str()), ("api-version", "2026-04-17"), ("idempotency-key", "k-1"));
    let long = "k".repeat(256);
    for (headers, status, code) in [
        (vec![version, key], 401, "token_missing"),
        (vec![("authorization", "Bearer nonsense"), version, key], 401, "token_malformed"),
        (vec![auth, key], 400, "missing_api_version"),
        (vec![auth, ("api-version", "2025-09-29"), key], 400, "unsupported_api_version"),
        (vec![auth, ("api-version", "latest"), key], 400, "unsupported_api_version"),
        (vec![auth, version], 400, "idempotency_key_required"),
        (vec![auth, version, ("idempotency-key", &long)], 400, "idempotency_key_invalid"),
        (vec![auth, version, key, ("timestamp", "yesterday")], 400, "invalid"),
        (vec![auth, version, key, ("timestamp", "2026-11-30T10:30:00")], 400, "invalid"),
        (vec![auth, version, key, ("timestamp", "")], 400, "invalid"),
    ] {
        let answer = platform.send(Method::POST, "/checkout_sessions", &headers, Some(&items("gift_card"))).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
        assert!(status == 401 || answer.code() == code, "{headers:?}: {}", answer.body);
        assert_eq!(answer.body["type"], "invalid_request");
        assert_eq!(answer.body.get("supported_versions").is_some(), code.ends_with("api_version"), "{}", answer.body);
    }
    let with = |member: &str, value: Value| {
        let mut body = items("gift_card");
        body[member] = value;
        body
    };
    for (body, code, param) in [
        (json!({}), "missing", "$.line_items"),
        (with("line_items", json!([])), "invalid", "$.line_items"),
        (with("line_items", json!({})), "invalid", "$.line_items"),
        (with("line_items", json!([{}])), "missing", "$.line_items[0].product_id"),
        (with("line_items", json!(["gift_card"])), "invalid", "$.line_items[0]"),
        (with("line_items", json!([{ "id": 7 }])), "invalid", "$.line_items[0].id"),
        (with("line_items", json!([{ "id": "wumpus" }])), "not_found", "$.line_items[0].id"),
        (with("line_items", json!([{ "item": { "id": "wumpus" } }])), "not_found", "$.line_items[0].item.id"),
        (with("line_items", json!([{ "id": "gift_card", "quantity": 0 }])), "invalid", "$.line_items[0].quantity"),
        (with("line_items", json!([{ "id": "gift_card", "quantity": -1 }])), "invalid", "$.line_items[0].quantity"),
        (with("line_items", json!([{ "id": "gift_card", "quantity": 1.5 }])), "invalid", "$.line_items[0].quantity"),
        (
            with("line_items", json!([{ "id": "gift_card", "quantity": 9_007_199_254_740_991_u64 }])),
            "maximum_exceeded",
            "$.line_items",
        ),
        (with("currency", json!("eur")), "invalid", "$.currency"),
        (with("buyer", json!({ "first_name": "A" })), "missing", "$.buyer.email"),
        (with("buyer", json!([])), "invalid", "$.buyer"),
        (
            with("fulfillment_details", json!({ "address": { "name": "A" } })),
            "missing",
            "$.fulfillment_details.address.line_one",
        ),
        (
            with("selected_fulfillment_options", json!([{ "type": "shipping" }])),
            "missing",
            "$.selected_fulfillment_options[0].option_id",
        ),
    ] {
        let answer = platform.acp(Method::POST, "", Some(body.clone())).await;
        assert_eq!(answer.said(), (400, code), "{body}: {}", answer.body);
        assert_eq!(answer.body["param"], param, "{body}");
        assert_eq!(answer.header("request-id"), Some("r-1"));
    }
    for path in ["/nothing", "/nothing/cancel", "/nothing/complete"] {
        let body = json!({ "payment_data": { "handler_id": "ap2", "instrument": { "type": "ap2_mandate" } } });
        let answer = platform.acp(Method::POST, path, Some(body)).await;
        assert_eq!(answer.said(), (404, "not_found"), "{path}: {}", answer.body);
    }
}

async fn opened(platform: &Platform, key: &str, body: Value) -> Answer {
    platform.acp_as(&platform.shop.agent, Method::POST, "", key, Some(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_request() {
    let platform = Platform::open().await;
    let (agent, key) = (&platform.shop.agent, new_key());
    let body = json!({ "currency": "usd", "line_items": [{ "id": "gift_card", "quantity": 1 }], "capabilities": {}, "locale": null });
    let first = opened(&platform, &key, body.clone()).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));
    assert_eq!(first.header("idempotency-key"), Some(key.as_str()));
    let same: Value = serde_json::from_str(
        r#"{ "capabilities": {}, "locale": null, "line_items": [{ "quantity": 1.0, "id": "gift_card" }], "currency": "usd" }"#,
    )
    .unwrap();
    let again = opened(&platform, &key, same).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(again.body, first.body, "the order of members does not count, and 1.0 is 1");
    let mut without = body.clone();
    without.as_object_mut().unwrap().remove("locale");
    let mut two = body.clone();
    two["line_items"][0]["quantity"] = 2.into();
    for other in [without, two, json!({})] {
        let answer = opened(&platform, &key, other.clone()).await;
        assert_eq!(answer.said(), (422, "idempotency_conflict"), "null is not nothing: {other}");
    }
    // A number that no double is: the same where its bytes are.
    let beyond = |digits: &str| {
        let mut body = body.clone();
        body["metadata"] = serde_json::from_str(&format!("{{ \"n\": {digits} }}")).unwrap();
        body
    };
    let (key, first) = (new_key(), opened(&platform, &new_key(), beyond("9007199254740993")).await);
    assert_eq!(first.status, 201, "{}", first.body);
    let first = opened(&platform, &key, beyond("9007199254740993")).await;
    let again = opened(&platform, &key, beyond("9007199254740993")).await;
    assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &first.body));
    for other in ["9007199254740992", "9007199254740994", "9007199254740993.0"] {
        assert_eq!(opened(&platform, &key, beyond(other)).await.said(), (422, "idempotency_conflict"), "{other}");
    }
    // What was refused is refused again under its key, also where it would be good by now.
    let refused = new_key();
    assert_eq!(opened(&platform, &refused, json!({ "currency": "usd" })).await.status, 400);
    let again = opened(&platform, &refused, json!({ "currency": "usd" })).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (400, Some("true")));
    // Somebody else's key of the same text is theirs, and so is their session.
    let other = platform.shop.service.token(HOME, BYSTANDER, ledger::id::CallerKind::Agent).unwrap();
    let theirs = platform.acp_as(&other, Method::POST, "", &key, Some(&body)).await;
    assert!(theirs.status == 201 && theirs.body["id"] != first.body["id"]);
    let path = format!("/{}", text(&first.body, "id"));
    assert_eq!(platform.acp_as(&other, Method::GET, &path, "k", None).await.said(), (404, "not_found"));
    assert_eq!(platform.acp_as(agent, Method::GET, &path, "k", None).await.body, first.body);
    // Many at once under one key: one session.
    let racing = new_key();
    let calls = (0..6).map(|_| {
        let (client, url, token) = (reqwest::Client::new(), platform.shop.url("/checkout_sessions"), agent.clone());
        let (racing, body) = (racing.clone(), body.clone());
        tokio::spawn(async move {
            let request = client.post(url).bearer_auth(token).header("api-version", "2026-04-17");
            let answer = request.header("idempotency-key", racing).json(&body).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        })
    });
    let mut ids = std::collections::BTreeSet::new();
    for call in calls.collect::<Vec<_>>() {
        let (status, body) = call.await.unwrap();
        assert_eq!(status, 201, "{body}");
        ids.insert(text(&body, "id").to_owned());
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acp_checkout_is_sent_cancelled_and_completed() {
    let platform = Platform::open().await;
    let opened = platform.acp(Method::POST, "", Some(items("bouquet_tulips"))).await.body;
    assert_eq!(text(&opened, "status"), "incomplete");
    let path = format!("/{}", text(&opened, "id"));
    let address = json!({ "name": "Alice Example", "line_one": "1 Example St", "city": "Oakland", "state": "CA",
        "country": "US", "postal_code": "94607" });
    let sent = json!({ "fulfillment_details": { "name": "Alice Example", "address": address } });
    let sent = platform.acp(Method::POST, &path, Some(sent)).await.body;
    let option = text(&sent["fulfillment_options"][0], "id").to_owned();
    let chosen =
        json!({ "selected_fulfillment_options": [{ "type": "shipping", "option_id": option, "item_ids": [] }] });
    let ready = platform.acp(Method::POST, &path, Some(chosen)).await.body;
    assert_eq!(
        (text(&ready, "status"), ready["totals"].as_array().unwrap().last().unwrap()["amount"].as_u64()),
        ("ready_for_payment", Some(3_500))
    );
    let nested = json!({ "intent_trace": { "reason_code": "other", "metadata": { "a": { "b": 1 } } } });
    assert_eq!(platform.acp(Method::POST, &format!("{path}/cancel"), Some(nested)).await.said(), (400, "invalid"));
    let cancelled = platform.acp(Method::POST, &format!("{path}/cancel"), None).await;
    assert_eq!((cancelled.status, text(&cancelled.body, "status")), (200, "canceled"));
    for action in ["", "/cancel", "/complete"] {
        let pay = json!({ "payment_data": { "handler_id": "ap2", "instrument": { "type": "ap2_mandate" } } });
        let answer = platform.acp(Method::POST, &format!("{path}{action}"), Some(pay)).await;
        assert_eq!(answer.said(), (405, "not_modifiable"), "{action}: {}", answer.body);
    }

    let opened = platform.acp(Method::POST, "", Some(items("gift_card"))).await.body;
    assert_eq!(text(&opened, "status"), "ready_for_payment", "{opened}");
    let path = format!("/{}/complete", text(&opened, "id"));
    let mandate = platform.shop.mandate(intent()).await;
    let closed = platform.chained(&mandate, &opened).await;
    let pay = |checkout: &str, payment: &str| {
        json!({
            "payment_data": { "handler_id": "ap2", "instrument": { "type": "ap2_mandate",
                "credential": { "type": "ap2_mandate", "token": payment } } },
            "ap2": { "checkout_mandate": checkout },
        })
    };
    let (checkout, payment) = (text(&closed, "checkout_mandate"), text(&closed, "payment_mandate"));
    for (body, code) in [
        (json!({ "payment_data": pay("", payment)["payment_data"] }), "mandate_required"),
        (pay("a.b.c~", payment), "mandate_invalid_signature"),
        (pay(payment, payment), "mandate_scope_mismatch"),
        (pay(checkout, checkout), "mandate_scope_mismatch"),
        (json!({}), "missing"),
        (json!({ "payment_data": { "purchase_order_number": "1" } }), "invalid"),
    ] {
        let answer = platform.acp(Method::POST, &path, Some(body)).await;
        assert_eq!(answer.said(), (400, code), "{}", answer.body);
    }
    let done = platform.acp(Method::POST, &path, Some(pay(checkout, payment))).await;
    assert_eq!((done.status, text(&done.body, "status")), (200, "completed"), "{}", done.body);
    assert_eq!(done.body["order"]["checkout_session_id"], opened["id"]);
    let receipt = text(&done.body["ap2"], "payment_receipt");
    assert_eq!(text(&answered(&platform.shop, &closed, receipt).await.expect("a receipt"), "state"), "settled");
    assert_eq!(figures(&platform.shop, &mandate).await, ("0.00".into(), "1.00".into()));
}
