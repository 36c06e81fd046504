//! Every answer that a priced route gives, and the headers that all of them carry.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderName, HeaderValue, Response, StatusCode, response};
use serde_json::json;
use x402::wire::v1::Spoken;
use x402::wire::{PAYMENT_REQUIRED, PAYMENT_RESPONSE, SettleResponse, X_PAYMENT_RESPONSE, write_header};

use crate::cross_origin;
use crate::limit::RETRY_AFTER_SECONDS;
use crate::stored::{StoredAnswer, StoredBody};
use crate::usage::{PURSER_CHARGE, SETTLEMENT_OVERRIDES};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The same request is refused for ever.
    Never,
    /// The same payment may be presented again.
    SamePayment,
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
    let mut response = whole(status, "application/problem+json", body.to_string().into_bytes());
    if again == Again::SamePayment {
        set(&mut response, "retry-after", &RETRY_AFTER_SECONDS.to_string());
    }
    response
}

/// The handler's answer, now that it is paid.
pub(crate) fn paid(parts: response::Parts, body: Bytes, receipt: &SettleResponse, spoken: &Spoken) -> Response<Body> {
    with_receipt(Response::from_parts(parts, Body::from(body)), receipt, spoken)
}

pub(crate) fn with_receipt(mut response: Response<Body>, receipt: &SettleResponse, spoken: &Spoken) -> Response<Body> {
    set_receipt(&mut response, receipt, spoken);
    response
}

/// What the handler said, as it is: a refusal, or what is given before it is paid.
pub(crate) fn unpaid(parts: response::Parts, body: Bytes) -> Response<Body> {
    Response::from_parts(parts, Body::from(body))
}

/// The stored answer, given again to whoever presents the payment that bought it.
pub(crate) fn stored(answer: &StoredAnswer, receipt: Option<&SettleResponse>, spoken: &Spoken) -> Response<Body> {
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
    if let Some(receipt) = receipt {
        set_receipt(&mut response, receipt, spoken);
    }
    response
}

/// What every answer of a priced route carries, whoever made it: no shared cache keeps it, scripts can read the
/// payment headers, and no handler speaks in the paywall's name.
pub(crate) fn finish(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.append(VARY, HeaderValue::from_static("PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X, Accept, User-Agent"));
    cross_origin::expose(headers);
    response
}

/// Takes out of a handler's answer what only the paywall may say, and lengths that may no longer be true.
pub(crate) fn scrub(parts: &mut response::Parts) {
    for name in [PAYMENT_REQUIRED, PAYMENT_RESPONSE, PURSER_CHARGE, SETTLEMENT_OVERRIDES, X_PAYMENT_RESPONSE] {
        parts.headers.remove(name);
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(http::header::TRANSFER_ENCODING);
}

/// In the header and with the network's spelling of the version that the payer speaks.
pub(crate) fn set_receipt(response: &mut Response<Body>, receipt: &SettleResponse, spoken: &Spoken) {
    let mut receipt = receipt.clone();
    receipt.unknown.remove("extensionResponses"); // between facilitator and seller only
    receipt.network = spoken.network(&receipt.network).to_owned();
    let name = match spoken {
        Spoken::One { .. } => X_PAYMENT_RESPONSE,
        Spoken::Two => PAYMENT_RESPONSE,
    };
    match write_header(&receipt) {
        Ok(header) => set(response, name, &header),
        Err(error) => tracing::error!(code = error.code(), "a receipt does not fit into a header"),
    }
}

pub(crate) fn whole(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn set(response: &mut Response<Body>, name: &'static str, value: &str) {
    // base64 and digits are header values
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
