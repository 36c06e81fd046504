//! Payments out of a channel: refusals first, then that what is spent and held covers whatever its payee can claim.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, but, commit, on};
use super::stream::stories::{deposit, drawn_step};
use super::stream::{
    FINAL, PERSON, ROOT, START, VALID_BEFORE, claim, mandate, money, refund, seen, settlement, spend, unused,
};
use crate::account::{Account, Balance, Net, Side};
use crate::channel::Step;
use crate::command::{Command, Covering, FailureProof, Refund, Request};
use crate::gate::{GateState, Scope};
use crate::id::{BudgetId, Digest};
use crate::money::Amount;
use crate::rejection::RejectionCode as Code;
use crate::settlement::Role;
use crate::spend::{Spend, SpendState};

const CHANNEL: u8 = 100;

/// The payment of this number is this step, for so much at most.
fn held(number: u8, step: u8, units: u128) -> Request {
    but(number, units, |hold| {
        hold.authorization = drawn_step(CHANNEL, step);
        hold.authority = money(units);
        hold.expires_at = START.plus_micros(100_000_000_000);
    })
}

fn signed(number: u8, step: u8, units: u128) -> Vec<Request> {
    vec![held(number, step, units), commit(number)]
}

fn answer(number: u8, charged: u128) -> Request {
    on(Command::Answer { spend: spend(number), charged: Amount::new(charged), document: Digest::of(b"said") })
}

fn covered(number: u8, by: u8) -> Request {
    on(Command::Cover { spend: spend(number), by: Covering::Step(spend(by)) })
}

fn closed(number: u8, charged: u128, at: i64) -> Request {
    let by = Covering::Closed { charged: Amount::new(charged), proof: unused(at) };
    on(Command::Cover { spend: spend(number), by })
}

fn back(number: u8, units: u128, finalized: u64) -> Request {
    on(Command::Withdraw { step: spend(number), refund: refund(CHANNEL, units), finalized })
}

fn put_in(units: u128) -> Request {
    on(Command::Claim(Box::new(deposit(CHANNEL, units))))
}

fn come(units: u128, finalized: u64) -> Request {
    on(Command::Receive { settlement: settlement(CHANNEL, Role::Wallet), seen: seen(units), finalized, gas: None })
}

