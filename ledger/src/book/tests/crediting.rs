//! What a seller gives before it is paid: never more than it said, never to whoever owes, and owed to the unit.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, on};
use super::stream::taken_back;
use super::stream::{FINAL, VALID_BEFORE, authorization, claim, promise, seen, settlement, token, unused};
use crate::account::{Account, Balance, Side};
use crate::command::{ClaimSettlement, Command, Cover, Credit, FailureProof, Request};
use crate::effects::Operation;
use crate::gate::{GateState, Scope};
use crate::id::Digest;
use crate::money::Amount;
use crate::rejection::RejectionCode as Code;
use crate::settlement::{PayerKey, Role, Settlement, SettlementKey, SettlementState as State};
use crate::spend::PERMIT2;

const PLENTY: u128 = 1_000_000;

fn claims(claim: ClaimSettlement) -> Request {
    on(Command::Claim(Box::new(claim)))
}

/// On credit, of a payer who has plenty and may owe ten.
fn promised(number: u8, units: u128) -> Request {
    claims(promise(number, units, 10, PLENTY))
}

/// By somebody else.
fn of_other(mut claim: ClaimSettlement) -> ClaimSettlement {
    claim.key.authorization.payer = "0x00000000000000000000000000000000000000ee".to_owned();
    claim
}

fn key(number: u8) -> SettlementKey {
    settlement(number, Role::Seller)
}

fn document() -> Digest {
    Digest::of(b"what was given")
}

fn serve(number: u8) -> Request {
    on(Command::Serve { settlement: key(number), document: document(), charged: None })
}

fn deliver(number: u8) -> Request {
    on(Command::Deliver { settlement: key(number), document: document(), instead_of: None })
}

fn undeliver(number: u8) -> Request {
    on(Command::Undeliver { settlement: key(number), document: document() })
}

fn write_off(number: u8) -> Request {
    on(Command::WriteOff { settlement: key(number), document: document() })
}

fn dispatch(number: u8) -> Request {
    on(Command::Dispatch { settlement: key(number), document: document(), transaction: None, account_nonce: None })
}

fn receive(number: u8, units: u128) -> Request {
    on(Command::Receive { settlement: key(number), seen: seen(units), finalized: FINAL, gas: None })
}

fn receive_young(number: u8, units: u128) -> Request {
    on(Command::Receive { settlement: key(number), seen: seen(units), finalized: FINAL - 1, gas: None })
}

fn fail(number: u8) -> Request {
    on(Command::Fail { settlement: key(number), proof: FailureProof::Unused(unused(VALID_BEFORE)), gas: None })
}

fn abandon(number: u8) -> Request {
    on(Command::Abandon { settlement: key(number) })
}

/// Held back until it is paid, of a payer who has this much.
fn covered(number: u8, units: u128, balance: u128, beside: Vec<Settlement>) -> ClaimSettlement {
    let cover = Cover { balance: Amount::new(balance), allowance: None, beside };
    ClaimSettlement { cover: Some(cover), ..claim(number, Role::Seller, units) }
}

fn permitted(number: u8, units: u128, balance: u128, allowance: u128) -> ClaimSettlement {
    let mut claim = covered(number, units, balance, Vec::new());
    claim.key.authorization.network = format!("eip155:31337/{PERMIT2}");
    claim.cover.as_mut().unwrap().allowance = Some(Amount::new(allowance));
    claim
}

/// Other claims of the same payer.
fn crowd(count: u16) -> Vec<Settlement> {
    let mut memory = opened();
    done(&mut memory, [claims(claim(9, Role::Seller, 1))]);
    let like = row(&memory, 9);
    let other = |number: u16| {
        let mut other = like.clone();
        other.key.authorization.nonce[..2].copy_from_slice(&number.to_be_bytes());
        other
    };
    (0..count).map(other).collect()
}

fn state(memory: &Memory, number: u8) -> State {
    memory.view.settlements.find(&key(number)).unwrap().unwrap().state
}

fn row(memory: &Memory, number: u8) -> Settlement {
    memory.view.settlements.find(&key(number)).unwrap().unwrap().clone()
}

fn told(memory: &mut Memory, request: &Request) -> Option<Code> {
    match memory.run(at(1), request) {
        Told::Rejected(rejection) => Some(rejection.code()),
        Told::New(_) | Told::Known => None,
    }
}

