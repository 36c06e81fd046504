//! What our seller sold, payment by payment, and what it gave back.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use ledger::money::Amount;
use ledger::settlement::{Settlement, SettlementState};
use serde_json::{Value, json};
use x402::settlement::{ClaimKey, ParseClaimKeyError};

use crate::App;
use crate::call::{Actor, Body, Caller};
use crate::payments::RefundBody;
use crate::problem::{Problem, ok};

#[utoipa::path(get, path = "/v1/sales/{id}", tag = "sales",
    params(("id" = String, Path, description = "The payment, as `Purser-Payment-Id` tells it to an upstream, percent-encoded.")),
    description = "A sale, for its merchant and for an operator.",
    responses((status = 200, body = crate::schema::sales::Sale), (status = 401), (status = 403), (status = 404), (status = 503)))]
pub async fn show(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let payment = named(&text)?;
    Ok(ok(sale_json(&payment, &app.engine.sale(&identity, &payment).await?)))
}

#[utoipa::path(post, path = "/v1/sales/{id}/refund", tag = "sales", request_body = crate::schema::Refund,
    params(("id" = String, Path, description = "The payment, as `Purser-Payment-Id` tells it to an upstream, percent-encoded.")),
    description = "We sent money back: posts what the chain shows of it, from where the sale was paid to, to whoever paid, once for each transfer and never more than was paid. The same transaction again is the same refund.",
    responses((status = 200, body = crate::schema::sales::Sale), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 413), (status = 422), (status = 503)))]
pub async fn refund(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
    Body(body): Body<RefundBody>,
) -> Result<Response, Problem> {
    let payment = named(&text)?;
    Ok(ok(sale_json(&payment, &app.engine.refund_sale(&identity, &payment, &body.transaction).await?)))
}

fn named(text: &str) -> Result<ClaimKey, Problem> {
    text.parse().map_err(|error: ParseClaimKeyError| {
        let mut problem = Problem::new(StatusCode::NOT_FOUND, "not_found", error.to_string());
        problem.field = Some("id".into());
        problem
    })
}

fn sale_json(payment: &ClaimKey, sale: &Settlement) -> Value {
    let authorization = &sale.key.authorization;
    json!({
        "id": payment.to_string(),
        "state": sale.state.as_str(),
        "amount": sale.money.amount.to_string(),
        "asset": sale.money.asset,
        "payee": sale.payee,
        "pay_to": sale.pay_to,
        "payer": authorization.payer,
        "network": authorization.chain(),
        "transaction": sale.transaction,
        "final": sale.state == SettlementState::Settled && sale.young.is_none(),
        "refunded": sale.refunded.unwrap_or(Amount::ZERO).to_string(),
    })
}
