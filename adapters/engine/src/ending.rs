//! What a stop ends for good, and does not merely hold up: questions that wait for an answer, holds that nobody has signed
//! for (vault tokens among them), and signed authorizations, as far as the chain still lets them be cancelled.
//!
//! All of it follows from what the book says: a gate that somebody closed, a mandate that is revoked. So a process that
//! dies in the middle goes on with it at its next sweep, and before a stop is lifted nothing of it is left. Gates that the
//! service closed itself hold up and end nothing; neither does the suspension of a mandate.

use std::collections::{BTreeSet, HashMap};

use ledger::budget::{Budget, BudgetState};
use ledger::command::Command;
use ledger::decision::{Answer, Decision, DecisionState};
use ledger::gate::{Scope, scopes_of_origin, scopes_of_path, scopes_of_spend};
use ledger::id::{BudgetId, CallerKind, PrincipalId, TenantId};
use ledger::spend::{Spend, SpendState};

use crate::book::service;
use crate::consent::Question;
use crate::error::EngineError;
use crate::{Engine, Identity};

const PAGE: u32 = 500;

/// What becomes of a spend that is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nothing is signed: the hold is given back, and its token is worth nothing.
    GiveBack,
    /// The chain is asked to let its nonce go unpaid. Held until it shows that.
    Cancel,
    /// It is over, or only somebody else can say what becomes of it.
    Follow,
}

const fn ending_of(state: SpendState, can_be_cancelled: bool) -> Ending {
    match state {
        SpendState::Held => Ending::GiveBack,
        state if state.is_signed() && can_be_cancelled => Ending::Cancel,
        _ => Ending::Follow,
    }
}

/// What is stopped in a tenant, and the nodes that one look at it met, each read once.
#[derive(Default)]
pub(crate) struct Stops {
    scopes: BTreeSet<Scope>,
    nodes: HashMap<BudgetId, Option<Budget>>,
}

impl Stops {
    fn covers(&self, scopes: impl IntoIterator<Item = Scope>) -> bool {
        scopes.into_iter().any(|scope| self.scopes.contains(&scope))
    }
}

impl Engine {
    /// Nothing is ended behind a fence: what the book does not know may have been signed.
    pub(crate) async fn stops_in_force(&self, tenant: &TenantId) -> Result<Option<Stops>, EngineError> {
        let gates = self.store.closed_gates(tenant).await?;
        if gates.iter().any(|gate| gate.scope == Scope::Fence) {
            return Ok(None);
        }
        let by_somebody = gates.into_iter().filter(|gate| gate.closed_by.kind != CallerKind::Service);
        Ok(Some(Stops { scopes: by_somebody.map(|gate| gate.scope).collect(), nodes: HashMap::new() }))
    }

    /// Ends at once what the book alone can end, and has the rest begun.
    pub(crate) async fn end_stopped(&self, tenant: &TenantId) -> Result<(), EngineError> {
        let Some(mut stops) = self.stops_in_force(tenant).await? else { return Ok(()) };
        let identity = service(tenant, "stop")?;
        self.end_questions(&identity, &mut stops).await?;
        let mut after = None;
        loop {
            let page = self.store.open_spends(tenant, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.hold.seq);
            for spend in page.iter().filter(|spend| spend.state == SpendState::Held) {
                self.end_spend(&identity, spend, &mut stops).await?;
            }
        }
        self.hurry.notify_one();
        Ok(())
    }

