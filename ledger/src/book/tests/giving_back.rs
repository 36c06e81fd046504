//! What a seller gives back: never more than was paid for that sale, a transfer once, by final blocks alone.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, on};
use super::stream::{FINAL, VALID_BEFORE, claim, promise, refund, seen, settlement, taken_back, unused};
use crate::account::{Account, Net};
use crate::command::{ClaimSettlement, Command, FailureProof, Refund, Request};
use crate::effects::Operation;
use crate::event::{EventType, events};
use crate::id::Digest;
use crate::money::Amount;
use crate::rejection::RejectionCode as Code;
use crate::settlement::{Role, Settlement, SettlementKey, SettlementState as State};
use crate::spend::{Observation, VOUCHER};

fn key(number: u8) -> SettlementKey {
    settlement(number, Role::Seller)
}

fn claims(number: u8, role: Role) -> Request {
    on(Command::Claim(Box::new(claim(number, role, 40))))
}

fn receive(number: u8, role: Role, finalized: u64) -> Request {
    on(Command::Receive { settlement: settlement(number, role), seen: seen(40), finalized, gas: None })
}

/// For 40, in a final block.
fn sold(number: u8) -> Vec<Request> {
    vec![claims(number, Role::Seller), receive(number, Role::Seller, FINAL)]
}

fn back(number: u8, refund: Refund) -> Request {
    on(Command::GiveBack { settlement: key(number), refund, finalized: FINAL })
}

fn with(before: Vec<Request>, more: impl IntoIterator<Item = Request>) -> Vec<Request> {
    before.into_iter().chain(more).collect()
}

fn undelivered(number: u8) -> Vec<Request> {
    let document = Digest::of(b"nothing was given");
    with(sold(number), [on(Command::Undeliver { settlement: key(number), document })])
}

fn on_credit() -> Vec<Request> {
    let serve = Command::Serve { settlement: key(1), document: Digest::of(b"given"), charged: None };
    vec![on(Command::Claim(Box::new(promise(1, 40, 100, 1_000)))), on(serve)]
}

fn to_another(units: u128) -> Refund {
    let found = refund(1, units);
    let pay_to = "0x00000000000000000000000000000000000000cc".to_owned();
    Refund { seen: Observation { pay_to, ..found.seen.clone() }, ..found }
}

pub(super) fn cases() -> Vec<Case> {
    let part = |number, units| back(number, refund(number, units));
    let young = || vec![claims(1, Role::Seller), receive(1, Role::Seller, FINAL - 1)];
    let conclude = on(Command::Conclude { settlement: key(1), seen: seen(40), finalized: FINAL, gas: None });
    let take_back = || on(Command::Unreceive { settlement: key(1), proof: taken_back(0) });
    let fail = on(Command::Fail { settlement: key(1), proof: FailureProof::Unused(unused(VALID_BEFORE)), gas: None });
    let of_young = on(Command::GiveBack { settlement: key(1), refund: refund(1, 5), finalized: FINAL - 1 });
    let carrier = settlement(1, Role::Facilitator);
    let carried = on(Command::GiveBack { settlement: carrier, refund: refund(1, 5), finalized: FINAL });
    let mut voucher = claim(1, Role::Seller, 40);
    voucher.key.authorization.network = format!("eip155:31337/{VOUCHER}");
    let drawn = voucher.key.clone();
    let drawn_back = on(Command::GiveBack { settlement: drawn.clone(), refund: refund(1, 5), finalized: FINAL });
    let drawn_paid = on(Command::Receive { settlement: drawn, seen: seen(40), finalized: FINAL, gas: None });
    let nothing = ClaimSettlement { cover: None, ..claim(1, Role::Seller, 40) };
    let charged = |units| Command::Charge {
        settlement: key(1),
        document: Digest::of(b"charged"),
        charged: Amount::new(units),
        instead_of: None,
    };
    vec![
        // Nothing was paid, or not for good.
        (vec![], 0, part(1, 5), Code::SettlementUnknown),
        (vec![claims(1, Role::Seller)], 0, part(1, 5), Code::SettlementStateWrong),
        (on_credit(), 0, part(1, 5), Code::SettlementStateWrong),
        (with(on_credit(), [fail]), 0, part(1, 5), Code::SettlementStateWrong),
        (with(on_credit(), [receive(1, Role::Seller, FINAL - 1)]), 0, part(1, 5), Code::NotFinal),
        (young(), 0, part(1, 5), Code::NotFinal),
        (with(young(), [take_back()]), 0, part(1, 5), Code::SettlementStateWrong),
        (vec![on(Command::Claim(Box::new(nothing))), on(charged(0))], 0, part(1, 5), Code::RefundExceedsSale),
        // What can be taken back has not come back.
        (sold(1), 0, of_young, Code::NotFinal),
        // Of others' money.
        (vec![claims(1, Role::Facilitator), receive(1, Role::Facilitator, FINAL)], 0, carried, Code::OwnerMismatch),
        (vec![on(Command::Claim(Box::new(voucher))), drawn_paid], 0, drawn_back, Code::SettlementStateWrong),
        (sold(1), 0, back(1, to_another(5)), Code::SettlementMismatch),
        // Too little and too much: at once, in parts, and beyond what was charged.
        (sold(1), 0, part(1, 0), Code::AmountZero),
        (sold(1), 0, part(1, 41), Code::RefundExceedsSale),
        (sold(1), 0, part(1, u128::MAX), Code::RefundExceedsSale),
        (with(sold(1), [part(1, 30)]), 0, back(1, refund(2, 11)), Code::RefundExceedsSale),
        (with(sold(1), [part(1, 40)]), 0, back(1, refund(2, 1)), Code::RefundExceedsSale),
        (
            vec![
                claims(1, Role::Seller),
                on(charged(7)),
                on(Command::Receive { settlement: key(1), seen: seen(7), finalized: FINAL, gas: None }),
            ],
            0,
            part(1, 8),
            Code::RefundExceedsSale,
        ),
        // One transfer of two sales to one payer.
        (with([sold(1), sold(2)].concat(), [part(1, 5)]), 0, back(2, refund(1, 5)), Code::RefundClaimed),
        (with([sold(1), sold(2)].concat(), [part(1, 40)]), 0, back(2, refund(1, 40)), Code::RefundClaimed),
        // What gave something back is never taken back itself.
        (with(young(), [conclude, part(1, 5)]), 0, take_back(), Code::SettlementFinal),
    ]
}

