//! What comes: one JSON-RPC call of either version of the protocol, read strictly.

use http::HeaderMap;
use mandates::json::{self, Object, kind};
use serde_json::{Value, json};
use x402::wire::whole;

use super::{AP2, X402_V0_1, X402_V0_2, key};
use crate::problem::shown;

/// Where extensions are activated: of version 1.0, and of 0.3.
const EXTENSIONS: [&str; 2] = ["a2a-extensions", "x-a2a-extensions"];
const VERSION: &str = "a2a-version";
/// Parts of one message.
const PARTS_MAX: usize = 16;
const ID_BYTES_MAX: usize = 512;
/// A context that a client named.
pub(super) const CONTEXT_BYTES_MAX: usize = 64;

/// How the other side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V0_3,
    V1_0,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Send,
    Get,
    Cancel,
}

/// A refusal of the protocol: JSON-RPC's code, the protocol's name for it, and ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub number: i64,
    pub reason: &'static str,
    pub code: &'static str,
    pub detail: String,
    pub retryable: bool,
}

impl Fault {
    const fn new(number: i64, reason: &'static str, code: &'static str, detail: String) -> Self {
        Self { number, reason, code, detail, retryable: false }
    }

    pub fn params(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(-32602, "INVALID_PARAMS", code, detail.into())
    }

    pub fn task_unknown(id: &str) -> Self {
        let detail = format!("a task of this agent was expected, {} is none", shown(id));
        Self::new(-32001, "TASK_NOT_FOUND", "task_unknown", detail)
    }

    pub fn not_cancelable(detail: impl Into<String>) -> Self {
        Self::new(-32002, "TASK_NOT_CANCELABLE", "task_not_cancelable", detail.into())
    }

    pub fn over(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(-32004, "UNSUPPORTED_OPERATION", code, detail.into())
    }

    pub fn extension_required(detail: String) -> Self {
        Self::new(-32008, "EXTENSION_SUPPORT_REQUIRED", "extension_required", detail)
    }

    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(-32603, "INTERNAL", code, detail.into()) }
    }

    /// JSON-RPC's error object (A2A 1.0 section 9.5; version 0.3 leaves `data` open).
    pub fn to_json(&self) -> Value {
        let metadata = json!({ "code": self.code, "retryable": self.retryable.to_string() });
        json!({
            "code": self.number, "message": self.detail,
            "data": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": self.reason,
                "domain": "a2a-protocol.org", "metadata": metadata,
            }],
        })
    }
}

/// Extensions that a client activated, as far as they are known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Activated {
    pub v0_1: bool,
    pub v0_2: bool,
    pub ap2: bool,
}

impl Activated {
    fn add(&mut self, uri: &str) {
        match uri.trim() {
            X402_V0_1 => self.v0_1 = true,
            X402_V0_2 => self.v0_2 = true,
            AP2 => self.ap2 = true,
            _ => {}
        }
    }

    fn of_headers(headers: &HeaderMap) -> Self {
        let mut activated = Self::default();
        for line in EXTENSIONS.iter().flat_map(|name| headers.get_all(*name)) {
            line.to_str().unwrap_or_default().split(',').for_each(|uri| activated.add(uri));
        }
        activated
    }

    pub const fn x402(self) -> bool {
        self.v0_1 || self.v0_2
    }

    /// For the header of the answer, which confirms them.
    pub fn uris(self) -> Vec<&'static str> {
        let all = [(self.v0_1, X402_V0_1), (self.v0_2, X402_V0_2), (self.ap2, AP2)];
        all.into_iter().filter_map(|(is_active, uri)| is_active.then_some(uri)).collect()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub id: Value,
    pub dialect: Dialect,
    pub method: Method,
    pub params: Object,
    pub activated: Activated,
}

/// A call that cannot be made out, with the id to answer under.
pub(super) type Unread = (Value, Fault);

