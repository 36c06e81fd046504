//! One purchase: which one it is, the payment, and what the program is told of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use ledger::id::Digest;
use payer::{Demand, Fetched, PayerError, Presented};
use serde_json::Value;
use server::problem::Problem;
use server::wallet::{Call, MandateWallet, Surface as _, key_of, plain};

use super::forward::{PAYMENT, PURCHASE, Proxy, STATE, lost};
use super::purchase::{Note, PurchaseError, Standing, never_happened, standing};
use super::target::Said;
use crate::client::ClientError;
use crate::pay::Remote;

/// What was asked for, and by whom.
pub struct Deal {
    pub proxy: Arc<Proxy>,
    pub purchase: payer::Purchase,
    /// The 402.
    pub fetched: Fetched,
    pub demand: Demand,
    pub said: Said,
    /// When the request came, in unix seconds.
    pub arrived: i64,
    pub fingerprint: Digest,
    pub host: String,
}

type Shown<'a> = Presented<MandateWallet<'a, Remote<'a>>>;
type Failed = PayerError<ClientError>;

/// Under which key, and what is remembered of it; nothing is of a purchase that the program named.
#[derive(Clone)]
struct Chosen {
    key: String,
    note: Option<Note>,
    age: Age,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    /// Drawn for this request: nobody was asked under it before.
    Fresh,
    Known,
}

impl Deal {
    /// Pays, and gives what the seller answered to that; or the 402, and why it was not paid.
    pub async fn close(mut self) -> Response {
        let _busy = self.proxy.busy.clone();
        let turn = match &self.said.purchase {
            Some(name) => Digest::of_parts("purser/proxy-name/1", &[name.as_bytes()]),
            None => self.fingerprint,
        };
        let _turn = self.proxy.notebook.turn(turn).await;
        let proxy = self.proxy.clone();
        let remote = Remote { client: &proxy.client, credential: &proxy.credential };
        let again_after = self.said.again_after.clone();
        let payer = proxy.paying(&remote, again_after.as_deref());
        let mut chosen = match self.choose(&remote).await {
            Ok(chosen) => chosen,
            Err(error) => return proxy.own_answer(&unwritten(&error)),
        };
        self.purchase.key.clone_from(&chosen.key);
        match payer.come_back(&self.purchase, &self.demand).await {
            Ok(Some(answer)) => return self.came_back(&chosen, answer),
            Ok(None) => {}
            Err(error) => return proxy.own_answer(&lost(&error)),
        }
        let mut shown = payer.present(&self.purchase, &self.demand).await;
        if let Err(error) = &shown
            && self.came_to_nothing(&remote, &chosen, error).await
        {
            chosen = match self.begin().await {
                Ok(chosen) => chosen,
                Err(error) => return proxy.own_answer(&unwritten(&error)),
            };
            self.purchase.key.clone_from(&chosen.key);
            shown = payer.present(&self.purchase, &self.demand).await;
        }
        match shown {
            Ok(shown) => self.told(chosen, shown),
            Err(error) => self.unpaid(&chosen, &error),
        }
    }

    /// What the seller answered to who paid before: nothing is bought, so nothing is remembered.
    fn came_back(&self, chosen: &Chosen, answer: reqwest::Response) -> Response {
        let (method, host, answered) = (plain(&self.purchase.method), &self.host, answer.status().as_u16());
        tracing::info!(method, host, answered, "signed in as who paid");
        if chosen.note.is_some() && chosen.age == Age::Fresh {
            warned(self.proxy.notebook.forget(self.fingerprint, &chosen.key));
        }
        self.proxy.passed(answer, &self.purchase.method.parse().unwrap_or(Method::GET))
    }

    /// By the rule (`purchase.rs`).
    async fn choose(&self, remote: &Remote<'_>) -> Result<Chosen, PurchaseError> {
        if let Some(name) = &self.said.purchase {
            return Ok(Chosen { key: key_of(name), note: None, age: Age::Known });
        }
        let note = self.proxy.notebook.note(self.fingerprint);
        let same = |note: Note| Chosen { key: note.key.clone(), note: Some(note), age: Age::Known };
        match standing(note.as_ref(), self.arrived, self.proxy.window_seconds) {
            Standing::New => self.begin().await,
            Standing::Same(note) => Ok(same(note)),
            Standing::Passed(note) => match state(remote, &note).await {
                Some(state) if state == "settled" || never_happened(&state) => self.begin().await,
                _ => Ok(same(note)),
            },
        }
    }

    async fn begin(&self) -> Result<Chosen, PurchaseError> {
        let (proxy, request) = (self.proxy.clone(), self.fingerprint);
        // It waits for the disk.
        let begun = tokio::task::spawn_blocking(move || proxy.notebook.begin(request, now())).await;
        let note = begun.map_err(|error| PurchaseError::Unwritten(error.to_string()))??;
        Ok(Chosen { key: note.key.clone(), note: Some(note), age: Age::Fresh })
    }

    /// Whether the purchase that was begun before is proved never to have been paid.
    async fn came_to_nothing(&self, remote: &Remote<'_>, chosen: &Chosen, error: &Failed) -> bool {
        let (Some(note), Age::Known) = (&chosen.note, chosen.age) else { return false };
        match code(error) {
            Some("spend_released") => true,
            // The seller asks for something else now; what was begun decides.
            Some("idempotency_key_reused") => state(remote, note).await.is_some_and(|state| never_happened(&state)),
            _ => false,
        }
    }

