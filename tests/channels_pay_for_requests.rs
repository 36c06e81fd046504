//! Promises 1 to 4 where a payer puts money into a channel and signs a voucher a request (scheme `batch-settlement`): nothing
//! is given that no voucher pays for, each step is sold once, and what is owed becomes money in the books as on the chain.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use ledger::settlement::SettlementState;
use ledger::store::Store as _;
use purser::config::{ChannelsConfig, Identified, RouteConfig, SellConfig};
use purser::world::{SHOP, shop_address};
use serde_json::{Value, json};
use x402::batch_settlement::ESCROW;
use x402::wire::PaymentPayload;

use crate::foreign_clients::node_script;
use crate::harness::channel::{Got, PRICE, Payer, Seller, ask_at, until};
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::process::{run, stdout};
use crate::harness::text;

const DEPOSIT: u128 = 10 * PRICE;

/// An account of the shop's in the books, once the service is stopped.
fn booked(seller: &Seller, accounts: &[(&str, u128)]) {
    let file = seller.world.config_file().display().to_string();
    let verified = run(&["ledger", "verify", "--config", &file], &seller.world.env());
    assert!(verified.status.success(), "{}", stdout(&verified));
    let balances = stdout(&run(&["ledger", "balances", "--config", &file, "--json"], &seller.world.env()));
    let lines = balances.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let shop = lines.into_iter().find(|line| line["tenant"] == SHOP).expect("a line of the shop's");
    assert_eq!(shop["balanced"], true, "{shop}");
    for (account, expected) in accounts {
        let entry =
            shop["accounts"].as_array().unwrap().iter().find(|entry| text(entry, "account").starts_with(account));
        let found = entry.map_or("0", |entry| text(entry, "balance"));
        assert_eq!(found, expected.to_string(), "{account}: {shop}");
    }
}

/// How many sales out of channels wait to become cash.
async fn waiting(seller: &Seller) -> usize {
    let store =
        purser::assembly::open_store(&seller.world.config, &seller.world.ring, store::Schema::Refuse).await.unwrap();
    let open = store.open_settlements(&SHOP.parse().unwrap(), None, 500).await.unwrap();
    let open = open.iter().filter(|(_, found)| found.state == SettlementState::Submitted).count();
    store.close().await.unwrap();
    open
}

