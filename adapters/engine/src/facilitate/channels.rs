//! Scheme `batch-settlement`: what payers sign for their channels. A deposit is carried as any authorization is; a voucher moves
//! nothing, so it is looked at alone.

use std::time::Duration;

use alloy_primitives::B256;
use ledger::id::TenantId;
use ledger::money::Amount;
use serde_json::{Map, Value};
use x402::batch_settlement::{Bound, Message, check_voucher, spelled};
use x402::chain::At;
use x402::exact::OnChainError;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::wire::{FacilitatorRequest, SettleResponse, VerifyResponse};

use super::Repeater;
use super::carriage::check_payee;
use crate::Engine;
use crate::error::EngineError;
use crate::tenant::FacilitatorRole;

/// The channel of a deposit; `None` of everything else.
fn deposited(request: &FacilitatorRequest) -> Option<B256> {
    match Message::read(&request.payment_payload.payload) {
        Ok(Message::Deposit { voucher, .. }) => Some(voucher.channel_id),
        _ => None,
    }
}

fn is_deposit(request: &FacilitatorRequest) -> bool {
    request.payment_payload.payload.get("type").and_then(Value::as_str) == Some("deposit")
}

/// The names that this scheme has for reasons of others.
fn respelled(code: Option<String>) -> Option<String> {
    code.map(|code| code.parse().map_or(code, |reason: Reason| spelled(reason).as_str().to_owned()))
}

impl Engine {
    pub(super) async fn verify_channel(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
    ) -> Result<VerifyResponse, EngineError> {
        if !is_deposit(request) {
            return self.verify_voucher(tenant, request).await;
        }
        let mut response = self.verify_payment(tenant, request).await?;
        response.invalid_reason = respelled(response.invalid_reason);
        if response.is_valid
            && let Some(channel) = deposited(request)
        {
            let shown = self.chain.channel(channel, At::Latest).await?.shown(channel);
            response.unknown.insert("extra".to_owned(), Value::Object(shown));
        }
        Ok(response)
    }

    async fn verify_voucher(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
    ) -> Result<VerifyResponse, EngineError> {
        let role = self.facilitator_role(tenant)?;
        let (payload, requirements) = (&request.payment_payload, &request.payment_requirements);
        let bound = match check_voucher(payload, requirements, &self.assets) {
            Ok(bound) => bound,
            Err(refusal) => {
                let reason = spelled(refusal.reason);
                return Ok(VerifyResponse::invalid(reason, refusal.to_string(), None));
            }
        };
        let payer = bound.voucher.channel.payer.to_string();
        match self.judge_voucher(&role, &bound).await? {
            Ok(shown) => {
                let mut response = VerifyResponse::valid(payer);
                response.unknown.insert("extra".to_owned(), Value::Object(shown));
                Ok(response)
            }
            Err(refusal) => Ok(VerifyResponse::invalid(spelled(refusal.reason), refusal.to_string(), Some(payer))),
        }
    }

    /// Who is paid, then who signed, then what the escrow has. The channel as it is shown.
    async fn judge_voucher(
        &self,
        role: &FacilitatorRole,
        bound: &Bound,
    ) -> Result<Result<Map<String, Value>, Refusal>, EngineError> {
        let terms = &bound.terms;
        if terms.network != self.network {
            return Ok(Err(Refusal::new(Reason::BatchNetworkMismatch, "network", self.network, terms.network)));
        }
        if let Err(refusal) = check_payee(role, terms.pay_to) {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = self.screen_channel(&bound.voucher.channel, terms.amount).await? {
            return Ok(Err(refusal));
        }
        match bound.prove(self.chain.as_ref()).await {
            Ok(()) => {}
            Err(OnChainError::Refused(refusal)) => return Ok(Err(refusal)),
            Err(OnChainError::Chain(error)) => return Err(error.into()),
        }
        let channel = bound.channel_id();
        let state = self.chain.channel(channel, At::Latest).await?;
        let judged = state.check(bound.kind, bound.voucher.max_claimable, Amount::ZERO);
        Ok(judged.map(|()| state.shown(channel)))
    }

    pub(super) async fn settle_channel(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        repeater: Repeater,
        wait: Duration,
    ) -> Result<SettleResponse, EngineError> {
        if !is_deposit(request) {
            return self.settle_call(tenant, request, wait).await;
        }
        let mut response = self.settle_payment(tenant, request, repeater, wait).await?;
        response.error_reason = respelled(response.error_reason);
        if response.success
            && let Some(channel) = deposited(request)
        {
            self.show_channel(&mut response, channel).await;
        }
        Ok(response)
    }

    /// The money is there, whether or not the node answers now.
    pub(super) async fn show_channel(&self, response: &mut SettleResponse, channel: B256) {
        match self.chain.channel(channel, At::Latest).await {
            Ok(state) => {
                let shown = Value::Object(state.shown(channel));
                response.extra.get_or_insert_default().insert("channelState".to_owned(), shown);
            }
            Err(error) => tracing::warn!("a channel is not shown: {error}"),
        }
    }
}
