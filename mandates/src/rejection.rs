//! Why a mandate is refused: one closed list of codes, each with the AP2 error that goes over the wire.

use std::fmt;

use crate::json::Json;
use crate::limits::SHOWN_CHARS_MAX;

/// The four error codes of AP2 v0.2 (`agent_authorization.md`, "Error codes"); nothing finer may go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ap2Error {
    /// The chain or the credential does not hold. Terminal.
    InvalidCredential,
    /// A constraint cannot be evaluated. The caller may fall back to a human who is present.
    UnresolvedConstraint,
    /// The mandate holds and does not authorise this action. Terminal.
    InvalidMandate,
    /// The receiver takes no mandates.
    MandatesNotSupported,
}

impl Ap2Error {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidCredential => "invalid_credential",
            Self::UnresolvedConstraint => "unresolved_constraint",
            Self::InvalidMandate => "invalid_mandate",
            Self::MandatesNotSupported => "mandates_not_supported",
        }
    }
}

impl fmt::Display for Ap2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($ap2:ident { $($name:ident = $text:literal,)* })*) => {
        /// The fine codes. Stable: names are only ever added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($($name,)*)* }

        impl Code {
            pub const ALL: &'static [Self] = &[$($(Self::$name,)*)*];

            pub const fn as_str(self) -> &'static str {
                match self { $($(Self::$name => $text,)*)* }
            }

            pub const fn ap2_error(self) -> Ap2Error {
                match self { $($(Self::$name => Ap2Error::$ap2,)*)* }
            }
        }
    };
}

