//! Promises 2 to 4 where the chain takes back what it had shown: what was settled is held again, at once in budgets and
//! books, and goes its way from there. Never over the cap, never twice, and the books are as the chain is.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{run, stdout};
use crate::harness::text;
use crate::harness::world::World;

/// Blocks after which nothing is taken back; five a second.
const LAG: u32 = 25;
/// The same where a test takes its time.
const FAR: u32 = 8 * LAG;

fn number(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).expect("a quantity");
    u64::from_str_radix(digits, 16).expect("a quantity")
}

async fn head(world: &World) -> u64 {
    number(&world.rpc("eth_blockNumber", json!([])).await)
}

/// Bought, served and settled; the transaction.
async fn bought(world: &World, mandate: &str, key: &str) -> (String, String) {
    let payment = world.pay(mandate, key).await.unwrap();
    assert_eq!(world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap().status.as_u16(), 200);
    let id = text(&payment, "id").to_owned();
    world.until(&id, "settled").await;
    let payment = shown(world, &id).await;
    assert_eq!(payment["final"], false, "its block is young");
    (id, text(&payment, "transaction").to_owned())
}

async fn shown(world: &World, id: &str) -> Value {
    world.call(Method::GET, &format!("/v1/payments/{id}"), &world.agent, None).await.unwrap()
}

/// Takes its block back; whatever is sent from now on waits.
async fn take_back(world: &World, transaction: &str) {
    world.rpc("evm_setAutomine", json!([false])).await;
    loop {
        let receipt = world.rpc("eth_getTransactionReceipt", json!([transaction])).await;
        if receipt.is_null() {
            return;
        }
        let depth = head(world).await + 1 - number(&receipt["blockNumber"]);
        world.rpc("anvil_rollback", json!([depth])).await;
    }
}

/// The payment again to whoever carried it, by somebody who cannot be told apart.
async fn settled_anew(world: &World, signature: &str) -> Value {
    let payload: Value = serde_json::from_slice(&STANDARD.decode(signature).unwrap()).unwrap();
    let requirements = payload["accepted"].clone();
    let body = json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": requirements });
    let url = format!("{}/settle", world.config.public_url());
    reqwest::Client::new().post(url).json(&body).send().await.unwrap().json().await.unwrap()
}

async fn figures(world: &World, mandate: &str) -> [String; 2] {
    let view = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
    [text(&view["held"], "amount").to_owned(), text(&view["posted"], "amount").to_owned()]
}

fn lines(world: &World, args: &[&str]) -> (bool, Vec<Value>) {
    let file = world.config_file().display().to_string();
    let output = run(&[args, &["--json", "--config", &file]].concat(), &world.env());
    let lines = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), lines)
}

