//! A shop to try things in, for UCP's own conformance suite (Universal-Commerce-Protocol/conformance at fdced3a), which
//! speaks UCP 2026-01-11: the same sessions, with what that version has otherwise, under a path of its own.
//!
//! `success_token` is money here, so this is for the devnet alone; `serve` refuses it anywhere else. What the suite wants
//! and no shop should do is not done: no handler is advertised that there is none of (`google_pay`, `shop_pay`), a card's
//! number is not taken, and a mandate that is none completes nothing.

mod customers;
mod orders;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use commerce::checkout::{Change, Protocol, Refusal};
use commerce::ucp::negotiate::Active;
use commerce::ucp::{CHECKOUT, DISCOUNT, FULFILMENT, read};
use engine::checkout::{Call, Operation, Presented, Redemption, Reply, Tokens};
use engine::ports::Relayed;
use http::Method;
use http::request::Parts;
use ledger::id::Digest;
use mandates::json::Object;
use serde_json::{Value, json};

use self::customers::Customers;
use self::orders::Orders;
use super::{Doors, IDEMPOTENCY_KEY, address, answer, key, name, said};
use crate::call::{bytes, only, parse_object};

pub const PATH: &str = "/sandbox/ucp";
const VERSION: &str = "2026-01-11";
const HANDLER: &str = "mock_payment_handler";

/// What a dev service has beside its shop.
#[derive(Clone)]
pub struct Sandbox {
    /// Whoever says so may simulate that an order was sent.
    pub secret: String,
    orders: Arc<Mutex<Orders>>,
    customers: Arc<Mutex<Customers>>,
}

impl Sandbox {
    pub fn new(secret: String) -> Self {
        Self { secret, orders: Arc::default(), customers: Arc::default() }
    }
}

/// Play money.
pub struct PlayMoney;

#[async_trait]
impl Tokens for PlayMoney {
    fn knows(&self, handler: &str) -> bool {
        handler == HANDLER
    }

    async fn redeem(&self, redemption: &Redemption<'_>) -> Relayed<Result<(), String>> {
        Relayed::Answer(match redemption.token {
            "success_token" => Ok(()),
            "fail_token" => Err("The sandbox declined: fail_token.".to_owned()),
            _ => Err("The sandbox takes success_token alone.".to_owned()),
        })
    }

    /// Play money leaves no trace.
    async fn has_paid(&self, _: &str) -> Relayed<bool> {
        Relayed::Answer(false)
    }
}

#[derive(Clone)]
struct Sand {
    doors: Doors,
    sandbox: Sandbox,
}

pub(super) fn routes(doors: Doors, sandbox: Sandbox) -> Router {
    let at = |path: &str| format!("{PATH}{path}");
    Router::new()
        .route(&at("/.well-known/ucp"), get(profile))
        .route(&at("/checkout-sessions"), post(open))
        .route(&at("/checkout-sessions/{id}"), get(show).put(change))
        .route(&at("/checkout-sessions/{id}/complete"), post(complete))
        .route(&at("/checkout-sessions/{id}/cancel"), post(cancel))
        .route(&at("/orders/{id}"), get(orders::show).put(orders::change))
        .route(&at("/testing/simulate-shipping/{id}"), post(orders::ship))
        .with_state(Sand { doors, sandbox })
}

fn capabilities() -> Value {
    let names = ["checkout", "fulfillment", "discount", "order", "buyer_consent"];
    let one = |name: &str| {
        let mut one = json!({ "name": format!("dev.ucp.shopping.{name}"), "version": VERSION,
            "spec": format!("https://ucp.dev/specification/{}", name.replace('_', "-")),
            "schema": format!("https://ucp.dev/schemas/shopping/{name}.json") });
        if !["checkout", "order"].contains(&name) {
            one["extends"] = CHECKOUT.into();
        }
        one
    };
    names.iter().map(|name| one(name)).collect()
}

