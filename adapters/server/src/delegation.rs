//! Handing mandates on, from agent to agent.

use axum::extract::{Path, State};
use axum::response::Response;
use engine::delegate::DelegationRequest;
use http::HeaderMap;

use crate::App;
use crate::call::{Actor, Body, id};
use crate::mandates::mandate_json;
use crate::payments::idempotency_key;
use crate::problem::{Problem, created};

#[utoipa::path(post, path = "/v1/mandates/{id}/delegate", tag = "mandates", request_body = crate::schema::Delegation,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "The same delegation, the same key: the same mandate again.")),
    description = "The agent that holds a mandate hands part of it on to another agent: a mandate under it that is narrower in every respect.",
    responses((status = 201, body = crate::schema::answers::Mandate), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409),
        (status = 410), (status = 413), (status = 422), (status = 503)))]
pub async fn delegate(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
    headers: HeaderMap,
    Body(request): Body<DelegationRequest>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let state = app.engine.delegate(&identity, id(&text)?, key, request).await?;
    Ok(created(mandate_json(&state)))
}
