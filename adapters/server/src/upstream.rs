//! What is sold lies with another HTTP service, in whatever language: a reverse proxy as the handler behind the paywall.
//!
//! 1. The upstream learns who paid, from us alone: what a client sends under our names is taken out, and what we say is
//!    signed (RFC 9421, `hmac-sha256`, with a key that both know), over method, path, query, body and payment.
//! 2. A path reaches the upstream as it was asked and paid for, or not at all: one that two readers could read in two
//!    ways is refused, so that nobody pays for one resource and gets another.
//! 3. An upstream that cannot be reached, breaks off, or answers 400 or above has sold nothing: the paywall gives the
//!    claim back.
//!
//! What is between two hops stays there (RFC 9110 section 7.6.1). Redirections are the client's to follow.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use paywall::Paid;
use reqwest::Url;
use sha2::{Digest, Sha256};

use crate::hop;
use crate::problem::Problem;

/// How long an upstream may take to take the connection; the rest is the route's own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A key is at least as long as the digest that it makes (RFC 2104 section 3).
const KEY_BYTES_MIN: usize = 32;

/// What both ends of the hop know, and nobody else.
#[derive(Clone)]
pub struct UpstreamKey {
    bytes: Arc<[u8]>,
    /// The first half of its SHA-256 in hexadecimal: tells keys apart and says nothing about them.
    id: String,
}

impl std::fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpstreamKey({})", self.id)
    }
}

impl UpstreamKey {
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < KEY_BYTES_MIN {
            return Err(format!("a key for an upstream has at least {KEY_BYTES_MIN} bytes; {} came", bytes.len()));
        }
        let digest = Sha256::digest(bytes);
        let id = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { bytes: bytes.into(), id })
    }

    fn mac(&self, text: &str) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes).ok()?;
        mac.update(text.as_bytes());
        Some(STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Where a priced route leads.
#[derive(Clone, Debug)]
pub struct Upstream {
    address: Url,
    /// What stands before the `*` of the route; `None` where the route is one path.
    prefix: Option<String>,
    /// Paths that have a price of their own, in their plainest spelling.
    apart: Vec<String>,
    key: UpstreamKey,
    http: reqwest::Client,
}

impl Upstream {
    /// `path` is the route's: one path, or `/prefix/*`, where what is asked behind the prefix follows the address.
    pub fn new(path: &str, address: &str, key: UpstreamKey) -> Result<Self, String> {
        let address = Url::parse(address).map_err(|error| format!("upstream `{address}`: {error}"))?;
        let is_web = matches!(address.scheme(), "http" | "https") && address.host().is_some();
        let is_bare = address.username().is_empty()
            && address.password().is_none()
            && address.query().is_none()
            && address.fragment().is_none();
        if !is_web || !is_bare {
            let given = format!("{}://{}", address.scheme(), address.host_str().unwrap_or_default());
            return Err(format!(
                "an upstream is http or https, without user, query and fragment; one at {given} has more"
            ));
        }
        let prefix = path.strip_suffix('*').map(str::to_owned);
        if prefix.as_ref().is_some_and(|prefix| !prefix.ends_with('/')) {
            return Err(format!("a route is a path or ends with `/*`; `{path}` was given"));
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT);
        let http = http.build().map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { address, prefix, apart: Vec::new(), key, http })
    }

    /// Sells nothing under its prefix that has one of these paths, however they are spelled: an upstream that takes
    /// `/Gold/` for `/gold` would sell it at the price of whatever lies beside it.
    #[must_use]
    pub fn apart_from<'a>(mut self, paths: impl Iterator<Item = &'a str>) -> Self {
        self.apart = paths.map(plainest).collect();
        self
    }

    /// The handler, to be put behind a paywall.
    pub fn handler(self, methods: MethodFilter) -> MethodRouter {
        on(methods, forward).with_state(Arc::new(self))
    }

    /// The address that stands for this path and query there.
    fn target(&self, path: &str, query: Option<&str>) -> Result<Url, Problem> {
        let mut url = self.address.clone();
        if let Some(prefix) = &self.prefix {
            let rest = path.strip_prefix(prefix.as_str()).ok_or_else(|| ambiguous(path))?;
            if is_ambiguous(rest) || self.apart.contains(&plainest(path)) {
                return Err(ambiguous(path));
            }
            let wanted = format!("{}/{rest}", self.address.path().trim_end_matches('/'));
            url.set_path(&wanted);
            if url.path() != wanted {
                return Err(ambiguous(path));
            }
        }
        url.set_query(query);
        if url.query() != query {
            return Err(ambiguous(query.unwrap_or_default()));
        }
        Ok(url)
    }

    /// Headers for the upstream: the client's without ours and without those of the hop, and what we say, signed.
    fn headers(&self, request: &Said<'_>, came: &HeaderMap) -> Result<HeaderMap, Problem> {
        let mut headers = came.clone();
        hop::drop_headers(&mut headers);
        let spoken_for: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
        // What it charges is for the paywall to read, and to take out.
        for name in spoken_for {
            headers.remove(name);
        }
        for (name, value) in request.headers(&self.key).ok_or_else(defect)? {
            headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).map_err(|_| defect())?);
        }
        Ok(headers)
    }
}

