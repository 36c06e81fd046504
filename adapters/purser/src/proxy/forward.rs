//! One request: passed on, and paid for where its answer is a 402 of x402.
//!
//! 1. The body is read whole before anything is sent, because it may have to be sent twice; one that is longer than
//!    [`BODY_BYTES_MAX`] is refused whole.
//! 2. What is no 402 goes back as it comes. What came back to a payment does too, a second 402 among it.
//! 3. A payment that was begun is seen to its end, though the program has gone.
//! 4. A program that shows a payment of its own is left alone with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use payer::{Demand, Fetched, Opened, Payer, PayerError, wants_allowance};
use serde_json::Value;
use server::hop;
use server::problem::Problem;
use server::wallet::MandateWallet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::rustls;
use x402::wire::{PAYMENT_SIGNATURE, X_PAYMENT};

use super::deal::Deal;
use super::purchase::{Notebook, Wanted};
use super::target::{Form, Own, Place, Target, browser_refused, is_browser, take};
use crate::client::{Client, ClientError};
use crate::credential::Credential;
use crate::pay::Remote;

/// The longest body that is passed on.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of all bodies that are held at once. More waits.
const HELD_BYTES_MAX: usize = 16 * BODY_BYTES_MAX;
/// What is read of a longer one.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a whole body may take to come.
const BODY_PATIENCE: Duration = Duration::from_secs(60);

pub const PAYMENT: HeaderName = HeaderName::from_static("purser-payment");
pub const STATE: HeaderName = HeaderName::from_static("purser-payment-state");
pub const PURCHASE: HeaderName = super::target::PURCHASE;
pub const REFUSAL: HeaderName = HeaderName::from_static("purser-refusal");

/// A running proxy.
pub struct Proxy {
    pub own: Own,
    /// The service, past every proxy.
    pub client: Client,
    pub credential: Credential,
    pub service_url: String,
    pub mandate: String,
    /// The world outside. Follows no redirect, uses no proxy.
    pub outside: reqwest::Client,
    pub notebook: Notebook,
    pub window_seconds: i64,
    /// Bytes of bodies that may be held: [`room`].
    pub room: Arc<Semaphore>,
    /// Held by what is under way.
    pub busy: Arc<()>,
}

pub type Paying<'a> = Payer<MandateWallet<'a, Remote<'a>>>;

impl Proxy {
    /// Requests and payments that have not ended.
    pub fn under_way(&self) -> usize {
        Arc::strong_count(&self.busy).saturating_sub(1)
    }

    /// Answers one request. Whatever happens, there is an answer.
    pub async fn answer(self: Arc<Self>, place: Place, arrived: i64, request: Request<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        let mut form = Form::Proxied;
        let mut response = match self.clone().pass_on(&place, arrived, head, body, &mut form).await {
            Ok(response) => response,
            Err(problem) => self.own_answer(&problem),
        };
        if form == Form::Plain {
            // All hosts are one origin there, so a cookie of one would be shown to the others.
            response.headers_mut().remove(SET_COOKIE);
        }
        response
    }

