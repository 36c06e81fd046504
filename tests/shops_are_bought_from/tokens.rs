//! UCP with the vault: a card is left for a checkout (`/tokenize`), and the checkout is completed by its token, under a mandate
//! and within its budget.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::checkout::{Answer, Platform, ucp_items, validated};
use crate::harness::closing::figures;
use crate::harness::shop::{intent, new_key};
use crate::harness::text;
use crate::harness::vault::{self, PAN, merge, post};

const HANDLER: &str = "dev.purser.tokenized_card";

/// So many gift cards, by a platform that knows nothing of AP2.
pub(super) async fn cart(platform: &Platform, quantity: u64) -> Value {
    let items = ucp_items("gift_card", quantity);
    let opened = platform.ucp_as(&platform.plain, Method::POST, "", &new_key(), Some(&items)).await;
    assert_eq!((opened.status, text(&opened.body, "status")), (201, "ready_for_complete"), "{}", opened.body);
    opened.body
}

/// What an agent asks for where the session's handler says to ask.
fn asks(session: &Value, mandate: &str, differing: Value) -> Value {
    let handler = &session["ucp"]["payment_handlers"][HANDLER][0];
    let mut body = json!({
        "credential": { "type": "card", "card_number_type": "fpan", "number": PAN, "expiry_month": 11,
            "expiry_year": 2030, "cvc": "223", "name": "Jane Doe" },
        "binding": { "checkout_id": session["id"], "identity": { "access_token": handler["config"]["merchant_id"] } },
        "mandate": mandate,
    });
    merge(&mut body, &differing);
    body
}

async fn tokenize(platform: &Platform, session: &Value, mandate: &str, differing: Value) -> vault::Answer {
    let handler = &session["ucp"]["payment_handlers"][HANDLER][0];
    let body = asks(session, mandate, differing).to_string().into_bytes();
    post(text(&handler["config"], "tokenize_url"), &platform.shop.agent, &[], body).await
}

pub(super) async fn token(platform: &Platform, session: &Value, mandate: &str, differing: Value) -> String {
    let given = tokenize(platform, session, mandate, differing).await;
    assert_eq!(given.status, 200, "{given:?}");
    text(&given.body, "token").to_owned()
}

