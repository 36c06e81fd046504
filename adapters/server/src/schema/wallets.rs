//! What a person's wallet is asked.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// For the page at `origin`, whose answer is good for this question and once.
#[derive(ToSchema)]
pub struct WalletRequest {
    /// The argument of `navigator.credentials.get`, `digital`.
    request: Map<String, Value>,
    origin: String,
    nonce: String,
    /// SHA-256 of the document: what the answer names.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
    /// Unix seconds.
    expires_at: i64,
}
