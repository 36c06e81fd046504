//! Tools that cost something: x402 over MCP (`transports-v2/mcp.md`), the seller's side.
//!
//! A call becomes a request to the same paywall that stands before priced routes, and its answer becomes a tool's result:
//! what is claimed, run, settled and booked, and when, is decided there and nowhere else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response};
use paywall::{Address, PaywallLayer, Price, PriceError, Repeat, Till};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, MetaObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _, service_fn};
use x402::release::Release;
use x402::wire::{
    PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, PaymentRequired, PaymentRequirements, ResourceInfo,
    SettleResponse, read_header,
};

use super::text_of;
use crate::limits::BODY_BYTES_MAX;
use crate::problem::ok;

/// Where the receipt lies in a result's `_meta`.
const RECEIPT: &str = "x402/payment-response";

/// A tool of the configuration, and what it costs.
#[derive(Clone, Debug)]
pub struct PaidTool {
    pub name: String,
    pub description: String,
    /// What the paid answer contains.
    pub body: String,
    pub requirements: PaymentRequirements,
    pub release: Release,
}

/// Everything that is sold here, by name.
#[derive(Clone, Default)]
pub struct Shop(BTreeMap<String, Sold>);

/// One tool behind its paywall.
#[derive(Clone)]
pub struct Sold {
    tool: Tool,
    demand: PaymentRequired,
    service: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
}

impl Shop {
    /// Puts the tools up for sale, paid into this till.
    pub fn add(&mut self, tools: &[PaidTool], till: &Arc<dyn Till>) -> Result<(), PriceError> {
        for tool in tools {
            self.0.insert(tool.name.clone(), Sold::new(tool, till)?);
        }
        Ok(())
    }

    pub fn tools(&self) -> impl Iterator<Item = Tool> {
        self.0.values().map(|sold| sold.tool.clone())
    }

    pub fn find(&self, name: &str) -> Option<&Sold> {
        self.0.get(name)
    }
}

impl Sold {
    fn new(paid: &PaidTool, till: &Arc<dyn Till>) -> Result<Self, PriceError> {
        let mut resource = ResourceInfo::new(format!("mcp://tool/{}", paid.name));
        resource.description = Some(paid.description.clone());
        resource.mime_type = Some("application/json".into());
        let accepts = vec![paid.requirements.clone()];
        let demand = PaymentRequired::new(resource.clone(), accepts.clone(), None);
        let price = Price::new(resource.url.clone(), accepts, resource, Address::Fixed, Repeat::Never)?;
        let price = price.with_release(paid.release);
        let (body, runs): (Arc<str>, Arc<AtomicU64>) = (paid.body.as_str().into(), Arc::default());
        let handler = service_fn(move |_: Request<Body>| {
            let served = runs.fetch_add(1, Ordering::SeqCst).saturating_add(1);
            let answer = ok(json!({ "content": &*body, "served": served }));
            async move { Ok::<_, Infallible>(answer) }
        });
        let service = BoxCloneSyncService::new(PaywallLayer::new(till.clone(), price).layer(handler));
        Ok(Self { tool: described(paid), demand, service })
    }

    /// One call, with what came as its payment.
    pub async fn call(&self, arguments: JsonObject, payment: Option<Value>) -> CallToolResult {
        if let Some(name) = arguments.keys().next() {
            let name = crate::problem::shown(name);
            let detail = format!("{} takes no arguments, {name} came; nothing was charged", self.tool.name);
            return failed(json!({ "code": "invalid_request", "detail": detail, "field": name }));
        }
        let mut request = Request::builder().method(Method::POST).uri(format!("/{}", self.tool.name));
        if let Some(payment) = payment {
            request = request.header(PAYMENT_SIGNATURE, STANDARD.encode(payment.to_string()));
        }
        // Canonical: the same arguments are the same purchase, whatever the message around them.
        let body = mandates::canonical::canonical_object(&arguments).unwrap_or_default();
        let Ok(request) = request.body(Body::from(body)) else {
            return failed(
                json!({ "code": "invalid_payload", "detail": "a payment that fits into a header was expected" }),
            );
        };
        let response = match self.service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        self.result(response).await
    }

    async fn result(&self, response: Response<Body>) -> CallToolResult {
        let (parts, body) = response.into_parts();
        let read = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
        let body: Value = read.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let receipt = parts.headers.get(PAYMENT_RESPONSE).and_then(|header| read_header(header.as_bytes()).ok());
        let receipt: Option<SettleResponse> = receipt;
        let receipt = receipt.and_then(|receipt| serde_json::to_value(receipt).ok());
        let mut result = if parts.status.is_success() {
            let mut result = CallToolResult::success(vec![ContentBlock::text(text_of(&body))]);
            result.structured_content = Some(body);
            result
        } else if parts.status == http::StatusCode::PAYMENT_REQUIRED {
            let is_demand = parts.headers.contains_key(PAYMENT_REQUIRED);
            failed(if is_demand { body } else { self.settlement_failed(&body, receipt.as_ref()) })
        } else {
            // No demand: whoever reads one signs again, and this payment may still settle.
            failed(body)
        };
        if let Some(receipt) = receipt {
            result.meta = Some(MetaObject(Map::from_iter([(RECEIPT.to_owned(), receipt)])));
        }
        result
    }

