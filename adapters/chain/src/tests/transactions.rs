//! What a node refuses at its door, in the words that clients look for.

use alloy::consensus::TxEnvelope;
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{Bytes, Signature, U256, hex, uint};
use serde_json::json;
use x402::chain::{Chain, ChainError};

use super::*;
use crate::devnet::Mining;

fn refusal(stage: &Stage, raw: &Bytes) -> String {
    let (code, message) = stage.error("eth_sendRawTransaction", json!([raw]));
    assert_eq!(code, -32000, "{message}");
    message
}

#[test]
fn every_fault_has_its_words() {
    let stage = Stage::new();
    type Bend = fn(&mut TxEip1559);
    let cases: [(Bend, &str); 9] = [
        (|tx| tx.chain_id = 1, "invalid chain id for signer: have 1 want 31337"),
        (|tx| tx.nonce = u64::MAX, "nonce has max value"),
        (|tx| tx.gas_limit = 21_000 - 1, "intrinsic gas too low: have 20999, want 21000"),
        (|tx| tx.gas_limit = 30_000_001, "exceeds block gas limit: have 30000001 want 30000000"),
        (
            |tx| tx.max_fee_per_gas = 999_999_999,
            "max fee per gas less than block base fee: have 999999999 want 1000000000",
        ),
        (
            |tx| tx.max_priority_fee_per_gas = 4_000_000_000,
            "max priority fee per gas higher than max fee per gas: maxFeePerGas 3000000000",
        ),
        (|tx| tx.value = U256::MAX, "insufficient funds for gas * price + value"),
        (|tx| tx.max_fee_per_gas = u128::MAX, "insufficient funds for gas * price + value"),
        (|tx| tx.input = vec![0; 200 * 1024].into(), "oversized data"),
    ];
    for (bend, expected) in cases {
        let message = refusal(&stage, &raw_transaction(PAYER, 0, Bytes::new(), bend));
        assert!(message.starts_with(expected), "{message} instead of {expected}");
    }
    assert_eq!(stage.result("eth_getTransactionCount", json!([PAYER.address, "pending"])), json!("0x0"));
}

#[test]
fn garbage_is_not_a_transaction() {
    let stage = Stage::new();
    let good = raw_transaction(PAYER, 0, Bytes::new(), |_| ());
    let mut faults = vec![Bytes::new(), hex!("00").into(), hex!("02").into(), hex!("c0").into(), hex!("03c0").into()];
    faults.extend((1..good.len()).step_by(7).map(|end| good.slice(..end)));
    faults.push([good.as_ref(), &[0]].concat().into());
    faults.extend((0..=255_u8).map(|kind| [&[kind], &good[1..]].concat().into()).filter(|raw| *raw != good));
    for raw in &faults {
        refusal(&stage, raw);
    }
    for params in [json!([]), json!([7]), json!(["0xzz"]), json!(["zz"]), json!([null]), json!({ "raw": "0x" })] {
        assert_eq!(stage.error("eth_sendRawTransaction", params).0, -32602);
    }
    assert_eq!(stage.result("eth_blockNumber", json!([])), json!("0x2"));
}

#[test]
fn a_transaction_has_one_hash() {
    let stage = Stage::new();
    let good = raw_transaction(PAYER, 0, Bytes::new(), |_| ());
    let TxEnvelope::Eip1559(signed) = TxEnvelope::decode_2718_exact(&good).unwrap() else { panic!("not type 2") };
    let order = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
    let (transaction, signature) = (signed.tx().clone(), signed.signature());
    let high = Signature::new(signature.r(), order - signature.s(), !signature.v());
    let twin: Bytes = TxEnvelope::from(transaction.into_signed(high)).encoded_2718().into();
    assert!(refusal(&stage, &twin).starts_with("invalid sender"));
}

#[test]
fn a_replacement_must_pay_a_tenth_more() {
    let stage = Stage::new();
    stage.devnet.switch_mining(Mining::OnDemand);
    let with_fee = |fee: u128, tip: u128| {
        raw_transaction(PAYER, 0, Bytes::new(), |tx| {
            (tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (fee, tip);
        })
    };
    let first = with_fee(3_000_000_000, 1_000_000_000);
    stage.result("eth_sendRawTransaction", json!([first]));
    assert_eq!(refusal(&stage, &first), "already known");
    for (fee, tip) in [(3_299_999_999, 1_100_000_000), (3_300_000_000, 1_099_999_999)] {
        assert_eq!(refusal(&stage, &with_fee(fee, tip)), "replacement transaction underpriced");
    }
    let second = with_fee(3_300_000_000, 1_100_000_000);
    let hash = stage.result("eth_sendRawTransaction", json!([second]));
    stage.devnet.mine(1);
    assert_ne!(stage.result("eth_getTransactionReceipt", json!([hash])), json!(null));
    let replaced = alloy::primitives::keccak256(&first);
    assert_eq!(stage.result("eth_getTransactionByHash", json!([replaced])), json!(null));
}

#[tokio::test]
async fn the_port_refuses_to_send_what_is_no_transaction_of_one_chain() {
    let stage = Stage::new();
    for raw in [Bytes::new(), hex!("deadbeef").into(), vec![0; 200 * 1024].into()] {
        let refused = stage.chain.broadcast(&raw).await;
        assert!(matches!(refused, Err(ChainError::Refused { .. })), "{refused:?}");
    }
    let mut legacy = alloy::consensus::TxLegacy { gas_limit: 21_000, gas_price: 2_000_000_000, ..Default::default() };
    let signature = PAYER.signer().unwrap().sign_transaction_sync(&mut legacy).unwrap();
    let raw: Bytes = TxEnvelope::from(legacy.into_signed(signature)).encoded_2718().into();
    let refused = stage.chain.broadcast(&raw).await;
    assert!(matches!(refused, Err(ChainError::Refused { .. })), "{refused:?}");
    assert!(refusal(&stage, &raw).starts_with("only replay-protected"));
}
