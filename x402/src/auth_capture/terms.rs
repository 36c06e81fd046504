//! What a seller requires of a payment that goes into the escrow.

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::{Address, U256};
use serde_json::Value;

use super::{Deployment, PaymentInfo, SCHEME};
use crate::exact::{Terms, Transfer};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::settlement::NonceSpace;
use crate::value;
use crate::wire::PaymentRequirements;

/// Ten thousand basis points are the whole.
const FEE_BPS_MAX: u16 = 10_000;

/// What a payment comes to when it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// All of it is held, and captured or given back later.
    Escrow,
    /// It is captured at once, or a part of it, and nothing is held.
    Authorization,
}

impl Flow {
    /// The value of `extra.paymentFlow`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Escrow => "escrow",
            Self::Authorization => "authorization",
        }
    }

    pub const fn nonce_space(self) -> NonceSpace {
        match self {
            Self::Escrow => NonceSpace::Held,
            Self::Authorization => NonceSpace::Charged,
        }
    }
}

/// The values of `extra`. Times are Unix seconds, fees basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscrowTerms {
    pub deployment: Deployment,
    pub flow: Flow,
    /// The operator: who alone may capture and void.
    pub capture_authorizer: Address,
    /// Whose signature captures and voids take; zero where nobody's, and then the operator takes nobody's word for them.
    pub receiver_authorizer: Address,
    pub capture_deadline: U48,
    pub refund_deadline: U48,
    pub fee_recipient: Address,
    pub min_fee_bps: u16,
    pub max_fee_bps: u16,
}

/// What a requirement of this scheme says.
pub fn terms(requirements: &PaymentRequirements) -> Result<Terms, Refusal> {
    if requirements.scheme != SCHEME {
        return Err(Refusal::new(Reason::CaptureScheme, "scheme", SCHEME, &requirements.scheme));
    }
    let terms = Terms::read_values(requirements, |requirements| read(requirements).map(Transfer::Escrow))?;
    if U120::checked_from_limbs_slice(terms.value().as_limbs()).is_none() {
        let (expected, found) = ("at most 2^120 - 1, which is what the escrow counts", terms.amount);
        return Err(Refusal::new(Reason::CaptureAmountOverflow, "amount", expected, found));
    }
    Ok(terms)
}

fn read(requirements: &PaymentRequirements) -> Result<EscrowTerms, Refusal> {
    let flow = flow(requirements)?;
    check_operator_type(requirements)?;
    check_method(requirements)?;
    let extra = Extra(requirements);
    let found = EscrowTerms {
        deployment: extra.deployment()?,
        flow,
        capture_authorizer: extra.party("captureAuthorizer", "extra.captureAuthorizer")?,
        receiver_authorizer: extra.optional_address("receiverAuthorizer", "extra.receiverAuthorizer")?,
        capture_deadline: extra.deadline("captureDeadline", "extra.captureDeadline")?,
        refund_deadline: extra.deadline("refundDeadline", "extra.refundDeadline")?,
        fee_recipient: extra.address("feeRecipient", "extra.feeRecipient")?,
        min_fee_bps: extra.fee("minFeeBps", "extra.minFeeBps")?,
        max_fee_bps: extra.fee("maxFeeBps", "extra.maxFeeBps")?,
    };
    let policy = extra.optional_address("policy", "extra.policy")?;
    if !policy.is_zero() {
        let expected = "none, with an operator that is the facilitator";
        return Err(Refusal::new(Reason::CapturePolicy, "extra.policy", expected, policy));
    }
    if flow == Flow::Authorization && found.receiver_authorizer.is_zero() {
        let (reason, field) = (Reason::CaptureMissingAuthorizer, "extra.receiverAuthorizer");
        return Err(Refusal::new(reason, field, "the address that signs charges", "none"));
    }
    found.check_fees()?;
    Ok(found)
}

impl EscrowTerms {
    fn check_fees(&self) -> Result<(), Refusal> {
        if self.min_fee_bps > self.max_fee_bps {
            let expected = format!("at least the minFeeBps of {}", self.min_fee_bps);
            return Err(Refusal::new(Reason::CaptureExtra, "extra.maxFeeBps", expected, self.max_fee_bps));
        }
        // Whoever submits could name themselves.
        if self.fee_recipient.is_zero() && self.max_fee_bps > 0 {
            let expected = "an address other than zero, where there is a fee";
            return Err(Refusal::new(Reason::CaptureExtra, "extra.feeRecipient", expected, self.fee_recipient));
        }
        Ok(())
    }

