//! The seven codes of `dev.ucp.shopping.ap2_mandate` (`ap2_mandate.json`, `error_code`), and which of them says what a
//! verifier found.

use mandates::rejection::Code;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MandateError {
    Required,
    AgentMissingKey,
    InvalidSignature,
    Expired,
    ScopeMismatch,
    AuthorizationInvalid,
    AuthorizationMissing,
}

impl MandateError {
    pub const ALL: [Self; 7] = [
        Self::Required,
        Self::AgentMissingKey,
        Self::InvalidSignature,
        Self::Expired,
        Self::ScopeMismatch,
        Self::AuthorizationInvalid,
        Self::AuthorizationMissing,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "mandate_required",
            Self::AgentMissingKey => "agent_missing_key",
            Self::InvalidSignature => "mandate_invalid_signature",
            Self::Expired => "mandate_expired",
            Self::ScopeMismatch => "mandate_scope_mismatch",
            Self::AuthorizationInvalid => "merchant_authorization_invalid",
            Self::AuthorizationMissing => "merchant_authorization_missing",
        }
    }
}

impl From<Code> for MandateError {
    fn from(code: Code) -> Self {
        use mandates::rejection::Ap2Error;
        match code {
            Code::Expired | Code::LeafStale | Code::KeyBindingStale | Code::CheckoutExpired | Code::X5cExpired => {
                Self::Expired
            }
            Code::MerchantKeyUnknown | Code::CheckoutSignatureInvalid | Code::CheckoutJwtMalformed => {
                Self::AuthorizationInvalid
            }
            Code::MerchantAuthorizationMissing => Self::AuthorizationMissing,
            Code::AudMismatch | Code::NonceMismatch | Code::Replayed => Self::ScopeMismatch,
            // A good signature under something else than this checkout, or more than was allowed.
            code if code.ap2_error() != Ap2Error::InvalidCredential => Self::ScopeMismatch,
            _ => Self::InvalidSignature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_of_a_verifier_has_a_code() {
        for (code, expected) in [
            (Code::SignatureInvalid, "mandate_invalid_signature"),
            (Code::UnknownKid, "mandate_invalid_signature"),
            (Code::MalformedJwt, "mandate_invalid_signature"),
            (Code::SdHashMismatch, "mandate_invalid_signature"),
            (Code::Expired, "mandate_expired"),
            (Code::LeafStale, "mandate_expired"),
            (Code::CheckoutExpired, "mandate_expired"),
            (Code::NonceMismatch, "mandate_scope_mismatch"),
            (Code::AudMismatch, "mandate_scope_mismatch"),
            (Code::AmountAboveMax, "mandate_scope_mismatch"),
            (Code::MerchantNotAllowed, "mandate_scope_mismatch"),
            (Code::CheckoutSignatureInvalid, "merchant_authorization_invalid"),
            (Code::MerchantKeyUnknown, "merchant_authorization_invalid"),
        ] {
            assert_eq!(MandateError::from(code).as_str(), expected, "{}", code.as_str());
        }
        for code in Code::ALL {
            assert!(MandateError::ALL.contains(&MandateError::from(*code)));
        }
    }
}
