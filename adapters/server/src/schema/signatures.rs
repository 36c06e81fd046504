//! The shapes of signatures over HTTP messages.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An HTTP message as it came: a request by `method` and `url`, an answer by `status`.
#[derive(ToSchema)]
pub struct SignedMessage {
    /// ucp_request, ucp_response, web_bot_auth or trusted_agent
    profile: String,
    method: Option<String>,
    url: Option<String>,
    status: Option<u16>,
    headers: Vec<HeaderLine>,
    /// base64url without padding; left out where there is none.
    body: Option<String>,
    /// The signer's public keys, as JWKs.
    keys: Vec<Map<String, Value>>,
}

#[derive(ToSchema)]
pub struct HeaderLine {
    name: String,
    value: String,
}

/// What a signature proves, or why it proves nothing.
#[derive(ToSchema)]
pub struct SignatureVerdict {
    valid: bool,
    code: Option<String>,
    detail: Option<String>,
    label: Option<String>,
    tag: Option<String>,
    /// The key's, by RFC 7638.
    thumbprint: Option<String>,
    /// ecdsa-p256-sha256 or ed25519
    algorithm: Option<String>,
    created: Option<i64>,
    nonce: Option<String>,
}
