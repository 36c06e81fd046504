//! Promise 2 for mandates that are used again and again: no payment before it is due, whichever way the one before went;
//! in the credential, in the book and in what a mandate shows it is the same second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::id::{AuthMethod, BudgetId, Caller, CallerKind, Micros};
use ledger::recurrence::Frequency;
use ledger::store::Store;
use mandates::clock::Clock;
use mandates::constraint::{OpenCheckout, Used};
use mandates::keys::KeySet;
use mandates::verify::{Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, verify};
use purser::keys::{Purpose, Slot};
use purser::service::Running;
use purser::world::{AGENT, BYSTANDER, HOME, USER};
use reqwest::Method;
use serde_json::{Value, json};
use store::{Options, Schema, SqlStore};

use crate::harness::process::{run, stdout};
use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;
use crate::harness::world::World;

const DAY: i64 = 86_400;

fn recurring(frequency: &str) -> Value {
    let mut request = intent();
    (request["payments"], request["frequency"]) = (50.into(), frequency.into());
    request["expires_in_seconds"] = (1_000 * DAY).into();
    request
}

/// A service of the world's books whose clock is turned by hand, as is the chain's.
struct Dialled {
    world: World,
    running: Running,
    store: SqlStore,
    now: Arc<AtomicI64>,
}

impl Dialled {
    async fn start() -> Self {
        let mut world = World::start_with(600).await;
        world.serve = None;
        let now = Arc::new(AtomicI64::new(store::wall_clock()().0));
        let dial = now.clone();
        let clock: store::Clock = Arc::new(move || Micros(dial.load(Ordering::SeqCst)));
        let options = Options { clock, skew_max: None, ..Options::new(Schema::Refuse) };
        let salts = purser::assembly::salts(&world.config, &world.ring).unwrap();
        let store = SqlStore::open(world.config.database.clone(), salts, options).await.unwrap();
        let rpc = chain::rpc::RpcChain::http_any(&world.config.rpc_urls(), Default::default()).unwrap();
        let listener = tokio::net::TcpListener::bind(world.config.listen).await.unwrap();
        let running = Running::start(&world.config, &world.ring, store.clone(), rpc, listener).await.unwrap();
        Self { world, running, store, now }
    }

    fn seconds(&self) -> i64 {
        Micros(self.now.load(Ordering::SeqCst)).seconds()
    }

    /// Forwards only, as time goes.
    async fn turn(&self, seconds: i64) {
        let before = self.now.swap(Micros::from_seconds(seconds).0, Ordering::SeqCst);
        let passed = seconds - Micros(before).seconds();
        assert!(passed >= 0, "time does not go back");
        self.world.rpc("evm_increaseTime", json!([passed])).await;
        self.world.rpc("evm_mine", json!([])).await;
    }

    fn token(&self, name: &str, kind: CallerKind) -> String {
        let minter = purser::service::minter(&self.world.config, &self.world.ring).unwrap();
        let caller = Caller::new(name.parse().unwrap(), kind, AuthMethod::Bearer);
        let identity = engine::Identity { tenant: HOME.parse().unwrap(), caller };
        let binding = identity::token::Binding::Bearer;
        minter.mint(&identity, binding, &new_key(), self.seconds(), 3_600).unwrap()
    }

    async fn call(&self, kind: CallerKind, method: Method, path: &str, body: Option<Value>) -> Value {
        let token = self.token(if kind == CallerKind::User { USER } else { AGENT }, kind);
        self.world.client.call(method, path, &token, None, body).await.unwrap()
    }

    async fn mandate(&self, frequency: &str) -> String {
        let asked = recurring(frequency);
        let asked = self.call(CallerKind::Agent, Method::POST, "/v1/mandates/intents", Some(asked)).await;
        let approval = &asked["approval"];
        assert_eq!(approval["document"]["frequency"], frequency, "the person sees it");
        let path = format!("/v1/approvals/{}/decision", text(approval, "id"));
        let decision = json!({ "decision": "approve", "digest": approval["digest"] });
        text(&self.call(CallerKind::User, Method::POST, &path, Some(decision)).await, "mandate").to_owned()
    }

