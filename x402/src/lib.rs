//! HOW money moves: protocol x402, versions 2 and 1, schemes `exact` (EIP-3009, Permit2), `upto`, `batch-settlement`
//! and `auth-capture` on EVM, HTTP.
//!
//! 1. What is signed is what was decided on: an offer is frozen, and the authorization comes from the frozen offer.
//! 2. A payment is accepted only when every stated term, the time window and the signature hold, on a trusted asset.
//! 3. "Settled" means that the one matching transfer is in a block; "released" means that it can never be.
//! 4. Whatever is not known stays open. Nothing becomes "failed" because somebody said so.
//! 5. Every refusal has a reason from a closed list, the field, and both values.
//!
//! Read in this order: [`wire`] (the messages, as texts), [`network`] (assets that are trusted), [`exact`] (terms,
//! authorization, signature, verification), [`permit2`] and [`upto`] (the other way to move a token), [`batch_settlement`] (channels), [`auth_capture`] (held in an escrow), [`scheme`] (the door to all), [`select`] (from a 402 to a signature), [`settlement`] (what became of
//! it), [`chain`] (the port), [`reason`], [`limit`]; [`identifier`], [`offer_receipt`], [`bazaar`] and [`sign_in`] are extensions.
//!
//! Never here: sockets, files, a clock, randomness, HTTP, SQL, mandates, budgets. `now` is an argument, and the chain
//! is a port whose implementations live elsewhere; whether a contract wallet signed is asked through it.

pub mod auth_capture;
pub mod batch_settlement;
pub mod bazaar;
pub mod chain;
pub mod exact;
#[cfg(test)]
mod fixture;
pub mod identifier;
pub mod limit;
pub mod network;
pub mod offer_receipt;
pub mod permit2;
pub mod reason;
pub mod refusal;
pub mod release;
pub mod scheme;
pub mod select;
pub mod settlement;
pub mod sign_in;
pub mod upto;
pub mod value;
pub mod wire;
