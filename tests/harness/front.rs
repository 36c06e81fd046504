//! A shop in front of the priced routes of `purser dev`, over http and over https with an authority of its own, that
//! behaves as its paths say: what it sells is settled by the service behind it, and counted on the chain.
//!
//! `/paid/…` as it is; `/held/…` answers a paid request when it is let; `/again/…` takes the money and asks for it again;
//! `/old/…` speaks version 1 alone; `/elsewhere/…` shows the terms of the shop behind, under its address; `/echo` says
//! what came; `/away` redirects.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const HEADER: &str = "payment-required";

pub struct Front {
    behind: String,
    pub http: String,
    pub https: String,
    /// Under an authority that nobody was told of.
    pub stranger: String,
    /// PEM of the authority of `https`.
    pub authority: String,
    /// Requests that showed a payment.
    pub paid: AtomicUsize,
    /// One for each answer that `/held` may give.
    pub let_go: Semaphore,
    client: reqwest::Client,
}

impl Front {
    pub async fn start(behind: &str) -> Arc<Self> {
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (secure, strange) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let at = |listener: &TcpListener| listener.local_addr().unwrap();
        let (config, authority) = certified();
        let front = Arc::new(Self {
            behind: behind.to_owned(),
            http: format!("http://{}", at(&plain)),
            https: format!("https://localhost:{}", at(&secure).port()),
            stranger: format!("https://localhost:{}", at(&strange).port()),
            authority,
            paid: AtomicUsize::new(0),
            let_go: Semaphore::new(0),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        });
        let address = at(&plain).to_string();
        tokio::spawn(end_tls(secure, config, address.clone()));
        tokio::spawn(end_tls(strange, certified().0, address));
        let router = Router::new().fallback(behave).with_state(front.clone());
        tokio::spawn(async move { axum::serve(plain, router).await.unwrap() });
        front
    }

    /// The address under which this request was made.
    fn base(&self, request: &Request) -> &str {
        let host = request.headers()["host"].to_str().unwrap();
        let same = |base: &&&String| {
            base.rsplit_once(':').map(|(_, port)| port) == host.rsplit_once(':').map(|(_, port)| port)
        };
        [&self.https, &self.stranger].iter().find(same).map_or(&self.http, |base| base)
    }

    /// What the service behind says, under our own address.
    async fn sold(&self, request: Request, path: &str) -> Response {
        let base = self.base(&request).to_owned();
        let mut passed = self.client.request(request.method().clone(), format!("{}{path}", self.behind));
        for name in ["payment-signature", "x-payment"] {
            if let Some(payment) = request.headers().get(name) {
                self.paid.fetch_add(1, Ordering::SeqCst);
                passed = passed.header(name, readdressed(payment.to_str().unwrap(), &base, &self.behind));
            }
        }
        let answer = passed.send().await.unwrap();
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            match name.as_str() {
                HEADER => response = response.header(HEADER, readdressed(value.to_str().unwrap(), &self.behind, &base)),
                "transfer-encoding" | "content-length" => {}
                _ => response = response.header(name, value),
            }
        }
        let body = answer.text().await.unwrap().replace(&self.behind, &base);
        response.body(body.into()).unwrap()
    }
}

/// A header of x402 as it would be of another address; what is none stays as it is.
fn readdressed(header: &str, from: &str, to: &str) -> String {
    let text = STANDARD.decode(header).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map_or_else(|| header.to_owned(), |text| STANDARD.encode(text.replace(from, to)))
}

async fn behave(State(front): State<Arc<Front>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let paid = ["payment-signature", "x-payment"].iter().any(|name| request.headers().contains_key(*name));
    if let Some(path) = path.strip_prefix("/held") {
        let answer = front.sold(request, path).await;
        if paid {
            front.let_go.acquire().await.unwrap().forget();
        }
        return answer;
    }
    if let Some(path) = path.strip_prefix("/again") {
        let asked = Request::builder().uri("/").header("host", &request.headers()["host"]).body(Body::empty()).unwrap();
        front.sold(request, path).await;
        return front.sold(asked, path).await;
    }
    if let Some(path) = path.strip_prefix("/old") {
        let mut answer = front.sold(request, path).await;
        answer.headers_mut().remove(HEADER);
        return answer;
    }
    if let Some(path) = path.strip_prefix("/elsewhere") {
        // The terms of another shop, as they are.
        let answer = front.client.get(format!("{}{path}", front.behind)).send().await.unwrap();
        let asked = answer.headers()[HEADER].clone();
        return Response::builder().status(402).header(HEADER, asked).body(Body::empty()).unwrap();
    }
    match path.as_str() {
        "/echo" => echo(request).await,
        "/away" => Response::builder().status(302).header("location", "/paid/report").body(Body::empty()).unwrap(),
        "/cookie" => {
            Response::builder().header("set-cookie", "a=b").header("purser-refusal", "x").body("c".into()).unwrap()
        }
        _ => front.sold(request, &path).await,
    }
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let headers: Vec<Value> =
        head.headers.iter().map(|(name, value)| json!([name.as_str(), value.to_str().unwrap()])).collect();
    let said = json!({
        "method": head.method.as_str(), "uri": head.uri.to_string(), "headers": headers, "bytes": body.len(),
    });
    Response::builder().header("content-type", "application/json").body(said.to_string().into()).unwrap()
}

/// A certificate for this machine, and the authority that it is of.
fn certified() -> (ServerConfig, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap(), pem)
}

async fn end_tls(listener: TcpListener, config: ServerConfig, to: String) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, to) = (acceptor.clone(), to.clone());
        tokio::spawn(async move {
            let (Ok(mut near), Ok(mut far)) = (acceptor.accept(stream).await, TcpStream::connect(to).await) else {
                return;
            };
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