codes! {
    InvalidCredential {
        // the envelope
        TokenTooLarge = "token_too_large",
        TokenNotAscii = "token_not_ascii",
        TooManySegments = "too_many_segments",
        TooManyDisclosures = "too_many_disclosures",
        FinalTildeMissing = "final_tilde_missing",
        EmptyDisclosure = "empty_disclosure",
        MalformedJwt = "malformed_jwt",
        MalformedSignature = "malformed_signature",
        MalformedDisclosure = "malformed_disclosure",
        MalformedJson = "malformed_json",
        DuplicateJsonKey = "duplicate_json_key",
        TooDeep = "too_deep",
        AlgNotAllowed = "alg_not_allowed",
        HeaderNotAllowed = "header_not_allowed",
        // types, keys and signatures
        TypWrong = "typ_wrong",
        UnknownKid = "unknown_kid",
        DidInvalid = "did_invalid",
        RootKeysUnavailable = "root_keys_unavailable",
        RootIssuerMismatch = "root_issuer_mismatch",
        RootOutOfScope = "root_out_of_scope",
        // certificates
        X5cMalformed = "x5c_malformed",
        X5cNoAnchor = "x5c_no_trust_anchor",
        X5cUntrusted = "x5c_untrusted_root",
        X5cOrder = "x5c_order",
        X5cExpired = "x5c_cert_expired",
        X5cNotYetValid = "x5c_cert_not_yet_valid",
        X5cLeafIsCa = "x5c_leaf_is_ca",
        X5cIssuerNotCa = "x5c_issuer_not_ca",
        X5cPathTooLong = "x5c_path_too_long",
        X5cKeyUsage = "x5c_key_usage",
        X5cNameConstraint = "x5c_name_constraint",
        X5cCriticalExtension = "x5c_critical_extension",
        X5cAlgorithm = "x5c_algorithm",
        X5cSignatureInvalid = "x5c_signature_invalid",
        SignatureLength = "signature_length",
        SignatureInvalid = "signature_invalid",
        KeyNotP256 = "key_not_p256",
        KeyInvalid = "key_invalid",
        KeyPrivate = "key_private",
        KeySetInvalid = "key_set_invalid",
        CnfMissing = "cnf_missing",
        CnfMisplaced = "cnf_misplaced",
        LeafHasCnf = "leaf_has_cnf",
        // disclosures
        SdAlgUnsupported = "sd_alg_unsupported",
        DuplicateDisclosure = "duplicate_disclosure",
        DigestReused = "digest_reused",
        DigestMalformed = "digest_malformed",
        DisclosureWrongKind = "disclosure_wrong_kind",
        ReservedClaimName = "reserved_claim_name",
        ClaimOverwritten = "claim_overwritten",
        UnreferencedDisclosure = "unreferenced_disclosure",
        DelegatePayloadCount = "delegate_payload_count",
        RootAmbiguous = "root_ambiguous",
        // bindings
        BindingCount = "binding_count",
        SdHashMismatch = "sd_hash_mismatch",
        IssuerJwtHashMismatch = "issuer_jwt_hash_mismatch",
        ClosedNeedsSdHash = "closed_needs_sd_hash",
        IatMissing = "iat_missing",
        AudMissing = "aud_missing",
        NonceMissing = "nonce_missing",
        AudMismatch = "aud_mismatch",
        NonceMismatch = "nonce_mismatch",
        Replayed = "replayed",
        Revoked = "revoked",
        // times
        TimeClaimType = "time_claim_type",
        Expired = "expired",
        NotYetValid = "not_yet_valid",
        IssuedInFuture = "issued_in_future",
        LeafStale = "leaf_stale",
        // status lists
        StatusUnreadable = "status_unreadable",
        StatusElsewhere = "status_elsewhere",
        StatusUnavailable = "status_unavailable",
        StatusListInvalid = "status_list_invalid",
        CredentialRevoked = "credential_revoked",
        CredentialSuspended = "credential_suspended",
        // receipts
        ReceiptReferenceUnknown = "receipt_reference_unknown",
        // canonical JSON, key binding and AP2 v0.1
        NumberNotCanonical = "number_not_canonical",
        ClaimMissing = "claim_missing",
        KeyBindingMissing = "key_binding_missing",
        KeyBindingStale = "key_binding_stale",
        CredentialTypeWrong = "credential_type_wrong",
        CredentialMismatch = "credential_mismatch",
        MerchantAuthorizationMissing = "merchant_authorization_missing",
        MerchantAuthorizationTooLong = "merchant_authorization_too_long",
        UserAuthorizationMissing = "user_authorization_missing",
        TransactionDataMismatch = "transaction_data_mismatch",
        UnsignedMember = "unsigned_member",
        // W3C Verifiable Credentials
        VcMalformed = "vc_malformed",
        IssuerUnknown = "issuer_unknown",
        VcStatusNotBuilt = "vc_status_not_built",
    }
    InvalidMandate {
        VctUnknown = "vct_unknown",
        FamilyMixed = "family_mixed",
        FamilyUnexpected = "family_unexpected",
        LeafNotClosed = "leaf_not_closed",
        NonleafNotOpen = "nonleaf_not_open",
        Schema = "schema",
        PresetClaimChanged = "preset_claim_changed",
        CurrencyMismatch = "currency_mismatch",
        AmountBelowMin = "amount_below_min",
        AmountAboveMax = "amount_above_max",
        PayeeNotAllowed = "payee_not_allowed",
        InstrumentNotAllowed = "instrument_not_allowed",
        PispNotAllowed = "pisp_not_allowed",
        BudgetExceeded = "budget_exceeded",
        BudgetCurrencyMismatch = "budget_currency_mismatch",
        RecurrenceExhausted = "recurrence_exhausted",
        RecurrenceTooSoon = "recurrence_too_soon",
        ExecutionTooEarly = "execution_too_early",
        ExecutionTooLate = "execution_too_late",
        ReferenceMismatch = "reference_mismatch",
        MerchantNotAllowed = "merchant_not_allowed",
        MerchantMissing = "merchant_missing",
        LineItemsNotSatisfied = "line_items_not_satisfied",
        CheckoutJwtMalformed = "checkout_jwt_malformed",
        CheckoutHashMismatch = "checkout_hash_mismatch",
        CheckoutNotExpected = "checkout_not_expected",
        CheckoutSignatureInvalid = "checkout_jwt_signature_invalid",
        CheckoutExpired = "checkout_expired",
        MerchantKeyUnknown = "merchant_key_unknown",
        TransactionIdMismatch = "transaction_id_mismatch",
        MandateAlreadyUsed = "mandate_already_used",
        PaymentNotCheckoutTotal = "payment_not_checkout_total",
        PaymentNotCheckoutCurrency = "payment_not_checkout_currency",
        PaymentNotCheckoutMerchant = "payment_not_checkout_merchant",
        ReceiptFieldMissing = "receipt_field_missing",
        ReceiptFieldForbidden = "receipt_field_forbidden",
        // AP2 v0.1
        IntentExpired = "intent_expired",
        CartExpired = "cart_expired",
        CartHashMismatch = "cart_hash_mismatch",
        CartConfirmationRequired = "cart_confirmation_required",
        PaymentNotCart = "payment_not_cart",
        // handing on: the child's value is not within the parent's
        ChildWidensFamily = "child_widens_family",
        ChildWidensAmountRange = "child_widens_amount_range",
        ChildWidensPayees = "child_widens_payees",
        ChildWidensInstruments = "child_widens_instruments",
        ChildWidensPisps = "child_widens_pisps",
        ChildWidensBudget = "child_widens_budget",
        ChildWidensRecurrence = "child_widens_recurrence",
        ChildWidensExecutionDate = "child_widens_execution_date",
        ChildWidensReference = "child_widens_reference",
        ChildWidensMerchants = "child_widens_merchants",
        ChildWidensLineItems = "child_widens_line_items",
        ChildWidensPreset = "child_widens_preset",
        ChildWidensExpiry = "child_widens_expiry",
        ChildWidensStart = "child_widens_start",
        DelegationTooDeep = "delegation_too_deep",
        DelegationCycle = "delegation_cycle",
        DelegationChanged = "delegation_changed",
    }
    UnresolvedConstraint {
        ConstraintWithheld = "constraint_withheld",
        ConstraintWithoutType = "constraint_without_type",
        UnknownConstraint = "unknown_constraint",
        ConstraintWrongFamily = "constraint_wrong_family",
        CurrencyUnknown = "currency_unknown",
        RecurrenceNeedsBudget = "recurrence_needs_budget",
        OpenCheckoutHashUnknown = "open_checkout_hash_unknown",
    }
}

