//! The rules of the token, seen through the port: what must not pay, and what one payment leaves behind.

use alloy::primitives::{Address, B256, U256, keccak256, uint};
use alloy::sol_types::SolCall;
use x402::chain::{At, Chain, ChainError, Pool, Relayer, TransferCall, TransferLog};

use super::*;
use crate::token::Token;

/// The order of secp256k1.
const ORDER: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);

/// Simulation, estimate and, were it mined all the same, the transaction must fail for the same reason.
async fn assert_reverts(stage: &Stage, call: &TransferCall, expected: &str) {
    let simulated = stage.chain.simulate(call, RELAYER.address).await;
    let Err(ChainError::Reverted { reason, data }) = simulated else { panic!("{expected}: {simulated:?}") };
    assert_eq!(reason, expected);
    assert!(!data.is_empty());
    let nonce = stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap();
    let prepared = stage.relayer.prepare(call, nonce).await;
    assert!(matches!(prepared, Err(ChainError::Reverted { .. })), "{expected}: {prepared:?}");

    let before = (stage.balance(PAYER.address).await, stage.balance(PAYEE.address).await);
    let raw = raw_transaction(RELAYER, nonce, crate::token::transfer_input(call), |_| ());
    stage.chain.broadcast(&raw).await.unwrap();
    let receipt = stage.chain.receipt(keccak256(&raw)).await.unwrap().unwrap();
    assert!(!receipt.success, "{expected}");
    assert_eq!(receipt.transfers, [], "{expected}");
    assert_eq!((stage.balance(PAYER.address).await, stage.balance(PAYEE.address).await), before, "{expected}");
}

#[tokio::test]
async fn a_replay_reverts() {
    let stage = Stage::new();
    stage.settle(&payment(1)).await;
    assert_reverts(&stage, &payment(1), "TestDollar: authorization is used or canceled").await;
    assert_eq!(stage.balance(PAYEE.address).await, 250);
}

#[tokio::test]
async fn an_expired_authorization_reverts_from_its_very_second_on() {
    let stage = Stage::new();
    stage.wait(59);
    assert_eq!(stage.chain.simulate(&payment(1), RELAYER.address).await, Ok(()));
    stage.wait(1);
    assert_reverts(&stage, &payment(1), "TestDollar: authorization is expired").await;
}

#[tokio::test]
async fn a_future_authorization_reverts_up_to_its_very_second() {
    let stage = Stage::new();
    let call = signed(PAYER, TransferCall { valid_after: U256::from(START + 10), ..unsigned(1) });
    stage.wait(10);
    assert_reverts(&stage, &call, "TestDollar: authorization is not yet valid").await;
    stage.wait(1);
    assert_eq!(stage.chain.simulate(&call, RELAYER.address).await, Ok(()));
}

#[tokio::test]
async fn only_the_payer_can_sign() {
    let stage = Stage::new();
    assert_reverts(&stage, &signed(PAYEE, unsigned(1)), "TestDollar: invalid signature").await;
    for changed in [
        TransferCall { value: U256::from(251), ..payment(1) },
        TransferCall { to: Address::repeat_byte(9), ..payment(1) },
        TransferCall { nonce: B256::repeat_byte(9), ..payment(1) },
        TransferCall { valid_before: U256::from(START + 61), ..payment(1) },
    ] {
        assert_reverts(&stage, &changed, "TestDollar: invalid signature").await;
    }
}

#[tokio::test]
async fn a_signature_has_one_form() {
    let stage = Stage::new();
    let mut high = payment(1);
    let s = ORDER - U256::from_be_slice(&high.signature[32..64]);
    high.signature[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    high.signature[64] = 27 + 28 - high.signature[64];
    assert_reverts(&stage, &high, "TestDollar: invalid signature 's' value").await;
    let mut low_v = payment(1);
    low_v.signature[64] -= 27;
    assert_reverts(&stage, &low_v, "TestDollar: invalid signature 'v' value").await;
    assert_reverts(&stage, &unsigned(1), "TestDollar: invalid signature 'v' value").await;
}

#[tokio::test]
async fn more_than_the_balance_reverts() {
    let stage = Stage::new();
    let call = signed(PAYER, TransferCall { value: U256::from(1_000_001), ..unsigned(1) });
    assert_reverts(&stage, &call, "TestDollar: transfer amount exceeds balance").await;
}

#[tokio::test]
async fn a_canceled_authorization_is_consumed_and_pays_nobody() {
    let stage = Stage::new();
    let nonce = B256::repeat_byte(1);
    let signature = sign(PAYER, &CancelAuthorization { authorizer: PAYER.address, nonce });
    let cancel = Token::cancelAuthorizationCall {
        authorizer: PAYER.address,
        nonce,
        v: signature[64],
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..64]),
    };
    let raw = raw_transaction(PAYEE, 0, cancel.abi_encode().into(), |_| ());
    stage.chain.broadcast(&raw).await.unwrap();

    assert_reverts(&stage, &payment(1), "TestDollar: authorization is used or canceled").await;
    let (asset, payer) = (token::ADDRESS, PAYER.address);
    assert!(stage.chain.authorization_consumed(asset, payer, nonce, At::Latest).await.unwrap());
    let found = stage.chain.find_authorization(asset, payer, nonce, 0).await.unwrap().unwrap();
    assert!(found.canceled);
    assert_eq!(found.transfers, []);
    assert_eq!(found.transaction, keccak256(&raw));
}

