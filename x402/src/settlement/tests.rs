use super::*;
use crate::fixture::{self, NOW, Node, now_or_never};

const OTHER: Address = Address::repeat_byte(0xaa);

fn expected() -> Expected {
    let requirements = fixture::requirements();
    let payment =
        crate::exact::verify(&fixture::payload(), &requirements, &fixture::assets(&requirements), NOW).unwrap();
    Expected { valid_before: NOW, ..payment.expected() }
}

fn block() -> Block {
    Block { number: 5, hash: B256::repeat_byte(5), timestamp: NOW - 10 }
}

fn transfer() -> TransferLog {
    let Expected { key, to, value, .. } = expected();
    TransferLog { asset: key.token, from: key.payer, to, value }
}

fn receipt(success: bool, transfers: Vec<TransferLog>) -> Receipt {
    Receipt {
        sender: Address::ZERO,
        transaction: B256::repeat_byte(1),
        block: block(),
        success,
        gas_used: 74_001,
        effective_gas_price: 1,
        used: vec![own(transfers.clone())],
        transfers,
        channels: vec![],
        escrow: vec![],
    }
}

fn own(transfers: Vec<TransferLog>) -> UsedNonce {
    let ClaimKey { token, payer, nonce, .. } = expected().key;
    UsedNonce { asset: token, payer, nonce, transfers }
}

/// The transfer is there, and it is another authorization's.
#[test]
fn in_a_transaction_of_several_only_its_own_log_counts() {
    let good = || vec![transfer()];
    let told = |used: Vec<UsedNonce>| {
        let transfers = used.iter().flat_map(|used| used.transfers.clone()).collect();
        judge(&expected(), &Evidence::Mined(Receipt { used, ..receipt(true, transfers) }))
    };
    let wrong: Vec<(&str, Vec<UsedNonce>)> = vec![
        ("another nonce", vec![UsedNonce { nonce: B256::repeat_byte(0x77), ..own(good()) }]),
        ("another payer", vec![UsedNonce { payer: OTHER, ..own(good()) }]),
        ("another token", vec![UsedNonce { asset: OTHER, ..own(good()) }]),
        ("a neighbour's transfer", vec![own(vec![]), UsedNonce { payer: OTHER, ..own(good()) }]),
        ("twice for it", vec![own(vec![transfer(), transfer()])]),
    ];
    for (name, used) in wrong {
        assert_eq!(told(used), Outcome::Unknown, "{name}");
    }
    let twin = UsedNonce { nonce: B256::repeat_byte(0x77), ..own(good()) };
    let settled = told(vec![twin, own(good())]);
    assert!(
        matches!(settled, Outcome::Settled { .. }),
        "the same payer paid the same payee the same twice: {settled:?}"
    );
    let none = Receipt { used: vec![], ..receipt(true, good()) };
    assert_eq!(judge(&expected(), &Evidence::Mined(none)), Outcome::Unknown, "no log of it");
}

fn used(transfers: Vec<TransferLog>) -> AuthorizationUse {
    AuthorizationUse { transaction: B256::repeat_byte(2), block: block(), canceled: false, transfers }
}

/// Logs that are not the payment.
fn wrong_logs() -> Vec<(&'static str, Vec<TransferLog>)> {
    let good = transfer();
    vec![
        ("no log", vec![]),
        ("another token", vec![TransferLog { asset: OTHER, ..good }]),
        ("from somebody else", vec![TransferLog { from: OTHER, ..good }]),
        ("to somebody else", vec![TransferLog { to: OTHER, ..good }]),
        ("a fee was kept", vec![TransferLog { value: good.value - U256::ONE, ..good }]),
        ("more", vec![TransferLog { value: good.value + U256::ONE, ..good }]),
        ("twice", vec![good, good]),
        ("the other way", vec![TransferLog { from: good.to, to: good.from, ..good }]),
    ]
}

#[test]
fn a_receipt_without_exactly_the_transfer_settles_nothing_and_disproves_nothing() {
    for (name, logs) in wrong_logs() {
        assert_eq!(judge(&expected(), &Evidence::Mined(receipt(true, logs))), Outcome::Unknown, "{name}");
    }
    assert_eq!(judge(&expected(), &Evidence::Mined(receipt(false, vec![transfer()]))), Outcome::Unknown, "reverted");
}

