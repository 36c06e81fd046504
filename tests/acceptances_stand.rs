//! Promise 3 where a mandate was closed for us: what was accepted is answered so for ever, and nothing that we sign
//! contradicts it.

use mandates::keys::LocalKey;
use mandates::mandate::Family;
use purser::client::ClientError;
use purser::world::SHOP;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::closing::{answered, asked, cart, close, figures, flip};
use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;

/// A closed pair for the shop, under nonces `p` and `c`, and what verifies it.
struct Presented {
    shop: Shop,
    mandate: String,
    closed: Value,
    jwt: String,
}

impl Presented {
    async fn new() -> Self {
        let shop = Shop::open().await;
        let mandate = shop.mandate(intent()).await;
        let jwt = cart(&shop, 120, json!({})).await;
        let more = json!({ "audience": SHOP, "nonce": "p", "checkout": { "audience": SHOP, "nonce": "c" } });
        let closed = close(&shop, &new_key(), asked(&mandate, &jwt, more)).await.expect("closed");
        Self { shop, mandate, closed, jwt }
    }

    fn chain(&self, family: Family) -> &str {
        text(&self.closed, if family == Family::Payment { "payment_mandate" } else { "checkout_mandate" })
    }

    /// What is asked about one of the two, with members that differ.
    fn body(&self, family: Family, differing: Value) -> Value {
        let nonce = if family == Family::Payment { "p" } else { "c" };
        let key = self.shop.service.merchant_key().unwrap();
        let mut body = json!({
            "presented": self.chain(family), "audience": SHOP, "nonce": nonce, "checkout_jwt": self.jwt,
            "merchant_jwks": { "keys": [key.public().to_jwk()] }, "trust": self.shop.service.roots().to_jwks(),
        });
        differing.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        body
    }

    async fn verify(&self, family: Family, differing: Value) -> Result<Value, ClientError> {
        let body = self.body(family, differing);
        self.shop.call(Method::POST, "/v1/mandates/verify", &self.shop.merchant, Some(body)).await
    }
}

fn strangers() -> Value {
    json!({ "keys": [LocalKey::from_random(&[7; 32]).unwrap().public().to_jwk()] })
}

fn order(id: &str) -> Value {
    json!({ "accept": { "order_id": id } })
}

fn and(mut one: Value, other: Value) -> Value {
    other.as_object().unwrap().iter().for_each(|(name, value)| one[name] = value.clone());
    one
}

/// A retry whose verdict would be another one by now: the roots or the merchant's keys are not known any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_never_refused_with_a_signature() {
    let presented = Presented::new().await;
    let checkout = Family::Checkout;
    let first = presented.verify(checkout, order("order-1")).await.expect("an order");
    assert_eq!(first["valid"], true, "{first}");
    let receipt = text(&first, "receipt");
    let (trust, keys) = (json!({ "trust": strangers() }), json!({ "merchant_jwks": strangers() }));
    for differing in [trust.clone(), keys.clone()] {
        // The same acceptance, word for word: the same receipt, whatever is thought of the mandate by now.
        let again = presented.verify(checkout, and(order("order-1"), differing.clone())).await.expect("an answer");
        assert_eq!(again["receipt"], receipt, "{again}");
        // Another one is a second use, not an error of the mandate.
        let second = presented.verify(checkout, and(order("order-2"), differing.clone())).await;
        assert_eq!(code(second), "mandate_consumed");
        // Looked at again without an acceptance, or spelled otherwise: refused, and nothing is signed against it.
        let flipped = json!({ "presented": flip(presented.chain(checkout)) });
        let twisted = presented.verify(checkout, and(and(order("order-1"), differing.clone()), flipped.clone())).await;
        let looked = presented.verify(checkout, differing.clone()).await;
        let other = presented.verify(checkout, and(differing, flipped)).await;
        for answer in [twisted, looked, other] {
            let answer = answer.expect("a verdict");
            assert_eq!((&answer["valid"], &answer["receipt"]), (&json!(false), &Value::Null), "{answer}");
        }
    }
    // Of the payment mandate nothing was accepted: what is wrong with it is said and signed, as ever.
    let refused = presented.verify(Family::Payment, trust).await.expect("a verdict");
    assert!(refused["valid"] == false && refused["receipt"].is_string(), "{refused}");
    let same = presented.verify(checkout, order("order-1")).await.expect("the same order");
    assert_eq!((&same["valid"], text(&same, "receipt")), (&json!(true), receipt));
}