    /// What the seller answered to the payment, and what the wallet found.
    fn told(&self, chosen: Chosen, shown: Shown<'_>) -> Response {
        let Presented { payment, answer, outcome } = shown;
        let state = match &outcome {
            Ok(view) => view["state"].as_str().unwrap_or("unknown").to_owned(),
            Err(_) => "unknown".to_owned(),
        };
        let answered = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        let (method, host, payment_id) = (plain(&self.purchase.method), &self.host, &payment.id);
        tracing::info!(method, host, payment = payment_id, state, answered, "{}", price(&outcome));
        let notebook = &self.proxy.notebook;
        if chosen.note.is_some() {
            warned(notebook.paid(self.fingerprint, &chosen.key, &payment.id, now()));
        }
        let mut response = match answer {
            Ok(answer) => {
                let delivers = answer.status().is_success();
                let method = self.purchase.method.parse().unwrap_or(Method::GET);
                let response = self.proxy.passed(answer, &method);
                if delivers && chosen.note.is_some() { self.watched(response, &chosen.key) } else { response }
            }
            Err(error) => {
                let mut problem = lost(&error);
                problem.detail = format!(
                    "{}; payment {} was shown to it and is {state}: the same request is the same purchase",
                    problem.detail, payment.id
                );
                self.proxy.own_answer(&problem)
            }
        };
        let headers = response.headers_mut();
        for (name, value) in [(PAYMENT, &payment.id), (STATE, &state), (PURCHASE, &chosen.key)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }

    /// Writes down that it was delivered, once the body is handed on whole.
    fn watched(&self, response: Response, key: &str) -> Response {
        let (proxy, request, key) = (self.proxy.clone(), self.fingerprint, key.to_owned());
        let delivered = Box::new(move || warned(proxy.notebook.delivered(request, &key, now())));
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, Body::new(Delivery::new(body, delivered)))
    }

    /// The 402, and why it was not paid.
    fn unpaid(&self, chosen: &Chosen, error: &Failed) -> Response {
        let (refused, status) = match error {
            PayerError::Wallet(ClientError::Refused { status, .. }) => (true, *status),
            _ => (false, 0),
        };
        let definite = refused && (400..500).contains(&status);
        if definite && chosen.age == Age::Fresh {
            // A key that nobody was asked under before, and that was refused: nothing is signed under it.
            warned(self.proxy.notebook.forget(self.fingerprint, &chosen.key));
        }
        let code = code(error).unwrap_or("request_refused").to_owned();
        tracing::info!(method = plain(&self.purchase.method), host = self.host, code, "not paid");
        let mut detail = match error {
            PayerError::Wallet(ClientError::Refused { detail, .. }) => detail.clone(),
            other => other.to_string(),
        };
        if chosen.age == Age::Known && chosen.note.is_some() {
            detail.push_str("; it is the purchase that was begun before: another one has a name (Purser-Purchase)");
        }
        if definite && status != 429 {
            let mut problem = Problem::new(StatusCode::PAYMENT_REQUIRED, code, detail);
            problem.values.insert("purchase".into(), chosen.key.as_str().into());
            let (fetched, demand) = (self.fetched.clone(), &self.demand);
            return self.proxy.refusal(&problem, fetched, demand);
        }
        // Nobody said no: it may have been signed, and the same request finds it.
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        problem.retryable = true;
        self.proxy.own_answer(&problem)
    }
}

/// What is not recorded leaves the purchase the same one.
fn warned(recorded: Result<(), PurchaseError>) {
    if let Err(error) = recorded {
        tracing::warn!("{error}");
    }
}

fn unwritten(error: &PurchaseError) -> Problem {
    let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), error.to_string());
    problem.retryable = true;
    problem
}

pub fn now() -> i64 {
    store::wall_clock()().seconds()
}

fn code(error: &Failed) -> Option<&str> {
    match error {
        PayerError::Wallet(ClientError::Refused { code, .. }) => code.as_deref(),
        PayerError::Wallet(ClientError::Unreachable { .. }) => Some("service_unreachable"),
        PayerError::Wallet(ClientError::Unreadable { .. }) => Some("service_unreadable"),
        other => Some(other.code()),
    }
}

/// What the service says of a payment; nothing where there is none, or no answer.
async fn state(remote: &Remote<'_>, note: &Note) -> Option<String> {
    let view = remote.call(Call::get(format!("/v1/payments/{}", note.payment.as_ref()?))).await.ok()?;
    view["state"].as_str().map(str::to_owned)
}

fn price(outcome: &Result<Value, ClientError>) -> String {
    let text = |name: &str| outcome.as_ref().ok().and_then(|view| view[name].as_str()).unwrap_or("-").to_owned();
    format!("{} of {} to {}", text("amount"), text("asset"), text("pay_to"))
}

/// A body that tells when it was taken to its end.
struct Delivery {
    body: Body,
    delivered: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Delivery {
    fn new(body: Body, delivered: Box<dyn Fn() + Send + Sync>) -> Self {
        let mut delivery = Self { body, delivered: Some(delivered) };
        delivery.look();
        delivery
    }

    /// Whoever knows the length asks for no more than that, so the end is looked for after each part.
    fn look(&mut self) {
        if self.body.is_end_stream()
            && let Some(delivered) = self.delivered.take()
        {
            delivered();
        }
    }
}

impl HttpBody for Delivery {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None) => {
                if let Some(delivered) = self.delivered.take() {
                    delivered();
                }
            }
            Poll::Ready(Some(Ok(_))) => self.look(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
