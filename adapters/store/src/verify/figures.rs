//! What the spends of a node come to, kept up to date as their records go by: held = what the live ones reserve, posted =
//! what the settled ones took. At the end each node must say the same, and none more than its cap.

use std::collections::HashMap;

use ledger::budget::{Budget, Refunds};
use ledger::id::{BudgetId, SpendId};
use ledger::money::Amount;
use ledger::spend::{Spend, SpendState};
use ledger::view::View;
use ledger::window::WindowKey;

use super::Stop;

/// Of some spends, with what is posted where refunds give nothing back, and where they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    held: Amount,
    kept: Amount,
    restored: Amount,
    count: u64,
}

impl Figures {
    fn of(spend: &Spend) -> Option<Self> {
        Some(match spend.state {
            // A nonce that was spent otherwise keeps its hold until a human has sorted it out.
            SpendState::Held
            | SpendState::Committed
            | SpendState::Submitted
            | SpendState::Unknown
            | SpendState::SpentOtherwise => Self { held: spend.authority, count: 1, ..Self::default() },
            SpendState::Settled => Self {
                kept: spend.posted_at(Refunds::Keep)?,
                restored: spend.posted_at(Refunds::Restore)?,
                count: 1,
                ..Self::default()
            },
            SpendState::Voided | SpendState::Expired | SpendState::Released => Self::default(),
        })
    }

    fn plus(self, more: Self) -> Option<Self> {
        Some(Self {
            held: self.held.checked_add(more.held)?,
            kept: self.kept.checked_add(more.kept)?,
            restored: self.restored.checked_add(more.restored)?,
            count: self.count.checked_add(more.count)?,
        })
    }

    fn minus(self, less: Self) -> Option<Self> {
        Some(Self {
            held: self.held.checked_sub(less.held)?,
            kept: self.kept.checked_sub(less.kept)?,
            restored: self.restored.checked_sub(less.restored)?,
            count: self.count.checked_sub(less.count)?,
        })
    }

    /// With what no spend accounts for: payments that a restored book found.
    fn charged(self, amount: Amount) -> Option<Self> {
        self.plus(Self { kept: amount, restored: amount, ..Self::default() })
    }

    const fn posted(&self, refunds: Refunds) -> Amount {
        match refunds {
            Refunds::Keep => self.kept,
            Refunds::Restore => self.restored,
        }
    }
}

/// A spend as its last record left it.
struct Counted {
    id: SpendId,
    leaf: BudgetId,
    figures: Figures,
}

#[derive(Default)]
pub(super) struct Tally {
    /// By the record that reserved it.
    spends: HashMap<u64, Counted>,
    /// By the node that a spend names; what lies above it is added at the end.
    leaves: HashMap<BudgetId, Figures>,
    windows: HashMap<WindowKey, Figures>,
    charged: HashMap<BudgetId, Amount>,
}

impl Tally {
    pub fn count(&mut self, seq: u64, spend: &Spend) -> Result<(), Stop> {
        let overflow = || Stop::at(seq, format!("the figures of budget {} overflow with {}", spend.budget, spend.id));
        // What was given back and turns out to be paid is charged by its record, as far as there was room.
        let known = self.spends.get(&spend.hold.seq);
        let was_given_back = known.is_some_and(|before| before.figures == Figures::default());
        let now = match spend.state {
            SpendState::SpentOtherwise if was_given_back => Figures::default(),
            _ => Figures::of(spend).ok_or_else(overflow)?,
        };
        let counted = Counted { id: spend.id, leaf: spend.budget, figures: now };
        let before = self.spends.insert(spend.hold.seq, counted);
        if let Some(before) = before.as_ref().filter(|before| (before.id, before.leaf) != (spend.id, spend.budget)) {
            let (hold, id, leaf) = (spend.hold.seq, before.id, before.leaf);
            let reason = format!(
                "record {hold} reserved spend {id} under budget {leaf}, record {seq} says {} under {}",
                spend.id, spend.budget
            );
            return Err(Stop::at(seq, reason));
        }
        let before = before.map(|before| before.figures).unwrap_or_default();
        let moved = |figures: &mut Figures| {
            *figures = figures.minus(before)?.plus(now)?;
            Some(())
        };
        moved(self.leaves.entry(spend.budget).or_default()).ok_or_else(overflow)?;
        for key in &spend.windows {
            // Looked up first: a window has many spends, and its key a text.
            let known = self.windows.get_mut(key);
            let done = match known {
                Some(figures) => moved(figures),
                None => moved(self.windows.entry(key.clone()).or_default()),
            };
            done.ok_or_else(overflow)?;
        }
        Ok(())
    }

