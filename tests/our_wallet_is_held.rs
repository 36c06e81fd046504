//! Promises 1 to 4 where our own wallet lets an escrow hold its money (x402, `auth-capture`): nothing is signed that could hold
//! it too long, too dear or for somebody else, the most is held of the budget, and what was not taken comes back with proof.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolValue as _;
use purser::keys::{Purpose, Slot};
use purser::world::{CARRIER, HOME, SHOP, shop_address, wallet_address};
use reqwest::Method;
use serde_json::{Value, json};
use x402::auth_capture::abi::PaymentInfo;
use x402::auth_capture::{ESCROW, read_payment};
use x402::scheme;
use x402::wire::{PaymentPayload, PaymentRequired, read_header};

use crate::harness::channel::{PRICE, until};
use crate::harness::held::{Seller, now, taken};
use crate::harness::process::{run, stdout};
use crate::harness::shop;
use crate::harness::text;

/// `refund(PaymentInfo,uint256,address,bytes)` of the escrow: payment, amount, where the money is taken from, and what that gets.
const REFUND: [u8; 4] = [0xd4, 0x58, 0xdb, 0x5a];

/// In millionths of a dollar, which is what a unit of the token is.
async fn figures(seller: &Seller, mandate: &str) -> (u128, u128, u64) {
    let path = format!("/v1/mandates/{mandate}");
    let shown = seller.world.call(Method::GET, &path, &seller.world.user, None).await.expect("the mandate");
    let units = |name: &str| text(&shown[name], "units").parse::<u128>().unwrap() / 100;
    (units("held"), units("posted"), shown["payments"]["used"].as_u64().unwrap())
}

async fn pay(
    seller: &Seller,
    mandate: &str,
    demand: &PaymentRequired,
    key: &str,
) -> Result<Value, purser::client::ClientError> {
    let body = json!({ "mandate": mandate, "payment_required": demand });
    seller.world.client.call(Method::POST, "/v1/payments", &seller.world.agent, Some(key), Some(body)).await
}

fn signed(payment: &Value) -> PaymentPayload {
    read_header(text(payment, "payment_signature").as_bytes()).unwrap()
}

