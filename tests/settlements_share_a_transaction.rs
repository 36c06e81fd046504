//! Promise 3 where several settlements go in one transaction: each moves once, stands in the books by its own proof, and
//! comes to what it comes to whatever its neighbours do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use alloy_primitives::{B256, Bytes, U256, keccak256};
use chain::accounts::ACCOUNTS;
use chain::relayer::{FeeCaps, LocalRelayer};
use ledger::account::Account;
use ledger::settlement::SettlementState;
use ledger::store::Store as _;
use purser::dev::DevOptions;
use purser::world::CARRIER;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use x402::chain::{Chain as _, Pool, Relayer as _, SettlementCall};
use x402::wire::FacilitatorRequest;

use crate::harness::relayed::{GAS, PRICE, Relayed, payer_of};
use crate::harness::text;

/// Ours have a nonce below 128, theirs one above it.
const BOTH: [u8; 8] = [1, 201, 2, 202, 3, 203, 4, 204];

fn number(value: &Value) -> u128 {
    u128::from_str_radix(value.as_str().expect("a quantity").trim_start_matches("0x"), 16).expect("a quantity")
}

/// Settlements of both payers that met at the relayer.
struct Met {
    relayed: Relayed,
    settling: Vec<JoinHandle<Value>>,
    shared: String,
    members: Vec<u8>,
    data: Option<PathBuf>,
}

/// Nothing waits for company, so whether some meet is for the machine to say: it is asked a few times.
async fn met(options: DevOptions) -> Met {
    for attempt in 0..6 {
        let data = options.data.as_ref().map(|folder| folder.join(attempt.to_string()));
        let relayed = Relayed::open_with(DevOptions { data: data.clone(), ..options.clone() }, 1, 60).await;
        relayed.give_gas(GAS);
        let (settling, found) = relayed.sent_together().await;
        if let Some((shared, members)) = found {
            return Met { relayed, settling, shared, members, data };
        }
        relayed.shop.service.stop().await;
    }
    panic!("settlements at the same time never share a transaction");
}

impl Relayed {
    /// The nonces of the payments that each transaction carries, as the book has it.
    async fn carried_by(&self, nonces: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for nonce in nonces {
            let row = self.row(*nonce).await.expect("a row");
            found.entry(row.transaction.expect("a transaction").to_string()).or_default().push(*nonce);
        }
        found
    }

    /// Sent at once, while no block comes; and one transaction of theirs that carries payments of both payers, if there is one.
    async fn sent_together(&self) -> (Vec<JoinHandle<Value>>, Option<(String, Vec<u8>)>) {
        self.shop.rpc("evm_setAutomine", json!([false]));
        let settling = BOTH.iter().map(|nonce| self.settle(self.request_for(*nonce, 3_600))).collect();
        for nonce in BOTH {
            self.until(nonce, SettlementState::Submitted).await;
        }
        let carried = self.carried_by(&BOTH).await;
        let of_both =
            |nonces: &[u8]| nonces.iter().any(|nonce| *nonce < 128) && nonces.iter().any(|nonce| *nonce > 128);
        (settling, carried.into_iter().find(|(_, nonces)| of_both(nonces)))
    }

    async fn drop_all(&self) {
        for transaction in self.carried_by(&BOTH).await.keys() {
            self.shop.rpc("anvil_dropTransaction", json!([transaction]));
        }
    }

    /// `mapping(address => uint256) balanceOf`, the fourth variable of the test dollar.
    fn set_balance(&self, nonce: u8, units: u128) {
        let place = keccak256([payer_of(nonce).address.into_word().0, B256::from(U256::from(3)).0].concat());
        let units = B256::from(U256::from(units));
        self.shop.rpc("anvil_setStorageAt", json!([chain::token::ADDRESS, place, units]));
    }

