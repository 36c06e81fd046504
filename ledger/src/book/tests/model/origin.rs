//! The scopes that a caller brings along, written once more.

use super::Model;
use crate::budget::BudgetKind;
use crate::command::{Command, Request};
use crate::gate::GateState;
use crate::id::{BudgetId, Caller};

pub(super) fn origin(caller: &Caller) -> Vec<String> {
    let build = caller.build.iter().map(|build| format!("build/sha256:{}", build.0));
    build.chain(caller.issuer.iter().map(|issuer| format!("issuer/{}", issuer.as_str()))).collect()
}

impl Model {
    /// What was done by an issuer that is stopped decided nothing and let nothing go on.
    pub(super) fn check_origin(&self, request: &Request) {
        let decides = matches!(request.command, Command::Decide { .. } | Command::Gate { to: GateState::Open, .. });
        let barred = origin(&request.caller).into_iter().find(|scope| self.closed.contains(scope));
        assert!(!decides || barred.is_none(), "{request:?} past {barred:?}");
    }

    /// A closed gate that a payment would pass, written once more.
    pub(super) fn barred(&self, leaf: BudgetId, payee: &str, origin: &[String]) -> Option<String> {
        let path = self.path(leaf);
        let named = path.iter().map(|id| match self.nodes[id].kind {
            BudgetKind::Person => format!("person/{}", self.nodes[id].holder),
            _ => format!("mandate/{id}"),
        });
        let agent = path.first().map(|leaf| format!("agent/{}", self.nodes[leaf].holder));
        let all = named.chain(agent).chain(["fence".to_owned(), "everything".to_owned(), format!("payee/{payee}")]);
        let mut all = all.chain(origin.iter().cloned());
        all.find(|scope| self.closed.contains(scope))
    }
}
