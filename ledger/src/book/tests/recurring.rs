//! The table of `recurrence`, row by row; holds out of order; the tree; and that no two uses that live are too near.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, at, commit, holds, on, void};
use super::stream::{
    FINAL, PERSON, VALID_BEFORE, agent, by, caller, change_caps, decide, hold, mandate, open, propose, refund, seen,
    service, spend, taken_back, token, total, unused,
};
use crate::budget::{BudgetKind, Caps};
use crate::codec::{decode, encode};
use crate::command::{Command, Delegate, Hold, OpenBudget, ReleaseProof, Request};
use crate::decision::Answer;
use crate::id::{BudgetId, CallerKind, DecisionId, Digest, Micros};
use crate::recurrence::{Frequency, LastUse};
use crate::rejection::{Rejection, RejectionCode as Code};
use crate::spend::SpendState;

const DAY: i64 = 86_400;

fn every(frequency: Frequency) -> Caps {
    Caps { frequency: Some(frequency), ..total(500) }
}

fn opens(number: u8, caps: Caps) -> Vec<Request> {
    vec![
        propose(number),
        decide(number, Answer::Approve),
        open(mandate(number), Some(PERSON), BudgetKind::Mandate, caps, Some(number)),
    ]
}

fn lasting(number: u8, under: BudgetId) -> Hold {
    Hold { expires_at: Micros(i64::MAX), ..hold(number, under, 1) }
}

fn pays(number: u8) -> Request {
    holds(lasting(number, mandate(9)))
}

fn settle(number: u8, finalized: u64) -> Request {
    on(Command::Settle { spend: spend(number), seen: seen(1), finalized })
}

fn release(number: u8) -> Request {
    on(Command::Release { spend: spend(number), proof: ReleaseProof::Unused(unused(VALID_BEFORE)) })
}

#[track_caller]
fn done(memory: &mut Memory, seconds: i64, request: &Request) {
    let told = memory.run(at(seconds), request);
    assert!(matches!(told, Told::New(_)), "{told:?} for {request:?}");
}

#[track_caller]
fn too_soon(memory: &mut Memory, seconds: i64, request: &Request) -> (BudgetId, i64, i64, i64) {
    match memory.run(at(seconds), request) {
        Told::Rejected(Rejection::RecurrenceTooSoon { budget, last, due, now, .. }) => (budget, last, due, now),
        other => panic!("{other:?} for {request:?}"),
    }
}

fn opened_with(caps: Caps) -> Memory {
    let mut memory = opened();
    opens(9, caps).iter().for_each(|request| done(&mut memory, 0, request));
    memory
}

fn last_use(memory: &Memory, node: BudgetId) -> Option<LastUse> {
    memory.view.budgets.find(&node).unwrap().unwrap().last_use
}

pub(super) fn cases() -> Vec<Case> {
    let after = |caps: Caps, more: Vec<Request>| [opens(9, caps), more].concat();
    let soon = Code::RecurrenceTooSoon;
    vec![
        (after(every(Frequency::Daily), vec![pays(1)]), 0, pays(2), soon),
        (after(every(Frequency::Daily), vec![pays(1)]), DAY - 1, pays(2), soon),
        (after(every(Frequency::Daily), vec![pays(1), commit(1)]), DAY - 1, pays(2), soon),
        (after(every(Frequency::Weekly), vec![pays(1), commit(1), settle(1, FINAL)]), 7 * DAY - 1, pays(2), soon),
        (after(every(Frequency::Biweekly), vec![pays(1)]), 14 * DAY - 1, pays(2), soon),
        // From 15 January 2027.
        (after(every(Frequency::Monthly), vec![pays(1)]), 31 * DAY - 1, pays(2), soon),
        (after(every(Frequency::Quarterly), vec![pays(1)]), 90 * DAY - 1, pays(2), soon),
        (after(every(Frequency::Annually), vec![pays(1)]), 365 * DAY - 1, pays(2), soon),
        // How often goes before how soon, and how soon before how much.
        (
            after(Caps { occurrences: Some(1), ..every(Frequency::Daily) }, vec![pays(1)]),
            1,
            pays(2),
            Code::OccurrencesExhausted,
        ),
        (after(every(Frequency::Daily), vec![pays(1)]), 1, holds(hold(2, mandate(9), 501)), soon),
        (
            vec![propose(9), decide(9, Answer::Approve)],
            0,
            open(mandate(9), Some(PERSON), BudgetKind::Mandate, every(Frequency::OnDemand), Some(9)),
            Code::LimitInvalid,
        ),
    ]
}

