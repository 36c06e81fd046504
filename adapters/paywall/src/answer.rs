//! Every answer that a priced route gives, and the headers that all of them carry.

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderName, HeaderValue, Response, StatusCode, response};
use serde_json::{Value, json};
use x402::wire::{
    EXPOSED_HEADERS, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PaymentRequired, SettleResponse, write_header, write_message,
};

use crate::limit::RETRY_AFTER_SECONDS;
use crate::stored::{StoredAnswer, StoredBody};
use crate::till::Refusal;

/// Overrides of the price after the fact are another scheme's; a handler's are not passed on.
const SETTLEMENT_OVERRIDES: &str = "settlement-overrides";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The same request is refused for ever.
    Never,
    /// The same payment may be presented again.
    SamePayment,
}

/// 402 with the demand, in the header and as the body.
pub(crate) fn demand(demand: PaymentRequired, message: Option<&str>) -> Response<Body> {
    let header = match write_header(&demand) {
        Ok(header) => header,
        Err(error) => return problem(StatusCode::URI_TOO_LONG, "demand_too_large", &error.to_string(), Again::Never),
    };
    let mut body = demand;
    if let Some(message) = message {
        body.unknown.insert("message".to_owned(), Value::String(message.to_owned()));
    }
    let bytes = write_message(&body).unwrap_or_else(|_| b"{}".to_vec());
    let mut response = json_response(StatusCode::PAYMENT_REQUIRED, "application/json", bytes);
    set(&mut response, PAYMENT_REQUIRED, &header);
    response
}

/// A till's refusal of a payment.
pub(crate) fn refused(refusal: &Refusal, ask: impl FnOnce(Option<String>) -> PaymentRequired) -> Response<Body> {
    match refusal {
        Refusal::Unavailable { message } => {
            tracing::warn!(code = refusal.code(), message, "the till cannot be asked");
            let said = "the payment cannot be checked now; present the same payment again";
            problem(StatusCode::SERVICE_UNAVAILABLE, refusal.code(), said, Again::SamePayment)
        }
        Refusal::SettlementFailed(response) => settlement_failed(response),
        other => demand(ask(Some(other.code().to_owned())), Some(&other.to_string())),
    }
}

/// 402 with the receipt of the failure; the content stays here.
pub(crate) fn settlement_failed(receipt: &SettleResponse) -> Response<Body> {
    let reason = receipt.error_reason.as_deref().unwrap_or("settlement_failed");
    let message = receipt.error_message.as_deref().unwrap_or("the settlement failed and moved nothing");
    let mut response = problem(StatusCode::PAYMENT_REQUIRED, reason, message, Again::Never);
    set_receipt(&mut response, receipt);
    response
}

/// RFC 9457.
pub(crate) fn problem(status: StatusCode, code: &str, message: &str, again: Again) -> Response<Body> {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "code": code,
        "detail": message,
        "retryable": again == Again::SamePayment,
    });
    let mut response = json_response(status, "application/problem+json", body.to_string().into_bytes());
    if again == Again::SamePayment {
        set(&mut response, "retry-after", &RETRY_AFTER_SECONDS.to_string());
    }
    response
}

/// The handler's answer, now that it is paid.
pub(crate) fn paid(parts: response::Parts, body: Bytes, receipt: &SettleResponse) -> Response<Body> {
    with_receipt(Response::from_parts(parts, Body::from(body)), receipt)
}

pub(crate) fn with_receipt(mut response: Response<Body>, receipt: &SettleResponse) -> Response<Body> {
    set_receipt(&mut response, receipt);
    response
}

/// The handler's refusal: nothing was charged.
pub(crate) fn unpaid(parts: response::Parts, body: Bytes) -> Response<Body> {
    Response::from_parts(parts, Body::from(body))
}

/// The stored answer, given again to whoever presents the payment that bought it.
pub(crate) fn stored(answer: &StoredAnswer, receipt: &SettleResponse) -> Response<Body> {
    let mut response = match &answer.body {
        StoredBody::Whole(body) => {
            let mut response = Response::new(Body::from(body.clone()));
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.header_map();
            response
        }
        StoredBody::TooLarge { bytes, sha256 } => {
            let detail = format!("the answer was delivered once; its {bytes} bytes (SHA-256 {sha256}) were not kept");
            problem(StatusCode::GONE, "answer_not_kept", &detail, Again::Never)
        }
    };
    set_receipt(&mut response, receipt);
    response
}

/// What every answer of a priced route carries, whoever made it: no shared cache keeps it, scripts can read the
/// payment headers, and no handler speaks in the paywall's name.
pub(crate) fn finish(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.append(VARY, HeaderValue::from_static("PAYMENT-SIGNATURE"));
    headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    response
}

/// Takes out of a handler's answer what only the paywall may say, and lengths that may no longer be true.
pub(crate) fn scrub(parts: &mut response::Parts) {
    for name in [PAYMENT_REQUIRED, PAYMENT_RESPONSE, SETTLEMENT_OVERRIDES, "x-payment-response"] {
        parts.headers.remove(name);
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(http::header::TRANSFER_ENCODING);
}

fn set_receipt(response: &mut Response<Body>, receipt: &SettleResponse) {
    let mut receipt = receipt.clone();
    receipt.unknown.remove("extensionResponses"); // between facilitator and seller only
    match write_header(&receipt) {
        Ok(header) => set(response, PAYMENT_RESPONSE, &header),
        Err(error) => tracing::error!(code = error.code(), "a receipt does not fit into a header"),
    }
}

fn json_response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn set(response: &mut Response<Body>, name: &'static str, value: &str) {
    // base64 and digits are header values
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
