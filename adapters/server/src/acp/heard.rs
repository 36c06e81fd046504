//! What shops tell of orders: `POST /agentic_checkout/webhooks/order_events` of ACP 2026-04-17, at an address for each shop, and
//! what they told beside a payment.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use engine::error::EngineError;
use engine::vault::{VaultError, is_overdue};
use http::StatusCode;
use serde_json::{Value, json};

use super::error::REQUEST_ID;
use crate::App;
use crate::call::{Caller, bytes, id};
use crate::problem::{Problem, ok};

const SIGNATURE: &str = "merchant-signature";

#[utoipa::path(post, path = "/agentic_checkout/webhooks/order_events/{tenant}/{payee}", tag = "vault",
    request_body(content = serde_json::Map<String, serde_json::Value>, description = "`WebhookEvent` of ACP 2026-04-17: `type` and `data`, the whole order."),
    params(("tenant" = String, Path), ("payee" = String, Path), ("Merchant-Signature" = Option<String>, Header, description = "t=SECONDS,v1=HEX: HMAC-SHA-256 over SECONDS.BODY, of the last five minutes."), ("Request-Id" = Option<String>, Header)),
    description = "A shop tells what became of an order that a vault token paid. It is kept as what the shop says, and moves neither money nor budget: what it announces and has not come stands in the book as a promise, and money that came back is posted when the payment processor says so.",
    responses((status = 200), (status = 400, body = crate::schema::commerce::AcpError), (status = 401, body = crate::schema::commerce::AcpError), (status = 404, body = crate::schema::commerce::AcpError), (status = 422, body = crate::schema::commerce::AcpError), (status = 503, body = crate::schema::commerce::AcpError)))]
pub(crate) async fn hear(
    State(app): State<App>,
    Path((tenant, payee)): Path<(String, String)>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    let body = match bytes(request, &app).await {
        Ok(body) => body,
        Err(problem) => return said(problem.status, &problem.code, &problem.detail),
    };
    let mut signatures = headers.get_all(SIGNATURE).iter();
    let signature = match (signatures.next(), signatures.next()) {
        (Some(signature), None) => signature.to_str().unwrap_or_default(),
        _ => "",
    };
    let heard = match tenant.parse() {
        Ok(tenant) => app.engine.hear_order(&tenant, &payee, signature, &body).await,
        Err(_) => Err(EngineError::NotFound { what: "shop", id: crate::problem::shown(&tenant) }),
    };
    match heard {
        Ok(()) => {
            let request = headers
                .get(REQUEST_ID)
                .and_then(|id| id.to_str().ok())
                .filter(|id| id.len() <= 255 && !commerce::acp::could_be_number(id));
            let mut said = json!({ "received": true });
            if let Some(request) = request {
                said["request_id"] = request.into();
            }
            ok(said)
        }
        Err(error) => refused(error),
    }
}

/// As ACP says it: whatever is wrong with a signature is one code.
fn refused(error: EngineError) -> Response {
    let is_unsigned = matches!(error, EngineError::Vault(VaultError::OrderUnsigned));
    let problem = Problem::from(error);
    let (status, code) = match is_unsigned {
        true => (StatusCode::UNAUTHORIZED, "invalid_signature"),
        false => (problem.status, problem.code.as_str()),
    };
    said(status, code, &problem.detail)
}

fn said(status: StatusCode, code: &str, message: &str) -> Response {
    let kind = if status.is_server_error() { "service_unavailable" } else { "invalid_request" };
    (status, Json(json!({ "type": kind, "code": code, "message": message }))).into_response()
}

#[utoipa::path(get, path = "/v1/payments/{id}/order", tag = "payments", params(("id" = String, Path)),
    description = "What the shop told of the order of a payment by vault token, last; whether the book has what it says that it gave back, and what it announced that has not come. A shop's word moves neither money nor budget.",
    responses((status = 200, body = crate::schema::commerce::OrderTold), (status = 400), (status = 401), (status = 404), (status = 503)))]
pub(crate) async fn show(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let path = format!("/v1/payments/{}/order", crate::problem::shown(&text));
    let heard = app.engine.order_heard(&identity, id(&text)?).await?.ok_or_else(|| Problem::not_found(&path))?;
    let adjustments: Vec<Value> = heard
        .told
        .adjustments
        .iter()
        .map(|said| json!({ "type": said.kind, "status": said.status, "amount": said.amount }))
        .collect();
    Ok(ok(json!({
        "order": heard.told.order, "checkout_session_id": heard.told.session, "status": heard.told.status,
        "adjustments": adjustments, "said_refunded": heard.said_refunded, "refund_in_book": heard.is_in_book,
        "refund_outstanding": heard.outstanding.map(|announced| json!({
            "amount": announced.amount.to_string(),
            "since": announced.since.seconds(),
            "overdue": is_overdue(&announced, app.engine.clock.now().seconds()),
        })),
        "told_at": heard.at, "told_times": heard.count,
    })))
}
