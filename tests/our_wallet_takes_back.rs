//! Promises 2 to 4 where the other side of an escrow is gone: our wallet takes back what is its own, by transactions of its own
//! that are claimed before they are signed and made once, and books what a final block shows and nothing else.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use chain::accounts::ACCOUNTS;
use chain::relayer::{FeeCaps, LocalRelayer};
use ledger::id::CallerKind;
use ledger::settlement::Role;
use ledger::store::Store as _;
use purser::keys::{MasterKey, Purpose, Ring, Slot};
use purser::world::{ADMIN, CARRIER, HOME, SHOP};
use reqwest::Method;
use serde_json::{Value, json};
use store::Schema;
use x402::auth_capture::{ESCROW as HOLDING, EscrowCall, PaymentInfo, read_payment};
use x402::batch_settlement::{ChannelCall, Claim, ESCROW, Message, claim_batch_digest};
use x402::chain::{Chain as _, Pool, Relayer as _};
use x402::value::Amount;
use x402::wire::{PaymentPayload, read_header};

use crate::harness::channel::{PRICE, Seller, key_of, network, until};
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::held;
use crate::harness::process::{run, stdout};
use crate::harness::text;
use crate::harness::wallet::{address, bought, channels, fetch, own_channels, units, with_channels};
use crate::harness::world::World;

const GAS: &str = "0x8ac7230489e80000";
const AUTHORITY: u128 = 100;
const DEPOSIT: u128 = 10 * PRICE;
const FUNDS: u128 = 1_000_000_000;
const DELAY: u64 = 900;

/// What `purser COMMAND` says, a line an object.
fn lines(world: &World, arguments: &[&str]) -> (bool, Vec<Value>, String) {
    let file = world.config_file().display().to_string();
    let output = run(&[arguments, &["--config", &file, "--json"]].concat(), &world.env());
    let lines = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), lines, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Once the service is stopped: the books verify, agree with the chain, and have this of the token.
fn booked(world: &mut World, expected: &[(&str, u128)]) -> Vec<Value> {
    world.serve = None;
    let file = world.config_file().display().to_string();
    for command in [&["ledger", "verify"][..], &["reconcile"]] {
        let checked = run(&[command, &["--config", &file]].concat(), &world.env());
        assert!(checked.status.success(), "{command:?}: {}", stdout(&checked));
    }
    let (_, tenants, _) = lines(world, &["ledger", "balances"]);
    let home = tenants.into_iter().find(|line| line["tenant"] == HOME).expect("a line of the wallet's");
    assert_eq!(home["balanced"], true, "{home}");
    let accounts = home["accounts"].as_array().unwrap().clone();
    let of_token = |entry: &&Value| text(entry, "asset").contains("/erc20:");
    for (begins, amount) in expected {
        let named = |entry: &&Value| text(entry, "account").starts_with(begins);
        let found = accounts.iter().filter(of_token).find(named);
        assert_eq!(found.map_or("0", |entry| text(entry, "balance")), amount.to_string(), "{begins}: {home}");
    }
    accounts
}

/// By the book: the one transaction of the wallet's own that is in no block. Its deposit may not be final yet.
async fn on_its_way(world: &World) -> String {
    let store = purser::assembly::open_store(&world.config, &world.ring, Schema::Refuse).await.unwrap();
    let mut open = store.open_settlements(&HOME.parse().unwrap(), None, 10).await.unwrap();
    store.close().await.unwrap();
    open.retain(|(_, one)| one.key.role == Role::Facilitator);
    let [(_, one)] = &open[..] else { panic!("one: {open:?}") };
    one.transaction.as_ref().expect("it was written down").to_string()
}

/// Transactions of the wallet's own that are in a block.
async fn sent(world: &World) -> u64 {
    let count = world.rpc("eth_getTransactionCount", json!([address(world), "latest"])).await;
    u64::from_str_radix(count.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

async fn give_gas(world: &World) {
    world.rpc("anvil_setBalance", json!([address(world), GAS])).await;
}

async fn pass(world: &World, seconds: u64) {
    world.rpc("evm_increaseTime", json!([seconds])).await;
    world.rpc("anvil_mine", json!([8])).await;
}

fn config_of<'a>(world: &'a mut World, tenant: &str) -> &'a mut purser::config::TenantConfig {
    world.config.tenants.iter_mut().find(|found| found.id == tenant).unwrap()
}

fn restart(world: &mut World) {
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
}

