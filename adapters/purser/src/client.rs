//! A client of the service's own HTTP surface, for `pay` and `demo`: what any agent would write.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::credential::Credential;

/// Longest answer that is read.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// For one exchange.
pub const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url} answered {status}{}: {detail}", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default())]
    Refused { url: String, status: u16, code: Option<String>, detail: String },
    #[error("{url} answered what cannot be read: {why}")]
    Unreadable { url: String, why: String },
}

impl ClientError {
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }
}

/// An answer of some server, read whole.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Fetched {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// No redirects: a payment header goes to the origin that it was meant for, and nowhere else.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        Self::build(base, reqwest::Client::builder())
    }

    /// Past every proxy that the environment names: for a proxy, which would name itself.
    pub fn direct(base: &str) -> Result<Self, ClientError> {
        Self::build(base, reqwest::Client::builder().no_proxy())
    }

    fn build(base: &str, http: reqwest::ClientBuilder) -> Result<Self, ClientError> {
        let built = http.redirect(Policy::none()).timeout(TIMEOUT).build();
        let http = built.map_err(|error| ClientError::Unreachable { url: base.to_owned(), why: error.to_string() })?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// Fetches anything, with a payment where there is one.
    pub async fn fetch(&self, method: &str, url: &str, payment: Option<&str>) -> Result<Fetched, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { url: url.to_owned(), why };
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| unreachable(error.to_string()))?;
        let mut request = self.http.request(method, url);
        if let Some(payment) = payment {
            let value = HeaderValue::from_str(payment).map_err(|error| unreachable(error.to_string()))?;
            request = request.header(x402::wire::PAYMENT_SIGNATURE, value);
        }
        self.read(url, request).await
    }

    /// Calls a route of the service with a bearer token.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        key: Option<&str>,
        body: Option<Value>,
    ) -> Result<Value, ClientError> {
        self.call_as(&Credential::bearer(token), method, path, key, body).await
    }

    /// Calls a route of the service as a principal, with a key where the route wants one.
    pub async fn call_as(
        &self,
        credential: &Credential,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<Value>,
    ) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        let headers = self.introduce(credential, &method, &url).await?;
        let mut request = self.http.request(method, &url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // Of the routes that other protocols define; ours pass it over.
        request = request.header("API-Version", commerce::acp_checkout::VERSION);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let fetched = self.read(&url, request).await?;
        let json: Result<Value, _> = serde_json::from_slice(&fetched.body);
        if fetched.status.is_success() {
            return json.map_err(|error| ClientError::Unreadable { url, why: error.to_string() });
        }
        let json = json.unwrap_or_else(|_| json!({}));
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
        // ACP's flat errors have the nearest code of a closed set; ours is beside it.
        let honest = fetched.header("purser-code").map(str::to_owned);
        let (code, detail) = (honest.or(text("code")), text("detail").or(text("message")).unwrap_or_default());
        if code.as_deref() == Some("token_ended") {
            credential.forget();
        }
        Err(ClientError::Refused { url, status: fetched.status.as_u16(), code, detail })
    }

    /// The headers that say who calls an address.
    pub async fn introduce(
        &self,
        credential: &Credential,
        method: &Method,
        url: &str,
    ) -> Result<Vec<(&'static str, String)>, ClientError> {
        credential.headers(&self.http, &self.base, method.as_str(), url).await
    }

    async fn read(&self, url: &str, request: reqwest::RequestBuilder) -> Result<Fetched, ClientError> {
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: url.to_owned(),
            why: error.without_url().to_string(),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                let why = format!("more than {BODY_BYTES_MAX} bytes");
                return Err(ClientError::Unreadable { url: url.to_owned(), why });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { status, headers, body })
    }
}
