//! Payments of which less may be taken than was signed: refusals first, then what comes free.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, but, commit, on};
use super::stream::{
    FINAL, PERSON, ROOT, START, VALID_BEFORE, agent, authorization, by, claim, mandate, money, recover, refund, seen,
    service, settlement, spend, unused,
};
use crate::account::{Account, Balance, Net, Side};
use crate::command::{ClaimSettlement, Command, FailureProof, ReleaseProof, Request};
use crate::gate::{GateState, Scope};
use crate::id::{BudgetId, Digest};
use crate::money::Amount;
use crate::rejection::RejectionCode as Code;
use crate::settlement::{Role, SettlementState};
use crate::spend::{Authorization, Observation, PERMIT2, SpendState};

fn permitted(number: u8) -> Authorization {
    Authorization { network: format!("eip155:31337/{PERMIT2}"), ..authorization(number) }
}

/// At most so much, in units of authority and of money.
fn at_most(number: u8, authority: u128, units: u128) -> Request {
    but(number, units, |hold| {
        hold.authorization = permitted(number).at_most();
        hold.authority = money(authority);
    })
}

fn signed(number: u8, authority: u128, units: u128) -> Vec<Request> {
    vec![at_most(number, authority, units), commit(number)]
}

fn settle(number: u8, seen: Observation, finalized: u64) -> Request {
    on(Command::Settle { spend: spend(number), seen, finalized })
}

fn charge(units: u128) -> Request {
    let charged = Amount::new(units);
    on(Command::Charge {
        settlement: settlement(1, Role::Seller),
        document: Digest::of(b"answer"),
        charged,
        instead_of: None,
    })
}

fn carried(units: u128) -> Command {
    let settlement = settlement(1, Role::Facilitator);
    Command::Charge { settlement, document: Digest::of(b"answer"), charged: Amount::new(units), instead_of: None }
}

pub(super) fn cases() -> Vec<Case> {
    let of = |units| settle(1, seen(units), FINAL);
    let elsewhere = Observation { pay_to: "0x00000000000000000000000000000000000000ee".to_owned(), ..seen(7) };
    let exact = || vec![but(1, 40, |hold| hold.authorization = permitted(1)), commit(1)];
    let back = |units| by(agent(), Command::Refund { spend: spend(1), refund: refund(1, units) });
    let release = on(Command::Release { spend: spend(1), proof: ReleaseProof::Unused(unused(VALID_BEFORE - 1)) });
    let claimed = |role| vec![on(Command::Claim(Box::new(claim(1, role, 5))))];
    let receive = |units| {
        on(Command::Receive { settlement: settlement(1, Role::Seller), seen: seen(units), finalized: FINAL, gas: None })
    };
    let charged = |units| [claimed(Role::Seller), vec![charge(units)]].concat();
    vec![
        (signed(1, 40, 40), 0, of(41), Code::SettlementMismatch),
        (signed(1, 40, 40), 0, of(0), Code::SettlementMismatch),
        (signed(1, 40, 40), 0, settle(1, elsewhere, FINAL), Code::SettlementMismatch),
        // A block that may be taken back gives nothing back, and settles nothing of it.
        (signed(1, 40, 40), 0, settle(1, seen(7), FINAL - 1), Code::NotFinal),
        (signed(1, 40, 40), 0, settle(1, seen(40), FINAL - 1), Code::NotFinal),
        (vec![at_most(1, 40, 40)], 0, of(7), Code::SpendStateWrong),
        (exact(), 0, of(39), Code::SettlementMismatch),
        (signed(1, 40, 40), 0, release, Code::NotProved),
        ([signed(1, 40, 40), vec![of(7)]].concat(), 0, back(8), Code::RefundExceedsPayment),
        (vec![], 0, charge(1), Code::SettlementUnknown),
        (claimed(Role::Seller), 0, charge(6), Code::SettlementMismatch),
        (claimed(Role::Facilitator), 0, on(carried(1)), Code::OwnerMismatch),
        (vec![], 0, on(carried(0)), Code::SettlementUnknown),
        (charged(3), 0, receive(5), Code::SettlementMismatch),
        (charged(0), 0, on(Command::Abandon { settlement: settlement(1, Role::Seller) }), Code::SettlementStateWrong),
    ]
}

