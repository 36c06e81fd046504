//! The commands as a stranger meets them: the demo, the dev line, paying, stopping, and bad input everywhere.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::foreign_clients::beside_the_modules;
use crate::harness::process::{Service, run, stdout};
use crate::harness::shop::{Shop, intent};
use crate::harness::{foreign, text};

#[test]
fn the_demo_ends_well_and_says_so_to_machines() {
    let output = run(&["demo", "--json"], &[]);
    let said = stdout(&output);
    assert!(output.status.success(), "{said}");
    let object: Value = serde_json::from_str(said.lines().last().expect("a last line")).expect("one JSON object last");
    assert_eq!(object["ok"], true, "{object}");
    assert_eq!((text(&object["spend"], "state"), text(&object["spend"], "amount")), ("settled", "10000"));
    assert!(text(&object["spend"], "transaction").starts_with("0x"));
    assert_eq!((text(&object["chain"], "payer_delta"), text(&object["chain"], "payee_delta")), ("-10000", "10000"));
    assert_eq!(
        (object["ledger"]["balanced"].clone(), object["journal"]["verified"].clone()),
        (json!(true), json!(true))
    );
    assert!(object["journal"]["entries"].as_u64().is_some_and(|entries| entries > 10));
    assert_eq!(object["evidence"]["verified"], true);
    let refusals: Vec<(&str, &str)> = object["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refusal| (text(refusal, "case"), text(refusal, "code")))
        .collect();
    assert_eq!(
        refusals,
        [
            ("over budget", "amount_exceeds_budget"),
            ("altered cart", "checkout_jwt_signature_invalid"),
            ("payee not allowed", "payee_not_allowed"),
            ("replayed payment, for another resource", "payment_used_for_other_resource"),
            ("expired mandate", "mandate_expired"),
            ("revoked mandate", "mandate_revoked"),
        ]
    );
    let file = text(&object["evidence"], "file").to_owned();
    assert!(run(&["verify", "--evidence", &file], &[]).status.success(), "the file that it wrote verifies");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn the_dev_line_has_what_machines_read_and_dev_stops_when_asked() {
    let mut dev = Service::dev();
    let line = dev.line.clone();
    for path in [
        "/url",
        "/facilitator_url",
        "/openapi_url",
        "/pid",
        "/database",
        "/chain/rpc_url",
        "/chain/network",
        "/chain/asset/address",
        "/chain/asset/name",
        "/chain/asset/version",
        "/chain/asset/decimals",
        "/paid/url",
        "/paid/method",
        "/paid/amount",
        "/paid/pay_to",
        "/paid/marker",
        "/paid/more/0/url",
        "/paid/more/0/amount",
        "/buyer/address",
        "/buyer/private_key",
        "/pay/command/0",
        "/seller/command/0",
        "/agent/id",
        "/agent/token",
        "/mandate/id",
        "/mandate/token",
        "/user/id",
        "/user/token",
        "/merchant/id",
        "/merchant/token",
        "/merchant/jwks/keys/0/kty",
        "/admin/token",
        "/trust/jwks_url",
        "/verify/url",
    ] {
        assert!(line.pointer(path).is_some_and(|value| !value.is_null()), "{path} is missing in {line}");
    }
    let database = std::path::PathBuf::from(text(&line, "database"));
    assert!(database.is_file());
    let took = dev.stop().expect("gone within five seconds of SIGTERM");
    assert!(!database.exists(), "it leaves nothing behind ({took:?})");
}

/// `purser pay`: the same key is one purchase, exit 0 only on a 200.
#[test]
fn pay_buys_once_a_key() {
    let dev = Service::dev();
    let pay = |url: &str, key: &str| {
        let command = dev.line["pay"]["command"].as_array().expect("a command");
        let args: Vec<String> = command
            .iter()
            .skip(1)
            .map(|part| part.as_str().unwrap().replace("{url}", url).replace("{key}", key))
            .collect();
        run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    };
    let url = text(&dev.line["paid"], "url");
    let command = dev.line["pay"]["command"].as_array().expect("a command");
    let preview: Vec<&str> = command.iter().skip(1).map(|part| part.as_str().unwrap()).collect();
    let preview: Vec<String> = preview.iter().map(|part| part.replace("{url}", url).replace("{key}", "one")).collect();
    let preview: Vec<&str> = preview.iter().map(String::as_str).chain(["--preview"]).collect();
    let looked = run(&preview, &[]);
    let told = String::from_utf8_lossy(&looked.stderr).into_owned();
    assert_eq!((looked.status.code(), looked.stdout.len()), (Some(3), 0), "{told}");
    assert!(told.contains("asks for 10000 of USD Coin on eip155:31337") && told.contains("5.00 of 5.00 USD"), "{told}");
    let (first, second) = (pay(url, "one"), pay(url, "one"));
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    let steps = ["asks for 10000", "is signed", "the seller answered 200", "is settled", "names the same transaction"];
    let places: Vec<Option<usize>> = steps.iter().map(|step| told.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{told}");
    assert!(
        told.contains("4.99 of 5.00 USD are left, 1 of 1000 payments are made"),
        "a preview had held nothing: {told}"
    );
    assert!(first.status.success() && stdout(&first).contains(text(&dev.line["paid"], "marker")));
    assert_eq!(
        (second.status.code(), stdout(&second)),
        (Some(0), stdout(&first)),
        "the stored answer, no second payment"
    );
    let third = pay(url, "two");
    assert!(third.status.success());
    assert_ne!(stdout(&third), stdout(&first), "another key is another purchase");
    assert_eq!(pay(&format!("{}/nothing", dev.url()), "three").status.code(), Some(1));
    assert_eq!(pay("http://127.0.0.1:1/", "four").status.code(), Some(1));
}

/// Bad input meets a decision on every route: a problem document with a code, never a 500, never a hold left behind.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_input_meets_a_clear_refusal() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let document = shop.call(Method::GET, "/openapi.json", &shop.user, None).await.unwrap();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 20, "every route is documented");
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let bodies = [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        "{\"a\":1,\"a\":2}",
        "{\"mandate\":NaN}",
        "{\"mandate\":1e999}",
        "\u{feff}{}",
        "{\"mandate\":\"\",\"payment_required\":{}}",
        &deep,
        &huge,
        "{\"x402Version\":2,\"paymentPayload\":{},\"paymentRequirements\":{}}",
        "{\"x402Version\":99999999999999999999}",
    ];
    let http = reqwest::Client::new();
    // OAuth has error codes of its own (RFC 6749), and no pages.
    let mut pages = std::collections::BTreeMap::new();
    for (path, item) in paths {
        let target = shop.url(&path.replace("{id}", "zz"));
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            for body in bodies {
                let request =
                    http.request(method.clone(), &target).bearer_auth(&shop.agent).header("Idempotency-Key", "k");
                let response =
                    request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap();
                let status = response.status();
                assert!(!status.is_server_error(), "{method} {path} {status} for {:.60}", body);
                let documented = operation["responses"].get(status.as_str()).is_some();
                assert!(documented, "{method} {path} answered {status}, which is not documented, for {:.60}", body);
                let page = path == "/docs" && status.is_success();
                let text = response.text().await.unwrap();
                let value: Value = match page {
                    true => Value::Null,
                    false => serde_json::from_str(&text).expect("JSON, whatever the answer is"),
                };
                if status.is_client_error() && value["detail"].is_string() {
                    assert!(value["code"].is_string(), "{method} {path}: {value}");
                    if path != "/oauth/token" {
                        pages.insert(value["type"].as_str().unwrap().to_owned(), value["code"].clone());
                    }
                } else if status.is_client_error() {
                    assert!(is_foreign(operation), "{method} {path}: {value}");
                    let message = &value["messages"][0];
                    let is_acp = value["code"].is_string() && value["message"].is_string();
                    assert!(is_acp || message["content"].is_string(), "{method} {path}: {value}");
                }
            }
        }
        let unknown = ["TRACE", "PATCH", "DELETE"].into_iter();
        for method in unknown.filter(|method| item.get(method.to_ascii_lowercase()).is_none()) {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let response = http.request(method.clone(), &target).send().await.unwrap();
            assert_eq!(response.status().as_u16(), 405, "{method} {path}");
            assert!(response.headers().contains_key("allow"), "{method} {path} says what is allowed");
        }
        // Anyone may verify at a service that says so; what others may not do without a token, nobody may.
        // A processor's notices carry a signature and no token.
        if !path.starts_with("/v1") || path == "/v1/mandates/verify" || path.starts_with("/v1/vault/notices/") {
            continue;
        }
        for token in ["", "Bearer", "Bearer x", "Basic eDp5"] {
            let method = item.as_object().unwrap().keys().next().unwrap().to_ascii_uppercase();
            let request = http.request(Method::from_bytes(method.as_bytes()).unwrap(), &target);
            let response = request.header("authorization", token).body("{}").send().await.unwrap();
            assert_eq!(response.status().as_u16(), 401, "{path} with {token:?}");
            assert!(response.headers().contains_key("www-authenticate"));
        }
    }
    for (page, code) in pages {
        let entry = shop.call(Method::GET, &page, &shop.user, None).await.expect("a page for every code that was met");
        assert!(entry["code"] == code && entry["cause"].is_string() && entry["mend"].is_string(), "{page}: {entry}");
    }
    let nowhere = shop.client.fetch("GET", &shop.url("/nowhere"), None).await.unwrap();
    assert_eq!(nowhere.status.as_u16(), 404);
    assert_eq!(shop.figures(&mandate).await["payments"]["used"], 0, "nothing is held");
}

/// Junk in payment headers: a decision each time, and the service lives on.
#[tokio::test(flavor = "multi_thread")]
async fn junk_payment_headers_are_refused() {
    let shop = Shop::open().await;
    let http = reqwest::Client::new();
    let url = shop.url("/paid/report");
    for junk in ["!!!", "e30=", "bm90IGpzb24=", "AAAA", "eyJ4NDAyVmVyc2lvbiI6MX0=", &"A".repeat(40_000)] {
        let response = http.get(&url).header("PAYMENT-SIGNATURE", junk).send().await.unwrap();
        assert!([400, 402, 431].contains(&response.status().as_u16()), "{:.20}: {}", junk, response.status());
    }
    let twice =
        http.get(&url).header("PAYMENT-SIGNATURE", "AAAA").header("PAYMENT-SIGNATURE", "AAAA").send().await.unwrap();
    assert_eq!(twice.status().as_u16(), 400, "two payments are no payment");
    let met = http.get(&url).send().await.unwrap();
    assert_eq!(met.status().as_u16(), 402);
    assert!(met.headers()["cache-control"].to_str().unwrap().contains("no-store"));
    let exposed = met.headers()["access-control-expose-headers"].to_str().unwrap().to_ascii_uppercase();
    assert!(exposed.contains("PAYMENT-REQUIRED"), "{exposed}");
}

/// Amounts, schemes, chains and payees that make no sense, in every place where one comes in.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_make_no_sense_are_refused() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let amounts = [
        json!("0x10"),
        json!("-1"),
        json!("+1"),
        json!("1e3"),
        json!("1.0"),
        json!("NaN"),
        json!("Infinity"),
        json!(""),
        json!(" 1"),
        json!("1 "),
        json!("01"),
        json!("0"),
        json!("1_000"),
        json!("\u{0661}"),
        json!(10_000),
        json!(-1),
        json!(null),
        json!(["1"]),
        json!("340282366920938463463374607431768211456"),
        json!("9".repeat(100)),
    ];
    let others = [
        ("scheme", json!("upto")),
        ("scheme", json!("EXACT")),
        ("scheme", json!("")),
        ("scheme", json!(1)),
        ("network", json!("eip155:8453")),
        ("network", json!("eip155:0")),
        ("network", json!("base")),
        ("network", json!("solana:x")),
        ("network", json!("eip155:31337 ")),
        ("asset", json!("0x0000000000000000000000000000000000000001")),
        ("asset", json!("USDC")),
        ("asset", json!("")),
        ("payTo", json!("0x0000000000000000000000000000000000000000")),
        ("payTo", json!("0xzz")),
        ("payTo", json!("")),
        ("payTo", json!(7)),
        ("maxTimeoutSeconds", json!(0)),
        ("maxTimeoutSeconds", json!(-1)),
        ("maxTimeoutSeconds", json!(1e30)),
        ("maxTimeoutSeconds", json!("60")),
        ("extra", json!(null)),
        ("extra", json!({ "name": "USD Coin", "version": "9" })),
        ("extra", json!([])),
    ];
    let wrong = amounts.iter().map(|amount| ("amount", amount.clone())).chain(others);
    let good = serde_json::to_value(shop.met("/paid/report").await).unwrap();
    let http = reqwest::Client::new();
    for (number, (member, value)) in wrong.enumerate() {
        let mut required = good.clone();
        required["accepts"][0][member] = value.clone();
        let body = json!({ "mandate": mandate, "payment_required": required });
        let paying = http
            .post(shop.url("/v1/payments"))
            .bearer_auth(&shop.agent)
            .header("Idempotency-Key", format!("w{number}"));
        let answer = paying.json(&body).send().await.unwrap();
        let status = answer.status();
        let said: Value = answer.json().await.unwrap();
        // A null or missing `extra` falls back to the trusted table.
        if member == "extra" && value.is_null() {
            continue;
        }
        assert!(status.is_client_error() && said["code"].is_string(), "{member} = {value}: {status} {said}");
        let detail = text(&said, "detail");
        assert!(detail.len() < 1_000, "what came is repeated within bounds: {detail}");
        // The same to the facilitator: an answer in its own shape, and nothing claimed.
        let requirements = &required["accepts"][0];
        let payload = json!({ "x402Version": 2, "accepted": requirements, "payload": {} });
        let body = json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": requirements });
        for path in ["/verify", "/settle"] {
            let answer = http.post(shop.url(path)).json(&body).send().await.unwrap();
            let status = answer.status().as_u16();
            let said: Value = answer.json().await.unwrap();
            let refused = said["isValid"] == false || said["success"] == false || said["code"].is_string();
            assert!((status == 200 || status == 400) && refused, "{path} {member} = {value}: {status} {said}");
        }
    }
    for amount in &amounts {
        // A decimal in major units.
        if *amount == json!("1.0") {
            continue;
        }
        for member in ["total", "per_payment"] {
            let mut asked = intent();
            asked[member] = amount.clone();
            let answer = shop.call(Method::POST, "/v1/mandates/intents", &shop.agent, Some(asked)).await;
            if member == "per_payment" && amount.is_null() {
                continue;
            }
            assert!(answer.is_err(), "{member} = {amount} was taken: {answer:?}");
        }
    }
    let figures = shop.figures(&mandate).await;
    assert_eq!((&figures["held"]["units"], &figures["payments"]["used"]), (&json!("0"), &json!(0)), "nothing is held");
}