    /// What the escrow is told of a payment under these terms.
    pub(crate) fn info(&self, terms: &Terms, payer: Address, valid_before: U48, salt: U256) -> PaymentInfo {
        PaymentInfo {
            operator: self.capture_authorizer,
            payer,
            receiver: terms.pay_to,
            token: terms.token,
            max_amount: U120::saturating_from(terms.value()),
            pre_approval_expiry: valid_before,
            authorization_expiry: self.capture_deadline,
            refund_expiry: self.refund_deadline,
            min_fee_bps: self.min_fee_bps,
            max_fee_bps: self.max_fee_bps,
            fee_receiver: self.fee_recipient,
            salt,
        }
    }
}

fn shown(found: Option<&Value>) -> String {
    found.map_or_else(|| "none".to_owned(), Value::to_string)
}

fn flow(requirements: &PaymentRequirements) -> Result<Flow, Refusal> {
    let reason = Reason::CapturePaymentFlow;
    if let Some(found) = requirements.extra_field("autoCapture").filter(|found| **found != Value::Bool(false)) {
        return Err(Refusal::new(reason, "extra.autoCapture", "none, it is no more", found));
    }
    match requirements.extra_field("paymentFlow") {
        None => Ok(Flow::Escrow),
        Some(Value::String(flow)) if flow == "escrow" => Ok(Flow::Escrow),
        Some(Value::String(flow)) if flow == "authorization" => Ok(Flow::Authorization),
        found => Err(Refusal::new(reason, "extra.paymentFlow", "escrow, authorization or none", shown(found))),
    }
}

fn check_operator_type(requirements: &PaymentRequirements) -> Result<(), Refusal> {
    match requirements.extra_field("operatorType") {
        None => Ok(()),
        Some(Value::String(kind)) if kind == "delegated" => Ok(()),
        found => {
            let (reason, field) = (Reason::CaptureOperatorType, "extra.operatorType");
            Err(Refusal::new(reason, field, "delegated or none", shown(found)))
        }
    }
}

fn check_method(requirements: &PaymentRequirements) -> Result<(), Refusal> {
    match requirements.extra_field("assetTransferMethod") {
        None => Ok(()),
        Some(Value::String(method)) if method == "eip3009" => Ok(()),
        found => {
            let (reason, field) = (Reason::CaptureTransferMethod, "extra.assetTransferMethod");
            Err(Refusal::new(reason, field, "eip3009 or none", shown(found)))
        }
    }
}

struct Extra<'a>(&'a PaymentRequirements);

impl Extra<'_> {
    fn refused(field: &'static str, expected: impl std::fmt::Display, found: Option<&Value>) -> Refusal {
        Refusal::new(Reason::CaptureExtra, field, expected, shown(found))
    }

    fn deployment(&self) -> Result<Deployment, Refusal> {
        let found = self.0.extra_field("authCaptureEscrow");
        let Some(named) = found else { return Ok(Deployment::V1_1) };
        let named = named.as_str().and_then(|text| value::address(text).ok());
        let known = Deployment::ALL.into_iter().find(|known| Some(known.escrow()) == named);
        known.ok_or_else(|| {
            let expected = "one of the two escrows that the specification names";
            Self::refused("extra.authCaptureEscrow", expected, found)
        })
    }

    fn address(&self, name: &str, field: &'static str) -> Result<Address, Refusal> {
        let found = self.0.extra_field(name);
        let read = found.and_then(Value::as_str).and_then(|text| value::address(text).ok());
        read.ok_or_else(|| Self::refused(field, "an address", found))
    }

    fn party(&self, name: &str, field: &'static str) -> Result<Address, Refusal> {
        let address = self.address(name, field)?;
        if address.is_zero() {
            return Err(Self::refused(field, "an address other than zero", self.0.extra_field(name)));
        }
        Ok(address)
    }

    /// Left out it is the zero address.
    fn optional_address(&self, name: &str, field: &'static str) -> Result<Address, Refusal> {
        if self.0.extra_field(name).is_none() { Ok(Address::ZERO) } else { self.address(name, field) }
    }

    fn deadline(&self, name: &str, field: &'static str) -> Result<U48, Refusal> {
        let found = self.0.extra_field(name);
        let read = found.and_then(Value::as_u64).and_then(|seconds| U48::try_from(seconds).ok());
        read.ok_or_else(|| Self::refused(field, "Unix seconds, at most 2^48 - 1", found))
    }

    fn fee(&self, name: &str, field: &'static str) -> Result<u16, Refusal> {
        let found = self.0.extra_field(name);
        let read = found.and_then(Value::as_u64).and_then(|bps| u16::try_from(bps).ok());
        read.filter(|bps| *bps <= FEE_BPS_MAX)
            .ok_or_else(|| Self::refused(field, format!("0 to {FEE_BPS_MAX} basis points"), found))
    }
}