    async fn pay(&self, mandate: &str, key: &str) -> Result<Value, purser::client::ClientError> {
        let body = json!({ "mandate": mandate, "payment_required": self.world.offer(key).await });
        let token = self.token(AGENT, CallerKind::Agent);
        self.world.client.call(Method::POST, "/v1/payments", &token, Some(key), Some(body)).await
    }

    /// By the facilitator of this world, so that no proof gives the use back when time goes on.
    async fn settle(&self, paid: &Value, key: &str) {
        let offer = self.world.offer(key).await;
        let payload = STANDARD.decode(text(paid, "payment_signature")).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let body = json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": offer["accepts"][0] });
        let url = format!("{}/settle", self.world.config.public_url());
        let answer: Value = reqwest::Client::new().post(url).json(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["success"], true, "{answer}");
        let outcome = format!("/v1/payments/{}/outcome", text(paid, "id"));
        let state = self.call(CallerKind::Agent, Method::POST, &outcome, Some(json!({}))).await;
        assert_eq!(text(&state, "state"), "settled");
    }

    async fn recurrence(&self, mandate: &str) -> Value {
        let path = format!("/v1/mandates/{mandate}");
        self.call(CallerKind::User, Method::GET, &path, None).await["recurrence"].clone()
    }
}

/// Every frequency, the second before the next payment is due and the second at which it is: asked for, approved, carried
/// by the credential, refused, paid. Whoever verifies offline with the same last use says the same.
#[tokio::test(flavor = "multi_thread")]
async fn no_payment_is_made_before_it_is_due_and_then_one_is() {
    let dialled = Dialled::start().await;
    let frequencies = &Frequency::ALL[1..];
    let mut first = Vec::new();
    for frequency in frequencies {
        let mandate = dialled.mandate(frequency.as_str()).await;
        let nothing = json!({ "frequency": frequency.as_str(), "last_use": null, "due_at": null });
        assert_eq!(dialled.recurrence(&mandate).await, nothing);
        let paid = dialled.pay(&mandate, &format!("{frequency}-first")).await.expect("the first");
        dialled.settle(&paid, &format!("{frequency}-first")).await;
        let last = dialled.recurrence(&mandate).await["last_use"].as_i64().unwrap();
        assert_eq!(last, dialled.seconds());
        first.push((*frequency, mandate, last));
    }
    for (frequency, mandate, last) in first {
        let due = frequency.due_after_seconds(last).unwrap();
        let fixed = match frequency {
            Frequency::Daily => Some(DAY),
            Frequency::Weekly => Some(7 * DAY),
            Frequency::Biweekly => Some(14 * DAY),
            _ => None,
        };
        assert!(fixed.is_none_or(|fixed| due - last == fixed), "{frequency}: {}", due - last);
        let shown = json!({ "frequency": frequency.as_str(), "last_use": last, "due_at": due });
        assert_eq!(dialled.recurrence(&mandate).await, shown);
        dialled.turn(due - 1).await;
        let early = format!("{frequency}-early");
        let (status, refusal, detail) = refused(dialled.pay(&mandate, &early).await);
        assert_eq!((status, refusal.as_str()), (422, "recurrence_too_soon"), "{frequency}: {detail}");
        assert!(detail.contains(&format!("due at {due}, it is {}", due - 1)), "both values: {detail}");
        dialled.turn(due).await;
        assert_eq!(code(dialled.pay(&mandate, &early).await), "recurrence_too_soon", "the key keeps its answer");
        let paid = dialled.pay(&mandate, &format!("{frequency}-due")).await.expect("it is due");
        let soon = dialled.pay(&mandate, &format!("{frequency}-again")).await;
        assert_eq!(code(soon), "recurrence_too_soon", "and the next one a period later");
        agrees_offline(&dialled, &paid, frequency, last).await;
    }
    let tenant = HOME.parse().unwrap();
    assert!(matches!(dialled.store.verify(&tenant).await.unwrap(), ledger::store::Verification::Sound { .. }));
    let Dialled { running, store, world, .. } = dialled;
    running.stop().await;
    store.close().await.unwrap();
    let verified = run(&["ledger", "verify", "--config", &world.config_file().display().to_string()], &world.env());
    assert!(verified.status.success(), "{}", stdout(&verified));
}

