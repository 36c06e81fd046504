//! Promise 3 where payers name their purchases (x402 `payment-identifier`): one name is one purchase of its payer, however
//! often it is signed for, in whichever process, before and after a restart; and nobody uses up or opens another's.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use chain::accounts::{ACCOUNTS, TestAccount};
use purser::client::{Client, Fetched};
use purser::config::{Config, Identified, RouteConfig};
use purser::world::shop_address;
use reqwest::Method;
use serde_json::{Map, Value, json};
use x402::exact::WalletKey;
use x402::network::AssetTable;
use x402::select::{Wallet, select};
use x402::wire::{FacilitatorRequest, PaymentPayload, PaymentRequired, SettleResponse, read_header, write_header};

use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::text;
use crate::harness::world::World;

const NAME: &str = "pay_7d5d747be160e280504c099d984bcfe0";

struct Named {
    world: World,
    assets: AssetTable,
}

impl Named {
    async fn open() -> Self {
        Self::of(World::start_with(60).await).await
    }

    async fn of(mut world: World) -> Self {
        let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
        for (path, identified) in [("/named/a", Identified::Optional), ("/named/b", Identified::Required)] {
            sell.routes.push(RouteConfig {
                path: path.into(),
                amount: "10000".into(),
                description: "what is named".into(),
                body: Some("goods".into()),
                payment_identifier: Some(identified),
                ..RouteConfig::default()
            });
        }
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
        world.restart();
        for account in [&ACCOUNTS[7], &ACCOUNTS[8]] {
            world.rpc("devnet_mint", json!([account.address, "0xf4240"])).await;
        }
        let assets = purser::assembly::assets(&world.config.chain).unwrap();
        Self { world, assets }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.world.config.public_url())
    }

    async fn demand(&self, path: &str) -> PaymentRequired {
        let met = self.world.client.fetch("GET", &self.url(path), None).await.unwrap();
        read_header(met.header("payment-required").expect("a 402").as_bytes()).unwrap()
    }

    /// An authorization of its own; with a name, where there is one.
    async fn sign(&self, by: &TestAccount, path: &str, nonce: u8, name: Option<Value>) -> PaymentPayload {
        let demand = self.demand(path).await;
        let offer = select(&demand, "GET", Wallet::new(&self.assets)).unwrap();
        let key = WalletKey::from_bytes(&by.private_key.0).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut payload =
            offer.authorize(key.address(), B256::repeat_byte(nonce), 0, now + 55).unwrap().sign(&key).unwrap();
        payload.extensions = name.map(|name| {
            let mut entry = demand.extensions.as_ref().unwrap()["payment-identifier"].clone();
            entry["info"]["id"] = name;
            Map::from_iter([("payment-identifier".to_owned(), entry)])
        });
        payload
    }

    async fn buy(&self, client: &Client, path: &str, payload: &PaymentPayload) -> Fetched {
        client.fetch("GET", &self.url(path), Some(&write_header(payload).unwrap())).await.unwrap()
    }

    async fn moved(&self, from: &TestAccount) -> usize {
        let topic = |address: alloy_primitives::Address| B256::from(address.into_word());
        let transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        let topics = json!([transfer, topic(from.address), topic(shop_address())]);
        let logs = self.world.rpc("eth_getLogs", json!([{ "fromBlock": "0x0", "topics": topics }])).await;
        logs.as_array().unwrap().len()
    }
}

fn said(fetched: &Fetched) -> (u16, Value) {
    (fetched.status.as_u16(), serde_json::from_slice(&fetched.body).unwrap_or_default())
}