/// A megabyte of headers is refused before anybody reads it, and the service lives on.
#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_headers_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let shop = Shop::open().await;
    let address = shop.url("").trim_start_matches("http://").to_owned();
    let megabyte = "x".repeat(1024 * 1024);
    for (path, line) in [
        ("/v1/payments", format!("x-junk: {megabyte}")),
        ("/paid/report", format!("payment-signature: {megabyte}")),
        ("/v1/approvals", format!("authorization: Bearer {megabyte}")),
        ("/healthz", "x: y\r\n".repeat(200_000).trim_end().to_owned()),
    ] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{line}\r\n\r\n").as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(
            said.starts_with("HTTP/1.1 431") && said.contains("\"code\":\"headers_too_large\""),
            "{path}: {said:.200}"
        );
    }
    assert_eq!(shop.client.fetch("GET", &shop.url("/healthz"), None).await.unwrap().status.as_u16(), 200);
}

/// Whether a route speaks the protocol of a shop, which has errors of its own.
fn is_foreign(operation: &Value) -> bool {
    let schema = &operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"];
    schema.as_str().is_some_and(|schema| schema.ends_with("/AcpError") || schema.ends_with("/UcpRefusal"))
}

/// A value of the type that the document states.
fn dummy(property: &Value) -> Value {
    let stated = &property["type"];
    let has = |name: &str| stated == name || stated.as_array().is_some_and(|types| types.contains(&json!(name)));
    match (has("string"), has("integer"), has("array")) {
        (true, ..) => "x".into(),
        (_, true, _) => 1.into(),
        (.., true) => json!([]),
        _ => json!({}),
    }
}

