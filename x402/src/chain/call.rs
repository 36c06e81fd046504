//! What is sent to a chain, before it is a transaction.

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::auth_capture::EscrowCall;
use crate::batch_settlement::ChannelCall;
use crate::exact::{Authorization, WalletSignature};
use crate::permit2::Permit;
use crate::permit2::sponsor::Sponsoring;

/// An EIP-3009 `transferWithAuthorization` call, with its 65-byte signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferCall {
    pub asset: Address,
    pub from: Address,
    pub to: Address,
    pub value: U256,
    pub valid_after: U256,
    pub valid_before: U256,
    pub nonce: B256,
    /// r || s || v, v is 27 or 28.
    pub signature: [u8; 65],
}

/// The same where the payer is a contract: the overload that takes bytes, and makes the token ask the payer (ERC-1271).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletCall {
    pub asset: Address,
    pub authorization: Authorization,
    pub signature: WalletSignature,
}

/// What makes a contract wallet that is not there yet (ERC-6492).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    pub factory: Address,
    pub calldata: Bytes,
}

/// What a contract wallet says of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalletAnswer {
    /// The value of ERC-1271 and nothing else.
    Signed,
    /// Any other answer, a revert, or more gas than a settlement may take.
    Refused,
    /// It is not there, and its factory does not make it.
    NotMade,
}

/// A call of an x402 proxy that moves a token by Permit2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitCall {
    pub permit: Permit,
    /// What is to be moved. With `exact` the proxy moves all that is permitted.
    pub amount: U256,
    /// r || s || v (v is 27 or 28) of an account; a contract's are its own affair.
    pub signature: Bytes,
    /// What gives Permit2 its allowance, where it has none yet.
    pub sponsored: Option<Sponsoring>,
}

/// An EIP-3009 `cancelAuthorization` call, with its 65-byte signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelCall {
    pub asset: Address,
    pub authorizer: Address,
    pub nonce: B256,
    /// r || s || v, v is 27 or 28.
    pub signature: [u8; 65],
}

/// Gas for a payer, so that a transaction of its own can be sent for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasGrant {
    pub to: Address,
    /// Wei.
    pub value: U256,
}

/// What a settlement sends to the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettlementCall {
    Transfer(Box<TransferCall>),
    Wallet(Box<WalletCall>),
    Permit(Box<PermitCall>),
    Channel(Box<ChannelCall>),
    Escrow(Box<EscrowCall>),
    /// So that nothing is ever settled.
    Cancel(Box<CancelCall>),
    /// Before a settlement.
    Gas(GasGrant),
}

impl SettlementCall {
    /// What the payer's signature is shown as.
    pub fn signature(&self) -> &[u8] {
        match self {
            Self::Transfer(call) => &call.signature,
            Self::Wallet(call) => &call.signature.inner,
            Self::Permit(call) => &call.signature,
            Self::Cancel(call) => &call.signature,
            Self::Gas(_) => &[],
            Self::Channel(call) => match call.as_ref() {
                ChannelCall::Deposit(call) => &call.signature,
                ChannelCall::Claim { signature, .. } => signature,
                ChannelCall::Refund(call) => &call.signature,
                ChannelCall::Settle(_) | ChannelCall::Withdraw { .. } | ChannelCall::Finalize { .. } => &[],
            },
            Self::Escrow(call) => match call.as_ref() {
                EscrowCall::Authorize { signature, .. } | EscrowCall::Charge { signature, .. } => signature,
                EscrowCall::Capture { .. } | EscrowCall::Void { .. } | EscrowCall::Reclaim { .. } => &[],
            },
        }
    }
}
