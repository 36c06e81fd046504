use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use tokio::net::TcpListener;

use super::*;

/// A name server of our own: answers in turn, the last one for ever.
struct Scripted {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    port: u16,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]], port: u16) -> Arc<Self> {
        let parse = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(parse).collect()), port, asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Names for Scripted {
    async fn look_up(&self, _: &str) -> std::io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Ok(answer.into_iter().map(|address| SocketAddr::new(address, self.port)).collect())
    }
}

/// A server on this machine that counts who comes.
async fn server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    let count = move |request: axum::extract::Request, next: axum::middleware::Next| {
        counted.fetch_add(1, Ordering::SeqCst);
        next.run(request)
    };
    let json = |text: &'static str| ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    let router = axum::Router::new()
        .route("/good", get(move || async move { json(r#"{"keys":[]}"#) }))
        .route("/moved", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/good")]).into_response() }))
        .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
        .route("/text", get(move || async move { json("keys") }))
        .route("/array", get(move || async move { json("[]") }))
        .route("/twice", get(move || async move { json(r#"{"keys":[],"keys":[]}"#) }))
        .route("/long", get(|| async { format!("{{\"a\":\"{}\"}}", "x".repeat(DOCUMENT_BYTES_MAX)) }))
        .route("/never", get(|| async { std::future::pending::<StatusCode>().await }))
        .layer(axum::middleware::from_fn(count));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (port, hits)
}

fn development() -> Reach {
    Reach { loopback: Loopback::Allowed, ..Reach::default() }
}

#[test]
fn an_address_that_is_not_for_us_to_ask_is_refused() {
    let long = format!("https://keys.example/{}", "x".repeat(3_000));
    for wrong in [
        "",
        "keys.example",
        "http://keys.example/jwks",
        "ftp://keys.example/jwks",
        "file:///etc/passwd",
        "data:application/json,{}",
        "https://user@keys.example/jwks",
        "https://:secret@keys.example/jwks",
        "https://keys.example/jwks#x",
        "https://127.0.0.1/jwks",
        "https://2130706433/jwks",
        "https://0x7f.1/jwks",
        "https://10.0.0.1/jwks",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/jwks",
        "https://[::ffff:7f00:1]/jwks",
        "https://[::ffff:169.254.169.254]/jwks",
        "https://[fd00::1]/jwks",
        "http://127.0.0.1/jwks",
        "http://localhost/jwks",
        &long,
    ] {
        assert!(Reach::default().check(wrong).is_err(), "{wrong}");
    }
    for wrong in
        ["http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "http://10.0.0.1/", "https://10.0.0.1/"]
    {
        assert!(development().check(wrong).is_err(), "{wrong}");
    }
    for right in ["https://keys.example/jwks?v=1", "https://1.1.1.1/jwks", "https://[2606:4700::1111]:8443/jwks"] {
        assert!(Reach::default().check(right).is_ok(), "{right}");
    }
    for right in ["http://127.0.0.1:8080/jwks", "http://localhost/", "http://[::1]:8080/", "https://127.0.0.1/"] {
        assert!(development().check(right).is_ok(), "{right}");
    }
    let corp = Reach { internal_hosts: ["10.0.0.1".into(), "idp.corp".into()].into(), ..Reach::default() };
    assert!(corp.check("https://10.0.0.1/").is_ok() && corp.check("https://10.0.0.2/").is_err());
    assert!(corp.check("http://idp.corp/").is_err(), "plain http is not for a network either");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed() {
    let (port, hits) = server().await;
    for inside in [
        &["127.0.0.1"][..],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["10.0.0.1"],
        &["169.254.169.254"],
        &["1.1.1.1", "127.0.0.1"],
        &["127.0.0.1", "1.1.1.1"],
    ] {
        for reach in [Reach::default(), development()] {
            let fetcher = Fetcher::with_names(reach, Scripted::new(&[inside], port)).unwrap();
            let refused = fetcher.object(&Url::parse("https://evil.example/good").unwrap()).await.unwrap_err();
            assert!(refused.contains("only public addresses are asked"), "{inside:?}: {refused}");
        }
    }
    // In development `localhost` is this machine, and still not a neighbour.
    let url = Url::parse(&format!("http://localhost:{port}/good")).unwrap();
    let neighbour = Fetcher::with_names(development(), Scripted::new(&[&["10.0.0.1"]], port)).unwrap();
    assert!(neighbour.object(&url).await.unwrap_err().contains("only public"));
    assert_eq!(hits.load(Ordering::SeqCst), 0, "nobody was asked");
    let here = Fetcher::with_names(development(), Scripted::new(&[&["127.0.0.1"]], port)).unwrap();
    assert!(here.object(&url).await.is_ok());
    assert_eq!(hits.load(Ordering::SeqCst), 1);
}

/// The name server answers with a public address when it is checked and with this machine later: there is no later.
#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_asked() {
    let (port, hits) = server().await;
    let names = Scripted::new(&[&["10.0.0.1"], &["127.0.0.1"]], port);
    let reach = Reach { internal_hosts: ["rebinds.example".into()].into(), ..Reach::default() };
    let fetcher = Fetcher::with_names(reach, names.clone()).unwrap();
    let url = Url::parse("https://rebinds.example/good").unwrap();
    let asked = fetcher.object(&url);
    assert!(tokio::time::timeout(Duration::from_millis(500), asked).await.map_or(true, |answer| answer.is_err()));
    assert_eq!(names.asked.load(Ordering::SeqCst), 1, "one connection, one answer");
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_that_is_not_one_small_json_object_is_refused() {
    let (port, hits) = server().await;
    let fetcher = Fetcher::new(development()).unwrap();
    let get = |path: &str| {
        let url = Url::parse(&format!("http://127.0.0.1:{port}{path}")).unwrap();
        let fetcher = fetcher.clone();
        async move { fetcher.object(&url).await }
    };
    for path in ["/moved", "/gone", "/text", "/array", "/twice", "/long"] {
        assert!(get(path).await.is_err(), "{path}");
    }
    assert_eq!(hits.load(Ordering::SeqCst), 6, "a redirect is not followed");
    let started = std::time::Instant::now();
    assert!(get("/never").await.is_err());
    assert!(started.elapsed() < TIMEOUT + Duration::from_secs(5));
    assert!(
        Fetcher::new(Reach::default())
            .unwrap()
            .object(&Url::parse(&format!("http://127.0.0.1:{port}/good")).unwrap())
            .await
            .is_err()
    );
    assert!(get("/good").await.unwrap().contains_key("keys"));
}

/// A TLS server for this certificate that answers whatever comes with an empty key set.
async fn tls_server(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
    use tokio_rustls::rustls::{ServerConfig, pki_types::PrivateKeyDer};
    let config =
        ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"keys\":[]}";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn a_publisher_is_who_its_certificate_says() {
    let certified = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap(), key)
    };
    let (certificate, key) = certified("keys.example");
    let (wrong, wrong_key) = certified("other.example");
    let (stranger, stranger_key) = certified("keys.example");
    let (plain, _) = server().await;
    let roots = [&certificate, &wrong].map(|known| reqwest::Certificate::from_der(known.der()).unwrap());
    for (port, is_taken) in [
        (tls_server(&wrong, &wrong_key).await, false),
        (tls_server(&stranger, &stranger_key).await, false),
        (plain, false),
        (tls_server(&certificate, &key).await, true),
    ] {
        let reach = Reach { internal_hosts: ["keys.example".into()].into(), ..Reach::default() };
        let client = reqwest::Client::builder().tls_certs_only(roots.clone());
        let fetcher = Fetcher::build(reach, Scripted::new(&[&["127.0.0.1"]], port), client).unwrap();
        let answer = fetcher.object(&Url::parse("https://keys.example/good").unwrap()).await;
        assert_eq!(answer.is_ok(), is_taken, "{answer:?}");
    }
}

#[test]
fn a_seller_is_on_the_public_network_whatever_the_operator_named() {
    let internal_hosts = BTreeSet::from(["10.0.0.1".to_owned(), "inside.example".to_owned()]);
    let refusing = Outward::new(Reach { loopback: Loopback::Refused, internal_hosts: internal_hosts.clone() }).unwrap();
    for address in [
        "https://10.0.0.1/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "http://shop.example/",
        "file:///etc/passwd",
        "https://user:secret@shop.example/",
    ] {
        assert!(refusing.client(address).is_err(), "{address}");
    }
    assert!(!refusing.reach.permits("inside.example", "10.0.0.1".parse().unwrap()), "nor by its name");
    assert!(!refusing.reach.permits("localhost.", "127.0.0.1".parse().unwrap()));
    let allowing = Outward::new(Reach { loopback: Loopback::Allowed, internal_hosts }).unwrap();
    assert!(allowing.client("https://10.0.0.1/").is_err());
    assert!(
        allowing.client("http://127.0.0.1:4020/paid/hello").is_ok() && refusing.client("https://shop.example/").is_ok()
    );
}
