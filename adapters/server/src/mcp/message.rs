//! Whether what came is one message of JSON-RPC 2.0 as the protocol has it (MCP 2025-11-25, "Messages": an id is a
//! string or a whole number and never null; no batches). What is none gets JSON-RPC's own error: the library that reads
//! it afterwards would call it another media type.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use mandates::json::kind;
use serde_json::{Value, json};

use crate::problem::Problem;

/// JSON-RPC 2.0, section 5.1.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INVALID_PARAMS: i32 = -32602;

/// Of the library's own refusals.
const SENTENCE_BYTES_MAX: usize = 4096;

/// What is said of a message that is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of the message, where it has one that can be read.
    id: Value,
    code: i32,
    message: String,
}

impl Fault {
    fn new(id: &Value, code: i32, message: impl Into<String>) -> Self {
        Self { id: id.clone(), code, message: message.into() }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let error = json!({ "code": self.code, "message": self.message });
        let body = json!({ "jsonrpc": "2.0", "id": self.id, "error": error });
        (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
    }
}

pub fn read(body: &[u8]) -> Result<Value, Fault> {
    let message =
        mandates::json::parse(body).map_err(|error| Fault::new(&Value::Null, PARSE_ERROR, error.to_string()))?;
    check(&message)?;
    Ok(message)
}

fn check(message: &Value) -> Result<(), Fault> {
    let said = |value: Option<&Value>| value.map_or("nothing", kind);
    let invalid = |detail: String| Err(Fault::new(&Value::Null, INVALID_REQUEST, detail));
    let Some(members) = message.as_object() else {
        return invalid(format!("one JSON-RPC message, an object, was expected; {} came", kind(message)));
    };
    let id = members.get("id");
    if id.is_some_and(|id| !id.is_string() && !id.is_i64()) {
        return invalid(format!("id: a string or a whole number was expected, {} came", said(id)));
    }
    let id = id.unwrap_or(&Value::Null);
    let invalid = |code: i32, detail: String| Err(Fault::new(id, code, detail));
    let version = members.get("jsonrpc");
    if version.is_none_or(|version| version != "2.0") {
        let found = version.and_then(Value::as_str).map_or_else(|| said(version).to_owned(), crate::problem::shown);
        return invalid(INVALID_REQUEST, format!("jsonrpc: 2.0 was expected, {found} came"));
    }
    let is_answer = members.contains_key("result") || members.contains_key("error");
    match members.get("method") {
        Some(Value::String(_)) => {}
        None if is_answer => return Ok(()),
        other => return invalid(INVALID_REQUEST, format!("method: a string was expected, {} came", said(other))),
    }
    match members.get("params") {
        None | Some(Value::Object(_)) => Ok(()),
        other => invalid(INVALID_PARAMS, format!("params: an object was expected, {} came", said(other))),
    }
}

/// The library's refusals in the shape of ours: it says in plain text which header it wants, and calls a message that it
/// does not know another media type.
pub async fn explained(response: Response, was_json: bool) -> Response {
    let status = response.status();
    if !status.is_client_error() || is_json(response.headers()) {
        return response;
    }
    if was_json && status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        let detail = "a message of the protocol was expected, another one came";
        return Fault::new(&Value::Null, INVALID_REQUEST, detail).into_response();
    }
    let said = axum::body::to_bytes(response.into_body(), SENTENCE_BYTES_MAX).await.unwrap_or_default();
    let said = crate::problem::shown(&String::from_utf8_lossy(&said));
    Problem::new(status, "request_refused", said).into_response()
}

pub fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (i32, Value, String) {
        let fault = read(body.as_bytes()).expect_err(body);
        (fault.code, fault.id, fault.message)
    }

    #[test]
    fn what_is_no_message_is_called_what_it_is() {
        for (body, code, id, word) in [
            ("", PARSE_ERROR, json!(null), "the text ended"),
            ("{", PARSE_ERROR, json!(null), "the text ended"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}", PARSE_ERROR, json!(null), "`id`"),
            ("[]", INVALID_REQUEST, json!(null), "an array came"),
            ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", INVALID_REQUEST, json!(null), "an array came"),
            ("7", INVALID_REQUEST, json!(null), "a number came"),
            ("null", INVALID_REQUEST, json!(null), "null came"),
            ("{}", INVALID_REQUEST, json!(null), "nothing came"),
            ("{\"id\":1,\"method\":\"ping\"}", INVALID_REQUEST, json!(1), "jsonrpc: 2.0 was expected, nothing"),
            ("{\"jsonrpc\":\"1.0\",\"id\":\"a\",\"method\":\"ping\"}", INVALID_REQUEST, json!("a"), "1.0 came"),
            ("{\"jsonrpc\":2.0,\"id\":1,\"method\":\"ping\"}", INVALID_REQUEST, json!(1), "a number came"),
            ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", INVALID_REQUEST, json!(null), "null came"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}", INVALID_REQUEST, json!(null), "a number came"),
            ("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}", INVALID_REQUEST, json!(null), "an object came"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1}", INVALID_REQUEST, json!(1), "method: a string was expected, nothing"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", INVALID_REQUEST, json!(1), "a number came"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":[1]}", INVALID_PARAMS, json!(1), "an array"),
            (
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":\"x\"}",
                INVALID_PARAMS,
                json!(1),
                "a string",
            ),
        ] {
            let (found, whose, message) = refused(body);
            assert_eq!((found, whose), (code, id), "{body}: {message}");
            assert!(message.contains(word), "{body}: {message}");
        }
        let huge = "{\"jsonrpc\":\"2.0\",\"id\":18446744073709551615,\"method\":\"ping\"}";
        assert_eq!(refused(huge).0, INVALID_REQUEST, "the library reads whole numbers of 63 bits");
    }

    #[test]
    fn requests_notifications_and_answers_are_messages() {
        for message in [
            json!({ "jsonrpc": "2.0", "id": 0, "method": "ping" }),
            json!({ "jsonrpc": "2.0", "id": "a", "method": "tools/list", "params": {} }),
            json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
            json!({ "jsonrpc": "2.0", "id": 1, "result": {} }),
            json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": 1, "message": "no" } }),
        ] {
            assert_eq!(read(message.to_string().as_bytes()), Ok(message));
        }
    }
}
