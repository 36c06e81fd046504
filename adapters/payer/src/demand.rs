//! What a seller asks for, read from its answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use x402::sign_in::invitation;
use x402::wire::{
    PAYMENT_REQUIRED, PAYMENT_SIGNATURE, PaymentRequired, X_PAYMENT, read_header, read_message, v1, version_of,
};

/// As it came, and as it was read: what is signed is judged on the seller's own bytes.
#[derive(Clone, Debug)]
pub enum Demand {
    /// Version 2: the value of PAYMENT-REQUIRED.
    Header { header: String, required: PaymentRequired },
    /// Version 1: the body.
    Body { body: Vec<u8>, required: v1::PaymentRequired },
}

impl Demand {
    /// The header where there is one, whatever the body says: a seller that speaks both versions is paid over the newer.
    pub fn read(headers: &HeaderMap, came: &[u8]) -> Result<Self, String> {
        // Two would let a seller show one price to us and another to whoever reads the other one.
        if headers.get_all(PAYMENT_REQUIRED).iter().nth(1).is_some() {
            return Err("PAYMENT-REQUIRED stands several times".into());
        }
        if let Some(header) = headers.get(PAYMENT_REQUIRED) {
            let required = read_header(header.as_bytes()).map_err(|error| error.to_string())?;
            let header = header.to_str().map_err(|_| "PAYMENT-REQUIRED is no text".to_owned())?.to_owned();
            return Ok(Self::Header { header, required });
        }
        let required = read_message::<v1::PaymentRequired>(came);
        if version_of(came) != Some(v1::X402_VERSION) {
            let why = required.err().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(format!("there is no PAYMENT-REQUIRED, and the body is no demand of version 1{why}"));
        }
        let required = required.map_err(|error| error.to_string())?;
        Ok(Self::Body { body: came.to_vec(), required })
    }

    /// The same where it came as an object, over MCP or A2A, and not as a header.
    pub fn of(object: &Map<String, Value>) -> Result<Self, String> {
        let came = Value::Object(object.clone()).to_string().into_bytes();
        if version_of(&came) == Some(v1::X402_VERSION) {
            let required = read_message(&came).map_err(|error| error.to_string())?;
            return Ok(Self::Body { body: came, required });
        }
        let required = read_message(&came).map_err(|error| error.to_string())?;
        Ok(Self::Header { header: STANDARD.encode(&came), required })
    }

    /// What may be paid, as the seller says it.
    pub fn offers(&self) -> Vec<Offered<'_>> {
        match self {
            Self::Header { required, .. } => {
                let offered = required.accepts.iter().map(|it| Offered {
                    name: it.extra.as_ref().and_then(|extra| extra.get("name")?.as_str()),
                    amount: &it.amount,
                    asset: &it.asset,
                    network: &it.network,
                    pay_to: &it.pay_to,
                    scheme: &it.scheme,
                });
                offered.collect()
            }
            Self::Body { required, .. } => {
                let offered = required.accepts.iter().map(|it| Offered {
                    name: it.extra.as_ref().and_then(|extra| extra.get("name")?.as_str()),
                    amount: &it.max_amount_required,
                    asset: &it.asset,
                    network: &it.network,
                    pay_to: &it.pay_to,
                    scheme: &it.scheme,
                });
                offered.collect()
            }
        }
    }

    /// Whether whoever paid for it may come back for it without paying.
    pub fn takes_sign_in(&self) -> bool {
        match self {
            Self::Header { required, .. } => invitation::is_declared(required.extensions.as_ref()),
            Self::Body { .. } => false,
        }
    }

    /// What is to be paid for, by the seller's name for it.
    pub fn resource(&self) -> &str {
        match self {
            Self::Header { required, .. } => &required.resource.url,
            Self::Body { required, .. } => required.accepts.first().map_or("", |offer| &offer.resource),
        }
    }

    /// The header that a payment goes into.
    pub const fn payment_header(&self) -> &'static str {
        match self {
            Self::Header { .. } => PAYMENT_SIGNATURE,
            Self::Body { .. } => X_PAYMENT,
        }
    }
}

/// One offer of a demand, of whichever version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered<'a> {
    /// What the seller calls the token.
    pub name: Option<&'a str>,
    pub amount: &'a str,
    pub asset: &'a str,
    pub network: &'a str,
    pub pay_to: &'a str,
    pub scheme: &'a str,
}

/// A 412 of the protocol: the seller wants the token allowed to Permit2 first. Any other 412 is the resource's own.
pub fn wants_allowance(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::PRECONDITION_FAILED && headers.contains_key(PAYMENT_REQUIRED)
}
