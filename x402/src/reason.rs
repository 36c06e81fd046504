//! The closed list of reasons that this crate gives on the wire.
//!
//! The SDKs disagree in spelling although their sources say "must be identical". We emit the spelling of the
//! TypeScript and Go SDKs, and read the others (Python, x402-rs, the core specification) as the same reason.

pub mod spelling;

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal $(| $alias:literal)*, $retry:ident;)+) => {
        /// Why a payment was not accepted or not settled (`invalidReason`, `errorReason`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The wire text; also the stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// May the very same payment succeed later, with nothing changed by the payer?
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)+ }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text $(| $alias)* => Ok(Self::$name),)+
                    _ => Err(UnknownReason(crate::refusal::echo(text))),
                }
            }
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    Later,
}

reasons! {
    InvalidX402Version = "invalid_x402_version", Never;
    InvalidPayload = "invalid_payload" | "invalid_format" | "invalid_exact_evm_payload" | "invalid_payload_format", Never;
    InvalidPaymentRequirements = "invalid_payment_requirements" | "invalid_exact_evm_required_amount", Never;
    UnsupportedScheme = "unsupported_scheme" | "invalid_scheme" | "invalid_exact_evm_unsupported_scheme", Never;
    InvalidNetwork = "invalid_network" | "invalid_exact_evm_failed_to_get_network_config", Never;
    UnsupportedPayloadType = "unsupported_payload_type", Never;
    /// What the payer accepted is not what is required. No official SDK checks it; x402-rs does, and names it so.
    AcceptedRequirementsMismatch = "accepted_requirements_mismatch", Never;
    /// What the payer echoes of an extension is not what was declared.
    ExtensionEchoMismatch = "extension_echo_mismatch", Never;
    /// The payer's own name for the payment is none (HTTP 400).
    PaymentIdentifierInvalid = "payment_identifier_invalid", Never;
    /// The route takes no payment without one (HTTP 400).
    PaymentIdentifierRequired = "payment_identifier_required", Never;
    /// It stands for something else already (HTTP 409).
    PaymentIdentifierConflict = "payment_identifier_conflict", Never;

    /// `sign-in-with-x`: the header is none.
    SignInHeader = "invalid_siwx_header", Never;
    SignInDomain = "invalid_siwx_domain_mismatch", Never;
    SignInUri = "invalid_siwx_uri_mismatch", Never;
    /// Of an account kind or a chain that nothing here is paid on.
    SignInChain = "invalid_siwx_unsupported_chain" | "invalid_siwx_chain_id", Never;
    /// Another text than the one that was asked for.
    SignInText = "invalid_siwx_text", Never;
    SignInIssuedAt = "invalid_siwx_issued_at", Never;
    SignInEarly = "invalid_siwx_issued_at_in_future" | "invalid_siwx_not_yet_valid", Never;
    SignInExpired = "invalid_siwx_expired" | "invalid_siwx_expiration_time" | "invalid_siwx_issued_at_too_old", Never;
    /// Not one that was given out here, or one that was answered.
    SignInNonce = "invalid_siwx_nonce", Never;
    SignInSignature = "invalid_siwx_signature" | "invalid_siwx_malformed_signature", Never;
    /// Who signed has not paid for this, or not lately.
    SignInUnpaid = "invalid_siwx_not_paid", Never;

    ExactScheme = "invalid_exact_evm_scheme", Never;
    NetworkMismatch = "invalid_exact_evm_network_mismatch" | "network_mismatch" | "chain_id_mismatch"
        | "unsupported_chain", Never;
    MissingDomain = "invalid_exact_evm_missing_eip712_domain" | "missing_eip712_domain"
        | "invalid_exact_evm_extra_field", Never;
    RecipientMismatch = "invalid_exact_evm_recipient_mismatch" | "invalid_exact_evm_payload_recipient_mismatch"
        | "recipient_mismatch", Never;
    AuthorizationValue = "invalid_exact_evm_authorization_value", Never;
    ValueMismatch = "invalid_exact_evm_payload_authorization_value_mismatch" | "invalid_payment_amount"
        | "invalid_exact_evm_payload_authorization_value", Never;
    ValidBefore = "invalid_exact_evm_payload_authorization_valid_before" | "invalid_payment_expired", Never;
    ValidAfter = "invalid_exact_evm_payload_authorization_valid_after" | "invalid_payment_early", Later;
    SignatureFormat = "invalid_exact_evm_failed_to_parse_signature" | "invalid_exact_evm_signature_format"
        | "invalid_exact_evm_payload_missing_signature", Never;
    Signature = "invalid_exact_evm_signature" | "invalid_exact_evm_payload_signature" | "invalid_signature"
        | "invalid_exact_evm_failed_to_verify_signature", Never;
    UndeployedWallet = "invalid_exact_evm_payload_undeployed_smart_wallet", Never;
    /// ERC-6492: the wallet is not there yet, and its factory is not one that is called for strangers.
    FactoryNotAllowed = "eip6492_factory_not_allowed", Never;
    WalletDeploymentFailed = "smart_wallet_deployment_failed", Never;

    AssetUnknown = "invalid_exact_evm_failed_to_get_asset_info" | "unsupported_asset", Never;
    AssetNotDeployed = "asset_not_deployed_contract", Never;
    TokenNameMismatch = "invalid_exact_evm_token_name_mismatch", Never;
    TokenVersionMismatch = "invalid_exact_evm_token_version_mismatch", Never;
    Eip3009NotSupported = "invalid_exact_evm_eip3009_not_supported", Never;
    NonceAlreadyUsed = "invalid_exact_evm_nonce_already_used", Never;
    InsufficientBalance = "invalid_exact_evm_insufficient_balance" | "insufficient_funds"
        | "insufficient_balance" | "balance_check_failed", Later;
    SimulationFailed = "invalid_exact_evm_transaction_simulation_failed" | "transaction_simulation", Later;

    Permit2Spender = "invalid_permit2_spender", Never;
    Permit2RecipientMismatch = "invalid_permit2_recipient_mismatch", Never;
    Permit2DeadlineExpired = "permit2_deadline_expired", Never;
    Permit2NotYetValid = "permit2_not_yet_valid" | "permit2_payment_too_early", Later;
    Permit2AmountMismatch = "permit2_amount_mismatch" | "permit2_invalid_amount", Never;
    Permit2TokenMismatch = "permit2_token_mismatch", Never;
    Permit2Signature = "invalid_permit2_signature" | "permit2_invalid_signature", Never;
    /// The payer must let Permit2 move the token first (HTTP 412).
    Permit2AllowanceRequired = "permit2_allowance_required" | "PERMIT2_ALLOWANCE_REQUIRED", Later;
    Permit2SimulationFailed = "permit2_simulation_failed", Later;
    Permit2InsufficientBalance = "permit2_insufficient_balance", Later;
    Permit2ProxyNotDeployed = "permit2_proxy_not_deployed", Never;
    /// Consumed: by a settlement, or by the payer's own cancellation.
    Permit2NonceUsed = "permit2_invalid_nonce", Never;
    Eip2612Format = "invalid_eip2612_extension_format", Never;
    Eip2612From = "eip2612_from_mismatch", Never;
    Eip2612Asset = "eip2612_asset_mismatch", Never;
    Eip2612Spender = "eip2612_spender_not_permit2", Never;
    Eip2612Deadline = "eip2612_deadline_expired", Never;
    Eip2612Amount = "permit2_2612_amount_mismatch", Never;
    ApprovalFormat = "invalid_erc20_approval_extension_format", Never;
    ApprovalFrom = "erc20_approval_from_mismatch", Never;
    ApprovalAsset = "erc20_approval_asset_mismatch", Never;
    ApprovalSpender = "erc20_approval_spender_not_permit2", Never;
    ApprovalTarget = "erc20_approval_tx_wrong_target", Never;
    ApprovalSelector = "erc20_approval_tx_wrong_selector", Never;
    ApprovalCallSpender = "erc20_approval_tx_wrong_spender", Never;
    ApprovalCalldata = "erc20_approval_tx_invalid_calldata", Never;
    ApprovalSigner = "erc20_approval_tx_signer_mismatch", Never;
    ApprovalSignature = "erc20_approval_tx_invalid_signature", Never;
    /// Not the one form of transaction that is sent for others, or one of another chain.
    ApprovalUnreadable = "erc20_approval_tx_parse_failed", Never;
    /// The chain does not take it, or takes it and Permit2 may still not move the token.
    ApprovalFailed = "erc20_approval_tx_failed", Later;
    ApprovalBroadcast = "erc20_approval_broadcast_failed", Later;
    /// Its sender cannot pay for it, and gets no more than a facilitator gives.
    ApprovalGas = "erc20_approval_insufficient_eth_for_gas", Later;

    UptoScheme = "invalid_upto_evm_scheme", Never;
    UptoNetworkMismatch = "invalid_upto_evm_network_mismatch", Never;
    UptoExceedsAmount = "invalid_upto_evm_payload_settlement_exceeds_amount" | "upto_amount_exceeds_permitted", Never;
    UptoFacilitator = "upto_facilitator_mismatch" | "upto_unauthorized_facilitator", Never;

    BatchScheme = "invalid_batch_settlement_evm_scheme", Never;
    BatchNetworkMismatch = "invalid_batch_settlement_evm_network_mismatch", Never;
    BatchMissingDomain = "invalid_batch_settlement_evm_missing_eip712_domain", Never;
    BatchPayloadType = "invalid_batch_settlement_evm_payload_type", Never;
    BatchDepositPayload = "invalid_batch_settlement_evm_deposit_payload", Never;
    BatchVoucherPayload = "invalid_batch_settlement_evm_voucher_payload", Never;
    BatchRefundPayload = "invalid_batch_settlement_evm_refund_payload", Never;
    BatchClaimPayload = "invalid_batch_settlement_evm_claim_payload", Never;
    BatchSettlePayload = "invalid_batch_settlement_evm_settle_payload", Never;
    BatchErc3009Required = "invalid_batch_settlement_evm_erc3009_authorization_required", Never;
    BatchChannelIdInvalid = "invalid_batch_settlement_evm_channel_id_invalid", Never;
    BatchChannelIdMismatch = "invalid_batch_settlement_evm_channel_id_mismatch", Never;
    BatchReceiverMismatch = "invalid_batch_settlement_evm_receiver_mismatch", Never;
    BatchReceiverAuthorizerMismatch = "invalid_batch_settlement_evm_receiver_authorizer_mismatch", Never;
    BatchTokenMismatch = "invalid_batch_settlement_evm_token_mismatch", Never;
    BatchWithdrawDelayMismatch = "invalid_batch_settlement_evm_withdraw_delay_mismatch", Never;
    BatchWithdrawDelayOutOfRange = "invalid_batch_settlement_evm_withdraw_delay_out_of_range", Never;
    BatchVoucherSignature = "invalid_batch_settlement_evm_voucher_signature", Never;
    BatchReceiveSignature = "invalid_batch_settlement_evm_receive_authorization_signature", Never;
    BatchValidBefore = "invalid_batch_settlement_evm_payload_authorization_valid_before", Never;
    BatchValidAfter = "invalid_batch_settlement_evm_payload_authorization_valid_after", Later;
    BatchFactoryNotAllowed = "invalid_batch_settlement_evm_eip6492_factory_not_allowed", Never;
    BatchWalletDeployment = "invalid_batch_settlement_evm_smart_wallet_deployment_failed", Never;
    BatchChannelNotFound = "invalid_batch_settlement_evm_channel_not_found", Later;
    BatchExceedsBalance = "invalid_batch_settlement_evm_cumulative_exceeds_balance", Later;
    BatchBelowClaimed = "invalid_batch_settlement_evm_cumulative_below_claimed", Never;
    BatchInsufficientBalance = "invalid_batch_settlement_evm_insufficient_balance", Later;
    /// Claims and refunds are not signed here for anybody: whoever is paid brings the signature.
    BatchAuthorizerNotConfigured = "invalid_batch_settlement_evm_authorizer_not_configured", Never;
    BatchDepositSimulation = "invalid_batch_settlement_evm_deposit_simulation_failed", Later;
    BatchClaimSimulation = "invalid_batch_settlement_evm_claim_simulation_failed", Later;
    BatchSettleSimulation = "invalid_batch_settlement_evm_settle_simulation_failed", Later;
    BatchRefundSimulation = "invalid_batch_settlement_evm_refund_simulation_failed", Later;
    BatchDepositFailed = "invalid_batch_settlement_evm_deposit_transaction_failed", Later;
    BatchClaimFailed = "invalid_batch_settlement_evm_claim_transaction_failed", Later;
    BatchSettleFailed = "invalid_batch_settlement_evm_settle_transaction_failed", Later;
    BatchRefundFailed = "invalid_batch_settlement_evm_refund_transaction_failed", Later;
    BatchNothingToSettle = "invalid_batch_settlement_evm_nothing_to_settle", Later;
    BatchRefundAmount = "invalid_batch_settlement_evm_refund_amount_invalid", Never;
    BatchRefundNoBalance = "invalid_batch_settlement_evm_refund_no_balance", Later;
    /// What was charged so far is not what the payer thinks. The 402 beside it says what it is.
    BatchCumulativeMismatch = "invalid_batch_settlement_evm_cumulative_amount_mismatch", Later;
    BatchChannelBusy = "invalid_batch_settlement_evm_channel_busy", Later;

    CaptureScheme = "invalid_auth_capture_evm_scheme", Never;
    CaptureNetworkMismatch = "invalid_auth_capture_evm_network_mismatch", Never;
    CaptureExtra = "invalid_auth_capture_evm_extra", Never;
    CapturePaymentFlow = "invalid_auth_capture_evm_unsupported_payment_flow", Never;
    CaptureMissingAuthorizer = "invalid_auth_capture_evm_missing_receiver_authorizer", Never;
    CaptureOperatorType = "invalid_auth_capture_evm_unsupported_operator_type", Never;
    CapturePolicy = "invalid_auth_capture_evm_policy", Never;
    CaptureTransferMethod = "invalid_auth_capture_evm_unsupported_asset_transfer_method", Never;
    CapturePayloadFormat = "invalid_auth_capture_evm_payload_format", Never;
    CapturePayloadMethod = "invalid_auth_capture_evm_payload_method_mismatch", Never;
    CapturePayloadType = "invalid_auth_capture_evm_payload_type", Never;
    CaptureOperatorNotAdmitted = "invalid_auth_capture_evm_operator_not_admitted", Never;
    CaptureOperatorMismatch = "invalid_auth_capture_evm_operator_mismatch", Never;
    CaptureNotRelayed = "invalid_auth_capture_evm_lifecycle_not_relayed", Never;
    CaptureSaltBinding = "invalid_auth_capture_evm_salt_binding_mismatch", Never;
    CaptureAuthorizerSignature = "invalid_auth_capture_evm_authorizer_signature", Never;
    CaptureVoidSignature = "invalid_auth_capture_evm_void_authorizer_signature", Never;
    CaptureNothingToVoid = "invalid_auth_capture_evm_void_remainder_full_capture", Never;
    /// Captures and voids are signed here for nobody.
    CaptureUnsignedRequest = "invalid_auth_capture_evm_unauthenticated_authorizer_request", Never;
    CaptureUnexpectedState = "invalid_auth_capture_evm_unexpected_payment_state", Never;
    CaptureRefundFunding = "invalid_auth_capture_evm_refund_funding_unavailable", Never;
    CaptureDeadlineExpired = "invalid_auth_capture_evm_capture_deadline_expired", Never;
    CaptureDeadlineOrdering = "invalid_auth_capture_evm_deadline_ordering", Never;
    CaptureAuthorizationExpired = "invalid_auth_capture_evm_authorization_expired", Never;
    CaptureNotYetValid = "invalid_auth_capture_evm_authorization_not_yet_valid", Later;
    CaptureSignature = "invalid_auth_capture_evm_signature", Never;
    CaptureFactoryNotAllowed = "invalid_auth_capture_evm_erc6492_factory_not_allowed", Never;
    CaptureAmountMismatch = "invalid_auth_capture_evm_amount_mismatch", Never;
    CaptureAmountOverflow = "invalid_auth_capture_evm_amount_overflow", Never;
    CaptureCollectorMismatch = "invalid_auth_capture_evm_token_collector_mismatch", Never;
    CaptureNonceMismatch = "invalid_auth_capture_evm_nonce_mismatch", Never;
    CaptureInsufficientBalance = "invalid_auth_capture_evm_insufficient_balance", Later;
    CaptureSimulation = "invalid_auth_capture_evm_simulation_failed", Later;
    CaptureAlreadyCollected = "invalid_auth_capture_evm_payment_already_collected", Never;
    CaptureCollector = "invalid_auth_capture_evm_collector", Never;
    CaptureCollectionFailed = "invalid_auth_capture_evm_token_collection_failed", Later;
    CaptureInsufficient = "invalid_auth_capture_evm_insufficient_authorization", Never;
    CaptureZeroAuthorization = "invalid_auth_capture_evm_zero_authorization", Never;
    CaptureFeeBps = "invalid_auth_capture_evm_fee_bps", Never;
    CaptureFeeBpsRange = "invalid_auth_capture_evm_fee_bps_range", Never;
    CaptureFeeRange = "invalid_auth_capture_evm_fee_bps_out_of_range", Never;
    CaptureZeroFeeReceiver = "invalid_auth_capture_evm_zero_fee_receiver", Never;
    CaptureFeeReceiver = "invalid_auth_capture_evm_fee_receiver", Never;
    CaptureReverted = "invalid_auth_capture_evm_transaction_reverted", Later;

    TransactionFailed = "invalid_exact_evm_transaction_failed" | "transaction_failed"
        | "invalid_exact_evm_failed_to_execute_transfer" | "invalid_upto_evm_transaction_failed", Later;
    TransferEventMismatch = "invalid_exact_evm_transfer_event_mismatch", Never;
    InvalidTransactionState = "invalid_transaction_state" | "invalid_exact_evm_transaction_state", Never;
    /// Sent, and not yet known to be in a block. Ask again with the same payload; never pay again.
    SettlementPending = "settlement_pending", Later;
    UnexpectedVerifyError = "unexpected_verify_error" | "unexpected_error"
        | "invalid_exact_evm_verification_failed", Later;
    UnexpectedSettleError = "unexpected_settle_error" | "invalid_exact_evm_failed_to_get_receipt", Later;
}

