//! Names and digests that others compute: the official client's payment, and viem's words for what an authorizer signs.

use alloy_primitives::Bytes;

use super::*;
use crate::network::{Asset, Network, TransferMethod};
use crate::value::Amount;

fn word(pointer: &str) -> B256 {
    fixture::holds().pointer(pointer).and_then(Value::as_str).unwrap().parse().unwrap()
}

#[test]
fn names_and_digests_are_those_of_others() {
    let file = fixture::holds();
    let required: PaymentRequirements = serde_json::from_value(file["requirements"].clone()).unwrap();
    let payload = PaymentPayload {
        payload: file["payload"].as_object().unwrap().clone(),
        accepted: required.clone(),
        ..recorded()
    };
    let mut table = AssetTable::trusted();
    let network = Network::new(31_337).unwrap();
    let (address, transfer) = (required.asset.parse().unwrap(), TransferMethod::Eip3009);
    table.add(Asset { network, address, name: "USD Coin".into(), version: "2".into(), decimals: 6, transfer }).unwrap();
    let until = file["paymentInfo"]["preApprovalExpiry"].as_u64().unwrap();
    let payment = scheme::check(&payload, &required, &table, until - 60).unwrap().by_key().unwrap();
    let Signed::Escrowed(Escrowed { info, .. }) = payment.signed() else { panic!("held") };
    let name = info.hash(network, ESCROW);
    assert_eq!(name, word("/paymentInfoHash"));

    let fee_receiver = info.fee_receiver;
    let capture = Capture {
        amount: Amount::new(400_000),
        fee_bps: 100,
        fee_receiver,
        expected_capturable: Amount::new(1_000_000),
        expected_refundable: Amount::ZERO,
    };
    let taken = Taken { amount: Amount::new(400_000), fee_bps: 100, fee_receiver };
    let signature: Bytes = file["payload"]["signature"].as_str().unwrap().parse().unwrap();
    assert_eq!(capture_digest(network, info.operator, &capture, name), word("/digests/capture"));
    assert_eq!(void_digest(network, info.operator, name), word("/digests/void"));
    assert_eq!(charge_digest(network, info.operator, &taken, name, &signature), word("/digests/charge"));
}
