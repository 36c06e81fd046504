//! Refusals as ACP says them: a flat object, `Request-Id` echoed. One place, whoever refuses: the door, the router, a limit.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use commerce::acp::wire;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::PREFIX;
use crate::problem::Problem;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const PROBLEM: &str = "application/problem+json";
/// Longest identifier that is given back.
const ECHO_BYTES_MAX: usize = 255;
/// Longer than any problem document of ours.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// What the protocol has no status for is said with the nearest that it has.
pub(super) fn within_protocol(mut problem: Problem) -> Problem {
    if matches!(problem.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE) {
        problem.status = StatusCode::UNPROCESSABLE_ENTITY;
    }
    if problem.status == StatusCode::CONFLICT {
        if problem.code == "idempotency_in_flight" {
            problem.values.insert("retry_after".into(), 1.into());
        } else {
            problem.status = StatusCode::UNPROCESSABLE_ENTITY;
        }
    }
    problem
}

/// The last word on whatever is answered below [`PREFIX`].
pub(crate) async fn speak(request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(PREFIX) {
        return next.run(request).await;
    }
    let is_card = |id: &HeaderValue| id.to_str().is_ok_and(commerce::acp::could_be_number);
    let id = request.headers().get(REQUEST_ID).filter(|id| id.len() <= ECHO_BYTES_MAX && !is_card(id)).cloned();
    let mut response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(PROBLEM.as_bytes())) {
        response = flat(response).await;
    }
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn flat(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    let (code, detail) = (text("code").unwrap_or("internal_error"), text("detail").unwrap_or("no more is known"));
    // A code of the book may name a member of ours that the protocol's message does not have.
    let param = text("field").filter(|field| field.starts_with('$'));
    let error = Value::Object(wire(parts.status.as_u16(), code, detail, param));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(code) = HeaderValue::from_str(code) {
        parts.headers.insert(HeaderName::from_static("purser-code"), code);
    }
    Response::from_parts(parts, Body::from(error.to_string()))
}

/// Nothing that comes in here is kept by anybody on the way.
pub(super) async fn unlogged(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