async fn seller_of(mut world: World) -> Seller {
    with_channels(&mut world, channels(20 * PRICE));
    Seller::of(world, &[]).await
}

/// Nobody sells any more, and nobody claims.
fn vanish(seller: &mut Seller) {
    config_of(&mut seller.world, SHOP).sell = None;
    restart(&mut seller.world);
}

async fn posted(world: &World, mandate: &str) -> (u128, u128) {
    let shown = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
    (units(&shown, "posted") / AUTHORITY, units(&shown, "held") / AUTHORITY)
}

fn listed(world: &World) -> Value {
    let (_, mut listed, said) = own_channels(world, &["list"]);
    assert_eq!(listed.len(), 1, "{said}");
    listed.remove(0)
}

fn withdraw(world: &World, channel: &Value) -> (bool, Value, String) {
    let (done, mut after, said) = own_channels(world, &["withdraw", text(channel, "id")]);
    (done, if after.is_empty() { Value::Null } else { after.remove(0) }, said)
}

async fn is_back(seller: &Seller, rest: u128) {
    until("the money is back", async || seller.balance(address(&seller.world)).await == FUNDS - rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vanished_seller_does_not_give_back_is_fetched_to_the_unit() {
    let mut seller = seller_of(World::start_with(60).await).await;
    let mandate = seller.world.mandate().await;
    for (path, key) in [("whole", "first"), ("37", "second")] {
        bought(&seller.world, &format!("{}/channel/{path}", seller.origin()), &mandate, key).await;
    }
    vanish(&mut seller);
    let world = &seller.world;
    let channel = listed(world);
    let (refunded, _, _) = own_channels(world, &["refund", text(&channel, "id")]);
    assert!(!refunded, "there is nobody to ask");

    // Without gas nothing is begun, and both figures are said.
    let (done, _, said) = withdraw(world, &channel);
    assert!(!done && said.contains("insufficient_gas") && said.contains("0 are there"), "{said}");
    assert_eq!((sent(world).await, listed(world)["withdraw_from"].clone()), (0, Value::Null));
    give_gas(world).await;
    // Of another tenant's, and of none, nothing comes.
    for more in [&["--tenant", SHOP][..], &["--tenant", CARRIER]] {
        let asked = own_channels(world, &[&["withdraw", text(&channel, "id")], more].concat());
        assert!(!asked.0 && asked.1.is_empty(), "{asked:?}");
    }
    let unknown = own_channels(world, &["withdraw", &B256::repeat_byte(7).to_string()]);
    assert!(!unknown.0 && unknown.1.is_empty() && unknown.2.contains("no channel"), "{unknown:?}");
    assert_eq!(sent(world).await, 0);

    // A stop keeps money from going out; this brings it home.
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    let operator = purser::service::mint(&minter, HOME, ADMIN, CallerKind::Operator, 3_600).unwrap();
    let stop = json!({ "scope": "everything" });
    world.call(Method::POST, "/v1/kill", &operator, Some(stop)).await.expect("stopped");
    let (done, asked, said) = withdraw(world, &channel);
    assert!(!done && said.is_empty(), "it waits: {asked} {said}");
    let from = asked["withdraw_from"].as_u64().unwrap();
    assert_eq!(from, asked["withdraw_requested_at"].as_u64().unwrap() + DELAY);
    for _ in 0..2 {
        let (done, again, said) = withdraw(world, &channel);
        assert!(!done && again["withdraw_from"] == from, "too early: {again} {said}");
    }
    assert_eq!((sent(world).await, seller.balance(ESCROW).await), (1, DEPOSIT), "asked for once");

    pass(world, DELAY + 1).await;
    is_back(&seller, 1_037).await;
    let world = &seller.world;
    until("what was not charged is back in the budget", async || posted(world, &mandate).await == (1_037, 0)).await;
    assert_eq!((sent(world).await, seller.balance(ESCROW).await), (2, 1_037), "what was charged is the payee's");
    // Until its block is final, the same call is answered as it was.
    let is_refused = async || {
        let (done, _, said) = withdraw(world, &channel);
        !done && said.contains("1037 charged")
    };
    until("there is nothing more, and that is said", is_refused).await;
    assert_eq!(sent(world).await, 2, "nothing more was sent");
    let accounts = booked(&mut seller.world, &[("wallet/", FUNDS - 1_037), ("channel/", 0), ("spend/", 1_037)]);
    let gas = accounts.iter().find(|entry| entry["account"] == "gas").expect("what it took");
    assert_ne!(text(gas, "balance"), "0", "{gas}");
}

/// What it signed for is the payee's until the delay is over, and is booked as whatever a payee claims is.
#[tokio::test(flavor = "multi_thread")]
async fn a_seller_that_comes_back_during_the_delay_gets_what_was_signed_and_no_more() {
    let mut seller = seller_of(World::start_with(60).await).await;
    give_gas(&seller.world).await;
    let mandate = seller.world.mandate().await;
    let url = format!("{}/channel/37", seller.origin());
    let paid = fetch(&seller.world, &url, &mandate, "key").await.unwrap();
    let header = paid.payment_signature.expect("a payment").into_bytes();
    let payload: PaymentPayload = read_header(&header).unwrap();
    let Message::Deposit { voucher, .. } = Message::read(&payload.payload).unwrap() else { panic!("{payload:?}") };
    vanish(&mut seller);
    let channel = listed(&seller.world);
    assert!(withdraw(&seller.world, &channel).2.is_empty());

    // Drawn when the service first sold for vouchers.
    let master = MasterKey::from_hex(&seller.world.master).unwrap();
    let ring = Ring::open(&seller.world.config.database, master, Schema::Refuse).await.unwrap();
    let key = ring.secret(&Slot::new(SHOP, Purpose::Channels)).unwrap();
    let (max_claimable, total_claimed) = (voucher.max_claimable, Amount::new(PRICE));
    let digest = claim_batch_digest(network(), [(voucher.channel_id, max_claimable, total_claimed)]);
    let signature = key_of(&key).sign(digest).unwrap().to_bytes().to_vec().into();
    let (channel_of, own) = (voucher.channel, voucher.signature.parse().unwrap());
    let claims = vec![Claim { channel: channel_of, max_claimable, signature: own, total_claimed }];
    let stranger = LocalRelayer::new(seller.rpc(), &ACCOUNTS[5].private_key, FeeCaps::default()).unwrap();
    let nonce = seller.rpc().account_nonce(stranger.address(), Pool::Pending).await.unwrap();
    let prepared = stranger.prepare_channel(&ChannelCall::Claim { claims, signature }, nonce).await.unwrap();
    seller.rpc().broadcast(&prepared.raw).await.unwrap();

    pass(&seller.world, DELAY + 1).await;
    is_back(&seller, PRICE).await;
    let world = &seller.world;
    until("a final block shows it", async || listed(world)["booked"] == "0").await;
    until("all that was claimed is spent", async || listed(world)["charged"] == PRICE.to_string()).await;
    assert_eq!(posted(world, &mandate).await, (PRICE, 0));
    booked(&mut seller.world, &[("wallet/", FUNDS - PRICE), ("channel/", 0), ("spend/", PRICE)]);
}

/// The service is killed, and what was written down is not in the node's hands: the same bytes go out again, and each step is
/// made once.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_goes_on_where_a_kill_left_it() {
    let mut seller = seller_of(World::start_with(60).await).await;
    give_gas(&seller.world).await;
    let mandate = seller.world.mandate().await;
    bought(&seller.world, &format!("{}/channel/whole", seller.origin()), &mandate, "key").await;
    vanish(&mut seller);
    let channel = listed(&seller.world);
    seller.world.kill();
    seller.world.rpc("evm_setAutomine", json!([false])).await;
    let (_, asked, said) = withdraw(&seller.world, &channel);
    assert!(asked["withdraw_from"].is_null(), "it is in no block: {asked} {said}");
    let waiting = seller.world.rpc("eth_getTransactionCount", json!([address(&seller.world), "pending"])).await;
    assert_eq!(waiting, "0x1", "one is on its way");
    let (_, twice, _) = withdraw(&seller.world, &channel);
    let waiting = seller.world.rpc("eth_getTransactionCount", json!([address(&seller.world), "pending"])).await;
    assert_eq!((waiting, twice["withdraw_from"].is_null()), (json!("0x1"), true), "and no second one");
    seller.world.rpc("anvil_dropTransaction", json!([on_its_way(&seller.world).await])).await;
    seller.world.rpc("evm_setAutomine", json!([true])).await;
    assert_eq!(sent(&seller.world).await, 0, "it was never sent");
    seller.world.restart();
    until("it is sent again", async || sent(&seller.world).await == 1).await;
    seller.world.kill();
    pass(&seller.world, DELAY + 1).await;
    assert_eq!(seller.balance(ESCROW).await, DEPOSIT, "nobody is there to fetch it");
    seller.world.restart();
    is_back(&seller, PRICE).await;
    until("a final block shows it", async || listed(&seller.world)["booked"] == "0").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(sent(&seller.world).await, 2, "asked for once, fetched once");
    booked(&mut seller.world, &[("wallet/", FUNDS - PRICE), ("channel/", 0), ("spend/", PRICE)]);
}

/// Two processes on one book, and two commands beside them: one request, one fetch.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_ask_once_and_fetch_once() {
    let mut seller = seller_of(World::on(60, Cluster::start(QUICK)).await).await;
    give_gas(&seller.world).await;
    let mandate = seller.world.mandate().await;
    bought(&seller.world, &format!("{}/channel/whole", seller.origin()), &mandate, "key").await;
    vanish(&mut seller);
    let (replica, _) = seller.world.replica(1);
    let channel = listed(&seller.world);
    let world = &seller.world;
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| withdraw(world, &channel)));
        for asked in both {
            let (_, after, said) = asked.join().unwrap();
            assert!(!after.is_null(), "{said}");
        }
    });
    until("it is asked for", async || !listed(world)["withdraw_from"].is_null()).await;
    pass(world, DELAY + 1).await;
    is_back(&seller, PRICE).await;
    until("a final block shows it", async || listed(&seller.world)["booked"] == "0").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(sent(&seller.world).await, 2);
    drop(replica);
    booked(&mut seller.world, &[("wallet/", FUNDS - PRICE), ("channel/", 0), ("spend/", PRICE)]);
}

