//! The scopes that a caller brings along, written once more.

use super::Model;
use crate::command::{Command, Request};
use crate::gate::GateState;
use crate::id::Caller;

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
}
