//! Scheme `upto` on EVM (`scheme_upto_evm.md`): a payer permits at most an amount, and the facilitator that the permit
//! names moves what was used. Permit2 alone can do that.
//!
//! A permit is good for one charge, of zero too: then nothing goes to the chain, and whoever settled it must remember
//! that it is spent, because the chain does not.

mod charge;

use alloy_primitives::U256;
use ledger::money::Amount;
use serde_json::Value;

pub use charge::{ChargeError, charge};

use crate::exact::{Checked, Terms, Transfer, check_accepted, read_address};
use crate::network::AssetTable;
use crate::permit2::{self, check_permit, seal};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scheme::check_frame;
use crate::wire::{PaymentPayload, PaymentRequirements};

/// The name of the scheme on the wire.
pub const SCHEME: &str = "upto";
/// Where a requirement names the account that settles; a facilitator says it in `/supported`.
pub const FACILITATOR: &str = "facilitatorAddress";

/// What a requirement of this scheme says; `amount` is the most that may be charged.
pub fn terms(requirements: &PaymentRequirements) -> Result<Terms, Refusal> {
    if requirements.scheme != SCHEME {
        return Err(Refusal::new(Reason::UptoScheme, "scheme", SCHEME, &requirements.scheme));
    }
    Terms::read_values(requirements, transfer)
}

fn transfer(requirements: &PaymentRequirements) -> Result<Transfer, Refusal> {
    match requirements.extra_field("assetTransferMethod") {
        None => {}
        Some(Value::String(method)) if method == permit2::METHOD => {}
        Some(other) => {
            let field = "extra.assetTransferMethod";
            return Err(Refusal::new(Reason::UnsupportedPayloadType, field, "permit2 or none", other));
        }
    }
    let field = "extra.facilitatorAddress";
    match requirements.extra_field(FACILITATOR) {
        Some(Value::String(text)) => Ok(Transfer::Upto { facilitator: read_address(text, field)? }),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), Value::to_string);
            let expected = "the address of the facilitator that settles";
            Err(Refusal::new(Reason::InvalidPaymentRequirements, field, expected, found))
        }
    }
}

/// Checks that the whole of what is required is permitted, at `now` (Unix seconds).
pub fn check(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<Checked, Refusal> {
    let charged = U256::from(required(payload, requirements)?.get());
    check_within(payload, requirements, assets, charged, now)
}

/// Checks that a charge is within what is permitted: `requirements.amount` is the charge, zero too, and what the payer
/// accepted says the most.
pub fn check_charge(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<Checked, Refusal> {
    let charged = U256::from(required(payload, requirements)?.get());
    let most = with_accepted_amount(payload, requirements).unwrap_or_else(|| requirements.clone());
    let checked = check_within(payload, &most, assets, charged, now)?;
    let permitted = terms(&most)?.value();
    if charged > permitted {
        return Err(Refusal::new(Reason::UptoExceedsAmount, "amount", format!("at most {permitted}"), charged));
    }
    Ok(checked)
}

/// The requirement with the most that may be charged, which is under the payer's signature; the other terms stay the
/// seller's own. `None` of another scheme.
pub fn with_accepted_amount(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
) -> Option<PaymentRequirements> {
    let amount = payload.accepted.amount.clone();
    (requirements.scheme == SCHEME).then(|| PaymentRequirements { amount, ..requirements.clone() })
}

/// The amount that is required. Whoever charges may charge nothing.
fn required(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<Amount, Refusal> {
    check_frame(payload, requirements, SCHEME, (Reason::UptoScheme, Reason::UptoNetworkMismatch))?;
    let text = &requirements.amount;
    text.parse().map_err(|error| Refusal::new(Reason::InvalidPaymentRequirements, "amount", error, text))
}

fn check_within(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    charged: U256,
    now: u64,
) -> Result<Checked, Refusal> {
    let terms = terms(requirements)?;
    terms.trusted_asset(assets)?;
    let (permit, signature_text) = permit2::read_payload(payload)?;
    check_permit(&permit, &terms, now)?;
    check_accepted(&payload.accepted, requirements)?;
    seal(payload, terms, permit, &signature_text, charged, now)
}
