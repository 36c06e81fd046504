//! What is wrong with a signature, by stable codes.

/// Why a signature does not prove who sent a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("{expected} was expected, {found}")]
    Missing { expected: String, found: String },
    #[error("{field} as a structured field was expected; {why}")]
    Malformed { field: &'static str, why: String },
    #[error("a component that this message has was expected; of {component}: {why}")]
    Component { component: String, why: String },
    #[error("a signature over {expected} was expected, it covers {found}")]
    Uncovered { expected: String, found: String },
    #[error("the signature's parameter {name} was expected to be {expected}, {found} came")]
    Parameter { name: &'static str, expected: String, found: String },
    #[error("a signature that ends after {now} (now, unix seconds) was expected, it ended at {expires}")]
    Expired { now: i64, expires: i64 },
    #[error("a signature made by {now} (now, unix seconds) was expected, it was made at {created}")]
    Premature { now: i64, created: i64 },
    #[error("a signature that is good for at most {most} seconds was expected, it is for {found}")]
    Lifetime { most: i64, found: i64 },
    #[error("one of the signer's keys was expected, keyid {found} names {what}")]
    KeyNotFound { found: String, what: &'static str },
    #[error("{expected} was expected, key {found} is for another algorithm")]
    Algorithm { expected: &'static str, found: String },
    #[error("the {algorithm} of the body was expected to be {expected}, {found} came")]
    Digest { algorithm: String, expected: String, found: String },
    #[error("a signature of key {key} over this message was expected, another one came")]
    Invalid { key: String },
    #[error("a signature that was not used before was expected, the one with nonce {nonce} was")]
    Replayed { nonce: String },
}

impl Finding {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "signature_missing",
            Self::Malformed { .. } => "signature_malformed",
            Self::Component { .. } => "signature_component",
            Self::Uncovered { .. } => "signature_uncovered",
            Self::Parameter { .. } => "signature_parameter",
            Self::Expired { .. } => "signature_expired",
            Self::Premature { .. } => "signature_premature",
            Self::Lifetime { .. } => "signature_lifetime",
            Self::KeyNotFound { .. } => "key_not_found",
            Self::Algorithm { .. } => "algorithm_unsupported",
            Self::Digest { .. } => "digest_mismatch",
            Self::Invalid { .. } => "signature_invalid",
            Self::Replayed { .. } => "signature_replayed",
        }
    }

    /// The code of UCP, which has five, and the HTTP status that it gives it (`signatures.md`, "Error Handling").
    pub const fn ucp(&self) -> (&'static str, u16) {
        match self {
            Self::Missing { .. } => ("signature_missing", 401),
            Self::KeyNotFound { .. } => ("key_not_found", 401),
            Self::Digest { .. } => ("digest_mismatch", 400),
            Self::Algorithm { .. } => ("algorithm_unsupported", 400),
            _ => ("signature_invalid", 401),
        }
    }
}
