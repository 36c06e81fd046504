//! An agent that buys under a mandate from shops that it does not believe: once for a key, never beyond what was agreed on,
//! and by what the book says became of it.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use commerce::acp_buyer::Consent;
use mandates::currency::Currency;
use payer::shop::{Errand, Ordered, ShopError, Shopper};
use purser::client::{Client, ClientError};
use purser::credential::Credential;
use purser::shopper::VaultPurse;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::checkout::Platform;
use crate::harness::closing::figures;
use crate::harness::process::{Service, purser};
use crate::harness::shop::{intent, new_key};
use crate::harness::text;
use crate::harness::vault::{in_seconds, request};

/// What a front makes of an exchange: of the method and path, and of what the shop answered.
type Twist = (&'static str, fn(&mut Value));
type Lie = Box<dyn Fn(&str, u16, &mut Value) -> u16 + Send + Sync>;

/// Something that stands before a shop and says other things than the shop does.
#[derive(Clone)]
pub(super) struct Front {
    shop: String,
    pub url: String,
    lie: Arc<Mutex<Arc<Lie>>>,
    /// Steps that are kept from the shop: answered with what it says of the session instead.
    held_back: Arc<Mutex<Option<&'static str>>>,
    /// Steps whose key is another one each time: the shop forgot what it answered.
    forgetful: Arc<Mutex<bool>>,
    /// Answers that never come, though the shop did what it was asked.
    swallowed: Arc<Mutex<bool>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Front {
    pub async fn before(shop: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let truth: Lie = Box::new(|_, status, _| status);
        let front = Self {
            shop: shop.to_owned(),
            url,
            lie: Arc::new(Mutex::new(Arc::new(truth))),
            held_back: Arc::default(),
            forgetful: Arc::default(),
            swallowed: Arc::default(),
            asked: Arc::default(),
        };
        let router = axum::Router::new().fallback(pass).with_state(front.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        front
    }

    fn lies(&self, lie: impl Fn(&str, u16, &mut Value) -> u16 + Send + Sync + 'static) {
        let lie: Lie = Box::new(lie);
        *self.lie.lock().unwrap() = Arc::new(lie);
        self.asked.lock().unwrap().clear();
    }

    fn tells_the_truth(&self) {
        self.lies(|_, status, _| status);
        *self.held_back.lock().unwrap() = None;
    }

    fn was_asked(&self, step: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.contains(step)).count()
    }
}

async fn pass(State(front): State<Front>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let step = format!("{} {path}", parts.method);
    front.asked.lock().unwrap().push(step.clone());
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let held_back = front.held_back.lock().unwrap().is_some_and(|step| path.ends_with(step));
    let (method, path) = match path.rsplit_once('/') {
        Some((session, _)) if held_back => (Method::GET, session.to_owned()),
        _ => (parts.method.clone(), path),
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut call = client.request(method, format!("{}{path}", front.shop)).body(if held_back {
        Vec::new()
    } else {
        bytes.to_vec()
    });
    for name in ["authorization", "api-version", "idempotency-key", "content-type"] {
        if let Some(value) = parts.headers.get(name) {
            let is_new = name == "idempotency-key" && *front.forgetful.lock().unwrap();
            call = if is_new { call.header(name, new_key()) } else { call.header(name, value) };
        }
    }
    let answer = call.send().await.unwrap();
    let status = answer.status().as_u16();
    let mut body: Value = answer.json().await.unwrap_or_default();
    if body["api_base_url"].is_string() {
        body["api_base_url"] = front.url.clone().into();
    }
    if step.ends_with("/complete") && *front.swallowed.lock().unwrap() {
        std::future::pending::<()>().await;
    }
    let lie = front.lie.lock().unwrap().clone();
    let status = lie(&step, status, &mut body);
    (axum::http::StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

/// An agent of the platform's shop, with its mandate and a card.
struct Buyer<'a> {
    platform: &'a Platform,
    mandate: String,
}

impl Buyer<'_> {
    fn errand(&self, shop: &str, key: &str, total_max: u64) -> Errand {
        let consent = Consent {
            merchant_id: "shop".into(),
            currency: Currency::new("USD").unwrap(),
            total_max,
            items: [("gift_card".to_owned(), 1)].into(),
            vault: self.platform.shop.service.url().to_owned(),
        };
        let details = mandates::json::Object::new();
        Errand { shop: shop.to_owned(), consent, details, option: None, key: key.to_owned() }
    }

    fn shopper(&self, errand: &Errand) -> Shopper<VaultPurse> {
        let url = self.platform.shop.service.url();
        let agent = || Credential::bearer(&self.platform.shop.agent);
        let is_front = !errand.shop.starts_with(url);
        let purse = VaultPurse {
            service: Client::new(url).unwrap(),
            credential: agent(),
            shop: is_front.then(|| (Client::new(&errand.shop).unwrap(), agent())),
            mandate: self.mandate.clone(),
            mandate_ends_at: in_seconds(3_000),
            card: request("", 1, json!({}))["payment_method"].as_object().unwrap().clone(),
        };
        Shopper::new(purse, Duration::from_secs(20)).unwrap()
    }

    async fn buy(&self, errand: &Errand) -> Result<Ordered, ShopError<ClientError>> {
        self.shopper(errand).buy(errand).await
    }

    async fn refused(&self, errand: &Errand) -> (&'static str, String) {
        let refused = self.buy(errand).await.expect_err("a refusal");
        (refused.code(), refused.to_string())
    }

    async fn figures(&self) -> (String, String) {
        figures(&self.platform.shop, &self.mandate).await
    }
}

async fn buyer(platform: &Platform) -> Buyer<'_> {
    let mandate = platform.shop.mandate(intent()).await;
    Buyer { platform, mandate }
}

fn is(held: &str, posted: &str) -> (String, String) {
    (held.to_owned(), posted.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_buys_once_for_a_key_and_for_no_more_than_was_agreed_on() {
    let platform = Platform::open().await;
    let buyer = buyer(&platform).await;
    let url = platform.shop.service.url().to_owned();
    let scant = buyer.errand(&url, &new_key(), 99);
    assert_eq!(buyer.refused(&scant).await.0, "total_beyond_consent");
    assert_eq!(buyer.figures().await, is("0.00", "0.00"), "nothing is held for it");

    let errand = buyer.errand(&url, &new_key(), 150);
    let bought = buyer.buy(&errand).await.expect("it is bought");
    assert_eq!((bought.total, bought.currency.as_str(), bought.standing.state.as_str()), (100, "USD", "settled"));
    assert_eq!(bought.standing.captured, Some(100));
    assert_eq!(buyer.figures().await, is("0.00", "1.00"));
    for _ in 0..2 {
        assert_eq!(buyer.buy(&errand).await.expect("the same again"), bought);
    }
    assert_eq!(buyer.figures().await, is("0.00", "1.00"), "the same purchase");

    // What is cancelled is not bought under that key, and what is bought is not cancelled.
    let given_up = buyer.errand(&url, &new_key(), 150);
    buyer.shopper(&given_up).cancel(&given_up).await.expect("cancelled");
    assert_eq!(buyer.refused(&given_up).await.0, "session_over");
    let late = buyer.shopper(&errand).cancel(&errand).await.expect_err("it is bought");
    assert!(late.code() == "shop_refused" && late.to_string().contains("405"), "{late}");
    assert_eq!(buyer.figures().await, is("0.00", "1.00"));

    // The same key for anything else: nothing.
    let mut more = errand.clone();
    more.consent.items = [("gift_card".to_owned(), 2)].into();
    more.consent.total_max = 200;
    let (code, why) = buyer.refused(&more).await;
    assert!(code == "shop_refused" && why.contains("idempotency_conflict"), "{why}");
    let mut nobody = buyer.errand(&url, &new_key(), 150);
    nobody.consent.merchant_id = "acme".into();
    assert_eq!(buyer.refused(&nobody).await.0, "merchant_mismatch");
    let elsewhere = Errand { shop: "http://127.0.0.1:9".into(), ..buyer.errand(&url, &new_key(), 150) };
    assert_eq!(buyer.refused(&elsewhere).await.0, "shop_unreachable");
    // Beyond the mandate, whatever the agent agreed on.
    let mut dear = buyer.errand(&url, &new_key(), 100_000);
    dear.consent.items = [("gift_card".to_owned(), 50)].into();
    let (code, why) = buyer.refused(&dear).await;
    assert!(code == "purse_refused" && why.contains("amount"), "{why}");
    // What ships needs a way to be sent.
    let mut sent = buyer.errand(&url, &new_key(), 500);
    sent.consent.items = [("bouquet_tulips".to_owned(), 1)].into();
    sent.consent.total_max = 3_500;
    assert_eq!(buyer.refused(&sent).await.0, "session_not_ready");
    assert_eq!(buyer.figures().await, is("0.00", "1.00"));
    platform.shop.service.stop().await;
}

/// Whatever is said before it is paid: no token leaves the vault, and nothing is held.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_paid_for_what_a_shop_changed() {
    let platform = Platform::open().await;
    let buyer = buyer(&platform).await;
    let front = Front::before(platform.shop.service.url()).await;
    let total = |amount: u64| {
        move |body: &mut Value| {
            for entry in body["totals"].as_array_mut().into_iter().flatten().filter(|entry| entry["type"] == "total") {
                entry["amount"] = amount.into();
            }
        }
    };
    let set = |pointer: &'static str, value: Value| {
        move |body: &mut Value| {
            if let Some(place) = body.pointer_mut(pointer) {
                *place = value.clone();
            }
        }
    };
    let handler = |member: &'static str, value: Value| set(member, value);
    type Twist = Box<dyn Fn(&mut Value) + Send + Sync>;
    let looked: Vec<(&str, Twist, &str)> = vec![
        ("total", Box::new(total(101)), "session_changed"),
        ("less", Box::new(total(99)), "session_changed"),
        ("currency", Box::new(set("/currency", json!("eur"))), "session_changed"),
        ("quantity", Box::new(set("/line_items/0/quantity", json!(2))), "session_changed"),
        (
            "merchant",
            Box::new(handler("/capabilities/payment/handlers/0/config/merchant_id", json!("acme"))),
            "session_changed",
        ),
        (
            "vault",
            Box::new(handler("/capabilities/payment/handlers/0/psp", json!("https://evil.example"))),
            "session_changed",
        ),
        ("another session", Box::new(set("/id", json!("checkout_session_other"))), "session_mismatch"),
        ("cancelled", Box::new(set("/status", json!("canceled"))), "session_over"),
        ("escalated", Box::new(set("/status", json!("requires_escalation"))), "session_not_ready"),
        ("for ever", Box::new(set("/expires_at", json!("2999-01-01T00:00:00Z"))), "session_too_long"),
        ("no session", Box::new(|body: &mut Value| *body = json!([])), "shop_answer_unreadable"),
    ];
    for (name, twist, code) in looked {
        front.lies(move |step, status, body| {
            if step.starts_with("GET /checkout_sessions/") {
                twist(body);
            }
            status
        });
        let errand = buyer.errand(&front.url, &new_key(), 150);
        let (found, why) = buyer.refused(&errand).await;
        assert_eq!(found, code, "{name}: {why}");
        assert_eq!(front.was_asked("/complete"), 0, "{name}");
    }
    // From the first answer on.
    let always: Vec<(&str, Twist, &str)> = vec![
        ("total", Box::new(total(151)), "total_beyond_consent"),
        ("currency", Box::new(set("/currency", json!("jpy"))), "currency_mismatch"),
        (
            "merchant",
            Box::new(handler("/capabilities/payment/handlers/0/config/merchant_id", json!("acme"))),
            "merchant_mismatch",
        ),
        (
            "vault",
            Box::new(handler("/capabilities/payment/handlers/0/psp", json!("http://127.0.0.1:9"))),
            "vault_mismatch",
        ),
        ("handler", Box::new(set("/capabilities/payment/handlers", json!([]))), "handler_missing"),
        ("items", Box::new(set("/line_items/0/item/id", json!("wallpaper"))), "items_mismatch"),
        ("path", Box::new(set("/id", json!("../../v1/kill"))), "shop_answer_unreadable"),
        ("version", Box::new(set("/protocol/supported_versions", json!(["2025-09-29"]))), "acp_version_unsupported"),
        ("protocol", Box::new(set("/protocol/name", json!("ucp"))), "no_shop"),
        ("origin", Box::new(set("/api_base_url", json!("https://evil.example"))), "shop_elsewhere"),
    ];
    for (name, twist, code) in always {
        front.lies(move |_, status, body| {
            twist(body);
            status
        });
        let errand = buyer.errand(&front.url, &new_key(), 150);
        let (found, why) = buyer.refused(&errand).await;
        assert_eq!(found, code, "{name}: {why}");
        assert_eq!(front.was_asked("/complete"), 0, "{name}");
    }
    assert_eq!(buyer.figures().await, is("0.00", "0.00"));
    // Its refusals are told, and nothing that a terminal obeys is in them.
    front.lies(|step, status, body| {
        if !step.starts_with("POST") {
            return status;
        }
        *body = json!({ "type": "invalid_request", "code": "invalid", "message": "no\u{1b}[2J" });
        400
    });
    let (code, why) = buyer.refused(&buyer.errand(&front.url, &new_key(), 150)).await;
    assert!(code == "shop_refused" && why.contains("400 invalid") && !why.contains('\u{1b}'), "{why}");
    front.tells_the_truth();
    buyer.buy(&buyer.errand(&front.url, &new_key(), 150)).await.expect("a front that says what the shop says");
    assert_eq!(buyer.figures().await, is("0.00", "1.00"));
    platform.shop.service.stop().await;
}

/// What became of it is asked of the book.
#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_lies_about_the_payment_is_found_out() {
    let platform = Platform::open().await;
    let buyer = buyer(&platform).await;
    let front = Front::before(platform.shop.service.url()).await;
    let complete = |twist: fn(&mut Value)| {
        move |step: &str, status: u16, body: &mut Value| {
            if step.ends_with("/complete") {
                twist(body);
            }
            status
        }
    };
    let mut posted = 0;
    let twists: [Twist; 4] = [
        ("declined", |body| {
            body["status"] = "ready_for_payment".into();
            body["messages"] = json!([{ "type": "error", "code": "payment_declined", "content": "no" }]);
        }),
        ("no order", |body| drop(body.as_object_mut().unwrap().remove("order"))),
        ("another's order", |body| body["order"]["checkout_session_id"] = "checkout_session_other".into()),
        ("nothing that can be read", |body| *body = json!("thanks")),
    ];
    for (name, twist) in twists {
        front.lies(complete(twist));
        let errand = buyer.errand(&front.url, &new_key(), 150);
        let (code, why) = buyer.refused(&errand).await;
        assert!(code == "shop_contradicts_book" && why.contains("settled"), "{name}: {why}");
        posted += 1;
        assert_eq!(buyer.figures().await, is("0.00", &format!("{posted}.00")), "{name}");
        // The same key finds the order that there is, and pays nothing.
        front.tells_the_truth();
        assert_eq!(buyer.buy(&errand).await.expect(name).standing.captured, Some(100), "{name}");
        assert_eq!(buyer.figures().await, is("0.00", &format!("{posted}.00")), "{name}");
    }
    // It says that it declined, and nobody asked the vault: the token is good still, and pays once.
    let errand = buyer.errand(&front.url, &new_key(), 150);
    *front.held_back.lock().unwrap() = Some("/complete");
    assert_eq!(buyer.refused(&errand).await.0, "payment_declined");
    assert_eq!(buyer.figures().await, is("1.00", "4.00"), "held, until the session ends");
    front.tells_the_truth();
    buyer.buy(&errand).await.expect("bought now");
    assert_eq!(buyer.figures().await, is("0.00", "5.00"));
    platform.shop.service.stop().await;
}

/// A shop that does not remember its sessions, or says so, gets no second token.
#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_forgets_is_not_paid_twice() {
    let platform = Platform::open().await;
    let buyer = buyer(&platform).await;
    let front = Front::before(platform.shop.service.url()).await;
    *front.forgetful.lock().unwrap() = true;
    let errand = buyer.errand(&front.url, &new_key(), 150);
    buyer.buy(&errand).await.expect("the first time");
    for _ in 0..2 {
        let (code, why) = buyer.refused(&errand).await;
        assert!(code == "purse_refused" && why.contains("idempotency_key_reused"), "{why}");
    }
    assert_eq!(buyer.figures().await, is("0.00", "1.00"));
    // It never answers what became of it: unknown, and found with the same key.
    *front.forgetful.lock().unwrap() = false;
    front.lies(|step, status, _| if step.ends_with("/complete") { 503 } else { status });
    let errand = buyer.errand(&front.url, &new_key(), 150);
    let (code, why) = buyer.refused(&errand).await;
    assert!(code == "outcome_unknown" && why.contains("the same key asks again"), "{why}");
    assert!(front.was_asked("/complete") > 1, "it is asked again, with its key");
    front.tells_the_truth();
    buyer.buy(&errand).await.expect("it was bought");
    assert_eq!(buyer.figures().await, is("0.00", "2.00"));
    platform.shop.service.stop().await;
}

