//! When a rule is about a payment, and when one rule is about all that another one is about.

use std::collections::{BTreeMap, BTreeSet};

use ledger::id::BudgetId;
use ledger::origin::Build;
use ledger::rejection::Fault;
use ledger::window::Hours;
use rust_decimal::Decimal;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::{Facts, Rail};

/// More than, and up to and with; major units of one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub above: Option<Decimal>,
    pub up_to: Option<Decimal>,
}

impl Range {
    fn has(&self, amount: Decimal) -> bool {
        self.above.is_none_or(|above| amount > above) && self.up_to.is_none_or(|up_to| amount <= up_to)
    }

    fn covers(&self, other: &Self) -> bool {
        let below = self.above.is_none_or(|ours| other.above.is_some_and(|theirs| theirs >= ours));
        let beyond = self.up_to.is_none_or(|ours| other.up_to.is_some_and(|theirs| theirs <= ours));
        below && beyond
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!((self.above, self.up_to), (Some(above), Some(up_to)) if above >= up_to)
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, bound) in [("above", self.above), ("up_to", self.up_to)] {
            if let Some(bound) = bound {
                map.serialize_entry(name, &bound.normalize().to_string())?;
            }
        }
        map.end()
    }
}

/// Every member that is there must hold; one that is not there always does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct When {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rails: Option<BTreeSet<Rail>>,
    /// By currency. A payment in a currency that is not named is not meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amounts: Option<BTreeMap<String, Range>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payees: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<BTreeSet<String>>,
    /// Who pays. Those through whose hands its mandate came are not meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts")]
    pub builds: Option<BTreeSet<Build>>,
    /// The mandate, or one that it was handed on from.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts")]
    pub mandates: Option<BTreeSet<BudgetId>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub hours: Option<Hours>,
    /// Whether nothing was ever signed to this payee before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_payment: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversible: Option<bool>,
}

fn text<T: std::fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => crate::as_text(value, serializer),
        None => serializer.serialize_none(),
    }
}

fn texts<T: std::fmt::Display, S: Serializer>(values: &Option<BTreeSet<T>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().flatten().map(ToString::to_string))
}

type Categories = BTreeMap<String, BTreeSet<String>>;

impl When {
    pub(crate) fn holds(&self, facts: &Facts<'_>, categories: &Categories) -> Result<bool, Fault> {
        let within = |set: &Option<BTreeSet<String>>, value: &str| set.as_ref().is_none_or(|set| set.contains(value));
        let in_hours = self.hours.as_ref().map(|hours| hours.contain(facts.at)).transpose()?.unwrap_or(true);
        let amount = self
            .amounts
            .as_ref()
            .is_none_or(|amounts| amounts.get(facts.currency).is_some_and(|range| range.has(facts.amount)));
        let build = self.builds.as_ref().is_none_or(|builds| facts.build.is_some_and(|build| builds.contains(&build)));
        let mandate = self.mandates.as_ref().is_none_or(|wanted| facts.mandates.iter().any(|id| wanted.contains(id)));
        let category = self.categories.as_ref().is_none_or(|wanted| {
            let named = wanted.iter().filter_map(|name| categories.get(name));
            named.into_iter().any(|payees| payees.contains(facts.payee.as_str()))
        });
        Ok(in_hours
            && amount
            && build
            && mandate
            && category
            && self.rails().contains(&facts.rail)
            && within(&self.payees, facts.payee.as_str())
            && within(&self.agents, facts.agent.as_str())
            && self.first_payment.is_none_or(|first| first == facts.is_first))
    }

    /// The rails that it can be about.
    pub(crate) fn rails(&self) -> BTreeSet<Rail> {
        let meant = |rail: &Rail| {
            self.rails.as_ref().is_none_or(|rails| rails.contains(rail))
                && self.reversible.is_none_or(|reversible| reversible == rail.is_reversible())
        };
        Rail::ALL.into_iter().filter(meant).collect()
    }

    /// The payees that it can be about; anybody where there is none.
    pub(crate) fn payees(&self, categories: &Categories) -> Option<BTreeSet<String>> {
        let of_categories = self.categories.as_ref().map(|names| {
            names.iter().filter_map(|name| categories.get(name)).flatten().cloned().collect::<BTreeSet<_>>()
        });
        match (&self.payees, of_categories) {
            (None, None) => None,
            (Some(named), None) => Some(named.clone()),
            (None, Some(of_categories)) => Some(of_categories),
            (Some(named), Some(of_categories)) => Some(named.intersection(&of_categories).cloned().collect()),
        }
    }

    /// Whether it is about every payment that the other is about. Where that is not plain, it says no.
    pub(crate) fn covers(&self, other: &Self, categories: &Categories) -> bool {
        let amounts = match (&self.amounts, &other.amounts) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => {
                theirs.iter().all(|(currency, range)| ours.get(currency).is_some_and(|wider| wider.covers(range)))
            }
        };
        amounts
            && other.rails().is_subset(&self.rails())
            && wider(&self.payees(categories), &other.payees(categories))
            && wider(&self.agents, &other.agents)
            && wider(&self.builds, &other.builds)
            && wider(&self.mandates, &other.mandates)
            && (self.hours.is_none() || self.hours == other.hours)
            && (self.first_payment.is_none() || self.first_payment == other.first_payment)
    }
}

fn wider<T: Ord>(ours: &Option<BTreeSet<T>>, theirs: &Option<BTreeSet<T>>) -> bool {
    match (ours, theirs) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(ours), Some(theirs)) => theirs.is_subset(ours),
    }
}
