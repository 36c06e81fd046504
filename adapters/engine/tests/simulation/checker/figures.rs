//! Budgets and their windows.

use std::collections::BTreeMap;

use ledger::budget::{BudgetStep, Refunds};
use ledger::effects::{Effects, Operation};
use ledger::id::{BudgetId, Micros, SpendId};
use ledger::spend::{Spend, SpendState};
use ledger::window::{Limit, Period, WindowKey};

use super::replay::{Node, Past};
use super::{Book, Verdict, ensure};

fn used_by(amounts: [u128; 2], step: BudgetStep, amount: u128) -> Option<[u128; 2]> {
    let [held, posted] = amounts;
    Some(match step {
        BudgetStep::Hold => [held + amount, posted],
        BudgetStep::Release => [held.checked_sub(amount)?, posted],
        BudgetStep::Post => [held.checked_sub(amount)?, posted + amount],
        BudgetStep::Restore => [held, posted.checked_sub(amount)?],
        BudgetStep::Charge => [held, posted + amount],
        BudgetStep::Unpost => [held + amount, posted.checked_sub(amount)?],
    })
}

/// Cap = available + held + posted, available ≥ 0: at every record, for every node and window.
pub fn i3(book: &Book<'_>) -> Verdict {
    let mut past = Past::default();
    let mut nodes: BTreeMap<BudgetId, [u128; 2]> = BTreeMap::new();
    let mut windows: BTreeMap<WindowKey, ([u128; 2], u64)> = BTreeMap::new();
    for record in &book.records {
        past.take(record);
        for step in &record.moves {
            let before = nodes.get(&step.budget).copied().unwrap_or_default();
            let after = used_by(before, step.step, step.amount.get());
            let after = after.ok_or_else(|| format!("record {}: {} falls under nothing", record.seq, step.budget))?;
            let cap = past.nodes[&step.budget].caps.total.map(|cap| cap.get());
            let (used, takes) = (after[0] + after[1], matches!(step.step, BudgetStep::Hold | BudgetStep::Charge));
            ensure(!takes || cap.is_none_or(|cap| used <= cap), || {
                format!("record {}: {used} of {cap:?} at {}", record.seq, step.budget)
            })?;
            nodes.insert(step.budget, after);
        }
        for step in &record.windows {
            let (before, count) = windows.get(&step.key).copied().unwrap_or_default();
            let after = used_by(before, step.step, step.amount.get());
            let after = after.ok_or_else(|| format!("record {}: a window falls under nothing", record.seq))?;
            let count = match step.step {
                BudgetStep::Hold => count + 1,
                BudgetStep::Release => count.checked_sub(1).ok_or("a window counts under nothing")?,
                _ => count,
            };
            windows.insert(step.key.clone(), (after, count));
            if step.step == BudgetStep::Hold {
                fits(record, &past, &windows, &step.key)?;
            }
        }
    }
    let rows = book.tables.budgets.iter().map(|(id, row)| (id, [row.held.get(), row.posted.get()]));
    let odd = rows.clone().find(|(id, row)| nodes.get(id).copied().unwrap_or_default() != *row);
    ensure(odd.is_none(), || format!("a row says {odd:?}, the records {:?}", odd.and_then(|(id, _)| nodes.get(id))))?;
    let over =
        book.tables.budgets.values().find(|row| {
            !row.is_over && row.caps.total.is_some_and(|cap| row.held.get() + row.posted.get() > cap.get())
        });
    ensure(over.is_none(), || format!("{over:?} is over its cap"))
}

fn fits(record: &Effects, past: &Past, windows: &BTreeMap<WindowKey, ([u128; 2], u64)>, key: &WindowKey) -> Verdict {
    let limit = &past.nodes[&key.budget].caps.limits[usize::from(key.limit)];
    let first = if matches!(limit.period, Period::Rolling(_)) { key.place - 24 } else { key.place };
    let counted = (first..=key.place).filter_map(|place| windows.get(&WindowKey { place, ..key.clone() }));
    let (used, count) = counted.fold((0, 0), |sum, (used, count)| (sum.0 + used[0] + used[1], sum.1 + count));
    let fits = limit.amount.is_none_or(|cap| used <= cap.get()) && limit.payments.is_none_or(|cap| count <= cap);
    ensure(fits, || format!("record {}: {used} in {count} payments pass {limit} ({limit:?})", record.seq))
}

/// What is held, posted and counted of a spend at a node.
fn figures(spend: &Spend, refunds: Refunds) -> [u128; 3] {
    let authority = spend.authority.get();
    match spend.state {
        SpendState::Voided | SpendState::Expired | SpendState::Released => [0, 0, 0],
        SpendState::Settled => {
            let back = authority * spend.refunded.get() / spend.money.amount.get();
            [0, if refunds == Refunds::Restore { authority - back } else { authority }, 1]
        }
        SpendState::Held
        | SpendState::Committed
        | SpendState::Submitted
        | SpendState::Unknown
        | SpendState::SpentOtherwise => [authority, 0, 1],
    }
}

