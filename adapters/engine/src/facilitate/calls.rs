//! What a payee has the escrow do: claim vouchers, sweep what was claimed, give back what was not. Each needs the signature of
//! the receiver's authorizer (a sweep needs none), and none is made here for anybody.
//!
//! A call is written down under a name of our own before it is made, so it is made once, also where the answer was lost; the
//! amount beside it is what it was to move then. One that came to nothing has a new name when it is asked for again.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use ledger::command::{ClaimSettlement, Command};
use ledger::id::{Digest, TenantId};
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::settlement::{Role, Settlement, SettlementKey, SettlementState};
use ledger::store::Freshness;
use ledger::transfer::Money;
use x402::batch_settlement::{CallKind, Channel, ChannelCall, ChannelLog, ESCROW, Message, RefundCall, SCHEME, record};
use x402::chain::{At, ChainError, SettlementCall};
use x402::network::Network;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::settlement::{ClaimKey, NonceSpace};
use x402::wire::{FacilitatorRequest, SettleResponse, X402_VERSION};

use super::carriage::check_payee;
use crate::book::{self, service};
use crate::error::EngineError;
use crate::tenant::FacilitatorRole;
use crate::{Engine, Identity};

/// No call of the escrow ends by time: the last second of the year 9999.
const NEVER: i64 = 253_402_300_799;
/// How often the same call may come to nothing.
const ATTEMPTS_MAX: u32 = 100;

/// A call that is to be made.
struct Plan {
    call: ChannelCall,
    kind: CallKind,
    token: Address,
    /// Who gets what it is for: the receiver, or the payer of a refund.
    to: Address,
    amount: Amount,
    identity: B256,
}

/// What a request comes to before anything is written.
enum Planned {
    Call(Box<Plan>),
    /// What is asked for is so already.
    Done,
}

/// One on its way.
struct Work<'a> {
    identity: Identity,
    role: &'a FacilitatorRole,
    plan: &'a Plan,
    key: SettlementKey,
    network: Network,
    wait: Duration,
}

impl Plan {
    const fn reasons(&self) -> (Reason, Reason) {
        match self.kind {
            CallKind::Claim => (Reason::BatchClaimSimulation, Reason::BatchClaimFailed),
            CallKind::Settle => (Reason::BatchSettleSimulation, Reason::BatchSettleFailed),
            CallKind::Refund => (Reason::BatchRefundSimulation, Reason::BatchRefundFailed),
        }
    }

    fn payer(&self) -> Option<String> {
        (self.kind == CallKind::Refund).then(|| self.to.to_string())
    }
}

