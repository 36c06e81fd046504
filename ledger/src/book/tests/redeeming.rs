//! Vault tokens: refusals first, then what a token takes and what comes back.

use super::memory::{Memory, Told};
use super::opened;
use super::presenting::{fence, held as presented};
use super::rejections::{Case, at, but, commit, on, plain, state, void};
use super::stream::{
    FINAL, PERSON, ROOT, START, VALID_BEFORE, agent, authorization, by, gate, mandate, refund, seen, service, spend,
    unused, user,
};
use crate::account::{Account, Balance, Net, Side};
use crate::budget::BudgetState;
use crate::command::{Attempt, Command, ReleaseProof, Request};
use crate::event::{EventType, events};
use crate::gate::GateState;
use crate::id::{BudgetId, Digest};
use crate::money::Amount;
use crate::posting::pattern;
use crate::rejection::RejectionCode as Code;
use crate::spend::{Authorization, SpendState, VAULT_NETWORK};

/// A hold of a vault token's.
pub(super) fn token(number: u8, units: u128) -> Request {
    but(number, units, |hold| {
        hold.authorization =
            Authorization { network: VAULT_NETWORK.to_owned(), nonce: [number ^ 0x40; 32], ..authorization(number) };
        hold.expires_at = START.plus_micros(100_000_000);
    })
}

fn attempt(name: u8, units: u128) -> Attempt {
    Attempt { document: Digest::of(&[name]), amount: Amount::new(units) }
}

fn of_cart(number: u8, attempt: Attempt, cart: u8) -> Request {
    on(Command::Redeem { spend: spend(number), attempt, cart: Digest::of(&[b'v', cart]) })
}

fn redeem(number: u8, name: u8, units: u128) -> Request {
    of_cart(number, attempt(name, units), number)
}

fn capture(number: u8, name: u8, units: u128) -> Request {
    let transaction = "acq-1".parse().unwrap();
    on(Command::Capture {
        spend: spend(number),
        attempt: attempt(name, units),
        transaction,
        document: Digest::of(b"r"),
    })
}

fn decline(number: u8, name: u8, units: u128) -> Request {
    on(Command::Decline { spend: spend(number), attempt: attempt(name, units), document: Digest::of(b"n") })
}

fn doubt(number: u8) -> Request {
    on(Command::Doubt { spend: spend(number) })
}

fn announce(number: u8, units: u128) -> Request {
    on(Command::Announce { spend: spend(number), refunds: Amount::new(units), document: Digest::of(b"told") })
}

