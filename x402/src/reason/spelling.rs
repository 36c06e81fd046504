//! One spelling for each code, whoever says it.
//!
//! The TypeScript and Go SDKs (npm `@x402/evm` 2.27.0) spell a code one way, the Python SDK (PyPI `x402` 2.25.0), x402-rs
//! (2.0) and the npm package `x402` (1.2.0, protocol version 1) others. What comes from outside is brought into the first
//! spelling; a code that is not in the table is kept as it is, and nothing is ever put around one.

/// Foreign spelling, and that of TypeScript and Go.
const FOREIGN: &[(&str, &str)] = &[
    // Python
    ("missing_eip712_domain", "invalid_exact_evm_missing_eip712_domain"),
    ("network_mismatch", "invalid_exact_evm_network_mismatch"),
    ("transaction_failed", "invalid_exact_evm_transaction_failed"),
    // Python, and version 1
    ("invalid_exact_evm_payload_recipient_mismatch", "invalid_exact_evm_recipient_mismatch"),
    ("invalid_exact_evm_payload_signature", "invalid_exact_evm_signature"),
    ("invalid_exact_evm_payload_authorization_value", "invalid_exact_evm_payload_authorization_value_mismatch"),
    // x402-rs
    ("chain_id_mismatch", "invalid_exact_evm_network_mismatch"),
    ("unsupported_chain", "invalid_exact_evm_network_mismatch"),
    ("recipient_mismatch", "invalid_exact_evm_recipient_mismatch"),
    ("invalid_signature", "invalid_exact_evm_signature"),
    ("invalid_payment_expired", "invalid_exact_evm_payload_authorization_valid_before"),
    ("invalid_payment_early", "invalid_exact_evm_payload_authorization_valid_after"),
    ("invalid_payment_amount", "invalid_exact_evm_payload_authorization_value_mismatch"),
    ("transaction_simulation", "invalid_exact_evm_transaction_simulation_failed"),
    ("invalid_format", "invalid_payload"),
    // x402-rs, and the core specification
    ("insufficient_funds", "invalid_exact_evm_insufficient_balance"),
    // the text of the specification; on the wire it is in lower case
    ("PERMIT2_ALLOWANCE_REQUIRED", "permit2_allowance_required"),
];

/// What was asked of whoever says a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Verify,
    Settle,
}

/// The code in the spelling of TypeScript and Go. `unexpected_error` of x402-rs means what was asked for.
pub fn common(code: &str, asked: Asked) -> &str {
    match (code, asked) {
        ("unexpected_error", Asked::Verify) => "unexpected_verify_error",
        ("unexpected_error", Asked::Settle) => "unexpected_settle_error",
        _ => FOREIGN.iter().find(|(foreign, _)| *foreign == code).map_or(code, |(_, ours)| ours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn what_is_not_in_the_table_is_kept_to_the_letter() {
        for code in [
            "",
            "INVALID_SIGNATURE",
            "invalid_signature ",
            "something_new",
            "eip6492_factory_not_allowed",
            "smart_wallet_deployment_failed",
            "invalid_exact_evm_failed_to_verify_signature",
            "invalid_exact_evm_payload_undeployed_smart_wallet",
            "invalid_batch_settlement_evm_channel_busy",
            "permit2_insufficient_balance",
            "unsupported_scheme",
            "settlement_pending",
        ] {
            assert_eq!((common(code, Asked::Verify), common(code, Asked::Settle)), (code, code));
        }
    }

    #[test]
    fn what_we_say_ourselves_is_in_the_common_spelling() {
        for reason in Reason::ALL {
            let code = reason.as_str();
            assert_eq!((common(code, Asked::Verify), common(code, Asked::Settle)), (code, code));
        }
    }

    #[test]
    fn a_foreign_spelling_is_one_step_from_the_common_one() {
        for (foreign, ours) in FOREIGN {
            assert_eq!(common(foreign, Asked::Verify), *ours);
            assert_eq!(common(ours, Asked::Settle), *ours, "{foreign} leads to another foreign spelling");
            assert_eq!(FOREIGN.iter().filter(|(other, _)| other == foreign).count(), 1, "{foreign} stands twice");
            let same: Result<Reason, _> = foreign.parse();
            assert_eq!(same.ok(), ours.parse().ok(), "{foreign} and {ours} are read as the same reason");
        }
        assert_eq!(common("unexpected_error", Asked::Verify), "unexpected_verify_error");
        assert_eq!(common("unexpected_error", Asked::Settle), "unexpected_settle_error");
    }
}