impl Call {
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Unread> {
        let message = json::parse(body)
            .map_err(|error| (Value::Null, Fault::new(-32700, "PARSE_ERROR", "invalid_json", error.to_string())))?;
        let invalid = |detail: String| Fault::new(-32600, "INVALID_REQUEST", "invalid_request", detail);
        let Value::Object(mut message) = message else {
            let detail = format!("one JSON-RPC call was expected, {} came", kind(&message));
            return Err((Value::Null, invalid(detail)));
        };
        let id = match message.remove("id") {
            Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => id,
            Some(other) => {
                return Err((
                    Value::Null,
                    invalid(format!("id: a string or a number was expected, {} came", kind(&other))),
                ));
            }
            None => return Err((Value::Null, invalid("id: a string or a number was expected, nothing came".into()))),
        };
        let refused = |fault| (id.clone(), fault);
        if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(refused(invalid("jsonrpc: \"2.0\" was expected".into())));
        }
        let name = message.get("method").and_then(Value::as_str).unwrap_or_default();
        let (method, native) = method(name).map_err(refused)?;
        let dialect = dialect(headers, native).map_err(refused)?;
        let params = match message.remove("params") {
            Some(Value::Object(params)) => params,
            other => {
                let came = other.as_ref().map_or("nothing", kind);
                return Err(refused(Fault::params(
                    "invalid_params",
                    format!("params: an object was expected, {came} came"),
                )));
            }
        };
        Ok(Self { id, dialect, method, params, activated: Activated::of_headers(headers) })
    }
}

/// The method, and the version whose name for it this is.
fn method(name: &str) -> Result<(Method, Dialect), Fault> {
    let unsupported =
        |reason, number, code| Fault::new(number, reason, code, format!("{name} is not offered by this agent"));
    Ok(match name {
        "SendMessage" => (Method::Send, Dialect::V1_0),
        "GetTask" => (Method::Get, Dialect::V1_0),
        "CancelTask" => (Method::Cancel, Dialect::V1_0),
        "message/send" => (Method::Send, Dialect::V0_3),
        "tasks/get" => (Method::Get, Dialect::V0_3),
        "tasks/cancel" => (Method::Cancel, Dialect::V0_3),
        "SendStreamingMessage"
        | "SubscribeToTask"
        | "ListTasks"
        | "message/stream"
        | "tasks/resubscribe"
        | "tasks/list" => {
            return Err(unsupported("UNSUPPORTED_OPERATION", -32004, "operation_not_offered"));
        }
        name if name.starts_with("tasks/pushNotificationConfig/") || name.contains("PushNotificationConfig") => {
            return Err(unsupported("PUSH_NOTIFICATION_NOT_SUPPORTED", -32003, "push_notifications_not_offered"));
        }
        "GetExtendedAgentCard" | "agent/getAuthenticatedExtendedCard" => {
            return Err(unsupported("EXTENDED_AGENT_CARD_NOT_CONFIGURED", -32007, "extended_card_not_offered"));
        }
        other => {
            let detail = format!("a method of the protocol was expected, {} came", shown(other));
            return Err(Fault::new(-32601, "METHOD_NOT_FOUND", "method_unknown", detail));
        }
    })
}

/// The version is in the header; where none is, a method's own name tells it (1.0 section 3.6.2 takes silence for 0.3, and
/// 0.3 has no such names).
fn dialect(headers: &HeaderMap, native: Dialect) -> Result<Dialect, Fault> {
    let mut said = headers.get_all(VERSION).iter();
    let version = match (said.next(), said.next()) {
        (None, _) => return Ok(native),
        (Some(version), None) => version.to_str().unwrap_or("?").trim(),
        (Some(_), Some(_)) => "several",
    };
    match version {
        "" => Ok(native),
        "1.0" | "1" => Ok(Dialect::V1_0),
        "0.3" => Ok(Dialect::V0_3),
        other => {
            let detail = format!("A2A-Version: 1.0 or 0.3 was expected, {} came", shown(other));
            Err(Fault::new(-32009, "VERSION_NOT_SUPPORTED", "version_not_supported", detail))
        }
    }
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// With the name of a skill, where it names one.
    Buy(Option<String>),
    /// To see the task that it names. Whatever it says of a payment without one counts for nothing.
    Look,
    Pay(Paid),
    /// The terms are declined.
    Decline,
}

/// A payment, and the cart that it says it is for, where a mandate brought it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Paid {
    pub payload: Object,
    pub order_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub task: Option<String>,
    pub context: Option<String>,
    pub wish: Wish,
    pub activated: Activated,
}

