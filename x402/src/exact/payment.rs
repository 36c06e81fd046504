//! Stateless verification: everything that can be said of a payment without asking the chain.

use alloy_primitives::{Address, B256, U256};
use serde_json::Value;

use super::{
    Authorization, Checked, EvmSignature, PayerSignature, SCHEME, SignatureError, Signed, Terms, Transfer, Unproved,
    WalletSignature,
};
use crate::auth_capture::{self, EscrowCall};
use crate::batch_settlement::{self, ChannelCall, DepositCall};
use crate::chain::{PermitCall, SettlementCall, TransferCall, WalletCall};
use crate::limit::{CLOCK_SKEW_SECONDS, SETTLEMENT_MARGIN_SECONDS};
use crate::network::AssetTable;
use crate::permit2;
use crate::permit2::approval::Approval;
use crate::permit2::sponsor::Sponsoring;
use crate::reason::Reason;
use crate::refusal::{Refusal, not_a_string};
use crate::scheme::check_frame;
use crate::settlement::{Charge, ClaimKey, Expected};
use crate::value::{self, Amount};
use crate::wire::{ExactEvmPayload, PaymentPayload, PaymentRequirements, WireAuthorization};

/// A payment that meets its terms and is signed by its payer. Only [`check`] and [`super::prove`] make one, and the like for
/// `upto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPayment {
    pub(crate) terms: Terms,
    pub(crate) signed: Signed,
    pub(crate) signature: PayerSignature,
    /// What is to move: all that is signed, save with `upto`.
    pub(crate) charged: U256,
    /// The allowance that came along.
    pub(crate) sponsored: Option<Sponsoring>,
}

impl VerifiedPayment {
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    pub const fn signed(&self) -> &Signed {
        &self.signed
    }

    pub const fn payer(&self) -> Address {
        self.signed.payer()
    }

    /// Whether the payer is a contract, which may answer one thing now and another thing later.
    pub const fn is_by_wallet(&self) -> bool {
        matches!(self.signature, PayerSignature::Wallet(_))
    }

    /// Whether Permit2's allowance must last for it, be it there or approved first. One that comes as a permit is its own.
    pub fn takes_of_an_allowance(&self) -> bool {
        let has_permit = self.sponsored.as_ref().is_some_and(|sponsored| sponsored.permit().is_some());
        matches!(self.signed, Signed::Permit2(_)) && !has_permit
    }

    /// The payer's own transaction that is sent before it.
    pub fn approval(&self) -> Option<&Approval> {
        self.sponsored.as_ref().and_then(Sponsoring::approval)
    }

    /// What must be unique.
    pub fn claim_key(&self) -> ClaimKey {
        self.signed.claim_key(&self.terms)
    }

    /// What a settlement of it must show.
    pub fn expected(&self) -> Expected {
        Expected {
            key: self.claim_key(),
            to: self.signed.to(),
            value: self.charged,
            charge: Charge::Whole,
            // verify() bounded it by now + maxTimeoutSeconds + skew, all of them u64
            valid_before: u64::try_from(self.signed.valid_before()).unwrap_or(u64::MAX),
        }
    }

    /// The same for whoever is paid: of what is held, that all of it is captured.
    pub fn expected_by_payee(&self) -> Expected {
        let expected = self.expected();
        match self.terms.transfer {
            Transfer::Escrow(_) => {
                Expected { key: self.signed.payee_key(&self.terms), to: self.terms.pay_to, ..expected }
            }
            Transfer::Eip3009 | Transfer::Permit2 | Transfer::Upto { .. } | Transfer::Channel { .. } => expected,
        }
    }

