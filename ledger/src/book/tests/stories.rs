//! Several commands that belong together, for the streams.

use ledger::channel::step_nonce;
use ledger::claim::LogPlace;
use ledger::command::{
    Accept, Acknowledgement, Answered, Attempt, ClaimSettlement, Command, Covering, FailureProof, Hold, Recover,
    Refund, ReleaseProof, Request,
};
use ledger::decision::Finding;
use ledger::gate::{GateState, Scope};
use ledger::id::{Caller, CallerKind, Digest};
use ledger::money::Amount;
use ledger::settlement::Role;
use ledger::spend::{Authorization, BlockRef, Observation, TakenBack, VAULT_NETWORK, VOUCHER};
use proptest::prelude::*;

use super::{
    FINAL, ISSUER, PERSON, ROOT, START, VALID_BEFORE, agent, authorization, build, by, caller, claim, hold, mandate,
    money, presented_for, promise, review, seen, service, settlement, spend, step, unused, user,
};

/// Some payments are looked at while they go, or too late.
fn looked_at(number: u8, hold: &mut Hold) -> Vec<Request> {
    if !number.is_multiple_of(5) {
        return Vec::new();
    }
    let put = review(number, number.is_multiple_of(2));
    let (review, subject, spend, because) = (put.decision, put.subject, hold.spend, Digest::of(b"because"));
    hold.review = Some(put);
    let finding = if number.is_multiple_of(3) { Finding::Dispute } else { Finding::Fine };
    let overdue = Command::Overdue { review, spend, suspend: number == 50 };
    vec![by(service(), overdue), by(user(), Command::Review { review, subject, spend, finding, because })]
}

/// A payment from its hold on, as far as it gets: single steps rarely meet a spend in the right state.
fn payment() -> impl Strategy<Value = Vec<(i64, Request)>> {
    let places = prop_oneof![Just(0_u8), Just(1), Just(20), Just(22)];
    (30..60_u8, places, 1..60_u128, 1..11_usize, 0..8_u8).prop_map(|(number, place, units, length, end)| {
        let spend = spend(number);
        let mut hold = hold(number, mandate(place), units);
        hold.expires_at = START.plus_micros(100_000_000_000);
        let paid = match end {
            1 => Command::Misspend { spend, transaction: seen(1).transaction },
            2 | 3 => Command::Release { spend, proof: ReleaseProof::Unused(unused(VALID_BEFORE)) },
            6 | 7 => Command::Settle { spend, seen: seen(units), finalized: FINAL - 1 },
            _ => Command::Settle { spend, seen: seen(units), finalized: FINAL },
        };
        let looked = looked_at(number, &mut hold);
        let refund = refund(number, units.div_ceil(u128::from(end.max(1))));
        // Taken back, and settled once more; or final.
        let (unsettle, finalise) = (
            Command::Unsettle { spend, proof: taken_back(0) },
            Command::Finalise { spend, seen: seen(units), finalized: FINAL },
        );
        let followed = match end {
            6 => vec![by(service(), unsettle), by(service(), paid.clone()), by(service(), finalise)],
            7 => vec![by(service(), finalise)],
            _ => Vec::new(),
        };
        let doubt = (end % 2 == 0).then_some(by(service(), Command::Doubt { spend }));
        let named = Command::Submit { spend, transaction: seen(2).transaction };
        let named = (end % 4 == 0).then_some(by(service(), named));
        let signed = [by(agent(), Command::Hold(Box::new(hold))), by(service(), Command::Commit { spend })];
        let ended = std::iter::once(by(service(), paid)).chain(followed);
        let refunded = by(agent(), Command::Refund { spend, refund });
        let come_back = Command::SignIn { spend, under: mandate(place), document: Digest::of(b"text") };
        let attest = Command::Attest { spend, document: Digest::of(b"receipt") };
        let after = [by(agent(), attest), by(agent(), come_back), refunded];
        let requests = signed.into_iter().chain(looked).chain(doubt).chain(named).chain(ended).chain(after);
        requests.take(length).map(|request| (1_000, request)).collect()
    })
}

