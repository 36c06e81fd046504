//! A service in another language sells through the paywall before it: nothing reaches it unpaid, what reaches it says who
//! paid and is signed, and what it does not deliver is not charged.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use purser::client::Fetched;
use purser::config::RouteConfig;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{run, stdout};
use crate::harness::world::World;
use crate::harness::{foreign, root, text};

const KEY: &str = "5f1c0d3a77b2e94488c6f0a1d2b3c4e55f1c0d3a77b2e94488c6f0a1d2b3c4e5";

struct Shop {
    world: World,
    mandate: String,
    upstream: Child,
    port: u16,
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.upstream.kill();
        let _ = self.upstream.wait();
    }
}

fn start_upstream(key: &str) -> (Child, u16) {
    let mut command = Command::new(foreign("python"));
    command.arg(root().join("tests/foreign/upstream.py")).arg(key).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the upstream starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its port");
    (child, line.trim().parse().expect("a port"))
}

fn route(path: &str, upstream: String) -> RouteConfig {
    RouteConfig {
        path: path.into(),
        amount: "10000".into(),
        description: "what another service has".into(),
        upstream: Some(upstream),
        methods: vec!["GET".into(), "POST".into()],
        body_bytes_max: Some(1_000),
        answer_bytes_max: Some(100_000),
        answer_seconds_max: Some(2),
        ..RouteConfig::default()
    }
}

impl Shop {
    /// With an upstream that knows `key`; the service knows [`KEY`].
    async fn open(key: &str) -> Self {
        let (upstream, port) = start_upstream(key);
        let mut world = World::start_with(60).await;
        let key_file = world.folder.path().join("upstream.key");
        std::fs::write(&key_file, format!("{KEY}\n")).unwrap();
        let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
        sell.upstream_key_file = Some(key_file);
        sell.routes.push(route("/shop/*", format!("http://127.0.0.1:{port}/v2")));
        sell.routes.push(RouteConfig {
            amount: "250000".into(),
            ..route("/shop/gold", format!("http://127.0.0.1:{port}/v2/gold"))
        });
        sell.routes.push(route("/gone/*", "http://127.0.0.1:1".into()));
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
        world.restart();
        let mandate = world.mandate_of("5.00", 100).await;
        Self { world, mandate, upstream, port }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.world.config.public_url())
    }

    async fn ask(&self, method: &str, path: &str, payment: Option<&str>) -> Fetched {
        self.world.client.fetch(method, &self.url(path), payment).await.expect("an answer")
    }

    async fn signed(&self, method: &str, path: &str, key: &str) -> Value {
        let met = self.ask(method, path, None).await;
        assert_eq!(met.status.as_u16(), 402, "{path}");
        let header = met.header("payment-required").expect("a header").to_owned();
        let body = json!({ "mandate": self.mandate, "payment_required_header": header });
        self.world
            .client
            .call(Method::POST, "/v1/payments", &self.world.agent, Some(key), Some(body))
            .await
            .expect("a payment")
    }

    /// How often the upstream was asked for anything.
    async fn seen(&self) -> u64 {
        let counted: Value =
            reqwest::get(format!("http://127.0.0.1:{}/count", self.port)).await.unwrap().json().await.unwrap();
        counted["seen"].as_u64().unwrap()
    }
}

