//! Says WHETHER: a presented AP2 v0.2 mandate authorises an action, or which rule it breaks.
//!
//! The promise:
//! 1. [`verify::verify`] accepts only an unbroken chain of signatures from a trusted root to this presentation.
//! 2. Every constraint of every open mandate in the chain holds, or is named as a duty that the ledger must hold.
//! 3. What is not understood, not shown or not built is refused with a stable code; each check is reported by name.
//! 4. A mandate's identity cannot be changed by anyone but its signer, so it may key replay and spend state.
//! 5. What [`issue`] writes, `verify` reads; only received bytes are ever hashed, save where a form hashes canonical JSON
//!    (AP2 v0.1, UCP).
//!
//! Read in this order: [`verify`] (context, verdict, the order of checks), [`chain`] and [`sd_jwt`] (the wire),
//! [`mandate`], [`payment`], [`checkout`], [`cart`] (what is said), [`constraint`] (what is allowed), [`issue`] and
//! [`receipt`] (the way out), [`keys`], [`rejection`], [`limits`]; then [`v0_1`], the mandates of AP2 v0.1, with
//! [`canonical`] and [`key_binding`] beneath them; [`credential`], [`disclosure`] and [`serialization`], SD-JWT at large;
//! [`ucp`], a merchant's signature over a UCP checkout; [`vc`], mandates as W3C Verifiable Credentials.
//!
//! It never does I/O, reads no clock, draws no random number (ES256 signing in [`keys::LocalKey`] excepted, which adapters
//! may use and nothing here does), keeps no state, uses no float, and never trusts a key, a hash or an expected value that
//! the token itself brings.

pub mod base64url;
pub mod canonical;
pub mod cart;
pub mod chain;
pub mod checkout;
pub mod clock;
pub mod conformance;
pub mod constraint;
pub mod credential;
pub mod currency;
pub mod digest;
pub mod disclosure;
mod flow;
pub mod issue;
pub mod json;
pub mod jws;
pub mod key_binding;
pub mod keys;
pub mod limits;
pub mod mandate;
pub mod party;
pub mod payment;
pub mod receipt;
pub mod rejection;
mod schema;
pub mod sd_jwt;
pub mod serialization;
pub mod ucp;
pub mod v0_1;
pub mod vc;
pub mod verify;