#[test]
fn the_table_row_by_row() {
    let transaction = || "0x77".parse().unwrap();
    let submit = on(Command::Submit { spend: spend(1), transaction: transaction() });
    let doubt = on(Command::Doubt { spend: spend(1) });
    let misspend = on(Command::Misspend { spend: spend(1), transaction: transaction() });
    let taken = on(Command::Unsettle { spend: spend(1), proof: taken_back(0) });
    let expire = on(Command::Expire { spend: spend(1) });
    let refund = on(Command::Refund { spend: spend(1), refund: refund(1, 1) });
    let restores = Caps { refunds: crate::budget::Refunds::Restore, ..every(Frequency::Weekly) };
    let rows: Vec<(&str, Vec<Request>, Option<()>)> = vec![
        ("hold", vec![], Some(())),
        ("void", vec![void(1)], None),
        ("expiry", vec![expire], None),
        ("released by proof", vec![commit(1), release(1)], None),
        ("released from doubt", vec![commit(1), doubt.clone(), release(1)], None),
        ("signed", vec![commit(1)], Some(())),
        ("reported", vec![commit(1), submit], Some(())),
        ("unknown", vec![commit(1), doubt], Some(())),
        ("spent otherwise", vec![commit(1), misspend], Some(())),
        ("settled", vec![commit(1), settle(1, FINAL)], Some(())),
        ("taken back by the chain", vec![commit(1), settle(1, FINAL - 1), taken.clone()], Some(())),
        ("and released then", vec![commit(1), settle(1, FINAL - 1), taken, release(1)], None),
        ("refund, where the node restores", vec![commit(1), settle(1, FINAL), refund], Some(())),
    ];
    for (name, steps, lives) in rows {
        let mut memory = opened_with(restores.clone());
        done(&mut memory, DAY, &holds(Hold { expires_at: at(2 * DAY), ..hold(1, mandate(9), 1) }));
        let first = last_use(&memory, mandate(9)).expect("a hold is a use");
        assert_eq!(first.at.seconds(), at(DAY).seconds(), "at the instant of the reservation");
        for step in &steps {
            let seconds = if matches!(step.command, Command::Expire { .. }) { 2 * DAY } else { DAY + 60 };
            done(&mut memory, seconds, step);
        }
        assert_eq!(last_use(&memory, mandate(9)), lives.map(|()| first), "{name}");
        if lives.is_some() {
            let (_, last, due, now) = too_soon(&mut memory, 8 * DAY - 1, &pays(2));
            assert_eq!((last, due, now), (at(DAY).seconds(), at(8 * DAY).seconds(), due - 1), "{name}");
            done(&mut memory, 8 * DAY, &pays(3));
        } else {
            done(&mut memory, 2 * DAY, &pays(3));
        }
    }
}

/// Two holds whose ends come in the other order.
#[test]
fn uses_that_are_given_back_out_of_order_leave_what_lives() {
    let mut memory = opened_with(every(Frequency::Daily));
    done(&mut memory, 0, &pays(1));
    done(&mut memory, DAY, &pays(2));
    let second = last_use(&memory, mandate(9));
    // The earlier one: the later lives, and it alone counts.
    done(&mut memory, DAY + 1, &void(1));
    assert_eq!(last_use(&memory, mandate(9)), second);
    too_soon(&mut memory, 2 * DAY - 1, &pays(3));
    // Now the later one too: nothing is left.
    done(&mut memory, 2 * DAY - 1, &void(2));
    assert_eq!(last_use(&memory, mandate(9)), None);
    done(&mut memory, 2 * DAY - 1, &pays(4));

    // The later one alone: the earlier lives, and was due when the later was reserved.
    let mut memory = opened_with(every(Frequency::Daily));
    done(&mut memory, 0, &pays(1));
    done(&mut memory, DAY, &pays(2));
    done(&mut memory, DAY + 1, &void(2));
    done(&mut memory, DAY + 2, &pays(3));
    too_soon(&mut memory, DAY + 3, &pays(4));
}