fn json_of(fetched: &Fetched) -> Value {
    serde_json::from_slice(&fetched.body).unwrap_or_else(|_| panic!("{:?}", String::from_utf8_lossy(&fetched.body)))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_an_upstream_unpaid() {
    let shop = Shop::open(KEY).await;
    for path in ["/shop/a", "/shop/a?b=c", "/shop/fail", "/shop/gold", "/shop/a%2fx"] {
        assert_eq!(shop.ask("GET", path, None).await.status.as_u16(), 402, "{path}");
        assert_eq!(shop.ask("HEAD", path, None).await.status.as_u16(), 402, "{path}");
        let forged = shop.ask("GET", path, Some("bm90IGEgcGF5bWVudA==")).await;
        assert_eq!(forged.status.as_u16(), 400, "{path}");
    }
    for (method, path, status) in
        [("PUT", "/shop/a", 405), ("DELETE", "/shop/a", 405), ("GET", "/shop", 404), ("GET", "/v2/a", 404)]
    {
        assert_eq!(shop.ask(method, path, None).await.status.as_u16(), status, "{method} {path}");
    }
    let file = shop.world.config_file().display().to_string();
    let said = stdout(&run(&["doctor", "--config", &file], &shop.world.env()));
    assert!(said.contains("PASS upstream of /shop/*") && said.contains("FAIL upstream of /gone/*"), "{said}");
    assert_eq!(shop.seen().await, 0);
    // What is paid for one resource buys no other.
    let cheap = shop.signed("GET", "/shop/a", "cheap").await;
    let cheap = text(&cheap, "payment_signature");
    for path in ["/shop/b", "/shop/a?x", "/shop/gold", "/paid/dataset"] {
        let refused = shop.ask("GET", path, Some(cheap)).await;
        assert_eq!(refused.status.as_u16(), 402, "{path}");
    }
    assert_eq!(shop.ask("POST", "/shop/a", Some(cheap)).await.status.as_u16(), 200, "a payment names no method");
    assert_eq!(shop.ask("GET", "/shop/a", Some(cheap)).await.status.as_u16(), 402, "and buys one");
    assert_eq!(shop.seen().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_learns_who_paid_from_us_alone() {
    let mut shop = Shop::open(KEY).await;
    let payment = shop.signed("POST", "/shop/things/7%20x?colour=red", "one").await;
    let http = reqwest::Client::new();
    let sent = http
        .post(shop.url("/shop/things/7%20x?colour=red"))
        .header("payment-signature", text(&payment, "payment_signature"))
        .header("purser-payment-id", "forged")
        .header("purser-payment-amount", "99999999")
        .header("signature-input", "purser=(\"@method\");created=1;alg=\"hmac-sha256\"")
        .header("signature", "purser=:forged:")
        .header("x-forwarded-for", "10.0.0.1")
        .header("connection", "x-secret")
        .header("x-secret", "of this hop")
        .header("authorization", "Bearer of-the-upstream")
        .body("a body")
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status().as_u16(), 200);
    assert!(sent.headers().get("x-hop").is_none() && sent.headers().get("purser-payment-id").is_none());
    let receipt = sent.headers().get("payment-response").unwrap().clone();
    assert_ne!(receipt, "forged");
    let said: Value = sent.json().await.unwrap();
    assert_eq!(
        (text(&said, "method"), text(&said, "path"), text(&said, "body")),
        ("POST", "/v2/things/7%20x?colour=red", "a body")
    );
    let headers = &said["headers"];
    assert_eq!(text(headers, "purser-payment-amount"), "10000");
    let payer = text(headers, "purser-payment-payer");
    assert!(text(headers, "purser-payment-id").contains(payer));
    assert_eq!(text(headers, "authorization"), "Bearer of-the-upstream");
    for gone in ["x-secret", "x-forwarded-for", "payment-signature"] {
        assert!(headers.get(gone).is_none(), "{gone}: {headers}");
    }
    // Bought once, and fetched again without asking the upstream.
    let again = http
        .post(shop.url("/shop/things/7%20x?colour=red"))
        .header("payment-signature", text(&payment, "payment_signature"))
        .body("a body")
        .send()
        .await
        .unwrap();
    assert_eq!((again.status().as_u16(), again.json::<Value>().await.unwrap()), (200, said));
    assert_eq!(shop.seen().await, 1);
    shop.world.until(text(&payment, "id"), "settled").await;
    assert_eq!(shop.world.moved().await, 1);
    shop.world.check_books(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_does_not_deliver_is_not_charged() {
    let shop = Shop::open(KEY).await;
    for (path, status) in [
        ("/shop/fail", 500),
        ("/shop/cut", 500),
        ("/shop/slow", 504),
        ("/gone/a", 502),
        ("/shop/a%2f..%2fsecret", 400),
        ("/shop/a;b", 400),
        ("/shop/GOLD", 400),
        ("/shop/%67old", 400),
    ] {
        let payment = shop.signed("GET", path, path).await;
        let answered = shop.ask("GET", path, Some(text(&payment, "payment_signature"))).await;
        assert_eq!(answered.status.as_u16(), status, "{path}: {:?}", String::from_utf8_lossy(&answered.body));
        assert!(answered.header("payment-response").is_none(), "{path}");
        assert!(!String::from_utf8_lossy(&answered.body).contains("127.0.0.1"), "{path}");
    }
    assert_eq!(shop.world.moved().await, 0);
    let before = shop.seen().await;
    let payment = shop.signed("POST", "/shop/a", "large").await;
    let sent = reqwest::Client::new()
        .post(shop.url("/shop/a"))
        .header("payment-signature", text(&payment, "payment_signature"))
        .body("x".repeat(1_001));
    assert_eq!(sent.send().await.unwrap().status().as_u16(), 413);
    assert_eq!((shop.seen().await, shop.world.moved().await), (before, 0), "nothing was claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_with_another_key_believes_nothing() {
    let shop = Shop::open(&KEY.replace('5', "6")).await;
    let payment = shop.signed("GET", "/shop/a", "one").await;
    let answered = shop.ask("GET", "/shop/a", Some(text(&payment, "payment_signature"))).await;
    assert_eq!((answered.status.as_u16(), json_of(&answered)["error"].is_string()), (401, true));
    assert_eq!((shop.seen().await, shop.world.moved().await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_cannot_be_meant_does_not_start() {
    let world = World::start().await;
    let file = world.folder.path().join("wrong.toml");
    let key_file = world.folder.path().join("upstream.key");
    let both = RouteConfig { body: Some("text".into()), ..route("/shop/a", "http://127.0.0.1:1".into()) };
    let neither = RouteConfig { upstream: None, ..route("/shop/a", String::new()) };
    let text_under = RouteConfig { body: Some("text".into()), upstream: None, ..route("/shop/*", String::new()) };
    let method = RouteConfig { methods: vec!["TRACE".into()], ..route("/shop/a", "http://127.0.0.1:1".into()) };
    let user = route("/shop/a", "http://me:secret@127.0.0.1:1".into());
    for (case, key, wrong, said) in [
        ("both", KEY, both, "both are there"),
        ("neither", KEY, neither, "neither is there"),
        ("text", KEY, text_under, "a text has one path"),
        ("method", KEY, method, "TRACE"),
        ("user", KEY, user, "without user"),
        ("short", "abcd", route("/shop/a", "http://127.0.0.1:1".into()), "at least 32 bytes"),
        ("hex", "key", route("/shop/a", "http://127.0.0.1:1".into()), "hexadecimal"),
        ("none", "", route("/shop/a", "http://127.0.0.1:1".into()), "upstream_key_file"),
    ] {
        let mut config = world.config.clone();
        config.listen = crate::harness::free_address();
        let sell = config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).unwrap();
        std::fs::write(&key_file, key).unwrap();
        sell.upstream_key_file = (!key.is_empty()).then(|| key_file.clone());
        sell.routes.push(wrong);
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let served = run(&["serve", "--config", &file.display().to_string()], &world.env());
        let why = String::from_utf8_lossy(&served.stderr).into_owned();
        assert!(!served.status.success() && why.contains(said), "{case}: {why}{}", stdout(&served));
        assert!(!why.contains("secret") || case != "user", "{case}: {why}");
    }
}