/// A mandate that is closed for somebody else, as far as it gets.
fn presented() -> impl Strategy<Value = Vec<(i64, Request)>> {
    (60..80_u8, 1..60_u128, 1..8_usize, 0..6_u8).prop_map(|(number, units, length, end)| {
        let spend = spend(number);
        let mut hold = hold(number, mandate(number % 2), units);
        hold.authorization = presented_for(number);
        hold.expires_at = START.plus_micros(100_000_000_000);
        // Some are of one cart.
        hold.cart = (number % 4 == 0).then(|| Digest::of(&[b'c', number / 8]));
        let receipt = |answer| {
            let document = Digest::of(b"receipt");
            Acknowledgement { document, transaction: "0x79".parse().unwrap(), answer }
        };
        let present = Command::Present { spend, document: Digest::of(b"chain") };
        let answer = |answer| Command::Acknowledge { spend, receipt: receipt(answer) };
        let doubt = Command::Doubt { spend };
        let ended = match end {
            0 => vec![present, answer(Answered::Paid), answer(Answered::NotPaid)],
            1 => vec![present, answer(Answered::NotPaid), answer(Answered::Paid)],
            2 => vec![present, doubt, answer(Answered::Paid)],
            3 => vec![present, doubt, answer(Answered::NotPaid)],
            4 => vec![Command::Settle { spend, seen: seen(units), finalized: FINAL }, Command::Lapse { spend }],
            _ => vec![present, Command::Release { spend, proof: ReleaseProof::Unused(unused(VALID_BEFORE)) }],
        };
        let signed = [by(agent(), Command::Hold(Box::new(hold))), by(service(), Command::Commit { spend })];
        let requests = signed.into_iter().chain(ended.into_iter().map(|command| by(service(), command)));
        // Some wait for their answer until nobody can be paid any more.
        let pause = |place: usize| if place > 2 && (number % 3 == 0 || end == 1) { 4_000_000_000 } else { 1_000 };
        requests.take(length).enumerate().map(|(place, request)| (pause(place), request)).collect()
    })
}

/// A vault token, redeemed until it is captured.
fn redeemed() -> impl Strategy<Value = Vec<(i64, Request)>> {
    (80..100_u8, 1..60_u128, 1..9_usize, 0..6_u8).prop_map(|(number, units, length, end)| {
        let spend = spend(number);
        let mut hold = hold(number, mandate(number % 2), units);
        hold.authorization = Authorization { network: VAULT_NETWORK.to_owned(), ..authorization(number) };
        hold.expires_at = START.plus_micros(100_000_000_000);
        let attempt = |name: u8| {
            let amount = Amount::new(units.div_ceil(u128::from(name)));
            Attempt { document: Digest::of(&[b'a', number, name]), amount }
        };
        // Some are for the same thing.
        let redeem = |name| Command::Redeem { spend, attempt: attempt(name), cart: Digest::of(&[b'v', number / 4]) };
        let document = Digest::of(b"answer");
        let decline = |name| Command::Decline { spend, attempt: attempt(name), document };
        let transaction = || "acq-1".parse().unwrap();
        let capture = |name| Command::Capture { spend, attempt: attempt(name), transaction: transaction(), document };
        let doubt = Command::Doubt { spend };
        let announce = |units| Command::Announce { spend, refunds: Amount::new(units), document };
        let back = Command::Refund { spend, refund: refund(number, units.div_ceil(2)) };
        let rest = match end {
            4 => vec![redeem(1), capture(1), announce(units), back, announce(units + 1), announce(0)],
            5 => vec![redeem(1), capture(1), announce(units.div_ceil(3)), announce(units / 2), back, announce(units)],
            0 => vec![redeem(1), capture(1), capture(1), redeem(2)],
            1 => vec![redeem(2), decline(2), redeem(3), doubt, capture(3), decline(3)],
            2 => vec![redeem(1), doubt, decline(1), Command::Void { spend }, redeem(2)],
            _ => vec![redeem(3), Command::Void { spend }, capture(1), capture(3)],
        };
        let held = by(agent(), Command::Hold(Box::new(hold)));
        let requests = std::iter::once(held).chain(rest.into_iter().map(|command| by(service(), command)));
        requests.take(length).map(|request| (1_000, request)).collect()
    })
}

/// A mandate that was presented to us, three times: the same acceptance, and another.
fn accepted() -> impl Strategy<Value = Vec<(i64, Request)>> {
    (0..20_u8).prop_map(|number| {
        let by = |request| by(merchant(), Command::Accept(Box::new(accept(number, request))));
        [1, 1, 2].map(|request| (1_000, by(request))).to_vec()
    })
}

