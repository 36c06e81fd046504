//! The order of each constraint: whether whatever passes the child's passes the parent's. A type beside a type; two
//! constraints of different types are never compared.

use crate::constraint::{
    AgentRecurrence, AllowedInstruments, AllowedMerchants, AllowedPayees, AllowedPisps, AmountRange, Budget,
    Constraint, ExecutionDate, LineItems, Reference, Slot,
};
use crate::flow::Network;
use crate::party::{Instant, Instrument, Merchant};
use crate::rejection::{Code, shown};

/// What the parent says and what the child says, for a sentence.
pub(super) struct Difference {
    pub expected: String,
    pub came: String,
}

type Order = Result<(), Difference>;

fn differ(expected: impl Into<String>, came: impl Into<String>) -> Order {
    Err(Difference { expected: expected.into(), came: came.into() })
}

/// `None` where the two are of different types.
pub(super) fn compare(child: &Constraint, parent: &Constraint) -> Option<Order> {
    Some(match (child, parent) {
        (Constraint::AmountRange(ours), Constraint::AmountRange(theirs)) => amount_range(ours, theirs),
        (Constraint::AllowedPayees(ours), Constraint::AllowedPayees(theirs)) => payees(ours, theirs),
        (Constraint::AllowedMerchants(ours), Constraint::AllowedMerchants(theirs)) => allowed_merchants(ours, theirs),
        (Constraint::AllowedInstruments(ours), Constraint::AllowedInstruments(theirs)) => instruments(ours, theirs),
        (Constraint::AllowedPisps(ours), Constraint::AllowedPisps(theirs)) => pisps(ours, theirs),
        (Constraint::Budget(ours), Constraint::Budget(theirs)) => budget(ours, theirs),
        (Constraint::AgentRecurrence(ours), Constraint::AgentRecurrence(theirs)) => recurrence(ours, theirs),
        (Constraint::ExecutionDate(ours), Constraint::ExecutionDate(theirs)) => execution_date(ours, theirs),
        (Constraint::Reference(ours), Constraint::Reference(theirs)) => reference(ours, theirs),
        (Constraint::LineItems(ours), Constraint::LineItems(theirs)) => line_items(ours, theirs),
        _ => return None,
    })
}

pub(super) const fn code(constraint: &Constraint) -> Code {
    match constraint {
        Constraint::AmountRange(_) => Code::ChildWidensAmountRange,
        Constraint::AllowedPayees(_) => Code::ChildWidensPayees,
        Constraint::AllowedInstruments(_) => Code::ChildWidensInstruments,
        Constraint::AllowedPisps(_) => Code::ChildWidensPisps,
        Constraint::Budget(_) => Code::ChildWidensBudget,
        Constraint::AgentRecurrence(_) => Code::ChildWidensRecurrence,
        Constraint::ExecutionDate(_) => Code::ChildWidensExecutionDate,
        Constraint::Reference(_) => Code::ChildWidensReference,
        Constraint::AllowedMerchants(_) => Code::ChildWidensMerchants,
        Constraint::LineItems(_) => Code::ChildWidensLineItems,
    }
}

/// The child's interval lies within the parent's, in the same currency.
fn amount_range(child: &AmountRange, parent: &AmountRange) -> Order {
    let said = |range: &AmountRange| {
        let least = range.min.map(|min| format!("{} to ", range.currency.shown(min))).unwrap_or_default();
        format!("{least}{}", range.currency.shown(range.max))
    };
    let is_from = parent.min.is_none_or(|least| child.min.unwrap_or(ledger::money::Amount::ZERO) >= least);
    if child.currency == parent.currency && child.max <= parent.max && is_from {
        return Ok(());
    }
    differ(said(parent), said(child))
}

/// Every merchant that the child's entry stands for is one that a parent's stands for: an entry without a website stands
/// for its name at any website, so it is not within one that names a website.
fn merchants(child: &[Merchant], parent: &[Merchant]) -> Order {
    let is_within = |ours: &Merchant, theirs: &Merchant| {
        ours.id == theirs.id && ours.name == theirs.name && (theirs.website.is_none() || theirs.website == ours.website)
    };
    match child.iter().find(|ours| !parent.iter().any(|theirs| is_within(ours, theirs))) {
        Some(outside) => differ(first_few(parent.iter().map(ToString::to_string)), outside.to_string()),
        None => Ok(()),
    }
}

fn payees(child: &AllowedPayees, parent: &AllowedPayees) -> Order {
    merchants(&child.allowed, &parent.allowed)
}

fn allowed_merchants(child: &AllowedMerchants, parent: &AllowedMerchants) -> Order {
    merchants(&child.allowed, &parent.allowed)
}

/// Each instrument names at least the details that one of the parent's names, unchanged.
fn instruments(child: &AllowedInstruments, parent: &AllowedInstruments) -> Order {
    let said = |instrument: &Instrument| shown(&serde_json::Value::Object(instrument.claims()).to_string());
    match child.allowed.iter().find(|ours| !parent.allowed.iter().any(|theirs| ours.is_within(theirs))) {
        Some(outside) => differ(first_few(parent.allowed.iter().map(said)), said(outside)),
        None => Ok(()),
    }
}

