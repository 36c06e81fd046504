//! The escrow of `auth-capture`: what must move nothing, and where each unit is otherwise.

use alloy::primitives::aliases::{U48, U120};
use alloy::primitives::{Bytes, U256};
use alloy::sol_types::SolCall as _;
use x402::auth_capture::abi::Escrow;
use x402::auth_capture::{EIP3009_COLLECTOR, ESCROW, EscrowCall, EscrowLog, EscrowState, HeldKind, PaymentInfo, Taken};
use x402::batch_settlement::deposit_digest;
use x402::chain::{At, Chain, ChainError, Pool, Receipt, Relayer};
use x402::exact::{Authorization, TokenDomain};
use x402::network::Network;
use x402::settlement::{ClaimKey, Expected, NonceSpace, Outcome, observe};
use x402::value::Amount;

use super::*;
use crate::payer::OwnSender;

const HELD: u128 = 1_000;
const COLLECTOR_OF_FEES: TestAccount = ACCOUNTS[3];

fn network() -> Network {
    Network::new(31_337).unwrap()
}

fn terms() -> PaymentInfo {
    PaymentInfo {
        operator: RELAYER.address,
        payer: PAYER.address,
        receiver: PAYEE.address,
        token: token::ADDRESS,
        max_amount: U120::from(HELD),
        pre_approval_expiry: U48::from(START + 60),
        authorization_expiry: U48::from(START + 600),
        refund_expiry: U48::from(START + 1_200),
        min_fee_bps: 0,
        max_fee_bps: 500,
        fee_receiver: COLLECTOR_OF_FEES.address,
        salt: U256::from(7),
    }
}

fn authorize(info: PaymentInfo) -> EscrowCall {
    let domain = TokenDomain {
        name: token::NAME.into(),
        version: token::VERSION.into(),
        chain_id: 31_337,
        verifying_contract: token::ADDRESS,
    };
    let authorization = Authorization {
        from: PAYER.address,
        to: EIP3009_COLLECTOR,
        value: U256::from(HELD),
        valid_after: U256::ZERO,
        valid_before: U256::from(START + 60),
        nonce: terms().nonce(network(), ESCROW),
    };
    let digest = deposit_digest(&domain, &authorization);
    let signature = PAYER.signer().unwrap().sign_hash_sync(&digest).unwrap().as_bytes().into();
    EscrowCall::Authorize { info, amount: Amount::new(HELD), signature }
}

fn capture(units: u128, fee_bps: u16) -> EscrowCall {
    let (amount, fee_receiver) = (Amount::new(units), COLLECTOR_OF_FEES.address);
    EscrowCall::Capture { info: terms(), amount, fee_bps, fee_receiver }
}

fn void() -> EscrowCall {
    EscrowCall::Void { info: terms() }
}

async fn send(stage: &Stage, call: &EscrowCall) -> Receipt {
    let nonce = stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap();
    let prepared = stage.relayer.prepare_escrow(call, nonce).await.unwrap();
    stage.chain.broadcast(&prepared.raw).await.unwrap();
    stage.chain.receipt(prepared.transaction).await.unwrap().unwrap()
}

async fn assert_reverts(stage: &Stage, call: &EscrowCall, why: &str) {
    let simulated = stage.chain.simulate_escrow(call, call.sender()).await;
    assert!(matches!(simulated, Err(ChainError::Reverted { .. })), "{why}: {simulated:?}");
    let prepared = stage.relayer.prepare_escrow(call, 0).await;
    assert!(matches!(prepared, Err(ChainError::Reverted { .. })), "{why}: {prepared:?}");
}

async fn has(stage: &Stage) -> (bool, u128, u128) {
    let payment = terms().hash(network(), ESCROW);
    let EscrowState { collected, capturable, refundable } = stage.chain.escrowed(payment, At::Latest).await.unwrap();
    (collected, capturable.get(), refundable.get())
}

#[tokio::test]
async fn a_payment_has_the_name_that_the_escrow_gives_it() {
    let stage = Stage::new();
    let call = Escrow::getHashCall { paymentInfo: (&terms()).into() };
    let input = Bytes::from(call.abi_encode());
    let named = stage.result("eth_call", json!([{ "to": ESCROW, "data": input }, "latest"]));
    assert_eq!(named, json!(terms().hash(network(), ESCROW)));
}

