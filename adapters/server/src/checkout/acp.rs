//! Agentic Checkout of ACP 2026-04-17: `/checkout_sessions…` and `/.well-known/acp.json`.
//!
//! What is looked at first is answered first: who calls, the version, the key, the body.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use commerce::acp_checkout::read::{self, Asked};
use commerce::acp_checkout::{VERSIONS, write};
use commerce::checkout::{Protocol, Refusal};
use commerce::ucp::negotiate::Active;
use commerce::ucp::{AP2, CHECKOUT};
use engine::checkout::{Call, Operation, Presented, Reply};
use http::Method;
use http::request::Parts;
use identity::callers::Call as Door;
use ledger::id::Digest;
use mandates::canonical::canonical_object;
use mandates::json::Object;
use serde_json::{Value, json};

use super::{Doors, IDEMPOTENCY_KEY, answer, key, name, published, said};
use crate::acp::timestamp;
use crate::call::{bytes, identify, parse_object};
use crate::problem::{Problem, shown};

const API_VERSION: http::HeaderName = http::HeaderName::from_static("api-version");

/// A flat `Error`.
fn error(status: u16, code: &str, message: &str, param: Option<&str>) -> Reply {
    let kind = match status {
        503 | 429 => "service_unavailable",
        500.. => "processing_error",
        _ => "invalid_request",
    };
    let mut body = json!({ "type": kind, "code": code, "message": message });
    if let Some(param) = param {
        body["param"] = param.into();
    }
    said(status, body)
}

fn of_problem(problem: &Problem) -> Reply {
    error(problem.status.as_u16(), &problem.code, &problem.detail, None)
}

/// One of the dates that are understood.
fn check_version(parts: &Parts) -> Result<(), Reply> {
    let supported = |code: &str, message: String| {
        let mut reply = error(400, code, &message, None);
        reply.body["supported_versions"] = json!(VERSIONS);
        reply
    };
    let expected = VERSIONS.join(", ");
    match name(&parts.headers, &API_VERSION) {
        Ok(Some(version)) if VERSIONS.contains(&version.as_str()) => Ok(()),
        Ok(Some(version)) => {
            let message = format!("API-Version {expected} was expected, {} came", shown(&version));
            Err(supported("unsupported_api_version", message))
        }
        Ok(None) => Err(supported("missing_api_version", format!("API-Version {expected} was expected, none came"))),
        Err(why) => Err(supported("unsupported_api_version", why)),
    }
}

/// `Timestamp` is of RFC 3339, where it comes. How old it is means nothing: no signature covers it.
fn check_timestamp(parts: &Parts) -> Result<(), Reply> {
    match timestamp(&parts.headers) {
        Ok(()) => Ok(()),
        Err(why) => Err(error(400, "invalid", &why, None)),
    }
}

/// Who calls, and with which key; and the body, if there is one.
async fn received(doors: &Doors, request: Request) -> Result<(Parts, Call, Option<Object>), (Parts, Reply)> {
    let (parts, body) = request.into_parts();
    let turned_away = |reply: Reply| (parts.clone(), reply);
    let identity =
        identify(&parts, &doors.app, Door::Reads).await.map_err(|problem| turned_away(of_problem(&problem)))?;
    check_version(&parts).map_err(&turned_away)?;
    check_timestamp(&parts).map_err(&turned_away)?;
    let named = match name(&parts.headers, &IDEMPOTENCY_KEY) {
        Ok(None) if parts.method == Method::POST => {
            let message = "a POST has an Idempotency-Key; none came";
            return Err(turned_away(error(400, "idempotency_key_required", message, None)));
        }
        Ok(named) => named.filter(|_| parts.method == Method::POST),
        Err(why) => return Err(turned_away(error(400, "idempotency_key_invalid", &why, None))),
    };
    let body = bytes(Request::from_parts(parts.clone(), body), &doors.app).await;
    let body = body.map_err(|problem| turned_away(of_problem(&problem)))?;
    let object = match body.is_empty() {
        true => None,
        false => Some(parse_object(&body).map_err(|problem| turned_away(of_problem(&problem)))?),
    };
    // Equal as JSON is equal: 1.0 is 1, the order of members does not count, null is not nothing. A number that no double
    // is has no canonical form: such a body is the same where its bytes are.
    let fingerprint = match object.as_ref().map(canonical_object).transpose() {
        Ok(text) => Digest::of(text.unwrap_or_default().as_bytes()),
        Err(_) => Digest::of_parts("purser/acp-body/1", &[&body]),
    };
    let owner = owner(&identity);
    let call = Call {
        tenant: doors.setup.tenant.clone(),
        protocol: Protocol::Acp,
        opener: owner.clone(),
        owner,
        key: named.map(|text| key(&parts, text, fingerprint)),
    };
    Ok((parts, call, object))
}