/// A payment that lies in the escrow, and nobody captures; its deadline is so many seconds away.
struct Held {
    seller: held::Seller,
    mandate: String,
    id: String,
    info: PaymentInfo,
}

impl Held {
    async fn open(mut world: World, take_back: bool) -> Self {
        let home = config_of(&mut world, HOME).wallet.as_mut().unwrap();
        home.take_back = Some(take_back);
        let seller = held::Seller::of(world, None).await;
        let mandate = seller.world.mandate_with(json!({ "total": "0.03", "per_payment": "0.02" })).await;
        let mut demand = seller.demand("/brief/slow").await;
        let until = json!(held::now() + 40);
        for name in ["captureDeadline", "refundDeadline"] {
            demand.accepts[0].extra.as_mut().unwrap().insert(name.to_owned(), until.clone());
        }
        let body = json!({ "mandate": mandate, "payment_required": demand });
        let world = &seller.world;
        let paid = world.client.call(Method::POST, "/v1/payments", &world.agent, Some("key"), Some(body)).await;
        let paid = paid.expect("a payment");
        let payload: PaymentPayload = read_header(text(&paid, "payment_signature").as_bytes()).unwrap();
        let terms = x402::scheme::terms(&payload.accepted).unwrap();
        let info = read_payment(&payload, &terms).unwrap().info;
        let body = json!({
            "x402Version": 2, "paymentPayload": payload, "paymentRequirements": payload.accepted,
        });
        let settled = reqwest::Client::new().post(format!("{}/settle", seller.origin())).json(&body).send().await;
        let settled: Value = settled.unwrap().json().await.unwrap();
        assert_eq!(settled["success"], true, "{settled}");
        let id = text(&paid, "id").to_owned();
        Self { seller, mandate, id, info }
    }

