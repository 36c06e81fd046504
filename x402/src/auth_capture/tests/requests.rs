//! What a payee asks for: of nobody's word but its authorizer's, and for what the escrow has now alone.

use super::*;
use crate::exact::OnChainError;
use crate::fixture::{Node, now_or_never};
use crate::value::Amount;

const NOW: u64 = SIGNED_AT + 10;

fn info_of(payment: &PaymentPayload) -> Value {
    let terms = terms(&payment.accepted).unwrap();
    let info = read_payment(payment, &terms).unwrap().info;
    json!({
        "operator": info.operator.to_string(), "payer": info.payer.to_string(), "receiver": info.receiver.to_string(),
        "token": info.token.to_string(), "maxAmount": info.max_amount.to_string(),
        "preApprovalExpiry": info.pre_approval_expiry.to::<u64>(),
        "authorizationExpiry": info.authorization_expiry.to::<u64>(), "refundExpiry": info.refund_expiry.to::<u64>(),
        "minFeeBps": info.min_fee_bps, "maxFeeBps": info.max_fee_bps, "feeReceiver": info.fee_receiver.to_string(),
        "salt": B256::from(info.salt).to_string(),
    })
}

fn unsigned(kind: &str) -> PaymentPayload {
    let payment = paid(&bound_requirements());
    let fields = json!({
        "type": kind, "paymentInfo": info_of(&payment), "saltNonce": payment.payload["saltNonce"],
        "amount": "400000", "feeBps": 0, "feeReceiver": info_of(&payment)["feeReceiver"],
        "expectedCapturableAmount": "1000000", "expectedRefundableAmount": "0", "authorizerSignature": "0x",
    });
    PaymentPayload { payload: fields.as_object().unwrap().clone(), ..payment }
}

fn read(payload: &PaymentPayload) -> Result<Request, Refusal> {
    Request::check(payload, &bound_requirements(), &AssetTable::trusted(), NOW)
}

fn signed_by(key: [u8; 32], payload: &PaymentPayload) -> PaymentPayload {
    let digest = read(payload).unwrap().digest();
    let signature = WalletKey::from_bytes(&key).unwrap().sign(digest).unwrap().to_text();
    with(payload, "/authorizerSignature", json!(signature))
}

fn proved(payload: &PaymentPayload) -> Result<(), Reason> {
    let proved = now_or_never(read(payload).unwrap().prove(&Node::good()));
    proved.map_err(|error| match error {
        OnChainError::Refused(refusal) => refusal.reason,
        OnChainError::Chain(error) => panic!("{error}"),
    })
}

#[test]
fn nobody_elses_word_captures() {
    for kind in ["capture", "void"] {
        let good = signed_by(AUTHORIZER, &unsigned(kind));
        assert_eq!(proved(&signed_by([1; 32], &unsigned(kind))), Err(Reason::CaptureAuthorizerSignature), "the payer");
        assert_eq!(proved(&unsigned(kind)), Err(Reason::CaptureAuthorizerSignature));
        assert_eq!(proved(&good), Ok(()));
    }
    let good = signed_by(AUTHORIZER, &unsigned("capture"));
    for (pointer, value) in [
        ("/amount", json!("400001")),
        ("/feeBps", json!(1)),
        ("/expectedCapturableAmount", json!("600000")),
        ("/expectedRefundableAmount", json!("1")),
        ("/type", json!("void")),
    ] {
        assert_eq!(proved(&with(&good, pointer, value)), Err(Reason::CaptureAuthorizerSignature), "{pointer}");
    }
    let rest = signed_by(AUTHORIZER, &unsigned("void")).payload["authorizerSignature"].clone();
    let own = good.payload["authorizerSignature"].clone();
    assert_eq!(proved(&with(&good, "/voidAuthorizerSignature", own)), Err(Reason::CaptureVoidSignature));
    let both = with(&good, "/voidAuthorizerSignature", rest);
    assert_eq!(proved(&both), Ok(()));
    let then = read(&both).unwrap().then().unwrap();
    assert_eq!((then.kind, then.then()), (Kind::Void, None));
}

