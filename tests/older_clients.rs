//! Clients, sellers and facilitators that speak version 1 of x402: the same payments, the same claims, no second way to
//! money.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use purser::world::shop_address;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{run, stdout};
use crate::harness::shop::{Shop, intent, new_key, refused};
use crate::harness::text;

/// What the devnet is called.
const NETWORK: &str = "hardhat";

fn decoded(header: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap()
}

async fn post(shop: &Shop, path: &str, body: &Value, key: Option<&str>) -> Value {
    let mut request = reqwest::Client::new().post(shop.url(path)).json(body);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let response = request.send().await.expect("the facilitator answers");
    assert_eq!(response.status().as_u16(), 200);
    response.json().await.expect("JSON")
}

/// The body of a 402, as a client of version 1 reads it.
async fn met(shop: &Shop, path: &str) -> Value {
    let fetched = shop.fetch(path, None).await;
    assert_eq!(fetched.status.as_u16(), 402);
    let body: Value = serde_json::from_slice(&fetched.body).unwrap();
    assert_eq!((body["x402Version"].as_u64(), text(&body["accepts"][0], "network")), (Some(1), NETWORK));
    body
}

async fn pay(shop: &Shop, mandate: &str, required: &Value, key: &str) -> Result<Value, purser::client::ClientError> {
    let body = json!({ "mandate": mandate, "payment_required": required, "url": shop.url("/paid/report") });
    shop.client.call(Method::POST, "/v1/payments", &shop.agent, Some(key), Some(body)).await
}

async fn present(shop: &Shop, path: &str, name: &str, value: &str) -> reqwest::Response {
    reqwest::Client::new().get(shop.url(path)).header(name, value).send().await.expect("the shop answers")
}

fn transfers(shop: &Shop) -> usize {
    shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address())).len()
}