    fn world(&self) -> &World {
        &self.seller.world
    }

    async fn left(&self) -> u128 {
        let payment = self.info.hash(network(), HOLDING);
        self.seller.rpc().escrowed(payment, x402::chain::At::Latest).await.unwrap().capturable.get()
    }

    /// As its operator, whose key the test has.
    async fn capture(&self, units: u128) {
        let key = B256::from(self.world().ring.secret(&Slot::new(CARRIER, Purpose::Relayer)).unwrap());
        let operator = LocalRelayer::new(self.seller.rpc(), &key, FeeCaps::default()).unwrap();
        let (info, amount, fee_receiver) = (self.info, Amount::new(units), Address::ZERO);
        let nonce = self.seller.rpc().account_nonce(operator.address(), Pool::Pending).await.unwrap();
        let call = EscrowCall::Capture { info, amount, fee_bps: 0, fee_receiver };
        let prepared = operator.prepare_escrow(&call, nonce).await.unwrap();
        self.seller.rpc().broadcast(&prepared.raw).await.unwrap();
    }

    fn holds(&self) -> Vec<Value> {
        let (listed, holds, said) = lines(self.world(), &["holds", "list"]);
        assert!(listed, "{said}");
        holds
    }

    fn reclaim(&self, id: &str) -> (bool, Vec<Value>, String) {
        lines(self.world(), &["holds", "reclaim", id])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_past_its_deadline_comes_home_by_itself() {
    let mut held = Held::open(World::start_with(60).await, true).await;
    let world = held.world();
    assert_eq!((held.left().await, posted(world, &held.mandate).await), (PRICE, (0, PRICE)));
    let [early] = &held.holds()[..] else { panic!("one is held") };
    assert_eq!((text(early, "id"), text(early, "left")), (held.id.as_str(), "1000"));
    assert!(early["kept_by"].is_null(), "nothing is to be done yet: {early}");
    give_gas(world).await;
    let (done, _, said) = held.reclaim(&held.id);
    assert!(!done && said.contains("captureDeadline"), "before the deadline: {said}");
    assert_eq!((sent(world).await, held.left().await), (0, PRICE), "and nothing of it was signed");
    world.rpc("anvil_setBalance", json!([address(world), "0x0"])).await;

    // Past it, and no gas: it says so, and stays held.
    pass(world, 60).await;
    until("its time is over", async || held::now() > held.info.pre_approval_expiry.to::<u64>()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let [poor] = &held.holds()[..] else { panic!("one is held") };
    assert_eq!(text(&poor["kept_by"], "code"), "insufficient_gas", "{poor}");
    assert_eq!((posted(world, &held.mandate).await, sent(world).await), ((0, PRICE), 0));
    give_gas(world).await;
    until("it is back", async || world.state(&held.id).await == "released").await;
    assert_eq!((posted(world, &held.mandate).await, held.left().await), ((0, 0), 0));
    assert_eq!((held.seller.balance(address(world)).await, sent(world).await), (FUNDS, 1));
    assert!(held.holds().is_empty());
    booked(&mut held.seller.world, &[("wallet/", FUNDS)]);
}

/// What was captured is paid, and the rest comes home; where nothing is to be done by itself, an operator does it.
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_what_was_captured_comes_home_when_it_is_asked_for() {
    let mut held = Held::open(World::start_with(60).await, false).await;
    let world = held.world();
    give_gas(world).await;
    held.capture(400).await;
    until("a part is captured", async || held.left().await == 600).await;
    pass(world, 60).await;
    until("its time is over", async || held::now() > held.info.pre_approval_expiry.to::<u64>()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((sent(world).await, held.left().await), (0, 600), "nothing by itself");
    let (done, _, said) = held.reclaim(&B256::repeat_byte(7).to_string());
    assert!(!done && said.contains("no payment"), "{said}");
    held.reclaim(&held.id);
    until("it is settled", async || world.state(&held.id).await == "settled").await;
    let (_, _, said) = held.reclaim(&held.id);
    assert_eq!((sent(world).await, held.left().await), (1, 0), "{said}");
    assert_eq!(posted(world, &held.mandate).await, (400, 0));
    booked(&mut held.seller.world, &[("wallet/", FUNDS - 400), ("spend/", 400)]);
}

/// A capture that comes too late meets a reclaim in one block: one of them gets the money, and the book says which.
#[tokio::test(flavor = "multi_thread")]
async fn a_capture_and_a_reclaim_at_once_move_it_once() {
    let mut held = Held::open(World::start_with(60).await, true).await;
    let world = held.world();
    give_gas(world).await;
    world.rpc("evm_setAutomine", json!([false])).await;
    held.capture(PRICE).await;
    world.rpc("evm_increaseTime", json!([60])).await;
    until("its time is over", async || held::now() > held.info.pre_approval_expiry.to::<u64>()).await;
    until("the wallet asks for it", async || {
        world.rpc("eth_getTransactionCount", json!([address(world), "pending"])).await == "0x1"
    })
    .await;
    world.rpc("evm_setAutomine", json!([true])).await;
    pass(world, 1).await;
    until("it is back", async || world.state(&held.id).await == "released").await;
    assert_eq!((held.left().await, held.seller.balance(address(world)).await), (0, FUNDS));
    assert_eq!((posted(world, &held.mandate).await, sent(world).await), ((0, 0), 1));
    booked(&mut held.seller.world, &[("wallet/", FUNDS)]);
}