#[tokio::test]
async fn nothing_is_held_under_other_terms_than_were_signed() {
    let stage = Stage::new();
    for (info, why) in [
        (PaymentInfo { receiver: RELAYER.address, ..terms() }, "another receiver"),
        (PaymentInfo { payer: PAYEE.address, ..terms() }, "another payer"),
        (PaymentInfo { max_amount: U120::from(HELD + 1), ..terms() }, "another amount"),
        (PaymentInfo { authorization_expiry: U48::from(START + 601), ..terms() }, "a later capture"),
        (PaymentInfo { refund_expiry: U48::from(START + 599), ..terms() }, "deadlines the wrong way round"),
        (PaymentInfo { pre_approval_expiry: U48::from(START - 1), ..terms() }, "over"),
        (PaymentInfo { max_fee_bps: 501, ..terms() }, "a higher fee"),
        (PaymentInfo { fee_receiver: PAYEE.address, ..terms() }, "a fee for somebody else"),
        (PaymentInfo { salt: U256::ZERO, ..terms() }, "another salt"),
    ] {
        assert_reverts(&stage, &authorize(info), why).await;
    }
    let elsewhere = EscrowCall::Void { info: PaymentInfo { operator: PAYEE.address, ..terms() } };
    let by_us = stage.chain.simulate_escrow(&elsewhere, RELAYER.address).await;
    assert!(matches!(by_us, Err(ChainError::Reverted { .. })), "another operator: {by_us:?}");
    assert_reverts(&stage, &capture(1, 0), "nothing is held").await;
    assert_reverts(&stage, &void(), "nothing is held").await;
    assert_eq!(has(&stage).await, (false, 0, 0));
    assert_eq!(stage.balance(PAYER.address).await, 1_000_000);
}

#[tokio::test]
async fn what_is_held_is_captured_or_goes_back() {
    let stage = Stage::new();
    let held = send(&stage, &authorize(terms())).await;
    assert_eq!((held.success, held.used.len(), has(&stage).await), (true, 1, (true, HELD, 0)));
    assert_eq!(stage.balance(PAYER.address).await, 999_000);
    for (call, why) in [
        (authorize(terms()), "the same again"),
        (capture(HELD + 1, 0), "more than is held"),
        (capture(0, 0), "nothing"),
        (capture(1, 501), "a fee above the bound"),
    ] {
        assert_reverts(&stage, &call, why).await;
    }
    let payment = terms().hash(network(), ESCROW);
    let taken = send(&stage, &capture(400, 500)).await;
    let amount = U256::from(400);
    assert_eq!(taken.escrow, [EscrowLog::Captured { payment, amount, fee_bps: 500 }]);
    assert_eq!(stage.balance(PAYEE.address).await, 380);
    assert_eq!(stage.balance(COLLECTOR_OF_FEES.address).await, 20);
    assert_reverts(&stage, &capture(601, 0), "more than is left").await;
    let back = send(&stage, &void()).await;
    assert_eq!(back.escrow, [EscrowLog::Voided { payment, amount: U256::from(600) }]);
    assert_eq!((stage.balance(PAYER.address).await, has(&stage).await), (999_600, (true, 0, 400)));
    assert_reverts(&stage, &capture(1, 0), "after a void").await;
    assert_reverts(&stage, &void(), "a void after a void").await;
}

fn charge(units: u128, fee_bps: u16) -> EscrowCall {
    let EscrowCall::Authorize { info, signature, .. } = authorize(terms()) else { panic!("an authorization") };
    let taken = Taken { amount: Amount::new(units), fee_bps, fee_receiver: COLLECTOR_OF_FEES.address };
    EscrowCall::Charge { info, taken, signature }
}

#[tokio::test]
async fn what_is_charged_is_all_that_moves() {
    let stage = Stage::new();
    for (units, fee, why) in [(HELD + 1, 0, "more than was signed"), (0, 0, "nothing"), (1, 501, "too high a fee")] {
        assert_reverts(&stage, &charge(units, fee), why).await;
    }
    let charged = send(&stage, &charge(400, 500)).await;
    assert_eq!((charged.success, charged.escrow.len(), has(&stage).await), (true, 0, (true, 0, 400)));
    assert_eq!(stage.balance(PAYER.address).await, 999_600);
    assert_eq!((stage.balance(PAYEE.address).await, stage.balance(COLLECTOR_OF_FEES.address).await), (380, 20));
    for (call, why) in [(charge(1, 0), "the same again"), (authorize(terms()), "held after it"), (void(), "a void")] {
        assert_reverts(&stage, &call, why).await;
    }
}

#[tokio::test]
async fn after_its_deadline_nobody_captures_and_the_payer_takes_it_back() {
    let stage = Stage::new();
    send(&stage, &authorize(terms())).await;
    stage.wait(600);
    stage.devnet.mine(1);
    assert_reverts(&stage, &capture(1, 0), "after the deadline").await;
    let reclaim = Bytes::from(Escrow::reclaimCall { paymentInfo: (&terms()).into() }.abi_encode());
    let ask = |from: alloy::primitives::Address| {
        stage.rpc("eth_call", json!([{ "from": from, "to": ESCROW, "data": reclaim }, "latest"]))
    };
    assert!(ask(PAYEE.address).get("error").is_some(), "by somebody else");
    assert!(ask(PAYER.address).get("result").is_some(), "by the payer");
    send(&stage, &void()).await;
    assert_eq!(stage.balance(PAYER.address).await, 1_000_000, "or it is given back");
}

fn key() -> ClaimKey {
    let nonce = terms().nonce(network(), ESCROW);
    ClaimKey { space: NonceSpace::Held, network: network(), token: token::ADDRESS, payer: PAYER.address, nonce }
}

