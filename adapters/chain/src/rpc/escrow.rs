//! Payments as the escrow of `auth-capture` has them, and calls of it.

use alloy::primitives::{Address, B256, Bytes, U64, U256};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent as _;
use serde_json::{Value, json};
use x402::auth_capture::abi::Escrow;
use x402::auth_capture::{ESCROW, EscrowCall, EscrowState, Held, HeldKind, HeldLog, PaymentInfo};
use x402::chain::{At, AuthorizationUse, Block, Chain as _, ChainError};
use x402::settlement::ClaimKey;
use x402::value::Amount;

use super::RpcChain;
use crate::escrow::input;

impl RpcChain {
    pub(super) async fn escrow_state(&self, payment: B256, at: At) -> Result<EscrowState, ChainError> {
        let found = self.read(ESCROW, Escrow::paymentStateCall { paymentInfoHash: payment }, at).await?;
        Ok(EscrowState {
            collected: found.hasCollectedPayment,
            capturable: Amount::new(found.capturableAmount.to::<u128>()),
            refundable: Amount::new(found.refundableAmount.to::<u128>()),
        })
    }

    pub(super) async fn held_payment(
        &self,
        key: ClaimKey,
        used: &AuthorizationUse,
    ) -> Result<Option<Held>, ChainError> {
        let Some((receipt, block)) = self.receipt_with_block(used.transaction).await? else {
            return Err(ChainError::Unavailable(format!("the receipt of {} is gone", used.transaction)));
        };
        let Some((payment, receiver, first)) = receipt.logs().iter().find_map(|log| taken(log, key)) else {
            return Ok(None);
        };
        let mut held = Held { payment, receiver, logs: vec![at(first, used.transaction, block)] };
        let head = self.block(At::Latest).await?.number;
        let topics = json!([LATER, payment]);
        for (blocks, logs) in self.logs(ESCROW, &topics, block.number..=head.max(block.number)).await? {
            for log in logs {
                let found = later(&log, payment).filter(|_| !log.removed);
                let place = log.block_hash.zip(log.block_number).filter(|(_, number)| blocks.contains(number));
                let (Some(found), Some((hash, number)), Some(transaction)) = (found, place, log.transaction_hash)
                else {
                    let message = format!("asked for logs of the escrow about {payment}, answered another log");
                    return Err(ChainError::Unavailable(message));
                };
                held.logs.push(at(found, transaction, self.block_by_hash(hash, number).await?));
            }
        }
        Ok(Some(held))
    }

    pub(super) fn escrow_request(&self, call: &EscrowCall, caller: Address) -> Value {
        let data: Bytes = input(call);
        json!({ "from": caller, "to": ESCROW, "data": data, "gas": U64::from(self.config.settlement_gas_max) })
    }
}

/// What can follow.
const LATER: [B256; 4] = [
    Escrow::PaymentCaptured::SIGNATURE_HASH,
    Escrow::PaymentVoided::SIGNATURE_HASH,
    Escrow::PaymentReclaimed::SIGNATURE_HASH,
    Escrow::PaymentRefunded::SIGNATURE_HASH,
];

fn at((kind, amount): (HeldKind, U256), transaction: B256, block: Block) -> HeldLog {
    HeldLog { kind, amount, transaction, block }
}

/// The log that says that the escrow took this very authorization, with the payment's name and who is paid.
fn taken(log: &Log, key: ClaimKey) -> Option<(B256, Address, (HeldKind, U256))> {
    if log.address() != ESCROW {
        return None;
    }
    let (payment, info, what) = if let Ok(found) = Escrow::PaymentAuthorized::decode_log_validate(&log.inner) {
        (found.paymentInfoHash, PaymentInfo::from(&found.paymentInfo), (HeldKind::Authorized, found.amount))
    } else {
        let found = Escrow::PaymentCharged::decode_log_validate(&log.inner).ok()?;
        (found.paymentInfoHash, PaymentInfo::from(&found.paymentInfo), (HeldKind::Charged, found.amount))
    };
    let is_own = (info.payer, info.token) == (key.payer, key.token)
        && info.nonce(key.network, ESCROW) == key.nonce
        && info.hash(key.network, ESCROW) == payment;
    is_own.then_some((payment, info.receiver, what))
}

fn later(log: &Log, payment: B256) -> Option<(HeldKind, U256)> {
    if log.address() != ESCROW || log.topics().get(1) != Some(&payment) {
        return None;
    }
    if let Ok(found) = Escrow::PaymentCaptured::decode_log_validate(&log.inner) {
        return Some((HeldKind::Captured, found.amount));
    }
    if let Ok(found) = Escrow::PaymentVoided::decode_log_validate(&log.inner) {
        return Some((HeldKind::Voided, found.amount));
    }
    if let Ok(found) = Escrow::PaymentReclaimed::decode_log_validate(&log.inner) {
        return Some((HeldKind::Reclaimed, found.amount));
    }
    let found = Escrow::PaymentRefunded::decode_log_validate(&log.inner).ok()?;
    Some((HeldKind::Refunded, found.amount))
}
