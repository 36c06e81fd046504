//! What the line of a dev service says about A2A.

use serde_json::{Value, json};
use server::a2a::door::{CARD_PATH, PATH};

use super::DevService;
use crate::world::PAID_TOOL;

impl DevService {
    /// No token is needed to buy; with the agent's a task is its own.
    pub(super) fn a2a(&self, agent: &str) -> Value {
        let url = self.url();
        json!({
            "url": format!("{url}{PATH}"), "card_url": format!("{url}{CARD_PATH}"), "token": agent, "paid_skill": PAID_TOOL,
        })
    }
}
