//! The outbox, for those who poll it: what happened in a tenant's book, as CloudEvents 1.0 in their JSON format.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use engine::error::EngineError;
use ledger::event::Event;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::App;
use crate::books::may_read;
use crate::call::Caller;
use crate::paging::{List, Paging};
use crate::problem::{Problem, ok};

#[utoipa::path(get, path = "/v1/events", tag = "events",
    description = "What happened, oldest first, after the cursor. `cursor` of the answer goes on from its end, also when nothing came. An event is durable with what it tells of, and is given again to whoever asks again.",
    params(("cursor" = Option<String>, Query),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500)),
    responses((status = 200, body = crate::schema::answers::Events), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub async fn list(
    State(app): State<App>,
    Caller(identity): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    may_read(&identity)?;
    let paging = Paging::read(List::Events, query.as_deref())?;
    let events = app.engine.store.events(&identity.tenant, paging.event()?, paging.limit).await;
    let events = events.map_err(EngineError::from)?;
    let source = app.engine.tenant(&identity.tenant)?.issuer.clone();
    let end = events.last().map(|last| (last.seq, last.number)).or(paging.event()?);
    let cursor = end.map(|(seq, number)| paging.cursor(format!("{seq}-{number}")));
    let events: Vec<Value> = events.iter().map(|event| to_json(event, &source)).collect();
    Ok(ok(json!({ "events": events, "cursor": cursor })))
}

/// The record, and the place among its events.
fn id(event: &Event) -> String {
    format!("{}-{}", event.seq, event.number)
}

fn to_json(event: &Event, source: &str) -> Value {
    let time = OffsetDateTime::from_unix_timestamp(event.at.seconds()).ok();
    let time = time.and_then(|time| time.format(&Rfc3339).ok());
    json!({
        "specversion": "1.0", "id": id(event), "source": source, "type": event.kind.as_str(),
        "subject": event.subject, "time": time, "data": { "mandate": event.mandate, "record": event.seq },
    })
}
