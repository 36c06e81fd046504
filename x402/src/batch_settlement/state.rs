//! What the escrow has of a channel, and what a voucher may be beside it.

use alloy_primitives::{B256, U256};
use serde_json::{Map, Value, json};

use super::VoucherKind;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::value::Amount;

/// A channel as the escrow has it, in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelState {
    /// Deposited, and not given back.
    pub balance: Amount,
    pub total_claimed: Amount,
    /// Unix seconds; zero where the payer did not ask for its money.
    pub withdraw_requested_at: u64,
    pub refund_nonce: U256,
}

/// What a receiver's channels in one token came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverState {
    pub total_claimed: Amount,
    pub total_settled: Amount,
}

impl ReceiverState {
    /// What a sweep would move.
    pub fn due(&self) -> Amount {
        self.total_claimed.checked_sub(self.total_settled).unwrap_or(Amount::ZERO)
    }
}

impl ChannelState {
    /// As answers show it (`extra` of `/verify`, `extra.channelState` of `/settle`).
    pub fn shown(&self, channel: B256) -> Map<String, Value> {
        Map::from_iter([
            ("channelId".to_owned(), json!(format!("{channel:#x}"))),
            ("balance".to_owned(), json!(self.balance.to_string())),
            ("totalClaimed".to_owned(), json!(self.total_claimed.to_string())),
            ("withdrawRequestedAt".to_owned(), json!(self.withdraw_requested_at)),
            ("refundNonce".to_owned(), json!(self.refund_nonce.to_string())),
        ])
    }

    /// Whether a voucher over `max` is good for something here; `deposit` is what comes in with it.
    pub fn check(&self, kind: VoucherKind, max: Amount, deposit: Amount) -> Result<(), Refusal> {
        let field = "payload.voucher.maxClaimableAmount";
        if kind != VoucherKind::Opening && self.balance.is_zero() {
            let expected = "a channel with a balance";
            return Err(Refusal::new(Reason::BatchChannelNotFound, "payload.voucher.channelId", expected, "none"));
        }
        let Some(balance) = self.balance.checked_add(deposit) else {
            let (field, expected) = ("payload.deposit.amount", "a balance below 2^128");
            return Err(Refusal::new(Reason::BatchDepositPayload, field, expected, deposit));
        };
        if max > balance {
            let expected = format!("at most the balance of {balance}");
            return Err(Refusal::new(Reason::BatchExceedsBalance, field, expected, max));
        }
        let is_below = match kind {
            VoucherKind::Paying => max <= self.total_claimed,
            // A refund pays for nothing. Of a deposit the specification asks no more than that.
            VoucherKind::Opening | VoucherKind::Refund => max < self.total_claimed,
        };
        if is_below {
            let least = if kind == VoucherKind::Paying { "more than" } else { "at least" };
            let expected = format!("{least} the {} that is claimed", self.total_claimed);
            return Err(Refusal::new(Reason::BatchBelowClaimed, field, expected, max));
        }
        Ok(())
    }

    /// What a refund of `requested` would give back once `claimed` in all is claimed.
    pub fn refundable(&self, requested: Amount, claimed: Amount) -> Amount {
        let claimed = claimed.max(self.total_claimed);
        let left = self.balance.checked_sub(claimed).unwrap_or(Amount::ZERO);
        requested.min(left)
    }
}
