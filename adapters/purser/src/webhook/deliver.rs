//! The rounds: each receiver that is due is told what it was not told yet, by one process at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use ledger::event::Event;
use ledger::id::{Micros, TenantId};
use ledger::store::Store as _;
use store::{Bookmark, SqlStore};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Webhook, Webhooks, message_id, pause};
use crate::fetch::Poster;

/// Between two looks at the outbox.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long whoever delivers is left alone with a receiver, from one event to the next. Longer than an attempt may take.
const IN_HAND: Duration = Duration::from_secs(20);
const PAGE: u32 = 100;

/// Tells every receiver, until the service stops.
pub(crate) async fn deliver(
    webhooks: Webhooks,
    engine: Arc<Engine>,
    store: SqlStore,
    poster: Poster,
    mut stopped: watch::Receiver<bool>,
) {
    let mut rounds = JoinSet::new();
    let mut under_way: BTreeSet<(TenantId, String)> = BTreeSet::new();
    loop {
        while let Some(ended) = rounds.try_join_next() {
            match ended {
                Ok(key) => drop(under_way.remove(&key)),
                // Nobody knows whose it was; what is begun twice, the bookmark keeps apart.
                Err(_) => under_way.clear(),
            }
        }
        for webhook in webhooks.all() {
            let key = (webhook.tenant.clone(), webhook.config.name.clone());
            if !under_way.insert(key.clone()) {
                continue;
            }
            let (engine, store, poster) = (engine.clone(), store.clone(), poster.clone());
            rounds.spawn(async move {
                if let Err(why) = round(&webhook, &engine, &store, &poster).await {
                    tracing::warn!(tenant = %webhook.tenant, webhook = webhook.config.name, "not told: {why}");
                }
                key
            });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

fn later(now: Micros, pause: Duration) -> Micros {
    let Micros(now) = now;
    Micros(now.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX)))
}

async fn round(webhook: &Webhook, engine: &Engine, store: &SqlStore, poster: &Poster) -> Result<(), String> {
    let (tenant, name) = (&webhook.tenant, webhook.config.name.as_str());
    let Some(read) = store.bookmark(tenant, name).await.map_err(say)? else {
        // A new one is told of what happens from now on.
        let (size, _) = store.head(tenant).await.map_err(say)?;
        let first = Bookmark { next: (size, 0), failures: 0, due_at: now() };
        return store.open_bookmark(tenant, name, first).await.map_err(say);
    };
    if read.due_at > now() {
        return Ok(());
    }
    let source = engine.tenant(tenant).map_err(say)?.issuer.clone();
    let mut place = read;
    loop {
        let events = store.events(tenant, place.last(), PAGE).await.map_err(say)?;
        let is_whole = events.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        let Some(after) = page(webhook, (store, poster, &source), place, &events).await? else { return Ok(()) };
        place = after;
        if is_whole {
            return Ok(());
        }
    }
}

/// Tells a page of them, and returns the place behind it. Nothing where there was nothing to tell, or somebody took over, or
/// an operator moved the place: theirs counts.
async fn page(
    webhook: &Webhook,
    (store, poster, source): (&SqlStore, &Poster, &str),
    read: Bookmark,
    events: &[Event],
) -> Result<Option<Bookmark>, String> {
    if events.is_empty() {
        return Ok(None);
    }
    let (tenant, name) = (&webhook.tenant, webhook.config.name.as_str());
    let step = async |from: Bookmark, to: Bookmark| store.move_bookmark(tenant, name, (from, to)).await.map_err(say);
    let mut place = Bookmark { due_at: later(now(), IN_HAND), ..read };
    if !step(read, place).await? {
        return Ok(None);
    }
    let (mut behind, mut failures) = (place.next, place.failures);
    for event in events {
        let after = (event.seq, event.number.saturating_add(1));
        if !webhook.config.wants(event.kind) {
            behind = after;
            continue;
        }
        let body = server::events::document(event, source).to_string();
        let headers = webhook.secrets.headers(&message_id(tenant, event), now().seconds(), body.as_bytes())?;
        if let Err(why) = poster.post(&webhook.config.url, headers, body).await {
            let failures = failures.saturating_add(1);
            let wait = pause(failures);
            step(place, Bookmark { next: behind, failures, due_at: later(now(), wait) }).await?;
            return Err(format!("{why}; {failures} attempts failed, the next is in {} s", wait.as_secs()));
        }
        (behind, failures) = (after, 0);
        let told = Bookmark { next: behind, failures, due_at: later(now(), IN_HAND) };
        if !step(place, told).await? {
            return Ok(None);
        }
        place = told;
    }
    let end = Bookmark { next: behind, failures, due_at: now() };
    Ok(step(place, end).await?.then_some(end))
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn now() -> Micros {
    (store::wall_clock())()
}
