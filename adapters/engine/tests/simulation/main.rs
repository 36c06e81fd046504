//! The whole service under one seed: engines, books and a model chain, with crashes, lost and repeated replies, reordering,
//! nodes that stall or leave things out, clocks that jump and databases that fail; and a checker that looks at the tables
//! alone. A seed is its journal, to the byte: a failing one replays.
//!
//! `PURSER_SIMULATION_SEEDS` and `PURSER_SIMULATION_STEPS` say how much is run; `PURSER_SIMULATION_SEED` replays one
//! seed and prints what happened in it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may fail loudly")]

mod actors;
mod chain;
mod checker;
mod company;
mod dice;
mod mutant;
mod node;
mod operators;
mod origins;
mod state;
mod store;
mod tables;
mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use checker::INVARIANTS;
use mutant::Mutant;
use world::{Failure, Story, run, run_until_taken_back};

const SEEDS: u64 = 30;
const STEPS: usize = 300;
/// Seeds after which a mutant counts as one that nothing finds.
const MUTANT_SEEDS: u64 = 60;

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().ok().unwrap_or_else(|| panic!("{name} is a number, not {text}")))
}

fn steps() -> usize {
    number("PURSER_SIMULATION_STEPS").unwrap_or(STEPS)
}

/// Seeds know nothing of each other: as many at once as there are cores, told in their order.
fn each<I: Sync, T: Send>(items: &[I], run: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let told = Mutex::new(Vec::new());
    let work = || {
        while let Some((place, item)) = items.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run(item);
            told.lock().unwrap().push((place, outcome));
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    let mut told = told.into_inner().unwrap();
    told.sort_by_key(|(place, _)| *place);
    told.into_iter().map(|(_, outcome)| outcome).collect()
}

fn report(failure: &Failure) -> String {
    let Failure { seed, step, broken } = failure;
    format!(
        "seed {seed}, step {step}: {} does not hold: {}\nreplay with PURSER_SIMULATION_SEED={seed} PURSER_SIMULATION_STEPS={}",
        broken.invariant,
        broken.detail,
        steps()
    )
}

#[test]
fn every_invariant_holds_under_every_seed() {
    if let Some(seed) = number("PURSER_SIMULATION_SEED") {
        let (outcome, trace) = run(seed, steps(), None, true);
        trace.iter().for_each(|line| println!("{line}"));
        println!("{:?}", outcome.map_err(|failure| panic!("{}", report(&failure))));
        return;
    }
    let (mut records, mut settled, mut reached) = (0, 0, BTreeSet::new());
    let mut failures = Vec::new();
    let seeds: Vec<u64> = (0..number("PURSER_SIMULATION_SEEDS").unwrap_or(SEEDS)).collect();
    for outcome in each(&seeds, |seed| run(*seed, steps(), None, false).0) {
        match outcome {
            Ok(story) => {
                records += story.records;
                settled += story.settled;
                reached.extend(story.reached);
            }
            Err(failure) => failures.push(report(&failure)),
        }
    }
    assert!(failures.is_empty(), "{} seeds fail:\n{}", failures.len(), failures.join("\n"));
    println!("{records} records, {settled} payments settled, operations: {reached:?}");
    // Seeds that get nowhere prove nothing.
    for operation in ["hold", "void", "expire", "commit", "submit", "doubt", "settle", "release", "reject", "refund"] {
        assert!(reached.contains(operation), "no seed reaches {operation}");
    }
    for operation in ["unsettle", "finalise", "unreceive", "conclude"] {
        assert!(reached.contains(operation), "no seed reaches {operation}");
    }
    for operation in ["claim", "abandon", "dispatch", "receive", "fail", "gate", "change_budget", "change_caps"] {
        assert!(reached.contains(operation), "no seed reaches {operation}");
    }
}

#[test]
fn a_seed_is_its_journal_to_the_byte() {
    let once = |seed| run(seed, 200, None, true);
    for seed in [7, 8] {
        let ((one, first), (two, second)) = (once(seed), once(seed));
        let roots = |story: Result<Story, Failure>| story.map(|story| story.roots).map_err(|failure| report(&failure));
        assert_eq!(roots(one), roots(two));
        assert!(first == second && !first.is_empty(), "the same things happened");
    }
}

#[test]
fn every_mutant_is_caught() {
    let (mut survivors, mut broken_by_one) = (Vec::new(), BTreeSet::new());
    let find = |mutant: &Mutant| (0..MUTANT_SEEDS).find_map(|seed| run(seed, STEPS, Some(*mutant), false).0.err());
    for (mutant, caught) in Mutant::ALL.into_iter().zip(each(&Mutant::ALL, find)) {
        match caught {
            Some(Failure { seed, step, broken }) => {
                println!("{mutant:?}: seed {seed}, step {step}, {:?}: {}", broken.all, broken.detail);
                broken_by_one.extend(broken.all);
            }
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "nothing finds {survivors:?}");
    let idle: Vec<_> = INVARIANTS.iter().map(|(name, _)| *name).filter(|name| !broken_by_one.contains(name)).collect();
    assert!(idle.is_empty(), "no mutant breaks {idle:?}: what says that they look at all?");
}

/// Payments are settled at first sight; where the chain takes one back for good, the book follows: held again, and then
/// settled by another block or released by proof. Nothing stays as the chain no longer has it.
#[test]
fn a_settlement_that_the_chain_takes_back_for_good_is_followed() {
    let taken: Vec<_> = (0..8).filter_map(|seed| run_until_taken_back(seed, STEPS)).collect();
    assert!(!taken.is_empty(), "some seed settles a payment in a young block");
    for outcome in taken {
        let story = outcome.unwrap_or_else(|broken| panic!("{}: {}", broken.invariant, broken.detail));
        assert!(story.reached.contains("unsettle"), "{:?}", story.reached);
    }
}
