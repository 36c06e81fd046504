//! Channels as the escrow has them, and calls of it.

use alloy::primitives::{Address, B256, Bytes, U64};
use alloy::sol_types::SolCall as _;
use serde_json::{Value, json};
use x402::batch_settlement::{ChannelCall, ChannelState, ESCROW, ReceiverState};
use x402::chain::{At, Chain as _, ChainError};
use x402::value::Amount;

use super::RpcChain;
use super::findings::returned;
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

    /// In one exchange. When their payers asked for their money, and refund nonces, are not among it.
    pub(super) async fn channel_states(&self, channels: &[B256]) -> Result<Vec<ChannelState>, ChainError> {
        let read = |channel: &B256| {
            let input = Escrow::channelsCall { channelId: *channel }.abi_encode();
            ("eth_call", json!([{ "to": ESCROW, "data": Bytes::from(input) }, "latest"]))
        };
        let calls: Vec<_> = channels.iter().map(read).collect();
        let state = |answer: Result<Value, ChainError>| {
            let held = returned::<Escrow::channelsCall>(ESCROW, answer?)?;
            let [balance, total_claimed] = [held.balance, held.totalClaimed].map(Amount::new);
            Ok(ChannelState { balance, total_claimed, ..ChannelState::default() })
        };
        self.client.batch(&calls).await?.into_iter().map(state).collect()
    }

    pub(super) async fn receiver_state(
        &self,
        receiver: Address,
        token: Address,
        at: At,
    ) -> Result<ReceiverState, ChainError> {
        let found = self.read(ESCROW, Escrow::receiversCall { receiver, token }, at).await?;
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
