//! Promise 6, for verifiers elsewhere: what a person stopped is seen to be stopped, at once, by whoever has a mandate and
//! the issuer's keys.

use mandates::clock::Clock;
use mandates::keys::KeySet;
use mandates::status::{Place, Status, look, places};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::harness::shop::{Shop, intent, refused};
use crate::harness::text;

async fn place(shop: &Shop, mandate: &str) -> Place {
    let figures = shop.figures(mandate).await;
    let named = places(text(&figures, "payment")).expect("a chain");
    assert_eq!(named, places(text(&figures, "checkout")).expect("a chain"), "both halves of one root");
    let [place] = named.as_slice() else { panic!("one place: {named:?}") };
    place.clone()
}

/// What anyone sees who has nothing but the place and the published keys.
async fn seen(shop: &Shop, place: &Place) -> Status {
    let answer = reqwest::get(&place.uri).await.unwrap();
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/statuslist+jwt");
    let token = answer.text().await.unwrap();
    let jwks = shop.client.fetch("GET", &shop.url("/.well-known/jwks.json"), None).await.unwrap();
    let jwks: Value = serde_json::from_slice(&jwks.body).unwrap();
    let keys = KeySet::from_jwks(jwks.as_object().unwrap()).unwrap();
    let now_seconds = shop.service.engine().clock.now().seconds();
    let clock = |now_seconds| Clock { now_seconds, skew_seconds: 0 };
    assert!(look(&token, place, &keys, clock(now_seconds + 61)).is_err(), "no list is good for long");
    look(&token, place, &keys, clock(now_seconds)).expect("a list that can be relied upon")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_published_when_it_returns() {
    let shop = Shop::open().await;
    let (one, two) = (shop.mandate(intent()).await, shop.mandate(intent()).await);
    let (first, second) = (place(&shop, &one).await, place(&shop, &two).await);
    assert_eq!(first.uri, second.uri, "of one herd");
    assert!(first.index.abs_diff(second.index) > 0);
    let change = async |mandate: &str, to: &str| {
        shop.call(Method::POST, &format!("/v1/mandates/{mandate}/{to}"), &shop.user, None).await.expect(to);
    };
    assert_eq!((seen(&shop, &first).await, seen(&shop, &second).await), (Status::Valid, Status::Valid));
    for (to, expected) in [
        ("suspend", Status::Suspended),
        ("resume", Status::Valid),
        ("suspend", Status::Suspended),
        ("revoke", Status::Invalid),
    ] {
        change(&one, to).await;
        assert_eq!(seen(&shop, &first).await, expected, "{to}");
        assert_eq!(seen(&shop, &second).await, Status::Valid, "the other one stands");
    }
    // Our own verifier looks, too, and needs no network for it.
    let stopped = shop.mandate(intent()).await;
    let claims = shop.call(Method::GET, &format!("/v1/mandates/{stopped}"), &shop.agent, None).await.unwrap();
    let body = json!({ "presented": text(&claims, "payment") });
    for (to, code) in [("suspend", "credential_suspended"), ("revoke", "credential_revoked")] {
        change(&stopped, to).await;
        let verdict = shop.call(Method::POST, "/v1/mandates/verify", &shop.user, Some(body.clone())).await.unwrap();
        assert_eq!((verdict["valid"].clone(), verdict["code"].clone()), (json!(false), json!(code)));
    }
    let claims = shop.call(Method::GET, &format!("/v1/mandates/{two}"), &shop.agent, None).await.unwrap();
    let body = json!({ "presented": text(&claims, "payment") });
    let verdict = shop.call(Method::POST, "/v1/mandates/verify", &shop.user, Some(body)).await.unwrap();
    assert_eq!(verdict["valid"], true);
    let presets = &verdict["facts"]["open"][0]["claims"];
    assert_eq!(presets["status"], Value::Null, "nothing that a closed mandate would have to repeat: {presets}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_other_lists() {
    let shop = Shop::open().await;
    for name in ["0", "1", "home", &"0".repeat(32), "..%2f", "x".repeat(2_000).as_str()] {
        let (status, code, _) = refused(shop.call(Method::GET, &format!("/status/{name}"), &shop.user, None).await);
        assert_eq!((status, code.as_str()), (404, "not_found"), "{name}");
    }
}
