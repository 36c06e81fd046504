//! A refusal: a reason from the closed list, the field, and both values.

use std::fmt::Display;

use serde_json::{Map, Value};

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

/// The first of these members, named as on the wire, that is no string. Whoever reads an object as a whole finds out
/// that a string was expected, and not where.
pub(crate) fn not_a_string(payload: &Map<String, Value>, members: &[&'static str]) -> Option<Refusal> {
    members.iter().find_map(|member| {
        let mut names = member.split('.').skip(1);
        let outer = names.next().and_then(|name| payload.get(name));
        let found = outer.and_then(|outer| names.try_fold(outer, |value, name| value.get(name)));
        let refused = |found: String| Refusal::new(Reason::InvalidPayload, member, "a string", found);
        match found {
            Some(Value::String(_)) => None,
            Some(other) => Some(refused(other.to_string())),
            None => Some(refused("nothing".to_owned())),
        }
    })
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
