//! Extension `offer-receipt` (`specs/extensions/extension-offer-and-receipt.md`): a seller signs what it offers, and that
//! it was paid.
//!
//! Here are the payloads, what a signed offer must agree with, and the digests of the form `eip712`. The form `jws` is
//! signed and verified elsewhere. A signature says which key said something; whether that key speaks for the seller no
//! artifact can say of itself.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolStruct, eip712_domain, sol};
use serde_json::{Map, Value, json};

use crate::exact::EvmSignature;
use crate::value;
use crate::wire::PaymentRequirements;

/// The name of the extension.
pub const EXTENSION: &str = "offer-receipt";
/// The version of both payloads.
const VERSION: u64 = 1;
/// The longest signed artifact that is read.
const ARTIFACT_BYTES_MAX: usize = 8 * 1024;

sol! {
    struct Offer {
        uint256 version;
        string resourceUrl;
        string scheme;
        string network;
        string asset;
        string payTo;
        string amount;
        uint256 validUntil;
    }

    struct Receipt {
        uint256 version;
        string network;
        string resourceUrl;
        string payer;
        uint256 issuedAt;
        string transaction;
    }
}

/// What a signed offer says; `valid_until` in Unix seconds.
pub fn offer_payload(resource_url: &str, offer: &PaymentRequirements, valid_until: u64) -> Map<String, Value> {
    object(json!({
        "version": VERSION,
        "resourceUrl": resource_url,
        "scheme": offer.scheme,
        "network": offer.network,
        "asset": offer.asset,
        "payTo": offer.pay_to,
        "amount": offer.amount,
        "validUntil": valid_until,
    }))
}

/// What a signed receipt says; without a transaction where nothing moved.
pub fn receipt_payload(
    resource_url: &str,
    network: &str,
    payer: &str,
    transaction: &str,
    issued_at: u64,
) -> Map<String, Value> {
    let mut payload = object(json!({
        "version": VERSION,
        "network": network,
        "resourceUrl": resource_url,
        "payer": payer,
        "issuedAt": issued_at,
    }));
    if !transaction.is_empty() {
        payload.insert("transaction".to_owned(), transaction.into());
    }
    payload
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// What a 402 declares, with the signed offers, each with its place in `accepts`.
pub fn declaration(offers: impl IntoIterator<Item = (usize, String)>) -> Value {
    let signed = |(index, jws): (usize, String)| json!({ "format": "jws", "acceptIndex": index, "signature": jws });
    let offers: Vec<Value> = offers.into_iter().map(signed).collect();
    json!({ "info": { "offers": offers }, "schema": { "type": "object", "required": ["offers"] } })
}

/// What a settlement's answer carries in `extensions`.
pub fn receipt_extensions(jws: &str) -> Value {
    json!({ EXTENSION: { "info": { "receipt": { "format": "jws", "signature": jws } } } })
}

/// A signed artifact as it came. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifact<'a> {
    Jws(&'a str),
    Eip712 { payload: &'a Map<String, Value>, signature: &'a str },
}

/// The signed offers of a 402. Forms that are not known are passed over: what cannot be verified vouches for nothing.
pub fn offers(extensions: Option<&Map<String, Value>>) -> Vec<Artifact<'_>> {
    let declared = extensions.and_then(|all| all.get(EXTENSION)).and_then(|entry| entry.get("info")?.get("offers"));
    let declared = declared.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    declared.iter().take(crate::limit::OFFERS_MAX).filter_map(artifact).collect()
}

/// The signed receipt of a settlement's answer, as it came. One in a form that is not known is passed over, as an offer is.
pub fn receipt(unknown: &Map<String, Value>) -> Option<&Value> {
    let entry = unknown.get("extensions")?.get(EXTENSION)?.get("info")?.get("receipt")?;
    artifact(entry).map(|_| entry)
}

/// What an entry is, in a form that is known.
pub fn artifact(entry: &Value) -> Option<Artifact<'_>> {
    let signature = entry.get("signature")?.as_str().filter(|text| text.len() <= ARTIFACT_BYTES_MAX)?;
    match entry.get("format")?.as_str()? {
        "jws" => Some(Artifact::Jws(signature)),
        "eip712" => Some(Artifact::Eip712 { payload: entry.get("payload")?.as_object()?, signature }),
        _ => None,
    }
}

