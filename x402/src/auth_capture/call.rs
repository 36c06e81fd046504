//! What a facilitator has the escrow do, what the escrow has of a payment, and what its logs and refusals mean.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolError;

use super::{Capture, ESCROW, Kind, PaymentInfo, Taken, capture_digest, void_digest};
use crate::network::Network;
use crate::reason::Reason;
use crate::value::Amount;

mod errors {
    alloy_sol_types::sol! {
        error InvalidSender(address sender, address expected);
        error ZeroAmount();
        error AmountOverflow(uint256 amount, uint256 limit);
        error ExceedsMaxAmount(uint256 amount, uint256 maxAmount);
        error AfterPreApprovalExpiry(uint48 timestamp, uint48 expiry);
        error InvalidExpiries(uint48 preApproval, uint48 authorization, uint48 refund);
        error FeeBpsOverflow(uint16 feeBps);
        error InvalidFeeBpsRange(uint16 minFeeBps, uint16 maxFeeBps);
        error FeeBpsOutOfRange(uint16 feeBps, uint16 minFeeBps, uint16 maxFeeBps);
        error ZeroFeeReceiver();
        error InvalidFeeReceiver(address attempted, address expected);
        error InvalidCollectorForOperation();
        error TokenCollectionFailed();
        error PaymentAlreadyCollected(bytes32 paymentInfoHash);
        error AfterAuthorizationExpiry(uint48 timestamp, uint48 expiry);
        error InsufficientAuthorization(bytes32 paymentInfoHash, uint256 authorizedAmount, uint256 requestedAmount);
        error ZeroAuthorization(bytes32 paymentInfoHash);
    }
}

/// A call of the escrow that one account alone can make: a payment's operator, or its payer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EscrowCall {
    /// All that the payer signed for, by EIP-3009 through the collector.
    Authorize { info: PaymentInfo, amount: Amount, signature: Bytes },
    /// The same, and at once for the receiver; what is not taken stays with the payer.
    Charge { info: PaymentInfo, taken: Taken, signature: Bytes },
    /// For the receiver; `fee_bps` of it for `fee_receiver`.
    Capture { info: PaymentInfo, amount: Amount, fee_bps: u16, fee_receiver: Address },
    /// What is left goes back to the payer.
    Void { info: PaymentInfo },
    /// The payer's own, after the deadline: what is left goes back to it.
    Reclaim { info: PaymentInfo },
}

impl EscrowCall {
    pub const fn info(&self) -> &PaymentInfo {
        match self {
            Self::Authorize { info, .. }
            | Self::Charge { info, .. }
            | Self::Capture { info, .. }
            | Self::Void { info }
            | Self::Reclaim { info } => info,
        }
    }

    /// The only account that can make it.
    pub const fn sender(&self) -> Address {
        match self {
            Self::Reclaim { info } => info.payer,
            Self::Authorize { info, .. }
            | Self::Charge { info, .. }
            | Self::Capture { info, .. }
            | Self::Void { info } => info.operator,
        }
    }
}

/// What makes two requests of payees the same one, so that it is done once: what was signed. The balances that a capture
/// expects are part of it.
pub fn record_of(network: Network, kind: &Kind, info: &PaymentInfo) -> B256 {
    let payment = info.hash(network, ESCROW);
    let digest = match kind {
        Kind::Capture(capture) => capture_digest(network, info.operator, capture, payment),
        Kind::Void => void_digest(network, info.operator, payment),
    };
    keccak256(digest)
}

impl Capture {
    /// What is left of `amount` for the receiver, as the escrow divides.
    pub fn without_fee(amount: U256, fee_bps: u16) -> U256 {
        let fee = amount.saturating_mul(U256::from(fee_bps)) / U256::from(10_000);
        amount.saturating_sub(fee)
    }
}

/// What the escrow has of a payment, in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EscrowState {
    /// Authorized or charged once: it can be no second time.
    pub collected: bool,
    /// Held, and neither captured nor given back.
    pub capturable: Amount,
    /// Captured, and not given back.
    pub refundable: Amount,
}

/// A log of the escrow's. Amounts with the fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscrowLog {
    Captured { payment: B256, amount: U256, fee_bps: u16 },
    Voided { payment: B256, amount: U256 },
    Reclaimed { payment: B256, amount: U256 },
}

/// Why the escrow refuses, by the custom error that it reverts with. `None` of any other.
pub fn refused_by_escrow(data: &[u8]) -> Option<Reason> {
    let selector: [u8; 4] = data.get(..4)?.try_into().ok()?;
    Some(match selector {
        errors::InvalidSender::SELECTOR => Reason::CaptureOperatorMismatch,
        errors::ZeroAmount::SELECTOR | errors::ExceedsMaxAmount::SELECTOR => Reason::CaptureAmountMismatch,
        errors::AmountOverflow::SELECTOR => Reason::CaptureAmountOverflow,
        errors::AfterPreApprovalExpiry::SELECTOR => Reason::CaptureAuthorizationExpired,
        errors::InvalidExpiries::SELECTOR => Reason::CaptureDeadlineOrdering,
        errors::FeeBpsOverflow::SELECTOR => Reason::CaptureFeeBps,
        errors::InvalidFeeBpsRange::SELECTOR => Reason::CaptureFeeBpsRange,
        errors::FeeBpsOutOfRange::SELECTOR => Reason::CaptureFeeRange,
        errors::ZeroFeeReceiver::SELECTOR => Reason::CaptureZeroFeeReceiver,
        errors::InvalidFeeReceiver::SELECTOR => Reason::CaptureFeeReceiver,
        errors::InvalidCollectorForOperation::SELECTOR => Reason::CaptureCollector,
        errors::TokenCollectionFailed::SELECTOR => Reason::CaptureCollectionFailed,
        errors::PaymentAlreadyCollected::SELECTOR => Reason::CaptureAlreadyCollected,
        errors::AfterAuthorizationExpiry::SELECTOR => Reason::CaptureDeadlineExpired,
        errors::InsufficientAuthorization::SELECTOR => Reason::CaptureInsufficient,
        errors::ZeroAuthorization::SELECTOR => Reason::CaptureZeroAuthorization,
        _ => return None,
    })
}
