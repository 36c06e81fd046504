//! Permit2 and the proxies as they stand on public chains: what must not pay, and how a use is found that logs nothing.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::SolCall;
use x402::chain::{At, Chain, ChainError, PermitCall, Pool, Relayer, TransferLog};
use x402::network::Network;
use x402::permit2::sponsor::{Allowance, Sponsored, Sponsoring};
use x402::permit2::{EXACT_PROXY, PERMIT2, Permit, UPTO_PROXY, Witness};

use super::*;
use crate::permit2::{Permit2, contracts, place, settle_input};
use crate::token::Token;

fn network() -> Network {
    Network::new(31_337).unwrap()
}

fn permit(nonce: u64) -> Permit {
    Permit {
        from: PAYER.address,
        token: token::ADDRESS,
        amount: U256::from(250),
        spender: EXACT_PROXY,
        nonce: U256::from(nonce),
        deadline: U256::from(START + 60),
        witness: Witness::Exact { to: PAYEE.address, valid_after: U256::ZERO },
    }
}

fn up_to(nonce: u64) -> Permit {
    let witness = Witness::Upto { to: PAYEE.address, facilitator: RELAYER.address, valid_after: U256::ZERO };
    Permit { spender: UPTO_PROXY, witness, ..permit(nonce) }
}

fn by(signer: TestAccount, permit: Permit) -> PermitCall {
    let digest = permit.digest(network());
    let signature = signer.signer().unwrap().sign_hash_sync(&digest).unwrap().as_bytes();
    PermitCall { permit, amount: permit.amount, signature: signature.into(), sponsored: None }
}

fn call(permit: Permit) -> PermitCall {
    by(PAYER, permit)
}

fn sponsored(value: u64) -> Sponsored {
    let (value, deadline) = (U256::from(value), U256::from(START + 60));
    let allowance = Allowance { owner: PAYER.address, value, nonce: U256::ZERO, deadline };
    let domain = x402::exact::TokenDomain {
        name: token::NAME.into(),
        version: token::VERSION.into(),
        chain_id: 31_337,
        verifying_contract: token::ADDRESS,
    };
    let signature = PAYER.signer().unwrap().sign_hash_sync(&allowance.digest(&domain)).unwrap().as_bytes();
    Sponsored { value, deadline, signature }
}

async fn send(stage: &Stage, sender: TestAccount, to: Address, input: Bytes) -> B256 {
    let nonce = stage.chain.account_nonce(sender.address, Pool::Pending).await.unwrap();
    let raw = raw_transaction(sender, nonce, input, |transaction| {
        transaction.to = TxKind::Call(to);
        transaction.gas_limit = 400_000;
    });
    stage.chain.broadcast(&raw).await.unwrap();
    keccak256(&raw)
}

/// A stage whose payer lets Permit2 take everything.
async fn allowed() -> Stage {
    let stage = Stage::new();
    let approve = Token::approveCall { spender: PERMIT2, value: U256::MAX };
    send(&stage, PAYER, token::ADDRESS, approve.abi_encode().into()).await;
    stage
}

async fn settle(stage: &Stage, call: &PermitCall) -> B256 {
    let nonce = stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap();
    let prepared = stage.relayer.prepare_permit(call, nonce).await.unwrap();
    stage.chain.broadcast(&prepared.raw).await.unwrap();
    prepared.transaction
}

/// Simulation, estimate and, were it mined all the same, the transaction must fail, and nothing moves.
async fn assert_reverts(stage: &Stage, call: &PermitCall, why: &str) {
    let simulated = stage.chain.simulate_permit(call, RELAYER.address).await;
    assert!(matches!(simulated, Err(ChainError::Reverted { .. })), "{why}: {simulated:?}");
    let nonce = stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap();
    let prepared = stage.relayer.prepare_permit(call, nonce).await;
    assert!(matches!(prepared, Err(ChainError::Reverted { .. })), "{why}: {prepared:?}");
    let before = (stage.balance(PAYER.address).await, stage.balance(PAYEE.address).await);
    let sent = send(stage, RELAYER, call.permit.spender, settle_input(call)).await;
    assert!(!stage.chain.receipt(sent).await.unwrap().unwrap().success, "{why}");
    assert_eq!((stage.balance(PAYER.address).await, stage.balance(PAYEE.address).await), before, "{why}");
}

