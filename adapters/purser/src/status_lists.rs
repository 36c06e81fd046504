//! Status lists of others, fetched and kept for as long as their publisher says.
//!
//! An address comes out of a credential that a trusted root signed. What comes from there is not believed here: whose
//! signature it is, and what it says, is judged by [`mandates::verify::Verdict::held_to`] each time, also of a list that is
//! kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use engine::ports::{Relayed, StatusLists};
use mandates::status;

use crate::fetch::Fetcher;

/// Lists that are kept at once. Each is at most `mandates::limits::TOKEN_BYTES_MAX` long.
const KEPT_MAX: usize = 64;
/// How long a publisher who gave none is left alone.
const PAUSE: Duration = Duration::from_secs(5);
const MEDIA_TYPE: &str = "application/statuslist+jwt";

/// A clock that only rises, and the second of the day, for `exp`.
type Now = Arc<dyn Fn() -> (Instant, i64) + Send + Sync>;

pub struct PublishedLists {
    fetcher: Fetcher,
    now: Now,
    kept: Mutex<BTreeMap<String, Kept>>,
}

struct Kept {
    answer: Relayed<String>,
    until: Instant,
}

impl PublishedLists {
    pub fn new(fetcher: Fetcher) -> Self {
        let now = || (Instant::now(), (store::wall_clock())().seconds());
        Self { fetcher, now: Arc::new(now), kept: Mutex::default() }
    }

    fn kept(&self, uri: &str, now: Instant) -> Option<Relayed<String>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(uri).filter(|kept| now < kept.until).map(|kept| kept.answer.clone())
    }

    /// What is over goes first, then what ends soonest.
    fn keep(&self, uri: &str, answer: &Relayed<String>, now: Instant, until: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, kept| now < kept.until);
        if until <= now {
            return;
        }
        kept.insert(uri.to_owned(), Kept { answer: answer.clone(), until });
        while kept.len() > KEPT_MAX {
            let Some(soonest) = kept.iter().min_by_key(|(_, kept)| kept.until).map(|(uri, _)| uri.clone()) else {
                return;
            };
            kept.remove(&soonest);
        }
    }
}

#[async_trait]
impl StatusLists for PublishedLists {
    async fn fetch(&self, uri: &str) -> Relayed<String> {
        let (asked, _) = (self.now)();
        if let Some(answer) = self.kept(uri, asked) {
            return answer;
        }
        let fetched = match self.fetcher.reach().check(uri) {
            Ok(url) => self.fetcher.text(&url, MEDIA_TYPE).await,
            Err(why) => Err(why),
        };
        let (now, seconds) = (self.now)();
        let (answer, span) = match fetched {
            Ok(token) => {
                let span = Duration::from_secs(status::kept_seconds(&token, seconds).into());
                (Relayed::Answer(token), span)
            }
            Err(why) => {
                tracing::warn!("a status list cannot be fetched: {why}");
                (Relayed::Silence(why), PAUSE)
            }
        };
        self.keep(uri, &answer, now, now.checked_add(span).unwrap_or(now));
        answer
    }
}

#[cfg(test)]
mod tests;
