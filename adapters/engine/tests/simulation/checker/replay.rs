//! Budgets, gates and caps as they were at each record.

use std::collections::BTreeMap;

use ledger::budget::{BudgetKind, BudgetState, Caps};
use ledger::effects::{Effects, Operation};
use ledger::gate::{GateState, Scope};
use ledger::id::{BudgetId, Caller};
use ledger::spend::Spend;

use super::{Book, Verdict, ensure};

#[derive(Clone)]
pub struct Node {
    pub path: Vec<BudgetId>,
    pub kind: BudgetKind,
    pub holder: String,
    pub caps: Caps,
    pub state: BudgetState,
}

/// The book before a record, from the records before it.
#[derive(Default)]
pub struct Past {
    pub nodes: BTreeMap<BudgetId, Node>,
    closed: Vec<Scope>,
}

impl Past {
    pub fn take(&mut self, record: &Effects) {
        for opened in &record.opened {
            let node = Node {
                path: opened.path.clone(),
                kind: opened.kind,
                holder: opened.holder.to_string(),
                caps: opened.caps.clone(),
                state: opened.state,
            };
            self.nodes.insert(opened.id, node);
        }
        for change in &record.states {
            self.nodes.get_mut(&change.budget).unwrap().state = change.to;
        }
        for change in &record.caps {
            self.nodes.get_mut(&change.budget).unwrap().caps = change.caps.clone();
        }
        if let Some(gate) = &record.gate {
            self.closed.retain(|scope| *scope != gate.scope);
            if gate.state == GateState::Closed {
                self.closed.push(gate.scope.clone());
            }
        }
    }

    pub fn path(&self, leaf: &BudgetId) -> Vec<(BudgetId, &Node)> {
        let path = self.nodes.get(leaf).map(|node| node.path.clone()).unwrap_or_default();
        path.into_iter().map(|id| (id, &self.nodes[&id])).collect()
    }

    /// The gates of what is paid, of what reserved it, and of who asks now.
    fn barred(&self, spend: &Spend, caller: &Caller) -> Option<&Scope> {
        let (path, payee) = (self.path(&spend.budget), &spend.payee);
        self.closed.iter().find(|scope| match scope {
            Scope::Everything | Scope::Fence => true,
            Scope::Payee(name) => name == payee,
            Scope::Build(build) => [spend.build, caller.build].contains(&Some(*build)),
            Scope::Issuer(issuer) => [&spend.issuer, &caller.issuer].contains(&&Some(issuer.clone())),
            Scope::Agent(name) => path.first().is_some_and(|(_, node)| node.holder == name.to_string()),
            Scope::Mandate(id) => path.iter().any(|(node, _)| node == id),
            Scope::Person(name) => {
                path.iter().any(|(_, node)| node.kind == BudgetKind::Person && node.holder == name.to_string())
            }
        })
    }
}

/// No hold and no signature after gate, revocation or expiry.
pub fn i13(book: &Book<'_>) -> Verdict {
    let mut past = Past::default();
    for record in &book.records {
        let reserves = matches!(record.operation, Operation::Hold | Operation::Commit);
        if let Some(spend) = record.spend.as_ref().filter(|_| reserves) {
            let what = || format!("record {}, {}", record.seq, record.operation);
            let barred = past.barred(spend, &record.caller);
            ensure(barred.is_none(), || format!("{} past the closed gate {barred:?}", what()))?;
            let came = (record.caller.build, &record.caller.issuer);
            let is_told = record.operation != Operation::Hold || (spend.build, &spend.issuer) == came;
            ensure(is_told, || format!("{} forgets what reserved it", what()))?;
            for (id, node) in past.path(&spend.budget) {
                ensure(node.state == BudgetState::Active, || format!("{} under {id}, {}", what(), node.state))?;
                let over =
                    record.operation == Operation::Hold && node.caps.expires_at.is_some_and(|end| record.at >= end);
                ensure(!over, || format!("{} after the end of {id}", what()))?;
            }
            let lapsed = record.operation == Operation::Commit && record.at >= spend.expires_at;
            ensure(!lapsed, || format!("{} after the hold lapsed", what()))?;
        }
        if record.operation == Operation::Claim {
            let closed = past.closed.iter().find(|scope| matches!(scope, Scope::Everything | Scope::Fence));
            ensure(closed.is_none(), || format!("record {}: a claim past the gate {closed:?}", record.seq))?;
        }
        if matches!(record.operation, Operation::Decide | Operation::OpenBudget) {
            let issuer = record.caller.issuer.clone().map(Scope::Issuer);
            let closed = past.closed.iter().find(|scope| issuer.as_ref() == Some(scope));
            ensure(closed.is_none(), || format!("record {}: decided past the gate {closed:?}", record.seq))?;
        }
        past.take(record);
    }
    Ok(())
}
