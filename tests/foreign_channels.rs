//! Scheme `batch-settlement` with unmodified packages of others on both sides, through our facilitator.

use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::foreign_clients::{Killed, balance, node_script, python_script};
use crate::harness::channel::{self, Seller, key_of};
use crate::harness::process::{Service, stdout};
use crate::harness::text;
use crate::harness::world::World;

const PRICE: u128 = 20_000;
const PART: u128 = 37;
/// What the official seller asks for at least: ten prices.
const DEPOSIT: u128 = 10 * PRICE;
/// A public test key: it authorizes claims and refunds.
const AUTHORIZER: &str = "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";

fn receipt(step: &Value) -> Value {
    assert_eq!(step["status"], 200, "{step}");
    assert!(text(step, "body").contains("foreign-content"), "{step}");
    serde_json::from_slice(&STANDARD.decode(text(step, "payment_response")).unwrap()).unwrap()
}

/// A deposit, vouchers of a whole and of a part of the price, a claim, a sweep, and the rest given back: every unit is where it
/// belongs.
#[test]
fn the_typescript_client_and_seller_keep_a_channel_through_us() {
    let dev = Service::dev();
    let pay_to = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
    let (asset, port) = (&dev.line["chain"]["asset"], crate::harness::free_address().port().to_string());
    let [address, name, version] = ["address", "name", "version"].map(|member| text(asset, member));
    let (price, part) = (PRICE.to_string(), PART.to_string());
    let arguments = [&port, dev.url(), pay_to, address, name, version, &price, "foreign-content", &part, AUTHORIZER];
    let mut seller = node_script("sell_channels.mjs");
    let seller = seller.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
    let _seller = Killed(seller.unwrap());
    let (buyer, key) = (text(&dev.line["buyer"], "address"), text(&dev.line["buyer"], "private_key"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < deadline, "the seller listens");
        std::thread::sleep(Duration::from_millis(100));
    }

    let escrow = x402::batch_settlement::ESCROW.to_string();
    let before = (balance(&dev, buyer), balance(&dev, pay_to));
    let base = format!("http://127.0.0.1:{port}");
    let steps = ["/sold", "/part", "/sold", "POST /claim", "POST /sweep", "/sold", "refund", "POST /sweep"];
    let output = node_script("buy_channels.mjs").args([key, &base]).args(steps).output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let did: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(did.len(), steps.len(), "{said}");

    let deposited = receipt(&did[0]);
    assert!(text(&deposited, "transaction").starts_with("0x"), "{deposited}");
    assert_eq!(text(&deposited, "amount"), DEPOSIT.to_string());
    let balance_shown = deposited.pointer("/extra/channelState/balance");
    assert_eq!(balance_shown.and_then(Value::as_str), Some(DEPOSIT.to_string().as_str()), "{deposited}");
    for (step, charged) in [(1, PART), (2, PRICE), (5, PRICE)] {
        let paid = receipt(&did[step]);
        assert_eq!((text(&paid, "transaction"), text(&paid, "amount")), ("", ""), "a voucher moves nothing: {paid}");
        assert_eq!(text(&paid["extra"], "chargedAmount"), charged.to_string(), "{paid}");
    }
    for step in [3, 4, 7] {
        assert_eq!(did[step]["status"], 200, "{}", did[step]);
        assert!(text(&did[step], "body").contains("0x"), "a transaction: {}", did[step]);
    }
    let charged = 3 * PRICE + PART;
    let refund = &did[6]["refund"];
    assert_eq!(
        (&refund["success"], text(refund, "amount")),
        (&Value::Bool(true), (DEPOSIT - charged).to_string().as_str())
    );

    assert_eq!(before.0 - balance(&dev, buyer), charged);
    assert_eq!(balance(&dev, pay_to) - before.1, charged);
    assert_eq!(balance(&dev, &escrow), 0, "nothing is left behind");
}

/// Who carries what our seller has the escrow do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Ours,
    TypeScript,
    Python,
}

