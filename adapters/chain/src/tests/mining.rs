//! Sent is not mined, mined is not final, and the past stays what it was.

use alloy::primitives::{B256, U256, keccak256};
use serde_json::json;
use x402::chain::{At, Chain, ChainError, Pool};

use super::*;
use crate::devnet::Mining;

#[tokio::test]
async fn a_sent_transaction_waits_until_it_is_mined() {
    let stage = Stage::new();
    assert_eq!(stage.result("evm_setAutomine", json!([false])), json!(true));
    let head = stage.chain.block(At::Latest).await.unwrap();
    let sent = stage.settle(&payment(1)).await;

    assert_eq!(stage.chain.block(At::Latest).await.unwrap(), head);
    assert_eq!(stage.chain.receipt(sent.transaction).await.unwrap(), None);
    assert_eq!(stage.chain.account_nonce(RELAYER.address, Pool::Mined).await.unwrap(), 0);
    assert_eq!(stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap(), 1);
    let waiting = stage.result("eth_getTransactionByHash", json!([sent.transaction]));
    assert_eq!(waiting["hash"], json!(sent.transaction));
    assert_eq!((&waiting["blockNumber"], &waiting["blockHash"]), (&json!(null), &json!(null)));
    assert_eq!(stage.balance(PAYEE.address).await, 0);
    let find = stage.chain.find_authorization(token::ADDRESS, PAYER.address, B256::repeat_byte(1), 0).await;
    assert_eq!(find.unwrap(), None);
    assert_eq!(stage.chain.broadcast(&sent.raw).await, Ok(()), "the node already knows it");

    stage.result("evm_mine", json!([]));
    let receipt = stage.chain.receipt(sent.transaction).await.unwrap().unwrap();
    assert_eq!(receipt.block.number, head.number + 1);
    assert_eq!(stage.balance(PAYEE.address).await, 250);
    assert_eq!(stage.chain.broadcast(&sent.raw).await, Ok(()), "nonce too low, because of this very transaction");
}

#[tokio::test]
async fn a_transaction_that_expires_in_the_pool_is_mined_and_reverts() {
    let stage = Stage::new();
    stage.devnet.switch_mining(Mining::OnDemand);
    let sent = stage.settle(&payment(1)).await;
    stage.wait(60);
    stage.devnet.mine(1);
    let receipt = stage.chain.receipt(sent.transaction).await.unwrap().unwrap();
    assert!(!receipt.success);
    let consumed = stage.chain.authorization_consumed(token::ADDRESS, PAYER.address, B256::repeat_byte(1), At::Latest);
    assert!(!consumed.await.unwrap());
    assert_eq!(stage.balance(PAYEE.address).await, 0);
}

#[tokio::test]
async fn a_taken_nonce_refuses_another_transaction() {
    let stage = Stage::new();
    let (first, second) = (stage.prepare(&payment(1)).await, stage.prepare(&payment(2)).await);
    assert_eq!(first.account_nonce, second.account_nonce);
    stage.chain.broadcast(&first.raw).await.unwrap();
    let refused = stage.chain.broadcast(&second.raw).await;
    let Err(ChainError::Refused { code: -32000, message }) = refused else { panic!("{refused:?}") };
    assert_eq!(message, "nonce too low: next nonce 1, tx nonce 0");
}

#[tokio::test]
async fn a_block_on_demand_takes_the_pool_in_order_of_nonces() {
    let stage = Stage::new();
    stage.devnet.switch_mining(Mining::OnDemand);
    let first = stage.prepare(&payment(1)).await;
    let second = stage.relayer.prepare(&payment(2), 1).await.unwrap();
    stage.chain.broadcast(&second.raw).await.unwrap();
    assert_eq!(stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap(), 0, "there is a gap");
    stage.devnet.mine(1);
    assert_eq!(stage.chain.receipt(second.transaction).await.unwrap(), None);
    stage.chain.broadcast(&first.raw).await.unwrap();
    assert_eq!(stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap(), 2);
    stage.devnet.mine(1);
    let (first, second) = (
        stage.chain.receipt(first.transaction).await.unwrap().unwrap(),
        stage.chain.receipt(second.transaction).await.unwrap().unwrap(),
    );
    assert_eq!(first.block, second.block);
    let receipt = stage.result("eth_getTransactionReceipt", json!([second.transaction]));
    assert_eq!((&receipt["transactionIndex"], &receipt["logs"][0]["logIndex"]), (&json!("0x1"), &json!("0x2")));
    let found = stage.chain.find_authorization(token::ADDRESS, PAYER.address, B256::repeat_byte(2), 0).await;
    assert_eq!(found.unwrap().unwrap().transaction, second.transaction);
}