impl Work<'_> {
    fn failed(&self, reason: Reason, message: impl Into<String>, transaction: &str) -> SettleResponse {
        SettleResponse::failed(reason, message, self.plan.payer(), transaction, self.network.to_string())
    }

    fn claim(&self, since_block: u64) -> Result<ClaimSettlement, EngineError> {
        let pay_to = book::text(self.plan.to);
        Ok(ClaimSettlement {
            key: self.key.clone(),
            money: Money { asset: book::asset_id(self.network, self.plan.token)?, amount: self.plan.amount },
            payee: pay_to.parse().map_err(|_| EngineError::Broken("an address is no payee".into()))?,
            subject: Digest::of_parts("purser/escrow-call/1", &[self.plan.identity.as_slice()]),
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

/// What is asked for, with the signatures that the escrow wants.
fn call_of(request: &FacilitatorRequest) -> Result<ChannelCall, Refusal> {
    let (payload, required) = (&request.payment_payload, &request.payment_requirements);
    if payload.x402_version != X402_VERSION {
        let found = payload.x402_version;
        return Err(Refusal::new(Reason::InvalidX402Version, "x402Version", X402_VERSION, found));
    }
    if payload.accepted.scheme != SCHEME {
        return Err(Refusal::new(Reason::BatchScheme, "accepted.scheme", SCHEME, &payload.accepted.scheme));
    }
    if payload.accepted.network != required.network {
        let (expected, found) = (&required.network, &payload.accepted.network);
        return Err(Refusal::new(Reason::BatchNetworkMismatch, "accepted.network", expected, found));
    }
    let unsigned = |field| {
        let expected = "the signature of the receiver's authorizer, who is nobody here";
        Refusal::new(Reason::BatchAuthorizerNotConfigured, field, expected, "none")
    };
    match Message::read(&payload.payload)? {
        Message::Claim { claims, signature } => {
            let signature = signature.ok_or_else(|| unsigned("payload.claimAuthorizerSignature"))?;
            Ok(ChannelCall::Claim { claims, signature })
        }
        Message::Settle(sweep) => Ok(ChannelCall::Settle(sweep)),
        Message::CompletedRefund(refund) => {
            let signature = refund.signature.ok_or_else(|| unsigned("payload.refundAuthorizerSignature"))?;
            let claim_signature = match refund.claim_signature {
                None if !refund.claims.is_empty() => return Err(unsigned("payload.claimAuthorizerSignature")),
                found => found.unwrap_or_default(),
            };
            Ok(ChannelCall::Refund(RefundCall {
                channel: refund.voucher.channel,
                amount: refund.amount,
                nonce: refund.nonce,
                signature,
                claims: refund.claims,
                claim_signature,
            }))
        }
        Message::Deposit { .. } | Message::Voucher(_) | Message::Refund { .. } => {
            let expected = "claim, settle, or a refund that whoever is paid completed";
            Err(Refusal::new(Reason::BatchPayloadType, "payload.type", expected, "another"))
        }
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
        let Some(key) = self.place_of_call(tenant, &plan).await? else {
            let (expected, found) = (format!("at most {ATTEMPTS_MAX} tries of one call"), "one more");
            return Ok(refused(&Refusal::new(plan.reasons().1, "payload", expected, found)));
        };
        let identity = service(tenant, "facilitator")?;
        let work = Work { identity, role: &role, plan: &plan, key, network: self.network, wait };
        self.make(&work).await
    }

    /// For whom, in which money, on which chain.
    fn check_call(
        &self,
        role: &FacilitatorRole,
        request: &FacilitatorRequest,
        call: ChannelCall,
    ) -> Result<ChannelCall, Refusal> {
        let network = &request.payment_requirements.network;
        if *network != self.network.to_string() {
            return Err(Refusal::new(Reason::BatchNetworkMismatch, "network", self.network, network));
        }
        let check = |receiver, token| {
            check_payee(role, receiver)?;
            let trusted = self.assets.find(self.network, token).map(|_| ());
            trusted.ok_or_else(|| Refusal::new(Reason::AssetUnknown, "asset", "an asset of the trusted table", token))
        };
        if let ChannelCall::Settle(sweep) = &call {
            check(sweep.receiver, sweep.token)?;
        }
        channels_of(&call).try_for_each(|channel| check(channel.receiver, channel.token))?;
        Ok(call)
    }

    async fn screen_call(&self, call: &ChannelCall) -> Result<Result<(), Refusal>, EngineError> {
        for claim in call.claims() {
            if let Err(refusal) = self.screen_channel(&claim.channel, claim.total_claimed).await? {
                return Ok(Err(refusal));
            }
        }
        match call {
            ChannelCall::Refund(refund) => self.screen_channel(&refund.channel, refund.amount).await,
            ChannelCall::Settle(sweep) => self.screen_between(ESCROW, sweep.receiver, sweep.token, Amount::ZERO).await,
            ChannelCall::Claim { .. } | ChannelCall::Deposit(_) => Ok(Ok(())),
        }
    }

    /// What it would do now.
    async fn plan(&self, tenant: &TenantId, call: ChannelCall) -> Result<Result<Planned, Refusal>, EngineError> {
        let network = self.network;
        let named = |settled| {
            let identity = call.identity(network, settled);
            identity.ok_or_else(|| EngineError::Broken("a deposit is no call of a payee's".into()))
        };
        let planned = match &call {
            ChannelCall::Settle(sweep) => {
                let state = self.chain.receiver(sweep.receiver, sweep.token).await?;
                if state.due().is_zero() {
                    let expected = "something claimed and not settled";
                    return Ok(Err(Refusal::new(Reason::BatchNothingToSettle, "payload.receiver", expected, "0")));
                }
                let identity = named(state.total_settled)?;
                let (token, to, amount) = (sweep.token, sweep.receiver, state.due());
                Plan { kind: CallKind::Settle, token, to, amount, identity, call }
            }
            ChannelCall::Claim { claims, .. } => {
                let ids: Vec<B256> = claims.iter().map(|claim| claim.channel.id(network)).collect();
                let states = self.chain.channels(&ids).await?;
                let moved = claims
                    .iter()
                    .zip(&states)
                    .map(|(claim, state)| claim.total_claimed.checked_sub(state.total_claimed).unwrap_or(Amount::ZERO));
                let amount = moved.fold(0_u128, |sum, more| sum.saturating_add(more.get()));
                let first = claims.first().map(|claim| (claim.channel.token, claim.channel.receiver));
                let Some((token, to)) = first.filter(|_| amount > 0) else { return Ok(Ok(Planned::Done)) };
                let identity = named(Amount::ZERO)?;
                Plan { kind: CallKind::Claim, token, to, amount: Amount::new(amount), identity, call }
            }
            ChannelCall::Refund(refund) => {
                let identity = named(Amount::ZERO)?;
                let (token, to) = (refund.channel.token, refund.channel.payer);
                let mut plan =
                    Plan { kind: CallKind::Refund, token, to, amount: refund.amount, identity, call: call.clone() };
                // What is under way, or over, is not judged by what the escrow has now.
                let begun = match self.place_of_call(tenant, &plan).await? {
                    Some(key) => self.store.settlement(tenant, &key).await?,
                    None => None,
                };
                if begun.is_none_or(|begun| begun.state == SettlementState::Abandoned) {
                    match self.refundable(refund).await? {
                        Ok(amount) => plan.amount = amount,
                        Err(refusal) => return Ok(Err(refusal)),
                    }
                }
                plan
            }
            ChannelCall::Deposit(_) => return Err(EngineError::Broken("a deposit is no call of a payee's".into())),
        };
        Ok(Ok(Planned::Call(Box::new(planned))))
    }

    async fn refundable(&self, refund: &RefundCall) -> Result<Result<Amount, Refusal>, EngineError> {
        let id = refund.channel.id(self.network);
        let state = self.chain.channel(id, At::Latest).await?;
        if refund.nonce != state.refund_nonce {
            let (field, expected) = ("payload.refundNonce", state.refund_nonce);
            return Ok(Err(Refusal::new(Reason::BatchRefundSimulation, field, expected, refund.nonce)));
        }
        let own = refund.claims.iter().filter(|claim| claim.channel == refund.channel);
        let claimed = own.map(|claim| claim.total_claimed).max().unwrap_or(Amount::ZERO);
        let amount = state.refundable(refund.amount, claimed);
        if amount.is_zero() {
            let expected = "something that was not claimed";
            return Ok(Err(Refusal::new(Reason::BatchRefundNoBalance, "payload.amount", expected, "0")));
        }
        Ok(Ok(amount))
    }

    /// The name under which this call is made, or was; `None` where it came to nothing too often.
    async fn place_of_call(&self, tenant: &TenantId, plan: &Plan) -> Result<Option<SettlementKey>, EngineError> {
        for attempt in 0..ATTEMPTS_MAX {
            let authorization = book::authorization(&ClaimKey {
                space: NonceSpace::Escrow(plan.kind),
                network: self.network,
                token: plan.token,
                payer: ESCROW,
                nonce: record(plan.identity, attempt),
            })?;
            let key = SettlementKey { role: Role::Facilitator, authorization };
            let found = self.store.settlement(tenant, &key).await?;
            if found.is_none_or(|found| found.state != SettlementState::Failed) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    async fn make(&self, work: &Work<'_>) -> Result<SettleResponse, EngineError> {
        let tenant = &work.identity.tenant;
        let claim = work.claim(self.finalized_lately().await?)?;
        let answer = match self.run(&work.identity, Command::Claim(Box::new(claim)), Vec::new()).await {
            // Nothing was begun, and nothing will be.
            Err(EngineError::Book(rejection @ Rejection::Stopped { .. })) => {
                return Ok(work.failed(Reason::InvalidPaymentRequirements, rejection.to_string(), ""));
            }
            other => other?,
        };
        let claimed = answer.settlement.as_ref().is_some_and(|found| found.state == SettlementState::Claimed);
        // Read again in hand: whoever had it before may have sent it since.
        if (answer.freshness == Freshness::New || claimed)
            && let Some(_in_hand) = self.desk.take(tenant, &work.key)
            && self.carried(tenant, &work.key).await?.state == SettlementState::Claimed
            && let Some(refused) = self.begin(work).await?
        {
            return Ok(refused);
        }
        let settlement = self.watch(&work.identity, &work.key, work.wait).await?;
        self.answer_call(work, &settlement).await
    }

    /// Claimed by us, nothing sent. The answer, where nothing will be.
    async fn begin(&self, work: &Work<'_>) -> Result<Option<SettleResponse>, EngineError> {
        let tenant = &work.identity.tenant;
        let relayers: Vec<_> = work.role.relayers().collect();
        let turn = self.desk.turn(tenant, relayers.iter().map(|relayer| relayer.address()));
        let relayer = relayers.get(turn.place()).copied().unwrap_or(&work.role.relayer);
        let abandon = || {
            let command = Command::Abandon { settlement: work.key.clone() };
            self.run(&work.identity, command, Vec::new())
        };
        match self.chain.simulate_channel(&work.plan.call, relayer.address()).await {
            Ok(()) => {}
            Err(ChainError::Reverted { reason, .. }) => {
                abandon().await?;
                let message = format!("the escrow refuses it: {reason}");
                return Ok(Some(work.failed(work.plan.reasons().0, message, "")));
            }
            Err(error) => {
                abandon().await?;
                return Err(error.into());
            }
        }
        let call = SettlementCall::Channel(Box::new(work.plan.call.clone()));
        match self.prepare(&work.identity, &work.key, call, relayer.as_ref()).await {
            Ok(settlement) => self.send(&work.identity, &settlement, 0).await,
            Err(error) => {
                abandon().await?;
                return Err(error);
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
            CallKind::Settle | CallKind::Refund => {
                moved.unwrap_or_else(|| U256::from(settlement.money.amount.get())).to_string()
            }
        });
        if let ChannelCall::Refund(refund) = &work.plan.call {
            self.show_channel(&mut response, refund.channel.id(self.network)).await;
        }
        Ok(response)
    }
}

/// Every channel that it touches.
fn channels_of(call: &ChannelCall) -> impl Iterator<Item = &Channel> {
    let own = match call {
        ChannelCall::Refund(refund) => Some(&refund.channel),
        _ => None,
    };
    call.claims().iter().map(|claim| &claim.channel).chain(own)
}
