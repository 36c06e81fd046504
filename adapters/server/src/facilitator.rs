//! Facilitators as a seller reaches them: ours in the same process, or another over HTTP.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use engine::Engine;
use engine::error::EngineError;
use engine::facilitate::{Repeater, is_approving};
use engine::ports::{Facilitator, Relayed};
use ledger::id::TenantId;
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;
use serde_json::Value;
use x402::auth_capture;
use x402::batch_settlement;
use x402::limit::MESSAGE_BYTES_MAX;
use x402::reason::Reason;
use x402::reason::spelling::{self, Asked};
use x402::scheme;
use x402::wire::{
    FacilitatorRequest, PaymentPayload, PaymentRequirements, SettleResponse, SupportedKind, SupportedResponse,
    VerifyResponse, X402_VERSION,
};

/// Our own facilitator. The engine holds it and it calls the engine, so it is given the engine once that exists.
pub struct Local {
    tenant: TenantId,
    engine: OnceLock<Weak<Engine>>,
}

impl Local {
    pub fn new(tenant: TenantId) -> Self {
        Self { tenant, engine: OnceLock::new() }
    }

    /// Only the first call counts.
    pub fn connect(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(std::sync::Arc::downgrade(engine));
    }

    fn engine(&self) -> Result<Arc<Engine>, String> {
        let engine = self.engine.get().and_then(Weak::upgrade);
        engine.ok_or_else(|| "the facilitator of this process is not running".to_owned())
    }
}

#[async_trait]
impl Facilitator for Local {
    async fn verify(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<VerifyResponse> {
        let request = FacilitatorRequest::new(payload.clone(), requirements.clone());
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(why) => return Relayed::Silence(why),
        };
        match engine.facilitator_verify(&self.tenant, &request).await {
            Ok(response) => Relayed::Answer(response),
            Err(error) => Relayed::Silence(error.to_string()),
        }
    }

    async fn settle(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<SettleResponse> {
        let request = FacilitatorRequest::new(payload.clone(), requirements.clone());
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(why) => return Relayed::Silence(why),
        };
        let said = engine.facilitator_settle(&self.tenant, &request, Repeater::Recognized).await;
        relayed(said.inspect(|response| go_on(&engine, &self.tenant, &request, response)))
    }

    async fn extensions(&self) -> Relayed<Vec<String>> {
        match self.engine() {
            Ok(engine) => relayed(engine.facilitator_supported(&self.tenant).map(|supported| supported.extensions)),
            Err(why) => Relayed::Silence(why),
        }
    }

    async fn carries(&self, requirements: &PaymentRequirements) -> Relayed<bool> {
        let supported = self
            .engine()
            .and_then(|engine| engine.facilitator_supported(&self.tenant).map_err(|error| error.to_string()));
        match supported {
            Ok(supported) => Relayed::Answer(supported.kinds.iter().any(|kind| {
                kind.scheme == requirements.scheme
                    && kind.network == requirements.network
                    && operates(kind, requirements)
            })),
            Err(why) => Relayed::Silence(why),
        }
    }

    async fn submit(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<SettleResponse> {
        let request = FacilitatorRequest::new(payload.clone(), requirements.clone());
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(why) => return Relayed::Silence(why),
        };
        let said = engine.facilitator_submit(&self.tenant, &request, Repeater::Recognized).await;
        relayed(said.inspect(|response| go_on(&engine, &self.tenant, &request, response)))
    }
}

/// How often a payment is gone on with behind its answer, and the pause between.
const TRIES_MAX: usize = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// What goes before a payment is gone on with behind its answer; after the end of this process when it is asked for again.
pub fn go_on(engine: &Arc<Engine>, tenant: &TenantId, request: &FacilitatorRequest, response: &SettleResponse) {
    if !is_approving(request, response) {
        return;
    }
    // It keeps no engine from ending.
    let (engine, tenant, request) = (Arc::downgrade(engine), tenant.clone(), request.clone());
    tokio::spawn(async move {
        for _ in 0..TRIES_MAX {
            tokio::time::sleep(PAUSE).await;
            let Some(engine) = engine.upgrade() else { return };
            if engine.facilitator_go_on(&tenant, &request).await {
                return;
            }
        }
    });
}

fn relayed<T>(answer: Result<T, EngineError>) -> Relayed<T> {
    match answer {
        Ok(response) => Relayed::Answer(response),
        Err(error) => Relayed::Silence(error.to_string()),
    }
}

/// Any x402 v2 facilitator, by URL.
pub struct Remote {
    url: String,
    http: reqwest::Client,
}