    async fn pass_on(
        self: Arc<Self>,
        place: &Place,
        arrived: i64,
        mut head: Parts,
        body: Incoming,
        form: &mut Form,
    ) -> Result<Response, Problem> {
        let _busy = self.busy.clone();
        let target = self.own.target(place, &head)?;
        *form = target.form;
        let said = take(&mut head.headers)?;
        let (body, _room) = self.held(&head.headers, body).await?;
        let paid_already = head.headers.contains_key(PAYMENT_SIGNATURE) || head.headers.contains_key(X_PAYMENT);
        let browser = is_browser(&head.headers);
        let headers = self.onward(head.headers);
        let Target { url, program, .. } = target;
        if paid_already {
            let request = self.outside.request(head.method.clone(), url.clone()).headers(headers).body(body);
            let answer =
                request.send().await.map_err(|error| lost(&payer::lost::<ClientError>(url.as_str(), error)))?;
            return Ok(self.passed(answer, &head.method));
        }
        let wanted = Wanted {
            mandate: &self.mandate,
            program: &program,
            method: head.method.as_str(),
            url: url.as_str(),
            body: &body,
        };
        let fingerprint = wanted.fingerprint();
        let purchase = payer::Purchase {
            method: head.method.as_str().to_owned(),
            url: url.to_string(),
            headers,
            body,
            key: String::new(),
        };
        let remote = Remote { client: &self.client, credential: &self.credential };
        let opened = self.paying(&remote, None).open(&purchase).await.map_err(|error| lost(&error))?;
        let (fetched, demand) = match opened {
            Opened::Answer(answer) => {
                let allowance = wants_allowance(answer.status(), answer.headers());
                let mut response = self.passed(answer, &head.method);
                if allowance {
                    response.headers_mut().insert(REFUSAL, HeaderValue::from_static("permit2_allowance_required"));
                }
                return Ok(response);
            }
            Opened::Asked(challenge) => (challenge.fetched, challenge.demand),
        };
        // Nothing is given for a question about headers or methods: whatever it would cost, it is not paid.
        let is_asking = [Method::HEAD, Method::OPTIONS].contains(&head.method);
        let Some(demand) = demand.ok().filter(|_| !is_asking) else {
            let mut response = self.passed_whole(fetched);
            response.headers_mut().insert(REFUSAL, HeaderValue::from_static("not_payable"));
            return Ok(response);
        };
        if browser {
            let problem = Problem { status: StatusCode::PAYMENT_REQUIRED, ..browser_refused() };
            return Ok(self.refusal(&problem, fetched, &demand));
        }
        let host = host(&url);
        let deal = Deal { proxy: self, purchase, fetched, demand, said, arrived, fingerprint, host };
        // In a task of its own: a program that goes away takes its answer with it, not the payment.
        let ended = tokio::spawn(async move { deal.close().await }).await;
        ended.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "a payment broke off"))
    }

    /// What is said to the next hop.
    fn onward(&self, mut headers: HeaderMap) -> HeaderMap {
        // Some servers refuse a POST that does not say that it has no body; of a body its sender says the length.
        let empty = headers.get(CONTENT_LENGTH).filter(|length| *length == "0").cloned();
        hop::drop_headers(&mut headers);
        if let Some(empty) = empty {
            headers.insert(CONTENT_LENGTH, empty);
        }
        self.own.sign_via(&mut headers);
        headers
    }

    pub fn paying<'a>(&'a self, surface: &'a Remote<'a>, again_after: Option<&'a str>) -> Paying<'a> {
        let wallet = MandateWallet { surface, mandate: &self.mandate, cart: None, again_after, tell: &silent };
        Payer::with_client(self.outside.clone(), wallet)
    }

    /// The body, read whole and bounded, with its part of the room.
    async fn held(&self, headers: &HeaderMap, body: Incoming) -> Result<(Vec<u8>, OwnedSemaphorePermit), Problem> {
        let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let needed = if hyper::body::Body::is_end_stream(&body) { 0 } else { said.unwrap_or(BODY_BYTES_MAX) };
        let needed = u32::try_from(needed.min(BODY_BYTES_MAX)).unwrap_or(u32::MAX);
        let ending = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the proxy is ending");
        let room = self.room.clone().acquire_many_owned(needed).await.map_err(ending)?;
        let read = timeout(BODY_PATIENCE, read_body(body)).await.map_err(|_| {
            let detail = format!("a whole body was expected within {} s", BODY_PATIENCE.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
        })?;
        Ok((read?, room))
    }

    /// An answer, as it comes.
    pub fn passed(&self, answer: reqwest::Response, method: &Method) -> Response {
        let (mut parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        // Where there is no body its length is news all the same; elsewhere the body says it.
        let bare = *method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED;
        let length = parts.headers.get(CONTENT_LENGTH).cloned().filter(|_| bare);
        self.clean(&mut parts.headers);
        if let Some(length) = length {
            parts.headers.insert(CONTENT_LENGTH, length);
        }
        parts.version = http::Version::HTTP_11;
        Response::from_parts(parts, Body::new(body))
    }

    fn passed_whole(&self, fetched: Fetched) -> Response {
        let mut response = Response::new(Body::from(fetched.body));
        *response.status_mut() = fetched.status;
        *response.headers_mut() = fetched.headers;
        self.clean(response.headers_mut());
        response
    }

    /// Nobody else says what the proxy says.
    fn clean(&self, headers: &mut HeaderMap) {
        hop::drop_headers(headers);
        for name in [PAYMENT, STATE, PURCHASE, REFUSAL] {
            headers.remove(name);
        }
        self.own.sign_via(headers);
    }

    /// The original 402, with its challenge, and our reason: a problem document that has the members of the demand where
    /// the body was the demand (version 1).
    pub fn refusal(&self, problem: &Problem, fetched: Fetched, demand: &Demand) -> Response {
        let mut json = self.document(problem);
        if let (Demand::Body { body, .. }, Some(members)) = (demand, json.as_object_mut())
            && let Ok(Value::Object(asked)) = serde_json::from_slice(body)
        {
            for (name, value) in asked {
                members.entry(name).or_insert(value);
            }
        }
        let mut response = Response::new(Body::from(json.to_string()));
        *response.status_mut() = fetched.status;
        *response.headers_mut() = fetched.headers;
        self.clean(response.headers_mut());
        response.headers_mut().remove(CONTENT_ENCODING);
        self.mark(&mut response, problem);
        response
    }

    /// An answer of our own.
    pub fn own_answer(&self, problem: &Problem) -> Response {
        let mut response = problem.clone().into_response();
        *response.body_mut() = Body::from(self.document(problem).to_string());
        response.headers_mut().remove(CONTENT_LENGTH);
        self.mark(&mut response, problem);
        response
    }

    fn mark(&self, response: &mut Response, problem: &Problem) {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Ok(code) = HeaderValue::try_from(&problem.code) {
            response.headers_mut().insert(REFUSAL, code);
        }
    }

    /// The pages of the codes are the service's.
    fn document(&self, problem: &Problem) -> Value {
        let mut json = problem.to_json();
        if let Some(page) = json["type"].as_str().filter(|page| page.starts_with('/')) {
            json["type"] = format!("{}{page}", self.service_url).into();
        }
        json
    }
}

/// What is too long is read on and thrown away for a while: before it has written, a client does not read.
async fn read_body(mut body: Incoming) -> Result<Vec<u8>, Problem> {
    let (mut read, mut came) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::invalid("body", format!("the body broke off: {error}")))?;
        let part = frame.into_data().unwrap_or_default();
        came = came.saturating_add(part.len());
        match came {
            0..=BODY_BYTES_MAX => read.extend_from_slice(&part),
            _ if came > BODY_BYTES_MAX.saturating_add(DISCARDED_BYTES_MAX) => break,
            _ => read = Vec::new(),
        }
    }
    if came <= BODY_BYTES_MAX {
        return Ok(read);
    }
    let detail = format!("a body of at most {BODY_BYTES_MAX} bytes was expected, {came} came; nothing was sent on");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
}

pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(HELD_BYTES_MAX))
}

/// What is told goes into the log (`deal.rs`), without addresses.
fn silent(_: String) {}

/// Host and port: all of an address that belongs into a log.
pub fn host(url: &url::Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// No answer of the seller's; where that is because of its certificate, by that name.
pub fn lost<E: std::error::Error + 'static>(error: &PayerError<E>) -> Problem {
    let code = if is_of_certificate(error) { "seller_certificate_refused" } else { error.code() };
    let mut problem = Problem::new(StatusCode::BAD_GATEWAY, code, error.to_string());
    problem.retryable = code == "seller_unreachable";
    problem
}

fn is_of_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // What an I/O error was made of is none of its sources.
        let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = within.map(|within| within as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    false
}
