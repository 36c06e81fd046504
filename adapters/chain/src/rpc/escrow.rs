//! Payments as the escrow of `auth-capture` has them, and calls of it.

use alloy::primitives::{Address, B256, Bytes, U64};
use serde_json::{Value, json};
use x402::auth_capture::{ESCROW, EscrowCall, EscrowState};
use x402::chain::{At, ChainError};
use x402::value::Amount;

use super::RpcChain;
use crate::escrow::{Escrow, input};

impl RpcChain {
    pub(super) async fn escrow_state(&self, payment: B256) -> Result<EscrowState, ChainError> {
        let found = self.read(ESCROW, Escrow::paymentStateCall { paymentInfoHash: payment }, At::Latest).await?;
        Ok(EscrowState {
            collected: found.hasCollectedPayment,
            capturable: Amount::new(found.capturableAmount.to::<u128>()),
            refundable: Amount::new(found.refundableAmount.to::<u128>()),
        })
    }

    pub(super) fn escrow_request(&self, call: &EscrowCall, caller: Address) -> Value {
        let data: Bytes = input(call);
        json!({ "from": caller, "to": ESCROW, "data": data, "gas": U64::from(self.config.settlement_gas_max) })
    }
}
