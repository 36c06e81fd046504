//! How far an agent is trusted, step by step: a ladder that it climbs by payments that nobody complained about, each step
//! allowed by a human. Where it stands is counted from the book for each agent's build, mandate and payee; here is what that
//! means.

use serde::Serialize;

use crate::{Facts, Rule, Verb};

/// How long somebody has to answer what the ladder asks beside its levels.
pub(crate) const TTL_SECONDS: u32 = 3_600;
const BEYOND: &str = "autonomy/beyond";
const DRIFT: &str = "autonomy/drift";

/// What becomes of the payment of another build than the last one was made by. It begins at the first level in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    Deny,
    /// A passkey, once: then the build is known.
    #[default]
    StepUp,
    /// Nothing more than to begin again.
    Notify,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    #[serde(flatten)]
    pub rule: Rule,
    /// Payments without a complaint on the level before, until this one is proposed.
    pub after: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ladder {
    pub on_drift: OnDrift,
    /// From the one where everybody begins.
    pub levels: Vec<Level>,
    #[serde(skip)]
    beyond: Option<Rule>,
    #[serde(skip)]
    drift: Option<Rule>,
}

/// Where an agent's build stands with a payee, under a mandate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub level: usize,
    /// The payment before this one was another build's.
    pub has_drifted: bool,
}

impl Ladder {
    pub(crate) fn new(on_drift: OnDrift, levels: Vec<Level>) -> Self {
        let rule = |name: &str, verb| Some(Rule { name: name.to_owned(), verb, when: crate::When::default() });
        let asks = Verb::RequireApproval { approvers: Default::default(), k: 1, ttl_seconds: TTL_SECONDS };
        let drift = match on_drift {
            OnDrift::Deny => rule(DRIFT, Verb::Deny),
            OnDrift::StepUp => rule(DRIFT, Verb::StepUp { ttl_seconds: TTL_SECONDS }),
            OnDrift::Notify => None,
        };
        Self { on_drift, levels, beyond: rule(BEYOND, asks), drift }
    }

    /// The rules that it adds: what the level says, or that the payment is beyond it; and that the build is another one.
    /// Of these and the document's own the strictest decides, so a level lets nothing pass that a rule stops.
    pub(crate) fn rules(&self, facts: &Facts<'_>) -> Result<Vec<&Rule>, ledger::rejection::Fault> {
        let level = self.levels.get(facts.standing.level).or(self.levels.first());
        let within = match level {
            Some(level) if level.rule.when.holds(facts, &Default::default())? => Some(&level.rule),
            _ => self.beyond.as_ref(),
        };
        let drift = self.drift.as_ref().filter(|_| facts.standing.has_drifted);
        Ok(within.into_iter().chain(drift).collect())
    }

    /// The level that is proposed to a human after so many payments on this one; none, where it is not time, or there is none.
    pub fn next(&self, level: usize, clean: u32) -> Option<usize> {
        let next = level.checked_add(1)?;
        self.levels.get(next).filter(|above| clean >= above.after).map(|_| next)
    }

    /// Which of its levels holds: as far up as every step was allowed. A step that is skipped leads nowhere.
    pub fn level(&self, mut is_allowed: impl FnMut(usize) -> bool) -> usize {
        (1..self.levels.len()).take_while(|level| is_allowed(*level)).last().unwrap_or(0)
    }
}