/// A payment of the wallet's, its terms, and both as a request of version 1 to a facilitator.
async fn request(shop: &Shop) -> (String, Value) {
    let (mandate, required) = (shop.mandate(intent()).await, met(shop, "/paid/report").await);
    let payment = pay(shop, &mandate, &required, &new_key()).await.expect("a payment");
    let header = text(&payment, "x_payment").to_owned();
    let request = json!({
        "x402Version": 1, "paymentPayload": decoded(&header), "paymentRequirements": required["accepts"][0],
    });
    (header, request)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_facilitator_refuses_in_version_one_what_it_refuses_in_version_two() {
    let shop = Shop::open().await;
    let (_, good) = request(&shop).await;
    let mismatch = "invalid_exact_evm_payload_authorization_value_mismatch";
    for (pointer, value, code) in [
        ("/x402Version", json!(3), "invalid_x402_version"),
        ("/x402Version", json!(2), "invalid_x402_version"),
        ("/paymentPayload/x402Version", json!(2), "invalid_x402_version"),
        ("/paymentPayload/payload", json!({}), "invalid_payload"),
        ("/paymentPayload/scheme", json!("upto"), "invalid_exact_evm_scheme"),
        ("/paymentPayload/network", json!("base"), "invalid_exact_evm_network_mismatch"),
        ("/paymentRequirements/network", json!("nowhere"), "invalid_exact_evm_network_mismatch"),
        ("/paymentRequirements/maxAmountRequired", json!("9999"), mismatch),
        ("/paymentRequirements/maxAmountRequired", json!("10001"), mismatch),
        ("/paymentRequirements/maxAmountRequired", json!("0"), "invalid_payment_requirements"),
        ("/paymentRequirements/payTo", json!(shop.wallet()), "invalid_exact_evm_recipient_mismatch"),
        ("/paymentRequirements/asset", json!(shop.wallet()), "invalid_exact_evm_failed_to_get_asset_info"),
        ("/paymentRequirements/extra", Value::Null, "invalid_exact_evm_missing_eip712_domain"),
        ("/paymentPayload/payload/signature", json!(format!("0x{}", "11".repeat(65))), "invalid_exact_evm_signature"),
    ] {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        let verified = post(&shop, "/verify", &wrong, None).await;
        assert_eq!((verified["isValid"].as_bool(), text(&verified, "invalidReason")), (Some(false), code), "{pointer}");
        let settled = post(&shop, "/settle", &wrong, None).await;
        assert_eq!((settled["success"].as_bool(), text(&settled, "errorReason")), (Some(false), code), "{pointer}");
    }
    assert_eq!(transfers(&shop), 0);
    let verified = post(&shop, "/verify", &good, None).await;
    assert_eq!(verified["isValid"], true, "the honest one is as good as before: {verified}");
    let supported = shop.call(Method::GET, "/supported", &shop.user, None).await.unwrap();
    let kinds: Vec<_> = supported["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| (kind["x402Version"].as_u64().unwrap(), text(kind, "scheme"), text(kind, "network")))
        .collect();
    let newer = ["exact", "upto", "batch-settlement", "auth-capture"].map(|scheme| (2, scheme, "eip155:31337"));
    let expected = [&newer[..], &[(1, "exact", NETWORK)]].concat();
    assert_eq!(kinds, expected, "version 1 knows no other scheme");
}

/// As text, with the checksum that its own software writes: whoever compares the two compares texts.
#[tokio::test(flavor = "multi_thread")]
async fn the_payer_is_named_as_they_name_themselves() {
    let shop = Shop::open().await;
    let (header, good) = request(&shop).await;
    let payer = json!(shop.service.wallet().to_string());
    assert_ne!(payer, json!(shop.wallet()), "it has letters of both cases");
    for (pointers, value) in [
        (&["/paymentPayload/scheme", "/paymentRequirements/scheme"][..], json!("zzz")),
        (&["/paymentPayload/network", "/paymentRequirements/network"], json!("nowhere")),
        (&["/paymentRequirements/asset"], json!("USDC")),
        (&["/paymentRequirements/extra"], Value::Null),
        (&["/paymentRequirements/maxAmountRequired"], json!("0")),
        (&["/paymentPayload/payload/signature"], Value::Null),
    ] {
        let mut wrong = good.clone();
        pointers.iter().for_each(|pointer| *wrong.pointer_mut(pointer).unwrap() = value.clone());
        for (path, verdict) in [("/verify", "isValid"), ("/settle", "success")] {
            let said = post(&shop, path, &wrong, None).await;
            assert_eq!((&said[verdict], &said["payer"]), (&json!(false), &payer), "{path} {pointers:?}: {said}");
        }
    }
    for _ in 0..2 {
        let sold = present(&shop, "/paid/report", "x-payment", &header).await;
        let receipt = decoded(sold.headers()["x-payment-response"].to_str().unwrap());
        assert_eq!((&receipt["success"], &receipt["payer"]), (&json!(true), &payer), "{receipt}");
    }
    for (path, verdict) in [("/verify", "isValid"), ("/settle", "success")] {
        let said = post(&shop, path, &good, None).await;
        assert_eq!((&said[verdict], &said["payer"]), (&json!(false), &payer), "{path}, used: {said}");
    }
    assert_eq!(transfers(&shop), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_says_it_is_packed_is_not_read_as_it_is() {
    let shop = Shop::open().await;
    let (_, good) = request(&shop).await;
    for (coding, status) in [("gzip", 400), ("br", 400), ("identity, gzip", 400), ("identity", 200)] {
        let request = reqwest::Client::new().post(shop.url("/verify")).header("content-encoding", coding).json(&good);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{coding}");
        let said: Value = response.json().await.unwrap();
        let names_it = said["detail"].as_str().is_some_and(|detail| detail.contains(coding));
        assert_eq!((said["isValid"] == true, names_it), (status == 200, status == 400), "{coding}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_authorization_is_settled_once_whichever_version_carries_it() {
    let shop = Shop::open().await;
    let (header, older) = request(&shop).await;
    let terms = shop.met("/paid/report").await.accepts[0].clone();
    let payload = json!({ "x402Version": 2, "accepted": terms, "payload": decoded(&header)["payload"] });
    let newer = json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": terms });
    let first = post(&shop, "/settle", &older, None).await;
    assert_eq!((first["success"].as_bool(), text(&first, "network")), (Some(true), NETWORK), "{first}");
    for (request, network) in [(&newer, "eip155:31337"), (&older, NETWORK)] {
        let again = post(&shop, "/settle", request, None).await;
        assert_eq!(text(&again, "errorReason"), "invalid_exact_evm_nonce_already_used");
        assert_eq!((text(&again, "network"), &again["extra"]["transaction"]), (network, &first["transaction"]));
        let keyed = post(&shop, "/settle", request, Some("seller-1")).await;
        assert_eq!((keyed["success"].as_bool(), &keyed["transaction"]), (Some(true), &first["transaction"]));
    }
    let verified = post(&shop, "/verify", &older, None).await;
    assert_eq!(text(&verified, "invalidReason"), "invalid_exact_evm_nonce_already_used");
    assert_eq!(transfers(&shop), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_of_version_one_that_is_not_payable_holds_nothing() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let good = met(&shop, "/paid/report").await;
    let with = |pointer: &str, value: Value| {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        wrong
    };
    let mut two = good.clone();
    let mut elsewhere = good["accepts"][0].clone();
    elsewhere["resource"] = json!("https://elsewhere.example/");
    two["accepts"].as_array_mut().unwrap().push(elsewhere);
    for (wrong, code) in [
        (json!({ "x402Version": 1 }), "invalid_payload"),
        (with("/x402Version", json!(2)), "invalid_payload"),
        (with("/x402Version", json!(3)), "invalid_x402_version"),
        (with("/accepts", json!([])), "invalid_offer_count"),
        (two, "offers_of_several_resources"),
        (with("/accepts/0/maxAmountRequired", json!("0x1")), "no_payable_offer"),
        (with("/accepts/0/maxAmountRequired", json!("0")), "no_payable_offer"),
        (with("/accepts/0/network", json!("nowhere")), "no_payable_offer"),
        (with("/accepts/0/network", json!("base")), "no_payable_offer"),
        (with("/accepts/0/scheme", json!("upto")), "no_payable_offer"),
        (with("/accepts/0/asset", json!(shop.wallet())), "no_payable_offer"),
        (with("/accepts/0/resource", json!("https://elsewhere.example/")), "payee_mismatch"),
    ] {
        let (status, found, detail) = refused(pay(&shop, &mandate, &wrong, &new_key()).await);
        assert!((400..500).contains(&status), "{status} {found}");
        assert_eq!(found, code, "{wrong}: {detail}");
    }
    let shown = shop.figures(&mandate).await;
    assert_eq!((text(&shown["held"], "units"), shown["payments"]["used"].as_u64()), ("0", Some(0)));
}

/// A wallet that met the same offer in both versions signs it once, and the seller serves it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_one_payment_in_both_versions() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let required = met(&shop, "/paid/report").await;
    let older = pay(&shop, &mandate, &required, "one-key").await.expect("a payment");
    let newer = shop.pay(&mandate, &shop.met("/paid/report").await, "one-key").await.expect("the same payment");
    assert_eq!(older["id"], newer["id"]);
    assert_eq!(newer["x_payment"], Value::Null, "a seller that spoke version 2 gets it");
    for answer in [&older, &newer] {
        let same = decoded(text(answer, "payment_signature"));
        assert_eq!((same["x402Version"].as_u64(), text(&same["accepted"], "network")), (Some(2), "eip155:31337"));
    }
    let (one, two) = (decoded(text(&older, "x_payment")), decoded(text(&newer, "payment_signature")));
    assert_eq!(one["payload"], two["payload"], "one authorization, one signature");
    assert_eq!((one["x402Version"].as_u64(), text(&one, "network"), text(&one, "scheme")), (Some(1), NETWORK, "exact"));
    let (status, unresolved, _) = refused(pay(&shop, &mandate, &required, "another-key").await);
    assert_eq!((status, unresolved.as_str()), (409, "purchase_unresolved"), "the purchase is known in either version");

    let bought = present(&shop, "/paid/report", "X-PAYMENT", text(&older, "x_payment")).await;
    assert_eq!(bought.status().as_u16(), 200);
    assert!(bought.headers().get("payment-response").is_none());
    let receipt = decoded(bought.headers()["x-payment-response"].to_str().unwrap());
    assert_eq!((receipt["success"].as_bool(), text(&receipt, "network")), (Some(true), NETWORK));
    let body: Value = bought.json().await.unwrap();
    let again = present(&shop, "/paid/report", "PAYMENT-SIGNATURE", text(&older, "payment_signature")).await;
    assert_eq!(decoded(again.headers()["payment-response"].to_str().unwrap())["transaction"], receipt["transaction"]);
    assert_eq!(again.json::<Value>().await.unwrap(), body, "the stored answer");
    let elsewhere = present(&shop, "/paid/note", "X-PAYMENT", text(&older, "x_payment")).await;
    assert_eq!(text(&elsewhere.json().await.unwrap(), "error"), "payment_used_for_other_resource");
    let outcome = format!("/v1/payments/{}/outcome", text(&older, "id"));
    let settled = shop.call(Method::POST, &outcome, &shop.agent, Some(json!({}))).await.unwrap();
    assert_eq!(text(&settled, "state"), "settled");
    assert_eq!((transfers(&shop), shop.figures(&mandate).await["payments"]["used"].as_u64()), (1, Some(1)));

    let evidence = format!("/v1/payments/{}/evidence", text(&older, "id"));
    let evidence = shop.call(Method::GET, &evidence, &shop.user, None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [file, trust] = ["evidence.json", "trust.json"].map(|name| folder.path().join(name).display().to_string());
    std::fs::write(&file, evidence.to_string()).unwrap();
    std::fs::write(&trust, evidence["issuer_keys"].to_string()).unwrap();
    let output = run(&["verify", "--evidence", &file, "--trust", &trust], &[]);
    assert_eq!(output.status.code(), Some(0), "what was met over version 1 is proved offline: {}", stdout(&output));
}

/// Browsers: a page for people, and scripts of other origins that may pay.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_what_it_costs_and_may_pay() {
    let shop = Shop::open().await;
    let http = reqwest::Client::new();
    let url = shop.url("/paid/report");
    let preflight = http
        .request(Method::OPTIONS, &url)
        .header("origin", "https://page.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "payment-signature");
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.status().as_u16(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("PAYMENT-SIGNATURE"));
    let page = http.get(&url).header("accept", "text/html").header("user-agent", "Mozilla/5.0").send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["cache-control"]),
        (402, &"private, no-store".parse().unwrap())
    );
    assert!(page.headers().contains_key("payment-required"));
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(
        html.starts_with("<!doctype html>") && html.contains("0.01 USD Coin") && html.contains("hardhat"),
        "{html}"
    );
    assert!(!html.contains("<script"));
    for (method, allow) in [(Method::POST, "GET"), (Method::TRACE, "GET"), (Method::DELETE, "OPTIONS")] {
        let refused = http.request(method.clone(), &url).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 405, "{method}");
        assert!(refused.headers()["allow"].to_str().unwrap().contains(allow), "{method}: {:?}", refused.headers());
    }
    let listed = shop.call(Method::GET, "/.well-known/x402", &shop.user, None).await.unwrap();
    assert!(listed["resources"].as_array().unwrap().contains(&json!(url)), "{listed}");
}
