//! The escrow of `batch-settlement` as it stands on public chains: what must move nothing, and what its logs say.

use alloy::primitives::aliases::U40;
use alloy::primitives::{B256, Bytes, U256};
use x402::batch_settlement::{
    Channel, ChannelCall, ChannelLog, ChannelState, Claim, DepositCall, EIP3009_COLLECTOR, ESCROW, RefundCall, Sweep,
    claim_batch_digest, deposit_digest, deposit_nonce, refund_digest, voucher_digest,
};
use x402::chain::{At, Chain, ChainError, Pool, Receipt, Relayer, SettlementCall};
use x402::exact::{Authorization, TokenDomain};
use x402::network::Network;
use x402::value::Amount;

use super::*;
use crate::payer::OwnSender;

fn network() -> Network {
    Network::new(31_337).unwrap()
}

fn channel() -> Channel {
    Channel {
        payer: PAYER.address,
        payer_authorizer: PAYER.address,
        receiver: PAYEE.address,
        receiver_authorizer: PAYEE.address,
        token: token::ADDRESS,
        withdraw_delay: U40::from(900_u32),
        salt: B256::ZERO,
    }
}

fn signed(by: TestAccount, digest: B256) -> Bytes {
    by.signer().unwrap().sign_hash_sync(&digest).unwrap().as_bytes().into()
}

fn deposit(channel: Channel, units: u128, salt: u64) -> DepositCall {
    let domain = TokenDomain {
        name: token::NAME.into(),
        version: token::VERSION.into(),
        chain_id: 31_337,
        verifying_contract: token::ADDRESS,
    };
    let (valid_after, valid_before, salt) = (U256::ZERO, U256::from(START + 60), U256::from(salt));
    let authorization = Authorization {
        from: channel.payer,
        to: EIP3009_COLLECTOR,
        value: U256::from(units),
        valid_after,
        valid_before,
        nonce: deposit_nonce(channel.id(network()), salt),
    };
    let signature = signed(PAYER, deposit_digest(&domain, &authorization));
    DepositCall { channel, amount: Amount::new(units), valid_after, valid_before, salt, signature }
}

fn claim(total: u128) -> ChannelCall {
    claim_by(PAYER, PAYEE, total, total)
}

fn claim_by(voucher: TestAccount, authorizer: TestAccount, max: u128, total: u128) -> ChannelCall {
    let (channel, id) = (channel(), channel().id(network()));
    let [max_claimable, total_claimed] = [max, total].map(Amount::new);
    let signature = signed(voucher, voucher_digest(network(), id, max_claimable));
    let batch = claim_batch_digest(network(), [(id, max_claimable, total_claimed)]);
    let claims = vec![Claim { channel, max_claimable, signature, total_claimed }];
    ChannelCall::Claim { claims, signature: signed(authorizer, batch) }
}

fn refund(by: TestAccount, units: u128, nonce: u64, first: Option<ChannelCall>) -> ChannelCall {
    let (amount, nonce) = (Amount::new(units), U256::from(nonce));
    let signature = signed(by, refund_digest(network(), channel().id(network()), nonce, amount));
    let (claims, claim_signature) = match first {
        Some(ChannelCall::Claim { claims, signature }) => (claims, signature),
        _ => Default::default(),
    };
    ChannelCall::Refund(RefundCall { channel: channel(), amount, nonce, signature, claims, claim_signature })
}

fn sweep() -> ChannelCall {
    ChannelCall::Settle(Sweep { receiver: PAYEE.address, token: token::ADDRESS })
}

async fn send(stage: &Stage, call: &ChannelCall) -> Receipt {
    let nonce = stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap();
    let prepared = stage.relayer.prepare_channel(call, nonce).await.unwrap();
    stage.chain.broadcast(&prepared.raw).await.unwrap();
    stage.chain.receipt(prepared.transaction).await.unwrap().unwrap()
}

async fn assert_reverts(stage: &Stage, call: &ChannelCall, why: &str) {
    let simulated = stage.chain.simulate_channel(call, RELAYER.address).await;
    assert!(matches!(simulated, Err(ChainError::Reverted { .. })), "{why}: {simulated:?}");
    let prepared = stage.relayer.prepare_channel(call, 0).await;
    assert!(matches!(prepared, Err(ChainError::Reverted { .. })), "{why}: {prepared:?}");
}

async fn state(stage: &Stage) -> ChannelState {
    stage.chain.channel(channel().id(network()), At::Latest).await.unwrap()
}

fn has(units: u128, claimed: u128, refunds: u64) -> ChannelState {
    let [balance, total_claimed] = [units, claimed].map(Amount::new);
    ChannelState { balance, total_claimed, withdraw_requested_at: 0, refund_nonce: U256::from(refunds) }
}

