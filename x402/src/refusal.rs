//! A refusal: a reason from the closed list, the field, and both values.

use std::fmt::Display;

use crate::limit::ECHO_CHARS_MAX;
use crate::reason::Reason;

/// Why a payment is not acceptable. `Display` is the sentence for `invalidMessage`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct Refusal {
    pub reason: Reason,
    /// Path of the field, as on the wire.
    pub field: &'static str,
    pub expected: String,
    pub found: String,
}

impl Refusal {
    pub fn new(reason: Reason, field: &'static str, expected: impl Display, found: impl Display) -> Self {
        Self { reason, field, expected: echo(&expected.to_string()), found: echo(&found.to_string()) }
    }

    pub const fn code(&self) -> &'static str {
        self.reason.as_str()
    }

    pub const fn field(&self) -> &'static str {
        self.field
    }

    pub const fn retryable(&self) -> bool {
        self.reason.retryable()
    }
}

/// Foreign text made fit for an error: bounded, and without control characters that could forge a log line.
pub(crate) fn echo(text: &str) -> String {
    let mut shown: String =
        text.chars().take(ECHO_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(ECHO_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
