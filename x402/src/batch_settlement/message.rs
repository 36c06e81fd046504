//! What a payload of this scheme says, read strictly.

use alloy_primitives::aliases::U40;
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::channel::{Channel, deposit_nonce};
use super::wire::{
    WireByPayer, WireChannel, WireClaim, WireClaims, WireCompletion, WireDeposit, WireErc3009, WireSweep, WireVoucher,
};
use super::{CLAIMS_MAX, EIP3009_COLLECTOR};
use crate::exact::Authorization;
use crate::limit::SIGNATURE_BYTES_MAX;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::value::{self, Amount};

/// A signature over all that may be claimed from a channel so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voucher {
    pub channel: Channel,
    /// As the payer names the channel; what it must be follows from the parameters.
    pub channel_id: B256,
    pub max_claimable: Amount,
    pub signature: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoucherKind {
    /// Pays for a request.
    Paying,
    /// Comes with a deposit.
    Opening,
    /// Asks for what is left, and pays for nothing.
    Refund,
}

/// Money for a channel, by EIP-3009.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deposit {
    pub channel: Channel,
    /// To the collector; its nonce binds the channel.
    pub authorization: Authorization,
    pub salt: U256,
    /// What the voucher beside it lets be claimed.
    pub max_claimable: Amount,
}

/// One voucher, and how much of it is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub channel: Channel,
    pub max_claimable: Amount,
    pub signature: Bytes,
    pub total_claimed: Amount,
}

/// What was claimed goes to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    pub receiver: Address,
    pub token: Address,
}

/// A refund with all that the escrow takes for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedRefund {
    pub voucher: Voucher,
    pub amount: Amount,
    pub nonce: U256,
    pub signature: Option<Bytes>,
    /// Claimed before it, in the same transaction.
    pub claims: Vec<Claim>,
    pub claim_signature: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Deposit { deposit: Box<Deposit>, voucher: Box<Voucher>, signature: String },
    Voucher(Box<Voucher>),
    Refund { voucher: Box<Voucher>, amount: Option<Amount> },
    Claim { claims: Vec<Claim>, signature: Option<Bytes> },
    Settle(Sweep),
    CompletedRefund(Box<CompletedRefund>),
}

impl Message {
    pub fn read(payload: &Map<String, Value>) -> Result<Self, Refusal> {
        let kind = payload.get("type").and_then(Value::as_str);
        match kind {
            Some("deposit") => read_deposit(payload),
            Some("voucher") => Ok(Self::Voucher(Box::new(read_voucher(payload, Reason::BatchVoucherPayload)?))),
            Some("refund") if payload.contains_key("refundNonce") => read_completed_refund(payload),
            Some("refund") => {
                let reason = Reason::BatchRefundPayload;
                let amount = match payload.get("amount").filter(|amount| !amount.is_null()) {
                    None => None,
                    Some(Value::String(text)) => Some(some_amount(text, "payload.amount", Reason::BatchRefundAmount)?),
                    Some(found) => {
                        let (field, expected) = ("payload.amount", "an amount in digits");
                        return Err(Refusal::new(Reason::BatchRefundAmount, field, expected, found));
                    }
                };
                Ok(Self::Refund { voucher: Box::new(read_voucher(payload, reason)?), amount })
            }
            Some("claim") => {
                let (claims, signature) = read_claims(payload, Reason::BatchClaimPayload)?;
                if claims.is_empty() {
                    let (field, expected) = ("payload.claims", format!("1 to {CLAIMS_MAX} vouchers"));
                    return Err(Refusal::new(Reason::BatchClaimPayload, field, expected, "none"));
                }
                Ok(Self::Claim { claims, signature })
            }
            Some("settle") => {
                let reason = Reason::BatchSettlePayload;
                let wire: WireSweep = shaped(payload, "receiver and token", reason)?;
                let receiver = party(&wire.receiver, "payload.receiver", reason)?;
                Ok(Self::Settle(Sweep { receiver, token: party(&wire.token, "payload.token", reason)? }))
            }
            found => {
                let expected = "deposit, voucher, refund, claim or settle";
                let found = found.unwrap_or("none");
                Err(Refusal::new(Reason::BatchPayloadType, "payload.type", expected, found))
            }
        }
    }
}

