//! Skills that cost something, behind the paywall that stands before priced routes: what is claimed, run, settled and
//! booked, and when, is decided there and nowhere else. A task adds that it is paid once ([`Books::of_order`]).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::error::EngineError;
use engine::order::Ordered;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use ledger::id::IdempotencyKey;
use ledger::rejection::RejectionCode;
use mandates::json::Object;
use paywall::{Address, PaywallLayer, Price, PriceError, Repeat, StoredAnswer, StoredBody, Till};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use x402::wire::{
    PAYMENT_RESPONSE, PAYMENT_SIGNATURE, PaymentRequired, ResourceInfo, SettleResponse, X_PAYMENT, X_PAYMENT_RESPONSE,
    read_header, v1,
};

use super::call::Activated;
use super::key;
use super::task::{State, Told};
use crate::limits::BODY_BYTES_MAX;
use crate::mcp::sold::PaidTool;
use crate::paid::Selling;
use crate::problem::ok;
use crate::till::Books;

/// Everything that is sold here, by name.
#[derive(Default)]
pub struct Shop(BTreeMap<String, Skill>);

/// One skill of the agent.
pub struct Skill {
    pub(super) tool: PaidTool,
    pub(super) books: Books,
    demand: PaymentRequired,
    /// Of protocol version 1, where it has a name for the network.
    older_demand: Option<v1::PaymentRequired>,
    price: Price,
    runs: Arc<AtomicU64>,
}

/// Why a payment did not buy.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub code: String,
    pub detail: String,
    pub receipt: Option<Value>,
    /// The same payment may still be good: whoever signed it signs no other.
    pub is_pending: bool,
}

/// What presenting a payment came to, as the paywall says.
pub(super) enum Presented {
    Bought(Value),
    Refused(Refused),
}

impl Shop {
    /// Puts a skill up for sale, paid into these books.
    pub fn add(&mut self, tool: PaidTool, books: &Books, selling: &Selling<'_>) -> Result<(), PriceError> {
        let mut resource = ResourceInfo::new(format!("{}{}#{}", selling.public_url, super::door::PATH, tool.name));
        resource.description = Some(tool.description.clone());
        resource.mime_type = Some("application/json".into());
        let accepts = vec![tool.requirements.clone()];
        let demand = PaymentRequired::new(resource.clone(), accepts.clone(), Some("payment_required".into()));
        let of_version_one = |offer| v1::PaymentRequirements::of(offer, &resource, selling.names);
        let offers: Vec<_> = accepts.iter().filter_map(of_version_one).collect();
        let older_demand = (!offers.is_empty()).then(|| v1::PaymentRequired {
            x402_version: v1::X402_VERSION,
            error: demand.error.clone().map(Value::String),
            accepts: offers,
            unknown: Object::new(),
        });
        // It reads a text: a replica that takes over may give it again.
        let price = Price::new(resource.url.clone(), accepts, resource, Address::Fixed, Repeat::Idempotent)?;
        let price =
            price.with_names(selling.names.clone()).with_assets(selling.assets.clone()).with_release(tool.release);
        let skill =
            Skill { demand, older_demand, price, books: books.clone(), runs: Arc::default(), tool: tool.clone() };
        self.0.insert(tool.name, skill);
        Ok(())
    }

    pub fn skills(&self) -> impl Iterator<Item = &Skill> {
        self.0.values()
    }

    pub fn find(&self, name: &str) -> Option<&Skill> {
        self.0.get(name)
    }

    /// The one that is meant where nothing is said.
    pub(super) fn only(&self) -> Option<&Skill> {
        match self.0.len() {
            1 => self.0.values().next(),
            _ => None,
        }
    }
}

impl Skill {
    /// What became of an order of this skill, as the books have it.
    pub(super) async fn paid(&self, order: &IdempotencyKey) -> Result<Option<Ordered>, EngineError> {
        self.books.order(order, &self.tool.release).await
    }

    /// As it stands in the card.
    pub(super) fn listing(&self) -> Value {
        let requirements = &self.tool.requirements;
        let price = format!("{} units of {} on {}", requirements.amount, requirements.asset, requirements.network);
        json!({
            "id": self.tool.name, "name": self.tool.name,
            "description": format!("{} Costs {price}, over x402.", self.tool.description),
            "tags": ["x402"], "examples": [self.tool.name],
        })
    }

    /// What has to be paid, in the version that the client's packages read.
    pub(super) fn demand(&self, activated: Activated) -> Value {
        let demand = match &self.older_demand {
            Some(older) if activated.v0_1 && !activated.v0_2 => serde_json::to_value(older),
            _ => serde_json::to_value(&self.demand),
        };
        demand.unwrap_or_default()
    }

    /// Shows the payment of a task to the paywall.
    pub(super) async fn present(&self, order: &IdempotencyKey, payload: &Object) -> Presented {
        let header = match payload.get("x402Version").and_then(Value::as_u64) {
            Some(v1::X402_VERSION) => X_PAYMENT,
            _ => PAYMENT_SIGNATURE,
        };
        let payment = STANDARD.encode(Value::Object(payload.clone()).to_string());
        let request = Request::builder().method(Method::POST).uri(super::door::PATH).header(header, payment);
        // The order in the body makes it part of what the payment is for.
        let Ok(request) = request.body(Body::from(order.as_str().to_owned())) else {
            let detail = "a payment that fits into a header was expected".into();
            return Presented::Refused(Refused {
                code: "invalid_payload".into(),
                detail,
                receipt: None,
                is_pending: false,
            });
        };
        let (body, runs): (Arc<str>, _) = (self.tool.body.as_str().into(), self.runs.clone());
        let handler = service_fn(move |_: Request<Body>| {
            let served = runs.fetch_add(1, Ordering::SeqCst).saturating_add(1);
            let answer = ok(json!({ "content": &*body, "served": served }));
            async move { Ok::<_, Infallible>(answer) }
        });
        let till: Arc<dyn Till> = Arc::new(self.books.of_order(order.clone()));
        let service = PaywallLayer::new(till, self.price.clone()).layer(handler);
        match service.oneshot(request).await {
            Ok(response) => presented(response).await,
            Err(never) => match never {},
        }
    }
}