impl Code {
    /// The part of the engine that is not built yet and would decide this, where that is the reason.
    pub const fn waits_for(self) -> Option<&'static str> {
        match self {
            Self::VcStatusNotBuilt => Some("credential_status"),
            _ => None,
        }
    }

    /// Whether the same token can become acceptable later, or with more context, without a new signature.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::NotYetValid
                | Self::IssuedInFuture
                | Self::RecurrenceTooSoon
                | Self::OpenCheckoutHashUnknown
                | Self::RootKeysUnavailable
                | Self::StatusUnavailable
                | Self::StatusListInvalid
                | Self::CredentialSuspended
                | Self::X5cNotYetValid
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One refusal: the rule broken, and a sentence with what was expected and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    pub code: Code,
    pub message: String,
    /// The claim that broke the rule, where there is one.
    pub field: Option<String>,
}

impl Rejection {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub const fn code(&self) -> &'static str {
        self.code.as_str()
    }

    pub const fn ap2_error(&self) -> Ap2Error {
        self.code.ap2_error()
    }

    pub const fn retryable(&self) -> bool {
        self.code.retryable()
    }
}

/// A counterparty's text, cut so that a message stays short and escaped so that it cannot pose as ours.
pub(crate) fn shown(text: &str) -> String {
    // Most texts need neither.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
    if text.len() <= SHOWN_CHARS_MAX && text.bytes().all(is_plain) {
        return ["`", text, "`"].concat();
    }
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() { format!("`{cut}…`") } else { format!("`{cut}`") }
}

/// The same for a JSON value: a string as its text, anything else as JSON.
pub(crate) fn shown_value<'t>(value: impl Into<Json<'t>>) -> String {
    let value = value.into();
    value.as_str().map_or_else(|| shown(&value.to_value().to_string()), shown)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_unique_snake_case() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for name in names {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        }
    }

    #[test]
    fn a_shown_text_is_cut_and_escaped() {
        assert_eq!(shown("a\nb"), "`a\\nb`");
        assert!(shown(&"x".repeat(5000)).chars().count() < 120);
        for byte in 0..=u8::MAX {
            let text = format!("a{}b", char::from(byte));
            let escaped: String = text.chars().flat_map(char::escape_debug).collect();
            assert_eq!(shown(&text), format!("`{escaped}`"));
        }
        for length in [SHOWN_CHARS_MAX - 1, SHOWN_CHARS_MAX] {
            assert_eq!(shown(&"x".repeat(length)), format!("`{}`", "x".repeat(length)));
        }
        assert_eq!(shown(&"x".repeat(SHOWN_CHARS_MAX + 1)), format!("`{}…`", "x".repeat(SHOWN_CHARS_MAX)));
    }
}
