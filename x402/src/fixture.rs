//! Test data of `fixtures/x402`, read where it lies.

mod node;

pub use node::{Node, now_or_never};
use serde_json::Value;

use crate::exact::Terms;
use crate::network::{Asset, AssetTable, TransferMethod};
use crate::wire::{PaymentPayload, PaymentRequirements};

/// Within the recorded payment's window.
pub const NOW: u64 = 1_795_490_600;

pub fn exact() -> Value {
    parse(include_str!("../../fixtures/x402/exact_eip3009.json"))
}

pub fn others() -> Value {
    parse(include_str!("../../fixtures/x402/other_versions_and_schemes.json"))
}

pub fn pulse_cases() -> Vec<Value> {
    parse(include_str!("../../fixtures/x402/pulse/cases.json"))["cases"].as_array().unwrap().clone()
}

pub fn permits() -> Value {
    parse(include_str!("../../fixtures/x402/permit2_upto.json"))
}

pub fn channels() -> Value {
    parse(include_str!("../../fixtures/x402/batch_settlement.json"))
}

pub fn holds() -> Value {
    parse(include_str!("../../fixtures/x402/auth_capture.json"))
}

pub fn payload() -> PaymentPayload {
    serde_json::from_value(exact()["paymentPayload"].clone()).unwrap()
}

pub fn requirements() -> PaymentRequirements {
    serde_json::from_value(exact()["paymentRequirements"].clone()).unwrap()
}

/// The trusted table, and the token of these requirements as they state it.
pub fn assets(requirements: &PaymentRequirements) -> AssetTable {
    let mut table = AssetTable::trusted();
    let terms = Terms::read(requirements).unwrap();
    table
        .add(Asset {
            network: terms.network,
            address: terms.token,
            name: terms.domain.name,
            version: terms.domain.version,
            decimals: 6,
            transfer: TransferMethod::Eip3009,
        })
        .unwrap();
    table
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