async fn presented(response: Response<Body>) -> Presented {
    let (parts, body) = response.into_parts();
    let read = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let body: Value = read.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    if parts.status.is_success() {
        return Presented::Bought(body);
    }
    let said = |names: [&str; 2]| names.iter().find_map(|name| body[*name].as_str()).unwrap_or_default().to_owned();
    Presented::Refused(Refused {
        code: said(["code", "error"]),
        detail: said(["detail", "message"]),
        receipt: receipt(&parts.headers),
        // Other refusals of a payment are 4xx and final.
        is_pending: parts.status.is_server_error() || parts.status == StatusCode::CONFLICT,
    })
}

fn receipt(headers: &HeaderMap) -> Option<Value> {
    let header = headers.get(PAYMENT_RESPONSE).or_else(|| headers.get(X_PAYMENT_RESPONSE))?;
    let receipt: SettleResponse = read_header(header.as_bytes()).ok()?;
    serde_json::to_value(receipt).ok()
}

/// What the book says of a task that a payment was claimed for. `fresh` is the answer that was just bought.
pub(super) fn told(ordered: Ordered, fresh: Option<Value>) -> Told {
    match ordered {
        Ordered::Paid { answer, response } => {
            let told = Told::new(State::Completed, "Paid, and delivered.")
                .with(key::STATUS, "payment-completed")
                .with(key::RECEIPTS, receipts(serde_json::to_value(response).ok()));
            match fresh.or_else(|| stored(&answer)) {
                Some(content) => Told { artifacts: vec![("result", content)], ..told },
                None => Told {
                    text: "Paid and delivered; too long to be kept. Present the same payment again.".into(),
                    ..told
                },
            }
        }
        Ordered::Owed { answer } => {
            let told = Told::new(State::Completed, "Delivered; its payment is being settled. Sign no other.")
                .with(key::STATUS, "payment-verified")
                .with(key::RECEIPTS, receipts(None));
            let content = fresh.or_else(|| stored(&answer));
            Told { artifacts: content.into_iter().map(|content| ("result", content)).collect(), ..told }
        }
        Ordered::Undelivered(response) => {
            let text = "Paid, and not delivered. The same payment presented again has it tried again.";
            Told::new(State::InputRequired, text)
                .with(key::STATUS, "payment-completed")
                .with(key::RECEIPTS, receipts(serde_json::to_value(response).ok()))
        }
        Ordered::UnderWay => Told::new(State::Working, "The payment is being settled. Sign no other.")
            .with(key::STATUS, "payment-verified")
            .with(key::RECEIPTS, receipts(None)),
        Ordered::Failed(response) => Told::new(State::Failed, "The payment moved nothing and never will.")
            .with(key::STATUS, "payment-failed")
            .with(key::ERROR, "SETTLEMENT_FAILED")
            .with(key::RECEIPTS, receipts(serde_json::to_value(response).ok())),
        Ordered::Returned => {
            let text = "The payment was given back before it was settled. It may be presented again, and no other.";
            Told::new(State::InputRequired, text)
                .with(key::STATUS, "payment-failed")
                .with(key::ERROR, "SETTLEMENT_FAILED")
                .with(key::RECEIPTS, receipts(None))
        }
    }
}

pub(super) fn receipts(receipt: Option<Value>) -> Value {
    Value::Array(receipt.into_iter().collect())
}

fn stored(answer: &[u8]) -> Option<Value> {
    match StoredAnswer::from_bytes(answer).ok()?.body {
        StoredBody::Whole(bytes) => serde_json::from_slice(&bytes).ok(),
        StoredBody::TooLarge { .. } => None,
    }
}

impl Refused {
    pub fn is_for_paid_order(&self) -> bool {
        self.code == RejectionCode::OrderHasPayment.as_str()
    }

    /// The extension's own word for it (`a2a-x402` v0.2 section 9.1), where it has one; the exact code is in the receipt.
    pub fn short(&self) -> &str {
        let code = self.code.as_str();
        let has = |word: &str| code.contains(word);
        match code {
            _ if has("insufficient") => "INSUFFICIENT_FUNDS",
            _ if has("valid_before") || has("deadline") => "EXPIRED_PAYMENT",
            _ if has("nonce") => "DUPLICATE_NONCE",
            _ if has("network") => "NETWORK_MISMATCH",
            _ if has("value") || has("amount") => "INVALID_AMOUNT",
            _ if has("signature") => "INVALID_SIGNATURE",
            "settlement_failed" => "SETTLEMENT_FAILED",
            other => other,
        }
    }

    /// With a receipt of the failure even where nothing got as far as a settlement: the extension wants one.
    pub fn receipt(&self, network: &str) -> Value {
        self.receipt.clone().unwrap_or_else(|| {
            let said = (self.code.as_str(), self.detail.as_str());
            json!({ "success": false, "errorReason": said.0, "errorMessage": said.1, "transaction": "", "network": network })
        })
    }
}