/// A refusal is the answer of its key, also when the next use is due; a new key pays.
#[test]
fn a_key_that_came_too_soon_keeps_its_answer() {
    let mut memory = opened_with(every(Frequency::Monthly));
    done(&mut memory, 0, &pays(1));
    too_soon(&mut memory, DAY, &pays(2));
    too_soon(&mut memory, 400 * DAY, &pays(2));
    done(&mut memory, 400 * DAY, &pays(3));
}

fn child(number: u8, parent: BudgetId, holder: &str, caps: Caps) -> Request {
    let delegate = Delegate {
        operation: "delegations".to_owned(),
        key: format!("child-{number}").parse().unwrap(),
        request: Digest::of(&[number]),
        open: OpenBudget {
            id: mandate(number),
            parent: Some(parent),
            kind: BudgetKind::Mandate,
            holder: holder.parse().unwrap(),
            asset: token(),
            caps,
            decision: Some(DecisionId([9; 32])),
            document: Some(Digest::of(b"child")),
        },
    };
    by(agent(), Command::Delegate(Box::new(delegate)))
}

fn by_child(name: &str, number: u8, under: u8) -> Request {
    by(caller(name, CallerKind::Agent), Command::Hold(Box::new(lasting(number, mandate(under)))))
}

/// A use of a child is a use of everything above it that recurs.
#[test]
fn a_parents_recurrence_binds_all_of_its_children_together() {
    let mut memory = opened_with(every(Frequency::Weekly));
    done(&mut memory, 0, &child(40, mandate(9), "agent-2", every(Frequency::Monthly)));
    // A child that says nothing of it is bound all the same.
    done(&mut memory, 0, &child(41, mandate(9), "agent-3", total(100)));
    done(&mut memory, DAY, &by_child("agent-2", 1, 40));
    assert_eq!(last_use(&memory, mandate(9)), last_use(&memory, mandate(40)));
    for (number, seconds) in [(2, DAY + 1), (3, 8 * DAY - 1)] {
        let (budget, ..) = too_soon(&mut memory, seconds, &by_child("agent-3", number, 41));
        assert_eq!(budget, mandate(9), "the parent's week");
    }
    done(&mut memory, 8 * DAY, &by_child("agent-3", 4, 41));
    assert_eq!(last_use(&memory, mandate(41)), None, "a node that does not recur remembers nothing");
    too_soon(&mut memory, 15 * DAY - 1, &pays(6));
    let (budget, ..) = too_soon(&mut memory, 15 * DAY, &by_child("agent-2", 5, 40));
    assert_eq!(budget, mandate(40), "its own month");
    done(&mut memory, 15 * DAY, &pays(7));
}

/// What a person agreed to never changes, and a configuration says nothing of it.
#[test]
fn a_frequency_is_not_changed_with_caps() {
    let mut memory = opened();
    let changed = by(service(), change_caps(PERSON, Caps { frequency: Some(Frequency::Daily), ..total(600) }));
    done(&mut memory, 0, &changed);
    assert_eq!(memory.view.budgets.find(&PERSON).unwrap().unwrap().caps.frequency, None);
}

/// Records of before there were recurrences are records as they were.
#[test]
fn without_a_recurrence_the_bytes_are_those_of_before() {
    let (plain, recurring) = (total(500), every(Frequency::Monthly));
    let (before, after) = (encode(&plain), encode(&recurring));
    assert_eq!(before.last(), Some(&1), "what refunds do, and no more");
    let (head, tail) = after.split_at(before.len() - 1);
    assert_eq!((head, tail), (&before[..before.len() - 1], &[0x81, 5][..]), "marked, and behind it the frequency");
    assert_eq!((decode(&before), decode(&after)), (Ok(plain), Ok(recurring)));
    for bytes in [&after[..after.len() - 1], &[&before[..], &[5]].concat(), &[head, &[0x80, 5]].concat()] {
        assert!(decode::<Caps>(bytes).is_err(), "{bytes:?}");
    }
    let mut memory = opened_with(every(Frequency::Daily));
    let unused = memory.view.budgets.find(&mandate(9)).unwrap().unwrap().clone();
    done(&mut memory, 0, &pays(1));
    let used = memory.view.budgets.find(&mandate(9)).unwrap().unwrap().clone();
    let longer = encode(&used).len() - encode(&unused).len();
    assert_eq!(longer, 16, "the record of the hold, and its instant");
    assert_eq!(decode(&encode(&used)), Ok(used));
}