/// What the escrow tells of a payment, each with how much.
async fn tells(stage: &Stage, key: ClaimKey) -> Option<Vec<(HeldKind, u128)>> {
    let own = self::key();
    let used = stage.chain.find_authorization(own.token, own.payer, own.nonce, 0).await.unwrap().unwrap();
    let held = stage.chain.held(key, &used).await.unwrap()?;
    assert_eq!((held.payment, held.receiver), (terms().hash(network(), ESCROW), PAYEE.address));
    Some(held.logs.iter().map(|log| (log.kind, log.amount.to::<u128>())).collect())
}

#[tokio::test]
async fn the_escrow_tells_what_became_of_a_payment_and_of_no_other() {
    let stage = Stage::new();
    send(&stage, &authorize(terms())).await;
    for other in [
        ClaimKey { payer: PAYEE.address, ..key() },
        ClaimKey { token: PAYEE.address, ..key() },
        ClaimKey { nonce: alloy::primitives::B256::ZERO, ..key() },
        ClaimKey { network: Network::new(1).unwrap(), ..key() },
    ] {
        assert_eq!(tells(&stage, other).await, None, "{other}");
    }
    assert_eq!(tells(&stage, key()).await.unwrap(), [(HeldKind::Authorized, HELD)]);
    for call in [capture(400, 500), capture(100, 0), void()] {
        send(&stage, &call).await;
    }
    let all =
        [(HeldKind::Authorized, HELD), (HeldKind::Captured, 400), (HeldKind::Captured, 100), (HeldKind::Voided, 500)];
    assert_eq!(tells(&stage, key()).await.unwrap(), all);

    let expected = Expected {
        key: key(),
        to: PAYEE.address,
        value: U256::from(HELD),
        charge: x402::settlement::Charge::AtMost,
        valid_before: START + 60,
    };
    let came_to = |expected: Expected| {
        let chain = &stage.chain;
        async move { observe(chain, &expected, None, 0).await.unwrap() }
    };
    stage.devnet.mine(64);
    let Outcome::Settled { value, .. } = came_to(expected).await else { panic!("settled") };
    assert_eq!(value, U256::from(500), "what was captured in both parts");
    let whole = Expected { charge: x402::settlement::Charge::Whole, ..expected };
    assert!(matches!(came_to(whole).await, Outcome::SpentOtherwise { .. }), "half of what was expected");
    assert!(matches!(came_to(Expected { value, ..whole }).await, Outcome::Settled { .. }));
    let elsewhere = Expected { to: RELAYER.address, ..expected };
    assert!(matches!(came_to(elsewhere).await, Outcome::SpentOtherwise { .. }), "another is paid");
}

#[tokio::test]
async fn the_escrow_tells_of_a_charge() {
    let stage = Stage::new();
    send(&stage, &charge(400, 500)).await;
    assert_eq!(tells(&stage, key()).await.unwrap(), [(HeldKind::Charged, 400)]);
}

/// By the payer, after the deadline, and what is left; by nobody's key of ours anything else.
#[tokio::test]
async fn the_wallets_account_takes_back_what_is_left_after_the_deadline_and_nothing_else() {
    let stage = Stage::new();
    let own = |by: TestAccount| OwnSender::new(stage.chain.clone(), &by.private_key, u128::MAX).unwrap();
    let reclaim = EscrowCall::Reclaim { info: terms() };
    send(&stage, &authorize(terms())).await;
    for (call, why) in [(authorize(terms()), "a hold"), (capture(1, 0), "a capture"), (void(), "a void")] {
        let refused = own(PAYER).prepare_escrow(&call, 0).await;
        assert!(matches!(refused, Err(ChainError::Refused { .. })), "{why}: {refused:?}");
    }
    for by in [PAYEE, RELAYER] {
        let refused = own(by).prepare_escrow(&reclaim, 0).await;
        assert!(matches!(refused, Err(ChainError::Refused { .. })), "another's: {refused:?}");
    }
    let early = own(PAYER).prepare_escrow(&reclaim, 0).await;
    assert!(matches!(early, Err(ChainError::Reverted { .. })), "before the deadline: {early:?}");
    send(&stage, &capture(400, 0)).await;
    stage.wait(600);
    stage.devnet.mine(1);
    let prepared = own(PAYER).prepare_escrow(&reclaim, 0).await.unwrap();
    stage.chain.broadcast(&prepared.raw).await.unwrap();
    let receipt = stage.chain.receipt(prepared.transaction).await.unwrap().unwrap();
    let payment = terms().hash(network(), ESCROW);
    assert_eq!(receipt.escrow, [EscrowLog::Reclaimed { payment, amount: U256::from(600) }]);
    assert_eq!((stage.balance(PAYER.address).await, has(&stage).await), (999_600, (true, 0, 400)));
    let again = own(PAYER).prepare_escrow(&reclaim, 1).await;
    assert!(matches!(again, Err(ChainError::Reverted { .. })), "twice: {again:?}");
}