#[tokio::test]
async fn nothing_moves_for_whoever_did_not_sign_it() {
    let stage = Stage::new();
    let good = deposit(channel(), 1000, 1);
    let elsewhere = Channel { salt: B256::repeat_byte(1), ..channel() };
    for (call, why) in [
        (DepositCall { amount: Amount::new(1001), ..good.clone() }, "another amount"),
        (DepositCall { salt: U256::from(2), ..good.clone() }, "another salt"),
        (DepositCall { channel: elsewhere, ..good.clone() }, "another channel"),
        (DepositCall { valid_before: U256::from(START), ..good.clone() }, "too late"),
        (DepositCall { signature: Bytes::from(vec![0; 65]), ..good.clone() }, "no signature"),
    ] {
        assert_reverts(&stage, &ChannelCall::Deposit(call), why).await;
    }
    assert_reverts(&stage, &claim(1), "no channel").await;
    send(&stage, &ChannelCall::Deposit(good.clone())).await;
    assert_reverts(&stage, &ChannelCall::Deposit(good), "the same again").await;
    for (call, why) in [
        (claim(1001), "more than there is"),
        (claim_by(PAYEE, PAYEE, 10, 10), "a voucher that the payee made"),
        (claim_by(PAYER, RELAYER, 10, 10), "a claim that the payee did not sign"),
        (claim_by(PAYER, PAYEE, 10, 11), "more than the voucher says"),
        (refund(RELAYER, 10, 0, None), "a refund that the payee did not sign"),
        (refund(PAYEE, 10, 1, None), "another refund nonce"),
        (refund(PAYEE, 0, 0, None), "a refund of nothing"),
    ] {
        assert_reverts(&stage, &call, why).await;
    }
    assert_eq!(state(&stage).await, has(1000, 0, 0));
}

#[tokio::test]
async fn what_happens_in_a_channel_is_in_its_logs() {
    let stage = Stage::new();
    let id = channel().id(network());
    assert_eq!(state(&stage).await, ChannelState::default());
    let made = send(&stage, &ChannelCall::Deposit(deposit(channel(), 1000, 1))).await;
    assert_eq!(made.channels, [ChannelLog::Deposited { channel: id, amount: U256::from(1000) }]);
    assert_eq!(made.used.len(), 1, "the token says which authorization it was");
    let claimed = send(&stage, &claim(300)).await;
    assert_eq!(claimed.channels, [ChannelLog::Claimed { channel: id, total: U256::from(300) }]);
    assert_eq!(send(&stage, &claim(300)).await.channels, [], "claimed already");
    let receiver = stage.chain.receiver(PAYEE.address, token::ADDRESS, At::Latest).await.unwrap();
    assert_eq!(receiver.due(), Amount::new(300));
    let (receiver, amount) = (PAYEE.address, U256::from(300));
    let swept = send(&stage, &sweep()).await;
    assert_eq!(swept.channels, [ChannelLog::Settled { receiver, token: token::ADDRESS, amount }]);
    assert_eq!(send(&stage, &sweep()).await.channels, [], "swept already");
    let refunded = send(&stage, &refund(PAYEE, 5000, 0, Some(claim(400)))).await;
    let [first, second] = refunded.channels[..] else { panic!("{:?}", refunded.channels) };
    assert_eq!(first, ChannelLog::Claimed { channel: id, total: U256::from(400) });
    assert_eq!(second, ChannelLog::Refunded { channel: id, amount: U256::from(600) }, "no more than is left");
    assert_eq!(state(&stage).await, has(400, 400, 1));
    let escrow = stage.balance(ESCROW).await;
    assert_eq!((escrow, stage.balance(PAYER.address).await, stage.balance(PAYEE.address).await), (100, 999_600, 300));
}

const WEI_MAX: u128 = 1_000_000_000_000_000_000;

fn own(stage: &Stage, by: TestAccount, wei_max: u128) -> OwnSender {
    OwnSender::new(stage.chain.clone(), &by.private_key, wei_max).unwrap()
}

fn withdraw(units: u128) -> ChannelCall {
    ChannelCall::Withdraw { channel: channel(), amount: Amount::new(units) }
}

fn finalize() -> ChannelCall {
    ChannelCall::Finalize { channel: channel() }
}

async fn sent_by_payer(stage: &Stage, call: &ChannelCall) -> Receipt {
    let nonce = stage.chain.account_nonce(PAYER.address, Pool::Pending).await.unwrap();
    let prepared = own(stage, PAYER, WEI_MAX).prepare_channel(call, nonce).await.unwrap();
    stage.chain.broadcast(&prepared.raw).await.unwrap();
    stage.chain.receipt(prepared.transaction).await.unwrap().unwrap()
}

async fn prepared_by(stage: &Stage, by: TestAccount, call: &ChannelCall) -> ChainError {
    let sender = own(stage, by, WEI_MAX);
    let afforded = sender.affords(&SettlementCall::Channel(Box::new(call.clone()))).await.unwrap_err();
    let prepared = sender.prepare_channel(call, 0).await.unwrap_err();
    assert_eq!(afforded, prepared, "what it says beforehand");
    prepared
}

