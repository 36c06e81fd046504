//! What makes no sense although it can be read: controls that control nothing, and rules that can never decide.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Finding, Rail, Rule, Verb};

type Categories = BTreeMap<String, BTreeSet<String>>;

/// One rule by itself.
pub(crate) fn rule(findings: &mut Vec<Finding>, line: usize, rule: &Rule, categories: &Categories) {
    let mut find = |code, message| findings.push(Finding { line, code, message });
    let name = &rule.name;
    for category in rule.when.categories.iter().flatten().filter(|category| !categories.contains_key(*category)) {
        find("category_unknown", format!("{name}: a category of [categories] was expected, {category} is none"));
    }
    let rails = rule.when.rails();
    let nobody = rule.when.payees(categories).is_some_and(|payees| payees.is_empty());
    if rails.is_empty() || nobody {
        let what = if rails.is_empty() { "rail" } else { "payee" };
        find("rule_never_fires", format!("{name}: conditions that hold together were expected, no {what} is left"));
    }
    let for_good: Vec<&str> = rails.iter().filter(|rail| !rail.is_reversible()).map(|rail| rail.as_str()).collect();
    if matches!(rule.verb, Verb::AllowReview { .. }) && !for_good.is_empty() {
        let (rails, reversible) = (for_good.join(" and "), names(|rail| rail.is_reversible()));
        let message = format!(
            "{name}: a review after the fact takes nothing back on {rails}; `rails` of {reversible} alone, or \
             require_approval, was expected"
        );
        find("review_cannot_reverse", message);
    }
}

fn names(is_meant: impl Fn(Rail) -> bool) -> String {
    let meant: Vec<&str> = Rail::ALL.into_iter().filter(|rail| is_meant(*rail)).map(Rail::as_str).collect();
    meant.join(" and ")
}

/// All rules beside each other.
pub(crate) fn rules(findings: &mut Vec<Finding>, rules: &[(usize, Rule)], categories: &Categories) {
    for (at, (line, rule)) in rules.iter().enumerate() {
        let mut find = |code, message| findings.push(Finding { line: *line, code, message });
        let before = rules.iter().take(at).find(|(_, other)| other.name == rule.name);
        if let Some((first, _)) = before {
            find("name_twice", format!("a name of its own was expected, {} stands in line {first}, too", rule.name));
        }
        let shadow = rules.iter().find(|(_, other)| shadows(other, rule) && other.when.covers(&rule.when, categories));
        if let Some((by, other)) = shadow {
            let (name, other, verb) = (&rule.name, &other.name, other.verb.as_str());
            let message = format!("{name} can never decide: {verb} of {other} (line {by}) holds wherever it does");
            find("rule_shadowed", message);
        }
    }
}

/// Whether the one leaves nothing of the other where both fire. A passkey of `step_up` stays beside an approval.
fn shadows(one: &Rule, other: &Rule) -> bool {
    let adds = matches!((&one.verb, &other.verb), (Verb::RequireApproval { .. }, Verb::StepUp { .. }));
    one.verb.strictness() > other.verb.strictness() && !adds
}
