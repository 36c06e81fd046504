//! The outbox, for those who poll it: what happened in a tenant's book, as CloudEvents 1.0 in their JSON format.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use engine::error::EngineError;
use ledger::event::Event;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::App;
use crate::books::may_read;
use crate::call::Caller;
use crate::problem::{Problem, ok, shown};

const PAGE_MAX: u32 = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Option<u32>,
}

#[utoipa::path(get, path = "/v1/events", tag = "events",
    description = "What happened, oldest first, after the event whose id is the cursor. `cursor` of the answer goes on from its end, also when nothing came. An event is durable with what it tells of, and is given again to whoever asks again.",
    params(("cursor" = Option<String>, Query, description = "The id of an event"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500)),
    responses((status = 200), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub async fn list(
    State(app): State<App>,
    Caller(identity): Caller,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    may_read(&identity)?;
    let Query(page) = page.map_err(|error| Problem::invalid("query", shown(&error.body_text())))?;
    let limit = match page.limit.unwrap_or(PAGE_MAX) {
        limit @ 1..=PAGE_MAX => limit,
        other => return Err(Problem::invalid("limit", format!("1 to {PAGE_MAX} was expected, {other} came"))),
    };
    let after = page.cursor.as_deref().map(place).transpose()?;
    let events = app.engine.store.events(&identity.tenant, after, limit).await.map_err(EngineError::from)?;
    let source = app.engine.tenant(&identity.tenant)?.issuer.clone();
    let cursor = events.last().map(id).or(page.cursor);
    let events: Vec<Value> = events.iter().map(|event| to_json(event, &source)).collect();
    Ok(ok(json!({ "events": events, "cursor": cursor })))
}

/// The record, and the place among its events.
fn id(event: &Event) -> String {
    format!("{}-{}", event.seq, event.number)
}

fn place(cursor: &str) -> Result<(u64, u16), Problem> {
    let parts = cursor.split_once('-').and_then(|(seq, number)| Some((seq.parse().ok()?, number.parse().ok()?)));
    // `+1` is a number to the parser and no id of ours.
    let parts = parts.filter(|(seq, number)| format!("{seq}-{number}") == cursor);
    parts.ok_or_else(|| Problem::invalid("cursor", format!("the id of an event was expected, {} came", shown(cursor))))
}

fn to_json(event: &Event, source: &str) -> Value {
    let time = OffsetDateTime::from_unix_timestamp(event.at.seconds()).ok();
    let time = time.and_then(|time| time.format(&Rfc3339).ok());
    json!({
        "specversion": "1.0", "id": id(event), "source": source, "type": event.kind.as_str(),
        "subject": event.subject, "time": time, "data": { "mandate": event.mandate, "record": event.seq },
    })
}
