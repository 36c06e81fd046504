//! Agents that nobody answers for any more, or that nobody used for long: found, listed, and stopped by the gate of the
//! agent. Who may lift a stop of the service lifts this one, and being lifted counts as a use; an agent without a sponsor
//! is stopped again until it has one.

use std::num::NonZeroU32;

use ledger::command::Command;
use ledger::gate::{Gate, GateState, Scope};
use ledger::id::{Micros, PrincipalId, TenantId};
use ledger::listing::Among;

use crate::Engine;
use crate::book::service;
use crate::error::EngineError;
use crate::oversight::Seat;
use crate::tenant::{Agent, Duty, Tenant};

const DAY_MICROS: i64 = 86_400_000_000;

/// What the configuration says of how long an agent is left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// From this moment on its review is due.
    pub review_by: Option<Micros>,
    /// Unused for so long it is stopped.
    pub dormant_after_days: Option<NonZeroU32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Its sponsor is nobody who answers for agents here.
    Orphaned,
    Dormant,
    ReviewDue,
}

impl Finding {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orphaned => "orphaned",
            Self::Dormant => "dormant",
            Self::ReviewDue => "review_due",
        }
    }

    /// A review that is due is for a human to make; the agent goes on.
    const fn stops(self) -> bool {
        matches!(self, Self::Orphaned | Self::Dormant)
    }
}

/// How an agent stands.
#[derive(Clone, Debug)]
pub struct AgentStanding {
    pub agent: PrincipalId,
    pub sponsor: PrincipalId,
    pub upkeep: Upkeep,
    /// When its newest payment was recorded last; nothing where it never paid.
    pub last_use: Option<Micros>,
    pub findings: Vec<Finding>,
    /// Where it is stopped by name.
    pub stopped: Option<Gate>,
}

/// What is wrong with an agent that was used, or let go on, at `since`. One that never was cannot have gone to sleep.
fn findings(has_sponsor: bool, since: Option<Micros>, upkeep: Upkeep, now: Micros) -> Vec<Finding> {
    let lapses = |since: Micros, days: NonZeroU32| since.plus_micros(DAY_MICROS.saturating_mul(days.get().into()));
    let is_dormant = since.zip(upkeep.dormant_after_days).is_some_and(|(since, days)| now >= lapses(since, days));
    let is_due = upkeep.review_by.is_some_and(|by| now >= by);
    let all = [(!has_sponsor, Finding::Orphaned), (is_dormant, Finding::Dormant), (is_due, Finding::ReviewDue)];
    all.into_iter().filter_map(|(holds, finding)| holds.then_some(finding)).collect()
}

fn has_sponsor(tenant: &Tenant, agent: &Agent) -> bool {
    tenant.people.get(&agent.sponsor).is_some_and(|person| person.duty != Duty::Auditor)
}

impl Engine {
    /// Every agent of a tenant, by name.
    pub async fn agents_standing(&self, tenant: &TenantId) -> Result<Vec<AgentStanding>, EngineError> {
        let tenant = self.tenant(tenant)?;
        let mut standing = Vec::with_capacity(tenant.agents.len());
        for (name, agent) in &tenant.agents {
            standing.push(self.agent_standing(&tenant, name, agent).await?);
        }
        Ok(standing)
    }

    /// The same of those that somebody in this seat sees.
    pub async fn agents_seen(&self, seat: &Seat) -> Result<Vec<AgentStanding>, EngineError> {
        let (tenant, mut standing) = (self.tenant(&seat.own().tenant)?, Vec::new());
        for name in self.agents_of(seat)? {
            if let Some(agent) = tenant.agents.get(&name) {
                standing.push(self.agent_standing(&tenant, &name, agent).await?);
            }
        }
        Ok(standing)
    }

    async fn agent_standing(
        &self,
        tenant: &Tenant,
        name: &PrincipalId,
        agent: &Agent,
    ) -> Result<AgentStanding, EngineError> {
        let listings = self.listings()?;
        let held = Among::HeldBy(name.clone());
        let newest = listings.spends_before(&tenant.id, &held, None, 1).await?;
        let last_use = newest.first().map(|listed| listed.at);
        let gate = listings.gate(&tenant.id, &Scope::Agent(name.clone())).await?;
        let (stopped, lifted) = match gate {
            Some(gate) if gate.state == GateState::Closed => (Some(gate), None),
            other => (None, other.map(|gate| gate.since)),
        };
        let findings = findings(has_sponsor(tenant, agent), last_use.max(lifted), agent.upkeep, self.clock.now());
        let (agent, sponsor, upkeep) = (name.clone(), agent.sponsor.clone(), agent.upkeep);
        Ok(AgentStanding { agent, sponsor, upkeep, last_use, findings, stopped })
    }

    /// Stops those that nobody answers for and those that sleep. How many it stopped.
    pub async fn sweep_agents(&self, tenant: &TenantId) -> Result<usize, EngineError> {
        let (identity, tenant, mut stopped) = (service(tenant, "lifecycle")?, self.tenant(tenant)?, 0);
        for (name, agent) in &tenant.agents {
            if has_sponsor(&tenant, agent) && agent.upkeep.dormant_after_days.is_none() {
                continue;
            }
            let standing = self.agent_standing(&tenant, name, agent).await?;
            let Some(finding) = standing.findings.iter().find(|finding| finding.stops()) else { continue };
            if standing.stopped.is_some() {
                continue;
            }
            let close = Command::Gate { scope: Scope::Agent(name.clone()), to: GateState::Closed };
            self.run(&identity, close, Vec::new()).await?;
            tracing::warn!(tenant = %tenant.id, agent = %name, finding = finding.as_str(), "an agent is stopped");
            stopped += 1;
        }
        Ok(stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros::from_seconds(100 * 86_400);

    fn days_ago(days: i64) -> Micros {
        NOW.plus_micros(-DAY_MICROS * days)
    }

    fn asleep_after(days: u32) -> Upkeep {
        Upkeep { dormant_after_days: NonZeroU32::new(days), ..Upkeep::default() }
    }

    #[test]
    fn who_is_used_has_a_sponsor_and_a_review_ahead_is_left_alone() {
        let ahead = Upkeep { review_by: Some(NOW.plus_micros(1)), ..asleep_after(30) };
        for (since, upkeep) in [
            (None, Upkeep::default()),
            (None, ahead),
            (Some(NOW), ahead),
            (Some(days_ago(99)), Upkeep::default()),
            (Some(days_ago(30).plus_micros(1)), asleep_after(30)),
            (Some(NOW.plus_micros(DAY_MICROS)), asleep_after(1)),
            (Some(days_ago(99)), asleep_after(u32::MAX)),
        ] {
            assert_eq!(findings(true, since, upkeep, NOW), [], "{since:?} {upkeep:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_a_review_alone_stops_nobody() {
        let due = Upkeep { review_by: Some(NOW), ..asleep_after(30) };
        assert_eq!(findings(true, Some(days_ago(30)), asleep_after(30), NOW), [Finding::Dormant]);
        assert_eq!(findings(true, Some(days_ago(1)), asleep_after(1), NOW), [Finding::Dormant]);
        assert_eq!(findings(false, None, Upkeep::default(), NOW), [Finding::Orphaned]);
        assert_eq!(findings(true, None, due, NOW), [Finding::ReviewDue]);
        let all = [Finding::Orphaned, Finding::Dormant, Finding::ReviewDue];
        assert_eq!(findings(false, Some(days_ago(99)), due, NOW), all);
        assert_eq!(all.map(Finding::stops), [true, true, false]);
    }
}
