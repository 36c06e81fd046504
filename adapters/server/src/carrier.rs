//! The x402 facilitator's endpoints. A bad payment is a 200 that says so; only what is not JSON at all is a 400.
//!
//! Version 1 is translated here, on its way in and out; behind this there is one form, and one claim for a payment.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use engine::error::{EngineError, Kind};
use engine::facilitate::Repeater;
use http::{HeaderMap, StatusCode, header};
use ledger::id::TenantId;
use x402::identifier;
use x402::network::NetworkNames;
use x402::reason::Reason;
use x402::wire::v1::{self, Spoken, read_request};
use x402::wire::{FacilitatorRequest, SettleResponse, SupportedKind, VerifyResponse, WireError};

use identity::callers::{Call, Presented};
use identity::dpop::Request as Proved;

use crate::App;
use crate::call::{DPOP, bytes};
use crate::facilitator::go_on;
use crate::problem::Problem;

fn tenant(app: &App) -> Result<&TenantId, Problem> {
    let missing = || Problem::from(EngineError::NotConfigured("facilitator"));
    app.settings.facilitator.as_ref().ok_or_else(missing)
}

#[utoipa::path(post, path = "/verify", tag = "x402", request_body = crate::schema::FacilitatorRequest,
    description = "x402 section 7.1, version 2 or 1: would this payment settle now?",
    responses((status = 200), (status = 400), (status = 404), (status = 413), (status = 500), (status = 503)))]
pub async fn verify(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let tenant = tenant(&app)?;
    let body = bytes(request, &app).await?;
    let (request, _) = match read(&body, &app.settings.names)? {
        Ok(read) => read,
        Err(error) => return Ok(json_of(&VerifyResponse::invalid(error.reason(), error.to_string(), None))),
    };
    match app.engine.facilitator_verify(tenant, &request).await {
        Ok(response) => Ok(answer_of(response.invalid_reason.as_deref(), json_of(&response))),
        Err(error) => {
            let response = VerifyResponse::invalid(Reason::UnexpectedVerifyError, told(&error), None);
            Ok(unavailable(&error, json_of(&response)))
        }
    }
}

#[utoipa::path(post, path = "/settle", tag = "x402", request_body = crate::schema::FacilitatorRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeat with one gets the stored success again.")),
    description = "x402 section 7.2, version 2 or 1: carries the payment to the chain, once, whichever version it comes in.",
    responses((status = 200), (status = 400), (status = 404), (status = 409), (status = 413), (status = 500), (status = 503)))]
pub async fn settle(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let tenant = tenant(&app)?;
    let headers = request.headers().clone();
    let body = bytes(request, &app).await?;
    let failed =
        |reason: Reason, message: String, network: &str| SettleResponse::failed(reason, message, None, "", network);
    let (request, spoken) = match read(&body, &app.settings.names)? {
        Ok(read) => read,
        Err(error) => return Ok(json_of(&failed(error.reason(), error.to_string(), ""))),
    };
    match app.engine.facilitator_settle(tenant, &request, repeater(&app, &headers, &request)).await {
        Ok(mut response) => {
            go_on(&app.engine, tenant, &request, &response);
            response.network = spoken.network(&response.network).to_owned();
            Ok(answer_of(response.error_reason.as_deref(), json_of(&response)))
        }
        Err(error) => {
            let network = spoken.network(&request.payment_requirements.network);
            let response = failed(Reason::UnexpectedSettleError, told(&error), network);
            Ok(unavailable(&error, json_of(&response)))
        }
    }
}

#[utoipa::path(get, path = "/supported", tag = "x402",
    description = "What is carried. A network that version 1 has a name for is listed under it once more.",
    responses((status = 200), (status = 404)))]
pub async fn supported(State(app): State<App>) -> Result<Response, Problem> {
    let mut supported = app.engine.facilitator_supported(tenant(&app)?)?;
    let named: Vec<_> = supported.kinds.iter().filter_map(|kind| of_version_one(kind, &app.settings.names)).collect();
    supported.kinds.extend(named);
    Ok(json_of(&supported))
}

fn of_version_one(kind: &SupportedKind, names: &NetworkNames) -> Option<SupportedKind> {
    if kind.scheme != x402::exact::SCHEME {
        return None;
    }
    let network = names.name(kind.network.parse().ok()?)?.to_owned();
    Some(SupportedKind { x402_version: v1::X402_VERSION, network, ..kind.clone() })
}

/// `Err` outside for what is no JSON object; inside for an object that is no request.
fn read(body: &[u8], names: &NetworkNames) -> Result<Result<(FacilitatorRequest, Spoken), WireError>, Problem> {
    match read_request(body, names) {
        Err(error @ WireError::NotJson { .. }) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()))
        }
        Err(error @ WireError::TooLarge { .. }) => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.code(), error.to_string()))
        }
        other => Ok(other),
    }
}

/// Somebody we can tell apart: a token of ours, a key, or the x402 `payment-identifier` extension.
fn repeater(app: &App, headers: &HeaderMap, request: &FacilitatorRequest) -> Repeater {
    let presented = Presented {
        authorization: headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes),
        proof: Ok(headers.get(DPOP).map(http::HeaderValue::as_bytes)),
    };
    let address = format!("{}/settle", app.settings.public_url);
    let call = Proved { method: "POST", address: &address, now: app.engine.clock.now().seconds() };
    let named = identifier::read(request.payment_payload.extensions.as_ref());
    if matches!(named, Ok(Some(_)))
        || headers.contains_key("idempotency-key")
        || app.callers.identify(Call::Reads, presented, call).is_ok()
    {
        Repeater::Recognized
    } else {
        Repeater::Anonymous
    }
}

fn json_of<T: serde::Serialize>(value: &T) -> Response {
    axum::Json(value).into_response()
}

/// A bad payment is a 200 that says so; of names the extension has the statuses.
fn answer_of(reason: Option<&str>, mut response: Response) -> Response {
    *response.status_mut() = match reason.and_then(|reason| reason.parse().ok()) {
        Some(Reason::PaymentIdentifierInvalid) => StatusCode::BAD_REQUEST,
        Some(Reason::PaymentIdentifierConflict) => StatusCode::CONFLICT,
        _ => StatusCode::OK,
    };
    response
}

fn told(error: &EngineError) -> String {
    match error.kind() {
        Kind::Internal => "a defect of this facilitator; its log has the cause".to_owned(),
        _ => error.to_string(),
    }
}

/// An outage is a 503 in the protocol's own shape; nothing is known to have happened, and the same call may be made again.
fn unavailable(error: &EngineError, mut response: Response) -> Response {
    if error.kind() == Kind::Internal {
        tracing::error!(code = error.code(), "{error}");
    }
    *response.status_mut() = match error.kind() {
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    if *response.status_mut() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    response
}
