//! Sales that are paid out of what an escrow holds: what is to become of the money is decided once, and nothing that lies in
//! the escrow counts against what its payer still has.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{at, on};
use super::stream::{FINAL, VALID_BEFORE, authorization, claim, seen, unused};
use crate::account::{Account, Balance, Side};
use crate::command::{ClaimSettlement, Command, Cover, FailureProof, Request};
use crate::id::Digest;
use crate::money::Amount;
use crate::rejection::RejectionCode as Code;
use crate::settlement::{Role, Settlement, SettlementKey, SettlementState};
use crate::spend::{Authorization, CHARGED, HELD};

fn key(number: u8, space: &str) -> SettlementKey {
    let own = authorization(number);
    let authorization = Authorization { network: format!("eip155:31337/{space}"), ..own };
    SettlementKey { role: Role::Seller, authorization }
}

fn claimed(number: u8, space: &str, units: u128) -> ClaimSettlement {
    ClaimSettlement { key: key(number, space), ..claim(number, Role::Seller, units) }
}

fn claims(number: u8, space: &str, units: u128) -> Request {
    on(Command::Claim(Box::new(claimed(number, space, units))))
}

fn holding() -> Request {
    let (settlement, document) = (key(1, HELD), Digest::of(b"holding"));
    on(Command::Dispatch { settlement, document, transaction: None, account_nonce: None })
}

fn decided(what: &[u8], units: u128, instead_of: &[u8]) -> Request {
    let (settlement, document, charged) = (key(1, HELD), Digest::of(what), Amount::new(units));
    on(Command::Charge { settlement, document, charged, instead_of: Some(Digest::of(instead_of)) })
}

fn new(memory: &mut Memory, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        let told = memory.run(at(1), &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
}

fn sale(memory: &Memory) -> Settlement {
    memory.view.settlements.find(&key(1, HELD)).unwrap().unwrap().clone()
}

fn posted(memory: &Memory, account: &Account) -> u128 {
    let mut balance = Balance::default();
    for transfer in memory.records.iter().flat_map(|record| &record.transfers) {
        for (side, own) in [(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)] {
            if own == account {
                balance.post(side, transfer).unwrap();
            }
        }
    }
    match balance.net(account.class()) {
        crate::account::Net::Positive(amount) => amount.get(),
        crate::account::Net::Negative(amount) => panic!("{account} is overdrawn by {amount}"),
    }
}

#[test]
fn of_all_that_can_be_done_with_it_one_is() {
    let work = || [claims(1, HELD, 5), holding(), decided(b"working", 5, b"holding")];
    for (first, units) in [(&b"capturing"[..], 3), (b"capturing", 5), (b"capturing", 0), (b"voiding", 5)] {
        let mut memory = opened();
        new(&mut memory, work());
        new(&mut memory, [decided(first, units, b"working")]);
        let (before, records) = (sale(&memory), memory.records.len());
        assert_eq!((before.state, before.money.amount.get()), (SettlementState::Submitted, units));
        assert!(!before.is_sold_unpaid(), "nothing is given for it yet");
        for (second, units) in [(&b"voiding"[..], 5), (b"capturing", 4), (b"working", 5), (b"other", 1)] {
            for instead_of in [&b"holding"[..], b"working", b"nothing"] {
                assert_eq!(memory.run(at(1), &decided(second, units, instead_of)), Told::Known, "{second:?}");
            }
        }
        assert_eq!((sale(&memory), memory.records.len()), (before, records));
    }
    // What nobody began is nobody's to decide.
    let mut memory = opened();
    new(&mut memory, [claims(1, HELD, 5)]);
    for instead_of in [&b"holding"[..], b"working"] {
        let told = memory.run(at(1), &decided(b"capturing", 5, instead_of));
        assert!(matches!(&told, Told::Rejected(no) if no.code() == Code::SettlementStateWrong), "{told:?}");
    }
    new(&mut memory, [holding()]);
    let told = memory.run(at(1), &decided(b"capturing", 6, b"holding"));
    assert!(matches!(&told, Told::Rejected(no) if no.code() == Code::SettlementMismatch), "{told:?}");
}

#[test]
fn what_is_captured_is_cash_and_what_went_back_is_no_sale() {
    let receive =
        |units| on(Command::Receive { settlement: key(1, HELD), seen: seen(units), finalized: FINAL, gas: None });
    let wallet = |memory: &Memory| {
        let found = sale(memory);
        posted(memory, &Account::Wallet(format!("{}:{}", found.key.authorization.chain(), found.pay_to)))
    };
    for units in [0, 3, 5] {
        let mut memory = opened();
        new(&mut memory, [claims(1, HELD, 5), holding(), decided(b"working", 5, b"holding")]);
        new(&mut memory, [decided(b"capturing", units, b"working")]);
        let told = memory.run(at(1), &receive(units + 1));
        assert!(matches!(&told, Told::Rejected(no) if no.code() == Code::SettlementMismatch), "{told:?}");
        new(&mut memory, [receive(units)]);
        assert_eq!((sale(&memory).state, wallet(&memory)), (SettlementState::Settled, units));
        assert_eq!((posted(&memory, &Account::Sales), posted(&memory, &Account::Receivable)), (units, 0));
    }
    let mut memory = opened();
    new(&mut memory, [claims(1, HELD, 5), holding(), decided(b"voiding", 5, b"holding")]);
    let proof = FailureProof::Reverted("0x77".parse().unwrap());
    new(&mut memory, [on(Command::Fail { settlement: key(1, HELD), proof, gas: None })]);
    assert_eq!((sale(&memory).state, posted(&memory, &Account::Sales)), (SettlementState::Failed, 0));
    assert!(!sale(&memory).is_unfinished());
    assert_eq!(memory.run(at(1), &claims(1, HELD, 5)), Told::Known, "it buys nothing again");
    let mut memory = opened();
    new(&mut memory, [claims(1, HELD, 5)]);
    let proof = FailureProof::Unused(unused(VALID_BEFORE));
    new(&mut memory, [on(Command::Fail { settlement: key(1, HELD), proof, gas: None })]);
    assert_eq!(posted(&memory, &Account::Sales), 0, "nobody ever had it carried");
}

/// A payer of whom 5 are held has what is left; of whom 5 are to be charged, 5 less than they seem to have.
#[test]
fn what_lies_in_the_escrow_has_left_the_balance_already() {
    let covered = |balance| {
        let cover = Some(Cover { balance: Amount::new(balance), allowance: None, beside: Vec::new() });
        let mut second = claimed(2, HELD, 5);
        second.key.authorization.payer = key(1, HELD).authorization.payer;
        on(Command::Claim(Box::new(ClaimSettlement { cover, ..second })))
    };
    let told = |before: Vec<Request>, balance| {
        let mut memory = opened();
        new(&mut memory, before);
        matches!(memory.run(at(1), &covered(balance)), Told::New(_))
    };
    assert!(!told(vec![claims(1, HELD, 5)], 9), "claimed, and not sent yet");
    assert!(told(vec![claims(1, HELD, 5)], 10));
    assert!(told(vec![claims(1, HELD, 5), holding()], 5), "it lies in the escrow");
    assert!(!told(vec![claims(1, HELD, 5), holding()], 4));
    let charging = on(Command::Charge {
        settlement: key(1, CHARGED),
        document: Digest::of(b"answer"),
        charged: Amount::new(5),
        instead_of: None,
    });
    assert!(!told(vec![claims(1, CHARGED, 5), charging], 9), "it is still to be taken");
}