/// Whether a signed offer is of these terms; addresses are compared as values.
pub fn is_offer_of(payload: &Map<String, Value>, resource_url: &str, offer: &PaymentRequirements) -> bool {
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    let same_address = |name: &str, expected: &str| {
        let (found, expected) = (text(name).map(value::address), value::address(expected));
        matches!((found, expected), (Some(Ok(found)), Ok(expected)) if found == expected)
    };
    payload.get("version").and_then(Value::as_u64) == Some(VERSION)
        && text("resourceUrl") == Some(resource_url)
        && text("scheme") == Some(&offer.scheme)
        && text("network") == Some(&offer.network)
        && text("amount") == Some(&offer.amount)
        && same_address("asset", &offer.asset)
        && same_address("payTo", &offer.pay_to)
}

/// Until when a signed offer stands; `None` where it does not say. Zero is as if it did not.
pub fn valid_until(payload: &Map<String, Value>) -> Option<u64> {
    payload.get("validUntil").and_then(Value::as_u64).filter(|seconds| *seconds != 0)
}

/// When a signed receipt says that it was made; Unix seconds.
pub fn issued_at(payload: &Map<String, Value>) -> Option<i64> {
    payload.get("issuedAt").and_then(Value::as_i64)
}

/// Which transaction a signed receipt names; most name none.
pub fn transaction(payload: &Map<String, Value>) -> Option<&str> {
    payload.get("transaction").and_then(Value::as_str).filter(|named| !named.is_empty())
}

/// Whether a signed receipt is of this payment.
pub fn is_receipt_of(payload: &Map<String, Value>, resource_url: &str, network: &str, payer: Address) -> bool {
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    payload.get("version").and_then(Value::as_u64) == Some(VERSION)
        && text("resourceUrl") == Some(resource_url)
        && text("network") == Some(network)
        && text("payer").map(value::address) == Some(Ok(payer))
}

/// Who signed an offer of the form `eip712`; `None` where its payload or signature cannot be read.
pub fn offer_signer(payload: &Map<String, Value>, signature: &str) -> Option<Address> {
    let digest = offer_digest(payload)?;
    EvmSignature::read(signature).ok()?.recover(digest).ok()
}

fn offer_digest(payload: &Map<String, Value>) -> Option<B256> {
    let text = |name: &str| payload.get(name)?.as_str().map(ToOwned::to_owned);
    let number = |name: &str| payload.get(name).map_or(Some(U256::ZERO), |value| value.as_u64().map(U256::from));
    let offer = Offer {
        version: number("version")?,
        resourceUrl: text("resourceUrl")?,
        scheme: text("scheme")?,
        network: text("network")?,
        asset: text("asset")?,
        payTo: text("payTo")?,
        amount: text("amount")?,
        validUntil: number("validUntil")?,
    };
    Some(offer.eip712_signing_hash(&eip712_domain! { name: "x402 offer", version: "1", chain_id: 1, }))
}

/// Who signed a receipt of the form `eip712`.
pub fn receipt_signer(payload: &Map<String, Value>, signature: &str) -> Option<Address> {
    EvmSignature::read(signature).ok()?.recover(receipt_digest(payload)?).ok()
}

/// What an account signs of a receipt (EIP-712).
pub fn receipt_digest(payload: &Map<String, Value>) -> Option<B256> {
    let text = |name: &str| payload.get(name)?.as_str().map(ToOwned::to_owned);
    let number = |name: &str| payload.get(name)?.as_u64().map(U256::from);
    let receipt = Receipt {
        version: number("version")?,
        network: text("network")?,
        resourceUrl: text("resourceUrl")?,
        payer: text("payer")?,
        issuedAt: number("issuedAt")?,
        transaction: text("transaction").unwrap_or_default(),
    };
    Some(receipt.eip712_signing_hash(&eip712_domain! { name: "x402 receipt", version: "1", chain_id: 1, }))
}
