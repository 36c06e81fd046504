//! The simulator's routes: claim the key, do the work, write it down, and only then answer, or lose the answer.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use engine::rate::{authority_from_minor, authority_to_major};
use engine::vault::ProcessorAnswer;
use http::{HeaderMap, StatusCode};
use ledger::id::Digest;
use ledger::money::Amount;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Simulator;
use super::book::{Book, Deed, Entry};
use super::cards::{Behaviour, behaviour};
use crate::acquirer::signature;

/// When a late notice is sent, and when again.
const NOTICES_AFTER: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(300)];
const SLOW: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Sale {
    payment: String,
    amount: Amount,
    currency: String,
    card: CardOf,
    #[serde(default)]
    notify_url: Option<String>,
}

/// Nothing but what a card does is looked at, and nothing of it is kept.
#[derive(Deserialize)]
struct CardOf {
    number: String,
}

#[derive(Deserialize)]
struct Later {
    amount: Amount,
    currency: String,
}

/// A refusal of the call itself: nothing was done.
struct Refused(StatusCode, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl Simulator {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a caller who knows the secret.
    fn key(&self, headers: &HeaderMap) -> Result<String, Refused> {
        self.admit(headers)?;
        let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).filter(|key| !key.is_empty());
        key.map(str::to_owned).ok_or(Refused(StatusCode::BAD_REQUEST, "Idempotency-Key was expected"))
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let shown = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        // Equal digests say it without saying how far they agree.
        if Digest::of(shown.as_bytes()) == Digest::of(self.secret.as_bytes()) {
            return Ok(());
        }
        Err(Refused(StatusCode::UNAUTHORIZED, "the secret was expected"))
    }

    /// What was done under the key, or what is done now.
    fn once(
        &self,
        key: &str,
        request: Digest,
        act: impl FnOnce(&Book) -> Result<Entry, Refused>,
    ) -> Result<Entry, Refused> {
        let mut book = self.book();
        if let Some(known) = book.under(key) {
            if known.request != request {
                return Err(Refused(StatusCode::CONFLICT, "this key was used for another request"));
            }
            return Ok(known.clone());
        }
        let entry = act(&book)?;
        book.write(entry.clone()).map_err(|_| Refused(StatusCode::INTERNAL_SERVER_ERROR, "nothing was done"))?;
        Ok(entry)
    }

    fn notify(&self, url: String, entry: &Entry) {
        let mut notice = serde_json::to_value(&entry.answer).unwrap_or_default();
        notice["payment"] = entry.payment.as_str().into();
        notice["key"] = entry.key.as_str().into();
        let (body, client, secret) = (notice.to_string(), self.client.clone(), self.secret.clone());
        tokio::spawn(async move {
            for after in NOTICES_AFTER {
                tokio::time::sleep(after).await;
                let signature = signature::sign(&secret, now(), body.as_bytes()).unwrap_or_default();
                let call = client.post(&url).header(signature::HEADER, signature);
                let sent = call.header("content-type", "application/json").body(body.clone()).send().await;
                if let Err(error) = sent {
                    tracing::debug!("a notice did not arrive: {}", error.without_url());
                }
            }
        });
    }
}

fn now() -> i64 {
    store::wall_clock()().seconds()
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|_| Refused(StatusCode::BAD_REQUEST, "another body was expected"))
}

fn done(number: usize, amount: Amount, currency: &str) -> ProcessorAnswer {
    let (id, network_id) = (format!("acq_{number:08}"), format!("net_{number:08}"));
    ProcessorAnswer::Done { id, network_id, amount, currency: currency.to_owned() }
}

fn declined(code: &str) -> ProcessorAnswer {
    ProcessorAnswer::Declined { code: code.to_owned(), message: format!("the issuer said {}", code.replace('_', " ")) }
}

fn said(answer: &ProcessorAnswer) -> Response {
    let status = match answer {
        ProcessorAnswer::Done { .. } => StatusCode::OK,
        ProcessorAnswer::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
    };
    (status, Json(answer.clone())).into_response()
}

/// As a gateway says it whose backend went away.
fn lost() -> Response {
    Refused(StatusCode::GATEWAY_TIMEOUT, "no answer").into_response()
}

