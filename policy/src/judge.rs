//! What the rules say of one payment.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ledger::id::{BudgetId, Micros, PayeeId, PrincipalId};
use ledger::origin::Build;
use ledger::rejection::Fault;
use rust_decimal::Decimal;

use crate::{Look, Policy, Rail, Rate, Rule, Standing, Verb};

/// What is about to be signed, as it is known without asking whoever wants it signed.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub rail: Rail,
    /// ISO 4217: that of the mandate.
    pub currency: &'a str,
    /// Major units, exact: what is debited.
    pub amount: Decimal,
    pub payee: &'a PayeeId,
    pub agent: &'a PrincipalId,
    /// What its software is registered as.
    pub build: Option<Build>,
    /// The mandate and those that it was handed on from.
    pub mandates: &'a [BudgetId],
    pub at: Micros,
    /// Nothing was ever signed to this payee.
    pub is_first: bool,
    /// It is on record, or was pinned by an earlier payment. Otherwise who is paid is what a 402 says that the agent brought.
    pub is_vouched: bool,
    /// On the ladder, where there is one.
    pub standing: Standing,
}

/// Whether a token of a person's is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passkey {
    Demanded,
    AsTheTenantSays,
}

/// Who is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Whoever gave the mandate, where nobody is named.
    pub approvers: BTreeSet<PrincipalId>,
    /// How many of them must allow it.
    pub needed: u16,
    /// How long they have; as for every question of the tenant where nothing is said.
    pub ttl_seconds: Option<u32>,
    pub passkey: Passkey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Sample(Rate, Look),
    Review(Look),
    Ask(Asking),
    Deny,
}

/// The verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// As [`Verb::as_str`] has it.
    pub verb: &'static str,
    /// The rule that decided; none where none fired.
    pub decided_by: Option<String>,
    /// Every rule that fired, in the document's order.
    pub fired: Vec<String>,
}

impl Policy {
    pub fn judge(&self, facts: &Facts<'_>) -> Result<Judgement, Fault> {
        let mut fired: Vec<&Rule> = Vec::new();
        for rule in &self.rules {
            if rule.is_about(facts, &self.categories)? {
                fired.push(rule);
            }
        }
        if let Some(ladder) = &self.ladder {
            fired.extend(ladder.rules(facts)?);
        }
        // Of equals `min_by_key` gives the first.
        let decides = fired.iter().min_by_key(|rule| Reverse(demand(&rule.verb)));
        let stepped_up = fired.iter().any(|rule| matches!(rule.verb, Verb::StepUp { .. }));
        let verdict = decides.map_or_else(unmatched, |rule| verdict(&rule.verb, stepped_up));
        Ok(Judgement {
            verdict,
            verb: decides.map_or("require_approval", |rule| rule.verb.as_str()),
            decided_by: decides.map(|rule| rule.name.clone()),
            fired: fired.iter().map(|rule| rule.name.clone()).collect(),
        })
    }
}

impl Rule {
    /// An agent can make a 402 up. The name of a payee whom nobody vouches for lets nothing pass; it only ever stops.
    fn is_about(&self, facts: &Facts<'_>, categories: &BTreeMap<String, BTreeSet<String>>) -> Result<bool, Fault> {
        let lets_pass = matches!(self.verb, Verb::Allow | Verb::AllowSample { .. } | Verb::AllowReview { .. });
        let by_payee = self.when.payees.is_some() || self.when.categories.is_some();
        if lets_pass && by_payee && !facts.is_vouched {
            return Ok(false);
        }
        self.when.holds(facts, categories)
    }
}

/// The larger, the stricter.
fn demand(verb: &Verb) -> (u8, u32, Reverse<u32>) {
    let (more, ttl) = match verb {
        Verb::Allow | Verb::Deny => (0, 0),
        Verb::AllowSample { per_million, .. } => (per_million.0, 0),
        Verb::AllowReview { look } => (look.seconds, 0),
        Verb::StepUp { ttl_seconds } => (0, *ttl_seconds),
        Verb::RequireApproval { k, ttl_seconds, .. } => (u32::from(*k), *ttl_seconds),
    };
    (verb.strictness(), more, Reverse(ttl))
}

fn unmatched() -> Verdict {
    Verdict::Ask(Asking { approvers: BTreeSet::new(), needed: 1, ttl_seconds: None, passkey: Passkey::AsTheTenantSays })
}

fn verdict(verb: &Verb, stepped_up: bool) -> Verdict {
    match verb {
        Verb::Allow => Verdict::Allow,
        Verb::AllowSample { per_million, look } => Verdict::Sample(*per_million, *look),
        Verb::AllowReview { look } => Verdict::Review(*look),
        Verb::StepUp { ttl_seconds } => Verdict::Ask(Asking {
            approvers: BTreeSet::new(),
            needed: 1,
            ttl_seconds: Some(*ttl_seconds),
            passkey: Passkey::Demanded,
        }),
        Verb::RequireApproval { approvers, k, ttl_seconds } => Verdict::Ask(Asking {
            approvers: approvers.clone(),
            needed: *k,
            ttl_seconds: Some(*ttl_seconds),
            // Several persons are told apart by their keys, or they are not told apart.
            passkey: if stepped_up || *k > 1 { Passkey::Demanded } else { Passkey::AsTheTenantSays },
        }),
        Verb::Deny => Verdict::Deny,
    }
}
