//! How request bytes become answer bytes. Bounded in time and in size, and without a word about the URL in errors.

use std::fmt;
use std::time::Duration;

use alloy::transports::http::reqwest::{Client, Url, header, redirect};
use x402::chain::ChainError;

use crate::devnet::Devnet;
use crate::limits::NODE_ANSWER_BYTES_MAX;

/// Why no connection can be made of a configured URL. Never repeats the URL: it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcUrlError {
    #[error("the RPC URL is not a URL: {0}")]
    UrlInvalid(String),
    #[error("the RPC URL must begin with http or https, not {0}")]
    SchemeNotSupported(String),
    #[error("no HTTP client could be built: {0}")]
    ClientNotBuilt(String),
}

impl RpcUrlError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::UrlInvalid(_) => "rpc_url_invalid",
            Self::SchemeNotSupported(_) => "rpc_url_scheme_not_supported",
            Self::ClientNotBuilt(_) => "rpc_client_not_built",
        }
    }

    pub fn retryable(&self) -> bool {
        match self {
            Self::UrlInvalid(_) | Self::SchemeNotSupported(_) | Self::ClientNotBuilt(_) => false,
        }
    }
}

#[derive(Clone)]
pub(super) enum Transport {
    Http { client: Client, url: Url },
    InProcess(Devnet),
}

impl Transport {
    pub(super) fn http(url: &str, timeout: Duration) -> Result<Self, RpcUrlError> {
        let url = Url::parse(url).map_err(|error| RpcUrlError::UrlInvalid(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RpcUrlError::SchemeNotSupported(url.scheme().to_owned()));
        }
        // A redirect would carry signed transactions to a host that nobody configured.
        let mut builder = Client::builder().timeout(timeout).redirect(redirect::Policy::none());
        if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| RpcUrlError::ClientNotBuilt(error.without_url().to_string()))?;
        Ok(Self::Http { client, url })
    }

    pub(super) async fn exchange(&self, request: Vec<u8>) -> Result<Vec<u8>, ChainError> {
        match self {
            Self::Http { client, url } => exchange_over_http(client, url, request).await,
            Self::InProcess(devnet) => {
                devnet.dispatch(&request).ok_or_else(|| ChainError::Unavailable("the devnet gave no answer".to_owned()))
            }
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Paths, queries and users of RPC URLs hold API keys.
            Self::Http { url, .. } => f.debug_tuple("Http").field(&url.host_str().unwrap_or_default()).finish(),
            Self::InProcess(_) => f.write_str("InProcess"),
        }
    }
}

async fn exchange_over_http(client: &Client, url: &Url, request: Vec<u8>) -> Result<Vec<u8>, ChainError> {
    let lost = |error: alloy::transports::http::reqwest::Error| {
        let error = error.without_url();
        let kind = if error.is_timeout() { "timed out" } else { "failed" };
        ChainError::Unavailable(format!("the exchange with the node {kind}: {error}"))
    };
    let sent = client.post(url.clone()).header(header::CONTENT_TYPE, "application/json").body(request).send();
    let mut response = sent.await.map_err(lost)?;
    if !response.status().is_success() {
        return Err(ChainError::Unavailable(format!("the node answered with HTTP status {}", response.status())));
    }
    let said = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut answer = Vec::with_capacity(said.min(NODE_ANSWER_BYTES_MAX));
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if answer.len().saturating_add(chunk.len()) > NODE_ANSWER_BYTES_MAX {
            let message = format!("the node's answer is longer than {NODE_ANSWER_BYTES_MAX} bytes");
            return Err(ChainError::Unavailable(message));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}