/// A 402 with other values in `extra`.
fn with(demand: &PaymentRequired, values: &[(&str, Value)]) -> PaymentRequired {
    let mut other = demand.clone();
    for (name, value) in values {
        let extra = other.accepts[0].extra.as_mut().unwrap();
        match value {
            Value::Null => drop(extra.remove(*name)),
            value => drop(extra.insert((*name).to_owned(), value.clone())),
        }
    }
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_held_badly_is_not_signed() {
    let seller = Seller::open().await;
    let mandate = seller.world.mandate_with(json!({ "total": "0.03", "per_payment": "0.02" })).await;
    let demand = seller.demand("/held/whole").await;
    let deadline = demand.accepts[0].extra.as_ref().unwrap()["captureDeadline"].as_u64().unwrap();
    let stranger = json!(Address::repeat_byte(7).to_string());
    let far = now() + 90_000;
    let cases: [(&str, &[(&str, Value)]); 13] = [
        ("an escrow of its own", &[("authCaptureEscrow", stranger.clone())]),
        ("version 1.1", &[("authCaptureEscrow", Value::Null)]),
        ("no operator", &[("captureAuthorizer", json!(Address::ZERO.to_string()))]),
        ("nobody signs captures", &[("receiverAuthorizer", Value::Null)]),
        ("nobody signs captures", &[("receiverAuthorizer", json!(Address::ZERO.to_string()))]),
        ("a fee", &[("maxFeeBps", json!(1)), ("feeRecipient", stranger.clone())]),
        ("a fee for nobody", &[("maxFeeBps", json!(1))]),
        ("held for more than a day", &[("captureDeadline", json!(far)), ("refundDeadline", json!(far))]),
        ("deadlines in the wrong order", &[("refundDeadline", json!(deadline - 1))]),
        ("a deadline that is none", &[("captureDeadline", json!("soon"))]),
        ("upfront", &[("paymentFlow", json!("upfront"))]),
        ("a contract operates", &[("operatorType", json!("custom"))]),
        ("by Permit2", &[("assetTransferMethod", json!("permit2"))]),
    ];
    for (what, values) in cases {
        let refused = shop::code(pay(&seller, &mandate, &with(&demand, values), &shop::new_key()).await);
        assert_eq!(refused, "no_payable_offer", "{what}");
    }
    let soon = json!(now() + 20);
    let soon = with(&demand, &[("captureDeadline", soon.clone()), ("refundDeadline", soon)]);
    assert_eq!(shop::code(pay(&seller, &mandate, &soon, &shop::new_key()).await), "invalid_request", "too short");
    let mut other = demand.clone();
    other.accepts[0].pay_to = Address::repeat_byte(7).to_string();
    assert_eq!(shop::code(pay(&seller, &mandate, &other, &shop::new_key()).await), "payee_mismatch");
    assert_eq!(figures(&seller, &mandate).await, (0, 0, 0), "nothing is held");
}

/// Our wallet buys from our seller; the books of both are what the chain shows, to the unit.
#[tokio::test(flavor = "multi_thread")]
async fn the_most_is_held_and_what_was_not_taken_comes_back() {
    let mut seller = Seller::open().await;
    let wallet = wallet_address(HOME, &seller.world.ring).unwrap();
    let funds = seller.balance(wallet).await;
    let mandate = seller.world.mandate_with(json!({ "total": "0.01", "per_payment": "0.01" })).await;
    let mut spent = 0;
    for (path, key, charged) in
        [("/held/300", "part", 300), ("/held/whole", "whole", PRICE), ("/charged/41", "at-once", 41)]
    {
        let demand = seller.demand(path).await;
        let payment = pay(&seller, &mandate, &demand, key).await.expect("a payment");
        assert_eq!(figures(&seller, &mandate).await.0, PRICE, "the most is held");
        let payload = signed(&payment);
        let again = pay(&seller, &mandate, &demand, key).await.expect("the same");
        assert_eq!(again["payment_signature"], payment["payment_signature"], "the same key gives the same bytes");
        let got = seller.ask(path, Some(&payload)).await;
        assert_eq!(taken(&got), charged.to_string(), "{path}");
        spent += charged;
        seller.world.until(text(&payment, "id"), "settled").await;
        let (held, posted, _) = figures(&seller, &mandate).await;
        assert_eq!((held, posted), (0, spent), "what was taken, and no more");
        let after = pay(&seller, &mandate, &demand, key).await.expect("what it came to");
        assert_eq!(after["payment_signature"], payment["payment_signature"]);
        evidence_holds(&seller, text(&payment, "id")).await;
    }
    // 1341 of 10000 are gone: there is room for eight more of 1000.
    for number in 1..=7 {
        let demand = seller.demand(&format!("/held/{number}")).await;
        pay(&seller, &mandate, &demand, &format!("open-{number}")).await.expect("a payment");
    }
    let failed = seller.demand("/held/fail").await;
    let payment = pay(&seller, &mandate, &failed, "fail").await.expect("a payment");
    let demand = seller.demand("/held/whole").await;
    assert_eq!(shop::code(pay(&seller, &mandate, &demand, "more").await), "amount_exceeds_budget", "it is held");
    assert_eq!(seller.ask("/held/fail", Some(&signed(&payment))).await.status, 418);
    seller.world.until(text(&payment, "id"), "released").await;
    assert_eq!(figures(&seller, &mandate).await, (7 * PRICE, spent, 10), "what went back is back in the budget");
    let unused = seller.demand("/held/whole").await;
    let payment = pay(&seller, &mandate, &unused, "unused").await.expect("there is room again");
    assert_eq!(seller.world.state(text(&payment, "id")).await, "committed");
    assert_eq!(seller.balance(wallet).await, funds - spent);
    assert_eq!(seller.balance(shop_address()).await, spent);
    tokio::time::sleep(Duration::from_secs(2)).await;
    seller.world.serve = None;
    seller.booked(SHOP, &[("wallet/", spent), ("sales", spent), ("receivable", 0)]);
    seller.booked(HOME, &[("wallet/", funds - spent)]);
    let file = seller.world.config_file().display().to_string();
    let agreed = run(&["reconcile", "--config", &file], &seller.world.env());
    assert!(agreed.status.success(), "transaction by transaction: {}", stdout(&agreed));
}

async fn evidence_holds(seller: &Seller, id: &str) {
    let path = format!("/v1/payments/{id}/evidence");
    let file = seller.world.call(Method::GET, &path, &seller.world.user, None).await.expect("evidence");
    let [kept, trust] = ["kept.json", "trust.json"].map(|name| seller.world.folder.path().join(name));
    std::fs::write(&kept, file.to_string()).unwrap();
    std::fs::write(&trust, file["issuer_keys"].to_string()).unwrap();
    let arguments = ["verify", "--evidence", &kept.display().to_string(), "--trust", &trust.display().to_string()];
    let checked = run(&arguments, &[]);
    assert!(checked.status.success(), "{}", stdout(&checked));
}

/// A seller that holds and never captures: the amount stays held, in no doubt, while it lies in the escrow.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_escrow_stays_held() {
    let seller = Seller::open().await;
    let mandate = seller.world.mandate_with(json!({ "total": "0.03", "per_payment": "0.02" })).await;
    let demand = seller.demand("/brief/slow").await;
    let payment = pay(&seller, &mandate, &demand, "slow").await.expect("a payment");
    let payload = signed(&payment);
    let (origin, first) = (seller.origin(), payload.clone());
    let asked =
        tokio::spawn(async move { crate::harness::channel::ask_at(&origin, "/brief/slow", Some(&first)).await });
    until("the work begins", async || seller.work.runs() == 1).await;
    // Its own life is over, and still nobody knows what will be taken.
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(seller.world.state(text(&payment, "id")).await, "committed");
    assert_eq!(figures(&seller, &mandate).await, (PRICE, 0, 1));
    seller.work.lets_go.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(taken(&asked.await.unwrap()), PRICE.to_string());
    seller.world.until(text(&payment, "id"), "settled").await;
    assert_eq!(figures(&seller, &mandate).await, (0, PRICE, 1));
}