#[test]
fn a_used_nonce_without_exactly_the_transfer_is_an_incident() {
    for (name, logs) in wrong_logs() {
        let outcome = judge(&expected(), &Evidence::Used(used(logs.clone())));
        assert!(matches!(outcome, Outcome::SpentOtherwise { ref transfers, .. } if *transfers == logs), "{name}");
    }
    let canceled = AuthorizationUse { canceled: true, ..used(vec![transfer()]) };
    assert!(matches!(judge(&expected(), &Evidence::Used(canceled)), Outcome::Canceled { .. }));
}

/// Scheme `upto`: a part is what was expected, and nothing else is.
#[test]
fn a_charge_is_a_part_of_what_was_permitted_and_never_more() {
    let upto = Expected { charge: Charge::AtMost, ..expected() };
    let good = transfer();
    let part = TransferLog { value: U256::from(37), ..good };
    let nothing = TransferLog { value: U256::ZERO, ..good };
    for (name, logs) in wrong_logs().into_iter().filter(|(name, _)| *name != "a fee was kept") {
        assert_eq!(judge(&upto, &Evidence::Mined(receipt(true, logs.clone()))), Outcome::Unknown, "{name}");
        assert!(matches!(judge(&upto, &Evidence::Used(used(logs))), Outcome::SpentOtherwise { .. }), "{name}");
    }
    for logs in [vec![nothing], vec![part, good], vec![part, part], vec![TransferLog { to: OTHER, ..part }]] {
        assert!(matches!(judge(&upto, &Evidence::Used(used(logs))), Outcome::SpentOtherwise { .. }));
    }
    for one in [part, good, TransferLog { value: U256::ONE, ..good }] {
        let outcome = judge(&upto, &Evidence::Used(used(vec![nothing, one])));
        assert!(matches!(outcome, Outcome::Settled { value, .. } if value == one.value), "{outcome:?}");
    }
    assert!(matches!(judge(&expected(), &Evidence::Used(used(vec![part]))), Outcome::SpentOtherwise { .. }));
}

/// Cancelled it is done, whoever sent it; used by a payment, even one to our payee, it never will be.
#[test]
fn a_cancellation_is_what_the_nonces_own_log_says() {
    let cancel = Expected { key: ClaimKey { space: NonceSpace::Cancel, ..expected().key }, ..expected() };
    let mined = judge(&cancel, &Evidence::Mined(receipt(true, vec![transfer()])));
    assert_eq!(mined, Outcome::Unknown, "a receipt of ours alone says nothing");
    let paid = judge(&cancel, &Evidence::Used(used(vec![transfer()])));
    assert!(matches!(paid, Outcome::SpentOtherwise { .. }), "{paid:?}");
    assert_eq!(judge(&cancel, &Evidence::UsedSomewhere), Outcome::Unknown);
    let canceled = AuthorizationUse { canceled: true, ..used(Vec::new()) };
    let done = judge(&cancel, &Evidence::Used(canceled.clone()));
    assert!(matches!(done, Outcome::Settled { value, .. } if value == cancel.value), "{done:?}");
    assert!(matches!(judge(&expected(), &Evidence::Used(canceled)), Outcome::Canceled { .. }), "of the payment itself");
}

#[test]
fn nothing_but_finality_past_the_deadline_releases() {
    let at = |timestamp, finality| {
        judge(&expected(), &Evidence::UnusedAt { block: Block { timestamp, ..block() }, finality })
    };
    assert_eq!(at(NOW - 1, Finality::Finalized), Outcome::Pending);
    assert_eq!(at(NOW, Finality::Young), Outcome::Pending);
    assert_eq!(at(u64::MAX, Finality::Young), Outcome::Pending);
    assert_eq!(judge(&expected(), &Evidence::UsedSomewhere), Outcome::Unknown);
    assert!(matches!(at(NOW, Finality::Finalized), Outcome::ProvedUnused { .. }));
}