fn add(sums: &mut [u128; 3], more: [u128; 3]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Held = Σ live holds, posted = Σ captures − restored, per node and window.
pub fn i4(book: &Book<'_>) -> Verdict {
    let mut nodes: BTreeMap<BudgetId, [u128; 3]> = BTreeMap::new();
    let mut windows: BTreeMap<&WindowKey, [u128; 3]> = BTreeMap::new();
    let refunds = |id: &BudgetId| book.tables.budgets[id].caps.refunds;
    for spend in book.tables.spends.values() {
        for id in &book.tables.budgets[&spend.budget].path {
            add(nodes.entry(*id).or_default(), figures(spend, refunds(id)));
        }
        for key in &spend.windows {
            add(windows.entry(key).or_default(), figures(spend, refunds(&key.budget)));
        }
    }
    for (id, row) in &book.tables.budgets {
        let (found, row) =
            (nodes.get(id).copied().unwrap_or_default(), [row.held.get(), row.posted.get(), row.count.into()]);
        ensure(found == row, || format!("node {id} says {row:?} (held, posted, count), its spends {found:?}"))?;
    }
    for (key, row) in &book.tables.windows {
        let found = windows.remove(key).unwrap_or_default();
        let row = [row.held.get(), row.posted.get(), row.count.into()];
        ensure(found == row, || format!("window {key:?} says {row:?}, its spends {found:?}"))?;
    }
    ensure(windows.is_empty(), || format!("windows without a row: {windows:?}"))
}

/// Which window a payment now is counted in: days from 1970 in UTC, and the twenty-fourth parts of a rolling period.
fn place(limit: &Limit, at: Micros) -> i64 {
    match &limit.period {
        Period::Day(_) => at.0.div_euclid(86_400_000_000),
        Period::Rolling(seconds) => at.0.div_euclid(i64::from(*seconds) * 1_000_000 / 24),
        other => panic!("the simulation has no limit by {other:?}"),
    }
}

fn windows_of(path: &[(BudgetId, &Node)], spend: &Spend, at: Micros) -> Vec<WindowKey> {
    let mut keys = Vec::new();
    for (id, node) in path {
        for (number, limit) in (0..).zip(&node.caps.limits) {
            let payee = limit.each_payee.then(|| spend.payee.clone());
            keys.push(WindowKey { budget: *id, limit: number, payee, place: place(limit, at) });
        }
    }
    keys.sort();
    keys
}

/// A spend moves exactly path(budget), and the windows of the instant at which it was held.
pub fn i5(book: &Book<'_>) -> Verdict {
    let mut past = Past::default();
    for record in &book.records {
        past.take(record);
        let Some(spend) = &record.spend else {
            ensure(record.moves.is_empty() && record.windows.is_empty(), || format!("record {} moves", record.seq))?;
            continue;
        };
        let path = past.path(&spend.budget);
        let step = match record.operation {
            Operation::Hold => Some(BudgetStep::Hold),
            Operation::Void | Operation::Expire | Operation::Release => Some(BudgetStep::Release),
            Operation::Settle => Some(BudgetStep::Post),
            Operation::Unsettle => Some(BudgetStep::Unpost),
            Operation::Refund => {
                let strange = record.moves.iter().find(|step| !path.iter().any(|(id, _)| *id == step.budget));
                ensure(strange.is_none(), || format!("refund {} moves {strange:?}", record.seq))?;
                continue;
            }
            _ => None,
        };
        let mut expected: Vec<BudgetId> = path.iter().map(|(id, _)| *id).filter(|_| step.is_some()).collect();
        let mut found: Vec<BudgetId> = record.moves.iter().map(|step| step.budget).collect();
        expected.sort();
        found.sort();
        ensure(expected == found, || format!("record {} moves {found:?}, its path is {expected:?}", record.seq))?;
        let mut keys: Vec<WindowKey> = record.windows.iter().map(|step| step.key.clone()).collect();
        keys.sort();
        let mut own = if record.operation == Operation::Hold {
            windows_of(&path, spend, record.at)
        } else {
            spend.windows.clone()
        };
        own.retain(|_| step.is_some());
        own.sort();
        ensure(keys == own, || format!("record {} moves the windows {keys:?}, {own:?} were expected", record.seq))?;
        let steps = record.moves.iter().map(|one| (one.step, one.amount));
        let mut steps = steps.chain(record.windows.iter().map(|one| (one.step, one.amount)));
        let odd = steps.find(|(one, amount)| Some(*one) != step || *amount != spend.authority);
        ensure(odd.is_none(), || format!("record {} moves {odd:?}, not {step:?} of {}", record.seq, spend.authority))?;
    }
    Ok(())
}

/// Two uses that live are never nearer than a day, where a node is used daily; and a node knows the last one.
pub fn i18(book: &Book<'_>) -> Verdict {
    let mut past = Past::default();
    let mut living: BTreeMap<SpendId, (BudgetId, Micros)> = BTreeMap::new();
    for record in &book.records {
        past.take(record);
        let Some(spend) = &record.spend else { continue };
        if matches!(spend.state, SpendState::Voided | SpendState::Expired | SpendState::Released) {
            living.remove(&spend.id);
        } else if record.operation == Operation::Hold {
            for (id, node) in past.path(&spend.budget).into_iter().filter(|(_, node)| node.caps.frequency.is_some()) {
                let mut others = living.values().filter(|(leaf, _)| past.nodes[leaf].path.contains(&id));
                let near = others.find(|(_, at)| record.at.seconds() - at.seconds() < 86_400);
                ensure(near.is_none(), || {
                    let often = node.caps.frequency;
                    format!("record {}: {id} ({often:?}) is used at {:?} and {near:?}", record.seq, record.at)
                })?;
            }
            living.insert(spend.id, (spend.budget, record.at));
        }
    }
    for (id, row) in book.tables.budgets.iter().filter(|(_, row)| row.last_use.is_some()) {
        let own = living.values().filter(|(leaf, _)| past.nodes[leaf].path.contains(id));
        let newest = own.map(|(_, at)| *at).max();
        ensure(row.last_use.map(|last| last.at) == newest, || {
            format!("{id} was last used at {newest:?}, its row says {:?}", row.last_use)
        })?;
    }
    Ok(())
}
