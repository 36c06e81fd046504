//! Whoever got a message from elsewhere asks whether it is signed by whom it says, by the rules of a protocol.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandates::keys::LocalKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::root;
use crate::harness::shop::Shop;
use crate::harness::text;

/// A visit of an agent that says that it pays, good for so many seconds.
fn visit(shop: &Shop, nonce: &str, seconds: i64) -> Value {
    let key = LocalKey::from_random(&[9; 32]).unwrap();
    let now = shop.service.engine().clock.now().seconds();
    let input = format!(
        "(\"@authority\" \"@path\");created={now};expires={};keyid=\"agent-1\";alg=\"ecdsa-p256-sha256\";\
         nonce=\"{nonce}\";tag=\"agent-payer-auth\"",
        now + seconds
    );
    let base = format!("\"@authority\": shop.example\n\"@path\": /cart\n\"@signature-params\": {input}");
    let signature = STANDARD.encode(key.sign(base.as_bytes()).unwrap());
    let mut jwk = key.public().to_jwk();
    jwk.insert("kid".into(), "agent-1".into());
    json!({ "profile": "trusted_agent", "method": "GET", "url": "https://shop.example/cart?a=b", "keys": [jwk],
        "headers": [{ "name": "Signature-Input", "value": format!("sig2={input}") },
            { "name": "Signature", "value": format!("sig2=:{signature}:") }] })
}

async fn verdict(shop: &Shop, message: &Value) -> Value {
    let path = "/v1/signatures/verify";
    shop.call(Method::POST, path, &shop.merchant, Some(message.clone())).await.expect("a verdict")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_from_elsewhere_is_held_to_the_rules_that_are_named() {
    let shop = Shop::open().await;
    let changed = |nonce: &str, change: &dyn Fn(&mut Value)| {
        let mut message = visit(&shop, nonce, 300);
        change(&mut message);
        message
    };
    for (message, code) in [
        (visit(&shop, "n", 481), "signature_lifetime"),
        (visit(&shop, "n", 0), "signature_expired"),
        (changed("n", &|it| it["url"] = "https://other.example/cart".into()), "signature_invalid"),
        (changed("n", &|it| it["url"] = "https://shop.example/pay".into()), "signature_invalid"),
        (changed("n", &|it| it["keys"] = json!([])), "key_not_found"),
        (changed("n", &|it| it["headers"] = json!([])), "signature_missing"),
        (changed("n", &|it| it["profile"] = "web_bot_auth".into()), "signature_missing"),
        (changed("n", &|it| it["profile"] = "ucp_request".into()), "signature_uncovered"),
    ] {
        let said = verdict(&shop, &message).await;
        assert_eq!((&said["valid"], text(&said, "code")), (&json!(false), code), "{said}");
    }
    // What does not hold used no nonce up; what holds did, for every merchant of the tenant.
    let good = visit(&shop, "n", 300);
    let said = verdict(&shop, &good).await;
    assert_eq!((&said["valid"], text(&said, "tag"), text(&said, "nonce")), (&json!(true), "agent-payer-auth", "n"));
    for again in [good, visit(&shop, "n", 200)] {
        assert_eq!(text(&verdict(&shop, &again).await, "code"), "signature_replayed");
    }
    assert_eq!(verdict(&shop, &visit(&shop, "n-2", 480)).await["valid"], true);

    // What is no message is refused, with what was expected.
    for (change, expected) in [
        (json!({ "profile": "none" }), "one of ucp_request"),
        (json!({ "url": "shop.example" }), "an address of http"),
        (json!({ "body": "=" }), "base64url without padding"),
        (json!({ "status": 200 }), "method and url of a request"),
        (json!({ "method": null }), "method and url of a request"),
    ] {
        let message = changed("n-3", &|it| it.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
        let refused = shop.call(Method::POST, "/v1/signatures/verify", &shop.merchant, Some(message)).await;
        let problem = format!("{:?}", refused.expect_err(expected));
        assert!(problem.contains(expected) && problem.contains("400"), "{problem}");
    }
    shop.service.stop().await;
}

/// The draft's own vectors are good for a hundred years, which nobody here believes; an answer of RFC 9421 is none of UCP's.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_others_are_read_and_held_to_our_bounds() {
    let shop = Shop::open().await;
    let vectors = std::fs::read_to_string(root().join("fixtures/signatures/vectors.json")).unwrap();
    let vectors: Value = serde_json::from_str(&vectors).unwrap();
    for vector in vectors.as_array().unwrap().iter().filter(|vector| vector["profile"] == "web_bot_auth") {
        let headers: Vec<Value> = vector["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| json!({ "name": pair[0], "value": pair[1] }))
            .collect();
        let message = json!({ "profile": "web_bot_auth", "method": "GET", "url": "https://example.com/path/to/resource",
            "headers": headers, "keys": vector["keys"] });
        assert_eq!(text(&verdict(&shop, &message).await, "code"), "signature_lifetime");
    }
    shop.service.stop().await;
}
