//! What a call of the escrow that a payee asks for would do, before anything is written or sent.

use alloy_primitives::{Address, B256};
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::settlement::{Role, SettlementKey, SettlementState};
use x402::batch_settlement::{CallKind, Channel, ChannelCall, ESCROW, FRAME, Message, RefundCall, SCHEME, record};
use x402::chain::{At, SettlementCall};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::scheme::check_frame;
use x402::settlement::{ClaimKey, NonceSpace};
use x402::wire::FacilitatorRequest;

use super::carriage::check_payee;
use crate::Engine;
use crate::book;
use crate::error::EngineError;
use crate::tenant::FacilitatorRole;

/// How often the same call may come to nothing.
pub(super) const ATTEMPTS_MAX: u32 = 100;

/// A call that is to be made.
pub(super) struct Plan {
    /// Of one of the escrows, and nothing else.
    pub call: SettlementCall,
    pub kind: CallKind,
    /// Which escrow that is.
    pub escrow: Address,
    /// Who alone can make it, where that is not anybody.
    pub sender: Option<Address>,
    /// On whose behalf money moves; `None` where nobody's does.
    pub payer: Option<Address>,
    pub token: Address,
    /// Who gets what it is for: the receiver, or the payer of a refund.
    pub to: Address,
    pub amount: Amount,
    /// What there is one call of.
    pub identity: B256,
    /// What exactly is asked for, where two could ask for different ones under one identity.
    pub subject: B256,
    /// How often it may come to nothing.
    pub attempts_max: u32,
}

/// What a request comes to before anything is written.
pub(super) enum Planned {
    Call(Box<Plan>),
    /// What is asked for is so already.
    Done,
}

impl Plan {
    pub(super) const fn reasons(&self) -> (Reason, Reason) {
        match self.kind {
            CallKind::Claim => (Reason::BatchClaimSimulation, Reason::BatchClaimFailed),
            CallKind::Settle => (Reason::BatchSettleSimulation, Reason::BatchSettleFailed),
            CallKind::Refund => (Reason::BatchRefundSimulation, Reason::BatchRefundFailed),
            CallKind::Capture | CallKind::Void | CallKind::Reclaim => {
                (Reason::CaptureSimulation, Reason::CaptureReverted)
            }
            CallKind::Withdraw | CallKind::Finalize => (Reason::BatchRefundSimulation, Reason::BatchRefundFailed),
        }
    }

    pub(super) fn payer(&self) -> Option<String> {
        self.payer.map(|payer| payer.to_string())
    }

    /// A call of the escrow of channels, which anybody can make who has the signatures.
    fn of_channel(
        kind: CallKind,
        (token, to, amount): (Address, Address, Amount),
        identity: B256,
        call: ChannelCall,
    ) -> Self {
        let (payer, call) = ((kind == CallKind::Refund).then_some(to), SettlementCall::Channel(Box::new(call)));
        let (escrow, sender, subject, attempts_max) = (ESCROW, None, identity, ATTEMPTS_MAX);
        Self { call, kind, escrow, sender, payer, token, to, amount, identity, subject, attempts_max }
    }
}

