//! Stateless verification of a payment that goes into the escrow: cheap checks first, the signature last.

use alloy_primitives::aliases::U48;
use alloy_primitives::{Address, B256, U256};
use serde_json::{Map, Value};

use super::{EscrowTerms, FRAME, Flow, PaymentInfo, bound_salt, terms};
use crate::exact::{Authorization, Checked, Signed, Terms, Transfer, Unsigned, check_accepted, read_authorization};
use crate::limit::SETTLEMENT_MARGIN_SECONDS;
use crate::network::AssetTable;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scheme::check_frame;
use crate::value::{self, Amount};
use crate::wire::{ExactEvmPayload, PaymentPayload, PaymentRequirements};

/// What a payer signed, and what it may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escrowed {
    /// To the collector; its nonce is that of `info` in a payment that was checked.
    pub authorization: Authorization,
    pub info: PaymentInfo,
    /// Of a charge: what the payee takes. Not signed by the payer, who signed the most.
    pub taken: Option<Taken>,
}

/// What a payee takes at once of what was signed for, and the fee of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub amount: Amount,
    pub fee_bps: u16,
    pub fee_receiver: Address,
}

impl Taken {
    /// Within what the payer signed for.
    pub(super) fn check(&self, info: &PaymentInfo) -> Result<(), Refusal> {
        let most = U256::from(info.max_amount);
        if U256::from(self.amount.get()) > most {
            let expected = format!("at most {most}");
            return Err(Refusal::new(Reason::CaptureAmountMismatch, "payload.amount", expected, self.amount));
        }
        self.check_fee(info)
    }

    /// The same without the most, which may have shrunk since.
    pub(super) fn check_fee(&self, info: &PaymentInfo) -> Result<(), Refusal> {
        if self.amount.is_zero() {
            return Err(Refusal::new(Reason::CaptureAmountMismatch, "payload.amount", "more than zero", "0"));
        }
        if !(info.min_fee_bps..=info.max_fee_bps).contains(&self.fee_bps) {
            let expected = format!("{} to {}", info.min_fee_bps, info.max_fee_bps);
            return Err(Refusal::new(Reason::CaptureFeeRange, "payload.feeBps", expected, self.fee_bps));
        }
        let field = "payload.feeReceiver";
        if self.fee_bps > 0 && self.fee_receiver.is_zero() {
            let expected = "an address other than zero, where there is a fee";
            return Err(Refusal::new(Reason::CaptureZeroFeeReceiver, field, expected, self.fee_receiver));
        }
        if !info.fee_receiver.is_zero() && self.fee_receiver != info.fee_receiver {
            return Err(Refusal::new(Reason::CaptureFeeReceiver, field, info.fee_receiver, self.fee_receiver));
        }
        Ok(())
    }
}

struct Read {
    escrowed: Escrowed,
    salt_nonce: Option<B256>,
    signature: String,
}

/// What a payee adds to a payment that is to be charged.
const COMPLETION: [&str; 4] = ["amount", "feeBps", "feeReceiver", "authorizerSignature"];