pub(super) fn cases() -> Vec<Case> {
    let redeemed = || vec![token(1, 100), redeem(1, 1, 60)];
    let settled = || vec![token(1, 100), redeem(1, 1, 60), capture(1, 1, 60)];
    let stop = |number| by(service(), gate(number, GateState::Closed));
    let (one, transaction) = (spend(1), || "0x77".parse().unwrap());
    let proof = ReleaseProof::Unused(unused(VALID_BEFORE));
    vec![
        (vec![], 0, redeem(1, 1, 1), Code::SpendUnknown),
        (vec![plain(1, 100)], 0, redeem(1, 1, 1), Code::RailMismatch),
        (vec![presented(1, 100)], 0, redeem(1, 1, 1), Code::RailMismatch),
        (vec![token(1, 100)], 0, redeem(1, 1, 101), Code::AmountExceedsPaymentLimit),
        (vec![token(1, 100)], 0, redeem(1, 1, 0), Code::AmountZero),
        // At the moment itself it is over.
        (vec![token(1, 100)], 100, redeem(1, 1, 1), Code::HoldExpired),
        (vec![token(1, 100), void(1)], 0, redeem(1, 1, 1), Code::SpendStateWrong),
        (redeemed(), 0, redeem(1, 2, 60), Code::SpendStateWrong),
        (redeemed(), 0, redeem(1, 1, 61), Code::SpendStateWrong),
        (settled(), 0, redeem(1, 1, 60), Code::SpendStateWrong),
        (settled(), 0, redeem(1, 2, 40), Code::SpendStateWrong),
        (vec![token(1, 100), stop(0)], 0, redeem(1, 1, 1), Code::Stopped),
        (vec![token(1, 100), stop(3)], 0, redeem(1, 1, 1), Code::Stopped),
        (vec![token(1, 100), stop(4)], 0, redeem(1, 1, 1), Code::Stopped),
        (vec![token(1, 100), fence(GateState::Closed)], 0, redeem(1, 1, 1), Code::Stopped),
        (vec![token(1, 100), state(mandate(0), BudgetState::Revoked)], 0, redeem(1, 1, 1), Code::MandateRevoked),
        (vec![token(1, 100), state(mandate(0), BudgetState::Suspended)], 0, redeem(1, 1, 1), Code::MandateSuspended),
        // What is bought is paid once, whichever token pays it.
        (
            vec![token(1, 100), token(2, 100), of_cart(1, attempt(1, 60), 9)],
            0,
            of_cart(2, attempt(2, 60), 9),
            Code::PurchaseUnresolved,
        ),
        (
            vec![token(1, 100), token(2, 100), of_cart(1, attempt(1, 60), 9), capture(1, 1, 60)],
            0,
            of_cart(2, attempt(2, 60), 9),
            Code::PurchaseUnresolved,
        ),
        // Once a processor was asked, no expiry and no void touches it.
        (redeemed(), 0, void(1), Code::SpendStateWrong),
        (redeemed(), 200, on(Command::Expire { spend: one }), Code::SpendStateWrong),
        (vec![token(1, 100), redeem(1, 1, 60), doubt(1)], 0, void(1), Code::SpendStateWrong),
        // Answers to another attempt, or over another amount.
        (redeemed(), 0, capture(1, 2, 60), Code::SettlementMismatch),
        (redeemed(), 0, capture(1, 1, 61), Code::SettlementMismatch),
        (redeemed(), 0, capture(1, 1, 59), Code::SettlementMismatch),
        (redeemed(), 0, decline(1, 2, 60), Code::SettlementMismatch),
        (vec![token(1, 100)], 0, capture(1, 1, 60), Code::SpendStateWrong),
        (vec![token(1, 100), redeem(1, 1, 60), decline(1, 1, 60)], 0, capture(1, 1, 60), Code::SpendStateWrong),
        (settled(), 0, decline(1, 1, 60), Code::SpendStateWrong),
        (vec![plain(1, 100), commit(1)], 0, capture(1, 1, 60), Code::RailMismatch),
        (vec![plain(1, 100), commit(1)], 0, decline(1, 1, 60), Code::RailMismatch),
        // What the other rails show says nothing of a token.
        (vec![token(1, 100)], 0, commit(1), Code::RailMismatch),
        (redeemed(), 0, on(Command::Submit { spend: one, transaction: transaction() }), Code::RailMismatch),
        (redeemed(), 0, on(Command::Settle { spend: one, seen: seen(100), finalized: FINAL }), Code::RailMismatch),
        (redeemed(), 0, on(Command::Release { spend: one, proof }), Code::RailMismatch),
        (redeemed(), 0, on(Command::Misspend { spend: one, transaction: transaction() }), Code::RailMismatch),
        (redeemed(), 0, on(Command::Present { spend: one, document: Digest::of(b"d") }), Code::RailMismatch),
        (redeemed(), VALID_BEFORE - START.seconds(), on(Command::Lapse { spend: one }), Code::RailMismatch),
        (settled(), 0, on(Command::Refund { spend: one, refund: refund(1, 61) }), Code::RefundExceedsPayment),
        (redeemed(), 0, on(Command::Refund { spend: one, refund: refund(1, 1) }), Code::SpendStateWrong),
        // A refund is announced of what was captured, on this rail, by the service that heard of it.
        (vec![], 0, announce(1, 5), Code::SpendUnknown),
        (vec![token(1, 100)], 0, announce(1, 5), Code::SpendStateWrong),
        (redeemed(), 0, announce(1, 5), Code::SpendStateWrong),
        (vec![token(1, 100), redeem(1, 1, 60), doubt(1)], 0, announce(1, 5), Code::SpendStateWrong),
        (vec![token(1, 100), void(1)], 0, announce(1, 5), Code::SpendStateWrong),
        (settled(), 0, by(agent(), announce(1, 5).command), Code::OwnerMismatch),
        (settled(), 0, by(user(), announce(1, 5).command), Code::OwnerMismatch),
        (
            vec![plain(1, 100), commit(1), on(Command::Settle { spend: one, seen: seen(100), finalized: FINAL })],
            0,
            announce(1, 5),
            Code::RailMismatch,
        ),
    ]
}

