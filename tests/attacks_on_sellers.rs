//! Published attacks on those who sell over x402, each run against the real service and seen to fail; afterwards the books are
//! looked at.
//!
//! | attack | published as | test |
//! |---|---|---|
//! | I-A: granted before the settlement is final | arXiv 2605.11781 | [`grants::what_is_given_before_it_is_paid_is_bounded_and_owed`], [`grants::an_answer_waits_for_as_many_blocks_as_its_route_says`] |
//! | I-B: an observer submits the authorization first, and the buyer who paid is refused | arXiv 2605.11781, x402-foundation/x402#2501 | [`observers::whoever_submits_it_the_buyer_is_served`] |
//! | allowance overdraft: each authorization is fine alone, all together above the balance | arXiv 2605.30998 | [`overdrafts::no_more_is_served_than_is_there`] |
//! | denial of settlement: the balance is moved, the authorization expires, the facilitator withholds | arXiv 2605.30998 | [`denials::whoever_does_not_pay_owes_and_is_served_on_credit_no_more`], [`denials::what_was_served_is_collected_after_a_restart`], [`denials::what_is_paid_first_is_not_worked_for_before`] |
//! | signing in for another route, with another's or an old text (npm `@x402/extensions` 2.27.0: the unsigned `resource.url` is what counts as paid) | seen with the official SDK | [`returns::who_paid_for_this_comes_back_for_this_and_once_a_text`] |
//!
//! Of several facilitators one is asked: [`carriers::a_payment_is_carried_by_one_of_several`].
//! One payment at two replicas at once: [`replicas::two_replicas_do_the_work_of_one_payment_once_and_charge_it_once`].
//! And whoever may not be dealt with: [`screening::whoever_is_barred_is_barred_everywhere_and_silence_bars_all`].

mod carriers;
mod denials;
mod grants;
mod observers;
mod overdrafts;
mod replicas;
mod returns;
mod screening;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256, address};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::relayer::{FeeCaps, LocalRelayer};
use chain::rpc::{RpcChain, RpcConfig};
use purser::config::RouteConfig;
use purser::world::shop_address;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use x402::chain::{Chain, Pool, Relayer, SettlementCall, TransferCall};
use x402::exact::{self, WalletKey};
use x402::select::{Wallet, select};
use x402::wire::{PaymentPayload, PaymentRequired, read_header};

use crate::harness::process::{run, stdout};
use crate::harness::text;
use crate::harness::world::World;

const PRICE: u128 = 10_000;

/// A priced text, with what else is said of it, as it stands in a configuration.
fn route(path: &str, more: Value) -> RouteConfig {
    let mut route = json!({ "path": path, "amount": PRICE.to_string(), "description": path, "body": "the thing",
        "max_timeout_seconds": 3_600 });
    more.as_object().unwrap().iter().for_each(|(name, value)| route[name] = value.clone());
    if route["upstream"].is_string() {
        route.as_object_mut().unwrap().remove("body");
    }
    serde_json::from_value(route).expect("a route")
}

/// Takes the routes up, and whom the seller settles through.
fn sell(world: &mut World, routes: Vec<RouteConfig>, facilitator: Option<&str>) {
    let key_file = world.folder.path().join("upstream.key");
    std::fs::write(&key_file, "5f".repeat(32)).unwrap();
    let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
    sell.upstream_key_file = Some(key_file);
    sell.routes.extend(routes);
    if let Some(url) = facilitator {
        sell.facilitator = url.to_owned();
    }
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
}

/// Somebody with a key of their own and this much of the token.
struct Buyer {
    key: WalletKey,
    nonces: AtomicU64,
}

impl Buyer {
    async fn new(world: &World, number: u8, funds: u128) -> Self {
        let key = WalletKey::from_bytes(&[number; 32]).unwrap();
        world.rpc("devnet_mint", json!([key.address(), format!("{funds:#x}")])).await;
        Self { key, nonces: AtomicU64::new(1) }
    }

    fn next_nonce(&self) -> B256 {
        B256::from(U256::from(self.nonces.fetch_add(1, Ordering::SeqCst)))
    }

