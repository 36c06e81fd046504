//! The crate from outside: issued chains, broken chains, contexts, receipts, conformance files.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may fail loudly")]

mod cast;
mod contexts;
mod hand_over;
mod narrowing;
mod receipts;
mod round_trip;
mod status;
mod tampering;
mod vectors;