    /// When a sweep should not wait for its turn.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    pub(crate) async fn end_spend(
        &self,
        identity: &Identity,
        spend: &Spend,
        stops: &mut Stops,
    ) -> Result<(), EngineError> {
        let ending = ending_of(spend.state, spend.authorization.can_be_cancelled());
        if ending == Ending::Follow || !self.is_ended(&identity.tenant, spend, stops).await? {
            return Ok(());
        }
        match ending {
            Ending::GiveBack => {
                let given_back = self.run(identity, Command::Void { spend: spend.id }, Vec::new()).await;
                past(given_back.map(|_| ()))
            }
            Ending::Cancel => self.cancel(&identity.tenant, spend).await,
            Ending::Follow => Ok(()),
        }
    }

    async fn is_ended(&self, tenant: &TenantId, spend: &Spend, stops: &mut Stops) -> Result<bool, EngineError> {
        let path = self.path_of(tenant, spend.budget, stops).await?;
        let is_revoked = path.iter().any(|node| node.state == BudgetState::Revoked);
        Ok(is_revoked || stops.covers(scopes_of_spend(spend, &path)))
    }

    /// From a mandate to the root; empty where there is none of this name.
    async fn path_of(&self, tenant: &TenantId, id: BudgetId, stops: &mut Stops) -> Result<Vec<Budget>, EngineError> {
        let Some(leaf) = self.node(tenant, id, stops).await? else { return Ok(Vec::new()) };
        let mut path = Vec::with_capacity(leaf.path.len());
        for id in leaf.path {
            path.extend(self.node(tenant, id, stops).await?);
        }
        Ok(path)
    }

    async fn node(&self, tenant: &TenantId, id: BudgetId, stops: &mut Stops) -> Result<Option<Budget>, EngineError> {
        if let Some(known) = stops.nodes.get(&id) {
            return Ok(known.clone());
        }
        let found = self.store.budget(tenant, id).await?;
        stops.nodes.insert(id, found.clone());
        Ok(found)
    }

    /// What waits for an answer and is stopped gets a no. Whoever answers afterwards hears that it was answered.
    pub(crate) async fn end_questions(&self, identity: &Identity, stops: &mut Stops) -> Result<(), EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        for person in tenant.people.keys() {
            self.end_questions_to(identity, person, stops).await?;
        }
        Ok(())
    }

    async fn end_questions_to(
        &self,
        identity: &Identity,
        person: &PrincipalId,
        stops: &mut Stops,
    ) -> Result<(), EngineError> {
        let (tenant, mut before) = (&identity.tenant, u64::MAX);
        loop {
            let page = self.store.decisions_of(tenant, person, DecisionState::Pending, 0..before, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            before = last.asked;
            let now = self.clock.now();
            for question in page.into_iter().filter(|question| question.expires_at > now) {
                if !self.is_stopped_question(tenant, &question, stops).await? {
                    continue;
                }
                let (decision, subject) = (question.id, question.subject);
                let no = Command::Decide { decision, subject, answer: Answer::Deny, evidence: None };
                past(self.run(identity, no, Vec::new()).await.map(|_| ()))?;
            }
        }
    }

    async fn is_stopped_question(
        &self,
        tenant: &TenantId,
        question: &Decision,
        stops: &mut Stops,
    ) -> Result<bool, EngineError> {
        let (asked, asks) = (question.approver.clone(), question.requested_by.clone());
        if stops.covers([Scope::Everything, Scope::Person(asked), Scope::Agent(asks)]) {
            return Ok(true);
        }
        let record = self.store.records(tenant, question.asked, 1).await?.into_iter().next();
        let by = record.map(|(_, effects)| effects.caller);
        if by.is_some_and(|by| stops.covers(scopes_of_origin(by.build, by.issuer.as_ref()))) {
            return Ok(true);
        }
        let (mandate, payee, agent) = match self.question(tenant, question.subject).await {
            Ok(Question::Payment(document)) => (document.payment.mandate, document.payment.payee_id.parse().ok(), None),
            Ok(Question::Promotion(document)) => {
                let promotion = document.promotion;
                (promotion.mandate, Some(promotion.payee_id), Some(Scope::Agent(promotion.agent)))
            }
            Ok(Question::Intent(document)) if document.standing.is_some() => {
                let Some(standing) = document.standing else { return Ok(false) };
                (standing.under, standing.payee_id.parse().ok(), Some(Scope::Agent(document.agent)))
            }
            // What was erased nobody can be shown any more.
            Ok(Question::Intent(_)) | Err(EngineError::Erased { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let path = self.path_of(tenant, mandate, stops).await?;
        let is_revoked = path.iter().any(|node| node.state == BudgetState::Revoked);
        let others = payee.map(Scope::Payee).into_iter().chain(agent);
        Ok(is_revoked || stops.covers(scopes_of_path(&path).into_iter().chain(others)))
    }
}

/// Somebody was faster: it is not what it was any more, and there is nothing to end.
fn past(done: Result<(), EngineError>) -> Result<(), EngineError> {
    match done {
        Err(EngineError::Book(rejection)) => {
            tracing::debug!("not ended: {rejection}");
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use ledger::spend::{Authorization, MANDATE_NETWORK, VAULT_NETWORK};

    use super::*;

    #[test]
    fn nothing_that_may_be_out_is_given_back() {
        for state in SpendState::ALL.iter().copied() {
            for can_be_cancelled in [true, false] {
                let expected = match state {
                    SpendState::Held => Ending::GiveBack,
                    _ if state.is_signed() && can_be_cancelled => Ending::Cancel,
                    _ => Ending::Follow,
                };
                assert_eq!(ending_of(state, can_be_cancelled), expected, "{state} {can_be_cancelled}");
            }
        }
    }

    /// Whoever counts the nonce takes the cancellation: the token, also for what goes into the escrow.
    #[test]
    fn only_what_the_token_counts_can_be_cancelled() {
        for (network, expected) in [
            ("eip155:1", true),
            ("eip155:1/held", true),
            ("eip155:1/held/upto", true),
            ("eip155:1/charged/upto", true),
            ("eip155:1/permit2", false),
            ("eip155:1/permit2/upto", false),
            ("eip155:1/voucher/upto", false),
            ("eip155:1/cancel", false),
            ("eip155:1/escrow/reclaim", false),
            ("eip155:1/gas", false),
            (MANDATE_NETWORK, false),
            (VAULT_NETWORK, false),
        ] {
            let asset = "eip155:1/erc20:0x0000000000000000000000000000000000000001".parse().unwrap();
            let authorization =
                Authorization { network: network.to_owned(), asset, payer: "0x".into(), nonce: [0; 32] };
            assert_eq!(authorization.can_be_cancelled(), expected, "{network}");
        }
    }
}