fn done(memory: &mut Memory, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        let told = memory.run(at(1), &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
}

pub(super) fn cases() -> Vec<Case> {
    let (one, two) = (|| promised(1, 6), || promised(2, 4));
    let untotalled = |number, payer_max| {
        let credit = Credit { payer_max: Amount::new(payer_max), total_max: None };
        claims(ClaimSettlement { credit: Some(credit), ..promise(number, 6, 10, PLENTY) })
    };
    let huge = promise(2, u128::MAX, u128::MAX, u128::MAX);
    vec![
        // The limit, to the unit; what is only promised counts, what is served counts, what the chain took back counts.
        (vec![], 0, promised(1, 11), Code::ExposureExceeded),
        (vec![one()], 0, promised(2, 5), Code::ExposureExceeded),
        (vec![one(), serve(1)], 0, promised(2, 5), Code::ExposureExceeded),
        (vec![one(), dispatch(1)], 0, promised(2, 5), Code::ExposureExceeded),
        (vec![one(), serve(1), two()], 0, promised(3, 1), Code::ExposureExceeded),
        (vec![one(), serve(1)], 0, untotalled(2, 11), Code::ExposureExceeded),
        (
            vec![
                one(),
                serve(1),
                receive_young(1, 6),
                on(Command::Unreceive { settlement: key(1), proof: taken_back(0) }),
            ],
            0,
            promised(2, 5),
            Code::ExposureExceeded,
        ),
        (vec![one()], 0, claims(huge), Code::PayerOverdrawn),
        (vec![one(), serve(1), receive(1, 6), revisit(1, "n")], 0, revisit(1, "n"), Code::SignInAnswered),
        // All of them together: each within its own limit.
        (
            vec![promised(1, 10), claims(of_other(promise(2, 10, 10, PLENTY)))],
            0,
            {
                let mut third = promise(3, 1, 10, PLENTY);
                third.key.authorization.payer = "0x00000000000000000000000000000000000000ff".to_owned();
                claims(third)
            },
            Code::ExposureExceeded,
        ),
        // Who was given something and did not pay.
        (vec![one(), serve(1), fail(1)], 0, promised(2, 1), Code::PayerBlocked),
        (vec![one(), serve(1), fail(1)], 0, untotalled(2, u128::MAX), Code::PayerBlocked),
        // Each is covered, all are not.
        (vec![], 0, claims(covered(1, 6, 5, vec![])), Code::PayerOverdrawn),
        (vec![claims(covered(1, 6, 10, vec![]))], 0, claims(covered(2, 5, 10, vec![])), Code::PayerOverdrawn),
        (vec![one()], 0, claims(covered(2, 5, 10, vec![])), Code::PayerOverdrawn),
        (vec![one(), serve(1)], 0, claims(covered(2, 5, 10, vec![])), Code::PayerOverdrawn),
        (vec![claims(covered(1, 6, 10, vec![]))], 0, claims(permitted(2, 5, 10, 100)), Code::PayerOverdrawn),
        (vec![claims(permitted(1, 6, 100, 10))], 0, claims(permitted(2, 5, 100, 10)), Code::PayerOverdrawn),
        (vec![claims(covered(1, 6, 100, vec![]))], 0, claims(permitted(2, 11, 100, 10)), Code::PayerOverdrawn),
        (
            vec![claims(covered(1, 1, u128::MAX, vec![]))],
            0,
            claims(covered(2, u128::MAX, u128::MAX, vec![])),
            Code::PayerOverdrawn,
        ),
        // Reading them all is bounded.
        (vec![], 0, claims(covered(1, 1, u128::MAX, crowd(1_000))), Code::PayerPaymentsOpen),
        // What is given is not given up; what is not promised is not given before it is paid.
        (vec![one(), serve(1)], 0, abandon(1), Code::SettlementStateWrong),
        (vec![], 0, serve(1), Code::SettlementUnknown),
        (vec![claims(claim(1, Role::Seller, 5))], 0, serve(1), Code::SettlementStateWrong),
        (vec![one(), abandon(1)], 0, serve(1), Code::SettlementStateWrong),
        (vec![one()], 0, deliver(1), Code::SettlementStateWrong),
        (vec![one()], 0, undeliver(1), Code::SettlementStateWrong),
        (vec![one(), serve(1)], 0, undeliver(1), Code::SettlementStateWrong),
        (vec![], 0, deliver(1), Code::SettlementUnknown),
        (vec![], 0, undeliver(1), Code::SettlementUnknown),
        // Nothing is written off that is not owed for good.
        (vec![], 0, write_off(1), Code::SettlementUnknown),
        (vec![one()], 0, write_off(1), Code::SettlementStateWrong),
        (vec![one(), serve(1)], 0, write_off(1), Code::SettlementStateWrong),
        (vec![one(), receive(1, 6)], 0, write_off(1), Code::SettlementStateWrong),
    ]
}

#[test]
fn a_limit_is_reached_and_makes_room_again() {
    let mut memory = opened();
    done(&mut memory, [promised(1, 6), promised(2, 4)]);
    assert_eq!(told(&mut memory, &promised(3, 1)), Some(Code::ExposureExceeded));
    // Without credit it may be claimed all the same, and takes nothing of the limit.
    done(&mut memory, [claims(covered(3, 1, PLENTY, vec![])), abandon(2)]);
    done(&mut memory, [promised(4, 4), serve(4)]);
    assert_eq!(told(&mut memory, &promised(5, 1)), Some(Code::ExposureExceeded));
    done(&mut memory, [receive(4, 4), promised(5, 4)]);
    assert_eq!(state(&memory, 4), State::Settled);
    // The same claim again is the one that is there.
    assert_eq!(memory.run(at(1), &promised(5, 4)), Told::Known);
}

#[test]
fn whoever_owes_is_blocked_until_it_is_written_off() {
    let mut memory = opened();
    done(&mut memory, [promised(1, 6), serve(1), fail(1)]);
    assert_eq!(state(&memory, 1), State::Unpaid);
    assert_eq!(told(&mut memory, &promised(2, 1)), Some(Code::PayerBlocked));
    done(&mut memory, [claims(of_other(promise(2, 1, 10, PLENTY))), claims(covered(3, 1, PLENTY, vec![]))]);
    done(&mut memory, [write_off(1), promised(4, 10)]);
    assert_eq!(state(&memory, 1), State::Failed);
    assert_eq!(memory.run(at(1), &write_off(1)), Told::Known);
}

/// A balance that was read before something was paid out of it says too much: what was under way then counts.
#[test]
fn a_balance_that_is_older_than_the_claim_covers_nothing_twice() {
    let mut memory = opened();
    done(&mut memory, [claims(covered(1, 6, 10, vec![]))]);
    let beside = vec![row(&memory, 1)];
    done(&mut memory, [receive(1, 6)]);
    assert_eq!(told(&mut memory, &claims(covered(2, 6, 10, beside))), Some(Code::PayerOverdrawn));
    done(&mut memory, [claims(covered(2, 4, 4, vec![]))]);
}

#[test]
fn what_is_paid_meanwhile_is_kept_with_what_paid_for_it() {
    for answer in [dispatch(1), serve(1)] {
        let mut memory = opened();
        done(&mut memory, [promised(1, 6), receive(1, 6), answer.clone()]);
        let kept = row(&memory, 1);
        assert_eq!((kept.state, kept.document), (State::Settled, Some(document())));
        assert_eq!(memory.run(at(1), &answer), Told::Known);
        assert_eq!(memory.records.last().unwrap().operation, Operation::Deliver);
    }
}

#[test]
fn what_is_paid_and_not_delivered_is_owed_to_the_payer_until_it_is() {
    let prepaid = || [claims(covered(1, 6, 10, vec![])), dispatch(1), receive_young(1, 6)];
    let mut memory = opened();
    done(&mut memory, prepaid().into_iter().chain([undeliver(1)]));
    assert!(state(&memory, 1) == State::Undelivered && row(&memory, 1).is_unfinished());
    assert_eq!(memory.run(at(1), &undeliver(1)), Told::Known);
    done(&mut memory, [deliver(1)]);
    assert_eq!(state(&memory, 1), State::Settled);
    // Its block may be taken back, or not.
    for (ends, then, owed) in [
        (on(Command::Unreceive { settlement: key(1), proof: taken_back(0) }), State::Abandoned, 0),
        (
            on(Command::Conclude { settlement: key(1), seen: seen(6), finalized: FINAL, gas: None }),
            State::Undelivered,
            0,
        ),
        (write_off(1), State::Settled, 0),
    ] {
        let mut memory = opened();
        done(&mut memory, prepaid().into_iter().chain([undeliver(1), ends]));
        assert_eq!((state(&memory, 1), receivable(&memory)), (then, owed));
    }
}

/// The debit side less the credit side.
fn receivable(memory: &Memory) -> u128 {
    let mut balance = Balance::default();
    for transfer in memory.records.iter().flat_map(|record| &record.transfers) {
        for (side, account) in [(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)] {
            if *account == Account::Receivable && transfer.asset == token() {
                balance.post(side, transfer).unwrap();
            }
        }
    }
    balance.debit_posted.get() - balance.credit_posted.get()
}

const PAYER_MAX: u128 = 20;
const TOTAL_MAX: u128 = 35;
const BALANCE: u128 = 40;

fn any_step() -> impl Strategy<Value = (u8, u8, u128)> {
    (0..12_u8, 0..11_u8, 1..12_u128)
}

fn payer(number: u8) -> String {
    format!("0x{:040x}", 0xa0 + number % 3)
}

fn step(number: u8, what: u8, units: u128) -> Request {
    let key = SettlementKey {
        role: Role::Seller,
        authorization: crate::spend::Authorization { payer: payer(number), ..authorization(number) },
    };
    let units = if what < 3 { units } else { 1 + u128::from(number) };
    match what {
        0..=2 => {
            let credit = Credit { payer_max: Amount::new(PAYER_MAX), total_max: Some(Amount::new(TOTAL_MAX)) };
            let cover = Cover { balance: Amount::new(BALANCE), allowance: None, beside: Vec::new() };
            let (cover, credit) = (Some(cover), (what > 0).then_some(credit));
            // The price hangs on the number, so that what is seen on the chain fits.
            let money = super::stream::money(1 + u128::from(number));
            claims(ClaimSettlement { key, money, cover, credit, ..claim(number, Role::Seller, units) })
        }
        3 => on(Command::Serve { settlement: key, document: document(), charged: None }),
        4 => on(Command::Receive { settlement: key, seen: seen(units), finalized: FINAL - 1, gas: None }),
        5 => on(Command::Fail { settlement: key, proof: FailureProof::Unused(unused(VALID_BEFORE)), gas: None }),
        6 => on(Command::WriteOff { settlement: key, document: document() }),
        8 => on(Command::HandOver { settlement: key, seen: seen(units), finalized: FINAL - 1 }),
        9 => on(Command::Deliver { settlement: key, document: document(), instead_of: None }),
        7 => on(Command::Unreceive { settlement: key, proof: taken_back(0) }),
        _ => on(Command::Abandon { settlement: key }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// After every claim on credit: of this payer, and of all of them, no more than was said; whoever owes got none; and
    /// what is claimed and not settled is covered. At all times the receivable is what was given and not paid.
    #[test]
    fn nothing_is_given_beyond_what_was_said(steps in prop::collection::vec(any_step(), 1..150)) {
        let mut memory = opened();
        for (number, what, units) in steps {
            let request = step(number, what, units);
            let told = memory.run(at(1), &request);
            let sales: Vec<_> = memory.view.settlements.changed().map(|(_, sale)| sale).collect();
            let of = |which: fn(&Settlement) -> bool| -> BTreeMap<String, u128> {
                sales.iter().filter(|sale| which(sale)).fold(BTreeMap::new(), |mut sums, sale| {
                    *sums.entry(sale.key.authorization.payer.clone()).or_default() += sale.money.amount.get();
                    sums
                })
            };
            let owed = of(|sale| sale.is_sold_unpaid() || sale.state == State::Unpaid);
            prop_assert_eq!(receivable(&memory), owed.values().sum::<u128>());
            let (Told::New(effects), Command::Claim(claim)) = (&told, &request.command) else { continue };
            let (mine, open) = (&claim.key.authorization.payer, of(|sale| sale.state.is_open()));
            prop_assert!(open[mine] <= BALANCE, "{} is claimed of {BALANCE}", open[mine]);
            if claim.credit.is_some() {
                let exposed = of(Settlement::is_on_credit);
                prop_assert!(exposed[mine] <= PAYER_MAX);
                prop_assert!(exposed.values().sum::<u128>() <= TOTAL_MAX);
                prop_assert!(!of(|sale| sale.state == State::Unpaid).contains_key(mine));
                prop_assert_eq!(effects.settlement.as_ref().map(|sale| sale.state), Some(State::Promised));
            }
        }
    }
}

/// A unit of work that has changed something of a payer before that payer is read knows it all the same.
#[test]
fn a_payer_that_is_read_late_is_read_whole() {
    let mut memory = opened();
    let everybody = PayerKey::of(&key(1)).everybody();
    done(&mut memory, [claims(claim(1, Role::Seller, 6))]);
    assert!(!memory.view.open_of.is_loaded(&everybody));
    done(&mut memory, [promised(2, 4)]);
    let found = memory.view.open_of.find(&everybody).unwrap().unwrap();
    assert!(found.contains(&key(1)) && found.contains(&key(2)), "{found:?}");
}

/// Of all who mean to begin the work that one payment buys, one does; and an answer that is there stays.
#[test]
fn what_is_begun_is_begun_once() {
    let begin = |number, instead_of: &[u8]| {
        let document = Digest::of(b"begun");
        on(Command::Deliver { settlement: key(number), document, instead_of: Some(Digest::of(instead_of)) })
    };
    let paid = || {
        let mut memory = opened();
        done(&mut memory, [claims(claim(1, Role::Seller, 5)), dispatch(1), receive(1, 5)]);
        memory
    };
    for before in [&b"another"[..], b"", b"begun"] {
        let mut memory = paid();
        let records = memory.records.len();
        match memory.run(at(1), &begin(1, before)) {
            Told::Rejected(rejection) => assert_eq!(rejection.code(), Code::SettlementStateWrong),
            other => panic!("{other:?}"),
        }
        assert_eq!(memory.records.len(), records);
    }
    // From what was stored when it was sent, and then by whoever comes second: known, and so not theirs.
    let mut memory = paid();
    assert!(matches!(memory.run(at(1), &begin(1, b"what was given")), Told::New(_)));
    assert_eq!(memory.run(at(1), &begin(1, b"what was given")), Told::Known);
    done(&mut memory, [deliver(1)]);
    let again = memory.run(at(1), &begin(1, b"begun"));
    assert!(matches!(again, Told::Rejected(_)), "an answer that was given is not begun anew: {again:?}");
}

fn revisit(number: u8, nonce: &str) -> Request {
    on(Command::Revisit { settlement: key(number), nonce: nonce.to_owned() })
}

/// Whoever comes back has paid for it still, has got it, and shows a nonce that nobody has shown for that payer.
#[test]
fn only_what_is_paid_and_given_is_come_back_for() {
    let (one, unreceive) =
        (|| claims(claim(1, Role::Seller, 5)), || on(Command::Unreceive { settlement: key(1), proof: taken_back(0) }));
    let given = || vec![one(), dispatch(1), receive(1, 5)];
    let stop = |to| super::stream::by(super::stream::user(), Command::Gate { scope: Scope::Everything, to });
    let charge =
        on(Command::Charge { settlement: key(1), document: document(), charged: Amount::ZERO, instead_of: None });
    let carried = on(Command::Revisit { settlement: settlement(1, Role::Facilitator), nonce: "n".to_owned() });
    let other = || vec![claims(claim(2, Role::Seller, 4)), dispatch(2), receive(2, 4)];
    let cases = [
        (vec![], revisit(1, "n"), Code::SettlementStateWrong),
        (vec![one()], revisit(1, "n"), Code::SettlementStateWrong),
        (vec![one(), dispatch(1)], revisit(1, "n"), Code::SettlementStateWrong),
        (vec![one(), dispatch(1), fail(1)], revisit(1, "n"), Code::SettlementStateWrong),
        (vec![one(), receive(1, 5)], revisit(1, "n"), Code::SettlementStateWrong),
        (vec![one(), charge], revisit(1, "n"), Code::SettlementStateWrong),
        ([given(), vec![undeliver(1)]].concat(), revisit(1, "n"), Code::SettlementStateWrong),
        (vec![one(), dispatch(1), receive_young(1, 5), unreceive()], revisit(1, "n"), Code::SettlementStateWrong),
        (vec![claims(claim(1, Role::Facilitator, 5))], carried, Code::SettlementStateWrong),
        ([given(), vec![stop(GateState::Closed)]].concat(), revisit(1, "n"), Code::Stopped),
        ([given(), vec![revisit(1, "n")]].concat(), revisit(1, "n"), Code::SignInAnswered),
        // By the same payer, whichever purchase of theirs it is.
        ([given(), other(), vec![revisit(2, "n")]].concat(), revisit(1, "n"), Code::SignInAnswered),
    ];
    for (before, request, code) in cases {
        let mut memory = opened();
        done(&mut memory, before);
        let records = memory.records.len();
        match memory.run(at(1), &request) {
            Told::Rejected(rejection) => assert_eq!(rejection.code(), code, "{request:?}"),
            other => panic!("{other:?} for {request:?}"),
        }
        assert_eq!(memory.records.len(), records);
    }
    let mut memory = opened();
    done(&mut memory, [given(), other(), vec![revisit(1, "n"), revisit(1, "m"), revisit(2, "o")]].concat());
    let sale = memory.view.settlements.find(&key(1)).unwrap().unwrap();
    assert_eq!((sale.state, sale.pending), (State::Settled, None));
}
