//! Promises 1 to 4 where the seller says afterwards what is charged: never more than was signed, once, and what was not
//! taken comes back when the chain cannot take it any more.

use std::process::Command;

use alloy_primitives::{Address, B256, U256, keccak256};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use purser::client::Fetched;
use purser::config::{PayBy, RouteConfig};
use purser::world::{HOME, buyer, shop_address, wallet_address};
use reqwest::Method;
use serde_json::{Value, json};
use x402::permit2::{PERMIT2, UPTO_PROXY};
use x402::wire::{PaymentPayload, PaymentRequired, SettleResponse, read_header};

use crate::foreign_clients::{node_script, python_script};
use crate::harness::process::{run, stdout};
use crate::harness::text;
use crate::harness::world::World;

const MOST: u128 = 10_000;
const KEY: &str = "5f1c0d3a77b2e94488c6f0a1d2b3c4e55f1c0d3a77b2e94488c6f0a1d2b3c4e5";

/// A service whose upstream charges what its path says.
struct Metered {
    world: World,
}

/// Answers with the charge that it was asked for, in our header or in that of the official SDKs.
async fn upstream() -> String {
    let ours = async |Path(charge): Path<String>| ([("purser-charge", charge.clone())], format!("metered {charge}"));
    let theirs = async |Path(charge): Path<String>| {
        let overrides = json!({ "amount": charge }).to_string();
        ([("settlement-overrides", overrides)], format!("metered {charge}"))
    };
    let router = Router::new().route("/ours/{charge}", get(ours)).route("/theirs/{charge}", get(theirs));
    let router = router.route("/whole", get(async || "metered whole"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

impl Metered {
    async fn open() -> Self {
        let mut world = World::start_with(60).await;
        let key_file = world.folder.path().join("upstream.key");
        std::fs::write(&key_file, KEY).unwrap();
        let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
        sell.upstream_key_file = Some(key_file);
        let route = |path: &str, pay_by: &[PayBy]| RouteConfig {
            path: path.into(),
            amount: MOST.to_string(),
            description: "what it takes".into(),
            pay_by: pay_by.to_vec(),
            ..RouteConfig::default()
        };
        let upstream = upstream().await;
        sell.routes.push(RouteConfig { upstream: Some(upstream), ..route("/metered/*", &[PayBy::Upto]) });
        let either = route("/either", &[PayBy::Permit2, PayBy::Eip3009]);
        sell.routes.push(RouteConfig { body: Some("either way".into()), ..either });
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
        world.restart();
        Self { world }
    }

    /// Lets Permit2 take so much of an account's tokens.
    async fn allow(&self, owner: Address, units: u64) {
        let inside = |key: Address, slot: B256| keccak256([key.into_word().0, slot.0].concat());
        // `mapping(address => mapping(address => uint256)) allowance`, the fifth variable of the test dollar.
        let slot = inside(PERMIT2, inside(owner, B256::from(U256::from(4))));
        let units = B256::from(U256::from(units));
        self.world.rpc("anvil_setStorageAt", json!([chain::token::ADDRESS, slot, units])).await;
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.world.config.public_url())
    }

    async fn ask(&self, path: &str, payment: Option<&str>) -> Fetched {
        self.world.client.fetch("GET", &self.url(path), payment).await.expect("an answer")
    }

    async fn signed(&self, mandate: &str, path: &str, key: &str) -> Value {
        let met = self.ask(path, None).await;
        let header = met.header("payment-required").expect("a header").to_owned();
        let body = json!({ "mandate": mandate, "payment_required_header": header });
        let agent = &self.world.agent;
        let paid = self.world.client.call(Method::POST, "/v1/payments", agent, Some(key), Some(body)).await;
        paid.expect("a payment")
    }

    /// Held and posted at the mandate, in millionths of a dollar, and how many payments count.
    async fn figures(&self, mandate: &str) -> (u128, u128, u64) {
        let path = format!("/v1/mandates/{mandate}");
        let shown = self.world.call(Method::GET, &path, &self.world.user, None).await.expect("the mandate");
        let units = |name: &str| text(&shown[name], "units").parse::<u128>().unwrap() / 100;
        (units("held"), units("posted"), shown["payments"]["used"].as_u64().unwrap())
    }

    /// What moved from an account to the shop, in order.
    async fn moved(&self, from: Address) -> Vec<u128> {
        let topic = |address: Address| B256::from(address.into_word());
        let transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        let topics = json!([transfer, topic(from), topic(shop_address())]);
        let logs = self.world.rpc("eth_getLogs", json!([{ "fromBlock": "0x0", "topics": topics }])).await;
        let value = |log: &Value| u128::from_str_radix(text(log, "data").trim_start_matches("0x"), 16).unwrap();
        logs.as_array().unwrap().iter().map(value).collect()
    }
}

fn receipt(fetched: &Fetched) -> SettleResponse {
    read_header(fetched.header("payment-response").expect("a receipt").as_bytes()).unwrap()
}

fn body(fetched: &Fetched) -> String {
    String::from_utf8_lossy(&fetched.body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_wallet_pays_what_was_used_and_the_rest_comes_back() {
    let mut shop = Metered::open().await;
    let wallet = wallet_address(HOME, &shop.world.ring).unwrap();
    let mandate = shop.world.mandate_with(json!({ "total": "0.03", "per_payment": "0.02" })).await;
    let met = shop.ask("/metered/ours/37", None).await;
    let header = met.header("payment-required").unwrap().to_owned();
    let mut demand: PaymentRequired = read_header(header.as_bytes()).unwrap();
    demand.extensions = None;
    let unpaid = json!({ "mandate": mandate, "payment_required": demand });
    let refused = shop.world.client.call(Method::POST, "/v1/payments", &shop.world.agent, Some("early"), Some(unpaid));
    let refused = crate::harness::shop::code(refused.await);
    assert_eq!(refused, "permit2_allowance_required", "nothing is signed that cannot move");
    shop.allow(wallet, 1_000_000).await;

    let payment = shop.signed(&mandate, "/metered/ours/37", "used").await;
    let header = text(&payment, "payment_signature");
    let payload: PaymentPayload = read_header(header.as_bytes()).unwrap();
    let permit = &payload.payload["permit2Authorization"];
    assert_eq!((&permit["spender"], &permit["permitted"]["amount"]), (&json!(UPTO_PROXY.to_string()), &json!("10000")));
    assert_eq!(shop.figures(&mandate).await, (MOST, 0, 1), "the most is held");
    let bought = shop.ask("/metered/ours/37", Some(header)).await;
    assert_eq!((bought.status.as_u16(), body(&bought).as_str()), (200, "metered 37"));
    assert!(bought.header("purser-charge").is_none());
    let said = receipt(&bought);
    assert_eq!((said.success, said.amount.as_deref()), (true, Some("37")));
    shop.world.until(text(&payment, "id"), "settled").await;
    assert_eq!(shop.figures(&mandate).await, (0, 37, 1), "what was taken, and no more");
    assert_eq!(shop.moved(wallet).await, [37]);
    // The same again, to the seller and to the wallet, and for something else.
    let again = shop.ask("/metered/ours/37", Some(header)).await;
    assert_eq!((again.status.as_u16(), receipt(&again)), (200, said));
    assert_eq!(
        shop.signed(&mandate, "/metered/ours/37", "used").await["payment_signature"],
        payment["payment_signature"]
    );
    assert!(shop.ask("/metered/ours/1", Some(header)).await.status.as_u16() >= 400);
    // In the other form, above the most, all of it, and nothing.
    for (key, path, charged) in [
        ("share", "/metered/theirs/25%25", 2_500),
        ("above", "/metered/ours/10001", MOST),
        ("whole", "/metered/whole", MOST),
    ] {
        let payment = shop.signed(&mandate, path, key).await;
        let bought = shop.ask(path, Some(text(&payment, "payment_signature"))).await;
        assert_eq!((bought.status.as_u16(), receipt(&bought).amount), (200, Some(charged.to_string())), "{path}");
        shop.world.until(text(&payment, "id"), "settled").await;
    }
    assert_eq!(shop.moved(wallet).await, [37, 2_500, MOST, MOST]);
    assert_eq!(shop.figures(&mandate).await, (0, 37 + 2_500 + 2 * MOST, 4));

    let free = shop.world.mandate_with(json!({ "total": "0.03", "per_payment": "0.02" })).await;
    let payment = shop.signed(&free, "/metered/ours/0", "free").await;
    let header = text(&payment, "payment_signature");
    let bought = shop.ask("/metered/ours/0", Some(header)).await;
    let said = receipt(&bought);
    assert_eq!((bought.status.as_u16(), said.transaction.as_str(), said.amount.as_deref()), (200, "", Some("0")));
    assert_eq!(body(&shop.ask("/metered/ours/0", Some(header)).await), "metered 0", "bought, and kept");
    assert_eq!(shop.figures(&free).await, (MOST, 0, 1), "held, until the permit is proved dead");
    // A charge that cannot be read charges nothing, and gives the goods to nobody.
    let payment = shop.signed(&free, "/metered/ours/much", "odd").await;
    let odd = shop.ask("/metered/ours/much", Some(text(&payment, "payment_signature"))).await;
    assert!(odd.status.as_u16() == 500 && body(&odd).contains("charge_unreadable"), "{}", body(&odd));
    assert_eq!(shop.moved(wallet).await.len(), 4);

    let paths = ["used", "share"].map(|key| key.to_owned());
    for key in paths {
        let path = if key == "used" { "/metered/ours/37" } else { "/metered/theirs/25%25" };
        let id = text(&shop.signed(&mandate, path, &key).await, "id").to_owned();
        let file = shop.world.call(Method::GET, &format!("/v1/payments/{id}/evidence"), &shop.world.user, None).await;
        let file = file.expect("evidence");
        let kept = shop.world.folder.path().join(format!("{key}.json"));
        let trust = shop.world.folder.path().join("trust.json");
        std::fs::write(&kept, file.to_string()).unwrap();
        std::fs::write(&trust, file["issuer_keys"].to_string()).unwrap();
        let arguments = ["verify", "--evidence", &kept.display().to_string(), "--trust", &trust.display().to_string()];
        let checked = run(&arguments, &[]);
        assert!(checked.status.success(), "{}", stdout(&checked));
    }
    shop.world.serve = None;
    let file = shop.world.config_file().display().to_string();
    for command in [&["ledger", "verify"][..], &["reconcile"]] {
        let checked = run(&[command, &["--config", &file]].concat(), &shop.world.env());
        assert!(
            checked.status.success(),
            "{command:?}: {}{}",
            stdout(&checked),
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}

/// Unmodified packages of others at our own prices: by Permit2, and by usage; the chain shows each to the unit.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_clients_pay_our_prices_by_permit2_and_by_usage() {
    let shop = Metered::open().await;
    let (address, key) = (buyer().address, buyer().private_key.to_string());
    shop.world.rpc("devnet_mint", json!([address, "0xf4240"])).await;
    shop.allow(address, 1_000_000).await;
    let offered: PaymentRequired =
        read_header(shop.ask("/either", None).await.header("payment-required").unwrap().as_bytes()).unwrap();
    let methods: Vec<_> = offered.accepts.iter().map(|offer| offer.extra_field("assetTransferMethod")).collect();
    assert_eq!(methods, [Some(&json!("permit2")), None], "in the order of the configuration");
    let urls = ["/either", "/metered/ours/37", "/metered/theirs/50%25", "/metered/ours/0"].map(|path| shop.url(path));
    let mut expected = Vec::new();
    for mut client in [python_script("buy_permit2.py"), node_script("buy_permit2.mjs")] {
        let said = tokio::task::spawn_blocking({
            let (key, urls) = (key.clone(), urls.clone());
            move || bought(&mut client, &key, &urls)
        });
        let said = said.await.unwrap();
        assert_eq!(said, [MOST, 37, MOST / 2, 0].map(|amount| (200, amount.to_string())));
        expected.extend([MOST, 37, MOST / 2]);
        assert_eq!(shop.moved(address).await, expected);
    }
}

fn bought(client: &mut Command, key: &str, urls: &[String]) -> Vec<(u64, String)> {
    let output = client.arg(key).args(urls).output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let bought: Value = serde_json::from_str(line).unwrap();
        assert!(bought["payment_response"].is_string(), "{bought}");
        let receipt: SettleResponse = read_header(text(&bought, "payment_response").as_bytes()).unwrap();
        (bought["status"].as_u64().unwrap(), receipt.amount.unwrap_or_default())
    };
    said.lines().map(line).collect()
}

/// The seller says what its facilitator takes along, and the wallet brings it.
#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_comes_along_with_a_price_by_usage() {
    let shop = Metered::open().await;
    let wallet = wallet_address(HOME, &shop.world.ring).unwrap();
    let mandate = shop.world.mandate_with(json!({ "total": "0.03", "per_payment": "0.02" })).await;
    let met = shop.ask("/metered/ours/37", None).await;
    let demand: PaymentRequired = read_header(met.header("payment-required").unwrap().as_bytes()).unwrap();
    let mut declared: Vec<String> = demand.extensions.unwrap().keys().cloned().collect();
    declared.sort();
    assert_eq!(declared, ["eip2612GasSponsoring", "erc20ApprovalGasSponsoring"]);
    let plain = shop.world.fetch(None).await.unwrap();
    let plain: PaymentRequired = read_header(plain.header("payment-required").unwrap().as_bytes()).unwrap();
    let says = plain.extensions.is_some_and(|all| declared.iter().any(|name| all.contains_key(name)));
    assert!(!says, "nothing of Permit2 where nothing moves by it");

    let payment = shop.signed(&mandate, "/metered/ours/37", "brought").await;
    let header = text(&payment, "payment_signature");
    let payload: PaymentPayload = read_header(header.as_bytes()).unwrap();
    assert_eq!(payload.extensions.unwrap()["eip2612GasSponsoring"]["info"]["amount"], "10000");
    let bought = shop.ask("/metered/ours/37", Some(header)).await;
    assert_eq!((bought.status.as_u16(), body(&bought).as_str()), (200, "metered 37"));
    shop.world.until(text(&payment, "id"), "settled").await;
    assert_eq!((shop.figures(&mandate).await, shop.moved(wallet).await), ((0, 37, 1), vec![37]));
}