/// A process that is killed between the payment and its answer, and tries again: one order.
#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_that_was_killed_finds_its_order() {
    let service = Service::dev();
    let acp = service.line["acp"].clone();
    let front = Front::before(service.url()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.display().to_string()
    };
    let token = text(&service.line["agent"], "token");
    let card = file("card.json", request("", 1, json!({}))["payment_method"].clone());
    let shop = file("shop.json", json!({ "url": front.url, "token": token }));
    let at_service = text(&service.line, "service_file").to_owned();
    let (mandate, total) = (text(&acp, "mandate"), "2.00");
    let of = |key: &'static str, total: &'static str| {
        vec![
            "shop",
            "buy",
            &front.url,
            "--mandate",
            mandate,
            "--merchant",
            "shop",
            "--total",
            total,
            "--item",
            "gift_card:2",
            "--card",
            &card,
            "--idempotency-key",
            key,
            "--shop",
            &shop,
            "--service",
            &at_service,
        ]
    };
    let run = |args: Vec<&str>| std::process::Command::new(purser()).args(args).output().unwrap();
    let scant = run(of("scant", "1.99"));
    let said = String::from_utf8_lossy(&scant.stderr).into_owned();
    assert!(!scant.status.success() && said.contains("total_beyond_consent"), "{said}");
    assert!(scant.stdout.is_empty() && !said.contains("4242424242424242"), "{said}");

    *front.swallowed.lock().unwrap() = true;
    let mut child = std::process::Command::new(purser())
        .args(of("once", total))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = child.as_mut().unwrap();
    let started = Instant::now();
    while front.was_asked("/complete") == 0 {
        assert!(started.elapsed() < Duration::from_secs(40), "it comes to pay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    *front.swallowed.lock().unwrap() = false;
    let bought = async || {
        let args: Vec<String> = of("once", total).into_iter().map(str::to_owned).collect();
        let output = tokio::task::spawn_blocking(move || std::process::Command::new(purser()).args(args).output());
        let output = output.await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let (first, second) = (bought().await, bought().await);
    assert_eq!(first, second, "one order");
    assert_eq!((first["payment"]["captured"].as_u64(), text(&first["payment"], "state")), (Some(200), "settled"));
    let client = Client::new(service.url()).unwrap();
    let user = text(&service.line["user"], "token");
    let view = client.call(Method::GET, &format!("/v1/mandates/{mandate}"), user, None, None).await.unwrap();
    assert_eq!((text(&view["posted"], "amount"), text(&view["held"], "amount")), ("2.00", "0.00"), "{view}");
}