/// Where the collector of refunds is put that `fixtures/contracts/TestWallets.sol` describes.
const COLLECTOR: Address = Address::repeat_byte(0xc1);

/// The operator of every payment here, whose key the test has, with something to give back.
struct Operator {
    key: String,
}

impl Operator {
    async fn of(seller: &Seller) -> Self {
        let world = &seller.world;
        let key = B256::from(world.ring.secret(&Slot::new(CARRIER, Purpose::Relayer)).unwrap()).to_string();
        let artifact: Value = serde_json::from_str(include_str!("../fixtures/contracts/TestWallets.json")).unwrap();
        let contracts = artifact["contracts"].as_array().unwrap();
        let contract = contracts.iter().find(|contract| contract["contract"] == "TestRefunds").unwrap();
        let code = world.rpc("eth_call", json!([{ "data": contract["bytecode"] }, "latest"])).await;
        world.rpc("anvil_setCode", json!([COLLECTOR, code])).await;
        let operator = purser::world::relayer_address(&world.ring).unwrap();
        world.rpc("devnet_mint", json!([operator, "0x2710"])).await;
        let token = chain::token::ADDRESS.to_string();
        world.sends(&key, &token, &[&COLLECTOR.to_string(), "10000", "approve"]).await;
        Self { key }
    }

    /// What the escrow gives back of a payment after it was captured, with this operator's money.
    async fn refunds(&self, seller: &Seller, payload: &PaymentPayload, units: u64) -> String {
        let info = read_payment(payload, &scheme::terms(&payload.accepted).unwrap()).unwrap().info;
        let said = (PaymentInfo::from(&info), U256::from(units), COLLECTOR, Bytes::new()).abi_encode_params();
        let call = Bytes::from([REFUND.as_slice(), &said].concat());
        seller.world.sends(&self.key, &ESCROW.to_string(), &[&call.to_string()]).await
    }
}

async fn refunded(seller: &Seller, id: &str, transaction: &str) -> Result<Value, purser::client::ClientError> {
    let (path, body) = (format!("/v1/payments/{id}/refund"), json!({ "transaction": transaction }));
    seller.world.call(Method::POST, &path, &seller.world.user, Some(body)).await
}

