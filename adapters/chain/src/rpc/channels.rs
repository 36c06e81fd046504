//! Channels as the escrow has them, and calls of it.

use alloy::primitives::{Address, B256, Bytes, U64};
use serde_json::{Value, json};
use x402::batch_settlement::{ChannelCall, ChannelState, ESCROW, ReceiverState};
use x402::chain::{At, Chain as _, ChainError};
use x402::value::Amount;

use super::RpcChain;
use crate::channels::{Escrow, input};
use crate::limits::BATCH_GAS_MAX;

impl RpcChain {
    /// From one block, so that its parts agree with each other.
    pub(super) async fn channel_state(&self, channel: B256, at: At) -> Result<ChannelState, ChainError> {
        let at = match at {
            At::Number(_) => at,
            At::Latest | At::Finalized => At::Number(self.block(at).await?.number),
        };
        let (held, withdrawal, refund_nonce) = tokio::try_join!(
            self.read(ESCROW, Escrow::channelsCall { channelId: channel }, at),
            self.read(ESCROW, Escrow::pendingWithdrawalsCall { channelId: channel }, at),
            self.read(ESCROW, Escrow::refundNonceCall { channelId: channel }, at),
        )?;
        Ok(ChannelState {
            balance: Amount::new(held.balance),
            total_claimed: Amount::new(held.totalClaimed),
            withdraw_requested_at: withdrawal.initiatedAt.to::<u64>(),
            refund_nonce,
        })
    }

    pub(super) async fn receiver_state(&self, receiver: Address, token: Address) -> Result<ReceiverState, ChainError> {
        let found = self.read(ESCROW, Escrow::receiversCall { receiver, token }, At::Latest).await?;
        let [total_claimed, total_settled] = [found.totalClaimed, found.totalSettled].map(Amount::new);
        Ok(ReceiverState { total_claimed, total_settled })
    }

    /// A settlement's, and as much again for each voucher; all in all no more than a batch may take.
    pub(crate) fn channel_gas_max(&self, call: &ChannelCall) -> u64 {
        let parts = u64::try_from(call.claims().len()).unwrap_or(u64::MAX).saturating_add(1);
        self.config.settlement_gas_max.saturating_mul(parts).min(BATCH_GAS_MAX.max(self.config.settlement_gas_max))
    }

    pub(super) fn channel_request(&self, call: &ChannelCall, caller: Address) -> Value {
        let data: Bytes = input(call);
        json!({ "from": caller, "to": ESCROW, "data": data, "gas": U64::from(self.channel_gas_max(call)) })
    }
}