    /// What the book says that carrying took, and what the chain says.
    async fn gas(&self, transactions: impl Iterator<Item = String>) -> (u128, u128) {
        let service = &self.shop.service;
        let balances = service.store().balances(&service.tenant(CARRIER).unwrap()).await.unwrap();
        let booked = balances.iter().filter(|entry| entry.account == Account::Gas);
        let booked = booked.map(|entry| entry.balance.debit_posted.get()).sum();
        let receipts = transactions.map(|hash| self.shop.rpc("eth_getTransactionReceipt", json!([hash])));
        (booked, receipts.map(|receipt| number(&receipt["gasUsed"]) * number(&receipt["effectiveGasPrice"])).sum())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_of_two_payers_share_a_transaction_and_each_stands_by_itself() {
    let mut attempts = 0..6;
    let (relayed, answers, carried) = loop {
        assert!(attempts.next().is_some(), "settlements at the same time never share a transaction");
        let relayed = Relayed::open(1, 60).await;
        let answers = relayed.settle_all(BOTH).await;
        assert!(answers.iter().all(|answer| answer["success"] == true), "{answers:?}");
        let carried = relayed.carried_by(&BOTH).await;
        if carried.len() < BOTH.len() {
            break (relayed, answers, carried);
        }
        relayed.shop.service.stop().await;
    };
    assert_eq!(relayed.moved(), BOTH.len());
    for (transaction, nonces) in &carried {
        let receipt = relayed.shop.rpc("eth_getTransactionReceipt", json!([transaction]));
        assert_eq!(receipt["logs"].as_array().unwrap().len(), 2 * nonces.len(), "a use and a transfer of each");
        for nonce in nonces {
            let row = relayed.row(*nonce).await.unwrap();
            assert_eq!((row.state, row.young), (SettlementState::Settled, None), "{nonce}");
        }
    }
    for (nonce, answer) in BOTH.iter().zip(&answers) {
        assert!(carried[text(answer, "transaction")].contains(nonce), "told of its own transaction");
        let again = relayed.settle(relayed.request(*nonce)).await.unwrap();
        assert_ne!(again["success"], true, "{again}");
    }
    assert_eq!(relayed.moved(), BOTH.len(), "each once");
    let (booked, burnt) = relayed.gas(carried.into_keys()).await;
    assert_eq!(booked, burnt, "those who shared it bear it together");

    // One alone is an ordinary transaction, and so is whatever an account with code signed.
    let alone = relayed.settle(relayed.request(9)).await.unwrap();
    let designation = Bytes::from([&[0xef, 0x01, 0x00][..], &[0x73; 20]].concat());
    relayed.shop.rpc("anvil_setCode", json!([payer_of(201).address, designation]));
    let mixed = relayed.settle_all([10, 210, 11, 211, 12, 212]).await;
    for answer in std::iter::once(&alone).chain(&mixed) {
        assert_eq!(answer["success"], true, "{answer}");
    }
    let target = |answer: &Value| {
        let transaction = relayed.shop.rpc("eth_getTransactionByHash", json!([answer["transaction"]]));
        text(&transaction, "to").to_ascii_lowercase()
    };
    let token = format!("{:#x}", chain::token::ADDRESS);
    let singles = std::iter::once(&alone).chain(mixed.iter().skip(1).step_by(2));
    assert!(singles.clone().all(|answer| target(answer) == token), "straight to the token");
    let hashes: BTreeSet<_> = singles.map(|answer| text(answer, "transaction")).collect();
    assert_eq!(hashes.len(), 4, "each by itself");
}

/// Between its simulation and its block one is submitted by a stranger, and the money of another's payer goes elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_among_others_harms_none_of_them() {
    let Met { relayed, settling, shared, members, .. } = met(DevOptions::default()).await;
    let submitted = *members.iter().find(|nonce| **nonce < 128).unwrap();
    for answer in settling {
        assert_eq!(answer.await.unwrap()["errorReason"], "settlement_pending");
    }
    let rpc = relayed.shop.service.rpc();
    let request: FacilitatorRequest = serde_json::from_value(relayed.request_for(submitted, 3_600)).unwrap();
    let assets = &relayed.shop.service.engine().assets;
    let now = request.payment_payload.payload["authorization"]["validBefore"].as_str().unwrap().parse::<u64>().unwrap();
    let payment = x402::exact::verify(&request.payment_payload, &request.payment_requirements, assets, now - 3_600);
    let SettlementCall::Transfer(call) = payment.unwrap().call() else { panic!("by a key") };
    let stranger = LocalRelayer::new(rpc.clone(), &ACCOUNTS[5].private_key, FeeCaps::default()).unwrap();
    relayed.shop.rpc("anvil_setBalance", json!([ACCOUNTS[5].address, GAS]));
    let nonce = rpc.account_nonce(stranger.address(), Pool::Pending).await.unwrap();
    let first = stranger.prepare(&call, nonce).await.unwrap();
    // Without gas, what is dropped does not come back meanwhile.
    relayed.give_gas("0x0");
    relayed.drop_all().await;
    relayed.set_balance(201, 0);
    rpc.broadcast(&first.raw).await.unwrap();
    relayed.shop.rpc("evm_mine", json!([]));
    relayed.shop.rpc("evm_setAutomine", json!([true]));
    relayed.give_gas(GAS);

    let own = relayed.until(submitted, SettlementState::Failed).await;
    assert_eq!(own.transaction.unwrap().as_str(), shared, "what it was to go by");
    for nonce in BOTH.iter().filter(|nonce| **nonce < 128 && **nonce != submitted) {
        relayed.until(*nonce, SettlementState::Settled).await;
    }
    let poor: Vec<u8> = members.iter().copied().filter(|nonce| *nonce > 128).collect();
    for nonce in &poor {
        let row = relayed.until(*nonce, SettlementState::Abandoned).await;
        assert_eq!(row.document, None, "proved to have moved nothing, and to be claimed again");
    }
    relayed.set_balance(201, 100 * PRICE);
    let again = relayed.settle(relayed.request_for(poor[0], 3_600)).await.unwrap();
    assert_eq!(again["success"], true, "{again}");
    let alone = relayed.row(poor[0]).await.unwrap();
    assert_eq!(alone.state, SettlementState::Settled);
    let receipt = relayed.shop.rpc("eth_getTransactionReceipt", json!([again["transaction"]]));
    assert_eq!(receipt["logs"].as_array().unwrap().len(), 2, "by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_resumes_all_of_them_and_sends_nothing_anew() {
    let folder = tempfile::tempdir().unwrap();
    let options = DevOptions { data: Some(folder.path().to_owned()), ..DevOptions::default() };
    let Met { relayed, settling, data, .. } = met(options).await;
    for answer in settling {
        assert_eq!(answer.await.unwrap()["errorReason"], "settlement_pending");
    }
    let before = relayed.carried_by(&BOTH).await;
    relayed.shop.service.stop().await;

    let relayed = Relayed::open_in(data, 1, 60).await;
    relayed.give_gas(GAS);
    relayed.shop.rpc("evm_setAutomine", json!([true]));
    for nonce in BOTH {
        relayed.until(nonce, SettlementState::Settled).await;
    }
    assert_eq!(relayed.carried_by(&BOTH).await, before, "by what was written down before");
    assert_eq!(relayed.moved(), BOTH.len());
    let sent = relayed.shop.rpc("eth_getTransactionCount", json!([relayed.relayers[0], "latest"]));
    assert_eq!(number(&sent), u128::try_from(before.len()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_takes_all_of_them_back() {
    const LAG: u64 = 200;
    let options = DevOptions { finalized_lag_blocks: LAG, ..DevOptions::default() };
    let Met { relayed, settling, .. } = met(options).await;
    relayed.shop.rpc("evm_setAutomine", json!([true]));
    for answer in settling {
        let answer = answer.await.unwrap();
        assert_eq!(answer["success"], true, "{answer}");
    }
    let before = relayed.carried_by(&BOTH).await;
    relayed.shop.rpc("evm_setAutomine", json!([false]));
    let receipts = || before.keys().map(|hash| relayed.shop.rpc("eth_getTransactionReceipt", json!([hash])));
    while let Some(first) = receipts().filter(|found| !found.is_null()).map(|found| number(&found["blockNumber"])).min()
    {
        let depth = number(&relayed.shop.rpc("eth_blockNumber", json!([]))) + 1 - first;
        relayed.shop.rpc("anvil_rollback", json!([depth]));
    }
    for nonce in BOTH {
        let row = relayed.until(nonce, SettlementState::Submitted).await;
        assert!(row.taken_back.is_some(), "{nonce}");
    }
    assert_eq!(relayed.moved(), 0);
    relayed.shop.rpc("evm_setAutomine", json!([true]));
    for nonce in BOTH {
        relayed.until(nonce, SettlementState::Settled).await;
    }
    assert_eq!(relayed.carried_by(&BOTH).await, before);
    assert_eq!(relayed.moved(), BOTH.len());
    relayed.shop.rpc("anvil_mine", json!([format!("{:#x}", LAG + 1)]));
    for nonce in BOTH {
        while relayed.row(nonce).await.unwrap().young.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    let (booked, burnt) = relayed.gas(before.into_keys()).await;
    assert_eq!(booked, burnt, "once, when it is final");
}
