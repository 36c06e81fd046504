//! Several transfers in one transaction: measured as if all must succeed, sent so that each fails for itself, and read so
//! that each has its own proof.

use alloy::primitives::U256;
use x402::chain::{Batch, Chain, ChainError, Pool, UsedNonce};

use super::*;
use crate::devnet::Mining;
use crate::multicall;

const OTHER: TestAccount = ACCOUNTS[5];

/// The same from somebody else.
fn from_other(nonce: u8) -> TransferCall {
    signed(OTHER, TransferCall { from: OTHER.address, ..unsigned(nonce) })
}

fn stage() -> Stage {
    let stage = Stage::new();
    stage.devnet.mint(OTHER.address, U256::from(1_000_000)).unwrap();
    stage
}

async fn prepared(stage: &Stage, calls: &[TransferCall]) -> Prepared {
    let nonce = stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap();
    match stage.relayer.prepare_batch(calls, nonce).await.unwrap() {
        Batch::Prepared(prepared) => prepared,
        failing => panic!("{failing:?}"),
    }
}

#[tokio::test]
async fn what_would_fail_is_named_and_nothing_is_signed() {
    let stage = stage();
    stage.settle(&payment(1)).await;
    let stranger = TransferCall { signature: payment(4).signature, ..from_other(3) };
    let late = signed(PAYER, TransferCall { valid_before: U256::from(START), ..unsigned(5) });
    let rich = signed(OTHER, TransferCall { from: OTHER.address, value: U256::from(1_000_001), ..unsigned(6) });
    for (bad, name) in [(payment(1), "used"), (stranger, "signed by another"), (late, "late"), (rich, "too much")] {
        for place in [0, 1, 2] {
            let mut calls = vec![payment(7), from_other(8)];
            calls.insert(place, bad.clone());
            assert_eq!(stage.relayer.prepare_batch(&calls, 9).await, Ok(Batch::Failing(vec![place])), "{name}");
        }
    }
    // Each alone is covered, and both are not.
    let most =
        |nonce| signed(OTHER, TransferCall { from: OTHER.address, value: U256::from(600_000), ..unsigned(nonce) });
    assert_eq!(stage.relayer.prepare_batch(&[most(1), most(2)], 9).await, Ok(Batch::Failing(vec![1])));
}

#[tokio::test]
async fn what_takes_more_gas_than_is_allowed_is_not_sent() {
    let stage = stage();
    let config = RpcConfig { settlement_gas_max: 30_000, ..RpcConfig::default() };
    let chain = RpcChain::in_process(stage.devnet.clone(), config);
    let relayer = LocalRelayer::new(chain, &RELAYER.private_key, FeeCaps::default()).unwrap();
    let told = relayer.prepare_batch(&[payment(1), from_other(2)], 0).await;
    assert!(!matches!(told, Ok(Batch::Prepared(_))), "{told:?}");
    let dear = FeeCaps { max_fee_per_gas: 1, ..FeeCaps::default() };
    let relayer = LocalRelayer::new(stage.chain.clone(), &RELAYER.private_key, dear).unwrap();
    let told = relayer.prepare_batch(&[payment(1), from_other(2)], 0).await;
    assert!(matches!(told, Err(ChainError::Refused { .. })), "{told:?}");
}

#[tokio::test]
async fn without_the_contract_nothing_goes_together() {
    let stage = stage();
    assert!(stage.relayer.batches().await);
    stage.result("anvil_setCode", json!([multicall::ADDRESS, "0x"]));
    let relayer = LocalRelayer::new(stage.chain.clone(), &RELAYER.private_key, FeeCaps::default()).unwrap();
    assert!(!relayer.batches().await);
    let found = stage.chain.findings_of(&[payment(1), from_other(2)]).await;
    assert!(matches!(found, Err(ChainError::Unavailable(_))), "{found:?}");
}

#[tokio::test]
async fn several_are_looked_at_in_one_exchange_as_each_is_alone() {
    let stage = stage();
    stage.settle(&payment(1)).await;
    let calls = [payment(1), payment(2), from_other(3)];
    let together = stage.chain.findings_of(&calls).await.unwrap();
    assert_eq!(together.len(), calls.len());
    for (call, found) in calls.iter().zip(together) {
        let call = x402::chain::AuthorizedCall::Key(call);
        let alone = stage.chain.findings(call, RELAYER.address).await.unwrap();
        assert_eq!(found, x402::chain::Findings { simulated: Ok(()), ..alone });
    }
}

