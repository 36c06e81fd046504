//! A service that sells for vouchers, what lies behind it, and a payer with a channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::rpc::{RpcChain, RpcConfig};
use purser::config::{ChannelsConfig, PayBy, RouteConfig};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use x402::batch_settlement::{Channel, ChannelState, Message, terms, voucher_digest};
use x402::chain::{At, Chain as _};
use x402::exact::{Signed, WalletKey};
use x402::network::Network;
use x402::value::Amount;
use x402::wire::{PaymentPayload, PaymentRequired, PaymentRequirements, read_header};

use super::cluster::Cluster;
use super::text;
use super::world::World;

pub const PRICE: u128 = 1_000;
pub const KEY: &str = "5f1c0d3a77b2e94488c6f0a1d2b3c4e55f1c0d3a77b2e94488c6f0a1d2b3c4e5";

/// What is sold: each answer says the how-manieth it is. A path ends with what it charges, with `fail`, or with `slow`.
#[derive(Clone, Default)]
pub struct Work {
    runs: Arc<AtomicU64>,
    pub lets_go: Arc<AtomicBool>,
}

async fn work(State(work): State<Work>, Path(what): Path<String>) -> Response {
    let run = work.runs.fetch_add(1, Ordering::SeqCst) + 1;
    let body = axum::Json(json!({ "run": run }));
    match what.as_str() {
        "fail" => StatusCode::IM_A_TEAPOT.into_response(),
        "slow" => {
            while !work.lets_go.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            body.into_response()
        }
        "whole" | "other" => body.into_response(),
        charge => ([("purser-charge", charge.to_owned())], body).into_response(),
    }
}

impl Work {
    /// Where it is done.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/{what}", get(work)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        upstream
    }

    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::SeqCst)
    }
}

pub struct Seller {
    pub world: World,
    pub work: Work,
}

/// An answer, with its receipt or its demand.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub body: Value,
    pub receipt: Option<Value>,
    pub required: Option<PaymentRequired>,
}

impl Got {
    /// The code of a refusal, without what all of the scheme begin with.
    pub fn code(&self) -> String {
        let demanded = self.required.as_ref().and_then(|required| required.error.clone());
        let failed = self.receipt.as_ref().and_then(|receipt| receipt["errorReason"].as_str().map(str::to_owned));
        let said = demanded.or(failed).or_else(|| self.body["code"].as_str().map(str::to_owned));
        said.unwrap_or_default().replace("invalid_batch_settlement_evm_", "")
    }

    pub fn charged(&self) -> (String, String) {
        assert_eq!(self.status, 200, "{self:?}");
        let extra = &self.receipt.as_ref().expect("a receipt")["extra"];
        let state = &extra["channelState"];
        (text(extra, "chargedAmount").to_owned(), text(state, "chargedCumulativeAmount").to_owned())
    }
}

impl Seller {
    pub async fn open() -> Self {
        Self::of(World::start_with(60).await, &[]).await
    }

    pub async fn on(cluster: Cluster) -> Self {
        Self::of(World::on(60, cluster).await, &[]).await
    }

    /// Through these facilitators instead of its own.
    pub async fn through(facilitators: &[&str]) -> Self {
        Self::of(World::start_with(60).await, facilitators).await
    }

    pub async fn of(mut world: World, facilitators: &[&str]) -> Self {
        let work = Work::default();
        let upstream = work.serve().await;
        let key_file = world.folder.path().join("upstream.key");
        std::fs::write(&key_file, KEY).unwrap();
        let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
        sell.upstream_key_file = Some(key_file);
        if let Some((first, others)) = facilitators.split_first() {
            sell.facilitator = (*first).to_owned();
            sell.facilitators = others.iter().map(|other| (*other).to_owned()).collect();
        }
        sell.channels = Some(ChannelsConfig {
            withdraw_delay_seconds: 900,
            claim_above: Amount::new(5 * PRICE),
            ..ChannelsConfig::default()
        });
        sell.channels.as_mut().unwrap().claim_after_seconds = 450;
        for (path, seconds) in [("/channel/*", 60), ("/short/*", 12), ("/brief/*", 5)] {
            sell.routes.push(RouteConfig {
                path: path.into(),
                amount: PRICE.to_string(),
                description: "paid by the voucher".into(),
                pay_by: vec![PayBy::BatchSettlement],
                upstream: Some(upstream.clone()),
                max_timeout_seconds: seconds,
                ..RouteConfig::default()
            });
        }
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
        world.restart();
        Self { world, work }
    }

    pub fn origin(&self) -> String {
        self.world.config.public_url()
    }

    pub fn rpc(&self) -> RpcChain {
        RpcChain::http_any(&[text(&self.world.chain.line, "rpc_url").to_owned()], RpcConfig::default()).unwrap()
    }

    pub async fn ask(&self, path: &str, payload: Option<&PaymentPayload>) -> Got {
        ask_at(&self.origin(), path, payload).await
    }

