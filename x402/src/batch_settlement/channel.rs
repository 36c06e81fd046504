//! A channel, its name, and what is signed within it (EIP-712, in the escrow's own domain).

use alloy_primitives::aliases::U40;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue};

use super::ESCROW;
use crate::exact::{Authorization, TokenDomain};
use crate::network::Network;
use crate::value::Amount;

mod typed {
    alloy_sol_types::sol! {
        struct ChannelConfig {
            address payer;
            address payerAuthorizer;
            address receiver;
            address receiverAuthorizer;
            address token;
            uint40 withdrawDelay;
            bytes32 salt;
        }
        struct Voucher {
            bytes32 channelId;
            uint128 maxClaimableAmount;
        }
        struct Refund {
            bytes32 channelId;
            uint256 nonce;
            uint128 amount;
        }
        struct ClaimEntry {
            bytes32 channelId;
            uint128 maxClaimableAmount;
            uint128 totalClaimed;
        }
        struct ClaimBatch {
            ClaimEntry[] claims;
        }
        struct ReceiveWithAuthorization {
            address from;
            address to;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 nonce;
        }
    }
}

/// The parameters of a channel. They never change: another parameter is another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    pub payer: Address,
    /// Whose key signs vouchers; zero where the payer itself answers for them (ERC-1271).
    pub payer_authorizer: Address,
    pub receiver: Address,
    /// Whose signature claims and refunds take.
    pub receiver_authorizer: Address,
    pub token: Address,
    pub withdraw_delay: U40,
    pub salt: B256,
}

fn domain(network: Network) -> Eip712Domain {
    Eip712Domain::new(
        Some("x402 Batch Settlement".into()),
        Some("1".into()),
        Some(U256::from(network.chain_id())),
        Some(ESCROW),
        None,
    )
}

impl Channel {
    /// Its name on this chain.
    pub fn id(&self, network: Network) -> B256 {
        typed::ChannelConfig {
            payer: self.payer,
            payerAuthorizer: self.payer_authorizer,
            receiver: self.receiver,
            receiverAuthorizer: self.receiver_authorizer,
            token: self.token,
            withdrawDelay: self.withdraw_delay,
            salt: self.salt,
        }
        .eip712_signing_hash(&domain(network))
    }

    pub fn withdraw_delay_seconds(&self) -> u64 {
        self.withdraw_delay.to::<u64>()
    }
}

/// What signs a voucher: all that may be claimed from the channel so far.
pub fn voucher_digest(network: Network, channel: B256, max_claimable: Amount) -> B256 {
    let voucher = typed::Voucher { channelId: channel, maxClaimableAmount: max_claimable.get() };
    voucher.eip712_signing_hash(&domain(network))
}

/// What the receiver's authorizer signs to give something back.
pub fn refund_digest(network: Network, channel: B256, nonce: U256, amount: Amount) -> B256 {
    typed::Refund { channelId: channel, nonce, amount: amount.get() }.eip712_signing_hash(&domain(network))
}

/// What the receiver's authorizer signs to claim: each a channel, its voucher's ceiling, and the total claimed.
pub fn claim_batch_digest(network: Network, rows: impl IntoIterator<Item = (B256, Amount, Amount)>) -> B256 {
    let row = |(channel, max, total): (B256, Amount, Amount)| typed::ClaimEntry {
        channelId: channel,
        maxClaimableAmount: max.get(),
        totalClaimed: total.get(),
    };
    typed::ClaimBatch { claims: rows.into_iter().map(row).collect() }.eip712_signing_hash(&domain(network))
}

/// The EIP-3009 nonce of a deposit: it binds the channel, so that a deposit can land nowhere else.
pub fn deposit_nonce(channel: B256, salt: U256) -> B256 {
    keccak256((channel, salt).abi_encode())
}

/// What the payer signs to deposit: EIP-3009 `receiveWithAuthorization`, which nobody can use but whom it goes to, a
/// collector.
pub fn deposit_digest(domain: &TokenDomain, authorization: &Authorization) -> B256 {
    typed::ReceiveWithAuthorization {
        from: authorization.from,
        to: authorization.to,
        value: authorization.value,
        validAfter: authorization.valid_after,
        validBefore: authorization.valid_before,
        nonce: authorization.nonce,
    }
    .eip712_signing_hash(&domain.eip712())
}