pub fn merchant() -> Caller {
    caller("shop-1", CallerKind::Merchant)
}

pub fn accept(number: u8, request: u8) -> Accept {
    let (request, document) = (Digest::of(&[request]), Digest::of(&[request, number]));
    Accept { mandate: mandate(number), nonce: format!("theirs-{number}"), request, document }
}

/// A sale that is paid, taken back by the chain, and then comes to something or to nothing.
fn sale() -> impl Strategy<Value = Vec<(i64, Request)>> {
    (30..60_u8, 1..12_usize, 0..3_u8).prop_map(|(number, length, end)| {
        let key = || settlement(number, Role::Seller);
        let receive = || Command::Receive { settlement: key(), seen: seen(5), finalized: FINAL - 1, gas: None };
        let redeem = Command::HandOver { settlement: key(), seen: seen(5), finalized: FINAL - 1 };
        let ended = match end {
            0 => Command::Fail { settlement: key(), proof: FailureProof::Unused(unused(VALID_BEFORE)), gas: None },
            _ => receive(),
        };
        let dispatch = Command::Dispatch {
            settlement: key(),
            document: Digest::of(b"signed"),
            transaction: None,
            account_nonce: None,
        };
        let commands = [
            Command::Claim(Box::new(claim(number, Role::Seller, 5))),
            if end == 2 || number % 2 == 0 { dispatch } else { receive() },
            if end == 2 { Command::Abandon { settlement: key() } } else { redeem },
            Command::Unreceive { settlement: key(), proof: taken_back(0) },
            Command::Abandon { settlement: key() },
            ended,
            Command::Conclude { settlement: key(), seen: seen(5), finalized: FINAL, gas: None },
            Command::GiveBack { settlement: key(), refund: refund(number, 3), finalized: FINAL },
            Command::GiveBack { settlement: key(), refund: refund(number + 60, 2), finalized: FINAL },
        ];
        commands.into_iter().take(length).map(|command| (1_000, by(service(), command))).collect()
    })
}

/// A sale on credit that is never paid, or one that is paid first and not delivered, as far as it gets.
fn credit() -> impl Strategy<Value = Vec<(i64, Request)>> {
    (60..120_u8, 1..8_usize, 0..3_u8).prop_map(|(number, length, end)| {
        let (key, document) = (|| settlement(number, Role::Seller), Digest::of(b"given"));
        let claim = Command::Claim(Box::new(promise(number, 2, 1_000, 100_000)));
        let fail = Command::Fail { settlement: key(), proof: FailureProof::Unused(unused(VALID_BEFORE)), gas: None };
        let write_off = || Command::WriteOff { settlement: key(), document };
        let dispatch = Command::Dispatch { settlement: key(), document, transaction: None, account_nonce: None };
        let receive = Command::Receive { settlement: key(), seen: seen(2), finalized: FINAL, gas: None };
        let undeliver = Command::Undeliver { settlement: key(), document };
        let refund = refund(number + 100, 1 + u128::from(number % 2));
        let back = Command::GiveBack { settlement: key(), refund, finalized: FINAL };
        let commands = match end {
            0 => vec![claim, Command::Serve { settlement: key(), document, charged: None }, fail, write_off()],
            1 => vec![
                claim,
                dispatch,
                receive,
                undeliver,
                Command::Deliver { settlement: key(), document, instead_of: None },
            ],
            _ => vec![claim, dispatch, receive, undeliver, back, write_off()],
        };
        commands.into_iter().take(length).map(|command| (1_000, by(service(), command))).collect()
    })
}

/// A step of a channel of the streams.
pub fn drawn_step(channel: u8, number: u8) -> Authorization {
    let nonce = step_nonce([channel; 32], u64::from(number));
    let network = format!("eip155:31337/{VOUCHER}");
    Authorization { network, nonce, ..authorization(0) }.at_most()
}

/// Money of the wallet's for that channel.
pub fn deposit(channel: u8, units: u128) -> ClaimSettlement {
    ClaimSettlement { subject: Digest([channel; 32]), ..claim(channel, Role::Wallet, units) }
}

