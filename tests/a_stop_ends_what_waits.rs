//! Promise 6, what was under way: a stop ends questions, holds and tokens, and asks the chain to let go of what is signed.
//! Nothing is given back before the chain shows it, and nothing comes back when the stop is lifted.

use std::time::{Duration, Instant};

use alloy_primitives::keccak256;
use ledger::id::CallerKind;
use ledger::store::{Store as _, Verification};
use purser::world::{CARRIER, HOME, SHOP};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::relayed::GAS;
use crate::harness::shop::{Shop, code, intent};
use crate::harness::text;
use crate::harness::world::World;

const PATIENCE: Duration = Duration::from_secs(20);

fn operator(shop: &Shop) -> String {
    shop.service.token(HOME, "admin", CallerKind::Operator).unwrap()
}

async fn kill(shop: &Shop, scope: &str) -> Value {
    let body = json!({ "scope": scope });
    shop.call(Method::POST, "/v1/kill", &operator(shop), Some(body)).await.expect(scope)
}

async fn lift(shop: &Shop, stop: &Value) {
    let path = format!("/v1/kill/{}", text(stop, "id"));
    shop.call(Method::DELETE, &path, &operator(shop), None).await.expect("lifted");
}

async fn change(shop: &Shop, mandate: &str, to: &str) {
    shop.call(Method::POST, &format!("/v1/mandates/{mandate}/{to}"), &shop.user, None).await.expect(to);
}

async fn state(shop: &Shop, payment: &Value) -> String {
    let path = format!("/v1/payments/{}", text(payment, "id"));
    text(&shop.call(Method::GET, &path, &shop.user, None).await.unwrap(), "state").to_owned()
}

async fn until(shop: &Shop, payment: &Value, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = state(shop, payment).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "the payment is {found}, {wanted} was waited for");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn canceled_filter() -> Value {
    let topic = keccak256("AuthorizationCanceled(address,bytes32)");
    json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": chain::token::ADDRESS, "topics": [topic] }])
}

/// How many authorizations the token says that it cancelled.
fn canceled(shop: &Shop) -> usize {
    shop.rpc("eth_getLogs", canceled_filter()).as_array().expect("logs").len()
}

/// The books, as they can be read again from their own bytes.
async fn sound(shop: &Shop) {
    for tenant in [HOME, SHOP, CARRIER] {
        let verified = shop.service.store().verify(&tenant.parse().unwrap()).await.unwrap();
        assert!(matches!(verified, Verification::Sound { .. }), "{tenant}: {verified:?}");
    }
}

async fn held(shop: &Shop, mandate: &str) -> String {
    text(&shop.figures(mandate).await["held"], "units").to_owned()
}

/// At every scope, and where the mandate is revoked: cancelled on the chain, and released by what the chain shows.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_is_cancelled_on_the_chain_and_then_released() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let own = format!("mandate/{mandate}");
    for (number, scope) in ["everything", "person/user", "agent/shopper", &own, "payee/shop"].into_iter().enumerate() {
        let (required, key) = (shop.met("/paid/report").await, format!("signed-{number}"));
        let payment = shop.pay(&mandate, &required, &key).await.expect("signed");
        let stop = kill(&shop, scope).await;
        until(&shop, &payment, "released").await;
        assert_eq!(canceled(&shop), number + 1, "{scope}");
        assert_eq!(held(&shop, &mandate).await, "0", "{scope}");
        lift(&shop, &stop).await;
        let late = shop.fetch("/paid/report", Some(text(&payment, "payment_signature"))).await;
        assert_ne!(late.status.as_u16(), 200, "{scope}: what was cancelled buys nothing");
        assert_eq!(code(shop.pay(&mandate, &required, &key).await), "spend_released", "{scope}");
    }
    let payment = shop.pay(&mandate, &shop.met("/paid/report").await, "of-the-revoked").await.expect("signed");
    change(&shop, &mandate, "revoke").await;
    until(&shop, &payment, "released").await;
    assert_eq!(canceled(&shop), 6);
    assert!(shop.transfers(&shop.wallet(), &format!("{:#x}", purser::world::shop_address())).is_empty());
    sound(&shop).await;
}

/// What only holds up: a mandate that is suspended, and a stop of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_and_a_stop_elsewhere_cancel_nothing() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let required = shop.met("/paid/report").await;
    let payment = shop.pay(&mandate, &required, "one").await.expect("signed");
    let question = shop.ask(intent()).await;
    for scope in ["person/neighbour", "agent/bystander", "payee/another"] {
        kill(&shop, scope).await;
    }
    change(&shop, &mandate, "suspend").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((state(&shop, &payment).await.as_str(), canceled(&shop)), ("committed", 0));
    change(&shop, &mandate, "resume").await;
    let again = shop.pay(&mandate, &required, "one").await.expect("known");
    assert_eq!(again["payment_signature"], payment["payment_signature"], "byte for byte");
    assert_eq!(shop.fetch("/paid/report", Some(text(&payment, "payment_signature"))).await.status.as_u16(), 200);
    shop.answer(&question, "approve").await.expect("it was not ended");
}

