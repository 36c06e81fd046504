//! Whether the uses of mandates that recur lie as far apart as they must: from the records alone, spend by spend, whatever
//! the nodes say of their last use.

use std::collections::HashMap;

use ledger::budget::Budget;
use ledger::id::{BudgetId, Micros};
use ledger::spend::{Spend, SpendState};
use ledger::view::View;

use super::Stop;

/// The spends that live under some node that recurs.
#[derive(Default)]
pub(super) struct Uses {
    /// By the record that reserved it: the node that it names, and when.
    living: HashMap<u64, (BudgetId, Micros)>,
}

fn path<'a>(view: &'a View, leaf: &BudgetId) -> impl Iterator<Item = &'a Budget> {
    let leaf = view.budgets.find(leaf).ok().flatten();
    leaf.into_iter().flat_map(|leaf| &leaf.path).filter_map(|id| view.budgets.find(id).ok().flatten())
}

impl Uses {
    /// A spend as a record of this instant leaves it.
    pub fn count(&mut self, seq: u64, at: Micros, spend: &Spend, view: &View) {
        if matches!(spend.state, SpendState::Voided | SpendState::Expired | SpendState::Released) {
            self.living.remove(&spend.hold.seq);
        } else if spend.hold.seq == seq && path(view, &spend.budget).any(|node| node.caps.frequency.is_some()) {
            self.living.insert(seq, (spend.budget, at));
        }
    }

    pub fn check(self, view: &View) -> Result<(), Stop> {
        let end = view.head.frontier.size();
        let mut nodes: HashMap<BudgetId, Vec<(u64, Micros)>> = HashMap::new();
        for (hold, (leaf, at)) in self.living {
            for node in path(view, &leaf).filter(|node| node.caps.frequency.is_some()) {
                nodes.entry(node.id).or_default().push((hold, at));
            }
        }
        for (id, budget) in view.budgets.changed() {
            let mut uses = nodes.remove(id).unwrap_or_default();
            uses.sort_unstable();
            check_node(end, budget, &uses)?;
        }
        Ok(())
    }
}

fn check_node(end: u64, budget: &Budget, uses: &[(u64, Micros)]) -> Result<(), Stop> {
    let (id, newest) = (budget.id, uses.last().copied());
    // One that was given back leaves nothing, though an earlier one may live.
    if let Some(last) = budget.last_use.map(|last| (last.hold, last.at)).filter(|last| Some(*last) != newest) {
        return Err(Stop::at(
            end,
            format!("budget {id} says that its last use is {last:?}, its spends say {newest:?}"),
        ));
    }
    let Some(frequency) = budget.caps.frequency else { return Ok(()) };
    for pair in uses.windows(2) {
        let [(_, before), (hold, at)] = pair else { continue };
        if frequency.due_after_seconds(before.seconds()).is_none_or(|due| at.seconds() < due) {
            let (before, at) = (before.seconds(), at.seconds());
            let reason = format!("budget {id} is used {frequency}; its uses of {before} and {at} are nearer than that");
            return Err(Stop::at(*hold, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ledger::journal::SaltKey;
    use ledger::recurrence::LastUse;

    use super::*;
    use crate::tests::memory::Memory;
    use crate::tests::{holds, stream};

    const DAY: i64 = 86_400_000_000;

    /// A book with two uses of a daily mandate, and the uses as `count` sees them.
    fn two() -> (View, Uses) {
        let mut memory = Memory::new(SaltKey::new([1; 32]), |rejection| rejection.to_string().into_bytes());
        let lasting = |number| {
            let hold = stream::hold(number, stream::mandate(23), 1);
            holds(ledger::command::Hold { expires_at: Micros(i64::MAX), ..hold }).request
        };
        let preamble = stream::preamble().into_iter().map(|request| (stream::START, request));
        let uses = [(stream::START, lasting(1)), (stream::START.plus_micros(DAY), lasting(2))];
        preamble.chain(uses).for_each(|(at, request)| drop(memory.run(at, &request)));
        let mut uses = Uses::default();
        for record in &memory.records {
            if let Some(spend) = &record.spend {
                uses.count(record.seq, record.at, spend, &memory.view);
            }
        }
        assert_eq!(uses.living.len(), 2, "both live");
        (memory.view, uses)
    }

    fn told(checked: Result<(), Stop>) -> String {
        match checked {
            Ok(()) => String::new(),
            Err(Stop::Break { reason, .. }) => reason,
            Err(Stop::Failed(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn uses_that_are_too_near_are_found() {
        let (view, mut uses) = two();
        let first = *uses.living.keys().min().unwrap();
        uses.living.get_mut(&first).unwrap().1 = stream::START.plus_micros(1_000_000);
        assert!(told(uses.check(&view)).contains("is used DAILY"));
    }

    #[test]
    fn a_last_use_that_is_none_is_found() {
        let (mut view, uses) = two();
        let node = view.budgets.find(&stream::mandate(23)).unwrap().unwrap().clone();
        let last = node.last_use.unwrap();
        for wrong in [LastUse { hold: last.hold + 1, ..last }, LastUse { at: last.at.plus_micros(1), ..last }] {
            view.budgets.put(node.id, Budget { last_use: Some(wrong), ..node.clone() });
            let (_, uses) = two();
            assert!(told(uses.check(&view)).contains("says that its last use is"), "{wrong:?}");
        }
        view.budgets.put(node.id, Budget { last_use: None, ..node.clone() });
        assert_eq!(told(uses.check(&view)), "", "it may have been given back");
    }

    #[test]
    fn a_book_as_it_should_be_holds() {
        let (view, uses) = two();
        assert_eq!(told(uses.check(&view)), "");
    }
}
