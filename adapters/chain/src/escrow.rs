//! The escrow of scheme `auth-capture` and its collector: what the port calls, and what stands in the devnet's genesis.

use alloy::primitives::{B256, Bytes, U256};
use alloy::rpc::types::Log;
use alloy::sol_types::{SolCall, SolEvent};
use x402::auth_capture::abi::{Escrow, PaymentInfo};
use x402::auth_capture::{EIP3009_COLLECTOR, ESCROW, EscrowCall, EscrowLog};

use crate::permit2::Deployed;

/// Origin, licence and how each was made stand beside it: `fixtures/contracts/README.md`.
const ARTIFACT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/contracts/AuthCapture.json"));

/// What the escrow is called with.
pub(crate) fn input(call: &EscrowCall) -> Bytes {
    let payment = PaymentInfo::from(call.info());
    match call {
        EscrowCall::Authorize { amount, signature, .. } => Escrow::authorizeCall {
            paymentInfo: payment,
            amount: U256::from(amount.get()),
            tokenCollector: EIP3009_COLLECTOR,
            collectorData: signature.clone(),
        }
        .abi_encode(),
        EscrowCall::Charge { taken, signature, .. } => Escrow::chargeCall {
            paymentInfo: payment,
            amount: U256::from(taken.amount.get()),
            tokenCollector: EIP3009_COLLECTOR,
            collectorData: signature.clone(),
            feeBps: taken.fee_bps,
            feeReceiver: taken.fee_receiver,
        }
        .abi_encode(),
        EscrowCall::Capture { amount, fee_bps, fee_receiver, .. } => Escrow::captureCall {
            paymentInfo: payment,
            amount: U256::from(amount.get()),
            feeBps: *fee_bps,
            feeReceiver: *fee_receiver,
        }
        .abi_encode(),
        EscrowCall::Void { .. } => Escrow::voidCall { paymentInfo: payment }.abi_encode(),
        EscrowCall::Reclaim { .. } => Escrow::reclaimCall { paymentInfo: payment }.abi_encode(),
    }
    .into()
}

/// `None` of every other log, also one of the same words by another contract.
pub(crate) fn log_of(log: &Log) -> Option<EscrowLog> {
    if log.address() != ESCROW {
        return None;
    }
    if let Ok(found) = Escrow::PaymentCaptured::decode_log_validate(&log.inner) {
        let (payment, amount, fee_bps): (B256, U256, u16) = (found.paymentInfoHash, found.amount, found.feeBps);
        return Some(EscrowLog::Captured { payment, amount, fee_bps });
    }
    if let Ok(found) = Escrow::PaymentVoided::decode_log_validate(&log.inner) {
        return Some(EscrowLog::Voided { payment: found.paymentInfoHash, amount: found.amount });
    }
    let found = Escrow::PaymentReclaimed::decode_log_validate(&log.inner).ok()?;
    Some(EscrowLog::Reclaimed { payment: found.paymentInfoHash, amount: found.amount })
}

#[derive(serde::Deserialize)]
pub(crate) struct Contracts {
    pub(crate) escrow: Deployed,
    pub(crate) token_store: Deployed,
    pub(crate) eip3009_collector: Deployed,
}

pub(crate) fn contracts() -> Result<Contracts, String> {
    let contracts: Contracts =
        serde_json::from_str(ARTIFACT).map_err(|error| format!("the artifact cannot be read: {error}"))?;
    let found = [contracts.escrow.address, contracts.eip3009_collector.address];
    if found != [ESCROW, EIP3009_COLLECTOR] {
        let expected = [ESCROW, EIP3009_COLLECTOR];
        return Err(format!("expected the escrow and its collector at {expected:?}, found {found:?}"));
    }
    Ok(contracts)
}
