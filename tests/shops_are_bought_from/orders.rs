//! What became of what was bought: moved by the merchant alone, refunded by the processor before it is said, and told to the
//! buyer's platform, signed, in order, until it listens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use commerce::acp_buyer::Consent;
use ledger::id::CallerKind;
use mandates::currency::Currency;
use payer::shop::{Errand, Shopper};
use purser::client::{Client, ClientError};
use purser::config::WebhookConfig;
use purser::credential::Credential;
use purser::dev::acp::with_vault;
use purser::keys::Slot;
use purser::shopper::VaultPurse;
use purser::world::SHOP;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::checkout::validated;
use crate::harness::process::{Service, run};
use crate::harness::shop::{new_key, refused};
use crate::harness::text;
use crate::harness::vault::{in_seconds, request};
use crate::harness::world::World;

/// One message: its id, its signature, its body, and what it was answered.
#[derive(Clone, Debug)]
pub(super) struct Told {
    id: String,
    pub signature: String,
    pub body: String,
    answer: u16,
}

impl Told {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Clone, Default)]
pub(super) struct Platform {
    told: Arc<Mutex<Vec<Told>>>,
    /// Of the next messages; 200 where none is left.
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Platform {
    async fn open(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/agentic_checkout/webhooks/order_events", listener.local_addr().unwrap());
        let take = async |State(platform): State<Self>, headers: HeaderMap, body: String| {
            let answer = platform.answers.lock().unwrap().pop_front().unwrap_or(200);
            let header = |name: &str| headers[name].to_str().unwrap().to_owned();
            let told = Told { id: header("request-id"), signature: header("merchant-signature"), body, answer };
            platform.told.lock().unwrap().push(told);
            StatusCode::from_u16(answer).unwrap()
        };
        let router = axum::Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn taken(&self) -> Vec<Told> {
        self.told.lock().unwrap().iter().filter(|told| told.answer == 200).cloned().collect()
    }

    pub async fn until(&self, count: usize) -> Vec<Told> {
        let started = Instant::now();
        while self.taken().len() < count {
            assert!(started.elapsed() < Duration::from_secs(40), "{count} do not come: {:#?}", self.taken());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.taken()
    }
}

/// RFC 2104, for keys of up to a block.
pub(super) fn hmac(key: &[u8], text: &[u8]) -> String {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    hex::encode(Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize())
}

pub(super) struct Stage {
    pub world: World,
    _acquirer: Service,
    pub merchant: String,
    pub secret: String,
}

impl Stage {
    pub async fn open(platform: &Platform, other: &Platform) -> Self {
        let acquirer = Service::start(&["acquirer"], &[]);
        let mut world = World::start().await;
        with_vault(&mut world.config, acquirer.url());
        let (url, elsewhere) = (platform.open().await, other.open().await);
        let webhook = |name: &str, url: String, buyer: &str| WebhookConfig {
            name: name.into(),
            url,
            events: Vec::new(),
            orders_of: vec![buyer.into()],
        };
        let shop = world.config.tenants.iter_mut().find(|tenant| tenant.id == SHOP).unwrap();
        shop.webhooks = vec![webhook("platform", url, "home:shopper"), webhook("other", elsewhere, "home:nobody")];
        world.ring.provide(&Slot::all(&world.config)).await.unwrap();
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
        world.restart();
        let minter = purser::service::minter(&world.config, &world.ring).unwrap();
        let merchant = purser::service::mint(&minter, SHOP, "merchant", CallerKind::Merchant, 3_600).unwrap();
        let mut stage = Self { world, _acquirer: acquirer, merchant, secret: String::new() };
        stage.secret = stage.webhook(&["secret", "platform"]).trim().to_owned();
        let started = Instant::now();
        while stage.webhook(&["list"]).matches("told up to record").count() < 2 {
            assert!(started.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stage
    }

    fn webhook(&self, args: &[&str]) -> String {
        let file = self.world.config_file().display().to_string();
        let output = run(&[&["webhook"], args, &["--config", &file, "--tenant", SHOP]].concat(), &self.world.env());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Two gift cards for 2.00; the order, and the payment.
    pub async fn bought(&self, mandate: &str) -> (String, String) {
        let url = self.world.config.public_url();
        let consent = Consent {
            merchant_id: "shop".into(),
            currency: Currency::new("USD").unwrap(),
            total_max: 200,
            items: [("gift_card".to_owned(), 2)].into(),
            vault: url.clone(),
        };
        let purse = VaultPurse {
            service: Client::new(&url).unwrap(),
            credential: Credential::bearer(&self.world.agent),
            shop: None,
            mandate: mandate.to_owned(),
            mandate_ends_at: in_seconds(3_000),
            card: request("", 1, json!({}))["payment_method"].as_object().unwrap().clone(),
        };
        let errand = Errand { shop: url, consent, details: Default::default(), option: None, key: new_key() };
        let ordered = Shopper::new(purse, Duration::from_secs(20)).unwrap().buy(&errand).await.expect("bought");
        (ordered.order, ordered.payment)
    }

    pub async fn say(&self, token: &str, order: &str, key: Option<&str>, body: Value) -> Result<Value, ClientError> {
        self.world.client.call(Method::POST, &format!("/orders/{order}"), token, key, Some(body)).await
    }

    async fn read(&self, token: &str, order: &str) -> Result<Value, ClientError> {
        self.world.client.call(Method::GET, &format!("/orders/{order}"), token, None, None).await
    }

    fn check_signature(&self, told: &Told) {
        let (at, signature) = told.signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let age = jiff::Timestamp::now().as_second() - at.parse::<i64>().unwrap();
        assert!((0..300).contains(&age), "{}", told.signature);
        let signed = format!("{at}.{}", told.body);
        assert_eq!(hmac(self.secret.as_bytes(), signed.as_bytes()), signature);
        assert_ne!(hmac(b"whsec_other", signed.as_bytes()), signature);
    }
}

pub(super) fn refund(amount: u64) -> Value {
    json!({ "adjustment": { "type": "refund", "amount": amount } })
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_moved_by_their_merchant_and_told_in_order_until_somebody_listens() {
    let (platform, other) = (Platform::default(), Platform::default());
    let mut stage = Stage::open(&platform, &other).await;
    let mandate = stage.world.mandate_with(json!({ "total": "50.00", "per_payment": "5.00", "payments": 10 })).await;
    platform.answers.lock().unwrap().extend([500, 302]);
    let (order, payment) = stage.bought(&mandate).await;
    let made = platform.until(1).await.remove(0);
    let all = platform.told.lock().unwrap().clone();
    assert!(
        all.iter().all(|told| told.id == made.id && told.body == made.body),
        "the same until it is taken: {all:#?}"
    );
    assert_eq!((all.len(), text(&made.event(), "type")), (3, "order_create"));
    assert_eq!(made.event()["data"], stage.read(&stage.world.agent, &order).await.unwrap());
    assert_eq!(text(&made.event()["data"], "status"), "confirmed");

    refusals(&stage, &order).await;
    for status in ["processing", "shipped", "shipped"] {
        let moved = stage.say(&stage.merchant, &order, None, json!({ "status": status })).await.unwrap();
        assert_eq!(text(&moved, "status"), status);
    }
    // The processor gives it back, once for a key; then the order says so, and the book has it.
    let key = new_key();
    for _ in 0..2 {
        let refunded = stage.say(&stage.merchant, &order, Some(&key), refund(40)).await.unwrap();
        assert_eq!(refunded["adjustments"].as_array().unwrap().len(), 1);
    }
    let changed = refused(stage.say(&stage.merchant, &order, Some(&key), refund(41)).await);
    assert_eq!((changed.0, changed.1.as_str()), (422, "adjustment_invalid"));
    let path = format!("/v1/payments/{payment}");
    let spend = stage.world.call(Method::GET, &path, &stage.world.agent, None).await.unwrap();
    assert_eq!(text(&spend, "refunded"), "40000000", "{spend}");
    let early = refused(stage.say(&stage.merchant, &order, None, json!({ "status": "canceled" })).await);
    assert_eq!((early.0, early.1.as_str()), (409, "order_not_refunded"));
    let dispute = json!({ "adjustment": { "type": "dispute", "amount": 160, "description": "chargeback" } });
    stage.say(&stage.merchant, &order, Some(&new_key()), dispute).await.unwrap();
    let unmoved = stage.world.call(Method::GET, &path, &stage.world.agent, None).await.unwrap();
    assert_eq!(unmoved["refunded"], spend["refunded"], "a dispute is said, and moves nothing");

    // What happens while nobody listens, and the service dies, is told afterwards.
    platform.until(5).await;
    platform.answers.lock().unwrap().extend([503; 2]);
    stage.say(&stage.merchant, &order, Some(&new_key()), refund(160)).await.unwrap();
    stage.world.kill();
    stage.world.restart();
    stage.say(&stage.merchant, &order, None, json!({ "status": "canceled" })).await.unwrap();
    let told = platform.until(7).await;
    told_in_order(&stage, &told);
    let last = told.last().unwrap().event()["data"].clone();
    assert_eq!(last, stage.read(&stage.merchant, &order).await.unwrap());
    let over = refused(stage.say(&stage.merchant, &order, None, json!({ "status": "shipped" })).await);
    assert_eq!((over.0, over.1.as_str()), (409, "order_status"));
    assert!(other.told.lock().unwrap().is_empty(), "of others' orders nobody is told");
    let shown: Vec<_> = told
        .iter()
        .map(|told| ("json-schema/schema.agentic_checkout.json#/$defs/Order".to_owned(), told.event()))
        .collect();
    let cases: Vec<_> = shown.iter().map(|(schema, event)| (schema.clone(), &event["data"])).collect();
    assert!(validated("acp/2026-04-17", &cases).iter().all(Vec::is_empty));
    // An operator has it told again, from the beginning: the same.
    stage.webhook(&["replay", "platform", "--from", "0"]);
    let again = platform.until(14).await.split_off(7);
    let said = |told: &[Told]| told.iter().map(|told| (told.id.clone(), told.body.clone())).collect::<Vec<_>>();
    assert_eq!(said(&again), said(&told));
}

fn told_in_order(stage: &Stage, told: &[Told]) {
    let said: Vec<(String, String, usize)> = told
        .iter()
        .map(|told| {
            stage.check_signature(told);
            let event = told.event();
            let adjustments = event["data"]["adjustments"].as_array().unwrap().len();
            (text(&event, "type").to_owned(), text(&event["data"], "status").to_owned(), adjustments)
        })
        .collect();
    let expected = [
        ("order_create", "confirmed", 0),
        ("order_update", "processing", 0),
        ("order_update", "shipped", 0),
        ("order_update", "shipped", 1),
        ("order_update", "shipped", 2),
        ("order_update", "shipped", 3),
        ("order_update", "canceled", 3),
    ];
    assert_eq!(said, expected.map(|(kind, status, count)| (kind.to_owned(), status.to_owned(), count)));
    let mut ids: Vec<&str> = told.iter().map(|told| told.id.as_str()).collect();
    ids.dedup();
    assert_eq!(ids.len(), told.len());
}

/// Nothing of it is said of the order, and nobody is told.
async fn refusals(stage: &Stage, order: &str) {
    let key = new_key();
    let adjust = |kind: &str, amount: Value| json!({ "adjustment": { "type": kind, "amount": amount } });
    let long = json!({ "adjustment": { "type": "return", "amount": 1, "description": "x".repeat(501) } });
    for (token, order, key, body, status, code) in [
        (&stage.world.agent, order, None, json!({ "status": "shipped" }), 404, "not_found"),
        (&stage.world.user, order, None, json!({ "status": "shipped" }), 404, "not_found"),
        (&stage.world.agent, order, Some(key.as_str()), refund(1), 404, "not_found"),
        (&stage.merchant, "order_none", None, json!({ "status": "shipped" }), 404, "not_found"),
        (&stage.merchant, order, None, json!({ "status": "created" }), 400, "invalid_request"),
        (&stage.merchant, order, None, json!({}), 400, "invalid_request"),
        (
            &stage.merchant,
            order,
            Some(&key),
            json!({ "status": "shipped", "adjustment": { "type": "refund", "amount": 1 } }),
            400,
            "invalid_request",
        ),
        (&stage.merchant, order, None, json!({ "state": "shipped" }), 400, "invalid_request"),
        (&stage.merchant, order, None, refund(1), 400, "invalid_request"),
        (&stage.merchant, order, Some(""), refund(1), 400, "invalid_request"),
        (&stage.merchant, order, Some(&key), adjust("gift", json!(1)), 400, "invalid_request"),
        (&stage.merchant, order, Some(&key), adjust("refund", json!("1")), 400, "invalid_request"),
        (&stage.merchant, order, Some(&key), adjust("refund", json!(-1)), 400, "invalid_request"),
        (&stage.merchant, order, Some(&key), long, 400, "invalid_request"),
        (&stage.merchant, order, Some(&key), refund(0), 422, "adjustment_invalid"),
        (&stage.merchant, order, Some(&key), refund(201), 422, "adjustment_invalid"),
        (&stage.merchant, order, None, json!({ "status": "canceled" }), 409, "order_not_refunded"),
        (&stage.merchant, order, None, json!({ "status": "confirmed" }), 200, ""),
    ] {
        let said = stage.say(token, order, key, body.clone()).await;
        if status == 200 {
            assert!(said.is_ok(), "what it is already changes nothing: {said:?}");
            continue;
        }
        let (found, named, detail) = refused(said);
        assert_eq!((found, named.as_str()), (status, code), "{body}: {detail}");
    }
    for token in [&stage.world.user, &stage.world.agent] {
        let is_own = *token == stage.world.agent;
        assert_eq!(stage.read(token, order).await.is_ok(), is_own);
    }
    assert_eq!(refused(stage.read("", order).await).0, 401);
}
