//! Whoever sends nonsense under somebody else's key, nonce or proof must not use it up: a claim is taken only when all of
//! a request was found to be true.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::dpop::{Request, With, prove};
use identity::token::sign;
use ledger::id::CallerKind;
use mandates::keys::LocalKey;
use purser::config::BearerConfig;
use purser::dev::DevOptions;
use purser::world::{AGENT, BYSTANDER, HOME};
use reqwest::Method;
use serde_json::{Value, json};

use super::{figures, problem, used, verify_books};
use crate::harness::rpc_proxy::Fault;
use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;
use crate::harness::world::World;

/// Everything that is wrong in a request but its idempotency key, by the agent itself and by others; then the request.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_burns_no_key_and_no_nonce() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let good = shop.met("/paid/report").await;
    let raw = async |token: &str, body: Value| {
        shop.client.call(Method::POST, "/v1/payments", token, Some("honest"), Some(body)).await
    };
    let stranger = shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let body = json!({ "mandate": mandate, "payment_required": good });
    for (token, status) in [("nonsense", 401), (&stranger, 404), (&shop.user, 403), (&shop.merchant, 403)] {
        assert_eq!(refused(raw(token, body.clone()).await).0, status, "{token}");
    }
    let mut swapped = good.clone();
    swapped.accepts[0].pay_to = "0x90F79bf6EB2c4f870365E785982E1f101E93b906".into();
    let mut dear = good.clone();
    dear.accepts[0].amount = "99999999999999999999".into();
    let mut signed_by_nobody = body.clone();
    signed_by_nobody["cart"] = "e30.e30.AAAA".into();
    for wrong in [
        json!({}),
        json!({ "mandate": "00", "payment_required": good }),
        json!({ "mandate": "00".repeat(32), "payment_required": good }),
        json!({ "mandate": mandate, "payment_required": swapped }),
        json!({ "mandate": mandate, "payment_required": dear }),
        json!({ "mandate": mandate, "payment_required": { "x402Version": 1 } }),
        json!({ "mandate": mandate, "payment_required": good, "url": "http://elsewhere.example/" }),
        json!({ "mandate": mandate, "payment_required": good, "again_after": "11".repeat(32) }),
        signed_by_nobody,
    ] {
        let (status, code, detail) = refused(raw(&shop.agent, wrong.clone()).await);
        assert!((400..500).contains(&status) && !code.is_empty(), "{wrong}: {status} {code} {detail}");
        assert_ne!(code, "idempotency_key_reused", "{wrong}");
    }
    let shown = shop.figures(&mandate).await;
    assert_eq!((text(&shown["held"], "units"), shown["payments"]["used"].as_u64()), ("0", Some(0)));
    let payment = raw(&shop.agent, body).await.expect("the honest request under its key");

    // The authorization's nonce, at the shop and at the facilitator: with a signature that is not the payer's, first.
    let signature = text(&payment, "payment_signature");
    let payload: Value = serde_json::from_slice(&STANDARD.decode(signature).unwrap()).unwrap();
    let forged = |member: &str, value: Value| {
        let mut forged = payload.clone();
        match member {
            "signature" => forged["payload"]["signature"] = value,
            member => forged["payload"]["authorization"][member] = value,
        }
        forged
    };
    let authorized = text(&payload["payload"], "signature");
    for forged in [
        forged("signature", format!("0x{}", "11".repeat(65)).into()),
        forged("signature", authorized.replace("0x", "0x00").into()),
        forged("value", "9999".into()),
        forged("to", "0x90F79bf6EB2c4f870365E785982E1f101E93b906".into()),
        forged("validBefore", "9999999999".into()),
    ] {
        let fetched = shop.fetch("/paid/report", Some(&STANDARD.encode(forged.to_string()))).await;
        assert!(matches!(fetched.status.as_u16(), 400 | 402), "{}: {forged}", fetched.status);
        let body = json!({ "x402Version": 2, "paymentPayload": forged, "paymentRequirements": good.accepts[0] });
        let settled = reqwest::Client::new().post(shop.url("/settle")).json(&body).send().await.unwrap();
        let settled: Value = settled.json().await.unwrap();
        assert_ne!(settled["success"], true, "{settled}");
    }
    assert!(shop.transfers(&shop.wallet(), &format!("{:#x}", purser::world::shop_address())).is_empty());
    let fetched = shop.fetch("/paid/report", Some(signature)).await;
    let said = String::from_utf8_lossy(&fetched.body).into_owned();
    assert_eq!(fetched.status.as_u16(), 200, "the honest payment under its nonce: {said}");
    let outcome = format!("/v1/payments/{}/outcome", text(&payment, "id"));
    let settled = shop.call(Method::POST, &outcome, &shop.agent, Some(json!({}))).await.unwrap();
    assert_eq!(text(&settled, "state"), "settled");
    assert_eq!(shop.figures(&mandate).await["payments"]["used"], 1);
}

fn now() -> i64 {
    store::wall_clock()().seconds()
}

