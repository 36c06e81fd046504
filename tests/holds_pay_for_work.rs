//! Promises 1 to 4 where an escrow holds the money while the work is done for it (x402, `auth-capture`, our seller): nothing is
//! done that is not held, what the handler charges is captured once, and the rest goes back, whatever dies meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use ledger::money::Amount;
use purser::config::{Identified, RouteConfig, SellConfig};
use purser::world::{SHOP, relayer_address, shop_address};
use serde_json::{Value, json};
use x402::auth_capture::ESCROW;
use x402::wire::PaymentPayload;

use crate::foreign_clients::node_script;
use crate::harness::channel::{PRICE, ask_at, until};
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::held::{CAPTURE_SECONDS, Payer, Seller, now, taken};
use crate::harness::process::{run, stdout};
use crate::harness::text;
use crate::harness::world::World;

fn code(got: &crate::harness::channel::Got) -> String {
    got.code().replace("invalid_auth_capture_evm_", "")
}

/// The official client, unmodified, through our facilitator; each unit is where it belongs, on the chain and in the books.
#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_client_pays_what_the_work_took() {
    let mut seller = Seller::open().await;
    let payer = Payer::new(&seller, 51, 10 * PRICE).await;
    let paths = ["/held/whole", "/held/37", "/held/0", "/charged/whole", "/charged/41", "/charged/0"];
    let urls = paths.map(|path| format!("{}{path}", seller.origin()));
    let key = payer.secret();
    let bought =
        tokio::task::spawn_blocking(move || node_script("buy_holds.mjs").arg(key).args(urls).output().unwrap());
    let bought = bought.await.unwrap();
    let said = stdout(&bought);
    assert!(bought.status.success(), "{said}{}", String::from_utf8_lossy(&bought.stderr));
    assert_eq!(said.lines().count(), paths.len(), "{said}");
    for (line, run) in said.lines().zip(1..) {
        let got: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&got["status"], text(&got, "body")), (&json!(200), json!({ "run": run }).to_string().as_str()));
    }
    let taken = 2 * PRICE + 37 + 41;
    assert_eq!(seller.balance(shop_address()).await, taken);
    assert_eq!(seller.balance(payer.address()).await, 10 * PRICE - taken, "nothing lies in the escrow");
    // What charged nothing is over when a final block shows that nothing more can be taken.
    tokio::time::sleep(Duration::from_secs(3)).await;
    seller.world.serve = None;
    seller.booked(SHOP, &[("wallet/", taken), ("sales", taken), ("receivable", 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_is_one_answer_and_what_fails_goes_back() {
    let mut seller = Seller::open().await;
    let payer = Payer::new(&seller, 52, 10 * PRICE).await;
    let part = payer.pay(&seller, "/held/300", 1).await;
    let got = seller.ask("/held/300", Some(&part)).await;
    assert_eq!((taken(&got).as_str(), &got.body), ("300", &json!({ "run": 1 })));
    let again = seller.ask("/held/300", Some(&part)).await;
    assert_eq!((&again.body, &again.receipt), (&got.body, &got.receipt), "heard again");
    let elsewhere = seller.ask("/held/400", Some(&part)).await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (402, "payment_for_other_resource"), "{elsewhere:?}");
    let mut moved = part.clone();
    moved.resource = None;
    let elsewhere = seller.ask("/held/400", Some(&moved)).await;
    assert_eq!(elsewhere.code(), "payment_used_for_other_resource", "{elsewhere:?}");

    // A handler that fails, and one whose charge cannot be read or is too much: all of it is back at once.
    for (salt, path, status) in [(2, "/held/fail", 418), (3, "/held/much", 500), (4, "/held/1001", 500)] {
        let payment = payer.pay(&seller, path, salt).await;
        let got = seller.ask(path, Some(&payment)).await;
        if path == "/held/1001" {
            assert_eq!(taken(&got), PRICE.to_string(), "at most what was signed: {got:?}");
            continue;
        }
        assert_eq!(got.status, status, "{got:?}");
        let receipt = got.receipt.as_ref().expect("of what went back");
        assert_eq!((&receipt["success"], text(receipt, "amount")), (&json!(true), "1000"), "{receipt}");
        assert_eq!(seller.escrowed(&payment).await.capturable.get(), 0);
        let runs = seller.work.runs();
        let again = seller.ask(path, Some(&payment)).await;
        assert_eq!((again.status, code(&again).as_str()), (402, "zero_authorization"), "{again:?}");
        assert_eq!(seller.work.runs(), runs, "what went back buys nothing");
    }
    let free = payer.pay(&seller, "/held/0", 5).await;
    let got = seller.ask("/held/0", Some(&free)).await;
    assert_eq!(taken(&got), "0");
    let again = seller.ask("/held/0", Some(&free)).await;
    assert_eq!(again.body, got.body, "bought for nothing, and kept");
    assert_eq!(seller.balance(shop_address()).await, 300 + PRICE);
    assert_eq!(seller.balance(payer.address()).await, 9 * PRICE - 300);
    until("what went back is over in the books", async || seller.ask("/held/fail", None).await.status == 402).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    seller.world.serve = None;
    seller.booked(SHOP, &[("wallet/", 300 + PRICE), ("sales", 300 + PRICE), ("receivable", 0)]);
}

/// Every way to be served without the money being held, and none is: nothing is run, and it is said by name why.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_worked_for_that_is_not_held() {
    let seller = Seller::open().await;
    let payer = Payer::new(&seller, 53, PRICE).await;
    let demand = seller.demand("/held/whole").await;
    let extra = demand.accepts[0].extra.clone().unwrap();
    let deadline = extra["captureDeadline"].as_u64().unwrap();
    assert!(deadline <= now() + CAPTURE_SECONDS && deadline + 30 > now() + CAPTURE_SECONDS, "{extra:?}");
    assert_eq!(
        (&extra["minFeeBps"], &extra["maxFeeBps"], &extra["paymentFlow"]),
        (&json!(0), &json!(0), &json!("escrow"))
    );
    let refused = async |payload: &PaymentPayload, expected: &str, what: &str| {
        let got = seller.ask("/held/whole", Some(payload)).await;
        assert!(matches!(got.status, 400 | 402), "{what}: {got:?}");
        assert_eq!(code(&got), expected, "{what}: {got:?}");
        assert_eq!(seller.work.runs(), 0, "{what}");
    };
    let good = payer.sign(&demand, 1);
    for (pointer, value, expected) in [
        ("/authorization/to", json!(demand.accepts[0].pay_to), "token_collector_mismatch"),
        ("/authorization/from", json!(Address::repeat_byte(7).to_string()), "signature"),
        ("/authorization/value", json!("999"), "amount_mismatch"),
        ("/authorization/validBefore", json!("1"), "authorization_expired"),
        ("/authorization/nonce", json!(B256::ZERO.to_string()), "nonce_mismatch"),
        ("/saltNonce", json!(B256::ZERO.to_string()), "salt_binding_mismatch"),
        ("/signature", json!("0x00"), "signature"),
        ("/type", json!("void"), "payload_format"),
        ("/amount", json!("1"), "payload_format"),
    ] {
        let mut wrong = good.clone();
        let mut payload = Value::Object(good.payload.clone());
        match payload.pointer_mut(pointer) {
            Some(found) => *found = value,
            None => payload[&pointer[1..]] = value,
        }
        wrong.payload = payload.as_object().unwrap().clone();
        refused(&wrong, expected, pointer).await;
    }
    assert_eq!(seller.balance(payer.address()).await, PRICE, "nothing moved");

    // Two of which each is fine alone.
    let both = [payer.sign(&demand, 4), payer.sign(&demand, 5)];
    assert_eq!(taken(&seller.ask("/held/whole", Some(&both[0])).await), PRICE.to_string());
    let poor = seller.ask("/held/whole", Some(&both[1])).await;
    assert_eq!((code(&poor).as_str(), seller.work.runs()), ("insufficient_balance", 1), "{poor:?}");
    assert_eq!(seller.balance(shop_address()).await, PRICE);
}

/// Signed as they are by their payer: it is not what was offered, or not any more.
#[tokio::test(flavor = "multi_thread")]
async fn other_terms_than_were_offered_are_not_taken() {
    let seller = Seller::open().await;
    let payer = Payer::new(&seller, 59, PRICE).await;
    let demand = seller.demand("/held/whole").await;
    let deadline = demand.accepts[0].extra.as_ref().unwrap()["captureDeadline"].as_u64().unwrap();
    let refused = async |payload: &PaymentPayload, expected: &str, what: &str| {
        let got = seller.ask("/held/whole", Some(payload)).await;
        assert_eq!((got.status, code(&got).as_str(), seller.work.runs()), (402, expected, 0), "{what}: {got:?}");
    };
    for (name, value) in [
        ("captureDeadline", json!(now() + 100_000)),
        ("captureDeadline", json!(now() + CAPTURE_SECONDS + 120)),
        ("refundDeadline", json!(deadline + 1)),
        ("receiverAuthorizer", json!(payer.address().to_string())),
        ("captureAuthorizer", json!(payer.address().to_string())),
        ("maxFeeBps", json!(1)),
        ("paymentFlow", json!("authorization")),
    ] {
        let mut other = demand.clone();
        let extra = other.accepts[0].extra.as_mut().unwrap();
        extra.insert(name.to_owned(), value);
        if name == "maxFeeBps" {
            extra.insert("feeRecipient".to_owned(), json!(payer.address().to_string()));
        }
        if name == "captureDeadline" {
            let deadline = extra["captureDeadline"].clone();
            extra.insert("refundDeadline".to_owned(), deadline);
        }
        refused(&payer.sign(&other, 2), "accepted_requirements_mismatch", name).await;
    }
    let late = |until: u64| {
        let mut other = demand.clone();
        let extra = other.accepts[0].extra.as_mut().unwrap();
        for name in ["captureDeadline", "refundDeadline"] {
            extra.insert(name.to_owned(), json!(until));
        }
        other
    };
    for (until, expected) in [(now() + 30, "deadline_ordering"), (now() - 1, "capture_deadline_expired")] {
        let mut gone = payer.sign(&demand, 3);
        gone.accepted = late(until).accepts.remove(0);
        refused(&gone, expected, "what is signed could outlive it").await;
    }
    assert_eq!(seller.balance(payer.address()).await, PRICE, "nothing moved");
}

/// One payment at two replicas, for one thing or for two: one of them works, and it is captured once.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_capture_once() {
    let seller = Seller::of(World::on(60, Cluster::start(QUICK)).await, None).await;
    let (_replica, _client) = seller.world.replica(1);
    let origins = [seller.origin(), seller.world.replica_origin(1)];
    let payer = Payer::new(&seller, 54, 10 * PRICE).await;
    for round in 1..=4_u8 {
        let mut payment = payer.pay(&seller, "/held/400", round).await;
        payment.resource = None;
        let asked: Vec<_> = (0..8)
            .map(|number: usize| {
                let (origin, payment) = (origins[number % 2].clone(), payment.clone());
                let path = if round % 2 == 0 && number % 4 > 1 { "/held/whole" } else { "/held/400" };
                tokio::spawn(async move { ask_at(&origin, path, Some(&payment)).await })
            })
            .collect();
        let mut served = Vec::new();
        for got in asked {
            let got = got.await.unwrap();
            match got.status {
                200 => served.push(got.body),
                _ => assert!(matches!(got.status, 402 | 409 | 503), "{got:?}"),
            }
        }
        assert!(!served.is_empty() && served.iter().all(|body| *body == json!({ "run": round })), "{served:?}");
        assert_eq!(seller.work.runs(), u64::from(round), "done once");
        assert_eq!(seller.escrowed(&payment).await.capturable, Amount::ZERO, "nothing is left behind");
    }
    let paid = seller.balance(shop_address()).await;
    assert!((4 * 400..=2 * 400 + 2 * PRICE).contains(&paid), "{paid}");
    assert_eq!(seller.balance(payer.address()).await, 10 * PRICE - paid);
}

