//! Promise 3 where several accounts send settlements: each goes out once, and one that is stuck holds up nobody else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chain::accounts::ACCOUNTS;
use ledger::command::{ClaimSettlement, Command, Request};
use ledger::id::{AuthMethod, Caller, CallerKind, Digest};
use ledger::settlement::SettlementState;
use ledger::store::{Store as _, Work};
use ledger::transfer::Money;
use purser::world::CARRIER;
use serde_json::json;

use crate::harness::relayed::{GAS, PRICE, Relayed, key_of};
use crate::harness::text;

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
        let work = Work::new(Request { caller: caller.clone(), command }, Vec::new());
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
    key.authorization.payer = format!("{:#x}", ACCOUNTS[6].address);
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
