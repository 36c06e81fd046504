//! Agent2Agent (protocol versions 1.0 and 0.3, JSON-RPC binding), the seller's side: an agent whose skills cost something,
//! over the x402 extension (`a2a-x402` v0.1 and v0.2; x402 `transports-v2/a2a.md`).
//!
//! A task is one purchase. Its name is all that there is of it until it is paid: it carries skill, context and time, sealed
//! by the seller, so that nothing is written for whoever only asks. A payment for it goes through the paywall that stands
//! before priced routes and tools, and is claimed as the payment of this order: one payment a task, whoever comes with
//! another and at whichever replica. What a task is, is read from the book again each time; a restart forgets nothing that
//! was paid.
//!
//! Read in this order: [`call`] (what comes), [`task`] (what a task is called, and what is said of it), [`sold`] (paying
//! for one), [`cart`] (the same within AP2), [`door`] (who may call).
//!
//! - Nothing that a message says of a payment is believed (`payment-verified`, "the user confirmed"): a payload is paid or
//!   it is nothing.
//! - Whoever knows a task's name may read it; one that was begun with a token is read with a token of the same caller.
//! - A cancellation is remembered by the process that took it, until the unpaid task would have ended by itself. It is a
//!   courtesy to whoever asked: the book decides, and a payment that it has stands.
//!
//! Not here: streaming, push notifications, lists of tasks, an extended card; each is refused with the protocol's own code.

mod call;
mod card;
pub mod cart;
pub mod door;
pub mod sold;
mod task;

/// URIs of the x402 extension. Both say the same; the second knows the embedded flow.
pub const X402_V0_1: &str = "https://github.com/google-a2a/a2a-x402/v0.1";
pub const X402_V0_2: &str = "https://github.com/google-agentic-commerce/a2a-x402/blob/main/spec/v0.2";
/// AP2's extension (v0.1): carts and payment mandates as data parts.
pub const AP2: &str = "https://github.com/google-agentic-commerce/ap2/tree/v0.1";

/// Members of a message's metadata (`a2a-x402` v0.2 section 7).
mod key {
    pub const STATUS: &str = "x402.payment.status";
    pub const REQUIRED: &str = "x402.payment.required";
    pub const PAYLOAD: &str = "x402.payment.payload";
    pub const RECEIPTS: &str = "x402.payment.receipts";
    pub const ERROR: &str = "x402.payment.error";
}
