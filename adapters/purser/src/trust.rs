//! The roots that an operator trusts beside their own service, from a trust file, with keys that are published elsewhere.
//!
//! Keys from a URL or a DID document are remembered for [`FRESH`], fetched again when a root names one that is missed, at
//! most once in [`PAUSE`] for each source whatever is presented, and believed for [`BELIEVED`] where the source cannot be
//! reached. Where there are none the root is unavailable, and what it signed is refused until it can be read.

pub mod file;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fetch::Fetcher;
use async_trait::async_trait;
use engine::ports::TrustSource;
use mandates::did::Did;
use mandates::keys::KeySet;
use mandates::trust::{Root, RootKeys, Roots, Scope, Trust};
use reqwest::Url;

const FRESH: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_secs(10);
const BELIEVED: Duration = Duration::from_secs(3_600);

/// Trusted roots, some of whose keys are learnt as they are needed.
pub struct TrustList {
    entries: Vec<Entry>,
    fetcher: Fetcher,
    now: Now,
}

/// A clock that only rises.
type Now = Arc<dyn Fn() -> Instant + Send + Sync>;

/// One root: what it may be root for, and where its keys are.
pub struct Entry {
    pub name: String,
    pub scope: Scope,
    pub source: Source,
}

pub enum Source {
    /// At hand.
    Known(RootKeys),
    /// Published.
    Published(Arc<Published>),
}

/// Keys that somebody publishes.
pub struct Published {
    place: Place,
    /// RFC 7638 thumbprints that alone are believed; every key where there are none.
    pins: BTreeSet<String>,
    state: Mutex<State>,
    /// One fetch at a time; who waits for it finds its answer.
    fetching: tokio::sync::Mutex<()>,
}

pub enum Place {
    /// A JWK set (RFC 7517 section 5).
    Jwks(Url),
    /// A did:web document.
    Did(Did, Url),
}

#[derive(Default)]
struct State {
    keys: Option<(Arc<KeySet>, Instant)>,
    tried: Option<Instant>,
}

/// Whether another root has the key that a chain names. Names are not unique, so that says little: this one is asked all
/// the same when it is due, and not again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    Known,
    Missed,
}

