//! What a tenant's book has written down: the tables, and nothing that a process keeps in its head.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::{Account, Balance, Side};
use ledger::book::wants;
use ledger::budget::Budget;
use ledger::command::{Command, Request};
use ledger::decision::Decision;
use ledger::effects::Effects;
use ledger::event::{Event, events};
use ledger::gate::{Gate, Scope};
use ledger::id::{BudgetId, DecisionId, Digest, Micros, SpendId};
use ledger::journal::SaltKey;
use ledger::money::AssetId;
use ledger::settlement::{PayerKey, Settlement, SettlementKey, SettlementState};
use ledger::spend::Spend;
use ledger::store::{Answer, Document, Freshness, JournalEntry};
use ledger::transfer::Transfer;
use ledger::view::{Head, Keys, PurchaseKey, StoredClaim, View};
use ledger::window::{Window, WindowKey};

use super::mutant::Mutant;

#[derive(Clone, Default)]
pub struct Tables {
    pub head: Head,
    pub journal: Vec<JournalEntry>,
    pub budgets: BTreeMap<BudgetId, Budget>,
    pub windows: BTreeMap<WindowKey, Window>,
    pub spends: BTreeMap<SpendId, Spend>,
    pub claims: BTreeMap<Digest, StoredClaim>,
    pub settlements: BTreeMap<SettlementKey, Settlement>,
    pub decisions: BTreeMap<DecisionId, Decision>,
    pub gates: BTreeMap<Scope, Gate>,
    pub purchases: BTreeMap<PurchaseKey, BTreeSet<SpendId>>,
    pub balances: BTreeMap<(Account, AssetId), Balance>,
    pub events: Vec<Event>,
    pub documents: BTreeMap<Digest, Document>,
}

pub fn salt() -> SaltKey {
    SaltKey::new([7; 32])
}

impl Tables {
    /// What a command may look at, as a store loads it.
    pub fn view(&self, at: Micros, request: &Request, mutant: Option<Mutant>) -> View {
        let mut view = View { head: self.head.clone(), ..View::default() };
        for _ in 0..8 {
            let keys = wants(&view, at, request).unwrap();
            if keys.is_empty() {
                return view;
            }
            self.load(&mut view, keys, request, mutant);
        }
        panic!("the book asks for ever: {request:?}");
    }

    pub fn unfinished_of(&self, payer: &PayerKey) -> Vec<Settlement> {
        let unfinished = |row: &&Settlement| row.is_unfinished() && row.state != SettlementState::Settled;
        self.settlements.values().filter(|row| payer.has(&row.key)).filter(unfinished).cloned().collect()
    }

    fn load(&self, view: &mut View, keys: Keys, request: &Request, mutant: Option<Mutant>) {
        for id in keys.budgets {
            let row = self.budgets.get(&id).cloned();
            view.budgets.load(id, row.map(|row| Mutant::sees_budget(mutant, request, row)));
        }
        for key in keys.windows {
            let row = self.windows.get(&key).cloned();
            view.windows.load(key, row);
        }
        for id in keys.spends {
            let row = self.spends.get(&id).cloned();
            view.spends.load(id, row.filter(|row| Mutant::sees_spend(mutant, request, row.id)));
        }
        for key in keys.claims {
            let row = self.claims.get(&key).cloned();
            view.claims.load(key, row.filter(|_| Mutant::sees_claims(mutant, request)));
        }
        for key in keys.settlements {
            let row = self.settlements.get(&key).cloned();
            view.settlements.load(key, row);
        }
        for key in keys.payers {
            let rows = self.unfinished_of(&key);
            view.load_payer(key, rows);
        }
        for id in keys.decisions {
            view.decisions.load(id, self.decisions.get(&id).cloned());
        }
        for scope in keys.gates {
            let row = self.gates.get(&scope).cloned();
            let row = row.filter(|gate| Mutant::sees_gate(mutant, request, &gate.scope));
            view.gates.load(scope, row);
        }
        for key in keys.purchases {
            let row = self.purchases.get(&key).cloned();
            view.open_purchases.load(key, row);
        }
    }

