//! Promise 1: money moves only under a chain of signatures to this very payment.

use std::time::Duration;

use ledger::id::CallerKind;
use purser::world::{AGENT, BYSTANDER, HOME, MERCHANT, NEIGHBOUR, SHOP, USER};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_user_decides() {
    let shop = Shop::open().await;
    let approval = shop.ask(intent()).await;
    let path = format!("/v1/approvals/{}/decision", text(&approval, "id"));
    let body = json!({ "decision": "approve", "digest": approval["digest"] });
    let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    let other_user = shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    for (token, expected) in
        [(&shop.agent, "only_a_user_decides"), (&operator, "only_a_user_decides"), (&other_user, "not_your_decision")]
    {
        let (status, code, _) = refused(shop.call(Method::POST, &path, token, Some(body.clone())).await);
        assert_eq!((status, code.as_str()), (403, expected));
    }
    // An agent that says that its user agreed has said nothing.
    let mut claimed = intent();
    claimed["user_confirmed"] = true.into();
    let (status, _, _) = refused(shop.call(Method::POST, "/v1/mandates/intents", &shop.agent, Some(claimed)).await);
    assert_eq!(status, 400);
    let fresh =
        shop.call(Method::GET, &format!("/v1/approvals/{}", text(&approval, "id")), &shop.agent, None).await.unwrap();
    assert_eq!((text(&fresh, "state"), fresh["mandate"].clone()), ("pending", Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_about_what_was_shown_and_counts_once() {
    let shop = Shop::open().await;
    let approval = shop.ask(intent()).await;
    let path = format!("/v1/approvals/{}/decision", text(&approval, "id"));
    let other = shop.ask({
        let mut other = intent();
        other["total"] = "4000.00".into();
        other
    });
    let other = other.await;
    let swapped = json!({ "decision": "approve", "digest": other["digest"] });
    assert_eq!(code(shop.call(Method::POST, &path, &shop.user, Some(swapped)).await), "decision_subject");
    let denied = shop.answer(&approval, "deny").await.expect("the user denies");
    assert_eq!(denied["mandate"], Value::Null);
    assert_eq!(code(shop.answer(&approval, "approve").await), "decision_state", "a no is a no");
    let first = shop.answer(&other, "approve").await.expect("approved");
    let second = shop.answer(&other, "approve").await.expect("the same answer again");
    assert_eq!(first["mandate"], second["mandate"], "one approval opens one mandate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mandate_that_does_not_stand_pays_nothing() {
    let shop = Shop::open().await;
    let required = shop.met("/paid/report").await;
    let unknown = "ab".repeat(32);
    assert_eq!(code(shop.pay(&unknown, &required, &new_key()).await), "not_found");
    let mut brief = intent();
    brief["expires_in_seconds"] = 2.into();
    let expired = shop.mandate(brief).await;
    let revoked = shop.mandate(intent()).await;
    shop.call(Method::POST, &format!("/v1/mandates/{revoked}/revoke"), &shop.user, None).await.expect("revoked");
    assert_eq!(code(shop.pay(&revoked, &required, &new_key()).await), "mandate_revoked");
    let (_, resumed, _) =
        refused(shop.call(Method::POST, &format!("/v1/mandates/{revoked}/resume"), &shop.user, None).await);
    assert_eq!(resumed, "state_change_refused", "revoked is for ever");
    let suspended = shop.mandate(intent()).await;
    shop.call(Method::POST, &format!("/v1/mandates/{suspended}/suspend"), &shop.user, None).await.expect("suspended");
    assert_eq!(code(shop.pay(&suspended, &required, &new_key()).await), "mandate_suspended");
    let by_agent = shop.call(Method::POST, &format!("/v1/mandates/{suspended}/resume"), &shop.agent, None).await;
    assert_eq!(refused(by_agent).0, 403, "an agent does not take back what was stopped");
    shop.call(Method::POST, &format!("/v1/mandates/{suspended}/resume"), &shop.user, None).await.expect("resumed");
    shop.pay(&suspended, &required, &new_key()).await.expect("it stands again");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(code(shop.pay(&expired, &required, &new_key()).await), "mandate_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_tenant_or_role_has_no_mandate_here() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let required = shop.met("/paid/report").await;
    let stranger = shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let elsewhere = shop.service.token(SHOP, AGENT, CallerKind::Agent).unwrap();
    for token in [&stranger, &elsewhere] {
        let (status, code, _) = refused(shop.pay_as(token, &mandate, &required, &new_key(), json!({})).await);
        assert_eq!((status, code.as_str()), (404, "not_found"), "as if it were not there");
        assert_eq!(refused(shop.call(Method::GET, &format!("/v1/mandates/{mandate}"), token, None).await).0, 404);
    }
    for token in [&shop.user, &shop.merchant] {
        assert_eq!(refused(shop.pay_as(token, &mandate, &required, &new_key(), json!({})).await).0, 403);
    }
    assert_eq!(refused(shop.pay_as("nonsense", &mandate, &required, &new_key(), json!({})).await).0, 401);
    let figures = shop.figures(&mandate).await;
    assert_eq!(figures["payments"]["used"], 0, "and nothing is held");
}

fn checkout(cents: u64, merchant: &Value) -> Value {
    json!({
        "id": "cart-1", "status": "ready_for_complete", "currency": "USD", "links": [], "merchant": merchant,
        "line_items": [{ "id": "line-1", "quantity": 1, "item": { "id": "report", "title": "Report", "price": cents },
            "totals": [{ "type": "total", "amount": cents }] }],
        "totals": [{ "type": "total", "amount": cents }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_counts_when_its_merchant_signed_exactly_it() {
    let shop = Shop::open().await;
    let required = shop.met("/paid/report").await;
    let mut demanding = intent();
    demanding["cart"] = "required".into();
    let mandate = shop.mandate(demanding).await;
    assert_eq!(code(shop.pay(&mandate, &required, &new_key()).await), "cart_required");
    let sign = async |token: &str, checkout: Value| {
        shop.call(Method::POST, "/v1/mandates/carts", token, Some(json!({ "checkout": checkout }))).await
    };
    let own = json!({ "id": SHOP, "name": "Demo Shop", "website": shop.service.url() });
    assert_eq!(refused(sign(&shop.agent, checkout(1, &own)).await).0, 403, "an agent signs no carts");
    let posing = json!({ "id": "bank", "name": "Bank" });
    assert_eq!(refused(sign(&shop.merchant, checkout(1, &posing)).await).0, 400, "a merchant signs for itself");
    let pay = async |jwt: &str| shop.pay_as(&shop.agent, &mandate, &required, &new_key(), json!({ "cart": jwt })).await;
    let dear = sign(&shop.merchant, checkout(2, &own)).await.unwrap();
    let (status, mismatch, detail) = refused(pay(text(&dear, "checkout_jwt")).await);
    assert_eq!(status, 422, "the cart's total is not the price: {mismatch} {detail}");
    let cart = sign(&shop.merchant, checkout(1, &own)).await.unwrap();
    let jwt = text(&cart, "checkout_jwt");
    for at in [5, jwt.len() / 2, jwt.len() - 5] {
        let mut altered = jwt.to_owned().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let status = refused(pay(&String::from_utf8(altered).unwrap()).await).0;
        assert!((400..500).contains(&status), "byte {at} altered");
    }
    pay(jwt).await.expect("the cart as it was signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_paid_is_who_is_on_record() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let mut swapped = shop.offer("/paid/report", 10_000);
    swapped.accepts[0].pay_to = "0x90F79bf6EB2c4f870365E785982E1f101E93b906".into();
    assert_eq!(code(shop.pay(&mandate, &swapped, &new_key()).await), "payee_mismatch");
    let mut elsewhere = intent();
    elsewhere["payees"] = json!([{ "id": "another", "name": "Another" }]);
    let elsewhere = shop.mandate(elsewhere).await;
    assert_eq!(code(shop.pay(&elsewhere, &shop.offer("/x", 10_000), &new_key()).await), "payee_not_allowed");
    // A host that nobody knows is pinned by its first payment.
    let mut unknown = shop.offer("/x", 10_000);
    unknown.resource.url = "http://unknown.example/x".into();
    unknown.accepts[0].pay_to = "0x90F79bf6EB2c4f870365E785982E1f101E93b906".into();
    shop.pay(&mandate, &unknown, &new_key()).await.expect("first contact, under a mandate for anyone");
    unknown.resource.url = "http://unknown.example/y".into();
    unknown.accepts[0].pay_to = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".into();
    assert_eq!(code(shop.pay(&mandate, &unknown, &new_key()).await), "payee_changed");
    // The 402 names another origin than the one that the agent met it at.
    let met = json!({ "url": "http://other.example/x" });
    let offer = shop.offer("/x2", 10_000);
    let crossed = shop.pay_as(&shop.agent, &mandate, &offer, &new_key(), met).await;
    assert_eq!(code(crossed), "payee_mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_outside_the_trusted_table_is_not_signed() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let good = shop.offer("/paid/report", 10_000);
    let mut offers = Vec::new();
    for (field, value) in [
        ("scheme", "upto"),
        ("network", "eip155:1"),
        ("network", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
        ("asset", "0x0000000000000000000000000000000000000001"),
        ("amount", "0"),
        ("amount", "-1"),
        ("amount", "0x10"),
        ("amount", "1e4"),
        ("amount", " 10000"),
        ("amount", "010000"),
        ("amount", &"9".repeat(90)),
        ("payTo", "merchant"),
    ] {
        let mut offer = serde_json::to_value(&good).unwrap();
        offer["accepts"][0][field] = value.into();
        offers.push(offer);
    }
    for extra in [json!({}), json!({ "name": "USD Coin", "version": "1" }), json!({ "name": "USDC", "version": "2" })] {
        let mut offer = serde_json::to_value(&good).unwrap();
        offer["accepts"][0]["extra"] = extra;
        offers.push(offer);
    }
    let mut long = serde_json::to_value(&good).unwrap();
    long["accepts"][0]["maxTimeoutSeconds"] = 315_360_000.into();
    offers.push(long);
    for offer in offers {
        let body = json!({ "mandate": mandate, "payment_required": offer });
        let key = new_key();
        let result = shop.client.call(Method::POST, "/v1/payments", &shop.agent, Some(&key), Some(body)).await;
        let (status, code, detail) = refused(result);
        assert!((400..500).contains(&status) && !code.is_empty(), "{status} {code} {detail}: {offer}");
    }
    assert_eq!(shop.figures(&mandate).await["payments"]["used"], 0, "and nothing is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_chain_is_never_valid() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let figures = shop.call(Method::GET, &format!("/v1/mandates/{mandate}"), &shop.agent, None).await.unwrap();
    let token = text(&figures, "payment").to_owned();
    let verify = async |presented: &str| {
        shop.call(Method::POST, "/v1/mandates/verify", &shop.user, Some(json!({ "presented": presented })))
            .await
            .unwrap()
    };
    let good = verify(&token).await;
    assert_eq!((good["valid"].clone(), text(&good, "strength")), (json!(true), "on_its_own"));
    for at in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let verdict = verify(&String::from_utf8(bytes).unwrap()).await;
        assert_eq!(verdict["valid"], false, "byte {at} changed and it is still valid: {verdict}");
        assert!(verdict["code"].is_string() && verdict["error"].is_string());
    }
    assert_eq!((USER, MERCHANT), ("user", "merchant"));
}