/// Killed while the handler runs: nobody knows what was done, so nothing is taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_left_undecided_goes_back() {
    let mut seller = Seller::open().await;
    let payer = Payer::new(&seller, 55, PRICE).await;
    let payment = payer.pay(&seller, "/brief/slow", 1).await;
    let (origin, cut_off) = (seller.origin(), payment.clone());
    tokio::spawn(async move { ask_at(&origin, "/brief/slow", Some(&cut_off)).await });
    until("the work begins", async || seller.work.runs() == 1).await;
    assert_eq!(seller.escrowed(&payment).await.capturable.get(), PRICE, "held before any work is done");
    seller.world.kill();
    seller.work.lets_go.store(true, Ordering::SeqCst);
    seller.world.restart();
    let asked = seller.ask("/brief/slow", Some(&payment)).await;
    assert_eq!((asked.status, seller.work.runs()), (503, 1), "nobody may do it again: {asked:?}");
    until("it goes back", async || seller.escrowed(&payment).await.capturable.is_zero()).await;
    assert_eq!((seller.balance(payer.address()).await, seller.balance(shop_address()).await), (PRICE, 0));
    let over = seller.ask("/brief/slow", Some(&payment)).await;
    assert_eq!((over.status, seller.work.runs()), (402, 1), "{over:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    seller.world.serve = None;
    seller.booked(SHOP, &[("wallet/", 0), ("sales", 0), ("receivable", 0)]);
}

