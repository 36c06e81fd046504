use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::get;
use mandates::base64url;
use mandates::keys::{KeyId, LocalKey};
use mandates::mandate::Vct;
use mandates::rejection::Code;
use mandates::trust::Named;
use serde_json::{Value, json};

use super::*;
use crate::fetch::{Loopback, Reach};

/// A publisher of keys on this machine.
struct Publisher {
    url: Url,
    document: Arc<Mutex<Option<Value>>>,
    hits: Arc<AtomicUsize>,
}

impl Publisher {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/jwks", listener.local_addr().unwrap())).unwrap();
        let (document, hits) = (Arc::new(Mutex::new(None::<Value>)), Arc::new(AtomicUsize::new(0)));
        let (served, counted) = (document.clone(), hits.clone());
        let answer = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let found = served.lock().unwrap().clone();
            async move { found.map(axum::Json).ok_or(axum::http::StatusCode::SERVICE_UNAVAILABLE) }
        };
        tokio::spawn(async move {
            axum::serve(listener, axum::Router::new().route("/jwks", get(answer))).await.unwrap();
        });
        Self { url, document, hits }
    }

    fn publish(&self, keys: &[&LocalKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| Value::Object(key.public().to_jwk())).collect();
        *self.document.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    fn list(&self, pins: &[&LocalKey]) -> TrustList {
        let pins = pins.iter().map(|key| key.public().thumbprint()).collect();
        list(vec![entry(Published::new(Place::Jwks(self.url.clone()), pins))])
    }
}

fn entry(published: Published) -> Entry {
    let scope = Scope { mandates: [Vct::OpenPayment].into(), issuers: None };
    Entry { name: "bank".into(), scope, source: Source::Published(Arc::new(published)) }
}

fn list(entries: Vec<Entry>) -> TrustList {
    let reach = Reach { loopback: Loopback::Allowed, ..Reach::default() };
    TrustList::new(entries, Fetcher::new(reach).unwrap())
}

fn key(name: &str, seed: u8) -> LocalKey {
    LocalKey::from_random(&[seed; 32]).unwrap().named(KeyId::new(name))
}

/// A chain whose root names this key; who signed it plays no part in finding it.
fn naming(kid: &str) -> String {
    let part = |value: Value| base64url::encode(value.to_string().as_bytes());
    format!("{}.{}.{}~", part(json!({ "alg": "ES256", "kid": kid })), part(json!({})), base64url::encode(&[1; 64]))
}

async fn find(list: &TrustList, kid: &str) -> Result<(), Code> {
    let named = Named { kid: Some(kid.to_owned()), x5c: None, now_seconds: 0 };
    let roots = list.roots_for(&naming(kid)).await;
    roots.candidates(&named).map(|_| ()).map_err(|refused| refused.code)
}

/// A clock that is moved by hand.
#[derive(Clone, Default)]
struct Moved(Arc<AtomicUsize>);

impl Moved {
    fn by(&self, seconds: usize) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn set(&self, list: TrustList) -> TrustList {
        let (start, moved) = (Instant::now(), self.0.clone());
        let now = move || start + Duration::from_secs(u64::try_from(moved.load(Ordering::SeqCst)).unwrap());
        TrustList { now: Arc::new(now), ..list }
    }
}

