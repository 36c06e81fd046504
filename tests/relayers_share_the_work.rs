//! Promise 3 where several accounts send settlements: each goes out once, and one that is stuck holds up nobody else.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy_primitives::{B256, U256};
use chain::accounts::{ACCOUNTS, TestAccount};
use ledger::command::{ClaimSettlement, Command, Request};
use ledger::id::{AuthMethod, Caller, CallerKind, Digest};
use ledger::settlement::{Role, Settlement, SettlementKey, SettlementState};
use ledger::store::{Store as _, Work};
use ledger::transfer::Money;
use purser::config::FacilitateConfig;
use purser::dev::DevOptions;
use purser::world::CARRIER;
use serde_json::{Value, json};
use x402::exact::{Authorization, Terms, WalletKey};

use crate::harness::shop::Shop;
use crate::harness::text;

const PRICE: u128 = 10_000;
const GAS: &str = "0x8ac7230489e80000";

/// The account that pays.
const PAYER: TestAccount = ACCOUNTS[8];

struct Relayed {
    shop: Shop,
    relayers: Vec<String>,
}

impl Relayed {
    async fn open(signers: u32, raise_seconds: u32) -> Self {
        let relayed = Self::open_in(None, signers, raise_seconds).await;
        for relayer in &relayed.relayers {
            relayed.shop.rpc("anvil_setBalance", json!([relayer, GAS]));
        }
        relayed
    }

    /// Nobody has gas.

    async fn open_in(data: Option<PathBuf>, signers: u32, raise_seconds: u32) -> Self {
        let [signers, raise_seconds] = [signers, raise_seconds].map(|number| NonZeroU32::new(number).unwrap());
        let facilitate = FacilitateConfig { anyone: true, signers, raise_seconds, ..FacilitateConfig::default() };
        let options = DevOptions { facilitate: Some(facilitate), data, ..DevOptions::default() };
        let shop = Shop::open_with(options).await;
        let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
        let signers = supported["signers"]["eip155:*"].as_array().unwrap();
        let relayers: Vec<_> = signers.iter().map(|signer| signer.as_str().unwrap().to_owned()).collect();
        for relayer in &relayers {
            shop.rpc("anvil_setBalance", json!([relayer, "0x0"]));
        }
        shop.service.devnet().mint(PAYER.address, U256::from(100 * PRICE)).unwrap();
        Self { shop, relayers }
    }

    fn request(&self, nonce: u8) -> Value {
        self.request_for(nonce, 50)
    }

