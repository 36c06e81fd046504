//! Stateless verification of a permit, cheap checks first, the signature last.

use alloy_primitives::U256;

use super::sponsor::Sponsoring;
use super::{EXACT_PROXY, Permit, UPTO_PROXY, Witness, approval, read_payload, sponsor};
use crate::exact::{Checked, Signed, Terms, Transfer, Unsigned, check_accepted};
use crate::limit::{CLOCK_SKEW_SECONDS, SETTLEMENT_MARGIN_SECONDS};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::wire::{PaymentPayload, PaymentRequirements};

/// The part of [`crate::exact::check`] that is Permit2's, on terms that are trusted.
pub(crate) fn check(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    terms: Terms,
    now: u64,
) -> Result<Checked, Refusal> {
    let (permit, signature_text) = read_payload(payload)?;
    check_permit(&permit, &terms, now)?;
    check_accepted(&payload.accepted, requirements)?;
    let charged = permit.amount;
    seal(payload, terms, permit, &signature_text, charged, now)
}

/// The signature, and what came along with it.
pub(crate) fn seal(
    payload: &PaymentPayload,
    terms: Terms,
    permit: Permit,
    signature_text: &str,
    charged: U256,
    now: u64,
) -> Result<Checked, Refusal> {
    // Where both came, the one that needs no transaction of its own.
    let sponsored = match sponsor::read(payload, &permit, now)? {
        Some(permit) => Some(Sponsoring::Permit(permit)),
        None => approval::read(payload, &permit, terms.network)?.map(|found| Sponsoring::Approval(Box::new(found))),
    };
    let unsigned = Unsigned { terms, signed: Signed::Permit2(permit), charged, sponsored };
    unsigned.with(signature_text, Reason::Permit2Signature)
}

/// Everything that is signed, against the terms. The order is that of the official SDKs.
pub(crate) fn check_permit(permit: &Permit, terms: &Terms, now: u64) -> Result<(), Refusal> {
    check_spender(permit, terms)?;
    if permit.witness.to() != terms.pay_to {
        let field = "payload.permit2Authorization.witness.to";
        return Err(Refusal::new(Reason::Permit2RecipientMismatch, field, terms.pay_to, permit.witness.to()));
    }
    check_window(permit, terms, now)?;
    // Equality, not "at least": an overpayment would move more than anybody agreed to, or allow it.
    if permit.amount != terms.value() {
        let field = "payload.permit2Authorization.permitted.amount";
        return Err(Refusal::new(Reason::Permit2AmountMismatch, field, terms.value(), permit.amount));
    }
    if permit.token != terms.token {
        let field = "payload.permit2Authorization.permitted.token";
        return Err(Refusal::new(Reason::Permit2TokenMismatch, field, terms.token, permit.token));
    }
    Ok(())
}

/// The proxy is the scheme's, and the witness has the form that this proxy hashes.
fn check_spender(permit: &Permit, terms: &Terms) -> Result<(), Refusal> {
    let proxy = match terms.transfer {
        Transfer::Upto { .. } => UPTO_PROXY,
        Transfer::Permit2 | Transfer::Eip3009 | Transfer::Channel { .. } | Transfer::Escrow(_) => EXACT_PROXY,
    };
    if permit.spender != proxy {
        let field = "payload.permit2Authorization.spender";
        return Err(Refusal::new(Reason::Permit2Spender, field, proxy, permit.spender));
    }
    let field = "payload.permit2Authorization.witness.facilitator";
    match (terms.transfer, permit.witness) {
        (Transfer::Upto { facilitator: expected }, Witness::Upto { facilitator: found, .. }) if expected == found => {
            Ok(())
        }
        (Transfer::Upto { facilitator: expected }, Witness::Upto { facilitator: found, .. }) => {
            Err(Refusal::new(Reason::UptoFacilitator, field, expected, found))
        }
        (Transfer::Upto { facilitator }, Witness::Exact { .. }) => {
            Err(Refusal::new(Reason::UptoFacilitator, field, facilitator, "none"))
        }
        (_, Witness::Upto { facilitator, .. }) => {
            Err(Refusal::new(Reason::InvalidPayload, field, "none (scheme exact)", facilitator))
        }
        (_, Witness::Exact { .. }) => Ok(()),
    }
}

/// Late enough to be settled, early enough that the money is not held for ever.
fn check_window(permit: &Permit, terms: &Terms, now: u64) -> Result<(), Refusal> {
    let field = "payload.permit2Authorization.deadline";
    let earliest = U256::from(now).saturating_add(U256::from(SETTLEMENT_MARGIN_SECONDS));
    if permit.deadline < earliest {
        let expected = format!("at least {earliest}");
        return Err(Refusal::new(Reason::Permit2DeadlineExpired, field, expected, permit.deadline));
    }
    let latest = now.saturating_add(terms.max_timeout_seconds).saturating_add(CLOCK_SKEW_SECONDS);
    if permit.deadline > U256::from(latest) {
        let expected = format!("at most {latest}");
        return Err(Refusal::new(Reason::Permit2DeadlineExpired, field, expected, permit.deadline));
    }
    let valid_after = permit.witness.valid_after();
    if valid_after > U256::from(now) {
        let (field, expected) = ("payload.permit2Authorization.witness.validAfter", format!("at most {now}"));
        return Err(Refusal::new(Reason::Permit2NotYetValid, field, expected, valid_after));
    }
    Ok(())
}
