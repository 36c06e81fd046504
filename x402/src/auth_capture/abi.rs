//! The escrow's own words: what is signed in them (EIP-712), what it is called with and what it logs.

use alloy_sol_types::sol;

sol! {
    struct PaymentInfo {
        address operator;
        address payer;
        address receiver;
        address token;
        uint120 maxAmount;
        uint48 preApprovalExpiry;
        uint48 authorizationExpiry;
        uint48 refundExpiry;
        uint16 minFeeBps;
        uint16 maxFeeBps;
        address feeReceiver;
        uint256 salt;
    }

    /// `AuthCaptureEscrow` 1.0, as far as Purser speaks it.
    interface Escrow {
        function authorize(
            PaymentInfo paymentInfo, uint256 amount, address tokenCollector, bytes collectorData
        ) external;
        function charge(
            PaymentInfo paymentInfo, uint256 amount, address tokenCollector, bytes collectorData, uint16 feeBps,
            address feeReceiver
        ) external;
        function capture(PaymentInfo paymentInfo, uint256 amount, uint16 feeBps, address feeReceiver) external;
        function void(PaymentInfo paymentInfo) external;
        function reclaim(PaymentInfo paymentInfo) external;
        function getHash(PaymentInfo paymentInfo) external view returns (bytes32);
        function getTokenStore(address operator) external view returns (address);
        function paymentState(bytes32 paymentInfoHash)
            external view returns (bool hasCollectedPayment, uint120 capturableAmount, uint120 refundableAmount);

        event PaymentAuthorized(
            bytes32 indexed paymentInfoHash, PaymentInfo paymentInfo, uint256 amount, address tokenCollector
        );
        event PaymentCharged(
            bytes32 indexed paymentInfoHash, PaymentInfo paymentInfo, uint256 amount, address tokenCollector,
            uint16 feeBps, address feeReceiver
        );
        event PaymentCaptured(bytes32 indexed paymentInfoHash, uint256 amount, uint16 feeBps, address feeReceiver);
        event PaymentVoided(bytes32 indexed paymentInfoHash, uint256 amount);
        event PaymentReclaimed(bytes32 indexed paymentInfoHash, uint256 amount);
        event PaymentRefunded(bytes32 indexed paymentInfoHash, uint256 amount, address tokenCollector);
    }
}

impl From<&super::PaymentInfo> for PaymentInfo {
    fn from(info: &super::PaymentInfo) -> Self {
        Self {
            operator: info.operator,
            payer: info.payer,
            receiver: info.receiver,
            token: info.token,
            maxAmount: info.max_amount,
            preApprovalExpiry: info.pre_approval_expiry,
            authorizationExpiry: info.authorization_expiry,
            refundExpiry: info.refund_expiry,
            minFeeBps: info.min_fee_bps,
            maxFeeBps: info.max_fee_bps,
            feeReceiver: info.fee_receiver,
            salt: info.salt,
        }
    }
}

impl From<&PaymentInfo> for super::PaymentInfo {
    fn from(info: &PaymentInfo) -> Self {
        Self {
            operator: info.operator,
            payer: info.payer,
            receiver: info.receiver,
            token: info.token,
            max_amount: info.maxAmount,
            pre_approval_expiry: info.preApprovalExpiry,
            authorization_expiry: info.authorizationExpiry,
            refund_expiry: info.refundExpiry,
            min_fee_bps: info.minFeeBps,
            max_fee_bps: info.maxFeeBps,
            fee_receiver: info.feeReceiver,
            salt: info.salt,
        }
    }
}