    /// The offer again, why the settlement failed, and the seller's receipt of that. Never the content.
    fn settlement_failed(&self, problem: &Value, receipt: Option<&Value>) -> Value {
        let code = problem["code"].as_str().unwrap_or("settlement_failed").to_owned();
        let mut demand = PaymentRequired { error: Some(code), ..self.demand.clone() };
        demand.unknown.insert("message".into(), problem["detail"].clone());
        demand.unknown.insert(RECEIPT.into(), receipt.cloned().unwrap_or_default());
        serde_json::to_value(demand).unwrap_or_default()
    }
}

fn failed(answer: Value) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(text_of(&answer))]);
    result.structured_content = Some(answer);
    result
}

/// No output schema: a demand and an answer share no shape, and clients hold both against it.
fn described(paid: &PaidTool) -> Tool {
    let PaymentRequirements { amount, asset, network, .. } = &paid.requirements;
    let description = format!("{} Costs {amount} units of {asset} on {network}, over x402.", paid.description);
    let nothing = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let nothing = nothing.as_object().cloned().unwrap_or_default();
    let hints = ToolAnnotations::from_raw(None, Some(false), Some(false), Some(true), Some(false));
    Tool::new(paid.name.clone(), description, nothing).with_annotations(hints)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use paywall::{Abandoned, Claim, ClaimRequest, Refusal, SettleRefusal, Settled, StoredAnswer, Ticket};
    use x402::reason::Reason;
    use x402::release::Manner;

    use super::*;

    const CONTENT: &str = "what is sold";
    const ADDRESS: &str = "0x00000000000000000000000000000000000000aa";

    /// A till that takes every payment, and says this of the settlement.
    struct Drawer(Mutex<Option<SettleRefusal>>);

    #[async_trait]
    impl Till for Drawer {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Refusal> {
            assert_eq!(request.purpose.resource_url, "mcp://tool/hello");
            Ok(Claim::Won(Ticket { key: request.key, id: "one".into(), manner: Manner::HeldBack }))
        }

        async fn settle(
            &self,
            _: Ticket,
            _: StoredAnswer,
            _: Option<x402::value::Amount>,
        ) -> Result<Settled, SettleRefusal> {
            match self.0.lock().unwrap().take() {
                Some(refusal) => Err(refusal),
                None => Ok(Settled { response: SettleResponse::settled(ADDRESS, "0x01", "eip155:31337") }),
            }
        }

        async fn abandon(&self, _: Ticket, why: Abandoned) -> Option<SettleResponse> {
            panic!("the tool delivers, and {why:?}");
        }
    }

    fn requirements() -> PaymentRequirements {
        let extra = json!({ "name": "USD Coin", "version": "2" });
        PaymentRequirements {
            scheme: "exact".into(),
            network: "eip155:31337".into(),
            amount: "10000".into(),
            asset: ADDRESS.into(),
            pay_to: ADDRESS.into(),
            max_timeout_seconds: 60,
            extra: extra.as_object().cloned(),
            unknown: Map::new(),
        }
    }

    fn payment() -> Value {
        json!({
            "x402Version": 2, "accepted": requirements(),
            "payload": {
                "signature": format!("0x{}", "11".repeat(65)),
                "authorization": {
                    "from": ADDRESS, "to": ADDRESS, "value": "10000", "validAfter": "0", "validBefore": "4000000000",
                    "nonce": format!("0x{}", "22".repeat(32)),
                },
            },
        })
    }

    async fn call(refusal: Option<SettleRefusal>, payment: Option<Value>) -> Value {
        let till: Arc<dyn Till> = Arc::new(Drawer(Mutex::new(refusal)));
        let mut shop = Shop::default();
        let tool = PaidTool {
            name: "hello".into(),
            description: "Says hello.".into(),
            body: CONTENT.into(),
            requirements: requirements(),
            release: Release::default(),
        };
        shop.add(&[tool], &till).unwrap();
        serde_json::to_value(shop.find("hello").unwrap().call(JsonObject::new(), payment).await).unwrap()
    }

    #[tokio::test]
    async fn a_settlement_that_failed_gives_the_error_and_never_the_content() {
        let failed = SettleResponse::failed(Reason::InvalidPayload, "no money", None, "", "eip155:31337");
        let result = call(Some(SettleRefusal::Failed(Box::new(failed))), Some(payment())).await;
        assert!(result["isError"] == true && !result.to_string().contains(CONTENT), "{result}");
        let said = &result["structuredContent"];
        assert_eq!((said["x402Version"].as_u64(), said["accepts"].as_array().map(Vec::len)), (Some(2), Some(1)));
        assert_eq!(said["x402/payment-response"]["success"], false);
        assert_eq!(result["_meta"][RECEIPT]["success"], false);
    }

    /// A demand would make the payer sign again, for what may be paid already.
    #[tokio::test]
    async fn what_is_not_known_is_no_demand() {
        let refusals = [
            SettleRefusal::Unknown { message: "the chain does not answer".into() },
            SettleRefusal::Unknown { message: String::new() },
        ];
        for refusal in refusals {
            let result = call(Some(refusal), Some(payment())).await;
            assert!(result["isError"] == true && !result.to_string().contains(CONTENT), "{result}");
            assert_eq!(result["structuredContent"]["code"], "outcome_unknown");
            assert!(result["structuredContent"].get("accepts").is_none(), "{result}");
        }
    }

    #[tokio::test]
    async fn what_is_paid_comes_with_its_receipt() {
        let met = call(None, None).await;
        assert!(met["isError"] == true && met["structuredContent"]["accepts"].is_array(), "{met}");
        let result = call(None, Some(payment())).await;
        assert_eq!(result["structuredContent"], json!({ "content": CONTENT, "served": 1 }));
        assert_eq!(result["_meta"][RECEIPT]["transaction"], "0x01");
    }
}
