//! One settle on its way, and the answers that it can be given.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use ledger::command::ClaimSettlement;
use ledger::id::{Digest, TenantId};
use ledger::settlement::{Named, Settlement, SettlementKey};
use ledger::store::Document;
use ledger::transfer::Money;
use serde_json::{Map, json};
use x402::auth_capture::Escrowed;
use x402::chain::Relayer;
use x402::exact::{Signed, Transfer, VerifiedPayment};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::scheme;
use x402::wire::{FacilitatorRequest, SettleResponse};

use super::holds::check_operator;
use crate::error::EngineError;
use crate::tenant::{AllowedPayees, FacilitatorRole};
use crate::{Engine, Identity, book};

/// How far back a used nonce is looked for: an authorization lives minutes, a block a second or more.
pub(super) const LOOK_BACK_BLOCKS: u64 = 7_200;

/// Who repeats a settle: somebody we can tell apart gets the stored success again, as often as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeater {
    Anonymous,
    /// Authenticated, or with an idempotency key or payment identifier.
    Recognized,
}

/// One settle on its way.
pub(super) struct Carriage<'a> {
    pub identity: Identity,
    pub role: &'a FacilitatorRole,
    pub payment: VerifiedPayment,
    pub key: SettlementKey,
    pub wait: Duration,
}

impl Carriage<'_> {
    pub fn payer(&self) -> String {
        self.payment.payer().to_string()
    }

    pub fn claim(&self, since_block: u64, named: Option<Named>) -> Result<ClaimSettlement, EngineError> {
        let (expected, terms) = (self.payment.expected(), self.payment.terms());
        let pay_to = book::text(expected.to);
        Ok(ClaimSettlement {
            key: self.key.clone(),
            // A charge of nothing claims what is permitted: that is what the permit could still move elsewhere.
            money: Money {
                asset: book::asset_id(terms.network, terms.token)?,
                amount: if expected.value.is_zero() { terms.amount } else { book::amount(expected.value)? },
            },
            payee: pay_to.parse().map_err(|_| EngineError::Broken("an address is no payee".into()))?,
            subject: self.subject(&pay_to, expected.value),
            pay_to,
            valid_before: i64::try_from(expected.valid_before).unwrap_or(i64::MAX),
            since_block,
            cover: None,
            credit: None,
            named,
            order: None,
        })
    }

    /// What is to be done: of a charge what is taken of it is part of that.
    fn subject(&self, pay_to: &str, value: U256) -> Digest {
        let value = value.to_be_bytes::<32>();
        let (pay_to, value) = (pay_to.as_bytes(), value.as_slice());
        let Signed::Escrowed(Escrowed { taken: Some(taken), .. }) = self.payment.signed() else {
            return Digest::of_parts("purser/carriage/1", &[pay_to, value]);
        };
        let (amount, fee) = (taken.amount.get().to_be_bytes(), taken.fee_bps.to_be_bytes());
        let parts = [pay_to, value, amount.as_slice(), fee.as_slice(), taken.fee_receiver.as_slice()];
        Digest::of_parts("purser/carriage/1", &parts)
    }

    pub fn failed(&self, reason: Reason, message: impl Into<String>, transaction: impl Into<String>) -> SettleResponse {
        let network = self.key.authorization.chain();
        SettleResponse::failed(reason, message, Some(self.payer()), transaction, network)
    }

    pub fn refused(&self, refusal: &Refusal) -> SettleResponse {
        self.failed(refusal.reason, refusal.to_string(), "")
    }

    pub fn settled(&self, settlement: &Settlement) -> SettleResponse {
        let transaction = settlement.transaction.as_ref().map_or("", |reference| reference.as_str());
        let mut response = SettleResponse::settled(self.payer(), transaction, self.key.authorization.chain());
        response.amount = Some(settlement.money.amount.to_string());
        response
    }

    /// Of a charge of nothing: a success without a transaction.
    pub fn settled_nothing(&self) -> SettleResponse {
        let mut response = SettleResponse::settled(self.payer(), "", self.key.authorization.chain());
        response.amount = Some("0".to_owned());
        response
    }

    pub fn pending(&self, settlement: &Settlement) -> SettleResponse {
        let transaction = settlement.transaction.as_ref().map_or("", |reference| reference.as_str());
        let message = "sent and not yet known to be in a block; ask again with the same payload, never pay again";
        self.failed(Reason::SettlementPending, message, transaction)
    }

    /// What goes before it is sent, and in no block yet.
    pub fn approving(&self, transaction: B256) -> SettleResponse {
        let message =
            "what goes before it is sent and in no block yet; ask again with the same payload, never pay again";
        self.failed(Reason::SettlementPending, message, format!("{transaction:#x}"))
    }

    /// The payer's own transaction that is sent for it, to be on record before it is.
    pub fn approval(&self) -> Option<Document> {
        let approval = self.payment.approval()?;
        Some(Document { kind: "settlement-approval".into(), bytes: approval.raw.to_vec() })
    }

    pub fn given_up(&self) -> SettleResponse {
        let message = "the first settle of this payment gave up before anything moved; present it again";
        self.failed(Reason::UnexpectedSettleError, message, "")
    }

    pub fn used(&self, transaction: &str) -> SettleResponse {
        let message = format!("expected an authorization that was not used; this one was, in {transaction}");
        let reason = match self.payment.signed() {
            Signed::Eip3009(_) | Signed::Deposit(_) | Signed::Escrowed(_) => Reason::NonceAlreadyUsed,
            Signed::Permit2(_) => Reason::Permit2NonceUsed,
        };
        let mut response = self.failed(reason, message, "");
        response.extra = Some(Map::from_iter([("transaction".to_owned(), json!(transaction))]));
        response
    }
}

