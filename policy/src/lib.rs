//! What a tenant lets its agents pay, beside their mandates: a versioned document of rules that no model can talk to.
//!
//! A mandate says what a person allowed. A policy says what the tenant does with a payment that the mandate allows: let it
//! go, look at it later, ask somebody, or refuse it. It only ever narrows. All of it is a pure function of the document and
//! of what is about to be signed; nothing that an agent says is among the facts.
//!
//! Every rule whose conditions hold fires. Of those that fired the strictest decides; this is the order:
//!
//! | strictness | written as                                 | what becomes of the payment                               |
//! |------------|--------------------------------------------|-----------------------------------------------------------|
//! | 5          | `deny`                                     | refused, whatever else fired                              |
//! | 4          | `require_approval` (`approvers`, `k`, `ttl_seconds`) | waits for k distinct persons                    |
//! | 3          | `step_up` (`ttl_seconds`)                  | waits for the passkey of the person who gave the mandate  |
//! | 2          | `allow` with `review_seconds`              | goes, and somebody is to look at it within that time      |
//! | 1          | `allow` with `sample`                      | goes, and so many of them are looked at, within a week    |
//! | 0          | `allow`                                    | goes                                                      |
//! | 4          | no rule at all                             | waits for the person who gave the mandate                 |
//!
//! Of two rules of one strictness the one decides that asks for more: the larger `k`, the shorter `ttl_seconds`, the longer
//! review, the higher rate; the first in the document where they ask for the same. A `step_up` that fired beside a
//! `require_approval` adds its passkey to it.
//!
//! What becomes of a payment that nobody looked at in time is `overdue`: `notify` (an event, and the list), where nothing is
//! said, or `suspend`, which lets its mandate wait for a person.
//!
//! A rule that lets pass by `payees` or `categories` is about payees on record, and about those to whom something was signed
//! before: who else is paid is the word of a 402 that the agent brought.
//!
//! A ladder (`[autonomy]`) adds one rule of its own to those that fired: what the level says where the agent stands, which
//! [`autonomy`] explains. So it stops what rules let pass, lets pass what no rule is about, and passes over no rule that stops.
//!
//! Read in this order: [`Rail`], [`Verb`] and [`When`] (the values), `document` (how they are written), `check` (what makes
//! no sense), `judge` (what becomes of a payment).
//!
//! What it never does: no I/O, no clock, no counting, no word of an agent or a seller; it allows nothing that a mandate does
//! not allow.

pub mod autonomy;
mod check;
mod condition;
mod document;
mod judge;
mod ladder;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ledger::id::{Digest, PrincipalId};
use serde::{Deserialize, Serialize, Serializer};

pub use crate::autonomy::{Ladder, Level, OnDrift, Standing};
pub use crate::condition::{Range, When};
pub use crate::judge::{Asking, Facts, Judgement, Passkey, Verdict};

/// How money leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rail {
    /// An authorization on a chain, which nobody takes back.
    X402,
    /// A mandate that is closed for a verifier elsewhere (AP2, and a UCP or ACP checkout that takes AP2). What it is paid
    /// with there is not known here, so it counts as one that nobody takes back.
    Ap2,
    /// A vault token that its merchant redeems with a card (ACP), which the processor refunds.
    Acp,
}

impl Rail {
    pub const ALL: [Self; 3] = [Self::X402, Self::Ap2, Self::Acp];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X402 => "x402",
            Self::Ap2 => "ap2",
            Self::Acp => "acp",
        }
    }

    /// Whether what was paid can be had back without the payee's good will.
    pub const fn is_reversible(self) -> bool {
        match self {
            Self::X402 | Self::Ap2 => false,
            Self::Acp => true,
        }
    }
}

impl fmt::Display for Rail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many of a million payments are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rate(u32);

impl Rate {
    const ALL: u32 = 1_000_000;

    /// Whether a payment is one of those. The seal is the tenant's, over the payment's id: no agent can tell beforehand.
    pub fn takes(self, seal: &Digest) -> bool {
        let lead = seal.0.iter().take(8).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        lead.saturating_mul(Self::ALL.into()) >> 64 < self.0.into()
    }
}

/// What becomes of a payment that somebody was to look at, and nobody did in time. It is told and listed in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overdue {
    #[default]
    Notify,
    /// Nothing more is paid under its mandate until a person lets it go on.
    Suspend,
}

impl Overdue {
    pub const fn is_notify(&self) -> bool {
        matches!(self, Self::Notify)
    }
}

/// How a payment is looked at after it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Look {
    pub seconds: u32,
    #[serde(skip_serializing_if = "Overdue::is_notify")]
    pub overdue: Overdue,
}

impl Look {
    /// Of a sample, where nothing else is said.
    pub const SAMPLED: Self = Self { seconds: 7 * 24 * 3_600, overdue: Overdue::Notify };

    // A document that says nothing of it has the digest that it always had.
    fn is_usual(&self) -> bool {
        *self == Self::SAMPLED
    }
}

/// What a rule says of a payment that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Verb {
    Allow,
    /// `allow` with `sample`.
    AllowSample {
        per_million: Rate,
        #[serde(skip_serializing_if = "Look::is_usual")]
        look: Look,
    },
    /// `allow` with `review_seconds`.
    AllowReview {
        #[serde(flatten)]
        look: Look,
    },
    StepUp {
        ttl_seconds: u32,
    },
    RequireApproval {
        /// Whoever gave the mandate, where nobody is named.
        approvers: BTreeSet<PrincipalId>,
        k: u16,
        ttl_seconds: u32,
    },
    Deny,
}

impl Verb {
    pub const fn strictness(&self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::AllowSample { .. } => 1,
            Self::AllowReview { .. } => 2,
            Self::StepUp { .. } => 3,
            Self::RequireApproval { .. } => 4,
            Self::Deny => 5,
        }
    }

    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowSample { .. } => "allow_sample",
            Self::AllowReview { .. } => "allow_review",
            Self::StepUp { .. } => "step_up",
            Self::RequireApproval { .. } => "require_approval",
            Self::Deny => "deny",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    pub name: String,
    #[serde(flatten)]
    pub verb: Verb,
    pub when: When,
}

/// A document that was read and found to make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What its author calls this edition.
    pub version: String,
    /// Payees by what they are paid for. A category is the operator's word, never a seller's or an agent's.
    categories: BTreeMap<String, BTreeSet<String>>,
    rules: Vec<Rule>,
    ladder: Option<Ladder>,
    canonical: String,
    digest: Digest,
}

impl Policy {
    /// Everything in it that matters, as canonical JSON (RFC 8785): order of rules and values, not layout and comments.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// SHA-256 of the canonical form.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub const fn ladder(&self) -> Option<&Ladder> {
        self.ladder.as_ref()
    }

    /// Everybody whom a rule names as somebody to ask.
    pub fn approvers(&self) -> BTreeSet<&PrincipalId> {
        let named = self.rules.iter().filter_map(|rule| match &rule.verb {
            Verb::RequireApproval { approvers, .. } => Some(approvers),
            _ => None,
        });
        named.flatten().collect()
    }
}

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From one.
    pub line: usize,
    /// Stable.
    pub code: &'static str,
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.code, self.message)
    }
}

fn as_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests;