/// What the document says of a body is what the route reads: every documented member is known, none is missing.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_the_routes_read() {
    let shop = Shop::open().await;
    let document = shop.call(Method::GET, "/openapi.json", &shop.user, None).await.unwrap();
    let mut bodies = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(reference) = item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()
        else {
            continue;
        };
        // Their bodies are the specifications', and are held to those.
        if is_foreign(&item["post"]) || ["/Tokenize", "/Detokenize"].iter().any(|name| reference.ends_with(name)) {
            continue;
        }
        bodies += 1;
        let schema = document.pointer(reference.trim_start_matches('#')).expect("the schema that is referred to");
        let properties = schema["properties"].as_object().expect("an object's members");
        let url = shop.url(&path.replace("{id}", &"ab".repeat(32)));
        let send = async |body: Value| {
            let request = reqwest::Client::new().post(&url).bearer_auth(&shop.agent).header("Idempotency-Key", "k");
            let response = request.json(&body).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        for (name, property) in properties {
            let mut body = json!({});
            body[name] = dummy(property);
            let (status, said) = send(body).await;
            assert!(!said.contains("unknown field"), "{path} does not know `{name}`: {status} {said}");
        }
        let (status, said) = send(json!({ "never_heard_of": 1 })).await;
        let is_protocol = ["/verify", "/settle"].contains(&path.as_str()); // x402 keeps unknown members
        assert_eq!(status == 400 && said.contains("unknown field"), !is_protocol, "{path} {status}: {said}");
    }
    assert_eq!(bodies, 21, "every body is documented by a schema");
}

