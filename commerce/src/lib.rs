//! Says WHAT IS BOUGHT, WHERE agents buy beside the web's own 402: the messages of the protocols of shops (ACP and UCP), one
//! session behind both, and the checks that need nothing but the message and the time.
//!
//! The promise: one session, one transition table, one set of totals, whichever protocol it is spoken to by; a finished
//! session never moves again; nothing is `completed` that was not said to be paid; what is closed in a protocol's schema is
//! closed here; what is refused is refused with the member that it is about and both values; and nothing that a card holder
//! would not want to read in a log has a `Debug` or a `Display`.
//!
//! Read in this order: [`checkout`] (the session), [`acp_checkout`] and [`ucp`] (its two faces), [`order`] (what was bought),
//! [`store`] (the port); [`acp`] (the vault of a payment processor), then its modules; [`tokenize`] (the same vault by UCP);
//! [`acp_buyer`] (the agent that buys from a shop of others); [`signatures`] (who sent an HTTP message).
//!
//! What it never does: no I/O, no clock, no random number, no HTTP, no SQL, no float, no decision about money. That a mandate
//! is good is said by the crate `mandates`, that it is within its limits by the ledger.

pub mod acp;
pub mod acp_buyer;
pub mod acp_checkout;
pub mod checkout;
pub mod order;
mod read;
pub mod signatures;
pub mod store;
pub mod tokenize;
pub mod ucp;
