//! The outbox: what happened in a tenant's book, as CloudEvents 1.0 in their JSON format, for those who poll it and for those
//! who keep a connection open.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use engine::Identity;
use engine::error::EngineError;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use ledger::event::Event;
use ledger::id::{PrincipalId, TenantId};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::App;
use crate::books::may_read;
use crate::call::Caller;
use crate::paging::{List, Paging};
use crate::problem::{Problem, ok};

/// Of the shape below. What is added does not change it.
const VERSION: &str = "1";
/// Between two looks of a stream.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A stream ends then, and its caller is asked anew who they are.
const STREAM_FOR: Duration = Duration::from_secs(300);
const STREAMS_PER_CALLER_MAX: usize = 4;
const STREAMS_MAX: usize = 64;
const PAGE: u32 = 100;

#[utoipa::path(get, path = "/v1/events", tag = "events",
    description = "What happened, oldest first, after the cursor. `cursor` of the answer goes on from its end, also when nothing came. An event is durable with what it tells of, and is given again to whoever asks again. With `Accept: text/event-stream` it is a stream of what happens from then on, or after `Last-Event-ID` or the cursor; it ends after five minutes at most.",
    params(("cursor" = Option<String>, Query),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500)),
    responses((status = 200, body = crate::schema::answers::Events), (status = 400), (status = 401), (status = 403), (status = 429), (status = 503)))]
pub async fn list(
    State(app): State<App>,
    Caller(identity): Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    may_read(&identity)?;
    let paging = Paging::read(List::Events, query.as_deref())?;
    let source = app.engine.tenant(&identity.tenant)?.issuer.clone();
    if wants_stream(&headers) {
        return stream(app, identity, &headers, paging.event()?, source).await;
    }
    let events = app.engine.store.events(&identity.tenant, paging.event()?, paging.limit).await;
    let events = events.map_err(EngineError::from)?;
    let end = events.last().map(|last| (last.seq, last.number)).or(paging.event()?);
    let cursor = end.map(|(seq, number)| paging.cursor(format!("{seq}-{number}")));
    let events: Vec<Value> = events.iter().map(|event| document(event, &source)).collect();
    Ok(ok(json!({ "events": events, "cursor": cursor })))
}

/// The record, and the place among its events.
fn id(event: &Event) -> String {
    format!("{}-{}", event.seq, event.number)
}

/// An event as others read it; `source` is the issuer in whose book it happened.
pub fn document(event: &Event, source: &str) -> Value {
    let time = OffsetDateTime::from_unix_timestamp(event.at.seconds()).ok();
    let time = time.and_then(|time| time.format(&Rfc3339).ok());
    json!({
        "specversion": "1.0", "id": id(event), "source": source, "type": event.kind.as_str(), "apiversion": VERSION,
        "subject": event.subject, "time": time, "data": { "mandate": event.mandate, "record": event.seq },
    })
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepts.flat_map(|value| value.split(',')).filter_map(|one| one.split(';').next());
    types.any(|one| one.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Who has how many streams open in this process.
static OPEN: Mutex<BTreeMap<(TenantId, PrincipalId), usize>> = Mutex::new(BTreeMap::new());

/// A place among the streams; given back when the stream goes, however it goes.
pub(crate) struct Place((TenantId, PrincipalId));

impl Place {
    pub(crate) fn take(identity: &Identity) -> Result<Self, Problem> {
        let caller = (identity.tenant.clone(), identity.caller.principal.clone());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (open.values().sum::<usize>(), open.get(&caller).copied().unwrap_or_default());
        if all >= STREAMS_MAX || own >= STREAMS_PER_CALLER_MAX {
            let detail = format!(
                "{STREAMS_PER_CALLER_MAX} streams a caller and {STREAMS_MAX} in all were expected at most, {own} and {all} are open"
            );
            let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail);
            problem.retryable = true;
            problem.values.insert("retry_after".to_owned(), 5.into());
            return Err(problem);
        }
        *open.entry(caller.clone()).or_default() = own.saturating_add(1);
        Ok(Self(caller))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.0) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            _ => drop(open.remove(&self.0)),
        }
    }
}

struct Following {
    app: App,
    tenant: TenantId,
    source: String,
    last: Option<(u64, u16)>,
    waiting: VecDeque<Event>,
    until: Instant,
    _place: Place,
}

async fn stream(
    app: App,
    identity: Identity,
    headers: &HeaderMap,
    cursor: Option<(u64, u16)>,
    source: String,
) -> Result<Response, Problem> {
    let last = match (headers.get("last-event-id"), cursor) {
        (Some(id), _) => Some(last_event(id.to_str().unwrap_or_default())?),
        (None, Some(cursor)) => Some(cursor),
        (None, None) => {
            let (size, _) = app.engine.store.head(&identity.tenant).await.map_err(EngineError::from)?;
            size.checked_sub(1).map(|last| (last, u16::MAX))
        }
    };
    let following = Following {
        tenant: identity.tenant.clone(),
        source,
        last,
        waiting: VecDeque::new(),
        until: Instant::now() + STREAM_FOR,
        _place: Place::take(&identity)?,
        app,
    };
    let events = stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        let told = sse::Event::default()
            .id(id(&event))
            .event(event.kind.as_str())
            .data(document(&event, &following.source).to_string());
        Some((Ok::<_, Infallible>(told), following))
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// As a browser gives back what it was given.
fn last_event(text: &str) -> Result<(u64, u16), Problem> {
    let read = || {
        let (seq, number) = text.split_once('-')?;
        let (seq, number): (u64, u16) = (seq.parse().ok()?, number.parse().ok()?);
        (format!("{seq}-{number}") == text).then_some((seq, number))
    };
    let detail = || format!("the id of an event was expected, {} came", crate::problem::shown(text));
    read().ok_or_else(|| Problem::invalid("Last-Event-ID", detail()))
}

impl Following {
    /// The next one, when it happens. Nothing where the stream is over, or the book cannot be read: then whoever listens comes
    /// again, and goes on after the last one that they have.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.last = Some((event.seq, event.number));
                return Some(event);
            }
            self.waiting = self.app.engine.store.events(&self.tenant, self.last, PAGE).await.ok()?.into();
            if !self.waiting.is_empty() {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = tokio::time::sleep_until(self.until) => return None,
                () = self.app.settings.stopping() => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_not_given_is_refused() {
        for wrong in ["", "1", "1-", "-1", "1-65536", "+1-0", "01-0", "1-0-0", "e1-0", "1 - 0"] {
            assert!(last_event(wrong).is_err(), "{wrong}");
        }
        assert_eq!(last_event("12-3").ok(), Some((12, 3)));
    }

    #[test]
    fn a_stream_is_what_is_asked_for_as_one() {
        let asks = |text: &str| wants_stream(&HeaderMap::from_iter([(header::ACCEPT, text.parse().unwrap())]));
        for no in ["application/json", "*/*", "text/*", "text/event-streams", ""] {
            assert!(!asks(no), "{no}");
        }
        assert!(asks("text/event-stream") && asks("application/json;q=0.5, Text/Event-Stream;q=1"));
        assert!(!wants_stream(&HeaderMap::new()));
    }
}
