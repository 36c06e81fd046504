//! A ladder as people write it, and what makes no sense of one.

use std::collections::BTreeSet;

use toml::Spanned;

use crate::autonomy::{Ladder, Level, OnDrift};
use crate::document::Reading;
use crate::written::{WrittenLadder, WrittenLevel, WrittenRule, WrittenWhen};
use crate::{Verb, check};

const LEVELS_MAX: usize = 8;
const AFTER_MAX: u32 = 400;

impl Reading<'_> {
    pub(crate) fn ladder(&mut self, written: Spanned<WrittenLadder>) -> Ladder {
        let at = written.span().start;
        let WrittenLadder { on_drift, levels } = written.into_inner();
        let on_drift = on_drift.map_or_else(OnDrift::default, |written| self.on_drift(&written));
        if !(2..=LEVELS_MAX).contains(&levels.len()) {
            let message = format!("2 to {LEVELS_MAX} levels were expected, {} are there", levels.len());
            self.find(at, "ladder_empty", message);
        }
        let (mut read, mut names): (Vec<Level>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
        for level in levels {
            let (at, name) = (level.name.span().start, level.name.get_ref().clone());
            let level = self.level(level, read.is_empty());
            if !names.insert(name.clone()) {
                self.find(at, "name_twice", format!("a name of its own was expected, {name} is another level's, too"));
            }
            let below = read.last().map(|below| below.rule.verb.strictness());
            if below.is_some_and(|below| level.rule.verb.strictness() > below) {
                let message = format!("{name}: a verb that asks no more than that of the level below was expected");
                self.find(at, "ladder_does_not_rise", message);
            }
            read.push(level);
        }
        Ladder::new(on_drift, read)
    }

    fn level(&mut self, written: WrittenLevel, is_first: bool) -> Level {
        let (at, name) = (written.name.span().start, written.name.get_ref().clone());
        let after = match (&written.after, is_first) {
            (None, true) => 0,
            (Some(after), true) => {
                self.find(after.span().start, "member_without_effect", format!("{name}: everybody begins with it"));
                0
            }
            (None, false) => {
                self.find(
                    at,
                    "after_missing",
                    format!("{name}: after how many payments was expected, nothing is there"),
                );
                0
            }
            (Some(after), false) => {
                let found = *after.get_ref();
                if !(1..=AFTER_MAX).contains(&found) {
                    let message = format!("{name}: after 1 to {AFTER_MAX} payments was expected, {found} is there");
                    self.find(after.span().start, "after_out_of_range", message);
                }
                found
            }
        };
        let rule = WrittenRule {
            name: written.name,
            verb: written.verb,
            sample: written.sample,
            sample_seconds: written.sample_seconds,
            review_seconds: None,
            overdue: written.overdue,
            approvers: None,
            k: None,
            ttl_seconds: written.ttl_seconds,
            when: WrittenWhen { amounts: written.amounts, ..WrittenWhen::default() },
        };
        let mut rule = self.rule(&rule);
        if rule.verb == Verb::Deny {
            let message = format!("{name}: a level on which something is paid was expected, nothing ever is");
            self.find(at, "ladder_does_not_rise", message);
        }
        let line = self.line(at);
        check::rule(&mut self.findings, line, &rule, &Default::default());
        // No rule of the document has such a name.
        rule.name = format!("autonomy/{name}");
        Level { rule, after }
    }

    fn on_drift(&mut self, written: &Spanned<String>) -> OnDrift {
        match written.get_ref().as_str() {
            "deny" => OnDrift::Deny,
            "step_up" => OnDrift::StepUp,
            "notify" => OnDrift::Notify,
            other => {
                let message = format!("on_drift: deny, step_up or notify was expected, {other:?} is there");
                self.find(written.span().start, "on_drift_unknown", message);
                OnDrift::Deny
            }
        }
    }
}