pub(super) async fn complete(platform: &Platform, session: &Value, token: &str, key: &str) -> Answer {
    let id = &session["ucp"]["payment_handlers"][HANDLER][0]["id"];
    let instrument = json!({ "id": "i-1", "handler_id": id, "type": "card", "selected": true,
        "credential": { "type": "token", "token": token }, "display": { "brand": "visa", "last_digits": "4242" } });
    let body = json!({ "payment": { "instruments": [instrument] } });
    let path = format!("/{}/complete", text(session, "id"));
    platform.ucp_as(&platform.plain, Method::POST, &path, key, Some(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ucp_checkout_is_completed_by_its_own_token_and_by_no_other() {
    let platform = Platform::open().await;
    let mandate = platform.shop.mandate(intent()).await;
    let bought = cart(&platform, 1).await;
    let profile = platform.send(Method::GET, "/.well-known/ucp", &[], None).await.body;
    assert_eq!(profile["ucp"]["payment_handlers"][HANDLER], bought["ucp"]["payment_handlers"][HANDLER]);

    // For another checkout, for too little, of a card that is declined, of nobody's: not paid, and open as before.
    let other = cart(&platform, 1).await;
    let elsewhere = token(&platform, &other, &mandate, json!({})).await;
    let most = json!({ "allowance": { "max_amount": 99, "currency": "USD" } });
    let scant = token(&platform, &bought, &mandate, most).await;
    let cards = purser::acquirer::simulator::cards();
    let declined = json!({ "credential": { "number": text(&cards, "declined") } });
    let declined = token(&platform, &bought, &mandate, declined).await;
    for wrong in [elsewhere.as_str(), scant.as_str(), declined.as_str(), "vt_none", "", "success_token"] {
        let answer = complete(&platform, &bought, wrong, &new_key()).await;
        assert_eq!((answer.status, answer.code()), (402, "payment_declined"), "{wrong}: {}", answer.body);
        assert_eq!(text(&answer.body, "status"), "ready_for_complete", "{wrong}: {}", answer.body);
    }
    assert_eq!(figures(&platform.shop, &mandate).await, ("2.99".into(), "0.00".into()));

    // The total of the checkout is what is held where nobody says how much. The same request is the same token.
    let good = tokenize(&platform, &bought, &mandate, json!({})).await;
    assert_eq!((good.status, figures(&platform.shop, &mandate).await), (200, ("3.99".into(), "0.00".into())));
    let again = tokenize(&platform, &bought, &mandate, json!({})).await;
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&good.body, Some("true")));
    assert_eq!(figures(&platform.shop, &mandate).await, ("3.99".into(), "0.00".into()));
    let (token, key) = (text(&good.body, "token"), new_key());
    let done = complete(&platform, &bought, token, &key).await;
    assert_eq!((done.status, text(&done.body, "status")), (200, "completed"), "{}", done.body);
    assert!(done.body["order"]["id"].is_string());
    assert_eq!(figures(&platform.shop, &mandate).await, ("2.99".into(), "1.00".into()));
    let replayed = complete(&platform, &bought, token, &key).await;
    assert_eq!((&replayed.body, replayed.header("idempotent-replayed")), (&done.body, Some("true")));
    // What paid pays for nothing else, and the other one's own token still does.
    assert_eq!(complete(&platform, &other, token, &new_key()).await.code(), "payment_declined");
    let second = complete(&platform, &other, &elsewhere, &new_key()).await;
    assert_eq!(text(&second.body, "status"), "completed", "{}", second.body);
    assert_eq!(figures(&platform.shop, &mandate).await, ("1.99".into(), "2.00".into()));

    // What was answered is what the schemas say.
    let schema = "schemas/shopping/checkout.json".to_owned();
    let cases = [(schema.clone(), &bought), (schema, &done.body)];
    assert_eq!(validated("ucp/2026-04-08", &cases), [Vec::<String>::new(), Vec::new()]);
    platform.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_given_beyond_a_mandate_or_for_a_checkout_that_nobody_knows() {
    let platform = Platform::open().await;
    let mandate = platform.shop.mandate(intent()).await;
    // 3.00 a payment, 5.00 in all.
    let (dear, cheap) = (cart(&platform, 4).await, cart(&platform, 1).await);
    let nobody = json!({ "binding": { "checkout_id": "chk_0" } });
    let other = json!({ "binding": { "identity": { "access_token": "acme" } } });
    let unbound = json!({ "binding": { "identity": "-" } });
    let unknown = json!({ "binding": { "identity": { "access_token": "nobody" } } });
    let euro = json!({ "allowance": { "max_amount": 100, "currency": "EUR" } });
    let whole = json!({ "allowance": { "max_amount": 301, "currency": "USD" } });
    for (session, differing, status, code) in [
        (&dear, json!({}), 422, ""),
        (&cheap, whole, 422, ""),
        (&cheap, nobody, 422, "allowance_missing"),
        (&cheap, other, 422, "allowance_missing"),
        (&cheap, unbound, 422, "binding_identity_missing"),
        (&cheap, unknown, 422, "merchant_unknown"),
        (&cheap, euro, 422, "asset_mismatch"),
        (&cheap, json!({ "mandate": "-" }), 422, "mandate_missing"),
        (&cheap, json!({ "mandate": "00" }), 404, ""),
        (&cheap, json!({ "credential": { "number": "4242424242424241" } }), 422, "invalid_card"),
        (&cheap, json!({ "binding": { "checkout_id": PAN } }), 422, "card_number_misplaced"),
        (&cheap, json!({ "limit": 1 }), 400, "invalid_request"),
    ] {
        let refused = tokenize(&platform, session, &mandate, differing.clone()).await;
        assert_eq!(refused.status, status, "{differing}: {refused:?}");
        assert!(code.is_empty() || refused.code() == code, "{differing}: {refused:?}");
        assert!(!refused.body.to_string().contains(PAN), "{refused:?}");
    }
    let body = asks(&cheap, &mandate, json!({})).to_string().into_bytes();
    let url = platform.shop.url("/tokenize");
    for (token, status) in [(platform.shop.merchant.as_str(), 403), (platform.shop.user.as_str(), 403), ("", 401)] {
        assert_eq!(post(&url, token, &[], body.clone()).await.status, status);
    }
    let named = [("Idempotency-Key", PAN)];
    assert_eq!(post(&url, &platform.shop.agent, &named, body).await.code(), "card_number_misplaced");
    assert_eq!(figures(&platform.shop, &mandate).await, ("0.00".into(), "0.00".into()), "nothing was held");

    // A checkout that grew after its card was left is not paid by it.
    let token = token(&platform, &cheap, &mandate, json!({})).await;
    let path = format!("/{}", text(&cheap, "id"));
    let two = ucp_items("gift_card", 2);
    platform.ucp_as(&platform.plain, Method::PUT, &path, &new_key(), Some(&two)).await;
    let grown = complete(&platform, &cheap, &token, &new_key()).await;
    assert_eq!(grown.said(), (402, "payment_declined"), "{}", grown.body);
    assert_eq!(figures(&platform.shop, &mandate).await, ("1.00".into(), "0.00".into()));
    platform.shop.service.stop().await;
}