pub(super) fn cases() -> Vec<Case> {
    let paid = |charged| [signed(1, 0, 40), vec![answer(1, charged)]].concat();
    let other = but(2, 40, |hold| hold.authorization = drawn_step(CHANNEL + 1, 1));
    let on_chain = on(Command::Settle { spend: spend(1), seen: seen(40), finalized: FINAL });
    let named = on(Command::Submit { spend: spend(1), transaction: "0x12".parse().unwrap() });
    let elsewhere = Refund { seen: seen(5), ..refund(CHANNEL, 5) };
    let stop = on(Command::Gate { scope: Scope::Everything, to: GateState::Closed });
    vec![
        // One at a time, whoever asks, and in their order.
        (vec![held(1, 0, 40)], 0, held(2, 0, 40), Code::ChannelBusy),
        (vec![held(1, 0, 40)], 0, held(2, 1, 40), Code::ChannelBusy),
        (signed(1, 0, 40), 0, held(2, 1, 40), Code::ChannelBusy),
        (
            [signed(1, 0, 40), vec![on(Command::Doubt { spend: spend(1) })]].concat(),
            0,
            held(2, 1, 40),
            Code::ChannelBusy,
        ),
        (vec![], 0, held(1, 1, 40), Code::ChannelBusy),
        (paid(40), 0, held(2, 2, 40), Code::ChannelBusy),
        (paid(40), 0, other, Code::ChannelBusy),
        // No more is charged than was held, and of what was never signed nothing.
        (signed(1, 0, 40), 0, answer(1, 41), Code::SettlementMismatch),
        (vec![held(1, 0, 40)], 0, answer(1, 40), Code::SpendStateWrong),
        (vec![], 0, answer(1, 40), Code::SpendUnknown),
        ([vec![but(1, 40, |_| {})], vec![commit(1)]].concat(), 0, answer(1, 40), Code::RailMismatch),
        // No chain shows one.
        (signed(1, 0, 40), 0, on_chain, Code::RailMismatch),
        (signed(1, 0, 40), 0, named, Code::RailMismatch),
        (paid(7), 0, on(Command::Refund { spend: spend(1), refund: refund(CHANNEL, 5) }), Code::RailMismatch),
        // The rest does not come back before nothing claims it.
        (paid(7), 0, covered(1, 1), Code::NotCovered),
        ([paid(7), vec![held(2, 1, 40)]].concat(), 0, covered(1, 2), Code::NotCovered),
        ([paid(7), signed(2, 1, 32)].concat(), 0, covered(1, 2), Code::NotCovered),
        ([paid(7), vec![but(3, 90, |_| {}), commit(3)]].concat(), 0, covered(1, 3), Code::NotCovered),
        ([paid(7), signed(2, 1, 40)].concat(), 0, covered(2, 1), Code::SpendStateWrong),
        (signed(1, 0, 40), 0, closed(1, 0, VALID_BEFORE - 1), Code::NotProved),
        (signed(1, 0, 40), 0, closed(1, 41, VALID_BEFORE), Code::SettlementMismatch),
        (paid(7), 0, closed(1, 6, VALID_BEFORE), Code::SettlementMismatch),
        (paid(7), 0, covered(1, 9), Code::SpendUnknown),
        // What came back is in a final block, comes to the wallet, and is of a channel.
        (paid(7), 0, back(1, 5, FINAL - 1), Code::NotFinal),
        (paid(7), 0, back(1, 0, FINAL), Code::SettlementMismatch),
        (
            paid(7),
            0,
            on(Command::Withdraw { step: spend(1), refund: elsewhere, finalized: FINAL }),
            Code::SettlementMismatch,
        ),
        ([vec![but(1, 40, |_| {})], vec![commit(1)]].concat(), 0, back(1, 5, FINAL), Code::RailMismatch),
        // A deposit is booked for good, or not yet; none begins under a stop.
        (vec![put_in(50)], 0, come(50, FINAL - 1), Code::NotFinal),
        (vec![put_in(50)], 0, come(49, FINAL), Code::SettlementMismatch),
        (vec![stop.clone()], 0, put_in(50), Code::Stopped),
        ([vec![held(1, 0, 40)], vec![stop]].concat(), 0, commit(1), Code::Stopped),
    ]
}

fn done(memory: &mut Memory, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        let told = memory.run(at(1), &request);
        assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
    }
}

