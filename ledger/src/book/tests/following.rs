//! Settlements that the chain takes back: refusals first, then what moves.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, commit, on, plain};
use super::stream::{
    FINAL, PERSON, ROOT, VALID_BEFORE, agent, authorization, by, change_caps, claim, daily, mandate, money, refund,
    seen, settlement, spend, taken_back, total, unused,
};
use crate::account::{Account, Balance, Net, Side};
use crate::budget::Caps;
use crate::codec::encode;
use crate::command::{Command, FailureProof, Gas, ReleaseProof, Request};
use crate::id::{BudgetId, Digest};
use crate::money::Amount;
use crate::rejection::RejectionCode as Code;
use crate::settlement::{Role, SettlementKey, SettlementState};
use crate::spend::{Observation, SpendState};

fn settle(number: u8, units: u128) -> Request {
    on(Command::Settle { spend: spend(number), seen: seen(units), finalized: FINAL - 1 })
}

/// Settled in a block that may be taken back.
fn young(number: u8, units: u128) -> Vec<Request> {
    vec![plain(number, units), commit(number), settle(number, units)]
}

fn unsettle(number: u8, odd: u8) -> Request {
    on(Command::Unsettle { spend: spend(number), proof: taken_back(odd) })
}

fn finalise(number: u8, units: u128, finalized: u64) -> Request {
    on(Command::Finalise { spend: spend(number), seen: seen(units), finalized })
}

fn key(role: Role) -> SettlementKey {
    settlement(1, role)
}

fn receive(role: Role) -> Request {
    on(Command::Receive { settlement: key(role), seen: seen(5), finalized: FINAL - 1, gas: gas(role) })
}

fn redeem() -> Request {
    on(Command::HandOver { settlement: key(Role::Seller), seen: seen(5), finalized: FINAL - 1 })
}

fn conclude(role: Role, units: u128, finalized: u64) -> Request {
    on(Command::Conclude { settlement: key(role), seen: seen(units), finalized, gas: gas(role) })
}

fn unreceive(role: Role, odd: u8) -> Request {
    on(Command::Unreceive { settlement: key(role), proof: taken_back(odd) })
}

fn gas(role: Role) -> Option<Gas> {
    (role == Role::Facilitator).then(|| Gas { wallet: "eip155:31337:0xcc".to_owned(), money: money(3) })
}

fn claims(role: Role) -> Request {
    on(Command::Claim(Box::new(claim(1, role, 5))))
}

fn dispatch(role: Role) -> Request {
    let (document, transaction) = (Digest::of(b"signed"), Some("0x77".parse().unwrap()));
    on(Command::Dispatch { settlement: key(role), document, transaction, account_nonce: Some(1) })
}

fn fail(role: Role, at: i64) -> Request {
    on(Command::Fail { settlement: key(role), proof: FailureProof::Unused(unused(at)), gas: None })
}

fn with(mut before: Vec<Request>, more: impl IntoIterator<Item = Request>) -> Vec<Request> {
    before.extend(more);
    before
}