fn done(memory: &mut Memory, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        let told = memory.run(at(1), &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
}

fn row(memory: &Memory, number: u8) -> Settlement {
    memory.view.settlements.find(&key(number)).unwrap().unwrap().clone()
}

/// Debits less credits, as text.
fn balance(memory: &Memory, account: &Account) -> String {
    let mut balance = crate::account::Balance::default();
    for transfer in memory.records.iter().flat_map(|record| &record.transfers) {
        use crate::account::Side::{Credit, Debit};
        for (side, own) in [(Debit, &transfer.debit), (Credit, &transfer.credit)] {
            if own == account {
                balance.post(side, transfer).unwrap();
            }
        }
    }
    match balance.net(account.class()) {
        Net::Positive(amount) => amount.to_string(),
        Net::Negative(amount) => format!("-{amount}"),
    }
}

#[test]
fn what_went_back_stands_against_what_was_sold() {
    let mut memory = opened();
    done(&mut memory, [sold(1), sold(2)].concat());
    done(&mut memory, [back(1, refund(1, 15))]);
    assert_eq!(row(&memory, 1).refunded, Some(Amount::new(15)));
    assert_eq!(memory.run(at(1), &back(1, refund(1, 15))), Told::Known, "the same transfer is told again");
    done(&mut memory, [back(1, refund(2, 25)), back(2, refund(3, 1))]);
    assert!(row(&memory, 1).is_given_back() && !row(&memory, 2).is_given_back());
    assert_eq!(memory.run(at(1), &back(1, refund(2, 25))), Told::Known);
    let wallet = Account::Wallet(format!("eip155:31337:{}", super::stream::PAY_TO));
    let figures =
        [Account::Sales, Account::Returns, wallet, Account::Receivable].map(|account| balance(&memory, &account));
    assert_eq!(figures, ["80", "-41", "39", "0"]);
    let told: Vec<EventType> = memory.records.iter().rev().take(3).flat_map(events).map(|event| event.kind).collect();
    assert_eq!(told, [EventType::SettlementRefunded; 3]);
}

/// A part leaves it owed; all of it does not, and it buys nothing any more.
#[test]
fn what_was_not_delivered_is_made_good_by_giving_all_of_it_back() {
    let mut memory = opened();
    done(&mut memory, undelivered(1));
    done(&mut memory, [back(1, refund(1, 39))]);
    assert!(row(&memory, 1).state == State::Undelivered && row(&memory, 1).is_owed());
    done(&mut memory, [back(1, refund(2, 1))]);
    let after = row(&memory, 1);
    assert_eq!((after.state, after.is_unfinished()), (State::Settled, false));
}

/// Whoever got all of it back is not let in for it; whoever got a part is.
#[test]
fn what_was_given_back_lets_nobody_in() {
    let mut memory = opened();
    let revisit = |nonce: &str| on(Command::Revisit { settlement: key(1), nonce: nonce.to_owned() });
    let dispatch = Command::Dispatch {
        settlement: key(1),
        document: Digest::of(b"answer"),
        transaction: None,
        account_nonce: None,
    };
    let paid = [claims(1, Role::Seller), on(dispatch), receive(1, Role::Seller, FINAL)];
    done(&mut memory, paid.into_iter().chain([back(1, refund(1, 39)), revisit("first"), back(1, refund(2, 1))]));
    let told = memory.run(at(1), &revisit("second"));
    assert!(matches!(&told, Told::Rejected(found) if found.code() == Code::SettlementStateWrong), "{told:?}");
    assert_eq!(memory.records.last().unwrap().operation, Operation::GiveBack);
}
