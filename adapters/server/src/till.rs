//! The paywall's till, over the engine's books.

use std::sync::Arc;

use async_trait::async_trait;
use engine::Engine;
use engine::error::{EngineError, Kind};
use engine::order::Ordered;
use engine::order::cart::OrderTerms;
use engine::sell::{Presented, Rerun, SaleClaim, SaleSettled};
use ledger::id::{Digest, IdempotencyKey, TenantId};
use ledger::rejection::Rejection;
use mandates::json::Object;
use paywall::{
    Abandoned, Answered, Claim, ClaimRequest, Refusal, Repeat, SettleRefusal, Settled, StoredAnswer, Ticket, Till,
};
use serde_json::Value;
use x402::wire::PaymentRequirements;

use crate::mcp::sold::PaidTool;

#[derive(Clone)]
pub struct Books {
    engine: Arc<Engine>,
    tenant: TenantId,
    /// What is paid here, where it is sold once.
    order: Option<IdempotencyKey>,
}

impl Books {
    pub fn new(engine: Arc<Engine>, tenant: TenantId) -> Self {
        Self { engine, tenant, order: None }
    }

    /// A till for this order alone.
    pub fn of_order(&self, order: IdempotencyKey) -> Self {
        Self { order: Some(order), ..self.clone() }
    }

    /// What became of it; `None` where no payment was claimed for it.
    pub async fn order(&self, order: &IdempotencyKey) -> Result<Option<Ordered>, EngineError> {
        self.engine.order(&self.tenant, order).await
    }

    /// Whether carts are signed for what is sold at these terms.
    pub fn writes_carts(&self, requirements: &PaymentRequirements) -> bool {
        self.engine.writes_carts(&self.tenant, requirements).unwrap_or(false)
    }

    pub async fn cart(
        &self,
        order: &IdempotencyKey,
        sold: &PaidTool,
        demand: &Value,
        audience: &str,
    ) -> Result<Object, EngineError> {
        let PaidTool { description: label, requirements, .. } = sold;
        self.engine.sign_order(&self.tenant, &OrderTerms { order, label, requirements, demand, audience }).await
    }

    pub fn seal(&self, said: &[u8]) -> Result<Digest, EngineError> {
        self.engine.seal_order(&self.tenant, said)
    }
}

/// The code of a second payment for what is sold once.
pub const ORDER_HAS_PAYMENT: &str = "order_has_payment";

impl Books {
    fn refusal_of_order(&self, error: EngineError) -> Refusal {
        match error {
            EngineError::Book(Rejection::IdempotencyKeyReused { .. }) if self.order.is_some() => Refusal::Policy {
                code: ORDER_HAS_PAYMENT,
                message: "one payment was expected for this order, and another one has it".into(),
            },
            other => refusal(other),
        }
    }
}

#[async_trait]
impl Till for Books {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Refusal> {
        let presented = Presented {
            payload: request.payload.clone(),
            requirements: request.requirements.clone(),
            purpose: Digest(request.purpose.digest()),
            rerun: match request.repeat {
                Repeat::Never => Rerun::Never,
                Repeat::Idempotent => Rerun::Harmless,
            },
            order: self.order.clone(),
        };
        let claimed = self.engine.sale_claim(&self.tenant, presented).await;
        match claimed.map_err(|error| self.refusal_of_order(error))? {
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

    async fn settle(&self, ticket: Ticket, answer: StoredAnswer) -> Result<Settled, SettleRefusal> {
        let unknown = |message: String| SettleRefusal::Unknown { message };
        let bytes = answer.to_bytes().map_err(|error| unknown(error.to_string()))?;
        let settled = self.engine.sale_settle(&self.tenant, &ticket.key, bytes).await;
        match settled.map_err(|error| unknown(error.to_string()))? {
            SaleSettled::Settled(response) => Ok(Settled { response }),
            SaleSettled::Failed(response) => Err(SettleRefusal::Failed(Box::new(response))),
            SaleSettled::Pending { transaction } => Err(SettleRefusal::Pending { transaction }),
            SaleSettled::Unknown { message } => Err(unknown(message)),
        }
    }

    async fn abandon(&self, ticket: Ticket, why: Abandoned) {
        if let Err(error) = self.engine.sale_abandon(&self.tenant, &ticket.key).await {
            tracing::error!(code = error.code(), why = why.code(), "a sale could not be given back: {error}");
        }
    }
}

fn refusal(error: EngineError) -> Refusal {
    match error {
        EngineError::Payment(refusal) => refusal.into(),
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
