//! Invalid messages first. What the official SDKs made is the valid one that each is made from.

mod invalid;

use alloy_primitives::{B256, U256};
use serde_json::{Value, json};

use super::*;
use crate::chain::SettlementCall;
use crate::exact::{Checked, EvmSignature, Signed, WalletKey};
use crate::fixture::{self, now_or_never};
use crate::network::{Asset, AssetTable, Network, TransferMethod};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scheme;
use crate::value::Amount;
use crate::wire::{PaymentPayload, PaymentRequirements};

const NOW: u64 = 1_795_491_200;

fn network() -> Network {
    Network::new(31_337).unwrap()
}

fn text(pointer: &str) -> String {
    fixture::channels().pointer(pointer).and_then(Value::as_str).unwrap().to_owned()
}

fn word(pointer: &str) -> B256 {
    text(pointer).parse().unwrap()
}

fn key(of: &str) -> WalletKey {
    WalletKey::from_hex(&text(&format!("/keys/{of}"))).unwrap()
}

fn requirements() -> PaymentRequirements {
    serde_json::from_value(fixture::channels()["requirements"].clone()).unwrap()
}

fn payload(kind: &str) -> PaymentPayload {
    serde_json::from_value(fixture::channels()[kind].clone()).unwrap()
}

fn read(kind: &str) -> Message {
    Message::read(&payload(kind).payload).unwrap()
}

fn table() -> AssetTable {
    let mut table = AssetTable::trusted();
    table
        .add(Asset {
            network: network(),
            address: requirements().asset.parse().unwrap(),
            name: "USD Coin".into(),
            version: "2".into(),
            decimals: 6,
            transfer: TransferMethod::Eip3009,
        })
        .unwrap();
    table
}

fn deposit() -> Deposit {
    match read("deposit") {
        Message::Deposit { deposit, .. } => *deposit,
        other => panic!("{other:?}"),
    }
}

fn amount(units: u128) -> Amount {
    Amount::new(units)
}

#[test]
fn names_and_digests_are_those_of_the_official_sdks() {
    let channel = deposit().channel;
    let id = channel.id(network());
    assert_eq!(id, word("/channel_id"));
    assert_eq!(deposit_nonce(id, deposit().salt), word("/deposit_nonce"));
    assert_eq!(voucher_digest(network(), id, amount(2000)), word("/digests/voucher_2000"));
    assert_eq!(refund_digest(network(), id, U256::from(3), amount(500)), word("/digests/refund_500_nonce_3"));
    let rows = [(id, amount(2000), amount(1700))];
    assert_eq!(claim_batch_digest(network(), rows), word("/digests/claim_batch"));
    let terms = terms(&requirements()).unwrap();
    assert_eq!(Signed::Deposit(deposit()).digest(&terms), word("/digests/deposit"));
    let elsewhere = Network::new(1).unwrap();
    assert_ne!(channel.id(elsewhere), id, "the same parameters are another channel on another chain");
}

#[test]
fn signatures_are_those_of_the_official_sdks() {
    let id = word("/channel_id");
    let signed = |of: &str, digest: B256| key(of).sign(digest).unwrap().to_text();
    let voucher = signed("payerAuthorizer", voucher_digest(network(), id, amount(2000)));
    assert_eq!(voucher, text("/voucher/payload/voucher/signature"));
    let Message::Claim { claims, signature } = read("claim") else { panic!("a claim") };
    let batch = call::claims_digest(network(), &claims);
    let by = |bytes: &alloy_primitives::Bytes, digest| EvmSignature::new(bytes).unwrap().recover(digest).unwrap();
    assert_eq!(by(&signature.unwrap(), batch), key("receiverAuthorizer").address());
    let Message::CompletedRefund(refund) = read("completed_refund") else { panic!("a refund") };
    let digest = refund_digest(network(), id, refund.nonce, refund.amount);
    assert_eq!(by(&refund.signature.unwrap(), digest), key("receiverAuthorizer").address());
}

#[test]
fn a_deposit_is_an_authorization_to_the_collector() {
    let checked = scheme::check(&payload("deposit"), &requirements(), &table(), NOW).unwrap();
    let Checked::ByKey(payment) = checked else { panic!("by a key") };
    let expected = payment.expected();
    assert_eq!((expected.to, expected.value), (EIP3009_COLLECTOR, U256::from(10_000)));
    assert_eq!(expected.key, scheme::claimed(&payload("deposit"), &requirements()).unwrap().1);
    assert_eq!(payment.terms().pay_to, deposit().channel.receiver, "who is allowed is asked of the payee");
    let SettlementCall::Channel(call) = payment.call() else { panic!("a call of the escrow") };
    assert!(matches!(*call, ChannelCall::Deposit(DepositCall { amount, .. }) if amount == Amount::new(10_000)));
}

