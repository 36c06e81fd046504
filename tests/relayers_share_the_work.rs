//! Promise 3 where several accounts send settlements: each goes out once, and one that is stuck holds up nobody else.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use alloy_primitives::{B256, U256};
use chain::accounts::ACCOUNTS;
use purser::config::FacilitateConfig;
use purser::dev::DevOptions;
use serde_json::{Value, json};
use x402::exact::{Authorization, Terms, WalletKey};

use crate::harness::shop::Shop;
use crate::harness::text;

const PRICE: u128 = 10_000;

struct Relayed {
    shop: Shop,
    relayers: Vec<String>,
}

impl Relayed {
    async fn open(signers: u32, raise_seconds: u32) -> Self {
        let [signers, raise_seconds] = [signers, raise_seconds].map(|number| NonZeroU32::new(number).unwrap());
        let facilitate = FacilitateConfig { anyone: true, signers, raise_seconds, ..FacilitateConfig::default() };
        let options = DevOptions { facilitate: Some(facilitate), ..DevOptions::default() };
        let shop = Shop::open_with(options).await;
        let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
        let signers = supported["signers"]["eip155:*"].as_array().unwrap();
        let relayers: Vec<_> = signers.iter().map(|signer| signer.as_str().unwrap().to_owned()).collect();
        for relayer in &relayers {
            shop.rpc("anvil_setBalance", json!([relayer, "0x8ac7230489e80000"]));
        }
        shop.service.devnet().mint(ACCOUNTS[8].address, U256::from(100 * PRICE)).unwrap();
        Self { shop, relayers }
    }

    fn request(&self, nonce: u8) -> Value {
        let requirements = self.shop.offer("/paid/any", PRICE).accepts.remove(0);
        let terms = Terms::read(&requirements).unwrap();
        let key = WalletKey::from_bytes(&ACCOUNTS[8].private_key.0).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let authorization = Authorization {
            from: key.address(),
            to: terms.pay_to,
            value: terms.value(),
            valid_after: U256::ZERO,
            valid_before: U256::from(now + 50),
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

    fn settle(&self, request: Value) -> tokio::task::JoinHandle<Value> {
        let url = self.shop.url("/settle");
        tokio::spawn(async move {
            reqwest::Client::new().post(url).json(&request).send().await.unwrap().json().await.unwrap()
        })
    }

    /// Many at once, and what came of each.
    async fn settle_all(&self, nonces: std::ops::Range<u8>) -> Vec<Value> {
        let tasks: Vec<_> = nonces.map(|nonce| self.settle(self.request(nonce))).collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        answers
    }

    fn sender(&self, transaction: &str) -> String {
        let found = self.shop.rpc("eth_getTransactionByHash", json!([transaction]));
        text(&found, "from").to_ascii_lowercase()
    }

    fn moved(&self) -> usize {
        let (from, to) = (format!("{:#x}", ACCOUNTS[8].address), format!("{:#x}", purser::world::shop_address()));
        self.shop.transfers(&from, &to).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_gas_holds_up_nobody_else_and_goes_on_when_it_has_some() {
    let relayed = Relayed::open(3, 60).await;
    assert_eq!(relayed.relayers.len(), 3);
    let [dry, ..] = relayed.relayers.as_slice() else { panic!("three") };
    relayed.shop.rpc("anvil_setBalance", json!([dry, "0x0"]));
    let answers = relayed.settle_all(1..13).await;
    let (settled, waiting): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["success"] == true);
    assert!(settled.len() >= 6, "the others carried theirs: {answers:?}");
    assert_eq!(relayed.moved(), settled.len());
    let by: BTreeSet<_> = settled.iter().map(|answer| relayed.sender(text(answer, "transaction"))).collect();
    assert!(!by.contains(&dry.to_ascii_lowercase()) && by.len() == 2, "{by:?}");
    for answer in &waiting {
        assert_eq!(answer["errorReason"], "settlement_pending", "unknown is not failed");
    }
    assert!(!waiting.is_empty(), "the dry one had some in hand");

    relayed.shop.rpc("anvil_setBalance", json!([dry, "0x8ac7230489e80000"]));
    let deadline = Instant::now() + Duration::from_secs(20);
    while relayed.moved() < 12 {
        assert!(Instant::now() < deadline, "{} of 12 moved", relayed.moved());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for nonce in 1..13 {
        let again = relayed.settle(relayed.request(nonce)).await.unwrap();
        assert!(again["success"] == true || again["errorReason"] == "invalid_exact_evm_nonce_already_used", "{again}");
    }
    assert_eq!(relayed.moved(), 12, "each once");
}

/// The chain leaves the first one lying: the same is sent at twice the fee, and it is one payment whichever is mined.
#[tokio::test(flavor = "multi_thread")]
async fn a_fee_is_raised_and_whichever_is_mined_counts() {
    let relayed = Relayed::open(1, 1).await;
    relayed.shop.rpc("evm_setAutomine", json!([false]));
    let settling = relayed.settle(relayed.request(1));
    let block = |tag: &str| relayed.shop.rpc("eth_getBlockByNumber", json!([tag, true]));
    let waiting = || {
        let nonce = relayed.shop.rpc("eth_getTransactionCount", json!([relayed.relayers[0], "pending"]));
        nonce != "0x0"
    };
    let deadline = Instant::now() + Duration::from_secs(15);
    while !waiting() {
        assert!(Instant::now() < deadline, "nothing was sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seen = Instant::now();
    while seen.elapsed() < Duration::from_millis(1_600) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    relayed.shop.rpc("evm_mine", json!([]));
    let settled = settling.await.unwrap();
    assert_eq!(settled["success"], true, "{settled}");
    let transaction = relayed.shop.rpc("eth_getTransactionByHash", json!([settled["transaction"]]));
    // The devnet's price of gas is two gwei, so the first one offers three.
    assert_eq!(transaction["maxFeePerGas"], "0x165a0bc00", "twice three gwei: {transaction} {}", block("latest"));
    assert_eq!((relayed.moved(), text(&transaction, "nonce")), (1, "0x0"));
    relayed.shop.rpc("evm_setAutomine", json!([true]));
    let next = relayed.settle(relayed.request(2)).await.unwrap();
    assert_eq!(next["success"], true, "the lane goes on: {next}");
    assert_eq!(relayed.moved(), 2);
}
