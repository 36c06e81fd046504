//! The facilitator: verifies payments of others and carries them to the chain.
//!
//! Claim, then look, then persist the signed transaction, then send it: the same bytes, always. A settle that cannot
//! be told yet is pending, never failed.

mod carriage;
mod claims;
mod supported;

use std::time::Duration;

use alloy_primitives::Bytes;
use ledger::command::{Command, FailureProof, Gas};
use ledger::id::TenantId;
use ledger::rejection::Rejection;
use ledger::settlement::{Named, Role, Settlement, SettlementKey, SettlementState};
use ledger::store::{Document, Freshness};
use x402::chain::{At, Pool, Receipt, SettlementCall};
use x402::exact;
use x402::identifier;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::scheme;
use x402::settlement::{Outcome, observe};
use x402::wire::{FacilitatorRequest, SettleResponse, VerifyResponse};

use crate::book::{self, service};
use crate::desk::Lane;
use crate::error::EngineError;
use crate::named::conflict;
use crate::tenant::FacilitatorRole;
use crate::{Engine, Identity};
pub use carriage::Repeater;
use carriage::{Carriage, LOOK_BACK_BLOCKS, check_payee, claimed_payer};
use claims::{charged_nothing, spent};

impl Engine {
    pub async fn facilitator_verify(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
    ) -> Result<VerifyResponse, EngineError> {
        let role = self.facilitator_role(tenant)?;
        let (payload, requirements) = (&request.payment_payload, &request.payment_requirements);
        let payment = match scheme::verify(payload, requirements, &self.assets, self.now_seconds()) {
            Ok(payment) => payment,
            Err(refusal) => return Ok(VerifyResponse::refused(&refusal, claimed_payer(request))),
        };
        let payer = payment.payer().to_string();
        if let Err(refusal) = check_payee(&role, &payment) {
            return Ok(VerifyResponse::refused(&refusal, Some(payer)));
        }
        if let Err(refusal) = identifier::read(payload.extensions.as_ref()) {
            return Ok(VerifyResponse::refused(&refusal, Some(payer)));
        }
        if self.is_spent(tenant, &payment).await? {
            return Ok(VerifyResponse::refused(&spent(), Some(payer)));
        }
        let claimed = self.claimed_elsewhere(tenant, &payment).await?;
        let relayer = role.relayer.address();
        match exact::verify_on_chain(self.chain.as_ref(), &payment, relayer, claimed).await {
            Ok(()) => Ok(VerifyResponse::valid(payer)),
            Err(exact::OnChainError::Refused(refusal)) => Ok(VerifyResponse::refused(&refusal, Some(payer))),
            Err(exact::OnChainError::Chain(error)) => Err(error.into()),
        }
    }