pub(super) async fn sale(State(app): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    begin(&app, &headers, &body, Deed::Capture).await.unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn authorize(State(app): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response {
    begin(&app, &headers, &body, Deed::Authorize).await.unwrap_or_else(IntoResponse::into_response)
}

async fn begin(app: &Simulator, headers: &HeaderMap, body: &[u8], deed: Deed) -> Result<Response, Refused> {
    let key = app.key(headers)?;
    let sale: Sale = read(body)?;
    let behaviour = behaviour(&sale.card.number);
    if behaviour == Behaviour::LostQuestion && app.book().lose(&key) {
        return Ok(lost());
    }
    let asked = [sale.payment.as_bytes(), sale.amount.to_string().as_bytes(), sale.currency.as_bytes()].concat();
    let entry = app.once(&key, Digest::of(&asked), |book| {
        let is_first = book.of_payment(&sale.payment).next().is_none();
        let answer = match behaviour {
            Behaviour::Declined(code) => declined(code),
            Behaviour::FileOnlyDeclined => declined("card_declined"),
            Behaviour::DeclinedFirst if is_first => declined("card_declined"),
            _ => done(book.number(), sale.amount, &sale.currency),
        };
        let (payment, currency) = (sale.payment.clone(), sale.currency.clone());
        let request = Digest::of(&asked);
        Ok(Entry {
            key: key.clone(),
            request,
            amount: sale.amount,
            currency,
            deed,
            payment,
            of: None,
            answer,
            at: now(),
        })
    })?;
    match behaviour {
        Behaviour::LostAnswer if app.book().lose(&key) => Ok(lost()),
        Behaviour::FileOnly | Behaviour::FileOnlyDeclined => Ok(lost()),
        Behaviour::NoticeOnly => {
            if let Some(url) = sale.notify_url.filter(|_| app.book().lose(&key)) {
                app.notify(url, &entry);
            }
            Ok(lost())
        }
        Behaviour::Slow => {
            tokio::time::sleep(SLOW).await;
            Ok(said(&entry.answer))
        }
        _ => Ok(said(&entry.answer)),
    }
}

pub(super) async fn capture(
    State(app): State<Simulator>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    later(&app, &headers, &id, &body, (Deed::Authorize, Deed::Capture)).unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn refund(
    State(app): State<Simulator>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    later(&app, &headers, &id, &body, (Deed::Capture, Deed::Refund)).unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn void(State(app): State<Simulator>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let body = match app.book().named(&id) {
        Some((of, _)) => json!({ "amount": of.amount, "currency": of.currency }),
        None => json!({}),
    };
    let body = body.to_string();
    later(&app, &headers, &id, body.as_bytes(), (Deed::Authorize, Deed::Void))
        .unwrap_or_else(IntoResponse::into_response)
}

/// What is done about an earlier deed: never for more than that was.
fn later(
    app: &Simulator,
    headers: &HeaderMap,
    id: &str,
    body: &[u8],
    (of, deed): (Deed, Deed),
) -> Result<Response, Refused> {
    let key = app.key(headers)?;
    let asked: Later = read(body)?;
    let request = Digest::of(format!("{id}/{:?}/{}/{}", deed, asked.amount, asked.currency).as_bytes());
    let entry = app.once(&key, request, |book| {
        let (first, since) = book.named(id).ok_or(Refused(StatusCode::NOT_FOUND, "there is none like it"))?;
        let is_of = first.deed == of && first.currency == asked.currency && !asked.amount.is_zero();
        let before = since.iter().filter(|entry| matches!(entry.answer, ProcessorAnswer::Done { .. }));
        let taken = before.clone().try_fold(Amount::ZERO, |sum, entry| sum.checked_add(entry.amount));
        let left = taken.and_then(|taken| first.amount.checked_sub(taken)).unwrap_or(Amount::ZERO);
        // An authorization is captured or voided once; of a capture parts may be refunded.
        let is_over = of == Deed::Authorize && before.count() > 0;
        let answer = match is_of && !is_over && asked.amount <= left {
            true => done(book.number(), asked.amount, &asked.currency),
            false => declined("not_possible"),
        };
        let (payment, currency) = (first.payment.clone(), asked.currency.clone());
        let of = Some(id.to_owned());
        Ok(Entry { key: key.clone(), request, amount: asked.amount, currency, deed, payment, of, answer, at: now() })
    })?;
    Ok(said(&entry.answer))
}

pub(super) async fn payment(State(app): State<Simulator>, Path(payment): Path<String>, headers: HeaderMap) -> Response {
    if let Err(refused) = app.admit(&headers) {
        return refused.into_response();
    }
    let book = app.book();
    let deeds: Vec<Value> = book
        .of_payment(&payment)
        .map(|entry| json!({ "deed": entry.deed, "amount": entry.amount, "answer": entry.answer, "at": entry.at }))
        .collect();
    Json(json!({ "payment": payment, "deeds": deeds })).into_response()
}

pub(super) async fn settlement(State(app): State<Simulator>) -> Response {
    let major = |amount: Amount, currency: &str| {
        let units = authority_from_minor(amount).unwrap_or(amount);
        authority_to_major(units, currency).unwrap_or_else(|_| amount.to_string())
    };
    ([(http::header::CONTENT_TYPE, "text/csv")], app.book().settlement(major)).into_response()
}