fn done(memory: &mut Memory, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        let told = memory.run(at(1), &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
}

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

const NODES: [BudgetId; 2] = [PERSON, ROOT];

#[test]
fn the_most_is_held_until_a_final_block_says_what_was_taken() {
    let mut memory = opened();
    done(&mut memory, signed(1, 400, 400));
    assert!(NODES.iter().chain([&mandate(0)]).all(|id| figures(&memory, *id) == (400, 0, 1)));
    assert!(matches!(memory.run(at(1), &settle(1, seen(150), FINAL - 1)), Told::Rejected(_)), "a young block");
    assert!(NODES.iter().all(|id| figures(&memory, *id) == (400, 0, 1)), "nothing came free");
    assert!(
        matches!(memory.run(at(1), &at_most(2, 101, 101)), Told::Rejected(refused) if refused.code() == Code::AmountExceedsBudget)
    );

    done(&mut memory, [settle(1, seen(150), FINAL)]);
    assert!(NODES.iter().chain([&mandate(0)]).all(|id| figures(&memory, *id) == (0, 150, 1)), "still one payment");
    let windows: Vec<_> = memory.view.windows.changed().map(|(_, row)| (row.held.get(), row.posted.get())).collect();
    assert!(!windows.is_empty() && windows.iter().all(|row| *row == (0, 150)), "{windows:?}");
    let spend_1 = memory.view.spends.find(&spend(1)).unwrap().unwrap();
    assert_eq!((spend_1.state, spend_1.money.amount.get(), spend_1.authority.get()), (SpendState::Settled, 150, 150));
    let wallet = Account::Wallet(format!("eip155:31337:{}", authorization(1).payer));
    assert_eq!(balance(&memory, &wallet), Net::Negative(Amount::new(150)));
    for account in [Account::Issued, Account::Suspense, Account::Payable("shop".parse().unwrap())] {
        assert_eq!(balance(&memory, &account), Net::Positive(Amount::ZERO), "{account}");
    }
    assert_eq!(balance(&memory, &Account::Spend(mandate(0))), Net::Positive(Amount::new(150)));
    assert_eq!(memory.run(at(1), &settle(1, seen(150), FINAL)), Told::Known);
    // What came free can be spent, to the unit.
    done(&mut memory, signed(4, 350, 350));
    assert!(matches!(memory.run(at(1), &at_most(3, 1, 1)), Told::Rejected(_)));
}

/// 400 of authority stand for 7 units: what is no whole unit of the rest stays spent, and a charge is never free.
#[test]
fn what_is_taken_is_rounded_up_at_the_budget() {
    for (taken, authority) in [(1, 58), (2, 115), (6, 343), (7, 400)] {
        let mut memory = opened();
        done(&mut memory, signed(1, 400, 7));
        done(&mut memory, [on(Command::Doubt { spend: spend(1) }), settle(1, seen(taken), FINAL)]);
        assert_eq!(figures(&memory, mandate(0)), (0, authority, 1), "{taken} of 7");
        assert_eq!(balance(&memory, &Account::Suspense), Net::Positive(Amount::ZERO));
    }
    let mut memory = opened();
    done(&mut memory, signed(1, 1, 400));
    done(&mut memory, [settle(1, seen(1), FINAL)]);
    assert_eq!(figures(&memory, mandate(0)), (0, 1, 1));
}

#[test]
fn a_permit_of_which_nothing_was_taken_is_released_by_proof() {
    let mut memory = opened();
    done(&mut memory, signed(1, 400, 400));
    let proof = ReleaseProof::Unused(unused(VALID_BEFORE));
    done(&mut memory, [on(Command::Release { spend: spend(1), proof })]);
    assert_eq!(figures(&memory, mandate(0)), (0, 0, 0));
}

/// The chain shows a nonce, and not whether what was signed under it was the most.
#[test]
fn a_restored_book_knows_its_own_charges() {
    let mut memory = opened();
    done(&mut memory, signed(1, 400, 400));
    let fence = by(service(), Command::Gate { scope: Scope::Fence, to: GateState::Closed });
    assert!(matches!(memory.run(START, &fence), Told::New(_)));
    let mut found = recover(1, 150);
    found.authorization = permitted(1);
    assert_eq!(memory.run(at(1), &on(Command::Recover(Box::new(found.clone())))), Told::Known);
    found.authorization = permitted(2);
    done(&mut memory, [on(Command::Recover(Box::new(found)))]);
}

#[test]
fn a_seller_books_what_it_charges() {
    let key = || settlement(1, Role::Seller);
    let sale = |memory: &Memory| memory.view.settlements.find(&key()).unwrap().unwrap().clone();
    let sold = |memory: &Memory| balance(memory, &Account::Sales);
    let claimed = || on(Command::Claim(Box::new(claim(1, Role::Seller, 5))));
    let receive = |units| on(Command::Receive { settlement: key(), seen: seen(units), finalized: FINAL, gas: None });
    for units in [3, 5] {
        let mut memory = opened();
        done(&mut memory, [claimed(), charge(units)]);
        assert_eq!((sale(&memory).state, sale(&memory).money.amount.get()), (SettlementState::Submitted, units));
        assert_eq!(memory.run(at(1), &charge(units)), Told::Known);
        done(&mut memory, [receive(units)]);
        assert_eq!(sold(&memory), Net::Positive(Amount::new(units)));
        assert_eq!(balance(&memory, &Account::Receivable), Net::Positive(Amount::ZERO));
    }
    let mut memory = opened();
    done(&mut memory, [claimed(), charge(3)]);
    let proof = FailureProof::Unused(unused(VALID_BEFORE));
    done(&mut memory, [on(Command::Fail { settlement: key(), proof, gas: None })]);
    assert_eq!(sold(&memory), Net::Positive(Amount::ZERO));

    let mut memory = opened();
    done(&mut memory, [claimed(), charge(0)]);
    assert_eq!((sale(&memory).state, sale(&memory).pending), (SettlementState::Settled, None));
    assert!(sale(&memory).document.is_some() && sale(&memory).transaction.is_none());
    assert_eq!(sold(&memory), Net::Positive(Amount::ZERO));
    assert_eq!(memory.run(at(1), &claimed()), Told::Known, "the permit is used up here");
}

#[test]
fn a_facilitator_that_carries_nothing_is_done_at_once() {
    let mut memory = opened();
    done(&mut memory, [on(Command::Claim(Box::new(claim(1, Role::Facilitator, 5)))), on(carried(0))]);
    let found = memory.view.settlements.find(&settlement(1, Role::Facilitator)).unwrap().unwrap();
    assert_eq!((found.state, found.is_unfinished()), (SettlementState::Settled, false));
    assert!(found.document.is_some() && found.transaction.is_none(), "which is how it is told from what moved");
    assert_eq!(memory.run(at(1), &on(carried(0))), Told::Known);
    let again = on(Command::Claim(Box::new(claim(1, Role::Facilitator, 5))));
    assert_eq!(memory.run(at(1), &again), Told::Known, "the permit stays claimed");
}

/// The work that one payment buys may be done twice, and come to two charges: the first stands.
#[test]
fn what_is_charged_first_stands() {
    let sale = |memory: &Memory| memory.view.settlements.find(&settlement(1, Role::Seller)).unwrap().unwrap().clone();
    let claimed = || on(Command::Claim(Box::new(claim(1, Role::Seller, 5))));
    for first in [0, 3, 5] {
        let mut memory = opened();
        done(&mut memory, [claimed(), charge(first)]);
        let (before, records) = (sale(&memory), memory.records.len());
        for second in [0, 1, 4, 5] {
            assert_eq!(memory.run(at(1), &charge(second)), Told::Known, "{second} after {first}");
        }
        assert_eq!((sale(&memory), memory.records.len()), (before, records));
    }
}

/// What a facilitator gave up had sent nothing: it may be charged otherwise. What it may have sent may not.
#[test]
fn a_carriage_that_was_given_up_is_taken_up_at_another_charge() {
    let key = || settlement(1, Role::Facilitator);
    let of = |subject: &[u8], units| {
        let subject = Digest::of(subject);
        on(Command::Claim(Box::new(ClaimSettlement { subject, ..claim(1, Role::Facilitator, units) })))
    };
    let abandon = || on(Command::Abandon { settlement: key() });
    let (document, transaction) = (Digest::of(b"signed"), Some("0x77".parse().unwrap()));
    let sent = || {
        let transaction = transaction.clone();
        on(Command::Dispatch { settlement: key(), document, transaction, account_nonce: Some(1) })
    };
    for before in [vec![of(b"3", 3)], vec![of(b"3", 3), sent()], vec![of(b"3", 3), abandon(), of(b"3", 3)]] {
        let mut memory = opened();
        done(&mut memory, before);
        let told = memory.run(at(1), &of(b"4", 4));
        let Told::Rejected(rejection) = told else { panic!("{told:?}") };
        assert_eq!(rejection.code(), Code::PaymentUsedForOtherResource);
    }
    let mut memory = opened();
    done(&mut memory, [of(b"3", 3), abandon(), of(b"4", 4)]);
    assert_eq!(memory.view.settlements.find(&key()).unwrap().unwrap().money.amount.get(), 4);
    // A seller's is bound to what it was presented for first, for ever.
    let sold = |subject: &[u8]| {
        let subject = Digest::of(subject);
        on(Command::Claim(Box::new(ClaimSettlement { subject, ..claim(1, Role::Seller, 3) })))
    };
    let mut memory = opened();
    done(&mut memory, [sold(b"3"), on(Command::Abandon { settlement: settlement(1, Role::Seller) })]);
    assert!(matches!(memory.run(at(1), &sold(b"4")), Told::Rejected(_)));
}
