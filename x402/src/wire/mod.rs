//! Messages of the protocol, as they are on the wire: texts, not yet believed. Those of version 2 stand here and are
//! the form that everything else works on; [`v1`] has those of version 1 and brings them into this form.
//!
//! `x402-specification-v2.md` section 5 names the fields; `transports-v2/http.md` the headers. Optional fields may
//! arrive as `null` (Python-like peers write them so); unknown fields are kept and written back. Values are read
//! from these texts by [`crate::exact`] and [`crate::select`], never used as they are.

pub mod extension;
mod header;
mod json;
#[cfg(test)]
mod tests;
pub mod v1;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use header::{
    ALLOWED_HEADERS, EXPOSED_HEADERS, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, X_PAYMENT,
    X_PAYMENT_RESPONSE, read_header, write_header,
};
pub use json::{Message, read_message, version_of, whole, write_message};

use crate::reason::Reason;
use crate::refusal::Refusal;

/// The version of these messages.
pub const X402_VERSION: u64 = 2;

/// What came is not a message of the protocol, or not one of the version that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("at most {max_bytes} bytes are read, {found_bytes} came")]
    TooLarge { max_bytes: usize, found_bytes: usize },
    #[error("a payment header is base64 of JSON; this is not base64: {detail}")]
    NotBase64 { detail: String },
    #[error("a message is a JSON object; this is not: {detail}")]
    NotJson { detail: String },
    #[error("a key stands once in an object; `{key}` stands twice")]
    DuplicateKey { key: String },
    #[error("x402Version: expected {expected}, found {found}")]
    Version { expected: &'static str, found: String },
    #[error("a field is missing or of another type: {detail}")]
    Shape { detail: String },
    #[error("accepts: expected 1 to {max} offers, found {found}")]
    Offers { max: usize, found: usize },
    /// Version 1 names the resource in each offer.
    #[error("accepts[].resource: expected one resource in all offers, found {first} and {other}")]
    Resources { first: String, other: String },
}

impl WireError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "message_too_large",
            Self::NotBase64 { .. } => "not_base64",
            Self::NotJson { .. } => "not_json",
            Self::DuplicateKey { .. } => "duplicate_key",
            Self::Version { .. } => "invalid_x402_version",
            Self::Shape { .. } => "invalid_payload",
            Self::Offers { .. } => "invalid_offer_count",
            Self::Resources { .. } => "offers_of_several_resources",
        }
    }

    /// What a facilitator answers for it.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Version { .. } => Reason::InvalidX402Version,
            Self::Offers { .. } | Self::Resources { .. } => Reason::InvalidPaymentRequirements,
            _ => Reason::InvalidPayload,
        }
    }

    /// The same bytes are refused for ever.
    pub const fn retryable(&self) -> bool {
        false
    }
}

/// What a 402 says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    pub x402_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub resource: ResourceInfo,
    pub accepts: Vec<PaymentRequirements>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl PaymentRequired {
    pub fn new(resource: ResourceInfo, accepts: Vec<PaymentRequirements>, error: Option<String>) -> Self {
        Self { x402_version: X402_VERSION, error, resource, accepts, extensions: None, unknown: Map::new() }
    }
}

/// Untrusted text about the resource. Never interpreted; shown to humans escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceInfo {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl ResourceInfo {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

/// One offer: how much of what, where, to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    pub scheme: String,
    pub network: String,
    pub amount: String,
    pub asset: String,
    pub pay_to: String,
    pub max_timeout_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl PaymentRequirements {
    /// The field of `extra`, where it is there and not `null`.
    pub fn extra_field(&self, name: &str) -> Option<&Value> {
        self.extra.as_ref().and_then(|extra| extra.get(name)).filter(|value| !value.is_null())
    }
}

/// What a payer presents. `resource` is not signed: nothing is ever authorized from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    pub x402_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceInfo>,
    pub accepted: PaymentRequirements,
    /// The object of the scheme; for `exact` over EIP-3009 an [`ExactEvmPayload`].
    pub payload: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// `exact` on EVM over EIP-3009 (`scheme_exact_evm.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactEvmPayload {
    pub signature: String,
    pub authorization: WireAuthorization,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireAuthorization {
    pub from: String,
    pub to: String,
    pub value: String,
    pub valid_after: String,
    pub valid_before: String,
    pub nonce: String,
}

/// The body of `POST /verify` and of `POST /settle`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FacilitatorRequest {
    pub x402_version: u64,
    pub payment_payload: PaymentPayload,
    pub payment_requirements: PaymentRequirements,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

pub type VerifyRequest = FacilitatorRequest;
pub type SettleRequest = FacilitatorRequest;

impl FacilitatorRequest {
    pub fn new(payment_payload: PaymentPayload, payment_requirements: PaymentRequirements) -> Self {
        Self { x402_version: X402_VERSION, payment_payload, payment_requirements, unknown: Map::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    pub is_valid: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl VerifyResponse {
    pub fn valid(payer: impl Into<String>) -> Self {
        Self {
            is_valid: true,
            invalid_reason: None,
            invalid_message: None,
            payer: Some(payer.into()),
            unknown: Map::new(),
        }
    }

    pub fn invalid(reason: Reason, message: impl Into<String>, payer: Option<String>) -> Self {
        Self {
            is_valid: false,
            invalid_reason: Some(reason.as_str().to_owned()),
            invalid_message: Some(message.into()),
            payer,
            unknown: Map::new(),
        }
    }

    pub fn refused(refusal: &Refusal, payer: Option<String>) -> Self {
        Self::invalid(refusal.reason, refusal.to_string(), payer)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    pub success: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// Empty when nothing is on chain; peers were seen that write `null` then.
    #[serde(deserialize_with = "null_is_empty")]
    pub transaction: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub network: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl SettleResponse {
    pub fn settled(payer: impl Into<String>, transaction: impl Into<String>, network: impl Into<String>) -> Self {
        Self {
            success: true,
            error_reason: None,
            error_message: None,
            payer: Some(payer.into()),
            transaction: transaction.into(),
            network: network.into(),
            amount: None,
            extra: None,
            unknown: Map::new(),
        }
    }

    /// `transaction` is the hash that was sent, or empty when nothing was.
    pub fn failed(
        reason: Reason,
        message: impl Into<String>,
        payer: Option<String>,
        transaction: impl Into<String>,
        network: impl Into<String>,
    ) -> Self {
        Self {
            success: false,
            error_reason: Some(reason.as_str().to_owned()),
            error_message: Some(message.into()),
            payer,
            ..Self::settled("", transaction, network)
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedKind {
    pub x402_version: u64,
    pub scheme: String,
    pub network: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedResponse {
    pub kinds: Vec<SupportedKind>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub extensions: Vec<String>,
    /// CAIP-2 pattern (`eip155:*`) to the addresses that settle there.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub signers: std::collections::BTreeMap<String, Vec<String>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
