//! What a payee has an escrow do: claim vouchers, sweep what was claimed, give back what was not; capture or void what is held.
//! Each needs the signature of the receiver's authorizer (a sweep needs none), and none is made here for anybody.
//!
//! A call is written down under a name of our own before it is made, so it is made once, also where the answer was lost; the
//! amount beside it is what it was to move then. One that came to nothing has a new name when it is asked for again.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U256;
use ledger::command::{ClaimSettlement, Command};
use ledger::id::{Digest, TenantId};
use ledger::rejection::Rejection;
use ledger::settlement::{Settlement, SettlementKey, SettlementState};
use ledger::store::Freshness;
use ledger::transfer::Money;
use x402::auth_capture::refused_by_escrow;
use x402::batch_settlement::{CallKind, ChannelCall, ChannelLog};
use x402::chain::{ChainError, Relayer, SettlementCall};
use x402::network::Network;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::wire::{FacilitatorRequest, SettleResponse};

use super::plans::{Plan, Planned, call_of};
use crate::book::{self, service};
use crate::error::EngineError;
use crate::tenant::FacilitatorRole;
use crate::{Engine, Identity};

/// No call of the escrow ends by time: the last second of the year 9999.
const NEVER: i64 = 253_402_300_799;

/// One on its way.
pub(super) struct Work<'a> {
    pub identity: Identity,
    /// Whose accounts may make it.
    pub senders: Vec<Arc<dyn Relayer>>,
    pub plan: &'a Plan,
    pub key: SettlementKey,
    pub network: Network,
    pub wait: Duration,
}

impl Work<'_> {
    fn failed(&self, reason: Reason, message: impl Into<String>, transaction: &str) -> SettleResponse {
        SettleResponse::failed(reason, message, self.plan.payer(), transaction, self.network.to_string())
    }

    fn reverts(&self, reason: &str) -> SettleResponse {
        self.failed(self.plan.reasons().0, format!("the escrow refuses it: {reason}"), "")
    }

    /// By the name that the escrow itself gives it, where it does.
    fn refused(&self, reason: &str, data: &[u8]) -> SettleResponse {
        match self.plan.kind {
            CallKind::Capture | CallKind::Void | CallKind::Reclaim => match refused_by_escrow(data) {
                Some(known) => self.failed(known, format!("the escrow refuses it: {reason}"), ""),
                None => self.reverts(reason),
            },
            CallKind::Claim | CallKind::Settle | CallKind::Refund | CallKind::Withdraw | CallKind::Finalize => {
                self.reverts(reason)
            }
        }
    }

    fn claim(&self, since_block: u64) -> Result<ClaimSettlement, EngineError> {
        let pay_to = book::text(self.plan.to);
        Ok(ClaimSettlement {
            key: self.key.clone(),
            money: Money { asset: book::asset_id(self.network, self.plan.token)?, amount: self.plan.amount },
            payee: pay_to.parse().map_err(|_| EngineError::Broken("an address is no payee".into()))?,
            subject: Digest::of_parts("purser/escrow-call/1", &[self.plan.subject.as_slice()]),
            pay_to,
            valid_before: NEVER,
            since_block,
            cover: None,
            credit: None,
            named: None,
            order: None,
        })
    }
}

