//! Says WHAT IS BOUGHT, where a shop's checkout is spoken to by protocols of shops: ACP and UCP.
//!
//! The promise: one session, one transition table, one set of totals, whichever protocol it is spoken to by; a finished
//! session never moves again; and nothing is `completed` that was not said to be paid.
//!
//! Read in this order: [`checkout`] (the session), [`acp_checkout`] and [`ucp`] (its two faces), [`store`] (the port).
//!
//! It never does I/O, reads no clock, draws no random number and uses no float. That a mandate is good is said by the crate
//! `mandates`, that it is within its limits by the ledger; here is only what was sold, to whom, for how much.

pub mod acp_checkout;
pub mod checkout;
mod read;
pub mod store;
pub mod ucp;