fn shaped<T: DeserializeOwned>(payload: &Map<String, Value>, expected: &str, reason: Reason) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(payload.clone()))
        .map_err(|error| Refusal::new(reason, "payload", expected, error))
}

fn read_deposit(payload: &Map<String, Value>) -> Result<Message, Refusal> {
    let reason = Reason::BatchDepositPayload;
    let voucher = read_voucher(payload, reason)?;
    let wire: WireDeposit = shaped(payload, "a deposit with its authorization", reason)?;
    let amount = some_amount(&wire.deposit.amount, "payload.deposit.amount", reason)?;
    let signed = wire.deposit.authorization;
    let field = "payload.deposit.authorization";
    let (Some(signed), None) = (signed.erc3009_authorization, signed.permit2_authorization) else {
        let expected = "erc3009Authorization and nothing else";
        return Err(Refusal::new(Reason::BatchErc3009Required, field, expected, "another, or none"));
    };
    let (authorization, salt) = authorization(&signed, &voucher, amount)?;
    let deposit = Deposit { channel: voucher.channel, authorization, salt, max_claimable: voucher.max_claimable };
    Ok(Message::Deposit { deposit: Box::new(deposit), voucher: Box::new(voucher), signature: signed.signature })
}

/// The nonce is that of the channel which the payer names; whether that is the channel described is checked with it.
fn authorization(signed: &WireErc3009, voucher: &Voucher, amount: Amount) -> Result<(Authorization, U256), Refusal> {
    let reason = Reason::BatchDepositPayload;
    let number = |text: &str, field| value::uint256(text).map_err(|error| Refusal::new(reason, field, error, text));
    let salt = value::bytes32(&signed.salt).map_err(|error| {
        Refusal::new(reason, "payload.deposit.authorization.erc3009Authorization.salt", error, &signed.salt)
    })?;
    let salt = U256::from_be_bytes(salt.0);
    let authorization = Authorization {
        from: voucher.channel.payer,
        to: EIP3009_COLLECTOR,
        value: U256::from(amount.get()),
        valid_after: number(&signed.valid_after, "payload.deposit.authorization.erc3009Authorization.validAfter")?,
        valid_before: number(&signed.valid_before, "payload.deposit.authorization.erc3009Authorization.validBefore")?,
        nonce: deposit_nonce(voucher.channel_id, salt),
    };
    Ok((authorization, salt))
}

fn read_voucher(payload: &Map<String, Value>, reason: Reason) -> Result<Voucher, Refusal> {
    let WireByPayer { channel_config, voucher } = shaped(payload, "channelConfig and voucher", reason)?;
    let channel = channel(&channel_config, reason)?;
    let WireVoucher { channel_id, max_claimable_amount, signature } = voucher;
    let channel_id = value::bytes32(&channel_id).map_err(|error| {
        Refusal::new(Reason::BatchChannelIdInvalid, "payload.voucher.channelId", error, &channel_id)
    })?;
    let max_claimable = amount(&max_claimable_amount, "payload.voucher.maxClaimableAmount", reason)?;
    Ok(Voucher { channel, channel_id, max_claimable, signature })
}

fn read_claims(payload: &Map<String, Value>, reason: Reason) -> Result<(Vec<Claim>, Option<Bytes>), Refusal> {
    let wire: WireClaims = shaped(payload, "claims of vouchers", reason)?;
    if wire.claims.len() > CLAIMS_MAX {
        let expected = format!("at most {CLAIMS_MAX} vouchers");
        return Err(Refusal::new(reason, "payload.claims", expected, wire.claims.len()));
    }
    let claims = wire.claims.iter().map(|claim| read_claim(claim, reason)).collect::<Result<_, _>>()?;
    let field = "payload.claimAuthorizerSignature";
    Ok((claims, signature(wire.claim_authorizer_signature.as_deref(), field, reason)?))
}

