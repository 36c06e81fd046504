//! A seller that lets whoever paid come back (x402 `sign-in-with-x`) gets a signature from our wallet instead of a second
//! payment: for what this wallet has paid there, settled, and for nothing else. A stranger's 402 gets none.

use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::accounts::ACCOUNTS;
use ledger::id::CallerKind;
use purser::client::{Client, ClientError};
use purser::config::{RouteConfig, WalletConfig};
use purser::world::{AGENT, BYSTANDER, HOME, MERCHANT, NEIGHBOUR, SHOP};
use reqwest::Method;
use serde_json::{Value, json};
use x402::sign_in::Proof;

use crate::foreign_clients::{Killed, balance, node_script};
use crate::harness::process::{Service, run, stdout};
use crate::harness::shop::{code, new_key};
use crate::harness::world::World;
use crate::harness::{free_address, text};

const PAID: &str = "/back/report";

fn route(path: &str, more: Value) -> RouteConfig {
    let mut route =
        json!({ "path": path, "amount": "10000", "description": path, "body": "goods", "max_timeout_seconds": 60 });
    more.as_object().unwrap().iter().for_each(|(name, value)| route[name] = value.clone());
    serde_json::from_value(route).unwrap()
}

/// Everybody comes back for an hour, but for the short one; and there is one where nobody does.
async fn world(payment_seconds: u64) -> World {
    let mut world = World::start_with(payment_seconds).await;
    let back = json!({ "sign_in_seconds": 3_600, "methods": ["GET", "POST"] });
    let routes = [
        route(PAID, back.clone()),
        route("/back/other", back),
        route("/back/short", json!({ "sign_in_seconds": 1 })),
        route("/back/never", json!({})),
    ];
    let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
    sell.routes.extend(routes);
    take_up(&mut world);
    world
}

fn take_up(world: &mut World) {
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
}

fn url(world: &World, path: &str) -> String {
    format!("{}{path}", world.config.public_url())
}

fn decoded(header: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap()
}

/// The 402 of a path.
async fn met(world: &World, path: &str) -> Value {
    let met = world.client.fetch("GET", &url(world, path), None).await.unwrap();
    assert_eq!(met.status.as_u16(), 402);
    decoded(met.header("payment-required").unwrap())
}

fn body(world: &World, mandate: &str, demand: &Value) -> Value {
    let url = demand["resource"]["url"].as_str().map_or_else(|| url(world, PAID), str::to_owned);
    json!({ "mandate": mandate, "payment_required": demand, "url": url })
}

async fn ask_as(client: &Client, token: &str, key: &str, body: Value) -> Result<Value, ClientError> {
    client.call(Method::POST, "/v1/sign-ins", token, Some(key), Some(body)).await
}

async fn ask(world: &World, body: Value) -> Result<Value, ClientError> {
    ask_as(&world.client, &world.agent, &new_key(), body).await
}

/// Buys what a path sells, and waits until it is settled. Its id.
async fn buy(world: &World, mandate: &str, path: &str, key: &str) -> String {
    let body = body(world, mandate, &met(world, path).await);
    let paid = world.client.call(Method::POST, "/v1/payments", &world.agent, Some(key), Some(body)).await.unwrap();
    let got = world.client.fetch("GET", &url(world, path), Some(text(&paid, "payment_signature"))).await.unwrap();
    assert_eq!(got.status.as_u16(), 200);
    world.until(text(&paid, "id"), "settled").await;
    text(&paid, "id").to_owned()
}

/// Records of what was signed so.
async fn signed(world: &World) -> usize {
    let page = world.call(Method::GET, "/v1/ledger/journal?limit=500", &admin(world), None).await.unwrap();
    assert!(page["next"].is_null(), "all of them");
    page["records"].as_array().unwrap().iter().filter(|record| record["operation"] == "sign_in").count()
}

fn token(world: &World, tenant: &str, principal: &str, kind: CallerKind) -> String {
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    purser::service::mint(&minter, tenant, principal, kind, 3_600).unwrap()
}

fn admin(world: &World) -> String {
    token(world, HOME, "admin", CallerKind::Operator)
}

fn changed(demand: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut demand = demand.clone();
    change(&mut demand);
    demand
}