#[tokio::test]
async fn invented_kids_do_not_make_us_hammer_a_publisher() {
    let (bank, good) = (Publisher::start().await, key("k1", 1));
    bank.publish(&[&good]);
    let time = Moved::default();
    let list = time.set(bank.list(&[]));
    for count in 0..200 {
        assert_eq!(find(&list, &format!("invented-{count}")).await, Err(Code::UnknownKid));
    }
    assert_eq!(bank.hits(), 1);
    assert_eq!(find(&list, "k1").await, Ok(()), "the good one is not hurt");
    time.by(11);
    let all = (0..50).map(|count| format!("invented-{count}"));
    let list = Arc::new(list);
    let asked: Vec<_> = all.map(|kid| (list.clone(), kid)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (list, kid) in asked {
        tasks.spawn(async move { find(&list, &kid).await });
    }
    assert!(tasks.join_all().await.into_iter().all(|found| found == Err(Code::UnknownKid)));
    assert_eq!(bank.hits(), 2, "one more, for all of them");
    // Chains that name no key, or no chain at all, fetch nothing.
    time.by(11);
    for presented in ["", "a.b.c~", "~~~", &"x".repeat(10_000)] {
        let _ = list.roots_for(presented).await;
    }
    assert_eq!(bank.hits(), 2);
}

#[tokio::test]
async fn a_key_that_was_rotated_in_is_found_and_one_that_was_withdrawn_is_lost() {
    let (bank, first, second) = (Publisher::start().await, key("k1", 1), key("k2", 2));
    let time = Moved::default();
    let list = time.set(bank.list(&[]));
    assert_eq!(find(&list, "k1").await, Err(Code::RootKeysUnavailable), "it answers nothing");
    bank.publish(&[&first]);
    assert_eq!(find(&list, "k1").await, Err(Code::RootKeysUnavailable), "and is not asked again at once");
    time.by(11);
    assert_eq!(find(&list, "k1").await, Ok(()));
    bank.publish(&[&second]);
    assert_eq!(find(&list, "k2").await, Err(Code::UnknownKid));
    time.by(11);
    assert_eq!(find(&list, "k2").await, Ok(()));
    assert_eq!(find(&list, "k1").await, Err(Code::UnknownKid));
    let hits = bank.hits();
    time.by(590);
    assert_eq!(find(&list, "k2").await, Ok(()));
    assert_eq!(bank.hits(), hits, "what is fresh is not fetched");
    time.by(20);
    assert_eq!(find(&list, "k2").await, Ok(()));
    assert_eq!(bank.hits(), hits + 1);
    // Where it cannot be reached its keys are believed for an hour, and no longer.
    *bank.document.lock().unwrap() = None;
    time.by(3_000);
    assert_eq!(find(&list, "k2").await, Ok(()));
    time.by(700);
    assert_eq!(find(&list, "k2").await, Err(Code::RootKeysUnavailable));
    *bank.document.lock().unwrap() = Some(json!({ "jwks": [] }));
    time.by(11);
    assert_eq!(find(&list, "k2").await, Err(Code::RootKeysUnavailable), "what is no key set teaches nothing");
}

#[tokio::test]
async fn only_pinned_keys_are_believed() {
    let (bank, good, other) = (Publisher::start().await, key("k1", 1), key("k1", 2));
    let (list, both) = (bank.list(&[&good]), bank.list(&[&good, &key("k9", 9)]));
    bank.publish(&[&other]);
    assert_eq!(find(&list, "k1").await, Err(Code::RootKeysUnavailable));
    bank.publish(&[&good, &key("k2", 2)]);
    assert_eq!(find(&both, "k2").await, Err(Code::UnknownKid));
    assert_eq!(find(&both, "k3").await, Err(Code::UnknownKid));
    assert_eq!(find(&both, "k1").await, Ok(()));
}

/// Silence is not an answer, an answer without the key is: the key is not believed for another hour.
#[tokio::test]
async fn a_pinned_key_that_is_withdrawn_is_gone_with_the_next_look() {
    let (bank, good, time) = (Publisher::start().await, key("k1", 1), Moved::default());
    let list = time.set(bank.list(&[&good]));
    bank.publish(&[&good]);
    assert_eq!(find(&list, "k1").await, Ok(()));
    bank.publish(&[&key("k1", 2)]);
    time.by(590);
    assert_eq!(find(&list, "k1").await, Ok(()), "it is fresh");
    time.by(20);
    assert_eq!(find(&list, "k1").await, Err(Code::RootKeysUnavailable));
    bank.publish(&[&good]);
    time.by(11);
    assert_eq!(find(&list, "k1").await, Ok(()), "and back again");
}

/// Another root that publishes a key of the same name does not keep an old one alive.
#[tokio::test]
async fn an_old_key_is_asked_for_although_another_root_has_its_name() {
    let (bank, shop, time) = (Publisher::start().await, Publisher::start().await, Moved::default());
    bank.publish(&[&key("k1", 1)]);
    shop.publish(&[&key("k1", 2)]);
    let roots =
        [&bank, &shop].map(|publisher| entry(Published::new(Place::Jwks(publisher.url.clone()), BTreeSet::new())));
    let list = time.set(list(roots.into()));
    assert_eq!(find(&list, "k1").await, Ok(()));
    let hits = (bank.hits(), shop.hits());
    bank.publish(&[]);
    shop.publish(&[]);
    time.by(650);
    assert_eq!(find(&list, "k1").await, Err(Code::UnknownKid), "withdrawn by both, and seen at once");
    assert_eq!((bank.hits(), shop.hits()), (hits.0 + 1, hits.1 + 1));
}

#[tokio::test]
async fn a_did_document_is_fetched_for_its_own_keys_only() {
    let shop = Publisher::start().await;
    let did = Did::parse("did:web:shop.example").unwrap();
    let list = list(vec![entry(Published::new(Place::Did(did, shop.url.clone()), BTreeSet::new()))]);
    let jwk = key("k1", 1).public().to_jwk();
    let method = json!({ "id": "#a", "type": "JsonWebKey", "controller": "did:web:shop.example", "publicKeyJwk": jwk });
    *shop.document.lock().unwrap() =
        Some(json!({ "id": "did:web:shop.example", "verificationMethod": [method], "assertionMethod": ["#a"] }));
    for foreign in ["k1", "#a", "did:web:evil.example#a", "did:web:shop.example.evil#a", "did:web:shop.example:a#a"] {
        assert_eq!(find(&list, foreign).await, Err(Code::RootKeysUnavailable), "{foreign}");
    }
    assert_eq!(shop.hits(), 0);
    assert_eq!(find(&list, "did:web:shop.example#b").await, Err(Code::UnknownKid));
    assert_eq!(find(&list, "did:web:shop.example#a").await, Ok(()));
    assert_eq!(find(&list, "did:web:shop.example").await, Ok(()));
    assert_eq!(shop.hits(), 1);
}

#[tokio::test]
async fn a_name_that_another_root_has_too_is_looked_for_and_not_again_and_again() {
    let (bank, own) = (Publisher::start().await, key("own", 7));
    bank.publish(&[&key("k1", 1)]);
    let time = Moved::default();
    let list = time.set(bank.list(&[]).and_own(KeySet::new([own.public().clone()]).unwrap()));
    let candidates = async |kid: &str| {
        let named = Named { kid: Some(kid.to_owned()), x5c: None, now_seconds: 0 };
        list.roots_for(&naming(kid)).await.candidates(&named).map_or(0, |found| found.len())
    };
    for _ in 0..5 {
        assert_eq!(candidates("own").await, 1);
        time.by(11);
    }
    assert_eq!(bank.hits(), 1);
    // The bank calls a key of its own the same: both may have signed.
    bank.publish(&[&key("own", 1)]);
    time.by(600);
    while candidates("own").await < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bank.hits(), 2);
    // Where it is silent, own chains do not wait for it.
    *bank.document.lock().unwrap() = None;
    time.by(4_000);
    assert_eq!(candidates("own").await, 1);
    assert_eq!(candidates("k1").await, 0);
}

#[tokio::test]
async fn whoever_comes_while_keys_are_fetched_waits_for_them() {
    let (bank, good) = (Publisher::start().await, key("k1", 1));
    bank.publish(&[&good]);
    let list = Arc::new(bank.list(&[]));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let list = list.clone();
        tasks.spawn(async move { find(&list, "k1").await });
    }
    assert!(tasks.join_all().await.into_iter().all(|found| found == Ok(())));
    assert_eq!(bank.hits(), 1);
}
