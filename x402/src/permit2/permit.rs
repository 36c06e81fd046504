//! What is signed: `PermitWitnessTransferFrom`, and its form on the wire.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::PERMIT2;
use crate::network::Network;
use crate::reason::Reason;
use crate::refusal::{Refusal, not_a_string};
use crate::value::{self, ValueError};
use crate::wire::PaymentPayload;

/// Tag of [`nonce`].
const NONCE_TAG: &[u8] = b"purser/permit2-nonce/1";

/// The nonce of the permit that pays one spend under one mandate, as [`crate::exact::nonce`] is that of an EIP-3009
/// authorization, under a tag of its own. A nonce of Permit2 is a number; this is its big-endian form.
pub fn nonce(mandate_identity: [u8; 32], spend_id: [u8; 32]) -> B256 {
    let mut hash = Sha256::new();
    hash.update(NONCE_TAG);
    hash.update([0]);
    hash.update(mandate_identity);
    hash.update(spend_id);
    B256::from(<[u8; 32]>::from(hash.finalize()))
}

mod exact {
    alloy_sol_types::sol! {
        struct TokenPermissions {
            address token;
            uint256 amount;
        }
        struct Witness {
            address to;
            uint256 validAfter;
        }
        struct PermitWitnessTransferFrom {
            TokenPermissions permitted;
            address spender;
            uint256 nonce;
            uint256 deadline;
            Witness witness;
        }
    }
}

mod upto {
    alloy_sol_types::sol! {
        struct TokenPermissions {
            address token;
            uint256 amount;
        }
        struct Witness {
            address to;
            address facilitator;
            uint256 validAfter;
        }
        struct PermitWitnessTransferFrom {
            TokenPermissions permitted;
            address spender;
            uint256 nonce;
            uint256 deadline;
            Witness witness;
        }
    }
}

/// What the payer binds beside the permit. Which fields it has says which scheme was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    Exact {
        to: Address,
        valid_after: U256,
    },
    Upto {
        to: Address,
        /// The only account that the proxy lets settle.
        facilitator: Address,
        valid_after: U256,
    },
}

impl Witness {
    pub const fn to(&self) -> Address {
        match self {
            Self::Exact { to, .. } | Self::Upto { to, .. } => *to,
        }
    }

    /// Unix seconds; the proxy wants `block.timestamp` at or above.
    pub const fn valid_after(&self) -> U256 {
        match self {
            Self::Exact { valid_after, .. } | Self::Upto { valid_after, .. } => *valid_after,
        }
    }

    pub const fn facilitator(&self) -> Option<Address> {
        match self {
            Self::Exact { .. } => None,
            Self::Upto { facilitator, .. } => Some(*facilitator),
        }
    }
}

/// A permit of Permit2 as it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub from: Address,
    pub token: Address,
    /// The most that can be moved; with `exact`, what is moved.
    pub amount: U256,
    /// The proxy. Permit2 lets nobody else use the permit.
    pub spender: Address,
    pub nonce: U256,
    /// Unix seconds; Permit2 wants `block.timestamp` at or below.
    pub deadline: U256,
    pub witness: Witness,
}

impl Permit {
    /// What the key signs (EIP-712). The domain of Permit2 has no version.
    pub fn digest(&self, network: Network) -> B256 {
        let domain =
            Eip712Domain::new(Some("Permit2".into()), None, Some(U256::from(network.chain_id())), Some(PERMIT2), None);
        match self.witness {
            Witness::Exact { to, valid_after } => exact::PermitWitnessTransferFrom {
                permitted: exact::TokenPermissions { token: self.token, amount: self.amount },
                spender: self.spender,
                nonce: self.nonce,
                deadline: self.deadline,
                witness: exact::Witness { to, validAfter: valid_after },
            }
            .eip712_signing_hash(&domain),
            Witness::Upto { to, facilitator, valid_after } => upto::PermitWitnessTransferFrom {
                permitted: upto::TokenPermissions { token: self.token, amount: self.amount },
                spender: self.spender,
                nonce: self.nonce,
                deadline: self.deadline,
                witness: upto::Witness { to, facilitator, validAfter: valid_after },
            }
            .eip712_signing_hash(&domain),
        }
    }
}

