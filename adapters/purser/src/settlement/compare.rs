//! Lines against payments: a pure function of both.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use engine::closing::Given;
use engine::rate::authority_to_major;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use ledger::command::Answered;
use ledger::id::SpendId;
use ledger::spend::SpendState;
use serde_json::{Value, json};

use super::file::{Line, Said};

/// Something that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of the file; nothing where the file lacks one.
    pub line: Option<u64>,
    pub code: &'static str,
    pub detail: String,
}

impl Finding {
    pub fn of(line: &Line, code: &'static str, detail: String) -> Self {
        Self { line: Some(line.number), code, detail }
    }

    pub fn to_json(&self) -> Value {
        json!({ "line": self.line, "break": self.code, "detail": self.detail })
    }
}

/// A line about a payment that is held here, agreeing with it in every value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub line: Line,
    pub spend: SpendId,
    pub answer: Answered,
}

#[derive(Debug, Default)]
pub struct Compared {
    pub agreed: usize,
    pub held: Vec<Held>,
    pub breaks: Vec<Finding>,
}

pub fn compare(lines: &[Line], given: &[Given]) -> Compared {
    let mut by_name: HashMap<&str, &Given> = HashMap::new();
    let ids: BTreeMap<String, &Given> = given.iter().map(|one| (one.spend.id.to_string(), one)).collect();
    by_name.extend(given.iter().flat_map(|one| one.references.iter().map(move |name| (name.as_str(), one))));
    by_name.extend(ids.iter().map(|(id, one)| (id.as_str(), *one)));
    let mut compared = Compared::default();
    let (mut named, mut processor_ids) = (BTreeSet::new(), HashSet::new());
    let (mut twice, mut ids_twice) = (HashSet::new(), HashSet::new());
    for line in lines {
        let is_new_id = processor_ids.insert(line.processor_id.as_str());
        let Some(found) = by_name.get(line.reference.as_str()) else {
            let detail = format!("a payment on this rail was expected, `{}` names none", line.reference);
            compared.breaks.push(Finding::of(line, "unknown_reference", detail));
            continue;
        };
        let id = found.spend.id;
        if !named.insert(id) || !is_new_id {
            let what =
                format!("one line for payment {id} and for `{}` was expected, there are more", line.processor_id);
            compared.breaks.push(Finding::of(line, "duplicate", what));
            twice.insert(id);
            ids_twice.insert(line.processor_id.as_str());
            continue;
        }
        match judge(line, found) {
            Ok(None) => compared.agreed = compared.agreed.saturating_add(1),
            Ok(Some(answer)) => compared.held.push(Held { line: line.clone(), spend: id, answer }),
            Err((code, detail)) => compared.breaks.push(Finding::of(line, code, format!("payment {id}: {detail}"))),
        }
    }
    // Of two lines about one payment, or under one id, neither is taken at its word.
    let is_doubted = |held: &Held| twice.contains(&held.spend) || ids_twice.contains(held.line.processor_id.as_str());
    compared.held.retain(|held| !is_doubted(held));
    compared.breaks.extend(missing(lines, given, &named));
    compared
}

fn judge(line: &Line, found: &Given) -> Result<Option<Answered>, (&'static str, String)> {
    let spend = &found.spend;
    let currency = spend.money.asset.currency().unwrap_or("-");
    if line.currency != currency {
        return Err(("currency_differs", format!("{currency} here, {} there", line.currency)));
    }
    if line.amount != found.amount {
        let here = authority_to_major(found.amount, currency).unwrap_or_else(|_| found.amount.to_string());
        return Err(("amount_differs", format!("{here} {currency} here, {} {currency} there", line.amount_text)));
    }
    let there = if line.said == Said::Settled { "settled" } else { "refused" };
    match (spend.state, line.said) {
        (SpendState::Settled, Said::Settled)
        | (SpendState::Released | SpendState::Held | SpendState::Voided | SpendState::Expired, Said::Refused) => {
            Ok(None)
        }
        (SpendState::Committed | SpendState::Submitted | SpendState::Unknown, Said::Settled) => {
            Ok(Some(Answered::Paid))
        }
        (SpendState::Committed | SpendState::Submitted | SpendState::Unknown, Said::Refused) => {
            Ok(Some(Answered::NotPaid))
        }
        (SpendState::SpentOtherwise, _) => {
            Err(("incident_here", format!("its verifier said both here, {there} there")))
        }
        (state, _) => Err(("state_differs", format!("{state} here, {there} there"))),
    }
}

/// Settled here on a day of the file, and not in it.
fn missing(lines: &[Line], given: &[Given], named: &BTreeSet<SpendId>) -> Vec<Finding> {
    let (Some(first), Some(last)) =
        (lines.iter().map(|line| line.date).min(), lines.iter().map(|line| line.date).max())
    else {
        return Vec::new();
    };
    let settled = given.iter().filter(|one| one.spend.state == SpendState::Settled && !named.contains(&one.spend.id));
    let within = settled.filter_map(|one| {
        let day = day(one.ended_at?)?;
        (first..=last).contains(&day).then(|| {
            let detail = format!("payment {} is settled here since {day}, the file has no line for it", one.spend.id);
            Finding { line: None, code: "missing_there", detail }
        })
    });
    within.collect()
}

fn day(seconds: i64) -> Option<Date> {
    jiff::Timestamp::from_second(seconds).ok().map(|at| TimeZone::UTC.to_datetime(at).date())
}
