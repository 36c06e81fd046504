//! What a payee has the facilitator do with a payment that the escrow holds, read strictly and checked as far as no chain
//! is needed.

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::{Address, B256, U256};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::charge::proved;
use super::check::{check_binding, of};
use super::{
    EscrowCall, EscrowState, EscrowTerms, FRAME, Flow, PaymentInfo, SCHEME, Taken, capture_digest, terms, void_digest,
};
use crate::chain::Chain;
use crate::exact::{OnChainError, Terms};
use crate::network::AssetTable;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scheme::check_frame;
use crate::value::{self, Amount};
use crate::wire::{PaymentPayload, PaymentRequirements};

/// Some of what is held, or all of it, for the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    pub amount: Amount,
    /// Basis points of it for [`Capture::fee_receiver`].
    pub fee_bps: u16,
    pub fee_receiver: Address,
    /// What the escrow has of the payment when it is captured.
    pub expected_capturable: Amount,
    pub expected_refundable: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Capture(Capture),
    Void,
}

/// Asked for by a payee, under the terms of the payment. Who signed it has to be asked: [`Request::prove`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub terms: Terms,
    pub escrow: EscrowTerms,
    pub info: PaymentInfo,
    pub kind: Kind,
    signature: String,
    /// With a capture: what is left goes back to the payer right after it.
    rest: Option<String>,
}