/// Killed between the decision to capture and its block: it is captured as it was decided, once, and the answer is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_was_decided_is_carried_whatever_dies() {
    let mut seller = Seller::open().await;
    let payer = Payer::new(&seller, 56, PRICE).await;
    let payment = payer.pay(&seller, "/held/slow", 1).await;
    let (origin, cut_off) = (seller.origin(), payment.clone());
    tokio::spawn(async move { ask_at(&origin, "/held/slow", Some(&cut_off)).await });
    until("the work begins", async || seller.work.runs() == 1).await;
    seller.world.proxy.withhold(&["eth_sendRawTransaction"]);
    seller.work.lets_go.store(true, Ordering::SeqCst);
    until("the capture goes out", async || seller.world.proxy.seen("eth_sendRawTransaction") > 1).await;
    seller.world.kill();
    seller.world.proxy.release();
    seller.world.restart();
    until("it is captured", async || seller.balance(shop_address()).await == PRICE).await;
    let mut got = seller.ask("/held/slow", Some(&payment)).await;
    for _ in 0..20 {
        if got.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        got = seller.ask("/held/slow", Some(&payment)).await;
    }
    assert_eq!((taken(&got).as_str(), &got.body, seller.work.runs()), ("1000", &json!({ "run": 1 }), 1));
    assert_eq!((seller.balance(shop_address()).await, seller.balance(payer.address()).await), (PRICE, 0), "once");
    seller.world.serve = None;
    seller.booked(SHOP, &[("wallet/", PRICE), ("sales", PRICE), ("receivable", 0)]);
}

