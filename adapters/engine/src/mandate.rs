//! A mandate's life after it was opened: looked at by those whom it concerns, stopped, restarted.

use ledger::budget::BudgetState;
use ledger::command::Command;
use ledger::id::{BudgetId, CallerKind};

use crate::consent::{MandateRecord, MandateState, MandateView, forbidden};
use crate::error::EngineError;
use crate::{Engine, Identity};

impl Engine {
    pub async fn mandate(&self, identity: &Identity, id: BudgetId) -> Result<MandateView, EngineError> {
        let missing = || EngineError::NotFound { what: "mandate", id: id.to_string() };
        let budget = self.store.budget(&identity.tenant, id).await?.ok_or_else(missing)?;
        let digest = budget.document.ok_or_else(missing)?;
        let document = self.store.document(&identity.tenant, digest).await?;
        let document = document.ok_or(EngineError::Erased { what: "the mandate", digest })?;
        let record: MandateRecord = serde_json::from_slice(&document.bytes)
            .map_err(|error| EngineError::Broken(format!("a mandate cannot be read: {error}")))?;
        let caller = &identity.caller;
        let concerned = caller.principal == record.agent
            || caller.principal == record.user
            // Whoever handed it on answers for it, and may take it back.
            || record.line.iter().any(|by| by.agent == caller.principal);
        match caller.kind {
            CallerKind::Operator | CallerKind::Service => Ok(MandateView { budget, record }),
            _ if concerned => Ok(MandateView { budget, record }),
            // Somebody else's mandate is as if it were not there.
            _ => Err(missing()),
        }
    }

    /// The mandate as its parties look at it.
    pub async fn mandate_state(&self, identity: &Identity, id: BudgetId) -> Result<MandateState, EngineError> {
        let view = self.mandate(identity, id).await?;
        let limits = self.limit_states(&identity.tenant, &view.budget).await?;
        let tokens = self.shown_tokens(self.tenant(&identity.tenant)?.as_ref(), &view).await?;
        Ok(MandateState { view, limits, tokens })
    }

    /// Stops or restarts a mandate: its person or an operator. Effective at the next reservation and the next
    /// signature; what is signed already is an uncleared cheque and stays held. What is revoked is ended as well ([`crate::ending`]).
    pub async fn change_mandate(
        &self,
        identity: &Identity,
        id: BudgetId,
        to: BudgetState,
    ) -> Result<MandateState, EngineError> {
        self.check_acts(identity)?;
        let view = self.mandate(identity, id).await?;
        let caller = &identity.caller;
        let may = match caller.kind {
            CallerKind::User => caller.principal == view.record.user,
            CallerKind::Operator | CallerKind::Service => true,
            // An agent may give up what it has, never take it back.
            CallerKind::Agent => to != BudgetState::Active,
            CallerKind::Merchant => false,
        };
        if !may {
            return Err(forbidden("the person of the mandate or an operator", identity));
        }
        self.run(identity, Command::ChangeBudget { budget: id, to }, Vec::new()).await?;
        if to == BudgetState::Revoked {
            self.end_at_once(identity).await;
        }
        self.mandate_state(identity, id).await
    }
}