fn owned(pair: (&str, &str)) -> (String, String) {
    (pair.0.to_owned(), pair.1.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_pays_one_request_after_another_and_ends_as_cash() {
    let mut seller = Seller::open().await;
    let payer = Payer::new(&seller, 41, DEPOSIT).await;
    let offer = payer.required.extra.clone().unwrap();
    assert_eq!((&offer["withdrawDelay"], &offer["minDeposit"]), (&json!(900), &json!(DEPOSIT.to_string())));

    // The deposit stays where what is sold fails, and its payer is told so.
    let first = payer.deposit(DEPOSIT, PRICE, 1);
    let failed = seller.ask("/channel/fail", Some(&first)).await;
    let receipt = failed.receipt.expect("of the deposit");
    assert_eq!((failed.status, text(&receipt["extra"], "chargedAmount")), (418, "0"), "{receipt}");
    assert!(text(&receipt, "transaction").starts_with("0x"), "{receipt}");
    assert_eq!(
        (text(&receipt, "amount"), receipt["extra"]["channelState"]["balance"].as_str()),
        ("10000", Some("10000"))
    );
    let got = seller.ask("/channel/whole", Some(&first)).await;
    assert_eq!(got.charged(), owned(("1000", "1000")));
    assert_eq!(seller.balance(ESCROW).await, DEPOSIT, "it is carried once");
    // Heard again, nothing is moved and nothing is run for it.
    let again = seller.ask("/channel/whole", Some(&first)).await;
    assert_eq!((again.charged(), &again.body), (owned(("1000", "1000")), &json!({ "run": 2 })));

    let part = seller.ask("/channel/37", Some(&payer.voucher(2_000))).await;
    assert_eq!(part.charged(), owned(("37", "1037")));
    assert_eq!(text(part.receipt.as_ref().unwrap(), "transaction"), "", "a voucher moves nothing");
    // What fails, and what charges nothing, leaves the channel where it was: the same voucher pays for something else.
    let same = payer.voucher(2_037);
    let failed = seller.ask("/channel/fail", Some(&same)).await;
    assert_eq!((failed.status, failed.receipt), (418, None));
    assert_eq!(seller.ask("/channel/0", Some(&same)).await.charged(), owned(("0", "1037")));
    assert_eq!(seller.ask("/channel/whole", Some(&same)).await.charged(), owned(("1000", "2037")));
    assert_eq!(seller.work.runs(), 6);
    let over = seller.ask("/channel/much", Some(&payer.voucher(3_037))).await;
    assert_eq!((over.status, over.code().as_str()), (500, "charge_unreadable"), "{over:?}");
    assert_eq!(seller.state(&payer.channel).await.total_claimed.get(), 0, "below what is claimed for");

    let back = seller.ask("/channel/whole", Some(&payer.refund(2_037, Some(3_000)))).await;
    assert_eq!((back.status, text(back.receipt.as_ref().unwrap(), "amount")), (200, "3000"), "{back:?}");
    let state = seller.state(&payer.channel).await;
    assert_eq!(
        (state.balance.get(), state.total_claimed.get()),
        (7_000, 2_037),
        "claimed before it, in one transaction"
    );
    // And on from there, beyond what is claimed by itself.
    for (number, max) in (1..=5).map(|number| (number, 2_037 + number * PRICE)).take(4) {
        let got = seller.ask("/channel/whole", Some(&payer.voucher(max))).await;
        assert_eq!(got.charged(), owned(("1000", &max.to_string())), "{number}");
    }
    let short = seller.ask("/channel/whole", Some(&payer.voucher(7_037))).await;
    assert_eq!(short.code(), "cumulative_exceeds_balance", "{short:?}");
    let rest = seller.ask("/channel/whole", Some(&payer.refund(6_037, None))).await;
    assert_eq!((rest.status, text(rest.receipt.as_ref().unwrap(), "amount")), (200, "963"), "{rest:?}");

    until("everything is swept and posted", async || waiting(&seller).await == 0).await;
    assert_eq!(seller.balance(shop_address()).await, 6_037);
    assert_eq!((seller.balance(ESCROW).await, seller.balance(payer.channel.payer).await), (0, DEPOSIT - 6_037));
    seller.world.serve = None;
    booked(&seller, &[("wallet/", 6_037), ("sales", 6_037), ("receivable", 0)]);
}

/// Every way to be served without paying, and none is: nothing is run, and it is said by name why.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_without_a_voucher_that_pays_for_it() {
    let seller = Seller::open().await;
    let payer = Payer::new(&seller, 42, DEPOSIT).await;
    let refused = async |payload: &PaymentPayload, code: &str, what: &str| {
        let runs = seller.work.runs();
        let got = seller.ask("/channel/whole", Some(payload)).await;
        assert_eq!((got.status, got.code().as_str()), (402, code), "{what}: {got:?}");
        assert_eq!(seller.work.runs(), runs, "{what}");
        got
    };
    let empty = payer.voucher(PRICE);
    refused(&empty, "channel_not_found", "nothing was put in").await;
    refused(&payer.refund(0, None), "refund_no_balance", "nothing is there to go back").await;
    refused(&payer.deposit(PRICE - 1, PRICE, 1), "cumulative_exceeds_balance", "less than the price").await;
    refused(&payer.deposit(DEPOSIT, PRICE - 1, 1), "cumulative_amount_mismatch", "a voucher for less").await;
    refused(&payer.deposit(DEPOSIT, PRICE + 1, 1), "cumulative_amount_mismatch", "a voucher for more").await;
    refused(&payer.deposit(DEPOSIT + 1, PRICE, 1), "insufficient_balance", "more than the payer has").await;
    assert_eq!(seller.balance(ESCROW).await, 0, "no money is moved for what buys nothing");
    let good = payer.deposit(DEPOSIT, PRICE, 1);
    for (pointer, value, code) in [
        ("/channelConfig/receiverAuthorizer", json!(ESCROW.to_string()), "channel_id_mismatch"),
        ("/voucher/maxClaimableAmount", json!("1001"), "voucher_signature"),
        ("/deposit/amount", json!("10001"), "receive_authorization_signature"),
        ("/type", json!("claim"), "claim_payload"),
    ] {
        let mut wrong = good.clone();
        let mut payload = Value::Object(good.payload.clone());
        *payload.pointer_mut(pointer).unwrap() = value;
        wrong.payload = payload.as_object().unwrap().clone();
        let got = seller.ask("/channel/whole", Some(&wrong)).await;
        assert!(matches!(got.status, 400 | 402), "{pointer}: {got:?}");
        assert_eq!(got.code(), code, "{pointer}: {got:?}");
    }
    // Channels of other terms, each signed as it should be.
    let named = |change: &dyn Fn(&mut Payer)| {
        let mut other = payer.clone();
        change(&mut other);
        other.deposit(DEPOSIT, PRICE, 1)
    };
    let strange = named(&|other| other.channel.receiver_authorizer = Address::repeat_byte(7));
    refused(&strange, "receiver_authorizer_mismatch", "claims that somebody else signs").await;
    let mine = named(&|other| other.channel.receiver = other.channel.payer);
    refused(&mine, "receiver_mismatch", "the payer pays itself").await;
    let quick = named(&|other| other.channel.withdraw_delay = alloy_primitives::aliases::U40::from(901));
    refused(&quick, "withdraw_delay_mismatch", "another delay").await;
    let fickle = named(&|other| other.channel.payer_authorizer = Address::ZERO);
    refused(&fickle, "voucher_signature", "nobody's key, so that a contract could change its mind").await;
    let forged = named(&|other| other.key = [43; 32]);
    refused(&forged, "voucher_signature", "another payer's channel").await;
    assert_eq!((seller.work.runs(), seller.balance(ESCROW).await), (0, 0));

    assert_eq!(seller.ask("/channel/whole", Some(&good)).await.charged(), owned(("1000", "1000")));
    // The newest again for something else, and an older one: both are told where the channel stands.
    let elsewhere = seller.ask("/channel/other", Some(&good)).await;
    let second = payer.voucher(2 * PRICE);
    assert_eq!(seller.ask("/channel/whole", Some(&second)).await.charged(), owned(("1000", "2000")));
    let old = refused(&good, "cumulative_amount_mismatch", "an older one").await;
    for (got, charged, max) in [(&elsewhere, "1000", "1000"), (&old, "2000", "2000")] {
        assert_eq!((got.status, got.code().as_str()), (402, "cumulative_amount_mismatch"), "{got:?}");
        let extra = got.required.as_ref().unwrap().accepts[0].extra.clone().unwrap();
        assert_eq!(extra["channelState"]["chargedCumulativeAmount"], charged, "{extra:?}");
        assert_eq!(extra["voucherState"]["signedMaxClaimable"], max, "{extra:?}");
    }
    refused(&payer.voucher(PRICE), "cumulative_amount_mismatch", "the first step once more").await;
    refused(&payer.voucher(4 * PRICE), "cumulative_amount_mismatch", "a step that is not there yet").await;
    refused(&payer.refund(PRICE, None), "cumulative_amount_mismatch", "back what is charged").await;
    refused(&payer.refund(2 * PRICE, Some(9 * PRICE)), "refund_no_balance", "more than is left").await;
    assert_eq!(seller.work.runs(), 2);
}

/// One step at two replicas, for one thing or for two: it is sold once.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_sell_one_step_once() {
    let seller = Seller::on(Cluster::start(QUICK)).await;
    let (_replica, _client) = seller.world.replica(1);
    let origins = [seller.origin(), seller.world.replica_origin(1)];
    let payer = Payer::new(&seller, 44, DEPOSIT).await;
    let first = payer.deposit(DEPOSIT, PRICE, 1);
    assert_eq!(seller.ask("/channel/whole", Some(&first)).await.charged(), owned(("1000", "1000")));
    for (round, max) in (2..=5).map(|round| (round, u128::from(round) * PRICE)) {
        let asked = (0..8).map(|number: usize| {
            let (origin, payload) = (origins[number % 2].clone(), payer.voucher(max));
            // Half of the rounds for the same, half for two different things.
            let path = if round % 2 == 0 && number % 4 > 1 { "/channel/other" } else { "/channel/whole" };
            tokio::spawn(async move { ask_at(&origin, path, Some(&payload)).await })
        });
        let asked: Vec<_> = asked.collect();
        let mut served = Vec::new();
        for got in asked {
            let got: Got = got.await.unwrap();
            if got.status == 200 {
                assert_eq!(got.charged(), owned(("1000", &max.to_string())));
                served.push(got.body);
            } else {
                assert!(matches!(got.status, 402 | 409), "{got:?}");
            }
        }
        assert!(!served.is_empty() && served.iter().all(|body| *body == json!({ "run": round })), "{served:?}");
        assert_eq!(seller.work.runs(), round, "done once");
    }
    // From so much on it is claimed, by whichever of them looks, once.
    until("it is claimed and swept", async || seller.balance(shop_address()).await == 5 * PRICE).await;
    assert_eq!(seller.state(&payer.channel).await.total_claimed.get(), 5 * PRICE);
    let stale = seller.ask("/channel/whole", Some(&payer.voucher(2 * PRICE))).await;
    assert_eq!(stale.code(), "cumulative_amount_mismatch");
    assert_eq!(seller.ask("/channel/37", Some(&payer.voucher(6 * PRICE))).await.charged(), owned(("37", "5037")));
}