/// What is said about a paid request, and signed.
struct Said<'a> {
    method: &'a str,
    url: &'a Url,
    paid: &'a Paid,
    body: &'a [u8],
    created_seconds: i64,
}

impl Said<'_> {
    fn headers(&self, key: &UpstreamKey) -> Option<Vec<(&'static str, String)>> {
        let claim = &self.paid.claim;
        let fields = [
            ("purser-payment-id", claim.to_string()),
            ("purser-payment-payer", format!("{:#x}", claim.payer)),
            ("purser-payment-asset", format!("{}/erc20:{:#x}", claim.network, claim.token)),
            ("purser-payment-amount", self.paid.amount.clone()),
            ("content-digest", format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(self.body)))),
        ];
        let mut base = format!(
            "\"@method\": {}\n\"@path\": {}\n\"@query\": ?{}\n",
            self.method,
            self.url.path(),
            self.url.query().unwrap_or_default()
        );
        let mut covered = String::from("(\"@method\" \"@path\" \"@query\"");
        for (name, value) in &fields {
            base.push_str(&format!("\"{name}\": {value}\n"));
            covered.push_str(&format!(" \"{name}\""));
        }
        let (created, id) = (self.created_seconds, &key.id);
        let parameters = format!("{covered});created={created};keyid=\"{id}\";alg=\"hmac-sha256\"");
        base.push_str(&format!("\"@signature-params\": {parameters}"));
        let signature = key.mac(&base)?;
        let signed =
            [("signature-input", format!("purser={parameters}")), ("signature", format!("purser=:{signature}:"))];
        Some(fields.into_iter().chain(signed).collect())
    }
}

/// More than one way to read it: dot segments, empty ones, path parameters, slashes and NUL in disguise, and letters that
/// need no encoding but have one (RFC 3986 section 6.2.2).
fn is_ambiguous(path: &str) -> bool {
    let empty_or_dots = |(index, segment): (usize, &str)| {
        matches!(segment, "." | "..") || (segment.is_empty() && index.saturating_add(1) < path.split('/').count())
    };
    let is_hidden = |code: &str| match code.get(..2).map(|code| u8::from_str_radix(code, 16)) {
        Some(Ok(byte)) => byte.is_ascii_alphanumeric() || b"-._~/\\;\0".contains(&byte),
        _ => true,
    };
    path.contains(['\\', ';'])
        || path.split('/').enumerate().any(empty_or_dots)
        || path.split('%').skip(1).any(is_hidden)
}

/// As an upstream that does not care about case and final slashes would read it.
fn plainest(path: &str) -> String {
    path.trim_end_matches('/').to_ascii_lowercase()
}

fn ambiguous(path: &str) -> Problem {
    let detail = format!(
        "a path with one reading was expected (no dot or empty segments, no `;`, nothing encoded without need); {} came",
        crate::problem::shown(path)
    );
    Problem::new(StatusCode::BAD_REQUEST, "path_ambiguous", detail)
}

fn defect() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "what was paid could not be told to the upstream")
}

/// Ours to say, or of the hop before: never a client's.
fn is_ours(name: &str) -> bool {
    name.starts_with("purser-")
        || matches!(name, "signature" | "signature-input" | "content-digest")
        || name.starts_with("x-forwarded-")
        || name == FORWARDED.as_str()
}

async fn forward(
    State(upstream): State<Arc<Upstream>>,
    Extension(paid): Extension<Paid>,
    request: Request<Body>,
) -> Response {
    match pass_on(&upstream, &paid, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn pass_on(upstream: &Upstream, paid: &Paid, request: Request<Body>) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let url = upstream.target(parts.uri.path(), parts.uri.query())?;
    // Read to its end and bounded by the paywall, which digested it.
    let body = body.collect().await.map_err(|_| defect())?.to_bytes();
    let created_seconds = time::OffsetDateTime::now_utc().unix_timestamp();
    let said = Said { method: parts.method.as_str(), url: &url, paid, body: &body, created_seconds };
    let headers = upstream.headers(&said, &parts.headers)?;
    let sent = upstream.http.request(parts.method.clone(), url.clone()).headers(headers).body(body).send().await;
    let response = sent.map_err(|error| {
        // Where it lies is not the client's business.
        tracing::warn!(upstream = %upstream.address, "an upstream gave no answer: {error}");
        let detail = "the service that has the resource gave no answer; nothing was charged";
        Problem::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", detail)
    })?;
    let (mut parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    hop::drop_headers(&mut parts.headers);
    let spoken_for: Vec<HeaderName> = parts
        .headers
        .keys()
        .filter(|name| *name != paywall::PURSER_CHARGE)
        .filter(|name| name.as_str().starts_with("purser-"))
        .cloned()
        .collect();
    for name in spoken_for {
        parts.headers.remove(name);
    }
    parts.version = http::Version::HTTP_11;
    Ok(Response::from_parts(parts, Body::new(body)))
}

#[cfg(test)]
mod tests;
