//! What a merchant does with a vault token. ACP leaves it to the payment processor; so errors are our own, and tokens come in
//! bodies, never in addresses.

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use engine::vault::{KeptAnswer, ProcessorAnswer, Redeemed, Redemption, Refunding};
use http::{HeaderMap, HeaderValue, StatusCode};
use ledger::money::Amount;
use ledger::spend::SpendState;
use serde::Deserialize;
use serde_json::{Value, json};

use super::delegate::{REPLAYED, key};
use crate::App;
use crate::call::{Actor, Body, Caller, bytes};
use crate::payments::spend_json;
use crate::problem::{Problem, ok};

/// Of the processor's notices.
const SIGNATURE: &str = "acquirer-signature";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptureBody {
    token: String,
    /// Minor units.
    amount: u64,
    /// ISO 4217, in either case.
    currency: String,
    checkout_session_id: String,
}

/// What a token is good for, and what became of it; for its merchant, and for the agent that asked for it.
#[utoipa::path(post, path = "/v1/vault/verify", tag = "vault", request_body = crate::schema::commerce::TokenOnly, 
    description = "What a vault token is good for, and what became of it; for its merchant, and for the agent that asked for it.",
    responses((status = 200, body = crate::schema::commerce::TokenView), (status = 400), (status = 401), (status = 404), (status = 410), (status = 503)))]
pub(crate) async fn verify(
    State(app): State<App>,
    Caller(identity): Caller,
    Body(body): Body<TokenBody>,
) -> Result<Response, Problem> {
    let redeemed = app.engine.token_view(&identity, &body.token).await?;
    Ok(ok(view_json(&redeemed, app.engine.clock.now().0)))
}

/// At most what the token holds, once. The rest is given back. 202 where the processor did not answer: the same call again
/// asks it again, and so does the service.
#[utoipa::path(post, path = "/v1/vault/capture", tag = "vault", request_body = crate::schema::commerce::Capture, params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 255)),
    description = "The merchant takes at most what the token holds, once; the rest is given back. 202 where the processor did not answer: the same call again asks it again, and so does the service.",
    responses((status = 200, body = crate::schema::commerce::TokenView), (status = 202, body = crate::schema::commerce::TokenView), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 410), (status = 422), (status = 503)))]
pub(crate) async fn capture(
    State(app): State<App>,
    Actor(identity): Actor,
    headers: HeaderMap,
    Body(body): Body<CaptureBody>,
) -> Result<Response, Problem> {
    let redemption = Redemption {
        token: &body.token,
        amount: Amount::new(body.amount.into()),
        currency: &body.currency.to_ascii_uppercase(),
        checkout_session_id: &body.checkout_session_id,
        key: &key(&headers)?,
    };
    let redeemed = app.engine.redeem(&identity, &redemption).await?;
    let mut response = match &redeemed.answer {
        Some(KeptAnswer { processor: ProcessorAnswer::Declined { code, message }, receipt, .. }) => {
            let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "payment_declined", message.as_str());
            problem.values.insert("decline_code".into(), code.as_str().into());
            problem.values.insert("receipt".into(), receipt.as_str().into());
            problem.into_response()
        }
        Some(_) => ok(view_json(&redeemed, app.engine.clock.now().0)),
        None => (StatusCode::ACCEPTED, axum::Json(view_json(&redeemed, app.engine.clock.now().0))).into_response(),
    };
    if redeemed.is_replay {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The token is not needed any more: what it holds is given back.
#[utoipa::path(post, path = "/v1/vault/void", tag = "vault", request_body = crate::schema::commerce::TokenOnly, 
    description = "The token is not needed any more: what it holds is given back.",
    responses((status = 200, body = crate::schema::commerce::TokenView), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 410), (status = 422), (status = 503)))]
pub(crate) async fn void(
    State(app): State<App>,
    Actor(identity): Actor,
    Body(body): Body<TokenBody>,
) -> Result<Response, Problem> {
    let redeemed = app.engine.void_token(&identity, &body.token).await?;
    Ok(ok(view_json(&redeemed, app.engine.clock.now().0)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundBody {
    token: String,
    /// Minor units.
    amount: u64,
}

/// Gives back what was captured, or a part of it, once for a key.
#[utoipa::path(post, path = "/v1/vault/refund", tag = "vault", request_body = crate::schema::commerce::CaptureRefund, params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 255)),
    description = "The merchant gives back what was captured, or a part of it, once for a key.",
    responses((status = 200, body = crate::schema::commerce::TokenView), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 410), (status = 422), (status = 503)))]
pub(crate) async fn refund(
    State(app): State<App>,
    Actor(identity): Actor,
    headers: HeaderMap,
    Body(body): Body<RefundBody>,
) -> Result<Response, Problem> {
    let (token, amount, key) = (body.token.as_str(), Amount::new(body.amount.into()), &*key(&headers)?);
    let refunded = app.engine.refund_capture(&identity, &Refunding { token, amount, key }).await?;
    Ok(ok(view_json(&refunded, app.engine.clock.now().0)))
}

/// What a tenant's processor tells by itself. Its signature says that it is the processor.
#[utoipa::path(post, path = "/v1/vault/notices/{tenant}", tag = "vault",
    request_body(content = serde_json::Map<String, serde_json::Value>, description = "As the processor signed it."),
    params(("tenant" = String, Path), ("Acquirer-Signature" = Option<String>, Header, description = "The processor's, over the body.")),
    description = "What a tenant's payment processor tells by itself. Its signature says that it is the processor.",
    responses((status = 200), (status = 403), (status = 404), (status = 409), (status = 503)))]
pub(crate) async fn notice(
    State(app): State<App>,
    Path(tenant): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let body = bytes(request, &app).await?;
    let unknown = || Problem::not_found("/v1/vault/notices");
    let tenant = tenant.parse().map_err(|_| unknown())?;
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let spend = app.engine.notice(&tenant, signature, &body).await?;
    Ok(ok(json!({ "received": true, "payment": spend.id, "state": spend.state.as_str() })))
}

/// A token as its merchant sees it. Of the card brand and last four digits, nothing else.
fn view_json(redeemed: &Redeemed, now_micros: i64) -> Value {
    let (spend, allowed) = (&redeemed.view.spend, &redeemed.view.allowed);
    let allowance = &allowed.allowance;
    let captured = redeemed.answer.as_ref().and_then(|answer| match &answer.processor {
        ProcessorAnswer::Done { id, network_id, amount, currency } => Some(json!({
            "amount": number(*amount), "currency": currency.to_ascii_lowercase(), "processor_id": id,
            "network_id": network_id, "receipt": answer.receipt,
        })),
        ProcessorAnswer::Declined { .. } => None,
    });
    json!({
        "payment": spend.id,
        "state": spend.state.as_str(),
        // Whether it can be redeemed now.
        "valid": spend.state == SpendState::Held && now_micros < spend.expires_at.0,
        "merchant_id": allowance.merchant_id,
        "checkout_session_id": allowance.checkout_session_id,
        "max_amount": number(allowance.max_amount),
        "currency": allowance.currency.to_ascii_lowercase(),
        "created": allowed.created,
        "expires_at": allowed.metadata.get("expires_at"),
        "card": { "brand": allowed.card.brand, "last4": allowed.card.last4, "funding": allowed.card.funding },
        "captured": captured,
        "spend": spend_json(spend),
    })
}

/// Allowances are read as numbers that fit.
fn number(amount: Amount) -> Value {
    u64::try_from(amount.get()).map_or_else(|_| amount.to_string().into(), Value::from)
}
