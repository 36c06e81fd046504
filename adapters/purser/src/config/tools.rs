//! Tools of an MCP client that cost something.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolConfig {
    /// Up to 128 letters, digits, dots, dashes and underscores (MCP, tool names).
    pub name: String,
    /// Atomic units.
    pub amount: String,
    /// What it does: read by models.
    pub description: String,
    /// What is sold: a text that stands in the paid result and nowhere else.
    pub body: String,
    #[serde(default = "super::sell::max_timeout_seconds")]
    pub max_timeout_seconds: u64,
    /// When it is given.
    #[serde(flatten)]
    pub release: super::ReleaseConfig,
    /// What nobody knows, which is refused.
    #[serde(flatten)]
    pub unknown: std::collections::BTreeMap<String, serde_json::Value>,
}