/// A payer that asks for its money gets nothing more for it, and what it owes is claimed at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_payer_that_leaves_is_claimed_from_before_it_can() {
    let mut seller = Seller::open().await;
    let payer = Payer::new(&seller, 45, DEPOSIT).await;
    seller.world.rpc("anvil_setBalance", json!([payer.channel.payer, "0x8ac7230489e80000"])).await;
    let first = payer.deposit(DEPOSIT, PRICE, 1);
    assert_eq!(seller.ask("/channel/whole", Some(&first)).await.charged(), owned(("1000", "1000")));
    let rpc_url = text(&seller.world.chain.line, "rpc_url").to_owned();
    let (key, config) = (B256::from(payer.key).to_string(), payer.channel.shown().to_string());
    let asked =
        node_script("leave_channel.mjs").args([rpc_url.as_str(), &key, &ESCROW.to_string(), &config, "10000"]).output();
    let asked = asked.unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let refused = seller.ask("/channel/whole", Some(&payer.voucher(2 * PRICE))).await;
    assert_eq!((refused.code().as_str(), seller.work.runs()), ("cumulative_exceeds_balance", 1), "{refused:?}");
    until("it is claimed, far below what is claimed for", async || {
        seller.state(&payer.channel).await.total_claimed.get() == PRICE
    })
    .await;
    until("and posted", async || waiting(&seller).await == 0).await;
    assert_eq!(seller.balance(shop_address()).await, PRICE);
    seller.world.serve = None;
    booked(&seller, &[("wallet/", PRICE), ("receivable", 0)]);
}

