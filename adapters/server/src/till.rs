//! The paywall's till, over the engine's books.

use std::sync::Arc;

use async_trait::async_trait;
use engine::Engine;
use engine::attest::did_web;
use engine::error::{EngineError, Kind};
use engine::order::Ordered;
use engine::order::cart::OrderTerms;
use engine::sell::{Presented, Rerun, Returned, SaleClaim, SaleServed, SaleSettled, SignIn};
use ledger::id::{Digest, IdempotencyKey, TenantId};
use ledger::money::Amount;
use ledger::rejection::Rejection;
use mandates::json::Object;
use paywall::{
    Abandoned, Answered, Claim, ClaimRequest, Paid, Refusal, Repeat, Served, SettleRefusal, Settled, SignInRequest,
    StoredAnswer, Ticket, Till,
};
use serde_json::{Value, json};
use x402::release::Release;
use x402::sign_in::Challenge;
use x402::wire::{PaymentRequirements, SettleResponse};

use crate::mcp::sold::PaidTool;

#[derive(Clone)]
pub struct Books {
    engine: Arc<Engine>,
    tenant: TenantId,
    /// Whom offers and receipts are signed as.
    did: String,
    /// What is paid here, where it is sold once.
    order: Option<IdempotencyKey>,
}

impl Books {
    pub fn new(engine: Arc<Engine>, tenant: TenantId, public_url: &str) -> Self {
        Self { engine, tenant, did: did_web(public_url).unwrap_or_default(), order: None }
    }

    /// A till for this order alone.
    pub fn of_order(&self, order: IdempotencyKey) -> Self {
        Self { order: Some(order), ..self.clone() }
    }

    /// What became of it; `None` where no payment was claimed for it.
    pub async fn order(&self, order: &IdempotencyKey, release: &Release) -> Result<Option<Ordered>, EngineError> {
        self.engine.order(&self.tenant, order, release.confirmations).await
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
            release: request.release,
            order: self.order.clone(),
        };
        let claimed = self.engine.sale_claim(&self.tenant, presented).await;
        match claimed.map_err(refusal)? {
            SaleClaim::Won(manner) => Ok(Claim::Won(Ticket { key: request.key, id: request.key.to_string(), manner })),
            SaleClaim::InFlight => Ok(Claim::InFlight),
            SaleClaim::OutcomeUnknown => Ok(Claim::OutcomeUnknown),
            SaleClaim::Failed(response) => Err(Refusal::SettlementFailed(Box::new(response))),
            SaleClaim::OutOfStep { refusal, shown } => {
                let (reason, message) = (refusal.reason, refusal.to_string());
                Err(Refusal::OutOfStep { reason, message, shown })
            }
            SaleClaim::Refunded { channel, response } => {
                let answer = StoredAnswer::json(&json!({ "message": "what was left went back", "channelId": channel }));
                Ok(Claim::Answered(Answered { answer, response: Some(response) }))
            }
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
        let bytes = bytes(&answer)?;
        settlement(self.engine.sale_settle(&self.tenant, &ticket.key, bytes, charged).await)
    }

    async fn serve(&self, ticket: Ticket, answer: StoredAnswer) -> Result<Served, SettleRefusal> {
        let bytes = bytes(&answer)?;
        match self.engine.sale_serve(&self.tenant, &ticket.key, &bytes).await.map_err(unknown)? {
            SaleServed::Paid(response) => Ok(Served::Settled(Box::new(response))),
            SaleServed::Owed => {
                self.collect(&ticket);
                Ok(Served::Owed)
            }
            SaleServed::Failed(response) => Err(SettleRefusal::Failed(Box::new(response))),
            SaleServed::Unknown { message } => Err(SettleRefusal::Unknown { message }),
        }
    }

    async fn prepay(&self, ticket: &Ticket) -> Result<Settled, SettleRefusal> {
        settlement(self.engine.sale_prepay(&self.tenant, &ticket.key).await)
    }

    /// One that cannot be kept was delivered all the same; only fetching it again is lost.
    async fn deliver(&self, ticket: Ticket, answer: StoredAnswer) {
        let Ok(bytes) = bytes(&answer) else {
            return tracing::error!(id = ticket.id, "an answer cannot be written down");
        };
        if let Err(error) = self.engine.sale_deliver(&self.tenant, &ticket.key, bytes).await {
            tracing::error!(code = error.code(), id = ticket.id, "an answer that was paid first is not kept: {error}");
        }
    }