fn read_claim(wire: &WireClaim, reason: Reason) -> Result<Claim, Refusal> {
    let max_claimable =
        amount(&wire.voucher.max_claimable_amount, "payload.claims.voucher.maxClaimableAmount", reason)?;
    let total_claimed = amount(&wire.total_claimed, "payload.claims.totalClaimed", reason)?;
    if total_claimed > max_claimable {
        let expected = format!("at most the {max_claimable} that the voucher is good for");
        return Err(Refusal::new(reason, "payload.claims.totalClaimed", expected, total_claimed));
    }
    let field = "payload.claims.signature";
    let bytes = value::bytes(&wire.signature, SIGNATURE_BYTES_MAX)
        .map_err(|error| Refusal::new(reason, field, error, &wire.signature))?;
    Ok(Claim {
        channel: channel(&wire.voucher.channel, reason)?,
        max_claimable,
        signature: bytes.into(),
        total_claimed,
    })
}

fn read_completed_refund(payload: &Map<String, Value>) -> Result<Message, Refusal> {
    let reason = Reason::BatchRefundPayload;
    let voucher = read_voucher(payload, reason)?;
    let wire: WireCompletion = shaped(payload, "amount, refundNonce and claims", reason)?;
    let (claims, claim_signature) = read_claims(payload, reason)?;
    let field = "payload.refundNonce";
    let nonce =
        value::uint256(&wire.refund_nonce).map_err(|error| Refusal::new(reason, field, error, &wire.refund_nonce))?;
    Ok(Message::CompletedRefund(Box::new(CompletedRefund {
        amount: some_amount(&wire.amount, "payload.amount", Reason::BatchRefundAmount)?,
        signature: signature(wire.refund_authorizer_signature.as_deref(), "payload.refundAuthorizerSignature", reason)?,
        voucher,
        nonce,
        claims,
        claim_signature,
    })))
}

fn channel(wire: &WireChannel, reason: Reason) -> Result<Channel, Refusal> {
    let field = "payload.channelConfig.withdrawDelay";
    let delay = U40::try_from(wire.withdraw_delay).map_err(|_| {
        Refusal::new(Reason::BatchWithdrawDelayOutOfRange, field, "at most 2^40 - 1", wire.withdraw_delay)
    })?;
    let payer_authorizer = value::address(&wire.payer_authorizer).map_err(|error| {
        Refusal::new(reason, "payload.channelConfig.payerAuthorizer", error, &wire.payer_authorizer)
    })?;
    Ok(Channel {
        payer: party(&wire.payer, "payload.channelConfig.payer", reason)?,
        payer_authorizer,
        receiver: party(&wire.receiver, "payload.channelConfig.receiver", reason)?,
        receiver_authorizer: party(&wire.receiver_authorizer, "payload.channelConfig.receiverAuthorizer", reason)?,
        token: party(&wire.token, "payload.channelConfig.token", reason)?,
        withdraw_delay: delay,
        salt: value::bytes32(&wire.salt)
            .map_err(|error| Refusal::new(reason, "payload.channelConfig.salt", error, &wire.salt))?,
    })
}

fn party(text: &str, field: &'static str, reason: Reason) -> Result<Address, Refusal> {
    match value::address(text) {
        Ok(found) if found.is_zero() => Err(Refusal::new(reason, field, "an address other than zero", text)),
        Ok(found) => Ok(found),
        Err(error) => Err(Refusal::new(reason, field, error, text)),
    }
}

/// The escrow counts in 128 bits, as an [`Amount`] does.
fn amount(text: &str, field: &'static str, reason: Reason) -> Result<Amount, Refusal> {
    text.parse().map_err(|error| Refusal::new(reason, field, error, text))
}

fn some_amount(text: &str, field: &'static str, reason: Reason) -> Result<Amount, Refusal> {
    match amount(text, field, reason)? {
        found if found.is_zero() => Err(Refusal::new(reason, field, "more than zero", text)),
        found => Ok(found),
    }
}

fn signature(text: Option<&str>, field: &'static str, reason: Reason) -> Result<Option<Bytes>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let bytes = value::bytes(text, SIGNATURE_BYTES_MAX).map_err(|error| Refusal::new(reason, field, error, text))?;
    Ok(Some(bytes.into()))
}