/// What is for somebody else, or an answer to another question of ours, is not ours to answer.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_about_what_is_for_others() {
    let presented = Presented::new().await;
    for (differing, expected) in [
        (json!({ "audience": "https://another.example" }), "aud_mismatch"),
        (json!({ "audience": format!("{SHOP}/") }), "aud_mismatch"),
        (json!({ "audience": SHOP.to_uppercase() }), "aud_mismatch"),
        (json!({ "nonce": "another" }), "nonce_mismatch"),
    ] {
        for family in [Family::Payment, Family::Checkout] {
            let answer = presented.verify(family, differing.clone()).await.expect("a verdict");
            assert_eq!(text(&answer, "code"), expected, "{answer}");
            assert_eq!(answer["receipt"], Value::Null, "{answer}");
            let detail = answer.to_string();
            assert!(
                detail.contains(differing.as_object().unwrap().values().next().unwrap().as_str().unwrap()),
                "{detail}"
            );
        }
    }
    let accepted = and(order("order-1"), json!({ "nonce": "another" }));
    let answer = presented.verify(Family::Checkout, accepted).await.expect("a verdict");
    assert_eq!((text(&answer, "code"), &answer["receipt"]), ("nonce_mismatch", &Value::Null));
}

/// What we sign when we refuse a mandate neither frees nor ends what we signed that we took.
#[tokio::test(flavor = "multi_thread")]
async fn our_refusal_never_undoes_our_acceptance() {
    let presented = Presented::new().await;
    let shop = &presented.shop;
    // Signed before the acceptance, over the very same leaf.
    let refusal = presented.verify(Family::Payment, json!({ "trust": strangers() })).await.expect("a verdict");
    let refusal = text(&refusal, "receipt").to_owned();
    assert_eq!(code(answered(shop, &presented.closed, &refusal).await), "unknown_kid");
    let paid =
        json!({ "accept": { "payment_id": "p-1", "psp_confirmation_id": "s-1", "network_confirmation_id": "n-1" } });
    let taken = presented.verify(Family::Payment, paid.clone()).await.expect("the money");
    let settled = answered(shop, &presented.closed, text(&taken, "receipt")).await.expect("their receipt");
    assert_eq!(text(&settled, "state"), "settled");
    for receipt in [refusal.as_str(), "a.b.c"] {
        refused(answered(shop, &presented.closed, receipt).await);
    }
    let again = presented.verify(Family::Payment, and(paid, json!({ "trust": strangers() }))).await.expect("an answer");
    assert_eq!(again["receipt"], taken["receipt"]);
    assert_eq!(figures(shop, &presented.mandate).await, ("0.00".into(), "1.20".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_cannot_be_read_names_its_member() {
    let presented = Presented::new().await;
    for (accept, member) in [
        (json!({}), "accept.order_id"),
        (json!({ "order_id": "o", "payment_id": "p" }), "accept.payment_id"),
        (json!({ "payment_id": "p" }), "accept.psp_confirmation_id"),
        (json!({ "payment_id": "p", "psp_confirmation_id": "s" }), "accept.network_confirmation_id"),
        (json!({ "order": "o" }), "order"),
        (json!({ "order_id": 1 }), "accept.order_id"),
        (json!("order-1"), "accept"),
    ] {
        let (status, code, detail) = refused(presented.verify(Family::Checkout, json!({ "accept": accept })).await);
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{accept}: {detail}");
        assert!(detail.contains(member), "{accept}: {detail}");
    }
}
