//! The rounds: each receiver that is due is told what it was not told yet, by one process at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use commerce::store::{Revised, Sessions as _};
use engine::Engine;
use ledger::event::Event;
use ledger::id::{Micros, TenantId};
use ledger::store::Store as _;
use reqwest::header::HeaderMap;
use store::{Bookmark, SqlStore};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Webhook, Webhooks, message_id, pause, size};
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
        let first = Bookmark { next: (size(store, tenant, &webhook.config).await?, 0), failures: 0, due_at: now() };
        return store.open_bookmark(tenant, name, first).await.map_err(say);
    };
    if read.due_at > now() {
        return Ok(());
    }
    let source = engine.tenant(tenant).map_err(say)?.issuer.clone();
    let mut place = read;
    loop {
        let letters = webhook.letters(store, &source, place).await?;
        let is_whole = letters.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        let Some(after) = page(webhook, (store, poster), place, &letters).await? else { return Ok(()) };
        place = after;
        if is_whole {
            return Ok(());
        }
    }
}

/// Something that happened, at its place; with what a receiver is told of it, where it wants to know.
struct Letter {
    at: (u64, u16),
    told: Option<(String, String)>,
}

impl Webhook {
    async fn letters(&self, store: &SqlStore, source: &str, place: Bookmark) -> Result<Vec<Letter>, String> {
        if self.config.tells_orders() {
            let last = place.last().map_or(0, |(seq, _)| seq);
            let orders = store.orders_after(&self.tenant, last, PAGE).await.map_err(say)?;
            return orders.iter().map(|order| self.order(order)).collect();
        }
        let events = store.events(&self.tenant, place.last(), PAGE).await.map_err(say)?;
        let letter = |event: &Event| {
            let is_wanted = self.config.wants(event.kind);
            let told = || (message_id(&self.tenant, event), server::events::document(event, source).to_string());
            Letter { at: (event.seq, event.number), told: is_wanted.then(told) }
        };
        Ok(events.iter().map(letter).collect())
    }

    /// Whole each time, and the same whenever it is told again.
    fn order(&self, revised: &Revised) -> Result<Letter, String> {
        let order = engine::checkout::orders::read(revised).map_err(say)?;
        let told = self.config.wants_orders_of(&order.owner).then(|| {
            let id = format!("{}-order-{}", self.tenant, revised.seq);
            (id, order.told(revised.revision).to_string())
        });
        Ok(Letter { at: (revised.seq, 0), told })
    }

    fn headers(&self, id: &str, body: &str) -> Result<HeaderMap, String> {
        let (at, body) = (now().seconds(), body.as_bytes());
        match self.config.tells_orders() {
            true => self.secrets.merchant_headers(id, at, body),
            false => self.secrets.headers(id, at, body),
        }
    }
}

/// Tells a page of them, and returns the place behind it. Nothing where there was nothing to tell, or somebody took over, or
/// an operator moved the place: theirs counts.
async fn page(
    webhook: &Webhook,
    (store, poster): (&SqlStore, &Poster),
    read: Bookmark,
    letters: &[Letter],
) -> Result<Option<Bookmark>, String> {
    if letters.is_empty() {
        return Ok(None);
    }
    let (tenant, name) = (&webhook.tenant, webhook.config.name.as_str());
    let step = async |from: Bookmark, to: Bookmark| store.move_bookmark(tenant, name, (from, to)).await.map_err(say);
    let mut place = Bookmark { due_at: later(now(), IN_HAND), ..read };
    if !step(read, place).await? {
        return Ok(None);
    }
    let (mut behind, mut failures) = (place.next, place.failures);
    for letter in letters {
        let (seq, number) = letter.at;
        let after = (seq, number.saturating_add(1));
        let Some((id, body)) = &letter.told else {
            behind = after;
            continue;
        };
        let headers = webhook.headers(id, body)?;
        if let Err(why) = poster.post(&webhook.config.url, headers, body.clone()).await {
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