/// One step of the property: which spend, what, and how many hours later.
fn steps() -> impl Strategy<Value = Vec<(u8, u8, i64)>> {
    let hours = prop_oneof![4 => 0..30_i64, 2 => 20..200_i64, 1 => 600..9_000_i64, 1 => Just(-5_i64)];
    prop::collection::vec((0..40_u8, 0..12_u8, hours), 1..120)
}

/// When the spends that live and count at a node were reserved, in order.
fn living(memory: &Memory, instants: &BTreeMap<u8, (BudgetId, i64)>, node: BudgetId) -> Vec<i64> {
    let lives = |number: u8| {
        let found = memory.view.spends.find(&spend(number)).unwrap();
        let state = found.expect("a spend that was reserved").state;
        !matches!(state, SpendState::Voided | SpendState::Expired | SpendState::Released)
    };
    let counted =
        instants.iter().filter(|(number, (leaf, _))| (node == mandate(9) || *leaf == node) && lives(**number));
    let mut live: Vec<i64> = counted.map(|(_, (_, at))| *at).collect();
    live.sort_unstable();
    live
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the order of holds, releases and settlements: no two uses that live are nearer than the frequency, at the
    /// node and at the one above it; and nothing is refused but for one that lives.
    #[test]
    fn no_two_uses_that_live_are_too_near(
        above in prop::sample::select(&Frequency::ALL[1..]),
        below in prop::sample::select(&Frequency::ALL[1..]),
        steps in steps(),
    ) {
        let mut memory = opened_with(every(above));
        done(&mut memory, 0, &child(40, mandate(9), "agent-2", every(below)));
        let nodes = [(mandate(9), above), (mandate(40), below)];
        let mut instants: BTreeMap<u8, (BudgetId, i64)> = BTreeMap::new();
        let (mut refused, mut clock) = (BTreeSet::new(), 10_i64);
        for (number, what, hours) in steps {
            clock += hours * 3_600;
            let request = match what {
                0..=3 if number % 2 == 0 => pays(number),
                0..=3 => by_child("agent-2", number, 40),
                4 => void(number),
                5 | 6 => commit(number),
                7 => settle(number, FINAL - u64::from(number % 3 == 0)),
                8 => release(number),
                9 => on(Command::Unsettle { spend: spend(number), proof: taken_back(0) }),
                10 => on(Command::Doubt { spend: spend(number) }),
                _ => on(Command::Expire { spend: spend(number) }),
            };
            let told = memory.run(at(clock), &request);
            let now = memory.view.head.last_at.unwrap().seconds();
            match &told {
                Told::New(effects) if matches!(request.command, Command::Hold(_)) => {
                    let leaf = effects.spend.as_ref().unwrap().budget;
                    for (node, frequency) in nodes.iter().filter(|(node, _)| *node == mandate(9) || *node == leaf) {
                        for last in living(&memory, &instants, *node) {
                            let due = frequency.due_after_seconds(last).unwrap();
                            prop_assert!(due <= effects.at.seconds(), "{frequency} after {last} came {}", effects.at.seconds());
                        }
                    }
                    instants.insert(number, (leaf, effects.at.seconds()));
                }
                // A key that was refused before says again what was true then.
                Told::Rejected(Rejection::RecurrenceTooSoon { budget, last, due, .. }) if refused.insert(number) => {
                    let uses = living(&memory, &instants, *budget);
                    prop_assert!(uses.contains(last) && *due > now.min(at(clock).seconds()), "{last} of {uses:?}");
                }
                _ => {}
            }
            for (node, frequency) in nodes {
                let uses = living(&memory, &instants, node);
                let spaced = uses.windows(2).all(|pair| frequency.due_after_seconds(pair[0]).unwrap() <= pair[1]);
                prop_assert!(spaced, "{frequency}: {uses:?}");
            }
        }
    }
}