/// Blocks stand still while a settlement and then a cancellation wait. The first one counts, and it is the payment.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_was_faster_is_posted_as_spent() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let payment = shop.pay(&mandate, &shop.met("/paid/report").await, "raced").await.expect("signed");
    shop.rpc("evm_setAutomine", json!([false]));
    let relayer = relayer(&shop).await;
    let sent = || {
        let count = shop.rpc("eth_getTransactionCount", json!([relayer, "pending"]));
        u64::from_str_radix(count.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    let before = sent();
    let waits = async |count: u64| {
        let deadline = Instant::now() + PATIENCE;
        while sent() < before + count {
            assert!(Instant::now() < deadline, "{count} transactions were waited for");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (client, url) = (shop.client.clone(), shop.url("/paid/report"));
    let signature = text(&payment, "payment_signature").to_owned();
    let fetching = tokio::spawn(async move { client.fetch("GET", &url, Some(&signature)).await });
    waits(1).await;
    let stop = kill(&shop, "payee/shop").await;
    waits(2).await;
    assert_eq!(state(&shop, &payment).await, "committed", "two transactions on their way prove nothing");
    shop.rpc("evm_setAutomine", json!([true]));
    shop.rpc("evm_mine", json!([]));
    until(&shop, &payment, "settled").await;
    assert_eq!(canceled(&shop), 0);
    let _ = fetching.await;
    lift(&shop, &stop).await;
    assert_eq!(shop.transfers(&shop.wallet(), &format!("{:#x}", purser::world::shop_address())).len(), 1);
    sound(&shop).await;
}

/// The hold stands, and whoever looks sees it, until the chain shows something: here that a relayer got its gas.
#[tokio::test(flavor = "multi_thread")]
async fn a_relayer_without_gas_releases_nothing() {
    let shop = Shop::open().await;
    let relayer = relayer(&shop).await;
    let mandate = shop.mandate(intent()).await;
    let payment = shop.pay(&mandate, &shop.met("/paid/report").await, "poor").await.expect("signed");
    shop.rpc("anvil_setBalance", json!([relayer, "0x0"]));
    let stop = kill(&shop, "payee/shop").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((state(&shop, &payment).await.as_str(), canceled(&shop)), ("committed", 0));
    assert_ne!(held(&shop, &mandate).await, "0", "a broadcast that failed proves nothing");
    lift(&shop, &stop).await;
    let again = shop.pay(&mandate, &shop.met("/paid/report").await, "poor").await;
    assert_eq!(code(again), "spend_state", "what is being cancelled is not given out again");
    shop.rpc("anvil_setBalance", json!([relayer, GAS]));
    until(&shop, &payment, "released").await;
    assert_eq!(
        (canceled(&shop), held(&shop, &mandate).await.as_str()),
        (1, "0"),
        "it is sent though the stop is lifted"
    );
}

async fn relayer(shop: &Shop) -> String {
    let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
    supported["signers"]["eip155:*"][0].as_str().unwrap().to_owned()
}

/// Written down, not sent, and the process is gone: the next one sends the same bytes. Final only blocks later, so the
/// broadcast alone releases nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_is_resumed_after_the_process_was_killed() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "crashed").await.unwrap();
    let relayer = format!("{:#x}", purser::world::relayer_address(&world.ring).unwrap());
    world.rpc("anvil_setBalance", json!([relayer, "0x0"])).await;
    let tried = world.proxy.seen("eth_sendRawTransaction");
    let path = format!("/v1/mandates/{mandate}/revoke");
    world.call(Method::POST, &path, &world.user, None).await.expect("revoked");
    world.proxy.until_seen("eth_sendRawTransaction", tried).await;
    world.kill();
    world.rpc("anvil_setBalance", json!([relayer, GAS])).await;
    assert!(world.rpc("eth_getLogs", canceled_filter()).await.as_array().unwrap().is_empty(), "nothing was sent");
    world.restart();
    let id = text(&payment, "id");
    world.until(id, "released").await;
    let logs = world.rpc("eth_getLogs", canceled_filter()).await;
    assert_eq!(logs.as_array().map(Vec::len), Some(1), "once");
    let last = u64::from_str_radix(
        text(&world.rpc("eth_getBlockByNumber", json!(["finalized", false])).await, "number").trim_start_matches("0x"),
        16,
    );
    let of_log = u64::from_str_radix(text(&logs[0], "blockNumber").trim_start_matches("0x"), 16);
    assert!(of_log.unwrap() <= last.unwrap(), "released before it was final");
    assert_eq!(world.moved().await, 0);
    world.check_books(0).await;
}

/// Answers that come after the stop are refused, and stay refused when it is lifted. Nobody's else question is ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_stopped_cannot_be_answered_any_more() {
    let shop = Shop::open().await;
    for (number, scope) in ["everything", "person/user", "agent/shopper"].into_iter().enumerate() {
        let mut request = intent();
        request["description"] = format!("question {number}").into();
        let question = shop.ask(request).await;
        let stop = kill(&shop, scope).await;
        for _ in 0..2 {
            assert_eq!(code(shop.answer(&question, "approve").await), "decision_state", "{scope}");
        }
        lift(&shop, &stop).await;
        assert_eq!(code(shop.answer(&question, "approve").await), "decision_state", "{scope}: it does not come back");
        let path = format!("/v1/approvals/{}", text(&question, "id"));
        let found = shop.call(Method::GET, &path, &shop.user, None).await.unwrap();
        assert!(found.to_string().contains("denied"), "{found}");
    }
    let question = shop.ask(intent()).await;
    kill(&shop, "agent/bystander").await;
    shop.answer(&question, "approve").await.expect("another agent's");
}