#[test]
fn the_one_transfer_settles_whoever_sent_it() {
    let noise = TransferLog { asset: OTHER, from: OTHER, to: OTHER, value: U256::ONE };
    let outcome = judge(&expected(), &Evidence::Mined(receipt(true, vec![noise, transfer()])));
    assert_eq!(
        outcome,
        Outcome::Settled { transaction: B256::repeat_byte(1), block: block(), value: transfer().value }
    );
    let outcome = judge(&expected(), &Evidence::Used(used(vec![transfer()])));
    assert_eq!(
        outcome,
        Outcome::Settled { transaction: B256::repeat_byte(2), block: block(), value: transfer().value }
    );
}

#[test]
fn observing_goes_from_our_receipt_to_the_nonce_to_finality() {
    let observe = |node: &Node| now_or_never(observe(node, &expected(), Some(B256::repeat_byte(1)), 0));
    let down = Node { down: true, mined: Some(receipt(true, vec![transfer()])), ..Node::good() };
    assert!(matches!(observe(&down), Err(ChainError::Unavailable(_))), "not knowing is not an outcome");

    let front_run = Node { mined: Some(receipt(false, vec![])), found: Some(used(vec![transfer()])), ..Node::good() };
    let outcome = observe(&front_run).unwrap();
    assert!(matches!(outcome, Outcome::Settled { transaction, .. } if transaction == B256::repeat_byte(2)));

    let lost_logs = Node { consumed_latest: true, ..Node::good() };
    assert_eq!(observe(&lost_logs), Ok(Outcome::Unknown));
    let reorged = Node { consumed_finalized: true, ..Node::good() };
    assert_eq!(observe(&reorged), Ok(Outcome::Unknown));

    let early = Node { finalized: Block { timestamp: NOW - 1, ..block() }, ..Node::good() };
    assert_eq!(observe(&early), Ok(Outcome::Pending));
    assert!(matches!(observe(&Node::good()), Ok(Outcome::ProvedUnused { finalized }) if finalized.number == 7));
    let mined = Node { mined: Some(receipt(true, vec![transfer()])), ..Node::good() };
    assert!(matches!(observe(&mined), Ok(Outcome::Settled { .. })));
}

#[test]
fn a_claim_key_tells_payments_apart_and_nothing_else() {
    let key = expected().key;
    let others = [
        ClaimKey { network: Network::new(1).unwrap(), ..key },
        ClaimKey { token: OTHER, ..key },
        ClaimKey { payer: OTHER, ..key },
        ClaimKey { nonce: B256::ZERO, ..key },
    ];
    for other in others {
        assert_ne!(other.to_bytes(), key.to_bytes());
        assert_ne!(other.to_string(), key.to_string());
    }
    assert_eq!(
        key.to_string(),
        "eip155:31337/erc20:0x5fbdb2315678afecb367f032d93f642f64180aa3/0x70997970c51812dc3a010c7d01b50e0d17dc79c8/\
         0x85a4c86dcf6a78511de8a91558fcd601d55c806d4f938d90ec42b438a8ccce6f"
    );
}