/// The chain of a payment that the book took, before a verifier who knows when the mandate was last used.
async fn agrees_offline(dialled: &Dialled, paid: &Value, frequency: Frequency, last: i64) {
    let path = format!("/v1/payments/{}/evidence", text(paid, "id"));
    let file = dialled.call(CallerKind::Agent, Method::GET, &path, None).await;
    let bundle: Value = serde_json::from_str(text(&file, "bundle")).unwrap();
    let roots = KeySet::new(dialled.world.ring.publics(&Slot::new(HOME, Purpose::Provider)).unwrap()).unwrap();
    let due = frequency.due_after_seconds(last).unwrap();
    let judged = |now_seconds: i64, last_used_at_seconds: Option<i64>| {
        let used = Used { total: ledger::money::Amount::new(1), uses: 1, last_used_at_seconds };
        let verdict = verify(
            text(&bundle, "chain"),
            &Context {
                clock: Clock { now_seconds, skew_seconds: 60 },
                trusted: &roots,
                family: ExpectedFamily::Either,
                expected: Expected::OnItsOwn,
                leaf_age_seconds_max: 300,
                purchase: Purchase::OnItsOwn,
                open_checkout: OpenCheckout::Unknown,
                usage: Usage::OfEach(used),
                nonces: Nonces::LeftToState,
                revoked: Revoked::LeftToState,
            },
        );
        verdict.code().map(str::to_owned)
    };
    assert_eq!(judged(due - 1, Some(last)).as_deref(), Some("recurrence_too_soon"), "{frequency}");
    assert_eq!(judged(due, Some(last)), None, "{frequency}");
    assert_eq!(judged(due - 1, None), None, "{frequency}: it is the recurrence that was refused");
}

