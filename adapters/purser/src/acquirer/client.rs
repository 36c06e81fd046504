//! Asking a payment processor over HTTP. What is not an answer is silence: it says nothing of what was done.

use std::time::Duration;

use async_trait::async_trait;
use engine::ports::Relayed;
use engine::vault::{CaptureOrder, Notice, Processor, ProcessorAnswer, RefundOrder};
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};

use super::{secret, signature};
use crate::config::VaultConfig;
use crate::fetch::Loopback;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub struct HttpProcessor {
    client: Client,
    base: Url,
    secret: String,
    /// Where its notices are taken.
    notify_url: String,
}

impl HttpProcessor {
    pub fn new(config: &VaultConfig, notify_url: String, loopback: Loopback) -> Result<Self, String> {
        let wrong = |why: String| format!("vault.acquirer {}: {why}", config.acquirer);
        let base: Url = config.acquirer.parse().map_err(|error| wrong(format!("{error}")))?;
        let is_loopback = base.host_str().is_some_and(|host| matches!(host, "127.0.0.1" | "localhost" | "[::1]"));
        match (base.scheme(), loopback) {
            ("https", _) => {}
            ("http", Loopback::Allowed) if is_loopback => {}
            (scheme, _) => return Err(wrong(format!("https was expected, {scheme} is there: it is given cards"))),
        }
        if config.secret_file.is_none() && loopback == Loopback::Refused {
            return Err(wrong("vault.secret_file was expected, none is named".into()));
        }
        let timeout = Duration::from_millis(config.timeout_millis);
        let client = Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = client.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { client, base, secret: secret(config.secret_file.as_deref())?, notify_url })
    }

    async fn ask(&self, path: &str, key: &str, body: &Value) -> Relayed<ProcessorAnswer> {
        let Ok(url) = self.base.join(path) else { return Relayed::Silence("no address".into()) };
        let request = self.client.post(url).bearer_auth(&self.secret).header("Idempotency-Key", key).json(body);
        // The library's own sentence has the address in it, and no body.
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Relayed::Silence(error.without_url().to_string()),
        };
        let status = response.status();
        if !matches!(status, StatusCode::OK | StatusCode::PAYMENT_REQUIRED) {
            return Relayed::Silence(format!("status {status}"));
        }
        match response.bytes().await {
            Ok(bytes) if bytes.len() <= ANSWER_BYTES_MAX => match (status, serde_json::from_slice(&bytes)) {
                (StatusCode::OK, Ok(answer @ ProcessorAnswer::Done { .. }))
                | (StatusCode::PAYMENT_REQUIRED, Ok(answer @ ProcessorAnswer::Declined { .. })) => {
                    Relayed::Answer(answer)
                }
                _ => Relayed::Silence("an answer that cannot be read".into()),
            },
            Ok(_) => Relayed::Silence(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")),
            Err(error) => Relayed::Silence(error.without_url().to_string()),
        }
    }
}

#[async_trait]
impl Processor for HttpProcessor {
    async fn capture(&self, order: &CaptureOrder<'_>) -> Relayed<ProcessorAnswer> {
        let body = json!({
            "payment": order.payment, "merchant_id": order.merchant_id, "amount": order.amount,
            "currency": order.currency, "card": order.card, "notify_url": self.notify_url,
        });
        self.ask("/v1/captures", order.key, &body).await
    }

    async fn refund(&self, order: &RefundOrder<'_>) -> Relayed<ProcessorAnswer> {
        let body = json!({ "amount": order.amount, "currency": order.currency });
        self.ask(&format!("/v1/captures/{}/refund", order.capture), order.key, &body).await
    }

    fn read_notice(&self, signature: &str, body: &[u8], now: i64) -> Option<Notice> {
        if !signature::is_good(&self.secret, signature, body, now) {
            return None;
        }
        serde_json::from_slice(body).ok()
    }
}