#[test]
fn vouchers_and_refunds_are_bound_to_their_terms() {
    for (kind, expected) in [("voucher", VoucherKind::Paying), ("refund", VoucherKind::Refund)] {
        let bound = check_voucher(&payload(kind), &requirements(), &table()).unwrap();
        assert_eq!((bound.kind, bound.channel_id()), (expected, word("/channel_id")));
        let node = fixture::Node { down: true, ..fixture::Node::good() };
        now_or_never(bound.prove(&node)).unwrap();
    }
}

/// A step of a channel is one claim, whatever is signed for it; another channel's, and the next step, are others.
#[test]
fn each_step_of_a_channel_is_one_claim() {
    let key = |kind: &str| scheme::claim_key(&payload(kind), &requirements()).unwrap();
    let Message::Voucher(voucher) = read("voucher") else { panic!("a voucher") };
    let before = amount(2000 - 1000);
    assert_eq!(key("voucher"), step_key(network(), &voucher.channel, before));
    assert_eq!(charged_before(network(), &voucher.channel, &key("voucher").nonce.0), Some(before));
    assert_ne!(key("voucher"), step_key(network(), &voucher.channel, amount(999)));
    let other = Channel { salt: B256::repeat_byte(9), ..voucher.channel };
    assert_ne!(key("voucher"), step_key(network(), &other, before));
    assert_eq!(charged_before(network(), &other, &key("voucher").nonce.0), None);

    let terms = terms(&requirements()).unwrap();
    let says = |max, kind| voucher_key(&terms, &Voucher { max_claimable: amount(max), ..(*voucher).clone() }, kind);
    assert_eq!(says(2000, VoucherKind::Refund), step_key(network(), &voucher.channel, amount(2000)));
    assert_eq!(says(1, VoucherKind::Paying), step_key(network(), &voucher.channel, amount(0)), "less than a price");
    for kind in ["claim", "completed_refund"] {
        assert!(scheme::claim_key(&payload(kind), &requirements()).is_err(), "{kind} pays for nothing");
    }
}

/// What a payee asks for is what a facilitator reads.
#[test]
fn what_is_said_is_read_as_it_was_meant() {
    let Message::Claim { claims, signature } = read("claim") else { panic!("a claim") };
    let signature = signature.unwrap();
    let said = claim_payload(&claims, &signature);
    assert_eq!(Message::read(&said).unwrap(), Message::Claim { claims, signature: Some(signature) });
    let Message::CompletedRefund(refund) = read("completed_refund") else { panic!("a refund") };
    let (own, claims) = (refund.signature.clone().unwrap(), refund.claim_signature.clone().unwrap_or_default());
    let said =
        refund_payload(&refund.voucher, (refund.amount, refund.nonce, &own), (refund.claims.as_slice(), &claims));
    assert_eq!(Message::read(&said).unwrap(), Message::CompletedRefund(refund));
    let sweep = Sweep { receiver: deposit().channel.receiver, token: deposit().channel.token };
    assert_eq!(Message::read(&sweep_payload(sweep)).unwrap(), Message::Settle(sweep));
}

#[test]
fn a_voucher_is_good_between_what_is_claimed_and_what_is_there() {
    let state = ChannelState { balance: amount(10), total_claimed: amount(4), ..ChannelState::default() };
    let reason = |kind, max, deposit| state.check(kind, amount(max), amount(deposit)).err().map(|found| found.reason);
    use VoucherKind::{Opening, Paying, Refund};
    for (kind, max, deposit, expected) in [
        (Paying, 11, 0, Some(Reason::BatchExceedsBalance)),
        (Refund, 11, 0, Some(Reason::BatchExceedsBalance)),
        (Opening, 13, 2, Some(Reason::BatchExceedsBalance)),
        (Opening, 1, u128::MAX, Some(Reason::BatchDepositPayload)),
        (Paying, 4, 0, Some(Reason::BatchBelowClaimed)),
        (Paying, 0, 0, Some(Reason::BatchBelowClaimed)),
        (Refund, 3, 0, Some(Reason::BatchBelowClaimed)),
        (Opening, 3, 5, Some(Reason::BatchBelowClaimed)),
        (Paying, 5, 0, None),
        (Paying, 10, 0, None),
        (Refund, 4, 0, None),
        (Opening, 12, 2, None),
    ] {
        assert_eq!(reason(kind, max, deposit), expected, "{kind:?} of {max} with {deposit}");
    }
    let empty = ChannelState::default();
    for kind in [Paying, Refund] {
        let refusal = empty.check(kind, amount(1), Amount::ZERO).unwrap_err();
        assert_eq!(refusal.reason, Reason::BatchChannelNotFound);
    }
    assert_eq!(empty.check(Opening, amount(1), amount(1)), Ok(()));
}

