//! What a stop leaves of the tokens that were got before it: nothing.

use identity::dpop::{Request, With, prove};
use purser::credential::Credential;
use purser::world::{AGENT, USER};
use reqwest::Method;
use serde_json::{Value, json};

use super::{credential, now, send, strict, token};
use crate::harness::shop::new_key;
use crate::harness::text;

/// A stop ends the tokens that an agent has, lifted or not; whoever still has the key gets another.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_before_a_stop_is_worth_nothing_after_its_lift() {
    let shop = strict().await;
    let (old, key) = token(&shop).await;
    // Whoever is let in hears that it is not there.
    let path = format!("/v1/approvals/{}", "00".repeat(32));
    let let_in = (404, "not_found");
    let looks = async |token: &str| {
        let address = shop.url(&path);
        let request = Request { method: "GET", address: &address, now: now() };
        let proof = prove(&key, request, With::Token(token), &new_key()).unwrap();
        let request = reqwest::Client::new().get(&address).header("authorization", format!("DPoP {token}"));
        send(request.header("dpop", proof)).await
    };
    assert_eq!(looks(&old).await.code(), let_in);
    let (user, agent) = (credential(&shop, USER), credential(&shop, AGENT));
    let call = async |who: &Credential, method: Method, path: &str, body: Option<Value>| {
        shop.client.call_as(who, method, path, None, body).await
    };
    assert_eq!(call(&agent, Method::GET, &path, None).await.unwrap_err().code(), Some("not_found"), "it has a token");
    let stop = json!({ "scope": format!("agent/{AGENT}") });
    let stop = call(&user, Method::POST, "/v1/kill", Some(stop)).await.expect("its sponsor stops it");
    assert_eq!(looks(&old).await.code(), (422, "stopped"));
    let during = token(&shop).await.0;
    call(&user, Method::DELETE, &format!("/v1/kill/{}", text(&stop, "id")), None).await.expect("lifted");
    let lifted_at = now();
    for ended in [&old, &during] {
        let answer = looks(ended).await;
        assert_eq!(answer.code(), (401, "token_ended"));
        assert!(answer.challenge.is_some_and(|challenge| challenge.contains("invalid_token")));
    }
    let read = send(reqwest::Client::new().get(shop.url(&path)).bearer_auth(&shop.agent)).await;
    assert_eq!(read.code(), (401, "token_ended"), "a bare one as well");
    call(&user, Method::GET, "/v1/approvals", None).await.expect("nobody else's");
    while now() <= lifted_at {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(looks(&old).await.code(), (401, "token_ended"), "later, too");
    assert_eq!(looks(&token(&shop).await.0).await.code(), let_in, "the key was not taken away");
    for expected in ["token_ended", "not_found"] {
        let found = call(&agent, Method::GET, &path, None).await.unwrap_err();
        assert_eq!(found.code(), Some(expected), "our own client asks for another");
    }
}