/// Checks a payment at `now` (Unix seconds).
pub fn check_payment(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<Checked, Refusal> {
    check_frame(payload, requirements, super::SCHEME, FRAME)?;
    let terms = terms(requirements)?;
    terms.trusted_asset(assets)?;
    let escrow = of(&terms)?;
    let Read { escrowed, salt_nonce, signature } = read(payload, &terms, escrow)?;
    check_window(&escrowed.authorization, &terms, escrow, now)?;
    check_authorization(&escrowed, &terms, escrow)?;
    check_salt(escrow, &escrowed.info, salt_nonce)?;
    escrowed.taken.map_or(Ok(()), |taken| taken.check(&escrowed.info))?;
    check_accepted(&payload.accepted, requirements)?;
    let charged = escrowed.authorization.value;
    Unsigned { terms, signed: Signed::Escrowed(escrowed), charged, sponsored: None }
        .with(&signature, Reason::CaptureSignature)
}

/// What a payer claims to have signed. For answers and look-ups; nothing is decided by it.
pub fn read_payment(payload: &PaymentPayload, terms: &Terms) -> Result<Escrowed, Refusal> {
    Ok(read(payload, terms, of(terms)?)?.escrowed)
}

pub(super) fn of(terms: &Terms) -> Result<&EscrowTerms, Refusal> {
    match &terms.transfer {
        Transfer::Escrow(escrow) => Ok(escrow),
        _ => Err(Refusal::new(Reason::CaptureScheme, "scheme", super::SCHEME, "another")),
    }
}

fn read(payload: &PaymentPayload, terms: &Terms, escrow: &EscrowTerms) -> Result<Read, Refusal> {
    let fields = &payload.payload;
    if fields.contains_key("permit2Authorization") {
        let (reason, expected) = (Reason::CapturePayloadMethod, "an EIP-3009 authorization");
        return Err(Refusal::new(reason, "payload", expected, "permit2Authorization"));
    }
    let malformed = |field, expected: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        Refusal::new(Reason::CapturePayloadFormat, field, expected, found)
    };
    // What completes a charge has no place in what is held.
    let completion = COMPLETION.iter().filter(|_| escrow.flow == Flow::Escrow);
    for field in ["type", "feeAmount"].iter().chain(completion).copied() {
        if let Some(found) = fields.get(field) {
            return Err(malformed(
                "payload",
                &"authorization, signature, salt and saltNonce",
                &format!("{field}: {found}"),
            ));
        }
    }
    let wire: ExactEvmPayload = serde_json::from_value(Value::Object(fields.clone()))
        .map_err(|error| malformed("payload", &"signature, authorization and salt", &error))?;
    let word = |name: &str, field| match fields.get(name).filter(|found| !found.is_null()) {
        None => Ok(None),
        Some(found) => {
            let read = found.as_str().and_then(|text| value::bytes32(text).ok());
            read.map(Some).ok_or_else(|| malformed(field, &"`0x` and 64 hexadecimal digits", found))
        }
    };
    let (salt, salt_nonce) = (word("salt", "payload.salt")?, word("saltNonce", "payload.saltNonce")?);
    let salt = salt.ok_or_else(|| malformed("payload.salt", &"`0x` and 64 hexadecimal digits", &"none"))?;
    let authorization = read_authorization(&wire.authorization)
        .map_err(|refusal| Refusal { reason: Reason::CapturePayloadFormat, ..refusal })?;
    let valid_before = U48::checked_from_limbs_slice(authorization.valid_before.as_limbs()).ok_or_else(|| {
        malformed("payload.authorization.validBefore", &"at most 2^48 - 1", &authorization.valid_before)
    })?;
    let info = escrow.info(terms, authorization.from, valid_before, U256::from_be_bytes(salt.0));
    let taken = match escrow.flow {
        Flow::Escrow => None,
        Flow::Authorization => Some(read_taken(fields, terms, escrow)?),
    };
    Ok(Read { escrowed: Escrowed { authorization, info, taken }, salt_nonce, signature: wire.signature })
}

/// What is taken: as the payee says, or, before it says anything, all of it at the least fee.
fn read_taken(fields: &Map<String, Value>, terms: &Terms, escrow: &EscrowTerms) -> Result<Taken, Refusal> {
    if !is_completed(fields) {
        let (amount, fee_bps, fee_receiver) = (terms.amount, escrow.min_fee_bps, escrow.fee_recipient);
        return Ok(Taken { amount, fee_bps, fee_receiver });
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        amount: String,
        fee_bps: u16,
        fee_receiver: String,
    }
    let malformed = |field, expected: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        Refusal::new(Reason::CapturePayloadFormat, field, expected, found)
    };
    let wire: Wire = serde_json::from_value(Value::Object(fields.clone()))
        .map_err(|error| malformed("payload", &"amount, feeBps, feeReceiver and authorizerSignature", &error))?;
    Ok(Taken {
        amount: wire.amount.parse().map_err(|error| malformed("payload.amount", &error, &wire.amount))?,
        fee_bps: wire.fee_bps,
        fee_receiver: value::address(&wire.fee_receiver)
            .map_err(|error| malformed("payload.feeReceiver", &error, &wire.fee_receiver))?,
    })
}

/// Whether the payee added anything; it adds all or nothing.
pub(super) fn is_completed(fields: &Map<String, Value>) -> bool {
    COMPLETION.iter().any(|name| fields.get(*name).is_some_and(|value| !value.is_null()))
}