fn transaction(fetched: &Fetched) -> String {
    let receipt: SettleResponse =
        read_header(fetched.header("payment-response").expect("a receipt").as_bytes()).unwrap();
    assert!(receipt.success);
    receipt.transaction
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_is_one_purchase_of_its_payer() {
    let mut shop = Named::of(World::on(60, Cluster::start(QUICK)).await).await;
    let (payer, stranger) = (&ACCOUNTS[8], &ACCOUNTS[7]);
    let client = shop.world.client.clone();
    // What is no name is refused, and nothing moves.
    for odd in [json!("short"), json!("pay 7d5d747be160e280504c"), json!(7), json!(["x"]), json!("a".repeat(129))] {
        let (status, body) =
            said(&shop.buy(&client, "/named/a", &shop.sign(payer, "/named/a", 1, Some(odd.clone())).await).await);
        assert_eq!((status, text(&body, "code")), (400, "payment_identifier_invalid"), "{odd}");
    }
    let (status, body) = said(&shop.buy(&client, "/named/b", &shop.sign(payer, "/named/b", 1, None).await).await);
    assert_eq!((status, text(&body, "code")), (400, "payment_identifier_required"));
    assert_eq!(shop.moved(payer).await, 0);

    let first = shop.sign(payer, "/named/a", 1, Some(json!(NAME))).await;
    let bought = shop.buy(&client, "/named/a", &first).await;
    assert_eq!(said(&bought), (200, json!({ "content": "goods", "served": 1 })));
    // Signed for once more: the first one's answer and receipt, and the second is not used up.
    let second = shop.sign(payer, "/named/a", 2, Some(json!(NAME))).await;
    for again in [&first, &second] {
        let repeated = shop.buy(&client, "/named/a", again).await;
        assert_eq!((said(&repeated), transaction(&repeated)), (said(&bought), transaction(&bought)));
    }
    let other = shop.sign(payer, "/named/b", 3, Some(json!(NAME))).await;
    let (status, body) = said(&shop.buy(&client, "/named/b", &other).await);
    assert_eq!((status, text(&body, "code")), (409, "payment_identifier_conflict"), "the name of something else");
    assert_eq!(shop.moved(payer).await, 1);
    // The same name is another purchase of somebody else.
    let theirs = shop.buy(&client, "/named/a", &shop.sign(stranger, "/named/a", 1, Some(json!(NAME))).await).await;
    assert_eq!(said(&theirs), (200, json!({ "content": "goods", "served": 2 })));
    assert_ne!(transaction(&theirs), transaction(&bought));

    shop.world.restart();
    let _replica = shop.world.replica(1);
    let elsewhere = Config::read(&shop.world.folder.path().join("replica-1.toml")).unwrap().listen;
    let bases = [shop.url(""), format!("http://{elsewhere}")];
    let third = shop.sign(payer, "/named/a", 4, Some(json!(NAME))).await;
    let header = write_header(&third).unwrap();
    for base in &bases {
        let repeated = client.fetch("GET", &format!("{base}/named/a"), Some(&header)).await.unwrap();
        assert_eq!((said(&repeated), transaction(&repeated)), (said(&bought), transaction(&bought)));
    }
    // At once, in two processes, each signed anew: one of them is carried.
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8_u8 {
        let payload = shop.sign(payer, "/named/b", 10 + number, Some(json!("pay_at_once_0123456789"))).await;
        let (client, url) = (client.clone(), format!("{}/named/b", bases[usize::from(number % 2)]));
        tasks.spawn(async move { client.fetch("GET", &url, Some(&write_header(&payload).unwrap())).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    assert_eq!(shop.moved(payer).await, 2, "one more");
    let receipts: BTreeSet<String> =
        answers.iter().filter(|answer| answer.status.is_success()).map(transaction).collect();
    assert_eq!(receipts.len(), 1, "{:?}", answers.iter().map(said).collect::<Vec<_>>());

    // Our own wallet names what it buys, where it is asked to.
    let mandate = shop.world.mandate().await;
    let demand = shop.demand("/named/b").await;
    let body = json!({ "mandate": mandate, "payment_required": demand });
    let paid = client.call(Method::POST, "/v1/payments", &shop.world.agent, Some("ours"), Some(body)).await.unwrap();
    let bought = client.fetch("GET", &shop.url("/named/b"), Some(text(&paid, "payment_signature"))).await.unwrap();
    assert_eq!(bought.status.as_u16(), 200, "{:?}", said(&bought));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facilitator_carries_one_payment_under_a_name() {
    let shop = Named::open().await;
    let (payer, stranger) = (&ACCOUNTS[8], &ACCOUNTS[7]);
    let settle = async |payload: &PaymentPayload| {
        let request = FacilitatorRequest::new(payload.clone(), payload.accepted.clone());
        let answer = reqwest::Client::new().post(shop.url("/settle")).json(&request).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    for odd in [json!("short"), json!("no name of any kind"), json!(12)] {
        let (status, said) = settle(&shop.sign(payer, "/named/a", 1, Some(odd)).await).await;
        assert_eq!((status, text(&said, "errorReason")), (400, "payment_identifier_invalid"), "{said}");
    }
    let first = shop.sign(payer, "/named/a", 1, Some(json!(NAME))).await;
    let (status, settled) = settle(&first).await;
    assert_eq!((status, &settled["success"]), (200, &json!(true)), "{settled}");
    assert_eq!(settle(&first).await, (200, settled.clone()), "the same again");
    for (path, nonce) in [("/named/a", 2), ("/named/b", 3)] {
        let (status, said) = settle(&shop.sign(payer, path, nonce, Some(json!(NAME))).await).await;
        assert_eq!((status, text(&said, "errorReason")), (409, "payment_identifier_conflict"), "{said}");
    }
    assert_eq!(shop.moved(payer).await, 1);
    let (status, theirs) = settle(&shop.sign(stranger, "/named/a", 1, Some(json!(NAME))).await).await;
    assert_eq!((status, &theirs["success"]), (200, &json!(true)), "nobody uses up another's name: {theirs}");
}