    pub async fn facilitator_settle(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        repeater: Repeater,
    ) -> Result<SettleResponse, EngineError> {
        let role = self.facilitator_role(tenant)?;
        let (payload, requirements) = (&request.payment_payload, &request.payment_requirements);
        let network = requirements.network.clone();
        let refused = |refusal: &Refusal| {
            SettleResponse::failed(refusal.reason, refusal.to_string(), claimed_payer(request), "", &network)
        };
        let payment = match self.known_or_in_time(tenant, Role::Facilitator, payload, requirements).await? {
            Ok(payment) => payment,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        if let Err(refusal) = check_payee(&role, &payment) {
            return Ok(refused(&refusal));
        }
        let authorization = book::authorization(&payment.claim_key())?;
        let carriage = Carriage {
            identity: service(tenant, "facilitator")?,
            role: &role,
            payment,
            key: SettlementKey { role: Role::Facilitator, authorization },
            wait: Duration::from_millis(self.tenant(tenant)?.limits.settle_wait_millis),
        };
        let place = match self.place_of_carriage(tenant, &carriage.key, payload, requirements).await? {
            Ok(place) => place,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        let (freshness, settlement) = match self.claim_carriage(&carriage, place).await {
            Err(EngineError::Book(Rejection::AuthorizationClaimed { .. })) => {
                return Ok(refused(&conflict("another payment, at this moment")));
            }
            // Nothing was begun, and nothing will be: a plain no, so that whoever sells gives the payment back.
            Err(EngineError::Book(rejection @ Rejection::Stopped { .. })) => {
                let expected = "a facilitator that carries";
                return Ok(refused(&Refusal::new(Reason::InvalidPaymentRequirements, "network", expected, rejection)));
            }
            other => other?,
        };
        let resumable = freshness == Freshness::New || settlement.state == SettlementState::Claimed;
        // Read again in hand: whoever had it before may have settled it since.
        if resumable
            && let Some(_in_hand) = self.desk.take(tenant, &carriage.key)
            && self.settlement(&carriage).await?.state == SettlementState::Claimed
        {
            if carriage.payment.expected().value.is_zero() {
                return self.charge_nothing(&carriage).await;
            }
            return self.carry(&carriage).await;
        }
        self.repeat(&carriage, repeater).await
    }

    async fn claim_carriage(
        &self,
        carriage: &Carriage<'_>,
        place: Option<(Named, Document)>,
    ) -> Result<(Freshness, Settlement), EngineError> {
        let (named, document) = place.unzip();
        let since_block = self.chain.block(At::Finalized).await?.number;
        let claim = carriage.claim(since_block, named)?;
        let documents = document.into_iter().collect();
        let answer = self.run(&carriage.identity, Command::Claim(Box::new(claim)), documents).await?;
        let settlement = answer.settlement;
        let settlement = settlement.ok_or_else(|| EngineError::Broken("a claim without a settlement".into()))?;
        Ok((answer.freshness, settlement))
    }

    /// Claimed by us, nothing sent.
    async fn carry(&self, carriage: &Carriage<'_>) -> Result<SettleResponse, EngineError> {
        let tenant = &carriage.identity.tenant;
        let lane = self.desk.lane(tenant, carriage.role.relayer.address());
        let mut lane = lane.lock().await;
        let claimed = self.claimed_elsewhere(tenant, &carriage.payment).await?;
        let relayer = carriage.role.relayer.address();
        match exact::verify_on_chain(self.chain.as_ref(), &carriage.payment, relayer, claimed).await {
            Ok(()) => {}
            Err(exact::OnChainError::Refused(refusal)) => return self.give_up(carriage, &refusal).await,
            Err(exact::OnChainError::Chain(error)) => {
                self.abandon(carriage).await?;
                return Err(error.into());
            }
        }
        let settlement = match self.prepare(carriage, &mut lane).await {
            Ok(settlement) => settlement,
            Err(error) => {
                self.abandon(carriage).await?;
                return Err(error);
            }
        };
        self.send(&carriage.identity, &settlement).await;
        drop(lane);
        self.await_receipt(carriage).await.map(|response| self.delivered(carriage, response))
    }

    async fn give_up(&self, carriage: &Carriage<'_>, refusal: &Refusal) -> Result<SettleResponse, EngineError> {
        self.abandon(carriage).await?;
        if !refusal.reason.is_nonce_used() {
            return Ok(carriage.refused(refusal));
        }
        // Not ours to call it paid: a foreign seller may have served it already. It is told where to look.
        let since = self.chain.block(At::Latest).await?.number.saturating_sub(LOOK_BACK_BLOCKS);
        match observe(self.chain.as_ref(), &carriage.payment.expected(), None, since).await? {
            Outcome::Settled { transaction, .. }
            | Outcome::Canceled { transaction, .. }
            | Outcome::SpentOtherwise { transaction, .. } => Ok(carriage.used(&format!("{transaction:#x}"))),
            Outcome::Pending | Outcome::ProvedUnused { .. } | Outcome::Unknown => Ok(carriage.refused(refusal)),
        }
    }

    async fn abandon(&self, carriage: &Carriage<'_>) -> Result<(), EngineError> {
        let command = Command::Abandon { settlement: carriage.key.clone() };
        self.run(&carriage.identity, command, Vec::new()).await.map(|_| ())
    }

    /// Signs the transaction and makes it durable. Nothing is sent.
    async fn prepare(&self, carriage: &Carriage<'_>, lane: &mut Lane) -> Result<Settlement, EngineError> {
        let relayer = &carriage.role.relayer;
        let pending = self.chain.account_nonce(relayer.address(), Pool::Pending).await?;
        let nonce = lane.next.map_or(pending, |next| next.max(pending));
        let prepared = match carriage.payment.call() {
            SettlementCall::Transfer(call) => relayer.prepare(&call, nonce).await?,
            SettlementCall::Permit(call) => relayer.prepare_permit(&call, nonce).await?,
        };
        let document = Document { kind: "settlement-transaction".into(), bytes: prepared.raw.to_vec() };
        let command = Command::Dispatch {
            settlement: carriage.key.clone(),
            document: document.digest(),
            transaction: Some(book::reference(prepared.transaction)?),
            account_nonce: Some(prepared.account_nonce),
        };
        let answer = self.run(&carriage.identity, command, vec![document]).await?;
        lane.next = Some(nonce.saturating_add(1));
        answer.settlement.ok_or_else(|| EngineError::Broken("a dispatch without a settlement".into()))
    }

    /// Whatever comes of it, the bytes may be out now: an error here proves nothing.
    async fn send(&self, identity: &Identity, settlement: &Settlement) {
        let Some(digest) = settlement.document else { return };
        let document = match self.store.document(&identity.tenant, digest).await {
            Ok(Some(document)) => document,
            Ok(None) => return tracing::error!("a settlement's transaction is not in the store"),
            Err(error) => return tracing::warn!("a settlement's transaction cannot be read: {error}"),
        };
        if let Err(error) = self.chain.broadcast(&Bytes::from(document.bytes)).await {
            tracing::warn!("the node did not take a settlement: {error}");
        }
    }

    async fn await_receipt(&self, carriage: &Carriage<'_>) -> Result<SettleResponse, EngineError> {
        let deadline = tokio::time::Instant::now() + carriage.wait;
        let mut pause = Duration::from_millis(5);
        loop {
            let settlement = self.settlement(carriage).await?;
            // An outage while waiting says nothing about the payment.
            let state = match self.look(&carriage.identity, &settlement).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::warn!(code = error.code(), "waiting for a receipt: {error}");
                    settlement.state
                }
            };
            let settlement = self.settlement(carriage).await?;
            let transaction = settlement.transaction.as_ref().map_or("", |reference| reference.as_str());
            match state {
                SettlementState::Settled => return Ok(carriage.settled(&settlement)),
                SettlementState::Failed => {
                    let message = "the transaction is mined and reverted";
                    return Ok(carriage.failed(Reason::TransactionFailed, message, transaction));
                }
                _ if tokio::time::Instant::now() + pause >= deadline => {
                    self.desk.owe_answer(&carriage.identity.tenant, &carriage.key);
                    return Ok(carriage.pending(&settlement));
                }
                _ => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    async fn settlement(&self, carriage: &Carriage<'_>) -> Result<Settlement, EngineError> {
        let found = self.store.settlement(&carriage.identity.tenant, &carriage.key).await?;
        found.ok_or_else(|| EngineError::Broken("a claimed settlement is gone".into()))
    }

    /// The same authorization again, by whomever. Never a second broadcast of anything new, and the success of one
    /// settlement is told to one caller, unless callers can be told apart.
    async fn repeat(&self, carriage: &Carriage<'_>, repeater: Repeater) -> Result<SettleResponse, EngineError> {
        let tenant = &carriage.identity.tenant;
        let deadline = tokio::time::Instant::now() + carriage.wait;
        loop {
            let settlement = self.settlement(carriage).await?;
            let transaction = settlement.transaction.as_ref().map_or("", |reference| reference.as_str());
            if charged_nothing(&settlement) {
                let is_known = repeater == Repeater::Recognized;
                return Ok(if is_known { carriage.settled_nothing() } else { carriage.refused(&spent()) });
            }
            match settlement.state {
                SettlementState::Settled => {
                    let first_to_learn = self.desk.deliver(tenant, &carriage.key);
                    return Ok(if first_to_learn || repeater == Repeater::Recognized {
                        carriage.settled(&settlement)
                    } else {
                        carriage.used(transaction)
                    });
                }
                SettlementState::Failed => {
                    let message = "the transaction is mined and reverted";
                    return Ok(carriage.failed(Reason::TransactionFailed, message, transaction));
                }
                SettlementState::Abandoned => {
                    let message = "the first settle of this payment gave up before anything was sent; present it again";
                    return Ok(carriage.failed(Reason::UnexpectedSettleError, message, ""));
                }
                // It was settled once, and that was told: nobody else is told so because the chain took it back.
                SettlementState::Submitted if settlement.taken_back.is_some() && repeater != Repeater::Recognized => {
                    return Ok(carriage.used(transaction));
                }
                // Sent, and nobody in this process waits for it (it was sent before a restart): this caller does now.
                SettlementState::Submitted if let Some(_in_hand) = self.desk.take(tenant, &carriage.key) => {
                    // Unless somebody did since it was read, and told its caller of the success.
                    if self.settlement(carriage).await? != settlement {
                        continue;
                    }
                    self.desk.owe_answer(tenant, &carriage.key);
                    return self.await_receipt(carriage).await.map(|response| self.delivered(carriage, response));
                }
                SettlementState::Claimed | SettlementState::Submitted => {
                    if tokio::time::Instant::now() >= deadline {
                        return Ok(carriage.pending(&settlement));
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn delivered(&self, carriage: &Carriage<'_>, response: SettleResponse) -> SettleResponse {
        if response.success {
            self.desk.deliver(&carriage.identity.tenant, &carriage.key);
        }
        response
    }

    /// After a restart, or when nobody waits any more: the same bytes again, and a look at the chain. Who asks next is
    /// the first to learn it; unless somebody in this process is waiting, who then learns it first.
    pub(crate) async fn carry_on(
        &self,
        identity: &Identity,
        settlement: &Settlement,
    ) -> Result<SettlementState, EngineError> {
        let Some(_in_hand) = self.desk.take(&identity.tenant, &settlement.key) else { return Ok(settlement.state) };
        let listed = settlement.state;
        let now = self.store.settlement(&identity.tenant, &settlement.key).await?;
        let Some(settlement) = now.filter(|now| now.state == SettlementState::Submitted) else {
            return Ok(listed);
        };
        if settlement.taken_back.is_none() {
            self.desk.owe_answer(&identity.tenant, &settlement.key);
        }
        let state = self.look(identity, &settlement).await?;
        if state == SettlementState::Submitted && !charged_nothing(&settlement) {
            self.send(identity, &settlement).await;
        }
        Ok(state)
    }

    async fn look(&self, identity: &Identity, settlement: &Settlement) -> Result<SettlementState, EngineError> {
        if !settlement.state.is_open() {
            return Ok(settlement.state);
        }
        let (key, amount) = (&settlement.key, settlement.money.amount);
        let expected = book::expected(&key.authorization, &settlement.pay_to, amount, settlement.valid_before)?;
        let ours = settlement.transaction.as_ref().and_then(book::transaction);
        let finalized = self.finalized().await?;
        let receipt = match ours {
            Some(transaction) => self.chain.receipt(transaction).await?,
            None => None,
        };
        let last = receipt.as_ref().filter(|receipt| receipt.block.number <= finalized);
        let gas = last.map(|receipt| self.gas(identity, receipt)).transpose()?.flatten();
        // In a block that can be taken back it may yet move the money, where it comes before whatever made it revert.
        let reverted = last.is_some_and(|receipt| !receipt.success);
        let key = key.clone();
        let outcome = observe(self.chain.as_ref(), &expected, ours, settlement.since_block).await?;
        let other = Self::used_by_another(&outcome, ours, finalized);
        let command = match (outcome, ours) {
            (Outcome::Settled { transaction, block, .. }, Some(ours)) if transaction == ours => {
                if !self.is_confirmed(&block).await? {
                    return Ok(settlement.state);
                }
                let seen = book::observation(&expected, transaction, &block)?;
                Command::Receive { settlement: key, seen, finalized, gas }
            }
            (Outcome::ProvedUnused { finalized }, _) => {
                let proof = FailureProof::Unused(book::proof(&finalized));
                Command::Fail { settlement: key, proof, gas }
            }
            (_, Some(ours)) if reverted => {
                let proof = FailureProof::Reverted(book::reference(ours)?);
                Command::Fail { settlement: key, proof, gas }
            }
            _ if let Some(other) = other => {
                let proof = FailureProof::Reverted(book::reference(other)?);
                Command::Fail { settlement: key, proof, gas }
            }
            _ => return Ok(settlement.state),
        };
        self.settlement_after(identity, settlement, command).await
    }

    pub(crate) fn gas(&self, identity: &Identity, receipt: &Receipt) -> Result<Option<Gas>, EngineError> {
        let role = self.tenant(&identity.tenant)?.facilitator.clone();
        role.map(|role| book::gas(&role, self.network, receipt)).transpose()
    }

    pub(crate) fn facilitator_role(&self, tenant: &TenantId) -> Result<FacilitatorRole, EngineError> {
        self.tenant(tenant)?.facilitator.clone().ok_or(EngineError::NotConfigured("facilitator"))
    }
}
