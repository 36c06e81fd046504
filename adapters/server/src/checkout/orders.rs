//! `/orders/{id}`: where the `permalink_url` of an order leads, for whoever bought it by ACP and for the merchant; and how the
//! merchant says what became of it. ACP has receivers told of orders and no route to read one, so both are ours.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use commerce::checkout::{Code, Refusal};
use commerce::order::{Kind, Order, OrderStatus};
use engine::checkout::OrderChange;
use http::StatusCode;
use identity::callers::Call;
use serde::Deserialize;
use serde_json::Value;

use super::acp::owner;
use super::{Doors, IDEMPOTENCY_KEY, name};
use crate::call::{bytes, identify, parse};
use crate::problem::{Problem, ok, shown};

/// Longest reason that is kept, in characters.
const DESCRIPTION_CHARS_MAX: usize = 500;

/// One of both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeBody {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    adjustment: Option<AdjustmentBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdjustmentBody {
    r#type: String,
    /// Minor units.
    amount: u64,
    #[serde(default)]
    description: Option<String>,
}

#[utoipa::path(get, path = "/orders/{id}", tag = "shop", params(("id" = String, Path)),
    description = "An order of the caller, or any one for the merchant of the shop: `Order` of ACP 2026-04-17, as receivers are told it.",
    responses((status = 200, body = crate::schema::commerce::ShopOrder), (status = 400), (status = 401), (status = 404), (status = 503)), security(("bearer" = []), ("dpop" = [])))]
pub async fn show(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let identity = identify(&parts, &doors.app, Call::Reads).await?;
    let (engine, shop) = (&doors.app.engine, &doors.setup.tenant);
    Ok(answer(&engine.shop_order(shop, &identity, &owner(&identity), &id).await?))
}

#[utoipa::path(post, path = "/orders/{id}", tag = "shop", request_body = crate::schema::commerce::OrderChanging,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "Of an adjustment: the same key is one adjustment.")),
    description = "The merchant of the shop, or an operator, says what became of an order: a status, or an adjustment. A refund is made by the payment processor before the order says so; a return or a dispute moves no money. Receivers are told of the whole order.",
    responses((status = 200, body = crate::schema::commerce::ShopOrder), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 422), (status = 503)), security(("bearer" = []), ("dpop" = [])))]
pub async fn change(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let identity = identify(&parts, &doors.app, Call::Acts).await?;
    let key = name(&parts.headers, &IDEMPOTENCY_KEY).map_err(|why| Problem::invalid("Idempotency-Key", why))?;
    let body: ChangeBody = parse(&bytes(Request::from_parts(parts, body), &doors.app).await?)?;
    let change = asked(body, key)?;
    let changed = doors.app.engine.change_order(&doors.setup.tenant, &identity, &id, &change).await?;
    changed.map(|order| answer(&order)).map_err(|refusal| refused(&refusal))
}

fn asked(body: ChangeBody, key: Option<String>) -> Result<OrderChange, Problem> {
    match (body.status, body.adjustment) {
        (Some(status), None) => {
            let expected = "processing, shipped, completed or canceled was expected";
            let known = OrderStatus::named(&status);
            known
                .map(OrderChange::Status)
                .ok_or_else(|| Problem::invalid("status", format!("{expected}, {} came", shown(&status))))
        }
        (None, Some(adjustment)) => {
            let kind = Kind::named(&adjustment.r#type).ok_or_else(|| {
                let detail = format!("refund, return or dispute was expected, {} came", shown(&adjustment.r#type));
                Problem::invalid("adjustment.type", detail)
            })?;
            let key = key
                .ok_or_else(|| Problem::invalid("Idempotency-Key", "one key an adjustment was expected, none came"))?;
            let length = adjustment.description.as_ref().map_or(0, |text| text.chars().count());
            if length > DESCRIPTION_CHARS_MAX {
                let detail = format!("at most {DESCRIPTION_CHARS_MAX} characters were expected, {length} came");
                return Err(Problem::invalid("adjustment.description", detail));
            }
            let (amount, description) = (adjustment.amount, adjustment.description);
            Ok(OrderChange::Adjustment { kind, amount, description, key })
        }
        (status, _) => {
            let found = if status.is_some() { "both" } else { "neither" };
            Err(Problem::invalid("status", format!("a status or an adjustment was expected, {found} came")))
        }
    }
}

fn answer(order: &Order) -> Response {
    ok(Value::Object(order.acp()))
}

fn refused(refusal: &Refusal) -> Problem {
    let (status, code) = match refusal.code {
        Code::Finished => (StatusCode::CONFLICT, "order_status"),
        Code::NotReady => (StatusCode::CONFLICT, "order_not_refunded"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "adjustment_invalid"),
    };
    let mut problem = Problem::new(status, code, refusal.message.as_str());
    problem.field = Some(refusal.path.trim_start_matches("$.").to_owned());
    problem
}
