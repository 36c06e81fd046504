//! Stopping: one call, any scope. Effective when it returns: nothing is reserved and nothing is signed within the scope
//! from then on, and what waited is ended ([`crate::ending`]). What is signed already is an uncleared cheque: it is cancelled
//! where the chain still lets it, stays held until the chain shows what became of it, and is followed to its end.

use ledger::command::Command;
use ledger::gate::{Gate, GateState, Scope, scopes_of_origin};
use ledger::id::CallerKind;
use ledger::rejection::Rejection;

use crate::consent::forbidden;
use crate::error::EngineError;
use crate::{Engine, Identity};

/// Whether this gate was opened again since something was given, in Unix seconds: a token, an approval beforehand. What was
/// given in the second of the lift counts as given before it. A row knows the last lift alone, so it counts whoever closed it.
pub(crate) fn ends_what_was(gate: &Gate, given_at: i64) -> bool {
    gate.state == GateState::Open && given_at <= gate.since.seconds()
}

impl Engine {
    pub async fn stop(&self, identity: &Identity, scope: Scope) -> Result<(), EngineError> {
        self.turn(identity, scope, GateState::Closed).await
    }

    pub async fn lift(&self, identity: &Identity, scope: Scope) -> Result<(), EngineError> {
        self.turn(identity, scope, GateState::Open).await
    }

    async fn turn(&self, identity: &Identity, scope: Scope, to: GateState) -> Result<(), EngineError> {
        self.check_acts(identity)?;
        if !self.may_stop(identity, &scope).await? {
            return Err(forbidden("an operator, or the person whom it concerns,", identity));
        }
        // Nothing that it ended comes back with the lift, also where whoever closed it died before they were through.
        if to == GateState::Open {
            self.end_stopped(&identity.tenant).await?;
        }
        self.run(identity, Command::Gate { scope, to }, Vec::new()).await?;
        if to == GateState::Closed {
            self.end_at_once(identity).await;
        }
        // It bites already. That it does after a backup is restored as well is for a note outside of the book.
        if let Some(outside) = self.outside.get()
            && let Err(why) = outside.note(&identity.tenant).await
        {
            tracing::error!(tenant = %identity.tenant, "the stops could not be noted outside of the book: {why}");
        }
        Ok(())
    }

    /// The stop stands whatever comes of this: the sweep ends what is left.
    pub(crate) async fn end_at_once(&self, identity: &Identity) {
        if let Err(error) = self.end_stopped(&identity.tenant).await {
            tracing::warn!(tenant = %identity.tenant, code = error.code(), "stopped and not ended yet: {error}");
            self.hurry.notify_one();
        }
    }

    /// An operator may stop anything, a person what is theirs: themselves, their agents, their mandates. Builds and issuers
    /// are shared with others.
    pub async fn may_stop(&self, identity: &Identity, scope: &Scope) -> Result<bool, EngineError> {
        let (tenant, caller) = (self.tenant(&identity.tenant)?, &identity.caller);
        match caller.kind {
            CallerKind::Operator | CallerKind::Service => return Ok(true),
            CallerKind::User => {}
            CallerKind::Agent | CallerKind::Merchant => return Ok(false),
        }
        Ok(match scope {
            Scope::Everything | Scope::Fence | Scope::Payee(_) | Scope::Build(_) | Scope::Issuer(_) => false,
            Scope::Person(person) => *person == caller.principal,
            Scope::Agent(agent) => tenant.agents.get(agent).is_some_and(|agent| agent.sponsor == caller.principal),
            Scope::Mandate(mandate) => self.mandate(identity, *mandate).await?.record.user == caller.principal,
        })
    }

    /// Whether whoever calls is let in: no agent is that is stopped, whose sponsor is, or that runs or comes by what is. A stop
    /// ends its tokens: one that was issued (Unix seconds) before the lift lets nobody in any more.
    pub async fn check_stands(&self, identity: &Identity, issued_at: Option<i64>) -> Result<(), EngineError> {
        let caller = &identity.caller;
        if caller.kind != CallerKind::Agent {
            return Ok(());
        }
        let tenant = self.tenant(&identity.tenant)?;
        let sponsor = tenant.agents.get(&caller.principal).map(|agent| Scope::Person(agent.sponsor.clone()));
        let mut scopes = vec![Scope::Everything, Scope::Agent(caller.principal.clone())];
        scopes.extend(sponsor);
        scopes.extend(scopes_of_origin(caller.build, caller.issuer.as_ref()));
        let gates = self.store.gates(&identity.tenant, &scopes).await?;
        if let Some(gate) = gates.iter().find(|gate| gate.state == GateState::Closed) {
            let (scope, by) = (gate.scope.to_string(), gate.closed_by.principal.to_string());
            return Err(EngineError::Book(Rejection::Stopped { scope, by, since: gate.since.seconds() }));
        }
        let ended = |issued_at: i64| gates.iter().find(|gate| ends_what_was(gate, issued_at));
        match issued_at.and_then(|issued_at| Some((issued_at, ended(issued_at)?))) {
            Some((issued_at, gate)) => {
                let (scope, lifted_at) = (gate.scope.to_string(), gate.since.seconds());
                Err(EngineError::TokenEnded { scope, lifted_at, issued_at })
            }
            None => Ok(()),
        }
    }

    /// What is stopped, for those who may see the books.
    pub async fn stops(&self, identity: &Identity) -> Result<Vec<Gate>, EngineError> {
        Ok(self.store.closed_gates(&identity.tenant).await?)
    }
}

#[cfg(test)]
mod tests {
    use ledger::id::{AuthMethod, Caller, Micros};

    use super::*;

    #[test]
    fn what_was_given_up_to_the_lift_is_ended() {
        let by = Caller::new("ann".parse().unwrap(), CallerKind::User, AuthMethod::Internal);
        let gate =
            |state| Gate { scope: Scope::Everything, state, closed_by: by.clone(), since: Micros::from_seconds(100) };
        for (given_at, ended) in [(0, true), (99, true), (100, true), (101, false)] {
            assert_eq!(ends_what_was(&gate(GateState::Open), given_at), ended, "{given_at}");
            assert!(!ends_what_was(&gate(GateState::Closed), given_at), "a closed one refuses by itself");
        }
    }
}
