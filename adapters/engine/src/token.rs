//! The tokens of a mandate: signed when it was made, or signed whenever they are needed.
//!
//! A mandate that an agent hands on is in the book before its hop is signed, and the book never changes; so what lies there
//! is the hop without its signature. A mandate's name does not depend on the signature, and everyone through whose hands it
//! came must still be there with the key that they had: an agent that is taken out takes with it what came of it.

use ledger::budget::{Budget, BudgetKind, BudgetState};
use ledger::gate::Scope;
use ledger::id::{BudgetId, PrincipalId, TenantId};
use mandates::jws::Unsigned;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::consent::{MandateRecord, MandateView, agent_of};
use crate::error::EngineError;
use crate::tenant::Tenant;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Token {
    Signed(String),
    /// By the last of the line.
    ToSign(Unsigned),
}

/// Who handed a mandate on: which one, and the RFC 7638 thumbprint of the key that signs the hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegator {
    pub mandate: BudgetId,
    pub agent: PrincipalId,
    pub agent_key: String,
}

/// What verifiers get.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub payment: String,
    pub checkout: String,
}

impl Engine {
    pub(crate) async fn token(
        &self,
        tenant: &Tenant,
        record: &MandateRecord,
        token: &Token,
    ) -> Result<String, EngineError> {
        match token {
            Token::Signed(text) => Ok(text.clone()),
            Token::ToSign(unsigned) => {
                let mut signer = None;
                for by in &record.line {
                    signer = Some(agent_of(tenant, &by.agent)?.holding(&by.agent_key)?);
                }
                let signer = signer.ok_or_else(|| EngineError::Broken("a hop that nobody handed on".into()))?;
                Ok(signer.sign(unsigned.clone()).await?)
            }
        }
    }

    pub(crate) async fn tokens(&self, tenant: &Tenant, record: &MandateRecord) -> Result<Tokens, EngineError> {
        let payment = self.token(tenant, record, &record.payment).await?;
        let checkout = self.token(tenant, record, &record.checkout).await?;
        Ok(Tokens { payment, checkout })
    }

    /// For whoever looks: nothing is signed on behalf of a mandate that does not stand or is stopped.
    pub(crate) async fn shown_tokens(
        &self,
        tenant: &Tenant,
        view: &MandateView,
    ) -> Result<Option<Tokens>, EngineError> {
        if !view.record.line.is_empty() {
            let above = self.mandates_above(&tenant.id, &view.budget).await?;
            let stands = |node: &Budget| {
                let is_over = node.caps.expires_at.is_some_and(|expires_at| self.clock.now() >= expires_at);
                node.state == BudgetState::Active && !is_over
            };
            if !above.iter().chain([&view.budget]).all(stands) || self.is_stopped(tenant, view, &above).await? {
                return Ok(None);
            }
        }
        match self.tokens(tenant, &view.record).await {
            Ok(tokens) => Ok(Some(tokens)),
            Err(EngineError::Signer(_) | EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a stop covers the mandate, one above it, its person or anyone through whose hands it came.
    async fn is_stopped(&self, tenant: &Tenant, view: &MandateView, above: &[Budget]) -> Result<bool, EngineError> {
        let record = &view.record;
        let agents = record.line.iter().map(|by| &by.agent).chain([&record.agent]);
        let mut scopes = vec![Scope::Everything, Scope::Fence, Scope::Person(record.user.clone())];
        scopes.extend(agents.cloned().map(Scope::Agent));
        scopes.extend(above.iter().chain([&view.budget]).map(|node| Scope::Mandate(node.id)));
        let closed = self.store.closed_gates(&tenant.id).await?;
        Ok(closed.iter().any(|gate| scopes.contains(&gate.scope)))
    }

    /// The mandates that this one hangs under, from the nearest up.
    pub(crate) async fn mandates_above(&self, tenant: &TenantId, node: &Budget) -> Result<Vec<Budget>, EngineError> {
        let mut above = Vec::new();
        for id in node.path.iter().skip(1) {
            let found = self.store.budget(tenant, *id).await?;
            let found = found.ok_or_else(|| EngineError::Broken(format!("budget {id} of a path is not there")))?;
            if found.kind != BudgetKind::Mandate {
                break;
            }
            above.push(found);
        }
        Ok(above)
    }

    /// The mandates whose tokens are one chain with this one's, from the root: those that it was handed on from, and itself. A
    /// standing approval hangs under a mandate and is a root of its own.
    pub(crate) async fn links(&self, tenant: &TenantId, view: &MandateView) -> Result<Vec<Budget>, EngineError> {
        let mut links = self.mandates_above(tenant, &view.budget).await?;
        links.truncate(view.record.line.len());
        links.reverse();
        links.push(view.budget.clone());
        Ok(links)
    }
}
