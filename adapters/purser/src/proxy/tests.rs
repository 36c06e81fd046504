//! The rule over HTTP, with a service and a seller that say what a real one says seldom.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use x402::wire::{PaymentRequired, PaymentRequirements, ResourceInfo, write_header};

use super::*;
use crate::credential::Credential;

/// What the service and the seller say next, and what they were asked.
#[derive(Default)]
struct Script {
    /// Status and code of the answers to a wish to pay; a payment when there is none left.
    refusals: Mutex<VecDeque<(u16, &'static str)>>,
    keys: Mutex<Vec<String>>,
    state: Mutex<&'static str>,
    /// What the seller answers to a payment.
    sells: Mutex<u16>,
}

impl Script {
    fn keys(&self) -> Vec<String> {
        std::mem::take(&mut self.keys.lock().unwrap())
    }
}

fn answer(status: u16, body: Value) -> Response {
    Response::builder().status(status).header("content-type", "application/json").body(body.to_string().into()).unwrap()
}

async fn say(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (path, state) = (request.uri().path().to_owned(), *script.state.lock().unwrap());
    match (request.method().as_str(), path.as_str()) {
        ("POST", "/v1/payments") => {
            let key = request.headers()["idempotency-key"].to_str().unwrap().to_owned();
            script.keys.lock().unwrap().push(key.clone());
            match script.refusals.lock().unwrap().pop_front() {
                Some((status, code)) => answer(status, json!({ "code": code, "detail": "It was refused." })),
                None => answer(201, json!({ "id": format!("of-{key}"), "payment_signature": "c2lnbmVk" })),
            }
        }
        (_, path) if path.starts_with("/v1/payments/") => answer(200, json!({ "state": state })),
        (_, "/sold") if request.headers().contains_key("payment-signature") => {
            answer(*script.sells.lock().unwrap(), json!("sold"))
        }
        (_, "/sold") => {
            let offer = PaymentRequirements {
                scheme: "exact".into(),
                network: "eip155:31337".into(),
                amount: "1".into(),
                asset: "0x00".into(),
                pay_to: "0x00".into(),
                max_timeout_seconds: 60,
                extra: None,
                unknown: serde_json::Map::new(),
            };
            let required = PaymentRequired::new(ResourceInfo::new("http://a/b"), vec![offer], None);
            let asked = Response::builder().status(402).header("payment-required", write_header(&required).unwrap());
            asked.body(Body::empty()).unwrap()
        }
        _ => answer(404, json!({})),
    }
}

struct Stage {
    _folder: tempfile::TempDir,
    script: Arc<Script>,
    plain: String,
    base: String,
}

async fn stage(window_seconds: i64) -> Stage {
    let script = Arc::new(Script::default());
    *script.sells.lock().unwrap() = 200;
    *script.state.lock().unwrap() = "settled";
    let world = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", world.local_addr().unwrap());
    let router = Router::new().fallback(say).with_state(script.clone());
    tokio::spawn(async move { axum::serve(world, router).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(Some(folder.path())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = Proxy {
        own: Own { port, pseudonym: "purser-test".into() },
        client: Client::direct(&base).unwrap(),
        credential: Credential::bearer("token"),
        service_url: base.clone(),
        mandate: "m".into(),
        outside: outside(None, Path::new("/nowhere")).unwrap(),
        notebook: Notebook::open(&home.file("purchases.log"), 0).unwrap(),
        window_seconds,
        room: room(),
        busy: Arc::new(()),
    };
    let authority = Authority::open(&home, OffsetDateTime::now_utc()).unwrap();
    let door = Arc::new(Door { proxy: Arc::new(proxy), authority });
    tokio::spawn(serve(door, listener, std::future::pending()));
    Stage { _folder: folder, script, plain: format!("http://127.0.0.1:{port}/"), base }
}

impl Stage {
    async fn get(&self) -> (u16, String) {
        self.ask(&format!("{}/sold", self.base), &[]).await
    }

    async fn ask(&self, url: &str, headers: &[(&'static str, &str)]) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.get(format!("{}{url}", self.plain));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let refusal = answer.headers().get("purser-refusal").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), refusal.unwrap_or_default())
    }

    fn refuse(&self, refusals: &[(u16, &'static str)]) {
        self.script.refusals.lock().unwrap().extend(refusals);
    }
}

#[tokio::test]
async fn what_may_have_been_signed_keeps_its_key() {
    let stage = stage(0).await;
    for (status, code) in [(500, "internal_error"), (503, "store_unavailable"), (504, "outcome_unknown")] {
        stage.refuse(&[(status, code)]);
        assert_eq!(stage.get().await, (503, code.to_owned()));
    }
    // An earlier try may be out, so nothing that is said of a later one makes the purchase another.
    for (status, code) in [(409, "purchase_unresolved"), (409, "idempotency_key_reused"), (422, "mandate_suspended")] {
        stage.refuse(&[(status, code)]);
        assert_eq!(stage.get().await, (402, code.to_owned()));
    }
    stage.refuse(&[(429, "quota_exceeded")]);
    assert_eq!(stage.get().await, (503, "quota_exceeded".to_owned()));
    assert_eq!(stage.get().await.0, 200);
    let keys = stage.script.keys();
    assert_eq!(keys.len(), 8);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn what_was_paid_and_not_delivered_keeps_its_key() {
    let stage = stage(0).await;
    for status in [500, 404, 402, 302, 409] {
        *stage.script.sells.lock().unwrap() = status;
        assert_eq!(stage.get().await.0, status);
    }
    // Delivered, but nobody knows whether it is paid.
    *stage.script.sells.lock().unwrap() = 200;
    for state in ["unknown", "submitted", "committed", "spent_otherwise", "held"] {
        *stage.script.state.lock().unwrap() = state;
        assert_eq!(stage.get().await.0, 200, "{state}");
    }
    let keys = stage.script.keys();
    assert_eq!(keys.len(), 10);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    *stage.script.state.lock().unwrap() = "settled";
    assert_eq!(stage.get().await.0, 200);
    assert_ne!(stage.script.keys()[0], keys[0], "settled, delivered, and the window has passed");
}

#[tokio::test]
async fn within_the_window_and_under_a_name_it_is_one_purchase() {
    let stage = stage(3_600).await;
    assert_eq!(stage.get().await.0, 200);
    assert_eq!(stage.get().await.0, 200);
    let keys = stage.script.keys();
    assert_eq!(keys[0], keys[1], "within the window");
    // Named: nothing is remembered, and the name is the key.
    let url = format!("{}/sold", stage.base);
    for (name, key) in [("order-17", "order-17"), ("order-17", "order-17")] {
        assert_eq!(stage.ask(&url, &[("purser-purchase", name)]).await.0, 200);
        assert_eq!(stage.script.keys(), [key]);
    }
    stage.refuse(&[(409, "spend_released")]);
    assert_eq!(stage.ask(&url, &[("purser-purchase", "order-18")]).await, (402, "spend_released".to_owned()));
    assert_eq!(stage.script.keys(), ["order-18"], "a name is never made another");
}

#[tokio::test]
async fn what_never_happened_is_bought_anew() {
    let stage = stage(3_600).await;
    // Refused at once: nobody was asked under the key before.
    for (status, code) in [(422, "amount_exceeds_budget"), (403, "forbidden"), (409, "purchase_unresolved")] {
        stage.refuse(&[(status, code)]);
        assert_eq!(stage.get().await, (402, code.to_owned()));
    }
    let mut refused = stage.script.keys();
    refused.dedup();
    assert_eq!(refused.len(), 3, "{refused:?}");
    // Paid, never delivered, and proved not to have been paid: the same request buys it, once.
    *stage.script.sells.lock().unwrap() = 500;
    assert_eq!(stage.get().await.0, 500);
    *stage.script.sells.lock().unwrap() = 200;
    stage.refuse(&[(409, "spend_released")]);
    assert_eq!(stage.get().await.0, 200);
    let keys = stage.script.keys();
    assert_eq!((keys.len(), keys[0] == keys[1], keys[1] == keys[2]), (3, true, false), "{keys:?}");
    // The seller asks for something else since; the book says what became of the first.
    let url = format!("{}/sold?other", stage.base);
    for (state, expected) in [("committed", 402), ("settled", 402), ("voided", 200)] {
        *stage.script.sells.lock().unwrap() = 500;
        stage.ask(&url, &[]).await;
        *stage.script.sells.lock().unwrap() = 200;
        *stage.script.state.lock().unwrap() = state;
        stage.refuse(&[(409, "idempotency_key_reused")]);
        assert_eq!(stage.ask(&url, &[]).await.0, expected, "{state}");
    }
    // Twice in one request is once too many.
    let url = format!("{}/sold?again", stage.base);
    *stage.script.sells.lock().unwrap() = 500;
    stage.ask(&url, &[]).await;
    stage.refuse(&[(409, "spend_released"), (409, "spend_released")]);
    assert_eq!(stage.ask(&url, &[]).await, (402, "spend_released".to_owned()));
}

#[tokio::test]
async fn a_seller_that_cannot_be_reached_costs_nothing() {
    let stage = stage(0).await;
    let gone = stage.ask("http://127.0.0.1:1/", &[]).await;
    assert_eq!(gone, (StatusCode::BAD_GATEWAY.as_u16(), "seller_unreachable".to_owned()));
    assert!(stage.script.keys().is_empty());
}