/// Whoever had a step in hand died: nothing is charged for it, and the channel is free again after its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_process_died_is_free_again() {
    let mut seller = Seller::open().await;
    let mut payer = Payer::new(&seller, 46, DEPOSIT).await;
    let first = payer.deposit(DEPOSIT, PRICE, 1);
    assert_eq!(seller.ask("/channel/whole", Some(&first)).await.charged(), owned(("1000", "1000")));
    payer.required = seller.offer("/brief/whole").await;
    let (origin, second) = (seller.origin(), payer.voucher(2 * PRICE));
    let cut_off = {
        let second = second.clone();
        tokio::spawn(async move { is_answered(&origin, "/brief/slow", &second).await })
    };
    until("the work begins", async || seller.work.runs() == 2).await;
    let begun = std::time::Instant::now();
    seller.world.kill();
    assert!(!cut_off.await.unwrap(), "nobody is there any more");
    seller.work.lets_go.store(true, std::sync::atomic::Ordering::SeqCst);
    seller.world.restart();
    until("the channel is free again", async || seller.ask("/brief/whole", Some(&second)).await.status == 200).await;
    assert!(begun.elapsed() > Duration::from_secs(3), "it may still have been worked on");
    assert_eq!(seller.ask("/brief/whole", Some(&second)).await.charged(), owned(("1000", "2000")));
    assert_eq!(seller.work.runs(), 3);
    assert_eq!(seller.state(&payer.channel).await.balance.get(), DEPOSIT);
    seller.world.serve = None;
    booked(&seller, &[("receivable", 2 * PRICE), ("sales", 2 * PRICE)]);
}