/// A call of the escrow is done where its own log says so, and the token's where something moves.
#[test]
fn a_call_of_the_escrow_is_done_by_its_own_log_alone() {
    use crate::batch_settlement::{CallKind, ChannelLog, ESCROW};
    let of = |kind| {
        let key = ClaimKey { space: NonceSpace::Escrow(kind), payer: ESCROW, ..expected().key };
        Expected { key, ..expected() }
    };
    let (token, to, amount) = (expected().key.token, expected().to, U256::from(7));
    let moved = TransferLog { asset: token, from: ESCROW, to, value: amount };
    let (channel, other) = (B256::repeat_byte(3), Address::repeat_byte(9));
    let swept = ChannelLog::Settled { receiver: to, token, amount };
    let refunded = ChannelLog::Refunded { channel, amount };
    let claimed = ChannelLog::Claimed { channel, total: amount };
    let asked = ChannelLog::Withdrawing { channel, amount, from: 9 };
    let fetched = ChannelLog::Withdrawn { channel, amount };
    let nothing_fetched = ChannelLog::Withdrawn { channel, amount: U256::ZERO };
    let done = |kind, success, transfers: Vec<TransferLog>, channels: Vec<ChannelLog>| {
        let evidence = Evidence::Mined(Receipt { channels, ..receipt(success, transfers) });
        matches!(judge(&of(kind), &evidence), Outcome::Settled { .. })
    };
    for (kind, success, transfers, channels) in [
        (CallKind::Settle, false, vec![moved], vec![swept]),
        (CallKind::Settle, true, vec![], vec![swept]),
        (CallKind::Settle, true, vec![moved], vec![]),
        (CallKind::Settle, true, vec![moved], vec![claimed, refunded]),
        (CallKind::Settle, true, vec![TransferLog { value: U256::from(6), ..moved }], vec![swept]),
        (CallKind::Settle, true, vec![TransferLog { from: other, ..moved }], vec![swept]),
        (CallKind::Settle, true, vec![TransferLog { asset: other, ..moved }], vec![swept]),
        (CallKind::Settle, true, vec![moved], vec![ChannelLog::Settled { receiver: other, token, amount }]),
        (CallKind::Settle, true, vec![moved], vec![ChannelLog::Settled { receiver: to, token: other, amount }]),
        (CallKind::Refund, false, vec![moved], vec![refunded]),
        (CallKind::Refund, true, vec![], vec![refunded]),
        (CallKind::Refund, true, vec![moved], vec![swept, claimed]),
        (CallKind::Refund, true, vec![TransferLog { to: other, ..moved }], vec![refunded]),
        (CallKind::Claim, false, vec![], vec![claimed]),
        (CallKind::Claim, true, vec![moved], vec![]),
        (CallKind::Claim, true, vec![moved], vec![swept, refunded]),
        (CallKind::Withdraw, false, vec![], vec![asked]),
        (CallKind::Withdraw, true, vec![moved], vec![]),
        (CallKind::Withdraw, true, vec![moved], vec![fetched, refunded]),
        (CallKind::Finalize, false, vec![moved], vec![fetched]),
        (CallKind::Finalize, true, vec![], vec![fetched]),
        (CallKind::Finalize, true, vec![moved], vec![asked, refunded]),
        (CallKind::Finalize, true, vec![TransferLog { to: other, ..moved }], vec![fetched]),
    ] {
        assert!(
            !done(kind, success, transfers.clone(), channels.clone()),
            "{kind:?} {success} {transfers:?} {channels:?}"
        );
    }
    assert!(done(CallKind::Settle, true, vec![moved], vec![swept]));
    assert!(done(CallKind::Refund, true, vec![moved], vec![claimed, refunded]));
    assert!(done(CallKind::Claim, true, vec![], vec![claimed]));
    assert!(done(CallKind::Withdraw, true, vec![], vec![asked]));
    assert!(done(CallKind::Finalize, true, vec![moved], vec![fetched]));
    assert!(done(CallKind::Finalize, true, vec![], vec![nothing_fetched]), "all was claimed before");
}