/// Money in a channel, and payments out of it, as far as they get.
fn drawn() -> impl Strategy<Value = Vec<(i64, Request)>> {
    (100..130_u8, 2..14_usize, 0..4_u8, 0..11_u128).prop_map(|(channel, length, end, charged)| {
        let number = 120 + 4 * (channel - 100);
        let held = |step: u8| {
            let mut hold = hold(number + step, mandate(step % 2), 10);
            hold.authorization = drawn_step(channel, step);
            hold.expires_at = START.plus_micros(100_000_000_000);
            Command::Hold(Box::new(hold))
        };
        let spend = |step: u8| spend(number + step);
        let commit = |step| Command::Commit { spend: spend(step) };
        let answer = |step, units: u128| Command::Answer {
            spend: spend(step),
            charged: Amount::new(units),
            document: Digest::of(b"answer"),
        };
        let closed = |step, units: u128| {
            let by = Covering::Closed { charged: Amount::new(units), proof: unused(VALID_BEFORE) };
            Command::Cover { spend: spend(step), by }
        };
        let covered = Command::Cover { spend: spend(0), by: Covering::Step(spend(1)) };
        let put_in = Command::Claim(Box::new(deposit(channel, 50)));
        let key = settlement(channel, Role::Wallet);
        let come = Command::Receive { settlement: key.clone(), seen: seen(50), finalized: FINAL, gas: None };
        let lost = Command::Fail { settlement: key, proof: FailureProof::Unused(unused(VALID_BEFORE)), gas: None };
        let back = Command::Withdraw { step: spend(0), refund: refund(channel, 30), finalized: FINAL };
        let doubt = |step| Command::Doubt { spend: spend(step) };
        let first = [held(0), commit(0), put_in];
        let rest = match end {
            0 => vec![come, answer(0, charged), held(1), commit(1), covered, doubt(1), answer(1, 10), back],
            1 => vec![come, doubt(0), answer(0, charged), held(1), commit(1), closed(0, 10), closed(1, charged), back],
            2 => vec![lost, closed(0, 0), held(1), Command::Void { spend: spend(1) }, held(2), commit(2), answer(2, 3)],
            _ => vec![answer(0, charged), held(1), covered, commit(1), answer(1, 11), answer(1, 1), closed(1, 0), back],
        };
        let by_whom = |command: Command| match &command {
            Command::Hold(_) => by(agent(), command),
            _ => by(service(), command),
        };
        first.into_iter().chain(rest).take(length).map(|command| (1_000, by_whom(command))).collect()
    })
}

/// Another block in the place of the one that everything is seen in; with a number above nought a wrong proof of it.
pub fn taken_back(odd: u8) -> TakenBack {
    let Observation { transaction, .. } = seen(1);
    let proof = TakenBack { transaction, block: seen(1).block(), instead: [8; 32] };
    match odd {
        1 => TakenBack { transaction: "0x78".parse().unwrap(), ..proof },
        2 => TakenBack { block: BlockRef { number: FINAL + 1, ..proof.block }, ..proof },
        3 => TakenBack { block: BlockRef { hash: [6; 32], ..proof.block }, ..proof },
        4 => TakenBack { instead: proof.block.hash, ..proof },
        _ => proof,
    }
}

/// A transfer back to the wallet of the streams.
pub fn refund(transaction: u8, units: u128) -> Refund {
    let transaction: ledger::id::RailReference = format!("0xf{transaction:x}").parse().unwrap();
    let place = LogPlace { network: "eip155:31337".to_owned(), transaction: transaction.clone(), number: 0 };
    Refund { place, seen: Observation { transaction, pay_to: authorization(0).payer, ..seen(units) } }
}

/// A payment that the chain shows, under a nonce that no hold of the streams has, or that one may have.
pub fn recover(nonce: u8, units: u128) -> Recover {
    let (money, authority) = (money(units), Amount::new(units));
    Recover { authorization: authorization(nonce), money, authority, nodes: vec![PERSON, ROOT], seen: seen(units) }
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
    let piece = prop_oneof![45 => step().prop_map(|step| vec![step]), 5 => payment(), 1 => recovery(), 1 => sale(), 1 => credit(), 2 => presented(), 1 => redeemed(), 1 => accepted(), 2 => drawn()];
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