/// A proof or an assertion that came with something wrong is still good for the request that it was made for.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_proof_burns_no_proof() {
    let shop = Shop::open_with(DevOptions { bearer: Some(BearerConfig::Reading), ..DevOptions::default() }).await;
    let (key, thief) = (shop.service.client_key(AGENT).unwrap(), LocalKey::from_random(&[9; 32]).unwrap());
    let endpoint = shop.url("/oauth/token");
    let grant = async |assertion: &str, proof: &str| {
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let form = format!("grant_type=client_credentials&client_assertion={assertion}&client_assertion_type={kind}");
        let request = reqwest::Client::new().post(&endpoint).header("dpop", proof).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let header = json!({ "alg": "ES256", "typ": "JWT" });
    let claims = |id: &str| json!({ "iss": "home:shopper", "sub": "home:shopper", "aud": endpoint, "exp": now() + 60, "jti": id });
    let assertion = |id: &str| sign(&key, &header, &claims(id)).unwrap();
    let here = |method| Request { method, address: &endpoint, now: now() };
    let proof = |method, id: &str| prove(&key, here(method), With::NoToken, id).unwrap();

    // The assertion, of which an attacker knows the id, and which comes with a proof that is none.
    let forged = sign(&thief, &header, &claims("a-1")).unwrap();
    assert_eq!(grant(&forged, &proof("POST", "p-1")).await.0, 401);
    let honest = assertion("a-1");
    for wrong in [
        "x",
        &proof("GET", "p-2"),
        &prove(&key, Request { now: now() - 600, ..here("POST") }, With::NoToken, "p-3").unwrap(),
    ] {
        assert_eq!(grant(&honest, wrong).await.0, 400, "{wrong}");
    }
    let (status, granted) = grant(&honest, &proof("POST", "p-1")).await;
    assert_eq!(status, 200, "neither assertion nor proof was used up: {granted}");
    assert_eq!(grant(&honest, &proof("POST", "p-4")).await.0, 401, "now it was");
    assert_eq!(grant(&assertion("a-2"), &proof("POST", "p-1")).await.0, 400, "and the proof");

    // The proof of a call.
    let token = text(&granted, "access_token");
    let path = shop.url("/v1/mandates/intents");
    let call = async |path: &str, token: &str, proof: &str| {
        let request = reqwest::Client::new().post(path).header("authorization", format!("DPoP {token}"));
        let response = request.header("dpop", proof).json(&intent()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap()["code"].as_str().unwrap_or_default().to_owned())
    };
    let asking = Request { method: "POST", address: &path, now: now() };
    let honest = prove(&key, asking, With::Token(token), "call-1").unwrap();
    let stolen = prove(&thief, asking, With::Token(token), "call-1").unwrap();
    let (head, _) = honest.rsplit_once('.').unwrap();
    let other = shop.service.token(HOME, AGENT, CallerKind::Agent).unwrap();
    for (path, token, proof, code) in [
        (&*path, token, &*stolen, "dpop_proof_key"),
        (&path, token, &stolen, "dpop_proof_key"),
        (&path, token, &format!("{head}.{}", "A".repeat(86)), "dpop_proof_signature"),
        (&shop.url("/v1/payments"), token, &honest, "dpop_proof_address"),
        (&path, "nonsense", &honest, "token_invalid"),
        (&path, &other, &honest, "dpop_proof_key"),
    ] {
        assert_eq!(call(path, token, proof).await, (401, code.to_owned()));
    }
    assert_eq!(call(&path, token, &honest).await.0, 202, "the honest call with its proof");
    assert_eq!(call(&path, token, &honest).await, (401, "dpop_proof_replayed".to_owned()));
}

/// What fails for want of a node claims nothing: the same key goes on when the node is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_burns_no_key() {
    let world = World::start_with(60).await;
    let mandate = world.mandate_with(json!({ "total": "0.01", "per_payment": "0.01", "payments": 1 })).await;
    let body = json!({ "mandate": mandate, "payment_required": world.offer("thing").await });
    for fault in [Fault::Broken, Fault::Busy, Fault::Garbage] {
        world.proxy.suffer(Some(fault));
        let (status, told) = problem(&world, &world.agent, &new_key(), &body).await;
        assert_eq!((status, &told["retryable"]), (503, &json!(true)), "{fault:?}: {told}");
        let (status, told) = problem(&world, &world.agent, "kept", &body).await;
        assert_eq!((status, &told["retryable"]), (503, &json!(true)), "{fault:?}: {told}");
        assert_eq!(used(&figures(&world, &mandate).await), ("0", "0", 0), "{fault:?}");
    }
    world.proxy.suffer(None);
    let paid = super::pay(&world.client, &world.agent, &mandate, &body["payment_required"], "kept").await;
    assert_eq!(text(&paid.expect("the key was not used up"), "state"), "committed");
    let again = super::pay(&world.client, &world.agent, &mandate, &world.offer("other").await, "second").await;
    assert_eq!(code(again), "occurrences_exhausted");
    verify_books(&world);
}
