//! What a facilitator has the escrow do, and the logs that say that it did.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

use super::channel::{Channel, claim_batch_digest, refund_digest};
use super::message::{Claim, Sweep};
use crate::network::Network;
use crate::value::Amount;

/// A call of the escrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelCall {
    Deposit(DepositCall),
    Claim { claims: Vec<Claim>, signature: Bytes },
    Settle(Sweep),
    Refund(RefundCall),
}

/// By EIP-3009, through the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepositCall {
    pub channel: Channel,
    pub amount: Amount,
    pub valid_after: U256,
    pub valid_before: U256,
    pub salt: U256,
    pub signature: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundCall {
    pub channel: Channel,
    pub amount: Amount,
    pub nonce: U256,
    pub signature: Bytes,
    /// Claimed first, in the same transaction, and the signature over them; none where it is empty.
    pub claims: Vec<Claim>,
    pub claim_signature: Bytes,
}

/// The calls that no authorization of a payer's stands behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    Claim,
    Settle,
    Refund,
    /// Of the escrow of `auth-capture`, as the next.
    Capture,
    Void,
}

impl CallKind {
    pub const ALL: [Self; 5] = [Self::Claim, Self::Settle, Self::Refund, Self::Capture, Self::Void];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Settle => "settle",
            Self::Refund => "refund",
            Self::Capture => "capture",
            Self::Void => "void",
        }
    }
}

/// Tag of [`record`].
const RECORD_TAG: &[u8] = b"purser/escrow-call/1";

impl ChannelCall {
    /// Vouchers that it claims.
    pub fn claims(&self) -> &[Claim] {
        match self {
            Self::Claim { claims, .. } => claims,
            Self::Refund(refund) => &refund.claims,
            Self::Deposit(_) | Self::Settle(_) => &[],
        }
    }

    /// What makes two calls the same one, so that it is made once. A sweep is named by what was swept before it: the same
    /// words mean another one afterwards. `None` of a deposit, which its own nonce names.
    pub fn identity(&self, network: Network, settled: Amount) -> Option<B256> {
        match self {
            Self::Deposit(_) => None,
            Self::Claim { claims, .. } => Some(claims_digest(network, claims)),
            Self::Settle(Sweep { receiver, token }) => {
                let parts = [receiver.as_slice(), token.as_slice(), &settled.to_be_bytes()].concat();
                Some(keccak256(parts))
            }
            Self::Refund(refund) => {
                let id = refund.channel.id(network);
                let own = refund_digest(network, id, refund.nonce, refund.amount);
                let claims = claims_digest(network, &refund.claims);
                Some(keccak256([own.as_slice(), claims.as_slice()].concat()))
            }
        }
    }
}

/// What the receiver's authorizer signs for these.
pub(super) fn claims_digest(network: Network, claims: &[Claim]) -> B256 {
    let row = |claim: &Claim| (claim.channel.id(network), claim.max_claimable, claim.total_claimed);
    claim_batch_digest(network, claims.iter().map(row))
}

/// The name of the `attempt`th try of a call: one that came to nothing can be made again.
pub fn record(identity: B256, attempt: u32) -> B256 {
    keccak256([RECORD_TAG, identity.as_slice(), &attempt.to_be_bytes()].concat())
}

/// A log of the escrow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelLog {
    Deposited { channel: B256, amount: U256 },
    Claimed { channel: B256, total: U256 },
    Settled { receiver: Address, token: Address, amount: U256 },
    Refunded { channel: B256, amount: U256 },
}