/// The books balance, agree with the chain, and say this of an account, once every tenant has looked.
async fn agree(world: &World, tenant: &str, account: &str, balance: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let (balanced, books) = lines(world, &["ledger", "balances"]);
        let book = books.iter().find(|line| line["tenant"] == tenant).expect("a line a tenant");
        let found = book["accounts"].as_array().unwrap().iter().find(|entry| entry["account"] == account);
        let found = found.map_or("0", |entry| text(entry, "balance"));
        let (agreed, reports) = lines(world, &["reconcile"]);
        assert!(balanced, "{book}");
        if agreed && found == balance {
            return;
        }
        assert!(Instant::now() < deadline, "{account}: {balance} was expected, {book}; {reports:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn events(world: &World) -> Vec<String> {
    let told = world.call(Method::GET, "/v1/events?limit=500", &world.user, None).await.unwrap();
    told["events"].as_array().unwrap().iter().map(|event| text(event, "type").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_takes_back_is_held_again_and_settles_once_more() {
    let mut world = World::lagging(120, LAG).await;
    // Just enough for one: what is taken back must not make room for another.
    let mandate = world.mandate_with(json!({ "total": "0.01", "per_payment": "0.01" })).await;
    let (id, transaction) = bought(&world, &mandate, "one").await;
    let signature = text(&world.pay(&mandate, "one").await.unwrap(), "payment_signature").to_owned();
    assert_eq!(figures(&world, &mandate).await, ["0.00", "0.01"]);
    let refund = Some(json!({ "transaction": transaction }));
    let path = format!("/v1/payments/{id}/refund");
    let refused = world.call(Method::POST, &path, &world.user, refund).await.unwrap_err();
    assert_eq!(refused.code(), Some("invalid_request"), "the payment itself is no refund");

    take_back(&world, &transaction).await;
    world.until(&id, "submitted").await;
    assert_eq!(figures(&world, &mandate).await, ["0.01", "0.00"], "held again");
    let again = world.pay(&mandate, "two").await.unwrap_err();
    assert!(matches!(again.code(), Some("amount_exceeds_budget" | "purchase_unresolved")), "{again}");
    assert_eq!(world.moved().await, 0);
    agree(&world, "home", "issued", "10000").await;
    let told = events(&world).await;
    assert!(told.iter().any(|kind| kind == "payment.reorganised"), "{told:?}");
    // Its success was told once, to whom it was served for: before the carrier has seen what happened, and after.
    for _ in 0..10 {
        let answer = settled_anew(&world, &signature).await;
        assert_eq!(answer["success"], false, "{answer}");
        assert_eq!(answer["errorReason"], "invalid_exact_evm_nonce_already_used", "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // The carrier has sent the same bytes again by itself; now they are mined.
    world.rpc("evm_setAutomine", json!([true])).await;
    world.until(&id, "settled").await;
    assert_eq!(figures(&world, &mandate).await, ["0.00", "0.01"]);
    assert_eq!(text(&shown(&world, &id).await, "transaction"), transaction);
    assert_eq!(settled_anew(&world, &signature).await["success"], false, "nor when it is settled once more");
    world.until_final(&id).await;
    assert_eq!(world.moved().await, 1, "once");
    agree(&world, "home", "issued", "0").await;
    let told = events(&world).await;
    assert!(told.iter().any(|kind| kind == "payment.final"), "{told:?}");
    world.check_books(1).await;
}

/// Settled, and not given: its route waits for more blocks.
async fn paid_and_not_given(world: &World, mandate: &str) {
    let url = format!("{}/deep", world.config.public_url());
    let met = world.client.fetch("GET", &url, None).await.unwrap();
    let body = json!({ "mandate": mandate, "payment_required_header": met.header("payment-required").unwrap() });
    let paid = world.client.call(Method::POST, "/v1/payments", &world.agent, Some("deep"), Some(body)).await.unwrap();
    let (client, signature) = (world.client.clone(), text(&paid, "payment_signature").to_owned());
    let waits = tokio::spawn(async move { client.fetch("GET", &url, Some(&signature)).await });
    world.until(text(&paid, "id"), "settled").await;
    agree(world, "shop", "sales", "20000").await;
    // Whoever waited long enough was told to come again.
    if waits.is_finished() {
        assert_eq!(waits.await.unwrap().unwrap().status.as_u16(), 503, "it is not given yet");
    }
}

/// Nobody looked while it happened; and it never comes again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_for_good_is_released_by_proof_after_a_restart() {
    let mut world = World::lagging(60, FAR).await;
    let deep =
        json!({ "path": "/deep", "amount": "10000", "description": "deep", "body": "deep", "confirmations": FAR });
    let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
    sell.routes.push(serde_json::from_value(deep).unwrap());
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let mandate = world.mandate().await;
    let (id, transaction) = bought(&world, &mandate, "gone").await;
    let other = world.mandate().await;
    paid_and_not_given(&world, &other).await;
    world.kill();
    take_back(&world, &transaction).await;
    // Long gone: the other block of that number is final, too.
    world.rpc("anvil_mine", json!([2 * FAR])).await;
    world.restart();
    world.until(&id, "submitted").await;
    assert_eq!(figures(&world, &mandate).await, ["0.01", "0.00"], "no word of a counterparty, no absence, releases it");
    agree(&world, "shop", "receivable", "10000").await;

    world.rpc("evm_increaseTime", json!([120])).await;
    world.rpc("anvil_mine", json!([2 * FAR])).await;
    world.until(&id, "released").await;
    assert_eq!(figures(&world, &mandate).await, ["0.00", "0.00"]);
    assert_eq!(world.pay(&mandate, "gone").await.unwrap_err().code(), Some("spend_released"));
    // It was given: it stays owed, until somebody gives it up.
    let config = world.config_file().display().to_string();
    let receivables = |more: &[&str]| {
        let output = run(&[&["receivables", "--config", &config], more].concat(), &world.env());
        (output.status.code(), stdout(&output))
    };
    let deadline = Instant::now() + Duration::from_secs(15);
    let owed = loop {
        let (status, told) = receivables(&["--json"]);
        let owed: Value = serde_json::from_str(told.trim()).expect("one line");
        assert_eq!((status, text(&owed, "amount")), (Some(1), "10000"), "{owed}");
        if text(&owed, "state") == "unpaid" {
            break owed;
        }
        assert!(Instant::now() < deadline, "not proved yet: {owed}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let written_off = ["--write-off", text(&owed, "authorization"), "--because", "it will not be asked for"];
    assert_eq!(receivables(&written_off).0, Some(0));
    assert_eq!(receivables(&[]), (Some(0), String::new()));
    agree(&world, "shop", "receivable", "0").await;
    agree(&world, "shop", "sales", "0").await;
    assert_eq!(world.moved().await, 0);
    world.check_books(0).await;
}

/// Posted only in so many blocks as the configuration says.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_is_posted_with_the_confirmations_that_are_configured() {
    const CONFIRMATIONS: u64 = 15;
    let mut world = World::lagging(60, 2 * LAG).await;
    world.config.chain.confirmations = NonZeroU64::new(CONFIRMATIONS).unwrap();
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "deep").await.unwrap();
    let presented = world.present(text(&payment, "payment_signature"));
    let mut early = 0;
    loop {
        let payment = shown(&world, text(&payment, "id")).await;
        let head = head(&world).await;
        if payment["state"] == "settled" {
            let receipt = world.rpc("eth_getTransactionReceipt", json!([payment["transaction"]])).await;
            let stands = head + 1 - number(&receipt["blockNumber"]);
            assert!(stands >= CONFIRMATIONS, "posted in {stands} blocks");
            break;
        }
        early += usize::from(world.moved().await == 1);
        assert!(early < 200, "it is never posted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(early > 5, "it was on the chain and not posted");
    assert_eq!(presented.await.unwrap().unwrap().status.as_u16(), 200);
    world.until_final(text(&payment, "id")).await;
    world.check_books(1).await;
}