impl Reason {
    pub const fn retryable(self) -> bool {
        matches!(self.retry(), Retry::Later)
    }

    /// Says that the nonce is consumed, of whichever kind it is: then the payee may have been paid by somebody else's
    /// transaction.
    pub const fn is_nonce_used(self) -> bool {
        matches!(self, Self::NonceAlreadyUsed | Self::Permit2NonceUsed)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reason is spelled `{0}`")]
pub struct UnknownReason(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_spellings_are_not_guessed() {
        for text in ["", "INVALID_PAYLOAD", "invalid_exact_evm", "invalid_payload ", "ok"] {
            assert!(text.parse::<Reason>().is_err(), "{text:?} was read as a reason");
        }
    }

    #[test]
    fn every_reason_reads_back_what_it_writes() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
            assert!(
                reason.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
    }

    #[test]
    fn the_spellings_of_other_sdks_are_the_same_reasons() {
        for (text, reason) in [
            ("missing_eip712_domain", Reason::MissingDomain),
            ("invalid_exact_evm_payload_signature", Reason::Signature),
            ("recipient_mismatch", Reason::RecipientMismatch),
            ("chain_id_mismatch", Reason::NetworkMismatch),
            ("invalid_payment_amount", Reason::ValueMismatch),
            ("insufficient_funds", Reason::InsufficientBalance),
            ("transaction_failed", Reason::TransactionFailed),
        ] {
            assert_eq!(text.parse(), Ok(reason));
        }
    }
}