    pub fn charge(&mut self, seq: u64, budget: BudgetId, amount: Amount) -> Result<(), Stop> {
        let charged = self.charged.entry(budget).or_default();
        let more = charged.checked_add(amount);
        *charged = more.ok_or_else(|| Stop::at(seq, format!("what budget {budget} is charged overflows")))?;
        Ok(())
    }

    pub fn charge_window(&mut self, seq: u64, key: &WindowKey, amount: Amount) -> Result<(), Stop> {
        let figures = self.windows.entry(key.clone()).or_default();
        let more = figures.charged(amount);
        *figures = more.ok_or_else(|| Stop::at(seq, format!("what {key:?} is charged overflows")))?;
        Ok(())
    }

    pub fn check(self, view: &View) -> Result<(), Stop> {
        let seq = view.head.frontier.size();
        check_windows(self.windows, view, seq)?;
        let mut nodes: HashMap<BudgetId, Figures> = HashMap::new();
        for (leaf, figures) in self.leaves {
            let node = view.budgets.find(&leaf).ok().flatten();
            let node =
                node.ok_or_else(|| Stop::at(seq, format!("spends refer to budget {leaf}, which is not there")))?;
            for id in &node.path {
                let sum = nodes.entry(*id).or_default();
                let more = sum.plus(figures);
                *sum = more.ok_or_else(|| Stop::at(seq, format!("budget {id} overflows with what is under {leaf}")))?;
            }
        }
        for (id, amount) in self.charged {
            let sum = nodes.entry(id).or_default();
            let more = sum.charged(amount);
            *sum = more.ok_or_else(|| Stop::at(seq, format!("budget {id} overflows with {amount}")))?;
        }
        for (id, budget) in view.budgets.changed() {
            let sums = nodes.remove(id).unwrap_or_default();
            let expected = (sums.held, sums.posted(budget.caps.refunds), sums.count);
            let found = (budget.held, budget.posted, budget.count);
            if expected != found {
                return Err(Stop::at(seq, differ(format!("budget {id}"), found, expected)));
            }
            check_cap(seq, budget)?;
        }
        match nodes.into_keys().next() {
            None => Ok(()),
            Some(id) => Err(Stop::at(seq, format!("spends refer to budget {id}, which is not there"))),
        }
    }
}

fn differ(what: String, found: (Amount, Amount, u64), expected: (Amount, Amount, u64)) -> String {
    let said = |(held, posted, count)| format!("{held} held and {posted} posted of {count} payments");
    format!("{what} says {}, its spends come to {}", said(found), said(expected))
}

fn check_windows(mut figures: HashMap<WindowKey, Figures>, view: &View, seq: u64) -> Result<(), Stop> {
    for (key, window) in view.windows.changed() {
        let sums = figures.remove(key).unwrap_or_default();
        let node = view.budgets.find(&key.budget).ok().flatten();
        let refunds = node.map_or(Refunds::Keep, |node| node.caps.refunds);
        let expected = (sums.held, sums.posted(refunds), sums.count);
        let found = (window.held, window.posted, window.count);
        if expected != found {
            return Err(Stop::at(seq, differ(format!("{key:?}"), found, expected)));
        }
        let cap = window.cap;
        if cap.is_some_and(|cap| window.used().is_none_or(|used| used > cap)) {
            return Err(Stop::at(seq, format!("{key:?} has {found:?}, over its limit of {cap:?}")));
        }
    }
    match figures.into_keys().next() {
        None => Ok(()),
        Some(key) => Err(Stop::at(seq, format!("spends refer to {key:?}, which is not there"))),
    }
}

fn check_cap(seq: u64, budget: &Budget) -> Result<(), Stop> {
    let used = budget.used().ok_or_else(|| Stop::at(seq, format!("budget {} overflows", budget.id)))?;
    match budget.caps.total.filter(|cap| used > *cap) {
        None if budget.is_over => Err(Stop::at(seq, format!("budget {} has used {used} and says over", budget.id))),
        Some(cap) if !budget.is_over => Err(Stop::at(seq, format!("budget {} has used {used} of {cap}", budget.id))),
        _ => Ok(()),
    }
}