#[test]
fn a_request_is_under_the_terms_of_its_payment() {
    let good = unsigned("capture");
    let other = json!("0x90F79bf6EB2c4f870365E785982E1f101E93b906");
    for (pointer, value, expected) in [
        ("/type", json!("reclaim"), Reason::CapturePayloadType),
        ("/type", json!(1), Reason::CapturePayloadType),
        ("/type", json!("refund"), Reason::CaptureRefundFunding),
        ("/paymentInfo/operator", other.clone(), Reason::CaptureOperatorMismatch),
        ("/paymentInfo/receiver", other.clone(), Reason::CapturePayloadFormat),
        ("/paymentInfo/token", other.clone(), Reason::CapturePayloadFormat),
        ("/paymentInfo/feeReceiver", other.clone(), Reason::CapturePayloadFormat),
        ("/paymentInfo/maxAmount", json!("1000001"), Reason::CapturePayloadFormat),
        ("/paymentInfo/authorizationExpiry", json!(4_102_444_801_u64), Reason::CapturePayloadFormat),
        ("/paymentInfo/refundExpiry", json!(4_102_531_201_u64), Reason::CapturePayloadFormat),
        ("/paymentInfo/minFeeBps", json!(1), Reason::CapturePayloadFormat),
        ("/paymentInfo/maxFeeBps", json!(999), Reason::CapturePayloadFormat),
        ("/paymentInfo/salt", json!(B256::ZERO.to_string()), Reason::CaptureSaltBinding),
        ("/saltNonce", json!(B256::ZERO.to_string()), Reason::CaptureSaltBinding),
        ("/amount", json!("0"), Reason::CaptureAmountMismatch),
        ("/amount", json!("0x1"), Reason::CapturePayloadFormat),
        ("/feeBps", json!(1001), Reason::CaptureFeeRange),
        ("/feeBps", json!("1"), Reason::CapturePayloadFormat),
        ("/feeAmount", json!("1"), Reason::CapturePayloadFormat),
        ("/feeReceiver", other, Reason::CaptureFeeReceiver),
        ("/authorizerSignature", Value::Null, Reason::CaptureUnsignedRequest),
    ] {
        let found = read(&with(&good, pointer, value.clone())).unwrap_err();
        assert_eq!(found.reason, expected, "{pointer} {value}: {found}");
    }
    let void = with(&unsigned("void"), "/voidAuthorizerSignature", json!("0x"));
    assert_eq!(read(&void).unwrap_err().reason, Reason::CaptureVoidSignature);
    let late = Request::check(&good, &bound_requirements(), &AssetTable::trusted(), 4_102_444_800).unwrap_err();
    assert_eq!(late.reason, Reason::CaptureDeadlineExpired);
    let mut unbound = bound_requirements();
    unbound.extra.as_mut().unwrap().remove("receiverAuthorizer");
    let found = Request::check(&good, &unbound, &AssetTable::trusted(), NOW).unwrap_err();
    assert_eq!(found.reason, Reason::CaptureNotRelayed);
}

#[test]
fn a_capture_is_for_what_the_escrow_has_now() {
    let state = |capturable: u128, refundable: u128| EscrowState {
        collected: true,
        capturable: Amount::new(capturable),
        refundable: Amount::new(refundable),
    };
    let check = |payload: &PaymentPayload, state| read(payload).unwrap().check_state(&state);
    let capture = unsigned("capture");
    for (has, expected) in [
        (state(0, 0), Reason::CaptureUnexpectedState),
        (state(600_000, 400_000), Reason::CaptureUnexpectedState),
        (state(1_000_000, 1), Reason::CaptureUnexpectedState),
    ] {
        assert_eq!(check(&capture, has).unwrap_err().reason, expected);
    }
    let above = with(&capture, "/amount", json!("1000001"));
    assert_eq!(check(&above, state(1_000_000, 0)).unwrap_err().reason, Reason::CaptureInsufficient);
    let whole = with(&with(&capture, "/amount", json!("1000000")), "/voidAuthorizerSignature", json!("0x"));
    assert_eq!(check(&whole, state(1_000_000, 0)).unwrap_err().reason, Reason::CaptureNothingToVoid);
    assert_eq!(check(&unsigned("void"), state(0, 5)).unwrap_err().reason, Reason::CaptureZeroAuthorization);
    assert_eq!(check(&capture, state(1_000_000, 0)), Ok(Amount::new(400_000)));
    assert_eq!(check(&unsigned("void"), state(7, 5)), Ok(Amount::new(7)));
}

/// No panic on any input, whichever leaf of a message is changed.
#[test]
fn whatever_comes_is_read_or_refused() {
    let messages: Vec<PaymentPayload> =
        vec![paid(&bound_requirements()), signed_by(AUTHORIZER, &unsigned("capture")), unsigned("void")];
    bolero::check!().with_type::<(u8, u16, String, bool)>().for_each(|(kind, at, text, as_text)| {
        let good = &messages[usize::from(*kind) % messages.len()];
        let mut leaves = Vec::new();
        paths(&json!(good.payload), String::new(), &mut leaves);
        let put = if *as_text { json!(text) } else { serde_json::from_str(text).unwrap_or(Value::Null) };
        let changed = with(good, &leaves[usize::from(*at) % leaves.len()], put);
        let _ = scheme::check(&changed, &bound_requirements(), &AssetTable::trusted(), NOW);
        let _ = read(&changed);
        let _ = scheme::claimed(&changed, &bound_requirements());
    });
}

fn paths(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| paths(value, format!("{at}/{name}"), found)),
        Value::Array(items) => (0..).zip(items).for_each(|(place, value)| paths(value, format!("{at}/{place}"), found)),
        _ => found.push(at),
    }
}
