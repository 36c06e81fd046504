use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use mandates::base64url;

use super::*;
use crate::fetch::{Loopback, Reach};

const TYPE: &str = "application/statuslist+jwt";
const SECOND: i64 = 1_800_000_000;

fn token(claims: &str) -> String {
    let part = |text: &str| base64url::encode(text.as_bytes());
    format!("{}.{}.AA", part(r#"{"alg":"ES256","typ":"statuslist+jwt"}"#), part(claims))
}

fn typed(media_type: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, media_type)], body).into_response()
}

/// A publisher on this machine that counts who comes.
async fn publisher() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    let count = move |request: axum::extract::Request, next: axum::middleware::Next| {
        counted.fetch_add(1, Ordering::SeqCst);
        next.run(request)
    };
    let long = || async { typed(TYPE, "x".repeat(mandates::limits::TOKEN_BYTES_MAX + 1)) };
    let router = axum::Router::new()
        .route("/good", get(|| async { typed("Application/StatusList+JWT; charset=utf-8", token(r#"{"ttl":15}"#)) }))
        .route("/ending", get(|| async { typed(TYPE, token(&format!(r#"{{"ttl":15,"exp":{}}}"#, SECOND + 4))) }))
        .route("/fresh", get(|| async { typed(TYPE, token(r#"{"ttl":0}"#)) }))
        .route("/odd", get(|| async { typed(TYPE, "no token".to_owned()) }))
        .route("/list/{n}", get(|| async { typed(TYPE, token(r#"{"ttl":900}"#)) }))
        .route("/json", get(|| async { typed("application/json", token("{}")) }))
        .route("/jwt", get(|| async { typed("application/jwt", token("{}")) }))
        .route("/untyped", get(|| async { ([(header::CONTENT_TYPE, "")], token("{}")).into_response() }))
        .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
        .route("/moved", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/good")]).into_response() }))
        .route("/bytes", get(|| async { ([(header::CONTENT_TYPE, TYPE)], vec![0xff_u8, 0xfe]).into_response() }))
        .route("/long", get(long))
        .layer(axum::middleware::from_fn(count));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, hits)
}

/// Lists whose clock is moved by hand.
fn lists() -> (PublishedLists, Arc<AtomicI64>) {
    let reach = Reach { loopback: Loopback::Allowed, ..Reach::default() };
    let (moved, start) = (Arc::new(AtomicI64::new(0)), Instant::now());
    let seconds = moved.clone();
    let now = move || {
        let passed = seconds.load(Ordering::SeqCst);
        (start + Duration::from_secs(passed.unsigned_abs()), SECOND + passed)
    };
    let lists = PublishedLists { now: Arc::new(now), ..PublishedLists::new(Fetcher::new(reach).unwrap()) };
    (lists, moved)
}

fn is_silent(answer: &Relayed<String>, why: &str) -> bool {
    matches!(answer, Relayed::Silence(said) if said.contains(why))
}

#[tokio::test]
async fn what_is_no_list_token_is_silence() {
    let (url, _) = publisher().await;
    let (lists, _) = lists();
    for (path, why) in [
        ("/json", "application/statuslist+jwt"),
        ("/jwt", "application/statuslist+jwt"),
        ("/untyped", "application/statuslist+jwt"),
        ("/gone", "404"),
        ("/moved", "302"),
        ("/bytes", "UTF-8"),
        ("/long", "longer than"),
    ] {
        let answer = lists.fetch(&format!("{url}{path}")).await;
        assert!(is_silent(&answer, why), "{path}: {answer:?}");
    }
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for address in [format!("http://{closed}/"), "garbage".into(), "file:///etc/passwd".into(), format!("{url}/good#a")]
    {
        assert!(matches!(lists.fetch(&address).await, Relayed::Silence(_)), "{address}");
    }
}

#[tokio::test]
async fn an_address_inside_is_not_asked() {
    let (url, hits) = publisher().await;
    let lists = PublishedLists::new(Fetcher::new(Reach::default()).unwrap());
    for address in [
        format!("{url}/good"),
        format!("{url}/good").replace("http:", "https:"),
        "https://169.254.169.254/latest".to_owned(),
        "https://10.0.0.1/status".to_owned(),
        "https://[::1]/status".to_owned(),
    ] {
        assert!(matches!(lists.fetch(&address).await, Relayed::Silence(_)), "{address}");
    }
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_list_is_asked_for_again_when_its_publisher_says() {
    let (url, hits) = publisher().await;
    let asked = async |path: &str, lists: &PublishedLists| {
        let before = hits.load(Ordering::SeqCst);
        let answer = lists.fetch(&format!("{url}{path}")).await;
        (matches!(answer, Relayed::Answer(_)), hits.load(Ordering::SeqCst) - before)
    };
    // Seconds at which each is asked for, and whether that reaches the publisher.
    for (path, steps) in [
        ("/good", &[(0, 1), (0, 0), (14, 0), (15, 1), (29, 0), (30, 1)][..]),
        ("/ending", &[(0, 1), (3, 0), (4, 1), (4, 1), (5, 1)]),
        ("/fresh", &[(0, 1), (0, 1), (1, 1)]),
        ("/odd", &[(0, 1), (0, 1)]),
        ("/gone", &[(0, 1), (4, 0), (5, 1)]),
    ] {
        let (lists, clock) = lists();
        for (at, hit) in steps {
            clock.store(*at, Ordering::SeqCst);
            assert_eq!(asked(path, &lists).await, (path != "/gone", *hit), "{path} at {at}");
        }
    }
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let (url, hits) = publisher().await;
    let (lists, _) = lists();
    for number in 0..KEPT_MAX + 9 {
        assert!(matches!(lists.fetch(&format!("{url}/list/{number}")).await, Relayed::Answer(_)));
        assert!(lists.kept.lock().unwrap().len() <= KEPT_MAX);
    }
    assert_eq!(hits.load(Ordering::SeqCst), KEPT_MAX + 9);
}