pub(super) fn cases() -> Vec<Case> {
    let back = |units| by(agent(), Command::Refund { spend: spend(1), refund: refund(1, units) });
    let settled = |finalized| on(Command::Settle { spend: spend(1), seen: seen(40), finalized });
    let signed = || vec![plain(1, 40), commit(1)];
    let release = on(Command::Release { spend: spend(1), proof: ReleaseProof::Unused(unused(VALID_BEFORE)) });
    let elsewhere = Observation { transaction: "0x78".parse().unwrap(), ..seen(40) };
    let other = on(Command::Finalise { spend: spend(1), seen: elsewhere, finalized: FINAL });
    let (seller, carrier) = (Role::Seller, Role::Facilitator);
    let paid = |role| vec![claims(role), receive(role)];
    let mut cases = vec![
        (vec![], 0, unsettle(1, 0), Code::SpendUnknown),
        (vec![], 0, finalise(1, 40, FINAL), Code::SpendUnknown),
        (vec![plain(1, 40)], 0, unsettle(1, 0), Code::SpendStateWrong),
        (signed(), 0, unsettle(1, 0), Code::SpendStateWrong),
        (signed(), 0, finalise(1, 40, FINAL), Code::SpendStateWrong),
        (with(signed(), [release]), 0, unsettle(1, 0), Code::SpendStateWrong),
        // In a final block from the first, or since: nothing takes that back.
        (with(signed(), [settled(FINAL)]), 0, unsettle(1, 0), Code::SettlementFinal),
        (with(young(1, 40), [finalise(1, 40, FINAL)]), 0, unsettle(1, 0), Code::SettlementFinal),
        // Once: what is held again must be settled again first.
        (with(young(1, 40), [unsettle(1, 0)]), 0, unsettle(1, 0), Code::SpendStateWrong),
        (with(young(1, 40), [unsettle(1, 0)]), 0, finalise(1, 40, FINAL), Code::SpendStateWrong),
        (young(1, 40), 0, finalise(1, 40, FINAL - 1), Code::NotFinal),
        (young(1, 40), 0, finalise(1, 41, FINAL), Code::SettlementMismatch),
        (young(1, 40), 0, other, Code::SettlementMismatch),
        // Refunds wait, so that no payment with a refund is ever taken back.
        (young(1, 40), 0, back(5), Code::SettlementYoung),
        (with(young(1, 40), [unsettle(1, 0)]), 0, back(5), Code::SpendStateWrong),
        (with(young(1, 40), [finalise(1, 40, FINAL), back(5)]), 0, unsettle(1, 0), Code::SettlementFinal),
        (vec![], 0, unreceive(seller, 0), Code::SettlementUnknown),
        (vec![], 0, conclude(seller, 5, FINAL), Code::SettlementUnknown),
        (vec![claims(seller)], 0, unreceive(seller, 0), Code::SettlementStateWrong),
        (vec![claims(seller)], 0, conclude(seller, 5, FINAL), Code::SettlementStateWrong),
        (with(paid(seller), [conclude(seller, 5, FINAL)]), 0, unreceive(seller, 0), Code::SettlementFinal),
        (with(paid(seller), [unreceive(seller, 0)]), 0, unreceive(seller, 0), Code::SettlementStateWrong),
        (paid(seller), 0, conclude(seller, 5, FINAL - 1), Code::NotFinal),
        (paid(seller), 0, conclude(seller, 4, FINAL), Code::SettlementMismatch),
        // It was served and paid: nobody gives it up, only the chain ends it.
        (
            with(paid(seller), [unreceive(seller, 0)]),
            0,
            on(Command::Abandon { settlement: key(seller) }),
            Code::SettlementStateWrong,
        ),
        (with(paid(seller), [unreceive(seller, 0)]), 0, fail(seller, VALID_BEFORE - 1), Code::SettlementMismatch),
        (paid(carrier), 0, conclude(carrier, 5, FINAL - 1), Code::NotFinal),
    ];
    // Another transaction, another block of that number, another number, and the very block that was booked.
    for odd in 1..=4 {
        cases.push((young(1, 40), 0, unsettle(1, odd), Code::NotReorganised));
        cases.push((paid(seller), 0, unreceive(seller, odd), Code::NotReorganised));
    }
    cases
}