#[test]
fn nothing_is_good_for_more_than_there_is() {
    bolero::check!().with_type::<(u128, u128, u128, u128, u8)>().for_each(|(balance, claimed, max, deposit, kind)| {
        let state =
            ChannelState { balance: amount(*balance), total_claimed: amount(*claimed), ..ChannelState::default() };
        let kind = [VoucherKind::Paying, VoucherKind::Opening, VoucherKind::Refund][usize::from(kind % 3)];
        if state.check(kind, amount(*max), amount(*deposit)).is_ok() {
            let there = balance.checked_add(*deposit).unwrap();
            assert!(max <= &there && max >= claimed, "{kind:?} {max} of {there}, {claimed} claimed");
        }
        let back = state.refundable(amount(*max), amount(*deposit)).get();
        assert!(back <= *max && back <= balance.saturating_sub(*claimed.max(deposit)));
    });
}

#[test]
fn a_call_is_the_same_one_only_where_it_does_the_same() {
    let Message::Claim { claims, .. } = read("claim") else { panic!("a claim") };
    let claim = |claims: Vec<Claim>| ChannelCall::Claim { claims, signature: Default::default() };
    let more = claims.iter().cloned().map(|claim| Claim { total_claimed: amount(1701), ..claim }).collect();
    let sweep = || {
        let Message::Settle(sweep) = read("settle") else { panic!("a sweep") };
        ChannelCall::Settle(sweep)
    };
    let Message::CompletedRefund(refund) = read("completed_refund") else { panic!("a refund") };
    let refund = |nonce: u64, claims: Vec<Claim>| {
        ChannelCall::Refund(RefundCall {
            channel: refund.voucher.channel,
            amount: refund.amount,
            nonce: U256::from(nonce),
            signature: Default::default(),
            claims,
            claim_signature: Default::default(),
        })
    };
    let names = [
        claim(claims.clone()).identity(network(), Amount::ZERO),
        claim(more).identity(network(), Amount::ZERO),
        claim(claims.clone()).identity(Network::new(1).unwrap(), Amount::ZERO),
        sweep().identity(network(), Amount::ZERO),
        sweep().identity(network(), amount(1)),
        refund(3, Vec::new()).identity(network(), Amount::ZERO),
        refund(4, Vec::new()).identity(network(), Amount::ZERO),
        refund(3, claims.clone()).identity(network(), Amount::ZERO),
    ];
    for (place, name) in names.iter().enumerate() {
        assert!(name.is_some() && !names[..place].contains(name), "{place}");
    }
    let (first, again) = (record(names[0].unwrap(), 0), record(names[0].unwrap(), 1));
    assert_ne!(first, again);
    assert_eq!(claim(claims).identity(network(), amount(7)), names[0], "of a claim it does not matter what was swept");
}

#[test]
fn answers_show_a_channel_as_the_official_facilitators_do() {
    let state = ChannelState {
        balance: amount(98_500),
        total_claimed: amount(3200),
        withdraw_requested_at: 7,
        refund_nonce: U256::from(2),
    };
    let shown = json!({
        "channelId": format!("{:#x}", word("/channel_id")), "balance": "98500", "totalClaimed": "3200",
        "withdrawRequestedAt": 7, "refundNonce": "2",
    });
    assert_eq!(Value::Object(state.shown(word("/channel_id"))), shown);
}

#[test]
fn whatever_comes_is_read_or_refused() {
    bolero::check!().with_type::<(u8, u16, String, bool)>().for_each(|(kind, at, text, as_text)| {
        let kinds = ["deposit", "voucher", "refund", "claim", "settle", "completed_refund"];
        let mut json = fixture::channels()[kinds[usize::from(*kind) % kinds.len()]]["payload"].clone();
        let mut leaves = Vec::new();
        paths(&json, String::new(), &mut leaves);
        let pointer = &leaves[usize::from(*at) % leaves.len()];
        let put = if *as_text { json!(text) } else { serde_json::from_str(text).unwrap_or(Value::Null) };
        *json.pointer_mut(pointer).unwrap() = put;
        let Value::Object(payload) = json else { return };
        let _ = Message::read(&payload);
    });
}

fn paths(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| paths(value, format!("{at}/{name}"), found)),
        Value::Array(items) => (0..).zip(items).for_each(|(place, value)| paths(value, format!("{at}/{place}"), found)),
        _ => found.push(at),
    }
}
