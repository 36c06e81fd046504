//! The part of a book that a command reads, in memory. The store fills it, `Book` folds over it.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::Budget;
use crate::claim::{Claim, ClaimKey};
use crate::decision::Decision;
use crate::effects::Effects;
use crate::gate::{Gate, Scope};
use crate::id::{BudgetId, DecisionId, Digest, Micros, SpendId};
use crate::journal::{self, Frontier, SaltKey};
use crate::rejection::{Fault, Rejection};
use crate::settlement::{PayerKey, Settlement, SettlementKey};
use crate::spend::Spend;
use crate::store::JournalEntry;
use crate::window::{Window, WindowKey};

/// Where a tenant's journal stands. Its row is the tenant's lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub frontier: Frontier,
    /// Time within a tenant only rises.
    pub last_at: Option<Micros>,
}

impl Head {
    /// Hashes a record into the tree. Every new record of a unit goes through here before the next command is judged.
    pub fn append(&mut self, salt_key: &SaltKey, effects: &Effects) -> JournalEntry {
        let bytes = effects.to_bytes();
        let leaf = journal::leaf(&salt_key.salt(effects.seq), &bytes);
        self.frontier.push(leaf);
        JournalEntry { seq: effects.seq, bytes, leaf }
    }
}

/// Things by name, each looked up before: `None` is "not there", an absent key is "not looked at".
#[derive(Clone, Debug)]
pub struct Shelf<K, V> {
    entries: BTreeMap<K, Option<V>>,
    touched: BTreeSet<K>,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl<K: Ord + Clone + std::fmt::Debug, V> Shelf<K, V> {
    pub fn find(&self, key: &K) -> Result<Option<&V>, Fault> {
        self.entries.get(key).map(Option::as_ref).ok_or_else(|| Fault::NotLoaded(format!("{key:?}")))
    }

    pub fn is_loaded(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// What the store found, or that it found nothing. Never replaces what a command of this unit has changed.
    pub fn load(&mut self, key: K, value: Option<V>) {
        self.entries.entry(key).or_insert(value);
    }

    pub fn put(&mut self, key: K, value: V) {
        self.touched.insert(key.clone());
        self.entries.insert(key, Some(value));
    }

    /// What this unit changed, in the order of the keys.
    pub fn changed(&self) -> impl Iterator<Item = (&K, &V)> {
        self.touched.iter().filter_map(|key| Some((key, self.entries.get(key)?.as_ref()?)))
    }
}

/// A claim as stored: with the refusal it answers with, where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredClaim {
    pub claim: Claim,
    pub rejection: Option<Rejection>,
}

/// The same thing bought under the same mandate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PurchaseKey {
    pub budget: BudgetId,
    pub purchase: Digest,
}

#[derive(Clone, Debug, Default)]
pub struct View {
    pub head: Head,
    pub budgets: Shelf<BudgetId, Budget>,
    pub windows: Shelf<WindowKey, Window>,
    pub spends: Shelf<SpendId, Spend>,
    /// By digest of the key.
    pub claims: Shelf<Digest, StoredClaim>,
    pub settlements: Shelf<SettlementKey, Settlement>,
    pub decisions: Shelf<DecisionId, Decision>,
    pub gates: Shelf<Scope, Gate>,
    /// Spends of a purchase on which money may still move.
    pub open_purchases: Shelf<PurchaseKey, BTreeSet<SpendId>>,
    /// Settlements of a payer that are not over; each is in `settlements`, which says how it stands.
    pub open_of: Shelf<PayerKey, BTreeSet<SettlementKey>>,
}

/// What a command must read and the view does not have yet.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    pub budgets: BTreeSet<BudgetId>,
    pub windows: BTreeSet<WindowKey>,
    pub spends: BTreeSet<SpendId>,
    pub claims: BTreeSet<Digest>,
    pub settlements: BTreeSet<SettlementKey>,
    pub decisions: BTreeSet<DecisionId>,
    pub gates: BTreeSet<Scope>,
    pub purchases: BTreeSet<PurchaseKey>,
    pub payers: BTreeSet<PayerKey>,
}

