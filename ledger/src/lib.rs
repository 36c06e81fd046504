//! WHAT may be spent and what was: money, accounts, budgets, spends, and the journal of it all.
//!
//! The promise: for every budget and every ancestor of it, posted + held never passes the cap; a key, an
//! authorization and a closed mandate are used once; every transfer balances because it is one row; every change is a
//! journal record whose bytes are the change; and a refusal states the rule and both values.
//!
//! Read in this order: [`money`], [`budget`], [`window`], [`recurrence`], [`gate`], [`spend`], [`command`], [`book`] (every rule), [`effects`] (what a rule
//! produces, which is also the journal record), [`event`] (what others are told of it), [`view`] (how a record is taken in), [`journal`], [`proof`] and [`checkpoint`] (what pins it from outside), [`store`] (the port); [`approver`], what people sign in with.
//!
//! What it never does: no I/O, no clock, no SQL, no signature. It does not know what a mandate or a 402 is; it links
//! to them by digest.

// The tests that the stores share spell this crate's name.
#[cfg(test)]
extern crate self as ledger;

pub mod account;
pub mod approver;
pub mod book;
pub mod budget;
pub mod channel;
pub mod checkpoint;
pub mod claim;
pub mod codec;
pub mod command;
pub mod decision;
pub mod effects;
pub mod event;
pub mod gate;
pub mod id;
pub mod journal;
pub mod listing;
pub mod money;
pub mod origin;
pub mod posting;
pub mod proof;
pub mod recurrence;
pub mod rejection;
pub mod settlement;
pub mod spend;
pub mod status;
pub mod store;
pub mod transfer;
pub mod view;
pub mod window;
