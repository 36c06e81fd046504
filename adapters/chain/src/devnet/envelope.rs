//! JSON-RPC 2.0: bytes in, bytes out. Batches, notifications and errors as its specification has them.

use serde_json::{Value, json};

use super::Devnet;
use super::refusal::{INVALID_REQUEST, PARSE_ERROR, RpcRefusal};
use crate::limits::{ANSWER_BYTES_MAX, BATCH_CALLS_MAX, REQUEST_BYTES_MAX};

impl Devnet {
    /// Answers one request or batch. `None` when nothing in it asks for an answer (notifications only).
    pub fn dispatch(&self, request: &[u8]) -> Option<Vec<u8>> {
        if request.len() > REQUEST_BYTES_MAX {
            let message = format!("request of {} bytes, at most {REQUEST_BYTES_MAX}", request.len());
            return Some(failure(Value::Null, &RpcRefusal::new(INVALID_REQUEST, message)));
        }
        match serde_json::from_slice(request) {
            Ok(Value::Array(calls)) => self.answer_batch(calls),
            Ok(call) => self.answer(call),
            Err(error) => Some(failure(Value::Null, &RpcRefusal::new(PARSE_ERROR, format!("parse error: {error}")))),
        }
    }

    fn answer_batch(&self, calls: Vec<Value>) -> Option<Vec<u8>> {
        if calls.is_empty() {
            return Some(failure(Value::Null, &RpcRefusal::new(INVALID_REQUEST, "empty batch")));
        }
        if calls.len() > BATCH_CALLS_MAX {
            let message = format!("batch of {} calls, at most {BATCH_CALLS_MAX}", calls.len());
            return Some(failure(Value::Null, &RpcRefusal::new(INVALID_REQUEST, message)));
        }
        let mut answers: Vec<u8> = Vec::new();
        for call in calls {
            let id = call.get("id").cloned();
            let Some(mut answer) = self.answer(call) else { continue };
            if answers.len().saturating_add(answer.len()) > ANSWER_BYTES_MAX {
                answer = failure(id.unwrap_or(Value::Null), &too_large());
            }
            answers.push(if answers.is_empty() { b'[' } else { b',' });
            answers.append(&mut answer);
        }
        if answers.is_empty() {
            return None;
        }
        answers.push(b']');
        Some(answers)
    }

    fn answer(&self, call: Value) -> Option<Vec<u8>> {
        let call = match Call::parse(call) {
            Ok(call) => call,
            Err((id, refusal)) => return Some(failure(id, &refusal)),
        };
        let outcome = self.call(&call.method, &call.params);
        let id = call.id?;
        Some(match outcome {
            Ok(result) => {
                let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string().into_bytes();
                if answer.len() > ANSWER_BYTES_MAX { failure(id, &too_large()) } else { answer }
            }
            Err(refusal) => failure(id, &refusal),
        })
    }
}

struct Call {
    /// `None` for a notification: it is carried out, and not answered.
    id: Option<Value>,
    method: String,
    params: Vec<Value>,
}

impl Call {
    fn parse(call: Value) -> Result<Self, (Value, RpcRefusal)> {
        let invalid = |message: &str| RpcRefusal::new(INVALID_REQUEST, format!("invalid request: {message}"));
        let Value::Object(mut call) = call else {
            return Err((Value::Null, invalid("expected an object or a batch")));
        };
        let id = call.remove("id");
        if !matches!(id, None | Some(Value::Null | Value::Number(_) | Value::String(_))) {
            return Err((Value::Null, invalid("id is neither a number, a string nor null")));
        }
        let shown = id.clone().unwrap_or(Value::Null);
        // Some clients leave the version out; a wrong one is another protocol.
        if call.get("jsonrpc").is_some_and(|version| version != "2.0") {
            return Err((shown, invalid("jsonrpc is not \"2.0\"")));
        }
        let Some(Value::String(method)) = call.remove("method") else {
            return Err((shown, invalid("method is not a string")));
        };
        match call.remove("params") {
            None | Some(Value::Null) => Ok(Self { id, method, params: Vec::new() }),
            Some(Value::Array(params)) => Ok(Self { id, method, params }),
            Some(_) => Err((shown, RpcRefusal::params("params are given by position, in an array"))),
        }
    }
}

fn failure(id: Value, refusal: &RpcRefusal) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": id, "error": refusal.to_json() }).to_string().into_bytes()
}

fn too_large() -> RpcRefusal {
    RpcRefusal::server(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes: ask for less"))
}
