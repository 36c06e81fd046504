//! Closing a mandate over a cart for somebody else, who pays it or sells under it.

use axum::extract::State;
use axum::response::Response;
use engine::closing::{Addressee, Closing, ClosingRequest};
use http::HeaderMap;
use ledger::id::{BudgetId, SpendId};
use mandates::json::Object;
use serde::Deserialize;
use serde_json::Value;

use crate::App;
use crate::call::{Actor, Body};
use crate::payments::{idempotency_key, spend_json};
use crate::problem::{Problem, created};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosingBody {
    mandate: BudgetId,
    /// The merchant's signed checkout.
    #[serde(alias = "checkout_jwt")]
    cart: String,
    /// Of whoever verifies the payment mandate.
    #[serde(alias = "aud")]
    audience: String,
    nonce: String,
    payment_instrument: Object,
    /// The merchant's, where it wants the checkout mandate.
    #[serde(default)]
    checkout: Option<Addressee>,
    #[serde(default)]
    again_after: Option<SpendId>,
}

#[utoipa::path(post, path = "/v1/mandates/payments", tag = "mandates", request_body = crate::schema::Closing,
    params(("Idempotency-Key" = String, Header, description = "The same purchase, the same key: the same closed mandates again.")),
    description = "Closes a mandate over a merchant's cart for a verifier other than this service. The amount is held until the verifier's payment receipt comes to /v1/payments/{id}/outcome.",
    responses((status = 201, body = crate::schema::answers::Closed), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409),
        (status = 413), (status = 422), (status = 503)))]
pub async fn close(
    State(app): State<App>,
    Actor(identity): Actor,
    headers: HeaderMap,
    Body(body): Body<ClosingBody>,
) -> Result<Response, Problem> {
    let request = ClosingRequest {
        mandate: body.mandate,
        cart: body.cart,
        payment: Addressee { audience: body.audience, nonce: body.nonce },
        instrument: body.payment_instrument,
        checkout: body.checkout,
        key: idempotency_key(&headers)?,
        again_after: body.again_after,
    };
    Ok(created(closing_json(&app.engine.close_for(&identity, request).await?)))
}

fn closing_json(closing: &Closing) -> Value {
    let mut json = spend_json(&closing.spend);
    json["transaction_id"] = closing.transaction_id.as_str().into();
    json["payment_mandate"] = closing.papers.payment.as_str().into();
    json["checkout_mandate"] = closing.papers.checkout.as_deref().into();
    json
}