#[tokio::test]
async fn only_the_deployer_mints() {
    let stage = Stage::new();
    let mint = Token::mintCall { to: PAYER.address, value: U256::from(1) };
    let raw = raw_transaction(PAYER, 0, mint.abi_encode().into(), |_| ());
    stage.chain.broadcast(&raw).await.unwrap();
    assert!(!stage.chain.receipt(keccak256(&raw)).await.unwrap().unwrap().success);
    assert_eq!(stage.balance(PAYER.address).await, 1_000_000);
}

#[tokio::test]
async fn a_payment_moves_exactly_its_value_and_can_be_found() {
    let stage = Stage::new();
    let (asset, payer, nonce) = (token::ADDRESS, PAYER.address, B256::repeat_byte(1));
    assert!(!stage.chain.authorization_consumed(asset, payer, nonce, At::Latest).await.unwrap());
    assert_eq!(stage.chain.find_authorization(asset, payer, nonce, 0).await.unwrap(), None);

    let prepared = stage.prepare(&payment(1)).await;
    assert_eq!(stage.balance(PAYEE.address).await, 0, "preparing sends nothing");
    assert_eq!(prepared.transaction, keccak256(&prepared.raw));
    assert_eq!(prepared.account_nonce, 0);
    stage.chain.broadcast(&prepared.raw).await.unwrap();

    let receipt = stage.chain.receipt(prepared.transaction).await.unwrap().unwrap();
    let transfer = TransferLog { asset, from: payer, to: PAYEE.address, value: U256::from(250) };
    assert!(receipt.success);
    assert_eq!(receipt.transfers, [transfer]);
    assert!((60_000..100_000).contains(&receipt.gas_used), "{}", receipt.gas_used);
    let found = stage.chain.find_authorization(asset, payer, nonce, 0).await.unwrap().unwrap();
    assert_eq!((found.transaction, found.canceled), (prepared.transaction, false));
    assert_eq!((found.block, found.transfers), (receipt.block, vec![transfer]));
    assert_eq!((stage.balance(payer).await, stage.balance(PAYEE.address).await), (999_750, 250));
    let spent = U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price);
    let genesis = U256::from(10_000_u64) * U256::from(10_u64.pow(18));
    assert_eq!(stage.chain.native_balance(RELAYER.address).await.unwrap(), genesis - spent);
}

#[tokio::test]
async fn a_search_spans_many_log_queries_and_respects_its_start() {
    let stage = Stage::new();
    stage.devnet.mine(20);
    stage.settle(&payment(1)).await;
    let mined_at = stage.chain.block(At::Latest).await.unwrap().number;
    stage.devnet.mine(20);
    let config = RpcConfig { log_blocks_max: 3, ..RpcConfig::default() };
    let narrow = RpcChain::in_process(stage.devnet.clone(), config);
    let find = |from| narrow.find_authorization(token::ADDRESS, PAYER.address, B256::repeat_byte(1), from);
    assert_eq!(find(0).await.unwrap().unwrap().block.number, mined_at);
    assert_eq!(find(mined_at).await.unwrap().unwrap().block.number, mined_at);
    assert_eq!(find(mined_at + 1).await.unwrap(), None);
    let beyond = find(mined_at + 21).await;
    assert!(matches!(beyond, Err(ChainError::Unavailable(_))), "{beyond:?}");
}

#[tokio::test]
async fn the_token_says_what_the_signing_domain_needs() {
    let stage = Stage::new();
    let facts = stage.chain.token(token::ADDRESS).await.unwrap();
    let domain = eip712_domain! {
        name: token::NAME,
        version: token::VERSION,
        chain_id: 31_337,
        verifying_contract: token::ADDRESS,
    };
    assert_eq!((facts.name.as_str(), facts.version.as_str(), facts.decimals), ("USD Coin", "2", 6));
    assert_eq!(facts.domain_separator, domain.separator());
    assert!(!stage.chain.code(token::ADDRESS).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_account_without_code_is_no_token() {
    let stage = Stage::new();
    assert!(stage.chain.code(PAYEE.address).await.unwrap().is_empty());
    let facts = stage.chain.token(PAYEE.address).await;
    assert!(matches!(facts, Err(ChainError::Unavailable(_))), "{facts:?}");
    let balance = stage.chain.balance_of(PAYEE.address, PAYER.address, At::Latest).await;
    assert!(matches!(balance, Err(ChainError::Unavailable(_))), "{balance:?}");
}

#[tokio::test]
async fn a_settlement_above_the_caps_is_not_signed() {
    let stage = Stage::new();
    let config = RpcConfig { settlement_gas_max: 50_000, ..RpcConfig::default() };
    let tight = RpcChain::in_process(stage.devnet.clone(), config);
    let frugal = LocalRelayer::new(tight, &RELAYER.private_key, FeeCaps::default()).unwrap();
    let refused = frugal.prepare(&payment(1), 0).await;
    assert!(matches!(refused, Err(ChainError::Refused { .. })), "{refused:?}");

    let caps = FeeCaps { max_fee_per_gas: 1_500_000_000, max_priority_fee_per_gas: 1_000_000_000 };
    let poor = LocalRelayer::new(stage.chain.clone(), &RELAYER.private_key, caps).unwrap();
    let refused = poor.prepare(&payment(1), 0).await;
    assert!(matches!(refused, Err(ChainError::Refused { .. })), "{refused:?}");
    assert_eq!(format!("{poor:?}"), format!("LocalRelayer {{ address: {:?}, .. }}", RELAYER.address));
    assert!(LocalRelayer::new(stage.chain.clone(), &B256::ZERO, caps).is_err());
}