fn handlers(url: &str) -> Value {
    json!([{ "id": HANDLER, "name": "dev.purser.sandbox", "version": VERSION, "spec": format!("{url}/docs"),
        "config_schema": format!("{url}/openapi.json"), "instrument_schemas": [format!("{url}/openapi.json")],
        "config": { "sandbox": true } }])
}

async fn profile(State(sand): State<Sand>) -> Response {
    let url = &sand.doors.app.settings.public_url;
    let body = json!({
        "ucp": {
            "version": VERSION,
            "services": { "dev.ucp.shopping": { "version": VERSION, "spec": "https://ucp.dev/specification/overview",
                "rest": { "schema": "https://ucp.dev/services/shopping/openapi.json", "endpoint": format!("{url}{PATH}") } } },
            "capabilities": capabilities(),
        },
        "payment": { "handlers": handlers(url) },
    });
    answer(&http::HeaderMap::new(), said(200, body))
}

fn refused(status: u16, detail: &str) -> Reply {
    said(status, json!({ "detail": detail, "code": "invalid", "content": detail }))
}

struct Received {
    parts: Parts,
    call: Call,
    body: Object,
}

async fn received(sand: &Sand, request: Request) -> Result<Received, (Parts, Reply)> {
    let (parts, body) = request.into_parts();
    let turned_away = |reply: Reply| (parts.clone(), reply);
    let agent = only(&parts, "ucp-agent").ok().flatten().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let version = agent.unwrap_or_default().split(';').filter_map(|one| one.trim().strip_prefix("version=")).next();
    if let Some(version) = version
        && version.trim_matches('"') != VERSION
    {
        return Err(turned_away(refused(400, &format!("UCP {VERSION} was expected, {version} came"))));
    }
    let named = name(&parts.headers, &IDEMPOTENCY_KEY).map_err(|why| turned_away(refused(400, &why)))?;
    let body = bytes(Request::from_parts(parts.clone(), body), &sand.doors.app).await;
    let body = body.map_err(|problem| turned_away(refused(problem.status.as_u16(), &problem.detail)))?;
    let object = match body.is_empty() {
        true => Object::new(),
        false => parse_object(&body).map_err(|problem| turned_away(refused(422, &problem.detail)))?,
    };
    let call = Call {
        tenant: sand.doors.setup.tenant.clone(),
        protocol: Protocol::Ucp,
        owner: "sandbox".to_owned(),
        opener: address(&parts),
        key: named.filter(|_| parts.method != Method::GET).map(|text| key(&parts, text, Digest::of(&body))),
    };
    Ok(Received { parts, call, body: object })
}

/// What is not said is kept, in that version.
fn kept(body: &Object) -> Result<Change, Refusal> {
    let mut change = read::change(body)?;
    if !body.contains_key("buyer") {
        change.buyer = None;
    }
    if !body.contains_key("discounts") {
        change.codes = None;
    }
    let method = body.get("fulfillment").and_then(|fulfilment| fulfilment.get("methods")).and_then(|list| list.get(0));
    let has = |name: &str| method.is_some_and(|method| method.get(name).is_some_and(|value| !value.is_null()));
    if !has("destinations") {
        change.destinations = None;
    }
    if !has("selected_destination_id") && !has("destinations") {
        change.destination = None;
    }
    if !has("groups") {
        change.option = None;
    }
    Ok(change)
}

async fn act(sand: &Sand, received: &Received, operation: Result<Operation, Refusal>) -> Reply {
    let operation = match operation {
        Ok(operation) => operation,
        Err(refusal) => return refused(400, &refusal.message),
    };
    match sand.doors.app.engine.checkout(&received.call, &operation).await {
        Ok(reply) => older(sand, reply),
        Err(error) => {
            let problem = crate::problem::Problem::from(error);
            refused(problem.status.as_u16(), &problem.detail)
        }
    }
}