/// What is on its way, or arrived, whose payer's contract does not call it its own any more: no refusal, because whoever
/// sells would give the payment back.
pub(super) fn denied(known: &Settlement, refusal: &Refusal) -> SettleResponse {
    let authorization = &known.key.authorization;
    let transaction = known.transaction.as_ref().map_or("", |reference| reference.as_str());
    let (payer, network) = (Some(book::payer(authorization)), authorization.chain());
    if known.state.is_open() {
        let message = format!("under way all the same: {refusal}");
        return SettleResponse::failed(Reason::SettlementPending, message, payer, transaction, network);
    }
    let reason = match authorization.nonce_space() {
        None => Reason::NonceAlreadyUsed,
        Some(_) => Reason::Permit2NonceUsed,
    };
    let mut response = SettleResponse::failed(reason, format!("settled all the same: {refusal}"), payer, "", network);
    response.extra = Some(Map::from_iter([("transaction".to_owned(), json!(transaction))]));
    response
}

/// For the answer only; nothing is decided by it.
pub(super) fn claimed_payer(request: &FacilitatorRequest) -> Option<String> {
    scheme::claimed_payer(&request.payment_payload, &request.payment_requirements).map(|payer| payer.to_string())
}

/// The accounts that may settle it: with `upto` and `auth-capture` the one that its payer named, else any.
pub(super) fn able_to_settle<'a>(role: &'a FacilitatorRole, payment: &VerifiedPayment) -> Vec<&'a Arc<dyn Relayer>> {
    let named = match payment.terms().transfer {
        Transfer::Upto { facilitator } => Some(facilitator),
        Transfer::Escrow(escrow) => Some(escrow.capture_authorizer),
        Transfer::Eip3009 | Transfer::Permit2 | Transfer::Channel { .. } => None,
    };
    role.relayers().filter(|relayer| named.is_none_or(|named| relayer.address() == named)).collect()
}

/// As whom a settlement is tried out.
pub(super) fn settler<'a>(role: &'a FacilitatorRole, payment: &VerifiedPayment) -> &'a dyn Relayer {
    able_to_settle(role, payment).first().copied().unwrap_or(&role.relayer).as_ref()
}

/// The payee, how long it may take, and with `upto` the one account that may settle: it must be ours.
fn check_terms(role: &FacilitatorRole, payment: &VerifiedPayment) -> Result<(), Refusal> {
    if let Transfer::Upto { facilitator } = payment.terms().transfer
        && able_to_settle(role, payment).is_empty()
    {
        let (field, expected) = ("extra.facilitatorAddress", role.relayer.address());
        return Err(Refusal::new(Reason::UptoFacilitator, field, expected, facilitator));
    }
    if let Transfer::Escrow(escrow) = &payment.terms().transfer {
        check_operator(role, escrow)?;
    }
    let (most, found) = (role.timeout_seconds_max, payment.terms().max_timeout_seconds);
    if found > most {
        let expected = format!("at most {most} seconds");
        return Err(Refusal::new(Reason::InvalidPaymentRequirements, "maxTimeoutSeconds", expected, found));
    }
    check_payee(role, payment.terms().pay_to)
}

/// An open relay would pay gas for anyone.
pub(super) fn check_payee(role: &FacilitatorRole, pay_to: Address) -> Result<(), Refusal> {
    let pay_to = book::text(pay_to);
    match &role.payees {
        AllowedPayees::Anyone => Ok(()),
        AllowedPayees::Listed(listed) if listed.contains(&pay_to) => Ok(()),
        AllowedPayees::Listed(_) => {
            let expected = "a payee that this facilitator carries for";
            Err(Refusal::new(Reason::InvalidPaymentRequirements, "payTo", expected, pay_to))
        }
    }
}

impl Engine {
    pub(crate) fn facilitator_role(&self, tenant: &TenantId) -> Result<FacilitatorRole, EngineError> {
        self.tenant(tenant)?.facilitator.clone().ok_or(EngineError::NotConfigured("facilitator"))
    }

    /// Who is paid must be known here, and nobody barred.
    pub(super) async fn check_parties(
        &self,
        tenant: &TenantId,
        role: &FacilitatorRole,
        payment: &VerifiedPayment,
    ) -> Result<Result<(), Refusal>, EngineError> {
        match check_terms(role, payment) {
            Ok(()) => self.screen_carriage(tenant, payment).await,
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}