/// The same payer pays the same payee the same amount twice in one transaction, and a neighbour does too.
#[tokio::test]
async fn each_has_its_own_log_and_the_transfer_behind_it() {
    let stage = stage();
    let calls = [payment(1), from_other(2), payment(3)];
    let sent = prepared(&stage, &calls).await;
    stage.chain.broadcast(&sent.raw).await.unwrap();
    let receipt = stage.chain.receipt(sent.transaction).await.unwrap().unwrap();
    let used: Vec<_> = receipt.used.iter().map(|used| (used.payer, used.nonce, used.transfers.len())).collect();
    let expected: Vec<_> = calls.iter().map(|call| (call.from, call.nonce, 1)).collect();
    assert_eq!((used, receipt.transfers.len()), (expected, 3));
    for call in &calls {
        let found = stage.chain.find_authorization(token::ADDRESS, call.from, call.nonce, 0).await.unwrap().unwrap();
        let [transfer] = found.transfers.as_slice() else { panic!("{found:?}") };
        assert_eq!((transfer.from, transfer.to, transfer.value), (call.from, call.to, call.value));
    }
    assert_eq!(stage.balance(PAYEE.address).await, 750);
}

#[tokio::test]
async fn one_that_fails_in_its_block_leaves_the_others_alone() {
    let stage = stage();
    stage.devnet.switch_mining(Mining::OnDemand);
    let calls = [payment(1), from_other(2), payment(3)];
    let sent = prepared(&stage, &calls).await;
    stage.chain.broadcast(&sent.raw).await.unwrap();
    // Somebody else comes first with the second one.
    let stranger = LocalRelayer::new(stage.chain.clone(), &PAYEE.private_key, FeeCaps::default()).unwrap();
    stage.result("anvil_dropTransaction", json!([sent.transaction]));
    let first = stranger.prepare(&calls[1], 0).await.unwrap();
    stage.chain.broadcast(&first.raw).await.unwrap();
    stage.devnet.mine(1);
    stage.chain.broadcast(&sent.raw).await.unwrap();
    stage.devnet.mine(1);
    let receipt = stage.chain.receipt(sent.transaction).await.unwrap().unwrap();
    let nonces: Vec<_> = receipt.used.iter().map(|UsedNonce { nonce, .. }| *nonce).collect();
    assert_eq!((receipt.success, nonces), (true, vec![calls[0].nonce, calls[2].nonce]));
    let found = stage.chain.find_authorization(token::ADDRESS, OTHER.address, calls[1].nonce, 0).await.unwrap();
    assert_eq!(found.unwrap().transaction, first.transaction);
}

#[tokio::test]
async fn a_nonce_is_read_from_what_this_account_signed_and_filled_with_nothing() {
    let stage = stage();
    let sent = prepared(&stage, &[payment(1), from_other(2)]).await;
    assert_eq!(stage.relayer.nonce_in(&sent.raw), Some(sent.account_nonce));
    let other = LocalRelayer::new(stage.chain.clone(), &PAYEE.private_key, FeeCaps::default()).unwrap();
    assert_eq!(other.nonce_in(&sent.raw), None, "another account's");
    for raw in [Bytes::new(), Bytes::from_static(&[2, 1]), sent.raw.slice(1..)] {
        assert_eq!(stage.relayer.nonce_in(&raw), None);
    }
    stage.devnet.switch_mining(Mining::OnDemand);
    stage.chain.broadcast(&stage.relayer.prepare(&payment(3), 1).await.unwrap().raw).await.unwrap();
    stage.devnet.mine(1);
    assert_eq!(stage.balance(PAYEE.address).await, 0, "it stands behind a hole");
    let filling = stage.relayer.fill(0).await.unwrap();
    stage.chain.broadcast(&filling.raw).await.unwrap();
    stage.devnet.mine(1);
    assert_eq!(stage.balance(PAYEE.address).await, 250);
}
