//! Scheme `batch-settlement` on EVM (`scheme_batch_settlement_evm.md`): a payer puts money into an escrow once and signs a
//! voucher a request, each good for all that was charged so far and the next price. The payee claims the newest.
//!
//! A payer's own side is [`Draw`].
//!
//! A channel is named by the hash of its parameters ([`Channel`]). What comes is read by [`Message::read`]; a deposit moves by
//! EIP-3009 and is an authorization like any other ([`check_deposit`]), a voucher is judged beside what the escrow has
//! ([`check_voucher`], [`ChannelState::check`]), and what a payee asks a facilitator to do is a [`ChannelCall`].

mod call;
mod channel;
mod check;
mod draw;
mod message;
mod say;
mod spelling;
mod state;
#[cfg(test)]
mod tests;
mod wire;

pub use call::{CallKind, ChannelCall, ChannelLog, DepositCall, RefundCall, record};
pub use channel::{Channel, claim_batch_digest, deposit_digest, deposit_nonce, refund_digest, voucher_digest};
pub(crate) use check::read_deposit;
pub use check::{Bound, charged_before, check_deposit, check_voucher, read_voucher, step_key, terms, voucher_key};
pub use draw::{Corrected, Draw, TopUp, ask_back, channel_for, charged_of, corrected_of};
pub use message::{Claim, CompletedRefund, Deposit, Message, Sweep, Voucher, VoucherKind};
pub use say::{claim_payload, refund_payload, sweep_payload};
pub use spelling::spelled;
pub use state::{ChannelState, ReceiverState};

use alloy_primitives::{Address, address};

use crate::reason::Reason;

/// The name of the scheme on the wire.
pub const SCHEME: &str = "batch-settlement";
/// Of a payload of another scheme, and of one for another network.
pub const FRAME: (Reason, Reason) = (Reason::BatchScheme, Reason::BatchNetworkMismatch);

/// `x402BatchSettlement`, at the same address on every chain.
pub const ESCROW: Address = address!("4020074e9dF2ce1deE5A9C1b5c3f541D02a10003");
/// `ERC3009DepositCollector`: whom a payer authorizes, and who can only pass it on to the escrow.
pub const EIP3009_COLLECTOR: Address = address!("4020806089470a89826cB9fB1f4059150b550004");

/// Seconds that a payer waits at least, and at most, for money that nobody claimed.
pub const WITHDRAW_DELAY_SECONDS: std::ops::RangeInclusive<u64> = 900..=2_592_000;

/// Vouchers in one claim.
pub const CLAIMS_MAX: usize = 100;
