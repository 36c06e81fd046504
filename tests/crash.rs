//! Promise 3 under `kill -9`: whatever the moment, money moves at most once, and the books end where the chain is.
//!
//! A real `purser serve` on a file, against a real `purser chain` in a process of its own, through a proxy that
//! withholds answers; the moments are hit from outside.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ledger::command::{Command, Request};
use ledger::id::{AuthMethod, Caller, CallerKind, Digest};
use ledger::money::Amount;
use ledger::store::{Store, Work};
use ledger::transfer::Money;
use purser::client::{Client, ClientError, Fetched};
use purser::config::Config;
use purser::keys::{MasterKey, Ring, Slot};
use purser::world::{
    AGENT, HOME, USER, WorldOptions, config, local_facilitator, relayer_address, shop_address, wallet_address,
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use store::Schema;
use tempfile::TempDir;

use crate::harness::process::{Service, run, stdout};
use crate::harness::rpc_proxy::RpcProxy;
use crate::harness::text;

const FUNDS: u128 = 1_000_000_000;
const PRICE: u128 = 10_000;

struct World {
    chain: Service,
    proxy: RpcProxy,
    config: Config,
    master: String,
    ring: Ring,
    folder: TempDir,
    serve: Option<Service>,
    client: Client,
    agent: String,
    user: String,
}

impl World {
    async fn start() -> Self {
        let chain = Service::start(&["chain", "--port", "0", "--finalized-lag", "2", "--block-millis", "200"], &[]);
        let proxy = RpcProxy::start(text(&chain.line, "rpc_url")).await;
        let folder = tempfile::tempdir().unwrap();
        let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let master = MasterKey::random().unwrap();
        let options = WorldOptions {
            listen,
            database: folder.path().join("purser.sqlite"),
            rpc_url: proxy.url.clone(),
            facilitator: local_facilitator(),
        };
        let hex = master.to_hex();
        let mut ring = purser::world::ring(&options.database, master).await.unwrap();
        let mut config = config(&options, &ring).unwrap();
        ring.provide(&Slot::all(&config)).await.unwrap();
        for tenant in &mut config.tenants {
            tenant.payment_seconds = Some(20);
            tenant.hold_seconds = Some(2);
        }
        std::fs::write(folder.path().join("purser.toml"), toml::to_string(&config).unwrap()).unwrap();
        let token = |principal, kind| {
            let minter = purser::service::minter(&config, &ring).unwrap();
            purser::service::mint(&minter, HOME, principal, kind, 3_600).unwrap()
        };
        let (agent, user) = (token(AGENT, CallerKind::Agent), token(USER, CallerKind::User));
        let client = Client::new(&config.public_url()).unwrap();
        let mut world = Self { chain, proxy, config, master: hex, ring, folder, serve: None, client, agent, user };
        world.fund().await;
        world.restart();
        world
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("purser.toml")
    }

    /// The same amount on the chain and in the book.
    async fn fund(&self) {
        let wallet = wallet_address(HOME, &self.ring).unwrap();
        self.rpc("devnet_mint", json!([wallet, format!("{FUNDS:#x}")])).await;
        let relayer = relayer_address(&self.ring).unwrap();
        self.rpc("anvil_setBalance", json!([relayer, "0x8ac7230489e80000"])).await;
        let migrated = run(&["migrate", "--config", &self.config_file().display().to_string()], &self.env());
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let store = purser::assembly::open_store(&self.config, &self.ring, Schema::Refuse).await.unwrap();
        let asset = format!("eip155:31337/erc20:{:#x}", chain::token::ADDRESS).parse().unwrap();
        let command = Command::Fund {
            wallet: format!("eip155:31337:{wallet:#x}"),
            money: Money { asset, amount: Amount::new(FUNDS) },
            reference: Digest([1; 32]),
        };
        let principal = "test".parse().unwrap();
        let caller = Caller { principal, kind: CallerKind::Service, method: AuthMethod::Internal };
        let work = Work { request: Request { caller, command }, documents: Vec::new() };
        store.run(&HOME.parse().unwrap(), work).await.unwrap();
        store.close().await.unwrap();
    }

    fn env(&self) -> Vec<(&'static str, &'static str)> {
        // Leaked once a world: the environment wants texts that live as long as the test.
        vec![("PURSER_MASTER_KEY", Box::leak(self.master.clone().into_boxed_str()))]
    }

    fn restart(&mut self) {
        self.serve = None;
        let file = self.config_file().display().to_string();
        self.serve = Some(Service::start(&["serve", "--config", &file], &self.env()));
    }

    fn kill(&mut self) {
        self.serve.as_mut().expect("a running service").kill();
    }

    /// Straight to the chain, past the proxy.
    async fn rpc(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let url = text(&self.chain.line, "rpc_url");
        let answer: Value = reqwest::Client::new().post(url).json(&call).send().await.unwrap().json().await.unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Result<Value, ClientError> {
        self.client.call(method, path, token, None, body).await
    }

    async fn mandate(&self) -> String {
        let request = json!({
            "user": USER, "description": "crash", "currency": "USD", "total": "5.00", "per_payment": "1.00",
            "payments": 100, "expires_in_seconds": 3_600,
        });
        let asked = self.call(Method::POST, "/v1/mandates/intents", &self.agent, Some(request)).await.unwrap();
        let path = format!("/v1/approvals/{}/decision", text(&asked["approval"], "id"));
        let decision = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
        let decided = self.call(Method::POST, &path, &self.user, Some(decision)).await.unwrap();
        text(&decided, "mandate").to_owned()
    }

    async fn pay(&self, mandate: &str, key: &str) -> Result<Value, ClientError> {
        let met = self.fetch(None).await.expect("the 402");
        let header = met.header("payment-required").expect("a header").to_owned();
        let body = json!({ "mandate": mandate, "payment_required_header": header });
        self.client.call(Method::POST, "/v1/payments", &self.agent, Some(key), Some(body)).await
    }

    async fn fetch(&self, payment: Option<&str>) -> Result<Fetched, ClientError> {
        let url = format!("{}/paid/report", self.config.public_url());
        self.client.fetch("GET", &url, payment).await
    }

    /// Present the payment in a task of its own: the service will die under it.
    fn present(&self, payment: &str) -> tokio::task::JoinHandle<Result<Fetched, ClientError>> {
        let (client, payment) = (self.client.clone(), payment.to_owned());
        let url = format!("{}/paid/report", self.config.public_url());
        tokio::spawn(async move { client.fetch("GET", &url, Some(&payment)).await })
    }

    async fn state(&self, id: &str) -> String {
        let path = format!("/v1/payments/{id}");
        text(&self.call(Method::GET, &path, &self.agent, None).await.unwrap(), "state").to_owned()
    }

    async fn until(&self, id: &str, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let state = self.state(id).await;
            if state == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "the spend is {state}, {wanted} was waited for");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How often the price went from the wallet to the shop.
    async fn moved(&self) -> usize {
        let topic = |address: String| format!("0x{:0>64}", address.trim_start_matches("0x"));
        let wallet = wallet_address(HOME, &self.ring).unwrap();
        let transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        let topics = json!([transfer, topic(format!("{wallet:#x}")), topic(format!("{:#x}", shop_address()))]);
        let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "topics": topics }]);
        self.rpc("eth_getLogs", filter).await.as_array().unwrap().len()
    }

    /// The service is stopped, and the commands say what the file says.
    async fn check_books(&mut self, payments: u128) {
        self.serve = None;
        let file = self.config_file().display().to_string();
        let verified = run(&["ledger", "verify", "--config", &file], &self.env());
        assert!(verified.status.success(), "{}", stdout(&verified));
        let balances = run(&["ledger", "balances", "--config", &file, "--json"], &self.env());
        assert!(balances.status.success(), "{}", stdout(&balances));
        let wallet = wallet_address(HOME, &self.ring).unwrap();
        let expected = [
            (HOME, format!("wallet/eip155:31337:{wallet:#x}"), FUNDS - payments * PRICE),
            ("shop", format!("wallet/eip155:31337:{:#x}", shop_address()), payments * PRICE),
        ];
        for (tenant, account, amount) in expected {
            let lines = stdout(&balances);
            let line = lines
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap())
                .find(|line| line["tenant"] == tenant);
            let line = line.expect("a line a tenant");
            assert_eq!(line["balanced"], true, "{line}");
            let found = line["accounts"].as_array().unwrap().iter().find(|entry| entry["account"] == account.as_str());
            let booked = found.map_or("0", |entry| text(entry, "balance"));
            assert_eq!(booked, amount.to_string(), "{tenant} {account}");
        }
    }
}

