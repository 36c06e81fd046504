//! Invalid payments first. What the official client made is the valid one that each is made from.

mod charges;
mod official;
mod requests;

use alloy_primitives::{Address, B256, U256, address};
use serde_json::{Value, json};

use super::*;
use crate::exact::{Checked, Signed, WalletKey};
use crate::fixture;
use crate::network::AssetTable;
use crate::refusal::Refusal;
use crate::scheme;
use crate::settlement::NonceSpace;
use crate::wire::{PaymentPayload, PaymentRequirements};

const SIGNED_AT: u64 = 1_795_491_392;
const AUTHORIZER: [u8; 32] = [7; 32];

fn requirements() -> PaymentRequirements {
    serde_json::from_value(fixture::others()["authCaptureRequirements"].clone()).unwrap()
}

fn recorded() -> PaymentPayload {
    let mut payload = fixture::others()["authCapturePayload"].clone();
    payload["accepted"] = json!(requirements());
    serde_json::from_value(payload).unwrap()
}

fn judged(payload: &PaymentPayload, required: &PaymentRequirements, now: u64) -> Result<Checked, Refusal> {
    scheme::check(payload, required, &AssetTable::trusted(), now)
}

fn reason(payload: &PaymentPayload, required: &PaymentRequirements, now: u64) -> Reason {
    judged(payload, required, now).unwrap_err().reason
}

/// As a seller of ours asks for it: version 1.0, bound to an authorizer.
fn bound_requirements() -> PaymentRequirements {
    let mut required = requirements();
    let authorizer = WalletKey::from_bytes(&AUTHORIZER).unwrap().address();
    let extra = required.extra.as_mut().unwrap();
    extra.insert("authCaptureEscrow".into(), json!(ESCROW.to_string()));
    extra.insert("receiverAuthorizer".into(), json!(authorizer.to_string()));
    required
}

/// Signed by a payer with the terms that it accepts.
fn paid(required: &PaymentRequirements) -> PaymentPayload {
    let payer = WalletKey::from_bytes(&[1; 32]).unwrap();
    let terms = terms(required).unwrap();
    let crate::exact::Transfer::Escrow(escrow) = terms.transfer else { panic!("held") };
    let salt_nonce = B256::repeat_byte(9);
    let salt = bound_salt(escrow.receiver_authorizer, salt_nonce);
    let until = SIGNED_AT + 60;
    let info = escrow.info(&terms, payer.address(), alloy_primitives::aliases::U48::from(until), salt);
    let authorization = json!({
        "from": payer.address().to_string(), "to": escrow.deployment.eip3009_collector().to_string(),
        "value": required.amount, "validAfter": "0", "validBefore": until.to_string(),
        "nonce": info.nonce(terms.network, escrow.deployment.escrow()).to_string(),
    });
    let mut payload = recorded();
    payload.accepted = required.clone();
    payload.payload = json!({
        "authorization": authorization, "signature": "0x", "salt": B256::from(salt).to_string(),
        "saltNonce": salt_nonce.to_string(),
    })
    .as_object()
    .unwrap()
    .clone();
    let signed = Signed::Escrowed(read_payment(&payload, &terms).unwrap());
    payload.payload["signature"] = json!(payer.sign(signed.digest(&terms)).unwrap().to_text());
    payload
}

fn with(payload: &PaymentPayload, pointer: &str, value: Value) -> PaymentPayload {
    let mut fields = Value::Object(payload.payload.clone());
    match fields.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => fields[pointer.trim_start_matches('/')] = value,
    }
    PaymentPayload { payload: fields.as_object().unwrap().clone(), ..payload.clone() }
}

