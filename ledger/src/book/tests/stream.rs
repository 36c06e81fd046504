//! Random command streams over a small world, where names collide often. Shared by the book's property tests and by
//! the stores', which is why it spells the crate's name.

#[path = "stories.rs"]
pub mod stories;

use ledger::budget::{BudgetKind, BudgetState, Caps, Refunds};
use ledger::command::{
    ClaimSettlement, Command, Cover, Credit, FailureProof, Gas, Hold, OpenBudget, Pin, Propose, ReleaseProof, Request,
};
use ledger::decision::Answer;
use ledger::gate::{GateState, Scope};
use ledger::id::{AuthMethod, BudgetId, Caller, CallerKind, DecisionId, Digest, Micros, SpendId};
use ledger::money::{Amount, AssetId};
use ledger::origin::Build;
use ledger::recurrence::Frequency;
use ledger::settlement::{Role, SettlementKey};
use ledger::spend::{Authorization, MANDATE_NETWORK, Observation, UnusedProof};
use ledger::transfer::Money;
use ledger::window::{Limit, Period};
use proptest::prelude::*;

pub use self::stories::{gate, recover, refund, steps, taken_back};

pub const ISSUER: &str = "https://idp.example/a";

/// Where the clock of a stream starts.
pub const START: Micros = Micros::from_seconds(1_800_000_000);
pub const VALID_BEFORE: i64 = 1_800_003_600;
pub const PAY_TO: &str = "0x00000000000000000000000000000000000000bb";

pub const ROOT: BudgetId = BudgetId([0xe0; 32]);
pub const PERSON: BudgetId = BudgetId([0xe1; 32]);

pub fn token() -> AssetId {
    "eip155:31337/erc20:0x5fbdb2315678afecb367f032d93f642f64180aa3".parse().unwrap()
}

pub fn money(units: u128) -> Money {
    Money { asset: token(), amount: Amount::new(units) }
}

pub fn caller(principal: &str, kind: CallerKind) -> Caller {
    Caller::new(principal.parse().unwrap(), kind, AuthMethod::Bearer)
}

/// It comes by an outside issuer, and its build is registered.
pub fn agent() -> Caller {
    Caller { issuer: Some(ISSUER.parse().unwrap()), build: Some(build(1)), ..caller("agent-1", CallerKind::Agent) }
}

pub fn user() -> Caller {
    Caller { issuer: Some(ISSUER.parse().unwrap()), ..caller("user-1", CallerKind::User) }
}

pub fn service() -> Caller {
    caller("service", CallerKind::Service)
}

pub fn build(number: u8) -> Build {
    Build(Digest([number; 32]))
}

pub fn mandate(number: u8) -> BudgetId {
    BudgetId([number; 32])
}

pub fn spend(number: u8) -> SpendId {
    SpendId([number; 32])
}

pub fn by(caller: Caller, command: Command) -> Request {
    Request { caller, command }
}

pub fn propose(number: u8) -> Request {
    let decision = DecisionId([number; 32]);
    let subject = Digest::of(&[number]);
    let expires_at = START.plus_micros(900_000_000);
    by(agent(), Command::Propose(Propose { decision, subject, approver: "user-1".parse().unwrap(), expires_at }))
}

pub fn decide(number: u8, answer: Answer) -> Request {
    let (decision, subject) = (DecisionId([number; 32]), Digest::of(&[number]));
    by(user(), Command::Decide { decision, subject, answer, evidence: None })
}

pub fn open(id: BudgetId, parent: Option<BudgetId>, kind: BudgetKind, caps: Caps, decision: Option<u8>) -> Request {
    let holder = match kind {
        BudgetKind::Mandate => "agent-1",
        BudgetKind::Tenant | BudgetKind::Person => "user-1",
    };
    by(
        user(),
        Command::OpenBudget(OpenBudget {
            id,
            parent,
            kind,
            holder: holder.parse().unwrap(),
            asset: token(),
            caps,
            decision: decision.map(|number| DecisionId([number; 32])),
            document: Some(Digest::of(b"terms")),
        }),
    )
}

pub fn total(cap: u128) -> Caps {
    Caps { total: Some(Amount::new(cap)), ..Caps::default() }
}

pub fn daily(units: u128) -> Limit {
    // The stream begins at midnight there, and has no change of the clocks before spring.
    let zone = "America/Los_Angeles".parse().unwrap();
    Limit { period: Period::Day(zone), each_payee: false, amount: Some(Amount::new(units)), payments: None }
}

pub fn to_each(units: u128) -> Limit {
    Limit { period: Period::Never, each_payee: true, amount: Some(Amount::new(units)), payments: None }
}

