//! The facilitator: verifies payments of others and carries them to the chain.
//!
//! Claim, then look, then persist the signed transaction, then send it: the same bytes, always. A settle that cannot
//! be told yet is pending, never failed.

mod calls;
mod cancel;
mod carriage;
mod channels;
mod claims;
mod holds;
mod ladder;
mod lanes;
mod outcome;
mod own;
mod plans;
mod sponsor;
mod supported;
mod together;
mod waiting;

use std::time::Duration;

use ledger::command::Command;
use ledger::id::TenantId;
use ledger::rejection::Rejection;
use ledger::settlement::{Named, Role, Settlement, SettlementKey, SettlementState};
use ledger::store::{Document, Freshness};
use x402::auth_capture;
use x402::batch_settlement;
use x402::chain::{At, Pool, Relayer, SettlementCall};
use x402::exact;
use x402::identifier;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::scheme;
use x402::settlement::{Outcome, observe};
use x402::wire::{FacilitatorRequest, SettleResponse, VerifyResponse};

use crate::book::{self, service};
use crate::error::EngineError;
use crate::named::conflict;
use crate::wallets::Presentation;
use crate::{Engine, Identity};
pub use carriage::Repeater;
use carriage::{Carriage, LOOK_BACK_BLOCKS, able_to_settle, claimed_payer, denied, settler};
use claims::{charged_nothing, spent};
pub(crate) use own::OwnCall;
use sponsor::Approved;
use together::Turned;
pub(crate) use together::Waiting;
pub use waiting::is_approving;

impl Engine {
    pub async fn facilitator_verify(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
    ) -> Result<VerifyResponse, EngineError> {
        match request.payment_requirements.scheme.as_str() {
            batch_settlement::SCHEME => self.verify_channel(tenant, request).await,
            auth_capture::SCHEME => self.verify_hold(tenant, request).await,
            _ => self.verify_payment(tenant, request).await,
        }
    }

    async fn verify_payment(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
    ) -> Result<VerifyResponse, EngineError> {
        let role = self.facilitator_role(tenant)?;
        let (payload, requirements) = (&request.payment_payload, &request.payment_requirements);
        let checked = scheme::check(payload, requirements, &self.assets, self.now_seconds());
        let payment = match self.proved(checked).await? {
            Ok(payment) => payment,
            Err(refusal) => return Ok(VerifyResponse::refused(&refusal, claimed_payer(request))),
        };
        let payer = payment.payer().to_string();
        if let Err(refusal) = self.check_parties(tenant, &role, &payment).await? {
            return Ok(VerifyResponse::refused(&refusal, Some(payer)));
        }
        let said = identifier::read(payload.extensions.as_ref()).and_then(|_| self.check_thrift(&payment));
        if let Err(refusal) = said {
            return Ok(VerifyResponse::refused(&refusal, Some(payer)));
        }
        if self.is_spent(tenant, &payment).await? {
            return Ok(VerifyResponse::refused(&spent(), Some(payer)));
        }
        let claimed = self.claimed_elsewhere(tenant, &payment).await?;
        let relayer = settler(&role, &payment).address();
        match exact::verify_on_chain(self.chain.as_ref(), &payment, relayer, claimed).await {
            Ok(()) => Ok(match self.check_gas(tenant, &role, &payment).await? {
                Ok(()) => VerifyResponse::valid(payer),
                Err(refusal) => VerifyResponse::refused(&refusal, Some(payer)),
            }),
            Err(exact::OnChainError::Refused(refusal)) => Ok(VerifyResponse::refused(&refusal, Some(payer))),
            Err(exact::OnChainError::Chain(error)) => Err(error.into()),
        }
    }

    /// What is on its way when `wait` is over is answered as pending.
    async fn settle_within(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        repeater: Repeater,
        wait: Duration,
    ) -> Result<SettleResponse, EngineError> {
        match request.payment_requirements.scheme.as_str() {
            batch_settlement::SCHEME => self.settle_channel(tenant, request, repeater, wait).await,
            auth_capture::SCHEME => self.settle_hold(tenant, request, repeater, wait).await,
            _ => self.settle_payment(tenant, request, repeater, wait).await,
        }
    }

    async fn settle_payment(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        repeater: Repeater,
        wait: Duration,
    ) -> Result<SettleResponse, EngineError> {
        let role = self.facilitator_role(tenant)?;
        let (payload, requirements) = (&request.payment_payload, &request.payment_requirements);
        let network = requirements.network.clone();
        let refused = |refusal: &Refusal| {
            SettleResponse::failed(refusal.reason, refusal.to_string(), claimed_payer(request), "", &network)
        };
        let payment = match self.known_or_in_time(tenant, Role::Facilitator, payload, requirements).await? {
            Presentation::Good(payment) => *payment,
            Presentation::Refused(refusal) => return Ok(refused(&refusal)),
            Presentation::Denied { known, refusal } => return Ok(denied(&known, &refusal)),
        };
        if let Err(refusal) = self.check_parties(tenant, &role, &payment).await? {
            return Ok(refused(&refusal));
        }
        let authorization = book::authorization(&payment.claim_key())?;
        let carriage = Carriage {
            identity: service(tenant, "facilitator")?,
            role: &role,
            payment,
            key: SettlementKey { role: Role::Facilitator, authorization },
            wait,
        };
        if let Err(refusal) = self.check_thrift(&carriage.payment) {
            let known = self.store.settlement(tenant, &carriage.key).await?;
            if known.is_none_or(|known| known.state == SettlementState::Abandoned) {
                return Ok(refused(&refusal));
            }
        }
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
        let since_block = self.finalized_lately().await?;
        let claim = carriage.claim(since_block, named)?;
        let documents = document.into_iter().chain(carriage.approval()).collect();
        let answer = self.run(&carriage.identity, Command::Claim(Box::new(claim)), documents).await?;
        let settlement = answer.settlement;
        let settlement = settlement.ok_or_else(|| EngineError::Broken("a claim without a settlement".into()))?;
        Ok((answer.freshness, settlement))
    }