    pub fn call(&self) -> SettlementCall {
        let asset = self.terms.token;
        match (self.signed, &self.signature) {
            (Signed::Eip3009(authorization), PayerSignature::Key(signature)) => {
                SettlementCall::Transfer(Box::new(TransferCall {
                    asset,
                    from: authorization.from,
                    to: authorization.to,
                    value: authorization.value,
                    valid_after: authorization.valid_after,
                    valid_before: authorization.valid_before,
                    nonce: authorization.nonce,
                    signature: signature.to_bytes(),
                }))
            }
            (Signed::Eip3009(authorization), PayerSignature::Wallet(signature)) => {
                SettlementCall::Wallet(Box::new(WalletCall { asset, authorization, signature: signature.clone() }))
            }
            (Signed::Permit2(permit), signature) => {
                let (amount, sponsored) = (self.charged, self.sponsored.clone());
                let signature = signature.shown();
                SettlementCall::Permit(Box::new(PermitCall { permit, amount, signature, sponsored }))
            }
            (Signed::Deposit(deposit), signature) => {
                SettlementCall::Channel(Box::new(ChannelCall::Deposit(DepositCall {
                    channel: deposit.channel,
                    // Read as an amount.
                    amount: Amount::new(deposit.authorization.value.saturating_to()),
                    valid_after: deposit.authorization.valid_after,
                    valid_before: deposit.authorization.valid_before,
                    salt: deposit.salt,
                    signature: signature.shown(),
                })))
            }
            (Signed::Escrowed(escrowed), signature) => {
                let (info, amount, signature) = (escrowed.info, self.terms.amount, signature.shown());
                SettlementCall::Escrow(Box::new(match escrowed.taken {
                    None => EscrowCall::Authorize { info, amount, signature },
                    Some(taken) => EscrowCall::Charge { info, taken, signature },
                }))
            }
        }
    }
}

