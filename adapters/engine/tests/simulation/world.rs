//! The scheduler. One step is one thing that somebody does or that happens; between two of them tasks run a little, in an
//! order that the seed gives. A process that dies drops its tasks wherever they are.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use engine::Engine;
use engine::authorize::Payment;
use engine::error::EngineError;
use ledger::id::{BudgetId, Digest, IdempotencyKey, SpendId};
use ledger::rejection::RejectionCode;
use ledger::spend::SpendState;
use x402::wire::{PaymentPayload, PaymentRequired};

use super::checker::{Broken, Heard, Said, Seen, check};
use super::company::{AGENTS, CARRIER, Grant, HOME, SHOP, start, wallet_address};
use super::mutant::Mutant;
use super::state::{NodeMode, PROCESSES, Shared, State, StoreMode};
use super::store::settle_late;

pub enum Reply {
    Authorized(usize, Box<Result<Payment, EngineError>>),
    Opened(usize, Result<BudgetId, EngineError>),
    Other(String),
}

pub type Work = Pin<Box<dyn Future<Output = Reply>>>;

struct Task {
    process: usize,
    name: String,
    work: Work,
}

/// What an agent wants and how far it got.
#[derive(Clone)]
pub struct Purchase {
    pub agent: usize,
    pub mandate: BudgetId,
    pub key: IdempotencyKey,
    pub offer: PaymentRequired,
    pub again_after: Option<SpendId>,
    pub payment: Option<(SpendId, PaymentPayload)>,
}

pub struct World {
    pub shared: Shared,
    pub engines: Vec<Arc<Engine>>,
    tasks: Vec<Task>,
    pub purchases: Vec<Purchase>,
    pub mandates: Vec<(usize, BudgetId)>,
    /// Money that was sent back: of which payment, in which transaction.
    pub refunds: Vec<(SpendId, String)>,
    pub grant: Grant,
    pub said: Vec<Said>,
    seen: Seen,
    pub names: u64,
    /// What each agent runs.
    pub builds: [Option<u8>; AGENTS.len()],
    /// The chain reorganised in this step: it is looked at before anything mends itself.
    pub is_shaken: bool,
    /// Of a thousand.
    replies_lost: u64,
}

/// A seed, how far it got, and what did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub step: usize,
    pub broken: Broken,
}

/// What a seed came to.
#[derive(Clone, Debug, Default)]
pub struct Story {
    pub records: usize,
    pub settled: usize,
    pub roots: Vec<Digest>,
    /// By operation and state, for those who ask whether the seeds get anywhere.
    pub reached: std::collections::BTreeSet<String>,
}

