//! The escrow of scheme `batch-settlement` and its collector: what the port calls, and what stands in the devnet's genesis.

use alloy::primitives::{Address, Bytes, U256};
use alloy::rpc::types::Log;
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use x402::batch_settlement::{Channel, ChannelCall, ChannelLog, Claim, EIP3009_COLLECTOR, ESCROW};

use crate::permit2::Created;

/// Origin, licence and how each was made stand beside it: `fixtures/contracts/README.md`.
const ARTIFACT: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/contracts/BatchSettlement.json"));

sol! {
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
        ChannelConfig channel;
        uint128 maxClaimableAmount;
    }
    struct VoucherClaim {
        Voucher voucher;
        bytes signature;
        uint128 totalClaimed;
    }

    /// `x402BatchSettlement`, as far as Purser speaks it.
    interface Escrow {
        function deposit(ChannelConfig config, uint128 amount, address collector, bytes collectorData) external;
        function claimWithSignature(VoucherClaim[] voucherClaims, bytes authorizerSignature) external;
        function settle(address receiver, address token) external;
        function refundWithSignature(
            ChannelConfig config, uint128 amount, uint256 nonce, bytes receiverAuthorizerSignature
        ) external;
        function initiateWithdraw(ChannelConfig config, uint128 amount) external;
        function finalizeWithdraw(ChannelConfig config) external;
        function multicall(bytes[] data) external returns (bytes[] results);
        function channels(bytes32 channelId) external view returns (uint128 balance, uint128 totalClaimed);
        function pendingWithdrawals(bytes32 channelId) external view returns (uint128 amount, uint40 initiatedAt);
        function refundNonce(bytes32 channelId) external view returns (uint256);
        function receivers(address receiver, address token)
            external view returns (uint128 totalClaimed, uint128 totalSettled);

        event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance);
        event Claimed(bytes32 indexed channelId, address indexed sender, uint128 claimAmount, uint128 newTotalClaimed);
        event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
        event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount);
        event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter);
        event WithdrawFinalized(bytes32 indexed channelId, address indexed sender, uint128 amount);
    }
}

fn config(channel: &Channel) -> ChannelConfig {
    ChannelConfig {
        payer: channel.payer,
        payerAuthorizer: channel.payer_authorizer,
        receiver: channel.receiver,
        receiverAuthorizer: channel.receiver_authorizer,
        token: channel.token,
        withdrawDelay: channel.withdraw_delay,
        salt: channel.salt,
    }
}

fn claim_input(claims: &[Claim], signature: &Bytes) -> Vec<u8> {
    let row = |claim: &Claim| VoucherClaim {
        voucher: Voucher { channel: config(&claim.channel), maxClaimableAmount: claim.max_claimable.get() },
        signature: claim.signature.clone(),
        totalClaimed: claim.total_claimed.get(),
    };
    Escrow::claimWithSignatureCall {
        voucherClaims: claims.iter().map(row).collect(),
        authorizerSignature: signature.clone(),
    }
    .abi_encode()
}

/// What the escrow is called with.
pub(crate) fn input(call: &ChannelCall) -> Bytes {
    match call {
        ChannelCall::Deposit(deposit) => {
            let (after, before, salt) = (deposit.valid_after, deposit.valid_before, deposit.salt);
            let data = (after, before, salt, deposit.signature.clone()).abi_encode_params();
            Escrow::depositCall {
                config: config(&deposit.channel),
                amount: deposit.amount.get(),
                collector: EIP3009_COLLECTOR,
                collectorData: data.into(),
            }
            .abi_encode()
        }
        ChannelCall::Claim { claims, signature } => claim_input(claims, signature),
        ChannelCall::Withdraw { channel, amount } => {
            Escrow::initiateWithdrawCall { config: config(channel), amount: amount.get() }.abi_encode()
        }
        ChannelCall::Finalize { channel } => Escrow::finalizeWithdrawCall { config: config(channel) }.abi_encode(),
        ChannelCall::Settle(sweep) => Escrow::settleCall { receiver: sweep.receiver, token: sweep.token }.abi_encode(),
        ChannelCall::Refund(refund) => {
            let own = Escrow::refundWithSignatureCall {
                config: config(&refund.channel),
                amount: refund.amount.get(),
                nonce: refund.nonce,
                receiverAuthorizerSignature: refund.signature.clone(),
            }
            .abi_encode();
            if refund.claims.is_empty() {
                own
            } else {
                let first = claim_input(&refund.claims, &refund.claim_signature);
                Escrow::multicallCall { data: vec![first.into(), own.into()] }.abi_encode()
            }
        }
    }
    .into()
}

/// `None` of every other log, also one of the same words by another contract.
pub(crate) fn log_of(log: &Log) -> Option<ChannelLog> {
    if log.address() != ESCROW {
        return None;
    }
    let log = &log.inner;
    if let Ok(found) = Escrow::Deposited::decode_log_validate(log) {
        return Some(ChannelLog::Deposited { channel: found.channelId, amount: U256::from(found.amount) });
    }
    if let Ok(found) = Escrow::Claimed::decode_log_validate(log) {
        return Some(ChannelLog::Claimed { channel: found.channelId, total: U256::from(found.newTotalClaimed) });
    }
    if let Ok(found) = Escrow::Settled::decode_log_validate(log) {
        let (receiver, token) = (found.receiver, found.token);
        return Some(ChannelLog::Settled { receiver, token, amount: U256::from(found.amount) });
    }
    if let Ok(found) = Escrow::Refunded::decode_log_validate(log) {
        return Some(ChannelLog::Refunded { channel: found.channelId, amount: U256::from(found.amount) });
    }
    if let Ok(found) = Escrow::WithdrawInitiated::decode_log_validate(log) {
        let (channel, amount) = (found.channelId, U256::from(found.amount));
        return Some(ChannelLog::Withdrawing { channel, amount, from: found.finalizeAfter.to::<u64>() });
    }
    let found = Escrow::WithdrawFinalized::decode_log_validate(log).ok()?;
    Some(ChannelLog::Withdrawn { channel: found.channelId, amount: U256::from(found.amount) })
}

#[derive(serde::Deserialize)]
pub(crate) struct Contracts {
    pub(crate) escrow: Created,
    pub(crate) eip3009_collector: Created,
}

pub(crate) fn contracts() -> Result<Contracts, String> {
    let contracts: Contracts =
        serde_json::from_str(ARTIFACT).map_err(|error| format!("the artifact cannot be read: {error}"))?;
    let found: [Address; 2] = [contracts.escrow.address, contracts.eip3009_collector.address];
    if found != [ESCROW, EIP3009_COLLECTOR] {
        return Err(format!(
            "expected the escrow and its collector at {ESCROW} and {EIP3009_COLLECTOR}, found {found:?}"
        ));
    }
    Ok(contracts)
}
