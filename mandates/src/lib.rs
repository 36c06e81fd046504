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
//! [`mandate`], [`payment`], [`checkout`], [`cart`] (what is said), [`constraint`] (what is allowed), [`narrowing`] (what
//! may be handed on), [`issue`] and [`receipt`] (the way out), [`status`] (whether it still stands, for others;
//! [`verify::Verdict::held_to`] asks), [`trust`] (whose root is taken for what), [`certificate`] (X.509 paths), [`did`], [`keys`], [`rejection`], [`limits`]; then
//! [`v0_1`], the mandates of AP2 v0.1, with [`canonical`] and [`key_binding`] beneath them; [`credential`], [`disclosure`]
//! and [`serialization`], SD-JWT at large; [`ucp`], a merchant's signature over a UCP checkout; [`vc`], mandates as W3C
//! Verifiable Credentials; [`openid4vp`], mandates that a wallet signs; [`webauthn`], approvals that a person's passkey signs.
//!
//! A merchant who is paid by card verifies what an agent presents, with the library alone: what was agreed is an argument,
//! and what is left out of it must be said to be left out.
//!
//! ```
//! use mandates::{clock::Clock, json::Object, keys::KeySet, mandate::Family, verify::*};
//!
//! # use mandates::constraint::OpenCheckout;
//! fn may_ship(presented: &str, roots: &Object, checkout_hash: &str, own: &KeySet, now_seconds: i64) -> Result<(), String> {
//!     let trusted = KeySet::from_jwks(roots).map_err(|refused| refused.to_string())?;
//!     let verdict = verify(presented, &Context {
//!         clock: Clock { now_seconds, skew_seconds: 60 },
//!         trusted: &trusted,
//!         family: ExpectedFamily::Exactly(Family::Checkout),
//!         expected: Expected::Exactly { audience: "merchant", nonce: "b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4" },
//!         leaf_age_seconds_max: 300,
//!         purchase: Purchase::CheckoutHash { hash: checkout_hash, merchant_keys: own },
//!         open_checkout: OpenCheckout::Unknown,
//!         usage: Usage::Unknown,
//!         nonces: Nonces::LeftToState,
//!         revoked: Revoked::LeftToState,
//!     });
//!     verdict.outcome.map(drop).map_err(|refused| format!("{}: {refused}", refused.code))
//! }
//! # let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/ap2/v0.2.json"));
//! # let cases: Vec<serde_json::Value> = serde_json::from_str(file).unwrap();
//! # let case = cases.iter().find(|case| case["id"] == "v-open-closed-checkout").unwrap();
//! # let jwks = |jwk: &serde_json::Value| serde_json::json!({ "keys": [jwk] }).as_object().unwrap().clone();
//! # let own = KeySet::from_jwks(&jwks(&case["context"]["merchant_jwk"])).unwrap();
//! # let (token, now) = (case["token"].as_str().unwrap(), case["now"].as_i64().unwrap());
//! # let hash = case["context"]["expected_checkout_hash"].as_str().unwrap();
//! # let roots = jwks(&case["root_jwk"]);
//! assert_eq!(may_ship(token, &roots, hash, &own, now), Ok(()));
//! assert!(may_ship(token, &roots, "another checkout", &own, now).is_err_and(|why| why.starts_with("checkout_not_expected")));
//! # assert!(may_ship(&token.replace('a', "b"), &roots, hash, &own, now).is_err());
//! ```
//!
//! It never does I/O, reads no clock, draws no random number (ES256 signing in [`keys::LocalKey`] excepted, which adapters
//! may use and nothing here does), keeps no state ([`verify::RootMemory`] is its caller's, and changes no verdict), uses no
//! float, and never trusts a key, a hash or an expected value that the token itself brings.

pub mod base64url;
pub mod canonical;
pub mod cart;
pub mod certificate;
pub mod chain;
pub mod checkout;
pub mod clock;
pub mod conformance;
pub mod constraint;
pub mod credential;
pub mod currency;
pub mod did;
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
pub mod narrowing;
pub mod openid4vp;
pub mod party;
pub mod payment;
pub mod receipt;
pub mod rejection;
mod schema;
pub mod sd_jwt;
pub mod serialization;
pub mod status;
pub mod trust;
pub mod ucp;
pub mod v0_1;
pub mod vc;
pub mod verify;
pub mod webauthn;