/// Verifies a payment that is signed by a key, as [`check`] does; a contract's signature is refused.
pub fn verify(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<VerifiedPayment, Refusal> {
    match check(payload, requirements, assets, now)? {
        Checked::ByKey(payment) => Ok(payment),
        Checked::ByWallet(unproved) => Err(unproved.into_refusal()),
    }
}

/// Checks a payment against what is required, at `now` (Unix seconds), cheap checks first, the signature last.
///
/// `requirements` are the verifier's own (a seller's offer, or what a seller sent to its facilitator), never the
/// payload's. The order is that of the Python SDK, so that a payment with one fault has one answer.
pub fn check(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<Checked, Refusal> {
    check_frame(payload, requirements, SCHEME, (Reason::ExactScheme, Reason::NetworkMismatch))?;
    let terms = Terms::read(requirements)?;
    terms.trusted_asset(assets)?;
    if terms.transfer == Transfer::Permit2 {
        return permit2::check(payload, requirements, terms, now);
    }
    let (authorization, signature_text) = read_payload(payload)?;
    check_transfer(&authorization, &terms)?;
    check_window(&authorization, &terms, now)?;
    check_accepted(&payload.accepted, requirements)?;
    Unsigned { terms, charged: authorization.value, signed: Signed::Eip3009(authorization), sponsored: None }
        .with(&signature_text, Reason::Signature)
}

/// Whether a payment is signed for these terms, at whatever time: which of several offers a payer meant whose payload
/// does not say it (version 1). Says nothing of whether the payment is good.
pub fn is_signed_for(payload: &PaymentPayload, requirements: &PaymentRequirements) -> bool {
    let signed = || {
        let terms = Terms::read(requirements)?;
        if terms.transfer != Transfer::Eip3009 {
            // Version 1 knows no other way.
            return Err(Refusal::new(
                Reason::UnsupportedPayloadType,
                "extra.assetTransferMethod",
                "eip3009",
                "permit2",
            ));
        }
        let (authorization, signature) = read_payload(payload)?;
        check_transfer(&authorization, &terms)?;
        check_signature(&authorization, &terms, &signature)
    };
    signed().is_ok()
}

/// The claim that a payment would make, read without verifying it: for a seller that must find an earlier answer.
/// Nothing may be written under it before [`verify`] said yes, else anybody could burn a stranger's nonce.
pub fn claim_key(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<ClaimKey, Refusal> {
    let terms = Terms::read(requirements)?;
    Ok(read_signed(payload, &terms)?.claim_key(&terms))
}

/// What meets its terms, before anybody looked at the signature.
pub(crate) struct Unsigned {
    pub terms: Terms,
    pub signed: Signed,
    pub charged: U256,
    pub sponsored: Option<Sponsoring>,
}

impl Unsigned {
    /// `mismatch` is the reason where the signature is somebody else's.
    pub fn with(self, text: &str, mismatch: Reason) -> Result<Checked, Refusal> {
        let Self { terms, signed, charged, sponsored } = self;
        match recover(signed.digest(&terms), signed.payer(), mismatch, text) {
            Ok(signature) => {
                let signature = PayerSignature::Key(signature);
                Ok(Checked::ByKey(VerifiedPayment { terms, signed, signature, charged, sponsored }))
            }
            Err(no_key) => {
                let signature = WalletSignature::read(text)?;
                Ok(Checked::ByWallet(Unproved { terms, signed, charged, sponsored, signature, no_key }))
            }
        }
    }
}

/// What the payer claims to have signed, by the way that the terms ask for. For answers and look-ups only.
pub fn read_signed(payload: &PaymentPayload, terms: &Terms) -> Result<Signed, Refusal> {
    match terms.transfer {
        Transfer::Eip3009 => Ok(Signed::Eip3009(read_payload(payload)?.0)),
        Transfer::Permit2 | Transfer::Upto { .. } => Ok(Signed::Permit2(permit2::read_payload(payload)?.0)),
        Transfer::Channel { .. } => Ok(Signed::Deposit(batch_settlement::read_deposit(payload)?.0)),
        Transfer::Escrow(_) => Ok(Signed::Escrowed(auth_capture::read_payment(payload, terms)?)),
    }
}

pub(super) const STRINGS: [&str; 7] = [
    "payload.signature",
    "payload.authorization.from",
    "payload.authorization.to",
    "payload.authorization.value",
    "payload.authorization.validAfter",
    "payload.authorization.validBefore",
    "payload.authorization.nonce",
];

/// Reads the scheme's object of EIP-3009: what the payer claims to have signed, and the text of the signature.
pub fn read_payload(payload: &PaymentPayload) -> Result<(Authorization, String), Refusal> {
    if payload.payload.contains_key("permit2Authorization") {
        let found = "permit2Authorization";
        return Err(Refusal::new(Reason::UnsupportedPayloadType, "payload", "an EIP-3009 authorization", found));
    }
    if payload.payload.contains_key("permissionContext") {
        let found = "a delegation to redeem (EIP-7710)";
        return Err(Refusal::new(Reason::UnsupportedPayloadType, "payload", "an EIP-3009 authorization", found));
    }
    let scheme: ExactEvmPayload = serde_json::from_value(Value::Object(payload.payload.clone())).map_err(|error| {
        let whole = || Refusal::new(Reason::InvalidPayload, "payload", "signature and authorization", error);
        not_a_string(&payload.payload, &STRINGS).unwrap_or_else(whole)
    })?;
    Ok((read_authorization(&scheme.authorization)?, scheme.signature))
}

pub(crate) fn read_authorization(wire: &WireAuthorization) -> Result<Authorization, Refusal> {
    let malformed = |field: &'static str, text: &str| {
        let text = text.to_owned();
        move |error| Refusal::new(Reason::InvalidPayload, field, error, text)
    };
    Ok(Authorization {
        from: value::address(&wire.from).map_err(malformed("payload.authorization.from", &wire.from))?,
        to: value::address(&wire.to).map_err(malformed("payload.authorization.to", &wire.to))?,
        value: value::uint256(&wire.value).map_err(|error| {
            Refusal::new(Reason::AuthorizationValue, "payload.authorization.value", error, &wire.value)
        })?,
        valid_after: value::uint256(&wire.valid_after)
            .map_err(malformed("payload.authorization.validAfter", &wire.valid_after))?,
        valid_before: value::uint256(&wire.valid_before)
            .map_err(malformed("payload.authorization.validBefore", &wire.valid_before))?,
        nonce: value::bytes32(&wire.nonce).map_err(malformed("payload.authorization.nonce", &wire.nonce))?,
    })
}

fn check_transfer(authorization: &Authorization, terms: &Terms) -> Result<(), Refusal> {
    if authorization.to != terms.pay_to {
        let field = "payload.authorization.to";
        return Err(Refusal::new(Reason::RecipientMismatch, field, terms.pay_to, authorization.to));
    }
    // Equality, not "at least": an overpayment would move more than anybody agreed to.
    if authorization.value != terms.value() {
        let field = "payload.authorization.value";
        return Err(Refusal::new(Reason::ValueMismatch, field, terms.value(), authorization.value));
    }
    Ok(())
}

/// Late enough to be settled, early enough that the money is not held for ever.
fn check_window(authorization: &Authorization, terms: &Terms, now: u64) -> Result<(), Refusal> {
    let field = "payload.authorization.validBefore";
    let earliest = U256::from(now).saturating_add(U256::from(SETTLEMENT_MARGIN_SECONDS));
    if authorization.valid_before < earliest {
        let expected = format!("at least {earliest}");
        return Err(Refusal::new(Reason::ValidBefore, field, expected, authorization.valid_before));
    }
    let latest = now.saturating_add(terms.max_timeout_seconds).saturating_add(CLOCK_SKEW_SECONDS);
    if authorization.valid_before > U256::from(latest) {
        let expected = format!("at most {latest}");
        return Err(Refusal::new(Reason::ValidBefore, field, expected, authorization.valid_before));
    }
    if authorization.valid_after > U256::from(now) {
        let (field, expected) = ("payload.authorization.validAfter", format!("at most {now}"));
        return Err(Refusal::new(Reason::ValidAfter, field, expected, authorization.valid_after));
    }
    Ok(())
}

/// What the payer accepted is what is required; `extra` may say more than was asked, never less or other.
/// Addresses are compared as values: a checksummed spelling is the same address.
pub fn check_accepted(accepted: &PaymentRequirements, required: &PaymentRequirements) -> Result<(), Refusal> {
    let mismatch = |field, expected: &str, found: &str| {
        Err(Refusal::new(Reason::AcceptedRequirementsMismatch, field, expected, found))
    };
    for (field, expected, found) in [
        ("accepted.scheme", &required.scheme, &accepted.scheme),
        ("accepted.network", &required.network, &accepted.network),
        ("accepted.amount", &required.amount, &accepted.amount),
    ] {
        if expected != found {
            return mismatch(field, expected, found);
        }
    }
    for (field, expected, found) in
        [("accepted.asset", &required.asset, &accepted.asset), ("accepted.payTo", &required.pay_to, &accepted.pay_to)]
    {
        let same = match (value::address(expected), value::address(found)) {
            (Ok(expected), Ok(found)) => expected == found,
            _ => false,
        };
        if !same {
            return mismatch(field, expected, found);
        }
    }
    if accepted.max_timeout_seconds != required.max_timeout_seconds {
        let (expected, found) = (required.max_timeout_seconds.to_string(), accepted.max_timeout_seconds.to_string());
        return mismatch("accepted.maxTimeoutSeconds", &expected, &found);
    }
    for (name, expected) in required.extra.iter().flatten().filter(|(_, value)| !value.is_null()) {
        let found = accepted.extra_field(name);
        if found != Some(expected) {
            let found = found.map_or_else(|| "none".to_owned(), Value::to_string);
            return mismatch("accepted.extra", &format!("{name}: {expected}"), &format!("{name}: {found}"));
        }
    }
    Ok(())
}

fn check_signature(authorization: &Authorization, terms: &Terms, text: &str) -> Result<EvmSignature, Refusal> {
    recover(authorization.digest(&terms.domain), authorization.from, Reason::Signature, text)
}

/// The signature of an account over a digest, in its one form. `mismatch` is the reason where it is somebody else's.
fn recover(digest: B256, payer: Address, mismatch: Reason, text: &str) -> Result<EvmSignature, Refusal> {
    let field = "payload.signature";
    let signature = EvmSignature::read(text).map_err(|error| {
        let reason = match error {
            SignatureError::Text(_) => Reason::SignatureFormat,
            SignatureError::Undeployed => Reason::UndeployedWallet,
            _ => mismatch,
        };
        Refusal::new(reason, field, &error, text)
    })?;
    let signer = signature.recover(digest).map_err(|error| Refusal::new(mismatch, field, error, text))?;
    if signer != payer {
        return Err(Refusal::new(mismatch, field, payer, signer));
    }
    Ok(signature)
}
