//! Vouchers of a channel: promised without credit, given for what is charged, paid by what the escrow shows.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{at, on};
use super::stream::{FINAL, claim, seen, settlement};
use crate::account::{Account, Balance, Side};
use crate::command::{ClaimSettlement, Command, Cover, Credit, Request};
use crate::id::Digest;
use crate::money::Amount;
use crate::rejection::RejectionCode as Code;
use crate::settlement::{Role, SettlementKey, SettlementState as State};
use crate::spend::VOUCHER;

fn key(number: u8) -> SettlementKey {
    let mut key = settlement(number, Role::Seller);
    key.authorization.network = format!("eip155:31337/{VOUCHER}");
    key
}

fn voucher(number: u8, units: u128) -> ClaimSettlement {
    let credit = Some(Credit { payer_max: Amount::new(1), total_max: Some(Amount::new(1)) });
    ClaimSettlement { key: key(number), credit, ..claim(number, Role::Seller, units) }
}

fn claims(claim: ClaimSettlement) -> Request {
    on(Command::Claim(Box::new(claim)))
}

fn serve(number: u8, charged: Option<u128>) -> Request {
    let (document, charged) = (Digest::of(b"given"), charged.map(Amount::new));
    on(Command::Serve { settlement: key(number), document, charged })
}

fn receive(number: u8, units: u128) -> Request {
    on(Command::Receive { settlement: key(number), seen: seen(units), finalized: FINAL, gas: None })
}

fn told(memory: &mut Memory, request: &Request) -> Option<Code> {
    match memory.run(at(1), request) {
        Told::Rejected(rejection) => Some(rejection.code()),
        Told::New(_) | Told::Known => None,
    }
}

fn owed(memory: &Memory) -> Balance {
    let mut balance = Balance::default();
    for transfer in memory.records.iter().flat_map(|record| &record.transfers) {
        for (side, account) in [(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)] {
            if *account == Account::Receivable {
                balance.post(side, transfer).unwrap();
            }
        }
    }
    balance
}

#[test]
fn what_is_charged_is_owed_and_the_rest_is_let_go() {
    for (charged, expected) in [(Some(3), 3), (Some(7), 7), (None, 7)] {
        let mut memory = opened();
        assert_eq!(told(&mut memory, &claims(voucher(1, 7))), None);
        assert_eq!(owed(&memory).debit_pending, Amount::new(7));
        for wrong in [Some(0), Some(8)] {
            assert_eq!(told(&mut memory, &serve(1, wrong)), Some(Code::SettlementMismatch), "{wrong:?}");
        }
        assert_eq!(told(&mut memory, &serve(1, charged)), None);
        let figures = owed(&memory);
        assert_eq!((figures.debit_posted, figures.debit_pending), (Amount::new(expected), Amount::ZERO));
        let found = memory.view.settlements.find(&key(1)).unwrap().unwrap().clone();
        assert!(found.is_sold_unpaid() && found.money.amount == Amount::new(expected), "{found:?}");
        // Given: nothing takes it back but the escrow's own figures.
        let abandon = on(Command::Abandon { settlement: key(1) });
        assert_eq!(told(&mut memory, &abandon), Some(Code::SettlementStateWrong));
        assert_eq!(told(&mut memory, &receive(1, expected + 1)), Some(Code::SettlementMismatch));
        assert_eq!(told(&mut memory, &receive(1, expected)), None);
        assert_eq!(owed(&memory).credit_posted, Amount::new(expected), "it is cash");
    }
}

/// Its money lies in the escrow: it is nobody's credit, and counts against no balance of its payer's.
#[test]
fn a_voucher_takes_neither_credit_nor_balance() {
    let mut memory = opened();
    for number in 1..4 {
        assert_eq!(told(&mut memory, &claims(voucher(number, 50))), None, "beyond what may be owed");
    }
    let cover = Some(Cover { balance: Amount::new(5), allowance: None, beside: Vec::new() });
    let beside = ClaimSettlement { cover, ..claim(9, Role::Seller, 5) };
    assert_eq!(told(&mut memory, &claims(beside)), None, "what vouchers pay left the balance with the deposit");
    let on_credit = Credit { payer_max: Amount::new(5), total_max: Some(Amount::new(5)) };
    let beside = ClaimSettlement { credit: Some(on_credit), ..claim(8, Role::Seller, 5) };
    assert_eq!(told(&mut memory, &claims(beside)), None);
    let over = ClaimSettlement { credit: Some(on_credit), ..claim(7, Role::Seller, 1) };
    assert_eq!(told(&mut memory, &claims(over)), Some(Code::ExposureExceeded), "the others keep their limit");
}

/// One step, one sale. A step that was given up may pay for something else; one that is open or sold may not.
#[test]
fn a_step_is_sold_once() {
    let mut memory = opened();
    let other = ClaimSettlement { subject: Digest::of(b"something else"), ..voucher(1, 7) };
    assert_eq!(told(&mut memory, &claims(voucher(1, 7))), None);
    assert_eq!(told(&mut memory, &claims(other.clone())), Some(Code::PaymentUsedForOtherResource));
    assert_eq!(told(&mut memory, &on(Command::Abandon { settlement: key(1) })), None);
    assert_eq!(owed(&memory).debit_pending, Amount::ZERO);
    assert_eq!(told(&mut memory, &serve(1, None)), Some(Code::SettlementStateWrong), "nothing is given for it");
    assert_eq!(told(&mut memory, &claims(other)), None);
    assert_eq!(told(&mut memory, &serve(1, Some(2))), None);
    assert_eq!(told(&mut memory, &claims(voucher(1, 7))), Some(Code::PaymentUsedForOtherResource));
    assert_eq!(memory.view.settlements.find(&key(1)).unwrap().unwrap().state, State::Submitted);
}