/// What a stranger, or the seller itself, would have signed beside what was paid.
async fn odd_texts(world: &World, mandate: &str) {
    let demand = met(world, PAID).await;
    let info =
        |field: &str, found: Value| changed(&demand, |it| it["extensions"]["sign-in-with-x"]["info"][field] = found);
    let chains = |found: Value| changed(&demand, |it| it["extensions"]["sign-in-with-x"]["supportedChains"] = found);
    for (demand, expected) in [
        (info("domain", json!("evil.example")), "invalid_siwx_domain_mismatch"),
        (info("uri", json!("https://evil.example/back/report")), "invalid_siwx_uri_mismatch"),
        (info("uri", json!(url(world, "/back/other"))), "invalid_siwx_uri_mismatch"),
        (info("resources", json!([url(world, "/back/other")])), "invalid_siwx_text"),
        (info("statement", json!("I hereby agree to pay 1000 USD.")), "invalid_siwx_text"),
        (info("requestId", json!("1")), "invalid_siwx_text"),
        (info("nonce", Value::Null), "invalid_siwx_text"),
        (info("nonce", json!("")), "invalid_siwx_nonce"),
        (info("nonce", json!("0a1b0a1b\nURI: https://evil.example")), "invalid_siwx_nonce"),
        (info("issuedAt", json!("2020-01-01T00:00:00.000Z")), "invalid_siwx_expired"),
        (info("issuedAt", json!("2090-01-01T00:00:00.000Z")), "invalid_siwx_issued_at_in_future"),
        (info("expirationTime", json!("2099-01-01T00:00:00.000Z")), "invalid_siwx_expired"),
        (chains(json!([{ "chainId": "eip155:1", "type": "eip191" }])), "invalid_siwx_unsupported_chain"),
        (chains(json!([{ "chainId": "eip155:31337", "type": "eip712" }])), "invalid_siwx_unsupported_chain"),
        (changed(&demand, |it| it["extensions"] = json!({})), "invalid_request"),
        // Not what was paid: other terms, another method's, another resource.
        (changed(&demand, |it| it["accepts"][0]["amount"] = json!("10001")), "invalid_siwx_not_paid"),
        (changed(&demand, |it| it["accepts"][0]["payTo"] = json!(ACCOUNTS[4].address)), "invalid_siwx_not_paid"),
        (met(world, "/back/other").await, "invalid_siwx_not_paid"),
        (met(world, "/back/never").await, "invalid_request"),
    ] {
        let answer = ask(world, body(world, mandate, &demand)).await;
        assert_eq!(code(answer), expected, "{demand}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_signature() {
    let mut world = world(60).await;
    let mandate = world.mandate().await;
    let good = async |world: &World| body(world, &mandate, &met(world, PAID).await);
    assert_eq!(code(ask(&world, good(&world).await).await), "invalid_siwx_not_paid");
    // Signed, and not settled.
    let waits = world.client.call(Method::POST, "/v1/payments", &world.agent, Some("waits"), Some(good(&world).await));
    let waits = waits.await.unwrap();
    assert_eq!(code(ask(&world, good(&world).await).await), "invalid_siwx_not_paid");
    world.client.fetch("GET", &url(&world, PAID), Some(text(&waits, "payment_signature"))).await.unwrap();
    world.until(text(&waits, "id"), "settled").await;
    odd_texts(&world, &mandate).await;

    let with = |mut body: Value, name: &str, value: Value| {
        body[name] = value;
        body
    };
    for (name, value, expected) in [
        ("method", json!("POST"), "invalid_siwx_not_paid"),
        ("url", Value::Null, "invalid_request"),
        ("url", json!("http://evil.example/back/report"), "payee_mismatch"),
        ("cart", json!("a.b.c"), "invalid_request"),
        ("again_after", waits["id"].clone(), "invalid_request"),
    ] {
        let answer = ask(&world, with(good(&world).await, name, value)).await;
        assert_eq!(code(answer), expected, "{name}");
    }
    // The key that bought it shows that payment again.
    assert_eq!(code(ask_as(&world.client, &world.agent, "waits", good(&world).await).await), "spend_state");
    // Everybody else: a person, a neighbour's agent under either mandate, and another tenant's.
    let bystander = token(&world, HOME, BYSTANDER, CallerKind::Agent);
    let neighbour = token(&world, HOME, NEIGHBOUR, CallerKind::User);
    let theirs = mandate_of(&world, &bystander, &neighbour).await;
    let agent = world.agent.clone();
    for (who, under, expected) in [
        (&world.user, &mandate, "forbidden"),
        (&token(&world, SHOP, MERCHANT, CallerKind::Merchant), &mandate, "forbidden"),
        (&bystander, &mandate, "not_found"),
        (&bystander, &theirs, "invalid_siwx_not_paid"),
        (&agent, &theirs, "not_found"),
    ] {
        let answer = ask_as(&world.client, who, &new_key(), with(good(&world).await, "mandate", json!(under))).await;
        assert_eq!(code(answer), expected, "{who}");
    }
    let elsewhere = token(&world, SHOP, AGENT, CallerKind::Agent);
    assert!(ask_as(&world.client, &elsewhere, &new_key(), good(&world).await).await.is_err(), "another tenant's");
    // Stops, and a mandate that does not stand.
    for scope in ["everything", "agent/shopper", "person/user", "payee/shop", &format!("mandate/{mandate}")] {
        let asked = good(&world).await;
        let stop = world.call(Method::POST, "/v1/kill", &admin(&world), Some(json!({ "scope": scope }))).await.unwrap();
        assert_eq!(code(ask(&world, asked).await), "stopped", "{scope}");
        let lift = format!("/v1/kill/{}", text(&stop, "id"));
        world.call(Method::DELETE, &lift, &admin(&world), None).await.unwrap();
    }
    let suspend = async |world: &World, what: &str| {
        world.call(Method::POST, &format!("/v1/mandates/{mandate}/{what}"), &world.user, None).await.unwrap();
    };
    suspend(&world, "suspend").await;
    assert_eq!(code(ask(&world, good(&world).await).await), "mandate_suspended");
    suspend(&world, "resume").await;
    assert_eq!(signed(&world).await, 0, "nothing was signed for any of them");

    let answer = ask(&world, good(&world).await).await.unwrap();
    assert_eq!(text(&answer, "payment"), text(&waits, "id"));
    let proof = Proof::read(text(&answer, "sign_in_with_x").as_bytes()).unwrap();
    assert!(proof.is_by_key().unwrap() && format!("{:#x}", proof.address) == text(&waits, "payer"));
    assert_eq!(signed(&world).await, 1);

    suspend(&world, "revoke").await;
    assert_eq!(code(ask(&world, good(&world).await).await), "mandate_revoked");
    for tenant in &mut world.config.tenants {
        if let Some(wallet) = &mut tenant.wallet {
            *wallet = WalletConfig { sign_in: Some(false), ..wallet.clone() };
        }
    }
    take_up(&mut world);
    assert_eq!(code(ask(&world, good(&world).await).await), "not_configured");
    assert_eq!(signed(&world).await, 1);
}

/// A mandate of another agent's and another person's.
async fn mandate_of(world: &World, agent: &str, user: &str) -> String {
    let request = json!({
        "user": NEIGHBOUR, "description": "theirs", "currency": "USD", "total": "5.00", "per_payment": "1.00",
        "payments": 100, "expires_in_seconds": 3_600,
    });
    let asked = world.call(Method::POST, "/v1/mandates/intents", agent, Some(request)).await.unwrap();
    let path = format!("/v1/approvals/{}/decision", text(&asked["approval"], "id"));
    let decision = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
    let decided = world.call(Method::POST, &path, user, Some(decision)).await.unwrap();
    text(&decided, "mandate").to_owned()
}

/// `purser pay`: what came, and what was told.
fn pay(world: &World, mandate: &str, path: &str, key: &str) -> (String, String) {
    let (url, service) = (url(world, path), world.config.public_url());
    let env = [("PURSER_URL", service.as_str()), ("PURSER_TOKEN", &world.agent)];
    let output = run(&["pay", &url, "--mandate", mandate, "--idempotency-key", key], &env);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    (stdout(&output), told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_is_come_back_for_and_not_paid_again() {
    let mut world = world(12).await;
    let (mandate, second) = (world.mandate().await, world.mandate().await);
    let first = pay(&world, &mandate, PAID, "one");
    assert!(first.0.contains("goods") && first.1.contains("is settled"), "{first:?}");
    assert_eq!((world.moved().await, signed(&world).await), (1, 0));
    // Another purchase of the same, under another mandate of the same person's too; the key of the first one pays again.
    for (number, (under, key)) in [(&mandate, "two"), (&second, "three"), (&mandate, "two")].into_iter().enumerate() {
        let (came, told) = pay(&world, under, PAID, key);
        assert!(came.contains("goods") && told.contains("signing in"), "{told}");
        assert_eq!((world.moved().await, signed(&world).await), (1, number + 1));
    }
    let again = pay(&world, &mandate, PAID, "one");
    assert!(again.0.contains("goods") && again.1.contains("is settled"), "{again:?}");
    assert_eq!((world.moved().await, signed(&world).await), (1, 3), "the same payment, shown again");
    // Where nobody comes back it is bought again.
    for key in ["never-1", "never-2"] {
        assert!(pay(&world, &mandate, "/back/never", key).1.contains("is settled"));
    }
    assert_eq!((world.moved().await, signed(&world).await), (3, 3));
    // Who comes too late is asked again, and pays once.
    buy(&world, &mandate, "/back/short", "short-1").await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let late = pay(&world, &mandate, "/back/short", "short-2");
    assert!(late.1.contains("signing in") && late.1.contains("is settled"), "{late:?}");
    assert_eq!((world.moved().await, signed(&world).await), (5, 4));
    proxied(&world, &mandate).await;
    world.check_books(5).await;
}

/// Programs come back through the proxy as well, and nothing is remembered as bought.
async fn proxied(world: &World, mandate: &str) {
    let folder = tempfile::tempdir().unwrap();
    let service = json!({ "url": world.config.public_url(), "token": world.agent });
    let (file, dir) = (folder.path().join("service.json"), folder.path().join("proxy"));
    std::fs::write(&file, service.to_string()).unwrap();
    let (file, dir) = (file.to_str().unwrap(), dir.to_str().unwrap());
    let args = ["proxy", "--json", "--service", file, "--mandate", mandate, "--port", "0", "--dir", dir];
    let proxy = Service::start(&args, &[]);
    let (before, paid) = (signed(world).await, world.moved().await);
    for number in 1..=3 {
        let plain = format!("{}/{}", text(&proxy.line, "proxy_url"), url(world, "/back/report"));
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(plain).send().await.unwrap();
        let headers = answer.headers().clone();
        let (status, came) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(status == 200 && came.contains("goods"), "{status} {came}");
        assert!(!headers.contains_key("purser-payment") && !headers.contains_key("purser-refusal"), "{headers:?}");
        assert_eq!((signed(world).await, world.moved().await), (before + number, paid));
    }
}

fn until_it_listens(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens at {port}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The unmodified TypeScript seller, with a sentence of its own or none.
fn official(dev: &Service, statement: Option<&str>) -> (Killed, String) {
    let (port, asset) = (free_address().port(), &dev.line["chain"]["asset"]);
    let (port_text, pay_to) = (port.to_string(), ACCOUNTS[3].address.to_string());
    let mut script = node_script("sell_to_those_who_paid.mjs");
    script.args([&port_text, dev.url(), &pay_to, text(asset, "address"), text(asset, "name")]);
    script.args([text(asset, "version"), "20000", "sold-to-those"]).args(statement);
    let script = script.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let process = Killed(script.spawn().unwrap());
    until_it_listens(port);
    (process, format!("http://127.0.0.1:{port}/sold"))
}

#[test]
fn an_official_seller_lets_our_wallet_come_back() {
    let dev = Service::dev();
    let pay_to = ACCOUNTS[3].address.to_string();
    let command: Vec<&str> =
        dev.line["pay"]["command"].as_array().unwrap().iter().skip(1).map(|it| it.as_str().unwrap()).collect();
    let buy = |url: &str, key: &str| {
        let filled: Vec<String> = command.iter().map(|it| it.replace("{url}", url).replace("{key}", key)).collect();
        let output = run(&filled.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && stdout(&output).contains("sold-to-those"), "{told}");
        (told, balance(&dev, &pay_to))
    };
    let (_seller, url) = official(&dev, None);
    let (told, paid) = buy(&url, "first");
    assert!(told.contains("is settled") && !told.contains("nobody signs in"), "a first purchase is none: {told}");
    let (told, after) = buy(&url, "second");
    assert!(told.contains("signing in") && !told.contains("is settled"), "{told}");
    assert_eq!(after, paid, "nothing was paid a second time");
    // Another sentence than ours is nothing that this wallet says: it pays.
    let (_odd, url) = official(&dev, Some("I owe you one."));
    let (_, paid) = buy(&url, "odd-1");
    let (told, after) = buy(&url, "odd-2");
    assert!(told.contains("nobody signs in") && told.contains("is settled"), "{told}");
    assert_eq!(after, paid + 20_000);
}
