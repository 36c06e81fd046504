//! The agent card (A2A 1.0 section 8; the members of 0.3 stand beside those of 1.0, which has other names for them).

use serde_json::{Value, json};

use super::sold::Skill;
use super::{AP2, X402_V0_1, X402_V0_2};

const OUTPUT: [&str; 2] = ["application/json", "text/plain"];

pub(super) fn card<'a>(url: &str, skills: impl Iterator<Item = &'a Skill>, sells_carts: bool) -> Value {
    let x402 = |uri: &str| json!({ "uri": uri, "description": "Skills are paid with x402.", "required": false });
    let mut extensions = vec![x402(X402_V0_2), x402(X402_V0_1)];
    if sells_carts {
        extensions.push(json!({
            "uri": AP2, "description": "Carts are signed, and paid with x402.", "required": false,
            "params": { "roles": ["merchant"] },
        }));
    }
    let skills: Vec<Value> = skills.map(Skill::listing).collect();
    let interface = |version: &str| json!({ "url": url, "protocolBinding": "JSONRPC", "protocolVersion": version });
    json!({
        "name": "Purser",
        "description": "Sells its skills over x402: ask for one, pay the task that comes back.",
        "version": env!("CARGO_PKG_VERSION"),
        "supportedInterfaces": [interface("1.0"), interface("0.3")],
        "capabilities": { "streaming": false, "pushNotifications": false, "extensions": extensions },
        "defaultInputModes": OUTPUT,
        "defaultOutputModes": OUTPUT,
        "skills": skills,
        // Of 0.3 alone.
        "protocolVersion": "0.3.0",
        "url": url,
        "preferredTransport": "JSONRPC",
    })
}