fn done(memory: &mut Memory, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        let told = memory.run(START, &request);
        let Told::New(effects) = &told else { panic!("{told:?} for {request:?}") };
        assert!(effects.transfers.iter().all(|transfer| pattern(transfer).is_some()), "{effects:?}");
    }
}

fn figures(memory: &Memory, id: BudgetId) -> (u128, u128, u64) {
    let node = memory.view.budgets.find(&id).unwrap().unwrap();
    (node.held.get(), node.posted.get(), node.count)
}

fn balance(memory: &Memory, account: &Account) -> (Net, Amount) {
    let mut balance = Balance::default();
    for transfer in memory.records.iter().flat_map(|record| &record.transfers) {
        for (side, own) in [(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)] {
            if own == account {
                balance.post(side, transfer).unwrap();
            }
        }
    }
    (balance.net(account.class()), balance.credit_pending)
}

#[test]
fn what_is_captured_is_posted_and_the_rest_comes_back() {
    let mut memory = opened();
    let nodes = [mandate(0), PERSON, ROOT];
    done(&mut memory, [token(1, 400), redeem(1, 1, 150)]);
    assert_eq!(memory.run(START, &redeem(1, 1, 150)), Told::Known, "the same attempt is one");
    assert!(nodes.iter().all(|id| figures(&memory, *id) == (400, 0, 1)), "the most is held until it is captured");
    done(&mut memory, [doubt(1)]);
    let payable = Account::Payable("shop".parse().unwrap());
    assert_eq!(balance(&memory, &payable), (Net::Positive(Amount::ZERO), Amount::new(400)), "and pending");
    done(&mut memory, [capture(1, 1, 150)]);
    assert_eq!(memory.run(START, &capture(1, 1, 150)), Told::Known);
    assert!(nodes.iter().all(|id| figures(&memory, *id) == (0, 150, 1)), "still one payment");
    let windows: Vec<_> = memory.view.windows.changed().map(|(_, row)| (row.held.get(), row.posted.get())).collect();
    assert!(!windows.is_empty() && windows.iter().all(|row| *row == (0, 150)), "{windows:?}");
    let found = memory.view.spends.find(&spend(1)).unwrap().unwrap();
    assert_eq!((found.state, found.money.amount.get(), found.authority.get()), (SpendState::Settled, 150, 150));
    assert_eq!(found.transaction.as_ref().map(ToString::to_string).as_deref(), Some("acq-1"));
    for account in [payable, Account::Issued, Account::Suspense] {
        assert_eq!(balance(&memory, &account), (Net::Positive(Amount::ZERO), Amount::ZERO), "{account}");
    }
    let card = Account::Wallet(format!("{VAULT_NETWORK}:{}", authorization(1).payer));
    assert_eq!(balance(&memory, &card).0, Net::Negative(Amount::new(150)));
    assert_eq!(balance(&memory, &Account::Spend(mandate(0))).0, Net::Positive(Amount::new(150)));
    done(&mut memory, [on(Command::Refund { spend: spend(1), refund: refund(1, 50) })]);
    assert_eq!(balance(&memory, &card).0, Net::Negative(Amount::new(100)), "what its merchant gave back");
    // What came back can be held again, to the unit.
    done(&mut memory, [token(2, 350)]);
    assert!(matches!(memory.run(at(1), &token(3, 1)), Told::Rejected(_)));
}

