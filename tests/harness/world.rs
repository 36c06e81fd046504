//! A service as an operator runs it: `serve` on a file, the chain elsewhere, a proxy between them.

use std::path::{Path, PathBuf};
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
use store::Schema;
use tempfile::TempDir;

use super::anvil;
use super::cluster::Cluster;
use super::process::{Service, run, stdout};
use super::rpc_proxy::RpcProxy;
use super::text;

const FUNDS: u128 = 1_000_000_000;
const PRICE: u128 = 10_000;
/// Blocks behind the head that are final.
const LAG: u32 = 2;

/// A real `purser serve` on a file, against a real `purser chain` in a process of its own, through a proxy.
pub struct World {
    pub chain: Service,
    pub proxy: RpcProxy,
    pub config: Config,
    pub master: String,
    pub ring: Ring,
    pub folder: TempDir,
    pub cluster: Option<Cluster>,
    pub serve: Option<Service>,
    pub client: Client,
    pub agent: String,
    pub user: String,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(20).await
    }

    /// With payments that live this long.
    pub async fn start_with(payment_seconds: u64) -> Self {
        Self::open(payment_seconds, 2, LAG, None).await
    }

    /// On a chain whose blocks are final so many blocks later.
    pub async fn lagging(payment_seconds: u64, lag: u32) -> Self {
        Self::open(payment_seconds, 2, lag, None).await
    }

    /// For many callers at once, where a hold may wait long for its turn to be signed; the books in a file, or in a
    /// PostgreSQL server.
    pub async fn patient(cluster: Option<Cluster>) -> Self {
        Self::open(3_600, 60, LAG, cluster).await
    }

    /// The same in a PostgreSQL server.
    pub async fn on(payment_seconds: u64, cluster: Cluster) -> Self {
        Self::open(payment_seconds, 2, LAG, Some(cluster)).await
    }

    /// Both.
    pub async fn lagging_on(payment_seconds: u64, lag: u32, cluster: Cluster) -> Self {
        Self::open(payment_seconds, 2, lag, Some(cluster)).await
    }

    /// The books are gone; the configuration names an empty database of the same server.
    pub fn lose_database(&mut self) {
        let cluster = self.cluster.as_ref().expect("a server");
        cluster.psql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", cluster.latest()));
        self.config.database = cluster.url(&cluster.create()).parse().unwrap();
        std::fs::write(self.config_file(), toml::to_string(&self.config).unwrap()).unwrap();
    }

    async fn open(payment_seconds: u64, hold_seconds: i64, lag: u32, cluster: Option<Cluster>) -> Self {
        let chain = match anvil::is_wanted() {
            true => anvil::start(lag),
            false => {
                let lag = lag.to_string();
                Service::start(&["chain", "--port", "0", "--finalized-lag", &lag, "--block-millis", "200"], &[])
            }
        };
        let proxy = RpcProxy::start(text(&chain.line, "rpc_url")).await;
        let folder = tempfile::tempdir().unwrap();
        let listen = super::free_address();
        let master = MasterKey::random().unwrap();
        let options = WorldOptions {
            listen,
            database: match &cluster {
                Some(cluster) => cluster.url(&cluster.create()).parse().unwrap(),
                None => folder.path().join("purser.sqlite").into(),
            },
            rpc_url: proxy.url.clone(),
            facilitator: local_facilitator(),
            chain_id: 31_337,
        };
        let hex = master.to_hex();
        let mut ring = purser::world::ring(&options.database, master).await.unwrap();
        let mut config = config(&options, &ring).unwrap();
        ring.provide(&Slot::all(&config)).await.unwrap();
        for tenant in &mut config.tenants {
            tenant.payment_seconds = Some(payment_seconds);
            tenant.closing_seconds = Some(payment_seconds.min(300).try_into().unwrap());
            tenant.hold_seconds = Some(hold_seconds);
        }
        std::fs::write(folder.path().join("purser.toml"), toml::to_string(&config).unwrap()).unwrap();
        let token = |principal, kind| {
            let minter = purser::service::minter(&config, &ring).unwrap();
            purser::service::mint(&minter, HOME, principal, kind, 3_600).unwrap()
        };
        let (agent, user) = (token(AGENT, CallerKind::Agent), token(USER, CallerKind::User));
        let client = Client::new(&config.public_url()).unwrap();
        let mut world =
            Self { chain, proxy, config, master: hex, ring, folder, cluster, serve: None, client, agent, user };
        world.fund().await;
        world.restart();
        world
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("purser.toml")
    }

    /// The same amount on the chain and in the book.
    pub async fn fund(&self) {
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
        let caller = Caller::new(principal, CallerKind::Service, AuthMethod::Internal);
        let work = Work::new(Request { caller, command }, Vec::new());
        store.run(&HOME.parse().unwrap(), work).await.unwrap();
        store.close().await.unwrap();
    }

    pub fn env(&self) -> Vec<(&'static str, &'static str)> {
        // Leaked once a world: the environment wants texts that live as long as the test.
        vec![("PURSER_MASTER_KEY", Box::leak(self.master.clone().into_boxed_str()))]
    }

    pub fn restart(&mut self) {
        self.serve = None;
        let file = self.config_file().display().to_string();
        self.serve = Some(Service::start(&["serve", "--config", &file], &self.env()));
    }

    /// Another process on the same books, at an address of its own.
    pub fn replica(&self, number: usize) -> (Service, Client) {
        self.replica_of(&super::process::purser(), &[], number)
    }

    /// The same of another binary.
    pub fn replica_of(&self, binary: &Path, env: &[(&str, &str)], number: usize) -> (Service, Client) {
        let config =
            Config { listen: super::free_address(), public_url: Some(self.config.public_url()), ..self.config.clone() };
        let file = self.folder.path().join(format!("replica-{number}.toml"));
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let env = [&self.env(), env].concat();
        let service = Service::start_of(binary, &["serve", "--config", &file.display().to_string()], &env);
        let client = Client::new(&format!("http://{}", config.listen)).unwrap();
        (service, client)
    }

    /// Where another process listens; all of them are one service, whose address is the first one's.
    pub fn replica_origin(&self, number: usize) -> String {
        let text = std::fs::read_to_string(self.folder.path().join(format!("replica-{number}.toml"))).unwrap();
        let config: Config = toml::from_str(&text).unwrap();
        format!("http://{}", config.listen)
    }

    pub fn kill(&mut self) {
        self.serve.as_mut().expect("a running service").kill();
    }

    /// Straight to the chain, past the proxy.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let (method, params) = match anvil::is_wanted() {
            true => anvil::translated(method, params),
            false => (method.to_owned(), params),
        };
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let url = text(&self.chain.line, "rpc_url");
        let answer: Value = reqwest::Client::new().post(url).json(&call).send().await.unwrap().json().await.unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// What an account says to a contract (`tests/foreign/transfer.py`), in a block that is final, and the transaction's hash.
    pub async fn sends(&self, key: &str, contract: &str, said: &[&str]) -> String {
        let output = std::process::Command::new(super::foreign("python"))
            .arg(super::root().join("tests/foreign/transfer.py"))
            .args([text(&self.chain.line, "rpc_url"), key, contract])
            .args(said)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.rpc("anvil_mine", json!([3])).await;
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> Result<Value, ClientError> {
        self.client.call(method, path, token, None, body).await
    }

    pub async fn mandate(&self) -> String {
        self.mandate_of("5.00", 100).await
    }

    pub async fn mandate_of(&self, total: &str, payments: u32) -> String {
        self.mandate_with(json!({ "total": total, "payments": payments })).await
    }

    /// One that differs in this from the usual.
    pub async fn mandate_with(&self, differing: Value) -> String {
        let mut request = json!({
            "user": USER, "description": "crash", "currency": "USD", "total": "5.00", "per_payment": "1.00",
            "payments": 100, "expires_in_seconds": 3_600,
        });
        differing.as_object().unwrap().iter().for_each(|(name, value)| request[name] = value.clone());
        let asked = self.call(Method::POST, "/v1/mandates/intents", &self.agent, Some(request)).await.unwrap();
        let path = format!("/v1/approvals/{}/decision", text(&asked["approval"], "id"));
        let decision = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
        let decided = self.call(Method::POST, &path, &self.user, Some(decision)).await.unwrap();
        text(&decided, "mandate").to_owned()
    }

    pub async fn pay(&self, mandate: &str, key: &str) -> Result<Value, ClientError> {
        let met = self.fetch(None).await.expect("the 402");
        let header = met.header("payment-required").expect("a header").to_owned();
        let body = json!({ "mandate": mandate, "payment_required_header": header });
        self.client.call(Method::POST, "/v1/payments", &self.agent, Some(key), Some(body)).await
    }

    /// What the shop asks for some other thing of the same price.
    pub async fn offer(&self, thing: &str) -> Value {
        let met = self.fetch(None).await.expect("the 402");
        let header = met.header("payment-required").expect("a header").to_owned();
        let required: x402::wire::PaymentRequired = x402::wire::read_header(header.as_bytes()).expect("a 402");
        let mut offer = serde_json::to_value(&required).unwrap();
        offer["resource"]["url"] = format!("{}/things/{thing}", self.config.public_url()).into();
        offer
    }

    pub async fn fetch(&self, payment: Option<&str>) -> Result<Fetched, ClientError> {
        let url = format!("{}/paid/report", self.config.public_url());
        self.client.fetch("GET", &url, payment).await
    }

    /// Present the payment in a task of its own: the service will die under it.
    pub fn present(&self, payment: &str) -> tokio::task::JoinHandle<Result<Fetched, ClientError>> {
        let (client, payment) = (self.client.clone(), payment.to_owned());
        let url = format!("{}/paid/report", self.config.public_url());
        tokio::spawn(async move { client.fetch("GET", &url, Some(&payment)).await })
    }

    pub async fn state(&self, id: &str) -> String {
        let path = format!("/v1/payments/{id}");
        text(&self.call(Method::GET, &path, &self.agent, None).await.unwrap(), "state").to_owned()
    }

    pub async fn until(&self, id: &str, wanted: &str) {
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

    /// Until no reorganisation can take it back.
    pub async fn until_final(&self, id: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let path = format!("/v1/payments/{id}");
        while self.call(Method::GET, &path, &self.agent, None).await.unwrap()["final"] != true {
            assert!(Instant::now() < deadline, "the payment is not final");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How often the price went from the wallet to the shop.
    pub async fn moved(&self) -> usize {
        let topic = |address: String| format!("0x{:0>64}", address.trim_start_matches("0x"));
        let wallet = wallet_address(HOME, &self.ring).unwrap();
        let transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        let topics = json!([transfer, topic(format!("{wallet:#x}")), topic(format!("{:#x}", shop_address()))]);
        let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "topics": topics }]);
        self.rpc("eth_getLogs", filter).await.as_array().unwrap().len()
    }

    /// The service is stopped, and the commands say what the file says.
    pub async fn check_books(&mut self, payments: u128) {
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
