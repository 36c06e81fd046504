//! Server-sent events (HTML Living Standard, section 9.2): that something changed, and nothing of what. The page asks for
//! itself again.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use engine::error::EngineError;
use engine::oversight::Seat;
use futures_util::stream::{Stream, unfold};
use ledger::codec::encode;
use ledger::id::Digest;

use super::Seated;
use crate::App;
use crate::events::Place;
use crate::problem::Problem;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// After so many looks a browser comes again, with its session: one that ended learns nothing more.
const LOOKS: u32 = 20;
const WAITING: u32 = 50;

pub(super) async fn stream(State(app): State<App>, seated: Seated) -> Result<Response, Problem> {
    let place = Place::take(seated.seat.own())?;
    let mut response = Sse::new(changes(app, seated.seat, place)).into_response();
    let no_store = http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(http::header::CACHE_CONTROL, no_store);
    Ok(response)
}

struct Watched {
    app: App,
    seat: Seat,
    last: Option<Digest>,
    looks: u32,
    _place: Place,
}

fn changes(app: App, seat: Seat, place: Place) -> impl Stream<Item = Result<Event, Infallible>> {
    let first = Watched { app, seat, last: None, looks: 0, _place: place };
    unfold(first, |mut watched| async move {
        if watched.looks > 0 {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = watched.app.settings.stopping() => return None,
            }
        }
        watched.looks += 1;
        if watched.looks > LOOKS {
            return None;
        }
        // A look that failed is the page's to tell, when it asks for itself.
        let now = mark(&watched.app, &watched.seat).await.ok();
        let has_changed = watched.looks > 1 && now != watched.last;
        watched.last = now;
        let event = match has_changed {
            true => Event::default().event("changed").data("1"),
            false => Event::default().comment("nothing"),
        };
        Some((Ok(event), watched))
    })
}

/// A digest of what whoever sits there sees change, of nothing else.
async fn mark(app: &App, seat: &Seat) -> Result<Digest, EngineError> {
    let mut parts = Vec::new();
    if let Some((budget, _)) = app.engine.person_figures(seat, None).await? {
        parts.push(encode(&budget));
    }
    for gate in app.engine.stops_seen(seat).await? {
        parts.push(encode(&gate));
    }
    for question in app.engine.waiting(seat, WAITING).await? {
        parts.push(encode(&question));
    }
    if seat.sees_all() {
        parts.push(app.engine.store.head(&seat.own().tenant).await?.1.0.to_vec());
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Ok(Digest::of_parts("purser/console-live/1", &parts))
}
