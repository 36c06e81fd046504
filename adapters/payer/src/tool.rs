//! Tools that cost something, of an MCP server over streamable HTTP (x402, `transports-v2/mcp.md`): the buyer's side.
//!
//! A call that has to be paid for is answered with an error that holds the demand; the same call is made again with the
//! payment in its `_meta`. A second demand is an answer, and nothing is signed for it.

use std::error::Error as _;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResponse, MetaObject, RequestMetaObject};
use rmcp::service::{ClientInitializeError, RoleClient, RunningService, ServiceError};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransport, StreamableHttpClientTransportConfig, StreamableHttpError,
};
use rmcp::{ErrorData, ServiceExt as _};
use serde_json::{Map, Value};

use crate::{Answered, Asked, BODY_BYTES_MAX, Demand, Payer, PayerError, Payment, Wallet, causes, looked, shown};

/// Where a payment and its receipt lie in `_meta`.
const PAYMENT: &str = "x402/payment";
const RECEIPT: &str = "x402/payment-response";
/// How a tool is named as a resource. Sellers may call it otherwise; one that is named so is that one.
const RESOURCE: &str = "mcp://tool/";
/// For one exchange, whatever the server sends meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);
const MCP: &str = "an MCP server";

/// A call of a tool, and the key under which it is bought.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The server's endpoint.
    pub url: String,
    pub tool: String,
    pub arguments: Map<String, Value>,
    /// The same key is the same purchase.
    pub key: String,
}

type Session = RunningService<RoleClient, ()>;

/// A result of the protocol, whether it is an error, and the seller's receipt.
type Said = (Value, bool, Option<Value>);

impl<W: Wallet> Payer<W> {
    /// Calls the tool, pays once where that is asked for, and has the wallet look what became of it.
    pub async fn call_tool(&self, call: &ToolCall) -> Result<Answered<W::Outcome>, PayerError<W::Error>> {
        let session = self.session(call).await?;
        let done = self.buy(&session, call).await;
        end(session).await;
        done
    }

    /// One call without a payment: what the tool gives for nothing, or what it asks.
    pub async fn meet_tool(&self, call: &ToolCall) -> Result<(Value, Option<Demand>), PayerError<W::Error>> {
        let session = self.session(call).await?;
        let said = ask(&session, call, None).await;
        end(session).await;
        let (result, _, _) = said?;
        let demand = demand(call, &result)?;
        Ok((result, demand))
    }

    async fn session(&self, call: &ToolCall) -> Result<Session, PayerError<W::Error>> {
        let mut config = StreamableHttpClientTransportConfig::with_uri(call.url.as_str());
        // A call is never sent twice by anybody but us.
        config.reinit_on_expired_session = false;
        config.max_sse_event_size = BODY_BYTES_MAX;
        config.max_json_response_size = BODY_BYTES_MAX;
        let transport = StreamableHttpClientTransport::with_client(self.http.clone(), config);
        match tokio::time::timeout(PATIENCE, ().serve(transport)).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(ClientInitializeError::TransportError { error, .. })) => Err(broken(call, &error)),
            Ok(Err(ClientInitializeError::JsonRpcError(refusal))) => Err(refused(call, &refusal)),
            Ok(Err(_)) => Err(unreadable(call, "its answer to `initialize` is none of the protocol")),
            Err(_) => Err(silent(call)),
        }
    }

    async fn buy(&self, session: &Session, call: &ToolCall) -> Result<Answered<W::Outcome>, PayerError<W::Error>> {
        let (result, is_failure, _) = ask(session, call, None).await?;
        let Some(demand) = demand(call, &result)? else {
            return Ok(Answered { result, is_failure, paid: None });
        };
        let asked = Asked { method: "POST", url: &call.url, key: &call.key, demand: &demand };
        let payment = self.wallet.pay(asked).await.map_err(PayerError::Wallet)?;
        let answer = ask(session, call, Some(&payment)).await;
        looked(&self.wallet, payment, answer).await
    }
}