    /// The offer of a path.
    pub async fn offer(&self, path: &str) -> PaymentRequirements {
        let met = self.ask(path, None).await;
        assert_eq!(met.status, 402, "{met:?}");
        met.required.expect("a demand").accepts.remove(0)
    }

    pub async fn state(&self, channel: &Channel) -> ChannelState {
        self.rpc().channel(channel.id(network()), At::Latest).await.unwrap()
    }

    pub async fn balance(&self, owner: Address) -> u128 {
        let units = self.rpc().balance_of(chain::token::ADDRESS, owner, At::Latest).await.unwrap();
        u128::try_from(units).unwrap()
    }
}

pub fn network() -> Network {
    Network::new(31_337).unwrap()
}

pub async fn ask_at(origin: &str, path: &str, payload: Option<&PaymentPayload>) -> Got {
    let mut request = reqwest::Client::new().get(format!("{origin}{path}"));
    if let Some(payload) = payload {
        request = request.header("payment-signature", STANDARD.encode(serde_json::to_vec(payload).unwrap()));
    }
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers().get(name).map(|value| value.as_bytes().to_vec());
    let receipt = header("payment-response").map(|bytes| STANDARD.decode(bytes).unwrap());
    let receipt = receipt.map(|bytes| serde_json::from_slice(&bytes).unwrap());
    let required = header("payment-required").map(|bytes| read_header(&bytes).unwrap());
    let status = answer.status().as_u16();
    let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null);
    Got { status, body, receipt, required }
}

/// Somebody with money, and one channel of theirs.
#[derive(Clone)]
pub struct Payer {
    pub key: [u8; 32],
    pub channel: Channel,
    pub required: PaymentRequirements,
}

pub fn key_of(secret: &[u8; 32]) -> WalletKey {
    WalletKey::from_bytes(secret).unwrap()
}

impl Payer {
    pub async fn new(seller: &Seller, number: u8, funds: u128) -> Self {
        let required = seller.offer("/channel/whole").await;
        let payer = key_of(&[number; 32]).address();
        seller.world.rpc("devnet_mint", json!([payer, format!("{funds:#x}")])).await;
        let extra = required.extra.clone().unwrap();
        let channel = Channel {
            payer,
            payer_authorizer: payer,
            receiver: required.pay_to.parse().unwrap(),
            receiver_authorizer: text(&Value::Object(extra.clone()), "receiverAuthorizer").parse().unwrap(),
            token: required.asset.parse().unwrap(),
            withdraw_delay: alloy_primitives::aliases::U40::from(extra["withdrawDelay"].as_u64().unwrap()),
            salt: B256::ZERO,
        };
        Self { key: [number; 32], channel, required }
    }

    pub fn id(&self) -> B256 {
        self.channel.id(network())
    }

    fn by_payer(&self, kind: &str, max: u128) -> Map<String, Value> {
        let digest = voucher_digest(network(), self.id(), Amount::new(max));
        let signature = key_of(&self.key).sign(digest).unwrap().to_text();
        let voucher = json!({
            "channelId": self.id().to_string(), "maxClaimableAmount": max.to_string(), "signature": signature,
        });
        let payload = json!({ "type": kind, "channelConfig": self.channel.shown(), "voucher": voucher });
        payload.as_object().unwrap().clone()
    }

    fn payload(&self, payload: Map<String, Value>) -> PaymentPayload {
        let (resource, extensions, unknown) = (None, None, Map::new());
        PaymentPayload { x402_version: 2, resource, accepted: self.required.clone(), payload, extensions, unknown }
    }

    pub fn voucher(&self, max: u128) -> PaymentPayload {
        self.payload(self.by_payer("voucher", max))
    }

    pub fn refund(&self, max: u128, amount: Option<u128>) -> PaymentPayload {
        let mut payload = self.by_payer("refund", max);
        if let Some(amount) = amount {
            payload.insert("amount".into(), json!(amount.to_string()));
        }
        self.payload(payload)
    }

    pub fn deposit(&self, units: u128, max: u128, salt: u8) -> PaymentPayload {
        let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 50;
        let mut payload = self.by_payer("deposit", max);
        let salt = B256::from(U256::from(salt));
        let with = |signature: &str| {
            let authorization = json!({
                "validAfter": "0", "validBefore": until.to_string(), "salt": salt.to_string(), "signature": signature,
            });
            json!({ "amount": units.to_string(), "authorization": { "erc3009Authorization": authorization } })
        };
        payload.insert("deposit".into(), with("0x"));
        let Message::Deposit { deposit, .. } = Message::read(&payload).unwrap() else { panic!("a deposit") };
        let digest = Signed::Deposit(*deposit).digest(&terms(&self.required).unwrap());
        payload.insert("deposit".into(), with(&key_of(&self.key).sign(digest).unwrap().to_text()));
        self.payload(payload)
    }
}

/// Waits for something that comes by itself.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
