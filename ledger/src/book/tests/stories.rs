//! Several commands that belong together, for the streams.

use ledger::command::{Command, ReleaseProof, Request};
use ledger::gate::{GateState, Scope};
use proptest::prelude::*;

use super::{
    ISSUER, START, VALID_BEFORE, agent, build, by, hold, mandate, recover, refund, seen, service, spend, step, unused,
};

/// A payment from its hold on, as far as it gets: single steps rarely meet a spend in the right state.
fn payment() -> impl Strategy<Value = Vec<(i64, Request)>> {
    let places = prop_oneof![Just(0_u8), Just(1), Just(20), Just(22)];
    (30..60_u8, places, 1..60_u128, 1..6_usize, 0..8_u8).prop_map(|(number, place, units, length, end)| {
        let spend = spend(number);
        let mut hold = hold(number, mandate(place), units);
        hold.expires_at = START.plus_micros(100_000_000_000);
        let paid = match end {
            1 => Command::Misspend { spend, transaction: seen(1).transaction },
            2 | 3 => Command::Release { spend, proof: ReleaseProof::Unused(unused(VALID_BEFORE)) },
            _ => Command::Settle { spend, seen: seen(units) },
        };
        let refund = refund(number, units.div_ceil(u128::from(end.max(1))));
        let doubt = (end % 2 == 0).then_some(by(service(), Command::Doubt { spend }));
        let named = Command::Submit { spend, transaction: seen(2).transaction };
        let named = (end % 4 == 0).then_some(by(service(), named));
        let signed = [by(agent(), Command::Hold(Box::new(hold))), by(service(), Command::Commit { spend })];
        let ended = [by(service(), paid), by(agent(), Command::Refund { spend, refund })];
        let requests = signed.into_iter().chain(doubt).chain(named).chain(ended);
        requests.take(length).map(|request| (1_000, request)).collect()
    })
}

/// A book behind its fence, which finds a payment or two.
fn recovery() -> impl Strategy<Value = Vec<(i64, Request)>> {
    (0..60_u8, 0..60_u8, 1..100_u128).prop_map(|(one, two, units)| {
        let fence = |to| by(service(), Command::Gate { scope: Scope::Fence, to });
        let found = |nonce| by(service(), Command::Recover(Box::new(recover(nonce, units))));
        let requests = [fence(GateState::Closed), found(one), found(two), fence(GateState::Open)];
        requests.into_iter().map(|request| (1_000, request)).collect()
    })
}

/// A whole stream, after the preamble.
pub fn steps(longest: usize) -> impl Strategy<Value = Vec<(i64, Request)>> {
    let piece = prop_oneof![45 => step().prop_map(|step| vec![step]), 5 => payment(), 1 => recovery()];
    prop::collection::vec(piece, 1..longest).prop_map(|pieces| pieces.into_iter().flatten().collect())
}

/// One of the things that can be stopped.
fn scope(number: u8) -> Scope {
    match number {
        0 => Scope::Everything,
        1 => Scope::Person("user-1".parse().unwrap()),
        2 => Scope::Agent("agent-1".parse().unwrap()),
        3 => Scope::Mandate(mandate(0)),
        4 => Scope::Payee("shop".parse().unwrap()),
        5 => Scope::Build(build(1)),
        _ => Scope::Issuer(ISSUER.parse().unwrap()),
    }
}

pub fn gate(number: u8, to: GateState) -> Command {
    Command::Gate { scope: scope(number), to }
}
