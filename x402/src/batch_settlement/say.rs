//! What a payee asks a facilitator to do, as it is on the wire.

use alloy_primitives::{Bytes, U256};
use serde_json::{Map, Value, json};

use super::Channel;
use super::message::{Claim, Sweep, Voucher};
use crate::value::Amount;

impl Channel {
    /// As payloads show it.
    pub fn shown(&self) -> Value {
        json!({
            "payer": self.payer.to_string(),
            "payerAuthorizer": self.payer_authorizer.to_string(),
            "receiver": self.receiver.to_string(),
            "receiverAuthorizer": self.receiver_authorizer.to_string(),
            "token": self.token.to_string(),
            "withdrawDelay": self.withdraw_delay_seconds(),
            "salt": self.salt.to_string(),
        })
    }
}

fn shown_claims(claims: &[Claim]) -> Value {
    let shown = |claim: &Claim| {
        json!({
            "voucher": { "channel": claim.channel.shown(), "maxClaimableAmount": claim.max_claimable.to_string() },
            "signature": claim.signature.to_string(),
            "totalClaimed": claim.total_claimed.to_string(),
        })
    };
    claims.iter().map(shown).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// Vouchers to be claimed, with the signature of their receiver's authorizer.
pub fn claim_payload(claims: &[Claim], signature: &Bytes) -> Map<String, Value> {
    object(json!({
        "type": "claim", "claims": shown_claims(claims), "claimAuthorizerSignature": signature.to_string(),
    }))
}

/// What was claimed goes to its receiver.
pub fn sweep_payload(sweep: Sweep) -> Map<String, Value> {
    object(json!({ "type": "settle", "receiver": sweep.receiver.to_string(), "token": sweep.token.to_string() }))
}

/// A payer's request for a refund, with all that the escrow takes for one; claims before it, in the same transaction, where
/// there are any.
pub fn refund_payload(
    voucher: &Voucher,
    (amount, nonce, signature): (Amount, U256, &Bytes),
    (claims, claim_signature): (&[Claim], &Bytes),
) -> Map<String, Value> {
    let mut payload = object(json!({
        "type": "refund",
        "channelConfig": voucher.channel.shown(),
        "voucher": {
            "channelId": voucher.channel_id.to_string(),
            "maxClaimableAmount": voucher.max_claimable.to_string(),
            "signature": voucher.signature,
        },
        "amount": amount.to_string(),
        "refundNonce": nonce.to_string(),
        "claims": shown_claims(claims),
        "refundAuthorizerSignature": signature.to_string(),
    }));
    if !claims.is_empty() {
        payload.insert("claimAuthorizerSignature".to_owned(), json!(claim_signature.to_string()));
    }
    payload
}
