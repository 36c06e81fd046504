//! The extension `eip2612GasSponsoring`: an allowance that comes along as a signature, so that the payer needs no gas.
//!
//! The specification's prose speaks of an unlimited allowance; the deployed proxies take exactly the permitted amount
//! and nothing else (`Permit2612AmountMismatch`), and so do we. The proxy swallows a permit that fails, so whether it
//! counts is seen in the simulation alone.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolStruct;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::approval::Approval;
use super::{PERMIT2, Permit};
use crate::exact::{EvmSignature, TokenDomain};
use crate::limit::SETTLEMENT_MARGIN_SECONDS;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::value;
use crate::wire::PaymentPayload;

/// The name of the extension on the wire.
pub const EXTENSION: &str = "eip2612GasSponsoring";

/// The version of the extension that is spoken.
const VERSION: &str = "1";

// The fields, as refusals name them.
const FROM: &str = "extensions.eip2612GasSponsoring.info.from";
const ASSET: &str = "extensions.eip2612GasSponsoring.info.asset";
const SPENDER: &str = "extensions.eip2612GasSponsoring.info.spender";
const AMOUNT: &str = "extensions.eip2612GasSponsoring.info.amount";
const NONCE: &str = "extensions.eip2612GasSponsoring.info.nonce";
const DEADLINE: &str = "extensions.eip2612GasSponsoring.info.deadline";
const SIGNATURE: &str = "extensions.eip2612GasSponsoring.info.signature";
const INFO_VERSION: &str = "extensions.eip2612GasSponsoring.info.version";

mod typed {
    alloy_sol_types::sol! {
        struct Permit {
            address owner;
            address spender;
            uint256 value;
            uint256 nonce;
            uint256 deadline;
        }
    }
}

/// An allowance that comes along with a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sponsoring {
    /// The proxy takes it with the payment.
    Permit(Sponsored),
    /// It is sent before the payment.
    Approval(Box<Approval>),
}

impl Sponsoring {
    pub const fn permit(&self) -> Option<&Sponsored> {
        match self {
            Self::Permit(permit) => Some(permit),
            Self::Approval(_) => None,
        }
    }

    pub fn approval(&self) -> Option<&Approval> {
        match self {
            Self::Permit(_) => None,
            Self::Approval(approval) => Some(approval),
        }
    }
}

/// An EIP-2612 permit for Permit2, as a proxy takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sponsored {
    pub value: U256,
    /// Unix seconds.
    pub deadline: U256,
    /// r || s || v, v is 27 or 28.
    pub signature: [u8; 65],
}

/// What a seller says of it in a 402.
pub fn declaration() -> Value {
    json!({ "info": { "description": "a permit of the token for Permit2 is taken along", "version": VERSION } })
}

/// What a payer signs for it, of exactly the amount of one permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub owner: Address,
    pub value: U256,
    /// The owner's counter in the token (`nonces(owner)`).
    pub nonce: U256,
    /// Unix seconds.
    pub deadline: U256,
}

impl Allowance {
    /// What the key signs (EIP-712, in the domain of the token).
    pub fn digest(&self, domain: &TokenDomain) -> B256 {
        typed::Permit {
            owner: self.owner,
            spender: PERMIT2,
            value: self.value,
            nonce: self.nonce,
            deadline: self.deadline,
        }
        .eip712_signing_hash(&domain.eip712())
    }

    /// The entry of `extensions`, signed.
    pub fn extension(&self, asset: Address, signature: EvmSignature) -> Value {
        json!({ "info": {
            "from": self.owner.to_string(),
            "asset": asset.to_string(),
            "spender": PERMIT2.to_string(),
            "amount": self.value.to_string(),
            "nonce": self.nonce.to_string(),
            "deadline": self.deadline.to_string(),
            "signature": signature.to_text(),
            "version": VERSION,
        }})
    }
}

#[derive(Serialize, Deserialize)]
struct Info {
    from: String,
    asset: String,
    spender: String,
    amount: String,
    nonce: String,
    deadline: String,
    signature: String,
    version: String,
}

/// The permit that came along; `None` where the extension is not there, or is only the seller's offer of it echoed
/// (without a signature).
pub(super) fn read(payload: &PaymentPayload, permit: &Permit, now: u64) -> Result<Option<Sponsored>, Refusal> {
    let entry = payload.extensions.as_ref().and_then(|extensions| extensions.get(EXTENSION));
    let Some(info) = entry.and_then(|entry| entry.get("info")).and_then(Value::as_object) else { return Ok(None) };
    if !info.contains_key("signature") {
        return Ok(None);
    }
    let info = parse(info)?;
    let owner = address(FROM, &info.from)?;
    if owner != permit.from {
        return Err(Refusal::new(Reason::Eip2612From, FROM, permit.from, owner));
    }
    let asset = address(ASSET, &info.asset)?;
    if asset != permit.token {
        return Err(Refusal::new(Reason::Eip2612Asset, ASSET, permit.token, asset));
    }
    let spender = address(SPENDER, &info.spender)?;
    if spender != PERMIT2 {
        return Err(Refusal::new(Reason::Eip2612Spender, SPENDER, PERMIT2, spender));
    }
    let (value, deadline) = (number(AMOUNT, &info.amount)?, number(DEADLINE, &info.deadline)?);
    number(NONCE, &info.nonce)?;
    if value != permit.amount {
        return Err(Refusal::new(Reason::Eip2612Amount, AMOUNT, permit.amount, value));
    }
    let earliest = U256::from(now).saturating_add(U256::from(SETTLEMENT_MARGIN_SECONDS));
    if deadline < earliest {
        let expected = format!("at least {earliest}");
        return Err(Refusal::new(Reason::Eip2612Deadline, DEADLINE, expected, deadline));
    }
    let signature = EvmSignature::read(&info.signature)
        .map_err(|error| Refusal::new(Reason::Eip2612Format, SIGNATURE, error, &info.signature))?;
    Ok(Some(Sponsored { value, deadline, signature: signature.to_bytes() }))
}

fn parse(info: &Map<String, Value>) -> Result<Info, Refusal> {
    let info: Info = serde_json::from_value(Value::Object(info.clone()))
        .map_err(|error| Refusal::new(Reason::Eip2612Format, EXTENSION, "the fields of the extension", error))?;
    if info.version != VERSION {
        return Err(Refusal::new(Reason::Eip2612Format, INFO_VERSION, VERSION, &info.version));
    }
    Ok(info)
}

fn address(field: &'static str, text: &str) -> Result<Address, Refusal> {
    value::address(text).map_err(|error| Refusal::new(Reason::Eip2612Format, field, error, text))
}

fn number(field: &'static str, text: &str) -> Result<U256, Refusal> {
    value::uint256(text).map_err(|error| Refusal::new(Reason::Eip2612Format, field, error, text))
}
