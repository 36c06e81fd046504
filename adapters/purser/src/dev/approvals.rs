//! Where the person of a dev service answers, and a change of its configuration while it runs.

use serde_json::{Value, json};

use super::{DevService, TOKEN_SECONDS};
use crate::config::Config;
use crate::invitation::address;
use crate::world::{HOME, USER};

impl DevService {
    /// The pages, and a code with which the user registers a passkey, once.
    pub(super) async fn approvals(&self) -> Result<Value, String> {
        let register_url = self.invite(USER).await?;
        Ok(json!({ "url": format!("{}/approve", self.config.page_url()), "register_url": register_url }))
    }

    /// Where its people look at what was spent.
    pub fn console_url(&self) -> String {
        format!("{}/console", self.config.page_url())
    }

    /// The address at which this person registers a passkey, once.
    pub async fn invite(&self, person: &str) -> Result<String, String> {
        let person = person.parse().map_err(|_| format!("`{person}` is no principal"))?;
        let code = self.engine().invite(&self.tenant(HOME)?, &person, TOKEN_SECONDS).await;
        Ok(address(&self.config, &code.map_err(|error| error.to_string())?))
    }

    /// As `serve` takes up a changed file.
    pub fn change(&mut self, change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = self.config.clone();
        change(&mut config);
        self.running.reload(&config, &self.ring)?;
        self.config = config;
        Ok(())
    }
}
