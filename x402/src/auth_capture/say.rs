//! How a payee says to its facilitator what is to become of a payment.

use alloy_primitives::{B256, Bytes};
use serde_json::{Map, Value, json};

use super::{Capture, PaymentInfo, Taken};

fn told(kind: &str, info: &PaymentInfo, salt_nonce: B256) -> Map<String, Value> {
    let payment_info = json!({
        "operator": info.operator.to_string(),
        "payer": info.payer.to_string(),
        "receiver": info.receiver.to_string(),
        "token": info.token.to_string(),
        "maxAmount": info.max_amount.to_string(),
        "preApprovalExpiry": info.pre_approval_expiry.to::<u64>(),
        "authorizationExpiry": info.authorization_expiry.to::<u64>(),
        "refundExpiry": info.refund_expiry.to::<u64>(),
        "minFeeBps": info.min_fee_bps,
        "maxFeeBps": info.max_fee_bps,
        "feeReceiver": info.fee_receiver.to_string(),
        "salt": B256::from(info.salt).to_string(),
    });
    Map::from_iter([
        ("type".to_owned(), json!(kind)),
        ("paymentInfo".to_owned(), payment_info),
        ("saltNonce".to_owned(), json!(salt_nonce.to_string())),
    ])
}

/// `rest` is the signature under a void of what is left.
pub fn capture_payload(
    info: &PaymentInfo,
    salt_nonce: B256,
    capture: &Capture,
    signature: &Bytes,
    rest: Option<&Bytes>,
) -> Map<String, Value> {
    let mut payload = told("capture", info, salt_nonce);
    payload.extend([
        ("amount".to_owned(), json!(capture.amount.to_string())),
        ("feeBps".to_owned(), json!(capture.fee_bps)),
        ("feeReceiver".to_owned(), json!(capture.fee_receiver.to_string())),
        ("expectedCapturableAmount".to_owned(), json!(capture.expected_capturable.to_string())),
        ("expectedRefundableAmount".to_owned(), json!(capture.expected_refundable.to_string())),
        ("authorizerSignature".to_owned(), json!(signature.to_string())),
    ]);
    if let Some(rest) = rest {
        payload.insert("voidAuthorizerSignature".to_owned(), json!(rest.to_string()));
    }
    payload
}

pub fn void_payload(info: &PaymentInfo, salt_nonce: B256, signature: &Bytes) -> Map<String, Value> {
    let mut payload = told("void", info, salt_nonce);
    payload.insert("authorizerSignature".to_owned(), json!(signature.to_string()));
    payload
}

/// A payment with what the payee takes of it at once.
pub fn charge_payload(payment: &Map<String, Value>, taken: &Taken, signature: &Bytes) -> Map<String, Value> {
    let mut payload = payment.clone();
    payload.extend([
        ("amount".to_owned(), json!(taken.amount.to_string())),
        ("feeBps".to_owned(), json!(taken.fee_bps)),
        ("feeReceiver".to_owned(), json!(taken.fee_receiver.to_string())),
        ("authorizerSignature".to_owned(), json!(signature.to_string())),
    ]);
    payload
}