    fn request_for(&self, nonce: u8, seconds: u64) -> Value {
        let mut requirements = self.shop.offer("/paid/any", PRICE).accepts.remove(0);
        requirements.max_timeout_seconds = seconds;
        let terms = Terms::read(&requirements).unwrap();
        let key = WalletKey::from_bytes(&PAYER.private_key.0).unwrap();
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

    async fn row(&self, nonce: u8) -> Option<Settlement> {
        let service = &self.shop.service;
        service.store().settlement(&service.tenant(CARRIER).unwrap(), &key_of(nonce)).await.unwrap()
    }

    async fn until(&self, nonce: u8, state: SettlementState) -> Settlement {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.row(nonce).await {
                Some(row) if row.state == state => return row,
                row => assert!(Instant::now() < deadline, "{nonce} is not {state}: {row:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn give_gas(&self, wei: &str) {
        self.shop.rpc("anvil_setBalance", json!([self.relayers[0], wei]));
    }

    fn sender(&self, transaction: &str) -> String {
        let found = self.shop.rpc("eth_getTransactionByHash", json!([transaction]));
        text(&found, "from").to_ascii_lowercase()
    }

    fn moved(&self) -> usize {
        let (from, to) = (format!("{:#x}", PAYER.address), format!("{:#x}", purser::world::shop_address()));
        self.shop.transfers(&from, &to).len()
    }
}

fn key_of(nonce: u8) -> SettlementKey {
    let authorization = ledger::spend::Authorization {
        network: "eip155:31337".into(),
        asset: format!("eip155:31337/erc20:{:#x}", chain::token::ADDRESS).parse().unwrap(),
        payer: format!("{:#x}", PAYER.address),
        nonce: [nonce; 32],
    };
    SettlementKey { role: Role::Facilitator, authorization }
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

    relayed.shop.rpc("anvil_setBalance", json!([dry, GAS]));
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

/// The first one expires without ever having been in a block or a pool: what stands behind it is not stuck for that.
#[tokio::test(flavor = "multi_thread")]
async fn what_expired_unsent_leaves_no_hole_among_the_nonces() {
    let relayed = Relayed::open(1, 60).await;
    relayed.give_gas("0x0");
    let _waits = relayed.settle(relayed.request_for(1, 20));
    let first = relayed.until(1, SettlementState::Submitted).await;
    let _waits = relayed.settle(relayed.request_for(2, 3_600));
    let second = relayed.until(2, SettlementState::Submitted).await;
    assert_eq!((first.account_nonce, second.account_nonce), (Some(0), Some(1)));
    relayed.shop.rpc("evm_increaseTime", json!([30]));
    relayed.shop.rpc("evm_mine", json!([]));
    relayed.until(1, SettlementState::Failed).await;
    relayed.give_gas(GAS);
    relayed.until(2, SettlementState::Settled).await;
    assert_eq!(relayed.moved(), 1);
    let filled = relayed.shop.rpc("eth_getTransactionCount", json!([relayed.relayers[0], "latest"]));
    assert_eq!(filled, "0x2", "what fills the hole moves nothing");
    // Where another one comes before that, it takes the hole itself.
    relayed.give_gas("0x0");
    let _waits = relayed.settle(relayed.request_for(3, 50));
    let third = relayed.until(3, SettlementState::Submitted).await;
    relayed.shop.rpc("evm_increaseTime", json!([60]));
    relayed.shop.rpc("evm_mine", json!([]));
    relayed.until(3, SettlementState::Failed).await;
    relayed.give_gas(GAS);
    let fourth = relayed.settle(relayed.request_for(4, 3_600)).await.unwrap();
    assert_eq!(fourth["success"], true, "{fourth}");
    assert_eq!(relayed.row(4).await.unwrap().account_nonce, third.account_nonce);
    assert_eq!(relayed.moved(), 2);
}

/// Claims that come to nothing for an hour, more than one sweep looks at, stand before what was sent; and the process that
/// sent it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_gives_no_nonce_out_twice_and_looks_behind_whatever_waits() {
    let folder = tempfile::tempdir().unwrap();
    let relayed = Relayed::open_in(Some(folder.path().to_owned()), 1, 60).await;
    let carrier = relayed.shop.service.tenant(CARRIER).unwrap();
    let caller = Caller::new("test".parse().unwrap(), CallerKind::Service, AuthMethod::Internal);
    let claims = (0..600).map(|number| {
        let command = Command::Claim(Box::new(claim_until(number, i64::MAX / 2)));
        let (store, tenant) = (relayed.shop.service.store().clone(), carrier.clone());
        let work = Work { request: Request { caller: caller.clone(), command }, documents: Vec::new() };
        tokio::spawn(async move { store.run(&tenant, work).await })
    });
    for claimed in claims.collect::<Vec<_>>() {
        claimed.await.unwrap().unwrap();
    }
    let pending = relayed.settle(relayed.request_for(1, 3_600)).await.unwrap();
    assert_eq!(pending["errorReason"], "settlement_pending", "{pending}");
    relayed.shop.service.stop().await;

    let relayed = Relayed::open_in(Some(folder.path().to_owned()), 1, 60).await;
    let _waits = relayed.settle(relayed.request_for(2, 3_600));
    let second = relayed.until(2, SettlementState::Submitted).await;
    assert_eq!(second.account_nonce, Some(1), "the node has nothing of the first, and the book does");
    relayed.give_gas(GAS);
    for nonce in [1, 2] {
        relayed.until(nonce, SettlementState::Settled).await;
    }
    assert_eq!(relayed.moved(), 2);
}

fn claim_until(number: u16, valid_before: i64) -> ClaimSettlement {
    let mut key = key_of(0);
    key.authorization.nonce[..2].copy_from_slice(&number.to_be_bytes());
    key.authorization.payer = format!("{:#x}", ACCOUNTS[7].address);
    let pay_to = format!("{:#x}", purser::world::shop_address());
    ClaimSettlement {
        money: Money { asset: key.authorization.asset.clone(), amount: ledger::money::Amount::new(PRICE) },
        key,
        payee: pay_to.parse().unwrap(),
        subject: Digest::of(&number.to_be_bytes()),
        pay_to,
        valid_before,
        since_block: 0,
        cover: None,
        credit: None,
        named: None,
        order: None,
    }
}
