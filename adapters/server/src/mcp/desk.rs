//! One client's requests: what there is, and each call to its tool.

use std::sync::Arc;
use std::time::Duration;

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult, ElicitRequest,
    ElicitRequestParams, ErrorCode, ErrorData, Implementation, InputRequest, InputRequests, InputRequiredResult,
    JsonObject, ListToolsResult, PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Map, Value};

use super::agent::{self, Errands, Refused, Wanted};
use super::catalogue::{self, INSTRUCTIONS, MandateArgument};
use super::sold::Shop;
use super::text_of;

/// How long a human may look at a question before the call goes on without them; the question stands. Below the minute
/// that clients wait for a tool: one that gives up and calls again would ask twice.
const ELICITATION_PATIENCE: Duration = Duration::from_secs(45);
/// Where the payment of a tool lies in `_meta` (x402, `transports-v2/mcp.md`).
const PAYMENT: &str = "x402/payment";

/// A server for one client: an agent's tools where it is one, and what is sold.
pub struct Desk<E> {
    pub errands: Option<Arc<E>>,
    pub shop: Arc<Shop>,
}

impl<E> Clone for Desk<E> {
    fn clone(&self) -> Self {
        Self { errands: self.errands.clone(), shop: self.shop.clone() }
    }
}

impl<E: Errands + 'static> Desk<E> {
    fn tools(&self) -> Vec<Tool> {
        let own = self.errands.iter().flat_map(|errands| {
            let has_default = errands.mandate().is_some();
            catalogue::tools(if has_default { MandateArgument::HasDefault } else { MandateArgument::Required })
        });
        own.chain(self.shop.tools()).collect()
    }

    /// A tool of the agent's. In a task of its own: a client that goes away stops no payment in the middle.
    async fn work(&self, errands: &Arc<E>, wanted: Wanted) -> Result<Value, Refused> {
        let errands = errands.clone();
        let task = tokio::spawn(async move { agent::run(&*errands, wanted).await });
        task.await.unwrap_or_else(|_| {
            let detail = "what became of this call is not known; call again with the same arguments";
            Err(Refused::new("outcome_unknown", detail))
        })
    }

    async fn call(
        &self,
        errands: &Arc<E>,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResponse {
        // The second half of a question that was put: asked again it would be a second question.
        let wanted = match &request.request_state {
            Some(approval) if request.name == catalogue::REQUEST_MANDATE => {
                agent::read(catalogue::STATUS, asked_about(approval), None)
            }
            _ => agent::read(&request.name, request.arguments.unwrap_or_default(), errands.mandate()),
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(refused) => return refusal(refused).into(),
        };
        let puts_a_question = matches!(wanted, Wanted::RequestMandate(_));
        match self.work(errands, wanted).await {
            Ok(answer) if puts_a_question => self.ask_a_human(errands, answer, context).await,
            Ok(answer) => answered(answer).into(),
            Err(refused) => refusal(refused).into(),
        }
    }

    /// Shows the human where to decide, if the client can (URL mode). Whatever comes back, the book says what was decided.
    async fn ask_a_human(
        &self,
        errands: &Arc<E>,
        answer: Value,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResponse {
        let member = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let (approval, url, approver) = (member("approval"), member("url"), member("approver"));
        let capabilities = context.client_capabilities();
        let can = capabilities.and_then(|can| can.elicitation).is_some_and(|how| how.url.is_some());
        let told = answered(answer).into();
        if !can || member_is_decided(&told) {
            return told;
        }
        let message = format!("{approver} is asked for a budget, and decides there; nothing is spent before");
        let version = context.protocol_version();
        if version.is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str()) {
            let elicitation_id = String::new();
            let params = ElicitRequestParams::UrlElicitationParams { meta: None, message, url, elicitation_id };
            let input = InputRequest::Elicitation(ElicitRequest::new(params));
            let inputs = InputRequests::from([("approval".to_owned(), input)]);
            return InputRequiredResult::new(Some(inputs), Some(approval)).into();
        }
        let Ok(url) = url.parse::<url::Url>() else { return told };
        let shown = context.peer.elicit_url_with_timeout(message, url, approval.as_str(), Some(ELICITATION_PATIENCE));
        if let Err(error) = shown.await {
            tracing::debug!("the question was not shown: {error}");
        }
        match self.work(errands, Wanted::Approval(approval)).await {
            Ok(answer) => answered(answer).into(),
            Err(_) => told,
        }
    }
}

fn member_is_decided(told: &CallToolResponse) -> bool {
    match told {
        CallToolResponse::Complete(result) => {
            result.structured_content.as_ref().is_none_or(|answer| answer["state"] != "pending")
        }
        _ => true,
    }
}

fn asked_about(approval: &str) -> JsonObject {
    Map::from_iter([("approval".to_owned(), approval.into())])
}

/// The answer as data, and the same as text for whoever reads text only. One with a `code` is a failure of the seller.
fn answered(answer: Value) -> CallToolResult {
    let mut content = vec![ContentBlock::text(text_of(&answer))];
    if answer["state"] == "pending"
        && let (Some(url), Some(command)) = (answer["url"].as_str(), answer["command"].as_str())
    {
        let approver = answer["approver"].as_str().unwrap_or_default();
        let text =
            format!("A person ({approver}) decides this at {url}, or the operator with `{command}`. Ask status.");
        content.push(ContentBlock::text(text));
    }
    let has_failed = answer.get("code").is_some();
    let mut result = if has_failed { CallToolResult::error(content) } else { CallToolResult::success(content) };
    result.structured_content = Some(answer);
    result
}

fn refusal(Refused(members): Refused) -> CallToolResult {
    let answer = Value::Object(members);
    let mut result = CallToolResult::error(vec![ContentBlock::text(text_of(&answer))]);
    result.structured_content = Some(answer);
    result
}

impl<E: Errands + 'static> ServerHandler for Desk<E> {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let us = Implementation::new("purser", env!("CARGO_PKG_VERSION")).with_title("Purser");
        let info = ServerConfig::new(capabilities).with_server_info(us);
        if self.errands.is_some() { info.with_instructions(INSTRUCTIONS) } else { info }
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools()))
    }

    /// What the library cannot read as the request that it names comes here too.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = crate::problem::shown(&request.method);
        let params = match request.method.as_str() {
            "initialize" => "protocolVersion, capabilities and clientInfo",
            "tools/call" => "name, a string, and arguments, an object,",
            "tools/list" => "cursor, a string, or none",
            _ => {
                let detail = format!("a method of this service was expected, {method} came");
                return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, detail, None));
            }
        };
        let found =
            request.params.map_or_else(|| "nothing".to_owned(), |params| crate::problem::shown(&params.to_string()));
        Err(ErrorData::invalid_params(format!("params of {method}: {params} were expected, {found} came"), None))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(sold) = self.shop.find(&request.name) {
            let payment = context.meta.get(PAYMENT).or_else(|| request.meta.as_ref()?.get(PAYMENT)).cloned();
            return Ok(sold.call(request.arguments.unwrap_or_default(), payment).await.into());
        }
        match &self.errands {
            Some(errands) if self.get_tool(&request.name).is_some() => Ok(self.call(errands, request, &context).await),
            _ => {
                let found = crate::problem::shown(&request.name);
                Err(ErrorData::invalid_params(
                    format!("one of the tools of tools/list was expected, {found} came"),
                    None,
                ))
            }
        }
    }
}