#[test]
fn a_token_is_used_up_by_a_capture_and_not_by_a_refusal() {
    let mut memory = opened();
    done(&mut memory, [token(1, 100), redeem(1, 1, 60), decline(1, 1, 60)]);
    assert_eq!(figures(&memory, mandate(0)), (100, 0, 1));
    assert_eq!(memory.run(START, &decline(1, 1, 60)), Told::Known);
    let told: Vec<_> = memory.records.iter().rev().take(3).flat_map(events).map(|event| event.kind).collect();
    assert_eq!(told, [EventType::PaymentDeclined, EventType::PaymentRedeemed, EventType::PaymentHeld]);
    done(&mut memory, [redeem(1, 2, 100), doubt(1), decline(1, 2, 100), redeem(1, 3, 1), capture(1, 3, 1)]);
    assert_eq!(figures(&memory, mandate(0)), (0, 1, 1));
    // One that was declined does not stand in the way of another token for the same thing.
    done(&mut memory, [token(2, 10), token(3, 10), of_cart(2, attempt(4, 10), 9), decline(2, 4, 10)]);
    done(&mut memory, [of_cart(3, attempt(5, 10), 9), capture(3, 5, 10), void(2)]);
    assert_eq!(figures(&memory, mandate(0)), (0, 11, 2));
    done(&mut memory, [token(4, 10)]);
    let over = on(Command::Expire { spend: spend(4) });
    assert!(matches!(memory.run(at(100), &over), Told::New(_)), "what nobody redeemed lapses");
    assert_eq!(figures(&memory, mandate(0)), (0, 11, 2));
}

/// What a merchant says stands beside the books: no account has more or less for it, no node and no window. What comes after
/// it ends the promise, as far as it comes.
#[test]
fn a_refund_that_is_announced_is_a_promise_and_moves_nothing() {
    let mut memory = opened();
    done(&mut memory, [token(1, 100), redeem(1, 1, 60), capture(1, 1, 60)]);
    let card = Account::Wallet(format!("{VAULT_NETWORK}:{}", authorization(1).payer));
    let nodes = [mandate(0), PERSON, ROOT];
    let state = |memory: &Memory| {
        let windows: Vec<_> = memory.view.windows.changed().map(|(_, row)| (row.held, row.posted)).collect();
        let found = memory.view.spends.find(&spend(1)).unwrap().unwrap();
        (nodes.map(|id| figures(memory, id)), windows, balance(memory, &card).0, found.refunded)
    };
    let outstanding = |memory: &Memory| {
        let found = memory.view.spends.find(&spend(1)).unwrap().unwrap();
        assert_eq!(found.is_unfinished(), found.announced.is_some());
        let amount = found.announced.map_or(0, |announced| announced.amount.get());
        assert_eq!(balance(memory, &Account::Refunds).1.get(), amount, "pending against refunds");
        amount
    };
    let before = state(&memory);
    for (said, stands) in [(20, 20), (25, 25), (u128::MAX, 60), (10, 10)] {
        done(&mut memory, [announce(1, said)]);
        assert_eq!((outstanding(&memory), state(&memory)), (stands, before.clone()), "{said} announced");
        assert_eq!(memory.run(START, &announce(1, said)), Told::Known, "said again");
    }
    let told: Vec<_> = memory.records.last().map(events).unwrap().iter().map(|event| event.kind).collect();
    assert_eq!(told, [EventType::PaymentRefundAnnounced]);
    let back = |number, units| on(Command::Refund { spend: spend(1), refund: refund(number, units) });
    let since = memory.view.spends.find(&spend(1)).unwrap().unwrap().announced.unwrap().since;
    done(&mut memory, [back(1, 4)]);
    let left = memory.view.spends.find(&spend(1)).unwrap().unwrap().announced.unwrap();
    assert_eq!((outstanding(&memory), left.since), (6, since), "a part came; the rest waits since then");
    assert_eq!(balance(&memory, &card).0, Net::Negative(Amount::new(56)));
    done(&mut memory, [back(2, 16)]);
    assert_eq!((outstanding(&memory), balance(&memory, &card).0), (0, Net::Negative(Amount::new(40))), "more came");
    assert_eq!(memory.run(START, &announce(1, 20)), Told::Known, "it is all here");
    done(&mut memory, [announce(1, 50)]);
    assert_eq!(outstanding(&memory), 30);
    done(&mut memory, [announce(1, 0)]);
    assert_eq!(outstanding(&memory), 0, "it says that it gives nothing");
}