    /// Claimed by us, nothing sent.
    async fn carry(&self, carriage: &Carriage<'_>) -> Result<SettleResponse, EngineError> {
        let tenant = &carriage.identity.tenant;
        let able = able_to_settle(carriage.role, &carriage.payment);
        let turn = self.desk.turn(tenant, able.iter().map(|relayer| relayer.address()));
        let relayer = able.get(turn.place()).copied().unwrap_or(&carriage.role.relayer);
        match self.approve_first(carriage, relayer.as_ref()).await {
            Ok(Approved::Yes) => {}
            Ok(Approved::Pending(sent)) => return Ok(carriage.approving(sent)),
            Ok(Approved::No(refusal)) => return self.give_up(carriage, &refusal).await,
            Err(error) => {
                self.abandon(carriage).await?;
                return Err(error);
            }
        }
        match self.take_turn(carriage, relayer.as_ref()).await {
            Turned::Sent => {
                return self.await_receipt(carriage).await.map(|response| self.delivered(carriage, response));
            }
            Turned::GivenUp => return Ok(carriage.given_up()),
            Turned::Alone => {}
        }
        let claimed = self.claimed_elsewhere(tenant, &carriage.payment).await?;
        match exact::verify_on_chain(self.chain.as_ref(), &carriage.payment, relayer.address(), claimed).await {
            Ok(()) => {}
            Err(exact::OnChainError::Refused(refusal)) => return self.give_up(carriage, &refusal).await,
            Err(exact::OnChainError::Chain(error)) => {
                self.abandon(carriage).await?;
                return Err(error.into());
            }
        }
        let call = carriage.payment.call();
        let settlement = match self.prepare(&carriage.identity, &carriage.key, call, relayer.as_ref()).await {
            Ok(settlement) => settlement,
            Err(error) => {
                self.abandon(carriage).await?;
                return Err(error);
            }
        };
        self.send(&carriage.identity, &settlement, 0).await;
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
    async fn prepare(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        call: SettlementCall,
        relayer: &dyn Relayer,
    ) -> Result<Settlement, EngineError> {
        let _pen = self.desk.pen(&identity.tenant, relayer.address()).await;
        let pending = self.chain.account_nonce(relayer.address(), Pool::Pending).await?;
        let held = self.next_nonce(identity, relayer, pending).await?;
        let nonce = held.number();
        let prepared = match call {
            SettlementCall::Transfer(call) => relayer.prepare(&call, nonce).await?,
            SettlementCall::Wallet(call) => relayer.prepare_wallet(&call, nonce).await?,
            SettlementCall::Permit(call) => relayer.prepare_permit(&call, nonce).await?,
            SettlementCall::Channel(call) => relayer.prepare_channel(&call, nonce).await?,
            SettlementCall::Escrow(call) => relayer.prepare_escrow(&call, nonce).await?,
            SettlementCall::Cancel(call) => relayer.prepare_cancel(&call, nonce).await?,
            SettlementCall::Gas(grant) => relayer.prepare_gas(&grant, nonce).await?,
        };
        let document = ladder::document(&prepared);
        let command = Command::Dispatch {
            settlement: key.clone(),
            document: document.digest(),
            transaction: Some(book::reference(prepared.transaction)?),
            account_nonce: Some(prepared.account_nonce),
        };
        let answer = match self.run(identity, command, vec![document]).await {
            Ok(answer) => answer,
            Err(error) => {
                held.doubted();
                return Err(error);
            }
        };
        // Known by another transaction: this one stands nowhere.
        if answer.freshness == Freshness::New {
            held.used()
        } else {
            held.doubted()
        }
        answer.settlement.ok_or_else(|| EngineError::Broken("a dispatch without a settlement".into()))
    }

    async fn settlement(&self, carriage: &Carriage<'_>) -> Result<Settlement, EngineError> {
        self.carried(&carriage.identity.tenant, &carriage.key).await
    }

    async fn carried(&self, tenant: &TenantId, key: &SettlementKey) -> Result<Settlement, EngineError> {
        let found = self.store.settlement(tenant, key).await?;
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
                SettlementState::Promised | SettlementState::Unpaid | SettlementState::Undelivered => {
                    return Err(EngineError::Broken("a carriage in the state of a sale".into()));
                }
                SettlementState::Abandoned => {
                    return Ok(carriage.given_up());
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
}