fn pisps(child: &AllowedPisps, parent: &AllowedPisps) -> Order {
    match child.allowed.iter().find(|ours| !parent.allowed.contains(ours)) {
        Some(outside) => {
            let allowed = first_few(parent.allowed.iter().map(|pisp| shown(&pisp.legal_name)));
            let came =
                [&outside.legal_name, &outside.brand_name, &outside.domain_name].map(|name| shown(name)).join(" ");
            differ(allowed, came)
        }
        None => Ok(()),
    }
}

fn budget(child: &Budget, parent: &Budget) -> Order {
    let said = |budget: &Budget| format!("{} {}", budget.max, budget.currency);
    if child.currency == parent.currency && child.max <= parent.max {
        return Ok(());
    }
    differ(said(parent), said(child))
}

/// As many uses or fewer, as far apart or farther. The frequencies are ordered by their shortest distance: the shortest
/// month has more days than two weeks.
fn recurrence(child: &AgentRecurrence, parent: &AgentRecurrence) -> Order {
    let is_as_rare = match (child.max_occurrences, parent.max_occurrences) {
        (_, None) => true,
        (Some(ours), Some(theirs)) => ours <= theirs,
        (None, Some(_)) => false,
    };
    if is_as_rare && child.frequency >= parent.frequency {
        return Ok(());
    }
    differ(recurrence_shown(parent), recurrence_shown(child))
}

pub(super) fn recurrence_shown(recurrence: &AgentRecurrence) -> String {
    let most = recurrence.max_occurrences.map_or_else(|| "any number of".to_owned(), |most| most.to_string());
    format!("{most} payments, {}", recurrence.frequency.as_str())
}

/// The child's window lies within the parent's, as instants.
fn execution_date(child: &ExecutionDate, parent: &ExecutionDate) -> Order {
    let at = |instant: &Option<Instant>| instant.as_ref().map(Instant::at);
    let is_late = at(&parent.not_before).is_none_or(|first| at(&child.not_before).is_some_and(|ours| ours >= first));
    let is_early = at(&parent.not_after).is_none_or(|last| at(&child.not_after).is_some_and(|ours| ours <= last));
    if is_late && is_early {
        return Ok(());
    }
    let said = |window: &ExecutionDate| {
        let bound = |instant: &Option<Instant>| {
            instant.as_ref().map_or_else(|| "any time".to_owned(), |instant| instant.unix_seconds().to_string())
        };
        format!("{} to {} (Unix seconds)", bound(&window.not_before), bound(&window.not_after))
    };
    differ(said(parent), said(child))
}

/// The same text: whether two hashes name the same open checkout is not to be seen from them.
fn reference(child: &Reference, parent: &Reference) -> Order {
    if child == parent {
        return Ok(());
    }
    differ(shown(&parent.conditional_transaction_id), shown(&child.conditional_transaction_id))
}

/// Every unit that fills a slot of the child fills one of the parent, and all are filled: a flow from the child's slots into
/// the parent's that take whatever the child's does, equal to what either needs.
fn line_items(child: &LineItems, parent: &LineItems) -> Order {
    let needed = |slots: &[Slot]| slots.iter().fold(0_u64, |sum, slot| sum.saturating_add(slot.quantity));
    let (ours, theirs) = (needed(&child.slots), needed(&parent.slots));
    let filled = flow(&child.slots, &parent.slots);
    if ours == theirs && filled == theirs {
        return Ok(());
    }
    let names = first_few(parent.slots.iter().map(|slot| shown(&slot.id)));
    differ(format!("{theirs} units in {names}"), format!("{ours} units, of which {filled} are sure to fit"))
}

/// source -> each slot of the child -> each slot of the parent that takes all that it takes -> sink.
fn flow(child: &[Slot], parent: &[Slot]) -> u64 {
    let source = 0;
    let first_parent = child.len().saturating_add(1);
    let sink = first_parent.saturating_add(parent.len());
    let mut network = Network::with_nodes(sink.saturating_add(1));
    let takes: Vec<std::collections::BTreeSet<&str>> =
        parent.iter().map(|slot| slot.acceptable_items.iter().map(|item| item.id.as_str()).collect()).collect();
    for (index, slot) in child.iter().enumerate() {
        let node = index.saturating_add(1);
        network.connect(source, node, slot.quantity);
        for (index, takes) in takes.iter().enumerate() {
            if slot.acceptable_items.iter().all(|item| takes.contains(item.id.as_str())) {
                network.connect(node, first_parent.saturating_add(index), slot.quantity);
            }
        }
    }
    for (index, slot) in parent.iter().enumerate() {
        network.connect(first_parent.saturating_add(index), sink, slot.quantity);
    }
    network.max_flow(source, sink)
}

fn first_few(mut entries: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 4;
    let count = entries.len();
    let first: Vec<String> = entries.by_ref().take(SHOWN).collect();
    match count {
        0 => "nobody".to_owned(),
        _ if count > SHOWN => format!("{} and {} more", first.join(", "), count.saturating_sub(SHOWN)),
        _ => first.join(", "),
    }
}
