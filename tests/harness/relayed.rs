//! A facilitator in this process, payments signed for it, and what its book says of them.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy_primitives::{B256, U256};
use chain::accounts::{ACCOUNTS, TestAccount};
use ledger::settlement::{Role, Settlement, SettlementKey, SettlementState};
use ledger::store::Store as _;
use purser::config::FacilitateConfig;
use purser::dev::DevOptions;
use purser::world::CARRIER;
use serde_json::{Value, json};
use x402::exact::{Authorization, Terms, WalletKey};

use super::shop::Shop;
use super::text;

pub const PRICE: u128 = 10_000;
pub const GAS: &str = "0x8ac7230489e80000";

/// A facilitator, and two who have payments carried by it.
pub struct Relayed {
    pub shop: Shop,
    pub relayers: Vec<String>,
}

impl Relayed {
    pub async fn open(signers: u32, raise_seconds: u32) -> Self {
        let relayed = Self::open_in(None, signers, raise_seconds).await;
        for relayer in &relayed.relayers {
            relayed.shop.rpc("anvil_setBalance", json!([relayer, GAS]));
        }
        relayed
    }

    /// Nobody has gas.
    pub async fn open_in(data: Option<PathBuf>, signers: u32, raise_seconds: u32) -> Self {
        Self::open_with(DevOptions { data, ..DevOptions::default() }, signers, raise_seconds).await
    }

    pub async fn open_with(options: DevOptions, signers: u32, raise_seconds: u32) -> Self {
        let [signers, raise_seconds] = [signers, raise_seconds].map(|number| NonZeroU32::new(number).unwrap());
        let facilitate = FacilitateConfig { anyone: true, signers, raise_seconds, ..FacilitateConfig::default() };
        let options = DevOptions { facilitate: Some(facilitate), ..options };
        let shop = Shop::open_with(options).await;
        let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
        let signers = supported["signers"]["eip155:*"].as_array().unwrap();
        let relayers: Vec<_> = signers.iter().map(|signer| signer.as_str().unwrap().to_owned()).collect();
        for relayer in &relayers {
            shop.rpc("anvil_setBalance", json!([relayer, "0x0"]));
        }
        for payer in [payer_of(0), payer_of(u8::MAX)] {
            shop.service.devnet().mint(payer.address, U256::from(100 * PRICE)).unwrap();
        }
        Self { shop, relayers }
    }

    pub fn request(&self, nonce: u8) -> Value {
        self.request_for(nonce, 50)
    }

    pub fn request_for(&self, nonce: u8, seconds: u64) -> Value {
        let mut requirements = self.shop.offer("/paid/any", PRICE).accepts.remove(0);
        requirements.max_timeout_seconds = seconds;
        let terms = Terms::read(&requirements).unwrap();
        let key = WalletKey::from_bytes(&payer_of(nonce).private_key.0).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let authorization = Authorization {
            from: key.address(),
            to: terms.pay_to,
            value: terms.value(),
            valid_after: U256::ZERO,
            valid_before: U256::from(now + seconds),
            nonce: B256::repeat_byte(nonce),
        };
        let signature = key.sign(authorization.digest(&terms.domain)).unwrap().to_text();
        let payload = json!({ "signature": signature, "authorization": {
            "from": authorization.from.to_string(), "to": authorization.to.to_string(), "value": PRICE.to_string(),
            "validAfter": "0", "validBefore": authorization.valid_before.to_string(),
            "nonce": authorization.nonce.to_string(),
        } });
        let payment = json!({ "x402Version": 2, "accepted": requirements, "payload": payload });
        json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": requirements })
    }

    pub fn settle(&self, request: Value) -> tokio::task::JoinHandle<Value> {
        let url = self.shop.url("/settle");
        tokio::spawn(async move {
            reqwest::Client::new().post(url).json(&request).send().await.unwrap().json().await.unwrap()
        })
    }

    /// Many at once, and what came of each.
    pub async fn settle_all(&self, nonces: impl IntoIterator<Item = u8>) -> Vec<Value> {
        let tasks: Vec<_> = nonces.into_iter().map(|nonce| self.settle(self.request(nonce))).collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        answers
    }

    pub async fn row(&self, nonce: u8) -> Option<Settlement> {
        let service = &self.shop.service;
        service.store().settlement(&service.tenant(CARRIER).unwrap(), &key_of(nonce)).await.unwrap()
    }

    pub async fn until(&self, nonce: u8, state: SettlementState) -> Settlement {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.row(nonce).await {
                Some(row) if row.state == state => return row,
                row => assert!(Instant::now() < deadline, "{nonce} is not {state}: {row:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn give_gas(&self, wei: &str) {
        self.shop.rpc("anvil_setBalance", json!([self.relayers[0], wei]));
    }

    pub fn sender(&self, transaction: &str) -> String {
        let found = self.shop.rpc("eth_getTransactionByHash", json!([transaction]));
        text(&found, "from").to_ascii_lowercase()
    }

    pub fn moved(&self) -> usize {
        let to = format!("{:#x}", purser::world::shop_address());
        let of = |payer: TestAccount| self.shop.transfers(&format!("{:#x}", payer.address), &to).len();
        of(payer_of(0)) + of(payer_of(u8::MAX))
    }
}

/// Whose payment the one with this nonce is.
pub fn payer_of(nonce: u8) -> TestAccount {
    if nonce < 128 { ACCOUNTS[8] } else { ACCOUNTS[7] }
}

pub fn key_of(nonce: u8) -> SettlementKey {
    let authorization = ledger::spend::Authorization {
        network: "eip155:31337".into(),
        asset: format!("eip155:31337/erc20:{:#x}", chain::token::ADDRESS).parse().unwrap(),
        payer: format!("{:#x}", payer_of(nonce).address),
        nonce: [nonce; 32],
    };
    SettlementKey { role: Role::Facilitator, authorization }
}
