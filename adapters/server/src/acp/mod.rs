//! ACP, from the side of a payment processor whose vault agents leave cards in: `POST /agentic_commerce/delegate_payment` as
//! the protocol has it, and beside it what the protocol leaves to the processor: how a merchant looks at a token, redeems it
//! and gives it up; and the same vault as UCP has one.

pub(crate) mod delegate;
mod error;
pub(crate) mod heard;
pub(crate) mod redeem;
pub(crate) mod tokenize;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};

pub(crate) use self::delegate::timestamp;
pub(crate) use self::error::speak;
use crate::App;
use crate::call::BodyMost;

/// Below this answers are ACP's.
const PREFIX: &str = "/agentic_commerce/";
/// A card, an allowance and an address stay far below it.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/agentic_commerce/delegate_payment", post(delegate::delegate))
        .route("/v1/vault/verify", post(redeem::verify))
        .route("/v1/vault/capture", post(redeem::capture))
        .route("/v1/vault/void", post(redeem::void))
        .route("/v1/vault/refund", post(redeem::refund))
        .route("/v1/vault/notices/{tenant}", post(redeem::notice))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/agentic_checkout/webhooks/order_events/{tenant}/{payee}", post(heard::hear))
        .route("/v1/payments/{id}/order", get(heard::show))
        .with_state(app)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(Extension(BodyMost(BODY_BYTES_MAX)))
        .layer(middleware::from_fn(error::unlogged))
}