impl Published {
    pub fn new(place: Place, pins: BTreeSet<String>) -> Self {
        Self { place, pins, state: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// Whether a root that names this key makes a fetch due.
    fn is_due(&self, kid: &str, elsewhere: Elsewhere, now: Instant) -> bool {
        if !self.may_have(kid) {
            return false;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.tried.is_some_and(|tried| now.duration_since(tried) < PAUSE) {
            return false;
        }
        state.keys.as_ref().is_none_or(|(keys, fetched)| {
            let is_missed = elsewhere == Elsewhere::Missed && keys.find(kid).is_none();
            is_missed || now.duration_since(*fetched) > FRESH
        })
    }

    /// A key of another DID is never found here.
    fn may_have(&self, kid: &str) -> bool {
        match &self.place {
            Place::Did(did, _) => kid.split('#').next() == Some(did.as_str()),
            Place::Jwks(_) => true,
        }
    }

    fn is_asked(&self, kid: &str) -> bool {
        self.may_have(kid) && self.fetching.try_lock().is_err()
    }

    fn has(&self, kid: &str, now: Instant) -> bool {
        matches!(self.keys(now), RootKeys::Set(keys) if keys.find(kid).is_some())
    }

    fn was_tried(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tried.is_some()
    }

    fn keys(&self, now: Instant) -> RootKeys {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.keys {
            Some((keys, fetched)) if now.duration_since(*fetched) <= BELIEVED => RootKeys::Set(keys.clone()),
            _ => RootKeys::Unavailable,
        }
    }

    async fn refresh(&self, kid: &str, elsewhere: Elsewhere, fetcher: &Fetcher, now: Instant) -> Result<(), String> {
        let _one_at_a_time = self.fetching.lock().await;
        if !self.is_due(kid, elsewhere, now) {
            return Ok(());
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tried = Some(now);
        let keys = self.fetch(fetcher).await?;
        let answered = keys.is_some();
        // Whoever answers without a pinned key has withdrawn it.
        let keys = keys.map(|keys| (Arc::new(keys), now));
        self.state.lock().unwrap_or_else(PoisonError::into_inner).keys = keys;
        if answered { Ok(()) } else { Err(format!("none of the {} pinned keys is published", self.pins.len())) }
    }

    /// `None` where a document came that has none of the pinned keys.
    async fn fetch(&self, fetcher: &Fetcher) -> Result<Option<KeySet>, String> {
        let (url, keys) = match &self.place {
            Place::Jwks(url) => (url, KeySet::from_jwks(&fetcher.object(url).await?)),
            Place::Did(did, url) => (url, did.keys_of(&fetcher.object(url).await?)),
        };
        let keys = keys.map_err(|error| format!("{url}: {error}"))?;
        if self.pins.is_empty() {
            return Ok(Some(keys));
        }
        let pinned = keys.iter().filter(|key| self.pins.contains(&key.thumbprint())).cloned();
        let pinned = KeySet::new(pinned).map_err(|error| format!("{url}: {error}"))?;
        Ok(Some(pinned).filter(|pinned| !pinned.is_empty()))
    }
}

impl TrustList {
    pub fn new(entries: Vec<Entry>, fetcher: Fetcher) -> Self {
        Self { entries, fetcher, now: Arc::new(Instant::now) }
    }

    /// Together with keys that are trusted for everything: this service's own.
    #[must_use]
    pub fn and_own(mut self, keys: KeySet) -> Self {
        let source = Source::Known(RootKeys::Set(Arc::new(keys)));
        self.entries.push(Entry { name: "this service".into(), scope: Scope::anything(), source });
        self
    }

    async fn learn(&self, kid: &str, now: Instant) {
        let mut fetches = tokio::task::JoinSet::new();
        for entry in &self.entries {
            let Source::Published(published) = &entry.source else { continue };
            let elsewhere = self.elsewhere(kid, published, now);
            if !published.is_due(kid, elsewhere, now) {
                // Somebody else asks just now: their answer may have it.
                if elsewhere == Elsewhere::Missed && published.is_asked(kid) {
                    let published = published.clone();
                    fetches.spawn(async move { drop(published.fetching.lock().await) });
                }
                continue;
            }
            // A publisher that does not answer holds nobody up whose key is at hand, save the first time; but its own key,
            // once old, is not believed before it was asked.
            let is_awaited = elsewhere == Elsewhere::Missed || !published.was_tried() || published.has(kid, now);
            let (published, fetcher) = (published.clone(), self.fetcher.clone());
            let (name, kid) = (entry.name.clone(), kid.to_owned());
            let fetch = async move {
                if let Err(why) = published.refresh(&kid, elsewhere, &fetcher, now).await {
                    tracing::warn!(root = name, "the keys of a trusted root cannot be fetched: {why}");
                }
            };
            if is_awaited {
                fetches.spawn(fetch);
            } else {
                tokio::spawn(fetch);
            }
        }
        while fetches.join_next().await.is_some() {}
    }

    fn elsewhere(&self, kid: &str, asked: &Arc<Published>, now: Instant) -> Elsewhere {
        let has_it = |keys: &RootKeys| matches!(keys, RootKeys::Set(keys) if keys.find(kid).is_some());
        let is_known = self.entries.iter().any(|entry| match &entry.source {
            Source::Known(keys) => has_it(keys),
            Source::Published(other) => !Arc::ptr_eq(other, asked) && has_it(&other.keys(now)),
        });
        if is_known { Elsewhere::Known } else { Elsewhere::Missed }
    }

    /// Every root by its name, and what there is of it now; published keys are fetched.
    pub async fn look(&self) -> Vec<(String, Result<String, String>)> {
        let shown = |keys: &RootKeys| match keys {
            RootKeys::Set(keys) if keys.is_empty() => Err("it has no keys".to_owned()),
            RootKeys::Set(keys) => Ok(format!("{} names of keys", keys.len())),
            RootKeys::Anchors(anchors) => Ok(format!("{} anchors", anchors.len())),
            RootKeys::Unavailable => Err("it has no keys".to_owned()),
        };
        let mut found = Vec::new();
        for entry in &self.entries {
            let looked = match &entry.source {
                Source::Known(keys) => shown(keys),
                Source::Published(published) => {
                    let fetched = published.fetch(&self.fetcher).await;
                    fetched.and_then(|keys| shown(&RootKeys::Set(Arc::new(keys.unwrap_or_default()))))
                }
            };
            found.push((entry.name.clone(), looked));
        }
        found
    }

    fn snapshot(&self, now: Instant) -> Result<Trust, String> {
        let roots = self.entries.iter().map(|entry| Root {
            name: entry.name.clone(),
            scope: entry.scope.clone(),
            keys: match &entry.source {
                Source::Known(keys) => keys.clone(),
                Source::Published(published) => published.keys(now),
            },
        });
        Trust::new(roots).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl TrustSource for TrustList {
    async fn roots_for(&self, presented: &str) -> Arc<dyn Roots> {
        if let Some(kid) = mandates::trust::root_kid(presented) {
            self.learn(&kid, (self.now)()).await;
        }
        match self.snapshot((self.now)()) {
            Ok(trust) => Arc::new(trust),
            Err(why) => {
                tracing::error!("the trust list cannot be used: {why}");
                Arc::new(Trust::default())
            }
        }
    }
}

#[cfg(test)]
mod tests;