    /// Signs what a path asks for; good for so many seconds.
    async fn sign(&self, world: &World, path: &str, seconds: u64) -> PaymentPayload {
        let met = world.client.fetch("GET", &format!("{}{path}", world.config.public_url()), None).await.unwrap();
        assert_eq!(met.status.as_u16(), 402, "{path}");
        let required: PaymentRequired = read_header(met.header("payment-required").unwrap().as_bytes()).unwrap();
        let table = purser::assembly::assets(&world.config.chain).unwrap();
        let offer = select(&required, "GET", Wallet::new(&table)).unwrap();
        let unsigned = offer.authorize(self.key.address(), self.next_nonce(), 0, now() + seconds).unwrap();
        unsigned.sign(&self.key).unwrap()
    }

    /// Everything that is there goes elsewhere, in a transaction of a stranger's.
    async fn move_away(&self, world: &World, path: &str) {
        let chain = rpc(world);
        let balance =
            chain.balance_of(chain::token::ADDRESS, self.key.address(), x402::chain::At::Latest).await.unwrap();
        let like = self.sign(world, path, 60).await;
        let mut call = transfer(world, &like);
        (call.to, call.value, call.nonce) = (ELSEWHERE, balance, self.next_nonce());
        let authorization = exact::Authorization {
            from: call.from,
            to: call.to,
            value: call.value,
            valid_after: call.valid_after,
            valid_before: call.valid_before,
            nonce: call.nonce,
        };
        let terms = exact::Terms::read(&like.accepted).unwrap();
        let digest = authorization.digest(&terms.domain);
        call.signature = self.key.sign(digest).unwrap().to_bytes();
        submit(world, &call).await;
    }
}

const ELSEWHERE: Address = address!("00000000000000000000000000000000000000cc");

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn rpc(world: &World) -> RpcChain {
    RpcChain::http_any(&[text(&world.chain.line, "rpc_url").to_owned()], RpcConfig::default()).unwrap()
}

fn transfer(world: &World, payload: &PaymentPayload) -> TransferCall {
    let table = purser::assembly::assets(&world.config.chain).unwrap();
    match exact::verify(payload, &payload.accepted, &table, now()).unwrap().call() {
        SettlementCall::Transfer(call) => *call,
        other => panic!("an authorization of EIP-3009 was expected, {other:?} came"),
    }
}

/// Sent by somebody who is neither the seller nor its facilitator.
async fn submit(world: &World, call: &TransferCall) {
    let chain = rpc(world);
    let stranger =
        LocalRelayer::new(chain.clone(), &chain::accounts::ACCOUNTS[5].private_key, FeeCaps::default()).unwrap();
    let nonce = chain.account_nonce(stranger.address(), Pool::Pending).await.unwrap();
    let prepared = stranger.prepare(call, nonce).await.unwrap();
    chain.broadcast(&prepared.raw).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while chain.receipt(prepared.transaction).await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "it is never mined");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What came of a presentation.
struct Got {
    status: u16,
    body: Value,
    /// PAYMENT-RESPONSE, decoded.
    receipt: Option<Value>,
}

impl Got {
    fn is_served(&self) -> bool {
        self.status == 200
    }
}

async fn present_at(origin: &str, path: &str, payload: &PaymentPayload) -> Got {
    let header = STANDARD.encode(serde_json::to_vec(payload).unwrap());
    let sent = reqwest::Client::new().get(format!("{origin}{path}")).header("payment-signature", header).send().await;
    let response = sent.expect("an answer");
    let receipt = response.headers().get("payment-response").map(|header| STANDARD.decode(header).unwrap());
    let receipt = receipt.map(|bytes| serde_json::from_slice(&bytes).unwrap());
    Got { status: response.status().as_u16(), body: response.json().await.unwrap_or_default(), receipt }
}

async fn present(world: &World, path: &str, payload: &PaymentPayload) -> Got {
    present_at(&world.config.public_url(), path, payload).await
}

