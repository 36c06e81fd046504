//! What a person may see and do in the console. Whoever answers for agents sees what is theirs; whom the configuration names
//! sees all of the tenant, and of those an operator changes something, an auditor nothing.

use std::collections::BTreeSet;

use ledger::budget::Budget;
use ledger::gate::{Gate, Scope};
use ledger::id::{BudgetId, CallerKind, PrincipalId};

use crate::consent::{fiat, forbidden};
use crate::error::EngineError;
use crate::tenant::Duty;
use crate::{Engine, Identity};

/// A person who is signed in, and what they do here.
#[derive(Clone, Debug)]
pub struct Seat {
    pub duty: Duty,
    own: Identity,
}

impl Seat {
    pub const fn own(&self) -> &Identity {
        &self.own
    }

    pub fn sees_all(&self) -> bool {
        self.duty != Duty::Approver
    }

    /// As whom they read. What it is given to changes nothing.
    pub fn reads(&self) -> Identity {
        if self.sees_all() { self.as_operator() } else { self.own.clone() }
    }

    /// As whom they act, and as whom the journal names them.
    pub fn acts(&self) -> Result<Identity, EngineError> {
        match self.duty {
            Duty::Approver => Ok(self.own.clone()),
            Duty::Operator => Ok(self.as_operator()),
            Duty::Auditor => Err(forbidden("an approver or an operator", &self.own)),
        }
    }

    fn as_operator(&self) -> Identity {
        let mut identity = self.own.clone();
        identity.caller.kind = CallerKind::Operator;
        identity
    }
}

impl Engine {
    /// The seat of whoever came in a session of the pages.
    pub fn seat(&self, identity: &Identity) -> Result<Seat, EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        let person = tenant.people.get(&identity.caller.principal);
        match person.filter(|_| identity.caller.kind == CallerKind::User) {
            Some(person) => Ok(Seat { duty: person.duty, own: identity.clone() }),
            None => Err(forbidden("a person of this tenant", identity)),
        }
    }

    /// Refuses a person who only reads, however they come: by a page or by a token.
    pub(crate) fn check_acts(&self, identity: &Identity) -> Result<(), EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        let person = tenant.people.get(&identity.caller.principal);
        let only_reads = person.is_some_and(|person| person.duty == Duty::Auditor);
        match only_reads && identity.caller.kind == CallerKind::User {
            true => Err(forbidden("an approver or an operator", identity)),
            false => Ok(()),
        }
    }

    /// The node above all mandates that somebody in this seat sees of a person: their own alone, or anybody's.
    pub(crate) fn node_of(&self, seat: &Seat, person: Option<&PrincipalId>) -> Result<Option<BudgetId>, EngineError> {
        let (tenant, own) = (self.tenant(&seat.own.tenant)?, &seat.own.caller.principal);
        let asset = fiat(&tenant.currency)?;
        let node = |person: &PrincipalId| Some(BudgetId::of_person(&tenant.id, person, &asset));
        match person {
            Some(person) if seat.sees_all() || person == own => Ok(node(person)),
            Some(person) => Err(EngineError::NotFound { what: "person", id: person.to_string() }),
            None if seat.sees_all() => Ok(None),
            None => Ok(node(own)),
        }
    }

    /// Of these nodes those that somebody in this seat sees.
    pub(crate) fn seen_from(&self, seat: &Seat, budgets: Vec<Budget>) -> Result<Vec<Budget>, EngineError> {
        let Some(node) = self.node_of(seat, None)? else { return Ok(budgets) };
        Ok(budgets.into_iter().filter(|budget| budget.path.contains(&node)).collect())
    }

    /// The agents that a person in this seat answers for, or all of them.
    pub fn agents_of(&self, seat: &Seat) -> Result<BTreeSet<PrincipalId>, EngineError> {
        let tenant = self.tenant(&seat.own.tenant)?;
        let is_seen = |sponsor: &PrincipalId| seat.sees_all() || *sponsor == seat.own.caller.principal;
        let agents = tenant.agents.iter().filter(|(_, agent)| is_seen(&agent.sponsor));
        Ok(agents.map(|(name, _)| name.clone()).collect())
    }

    /// What is stopped, as far as it concerns whoever sits there. What is shared by all is shown to all.
    pub async fn stops_seen(&self, seat: &Seat) -> Result<Vec<Gate>, EngineError> {
        let mut seen = Vec::new();
        for gate in self.store.closed_gates(&seat.own.tenant).await? {
            let is_seen = match &gate.scope {
                Scope::Everything | Scope::Fence | Scope::Payee(_) | Scope::Build(_) | Scope::Issuer(_) => true,
                Scope::Person(_) | Scope::Agent(_) | Scope::Mandate(_) if seat.sees_all() => true,
                scope => match self.may_stop(&seat.own, scope).await {
                    Ok(may) => may,
                    Err(EngineError::NotFound { .. } | EngineError::Erased { .. }) => false,
                    Err(error) => return Err(error),
                },
            };
            if is_seen {
                seen.push(gate);
            }
        }
        Ok(seen)
    }

    /// Whether somebody in this seat may stop this. Nothing that is not theirs is there for them.
    pub async fn may_stop_from(&self, seat: &Seat, scope: &Scope) -> Result<bool, EngineError> {
        match seat.acts() {
            Ok(identity) if *scope != Scope::Fence => self.may_stop(&identity, scope).await,
            _ => Ok(false),
        }
    }

    /// Whether they may let it go on: what an operator stopped an operator lifts, and a fence nobody who comes by a page.
    pub async fn may_lift_from(&self, seat: &Seat, gate: &Gate) -> Result<bool, EngineError> {
        let by_operator = gate.closed_by.kind != CallerKind::User;
        Ok(!(by_operator && seat.duty != Duty::Operator) && self.may_stop_from(seat, &gate.scope).await?)
    }
}
