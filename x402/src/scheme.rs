//! One door to the schemes, for whoever takes any of them.

use alloy_primitives::Address;

use crate::auth_capture;
use crate::batch_settlement;
use crate::exact::{self, Checked, Signed, Terms, VerifiedPayment};
use crate::network::AssetTable;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::settlement::ClaimKey;
use crate::upto;
use crate::value;
use crate::wire::{PaymentPayload, PaymentRequirements, X402_VERSION};

/// The terms of a requirement, of the scheme that it names. With `upto` and `batch-settlement` the amount is the most that is
/// charged, with `auth-capture` what is held or, in the flow `authorization`, the most that is charged.
pub fn terms(requirements: &PaymentRequirements) -> Result<Terms, Refusal> {
    match requirements.scheme.as_str() {
        upto::SCHEME => upto::terms(requirements),
        batch_settlement::SCHEME => batch_settlement::terms(requirements),
        auth_capture::SCHEME => auth_capture::terms(requirements),
        _ => Terms::read(requirements),
    }
}

/// What a payload says of itself before it is read: version, scheme, network. The reasons are the scheme's own, for another
/// scheme and for another network.
pub fn check_frame(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    scheme: &str,
    (another_scheme, another_network): (Reason, Reason),
) -> Result<(), Refusal> {
    if payload.x402_version != X402_VERSION {
        let found = payload.x402_version;
        return Err(Refusal::new(Reason::InvalidX402Version, "x402Version", X402_VERSION, found));
    }
    if payload.accepted.scheme != scheme {
        return Err(Refusal::new(another_scheme, "accepted.scheme", scheme, &payload.accepted.scheme));
    }
    if payload.accepted.network != requirements.network {
        let (expected, found) = (&requirements.network, &payload.accepted.network);
        return Err(Refusal::new(another_network, "accepted.network", expected, found));
    }
    Ok(())
}

/// Checks a payment for the whole of what is required, at `now` (Unix seconds).
pub fn check(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<Checked, Refusal> {
    match requirements.scheme.as_str() {
        upto::SCHEME => upto::check(payload, requirements, assets, now),
        batch_settlement::SCHEME => batch_settlement::check_deposit(payload, requirements, assets, now),
        auth_capture::SCHEME => auth_capture::check_payment(payload, requirements, assets, now),
        _ => exact::check(payload, requirements, assets, now),
    }
}

/// The same of a payer with a key, offline: of a contract nobody but the chain knows what it signed.
pub fn verify(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<VerifiedPayment, Refusal> {
    check(payload, requirements, assets, now)?.by_key()
}

/// Checks a payment that is to be settled: with `upto`, `requirements.amount` is what is charged.
pub fn check_charge(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<Checked, Refusal> {
    match requirements.scheme.as_str() {
        upto::SCHEME => upto::check_charge(payload, requirements, assets, now),
        _ => check(payload, requirements, assets, now),
    }
}

/// The claim that a payment would make with whom it pays, read without verifying it; see [`exact::claim_key`] and
/// [`batch_settlement::voucher_key`].
pub fn claim_key(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<ClaimKey, Refusal> {
    let terms = terms(requirements)?;
    if requirements.scheme == batch_settlement::SCHEME {
        let (voucher, kind) = batch_settlement::read_voucher(payload)?;
        return Ok(batch_settlement::voucher_key(&terms, &voucher, kind));
    }
    Ok(exact::read_signed(payload, &terms)?.payee_key(&terms))
}

/// What the payer claims to have signed. For answers and look-ups; nothing is decided by it.
pub fn claimed(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<(Signed, ClaimKey), Refusal> {
    let terms = match upto::with_accepted_amount(payload, requirements) {
        Some(most) => upto::terms(&most)?,
        None if requirements.scheme == batch_settlement::SCHEME => batch_settlement::terms(requirements)?,
        None if requirements.scheme == auth_capture::SCHEME => auth_capture::terms(requirements)?,
        None => Terms::read(requirements)?,
    };
    let signed = exact::read_signed(payload, &terms)?;
    Ok((signed, signed.claim_key(&terms)))
}

/// Who claims to pay, as far as it can be read: of terms that are no good, or are nobody's here, too.
pub fn claimed_payer(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Option<Address> {
    if let Ok((signed, _)) = claimed(payload, requirements) {
        return Some(signed.payer());
    }
    let signed = ["authorization", "permit2Authorization"].into_iter().find_map(|name| payload.payload.get(name))?;
    value::address(signed.get("from")?.as_str()?).ok()
}
