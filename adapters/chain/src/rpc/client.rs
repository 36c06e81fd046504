//! One JSON-RPC call: the envelope, and what its errors mean.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use alloy::primitives::{Bytes, hex};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use x402::chain::ChainError;

use super::transport::Transport;
use crate::devnet::{EXECUTION_REVERTED, INTERNAL_ERROR, METHOD_NOT_FOUND, PARSE_ERROR, revert_reason};
use crate::limits::{NODE_MESSAGE_CHARS_MAX, REVERT_BYTES_MAX};

/// Error codes that say "not now" rather than "not this": resource not found and unavailable, limit exceeded
/// (EIP-1474), the rate limit that providers answer, and faults of the node itself. The request may be good.
const NOT_NOW: [i64; 7] = [-32001, -32002, -32005, 429, INTERNAL_ERROR, METHOD_NOT_FOUND, PARSE_ERROR];

#[derive(Debug)]
pub(super) struct Client {
    /// In the order of preference; at least one.
    transports: Vec<Transport>,
    /// The one that answered last is asked first.
    preferred: AtomicUsize,
    timeout: Duration,
    ids: AtomicU64,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Answer<T> {
    id: Value,
    /// A `null` result is an answer ("there is no such thing"); a missing one is not.
    #[serde(default = "nothing", deserialize_with = "present")]
    result: Option<T>,
    error: Option<NodeError>,
}

#[derive(Deserialize)]
struct NodeError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

const fn nothing<T>() -> Option<T> {
    None
}

impl Client {
    pub(super) fn new(transports: Vec<Transport>, timeout: Duration) -> Self {
        Self { transports, preferred: AtomicUsize::new(0), timeout, ids: AtomicU64::new(1) }
    }

