//! The mandates that stand in a dev service.

use serde_json::{Value, json};

use super::{DevService, TOKEN_SECONDS};
use crate::client::Client;
use crate::world::USER;

impl DevService {
    /// The mandate of an earlier run, or a new one.
    pub(super) async fn standing_mandate(&mut self, user: &str, agent: &str) -> Result<Value, String> {
        if let Some(mandate) = self.remembered_mandate(self.remembered.mandate.as_deref(), agent).await? {
            return Ok(mandate);
        }
        let mandate = self.live_mandate(user, agent, ("5.00", "3.00")).await?;
        self.remembered.mandate = mandate["id"].as_str().map(str::to_owned);
        self.home.remember(&self.remembered)?;
        Ok(mandate)
    }

    /// While it is good for a day.
    async fn remembered_mandate(&self, id: Option<&str>, agent: &str) -> Result<Option<Value>, String> {
        let Some(id) = id else { return Ok(None) };
        let client = Client::new(self.url()).map_err(|error| error.to_string())?;
        let view = client.call(reqwest::Method::GET, &format!("/v1/mandates/{id}"), agent, None, None).await;
        let view = view.map_err(|error| error.to_string())?;
        let left = view["expires_at"].as_i64().unwrap_or_default() - store::wall_clock()().seconds();
        let stands = view["state"] == "active" && left > i64::from(TOKEN_SECONDS);
        Ok(stands.then(|| json!({ "id": id, "token": view["payment"], "checkout": view["checkout"] })))
    }

    /// A live mandate for any payee, made the way every mandate is made.
    async fn live_mandate(&self, user: &str, agent: &str, (total, most): (&str, &str)) -> Result<Value, String> {
        use reqwest::Method;
        let client = Client::new(self.url()).map_err(|error| error.to_string())?;
        let request = json!({
            "user": USER, "description": "the live mandate of this dev service", "currency": "USD",
            "total": total, "per_payment": most, "payments": 1_000, "expires_in_seconds": 7 * 24 * 3_600,
        });
        let call = async |method: Method, path: &str, token: &str, body: Option<Value>| {
            client.call(method, path, token, None, body).await.map_err(|error| error.to_string())
        };
        let asked = call(Method::POST, "/v1/mandates/intents", agent, Some(request)).await?;
        let approval = &asked["approval"];
        let (id, digest) = (approval["id"].as_str().unwrap_or_default(), approval["digest"].clone());
        let decision = json!({ "decision": "approve", "digest": digest });
        let decided = call(Method::POST, &format!("/v1/approvals/{id}/decision"), user, Some(decision)).await?;
        let mandate = decided["mandate"].as_str().ok_or("the approval opened no mandate")?.to_owned();
        let view = call(Method::GET, &format!("/v1/mandates/{mandate}"), agent, None).await?;
        Ok(json!({ "id": mandate, "token": view["payment"], "checkout": view["checkout"] }))
    }

    /// The same for ACP, large enough for the examples of its specification: its id.
    pub(super) async fn standing_acp_mandate(&mut self, user: &str, agent: &str) -> Result<String, String> {
        let known = self.remembered_mandate(self.remembered.acp_mandate.as_deref(), agent).await?;
        let mandate = match known {
            Some(mandate) => mandate,
            None => self.live_mandate(user, agent, ("2000.00", "1000.00")).await?,
        };
        let id = mandate["id"].as_str().ok_or("a mandate without an id")?.to_owned();
        self.remembered.acp_mandate = Some(id.clone());
        self.home.remember(&self.remembered)?;
        Ok(id)
    }
}