/// Whether it is no payment, but what is to become of one.
pub fn is_request(payload: &PaymentPayload) -> bool {
    payload.payload.contains_key("type")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireInfo {
    operator: String,
    payer: String,
    receiver: String,
    token: String,
    max_amount: String,
    pre_approval_expiry: u64,
    authorization_expiry: u64,
    refund_expiry: u64,
    min_fee_bps: u16,
    max_fee_bps: u16,
    fee_receiver: String,
    salt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRequest {
    payment_info: WireInfo,
    salt_nonce: String,
    #[serde(default)]
    authorizer_signature: Option<String>,
    #[serde(default)]
    void_authorizer_signature: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCapture {
    amount: String,
    fee_bps: u16,
    fee_receiver: String,
    expected_capturable_amount: String,
    expected_refundable_amount: String,
}

fn malformed(field: &'static str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::CapturePayloadFormat, field, expected, found)
}

fn shaped<T: serde::de::DeserializeOwned>(payload: &Map<String, Value>, expected: &str) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(payload.clone())).map_err(|error| malformed("payload", expected, error))
}

fn address(text: &str, field: &'static str) -> Result<Address, Refusal> {
    value::address(text).map_err(|error| malformed(field, error, text))
}

fn amount(text: &str, field: &'static str) -> Result<Amount, Refusal> {
    text.parse().map_err(|error| malformed(field, error, text))
}

impl Request {
    /// Checks what a payee asks for at `now` (Unix seconds), save for who signed it and for what the escrow has.
    pub fn check(
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
        assets: &AssetTable,
        now: u64,
    ) -> Result<Self, Refusal> {
        check_frame(payload, requirements, SCHEME, FRAME)?;
        let terms = terms(requirements)?;
        terms.trusted_asset(assets)?;
        let escrow = *of(&terms)?;
        let fields = &payload.payload;
        let kind = match fields.get("type").and_then(Value::as_str) {
            Some(kind @ ("capture" | "void" | "refund")) => kind,
            found => {
                let (expected, found) = ("capture, void or refund", found.unwrap_or("none"));
                return Err(Refusal::new(Reason::CapturePayloadType, "payload.type", expected, found));
            }
        };
        if kind != "refund" && escrow.flow == Flow::Authorization {
            let expected = "refund: nothing is held of what is charged at once";
            return Err(Refusal::new(Reason::CapturePayloadType, "payload.type", expected, kind));
        }
        if escrow.receiver_authorizer.is_zero() {
            let (reason, field) = (Reason::CaptureNotRelayed, "extra.receiverAuthorizer");
            return Err(Refusal::new(reason, field, "the address that signs captures and voids", "none"));
        }
        if kind == "refund" {
            let expected = "capture or void: refunds would come out of the facilitator's own money";
            return Err(Refusal::new(Reason::CaptureRefundFunding, "payload.type", expected, kind));
        }
        let wire: WireRequest = shaped(fields, "paymentInfo, saltNonce and authorizerSignature")?;
        let info = read_info(&wire.payment_info)?;
        check_info(&info, &terms, &escrow)?;
        let salt_nonce = value::bytes32(&wire.salt_nonce)
            .map_err(|error| malformed("payload.saltNonce", error, &wire.salt_nonce))?;
        check_binding(&escrow, &info, salt_nonce, "payload.paymentInfo.salt")?;
        let signature = wire.authorizer_signature.ok_or_else(|| {
            let (reason, field) = (Reason::CaptureUnsignedRequest, "payload.authorizerSignature");
            Refusal::new(reason, field, "the signature of the receiver's authorizer, who is nobody here", "none")
        })?;
        let rest = wire.void_authorizer_signature;
        let kind = if kind == "void" {
            if rest.is_some() {
                let (reason, field) = (Reason::CaptureVoidSignature, "payload.voidAuthorizerSignature");
                return Err(Refusal::new(reason, field, "none with a void", "one"));
            }
            Kind::Void
        } else {
            Kind::Capture(read_capture(fields, &info, now)?)
        };
        Ok(Self { terms, escrow, info, kind, signature, rest })
    }

    /// What the escrow calls the payment.
    pub fn payment(&self) -> B256 {
        self.info.hash(self.terms.network, self.escrow.deployment.escrow())
    }

    /// What was signed for it.
    pub fn digest(&self) -> B256 {
        let (network, operator) = (self.terms.network, self.info.operator);
        match &self.kind {
            Kind::Capture(capture) => capture_digest(network, operator, capture, self.payment()),
            Kind::Void => void_digest(network, operator, self.payment()),
        }
    }

    pub fn call(&self) -> EscrowCall {
        let info = self.info;
        match self.kind {
            Kind::Capture(Capture { amount, fee_bps, fee_receiver, .. }) => {
                EscrowCall::Capture { info, amount, fee_bps, fee_receiver }
            }
            Kind::Void => EscrowCall::Void { info },
        }
    }

    /// What is to be done once this is done.
    pub fn then(&self) -> Option<Self> {
        let signature = self.rest.clone()?;
        Some(Self { kind: Kind::Void, signature, rest: None, ..self.clone() })
    }

    /// Whether the receiver's authorizer signed it: by its key where it has no code, else by ERC-1271.
    pub async fn prove(&self, chain: &dyn Chain) -> Result<(), OnChainError> {
        let authorizer = self.escrow.receiver_authorizer;
        proved(chain, authorizer, &self.signature, self.digest(), Reason::CaptureAuthorizerSignature).await?;
        if let Some(rest) = &self.rest {
            let digest = void_digest(self.terms.network, self.info.operator, self.payment());
            proved(chain, authorizer, rest, digest, Reason::CaptureVoidSignature).await?;
        }
        Ok(())
    }

    /// Beside what the escrow has of the payment now. How much moves.
    pub fn check_state(&self, state: &EscrowState) -> Result<Amount, Refusal> {
        let Kind::Capture(capture) = &self.kind else {
            if state.capturable.is_zero() {
                let expected = "a payment of which something is held";
                return Err(Refusal::new(Reason::CaptureZeroAuthorization, "payload.paymentInfo", expected, "0"));
            }
            return Ok(state.capturable);
        };
        let expected = (capture.expected_capturable, capture.expected_refundable);
        if expected != (state.capturable, state.refundable) {
            let field = "payload.expectedCapturableAmount";
            let said = format!("{} and {}", capture.expected_capturable, capture.expected_refundable);
            let has = format!("{} and {}, which the escrow has", state.capturable, state.refundable);
            return Err(Refusal::new(Reason::CaptureUnexpectedState, field, has, said));
        }
        if capture.amount > state.capturable {
            let expected = format!("at most the {} that are held", state.capturable);
            return Err(Refusal::new(Reason::CaptureInsufficient, "payload.amount", expected, capture.amount));
        }
        if self.rest.is_some() && capture.amount == state.capturable {
            let expected =
                format!("less than the {} that are held, so that something is left to void", state.capturable);
            return Err(Refusal::new(Reason::CaptureNothingToVoid, "payload.amount", expected, capture.amount));
        }
        Ok(capture.amount)
    }
}

fn read_info(wire: &WireInfo) -> Result<PaymentInfo, Refusal> {
    let seconds =
        |seconds: u64, field| U48::try_from(seconds).map_err(|_| malformed(field, "at most 2^48 - 1", seconds));
    let max_amount = value::uint256(&wire.max_amount).ok();
    let max_amount = max_amount.and_then(|most| U120::checked_from_limbs_slice(most.as_limbs()));
    let salt = value::bytes32(&wire.salt).map_err(|error| malformed("payload.paymentInfo.salt", error, &wire.salt))?;
    Ok(PaymentInfo {
        operator: address(&wire.operator, "payload.paymentInfo.operator")?,
        payer: address(&wire.payer, "payload.paymentInfo.payer")?,
        receiver: address(&wire.receiver, "payload.paymentInfo.receiver")?,
        token: address(&wire.token, "payload.paymentInfo.token")?,
        max_amount: max_amount.ok_or_else(|| {
            malformed("payload.paymentInfo.maxAmount", "at most 2^120 - 1, in digits", &wire.max_amount)
        })?,
        pre_approval_expiry: seconds(wire.pre_approval_expiry, "payload.paymentInfo.preApprovalExpiry")?,
        authorization_expiry: seconds(wire.authorization_expiry, "payload.paymentInfo.authorizationExpiry")?,
        refund_expiry: seconds(wire.refund_expiry, "payload.paymentInfo.refundExpiry")?,
        min_fee_bps: wire.min_fee_bps,
        max_fee_bps: wire.max_fee_bps,
        fee_receiver: address(&wire.fee_receiver, "payload.paymentInfo.feeReceiver")?,
        salt: U256::from_be_bytes(salt.0),
    })
}

/// Everything that the payer did not choose is what the terms say.
fn check_info(info: &PaymentInfo, terms: &Terms, escrow: &EscrowTerms) -> Result<(), Refusal> {
    let required = escrow.info(terms, info.payer, info.pre_approval_expiry, info.salt);
    if info.operator != required.operator {
        let (reason, field) = (Reason::CaptureOperatorMismatch, "payload.paymentInfo.operator");
        return Err(Refusal::new(reason, field, required.operator, info.operator));
    }
    for (field, expected, found) in [
        ("payload.paymentInfo.receiver", required.receiver, info.receiver),
        ("payload.paymentInfo.token", required.token, info.token),
        ("payload.paymentInfo.feeReceiver", required.fee_receiver, info.fee_receiver),
    ] {
        if expected != found {
            return Err(malformed(field, expected, found));
        }
    }
    for (field, expected, found) in [
        ("payload.paymentInfo.maxAmount", U256::from(required.max_amount), U256::from(info.max_amount)),
        (
            "payload.paymentInfo.authorizationExpiry",
            U256::from(required.authorization_expiry),
            U256::from(info.authorization_expiry),
        ),
        ("payload.paymentInfo.refundExpiry", U256::from(required.refund_expiry), U256::from(info.refund_expiry)),
        ("payload.paymentInfo.minFeeBps", U256::from(required.min_fee_bps), U256::from(info.min_fee_bps)),
        ("payload.paymentInfo.maxFeeBps", U256::from(required.max_fee_bps), U256::from(info.max_fee_bps)),
    ] {
        if expected != found {
            return Err(malformed(field, expected, found));
        }
    }
    Ok(())
}

fn read_capture(fields: &Map<String, Value>, info: &PaymentInfo, now: u64) -> Result<Capture, Refusal> {
    let wire: WireCapture = shaped(fields, "amount, feeBps, feeReceiver and the balances that are expected")?;
    if let Some(found) = fields.get("feeAmount") {
        return Err(malformed("payload.feeAmount", "feeBps, which this escrow takes", found));
    }
    let capture = Capture {
        amount: amount(&wire.amount, "payload.amount")?,
        fee_bps: wire.fee_bps,
        fee_receiver: address(&wire.fee_receiver, "payload.feeReceiver")?,
        expected_capturable: amount(&wire.expected_capturable_amount, "payload.expectedCapturableAmount")?,
        expected_refundable: amount(&wire.expected_refundable_amount, "payload.expectedRefundableAmount")?,
    };
    let deadline = info.authorization_expiry.to::<u64>();
    if now >= deadline {
        let (reason, expected) = (Reason::CaptureDeadlineExpired, format!("before {deadline}"));
        return Err(Refusal::new(reason, "extra.captureDeadline", expected, now));
    }
    // Whether that much is held the escrow says.
    let taken = Taken { amount: capture.amount, fee_bps: capture.fee_bps, fee_receiver: capture.fee_receiver };
    taken.check_fee(info)?;
    Ok(capture)
}
