//! Prices by usage: what the handler says it charges.
//!
//! It says so in a header of its answer, which nobody else sees: `Purser-Charge: 37`, or `Settlement-Overrides:
//! {"amount": "37"}` as handlers for the official SDKs do. An answer that says nothing charges the whole.

use http::{HeaderMap, response};
use serde_json::Value;
use x402::auth_capture;
use x402::batch_settlement;
use x402::network::AssetTable;
use x402::scheme;
use x402::upto::{self, ChargeError, charge};
use x402::value::Amount;
use x402::wire::PaymentRequirements;

/// A charge, in any form of [`charge`].
pub const PURSER_CHARGE: &str = "purser-charge";
/// The same in the form of the official SDKs.
pub(crate) const SETTLEMENT_OVERRIDES: &str = "settlement-overrides";

/// Schemes that let a handler charge less than what was signed.
const BY_USAGE: [&str; 3] = [upto::SCHEME, batch_settlement::SCHEME, auth_capture::SCHEME];

/// How a handler's charge is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Usage {
    /// The price is what it is, whatever the handler says.
    Fixed,
    UpTo {
        permitted: Amount,
        decimals: Option<u8>,
    },
}

impl Usage {
    pub(crate) fn of(requirements: &PaymentRequirements, assets: &AssetTable) -> Self {
        match scheme::terms(requirements) {
            Ok(terms) if BY_USAGE.contains(&requirements.scheme.as_str()) => {
                let decimals = assets.find(terms.network, terms.token).map(|asset| asset.decimals);
                Self::UpTo { permitted: terms.amount, decimals }
            }
            _ => Self::Fixed,
        }
    }

    /// `None` is the whole.
    pub(crate) fn said(self, parts: &response::Parts) -> Result<Option<Amount>, ChargeError> {
        let Self::UpTo { permitted, decimals } = self else { return Ok(None) };
        let ours = one(&parts.headers, PURSER_CHARGE)?.map(ToOwned::to_owned);
        let theirs = one(&parts.headers, SETTLEMENT_OVERRIDES)?.map(overriding).transpose()?.flatten();
        let said = match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                return Err(ChargeError::of(&format!("{ours} and {theirs}")));
            }
            (ours, theirs) => ours.or(theirs),
        };
        said.map(|text| charge(&text, permitted, decimals)).transpose()
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ChargeError> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let text = first.to_str().map_err(|_| ChargeError::of("bytes that are no text"))?;
    match values.next() {
        Some(_) => Err(ChargeError::of(&format!("several of {name}"))),
        None => Ok(Some(text.trim())),
    }
}

/// The amount of the overrides; they may say other things than an amount.
fn overriding(text: &str) -> Result<Option<String>, ChargeError> {
    let wrong = || ChargeError::of(text);
    let overrides: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    match overrides.as_object().ok_or_else(wrong)?.get("amount") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(amount)) => Ok(Some(amount.clone())),
        Some(Value::Number(units)) => Ok(Some(units.to_string())),
        Some(_) => Err(wrong()),
    }
}
