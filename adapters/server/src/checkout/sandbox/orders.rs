//! Orders of the sandbox, in memory, and the events that a platform is told of (UCP 2026-01-11, `order.json`).

use std::collections::BTreeMap;
use std::sync::PoisonError;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::request::Parts;
use ledger::id::Digest;
use serde_json::{Value, json};

use super::super::{answer, said, ucp};
use super::{Sand, VERSION, capabilities, refused};
use crate::call::{bytes, only, parse_object};

/// By id: the order, and where its platform is told.
#[derive(Default)]
pub(super) struct Orders(BTreeMap<String, (Value, Option<String>)>);

/// As many are remembered.
const ORDERS_MAX: usize = 10_000;

fn order(checkout: &Value) -> Value {
    let line = |line: &Value| {
        json!({ "id": line["id"], "item": line["item"], "totals": line["totals"], "status": "processing",
            "quantity": { "total": line["quantity"], "fulfilled": 0 } })
    };
    let lines: Vec<Value> = checkout["line_items"].as_array().into_iter().flatten().map(line).collect();
    let method = &checkout["fulfillment"]["methods"][0];
    let group = &method["groups"][0];
    let chosen = |list: &Value, id: &Value| list.as_array().into_iter().flatten().find(|one| one["id"] == *id).cloned();
    let option = chosen(&group["options"], &group["selected_option_id"]);
    let place = chosen(&method["destinations"], &method["selected_destination_id"]);
    let items: Vec<Value> = checkout["line_items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| json!({ "id": line["id"], "quantity": line["quantity"] }))
        .collect();
    let expectations: Vec<Value> = option
        .into_iter()
        .map(|option| {
            json!({ "id": "expectation_1", "line_items": items, "method_type": "shipping",
            "destination": place.clone().unwrap_or_else(|| json!({})), "description": option["title"] })
        })
        .collect();
    json!({
        "ucp": { "version": VERSION, "capabilities": capabilities() },
        "id": checkout["order"]["id"], "checkout_id": checkout["id"], "permalink_url": checkout["order"]["permalink_url"],
        "line_items": lines, "fulfillment": { "expectations": expectations, "events": [] }, "adjustments": [],
        "totals": checkout["totals"],
    })
}

/// An order of a checkout that was completed just now.
pub(super) async fn placed(sand: &Sand, checkout: &Value, parts: &Parts) {
    let order = order(checkout);
    let Some(id) = order["id"].as_str().map(str::to_owned) else { return };
    let told = webhook(sand, parts).await;
    {
        let mut orders = sand.sandbox.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.0.len() < ORDERS_MAX {
            orders.0.insert(id, (order.clone(), told.clone()));
        }
    }
    tell(told, "order_placed", &order);
}

/// Where the platform's profile wants to be told.
async fn webhook(sand: &Sand, parts: &Parts) -> Option<String> {
    let agent = std::str::from_utf8(only(parts, "ucp-agent").ok()??).ok()?;
    let profile = sand.doors.setup.profiles.profile(&ucp::profile_url(agent)?).await.ok()?;
    let listed = profile.get("ucp")?.get("capabilities")?.as_array()?;
    let order = listed.iter().find(|one| one["name"] == "dev.ucp.shopping.order")?;
    Some(order["config"]["webhook_url"].as_str()?.to_owned())
}

/// Told once, on this machine: the sandbox is on the devnet, where nothing else is reached.
fn tell(url: Option<String>, event: &str, order: &Value) {
    let Some(url) = url.filter(|url| url.starts_with("http://localhost:") || url.starts_with("http://127.0.0.1:"))
    else {
        return;
    };
    let body = json!({ "event_type": event, "checkout_id": order["checkout_id"], "order": order });
    tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        if let Ok(client) = client
            && let Err(error) = client.post(url).json(&body).send().await
        {
            tracing::debug!("an event of the sandbox was not taken: {}", error.without_url());
        }
    });
}

pub(super) async fn show(State(sand): State<Sand>, Path(id): Path<String>) -> Response {
    let found = sand.sandbox.orders.lock().unwrap_or_else(PoisonError::into_inner).0.get(&id).cloned();
    let reply = found
        .map_or_else(|| refused(404, "an order was expected, there is none of this id"), |(order, _)| said(200, order));
    answer(&HeaderMap::new(), reply)
}

/// Events and adjustments are added to; what was ordered stays.
pub(super) async fn change(State(sand): State<Sand>, Path(id): Path<String>, request: Request) -> Response {
    let body = match bytes(request, &sand.doors.app).await.and_then(|body| parse_object(&body)) {
        Ok(body) => Value::Object(body),
        Err(problem) => return answer(&HeaderMap::new(), refused(422, &problem.detail)),
    };
    let adjustments = match &body["adjustments"] {
        Value::Null => json!([]),
        Value::Array(list)
            if list
                .iter()
                .all(|one| ["pending", "completed", "failed"].iter().any(|status| one["status"] == *status)) =>
        {
            body["adjustments"].clone()
        }
        _ => {
            let detail = "adjustments: a list, each pending, completed or failed, was expected";
            return answer(&HeaderMap::new(), refused(422, detail));
        }
    };
    let mut orders = sand.sandbox.orders.lock().unwrap_or_else(PoisonError::into_inner);
    let reply = match orders.0.get_mut(&id) {
        Some((order, _)) => {
            order["adjustments"] = adjustments;
            if body["fulfillment"]["events"].is_array() {
                order["fulfillment"]["events"] = body["fulfillment"]["events"].clone();
            }
            said(200, order.clone())
        }
        None => refused(404, "an order was expected, there is none of this id"),
    };
    answer(&HeaderMap::new(), reply)
}

pub(super) async fn ship(State(sand): State<Sand>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let secret = headers.get("simulation-secret").map(http::HeaderValue::as_bytes).unwrap_or_default();
    // Of hashes, so that the time it takes says nothing of the secret.
    if Digest::of(secret) != Digest::of(sand.sandbox.secret.as_bytes()) {
        return answer(&headers, refused(403, "the secret of the simulation was expected"));
    }
    let now = commerce::ucp::write::moment(sand.doors.app.engine.clock.now().seconds());
    let shipped = {
        let mut orders = sand.sandbox.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.0.get_mut(&id).map(|(order, told)| {
            let lines: Vec<Value> = order["line_items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|line| json!({ "id": line["id"], "quantity": line["quantity"]["total"] }))
                .collect();
            let event = json!({ "id": "event_shipped", "occurred_at": now, "type": "shipped", "line_items": lines });
            if let Value::Array(events) = &mut order["fulfillment"]["events"] {
                events.push(event);
            }
            (order.clone(), told.clone())
        })
    };
    let Some((order, told)) = shipped else {
        return answer(&headers, refused(404, "an order was expected, there is none of this id"));
    };
    tell(told, "order_shipped", &order);
    answer(&headers, said(200, json!({ "status": "shipped" })))
}