/// `now + maxTimeoutSeconds <= captureDeadline <= refundDeadline`, and what is signed lies within.
fn check_window(authorization: &Authorization, terms: &Terms, escrow: &EscrowTerms, now: u64) -> Result<(), Refusal> {
    let (capture, refund) = (escrow.capture_deadline.to::<u64>(), escrow.refund_deadline.to::<u64>());
    let soon = now.saturating_add(SETTLEMENT_MARGIN_SECONDS);
    if capture <= soon {
        let (reason, expected) = (Reason::CaptureDeadlineExpired, format!("after {soon}"));
        return Err(Refusal::new(reason, "extra.captureDeadline", expected, capture));
    }
    let ordering = Reason::CaptureDeadlineOrdering;
    if refund < capture {
        let expected = format!("at least the captureDeadline of {capture}");
        return Err(Refusal::new(ordering, "extra.refundDeadline", expected, refund));
    }
    let signable = now.saturating_add(terms.max_timeout_seconds);
    if signable > capture {
        let expected = format!("at least {signable}, when what is signed now ends");
        return Err(Refusal::new(ordering, "extra.captureDeadline", expected, capture));
    }
    let (field, until) = ("payload.authorization.validBefore", authorization.valid_before);
    if until <= U256::from(soon) {
        let expected = format!("after {soon}");
        return Err(Refusal::new(Reason::CaptureAuthorizationExpired, field, expected, until));
    }
    if until > U256::from(capture) {
        let expected = format!("at most the captureDeadline of {capture}");
        return Err(Refusal::new(ordering, field, expected, until));
    }
    let latest = signable.saturating_add(crate::limit::CLOCK_SKEW_SECONDS);
    if until > U256::from(latest) {
        return Err(Refusal::new(ordering, field, format!("at most {latest}"), until));
    }
    if authorization.valid_after > U256::from(now) {
        let (field, expected) = ("payload.authorization.validAfter", format!("at most {now}"));
        return Err(Refusal::new(Reason::CaptureNotYetValid, field, expected, authorization.valid_after));
    }
    Ok(())
}

fn check_authorization(escrowed: &Escrowed, terms: &Terms, escrow: &EscrowTerms) -> Result<(), Refusal> {
    let Escrowed { authorization, info, .. } = escrowed;
    // The collector takes no other, so the signature over another is none.
    if !authorization.valid_after.is_zero() {
        let field = "payload.authorization.validAfter";
        return Err(Refusal::new(Reason::CapturePayloadFormat, field, "0", authorization.valid_after));
    }
    let collector = escrow.deployment.eip3009_collector();
    if authorization.to != collector {
        let (reason, field) = (Reason::CaptureCollectorMismatch, "payload.authorization.to");
        return Err(Refusal::new(reason, field, collector, authorization.to));
    }
    if authorization.value != terms.value() {
        let (reason, field) = (Reason::CaptureAmountMismatch, "payload.authorization.value");
        return Err(Refusal::new(reason, field, terms.value(), authorization.value));
    }
    let nonce = info.nonce(terms.network, escrow.deployment.escrow());
    if authorization.nonce != nonce {
        let (reason, field) = (Reason::CaptureNonceMismatch, "payload.authorization.nonce");
        return Err(Refusal::new(reason, field, nonce, authorization.nonce));
    }
    Ok(())
}

fn check_salt(escrow: &EscrowTerms, info: &PaymentInfo, salt_nonce: Option<B256>) -> Result<(), Refusal> {
    let field = "payload.saltNonce";
    match (escrow.receiver_authorizer.is_zero(), salt_nonce) {
        (true, None) => Ok(()),
        (true, Some(found)) => {
            let expected = "none, where the terms name no receiverAuthorizer";
            Err(Refusal::new(Reason::CapturePayloadFormat, field, expected, found))
        }
        (false, None) => {
            let expected = "what the salt was made from, where the terms name a receiverAuthorizer";
            Err(Refusal::new(Reason::CapturePayloadFormat, field, expected, "none"))
        }
        (false, Some(nonce)) => check_binding(escrow, info, nonce, "payload.salt"),
    }
}

/// The salt is that of this authorizer: nobody else's word counts for the payment.
pub(super) fn check_binding(
    escrow: &EscrowTerms,
    info: &PaymentInfo,
    salt_nonce: B256,
    field: &'static str,
) -> Result<(), Refusal> {
    let bound = bound_salt(escrow.receiver_authorizer, salt_nonce);
    if info.salt != bound {
        let [expected, found] = [bound, info.salt].map(B256::from);
        return Err(Refusal::new(Reason::CaptureSaltBinding, field, expected, found));
    }
    Ok(())
}