const CHECK_EVERY: usize = 50;

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let shared = Shared::new(State::new(seed, mutant));
        let grant = Grant { tenant: 5_000_000, person: 4_000_000, day: 3_000_000 };
        let engines = (0..PROCESSES).map(|process| start(&shared, process, grant)).collect();
        let mut world = Self {
            shared,
            engines,
            tasks: Vec::new(),
            purchases: Vec::new(),
            mandates: Vec::new(),
            refunds: Vec::new(),
            grant,
            said: Vec::new(),
            seen: Seen::new(),
            names: 0,
            builds: [None, Some(1), Some(2)],
            is_shaken: false,
            replies_lost: 0,
        };
        world.fund();
        // Five mandates whose caps together pass those of the people above them.
        for agent in [0, 0, 1, 2, 2] {
            world.ask_mandate(0, agent);
            world.shared.with(|state| state.trace = Some(Vec::new()));
            world.finish();
        }
        let told = world.shared.with(|state| state.trace.take());
        assert!(world.mandates.len() == 5, "the mandates are open: {told:?}");
        world.shared.with(|state| state.store = StoreMode::Shaky);
        world.replies_lost = 50;
        world
    }

    pub fn spawn(&mut self, process: usize, name: impl Into<String>, work: impl Future<Output = Reply> + 'static) {
        self.tasks.push(Task { process, name: name.into(), work: Box::pin(work) });
    }

    /// Runs one task up to where it next waits.
    fn poll(&mut self, place: usize) {
        let task = &mut self.tasks[place];
        let Poll::Ready(reply) = task.work.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { return };
        let task = self.tasks.swap_remove(place);
        if self.shared.chance(self.replies_lost) {
            self.shared.with(|state| state.tell(|| format!("  {}: the reply is lost", task.name)));
            return;
        }
        self.hear(&task.name, reply);
    }

    fn hear(&mut self, name: &str, reply: Reply) {
        let text = match reply {
            Reply::Other(text) => text,
            Reply::Opened(agent, opened) => {
                self.mandates.extend(opened.iter().map(|mandate| (agent, *mandate)));
                format!("{opened:?}")
            }
            Reply::Authorized(place, told) => match *told {
                Ok(payment) => {
                    let spend = payment.spend.id;
                    self.purchases[place].payment = Some((spend, payment.payload));
                    self.note(place, Heard::Signed { spend, header: payment.header });
                    format!("signed as {spend}")
                }
                Err(error) => {
                    self.refused(place, &error);
                    error.to_string()
                }
            },
        };
        self.shared.with(|state| state.tell(|| format!("  {name}: {text}")));
    }

    fn note(&mut self, place: usize, heard: Heard) {
        let purchase = &self.purchases[place];
        let principal = AGENTS[purchase.agent].0.parse().unwrap();
        self.said.push(Said { principal, key: purchase.key.clone(), heard });
    }

    /// Refusals that a key keeps for ever, of those that only a hold can give.
    fn refused(&mut self, place: usize, error: &EngineError) {
        let EngineError::Book(rejection) = error else { return };
        use RejectionCode as Code;
        let kept = [
            Code::AmountExceedsBudget,
            Code::AmountExceedsPaymentLimit,
            Code::OccurrencesExhausted,
            Code::AmountExceedsPeriod,
            Code::PaymentsExceedPeriod,
        ];
        if kept.contains(&rejection.code()) {
            self.note(place, Heard::Refused(rejection.code()));
        }
        // What is over is over: the agent asks for another one.
        let over = [Code::MandateRevoked, Code::MandateExpired, Code::OccurrencesExhausted, Code::AmountExceedsBudget];
        if over.contains(&rejection.code()) {
            let over = self.purchases[place].mandate;
            self.mandates.retain(|(_, mandate)| *mandate != over);
        }
        if let ledger::rejection::Rejection::PurchaseUnresolved { spend, .. } = rejection
            && self.shared.chance(500)
        {
            let again = Purchase {
                again_after: Some(*spend),
                key: self.name(),
                payment: None,
                ..self.purchases[place].clone()
            };
            self.purchases.push(again);
        }
    }

    pub fn name(&mut self) -> IdempotencyKey {
        self.names += 1;
        format!("key-{}", self.names).parse().unwrap()
    }

    /// Every task to its end, in turn.
    pub fn finish(&mut self) {
        let mut rounds = 0;
        while !self.tasks.is_empty() {
            let place = rounds % self.tasks.len();
            self.poll(place);
            rounds += 1;
            assert!(
                rounds < 1_000_000,
                "a task never ends: {:?}",
                self.tasks.iter().map(|task| &task.name).collect::<Vec<_>>()
            );
        }
    }

    pub fn crash(&mut self, process: usize) {
        self.tasks.retain(|task| task.process != process);
        self.engines[process] = start(&self.shared, process, self.grant);
    }

    fn run_some(&mut self) {
        let mut turns = self.shared.with(|state| state.dice.below(50));
        // Who does not get on is helped: a step must not pile up work without end.
        if self.tasks.len() > 12 {
            turns += 200;
        }
        for _ in 0..turns {
            if self.tasks.is_empty() {
                return;
            }
            let place = self.shared.with(|state| state.dice.below(self.tasks.len()));
            self.poll(place);
        }
    }

    pub fn check(&mut self) -> Result<(), Broken> {
        self.shared.with(|state| check(state, &self.said, &mut self.seen))
    }

    /// All faults end; everything that is open comes to its end.
    fn heal(&mut self) -> Result<(), Broken> {
        self.replies_lost = 0;
        self.shared.with(|state| {
            state.store = StoreMode::Sound;
            state.nodes = [NodeMode::Sound; PROCESSES];
            state.skew = [0; PROCESSES];
            state.store_skew = 0;
            settle_late(state, None);
        });
        self.finish();
        for _ in 0..6 {
            self.wait(60);
            for tenant in [HOME, SHOP, CARRIER] {
                self.sweep(0, tenant);
                self.finish();
            }
        }
        self.check()?;
        let open = self.shared.with(|state| {
            let books = state.books.values();
            books
                .clone()
                .flat_map(|book| book.spends.values())
                .filter(|spend| spend.is_unfinished())
                .map(|spend| format!("{spend:?}"))
                .chain(
                    books
                        .flat_map(|book| book.settlements.values())
                        // What is owed waits for a human, and for nothing of ours.
                        .filter(|one| one.is_unfinished() && !one.is_owed())
                        .map(|one| format!("{one:?}")),
                )
                .next()
        });
        open.map_or(Ok(()), |open| Err(Broken::new("nothing stays open", open)))
    }

    fn wait(&mut self, seconds: i64) {
        self.shared.with(|state| {
            for _ in 0..seconds {
                state.now = state.now.plus_micros(1_000_000);
                let State { chain, dice, now, .. } = state;
                chain.advance(*now, dice);
            }
        });
    }

    fn story(&self) -> Story {
        self.shared.with(|state| {
            let records = state.books.values().flat_map(|book| &book.journal);
            let read = records.map(|entry| ledger::effects::Effects::from_bytes(&entry.bytes).unwrap());
            let operations: Vec<String> = read.map(|record| record.operation.to_string()).collect();
            Story {
                records: operations.len(),
                settled: operations.iter().filter(|operation| *operation == "settle").count(),
                roots: state.books.values().map(|book| book.head.frontier.root()).collect(),
                reached: operations.into_iter().collect(),
            }
        })
    }
}

