//! What is charged at once: within what the payer signed, and as the authorizer signed it.

use super::*;
use crate::chain::SettlementCall;
use crate::exact::OnChainError;
use crate::fixture::{Node, now_or_never};

fn required() -> PaymentRequirements {
    let mut required = bound_requirements();
    required.extra.as_mut().unwrap().insert("paymentFlow".into(), json!("authorization"));
    required
}

fn completed(amount: &str, fee_bps: u16) -> PaymentPayload {
    let mut payload = paid(&required());
    let fee_receiver = required().extra.unwrap()["feeRecipient"].clone();
    let completion =
        json!({ "amount": amount, "feeBps": fee_bps, "feeReceiver": fee_receiver, "authorizerSignature": "0x" });
    payload.payload.extend(completion.as_object().unwrap().clone());
    payload
}

fn signed_by(key: [u8; 32], payload: &PaymentPayload) -> PaymentPayload {
    let digest = ChargeRequest::read(payload, &required()).unwrap().unwrap().digest();
    let signature = WalletKey::from_bytes(&key).unwrap().sign(digest).unwrap().to_text();
    with(payload, "/authorizerSignature", json!(signature))
}

fn proved(payload: &PaymentPayload) -> Result<(), Reason> {
    let charge = ChargeRequest::read(payload, &required()).unwrap().unwrap();
    now_or_never(charge.prove(&Node::good())).map_err(|error| match error {
        OnChainError::Refused(refusal) => refusal.reason,
        OnChainError::Chain(error) => panic!("{error}"),
    })
}

#[test]
fn a_charge_is_within_what_was_signed() {
    for (payload, expected) in [
        (completed("1000001", 0), Reason::CaptureAmountMismatch),
        (completed("0", 0), Reason::CaptureAmountMismatch),
        (completed("+1", 0), Reason::CapturePayloadFormat),
        (completed("1", 1001), Reason::CaptureFeeRange),
        (with(&completed("1", 0), "/feeReceiver", json!(ESCROW.to_string())), Reason::CaptureFeeReceiver),
        (with(&completed("1", 0), "/feeReceiver", Value::Null), Reason::CapturePayloadFormat),
        (with(&completed("1", 0), "/feeAmount", json!("0")), Reason::CapturePayloadFormat),
        (with(&completed("1", 0), "/feeBps", Value::Null), Reason::CapturePayloadFormat),
    ] {
        assert_eq!(reason(&payload, &required(), SIGNED_AT), expected, "{:?}", payload.payload);
    }
    let payment = judged(&completed("400000", 1000), &required(), SIGNED_AT).unwrap().by_key().unwrap();
    let SettlementCall::Escrow(call) = payment.call() else { panic!("a call of the escrow") };
    let EscrowCall::Charge { taken, .. } = *call else { panic!("a charge") };
    assert_eq!((taken.amount.get(), taken.fee_bps), (400_000, 1000));
    assert_eq!(
        payment.expected().value,
        U256::from(1_000_000),
        "the collector is paid all of it, and gives back the rest"
    );
}

#[test]
fn nobody_elses_word_charges() {
    let good = signed_by(AUTHORIZER, &completed("400000", 0));
    assert_eq!(proved(&signed_by([1; 32], &good)), Err(Reason::CaptureAuthorizerSignature), "the payer");
    for (pointer, value) in
        [("/amount", json!("400001")), ("/feeBps", json!(1)), ("/salt", good.payload["saltNonce"].clone())]
    {
        assert_eq!(proved(&with(&good, pointer, value)), Err(Reason::CaptureAuthorizerSignature), "{pointer}");
    }
    let other = with(&good, "/signature", json!(format!("0x{}", "11".repeat(65))));
    assert_eq!(proved(&other), Err(Reason::CaptureAuthorizerSignature), "with another signature of the payer's");
    let found = |payload: &PaymentPayload| ChargeRequest::read(payload, &required()).unwrap_err().reason;
    assert_eq!(found(&paid(&required())), Reason::CapturePayloadFormat, "what the payee did not complete");
    assert_eq!(found(&with(&good, "/authorizerSignature", Value::Null)), Reason::CaptureUnsignedRequest);
    assert_eq!(proved(&good), Ok(()));
    let held = paid(&bound_requirements());
    assert_eq!(ChargeRequest::read(&held, &bound_requirements()), Ok(None));
}

#[test]
fn nothing_that_is_charged_is_captured_again() {
    for kind in ["capture", "void"] {
        let payload = with(&paid(&required()), "/type", json!(kind));
        let found = Request::check(&payload, &required(), &AssetTable::trusted(), SIGNED_AT).unwrap_err();
        assert_eq!(found.reason, Reason::CapturePayloadType, "{kind}");
    }
}