impl Remote {
    /// A facilitator that does not answer in time has said nothing.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, String> {
        let parsed = url::Url::parse(url).map_err(|error| format!("the facilitator's URL is not a URL: {error}"))?;
        let mut builder = reqwest::Client::builder().redirect(Policy::none()).timeout(timeout);
        // A proxy of the environment does not know this machine's own addresses.
        if matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| error.without_url().to_string())?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), http })
    }

    async fn supported(&self) -> Relayed<SupportedResponse> {
        match read(self.http.get(format!("{}/supported", self.url))).await {
            Ok((200, bytes)) => match serde_json::from_slice(&bytes) {
                Ok(supported) => Relayed::Answer(supported),
                Err(_) => Relayed::Silence("what it carries is no answer of the protocol".to_owned()),
            },
            Ok((status, _)) => Relayed::Silence(format!("it answered {status} to what it carries")),
            Err(error) => Relayed::Silence(error),
        }
    }

    /// Official facilitators answer 200 with a verdict, others 400 with the same JSON: there the shape counts. A 5xx
    /// is the word of one who does not know what it did, in whatever shape: the payment may be on its way all the same.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Relayed<T> {
        let key = match scheme::claimed(payload, requirements) {
            Ok((_, key)) => Some(key.to_string()),
            // What a payee asks of the escrow is no payment, and the same words may mean another call later.
            Err(_) if [batch_settlement::SCHEME, auth_capture::SCHEME].contains(&requirements.scheme.as_str()) => None,
            Err(refusal) => return Relayed::Silence(refusal.to_string()),
        };
        let body = FacilitatorRequest::new(payload.clone(), requirements.clone());
        let url = format!("{}{path}", self.url);
        let request = self.http.post(&url).json(&body);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        match read(request).await {
            Ok((status @ 500.., _)) => Relayed::Silence(format!("the facilitator answered {status}")),
            Ok((status, bytes)) => match serde_json::from_slice(&bytes) {
                Ok(answer) => Relayed::Answer(answer),
                Err(_) => Relayed::Silence(format!("the facilitator answered {status} with no answer of the protocol")),
            },
            Err(error) => Relayed::Silence(error),
        }
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), String> {
    let said = |error: reqwest::Error| error.without_url().to_string();
    let mut response = request.send().await.map_err(said)?;
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(said)? {
        if bytes.len() + chunk.len() > MESSAGE_BYTES_MAX {
            return Err(format!("an answer of at most {MESSAGE_BYTES_MAX} bytes was expected, a longer one came"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, bytes))
}

#[async_trait]
impl Facilitator for Remote {
    async fn verify(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<VerifyResponse> {
        match self.ask::<VerifyResponse>("/verify", payload, requirements).await {
            Relayed::Answer(response) => Relayed::Answer(VerifyResponse {
                invalid_reason: common(response.invalid_reason.as_deref(), Asked::Verify),
                ..response
            }),
            silence => silence,
        }
    }

    async fn carries(&self, requirements: &PaymentRequirements) -> Relayed<bool> {
        match self.supported().await {
            Relayed::Answer(supported) => Relayed::Answer(supported.kinds.iter().any(|kind| {
                let is_version = kind.x402_version == X402_VERSION;
                is_version
                    && (&kind.scheme, &kind.network) == (&requirements.scheme, &requirements.network)
                    && operates(kind, requirements)
            })),
            Relayed::Silence(why) => Relayed::Silence(why),
        }
    }

    async fn extensions(&self) -> Relayed<Vec<String>> {
        match self.supported().await {
            Relayed::Answer(supported) => Relayed::Answer(supported.extensions),
            Relayed::Silence(why) => Relayed::Silence(why),
        }
    }

    async fn settle(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<SettleResponse> {
        match self.ask::<SettleResponse>("/settle", payload, requirements).await {
            Relayed::Answer(response) => known(Relayed::Answer(SettleResponse {
                error_reason: common(response.error_reason.as_deref(), Asked::Settle),
                ..response
            })),
            silence => silence,
        }
    }
}

/// What is held only its operator can capture or give back, out of the escrow that both name: what `/supported` says of them is
/// what the terms say. Where the terms name nobody there is nothing to compare.
fn operates(kind: &SupportedKind, requirements: &PaymentRequirements) -> bool {
    let own = |name| kind.extra.as_ref().and_then(|extra| extra.get(name)).and_then(Value::as_str);
    let asked = |name| requirements.extra_field(name).and_then(Value::as_str);
    ["captureAuthorizer", "authCaptureEscrow"].into_iter().all(|name| match (own(name), asked(name)) {
        (_, None) => true,
        (Some(own), Some(asked)) => own.eq_ignore_ascii_case(asked),
        (None, Some(_)) => false,
    })
}

/// A code in the one spelling that we pass on; one that we do not know as it is.
fn common(code: Option<&str>, asked: Asked) -> Option<String> {
    code.map(|code| spelling::common(code, asked).to_owned())
}

/// `unexpected_settle_error` and its like (a receipt that did not come) are said after a broadcast too: no result.
fn known(relayed: Relayed<SettleResponse>) -> Relayed<SettleResponse> {
    match relayed {
        Relayed::Answer(response) if !response.success && is_unexpected(&response) => {
            let why = response.error_reason.as_deref().map(crate::problem::shown).unwrap_or_default();
            Relayed::Silence(format!("the facilitator does not know what became of the settlement: {why}"))
        }
        other => other,
    }
}

fn is_unexpected(response: &SettleResponse) -> bool {
    let reason = response.error_reason.as_deref().and_then(|text| text.parse().ok());
    reason == Some(Reason::UnexpectedSettleError)
}

#[cfg(test)]
mod tests;