/// A payment that is proved never to happen was no use.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_never_happens_gives_its_use_back() {
    let shop = Shop::open_with(purser::dev::DevOptions { finalized_lag_blocks: 1, ..Default::default() }).await;
    let mandate = shop.mandate(recurring("MONTHLY")).await;
    let required = shop.met("/paid/report").await;
    let payment = shop.pay(&mandate, &required, &new_key()).await.expect("the first");
    let other = shop.offer("/another", 10_000);
    assert_eq!(code(shop.pay(&mandate, &other, &new_key()).await), "recurrence_too_soon", "a hold is a use");
    shop.rpc("evm_increaseTime", json!([600]));
    let path = format!("/v1/payments/{}", text(&payment, "id"));
    let deadline = Instant::now() + Duration::from_secs(15);
    while shop.call(Method::GET, &path, &shop.agent, None).await.unwrap()["state"] != "released" {
        assert!(Instant::now() < deadline, "released once the proof is there");
        shop.rpc("evm_mine", json!([]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(shop.figures(&mandate).await["recurrence"]["last_use"], Value::Null);
    shop.pay(&mandate, &required, &new_key()).await.expect("there was no use");
    assert_eq!(code(shop.pay(&mandate, &other, &new_key()).await), "recurrence_too_soon", "this is one");
}

/// What a child is used for is a use of its parent, and a child is used no more often.
#[tokio::test(flavor = "multi_thread")]
async fn a_sub_agent_is_bound_by_the_recurrence_of_what_it_was_handed() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(recurring("WEEKLY")).await;
    let hand = async |body: Value| {
        let path = format!("/v1/mandates/{mandate}/delegate");
        shop.client.call(Method::POST, &path, &shop.agent, Some(&new_key()), Some(body)).await
    };
    let part = |differing: Value| {
        let mut body = json!({ "to": BYSTANDER, "total": "1.00", "per_payment": "1.00", "payments": 10 });
        differing.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        body
    };
    for wider in ["ON_DEMAND", "DAILY"] {
        assert_eq!(code(hand(part(json!({ "frequency": wider }))).await), "child_widens_recurrence", "{wider}");
    }
    let inherits = hand(part(json!({}))).await.expect("as far apart as the parent");
    assert_eq!(inherits["recurrence"]["frequency"], "WEEKLY");
    let rarer = hand(part(json!({ "frequency": "MONTHLY" }))).await.expect("farther");
    assert_eq!(rarer["recurrence"]["frequency"], "MONTHLY");
    let once = hand(part(json!({ "payments": 1 }))).await.expect("one payment has no next");
    assert_eq!(once["recurrence"], Value::Null);
    let body = json!({ "presented": rarer["payment"] });
    let verdict = shop.call(Method::POST, "/v1/mandates/verify", &shop.user, Some(body)).await.unwrap();
    let said = |place: usize| {
        let constraints = verdict["facts"]["open"][place]["claims"]["constraints"].as_array().unwrap();
        constraints.iter().find(|one| one["type"] == "payment.agent_recurrence").unwrap()["frequency"].clone()
    };
    assert_eq!((said(0), said(1)), (json!("WEEKLY"), json!("MONTHLY")), "{verdict}");

    let second = shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let pay = async |token: &str, under: &str| {
        let offer = shop.offer(&format!("/{}", new_key()), 10_000);
        shop.pay_as(token, under, &offer, &new_key(), json!({})).await
    };
    pay(&second, text(&once, "id")).await.expect("the first of the week");
    for (token, under) in [(&second, text(&inherits, "id")), (&second, text(&rarer, "id")), (&shop.agent, &*mandate)] {
        let (status, refusal, detail) = refused(pay(token, under).await);
        assert_eq!((status, refusal.as_str()), (422, "recurrence_too_soon"), "{detail}");
        assert!(detail.contains(&mandate), "it is the parent's week: {detail}");
    }
    let node: BudgetId = mandate.parse().unwrap();
    let node = shop.service.store().budget(&HOME.parse().unwrap(), node).await.unwrap().unwrap();
    assert_eq!((node.count, node.held.get()), (1, 1_000_000), "one use, one cent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recurrence_that_cannot_be_meant_is_refused() {
    let shop = Shop::open().await;
    for (name, value, said) in [
        ("frequency", json!("weekly"), "ON_DEMAND, DAILY"),
        ("frequency", json!("HOURLY"), "HOURLY"),
        ("frequency", json!(""), "WEEKLY"),
        ("frequency", json!(7), "string"),
        ("frequency", json!({ "every": "week" }), "string"),
        ("payments", json!(1), "payments of 2 or more"),
        ("payments", json!(null), "payments of 2 or more"),
        ("expires_in_seconds", json!(1_097 * DAY), "94694400"),
        ("recurrence", json!("WEEKLY"), "unknown field"),
    ] {
        let mut request = recurring("WEEKLY");
        request[name] = value.clone();
        let asked = shop.call(Method::POST, "/v1/mandates/intents", &shop.agent, Some(request)).await;
        let (status, _, detail) = refused(asked);
        assert!(status == 400 && detail.contains(said), "{name} {value}: {status} {detail}");
    }
    let mut lasting = recurring("WEEKLY");
    lasting["frequency"] = "ON_DEMAND".into();
    let asked = shop.call(Method::POST, "/v1/mandates/intents", &shop.agent, Some(lasting)).await;
    assert!(refused(asked).2.contains("1 to 2592000"), "what comes at any time lives a month");
    // What comes at any time is what nothing says; and the command asks as the API does.
    let mut any = recurring("ON_DEMAND");
    any["expires_in_seconds"] = 3_600.into();
    let mandate = shop.mandate(any).await;
    for thing in ["/one", "/two"] {
        shop.pay(&mandate, &shop.offer(thing, 10_000), &new_key()).await.expect("at any time");
    }
    assert_eq!(shop.figures(&mandate).await["recurrence"], Value::Null);
    let folder = tempfile::tempdir().unwrap();
    let service = folder.path().join("service.json");
    std::fs::write(&service, json!({ "url": shop.service.url(), "token": shop.agent }).to_string()).unwrap();
    let service = service.display().to_string();
    let terms = ["--total", "9.00", "--per-payment", "3.00", "--payments", "3", "--frequency", "MONTHLY"];
    let life = ["--expires-in-seconds", "10000000", "--service", &service];
    let ask =
        [&["ask", "--description", "rent"][..], &terms, &life].concat().iter().map(|&arg| arg.to_owned()).collect();
    let asked = tokio::task::spawn_blocking(move || {
        let ask: Vec<String> = ask;
        run(&ask.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    });
    let asked = asked.await.unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let path = format!("/v1/approvals/{}", stdout(&asked).trim());
    let approval = shop.call(Method::GET, &path, &shop.user, None).await.unwrap();
    assert_eq!(approval["document"]["frequency"], "MONTHLY");
}