async fn found(stage: &Stage, nonce: u64) -> Result<Option<x402::chain::AuthorizationUse>, ChainError> {
    stage.chain.find_permit(token::ADDRESS, PAYER.address, B256::from(U256::from(nonce)), 0).await
}

async fn is_consumed(stage: &Stage, nonce: u64) -> bool {
    let nonce = B256::from(U256::from(nonce));
    stage.chain.permit_consumed(PAYER.address, nonce, At::Latest).await.unwrap()
}

#[tokio::test]
async fn each_permit_that_must_not_pay_reverts() {
    let stage = allowed().await;
    settle(&stage, &call(permit(7))).await;
    let to = |to: Address| Witness::Exact { to, valid_after: U256::ZERO };
    let changed = |change: fn(&mut Permit)| {
        let mut changed = call(permit(1));
        change(&mut changed.permit);
        changed
    };
    let cases = [
        ("a replay", call(permit(7))),
        ("a replay in the other scheme", call(up_to(7))),
        ("somebody else's signature", by(PAYEE, permit(1))),
        ("more than was signed", changed(|permit| permit.amount = U256::from(251))),
        ("another nonce", changed(|permit| permit.nonce = U256::from(2))),
        ("a later deadline", changed(|permit| permit.deadline = U256::from(START + 61))),
        (
            "another payee",
            PermitCall { permit: Permit { witness: to(Address::repeat_byte(9)), ..permit(1) }, ..call(permit(1)) },
        ),
        (
            "too early",
            call(Permit {
                witness: Witness::Exact { to: PAYEE.address, valid_after: U256::from(START + 9) },
                ..permit(1)
            }),
        ),
        ("expired", call(Permit { deadline: U256::from(START - 1), ..permit(1) })),
        ("more than there is", call(Permit { amount: U256::from(1_000_001), ..permit(1) })),
        ("more than is permitted", PermitCall { amount: U256::from(251), ..call(up_to(1)) }),
        ("nothing", PermitCall { amount: U256::ZERO, ..call(up_to(1)) }),
        (
            "by another facilitator",
            call(Permit {
                witness: Witness::Upto { to: PAYEE.address, facilitator: PAYEE.address, valid_after: U256::ZERO },
                ..up_to(1)
            }),
        ),
        (
            "an allowance of another amount",
            PermitCall { sponsored: Some(Sponsoring::Permit(sponsored(251))), ..call(permit(1)) },
        ),
    ];
    for (why, call) in cases {
        assert_reverts(&stage, &call, why).await;
    }
    assert_eq!(stage.balance(PAYEE.address).await, 250, "the one before them");
}

#[tokio::test]
async fn without_an_allowance_nothing_moves() {
    let stage = Stage::new();
    assert_eq!(stage.chain.allowance(token::ADDRESS, PAYER.address, PERMIT2).await, Ok(U256::ZERO));
    assert_reverts(&stage, &call(permit(1)), "no allowance").await;
    let mut forged = call(permit(1));
    forged.sponsored = Some(Sponsoring::Permit(Sponsored { deadline: U256::from(START + 61), ..sponsored(250) }));
    assert_reverts(&stage, &forged, "a permit of the token that was not signed").await;
    assert!(!is_consumed(&stage, 1).await);
    assert_eq!(found(&stage, 1).await, Ok(None));

    let paid =
        settle(&stage, &PermitCall { sponsored: Some(Sponsoring::Permit(sponsored(250))), ..call(permit(1)) }).await;
    assert_eq!(stage.balance(PAYEE.address).await, 250, "the allowance came along");
    assert_eq!(found(&stage, 1).await.unwrap().unwrap().transaction, paid);
    assert_eq!(stage.chain.allowance(token::ADDRESS, PAYER.address, PERMIT2).await, Ok(U256::ZERO), "and is used up");
}