#[tokio::test]
async fn finalized_lags_behind_and_reads_the_past() {
    let stage = Stage::with(DevnetConfig { finalized_lag_blocks: 3, ..DevnetConfig::default() });
    let nonce = B256::repeat_byte(1);
    stage.settle(&payment(1)).await;
    let paid_at = stage.chain.block(At::Latest).await.unwrap().number;
    let at_finalized = || async {
        let consumed = stage.chain.authorization_consumed(token::ADDRESS, PAYER.address, nonce, At::Finalized).await;
        let balance = stage.chain.balance_of(token::ADDRESS, PAYEE.address, At::Finalized).await;
        (consumed.unwrap(), balance.unwrap())
    };
    for ahead in 0..3 {
        assert_eq!(at_finalized().await, (false, U256::ZERO), "{ahead} blocks after");
        stage.devnet.mine(1);
    }
    assert_eq!(at_finalized().await, (true, U256::from(250)));
    assert_eq!(stage.chain.block(At::Finalized).await.unwrap().number, paid_at);
    let before = stage.chain.balance_of(token::ADDRESS, PAYEE.address, At::Number(paid_at - 1)).await;
    assert_eq!(before.unwrap(), U256::ZERO);
    let beyond = stage.chain.balance_of(token::ADDRESS, PAYEE.address, At::Number(paid_at + 99)).await;
    assert!(matches!(beyond, Err(ChainError::Refused { .. })), "{beyond:?}");
    let beyond = stage.chain.block(At::Number(paid_at + 99)).await;
    assert!(matches!(beyond, Err(ChainError::Unavailable(_))), "{beyond:?}");
}

#[tokio::test]
async fn what_is_no_longer_kept_is_refused_and_not_empty() {
    let config = DevnetConfig { state_blocks_kept: 4, blocks_kept: 8, ..DevnetConfig::default() };
    let stage = Stage::with(config);
    stage.settle(&payment(1)).await;
    let paid_at = stage.chain.block(At::Latest).await.unwrap().number;
    stage.devnet.mine(6);
    let past = stage.chain.balance_of(token::ADDRESS, PAYEE.address, At::Number(paid_at)).await;
    assert!(matches!(past, Err(ChainError::Refused { .. })), "{past:?}");
    assert_eq!(stage.balance(PAYEE.address).await, 250, "the state itself is kept");
    assert!(stage.chain.block(At::Number(paid_at)).await.is_ok());
    stage.devnet.mine(6);
    let past = stage.chain.block(At::Number(paid_at)).await;
    assert!(matches!(past, Err(ChainError::Refused { .. })), "{past:?}");
    let find = stage.chain.find_authorization(token::ADDRESS, PAYER.address, B256::repeat_byte(1), paid_at).await;
    assert!(matches!(find, Err(ChainError::Refused { .. })), "{find:?}");
}