/// The object of the scheme on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermitWire {
    pub signature: String,
    pub permit2_authorization: WireAuthorization,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireAuthorization {
    from: String,
    permitted: WirePermitted,
    spender: String,
    nonce: String,
    deadline: String,
    witness: WireWitness,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WirePermitted {
    token: String,
    amount: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireWitness {
    to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facilitator: Option<String>,
    valid_after: String,
}

pub(super) const STRINGS: [&str; 9] = [
    "payload.signature",
    "payload.permit2Authorization.from",
    "payload.permit2Authorization.spender",
    "payload.permit2Authorization.nonce",
    "payload.permit2Authorization.deadline",
    "payload.permit2Authorization.permitted.token",
    "payload.permit2Authorization.permitted.amount",
    "payload.permit2Authorization.witness.to",
    "payload.permit2Authorization.witness.validAfter",
];

impl PermitWire {
    pub fn new(permit: &Permit, signature: String) -> Self {
        let witness = &permit.witness;
        Self {
            signature,
            permit2_authorization: WireAuthorization {
                from: permit.from.to_string(),
                permitted: WirePermitted { token: permit.token.to_string(), amount: permit.amount.to_string() },
                spender: permit.spender.to_string(),
                nonce: permit.nonce.to_string(),
                deadline: permit.deadline.to_string(),
                witness: WireWitness {
                    to: witness.to().to_string(),
                    facilitator: witness.facilitator().map(|facilitator| facilitator.to_string()),
                    valid_after: witness.valid_after().to_string(),
                },
            },
        }
    }
}

/// Reads the scheme's object: what the payer claims to have signed, and the text of the signature.
pub fn read_payload(payload: &PaymentPayload) -> Result<(Permit, String), Refusal> {
    let object: &Map<String, Value> = &payload.payload;
    if !object.contains_key("permit2Authorization") {
        let found = if object.contains_key("authorization") { "authorization (EIP-3009)" } else { "none" };
        let reason = if found == "none" { Reason::InvalidPayload } else { Reason::UnsupportedPayloadType };
        return Err(Refusal::new(reason, "payload", "a permit2Authorization", found));
    }
    let wire: PermitWire = serde_json::from_value(Value::Object(object.clone())).map_err(|error| {
        let whole = || Refusal::new(Reason::InvalidPayload, "payload", "signature and permit2Authorization", error);
        not_a_string(object, &STRINGS).unwrap_or_else(whole)
    })?;
    Ok((read(&wire.permit2_authorization)?, wire.signature))
}

fn read(wire: &WireAuthorization) -> Result<Permit, Refusal> {
    let (to, valid_after) = (
        address("payload.permit2Authorization.witness.to", &wire.witness.to)?,
        number("payload.permit2Authorization.witness.validAfter", &wire.witness.valid_after)?,
    );
    let witness = match &wire.witness.facilitator {
        None => Witness::Exact { to, valid_after },
        Some(text) => {
            let facilitator = address("payload.permit2Authorization.witness.facilitator", text)?;
            Witness::Upto { to, facilitator, valid_after }
        }
    };
    Ok(Permit {
        from: address("payload.permit2Authorization.from", &wire.from)?,
        token: address("payload.permit2Authorization.permitted.token", &wire.permitted.token)?,
        amount: number("payload.permit2Authorization.permitted.amount", &wire.permitted.amount)?,
        spender: address("payload.permit2Authorization.spender", &wire.spender)?,
        nonce: number("payload.permit2Authorization.nonce", &wire.nonce)?,
        deadline: number("payload.permit2Authorization.deadline", &wire.deadline)?,
        witness,
    })
}

fn address(field: &'static str, text: &str) -> Result<Address, Refusal> {
    value::address(text).map_err(|error| malformed(field, text, error))
}

fn number(field: &'static str, text: &str) -> Result<U256, Refusal> {
    value::uint256(text).map_err(|error| malformed(field, text, error))
}

fn malformed(field: &'static str, text: &str, error: ValueError) -> Refusal {
    Refusal::new(Reason::InvalidPayload, field, error, text)
}