/// Presented again until it has a receipt: it is paid.
async fn until_paid(world: &World, path: &str, payload: &PaymentPayload) -> Got {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let got = present(world, path, payload).await;
        if got.is_served() && got.receipt.is_some() {
            return got;
        }
        assert!(Instant::now() < deadline, "{path} is not paid: {} {}", got.status, got.body);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn command(world: &World, args: &[&str]) -> (bool, Vec<Value>) {
    let file = world.config_file().display().to_string();
    let output = run(&[args, &["--config", &file]].concat(), &world.env());
    let lines = stdout(&output).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    (output.status.success(), lines)
}

/// What is owed by or to payers of the shop.
fn owed(world: &World) -> Vec<Value> {
    command(world, &["receivables", "--json", "--tenant", "shop"]).1
}

fn receivable(world: &World) -> String {
    let (balanced, books) = command(world, &["ledger", "balances", "--json"]);
    assert!(balanced, "{books:?}");
    let shop = books.iter().find(|line| line["tenant"] == "shop").expect("a line a tenant");
    let found = shop["accounts"].as_array().unwrap().iter().find(|entry| entry["account"] == "receivable");
    found.map_or("0", |entry| text(entry, "balance")).to_owned()
}

async fn until_receivable(world: &World, expected: u128) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = receivable(world);
        if found == expected.to_string() {
            return;
        }
        assert!(Instant::now() < deadline, "{expected} was expected to be owed, {found} is");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the shop has on the chain, in prices.
async fn paid(world: &World) -> u128 {
    let balance = rpc(world).balance_of(chain::token::ADDRESS, shop_address(), x402::chain::At::Latest).await.unwrap();
    u128::try_from(balance).unwrap() / PRICE
}

fn verify_books(world: &World) {
    let file = world.config_file().display().to_string();
    let verified = run(&["ledger", "verify", "--config", &file], &world.env());
    assert!(verified.status.success(), "{}", stdout(&verified));
}

/// A facilitator of somebody else's: it says nothing, says that the nonce is used, or hands on to one that works.
#[derive(Clone)]
struct Carrier {
    url: String,
    silent: Arc<AtomicBool>,
    /// It does not even say what it carries.
    deaf: Arc<AtomicBool>,
    refuses: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Carrier {
    async fn start(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let carrier =
            Self { url, silent: Arc::default(), deaf: Arc::default(), refuses: Arc::default(), asked: Arc::default() };
        let (own, real) = (carrier.clone(), world.config.public_url());
        let settle = move |body: Bytes| {
            let (own, real) = (own.clone(), real.clone());
            async move { own.settle(&real, body).await }
        };
        let (deaf, real) = (carrier.deaf.clone(), world.config.public_url());
        let supported = move || {
            let (deaf, real) = (deaf.load(Ordering::SeqCst), real.clone());
            async move {
                match deaf {
                    true => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                    false => {
                        reqwest::get(format!("{real}/supported")).await.unwrap().text().await.unwrap().into_response()
                    }
                }
            }
        };
        let router = Router::new().route("/settle", post(settle)).route("/supported", get(supported));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        carrier
    }

    async fn settle(self, real: &str, body: Bytes) -> Response {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        if self.refuses.load(Ordering::SeqCst) {
            let said = json!({ "success": false, "errorReason": "invalid_exact_evm_nonce_already_used", "transaction": "",
                "network": "eip155:31337" });
            return axum::Json(said).into_response();
        }
        let sent = reqwest::Client::new().post(format!("{real}/settle")).header("content-type", "application/json");
        match sent.body(body).send().await {
            Ok(answer) => (StatusCode::OK, answer.bytes().await.unwrap()).into_response(),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
}

/// What is sold: it counts its runs, fails when it is told to, and waits while it is told to.
#[derive(Clone)]
struct Upstream {
    url: String,
    fails: Arc<AtomicBool>,
    waits: Arc<AtomicBool>,
    runs: Arc<AtomicU64>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = Self { url, fails: Arc::default(), waits: Arc::default(), runs: Arc::default() };
        let own = upstream.clone();
        let serve = move || {
            let own = own.clone();
            async move {
                let run = own.runs.fetch_add(1, Ordering::SeqCst) + 1;
                while own.waits.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                match own.fails.load(Ordering::SeqCst) {
                    true => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                    false => axum::Json(json!({ "run": run })).into_response(),
                }
            }
        };
        let router = Router::new().route("/{*path}", any(serve));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        upstream
    }

    fn runs(&self) -> u64 {
        self.runs.load(Ordering::SeqCst)
    }
}