/// What a caller's checkouts and orders call it.
pub(super) fn owner(identity: &engine::Identity) -> String {
    let caller = &identity.caller;
    format!("acp:{}/{}/{}", identity.tenant, caller.kind, caller.principal)
}

/// Reads the request as this operation, and does it.
async fn serve(
    doors: &Doors,
    request: Request,
    operation: impl FnOnce(Option<Object>) -> Result<Operation, Refusal>,
) -> Response {
    let (parts, call, object) = match received(doors, request).await {
        Ok(received) => received,
        Err((parts, reply)) => return answer(&parts.headers, reply),
    };
    let operation = operation(object).unwrap_or_else(Operation::Unread);
    let reply = doors.app.engine.checkout(&call, &operation).await;
    let reply = reply.unwrap_or_else(|error| of_problem(&error.into()));
    answer(&parts.headers, reply)
}

fn given(body: Option<Object>) -> Result<Object, Refusal> {
    body.ok_or_else(|| Refusal::new(commerce::checkout::Code::Missing, "$", "a JSON object was expected; nothing came"))
}

#[utoipa::path(post, path = "/checkout_sessions", tag = "shop", request_body(content = crate::schema::commerce::AcpCreate, description = "`CheckoutSessionCreateRequest` of ACP 2026-04-17."),
    params(("API-Version" = String, Header, example = "2026-04-17"), ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255), ("Request-Id" = Option<String>, Header), ("Timestamp" = Option<String>, Header, description = "RFC 3339")),
    description = "A shop that agents buy from, where the service has one: opens a checkout (Agentic Commerce Protocol).",
    responses((status = 201, body = crate::schema::commerce::AcpCheckout), (status = 400, body = crate::schema::commerce::AcpError), (status = 401, body = crate::schema::commerce::AcpError), (status = 409, body = crate::schema::commerce::AcpError), (status = 422, body = crate::schema::commerce::AcpError)), security(("bearer" = []), ("dpop" = [])))]
pub async fn open(State(doors): State<Doors>, request: Request) -> Response {
    serve(&doors, request, |body| {
        let (change, asked) = read::create(&given(body)?)?;
        let active = if asked == Asked::Ap2 { Active::of([CHECKOUT, AP2]) } else { Active::of([CHECKOUT]) };
        Ok(Operation::Open { change, active })
    })
    .await
}

#[utoipa::path(get, path = "/checkout_sessions/{id}", tag = "shop", 
    params(("id" = String, Path), ("API-Version" = String, Header, example = "2026-04-17"), ("Request-Id" = Option<String>, Header), ("Timestamp" = Option<String>, Header, description = "RFC 3339")),
    description = "A checkout of the caller.",
    responses((status = 200, body = crate::schema::commerce::AcpCheckout), (status = 400, body = crate::schema::commerce::AcpError), (status = 401, body = crate::schema::commerce::AcpError), (status = 404, body = crate::schema::commerce::AcpError)), security(("bearer" = []), ("dpop" = [])))]
pub async fn show(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Response {
    serve(&doors, request, |_| Ok(Operation::Show { id })).await
}

#[utoipa::path(post, path = "/checkout_sessions/{id}", tag = "shop", request_body(content = crate::schema::commerce::AcpUpdate, description = "`CheckoutSessionUpdateRequest` of ACP 2026-04-17."),
    params(("id" = String, Path), ("API-Version" = String, Header, example = "2026-04-17"), ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255), ("Request-Id" = Option<String>, Header), ("Timestamp" = Option<String>, Header, description = "RFC 3339")),
    description = "Changes a checkout; what is not said is kept.",
    responses((status = 200, body = crate::schema::commerce::AcpCheckout), (status = 400, body = crate::schema::commerce::AcpError), (status = 401, body = crate::schema::commerce::AcpError), (status = 404, body = crate::schema::commerce::AcpError), (status = 405, body = crate::schema::commerce::AcpError), (status = 409, body = crate::schema::commerce::AcpError), (status = 422, body = crate::schema::commerce::AcpError)), security(("bearer" = []), ("dpop" = [])))]
