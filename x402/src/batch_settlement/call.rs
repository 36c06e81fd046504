//! What a facilitator or a payer has the escrow do, and the logs that say that it did.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

use super::channel::{Channel, claim_batch_digest, refund_digest};
use super::message::{Claim, Sweep};
use crate::network::Network;
use crate::value::Amount;

/// A call of the escrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelCall {
    Deposit(DepositCall),
    Claim {
        claims: Vec<Claim>,
        signature: Bytes,
    },
    Settle(Sweep),
    Refund(RefundCall),
    /// The payer's own: asks for so much back, which it gets after the channel's delay.
    Withdraw {
        channel: Channel,
        amount: Amount,
    },
    /// The payer's own, after the delay: gives it what it asked for, as far as that is not claimed.
    Finalize {
        channel: Channel,
    },
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
    /// The payer's own, of the escrow of channels, as the next.
    Withdraw,
    Finalize,
    /// The payer's own, of the escrow of `auth-capture`.
    Reclaim,
}

impl CallKind {
    pub const ALL: [Self; 8] = [
        Self::Claim,
        Self::Settle,
        Self::Refund,
        Self::Capture,
        Self::Void,
        Self::Withdraw,
        Self::Finalize,
        Self::Reclaim,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Settle => "settle",
            Self::Refund => "refund",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Withdraw => "withdraw",
            Self::Finalize => "finalize",
            Self::Reclaim => "reclaim",
        }
    }

    /// Whether the payer alone can make it, to get back what is its own.
    pub const fn takes_back(self) -> bool {
        matches!(self, Self::Withdraw | Self::Finalize | Self::Reclaim)
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
            Self::Deposit(_) | Self::Settle(_) | Self::Withdraw { .. } | Self::Finalize { .. } => &[],
        }
    }

    /// The only account that can make it, where that is not anybody.
    pub const fn sender(&self) -> Option<Address> {
        match self {
            Self::Withdraw { channel, .. } | Self::Finalize { channel } => Some(channel.payer),
            Self::Deposit(_) | Self::Claim { .. } | Self::Settle(_) | Self::Refund(_) => None,
        }
    }

    /// What makes two calls the same one, so that it is made once. A sweep is named by what was swept before it: the same
    /// words mean another one afterwards. `None` of a deposit, which its own nonce names, and of what a payer does, who
    /// counts how often it did.
    pub fn identity(&self, network: Network, settled: Amount) -> Option<B256> {
        match self {
            Self::Deposit(_) | Self::Withdraw { .. } | Self::Finalize { .. } => None,
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
    Deposited {
        channel: B256,
        amount: U256,
    },
    Claimed {
        channel: B256,
        total: U256,
    },
    Settled {
        receiver: Address,
        token: Address,
        amount: U256,
    },
    Refunded {
        channel: B256,
        amount: U256,
    },
    /// Asked for by the payer, which can have it from then on (Unix seconds).
    Withdrawing {
        channel: B256,
        amount: U256,
        from: u64,
    },
    /// What the payer got of it.
    Withdrawn {
        channel: B256,
        amount: U256,
    },
}
