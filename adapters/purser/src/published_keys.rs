//! Keys that sellers publish (did:web), fetched when an offer names one and remembered for a while.
//!
//! The DID comes from whoever answers 402. It is asked only where it is the document of the resource's own host, which the
//! engine looks at; the fetch is guarded as every other ([`crate::fetch`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use engine::ports::{DidDocuments, Relayed};
use mandates::did::Did;
use mandates::keys::KeySet;

use crate::fetch::Fetcher;

/// Documents that are kept at once.
const KEPT_MAX: usize = 256;
const FRESH: Duration = Duration::from_secs(600);
/// How long a host that gave none is left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// A clock that only rises.
type Now = Arc<dyn Fn() -> Instant + Send + Sync>;

pub struct PublishedKeys {
    fetcher: Fetcher,
    now: Now,
    kept: Mutex<BTreeMap<String, (Relayed<KeySet>, Instant)>>,
}

impl PublishedKeys {
    pub fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, now: Arc::new(Instant::now), kept: Mutex::default() }
    }

    fn kept(&self, did: &str) -> Option<Relayed<KeySet>> {
        let (kept, now) = (self.kept.lock().unwrap_or_else(PoisonError::into_inner), (self.now)());
        kept.get(did).filter(|(_, until)| now < *until).map(|(answer, _)| answer.clone())
    }

    /// What is over goes first, then what ends soonest.
    fn keep(&self, did: &str, answer: &Relayed<KeySet>) {
        let span = if matches!(answer, Relayed::Answer(_)) { FRESH } else { PAUSE };
        let (mut kept, now) = (self.kept.lock().unwrap_or_else(PoisonError::into_inner), (self.now)());
        kept.retain(|_, (_, until)| now < *until);
        kept.insert(did.to_owned(), (answer.clone(), now.checked_add(span).unwrap_or(now)));
        while kept.len() > KEPT_MAX {
            let Some(soonest) = kept.iter().min_by_key(|(_, (_, until))| *until).map(|(did, _)| did.clone()) else {
                return;
            };
            kept.remove(&soonest);
        }
    }

    async fn fetch(&self, did: &Did) -> Result<KeySet, String> {
        let address = did.address().ok_or_else(|| format!("{} is its own document", did.as_str()))?;
        let url = self.fetcher.reach().check(address)?;
        did.keys_of(&self.fetcher.object(&url).await?).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl DidDocuments for PublishedKeys {
    async fn keys(&self, did: &Did) -> Relayed<KeySet> {
        if let Some(answer) = self.kept(did.as_str()) {
            return answer;
        }
        let answer = match self.fetch(did).await {
            Ok(keys) => Relayed::Answer(keys),
            Err(why) => {
                tracing::info!("the keys of {} are not read: {why}", did.as_str());
                Relayed::Silence(why)
            }
        };
        self.keep(did.as_str(), &answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Reach;

    /// Nobody within the operator's own network is asked because a seller names them; and who gave nothing is left alone.
    #[tokio::test]
    async fn no_document_is_fetched_from_within() {
        let start = Instant::now();
        let moved = Arc::new(Mutex::new(Duration::ZERO));
        let passed = moved.clone();
        let now = move || start + *passed.lock().unwrap();
        let published =
            PublishedKeys { now: Arc::new(now), ..PublishedKeys::new(Fetcher::new(Reach::default()).unwrap()) };
        for name in [
            "did:web:localhost",
            "did:web:localhost%3A8443",
            "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv",
        ] {
            let Ok(did) = Did::parse(name) else { continue };
            assert!(matches!(published.keys(&did).await, Relayed::Silence(_)), "{name}");
        }
        let did = Did::parse("did:web:localhost").unwrap();
        published.keep(did.as_str(), &Relayed::Answer(KeySet::default()));
        assert!(matches!(published.keys(&did).await, Relayed::Answer(_)), "kept");
        *moved.lock().unwrap() = FRESH;
        assert!(matches!(published.keys(&did).await, Relayed::Silence(_)), "and not for ever");
        for number in 0..2 * KEPT_MAX {
            published.keep(&format!("did:web:a{number}.example"), &Relayed::Answer(KeySet::default()));
        }
        assert_eq!(published.kept.lock().unwrap().len(), KEPT_MAX);
    }
}