pub fn rolling(seconds: u32, units: u128, payments: u64) -> Limit {
    let (amount, payments) = (Some(Amount::new(units)), Some(payments));
    Limit { period: Period::Rolling(seconds), each_payee: false, amount, payments }
}

/// Mandates with limits, by number.
const LIMITED: [u8; 4] = [20, 21, 22, RECURRING];
/// And one that is used once a day.
const RECURRING: u8 = 23;

fn limits_of(number: u8) -> Vec<Limit> {
    match number {
        20 => vec![daily(150), to_each(190)],
        21 => vec![rolling(600, 130, 9)],
        RECURRING => vec![],
        _ => vec![rolling(86_400, 400, 2), daily(350)],
    }
}

/// The world that every stream starts from: tenant 1,000, person 700, mandates that together exceed both.
pub fn preamble() -> Vec<Request> {
    let mut requests = vec![
        by(
            service(),
            Command::Fund { wallet: "eip155:31337:0xaa".to_owned(), money: money(5_000), reference: Digest::of(b"f") },
        ),
        // As much a day and to each payee as in all: rows of windows under every payment, which refuse nothing.
        open(ROOT, None, BudgetKind::Tenant, Caps { limits: vec![daily(1_000), to_each(1_000)], ..total(1_000) }, None),
        open(PERSON, Some(ROOT), BudgetKind::Person, Caps { refunds: Refunds::Restore, ..total(700) }, None),
    ];
    let caps = [
        total(500),
        Caps { per_payment: Some(Amount::new(120)), ..total(400) },
        Caps { occurrences: Some(3), ..total(700) },
        Caps { expires_at: Some(START.plus_micros(600_000_000)), ..Caps::default() },
    ];
    for (number, caps) in (0_u8..).zip(caps) {
        requests.push(propose(number));
        requests.push(decide(number, Answer::Approve));
        let parent = if number == 3 { ROOT } else { PERSON };
        requests.push(open(mandate(number), Some(parent), BudgetKind::Mandate, caps, Some(number)));
    }
    for number in LIMITED {
        requests.push(propose(number));
        requests.push(decide(number, Answer::Approve));
        let refunds = if number == 20 { Refunds::Restore } else { Refunds::Keep };
        let frequency = (number == RECURRING).then_some(Frequency::Daily);
        let caps = Caps { limits: limits_of(number), refunds, frequency, ..total(600) };
        requests.push(open(mandate(number), Some(PERSON), BudgetKind::Mandate, caps, Some(number)));
    }
    requests
}

pub fn authorization(number: u8) -> Authorization {
    Authorization {
        network: "eip155:31337".to_owned(),
        asset: token(),
        payer: "0x00000000000000000000000000000000000000aa".to_owned(),
        nonce: [number; 32],
    }
}

/// The same on the mandate rail: a mandate closed for one verifier and one nonce of theirs.
pub fn presented_for(number: u8) -> Authorization {
    Authorization { network: MANDATE_NETWORK.to_owned(), nonce: [number ^ 0x80; 32], ..authorization(number) }
}

/// A hold whose names all follow from the spend's number.
pub fn hold(number: u8, budget: BudgetId, units: u128) -> Hold {
    Hold {
        spend: spend(number),
        operation: "pay".to_owned(),
        key: format!("key-{number}").parse().unwrap(),
        request: Digest::of(&[number]),
        budget,
        leaf_nonce: format!("leaf-{number}"),
        authority: money(units),
        money: money(units),
        rate: None,
        payee: "shop".parse().unwrap(),
        pay_to: PAY_TO.to_owned(),
        pin: None,
        purchase: Digest::of(&[b'p', number]),
        cart: None,
        authorization: authorization(number),
        valid_before: VALID_BEFORE,
        since_block: 1,
        expires_at: START.plus_micros(300_000_000),
        again_after: None,
        evidence: Digest::of(b"evidence"),
        review: None,
    }
}

/// Whom a payment is put before after it went; their time is over at once, or in an hour.
pub fn review(number: u8, is_over: bool) -> Propose {
    let expires_at = if is_over { START } else { START.plus_micros(3_600_000_000) };
    let (decision, subject) = (DecisionId([number ^ 0x80; 32]), Digest::of(&[b'r', number]));
    Propose { decision, subject, approver: "user-1".parse().unwrap(), expires_at }
}

/// The block in which everything is seen here: where it is the chain's last final one, nothing is taken back.
pub const FINAL: u64 = 7;

pub fn seen(units: u128) -> Observation {
    Observation {
        transaction: "0x77".parse().unwrap(),
        block_number: FINAL,
        block_hash: [7; 32],
        pay_to: PAY_TO.to_owned(),
        amount: Amount::new(units),
    }
}

pub fn change_caps(budget: BudgetId, caps: Caps) -> Command {
    Command::ChangeCaps { budget, caps }
}