fn done(memory: &mut Memory, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        let told = memory.run(at(1), &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
}

/// Held, posted, count.
fn figures(memory: &Memory, id: BudgetId) -> (u128, u128, u64) {
    let node = memory.view.budgets.find(&id).unwrap().unwrap();
    (node.held.get(), node.posted.get(), node.count)
}

fn balance(memory: &Memory, account: &Account) -> Net {
    let mut balance = Balance::default();
    for transfer in memory.records.iter().flat_map(|record| &record.transfers) {
        for (side, own) in [(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)] {
            if own == account {
                balance.post(side, transfer).unwrap();
            }
        }
    }
    balance.net(account.class())
}

fn wallet() -> Account {
    Account::Wallet(format!("eip155:31337:{}", authorization(1).payer))
}

const fn positive(units: u128) -> Net {
    Net::Positive(Amount::new(units))
}

#[test]
fn what_was_posted_is_held_again_at_every_node_window_and_account() {
    let mut memory = opened();
    // The mandate is used up to the last unit.
    done(&mut memory, [young(1, 400), young(2, 100)].concat());
    let nodes = [mandate(0), PERSON, ROOT];
    let windows = |memory: &Memory| -> Vec<(u128, u128, u64)> {
        let rows = memory.view.windows.changed();
        rows.map(|(_, window)| (window.held.get(), window.posted.get(), window.count)).collect()
    };
    assert!(nodes.iter().all(|id| figures(&memory, *id) == (0, 500, 2)));
    assert!(windows(&memory).len() >= 2 && windows(&memory).iter().all(|row| *row == (0, 500, 2)));
    assert!(
        matches!(memory.run(at(1), &plain(3, 1)), Told::Rejected(refused) if refused.code() == Code::AmountExceedsBudget)
    );

    done(&mut memory, [unsettle(1, 0)]);
    assert!(nodes.iter().all(|id| figures(&memory, *id) == (400, 100, 2)), "at the cap, and not over it");
    assert!(windows(&memory).iter().all(|row| *row == (400, 100, 2)));
    assert_eq!(balance(&memory, &wallet()), Net::Negative(Amount::new(100)), "only the other one has left the wallet");
    assert_eq!(balance(&memory, &Account::Issued), positive(400), "an uncleared cheque again");
    assert!(matches!(memory.run(at(1), &plain(4, 1)), Told::Rejected(_)), "nothing came free");
    let spend_1 = memory.view.spends.find(&spend(1)).unwrap().unwrap();
    assert_eq!((spend_1.state, spend_1.young), (SpendState::Submitted, None));

    // In another block after all; then for good.
    done(&mut memory, [settle(1, 400), finalise(1, 400, FINAL)]);
    assert!(nodes.iter().all(|id| figures(&memory, *id) == (0, 500, 2)));
    assert_eq!(balance(&memory, &Account::Issued), positive(0));
    assert_eq!(memory.run(at(1), &finalise(1, 400, FINAL)), Told::Known);
    assert_eq!(memory.run(at(1), &settle(1, 400)), Told::Known);
}

#[test]
fn what_was_taken_back_is_released_by_proof_alone() {
    let release = |at| on(Command::Release { spend: spend(1), proof: ReleaseProof::Unused(unused(at)) });
    let mut memory = opened();
    done(&mut memory, with(young(1, 400), [unsettle(1, 0)]));
    assert!(matches!(memory.run(at(1), &release(VALID_BEFORE - 1)), Told::Rejected(_)));
    let doubt = on(Command::Doubt { spend: spend(1) });
    done(&mut memory, [doubt, release(VALID_BEFORE)]);
    assert!([mandate(0), PERSON, ROOT].iter().all(|id| figures(&memory, *id) == (0, 0, 0)));
    let all = [wallet(), Account::Issued, Account::Suspense, Account::Payable("shop".parse().unwrap())];
    assert!(all.iter().all(|account| balance(&memory, account) == positive(0)));
}

/// A sum that stays as it was passes no cap, however far that was lowered since.
#[test]
fn a_cap_that_was_lowered_since_does_not_keep_the_books_from_telling_the_truth() {
    let mut memory = opened();
    let lowered = Caps { limits: vec![daily(1)], ..total(1) };
    let root = Caps { limits: vec![daily(1), super::stream::to_each(1)], ..total(1) };
    done(&mut memory, young(1, 400));
    done(&mut memory, [on(change_caps(PERSON, lowered)), on(change_caps(ROOT, root)), unsettle(1, 0)]);
    assert_eq!(figures(&memory, PERSON), (400, 0, 1));
    assert_eq!(figures(&memory, ROOT), (400, 0, 1));
    assert!(memory.view.budgets.find(&PERSON).unwrap().unwrap().is_over);
    done(&mut memory, [settle(1, 400)]);
    assert_eq!(figures(&memory, ROOT), (0, 400, 1));
}

/// The shop's wallet, what it is owed, and what it sold, posted.
fn sold(memory: &Memory) -> [u128; 3] {
    let shop = Account::Wallet(format!("eip155:31337:{}", super::stream::PAY_TO));
    [&shop, &Account::Receivable, &Account::Sales].map(|account| match balance(memory, account) {
        Net::Positive(amount) => amount.get(),
        Net::Negative(_) => u128::MAX,
    })
}

fn state(memory: &Memory) -> SettlementState {
    memory.view.settlements.find(&key(Role::Seller)).unwrap().unwrap().state
}

/// Nobody has got anything for it, so nobody owes anything: neither while it is open nor when it came to nothing.
#[test]
fn a_sale_that_was_not_given_waits_again_and_is_never_a_debt() {
    for (is_stored, then) in [(true, SettlementState::Submitted), (false, SettlementState::Claimed)] {
        let stored = is_stored.then(|| dispatch(Role::Seller));
        for paid in [receive(Role::Seller), redeem()] {
            let is_given = is_stored && matches!(paid.command, Command::HandOver { .. });
            let mut memory = opened();
            let before = std::iter::once(claims(Role::Seller)).chain(stored.clone());
            done(&mut memory, before.chain([paid, unreceive(Role::Seller, 0)]));
            assert_eq!((sold(&memory), state(&memory)), (if is_given { [0, 5, 5] } else { [0, 0, 0] }, then));
            // Once more, through the same door.
            done(&mut memory, [receive(Role::Seller), unreceive(Role::Seller, 0), fail(Role::Seller, VALID_BEFORE)]);
            let end = if is_given { ([0, 5, 5], SettlementState::Unpaid) } else { ([0; 3], SettlementState::Failed) };
            assert_eq!((sold(&memory), state(&memory)), end);
        }
    }
}

/// Given out of the store, or begun, when it had been paid: from there on it is owed whatever the chain takes back.
#[test]
fn a_sale_that_is_given_later_is_owed_from_then_on() {
    let document = Digest::of(b"signed");
    let deliver = |instead_of| on(Command::Deliver { settlement: key(Role::Seller), document, instead_of });
    for given in [
        deliver(None),
        deliver(Some(document)),
        on(Command::Serve { settlement: key(Role::Seller), document, charged: None }),
    ] {
        let mut memory = opened();
        done(&mut memory, [claims(Role::Seller), dispatch(Role::Seller), receive(Role::Seller), given.clone()]);
        assert_eq!(memory.run(at(1), &given), Told::Known);
        done(&mut memory, [unreceive(Role::Seller, 0), fail(Role::Seller, VALID_BEFORE)]);
        assert_eq!((sold(&memory), state(&memory)), ([0, 5, 5], SettlementState::Unpaid));
    }
}

#[test]
fn a_sale_that_was_served_stands_and_is_owed_until_the_chain_decides() {
    let figures = sold;
    for (served, then) in [(true, SettlementState::Submitted), (false, SettlementState::Claimed)] {
        let before = std::iter::once(claims(Role::Seller)).chain(served.then(|| dispatch(Role::Seller)));
        let mut memory = opened();
        done(&mut memory, before.chain([redeem()]));
        assert_eq!(figures(&memory), [5, 0, 5]);
        done(&mut memory, [unreceive(Role::Seller, 0)]);
        assert_eq!((figures(&memory), state(&memory)), (if served { [0, 5, 5] } else { [0; 3] }, then));
        let mut paid = Memory::new(crate::journal::SaltKey::new([1; 32]), |_| Vec::new());
        (paid.view, paid.records) = (memory.view.clone(), memory.records.clone());
        done(&mut paid, [receive(Role::Seller), conclude(Role::Seller, 5, FINAL)]);
        assert_eq!((figures(&paid), state(&paid)), ([5, 0, 5], SettlementState::Settled));
        done(&mut memory, [fail(Role::Seller, VALID_BEFORE)]);
        if served {
            assert_eq!((figures(&memory), state(&memory)), ([0, 5, 5], SettlementState::Unpaid));
            let given_up = Command::WriteOff { settlement: key(Role::Seller), document: Digest::of(b"why") };
            done(&mut memory, [on(given_up)]);
        }
        assert_eq!((figures(&memory), state(&memory)), ([0, 0, 0], SettlementState::Failed));
    }
}

/// Another block may take another amount, so gas is booked with the final one, and once.
#[test]
fn gas_is_booked_once_and_with_the_final_block() {
    let mut memory = opened();
    done(&mut memory, [claims(Role::Facilitator), dispatch(Role::Facilitator), receive(Role::Facilitator)]);
    assert_eq!(balance(&memory, &Account::Gas), positive(0));
    done(&mut memory, [unreceive(Role::Facilitator, 0), receive(Role::Facilitator)]);
    assert_eq!(balance(&memory, &Account::Gas), positive(0));
    done(&mut memory, [conclude(Role::Facilitator, 5, FINAL)]);
    assert_eq!(balance(&memory, &Account::Gas), positive(3));
    assert_eq!(memory.run(at(1), &conclude(Role::Facilitator, 5, FINAL)), Told::Known);
    let carried = memory.view.settlements.find(&key(Role::Facilitator)).unwrap().unwrap();
    assert_eq!((carried.state, carried.young), (SettlementState::Settled, None));
}

/// Records of a time that knew nothing of it are read as they always were: where nothing is young, no byte is another.
#[test]
fn what_is_final_is_written_as_it_always_was() {
    let mut memory = opened();
    done(&mut memory, young(1, 40));
    let young = memory.view.spends.find(&spend(1)).unwrap().unwrap().clone();
    let last = crate::spend::Spend { young: None, ..young.clone() };
    let (young, last) = (encode(&young), encode(&last));
    assert_eq!(young.len(), last.len() + 40, "a number and a hash");
    assert_eq!((last[32], young[32]), (7, 7 | 0x80), "the state's byte, behind the id");
    assert_eq!(young[..32], last[..32]);
    assert_eq!(young[73..], last[33..]);
}