impl Sent {
    pub fn read(params: &Object, activated: Activated) -> Result<Self, Fault> {
        let message = object(params, "message")?.ok_or_else(|| wrong("message", "an object", "nothing"))?;
        let mut activated = activated;
        for uri in list(message, "extensions")? {
            activated.add(uri.as_str().unwrap_or_default());
        }
        match message.get("role").and_then(Value::as_str) {
            Some("user" | "ROLE_USER") => {}
            other => return Err(wrong("message.role", "user", &shown(other.unwrap_or("nothing")))),
        }
        let (task, context) = (text(message, "taskId")?, text(message, "contextId")?);
        if let Some(context) = context.as_ref().filter(|context| context.len() > CONTEXT_BYTES_MAX) {
            let expected = format!("at most {CONTEXT_BYTES_MAX} bytes");
            return Err(wrong("message.contextId", &expected, &context.len().to_string()));
        }
        let parts = list(message, "parts")?;
        if parts.is_empty() || parts.len() > PARTS_MAX {
            return Err(wrong("message.parts", &format!("1 to {PARTS_MAX} parts"), &parts.len().to_string()));
        }
        let wish = wish(message, parts, task.is_some())?;
        Ok(Self { task, context, wish, activated })
    }
}

fn wish(message: &Object, parts: &[Value], has_task: bool) -> Result<Wish, Fault> {
    let metadata = object(message, "metadata")?;
    let status = metadata.and_then(|metadata| metadata.get(key::STATUS)).and_then(Value::as_str);
    let alone = match metadata.map(|metadata| object(metadata, key::PAYLOAD)) {
        Some(payload) => payload?.map(|payload| Paid { payload: whole(payload), order_id: None }),
        None => None,
    };
    let mut payments: Vec<Paid> = alone.into_iter().collect();
    for part in parts {
        if let Some(mandate) = data(part).and_then(|data| data.get("ap2.mandates.PaymentMandate")) {
            payments.push(super::cart::payment(mandate)?);
        }
    }
    let submitted = status == Some("payment-submitted");
    match (payments.len(), submitted) {
        (0, true) => Err(Fault::params(
            "payment_missing",
            format!("{} or a payment mandate was expected, neither came", key::PAYLOAD),
        )),
        (0, false) if has_task && status == Some("payment-rejected") => Ok(Wish::Decline),
        (0, false) if has_task => Ok(Wish::Look),
        (0, false) => Ok(Wish::Buy(parts.iter().find_map(named))),
        (1, false) => {
            let found = shown(status.unwrap_or("nothing"));
            Err(Fault::params(
                "payment_not_submitted",
                format!("{}: payment-submitted was expected, {found} came", key::STATUS),
            ))
        }
        (1, true) if !has_task => {
            Err(Fault::params("task_missing", "message.taskId: the task that is paid was expected, nothing came"))
        }
        (1, true) => payments.pop().map(Wish::Pay).ok_or_else(|| wrong("message.metadata", "a payment", "nothing")),
        (found, _) => {
            Err(Fault::params("duplicate_payment", format!("one payment a message was expected, {found} came")))
        }
    }
}

/// The data of a part: of version 1.0, which has one member, and of 0.3, which says its kind beside it.
fn data(part: &Value) -> Option<&Object> {
    part.get("data").and_then(Value::as_object)
}

/// The skill that a part names: as data, or as its whole text.
fn named(part: &Value) -> Option<String> {
    let skill = data(part).and_then(|data| data.get("skill")).or_else(|| part.get("text"));
    skill.and_then(Value::as_str).map(|text| text.trim().to_owned()).filter(|text| text.len() <= ID_BYTES_MAX)
}

/// The id that `tasks/get` and `tasks/cancel` name.
pub(super) fn task_id(params: &Object) -> Result<String, Fault> {
    text(params, "id")?.ok_or_else(|| wrong("id", "the id of a task", "nothing"))
}

fn wrong(field: &str, expected: &str, found: &str) -> Fault {
    Fault::params("invalid_params", format!("{field}: {expected} was expected, {found} came"))
}

/// An empty text is none: that is how protocol buffers write one that is not there.
fn text(object: &Object, name: &str) -> Result<Option<String>, Fault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text.len() <= ID_BYTES_MAX && !text.chars().any(char::is_control) => {
            Ok(Some(text.clone()))
        }
        Some(Value::String(_)) => {
            Err(wrong(name, &format!("at most {ID_BYTES_MAX} bytes, none of them of control"), "another text"))
        }
        Some(other) => Err(wrong(name, "a string", kind(other))),
    }
}

fn object<'a>(object: &'a Object, name: &str) -> Result<Option<&'a Object>, Fault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(found)) => Ok(Some(found)),
        Some(other) => Err(wrong(name, "an object", kind(other))),
    }
}

fn list<'a>(object: &'a Object, name: &str) -> Result<&'a [Value], Fault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(found)) => Ok(found),
        Some(other) => Err(wrong(name, "a list", kind(other))),
    }
}

#[cfg(test)]
mod tests;