/// The escrow says how much, and the token that it went where it was to go, without the fee.
#[test]
fn a_capture_is_done_where_escrow_and_token_say_so() {
    use crate::auth_capture::{ESCROW, EscrowLog};
    use crate::batch_settlement::CallKind;
    let Expected { key, to, value, .. } = expected();
    let (payment, other) = (B256::repeat_byte(5), Address::repeat_byte(0x77));
    let captured = |amount: U256, fee_bps| EscrowLog::Captured { payment, amount, fee_bps };
    let voided = |amount: U256| EscrowLog::Voided { payment, amount };
    let reclaimed = |amount: U256| EscrowLog::Reclaimed { payment, amount };
    let moved = |value: U256| TransferLog { asset: key.token, from: other, to, value };
    let less = value - U256::from(1);
    let done = |kind, success, transfers: Vec<TransferLog>, escrow: Vec<EscrowLog>| {
        let key = ClaimKey { space: NonceSpace::Escrow(kind), payer: ESCROW, ..key };
        let evidence = Evidence::Mined(Receipt { escrow, ..receipt(success, transfers) });
        matches!(judge(&Expected { key, ..expected() }, &evidence), Outcome::Settled { .. })
    };
    for (kind, success, transfers, logs) in [
        (CallKind::Capture, false, vec![moved(value)], vec![captured(value, 0)]),
        (CallKind::Capture, true, vec![], vec![captured(value, 0)]),
        (CallKind::Capture, true, vec![moved(value)], vec![]),
        (CallKind::Capture, true, vec![moved(value)], vec![voided(value)]),
        (CallKind::Capture, true, vec![moved(value)], vec![captured(value, 100)]),
        (CallKind::Capture, true, vec![moved(less)], vec![captured(less, 0)]),
        (CallKind::Capture, true, vec![TransferLog { to: other, ..moved(value) }], vec![captured(value, 0)]),
        (CallKind::Capture, true, vec![TransferLog { asset: other, ..moved(value) }], vec![captured(value, 0)]),
        (CallKind::Void, false, vec![moved(value)], vec![voided(value)]),
        (CallKind::Void, true, vec![], vec![voided(value)]),
        (CallKind::Void, true, vec![moved(value)], vec![captured(value, 0)]),
        (CallKind::Void, true, vec![], vec![voided(U256::ZERO)]),
        (CallKind::Reclaim, false, vec![moved(value)], vec![reclaimed(value)]),
        (CallKind::Reclaim, true, vec![], vec![reclaimed(value)]),
        (CallKind::Reclaim, true, vec![moved(value)], vec![voided(value)]),
        (CallKind::Reclaim, true, vec![], vec![reclaimed(U256::ZERO)]),
    ] {
        assert!(!done(kind, success, transfers.clone(), logs.clone()), "{kind:?} {success} {transfers:?} {logs:?}");
    }
    let fee = value / U256::from(100);
    assert!(done(CallKind::Capture, true, vec![moved(value)], vec![captured(value, 0)]));
    assert!(done(CallKind::Capture, true, vec![moved(value - fee)], vec![captured(value, 100)]));
    assert!(done(CallKind::Void, true, vec![moved(less)], vec![voided(less)]), "how much is left the escrow says");
    assert!(done(CallKind::Reclaim, true, vec![moved(less)], vec![reclaimed(less)]));
}

/// No time ends it, and nobody else's transaction is one.
#[test]
fn a_name_of_a_call_is_nobody_elses() {
    use crate::batch_settlement::CallKind;
    let spaces = [NonceSpace::Eip3009, NonceSpace::Permit2, NonceSpace::Cancel, NonceSpace::Gas, NonceSpace::Voucher]
        .into_iter()
        .chain(CallKind::ALL.map(NonceSpace::Escrow));
    let keys: Vec<ClaimKey> = spaces.map(|space| ClaimKey { space, ..expected().key }).collect();
    for (place, key) in keys.iter().enumerate() {
        for other in &keys[..place] {
            assert!(key.to_bytes() != other.to_bytes() && key.to_string() != other.to_string());
        }
    }
}

/// Gas for a payer leaves no log: it is there where the transaction that sends it succeeded, and by nothing else.
#[test]
fn gas_arrives_with_its_own_transaction_or_not_at_all() {
    let key = ClaimKey { space: NonceSpace::Gas, ..expected().key };
    let expected = Expected { key, ..expected() };
    let told = |evidence: &Evidence| judge(&expected, evidence);
    assert_eq!(told(&Evidence::Mined(receipt(false, vec![transfer()]))), Outcome::Unknown, "reverted");
    let young = Evidence::UnusedAt { block: block(), finality: Finality::Young };
    assert_eq!(told(&young), Outcome::Pending);
    let arrived = told(&Evidence::Mined(receipt(true, vec![])));
    assert!(matches!(arrived, Outcome::Settled { value, .. } if value == expected.value), "{arrived:?}");
    let node = Node { down: true, ..Node::good() };
    assert_eq!(now_or_never(is_consumed(&node, key, At::Latest)), Ok(false), "no chain counts it");
}