/// What is asked for, with the signatures that the escrow wants.
pub(super) fn call_of(request: &FacilitatorRequest) -> Result<ChannelCall, Refusal> {
    let (payload, required) = (&request.payment_payload, &request.payment_requirements);
    check_frame(payload, required, SCHEME, FRAME)?;
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
            let refund = *refund;
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
    /// For whom, in which money, on which chain.
    pub(super) fn check_call(
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

    pub(super) async fn screen_call(&self, call: &ChannelCall) -> Result<Result<(), Refusal>, EngineError> {
        for claim in call.claims() {
            if let Err(refusal) = self.screen_channel(&claim.channel, claim.total_claimed).await? {
                return Ok(Err(refusal));
            }
        }
        match call {
            ChannelCall::Refund(refund) => self.screen_channel(&refund.channel, refund.amount).await,
            ChannelCall::Settle(sweep) => self.screen_between(ESCROW, sweep.receiver, sweep.token, Amount::ZERO).await,
            ChannelCall::Claim { .. }
            | ChannelCall::Deposit(_)
            | ChannelCall::Withdraw { .. }
            | ChannelCall::Finalize { .. } => Ok(Ok(())),
        }
    }

    /// What it would do now.
    pub(super) async fn plan(
        &self,
        tenant: &TenantId,
        call: ChannelCall,
    ) -> Result<Result<Planned, Refusal>, EngineError> {
        let network = self.network;
        let named = |settled| {
            let identity = call.identity(network, settled);
            identity.ok_or_else(|| EngineError::Broken("a deposit is no call of a payee's".into()))
        };
        let planned = match &call {
            ChannelCall::Settle(sweep) => {
                let state = self.chain.receiver(sweep.receiver, sweep.token, At::Latest).await?;
                if state.due().is_zero() {
                    let expected = "something claimed and not settled";
                    return Ok(Err(Refusal::new(Reason::BatchNothingToSettle, "payload.receiver", expected, "0")));
                }
                let identity = named(state.total_settled)?;
                let moved = (sweep.token, sweep.receiver, state.due());
                Plan::of_channel(CallKind::Settle, moved, identity, call)
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
                let Some((token, to)) = first else { return Ok(Ok(Planned::Done)) };
                let identity = named(Amount::ZERO)?;
                let is_done = amount == 0;
                let amount = Amount::new(amount.max(1));
                let plan = Plan::of_channel(CallKind::Claim, (token, to, amount), identity, call.clone());
                if is_done && !self.is_begun(tenant, &plan).await? {
                    return Ok(Ok(Planned::Done));
                }
                plan
            }
            ChannelCall::Refund(refund) => {
                let identity = named(Amount::ZERO)?;
                let moved = (refund.channel.token, refund.channel.payer, refund.amount);
                let mut plan = Plan::of_channel(CallKind::Refund, moved, identity, call.clone());
                if !self.is_begun(tenant, &plan).await? {
                    match self.refundable(refund).await? {
                        Ok(amount) => plan.amount = amount,
                        Err(refusal) => return Ok(Err(refusal)),
                    }
                }
                plan
            }
            ChannelCall::Deposit(_) | ChannelCall::Withdraw { .. } | ChannelCall::Finalize { .. } => {
                return Err(EngineError::Broken("what a payer does is no call of a payee's".into()));
            }
        };
        Ok(Ok(Planned::Call(Box::new(planned))))
    }

    /// What is under way, or over, is not judged by what the escrow has now.
    pub(super) async fn is_begun(&self, tenant: &TenantId, plan: &Plan) -> Result<bool, EngineError> {
        let Some(key) = self.place_of_call(tenant, plan).await? else { return Ok(false) };
        let begun = self.store.settlement(tenant, &key).await?;
        Ok(begun.is_some_and(|begun| begun.state != SettlementState::Abandoned))
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

    pub(super) fn key_of_call(
        &self,
        kind: CallKind,
        (payer, token): (Address, Address),
        nonce: B256,
    ) -> Result<SettlementKey, EngineError> {
        let (space, network) = (NonceSpace::Escrow(kind), self.network);
        let authorization = book::authorization(&ClaimKey { space, network, token, payer, nonce })?;
        Ok(SettlementKey { role: Role::Facilitator, authorization })
    }

    /// The name under which this call is made, or was; `None` where it came to nothing too often.
    pub(super) async fn place_of_call(
        &self,
        tenant: &TenantId,
        plan: &Plan,
    ) -> Result<Option<SettlementKey>, EngineError> {
        for attempt in 0..plan.attempts_max {
            let key = self.key_of_call(plan.kind, (plan.escrow, plan.token), record(plan.identity, attempt))?;
            let found = self.store.settlement(tenant, &key).await?;
            if found.is_none_or(|found| found.state != SettlementState::Failed) {
                return Ok(Some(key));
            }
        }
        Ok(None)
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