#[test]
fn a_payment_of_the_official_client_is_what_it_says() {
    let checked = judged(&recorded(), &requirements(), SIGNED_AT).unwrap();
    let Checked::ByKey(payment) = checked else { panic!("by a key") };
    assert_eq!(payment.payer(), address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"));
    let expected = payment.expected();
    assert_eq!((expected.to, expected.key.space), (Deployment::V1_1.eip3009_collector(), NonceSpace::Eip3009));
    let payment = judged(&paid(&bound_requirements()), &bound_requirements(), SIGNED_AT).unwrap().by_key().unwrap();
    let crate::chain::SettlementCall::Escrow(call) = payment.call() else { panic!("a call of the escrow") };
    assert_eq!(call.sender(), address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"));
}

/// Whoever changes a word of the terms has another payment, which nobody signed.
#[test]
fn every_term_is_in_the_nonce() {
    let other = json!("0x90F79bf6EB2c4f870365E785982E1f101E93b906");
    for (field, value) in [
        ("captureAuthorizer", other.clone()),
        ("feeRecipient", other.clone()),
        ("captureDeadline", json!(4_102_444_801_u64)),
        ("refundDeadline", json!(4_102_531_201_u64)),
        ("minFeeBps", json!(1)),
        ("maxFeeBps", json!(999)),
    ] {
        let mut required = requirements();
        required.extra.as_mut().unwrap().insert(field.into(), value);
        let payload = PaymentPayload { accepted: required.clone(), ..recorded() };
        assert_eq!(reason(&payload, &required, SIGNED_AT), Reason::CaptureNonceMismatch, "{field}");
    }
    let mut required = requirements();
    required.pay_to = other.as_str().unwrap().to_owned();
    let payload = PaymentPayload { accepted: required.clone(), ..recorded() };
    assert_eq!(reason(&payload, &required, SIGNED_AT), Reason::CaptureNonceMismatch);
    let salted = with(&recorded(), "/salt", json!(B256::repeat_byte(1).to_string()));
    assert_eq!(reason(&salted, &requirements(), SIGNED_AT), Reason::CaptureNonceMismatch);
    let mut bound = bound_requirements();
    bound.extra.as_mut().unwrap().insert("receiverAuthorizer".into(), other);
    let payload = PaymentPayload { accepted: bound.clone(), ..paid(&bound_requirements()) };
    assert_eq!(reason(&payload, &bound, SIGNED_AT), Reason::CaptureSaltBinding);
}

#[test]
fn a_tampered_payload_is_refused_by_name() {
    let (required, good) = (bound_requirements(), paid(&bound_requirements()));
    let other = json!("0x90F79bf6EB2c4f870365E785982E1f101E93b906");
    for (pointer, value, expected) in [
        ("/authorization/to", other.clone(), Reason::CaptureCollectorMismatch),
        (
            "/authorization/to",
            json!(Deployment::V1_1.eip3009_collector().to_string()),
            Reason::CaptureCollectorMismatch,
        ),
        ("/authorization/from", other, Reason::CaptureSignature),
        ("/authorization/value", json!("1000001"), Reason::CaptureAmountMismatch),
        ("/authorization/value", json!("999999"), Reason::CaptureAmountMismatch),
        ("/authorization/value", json!("0x10"), Reason::CapturePayloadFormat),
        ("/authorization/validAfter", json!("1"), Reason::CapturePayloadFormat),
        ("/authorization/validAfter", json!((SIGNED_AT + 1).to_string()), Reason::CaptureNotYetValid),
        ("/authorization/validBefore", json!((SIGNED_AT + 59).to_string()), Reason::CaptureNonceMismatch),
        ("/authorization/validBefore", json!((SIGNED_AT + 6).to_string()), Reason::CaptureAuthorizationExpired),
        ("/authorization/validBefore", json!((SIGNED_AT + 121).to_string()), Reason::CaptureDeadlineOrdering),
        ("/authorization/validBefore", json!("4102444801"), Reason::CaptureDeadlineOrdering),
        ("/authorization/validBefore", json!(U256::MAX.to_string()), Reason::CapturePayloadFormat),
        ("/authorization/nonce", json!(B256::ZERO.to_string()), Reason::CaptureNonceMismatch),
        ("/signature", json!("0x00"), Reason::CaptureSignature),
        ("/salt", json!("0x1"), Reason::CapturePayloadFormat),
        ("/salt", Value::Null, Reason::CapturePayloadFormat),
        ("/saltNonce", Value::Null, Reason::CapturePayloadFormat),
        ("/saltNonce", json!(B256::ZERO.to_string()), Reason::CaptureSaltBinding),
        ("/amount", json!("1"), Reason::CapturePayloadFormat),
        ("/type", json!("capture"), Reason::CapturePayloadFormat),
        ("/permit2Authorization", json!({}), Reason::CapturePayloadMethod),
    ] {
        let payload = with(&good, pointer, value.clone());
        let found = judged(&payload, &required, SIGNED_AT).and_then(Checked::by_key).unwrap_err();
        assert_eq!(spelled(found.reason), expected, "{pointer} {value}: {found}");
    }
    let unbound = with(&recorded(), "/saltNonce", json!(B256::ZERO.to_string()));
    assert_eq!(reason(&unbound, &requirements(), SIGNED_AT), Reason::CapturePayloadFormat);
}

#[test]
fn terms_that_cannot_hold_are_refused_by_name() {
    let expected = |field: &str, value: Value, expected: Reason| {
        let mut required = bound_requirements();
        required.extra.as_mut().unwrap().insert(field.into(), value.clone());
        let payload = PaymentPayload { accepted: required.clone(), ..paid(&bound_requirements()) };
        assert_eq!(reason(&payload, &required, SIGNED_AT), expected, "{field} {value}");
    };
    let zero = json!(Address::ZERO.to_string());
    for (field, value) in [
        ("captureAuthorizer", Value::Null),
        ("captureAuthorizer", zero.clone()),
        ("captureAuthorizer", json!("0x12")),
        ("authCaptureEscrow", json!(EIP3009_COLLECTOR.to_string())),
        ("authCaptureEscrow", json!(7)),
        ("receiverAuthorizer", json!("nobody")),
        ("captureDeadline", json!("4102444800")),
        ("captureDeadline", json!(1_u64 << 48)),
        ("refundDeadline", Value::Null),
        ("feeRecipient", Value::Null),
        ("feeRecipient", zero.clone()),
        ("minFeeBps", json!(1001)),
        ("maxFeeBps", json!(10_001)),
        ("maxFeeBps", json!(-1)),
    ] {
        expected(field, value, Reason::CaptureExtra);
    }
    expected("paymentFlow", json!("upfront"), Reason::CapturePaymentFlow);
    let mut unsigned = requirements();
    unsigned.extra.as_mut().unwrap().insert("paymentFlow".into(), json!("authorization"));
    assert_eq!(terms(&unsigned).unwrap_err().reason, Reason::CaptureMissingAuthorizer);
    expected("autoCapture", json!(true), Reason::CapturePaymentFlow);
    expected("operatorType", json!("custom"), Reason::CaptureOperatorType);
    expected("policy", json!(ESCROW.to_string()), Reason::CapturePolicy);
    expected("assetTransferMethod", json!("permit2"), Reason::CaptureTransferMethod);
    expected("refundDeadline", json!(4_102_444_799_u64), Reason::CaptureDeadlineOrdering);
    expected("captureDeadline", json!(SIGNED_AT + 6), Reason::CaptureDeadlineExpired);
    expected("captureDeadline", json!(SIGNED_AT + 59), Reason::CaptureDeadlineOrdering);
    let mut required = bound_requirements();
    required.amount = (1_u128 << 120).to_string();
    assert_eq!(terms(&required).unwrap_err().reason, Reason::CaptureAmountOverflow);
    required.amount = ((1_u128 << 120) - 1).to_string();
    assert!(terms(&required).is_ok());
}

/// The selectors are those of the published contract.
#[test]
fn the_escrows_refusals_have_names() {
    for (data, expected) in [
        (&[][..], None),
        (&[0x4d, 0xd0, 0x04][..], None),
        (&[0, 0, 0, 0][..], None),
        (&alloy_primitives::keccak256("ZeroAmount()")[..4], Some(Reason::CaptureAmountMismatch)),
        (&alloy_primitives::keccak256("PaymentAlreadyCollected(bytes32)")[..4], Some(Reason::CaptureAlreadyCollected)),
        (&alloy_primitives::keccak256("InvalidSender(address,address)")[..4], Some(Reason::CaptureOperatorMismatch)),
    ] {
        assert_eq!(refused_by_escrow(data), expected);
    }
}