/// Who carries for a world, and where; for its own facilitator nobody beside.
pub fn started(carrier: Carrier, world: &World) -> (Option<Killed>, String) {
    let port = crate::harness::free_address().port();
    let url = format!("http://127.0.0.1:{port}");
    let key = chain::accounts::ACCOUNTS[6].private_key.to_string();
    let arguments = [port.to_string(), text(&world.chain.line, "rpc_url").to_owned(), key, "eip155:31337".to_owned()];
    let script = match carrier {
        Carrier::Ours => return (None, world.config.public_url()),
        Carrier::TypeScript => {
            let facilitator = crate::harness::root().join("adapters/purser/src/bench/facilitator.mjs");
            crate::foreign_clients::node_script_at(&facilitator)
        }
        Carrier::Python => python_script("facilitate.py"),
    };
    (Some(listening(script, &arguments, port)), url)
}

/// A script of another make that listens.
pub fn listening(mut script: std::process::Command, arguments: &[String], port: u16) -> Killed {
    let spawned = script.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let process = Killed(spawned.spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{arguments:?} listens");
        std::thread::sleep(Duration::from_millis(100));
    }
    process
}

/// The unmodified clients buy of our seller, through our facilitator and through theirs: what is charged is what they count, and
/// what was not charged comes back.
async fn buy_of_us(carrier: Carrier) {
    let world = World::start_with(60).await;
    let (_process, url) = started(carrier, &world);
    let through: Vec<&str> = if carrier == Carrier::Ours { Vec::new() } else { vec![url.as_str()] };
    let seller = Seller::of(world, &through).await;
    let mut charged_in_all = 0;
    for (number, client) in [(61, "buy_channels.mjs"), (62, "buy_channels.py")] {
        let named = format!("{client} through {carrier:?}");
        let key = key_of(&[number; 32]);
        let funds = 20 * channel::PRICE;
        seller.world.rpc("devnet_mint", json!([key.address(), format!("{funds:#x}")])).await;
        let mut script = if client.ends_with("py") { python_script(client) } else { node_script(client) };
        let steps = ["/channel/whole", "/channel/37", "/channel/0", "/channel/whole", "refund /channel/whole"];
        let secret = alloy_primitives::B256::from([number; 32]).to_string();
        let output = script.args([&secret, &seller.origin()]).args(steps).output().unwrap();
        let said = stdout(&output);
        assert!(output.status.success(), "{named}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let did: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(did.len(), steps.len(), "{named}: {said}");
        for (step, charged, so_far) in [(0, 1_000, 1_000), (1, 37, 1_037), (2, 0, 1_037), (3, 1_000, 2_037)] {
            assert_eq!(did[step]["status"], 200, "{named}: {}", did[step]);
            let paid: Value =
                serde_json::from_slice(&STANDARD.decode(text(&did[step], "payment_response")).unwrap()).unwrap();
            let extra = &paid["extra"];
            assert_eq!(text(extra, "chargedAmount"), charged.to_string(), "{named}: {paid}");
            assert_eq!(text(&extra["channelState"], "chargedCumulativeAmount"), so_far.to_string(), "{named}: {paid}");
        }
        let refund = &did[4]["refund"];
        assert_eq!((&refund["success"], text(refund, "amount")), (&Value::Bool(true), "7963"), "{named}: {refund}");
        assert_eq!(seller.balance(key.address()).await, funds - 2_037, "{named}");
        charged_in_all += 2_037;
    }
    channel::until("what was charged is swept", async || {
        seller.balance(purser::world::shop_address()).await == charged_in_all
    })
    .await;
    assert_eq!(seller.balance(x402::batch_settlement::ESCROW).await, 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_clients_buy_of_our_seller_through_our_facilitator() {
    buy_of_us(Carrier::Ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_clients_buy_of_our_seller_through_the_typescript_facilitator() {
    buy_of_us(Carrier::TypeScript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_clients_buy_of_our_seller_through_the_python_facilitator() {
    buy_of_us(Carrier::Python).await;
}
