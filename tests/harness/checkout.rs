//! A platform that buys from the shop of a dev service, by ACP and by UCP, and people whose root the shop trusts.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Mutex;

use ledger::money::Amount;
use mandates::cart::{Cart, hash};
use mandates::checkout::ClosedCheckout;
use mandates::digest::HashAlgorithm;
use mandates::issue::{Addressed, RootTerms, root};
use mandates::json::Object;
use mandates::keys::LocalKey;
use mandates::mandate::Mandate;
use mandates::party::{Instrument, Merchant, Money};
use mandates::payment::ClosedPayment;
use purser::dev::DevOptions;
use reqwest::Method;
use serde_json::{Value, json};

use super::shop::{Shop, new_key};
use super::text;

pub const AP2: &str = "dev.ucp.shopping.ap2_mandate";

/// An answer of the shop's: status, headers, body.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The code of a refusal, in either protocol.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().or(self.body["messages"][0]["code"].as_str()).unwrap_or("none")
    }

    pub fn said(&self) -> (u16, &str) {
        (self.status, self.code())
    }
}

pub struct Platform {
    pub shop: Shop,
    /// Signs for people as their agent provider would.
    pub root: LocalKey,
    /// Addresses of profiles, with AP2 and without.
    pub locked: String,
    pub plain: String,
    http: reqwest::Client,
    /// Everything that was answered, for whoever holds it against the schemas.
    pub answered: Mutex<Vec<(&'static str, Value)>>,
}

fn profile(capabilities: &[&str], key: &LocalKey) -> Value {
    let version = "2026-04-08";
    let capabilities: Object =
        capabilities.iter().map(|name| ((*name).to_owned(), json!([{ "version": version }]))).collect();
    json!({ "ucp": { "version": version, "services": {}, "payment_handlers": {}, "capabilities": capabilities },
        "signing_keys": [key.public().to_jwk()] })
}

impl Platform {
    pub async fn open() -> Self {
        Self::open_with(DevOptions::default()).await
    }

    pub async fn open_with(options: DevOptions) -> Self {
        let root = LocalKey::from_random(&[41; 32]).unwrap();
        let options = DevOptions { shop_roots: vec![root.public().to_jwk()], ..options };
        let shop = Shop::open_with(options).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ours = ["checkout", "fulfillment", "discount"].map(|name| format!("dev.ucp.shopping.{name}"));
        let mut names: Vec<&str> = ours.iter().map(String::as_str).collect();
        let plain = profile(&names, &root);
        names.push(AP2);
        let locked = profile(&names, &root);
        let mut keyless = locked.clone();
        keyless["signing_keys"] = json!([]);
        let mut later = locked.clone();
        later["ucp"]["version"] = "2099-01-01".into();
        let mut router = axum::Router::new();
        for (path, profile) in
            [("/locked", locked), ("/plain", plain), ("/keyless", keyless), ("/later", later), ("/empty", json!({}))]
        {
            router = router.route(path, axum::routing::get(move || async move { axum::Json(profile) }));
        }
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let (locked, plain) = (format!("{url}/locked"), format!("{url}/plain"));
        Self { shop, root, locked, plain, http: reqwest::Client::new(), answered: Mutex::default() }
    }

    pub fn of(&self, name: &str) -> String {
        self.locked.replace("/locked", name)
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let mut request = self.http.request(method, self.shop.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.expect("the shop answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path} answers JSON: {text}"));
        assert!(status < 500, "{path}: {body}");
        Answer { status, headers, body }
    }

    pub async fn ucp_as(&self, profile: &str, method: Method, path: &str, key: &str, body: Option<&Value>) -> Answer {
        let agent = format!("profile=\"{profile}\"");
        let path = format!("/checkout-sessions{path}");
        let answer = self.send(method, &path, &[("ucp-agent", &agent), ("idempotency-key", key)], body).await;
        let kind = if answer.body["ucp"]["status"] == "error" { "ucp_error" } else { "ucp" };
        self.answered.lock().unwrap().push((kind, answer.body.clone()));
        answer
    }

    pub async fn ucp(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ucp_as(&self.locked, method, path, &new_key(), body.as_ref()).await
    }

    pub async fn acp_as(&self, token: &str, method: Method, path: &str, key: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {token}");
        let path = format!("/checkout_sessions{path}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("api-version", "2026-04-17"),
            ("idempotency-key", key),
            ("request-id", "r-1"),
        ];
        let answer = self.send(method, &path, &headers, body).await;
        let kind = if answer.body.get("line_items").is_some() { "acp" } else { "acp_error" };
        self.answered.lock().unwrap().push((kind, answer.body.clone()));
        answer
    }

    pub async fn acp(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.acp_as(&self.shop.agent, method, path, &new_key(), body.as_ref()).await
    }

    /// A checkout of one gift card, in UCP.
    pub async fn open_ucp(&self) -> Value {
        let answer = self.ucp(Method::POST, "", Some(ucp_items("gift_card", 1))).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body
    }

    pub async fn complete(&self, session: &Value, checkout: &str, payment: &str) -> Answer {
        let path = format!("/{}/complete", text(session, "id"));
        self.ucp(Method::POST, &path, Some(ucp_mandates(checkout, payment))).await
    }