/// Whoever carries is believed for nothing: neither that it is held, nor that it is not, nor that it was captured.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_what_the_escrow_has() {
    let says = Arc::new(Mutex::new(json!({})));
    let operator = Address::repeat_byte(9);
    let named = Arc::new(Mutex::new(operator));
    let (said, whom) = (says.clone(), named.clone());
    let supported = async move || {
        let extra = json!({
            "captureAuthorizer": whom.lock().unwrap().to_string(), "authCaptureEscrow": ESCROW.to_string(),
        });
        axum::Json(json!({ "kinds": [{
            "x402Version": 2, "scheme": "auth-capture", "network": "eip155:31337", "extra": extra,
        }] }))
    };
    let settle = async move || axum::Json(said.lock().unwrap().clone());
    let liar = axum::Router::new()
        .route("/supported", axum::routing::get(supported))
        .route("/settle", axum::routing::post(settle));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, liar).await.unwrap() });
    // It says that somebody else operates.
    *named.lock().unwrap() = Address::repeat_byte(8);
    let seller = Seller::of(World::start_with(60).await, Some((&url, operator))).await;
    assert_ne!(relayer_address(&seller.world.ring).unwrap(), operator);
    let payer = Payer::new(&seller, 57, PRICE).await;
    let payment = payer.pay(&seller, "/held/whole", 1).await;
    let got = seller.ask("/held/whole", Some(&payment)).await;
    assert_eq!((got.status, got.code().as_str()), (503, "till_unavailable"), "{got:?}");
    *named.lock().unwrap() = operator;
    let yes = json!({ "success": true, "transaction": B256::repeat_byte(7).to_string(), "network": "eip155:31337" });
    let no = json!({
        "success": false, "errorReason": "invalid_auth_capture_evm_simulation_failed", "transaction": "",
        "network": "eip155:31337",
    });
    for (says_so, status) in [(yes, 409), (no, 402)] {
        *says.lock().unwrap() = says_so;
        let got = seller.ask("/held/whole", Some(&payment)).await;
        assert_eq!((got.status, seller.work.runs()), (status, 0), "{got:?}");
    }
    assert_eq!(seller.balance(payer.address()).await, PRICE);
}

