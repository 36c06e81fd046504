//! A tower layer that charges for routes over x402: the seller's side, mountable on any axum-style service.
//!
//! 1. The handler runs at most once a payment; a payment is claimed, durably, before the handler runs.
//! 2. Nothing of the answer leaves before the payment is settled, unless the route says so and the till agrees; a handler that
//!    fails charges nothing, unless the route is paid first, and then the same payment still buys it.
//! 3. The same payment for the same request gets the same answer; for another route, method or body it gets nothing.
//! 4. Of a price by usage (schemes `upto` and `batch-settlement`) the handler says what is charged, and never more than was permitted.
//! 5. What is not known is `outcome_unknown`, never "failed": the payer is never sent to pay twice.
//! 6. Who comes back without paying has paid for exactly this, settled, and shows it once a text (`sign-in-with-x`).
//! 7. No shared cache keeps an answer of a priced route.
//!
//! Read in this order: [`Price`] (what a route costs), [`Till`] (the port to the seller's books, which verifies,
//! claims, settles), `ask` and `page` (the 402), `presented` (reading the header), `charge` (claim, handler,
//! settlement), `answer`, `sign_in` (who paid comes back).
//!
//! Never here: signatures, a chain, a database, the engine. `payload.resource` and `Host` are never believed.

pub mod accept;
mod answer;
mod ask;
mod charge;
mod cross_origin;
mod layer;
pub mod limit;
mod page;
mod presented;
mod price;
mod sign_in;
mod signing;
mod stored;
#[cfg(test)]
mod tests;
mod till;
mod usage;

pub use x402::release;

pub use cross_origin::preflight;
pub use layer::{Paid, Paywall, PaywallLayer};
pub use price::{Address, Price, PriceError, Repeat, Signed};
pub use stored::{StoredAnswer, StoredAnswerError, StoredBody};
pub use till::{
    Abandoned, Answered, Claim, ClaimRequest, Purpose, Refusal, Served, SettleRefusal, Settled, SignInRequest, Ticket,
    Till,
};
pub use usage::PURSER_CHARGE;