async fn ask<E: std::error::Error + 'static>(
    session: &Session,
    call: &ToolCall,
    payment: Option<&Payment>,
) -> Result<Said, PayerError<E>> {
    let mut params = CallToolRequestParams::new(call.tool.clone()).with_arguments(call.arguments.clone());
    if let Some(payment) = payment {
        let payment = payment.object().ok_or_else(|| unreadable(call, "the wallet gave no payment to show"))?;
        params.meta = Some(RequestMetaObject(MetaObject(Map::from_iter([(PAYMENT.to_owned(), payment)]))));
    }
    let answer = match tokio::time::timeout(PATIENCE, session.call_tool_once(params)).await {
        Err(_) => return Err(silent(call)),
        Ok(Err(ServiceError::McpError(refusal))) => return Err(refused(call, &refusal)),
        Ok(Err(ServiceError::TransportSend(error))) => return Err(broken(call, &error)),
        Ok(Err(ServiceError::TransportClosed)) => return Err(unreachable(call, "the connection broke off".into())),
        Ok(Err(_)) => return Err(unreadable(call, "its answer to the call is none of the protocol")),
        Ok(Ok(CallToolResponse::Complete(result))) => result,
        Ok(Ok(_)) => return Err(unreadable(call, "it wants something else first than a payment")),
    };
    let is_failure = answer.is_error.unwrap_or_default();
    let receipt = answer.meta.as_ref().and_then(|meta| meta.0.get(RECEIPT)).cloned();
    let result = serde_json::to_value(answer).map_err(|error| unreadable(call, &error.to_string()))?;
    Ok((result, is_failure, receipt))
}

/// What an error asks for: as data, or as text where the seller gives no data.
fn demand<E: std::error::Error + 'static>(call: &ToolCall, result: &Value) -> Result<Option<Demand>, PayerError<E>> {
    if result["isError"] != true {
        return Ok(None);
    }
    let text = || serde_json::from_str(result["content"][0]["text"].as_str()?).ok();
    let is_demand = |value: &Value| value.get("x402Version").is_some() && value.get("accepts").is_some();
    let said = [Some(result["structuredContent"].clone()), text()];
    let Some(Value::Object(said)) = said.into_iter().flatten().find(is_demand) else { return Ok(None) };
    let not_payable = |why: String| PayerError::NotPayable { url: call.url.clone(), why };
    let demand = Demand::of(&said).map_err(not_payable)?;
    match demand.resource().strip_prefix(RESOURCE) {
        Some(tool) if tool != call.tool => {
            Err(not_payable(format!("a payment for {} was expected, one for {} is asked", call.tool, shown(tool))))
        }
        _ => Ok(Some(demand)),
    }
}

async fn end(session: Session) {
    if let Err(error) = session.cancel().await {
        // Whatever was said stands.
        drop(error);
    }
}

fn unreadable<E: std::error::Error + 'static>(call: &ToolCall, why: &str) -> PayerError<E> {
    PayerError::Unreadable { url: call.url.clone(), expected: MCP, why: shown(why) }
}

/// The library's own words name its types; what is beneath them is of use.
fn broken<E: std::error::Error + 'static>(call: &ToolCall, error: &DynamicTransportError) -> PayerError<E> {
    match error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(error)) => {
            unreachable(call, error.source().map_or_else(|| "no connection".to_owned(), causes))
        }
        Some(other) => unreadable(call, &other.to_string()),
        None => unreachable(call, "the connection broke off".into()),
    }
}

fn refused<E: std::error::Error + 'static>(call: &ToolCall, refusal: &ErrorData) -> PayerError<E> {
    PayerError::Refused { url: call.url.clone(), why: shown(&refusal.message) }
}

fn silent<E: std::error::Error + 'static>(call: &ToolCall) -> PayerError<E> {
    unreachable(call, format!("no answer within {} seconds", PATIENCE.as_secs()))
}

fn unreachable<E: std::error::Error + 'static>(call: &ToolCall, why: String) -> PayerError<E> {
    PayerError::Unreachable { url: call.url.clone(), why, source: None }
}