/// In the flow `authorization` nothing is held: what the handler charges is taken after the work, of one payment once.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_is_taken_once_after_the_work() {
    let mut seller = Seller::open().await;
    let payer = Payer::new(&seller, 58, 2 * PRICE).await;
    let payment = payer.pay(&seller, "/charged/300", 1).await;
    let mut bought = Vec::new();
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let (origin, payment) = (seller.origin(), payment.clone());
            tokio::spawn(async move { ask_at(&origin, "/charged/300", Some(&payment)).await })
        })
        .collect();
    for got in asked {
        bought.push(got.await.unwrap());
    }
    let yes: Vec<_> = bought.iter().filter(|got| got.status == 200).collect();
    assert!(!yes.is_empty() && yes.iter().all(|got| taken(got) == "300"), "{bought:?}");
    assert_eq!((seller.work.runs(), seller.balance(shop_address()).await), (1, 300));
    let failed = payer.pay(&seller, "/charged/fail", 2).await;
    assert_eq!(seller.ask("/charged/fail", Some(&failed)).await.status, 418);
    assert_eq!(seller.balance(payer.address()).await, 2 * PRICE - 300, "nothing is taken for what failed");
    // Two that together are more than the payer has: while the first is worked for, the second is not begun.
    let (slow, other) = (payer.pay(&seller, "/charged/slow", 3).await, payer.pay(&seller, "/charged/whole", 4).await);
    let (origin, first) = (seller.origin(), slow.clone());
    let first = tokio::spawn(async move { ask_at(&origin, "/charged/slow", Some(&first)).await });
    until("the work begins", async || seller.work.runs() == 3).await;
    let got = seller.ask("/charged/whole", Some(&other)).await;
    assert_eq!((got.status, seller.work.runs()), (402, 3), "{got:?}");
    seller.work.lets_go.store(true, Ordering::SeqCst);
    assert_eq!(taken(&first.await.unwrap()), PRICE.to_string());
    assert_eq!(seller.balance(shop_address()).await, PRICE + 300);
    seller.world.serve = None;
    seller.booked(SHOP, &[("wallet/", PRICE + 300), ("sales", PRICE + 300), ("receivable", 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_could_not_capture_is_refused() {
    let mut seller = Seller::open().await;
    seller.world.serve = None;
    let good = seller.world.config.clone();
    let refused = |change: &dyn Fn(&mut SellConfig), named: &str| {
        let mut config = good.clone();
        change(config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).unwrap());
        std::fs::write(seller.world.config_file(), toml::to_string(&config).unwrap()).unwrap();
        let file = seller.world.config_file().display().to_string();
        let output = run(&["serve", "--config", &file], &seller.world.env());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(named), "{named}: {said}");
    };
    let of_route = |change: &dyn Fn(&mut RouteConfig), named: &str| {
        refused(&|sell: &mut SellConfig| change(sell.routes.last_mut().unwrap()), named);
    };
    let brief = |seconds: u64| {
        move |sell: &mut SellConfig| {
            sell.holds.as_mut().unwrap().capture_seconds = seconds.try_into().unwrap();
        }
    };
    refused(&brief(1), "capture_seconds: at least 660");
    refused(&brief(659), "capture_seconds: at least 660");
    of_route(&|route| route.max_timeout_seconds = 101, "capture_seconds: at least 701");
    of_route(&|route| route.payment_identifier = Some(Identified::Optional), "payment_identifier: none was expected");
    refused(
        &|sell: &mut SellConfig| sell.facilitator = "http://127.0.0.1:1".to_owned(),
        "auth_capture needs sell.facilitator_address",
    );
}