    /// Calls a method. `T` may be an `Option` where `null` is a good answer.
    ///
    /// Only a node that told us nothing is passed over for the next one: a refusal and a revert are answers. Sending
    /// the same signed bytes to a second node does no harm, and is what a lost answer calls for.
    pub(super) async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, ChainError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = ChainError::Unavailable(format!("{method}: no node is configured"));
        for step in 0..self.transports.len() {
            let at = first.wrapping_add(step) % self.transports.len();
            let Some(transport) = self.transports.get(at) else { break };
            match self.ask(transport, method, &params).await {
                Err(ChainError::Unavailable(why)) => last = ChainError::Unavailable(why),
                answer => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(last)
    }

    /// Several calls in one exchange; each has its own outcome. A node that does not take batches is unavailable for one.
    pub(super) async fn batch(&self, calls: &[(&str, Value)]) -> Result<Vec<Result<Value, ChainError>>, ChainError> {
        let at = self.preferred.load(Ordering::Relaxed);
        let odd = |what: &str| ChainError::Unavailable(format!("a batch of {} calls: {what}", calls.len()));
        let transport = self.transports.get(at).ok_or_else(|| odd("no node is configured"))?;
        let count = u64::try_from(calls.len()).unwrap_or(u64::MAX);
        let first = self.ids.fetch_add(count, Ordering::Relaxed);
        let numbered = || (first..).zip(calls);
        let asked = numbered()
            .map(|(id, (method, params))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let asked = Value::Array(asked.collect());
        let exchange = transport.exchange(asked.to_string().into_bytes());
        let answer = tokio::time::timeout(self.timeout, exchange).await.map_err(|_| odd("no answer in time"))??;
        let mut answers: Vec<Answer<Value>> =
            serde_json::from_slice(&answer).map_err(|_| odd("no batch was answered"))?;
        // The order of the answers is the node's own.
        numbered()
            .map(|(id, (method, _))| {
                let found = answers.iter().position(|answer| answer.id == id);
                let answer = answers.swap_remove(found.ok_or_else(|| odd("an answer is missing"))?);
                Ok(match (answer.result, answer.error) {
                    (_, Some(error)) => Err(classify(method, error)),
                    (Some(result), None) => Ok(result),
                    (None, None) => Err(odd("an answer holds neither a result nor an error")),
                })
            })
            .collect()
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        transport: &Transport,
        method: &str,
        params: &Value,
    ) -> Result<T, ChainError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let exchange = transport.exchange(request.to_string().into_bytes());
        let answer = tokio::time::timeout(self.timeout, exchange).await.map_err(|_| {
            ChainError::Unavailable(format!("{method}: no answer within {} ms", self.timeout.as_millis()))
        })??;
        let odd = |what: String| ChainError::Unavailable(format!("{method}: {what}"));
        let unlike = |error: serde_json::Error| odd(format!("the answer is not JSON-RPC: {error}"));
        let answer: Answer<T> = match serde_json::from_slice(&answer) {
            Ok(answer) => answer,
            // Read at once where all is well; where it is not, what is wrong is looked for.
            Err(_) => {
                let Answer { id, result, error } = serde_json::from_slice::<Answer<Value>>(&answer).map_err(unlike)?;
                let unreadable = |error: serde_json::Error| {
                    odd(format!("the result cannot be read: {}", printable(&error.to_string())))
                };
                let result = match error {
                    Some(_) => None,
                    None => result.map(T::deserialize).transpose().map_err(unreadable)?,
                };
                Answer { id, result, error }
            }
        };
        if answer.id != id {
            return Err(odd(format!("asked with id {id}, answered with id {}", printable(&answer.id.to_string()))));
        }
        match (answer.result, answer.error) {
            (_, Some(error)) => Err(classify(method, error)),
            (Some(result), None) => Ok(result),
            (None, None) => Err(odd("the answer holds neither a result nor an error".to_owned())),
        }
    }
}

fn classify(method: &str, error: NodeError) -> ChainError {
    let message = printable(&error.message);
    let data = revert_data(&error.data);
    // geth answers 3 with data; others -32000 and the words, or -32015 (OpenEthereum's heirs) with data.
    let reverted = error.code == EXECUTION_REVERTED
        || message.to_ascii_lowercase().contains("execution reverted")
        || (error.code == -32015 && data.is_some());
    if reverted {
        let data = data.unwrap_or_default();
        let reason = revert_reason(&data).map_or(message, |reason| printable(&reason));
        return ChainError::Reverted { reason, data };
    }
    if NOT_NOW.contains(&error.code) {
        return ChainError::Unavailable(format!("{method}: the node cannot answer ({}): {message}", error.code));
    }
    ChainError::Refused { code: error.code, message }
}

fn revert_data(data: &Value) -> Option<Bytes> {
    // Some nodes wrap the bytes: {"data": "0x…"}, or prefix them with words: "Reverted 0x…".
    let text = data.as_str().or_else(|| data.get("data")?.as_str())?;
    let bytes = hex::decode(text.strip_prefix("Reverted ").unwrap_or(text)).ok()?;
    Some(bytes.get(..REVERT_BYTES_MAX).unwrap_or(&bytes).to_vec().into())
}

/// A node's or contract's words, made fit for a log line.
pub(super) fn printable(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(NODE_MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(error: Value) -> ChainError {
        classify("eth_test", serde_json::from_value(error).unwrap())
    }

    #[test]
    fn what_is_no_verdict_stays_unknown() {
        for code in NOT_NOW {
            let error = classified(json!({ "code": code, "message": "busy" }));
            assert!(matches!(error, ChainError::Unavailable(_)), "{code}: {error:?}");
        }
    }

    #[test]
    fn refusals_keep_their_code_and_words() {
        let error = classified(json!({ "code": -32000, "message": "nonce too low\n\u{1b}[31m" }));
        assert_eq!(error, ChainError::Refused { code: -32000, message: "nonce too low  [31m".to_owned() });
    }

    #[test]
    fn reverts_are_known_in_every_dialect() {
        let data = "0x08c379a00000000000000000000000000000000000000000000000000000000000000020\
                    0000000000000000000000000000000000000000000000000000000000000002\
                    6e6f000000000000000000000000000000000000000000000000000000000000";
        for error in [
            json!({ "code": 3, "message": "execution reverted: no", "data": data }),
            json!({ "code": -32000, "message": "execution reverted", "data": { "data": data } }),
            json!({ "code": -32015, "message": "VM execution error.", "data": format!("Reverted {data}") }),
        ] {
            let shown = error.to_string();
            let ChainError::Reverted { reason, data } = classified(error) else { panic!("not a revert: {shown}") };
            assert_eq!(reason, "no", "{shown}");
            assert_eq!(data.len(), 100, "{shown}");
        }
    }

    #[test]
    fn long_words_and_long_data_are_cut() {
        let long = "x".repeat(100_000);
        let ChainError::Refused { message, .. } = classified(json!({ "code": 1, "message": long })) else {
            panic!("not a refusal")
        };
        assert_eq!(message.chars().count(), NODE_MESSAGE_CHARS_MAX);
        let error = json!({ "code": 3, "message": "x", "data": format!("0x{}", "ab".repeat(50_000)) });
        let ChainError::Reverted { data, .. } = classified(error) else { panic!("not a revert") };
        assert_eq!(data.len(), REVERT_BYTES_MAX);
    }
}
