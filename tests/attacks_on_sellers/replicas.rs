//! One payment at two replicas of one seller at once: done once, or, where doing it twice does no harm, charged once.

use alloy_primitives::keccak256;
use axum::extract::State;
use purser::world::{HOME, wallet_address};
use reqwest::Method;
use tokio::task::JoinSet;
use x402::permit2::PERMIT2;

use super::*;
use crate::harness::cluster::{Cluster, QUICK};

/// What is sold by usage: each run charges one unit more than the one before, and the first waits until it is let go.
#[derive(Clone, Default)]
struct Meter {
    runs: Arc<AtomicU64>,
    lets_go: Arc<AtomicBool>,
}

async fn meter(State(meter): State<Meter>) -> Response {
    let run = meter.runs.fetch_add(1, Ordering::SeqCst) + 1;
    while run == 1 && !meter.lets_go.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ([("purser-charge", (36 + run).to_string())], axum::Json(json!({ "run": run }))).into_response()
}

impl Meter {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/{*path}", any(meter)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_do_the_work_of_one_payment_once_and_charge_it_once() {
    let mut world = World::on(60, Cluster::start(QUICK)).await;
    let (upstream, metered) = (Upstream::start().await, Meter::default());
    let first = json!({ "upstream": format!("{}/first", upstream.url), "settle_first_above": "1" });
    let metered_url = format!("{}/usage", metered.start().await);
    let usage = json!({ "upstream": metered_url, "pay_by": ["upto"], "idempotent": true });
    sell(&mut world, vec![route("/shared/first", first), route("/shared/usage", usage)], None);
    let (replica, _client) = world.replica(1);
    let origins = [world.config.public_url(), world.replica_origin(1)];

    let buyer = Buyer::new(&world, 91, 10 * PRICE).await;
    for round in 1..=3 {
        let payment = buyer.sign(&world, "/shared/first", 600).await;
        let mut at_once = JoinSet::new();
        for number in 0..8 {
            let (origin, payment) = (origins[number % 2].clone(), payment.clone());
            at_once.spawn(async move { present_at(&origin, "/shared/first", &payment).await });
        }
        let answers = at_once.join_all().await;
        let served: Vec<&Value> = answers.iter().filter(|got| got.is_served()).map(|got| &got.body).collect();
        assert!(!served.is_empty() && served.iter().all(|body| **body == json!({ "run": round })), "{served:?}");
        // Whoever was not served is told to present the same again, and then is.
        for origin in &origins {
            let got = present_at(origin, "/shared/first", &payment).await;
            assert!(got.is_served() && got.receipt.is_some(), "{} {}", got.status, got.body);
        }
        assert_eq!((upstream.runs(), paid(&world).await), (round, u128::from(round)), "made once, paid once");
    }

    charged_once(&world, &metered, &origins).await;
    drop(replica);
    verify_books(&world);
}

/// The first replica's work is not over when the second one does it again and charges otherwise.
async fn charged_once(world: &World, metered: &Meter, origins: &[String; 2]) {
    let wallet = wallet_address(HOME, &world.ring).unwrap();
    let inside = |key: Address, slot: B256| keccak256([key.into_word().0, slot.0].concat());
    let slot = inside(PERMIT2, inside(wallet, B256::from(U256::from(4))));
    let whole = B256::from(U256::from(10 * PRICE));
    world.rpc("anvil_setStorageAt", json!([chain::token::ADDRESS, slot, whole])).await;
    let mandate = world.mandate().await;
    let path = "/shared/usage";
    let met = world.client.fetch("GET", &format!("{}{path}", origins[0]), None).await.unwrap();
    let header = met.header("payment-required").unwrap().to_owned();
    let body = json!({ "mandate": mandate, "payment_required_header": header });
    let signed =
        world.client.call(Method::POST, "/v1/payments", &world.agent, Some("usage"), Some(body)).await.unwrap();
    let payment = STANDARD.decode(text(&signed, "payment_signature")).unwrap();
    let payment: PaymentPayload = serde_json::from_slice(&payment).unwrap();

    let (origin, early) = (origins[0].clone(), payment.clone());
    let slow = tokio::spawn(async move { present_at(&origin, path, &early).await });
    let deadline = Instant::now() + Duration::from_secs(30);
    while metered.runs.load(Ordering::SeqCst) == 0 {
        if slow.is_finished() || Instant::now() > deadline {
            let got = slow.await.unwrap();
            panic!("the first replica does not begin: {} {}", got.status, got.body);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fast = present_at(&origins[1], path, &payment).await;
    assert!(fast.is_served(), "{} {}", fast.status, fast.body);
    metered.lets_go.store(true, Ordering::SeqCst);
    let slow = slow.await.unwrap();
    assert!(slow.is_served(), "what was charged first is carried: {} {}", slow.status, slow.body);
    for got in [&fast, &slow] {
        assert_eq!(got.receipt.as_ref().unwrap()["amount"], "38", "{:?}", got.receipt);
    }
    assert_eq!(metered.runs.load(Ordering::SeqCst), 2);
    let (path, shop) = (format!("/v1/payments/{}", text(&signed, "id")), paid_units(world).await);
    assert_eq!(shop % PRICE, 38, "charged once: {path}");
}

async fn paid_units(world: &World) -> u128 {
    let balance = rpc(world).balance_of(chain::token::ADDRESS, shop_address(), x402::chain::At::Latest).await.unwrap();
    u128::try_from(balance).unwrap()
}
