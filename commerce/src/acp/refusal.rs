//! Refusals, and how they are said in ACP: a flat object with a closed set of codes.

use serde_json::{Map, Value};

use super::SUPPORTED_VERSIONS;

/// Whose fault it is, as far as the message shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Not what the schema allows: 400.
    Malformed,
    /// What the schema allows and no allowance can mean: 422.
    Unacceptable,
}

/// Why a message is refused. Carries no member's value that a card could be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub kind: RefusalKind,
    /// Ours, which is more precise than ACP's.
    pub code: &'static str,
    /// JSONPath (RFC 9535) of the member.
    pub param: Option<String>,
    pub message: String,
}

impl Refusal {
    pub(crate) fn malformed(code: &'static str, param: Option<&str>, message: String) -> Self {
        Self { kind: RefusalKind::Malformed, code, param: param.map(str::to_owned), message }
    }

    pub(crate) fn unacceptable(code: &'static str, param: &str, message: String) -> Self {
        Self { kind: RefusalKind::Unacceptable, code, param: Some(param.to_owned()), message }
    }
}

/// The codes that the schema's closed enum has.
const LEGAL: [&str; 6] = [
    "invalid_card",
    "duplicate_request",
    "idempotency_conflict",
    "too_many_requests",
    "idempotency_key_required",
    "idempotency_in_flight",
];

/// The error object. Its schema has no code for most of what can be wrong (an allowance outside of its mandate, a token that
/// is missing, an outage), and clients validate; so the nearest legal code stands in `code`, and ours begins the message:
///
/// | ours | ACP's |
/// | --- | --- |
/// | one of the six | itself |
/// | `idempotency_key_reused` | `idempotency_conflict` |
/// | `purchase_unresolved` | `duplicate_request` |
/// | anything else with 429, 500 or 503 | `too_many_requests`: come again later |
/// | anything else | `invalid_card`: this will not be taken as it is |
pub fn wire(status: u16, code: &str, message: &str, param: Option<&str>) -> Map<String, Value> {
    let kind = match status {
        429 => "rate_limit_exceeded",
        503 => "service_unavailable",
        500..=599 => "processing_error",
        _ => "invalid_request",
    };
    let legal = match code {
        "idempotency_key_reused" => "idempotency_conflict",
        "purchase_unresolved" => "duplicate_request",
        _ => LEGAL.into_iter().find(|legal| *legal == code).unwrap_or(match status {
            429 | 500..=599 => "too_many_requests",
            _ => "invalid_card",
        }),
    };
    let message = if legal == code { message.to_owned() } else { format!("{code}: {message}") };
    let mut error = Map::from_iter([
        ("type".to_owned(), Value::from(kind)),
        ("code".to_owned(), legal.into()),
        ("message".to_owned(), message.into()),
    ]);
    if let Some(param) = param {
        error.insert("param".to_owned(), json_path(param).into());
    }
    if matches!(code, "missing_api_version" | "unsupported_api_version") {
        error.insert("supported_versions".to_owned(), SUPPORTED_VERSIONS.to_vec().into());
    }
    error
}

/// Examples of the specification write a member with and without the root: with it is what RFC 9535 says.
fn json_path(param: &str) -> String {
    if param.starts_with('$') { param.to_owned() } else { format!("$.{param}") }
}

/// A counterparty's text in a sentence: bounded, and unable to forge a line of a log.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(60).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_said_within_the_closed_set() {
        for (status, ours, kind, code) in [
            (400, "idempotency_key_required", "invalid_request", "idempotency_key_required"),
            (422, "idempotency_key_reused", "invalid_request", "idempotency_conflict"),
            (422, "purchase_unresolved", "invalid_request", "duplicate_request"),
            (422, "amount_exceeds_budget", "invalid_request", "invalid_card"),
            (401, "token_missing", "invalid_request", "invalid_card"),
            (429, "quota_exceeded", "rate_limit_exceeded", "too_many_requests"),
            (500, "internal_error", "processing_error", "too_many_requests"),
            (503, "store_unavailable", "service_unavailable", "too_many_requests"),
        ] {
            let error = wire(status, ours, "why", Some("payment_method.number"));
            assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(kind), Some(code)), "{ours}");
            assert_eq!(error["param"], "$.payment_method.number");
            assert!(error["message"].as_str().is_some_and(|text| text.contains("why")));
            assert!(!error.contains_key("supported_versions"));
        }
        assert_eq!(
            wire(400, "missing_api_version", "why", None)["supported_versions"],
            serde_json::json!(["2026-04-17"])
        );
    }
}
