//! The crate from outside: issued chains, broken chains, contexts, receipts, conformance files.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may fail loudly")]

mod ap2_sdk;
mod cast;
mod certificates;
mod checkouts;
mod contexts;
mod credentials;
mod disclosures;
mod fuzzing;
mod hand_over;
mod names;
mod narrowing;
mod openid4vp;
mod receipts;
mod remembered;
mod round_trip;
mod standing;
mod status;
mod tampering;
mod trust;
mod v0_1;
mod vectors;
