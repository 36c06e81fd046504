//! `POST /agentic_commerce/delegate_payment`, ACP 2026-04-17.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use commerce::acp::{DelegateRequest, is_moment, negotiate};
use engine::error::EngineError;
use engine::vault::{Delegated, Delegation, VaultError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ledger::id::BudgetId;
use serde_json::json;

use super::error::within_protocol;
use crate::App;
use crate::call::{Actor, bytes};
use crate::payments::KEY;
use crate::problem::{Problem, shown};

const VERSION: &str = "api-version";
/// As the specification bounds it.
const KEY_CHARS_MAX: usize = 255;
pub(super) const REPLAYED: &str = "idempotent-replayed";

/// Who calls, in which version, under which key, and only then what is asked.
#[utoipa::path(post, path = "/agentic_commerce/delegate_payment", tag = "vault",
    request_body(content = crate::schema::commerce::Allowing, description = "`DelegatePaymentRequest` of ACP 2026-04-17."),
    params(("API-Version" = String, Header, example = "2026-04-17"), ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255),
        ("Request-Id" = Option<String>, Header), ("Timestamp" = Option<String>, Header, description = "RFC 3339")),
    description = "An agent leaves a card and an allowance (Agentic Commerce Protocol, delegate payment): the most that the merchant may take is held under the agent's mandate, and a token is given for it. Errors have ACP's flat shape; ours is in the header Purser-Code.",
    responses((status = 201, body = crate::schema::commerce::VaultToken), (status = 400, body = crate::schema::commerce::AcpError),
        (status = 401, body = crate::schema::commerce::AcpError), (status = 409, body = crate::schema::commerce::AcpError),
        (status = 422, body = crate::schema::commerce::AcpError)), security(("bearer" = []), ("dpop" = [])))]
pub(crate) async fn delegate(
    State(app): State<App>,
    Actor(identity): Actor,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let version = only(&headers, VERSION).map_err(|()| several("API-Version"))?;
    negotiate(version).map_err(|refusal| Problem::from(EngineError::from(refusal)))?;
    timestamp(&headers).map_err(|why| Problem::invalid("Timestamp", why))?;
    let key = key(&headers)?;
    let kind = only(&headers, header::CONTENT_TYPE.as_str()).map_err(|()| several("Content-Type"))?;
    let is_json = kind.is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim() == "application/json");
    if !is_json {
        return Err(Problem::invalid("Content-Type", "Content-Type: application/json was expected, another one came"));
    }
    let mandate = named_mandate(&headers);
    let body = zeroize::Zeroizing::new(bytes(request, &app).await?.to_vec());
    let refused = |error: EngineError| within_protocol(error.into());
    let read = DelegateRequest::read(&body).map_err(|refusal| refused(VaultError::from(refusal).into()))?;
    read.check_apart_from("the header Idempotency-Key", &key).map_err(|refusal| refused(refusal.into()))?;
    let delegation = Delegation { request: &read, key: &key, mandate };
    let delegated = app.engine.delegate_payment(&identity, &delegation).await.map_err(refused)?;
    Ok(said(&delegated, headers.get(KEY)))
}

/// The mandate that the caller's access token names.
pub(super) fn named_mandate(headers: &HeaderMap) -> Option<BudgetId> {
    let bearer = only(headers, header::AUTHORIZATION.as_str()).ok().flatten();
    let (_, token) = bearer?.split_once(' ')?;
    identity::token::named_mandate(token)?.parse().ok()
}

fn said(delegated: &Delegated, key: Option<&HeaderValue>) -> Response {
    let body = json!({ "id": delegated.token, "created": delegated.created, "metadata": delegated.metadata });
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let headers = response.headers_mut();
    if let Some(key) = key {
        headers.insert(KEY, key.clone());
    }
    if delegated.is_replay {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The header `Timestamp` is of RFC 3339, where it comes.
pub(crate) fn timestamp(headers: &HeaderMap) -> Result<(), String> {
    match only(headers, "timestamp") {
        Ok(None) => Ok(()),
        Ok(Some(text)) if is_moment(text) => Ok(()),
        Ok(Some(text)) => Err(format!("Timestamp: a date and time of RFC 3339 was expected, {} came", shown(text))),
        Err(()) => Err("one Timestamp was expected, several came, or one that is no text".to_owned()),
    }
}

/// One key of 1 to 255 characters. It is opaque: bytes beyond ASCII are characters of their own.
pub(super) fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let required = |detail: String| {
        let mut problem = Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_required", detail);
        problem.field = Some("Idempotency-Key".into());
        problem
    };
    let mut values = headers.get_all(KEY).iter();
    let (found, None) = (values.next().map_or(&[][..], HeaderValue::as_bytes), values.next()) else {
        return Err(required("one Idempotency-Key was expected, several came".into()));
    };
    if (1..=KEY_CHARS_MAX).contains(&found.len()) {
        return Ok(found.iter().copied().map(char::from).collect());
    }
    let found = found.len();
    Err(required(format!("an Idempotency-Key of 1 to {KEY_CHARS_MAX} characters was expected, {found} came")))
}

/// The header's text, where it stands once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

fn several(name: &str) -> Problem {
    Problem::invalid(name, format!("one {name} was expected, several came, or one that is no text"))
}
