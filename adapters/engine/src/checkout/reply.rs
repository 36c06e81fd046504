//! Answers in the words of each protocol, with the status that it gives them.

use commerce::acp_checkout::write as acp;
use commerce::checkout::{Code, Protocol, Shop};
use commerce::ucp::mandate::MandateError;
use commerce::ucp::write as ucp;
use serde_json::{Value, json};

use super::Refused;
use super::document::Document;
use crate::error::EngineError;

/// An answer, to be given as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
    /// Whether it was given before, under the same key.
    pub replayed: bool,
    /// In seconds, where another try may get another answer.
    pub retry_after: Option<u32>,
}

fn given(status: u16, body: Value) -> Reply {
    Reply { status, body, replayed: false, retry_after: None }
}

pub(super) fn session(status: u16, protocol: Protocol, document: &Document, shop: &Shop) -> Reply {
    let mut body = match protocol {
        Protocol::Ucp => document.checkout(shop),
        Protocol::Acp => {
            let security = if document.is_locked() { acp::Security::Ap2 } else { acp::Security::Plain };
            acp::session(&document.session, shop, security)
        }
    };
    if let Some(signed) = &document.signed {
        let mut ap2 = json!({ "merchant_authorization": signed.authorization, "checkout_jwt": signed.checkout_jwt,
            "audience": signed.audience, "nonce": document.nonce });
        if let Some(receipts) = &document.receipts {
            ap2["checkout_receipt"] = receipts.checkout.as_str().into();
            ap2["payment_receipt"] = receipts.payment.as_str().into();
        }
        body.insert("ap2".to_owned(), ap2);
    }
    given(status, Value::Object(body))
}

fn error(protocol: Protocol, status: u16, code: &str, message: &str, path: &str) -> Reply {
    let body = match protocol {
        Protocol::Ucp => ucp::refused(code, message, path),
        Protocol::Acp if path.is_empty() => json!({ "type": "invalid_request", "code": code, "message": message }),
        Protocol::Acp => json!({ "type": "invalid_request", "code": code, "message": message, "param": path }),
    };
    given(status, body)
}

/// UCP answers the outcome of its own rules with 200 and `ucp.status: error`; what cannot be read, found or done any more
/// has its HTTP status in both.
pub(super) fn refused(protocol: Protocol, refused: &Refused) -> Reply {
    let is_ucp = protocol == Protocol::Ucp;
    match refused {
        Refused::Request(refusal) => {
            let status = match refusal.code {
                Code::Finished if is_ucp => 409,
                Code::Finished => 405,
                Code::NotFound | Code::NotReady if is_ucp => 200,
                _ => 400,
            };
            error(protocol, status, refusal.code.as_str(), &refusal.message, &refusal.path)
        }
        Refused::Session(id) => {
            let message = format!("a checkout of this caller's was expected, there is no {id}");
            error(protocol, 404, "not_found", &message, "$.id")
        }
        Refused::Mandate(code, message) => {
            let path = match code {
                MandateError::Required => "$.ap2.checkout_mandate",
                _ => "$.ap2",
            };
            error(protocol, if is_ucp { 200 } else { 400 }, code.as_str(), message, path)
        }
        Refused::Busy => {
            let message = "a checkout that nobody completes was expected, this one is being completed";
            let reply = error(protocol, 409, "complete_in_progress", message, "$.status");
            Reply { retry_after: Some(1), ..reply }
        }
    }
}

/// The same key for another request.
pub(super) fn conflict(protocol: Protocol) -> Reply {
    let message = "the request that came first under this Idempotency-Key was expected, another one came";
    let status = if protocol == Protocol::Ucp { 409 } else { 422 };
    error(protocol, status, "idempotency_conflict", message, "")
}

/// Everybody changes it at once, and this one came too late each time.
pub(super) fn contended(protocol: Protocol) -> Reply {
    let error_of = EngineError::Contended("checkout");
    let reply = error(protocol, 409, error_of.code(), &error_of.to_string(), "");
    Reply { retry_after: Some(1), ..reply }
}

pub(super) fn in_flight(protocol: Protocol) -> Reply {
    let message = "the request that came first under this Idempotency-Key is still worked on";
    let reply = error(protocol, 409, "idempotency_in_flight", message, "");
    Reply { retry_after: Some(1), ..reply }
}

/// Whoever opens sessions has as many here as they may.
pub(super) fn too_many(protocol: Protocol, most: u64) -> Reply {
    let message = format!(
        "less than {most} checkouts that were not bought were expected of one caller or address; those that are over are \
         taken out within a day"
    );
    let reply = error(protocol, 429, "too_many_checkouts", &message, "");
    Reply { retry_after: Some(TOO_MANY_SECONDS), ..reply }
}

/// When another try is worth something: places get free as sessions are bought, or taken out.
const TOO_MANY_SECONDS: u32 = 60;

/// What was answered then.
pub(super) fn replayed(status: u16, body: &[u8]) -> Reply {
    let body = serde_json::from_slice(body).unwrap_or_default();
    Reply { status, body, replayed: true, retry_after: None }
}
