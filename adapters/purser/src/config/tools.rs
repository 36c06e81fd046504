//! Tools of an MCP client that cost something.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
}
