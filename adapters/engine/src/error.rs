//! Every way a use case says no, and what kind of no it is. HTTP is mapped elsewhere, in one place.

use ledger::id::SpendId;
use ledger::rejection::{Rejection, RejectionCode};
use ledger::store::StoreError;
use x402::chain::ChainError;
use x402::select::{AuthorizeError, SelectError};

use crate::ports::SignError;
use crate::rate::RateError;
use crate::ruling::asked::Pending;
use crate::vault::VaultError;

/// What a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed.
    Invalid,
    /// Well formed, understood, and not allowed by a rule.
    Refused,
    /// Nobody known calls.
    Unauthenticated,
    /// Somebody else may.
    Forbidden,
    NotFound,
    /// It was there.
    Gone,
    /// It contradicts what is there.
    Conflict,
    /// Too much of the caller's is under way.
    TooMany,
    /// A part that is needed does not answer. Nothing is known to have happened; try again.
    Unavailable,
    /// Ours.
    Internal,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Mandate(#[from] mandates::rejection::Rejection),
    #[error(transparent)]
    Book(Rejection),
    #[error(transparent)]
    Offer(#[from] SelectError),
    #[error(transparent)]
    Payment(#[from] x402::refusal::Refusal),
    #[error(transparent)]
    Wire(#[from] x402::wire::WireError),
    #[error(transparent)]
    Rate(#[from] RateError),
    #[error(transparent)]
    Authorize(#[from] AuthorizeError),
    #[error("{field}: {expected} was expected, {found} was given")]
    Invalid { field: &'static str, expected: String, found: String },
    #[error("{expected} may do this; the caller is {found}")]
    Forbidden { expected: String, found: String },
    #[error("there is no {what} {id} here")]
    NotFound { what: &'static str, id: String },
    #[error("{what} of digest {digest} was expected, nothing is there: it was erased")]
    Erased { what: &'static str, digest: ledger::id::Digest },
    #[error("{payee} is on record with {expected}; the 402 asks to pay {found}")]
    PayeeMismatch { payee: String, expected: String, found: String },
    #[error("this cart is for {expected}; the 402 asks for {found}")]
    CartMismatch { expected: String, found: String },
    #[error("{expected} was expected under the offer that is paid, {found} is there")]
    OfferSignature { expected: String, found: String },
    #[error("{expected} was expected as who verifies the payment mandate, {found} was named")]
    VerifierUnknown { expected: String, found: String },
    #[error("{expected} was said before of spend {spend}, this receipt says {found}; both are kept, as an incident")]
    ReceiptContradicts { spend: SpendId, expected: &'static str, found: &'static str },
    #[error("{expected} was expected, found {found}")]
    ChannelLimit { expected: String, found: String },
    #[error("{expected} were expected for the gas of a transaction, {found} are there")]
    InsufficientGas { expected: String, found: String },
    #[error("the mandate demands a cart signed by the merchant; none was given")]
    CartRequired,
    #[error("{expected} was expected of what is handed on, {found} was asked for")]
    Delegation { code: &'static str, expected: String, found: String },
    #[error("fewer than {limit} {what} of one agent were expected, there are {found}; try again in {retry_after} s")]
    QuotaExceeded { what: &'static str, limit: u32, found: u32, retry_after: u32 },
    #[error(
        "fewer than {limit} questions to {user} within an hour were expected, {found} were put; in {retry_after} s again"
    )]
    PromptBudget { user: String, limit: u32, found: u32, retry_after: u32 },
    #[error("the chain cannot be asked: {0}")]
    ChainUnavailable(String),
    #[error("the chain refused: {0}")]
    ChainRefused(String),
    #[error("the store cannot be used now: {0}")]
    StoreUnavailable(String),
    #[error("a {0} that others leave alone for a moment was expected, this one is changed all the time; try again")]
    Contended(&'static str),
    #[error("the outcome is not known yet: {0}")]
    OutcomeUnknown(String),
    #[error("a payment was expected that may be made: {0}")]
    ScreeningDenied(String),
    #[error("whether this payment may be made cannot be asked: {0}")]
    ScreeningUnavailable(String),
    #[error(transparent)]
    Vault(VaultError),
    #[error("one facilitator that carries this was expected to answer, of {0} none does")]
    FacilitatorsUnavailable(String),
    #[error("the signer: {0}")]
    Signer(#[from] SignError),
    #[error(transparent)]
    Passkey(#[from] mandates::webauthn::Refused),
    #[error("tenant {tenant} takes approvals that a passkey signed; a token alone came")]
    PasskeyRequired { tenant: String },
    #[error("a passkey of {principal} was expected, one that is not registered came")]
    PasskeyUnknown { principal: String },
    #[error("an invitation that is good was expected; this one was used, is over, or never was")]
    InvitationUnknown,
    #[error("an answer to a challenge that stands was expected; this one was answered, or is over")]
    SignInExpired,
    #[error(
        "a token issued after {lifted_at} was expected, when the stop of {scope} was lifted; this one is of {issued_at}"
    )]
    TokenEnded { scope: String, lifted_at: i64, issued_at: i64 },
    #[error(
        "a payment like this was allowed beforehand: it was expected under mandate {mandate}, it came under {found}"
    )]
    StandingMandate { mandate: ledger::id::BudgetId, found: ledger::id::BudgetId },
    #[error("{what} was {expected} when the question was put, it is {found} now; it is to be asked again")]
    QuestionChanged { what: &'static str, expected: String, found: String },
    #[error(
        "a payment was expected that the policy lets through; rule {rule} of policy {version} ({digest}) denies this one"
    )]
    PolicyDenied { rule: String, version: String, digest: ledger::id::Digest },
    #[error("{0}")]
    PendingApproval(Box<Pending>),
    #[error("an approval of payment {payment} was expected, {by} denied it")]
    ApprovalDenied { payment: SpendId, by: String },
    #[error("an approval of payment {payment} in time was expected, none came; buy it under another key to ask again")]
    ApprovalExpired { payment: SpendId },
    #[error("this service has no {0}; its configuration would name one")]
    NotConfigured(&'static str),
    #[error("a defect of this service: {0}")]
    Broken(String),
}

impl EngineError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Mandate(rejection) => rejection.code(),
            Self::Book(rejection) => rejection.code().as_str(),
            Self::Offer(error) => error.code(),
            Self::Payment(refusal) => refusal.code(),
            Self::Wire(error) => error.code(),
            Self::Rate(RateError::Missing { .. }) => "rate_missing",
            Self::Rate(RateError::Malformed(_)) => "rate_malformed",
            Self::Rate(RateError::Overflow(_)) => "amount_overflow",
            Self::Rate(RateError::Currency(_)) => "currency_unknown",
            Self::Rate(RateError::Text { .. }) => "amount_malformed",
            Self::Authorize(error) => error.code(),
            Self::Invalid { .. } => "invalid_request",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "not_found",
            Self::Erased { .. } => "erased",
            Self::PayeeMismatch { .. } => "payee_mismatch",
            Self::CartMismatch { .. } => "cart_mismatch",
            Self::OfferSignature { .. } => "offer_signature_invalid",
            Self::VerifierUnknown { .. } => "verifier_unknown",
            Self::CartRequired => "cart_required",
            Self::ChannelLimit { .. } => "channel_limit_exceeded",
            Self::InsufficientGas { .. } => "insufficient_gas",
            Self::ReceiptContradicts { .. } => "receipt_contradicts",
            Self::Delegation { code, .. } => code,
            Self::QuotaExceeded { .. } => "quota_exceeded",
            Self::PromptBudget { .. } => "prompt_budget",
            Self::ChainUnavailable(_) => "chain_unavailable",
            Self::ChainRefused(_) => "chain_refused",
            Self::StoreUnavailable(_) => "store_unavailable",
            Self::Contended(_) => "changed_meanwhile",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::ScreeningDenied(_) => "screening_denied",
            Self::ScreeningUnavailable(_) => "screening_unavailable",
            Self::Vault(error) => error.code(),
            Self::FacilitatorsUnavailable(_) => "facilitators_unavailable",
            Self::Signer(_) => "signer_unavailable",
            Self::Passkey(refused) => refused.code.as_str(),
            Self::PasskeyRequired { .. } => "passkey_required",
            Self::PasskeyUnknown { .. } => "passkey_unknown",
            Self::InvitationUnknown => "invitation_unknown",
            Self::SignInExpired => "sign_in_expired",
            Self::TokenEnded { .. } => "token_ended",
            Self::StandingMandate { .. } => "standing_mandate",
            Self::QuestionChanged { .. } => "question_changed",
            Self::PolicyDenied { .. } => "policy_denied",
            Self::PendingApproval(_) => "pending_approval",
            Self::ApprovalDenied { .. } => "approval_denied",
            Self::ApprovalExpired { .. } => "approval_expired",
            Self::NotConfigured(_) => "not_configured",
            Self::Broken(_) => "internal_error",
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Mandate(_) | Self::Payment(_) | Self::Offer(_) | Self::Delegation { .. } => Kind::Refused,
            Self::Book(rejection) => kind_of(rejection.code()),
            Self::Rate(RateError::Missing { .. }) => Kind::Refused,
            Self::Rate(_) | Self::Wire(_) | Self::Invalid { .. } => Kind::Invalid,
            Self::Authorize(_)
            | Self::PayeeMismatch { .. }
            | Self::CartMismatch { .. }
            | Self::OfferSignature { .. }
            | Self::VerifierUnknown { .. }
            | Self::ScreeningDenied(_)
            | Self::PolicyDenied { .. }
            | Self::ApprovalDenied { .. }
            | Self::ApprovalExpired { .. }
            | Self::StandingMandate { .. }
            | Self::CartRequired
            | Self::InsufficientGas { .. }
            | Self::ChannelLimit { .. } => Kind::Refused,
            Self::TokenEnded { .. } => Kind::Unauthenticated,
            Self::Forbidden { .. }
            | Self::PendingApproval(_)
            | Self::Passkey(_)
            | Self::PasskeyRequired { .. }
            | Self::PasskeyUnknown { .. }
            | Self::InvitationUnknown
            | Self::SignInExpired => Kind::Forbidden,
            Self::QuotaExceeded { .. } | Self::PromptBudget { .. } => Kind::TooMany,
            Self::NotFound { .. } => Kind::NotFound,
            Self::ReceiptContradicts { .. } | Self::QuestionChanged { .. } | Self::Contended(_) => Kind::Conflict,
            Self::Vault(error) => kind_of_vault(error),
            Self::Erased { .. } => Kind::Gone,
            // A node that refuses is no verdict on what the caller asked, either.
            Self::ChainUnavailable(_)
            | Self::ChainRefused(_)
            | Self::StoreUnavailable(_)
            | Self::OutcomeUnknown(_)
            | Self::ScreeningUnavailable(_)
            | Self::FacilitatorsUnavailable(_)
            | Self::Signer(_) => Kind::Unavailable,
            Self::NotConfigured(_) => Kind::NotFound,
            Self::Broken(_) => Kind::Internal,
        }
    }

    /// Whether the same call can succeed without anyone changing what it asks.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Mandate(rejection) => rejection.retryable(),
            Self::Book(rejection) => rejection.code().retryable(),
            Self::Payment(refusal) => refusal.retryable(),
            Self::Vault(error) => matches!(error, VaultError::InFlight | VaultError::Busy),
            Self::PendingApproval(_) | Self::Contended(_) => true,
            other => matches!(other.kind(), Kind::Unavailable | Kind::TooMany),
        }
    }

    pub fn field(&self) -> Option<String> {
        match self {
            Self::Mandate(rejection) => rejection.field.clone(),
            Self::Offer(error) => Some(error.field().to_owned()),
            Self::Payment(refusal) => Some(refusal.field().to_owned()),
            Self::Invalid { field, .. } => Some((*field).to_owned()),
            Self::Vault(VaultError::Acp(refusal)) => refusal.param.clone(),
            _ => None,
        }
    }

    pub(crate) fn invalid(field: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Invalid { field, expected: expected.into(), found: shortened(&found.into()) }
    }
}

/// A counterparty's text in an error: bounded, and unable to forge a line of a log.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(120).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn kind_of_vault(error: &VaultError) -> Kind {
    match error {
        VaultError::Acp(refusal) if refusal.kind == commerce::acp::RefusalKind::Malformed => Kind::Invalid,
        VaultError::Acp(_)
        | VaultError::MandateMissing
        | VaultError::BindingIdentityMissing
        | VaultError::BindingMismatch { .. }
        | VaultError::AllowanceMissing { .. }
        | VaultError::MerchantUnknown { .. }
        | VaultError::SessionMismatch { .. }
        | VaultError::CurrencyMismatch { .. }
        | VaultError::AmountExceedsAllowance { .. }
        | VaultError::OrderTooMany { .. }
        | VaultError::RefundDeclined { .. } => Kind::Refused,
        VaultError::OrderUnreadable(_) => Kind::Invalid,
        VaultError::NoticeUnsigned | VaultError::CardsNotReceived { .. } | VaultError::OrderUnsigned => Kind::Forbidden,
        VaultError::TokenUnknown | VaultError::OrderUnknown { .. } => Kind::NotFound,
        VaultError::InFlight
        | VaultError::Busy
        | VaultError::TokenUsed { .. }
        | VaultError::AttemptsExhausted { .. }
        | VaultError::TokenState { .. }
        | VaultError::NoticeContradicts { .. } => Kind::Conflict,
    }
}

const fn kind_of(code: RejectionCode) -> Kind {
    match code {
        RejectionCode::OnlyAUserDecides
        | RejectionCode::NotYourDecision
        | RejectionCode::NotYoursToLift
        | RejectionCode::OwnerMismatch => Kind::Forbidden,
        RejectionCode::MandateUnknown
        | RejectionCode::SpendUnknown
        | RejectionCode::DecisionUnknown
        | RejectionCode::SettlementUnknown => Kind::NotFound,
        RejectionCode::IdempotencyKeyReused
        | RejectionCode::SpendReleased
        | RejectionCode::PurchaseUnresolved
        | RejectionCode::CartExhausted
        | RejectionCode::AgainAfterMismatch
        | RejectionCode::AgainAfterElsewhere
        | RejectionCode::AgainAfterUsed
        | RejectionCode::AuthorizationClaimed
        | RejectionCode::OrderHasPayment
        | RejectionCode::SignInAnswered
        | RejectionCode::MandateConsumed
        | RejectionCode::MandateExists
        | RejectionCode::SpendStateWrong
        | RejectionCode::RefundClaimed
        | RejectionCode::NotFenced
        | RejectionCode::NotFinal
        | RejectionCode::RailMismatch
        | RejectionCode::MayBeOut
        | RejectionCode::SettlementYoung
        | RejectionCode::SettlementFinal
        | RejectionCode::NotReorganised
        | RejectionCode::DecisionExists
        | RejectionCode::DecisionStateWrong
        | RejectionCode::DecisionSubjectWrong
        | RejectionCode::SettlementStateWrong
        | RejectionCode::StateChangeRefused => Kind::Conflict,
        RejectionCode::AmountZero | RejectionCode::AmountOverflow => Kind::Invalid,
        _ => Kind::Refused,
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Rejected(rejection) => Self::Book(rejection),
            StoreError::Unavailable(why) => Self::StoreUnavailable(why),
            StoreError::Unknown(why) => Self::OutcomeUnknown(why),
            StoreError::Broken(why) => Self::Broken(why),
        }
    }
}

/// An outage is an outage, never a bad signature.
impl From<ChainError> for EngineError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Unavailable(why) => Self::ChainUnavailable(why),
            ChainError::Reverted { reason, .. } => Self::ChainRefused(reason),
            ChainError::Refused { code, message } => Self::ChainRefused(format!("{code}: {message}")),
            ChainError::Gas { account, needed, found } => {
                Self::InsufficientGas { expected: format!("{needed} wei at {account}"), found: found.to_string() }
            }
        }
    }
}