/// An answer in the shapes of that version: no outcome is hidden behind a 200, and what is taken off is above zero.
fn older(sand: &Sand, mut reply: Reply) -> Reply {
    let message = reply.body["messages"][0].clone();
    let detail = message["content"].as_str().unwrap_or_default();
    if reply.body["ucp"]["status"] == "error" {
        let status = if reply.status == 200 { 400 } else { reply.status };
        return Reply { replayed: reply.replayed, ..refused(status, detail) };
    }
    if ["out_of_stock", "quantity_exceeded"].contains(&message["code"].as_str().unwrap_or_default()) {
        return Reply { replayed: reply.replayed, ..refused(400, detail) };
    }
    let url = &sand.doors.app.settings.public_url;
    reply.body["ucp"] = json!({ "version": VERSION, "capabilities": capabilities() });
    reply.body["payment"] = json!({ "handlers": handlers(url), "instruments": [] });
    for entry in reply.body["totals"].as_array_mut().into_iter().flatten() {
        if let Some(amount) = entry["amount"].as_i64() {
            entry["amount"] = amount.unsigned_abs().into();
        }
    }
    reply
}

macro_rules! received {
    ($sand:expr, $request:expr) => {
        match received($sand, $request).await {
            Ok(received) => received,
            Err((parts, reply)) => return answer(&parts.headers, reply),
        }
    };
}

async fn open(State(sand): State<Sand>, request: Request) -> Response {
    let received = received!(&sand, request);
    let active = Active::of([CHECKOUT, FULFILMENT, DISCOUNT]);
    let change = read::change(&received.body).map(|change| sand.customers_of(None, &received.body, change));
    let reply = act(&sand, &received, change.map(|change| Operation::Open { change, active })).await;
    answer(&received.parts.headers, reply)
}

async fn show(State(sand): State<Sand>, Path(id): Path<String>, request: Request) -> Response {
    let received = received!(&sand, request);
    let reply = act(&sand, &received, Ok(Operation::Show { id })).await;
    answer(&received.parts.headers, reply)
}

async fn change(State(sand): State<Sand>, Path(id): Path<String>, request: Request) -> Response {
    let received = received!(&sand, request);
    let before = Received {
        parts: received.parts.clone(),
        call: Call { key: None, ..received.call.clone() },
        body: Object::new(),
    };
    let before = act(&sand, &before, Ok(Operation::Show { id: id.clone() })).await.body;
    let change = kept(&received.body).map(|change| sand.customers_of(Some(&before), &received.body, change));
    let reply = act(&sand, &received, change.map(|change| Operation::Change { id, change })).await;
    answer(&received.parts.headers, reply)
}

async fn cancel(State(sand): State<Sand>, Path(id): Path<String>, request: Request) -> Response {
    let received = received!(&sand, request);
    let reply = act(&sand, &received, Ok(Operation::Cancel { id })).await;
    answer(&received.parts.headers, reply)
}

/// `payment_data` is the instrument itself, in that version.
async fn complete(State(sand): State<Sand>, Path(id): Path<String>, request: Request) -> Response {
    let received = received!(&sand, request);
    if received.body.get("ap2").is_some_and(|ap2| !ap2.is_null()) {
        let detail = "AP2 was not negotiated here: mandates are verified at the shop's own UCP face, of 2026-04-08";
        return answer(&received.parts.headers, refused(400, detail));
    }
    let data = received.body.get("payment_data").cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (handler, token) = (text(&data["handler_id"]), text(&data["credential"]["token"]));
    let presented = Presented { handler, token, checkout_mandate: None };
    let reply = act(&sand, &received, Ok(Operation::Complete { id, presented })).await;
    if reply.status == 200 && reply.body["status"] == "completed" && !reply.replayed {
        orders::placed(&sand, &reply.body, &received.parts).await;
    }
    answer(&received.parts.headers, reply)
}