#[tokio::test]
async fn a_use_is_found_by_its_nonce_among_payments_that_look_the_same() {
    let stage = allowed().await;
    let mut paid = Vec::new();
    for nonce in [1, 2, 3] {
        paid.push(settle(&stage, &call(permit(nonce))).await);
    }
    let used = found(&stage, 2).await.unwrap().unwrap();
    let (asset, from, to) = (token::ADDRESS, PAYER.address, PAYEE.address);
    assert_eq!((used.transaction, used.canceled), (paid[1], false));
    assert_eq!(used.transfers, [TransferLog { asset, from, to, value: U256::from(250) }]);
    assert_eq!(found(&stage, 4).await, Ok(None));
    assert!(is_consumed(&stage, 3).await && !is_consumed(&stage, 4).await);
    let after = stage.chain.find_permit(asset, from, B256::from(U256::from(1)), used.block.number).await;
    assert_eq!(after, Ok(None), "before the blocks that were asked for");

    let part = settle(&stage, &PermitCall { amount: U256::from(37), ..call(up_to(9)) }).await;
    let used = found(&stage, 9).await.unwrap().unwrap();
    assert_eq!((used.transaction, used.transfers[0].value), (part, U256::from(37)));
    assert_reverts(&stage, &PermitCall { amount: U256::from(1), ..call(up_to(9)) }, "the rest of it").await;
}

#[tokio::test]
async fn a_cancelled_nonce_is_consumed_and_pays_nobody() {
    let stage = allowed().await;
    settle(&stage, &call(permit(1))).await;
    let (word, bit) = place(B256::from(U256::from(300)));
    assert_eq!((word, bit), (U256::from(1), 44));
    let cancel = Permit2::invalidateUnorderedNoncesCall { wordPos: word, mask: U256::from(1) << bit };
    let cancelled = send(&stage, PAYER, PERMIT2, cancel.abi_encode().into()).await;
    stage.devnet.mine(5);
    settle(&stage, &call(permit(2))).await;

    assert_reverts(&stage, &call(permit(300)), "cancelled").await;
    assert!(is_consumed(&stage, 300).await && !is_consumed(&stage, 44).await);
    let used = found(&stage, 300).await.unwrap().unwrap();
    assert_eq!((used.transaction, used.canceled, used.transfers), (cancelled, true, vec![]));
}

#[tokio::test]
async fn the_contracts_are_those_of_public_chains() {
    let stage = Stage::new();
    let contracts = contracts().unwrap();
    for (proxy, address) in [(&contracts.exact, EXACT_PROXY), (&contracts.upto, UPTO_PROXY)] {
        let derived = contracts.deployer.address.create2(proxy.salt, keccak256(&proxy.creation));
        assert_eq!((derived, proxy.address), (address, address), "salt and bytes give the address");
        assert!(!stage.chain.code(address).await.unwrap().is_empty());
    }
    assert_eq!(contracts.permit2.address, PERMIT2);
    let separator = stage.result("eth_call", json!([{ "to": PERMIT2, "data": "0x3644e515" }, "latest"]));
    let fields = ["EIP712Domain(string name,uint256 chainId,address verifyingContract)", "Permit2"].map(keccak256);
    let rest = [B256::from(U256::from(31_337)), PERMIT2.into_word()];
    let expected = keccak256([fields, rest].concat().iter().flat_map(|word| word.0).collect::<Vec<u8>>());
    assert_eq!(separator, json!(expected), "Permit2 counts this chain as its own");
    assert_eq!(Permit2::DOMAIN_SEPARATORCall {}.abi_encode(), [0x36, 0x44, 0xe5, 0x15]);
}