fn figures(memory: &Memory, id: BudgetId) -> (u128, u128) {
    let node = memory.view.budgets.find(&id).unwrap().unwrap();
    (node.held.get(), node.posted.get())
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

fn found(memory: &Memory, number: u8) -> Spend {
    memory.view.spends.find(&spend(number)).unwrap().cloned().unwrap()
}

fn everywhere(memory: &Memory, held: u128, posted: u128) {
    for id in [PERSON, ROOT, mandate(0)] {
        assert_eq!(figures(memory, id), (held, posted), "{id}");
    }
}

#[test]
fn what_a_payee_can_still_claim_stays_spent_until_another_voucher_takes_its_place() {
    let mut memory = opened();
    let channel = Account::channel(&drawn_step(CHANNEL, 0));
    done(&mut memory, [put_in(100), come(100, FINAL)]);
    assert_eq!(balance(&memory, &channel), Net::Positive(Amount::new(100)));
    done(&mut memory, signed(1, 0, 40));
    done(&mut memory, [answer(1, 7)]);
    // It says seven; its voucher is good for forty.
    everywhere(&memory, 0, 40);
    assert_eq!(found(&memory, 1).transaction.unwrap().as_str(), "channel:0:7:40");
    done(&mut memory, [held(2, 1, 40)]);
    everywhere(&memory, 40, 40);
    done(&mut memory, [commit(2), covered(1, 2)]);
    everywhere(&memory, 40, 7);
    let first = found(&memory, 1);
    assert_eq!((first.state, first.money.amount.get(), first.authority.get()), (SpendState::Settled, 7, 7));
    assert_eq!(Step::of(&found(&memory, 2)).unwrap().signed(Amount::new(40)), Some(Amount::new(47)));
    assert!(matches!(memory.run(at(1), &covered(1, 2)), Told::Known));
    done(&mut memory, [answer(2, 40)]);
    everywhere(&memory, 0, 47);
    assert!(matches!(memory.run(at(1), &answer(2, 3)), Told::Known), "the first word stands");
    done(&mut memory, [back(2, 53, FINAL)]);
    assert!(matches!(memory.run(at(1), &back(2, 53, FINAL)), Told::Known));
    assert_eq!(balance(&memory, &channel), Net::Positive(Amount::ZERO));
}

#[test]
fn an_empty_channel_ends_what_nobody_answered() {
    let mut memory = opened();
    done(&mut memory, signed(1, 0, 40));
    done(&mut memory, [put_in(50), on(Command::Doubt { spend: spend(1) })]);
    let proof = FailureProof::Unused(unused(VALID_BEFORE));
    let lost = Command::Fail { settlement: settlement(CHANNEL, Role::Wallet), proof, gas: None };
    done(&mut memory, [on(lost), closed(1, 0, VALID_BEFORE)]);
    everywhere(&memory, 0, 0);
    assert_eq!(found(&memory, 1).state, SpendState::Released);
    // The next one knows the most that was ever signed.
    done(&mut memory, signed(2, 1, 10));
    assert_eq!(found(&memory, 2).transaction.unwrap().as_str(), "channel:0:-:40");
    done(&mut memory, [closed(2, 4, VALID_BEFORE)]);
    everywhere(&memory, 0, 4);
    assert_eq!(found(&memory, 2).transaction.unwrap().as_str(), "channel:0:4:40");
}

#[test]
fn nothing_is_charged_and_nothing_stays_spent() {
    let mut memory = opened();
    done(&mut memory, signed(1, 0, 40));
    done(&mut memory, [answer(1, 0)]);
    everywhere(&memory, 0, 40);
    done(&mut memory, signed(2, 1, 40));
    done(&mut memory, [covered(1, 2)]);
    everywhere(&memory, 40, 0);
    assert_eq!(Step::of(&found(&memory, 2)).unwrap().before, Amount::ZERO, "the same voucher, for something else");
}

#[test]
fn a_step_that_was_never_signed_leaves_the_channel_where_it_was() {
    let mut memory = opened();
    done(&mut memory, signed(1, 0, 40));
    done(&mut memory, [answer(1, 40), held(2, 1, 60), on(Command::Void { spend: spend(2) }), held(3, 2, 5)]);
    assert_eq!(found(&memory, 3).transaction.unwrap().as_str(), "channel:40:-:40");
}

/// A stop is there to keep money from going out: what brings it home goes on. A book that may be an old copy does nothing.
#[test]
fn a_stop_keeps_nobody_from_taking_back_what_is_his() {
    let call = |network: &str| {
        let mut claim = claim(9, Role::Facilitator, 5);
        claim.key.authorization.network = network.to_owned();
        on(Command::Claim(Box::new(claim)))
    };
    let own = ["eip155:1/escrow/withdraw", "eip155:1/escrow/finalize", "eip155:1/escrow/reclaim"];
    let others = ["eip155:1/escrow/claim", "eip155:1/escrow/refund", "eip155:1/escrow", "eip155:1/held", "eip155:1"];
    for (scope, is_own, passes) in [
        (Scope::Everything, true, true),
        (Scope::Everything, false, false),
        (Scope::Fence, true, false),
        (Scope::Fence, false, false),
    ] {
        let calls: &[&str] = if is_own { &own } else { &others };
        for network in calls {
            let mut memory = opened();
            done(&mut memory, [on(Command::Gate { scope: scope.clone(), to: GateState::Closed })]);
            let told = memory.run(at(2), &call(network));
            match passes {
                true => assert!(matches!(told, Told::New(_)), "{network} under {scope}: {told:?}"),
                false => assert!(matches!(told, Told::Rejected(_)), "{network} under {scope}: {told:?}"),
            }
        }
    }
}