/// One that is cut off in the middle.
async fn is_answered(origin: &str, path: &str, payload: &PaymentPayload) -> bool {
    use base64::Engine as _;
    let header = base64::engine::general_purpose::STANDARD.encode(serde_json::to_vec(payload).unwrap());
    let sent = reqwest::Client::new().get(format!("{origin}{path}")).header("payment-signature", header).send().await;
    sent.is_ok()
}

/// What could not be claimed in time, or adds up for nobody, is not begun with.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_would_lose_money_is_refused() {
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
    let channels = |change: &dyn Fn(&mut ChannelsConfig), named: &str| {
        refused(&|sell: &mut SellConfig| change(sell.channels.as_mut().unwrap()), named);
    };
    for delay in [0, 899, 2_592_001] {
        channels(&|channels| channels.withdraw_delay_seconds = delay, "withdraw_delay_seconds: 900 to 2592000");
    }
    channels(&|channels| channels.claim_after_seconds = 451, "claim_after_seconds: at most half of the 900");
    let of_route = |change: &dyn Fn(&mut RouteConfig), named: &str| {
        refused(&|sell: &mut SellConfig| change(sell.routes.last_mut().unwrap()), named);
    };
    of_route(&|route| route.payment_identifier = Some(Identified::Optional), "payment_identifier: none was expected");
    of_route(&|route| route.amount = u128::MAX.to_string(), "deposit_prices: a deposit below 2^128");
}

/// Whoever carries is believed for nothing: neither that it carried a deposit, nor that it did not.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_counts_when_the_escrow_has_it() {
    let says = Arc::new(Mutex::new(json!({})));
    let said = says.clone();
    let supported = json!({ "kinds": [{ "x402Version": 2, "scheme": "batch-settlement", "network": "eip155:31337" }] });
    let settle = async move || axum::Json(said.lock().unwrap().clone());
    let liar = axum::Router::new()
        .route("/supported", axum::routing::get(async move || axum::Json(supported)))
        .route("/settle", axum::routing::post(settle));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, liar).await.unwrap() });
    let seller = Seller::through(&[&url]).await;
    let payer = Payer::new(&seller, 47, DEPOSIT).await;
    let deposit = payer.deposit(DEPOSIT, PRICE, 1);
    let answer = json!({ "success": true, "transaction": B256::repeat_byte(7).to_string(), "network": "eip155:31337" });
    let refusal = json!({
        "success": false, "errorReason": "invalid_batch_settlement_evm_deposit_simulation_failed", "transaction": "",
        "network": "eip155:31337",
    });
    for (says_so, status) in [(answer, 409), (refusal, 402)] {
        *says.lock().unwrap() = says_so;
        let got = seller.ask("/channel/whole", Some(&deposit)).await;
        assert_eq!((got.status, seller.work.runs()), (status, 0), "{got:?}");
    }
    assert_eq!(seller.balance(ESCROW).await, 0);
}
