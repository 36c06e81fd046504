//! What the line of a dev service says about MCP.

use std::sync::atomic::{AtomicU64, Ordering};

use identity::token::sign;
use serde_json::{Value, json};

use super::{DevService, TOKEN_SECONDS};
use crate::keys::Slot;
use crate::world::{AGENT, HOME, PAID_TOOL};

/// Where the other token would be taken: nowhere here.
const ELSEWHERE: &str = "https://elsewhere.example/mcp";

static COUNT: AtomicU64 = AtomicU64::new(0);

impl DevService {
    /// Addresses, the agent's token, and one that differs from it in the audience alone: it must be refused.
    pub(super) fn mcp(&self, agent: &str) -> Result<Value, String> {
        let url = self.url();
        Ok(json!({
            "url": format!("{url}{}", server::mcp::door::PATH), "token": agent, "foreign_token": self.foreign_token()?,
            "shop_url": format!("{url}{}", server::mcp::door::SHOP_PATH), "paid_tool": PAID_TOOL,
        }))
    }

    fn foreign_token(&self) -> Result<String, String> {
        let key = self.ring.p256(&Slot::tokens()).map_err(|error| error.to_string())?;
        let now = store::wall_clock()().seconds();
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.key_id().as_str() });
        let claims = json!({
            "iss": self.url(), "aud": ELSEWHERE, "sub": AGENT, "tenant": HOME, "kind": "agent", "iat": now,
            "exp": now.saturating_add(i64::from(TOKEN_SECONDS)),
            "jti": format!("elsewhere-{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        });
        sign(&key, &header, &claims).ok_or_else(|| "the token could not be signed".to_owned())
    }
}
