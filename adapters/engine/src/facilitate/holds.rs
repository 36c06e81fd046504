//! Scheme `auth-capture`: what is held is carried as any authorization is; what is to become of it the payee asks for, and the
//! escrow takes from its operator alone, which is one of our accounts.
//!
//! Nothing on the chain checks who asked, so it is checked here, each time, before anything else is looked at: the terms are
//! those that the payer signed, and the payee's own authorizer signed exactly what is to be done, for what the escrow has now.

use std::time::Duration;

use alloy_primitives::{Address, B256, keccak256};
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::rejection::Rejection;
use x402::auth_capture::{
    ChargeRequest, Deployment, ESCROW, EscrowTerms, Kind, Request, is_request, record_of, spelled,
};
use x402::batch_settlement::CallKind;
use x402::chain::{At, ChainError, SettlementCall};
use x402::exact::{OnChainError, Terms, Transfer};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::wire::{FacilitatorRequest, SettleResponse, VerifyResponse};

use super::Repeater;
use super::carriage::{check_payee, claimed_payer};
use super::plans::{ATTEMPTS_MAX, Plan};
use crate::Engine;
use crate::error::EngineError;
use crate::tenant::FacilitatorRole;

/// The names that this scheme has for reasons of others.
fn respelled(code: Option<String>) -> Option<String> {
    code.map(|code| code.parse().map_or(code, |reason: Reason| spelled(reason).as_str().to_owned()))
}

fn refused(request: &FacilitatorRequest, payer: Option<String>, refusal: &Refusal) -> SettleResponse {
    let network = request.payment_requirements.network.clone();
    SettleResponse::failed(spelled(refusal.reason), refusal.to_string(), payer, "", network)
}

/// The operator is ours, and the escrow one that is called.
pub(super) fn check_operator(role: &FacilitatorRole, escrow: &EscrowTerms) -> Result<(), Refusal> {
    if escrow.deployment != Deployment::V1_0 {
        let (field, found) = ("extra.authCaptureEscrow", escrow.deployment.escrow());
        return Err(Refusal::new(Reason::CaptureExtra, field, format!("{ESCROW}, which is version 1.0"), found));
    }
    let operator = escrow.capture_authorizer;
    if role.relayers().any(|relayer| relayer.address() == operator) {
        return Ok(());
    }
    let (reason, field) = (Reason::CaptureOperatorNotAdmitted, "extra.captureAuthorizer");
    Err(Refusal::new(reason, field, role.relayer.address(), operator))
}

/// What there is one call of: one capture for what the escrow has of a payment, whatever it is about.
fn identity_of(request: &Request) -> B256 {
    let payment = request.payment();
    match request.kind {
        Kind::Capture(capture) => {
            let [held, taken] =
                [capture.expected_capturable, capture.expected_refundable].map(|n| n.get().to_be_bytes());
            keccak256([payment.as_slice(), b"capture", &held, &taken].concat())
        }
        Kind::Void => keccak256([payment.as_slice(), b"void"].concat()),
    }
}

fn plan_of(request: &Request) -> Plan {
    let info = request.info;
    let (kind, to, amount) = match request.kind {
        Kind::Capture(capture) => (CallKind::Capture, info.receiver, capture.amount),
        // How much that is the escrow says when it is made.
        Kind::Void => (CallKind::Void, info.payer, Amount::new(info.max_amount.saturating_to())),
    };
    Plan {
        call: SettlementCall::Escrow(Box::new(request.call())),
        kind,
        escrow: ESCROW,
        sender: Some(info.operator),
        payer: Some(info.payer),
        token: info.token,
        to,
        amount,
        identity: identity_of(request),
        subject: record_of(request.terms.network, &request.kind, &info),
        attempts_max: ATTEMPTS_MAX,
    }
}

impl Engine {
    pub(super) async fn verify_hold(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
    ) -> Result<VerifyResponse, EngineError> {
        if !is_request(&request.payment_payload) {
            let mut response = self.verify_payment(tenant, request).await?;
            response.invalid_reason = respelled(response.invalid_reason);
            return Ok(response);
        }
        let role = self.facilitator_role(tenant)?;
        let judged = match self.judge_request(&role, request).await? {
            Ok(asked) => self.judge_now(tenant, &role, &asked).await?.map(|_| asked.info.payer),
            Err(refusal) => Err(refusal),
        };
        Ok(match judged {
            Ok(payer) => VerifyResponse::valid(payer.to_string()),
            Err(refusal) => VerifyResponse::invalid(spelled(refusal.reason), refusal.to_string(), None),
        })
    }

