//! Verification: a presented chain and an explicit context in, a verdict with every check out.
//!
//! The order of the checks is fixed: envelope, root, each hop, the mandates, state (AP2 v0.2, the delegate SD-JWT draft,
//! RFC 9901 section 7). The first failure decides. Nothing about the context is optional in silence: what a verifier does
//! not ask is written into the context, and the verdict says that it was not asked.

mod authority;
mod credential;
mod memory;
mod presentation;
mod report;
mod standing;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

pub use memory::RootMemory;
pub use presentation::Presentation;
pub use report::{Check, CheckOutcome};
pub use standing::{Lists, Published, Standing};
pub use verdict::{Closed, ClosedFacts, Facts, Obligation, OpenFacts, Strength, Verdict};

use crate::chain::MandateId;
use crate::clock::Clock;
use crate::constraint::{OpenCheckout, Used};
use crate::keys::KeySet;
use crate::mandate::Family;
use crate::trust::Roots;
use report::Report;

/// What the verifier knows and asks for.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    pub clock: Clock,
    /// Who may sign a root: Agent Providers, and issuers of user credentials. A key set is trusted for every mandate.
    pub trusted: &'a dyn Roots,
    pub family: ExpectedFamily,
    pub expected: Expected<'a>,
    /// How old the leaf's `iat` may be, beyond the skew.
    pub leaf_age_seconds_max: u32,
    pub purchase: Purchase<'a>,
    pub open_checkout: OpenCheckout,
    pub usage: Usage,
    pub nonces: Nonces<'a>,
    pub revoked: Revoked<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedFamily {
    Exactly(Family),
    Either,
}

/// Whom the presentation must be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'a> {
    /// This verifier's own audience and the nonce it gave out.
    Exactly { audience: &'a str, nonce: &'a str },
    /// The mandate is only looked at: nothing may be paid on this verdict.
    OnItsOwn,
}

/// What is being bought. Never taken from inside the mandate.
#[derive(Clone, Copy, Debug)]
pub enum Purchase<'a> {
    /// The merchant's signed checkout; a payment is held to its total, currency and merchant too.
    Cart { checkout_jwt: &'a str, merchant_keys: &'a KeySet },
    /// The hash of the merchant's latest checkout, and the merchant's keys.
    CheckoutHash { hash: &'a str, merchant_keys: &'a KeySet },
    /// The hash alone: of a checkout that someone else verified, or of an offer that nobody signed. Payments only.
    TransactionId(&'a str),
    /// Not known: nothing may be paid on this verdict.
    OnItsOwn,
}

/// What was spent before under the mandates of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The ledger holds budgets and counts: they become obligations.
    Unknown,
    /// The same for every mandate of the chain (a chain with one open mandate).
    OfEach(Used),
    /// By mandate; one that is not there was never used.
    ByMandate(BTreeMap<MandateId, Used>),
}

impl Usage {
    pub(crate) fn of(&self, mandate: MandateId) -> Option<Used> {
        match self {
            Self::Unknown => None,
            Self::OfEach(used) => Some(*used),
            Self::ByMandate(used) => Some(used.get(&mandate).copied().unwrap_or_default()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonces<'a> {
    /// Nonces of ours that were consumed before.
    Consumed(&'a [String]),
    /// The ledger consumes the nonce in the unit of work of the hold.
    LeftToState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked<'a> {
    Among(&'a BTreeSet<MandateId>),
    /// The ledger looks again in the unit of work of the hold.
    LeftToState,
}

/// Verifies a presented mandate chain. Never panics, whatever is presented.
pub fn verify(presented: &str, context: &Context<'_>) -> Verdict {
    judge(presented, context, None)
}

/// The same verdict, faster where the root was verified before: what is remembered, and why that is safe, is said at
/// [`RootMemory`].
pub fn verify_remembering(presented: &str, context: &Context<'_>, memory: &RootMemory) -> Verdict {
    judge(presented, context, Some(memory))
}

fn judge(presented: &str, context: &Context<'_>, memory: Option<&RootMemory>) -> Verdict {
    let mut report = Report::new();
    let outcome = credential::authenticate(presented, context, memory, &mut report)
        .and_then(|credential| authority::judge(credential, context, &mut report));
    if let Ok(facts) = &outcome {
        report.note(standing::CHECK, None, CheckOutcome::NotAsked, standing::not_asked(facts));
    }
    let is_bound =
        matches!(context.expected, Expected::Exactly { .. }) && !matches!(context.purchase, Purchase::OnItsOwn);
    let strength = if is_bound { Strength::Bound } else { Strength::OnItsOwn };
    Verdict { outcome, checks: report.finish(), strength }
}