/// The wallet's key signs what takes back its own, and no other transaction.
#[tokio::test]
async fn the_wallets_account_sends_nothing_but_what_takes_back_its_own() {
    let stage = Stage::new();
    send(&stage, &ChannelCall::Deposit(deposit(channel(), 1000, 1))).await;
    let elses = Channel { payer: PAYEE.address, ..channel() };
    for (call, why) in [
        (ChannelCall::Deposit(deposit(channel(), 10, 2)), "a deposit"),
        (claim(10), "a claim"),
        (sweep(), "a sweep"),
        (refund(PAYEE, 10, 0, None), "a refund"),
        (ChannelCall::Withdraw { channel: elses, amount: Amount::new(10) }, "out of another's channel"),
        (ChannelCall::Finalize { channel: elses }, "out of another's channel, at last"),
    ] {
        let refused = prepared_by(&stage, PAYER, &call).await;
        assert!(matches!(refused, ChainError::Refused { .. }), "{why}: {refused:?}");
    }
    let sender = own(&stage, PAYER, WEI_MAX);
    assert!(matches!(sender.prepare(&payment(1), 0).await, Err(ChainError::Refused { .. })), "a transfer");
    assert!(sender.affords(&SettlementCall::Transfer(Box::new(payment(1)))).await.is_err(), "a transfer");
    let gas = x402::chain::GasGrant { to: PAYEE.address, value: U256::ONE };
    assert!(sender.prepare_gas(&gas, 0).await.is_err(), "its coin to somebody");
    assert!(sender.prepare_batch(&[payment(1)], 0).await.is_err(), "several");
    for (call, why) in [(withdraw(1001), "more than there is"), (withdraw(0), "nothing"), (finalize(), "not asked for")]
    {
        let refused = prepared_by(&stage, PAYER, &call).await;
        assert!(matches!(refused, ChainError::Reverted { .. }), "{why}: {refused:?}");
    }
}

#[tokio::test]
async fn what_a_payer_asks_for_it_gets_after_the_delay_as_far_as_it_is_not_claimed() {
    let stage = Stage::new();
    let id = channel().id(network());
    send(&stage, &ChannelCall::Deposit(deposit(channel(), 1000, 1))).await;
    let asked = sent_by_payer(&stage, &withdraw(900)).await;
    let from = asked.block.timestamp + 900;
    assert_eq!(asked.channels, [ChannelLog::Withdrawing { channel: id, amount: U256::from(900), from }]);
    assert_eq!(state(&stage).await.withdraw_requested_at, asked.block.timestamp);
    let twice = prepared_by(&stage, PAYER, &withdraw(100)).await;
    assert!(matches!(twice, ChainError::Reverted { .. }), "twice: {twice:?}");
    stage.wait(890);
    stage.devnet.mine(1);
    let early = prepared_by(&stage, PAYER, &finalize()).await;
    assert!(matches!(early, ChainError::Reverted { .. }), "too early: {early:?}");
    assert_reverts(&stage, &finalize(), "by somebody else").await;
    send(&stage, &claim(300)).await;
    stage.wait(20);
    stage.devnet.mine(1);
    let fetched = sent_by_payer(&stage, &finalize()).await;
    assert_eq!(fetched.channels, [ChannelLog::Withdrawn { channel: id, amount: U256::from(700) }]);
    assert_eq!(state(&stage).await, has(300, 300, 0));
    assert_eq!(stage.balance(PAYER.address).await, 999_700);
    let again = prepared_by(&stage, PAYER, &finalize()).await;
    assert!(matches!(again, ChainError::Reverted { .. }), "twice: {again:?}");
}

/// An account that cannot pay signs nothing; nor does one that may not.
#[tokio::test]
async fn what_the_wallet_cannot_pay_for_or_may_not_is_not_signed() {
    let stage = Stage::new();
    send(&stage, &ChannelCall::Deposit(deposit(channel(), 1000, 1))).await;
    let dear = own(&stage, PAYER, 1).prepare_channel(&withdraw(900), 0).await.unwrap_err();
    let ChainError::Refused { message, .. } = &dear else { panic!("{dear:?}") };
    assert!(message.contains("at most 1 are allowed"), "{message}");
    stage.result("anvil_setBalance", json!([PAYER.address, "0x3e8"]));
    let poor = prepared_by(&stage, PAYER, &withdraw(900)).await;
    let ChainError::Gas { account, needed, found } = poor else { panic!("{poor:?}") };
    assert_eq!((account, found), (PAYER.address, U256::from(1000)));
    assert!(needed > found, "{needed}");
    // What is signed never costs more than is there, also at the highest of its fees.
    let enough = needed * U256::from(2);
    stage.result("anvil_setBalance", json!([PAYER.address, enough]));
    let prepared = own(&stage, PAYER, WEI_MAX).prepare_channel(&withdraw(900), 0).await.unwrap();
    for raw in std::iter::once(&prepared.raw).chain(&prepared.replacements) {
        use alloy::consensus::Transaction as _;
        use alloy::eips::eip2718::Decodable2718 as _;
        let signed = TxEnvelope::decode_2718_exact(raw).unwrap();
        let most = U256::from(signed.gas_limit()) * U256::from(signed.max_fee_per_gas());
        assert!(most <= enough, "{most} of {enough}");
    }
    stage.chain.broadcast(&prepared.raw).await.unwrap();
    assert!(stage.chain.receipt(prepared.transaction).await.unwrap().unwrap().success);
}
