//! Messages of protocol version 1 (`x402-specification-v1.md` section 5, `transports-v1/http.md`), and the one way into
//! the form of version 2 and out of it.
//!
//! Everything that decides works on the form of version 2: whichever version carried an authorization, it is the same
//! payment with the same claim. Version 1 names networks by word ([`NetworkNames`]), has the resource in each offer, and
//! its payload says of the terms the scheme and the network alone; the rest is what the authorization itself says.
//!
//! `maxAmountRequired` is the amount, exactly. Section 6.1.2 of the specification lets a payer sign more than that; both
//! official facilitators of today (npm `@x402/evm` 2.27.0, PyPI `x402` 2.25.0) demand equality for version 1 as well, and
//! so do we: an overpayment would move more than the seller asked for.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{ResourceInfo, WireError, read_message, version_of};
use crate::network::NetworkNames;
use crate::refusal::echo;

pub const X402_VERSION: u64 = 1;

/// One offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    pub scheme: String,
    /// A name, or a CAIP-2 id.
    pub network: String,
    /// Atomic units, exactly.
    pub max_amount_required: String,
    /// The address of what is sold.
    pub resource: String,
    /// The specification wants it; the Python SDK leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    pub pay_to: String,
    pub max_timeout_seconds: u64,
    pub asset: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object_or_its_text")]
    pub extra: Option<Map<String, Value>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The body of a 402.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    pub x402_version: u64,
    /// A text; sellers were seen that put an object here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    pub accepts: Vec<PaymentRequirements>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// What a payer presents, in `X-PAYMENT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    pub x402_version: u64,
    pub scheme: String,
    pub network: String,
    pub payload: Map<String, Value>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
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

/// The version that the other side speaks, so that it is answered in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// With its own spelling of the network.
    One {
        network: String,
    },
    Two,
}

impl Spoken {
    /// The network in the other side's spelling; `ours` is the CAIP-2 id.
    pub fn network<'a>(&'a self, ours: &'a str) -> &'a str {
        match self {
            Self::One { network } => network,
            Self::Two => ours,
        }
    }
}

impl PaymentRequirements {
    /// The same terms in the form of version 2. A network that is not known keeps its text, which no reader of that form
    /// takes for a network. What describes the resource is no part of the terms there and is left out.
    pub fn upgraded(&self, names: &NetworkNames) -> super::PaymentRequirements {
        super::PaymentRequirements {
            scheme: self.scheme.clone(),
            network: network_id(&self.network, names),
            amount: self.max_amount_required.clone(),
            asset: self.asset.clone(),
            pay_to: self.pay_to.clone(),
            max_timeout_seconds: self.max_timeout_seconds,
            extra: self.extra.clone(),
            unknown: self.unknown.clone(),
        }
    }

    /// An offer of ours as version 1 writes it; `None` where the network has no name in it, or the token moves in a way
    /// that no client of version 1 knows: it would sign something else for it.
    pub fn of(offer: &super::PaymentRequirements, resource: &ResourceInfo, names: &NetworkNames) -> Option<Self> {
        let method = offer.extra_field("assetTransferMethod");
        if offer.scheme != crate::exact::SCHEME || method.is_some_and(|method| method != "eip3009") {
            return None;
        }
        let network = offer.network.parse().ok().and_then(|network| names.name(network))?;
        Some(Self {
            scheme: offer.scheme.clone(),
            network: network.to_owned(),
            max_amount_required: offer.amount.clone(),
            resource: resource.url.clone(),
            // the npm package `x402` takes no offer without these two
            description: Some(resource.description.clone().unwrap_or_default()),
            mime_type: Some(resource.mime_type.clone().unwrap_or_default()),
            output_schema: None,
            pay_to: offer.pay_to.clone(),
            max_timeout_seconds: offer.max_timeout_seconds,
            asset: offer.asset.clone(),
            extra: offer.extra.clone(),
            unknown: offer.unknown.clone(),
        })
    }
}

impl PaymentRequired {
    /// The same demand in the form of version 2, offer by offer, in their order.
    pub fn upgraded(&self, names: &NetworkNames) -> Result<super::PaymentRequired, WireError> {
        let first = self.accepts.first().ok_or(WireError::Offers { max: crate::limit::OFFERS_MAX, found: 0 })?;
        if let Some(other) = self.accepts.iter().find(|offer| offer.resource != first.resource) {
            let (first, other) = (echo(&first.resource), echo(&other.resource));
            return Err(WireError::Resources { first, other });
        }
        let resource = ResourceInfo {
            url: first.resource.clone(),
            description: first.description.clone(),
            mime_type: first.mime_type.clone(),
            unknown: Map::new(),
        };
        let accepts = self.accepts.iter().map(|offer| offer.upgraded(names)).collect();
        let error = self.error.as_ref().and_then(Value::as_str).map(ToOwned::to_owned);
        Ok(super::PaymentRequired::new(resource, accepts, error))
    }
}

impl PaymentPayload {
    /// The payment in the form of version 2, for terms that the reader holds: those of its own offer, with the scheme and
    /// the network that the payer names.
    pub fn upgraded(&self, terms: &super::PaymentRequirements, names: &NetworkNames) -> super::PaymentPayload {
        let accepted = super::PaymentRequirements {
            scheme: self.scheme.clone(),
            network: network_id(&self.network, names),
            ..terms.clone()
        };
        super::PaymentPayload {
            x402_version: super::X402_VERSION,
            resource: None,
            accepted,
            payload: self.payload.clone(),
            extensions: None,
            unknown: self.unknown.clone(),
        }
    }

    /// A payment of ours as version 1 writes it, with the network as the seller spelled it.
    pub fn of(payment: &super::PaymentPayload, network: &str) -> Self {
        Self {
            x402_version: X402_VERSION,
            scheme: payment.accepted.scheme.clone(),
            network: network.to_owned(),
            payload: payment.payload.clone(),
            unknown: Map::new(),
        }
    }
}

/// Reads the body of `POST /verify` or `POST /settle` of either version.
pub fn read_request(bytes: &[u8], names: &NetworkNames) -> Result<(super::FacilitatorRequest, Spoken), WireError> {
    if version_of(bytes) != Some(X402_VERSION) {
        return match read_message(bytes) {
            Err(WireError::Version { found, .. }) => Err(WireError::Version { expected: "1 or 2", found }),
            other => other.map(|request| (request, Spoken::Two)),
        };
    }
    let request: FacilitatorRequest = read_message(bytes)?;
    let requirements = request.payment_requirements.upgraded(names);
    let payload = request.payment_payload.upgraded(&requirements, names);
    let mut upgraded = super::FacilitatorRequest::new(payload, requirements);
    upgraded.unknown = request.unknown;
    Ok((upgraded, Spoken::One { network: request.payment_requirements.network }))
}

fn network_id(text: &str, names: &NetworkNames) -> String {
    names.find(text).map_or_else(|| text.to_owned(), |network| network.to_string())
}

/// The Python SDK takes `extra` as the JSON text of the object too.
fn object_or_its_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Map<String, Value>>, D::Error> {
    use serde::de::Error;
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(Value::String(text)) => read_object(text.as_bytes()).map(Some).map_err(D::Error::custom),
        Some(_) => Err(D::Error::custom("extra: expected an object")),
    }
}

/// Under the rules of a message: bounded, and no key twice.
fn read_object(bytes: &[u8]) -> Result<Map<String, Value>, WireError> {
    super::json::check_keys(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| WireError::Shape { detail: echo(&error.to_string()) })
}

#[cfg(test)]
mod tests;
