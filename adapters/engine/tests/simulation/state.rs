//! Everything outside the processes: time, the database, the chain, the nodes in front of it. It survives a crash.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use engine::ports::{Clock, Entropy, SignError};
use ledger::id::{Micros, TenantId};
use ledger::store::Work;

use super::chain::ModelChain;
use super::dice::Dice;
use super::mutant::Mutant;
use super::tables::Tables;

/// Processes of the service on the same books.
pub const PROCESSES: usize = 2;
/// Within a day, so that days end while a seed runs.
pub const START: Micros = Micros(1_795_550_400_000_000 + 20 * 3_600_000_000);

/// How the node that a process asks behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeMode {
    Sound,
    Stalled,
    Flaky,
    /// Every question goes to another machine, each of them some blocks behind.
    Lagging,
    /// Leaves out logs and receipts that it should have.
    Forgetful,
}

/// How the database behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    Sound,
    Shaky,
    Down,
}

pub struct State {
    pub dice: Dice,
    pub now: Micros,
    /// How far each process's clock is off, in microseconds; and the database's.
    pub skew: [i64; PROCESSES],
    pub store_skew: i64,
    pub nodes: [NodeMode; PROCESSES],
    pub store: StoreMode,
    pub chain: ModelChain,
    pub books: BTreeMap<TenantId, Tables>,
    /// Units whose caller heard nothing and that the database has yet to write.
    pub late: Vec<(TenantId, Work)>,
    pub mutant: Option<Mutant>,
    pub trace: Option<Vec<String>>,
}

impl State {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        Self {
            dice: Dice::new(seed),
            now: START,
            skew: [0; PROCESSES],
            store_skew: 0,
            nodes: [NodeMode::Sound; PROCESSES],
            store: StoreMode::Sound,
            chain: ModelChain::new(START),
            books: BTreeMap::new(),
            late: Vec::new(),
            mutant,
            trace: None,
        }
    }

    pub fn store_now(&self) -> Micros {
        self.now.plus_micros(self.store_skew)
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }
}

#[derive(Clone)]
pub struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// One step of the world. Nothing waits while it is held.
    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    pub fn chance(&self, per_mille: u64) -> bool {
        self.with(|state| state.dice.chance(per_mille))
    }
}

/// The scheduler's chance to run somebody else, or to let the process die here.
pub fn pause() -> Pause {
    Pause { passed: false }
}

pub struct Pause {
    passed: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.passed {
            return Poll::Ready(());
        }
        self.passed = true;
        Poll::Pending
    }
}

pub struct SimClock {
    pub shared: Shared,
    pub process: usize,
}

impl Clock for SimClock {
    fn now(&self) -> Micros {
        self.shared.with(|state| state.now.plus_micros(state.skew[self.process]))
    }
}

pub struct SimEntropy(pub Shared);

impl Entropy for SimEntropy {
    fn bytes(&self) -> Result<[u8; 32], SignError> {
        Ok(self.0.with(|state| state.dice.bytes()))
    }
}