impl Engine {
    pub(super) async fn settle_call(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        wait: Duration,
    ) -> Result<SettleResponse, EngineError> {
        let role = self.facilitator_role(tenant)?;
        let refused = |refusal: &Refusal| {
            let network = request.payment_requirements.network.clone();
            SettleResponse::failed(refusal.reason, refusal.to_string(), None, "", network)
        };
        let call = match call_of(request).and_then(|call| self.check_call(&role, request, call)) {
            Ok(call) => call,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        if let Err(refusal) = self.screen_call(&call).await? {
            return Ok(refused(&refusal));
        }
        let plan = match self.plan(tenant, call).await? {
            Ok(Planned::Call(plan)) => plan,
            Ok(Planned::Done) => {
                let mut response = SettleResponse::settled("", "", self.network.to_string());
                (response.payer, response.amount) = (None, Some(String::new()));
                return Ok(response);
            }
            Err(refusal) => return Ok(refused(&refusal)),
        };
        self.make_planned(tenant, &role, &plan, wait).await
    }

    /// Once, whoever asks and however often.
    pub(super) async fn make_planned(
        &self,
        tenant: &TenantId,
        role: &FacilitatorRole,
        plan: &Plan,
        wait: Duration,
    ) -> Result<SettleResponse, EngineError> {
        let Some(key) = self.place_of_call(tenant, plan).await? else {
            let message = format!("expected at most {} tries of one call, found one more", plan.attempts_max);
            let network = self.network.to_string();
            return Ok(SettleResponse::failed(plan.reasons().1, message, plan.payer(), "", network));
        };
        let identity = service(tenant, "facilitator")?;
        let senders = role.relayers().cloned().collect();
        let work = Work { identity, senders, plan, key, network: self.network, wait };
        // What the escrow refuses is written down nowhere: strangers would fill the book.
        if !self.is_begun(tenant, plan).await? {
            match self.try_call(&plan.call, role).await {
                Ok(()) => {}
                Err(ChainError::Reverted { reason, data }) => return Ok(work.refused(&reason, &data)),
                Err(error) => return Err(error.into()),
            }
        }
        match self.make(&work).await? {
            Ok(settlement) => self.answer_call(&work, &settlement).await,
            Err(refused) => Ok(refused),
        }
    }

    pub(super) async fn try_call(&self, call: &SettlementCall, role: &FacilitatorRole) -> Result<(), ChainError> {
        match call {
            SettlementCall::Channel(call) => self.chain.simulate_channel(call, role.relayer.address()).await,
            SettlementCall::Escrow(call) => self.chain.simulate_escrow(call, call.sender()).await,
            SettlementCall::Transfer(_)
            | SettlementCall::Wallet(_)
            | SettlementCall::Permit(_)
            | SettlementCall::Cancel(_)
            | SettlementCall::Gas(_) => Err(ChainError::Unavailable("no call of an escrow".to_owned())),
        }
    }

    /// What became of it so far, or the answer where nothing is sent.
    pub(super) async fn make(&self, work: &Work<'_>) -> Result<Result<Settlement, SettleResponse>, EngineError> {
        let tenant = &work.identity.tenant;
        let claim = work.claim(self.finalized_lately().await?)?;
        let answer = match self.run(&work.identity, Command::Claim(Box::new(claim)), Vec::new()).await {
            // Nothing was begun, and nothing will be.
            Err(EngineError::Book(rejection @ Rejection::Stopped { .. })) => {
                return Ok(Err(work.failed(Reason::InvalidPaymentRequirements, rejection.to_string(), "")));
            }
            Err(EngineError::Book(Rejection::PaymentUsedForOtherResource { .. })) => {
                let message = "expected one capture for what the escrow has now, found another one beside it";
                return Ok(Err(work.failed(Reason::CaptureUnexpectedState, message, "")));
            }
            other => other?,
        };
        let claimed = answer.settlement.as_ref().is_some_and(|found| found.state == SettlementState::Claimed);
        // Read again in hand: whoever had it before may have sent it since.
        if (answer.freshness == Freshness::New || claimed)
            && let Some(_in_hand) = self.desk.take(tenant, &work.key)
            && self.carried(tenant, &work.key).await?.state == SettlementState::Claimed
            && let Some(refused) = self.begin_call(work).await?
        {
            return Ok(Err(refused));
        }
        Ok(Ok(self.watch(&work.identity, &work.key, work.wait).await?))
    }

    /// Claimed by us, nothing sent. The answer, where nothing will be.
    async fn begin_call(&self, work: &Work<'_>) -> Result<Option<SettleResponse>, EngineError> {
        let tenant = &work.identity.tenant;
        let is_able = |relayer: &&Arc<dyn Relayer>| work.plan.sender.is_none_or(|sender| relayer.address() == sender);
        let relayers: Vec<_> = work.senders.iter().filter(is_able).collect();
        let turn = self.desk.turn(tenant, relayers.iter().map(|relayer| relayer.address()));
        let relayer = relayers.get(turn.place()).or(relayers.first()).copied();
        let relayer = relayer.ok_or_else(|| EngineError::Broken("an operator that is nobody here".into()))?;
        let abandon = || {
            let command = Command::Abandon { settlement: work.key.clone() };
            self.run(&work.identity, command, Vec::new())
        };
        match self.prepare(&work.identity, &work.key, work.plan.call.clone(), relayer.as_ref()).await {
            Ok(settlement) => self.send(&work.identity, &settlement, 0).await,
            Err(error) => {
                abandon().await?;
                return match error {
                    // It reverts, or costs more than it may: either way nothing was sent.
                    EngineError::ChainRefused(why) => Ok(Some(work.reverts(&why))),
                    other => Err(other),
                };
            }
        }
        Ok(None)
    }

    async fn answer_call(&self, work: &Work<'_>, settlement: &Settlement) -> Result<SettleResponse, EngineError> {
        let transaction = settlement.transaction.as_ref().map_or("", |reference| reference.as_str());
        let message = match settlement.state {
            SettlementState::Settled => return self.made(work, settlement, transaction).await,
            SettlementState::Failed => {
                let message = "the transaction is mined and did not do what it was for";
                return Ok(work.failed(work.plan.reasons().1, message, transaction));
            }
            SettlementState::Abandoned => {
                let message = "the first try gave up before anything moved; ask again";
                return Ok(work.failed(Reason::UnexpectedSettleError, message, ""));
            }
            _ => "sent and not yet known to be in a block; ask again with the same payload",
        };
        Ok(work.failed(Reason::SettlementPending, message, transaction))
    }

    /// How much it was the logs say.
    async fn made(
        &self,
        work: &Work<'_>,
        settlement: &Settlement,
        transaction: &str,
    ) -> Result<SettleResponse, EngineError> {
        let receipt = match settlement.transaction.as_ref().and_then(book::transaction) {
            Some(hash) => self.chain.receipt(hash).await?,
            None => None,
        };
        let logs = receipt.map(|receipt| receipt.channels).unwrap_or_default();
        let moved = logs.iter().find_map(|log| match (work.plan.kind, *log) {
            (CallKind::Settle, ChannelLog::Settled { amount, .. }) => Some(amount),
            (CallKind::Refund, ChannelLog::Refunded { amount, .. }) => Some(amount),
            _ => None,
        });
        let mut response = SettleResponse::settled("", transaction, self.network.to_string());
        response.payer = work.plan.payer();
        response.amount = Some(match work.plan.kind {
            // A claim counts, and moves nothing.
            CallKind::Claim => String::new(),
            CallKind::Settle
            | CallKind::Refund
            | CallKind::Capture
            | CallKind::Void
            | CallKind::Withdraw
            | CallKind::Finalize
            | CallKind::Reclaim => moved.unwrap_or_else(|| U256::from(settlement.money.amount.get())).to_string(),
        });
        if let SettlementCall::Channel(call) = &work.plan.call
            && let ChannelCall::Refund(refund) = call.as_ref()
        {
            self.show_channel(&mut response, refund.channel.id(self.network)).await;
        }
        Ok(response)
    }
}