    /// Both mandates, closed by the service under a mandate of its user's.
    pub async fn chained(&self, mandate: &str, session: &Value) -> Value {
        let ap2 = &session["ap2"];
        let body = json!({
            "mandate": mandate, "cart": ap2["checkout_jwt"], "audience": ap2["audience"], "nonce": ap2["nonce"],
            "checkout": { "audience": ap2["audience"], "nonce": ap2["nonce"] },
            "payment_instrument": { "id": "card-1", "type": "card", "description": "Card ****1234" },
        });
        let (client, agent) = (&self.shop.client, &self.shop.agent);
        client.call(Method::POST, "/v1/mandates/payments", agent, Some(&new_key()), Some(body)).await.expect("closed")
    }

    fn rooted(&self, mandate: Mandate, audience: &str, nonce: &str, key: &LocalKey) -> String {
        let now = self.now();
        let key_id = key.key_id();
        let terms = RootTerms {
            key_id: &key_id,
            issuer: "https://provider.example",
            issued_at_seconds: now,
            addressed: Addressed::To { audience, nonce },
            status: None,
        };
        let mut salt = 0_u8;
        let unsigned = root(&terms, &[mandate], &mut || {
            salt += 1;
            [salt; 16]
        });
        let unsigned = unsigned.expect("a root");
        let signature = key.sign(unsigned.signing_input()).unwrap();
        unsigned.finish(signature)
    }

    pub fn now(&self) -> i64 {
        self.shop.service.engine().clock.now().seconds()
    }

    /// A checkout mandate that a person signed directly, with what differs from a good one.
    pub fn single(&self, session: &Value, differing: &Differing<'_>) -> String {
        let ap2 = &session["ap2"];
        let jwt = differing.jwt.unwrap_or_else(|| text(ap2, "checkout_jwt"));
        let closed = ClosedCheckout {
            checkout_jwt: jwt.to_owned(),
            checkout_hash: hash(jwt, HashAlgorithm::Sha256),
            issued_at_seconds: Some(self.now()),
            expires_at_seconds: Some(self.now() + differing.lives_seconds.unwrap_or(300)),
            others: Object::new(),
        };
        let audience = differing.audience.unwrap_or_else(|| text(ap2, "audience"));
        let nonce = differing.nonce.unwrap_or_else(|| text(ap2, "nonce"));
        self.rooted(Mandate::Checkout(closed), audience, nonce, differing.key.unwrap_or(&self.root))
    }

    /// A payment mandate that a person signed directly.
    pub fn single_payment(&self, session: &Value, id: &str) -> String {
        let ap2 = &session["ap2"];
        let jwt = text(ap2, "checkout_jwt");
        let cart = Cart::parse(jwt).unwrap();
        let instrument = json!({ "id": id, "type": "card", "description": "a card" });
        let payment = ClosedPayment {
            transaction_id: hash(jwt, HashAlgorithm::Sha256),
            payee: Merchant::parse(session["merchant"].as_object().unwrap()).unwrap(),
            payment_amount: Money {
                amount: Amount::new(cart.total.to_string().parse().unwrap()),
                currency: cart.currency,
            },
            payment_instrument: Instrument::parse(instrument.as_object().unwrap()).unwrap(),
            pisp: None,
            execution_date: None,
            risk_data: None,
            issued_at_seconds: Some(self.now()),
            expires_at_seconds: Some(self.now() + 300),
            others: Object::new(),
        };
        self.rooted(Mandate::Payment(payment), text(ap2, "audience"), text(ap2, "nonce"), &self.root)
    }
}

/// What a mandate has other than it should.
#[derive(Default)]
pub struct Differing<'a> {
    pub jwt: Option<&'a str>,
    pub audience: Option<&'a str>,
    pub nonce: Option<&'a str>,
    pub lives_seconds: Option<i64>,
    pub key: Option<&'a LocalKey>,
}

pub fn ucp_items(product: &str, quantity: u64) -> Value {
    json!({ "line_items": [{ "item": { "id": product }, "quantity": quantity }] })
}

pub fn ucp_mandates(checkout: &str, payment: &str) -> Value {
    json!({
        "payment": { "instruments": [{ "id": "i", "handler_id": "ap2", "type": "ap2_mandate", "selected": true,
            "credential": { "type": "ap2_mandate", "token": payment } }] },
        "ap2": { "checkout_mandate": checkout },
    })
}

/// What is wrong with each document, by the schemas of a folder.
pub fn validated(folder: &str, cases: &[(String, &Value)]) -> Vec<Vec<String>> {
    let folder = super::root().join("fixtures").join(folder);
    let cases: Vec<Value> =
        cases.iter().map(|(schema, document)| json!({ "schema": schema, "document": document })).collect();
    let script = super::root().join("tests/foreign/schema.py");
    let mut child = std::process::Command::new(super::foreign("python"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let asked = json!({ "folder": folder, "cases": cases }).to_string();
    child.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the validator runs");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Polled together: none waits for another's answer. In the order of the calls.
pub async fn together<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|context| {
        for (call, answer) in running.iter_mut().filter(|(_, answer)| answer.is_none()) {
            if let std::task::Poll::Ready(found) = call.as_mut().poll(context) {
                *answer = Some(found);
            }
        }
        let is_done = running.iter().all(|(_, answer)| answer.is_some());
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, answer)| answer).collect()
}