/// Takes the database's write lock as another program would, and keeps it while it lives.
async fn lock(world: &World) -> Option<SqliteConnection> {
    let url = format!("sqlite://{}", world.config.database.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut connection).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        if sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.is_ok() {
            return Some(connection);
        }
    }
    None
}

/// Takes and gives back the lock until a spend is held, and then keeps it; `None` when the payment got through.
async fn lock_on_hold<T>(world: &World, paying: &tokio::task::JoinHandle<T>) -> Option<SqliteConnection> {
    let mut connection = lock(world).await.expect("the lock, while nothing happens");
    loop {
        let held =
            sqlx::query("SELECT count(*) FROM spend WHERE state = 'held'").fetch_one(&mut connection).await.unwrap();
        if held.get::<i64, _>(0) == 1 {
            return Some(connection);
        }
        sqlx::query("ROLLBACK").execute(&mut connection).await.unwrap();
        while sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.is_err() {}
        if paying.is_finished() {
            return None;
        }
    }
}

/// Held, nothing signed: after the restart the hold lapses, its key says so, and nothing has moved.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_hold() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    // The lock is wanted between two units a fraction of a millisecond apart: another program takes it and gives it
    // back as fast as it can, until it finds a hold. A purchase that slipped through is one of its own.
    let mut tries = 0;
    let caught = loop {
        tries += 1;
        assert!(tries <= 40, "the moment between hold and signature was not hit in {tries} tries");
        let key = format!("held-{tries}");
        let required = world.fetch(None).await.unwrap().header("payment-required").unwrap().to_owned();
        let body = json!({ "mandate": mandate, "payment_required_header": required });
        let (client, agent, of_try) = (world.client.clone(), world.agent.clone(), key.clone());
        let paying =
            tokio::spawn(
                async move { client.call(Method::POST, "/v1/payments", &agent, Some(&of_try), Some(body)).await },
            );
        if let Some(connection) = lock_on_hold(&world, &paying).await {
            world.kill();
            drop(connection);
            let _ = paying.await;
            break key;
        }
        let payment = paying.await.unwrap().expect("a payment that slipped through");
        let fetched = world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap();
        assert_eq!(fetched.status.as_u16(), 200);
        world.until(text(&payment, "id"), "settled").await;
    };
    let paid_before = world.moved().await;
    world.restart();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answered = world.pay(&mandate, &caught).await;
    assert_eq!(answered.unwrap_err().code(), Some("spend_released"), "the key of a lapsed hold");
    let figures = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
    assert_eq!(figures["held"]["units"], "0", "nothing stays held");
    assert_eq!(world.moved().await, paid_before);
    world.check_books(u128::try_from(paid_before).unwrap()).await;
}