/// A seed up to the first payment that is settled in a block which can be taken back; then that block is, and nothing in
/// it comes again by itself. What happened until all is at its end; `None` where a seed has no such moment.
pub fn run_until_taken_back(seed: u64, steps: usize) -> Option<Result<Story, Broken>> {
    let mut world = World::new(seed, None);
    for step in 0..steps {
        world.act(step);
        world.run_some();
        let is_young = world.shared.with(|state| {
            let spends = state.books.values().flat_map(|book| book.spends.values());
            let mut settled = spends.filter(|spend| spend.state == SpendState::Settled);
            settled.any(|spend| {
                let authorization = (wallet_address(), spend.authorization.nonce.into());
                let used = state.chain.use_of(&authorization);
                used.is_some_and(|used| used.block.number > state.chain.finalized().number)
            })
        });
        if is_young {
            world.shared.with(|state| state.chain.empty());
            return Some(world.check().and_then(|()| world.heal()).map(|()| world.story()));
        }
    }
    None
}

/// One seed from its beginning to its end. Panics of the service are failures of the seed too.
pub fn run(seed: u64, steps: usize, mutant: Option<Mutant>, trace: bool) -> (Result<Story, Failure>, Vec<String>) {
    let mut world = World::new(seed, mutant);
    world.shared.with(|state| state.trace = trace.then(Vec::new));
    let mut outcome = Ok(());
    let mut step = 0;
    while outcome.is_ok() && step < steps {
        world.act(step);
        world.run_some();
        if step % CHECK_EVERY == 0 || std::mem::take(&mut world.is_shaken) {
            outcome = world.check();
        }
        step += 1;
    }
    let outcome = outcome.and_then(|()| world.check()).and_then(|()| world.heal());
    let trace = world.shared.with(|state| state.trace.take().unwrap_or_default());
    let story = outcome.map(|()| world.story()).map_err(|broken| Failure { seed, step, broken });
    (story, trace)
}

/// Another `Arc` for a task.
impl World {
    pub fn engine(&self, process: usize) -> Arc<Engine> {
        self.engines[process].clone()
    }
}