impl Keys {
    pub fn is_empty(&self) -> bool {
        self.budgets.is_empty()
            && self.windows.is_empty()
            && self.spends.is_empty()
            && self.claims.is_empty()
            && self.settlements.is_empty()
            && self.decisions.is_empty()
            && self.gates.is_empty()
            && self.purchases.is_empty()
            && self.payers.is_empty()
    }

    pub fn claim(&mut self, view: &View, key: &ClaimKey) {
        let digest = key.digest();
        if !view.claims.is_loaded(&digest) {
            self.claims.insert(digest);
        }
    }

    pub fn budget(&mut self, view: &View, budget: BudgetId) {
        match view.budgets.find(&budget) {
            Err(_) => {
                self.budgets.insert(budget);
            }
            Ok(Some(node)) => {
                self.budgets.extend(node.path.iter().filter(|id| !view.budgets.is_loaded(id)));
            }
            Ok(None) => {}
        }
    }

    pub fn windows(&mut self, view: &View, windows: impl Iterator<Item = WindowKey>) {
        self.windows.extend(windows.filter(|key| !view.windows.is_loaded(key)));
    }

    pub fn spend(&mut self, view: &View, spend: SpendId) {
        match view.spends.find(&spend) {
            Err(_) => {
                self.spends.insert(spend);
            }
            Ok(Some(found)) => {
                self.budget(view, found.budget);
                self.windows(view, found.windows.iter().cloned());
                self.purchase(view, PurchaseKey { budget: found.budget, purchase: found.purchase });
            }
            Ok(None) => {}
        }
    }

    pub fn settlement(&mut self, view: &View, key: &SettlementKey) {
        if !view.settlements.is_loaded(key) {
            self.settlements.insert(key.clone());
        }
    }

    pub fn payer(&mut self, view: &View, key: PayerKey) {
        if !view.open_of.is_loaded(&key) {
            self.payers.insert(key);
        }
    }

    pub fn decision(&mut self, view: &View, decision: DecisionId) {
        if !view.decisions.is_loaded(&decision) {
            self.decisions.insert(decision);
        }
    }

    pub fn gates(&mut self, view: &View, scopes: impl IntoIterator<Item = Scope>) {
        scopes.into_iter().for_each(|scope| self.gate(view, scope));
    }

    pub fn gate(&mut self, view: &View, scope: Scope) {
        if !view.gates.is_loaded(&scope) {
            self.gates.insert(scope);
        }
    }

    /// The first open spend too: a refusal names its state, and must name the same one whatever else was loaded.
    pub fn purchase(&mut self, view: &View, key: PurchaseKey) {
        match view.open_purchases.find(&key) {
            Err(_) => {
                self.purchases.insert(key);
            }
            Ok(Some(open)) => self.spends.extend(open.first().filter(|first| !view.spends.is_loaded(first))),
            Ok(None) => {}
        }
    }
}

impl View {
    /// What the store found of a payer, and what this unit has made since.
    pub fn load_payer(&mut self, key: PayerKey, found: impl IntoIterator<Item = Settlement>) {
        let mut keys = BTreeSet::new();
        for settlement in found {
            keys.insert(settlement.key.clone());
            self.settlements.load(settlement.key.clone(), Some(settlement));
        }
        keys.extend(self.settlements.changed().map(|(found, _)| found).filter(|found| key.has(found)).cloned());
        self.open_of.load(key, Some(keys));
    }

    /// Who is not read yet is joined when it is.
    fn join_payer(&mut self, settlement: &SettlementKey) {
        let payer = PayerKey::of(settlement);
        for key in [payer.clone().everybody(), payer] {
            if let Ok(found) = self.open_of.find(&key) {
                let mut keys = found.cloned().unwrap_or_default();
                keys.insert(settlement.clone());
                self.open_of.put(key, keys);
            }
        }
    }