    /// Writes a record and every row that it changes: all of it or nothing, as a unit does.
    pub fn write(&mut self, view: &View, request: &Request, effects: &Effects, mutant: Option<Mutant>) {
        let entry = self.head.append(&salt(), effects);
        self.head.last_at = Some(effects.at);
        self.journal.push(entry);
        for (id, row) in view.budgets.changed() {
            let stored = self.budgets.get(id);
            let row = Mutant::writes_budget(mutant, request, stored, row.clone());
            self.budgets.insert(*id, row);
        }
        let windows = view.windows.changed().map(|(key, row)| (key.clone(), row.clone()));
        self.windows.extend(windows);
        self.spends.extend(view.spends.changed().map(|(id, row)| (*id, row.clone())));
        self.claims.extend(view.claims.changed().map(|(key, row)| (*key, row.clone())));
        self.settlements.extend(view.settlements.changed().map(|(key, row)| (key.clone(), row.clone())));
        self.decisions.extend(view.decisions.changed().map(|(id, row)| (*id, row.clone())));
        self.gates.extend(view.gates.changed().map(|(scope, row)| (scope.clone(), row.clone())));
        self.purchases.extend(view.open_purchases.changed().map(|(key, row)| (key.clone(), row.clone())));
        for transfer in &effects.transfers {
            for (side, account) in Mutant::sides(mutant, effects, transfer) {
                self.post(side, account, transfer);
            }
        }
        self.events.extend(events(effects));
    }

    fn post(&mut self, side: Side, account: Account, transfer: &Transfer) {
        let balance = self.balances.entry((account, transfer.asset.clone())).or_default();
        // A mutant may post what cannot be: the row stays, and the checker says so.
        let _ = balance.post(side, transfer);
    }

    pub fn documents_of(&mut self, documents: &[Document]) {
        self.documents.extend(documents.iter().map(|document| (document.digest(), document.clone())));
    }
}

/// The spend that a command is about.
pub fn spend_of(command: &Command) -> Option<SpendId> {
    match command {
        Command::Hold(hold) => Some(hold.spend),
        Command::Void { spend }
        | Command::Expire { spend }
        | Command::Commit { spend }
        | Command::Submit { spend, .. }
        | Command::Doubt { spend }
        | Command::Settle { spend, .. }
        | Command::Unsettle { spend, .. }
        | Command::Finalise { spend, .. }
        | Command::Release { spend, .. }
        | Command::Refund { spend, .. }
        | Command::Attest { spend, .. }
        | Command::SignIn { spend, .. }
        | Command::Misspend { spend, .. } => Some(*spend),
        _ => None,
    }
}

/// The state of what a command was about.
pub fn answer(view: &View, request: &Request, freshness: Freshness, seq: Option<u64>) -> Answer {
    let mut answer = Answer { freshness, seq, spend: None, settlement: None, decision: None, budget: None };
    let decision = |id: DecisionId| view.decisions.find(&id).ok().flatten().cloned();
    let settlement = |key: &SettlementKey| view.settlements.find(key).ok().flatten().cloned();
    let budget = |id: BudgetId| view.budgets.find(&id).ok().flatten().cloned();
    match &request.command {
        Command::Propose(propose) => answer.decision = decision(propose.decision),
        Command::Decide { decision: id, .. } => answer.decision = decision(*id),
        Command::Review { review, spend, .. } | Command::Overdue { review, spend, .. } => {
            answer.decision = decision(*review);
            answer.spend = view.spends.find(spend).ok().flatten().cloned();
        }
        Command::OpenBudget(open) => {
            answer.budget = budget(open.id);
            answer.decision = open.decision.and_then(decision);
        }
        Command::Delegate(delegate) => answer.budget = delegate.opened(view, request).and_then(budget),
        Command::ChangeBudget { budget: id, .. } | Command::ChangeCaps { budget: id, .. } => {
            answer.budget = budget(*id)
        }
        Command::Claim(claim) => answer.settlement = settlement(&claim.key),
        Command::Abandon { settlement: key }
        | Command::Dispatch { settlement: key, .. }
        | Command::Serve { settlement: key, .. }
        | Command::Deliver { settlement: key, .. }
        | Command::Revisit { settlement: key, .. }
        | Command::Undeliver { settlement: key, .. }
        | Command::WriteOff { settlement: key, .. }
        | Command::GiveBack { settlement: key, .. }
        | Command::Charge { settlement: key, .. }
        | Command::Receive { settlement: key, .. }
        | Command::HandOver { settlement: key, .. }
        | Command::Unreceive { settlement: key, .. }
        | Command::Conclude { settlement: key, .. }
        | Command::Fail { settlement: key, .. } => answer.settlement = settlement(key),
        other => {
            let id = spend_of(other);
            answer.spend = id.and_then(|id| view.spends.find(&id).ok().flatten().cloned());
        }
    }
    answer
}