/// Each figure comes with its peer, of the same run; no figure is asserted here: machines differ, shapes do not.
#[test]
fn a_bench_says_what_it_measured_beside_what() {
    let node = foreign("node");
    let path = std::env::join_paths([node.parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let (path, modules) = (path.into_string().unwrap(), beside_the_modules("").display().to_string());
    for (name, rows) in [
        ("verify", &["chain_cold", "chain_warm_root", "chain_3_hops"][..]),
        ("x402", &["exact_stateless", "seller_protection", "facilitator_verify", "facilitator_settle"][..]),
    ] {
        let output = run(&["bench", name, "--json"], &[("PURSER_FOREIGN_NODE", &modules), ("PATH", &path)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let object: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
        assert_eq!(text(&object, "bench"), name);
        assert!(object["machine"]["cores"].as_u64().is_some_and(|cores| cores > 0));
        let found: Vec<&str> = object["rows"].as_array().unwrap().iter().map(|row| text(row, "name")).collect();
        assert_eq!(found, rows);
        for row in object["rows"].as_array().unwrap() {
            for figure in ["ours", "peer", "ratio", "rounds"] {
                assert!(row[figure].to_string().parse::<f64>().is_ok_and(|figure| figure > 0.0), "{figure} in {row}");
            }
            assert!(["lower", "higher"].contains(&text(row, "better")) && row["peer_is"].is_string());
        }
    }
}