/// Signed and handed out: the same key gives the same bytes, and they buy once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_signing() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let first = world.pay(&mandate, "signed").await.unwrap();
    world.kill();
    world.restart();
    let second = world.pay(&mandate, "signed").await.unwrap();
    assert_eq!(first["payment_signature"], second["payment_signature"], "byte for byte");
    let fetched = world.fetch(Some(text(&first, "payment_signature"))).await.unwrap();
    assert_eq!(fetched.status.as_u16(), 200);
    world.until(text(&first, "id"), "settled").await;
    assert_eq!(world.moved().await, 1);
    world.check_books(1).await;
}

/// Signed and never presented: held while it could still move money, released once it cannot, by proof.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_signing_and_never_presented() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "unused").await.unwrap();
    let id = text(&payment, "id").to_owned();
    world.kill();
    world.restart();
    assert_eq!(world.state(&id).await, "committed", "a restart proves nothing");
    world.rpc("evm_increaseTime", json!([60])).await;
    world.until(&id, "released").await;
    assert_eq!(world.pay(&mandate, "unused").await.unwrap_err().code(), Some("spend_released"));
    assert_eq!(world.moved().await, 0);
    world.check_books(0).await;
}

/// Broadcast, and nobody saw the receipt: found at start, settled once, and the buyer gets what was bought.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_broadcast_before_the_receipt() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "broadcast").await.unwrap();
    let signature = text(&payment, "payment_signature").to_owned();
    let sent = world.proxy.seen("eth_sendRawTransaction");
    world.proxy.withhold(&["eth_getTransactionReceipt", "eth_getLogs"]);
    let presented = world.present(&signature);
    world.proxy.until_seen("eth_sendRawTransaction", sent).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.kill();
    let _ = presented.await;
    assert_eq!(world.moved().await, 1, "the chain has it");
    world.proxy.release();
    world.restart();
    world.until(text(&payment, "id"), "settled").await;
    served_once(&world, &signature).await;
    assert_eq!(world.proxy.seen("eth_sendRawTransaction"), sent + 1, "nothing was sent twice");
    world.check_books(1).await;
}

