//! x402 within AP2 (`a2a-x402` v0.2 section 4, the embedded flow): the terms lie in a cart that the merchant signed, the
//! payment in a payment mandate.
//!
//! What pays is the payment's own signature. The mandate around it says which cart it is for, and must name the task's own;
//! its amounts, its user's name and its authorization add nothing that could be relied upon here.

use engine::order::cart::METHOD;
use ledger::id::IdempotencyKey;
use mandates::json::kind;
use serde_json::{Value, json};
use x402::wire::whole;

use super::call::{Fault, Paid};
use super::door;
use super::sold::Skill;
use crate::problem::shown;

pub(super) const ARTIFACT: &str = "ap2.mandates.CartMandate";

/// The data of the artifact, where this skill has carts.
pub(super) async fn offered(
    skill: &Skill,
    order: &IdempotencyKey,
    public_url: &str,
    demand: &Value,
) -> Result<Value, Fault> {
    let audience = format!("{public_url}{}", door::PATH);
    let cart = skill.books.cart(order, &skill.tool, demand, &audience).await.map_err(|error| {
        tracing::error!(code = error.code(), "a cart could not be signed: {error}");
        Fault::unavailable("cart_unavailable", "a signed cart was expected; it cannot be made now")
    })?;
    Ok(json!({ ARTIFACT: cart }))
}

/// The payment of a mandate: as the extension writes one (`payment_details`), or as AP2 v0.1 does
/// (`payment_mandate_contents`).
pub(super) fn payment(mandate: &Value) -> Result<Paid, Fault> {
    let wrong = |field: &str, found: &str| {
        let detail = format!("ap2.mandates.PaymentMandate: {field} was expected, {found} came");
        Fault::params("invalid_payment_mandate", detail)
    };
    let (order, method, payload) = match (&mandate["payment_details"], &mandate["payment_mandate_contents"]) {
        (Value::Object(_), Value::Object(_)) => return Err(wrong("one form of its contents", "two")),
        (Value::Object(details), _) => {
            let method = details.get("payment_method").unwrap_or(&Value::Null);
            (details.get("payment_request_id"), &method["supported_methods"], &method["data"])
        }
        (_, Value::Object(contents)) => {
            let response = contents.get("payment_response").unwrap_or(&Value::Null);
            (contents.get("payment_details_id"), &response["method_name"], &response["details"])
        }
        _ => return Err(wrong("payment_details or payment_mandate_contents", kind(mandate))),
    };
    match method.as_str() {
        Some(METHOD) => {}
        other => return Err(wrong(&format!("the payment method {METHOD}"), &shown(other.unwrap_or("none")))),
    }
    let order =
        order.and_then(Value::as_str).ok_or_else(|| wrong("the id of the cart's payment request", "nothing"))?;
    match payload {
        Value::Object(payload) => Ok(Paid { payload: whole(payload), order_id: Some(order.to_owned()) }),
        other => Err(wrong("the data of an x402 payment", kind(other))),
    }
}

/// A mandate pays the task whose cart it names.
pub(super) fn check(paid: &Paid, order: &IdempotencyKey) -> Result<(), Fault> {
    match &paid.order_id {
        Some(found) if found != order.as_str() => {
            let detail =
                format!("a mandate for the payment request {order} was expected, one for {} came", shown(found));
            Err(Fault::params("cart_mismatch", detail))
        }
        _ => Ok(()),
    }
}
