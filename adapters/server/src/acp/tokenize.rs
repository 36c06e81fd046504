//! `POST /tokenize` and `POST /detokenize` of UCP's tokenization guide. It leaves errors to whoever implements it: they are
//! problem documents, as everywhere that no protocol says otherwise.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use commerce::acp::Refusal;
use commerce::tokenize::{Detokenization, Tokenization, credential};
use engine::error::EngineError;
use engine::vault::{Detokenizing, Tokenizing};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::delegate::{REPLAYED, key, named_mandate};
use crate::App;
use crate::call::{Actor, bytes};
use crate::payments::KEY;
use crate::problem::Problem;

fn refused(refusal: Refusal) -> Problem {
    EngineError::from(refusal).into()
}

/// The guide has no keys, so one is taken where it comes.
fn named(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if headers.contains_key(KEY) { key(headers).map(Some) } else { Ok(None) }
}

#[utoipa::path(post, path = "/tokenize", tag = "vault",
    request_body(content = crate::schema::commerce::Tokenize, description = "A card and the checkout that it is for, as UCP's tokenization guide has them; `mandate` and `allowance` are ours."),
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255)),
    description = "An agent leaves a card for a checkout (UCP, tokenization): the most that the merchant may take is held under the agent's mandate, and a token is given for it that is good for a quarter of an hour. Where `allowance` does not say how much, it is the total of a checkout of this service's shop.",
    responses((status = 200, body = crate::schema::commerce::Tokenized), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 422), (status = 503)), security(("bearer" = []), ("dpop" = [])))]
pub(crate) async fn tokenize(
    State(app): State<App>,
    Actor(identity): Actor,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let key = named(&headers)?;
    let body = zeroize::Zeroizing::new(bytes(request, &app).await?.to_vec());
    let read = Tokenization::read(&body).map_err(refused)?;
    if let Some(key) = &key {
        read.check_apart_from("the header Idempotency-Key", key).map_err(refused)?;
    }
    let asked = Tokenizing { request: &read, key: key.as_deref(), mandate: named_mandate(&headers) };
    let given = app.engine.tokenize(&identity, &asked).await?;
    let mut response = Json(json!({ "token": given.token })).into_response();
    if given.is_replay {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What a capture of the merchant's own goes by, in its processor's notice and settlement file.
const PAYMENT: HeaderName = HeaderName::from_static("purser-payment-id");
const CAPTURE_KEY: HeaderName = HeaderName::from_static("purser-capture-key");

#[utoipa::path(post, path = "/detokenize", tag = "vault",
    request_body(content = crate::schema::commerce::Detokenize, description = "A token, and what it is bound to."),
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255)),
    description = "The merchant of a token is handed the card, once (UCP, tokenization), where the operator configured that it may be: all that the token holds is committed first, and ends by the processor's notice or its settlement file, under `Purser-Payment-Id` and `Purser-Capture-Key`. The same again under the same key is the same card.",
    responses((status = 200, body = serde_json::Map<String, serde_json::Value>), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 410), (status = 422), (status = 503)), security(("bearer" = []), ("dpop" = [])))]
pub(crate) async fn detokenize(
    State(app): State<App>,
    Actor(identity): Actor,
    request: Request,
) -> Result<Response, Problem> {
    let key = named(request.headers())?;
    let body = bytes(request, &app).await?;
    let read = Detokenization::read(&body).map_err(refused)?;
    let asked = Detokenizing { token: &read.token, binding: &read.binding, key: key.as_deref() };
    let given = app.engine.detokenize(&identity, &asked).await?;
    let mut response = Json(credential(&given.card)).into_response();
    for (name, text) in [(PAYMENT, given.payment.to_string()), (CAPTURE_KEY, given.capture_key)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}