    async fn undelivered(&self, ticket: Ticket, why: Abandoned) {
        let why = match why {
            Abandoned::HandlerAnswered { status } => format!("{} {status}", why.code()),
            _ => why.code().to_owned(),
        };
        tracing::error!(id = ticket.id, why, "paid, and nothing was delivered");
        if let Err(error) = self.engine.sale_undelivered(&self.tenant, &ticket.key, &why).await {
            tracing::error!(code = error.code(), id = ticket.id, "what a payer is owed is not written down: {error}");
        }
    }

    async fn declared(&self, offers: &[PaymentRequirements]) -> serde_json::Map<String, serde_json::Value> {
        self.engine.declared(&self.tenant, offers).await
    }

    async fn sign_offer(&self, resource_url: &str, offer: &PaymentRequirements) -> Option<String> {
        said(self.engine.sign_offer(&self.tenant, &self.did, resource_url, offer).await)
    }

    async fn sign_receipt(&self, resource_url: &str, settled: &SettleResponse) -> Option<String> {
        said(self.engine.sign_sale(&self.tenant, &self.did, resource_url, settled).await)
    }

    async fn challenge(&self, domain: &str, resource_url: &str) -> Option<Challenge> {
        said(self.engine.sign_in_challenge(&self.tenant, domain, resource_url))
    }

    async fn sign_in(&self, asked: SignInRequest) -> Result<Paid, Refusal> {
        let SignInRequest { proof, domain, purpose, offers, seconds, release } = asked;
        let (digest, confirmations) = (Digest(purpose.digest()), release.confirmations);
        let asked =
            SignIn { proof, domain, uri: purpose.resource_url, purpose: digest, offers, seconds, confirmations };
        let Returned { claim, amount } = self.engine.sign_in(&self.tenant, asked).await.map_err(refusal)?;
        Ok(Paid { claim, amount })
    }

    async fn abandon(&self, ticket: Ticket, why: Abandoned) -> Option<SettleResponse> {
        match self.engine.sale_abandon(&self.tenant, &ticket.key).await {
            Ok(receipt) => receipt,
            Err(error) => {
                tracing::error!(code = error.code(), why = why.code(), "a sale could not be given back: {error}");
                None
            }
        }
    }
}

impl Books {
    /// Behind the answer; where this process ends before, another one or the next takes it up.
    fn collect(&self, ticket: &Ticket) {
        let (engine, tenant, claim) = (self.engine.clone(), self.tenant.clone(), ticket.key);
        tokio::spawn(async move {
            let collected = match engine::sell::sale_key(&claim) {
                Ok(key) => engine.sale_collect(&tenant, &key).await,
                Err(error) => Err(error),
            };
            if let Err(error) = collected {
                tracing::warn!(code = error.code(), %claim, "a sale on credit is not settled yet: {error}");
            }
        });
    }
}

fn unknown(error: EngineError) -> SettleRefusal {
    SettleRefusal::Unknown { message: error.to_string() }
}

fn bytes(answer: &StoredAnswer) -> Result<Vec<u8>, SettleRefusal> {
    answer.to_bytes().map_err(|error| SettleRefusal::Unknown { message: error.to_string() })
}

fn settlement(settled: Result<SaleSettled, EngineError>) -> Result<Settled, SettleRefusal> {
    match settled.map_err(unknown)? {
        SaleSettled::Settled(response) => Ok(Settled { response }),
        SaleSettled::Failed(response) => Err(SettleRefusal::Failed(Box::new(response))),
        SaleSettled::Pending { transaction } => Err(SettleRefusal::Pending { transaction }),
        SaleSettled::Unknown { message } => Err(SettleRefusal::Unknown { message }),
    }
}

/// An offer without its signature is an offer, and a demand without a text to sign a demand; whoever wants one sees that there
/// is none.
fn said<T>(signed: Result<T, EngineError>) -> Option<T> {
    signed.inspect_err(|error| tracing::error!(code = error.code(), "not signed: {error}")).ok()
}

fn refusal(error: EngineError) -> Refusal {
    match error {
        EngineError::Payment(refusal) => refusal.into(),
        EngineError::Book(Rejection::IdempotencyKeyReused { .. }) => Refusal::IdentifierConflict,
        EngineError::ScreeningDenied(message) => Refusal::Policy { code: "screening_denied", message },
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