#[tokio::test]
async fn a_rollback_undoes_the_payment_but_not_behind_finality() {
    let stage = Stage::with(DevnetConfig { finalized_lag_blocks: 2, ..DevnetConfig::default() });
    let before = stage.chain.block(At::Latest).await.unwrap();
    let sent = stage.settle(&payment(1)).await;
    let replaced = stage.chain.block(At::Latest).await.unwrap();
    assert_eq!(stage.error("anvil_rollback", json!([3])).0, -32602);
    stage.result("anvil_rollback", json!([1]));
    assert_eq!(stage.chain.block(At::Latest).await.unwrap(), before);
    assert_eq!(stage.balance(PAYEE.address).await, 0);
    assert_eq!(stage.chain.receipt(sent.transaction).await.unwrap(), None);
    assert_eq!(stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap(), 0);
    stage.wait(1);
    stage.chain.broadcast(&sent.raw).await.unwrap();
    let receipt = stage.chain.receipt(sent.transaction).await.unwrap().unwrap();
    assert_eq!((receipt.block.number, receipt.success), (replaced.number, true));
    assert_ne!(receipt.block.hash, replaced.hash);
}

#[tokio::test]
async fn time_only_rises() {
    let stage = Stage::new();
    let time = || async { stage.chain.block(At::Latest).await.unwrap().timestamp };
    assert_eq!(time().await, START);
    stage.clock.store(START - 500, std::sync::atomic::Ordering::SeqCst);
    stage.devnet.mine(1);
    assert_eq!(time().await, START, "the clock went back, the chain does not");
    assert_eq!(stage.error("evm_setNextBlockTimestamp", json!([START - 1])).0, -32602);
    assert_eq!(stage.error("evm_increaseTime", json!([u64::MAX])).0, -32602);
    stage.result("evm_setNextBlockTimestamp", json!([START + 1_000]));
    stage.devnet.mine(1);
    assert_eq!(time().await, START + 1_000);
    stage.wait(5);
    stage.devnet.mine(1);
    assert_eq!(time().await, START + 1_005, "from there on it runs with the clock");
    stage.result("evm_increaseTime", json!(["0x64"]));
    stage.devnet.mine(1);
    assert_eq!(time().await, START + 1_105);
}

#[tokio::test]
async fn a_dropped_transaction_is_gone() {
    let stage = Stage::new();
    stage.devnet.switch_mining(Mining::OnDemand);
    let sent = stage.settle(&payment(1)).await;
    assert_eq!(stage.result("anvil_dropTransaction", json!([sent.transaction])), json!(sent.transaction));
    assert_eq!(stage.result("anvil_dropTransaction", json!([sent.transaction])), json!(null));
    stage.devnet.mine(1);
    assert_eq!(stage.chain.receipt(sent.transaction).await.unwrap(), None);
    stage.chain.broadcast(&sent.raw).await.unwrap();
    stage.devnet.switch_mining(Mining::Automatic);
    assert!(stage.chain.receipt(sent.transaction).await.unwrap().unwrap().success, "the pool is mined at once");
}

#[tokio::test]
async fn an_interval_adds_empty_blocks_while_a_transaction_waits() {
    let interval = Some(std::time::Duration::from_millis(10));
    let stage = Stage::with(DevnetConfig { block_interval: interval, mining: Mining::OnDemand, ..Default::default() });
    let sent = stage.settle(&payment(1)).await;
    let head = stage.chain.block(At::Latest).await.unwrap().number;
    let blocks = stage.devnet.add_blocks_at_interval();
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), blocks).await.is_err());
    assert!(stage.chain.block(At::Latest).await.unwrap().number > head);
    assert_eq!(stage.chain.receipt(sent.transaction).await.unwrap(), None);
    stage.devnet.mine(1);
    assert!(stage.chain.receipt(sent.transaction).await.unwrap().is_some());
}

#[tokio::test]
async fn minting_is_a_transaction_like_any_other() {
    let stage = Stage::new();
    let hash: B256 = serde_json::from_value(stage.result("devnet_mint", json!([PAYEE.address, "0x2a"]))).unwrap();
    let receipt = stage.chain.receipt(hash).await.unwrap().unwrap();
    assert_eq!(receipt.transfers[0].value, U256::from(42));
    assert_eq!(stage.balance(PAYEE.address).await, 42);
    let raw = raw_transaction(PAYER, 0, Default::default(), |_| ());
    stage.chain.broadcast(&raw).await.unwrap();
    assert!(!stage.chain.receipt(keccak256(&raw)).await.unwrap().unwrap().success, "the token has no fallback");
}