pub async fn change(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Response {
    serve(&doors, request, |body| Ok(Operation::Change { id, change: read::change(&given(body)?)? })).await
}

#[utoipa::path(post, path = "/checkout_sessions/{id}/cancel", tag = "shop", request_body(content = crate::schema::commerce::AcpCancel, description = "`CancelSessionRequest` of ACP 2026-04-17."),
    params(("id" = String, Path), ("API-Version" = String, Header, example = "2026-04-17"), ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255), ("Request-Id" = Option<String>, Header), ("Timestamp" = Option<String>, Header, description = "RFC 3339")),
    description = "Cancels a checkout.",
    responses((status = 200, body = crate::schema::commerce::AcpCheckout), (status = 400, body = crate::schema::commerce::AcpError), (status = 401, body = crate::schema::commerce::AcpError), (status = 404, body = crate::schema::commerce::AcpError), (status = 405, body = crate::schema::commerce::AcpError), (status = 409, body = crate::schema::commerce::AcpError), (status = 422, body = crate::schema::commerce::AcpError)), security(("bearer" = []), ("dpop" = [])))]
pub async fn cancel(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Response {
    serve(&doors, request, |body| {
        body.as_ref().map_or(Ok(()), read::cancel)?;
        Ok(Operation::Cancel { id })
    })
    .await
}

#[utoipa::path(post, path = "/checkout_sessions/{id}/complete", tag = "shop", request_body(content = crate::schema::commerce::AcpComplete, description = "`CheckoutSessionCompleteRequest` of ACP 2026-04-17, and `ap2` where that was negotiated."),
    params(("id" = String, Path), ("API-Version" = String, Header, example = "2026-04-17"), ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255), ("Request-Id" = Option<String>, Header), ("Timestamp" = Option<String>, Header, description = "RFC 3339")),
    description = "Pays for a checkout, with a vault token or with mandates. A payment that is declined is a checkout that is ready again.",
    responses((status = 200, body = crate::schema::commerce::AcpCheckout), (status = 400, body = crate::schema::commerce::AcpError), (status = 401, body = crate::schema::commerce::AcpError), (status = 404, body = crate::schema::commerce::AcpError), (status = 405, body = crate::schema::commerce::AcpError), (status = 409, body = crate::schema::commerce::AcpError), (status = 422, body = crate::schema::commerce::AcpError)), security(("bearer" = []), ("dpop" = [])))]
pub async fn complete(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Response {
    serve(&doors, request, |body| {
        let completion = read::complete(&given(body)?)?;
        let (token, checkout_mandate) = (completion.token, completion.checkout_mandate);
        let presented = Presented { handler: Some(completion.handler), token, checkout_mandate };
        Ok(Operation::Complete { id, presented })
    })
    .await
}

/// No key, no token: whoever looks for a shop finds it.
#[utoipa::path(get, path = "/.well-known/acp.json", tag = "shop", description = "`DiscoveryResponse` of ACP 2026-04-17.",
    responses((status = 200), (status = 404)))]
pub async fn discovery(State(doors): State<Doors>) -> Response {
    of_shop(&doors, |shop| write::discovery(&shop))
}

#[utoipa::path(get, path = "/acp/ap2.json", tag = "shop",
    description = "The extension of ACP by which checkouts are signed and paid for with AP2 mandates.",
    responses((status = 200), (status = 404)))]
pub async fn ap2(State(doors): State<Doors>) -> Response {
    of_shop(&doors, |shop| write::ap2_description(&shop.url))
}

fn of_shop(doors: &Doors, body: impl FnOnce(commerce::checkout::Shop) -> Value) -> Response {
    match doors.shop() {
        Ok((shop, _)) => published(body(shop)),
        Err(problem) => answer(&http::HeaderMap::new(), of_problem(&problem)),
    }
}
