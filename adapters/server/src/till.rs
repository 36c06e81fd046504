//! The paywall's till, over the engine's books.

use std::sync::Arc;

use async_trait::async_trait;
use engine::Engine;
use engine::attest::did_web;
use engine::error::{EngineError, Kind};
use engine::sell::{Presented, Rerun, SaleClaim, SaleSettled};
use ledger::id::{Digest, TenantId};
use ledger::money::Amount;
use ledger::rejection::Rejection;
use paywall::{
    Abandoned, Answered, Claim, ClaimRequest, Refusal, Repeat, SettleRefusal, Settled, StoredAnswer, Ticket, Till,
};
use x402::wire::{PaymentRequirements, SettleResponse};

pub struct Books {
    engine: Arc<Engine>,
    tenant: TenantId,
    /// Whom offers and receipts are signed as.
    did: String,
}

impl Books {
    pub fn new(engine: Arc<Engine>, tenant: TenantId, public_url: &str) -> Self {
        Self { engine, tenant, did: did_web(public_url).unwrap_or_default() }
    }
}

#[async_trait]
impl Till for Books {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Refusal> {
        let presented = Presented {
            payload: request.payload.clone(),
            requirements: request.requirements.clone(),
            purpose: Digest(request.purpose.digest()),
            named: request.identifier.as_ref().map(|name| name.as_str().to_owned()),
            rerun: match request.repeat {
                Repeat::Never => Rerun::Never,
                Repeat::Idempotent => Rerun::Harmless,
            },
        };
        match self.engine.sale_claim(&self.tenant, presented).await.map_err(refusal)? {
            SaleClaim::Won => Ok(Claim::Won(Ticket { key: request.key, id: request.key.to_string() })),
            SaleClaim::InFlight => Ok(Claim::InFlight),
            SaleClaim::OutcomeUnknown => Ok(Claim::OutcomeUnknown),
            SaleClaim::Failed(response) => Err(Refusal::SettlementFailed(Box::new(response))),
            SaleClaim::Answered { answer, response } => {
                let answer = StoredAnswer::from_bytes(&answer);
                let answer = answer.map_err(|error| Refusal::Unavailable { message: error.to_string() })?;
                Ok(Claim::Answered(Answered { answer, response }))
            }
        }
    }

    async fn settle(
        &self,
        ticket: Ticket,
        answer: StoredAnswer,
        charged: Option<Amount>,
    ) -> Result<Settled, SettleRefusal> {
        let unknown = |message: String| SettleRefusal::Unknown { message };
        let bytes = answer.to_bytes().map_err(|error| unknown(error.to_string()))?;
        let settled = self.engine.sale_settle(&self.tenant, &ticket.key, bytes, charged).await;
        match settled.map_err(|error| unknown(error.to_string()))? {
            SaleSettled::Settled(response) => Ok(Settled { response }),
            SaleSettled::Failed(response) => Err(SettleRefusal::Failed(Box::new(response))),
            SaleSettled::Pending { transaction } => Err(SettleRefusal::Pending { transaction }),
            SaleSettled::Unknown { message } => Err(unknown(message)),
        }
    }

    async fn sign_offer(&self, resource_url: &str, offer: &PaymentRequirements) -> Option<String> {
        said(self.engine.sign_offer(&self.tenant, &self.did, resource_url, offer).await)
    }

    async fn sign_receipt(&self, resource_url: &str, settled: &SettleResponse) -> Option<String> {
        said(self.engine.sign_sale(&self.tenant, &self.did, resource_url, settled).await)
    }

    async fn abandon(&self, ticket: Ticket, why: Abandoned) {
        if let Err(error) = self.engine.sale_abandon(&self.tenant, &ticket.key).await {
            tracing::error!(code = error.code(), why = why.code(), "a sale could not be given back: {error}");
        }
    }
}

/// An offer without its signature is an offer; whoever wants one sees that there is none.
fn said(signed: Result<String, EngineError>) -> Option<String> {
    signed.inspect_err(|error| tracing::error!(code = error.code(), "not signed: {error}")).ok()
}

fn refusal(error: EngineError) -> Refusal {
    match error {
        EngineError::Payment(refusal) => refusal.into(),
        EngineError::Book(Rejection::IdempotencyKeyReused { .. }) => Refusal::IdentifierConflict,
        EngineError::Book(Rejection::PaymentUsedForOtherResource { .. }) => Refusal::UsedForOtherResource,
        // Whoever has signed already shall not sign again: the same payment is good when it goes on.
        EngineError::Book(rejection @ Rejection::Stopped { .. }) => {
            Refusal::Unavailable { message: rejection.to_string() }
        }
        EngineError::Book(rejection) => {
            Refusal::Policy { code: rejection.code().as_str(), message: rejection.to_string() }
        }
        other => {
            if other.kind() == Kind::Internal {
                tracing::error!(code = other.code(), "{other}");
            }
            Refusal::Unavailable { message: format!("the payment cannot be checked now ({})", other.code()) }
        }
    }
}
