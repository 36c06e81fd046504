//! Narrowing: whether an open mandate that an agent hands on allows nothing that its own does not.
//!
//! AP2 leaves delegation between agents open: every open mandate of a chain is evaluated, so a payment under a child is
//! bound by the parent whatever the child says. That holds only for a verifier that evaluates all of them, and the samples
//! look at the last one alone. So a child must be safe on its own: **it restates each constraint of its parent or a
//! narrower one**, and repeats every preset claim; what it leaves out counts as widened. It may add constraints and presets
//! as it likes, because both only ever take away.
//!
//! [`check`] decides mandate against mandate. Each of its orders is reflexive and transitive, so a chain whose every hop
//! was checked against the one before it needs no other comparison. It is sound and not complete: where it cannot see that a
//! child is narrower (two slots of `checkout.line_items` that only together do what one of the parent's does), it refuses.
//! What the ledger counts is not looked at: the tree of budgets holds the sum of all children under their parent.
//!
//! [`check_line`] decides whether a chain may be handed on to a key at all: it ends, and it never comes back.

mod order;

use serde_json::Value;

use crate::constraint::{Constraint, Written};
use crate::json::Object;
use crate::keys::PublicKey;
use crate::limits::DELEGATIONS_MAX;
use crate::mandate::Open;
use crate::rejection::{Code, Rejection, shown, shown_value};
use order::Difference;

/// Refuses a child that allows, in any dimension, what its parent does not; the code names the dimension, the sentence has
/// the parent's value and the child's. A constraint that is not understood, on either side, is refused as well.
pub fn check(child: &Open, parent: &Open) -> Result<(), Rejection> {
    if child.vct != parent.vct || !parent.vct.is_open() {
        let message = format!("a child is an open mandate of its parent's type, {}; {} came", parent.vct, child.vct);
        return Err(Rejection::new(Code::ChildWidensFamily, message).at("vct"));
    }
    let (theirs, ours) = (understood(parent)?, understood(child)?);
    check_bounded(&theirs)?;
    for constraint in &theirs {
        check_constraint(&ours, constraint)?;
    }
    check_recurrence(&ours, &theirs)?;
    check_presets(&child.presets, &parent.presets)?;
    check_times(child, parent)
}

/// Refuses to hand a chain on to a key that is in it already, and beyond [`DELEGATIONS_MAX`] hand-overs. `holders` are the
/// keys that the chain's open mandates name, from the root outwards.
pub fn check_line(holders: &[&PublicKey], to: &PublicKey) -> Result<(), Rejection> {
    if holders.len() > DELEGATIONS_MAX {
        let message = format!(
            "a mandate is handed on at most {DELEGATIONS_MAX} times; this would be hand-over {}",
            holders.len()
        );
        return Err(Rejection::new(Code::DelegationTooDeep, message).at("cnf"));
    }
    let to = to.thumbprint();
    if holders.iter().any(|holder| holder.thumbprint() == to) {
        let message = format!("a chain names each key once; {to} holds a mandate of it already");
        return Err(Rejection::new(Code::DelegationCycle, message).at("cnf"));
    }
    Ok(())
}

fn understood(open: &Open) -> Result<Vec<&Constraint>, Rejection> {
    open.constraints.iter().map(|written: &Written| written.understood(open.vct.family())).collect()
}

/// A recurrence without its budget pays nothing, so there is nothing that a child could be narrower than.
fn check_bounded(parent: &[&Constraint]) -> Result<(), Rejection> {
    let has = |wanted: fn(&Constraint) -> bool| parent.iter().any(|constraint| wanted(constraint));
    let recurs = has(|constraint| matches!(constraint, Constraint::AgentRecurrence(_)));
    let is_bounded = has(|constraint| matches!(constraint, Constraint::AmountRange(_)))
        && has(|constraint| matches!(constraint, Constraint::Budget(_)));
    if recurs && !is_bounded {
        let message =
            "a recurrence stands beside payment.amount_range and payment.budget; the parent lacks one of them";
        return Err(Rejection::new(Code::RecurrenceNeedsBudget, message).at("constraints"));
    }
    Ok(())
}

/// One constraint of the child implies this one of the parent: constraints are held all at once, so one is enough.
fn check_constraint(child: &[&Constraint], parent: &Constraint) -> Result<(), Rejection> {
    let mut first: Option<Difference> = None;
    for constraint in child {
        match order::compare(constraint, parent) {
            Some(Ok(())) => return Ok(()),
            Some(Err(difference)) => first = first.or(Some(difference)),
            None => {}
        }
    }
    // A child without a recurrence pays once, which any recurrence that pays at all allows.
    if let (None, Constraint::AgentRecurrence(parent)) = (&first, parent)
        && parent.max_occurrences != Some(0)
    {
        return Ok(());
    }
    let (expected, came) = match first {
        Some(Difference { expected, came }) => (expected, came),
        None => (shown(&Value::Object(parent.claims()).to_string()), "nothing of it".to_owned()),
    };
    let message = format!("the parent's {} says {expected}; the child says {came}", parent.kind());
    Err(Rejection::new(order::code(parent), message).at("constraints"))
}

/// A recurrence is the one constraint that gives: without it an open mandate pays once.
fn check_recurrence(child: &[&Constraint], parent: &[&Constraint]) -> Result<(), Rejection> {
    let recurrence = |constraints: &[&Constraint]| {
        constraints.iter().find_map(|constraint| match constraint {
            Constraint::AgentRecurrence(recurrence) => Some(*recurrence),
            _ => None,
        })
    };
    match (recurrence(child), recurrence(parent)) {
        (Some(ours), None) => {
            let message = format!("the parent pays once; the child says {}", order::recurrence_shown(&ours));
            Err(Rejection::new(Code::ChildWidensRecurrence, message).at("constraints"))
        }
        _ => Ok(()),
    }
}

/// What the closed mandate must repeat under the parent it must repeat under the child.
fn check_presets(child: &Object, parent: &Object) -> Result<(), Rejection> {
    for (name, preset) in parent {
        let ours = child.get(name);
        if ours != Some(preset) {
            let came = ours.map_or_else(|| "nothing".to_owned(), shown_value);
            let message =
                format!("the parent presets {} to {}; the child says {came}", shown(name), shown_value(preset));
            return Err(Rejection::new(Code::ChildWidensPreset, message).at(name.clone()));
        }
    }
    Ok(())
}

/// The child's life lies within its parent's.
fn check_times(child: &Open, parent: &Open) -> Result<(), Rejection> {
    let said = |seconds: Option<i64>| seconds.map_or_else(|| "nothing".to_owned(), |seconds| seconds.to_string());
    let widened = |name: &'static str, parent: Option<i64>, child: Option<i64>, code: Code| {
        let message = format!("the parent's {name} is {}; the child's is {}", said(parent), said(child));
        Err(Rejection::new(code, message).at(name))
    };
    if let Some(end) = parent.expires_at_seconds
        && child.expires_at_seconds.is_none_or(|ours| ours > end)
    {
        return widened("exp", parent.expires_at_seconds, child.expires_at_seconds, Code::ChildWidensExpiry);
    }
    let starts = [
        ("iat", parent.issued_at_seconds, child.issued_at_seconds),
        ("nbf", parent.not_before_seconds, child.not_before_seconds),
    ];
    for (name, theirs, ours) in starts {
        if let Some(start) = theirs
            && ours.is_none_or(|ours| ours < start)
        {
            return widened(name, theirs, ours, Code::ChildWidensStart);
        }
    }
    Ok(())
}
