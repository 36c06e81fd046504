//! Errors on the wire: RFC 9457 problem documents with a stable code, both values and whether to try again. The one
//! place where a refusal becomes a status.

use axum::response::{IntoResponse, Response};
use engine::error::{EngineError, Kind};
use engine::ruling::asked::Pending;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use identity::callers::CallerError;
use identity::dpop::ProofError;
use identity::token::TokenError;

#[derive(Clone, Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub code: String,
    pub detail: String,
    pub field: Option<String>,
    pub retryable: bool,
    /// The refusal's own values, by name.
    pub values: Map<String, Value>,
}

/// Seconds after which a caller may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    pub fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), field: None, retryable: false, values: Map::new() }
    }

    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail);
        problem.field = Some(field.into());
        problem
    }

    pub fn not_found(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "route_unknown", format!("there is nothing at {}", shown(path)))
    }

    pub fn to_json(&self) -> Value {
        let mut members = self.values.clone();
        members.insert("type".into(), crate::errors::type_of(&self.code).into());
        members.insert("title".into(), self.code.replace('_', " ").into());
        members.insert("status".into(), self.status.as_u16().into());
        members.insert("code".into(), self.code.as_str().into());
        members.insert("detail".into(), self.detail.as_str().into());
        members.insert("retryable".into(), self.retryable.into());
        if let Some(field) = &self.field {
            members.insert("field".into(), field.as_str().into());
        }
        Value::Object(members)
    }
}

/// A counterparty's text, bounded and without what could forge a line.
pub fn shown(text: &str) -> String {
    text.chars().take(120).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

const fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Gone => StatusCode::GONE,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let kind = error.kind();
        if kind == Kind::Internal {
            tracing::error!(code = error.code(), "{error}");
        }
        let values = match &error {
            EngineError::Book(rejection) => match serde_json::to_value(rejection) {
                Ok(Value::Object(values)) => values,
                _ => Map::new(),
            },
            EngineError::QuotaExceeded { limit, found, retry_after, .. }
            | EngineError::PromptBudget { limit, found, retry_after, .. } => Map::from_iter([
                ("limit".to_owned(), (*limit).into()),
                ("found".to_owned(), (*found).into()),
                ("retry_after".to_owned(), (*retry_after).into()),
            ]),
            EngineError::PendingApproval(pending) => pending_values(pending),
            EngineError::StandingMandate { mandate, found } => Map::from_iter([
                ("mandate".to_owned(), mandate.to_string().into()),
                ("found".to_owned(), found.to_string().into()),
            ]),
            _ => Map::new(),
        };
        let detail = match kind {
            // What broke inside is for the log, not for whoever found it.
            Kind::Internal => "a defect of this service; its log has the cause under this request's id".to_owned(),
            _ => error.to_string(),
        };
        Self {
            status: status_of(kind),
            code: error.code().to_owned(),
            detail,
            field: error.field(),
            retryable: error.retryable(),
            values,
        }
    }
}

/// Who is to answer and where, and beside it the first of them by the names that a question for a mandate has.
fn pending_values(pending: &Pending) -> Map<String, Value> {
    let Ok(Value::Object(mut values)) = serde_json::to_value(pending) else { return Map::new() };
    if let Some(first) = pending.approvals.first() {
        values.insert("approval".into(), first.id.to_string().into());
        values.insert("approval_url".into(), first.url.clone().into());
    }
    values
}

impl From<CallerError> for Problem {
    fn from(error: CallerError) -> Self {
        let status = match error {
            CallerError::Proof(ProofError::Busy) | CallerError::Token(TokenError::IssuerUnavailable) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::UNAUTHORIZED,
        };
        let mut problem = Self::new(status, error.code(), error.to_string());
        problem.retryable = status == StatusCode::SERVICE_UNAVAILABLE;
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.to_json())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = match self.code.as_str() {
                "token_missing" => HeaderValue::from_static("DPoP algs=\"ES256\", Bearer"),
                "sender_constraint_required" => HeaderValue::from_static("DPoP algs=\"ES256\""),
                code if code.starts_with("dpop_") => {
                    HeaderValue::from_static("DPoP error=\"invalid_dpop_proof\", algs=\"ES256\"")
                }
                _ => HeaderValue::from_static(
                    "DPoP error=\"invalid_token\", algs=\"ES256\", Bearer error=\"invalid_token\"",
                ),
            };
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        match (self.status, self.values.get("retry_after").and_then(Value::as_u64)) {
            (_, Some(seconds)) => {
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            (StatusCode::SERVICE_UNAVAILABLE, None) => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}

/// Views that are JSON values of ours.
pub fn created(value: Value) -> Response {
    (StatusCode::CREATED, axum::Json(value)).into_response()
}

pub fn ok(value: Value) -> Response {
    axum::Json(value).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_and_both_values() {
        let rejection = ledger::rejection::Rejection::MandateExpired {
            budget: ledger::id::BudgetId([1; 32]),
            expires_at: 5,
            now: 7,
        };
        let problem = Problem::from(EngineError::Book(rejection));
        let json = problem.to_json();
        assert_eq!(json["code"], json!("mandate_expired"));
        assert_eq!((json["expires_at"].clone(), json["now"].clone()), (json!(5), json!(7)));
        assert_eq!(json["status"], json!(422));
        assert_eq!(json["retryable"], json!(false));
    }

    #[test]
    fn what_broke_inside_is_not_told_outside() {
        let problem = Problem::from(EngineError::Broken("the table spends is gone".into()));
        assert_eq!(problem.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!problem.to_json().to_string().contains("spends"));
    }
}