/// The bytes are stored and the node may or may not have them: the same bytes again, one settlement.
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_broadcast_was_answered() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "unanswered").await.unwrap();
    let signature = text(&payment, "payment_signature").to_owned();
    let sent = world.proxy.seen("eth_sendRawTransaction");
    world.proxy.withhold(&["eth_sendRawTransaction"]);
    let presented = world.present(&signature);
    world.proxy.until_seen("eth_sendRawTransaction", sent).await;
    world.kill();
    let _ = presented.await;
    world.proxy.release();
    world.restart();
    world.until(text(&payment, "id"), "settled").await;
    served_once(&world, &signature).await;
    world.check_books(1).await;
}

/// The receipt is there and the books cannot be written: nothing is lost, nothing is posted twice.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_receipt_before_posting() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "unposted").await.unwrap();
    let signature = text(&payment, "payment_signature").to_owned();
    let asked = world.proxy.seen("eth_getTransactionReceipt");
    world.proxy.withhold(&["eth_getTransactionReceipt", "eth_getLogs"]);
    let presented = world.present(&signature);
    world.proxy.until_seen("eth_getTransactionReceipt", asked).await;
    let mut locked = lock(&world).await.expect("the write lock");
    world.proxy.release();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let settled: i64 = sqlx::query("SELECT count(*) FROM settlement WHERE state = 'settled'")
        .fetch_one(&mut locked)
        .await
        .unwrap()
        .get(0);
    assert_eq!((world.moved().await, settled), (1, 0), "mined, and not posted");
    world.kill();
    let _ = presented.await;
    drop(locked);
    world.restart();
    world.until(text(&payment, "id"), "settled").await;
    served_once(&world, &signature).await;
    world.check_books(1).await;
}

/// The payer fetches what was paid for with the same signature; it is given, and nothing more moves.
async fn served_once(world: &World, signature: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let fetched = world.fetch(Some(signature)).await.unwrap();
        if fetched.status.as_u16() == 200 {
            let body: Value = serde_json::from_slice(&fetched.body).unwrap();
            assert_eq!(body["served"], 1, "the stored answer of the one run");
            break;
        }
        let said = String::from_utf8_lossy(&fetched.body).into_owned();
        assert!(matches!(fetched.status.as_u16(), 409 | 502 | 503), "unknown is not failed: {} {said}", fetched.status);
        assert!(Instant::now() < deadline, "the stored answer is given at last: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.moved().await, 1);
}