pub fn unused(finalized_timestamp: i64) -> UnusedProof {
    UnusedProof { finalized_number: 9, finalized_hash: [9; 32], finalized_timestamp }
}

pub fn settlement(number: u8, role: Role) -> SettlementKey {
    SettlementKey { role, authorization: authorization(number) }
}

pub fn claim(number: u8, role: Role, units: u128) -> ClaimSettlement {
    ClaimSettlement {
        key: settlement(number, role),
        money: money(units),
        payee: "shop".parse().unwrap(),
        pay_to: PAY_TO.to_owned(),
        subject: Digest::of(&[number]),
        valid_before: VALID_BEFORE,
        since_block: 1,
        cover: None,
        credit: None,
        named: None,
        order: None,
    }
}

/// The same, given before it is paid; all that the payer has is `balance`.
pub fn promise(number: u8, units: u128, payer_max: u128, balance: u128) -> ClaimSettlement {
    let (payer_max, total_max) = (Amount::new(payer_max), Some(Amount::new(payer_max.saturating_mul(2))));
    let cover = Some(Cover { balance: Amount::new(balance), allowance: None, beside: Vec::new() });
    ClaimSettlement { cover, credit: Some(Credit { payer_max, total_max }), ..claim(number, Role::Seller, units) }
}

const SPENDS: u8 = 10;

/// What a spend of this number mostly costs, so that what is seen on the chain mostly fits.
fn price(number: u8) -> u128 {
    20 + 15 * u128::from(number)
}

/// One command, and how far the clock moves before it.
pub fn step() -> impl Strategy<Value = (i64, Request)> {
    let pause =
        prop_oneof![80 => 0..2_000_000_i64, 2 => Just(400_000_000), 4 => Just(-1_000_000), 1 => Just(30_000_000_000)];
    let request = prop_oneof![8 => any_hold(), 10 => on_spend(), 5 => on_settlement(), 2 => on_budget()];
    (pause, request)
}

fn any_hold() -> impl Strategy<Value = Request> {
    let who = prop_oneof![
        6 => Just(agent()),
        2 => Just(Caller { build: Some(build(2)), issuer: None, ..agent() }),
        1 => Just(service()),
        1 => Just(caller("agent-2", CallerKind::Agent))
    ];
    let amount = prop_oneof![
        16 => Just(None),
        4 => (1..250_u128).prop_map(Some),
        1 => Just(Some(0)),
        1 => Just(Some(u128::MAX))
    ];
    let names = (0..SPENDS, 0..SPENDS, 0..SPENDS, 0..SPENDS * 2);
    (who, prop_oneof![5 => 0..5_u8, 4 => prop::sample::select(&LIMITED[..])], names, amount, 0..4_u8, 0..10_u8)
        .prop_map(|(who, budget, names, units, pin, odd)| {
            let (number, purchase, leaf, nonce) = names;
            let mut hold = hold(number, mandate(budget), units.unwrap_or(price(number)));
            // As in life, where a spend's name is derived from its caller: the same key of another caller is another spend.
            if who.kind == CallerKind::Service {
                hold.spend = spend(number + SPENDS);
            }
            hold.purchase = Digest::of(&[b'p', purchase / 2]);
            if odd != 4 {
                hold.expires_at = START.plus_micros(10_000_000_000);
            }
            if odd == 0 {
                hold.request = Digest::of(b"another request");
            }
            // Mostly its own leaf and nonce, sometimes somebody else's.
            if odd == 1 {
                hold.leaf_nonce = format!("leaf-{leaf}");
            }
            if odd == 2 {
                hold.authorization = authorization(nonce);
            }
            if odd >= 7 {
                hold.again_after = Some(spend(purchase));
            }
            if pin < 2 {
                hold.pin = Some(Pin { origin: format!("https://shop-{pin}"), network: "eip155:31337".to_owned() });
            }
            if odd == 3 {
                hold.pay_to = "0x00000000000000000000000000000000000000cc".to_owned();
            }
            by(who, Command::Hold(Box::new(hold)))
        })
}