/// The escrow says which payment it gives back and the token that it did; whose money that was is nothing to the wallet.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_escrow_gives_back_afterwards_is_posted_to_that_payment_alone() {
    let mut seller = Seller::open().await;
    let wallet = wallet_address(HOME, &seller.world.ring).unwrap();
    let funds = seller.balance(wallet).await;
    let mandate =
        seller.world.mandate_with(json!({ "total": "0.01", "per_payment": "0.01", "refunds": "restore" })).await;
    let mut bought = Vec::new();
    for (path, key) in [("/held/300", "part"), ("/held/whole", "whole"), ("/charged/41", "at-once")] {
        let payment = pay(&seller, &mandate, &seller.demand(path).await, key).await.expect("a payment");
        let payload = signed(&payment);
        taken(&seller.ask(path, Some(&payload)).await);
        seller.world.until(text(&payment, "id"), "settled").await;
        bought.push((text(&payment, "id").to_owned(), payload));
    }
    let [(part, of_part), (whole, of_whole), (charged, of_charged)] = &bought[..] else { panic!("three") };
    let operator = Operator::of(&seller).await;
    let first = operator.refunds(&seller, of_part, 100).await;
    let too_much = operator.refunds(&seller, of_part, 201).await;
    for (id, transaction, expected) in [
        // The escrow does not say that it gave anything of these back.
        (whole, &first, "invalid_request"),
        (charged, &first, "invalid_request"),
        // More than was captured: it reverted there.
        (part, &too_much, "invalid_request"),
    ] {
        assert_eq!(shop::code(refunded(&seller, id, transaction).await), expected, "{id} {transaction}");
    }
    for _ in 0..2 {
        assert_eq!(refunded(&seller, part, &first).await.unwrap()["refunded"], "100", "once, however often it is told");
    }
    assert_eq!(figures(&seller, &mandate).await, (0, PRICE + 200 + 41, 3), "it can be spent again");
    // The payee itself sends something, beside what the escrow gives: both count, and together never more than was paid.
    let shop_key = chain::accounts::ACCOUNTS[2].private_key.to_string();
    let token = chain::token::ADDRESS.to_string();
    let sent = seller.world.sends(&shop_key, &token, &[&wallet.to_string(), "150"]).await;
    assert_eq!(refunded(&seller, part, &sent).await.unwrap()["refunded"], "250");
    for other in [charged, whole] {
        assert_eq!(shop::code(refunded(&seller, other, &sent).await), "refund_claimed");
    }
    let last = operator.refunds(&seller, of_part, 100).await;
    assert_eq!(shop::code(refunded(&seller, part, &last).await), "refund_exceeds_payment", "50 are left");
    let rest = operator.refunds(&seller, of_whole, PRICE.try_into().unwrap()).await;
    assert_eq!(refunded(&seller, whole, &rest).await.unwrap()["refunded"], PRICE.to_string());
    let at_once = operator.refunds(&seller, of_charged, 41).await;
    assert_eq!(refunded(&seller, charged, &at_once).await.unwrap()["refunded"], "41");
    let posted = 300 - 250;
    assert_eq!(figures(&seller, &mandate).await, (0, posted, 3));
    seller.world.serve = None;
    seller.booked(HOME, &[("wallet/", funds - posted)]);
    let file = seller.world.config_file().display().to_string();
    let reports = stdout(&run(&["reconcile", "--json", "--tenant", HOME, "--config", &file], &seller.world.env()));
    let report: Value = serde_json::from_str(reports.lines().next().expect("a line")).unwrap();
    let items = report["items"].as_array().unwrap();
    // What came and fits no payment any more, and nothing else.
    assert_eq!((items.len(), text(&items[0], "transaction")), (1, last.as_str()), "{report}");
}

/// What is signed for the escrow and not there yet is an authorization of the token's like any other: a stop cancels it. What
/// lies there already is the seller's to take until its deadline, and goes its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cancels_what_is_signed_for_the_escrow_and_not_there_yet() {
    let seller = Seller::open().await;
    let (stopped, other) = (seller.world.mandate().await, seller.world.mandate().await);
    let mut waiting = Vec::new();
    for (path, key) in [("/held/300", "held"), ("/charged/41", "charged")] {
        let payment = pay(&seller, &stopped, &seller.demand(path).await, key).await.expect("a payment");
        waiting.push((path, payment));
    }
    let elsewhere = pay(&seller, &other, &seller.demand("/held/300").await, "other").await.expect("a payment");
    let there = pay(&seller, &stopped, &seller.demand("/held/slow").await, "there").await.expect("a payment");
    let (origin, payload) = (seller.origin(), signed(&there));
    let asked =
        tokio::spawn(async move { crate::harness::channel::ask_at(&origin, "/held/slow", Some(&payload)).await });
    until("it lies in the escrow", async || seller.work.runs() == 1).await;
    let revoke = format!("/v1/mandates/{stopped}/revoke");
    seller.world.call(Method::POST, &revoke, &seller.world.user, None).await.expect("revoked");
    for (path, payment) in &waiting {
        seller.world.until(text(payment, "id"), "released").await;
        let late = seller.ask(path, Some(&signed(payment))).await;
        assert_ne!(late.status, 200, "{path}: what was cancelled buys nothing: {late:?}");
        assert_eq!(seller.escrowed(&signed(payment)).await.capturable.get(), 0, "{path}");
    }
    let topic = keccak256("AuthorizationCanceled(address,bytes32)");
    let filter =
        json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": chain::token::ADDRESS, "topics": [topic] }]);
    assert_eq!(seller.world.rpc("eth_getLogs", filter).await.as_array().unwrap().len(), 2);
    assert_eq!(
        seller.world.state(text(&there, "id")).await,
        "committed",
        "what lies there is not the wallet's to cancel"
    );
    assert_eq!(figures(&seller, &stopped).await.0, PRICE, "and it stays held");
    seller.work.lets_go.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(taken(&asked.await.unwrap()), PRICE.to_string());
    seller.world.until(text(&there, "id"), "settled").await;
    assert_eq!(seller.world.state(text(&elsewhere, "id")).await, "committed", "another mandate's");
    assert_eq!(taken(&seller.ask("/held/300", Some(&signed(&elsewhere))).await), "300");
}
