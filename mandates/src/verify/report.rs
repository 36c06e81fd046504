//! The list of checks that a verdict shows: what passed, what failed first, what was never reached.

use serde_json::Value;

use crate::json::Object;
use crate::mandate::Family;
use crate::rejection::Rejection;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    Passed,
    Failed,
    /// An earlier check failed.
    NotReached,
    /// Holds as far as the token shows; the ledger must hold the rest (see the obligations).
    LeftToState,
    /// The context says that it does not ask: the verdict is the weaker for it.
    NotAsked,
}

impl CheckOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotReached => "not_reached",
            Self::LeftToState => "left_to_state",
            Self::NotAsked => "not_asked",
        }
    }
}

/// One check of `ap2.md`-style order; `name` is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// The segment it looked at, counted from the root; `None` for the chain as a whole.
    pub segment: Option<usize>,
    /// The constraint type, for `constraints`.
    pub subject: Option<String>,
    pub outcome: CheckOutcome,
    /// A sentence; empty where there is nothing to say.
    pub detail: String,
}

impl Check {
    pub fn to_json(&self) -> Value {
        let mut json = Object::from_iter([
            ("name".to_owned(), self.name.into()),
            ("outcome".to_owned(), self.outcome.as_str().into()),
        ]);
        if let Some(segment) = self.segment {
            json.insert("segment".to_owned(), segment.into());
        }
        if let Some(subject) = &self.subject {
            json.insert("subject".to_owned(), subject.as_str().into());
        }
        if !self.detail.is_empty() {
            json.insert("detail".to_owned(), self.detail.as_str().into());
        }
        json.into()
    }
}

const ENVELOPE: [&str; 3] = ["envelope", "encoding", "headers"];
const ROOT: [&str; 8] = [
    "root_type",
    "root_key",
    "root_signature",
    "root_disclosures",
    "root_claims",
    "root_delegate_payload",
    "root_times",
    "root_confirmation_key",
];
const HOP: [&str; 8] = [
    "hop_type",
    "hop_signature",
    "hop_binding",
    "hop_disclosures",
    "hop_claims",
    "hop_delegate_payload",
    "hop_confirmation_key",
    "hop_times",
];
const MANDATE: [&str; 14] = [
    "mandate_types",
    "root_scope",
    "mandate_schema",
    "constraints_disclosed",
    "preset_claims",
    "constraints",
    "purchase_binding",
    "merchant_signature",
    "cart_times",
    "nonce_unused",
    "not_revoked",
    "usage",
    "cart_agreement",
    super::standing::CHECK,
];

#[derive(Debug)]
pub(super) struct Report {
    checks: Vec<Check>,
    pub(super) segment_count: usize,
    pub(super) family: Option<Family>,
}

/// Three of the envelope, eight a segment, fourteen of the mandates: what a chain of three takes, and some constraints.
const USUAL: usize = 48;

impl Report {
    pub(super) fn new() -> Self {
        Self { checks: Vec::with_capacity(USUAL), segment_count: 0, family: None }
    }

    /// Records a check and passes its result on.
    pub(super) fn record<T>(
        &mut self,
        name: &'static str,
        segment: Option<usize>,
        result: Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        match &result {
            Ok(_) => self.note(name, segment, CheckOutcome::Passed, String::new()),
            Err(refused) => self.note(name, segment, CheckOutcome::Failed, refused.message.clone()),
        }
        result
    }

    pub(super) fn note(&mut self, name: &'static str, segment: Option<usize>, outcome: CheckOutcome, detail: String) {
        self.checks.push(Check { name, segment, subject: None, outcome, detail });
    }

    pub(super) fn note_constraint(&mut self, segment: usize, subject: String, outcome: CheckOutcome, detail: String) {
        let (name, segment, subject) = ("constraints", Some(segment), Some(subject));
        self.checks.push(Check { name, segment, subject, outcome, detail });
    }

    /// The checks in their order; those behind a failure as not reached.
    pub(super) fn finish(mut self) -> Vec<Check> {
        let has_failed = self.checks.last().is_some_and(|check| check.outcome == CheckOutcome::Failed);
        if has_failed {
            for (name, segment) in self.behind() {
                self.note(name, segment, CheckOutcome::NotReached, String::new());
            }
        }
        self.checks
    }

    fn behind(&self) -> Vec<(&'static str, Option<usize>)> {
        let plan = self.plan();
        let last = self.checks.last().map(|check| (check.name, check.segment));
        let position = plan.iter().position(|(name, segment)| match last {
            Some((last_name, _)) if *name == "constraints" => last_name == *name,
            Some((last_name, last_segment)) => last_name == *name && last_segment == *segment,
            None => false,
        });
        plan.into_iter().skip(position.map_or(0, |position| position.saturating_add(1))).collect()
    }

    fn plan(&self) -> Vec<(&'static str, Option<usize>)> {
        let is_single = self.segment_count <= 1;
        let root = ROOT.into_iter().filter(|name| is_single || *name != "root_claims").map(|name| (name, Some(0)));
        let hops = (1..self.segment_count).flat_map(|segment| HOP.into_iter().map(move |name| (name, Some(segment))));
        let whole = |name| (name, None);
        ENVELOPE.into_iter().map(whole).chain(root).chain(hops).chain(MANDATE.into_iter().map(whole)).collect()
    }
}