    /// Takes a record in: the only way anything in a view changes, in a unit of work and in a verification alike.
    /// On `Err` the view is as it was.
    pub fn absorb(&mut self, effects: &Effects, rejection: Option<&Rejection>) -> Result<(), Fault> {
        self.absorb_figures(effects)?;
        for claim in &effects.claims {
            self.claims.put(claim.key, StoredClaim { claim: claim.clone(), rejection: rejection.cloned() });
        }
        if let Some(spend) = &effects.spend {
            let key = PurchaseKey { budget: spend.budget, purchase: spend.purchase };
            let mut open = self.open_purchases.find(&key).ok().flatten().cloned().unwrap_or_default();
            if spend.state.is_open() {
                open.insert(spend.id)
            } else {
                open.remove(&spend.id)
            };
            self.open_purchases.put(key, open);
            self.spends.put(spend.id, spend.clone());
        }
        if let Some(settlement) = &effects.settlement {
            self.join_payer(&settlement.key);
            self.settlements.put(settlement.key.clone(), settlement.clone());
        }
        if let Some(decision) = &effects.decision {
            self.decisions.put(decision.id, decision.clone());
        }
        if let Some(gate) = &effects.gate {
            self.gates.put(gate.scope.clone(), gate.clone());
        }
        Ok(())
    }

    /// Of a record, what moves the figures of nodes and windows, and its time: all that a reader needs who keeps nothing
    /// else.
    pub fn absorb_figures(&mut self, effects: &Effects) -> Result<(), Fault> {
        let budgets = self.moved_budgets(effects)?;
        let windows = self.moved_windows(effects)?;
        for budget in &effects.opened {
            self.budgets.put(budget.id, budget.clone());
        }
        for budget in budgets {
            self.budgets.put(budget.id, budget);
        }
        for window in windows {
            self.windows.put(window.key.clone(), window);
        }
        self.head.last_at = Some(effects.at);
        Ok(())
    }

    /// A window is a row from the first payment on that is counted in it.
    fn moved_windows(&self, effects: &Effects) -> Result<Vec<Window>, Fault> {
        let mut moved: BTreeMap<&WindowKey, Window> = BTreeMap::new();
        for step in &effects.windows {
            let key = &step.key;
            let node = self.budgets.find(&key.budget)?;
            let limit = node.and_then(|node| node.caps.limits.get(usize::from(key.limit)));
            let limit =
                limit.ok_or_else(|| Fault::Broken(format!("budget {} has no limit {}", key.budget, key.limit)))?;
            let window = match moved.remove(key) {
                Some(window) => window,
                None => self.windows.find(key)?.cloned().unwrap_or_else(|| Window::empty(key.clone())),
            };
            let next = window.take(step, limit).map_err(|error| Fault::Broken(error.to_string()))?;
            moved.insert(key, next);
        }
        Ok(moved.into_values().collect())
    }

    fn moved_budgets(&self, effects: &Effects) -> Result<Vec<Budget>, Fault> {
        let mut moved: BTreeMap<BudgetId, Budget> = BTreeMap::new();
        let fresh = |moved: &BTreeMap<BudgetId, Budget>, id: &BudgetId| -> Result<Budget, Fault> {
            if let Some(budget) = moved.get(id) {
                return Ok(budget.clone());
            }
            let found = self.budgets.find(id)?;
            found.cloned().ok_or_else(|| Fault::Broken(format!("budget {id} moves and does not exist")))
        };
        for step in &effects.moves {
            let budget = fresh(&moved, &step.budget)?;
            let next = budget.take(step).map_err(|error| Fault::Broken(error.to_string()))?;
            let next = match &effects.spend {
                Some(spend) => next.with_use(step.step, spend.hold.seq, effects.at),
                None => next,
            };
            moved.insert(step.budget, next);
        }
        for change in &effects.states {
            let mut budget = fresh(&moved, &change.budget)?;
            budget.state = change.to;
            moved.insert(change.budget, budget);
        }
        for change in &effects.caps {
            let budget = fresh(&moved, &change.budget)?;
            moved.insert(change.budget, budget.under(change.caps.clone()));
        }
        Ok(moved.into_values().collect())
    }
}