fn on_spend() -> impl Strategy<Value = Request> {
    (0..SPENDS, any::<bool>(), 0..16_u8, 0..250_u128).prop_map(|(number, of_service, what, units)| {
        let spend = spend(if of_service && units % 4 == 0 { number + SPENDS } else { number });
        let transaction = || format!("0x{number:02x}").parse().unwrap();
        let command = match what {
            0 => Command::Void { spend },
            1 => Command::Expire { spend },
            2..=4 => Command::Commit { spend },
            5 => Command::Submit { spend, transaction: transaction() },
            6 => Command::Doubt { spend },
            7 | 11 => {
                let seen = seen(if units < 200 { price(number) } else { units });
                Command::Settle { spend, seen, finalized: FINAL - u64::from(what == 7) }
            }
            14 => Command::Unsettle { spend, proof: taken_back(number % 8) },
            15 => Command::Finalise { spend, seen: seen(price(number)), finalized: FINAL - u64::from(units < 60) },
            8 => Command::Release { spend, proof: ReleaseProof::Unused(unused(VALID_BEFORE + i64::from(number) - 3)) },
            9 => Command::Release { spend, proof: ReleaseProof::Canceled(transaction()) },
            12 | 13 => Command::Refund { spend, refund: refund(number * 2 + u8::from(units % 2 == 0), units / 8) },
            _ => Command::Misspend { spend, transaction: transaction() },
        };
        by(service(), command)
    })
}

fn on_settlement() -> impl Strategy<Value = Request> {
    (0..4_u8, 0..18_u8, 0..2_u8, 1..4_u128).prop_map(|(number, what, role, units)| {
        // Two numbers of one price each, so that what is seen on the chain fits.
        let units = if number > 1 { number.into() } else { units };
        let role = if role == 0 { Role::Seller } else { Role::Facilitator };
        let key = settlement(number, role);
        let gas = || Some(Gas { wallet: "eip155:31337:0xcc".to_owned(), money: money(units) });
        let (document, sold) = (Digest::of(&[what]), settlement(number.max(2), Role::Seller));
        let command = match what {
            0 | 15 => Command::Claim(Box::new(promise(number.max(2), units, 3, 9))),
            11 => Command::Serve { settlement: sold, document, charged: None },
            12 => Command::Deliver { settlement: sold, document, instead_of: None },
            13 => Command::Undeliver { settlement: sold, document },
            14 => Command::WriteOff { settlement: sold, document },
            1..=2 => Command::Claim(Box::new(claim(number, role, units))),
            3 => Command::Abandon { settlement: key },
            4 => Command::Dispatch {
                settlement: key,
                document: Digest::of(b"signed"),
                transaction: Some("0x99".parse().unwrap()),
                account_nonce: Some(units.try_into().unwrap()),
            },
            5 | 8 => Command::Receive {
                settlement: key,
                seen: seen(units),
                finalized: FINAL - u64::from(what == 8),
                gas: gas(),
            },
            17 => Command::GiveBack { settlement: sold, refund: refund(number, 1), finalized: FINAL },
            16 => Command::HandOver { settlement: sold, seen: seen(units), finalized: FINAL - 1 },
            9 => Command::Unreceive { settlement: key, proof: taken_back(number) },
            10 => Command::Conclude { settlement: key, seen: seen(units), finalized: FINAL, gas: gas() },
            6 => Command::Fail { settlement: key, proof: FailureProof::Unused(unused(VALID_BEFORE)), gas: gas() },
            _ => Command::Fund {
                wallet: "eip155:31337:0xaa".to_owned(),
                money: money(units - 1),
                reference: Digest::of(b"f"),
            },
        };
        by(service(), command)
    })
}

fn on_budget() -> impl Strategy<Value = Request> {
    (0..7_u8, 0..18_u8, 1..2_000_u128).prop_map(|(number, what, cap)| {
        let number = if what >= 12 { number } else { number.min(4) };
        let budget = if number == 4 { PERSON } else { mandate(number) };
        let change = |to| by(user(), Command::ChangeBudget { budget, to });
        match what {
            0 => change(BudgetState::Suspended),
            1..=3 => change(BudgetState::Active),
            4 if number == 3 => change(BudgetState::Revoked),
            5 => propose(number + 4),
            // Mostly as much as there was; sometimes under what is used already.
            12 => {
                let limits = [vec![], vec![daily(600)], vec![daily(200)]][usize::from(number % 3)].clone();
                by(service(), change_caps(PERSON, Caps { limits, ..total(200 + cap / 4) }))
            }
            13 | 16 => by(service(), Command::Recover(Box::new(recover(20 + number, cap / 20)))),
            14 if cap % 3 == 0 => by(service(), Command::Gate { scope: Scope::Fence, to: GateState::Closed }),
            14 | 15 | 17 => by(service(), Command::Gate { scope: Scope::Fence, to: GateState::Open }),
            8 => by(if cap % 3 == 0 { service() } else { user() }, gate(number, GateState::Closed)),
            9..=11 => by(if cap % 2 == 0 { service() } else { user() }, gate(number, GateState::Open)),
            6 => decide(number + 4, if cap % 2 == 0 { Answer::Approve } else { Answer::Deny }),
            _ => open(mandate(number + 4), Some(PERSON), BudgetKind::Mandate, total(cap), Some(number + 4)),
        }
    })
}