    pub(super) async fn settle_hold(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        repeater: Repeater,
        wait: Duration,
    ) -> Result<SettleResponse, EngineError> {
        if !is_request(&request.payment_payload) {
            return self.settle_payer(tenant, request, repeater, wait).await;
        }
        let role = self.facilitator_role(tenant)?;
        let refused =
            |payer: Option<Address>, refusal: &Refusal| refused(request, payer.map(|payer| payer.to_string()), refusal);
        let asked = match self.judge_request(&role, request).await? {
            Ok(asked) => asked,
            Err(refusal) => return Ok(refused(None, &refusal)),
        };
        let payer = Some(asked.info.payer);
        let plan = match self.judge_now(tenant, &role, &asked).await? {
            Ok(plan) => plan,
            Err(refusal) => return Ok(refused(payer, &refusal)),
        };
        let response = self.make_planned(tenant, &role, &plan, wait).await?;
        let Some(rest) = asked.then().filter(|_| response.success) else { return Ok(response) };
        // The capture is made. What is left may be gone meanwhile: then there is nothing to give back.
        let given_back = match self.judge_now(tenant, &role, &rest).await? {
            Ok(plan) => self.make_planned(tenant, &role, &plan, wait).await?,
            Err(refusal) if refusal.reason == Reason::CaptureZeroAuthorization => return Ok(response),
            Err(refusal) => refused(payer, &refusal),
        };
        Ok(if given_back.success { response } else { given_back })
    }

    /// What a payer signed: held, or charged as the payee's authorizer signed beside it.
    async fn settle_payer(
        &self,
        tenant: &TenantId,
        request: &FacilitatorRequest,
        repeater: Repeater,
        wait: Duration,
    ) -> Result<SettleResponse, EngineError> {
        let charge = match ChargeRequest::read(&request.payment_payload, &request.payment_requirements) {
            Ok(charge) => charge,
            Err(refusal) => return Ok(refused(request, claimed_payer(request), &refusal)),
        };
        if let Some(charge) = &charge {
            match charge.prove(self.chain.as_ref()).await {
                Ok(()) => {}
                Err(OnChainError::Refused(refusal)) => {
                    return Ok(refused(request, claimed_payer(request), &refusal));
                }
                Err(OnChainError::Chain(error)) => return Err(error.into()),
            }
        }
        let mut response = match self.settle_payment(tenant, request, repeater, wait).await {
            Err(EngineError::Book(rejection @ Rejection::PaymentUsedForOtherResource { .. })) => {
                let (field, expected) = ("payload.amount", "the charge that was asked for first");
                let refusal = Refusal::new(Reason::CaptureAlreadyCollected, field, expected, rejection);
                return Ok(refused(request, claimed_payer(request), &refusal));
            }
            other => other?,
        };
        response.error_reason = respelled(response.error_reason);
        if let Some(charge) = charge.filter(|_| response.success) {
            response.amount = Some(charge.taken.amount.to_string());
        }
        Ok(response)
    }

    /// Everything that does not depend on what the escrow has: the terms, who operates, who is paid, who signed.
    async fn judge_request(
        &self,
        role: &FacilitatorRole,
        request: &FacilitatorRequest,
    ) -> Result<Result<Request, Refusal>, EngineError> {
        let (payload, required) = (&request.payment_payload, &request.payment_requirements);
        let checked = Request::check(payload, required, &self.assets, self.now_seconds())
            .and_then(|asked| self.check_terms_of_hold(role, &asked.terms).map(|()| asked));
        let asked = match checked {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match asked.prove(self.chain.as_ref()).await {
            Ok(()) => Ok(Ok(asked)),
            Err(OnChainError::Refused(refusal)) => Ok(Err(refusal)),
            Err(OnChainError::Chain(error)) => Err(error.into()),
        }
    }

    fn check_terms_of_hold(&self, role: &FacilitatorRole, terms: &Terms) -> Result<(), Refusal> {
        if terms.network != self.network {
            return Err(Refusal::new(Reason::CaptureNetworkMismatch, "network", self.network, terms.network));
        }
        if let Transfer::Escrow(escrow) = &terms.transfer {
            check_operator(role, escrow)?;
        }
        check_payee(role, terms.pay_to)
    }

    /// Beside what the escrow has now. What is under way, or over, is not judged by that.
    async fn judge_now(
        &self,
        tenant: &TenantId,
        role: &FacilitatorRole,
        asked: &Request,
    ) -> Result<Result<Plan, Refusal>, EngineError> {
        let mut plan = plan_of(asked);
        if self.is_begun(tenant, &plan).await? {
            return Ok(Ok(plan));
        }
        if plan.kind == CallKind::Capture {
            let info = &asked.info;
            let screened = self.screen_between(info.payer, info.receiver, info.token, plan.amount).await?;
            if let Err(refusal) = screened {
                return Ok(Err(refusal));
            }
        }
        match asked.check_state(&self.chain.escrowed(asked.payment(), At::Latest).await?) {
            Ok(amount) => plan.amount = amount,
            Err(refusal) => return Ok(Err(refusal)),
        }
        match self.try_call(&plan.call, role).await {
            Ok(()) => Ok(Ok(plan)),
            Err(ChainError::Reverted { reason, data }) => {
                let known = x402::auth_capture::refused_by_escrow(&data).unwrap_or(Reason::CaptureSimulation);
                Ok(Err(Refusal::new(known, "payload", "what the escrow takes", reason)))
            }
            Err(error) => Err(error.into()),
        }
    }
}
