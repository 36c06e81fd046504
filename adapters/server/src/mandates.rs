//! Mandates and the questions to humans.

use axum::extract::{Path, State};
use axum::response::Response;
use engine::consent::{Approval, IntentRequest, MandateView, shown};
use engine::verify::VerifyRequest;
use http::StatusCode;
use ledger::budget::BudgetState;
use ledger::decision::Answer;
use ledger::id::{BudgetId, CallerKind, DecisionId, Digest};
use mandates::json::Object;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::call::{Actor, Anyone, Body, Caller, id};
use crate::problem::{Problem, created, ok};

const SPENDS_MAX: u32 = 1_000;

#[utoipa::path(post, path = "/v1/mandates/intents", tag = "mandates", request_body = crate::schema::Intent,
    description = "An agent asks a person for an Intent mandate. Amounts are decimals in major units.",
    responses((status = 202, description = "The question was put; a person decides"), (status = 400), (status = 401),
        (status = 403), (status = 404), (status = 409), (status = 413), (status = 503)))]
pub async fn ask(
    State(app): State<App>,
    Actor(identity): Actor,
    Body(request): Body<IntentRequest>,
) -> Result<Response, Problem> {
    let approval = app.engine.propose_intent(&identity, request).await?;
    let mut response = ok(json!({ "approval": approval_json(&app, &approval) }));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

#[utoipa::path(get, path = "/v1/approvals", tag = "approvals",
    responses((status = 200, description = "What waits for the calling user"), (status = 401), (status = 403), (status = 503)))]
pub async fn pending(State(app): State<App>, Caller(identity): Caller) -> Result<Response, Problem> {
    if identity.caller.kind != CallerKind::User {
        let detail = format!("a user has approvals; the caller is of kind {}", identity.caller.kind);
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    let approvals = app.engine.pending_approvals(&identity).await?;
    let approvals: Vec<Value> = approvals.iter().map(|approval| approval_json(&app, approval)).collect();
    Ok(ok(json!({ "approvals": approvals })))
}

#[utoipa::path(get, path = "/v1/approvals/{id}", tag = "approvals", params(("id" = String, Path)),
    responses((status = 200), (status = 401), (status = 404), (status = 503)))]
pub async fn approval(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let approval = app.engine.approval(&identity, id::<DecisionId>(&text)?).await?;
    Ok(ok(approval_json(&app, &approval)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionBody {
    decision: String,
    /// The digest of the document that was shown.
    digest: Digest,
}

#[utoipa::path(post, path = "/v1/approvals/{id}/decision", tag = "approvals", params(("id" = String, Path)),
    request_body = crate::schema::Decision, description = "Only a user decides, and only on exactly what the digest names.",
    responses((status = 200), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409),
        (status = 413), (status = 422), (status = 503)))]
pub async fn decide(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
    Body(body): Body<DecisionBody>,
) -> Result<Response, Problem> {
    let answer = match body.decision.as_str() {
        "approve" => Answer::Approve,
        "deny" => Answer::Deny,
        other => {
            let detail = format!("approve or deny was expected, {} came", crate::problem::shown(other));
            return Err(Problem::invalid("decision", detail));
        }
    };
    let approval = app.engine.decide(&identity, id(&text)?, body.digest, answer).await?;
    let mandate = approval.decision.opened;
    Ok(ok(json!({ "approval": approval_json(&app, &approval), "mandate": mandate })))
}

fn approval_json(app: &App, approval: &Approval) -> Value {
    let decision = &approval.decision;
    json!({
        "id": decision.id,
        "url": format!("{}/v1/approvals/{}", app.settings.public_url, decision.id),
        "state": decision.state.as_str(),
        "digest": decision.subject,
        "approver": decision.approver,
        "requested_by": decision.requested_by,
        "expires_at": decision.expires_at.seconds(),
        "document": approval.document,
        "mandate": decision.opened,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CartBody {
    checkout: Object,
}

#[utoipa::path(post, path = "/v1/mandates/carts", tag = "mandates", request_body = crate::schema::Cart,
    description = "A merchant has its UCP checkout signed: AP2's checkout_jwt.",
    responses((status = 201), (status = 400), (status = 401), (status = 403), (status = 404), (status = 413),
        (status = 422), (status = 503)))]
pub async fn cart(
    State(app): State<App>,
    Actor(identity): Actor,
    Body(body): Body<CartBody>,
) -> Result<Response, Problem> {
    let signed = app.engine.sign_cart(&identity, body.checkout).await?;
    Ok(created(json!({
        "id": signed.cart.id,
        "checkout_jwt": signed.checkout_jwt,
        "checkout_hash": signed.checkout_hash,
        "total": signed.cart.total.to_string(),
        "currency": signed.cart.currency.as_str(),
    })))
}

#[utoipa::path(post, path = "/v1/mandates/verify", tag = "mandates", request_body = crate::schema::Verification,
    description = "A presented chain and what the verifier expects; a verdict with every check. An invalid chain is a 200 with valid: false.",
    responses((status = 200), (status = 400), (status = 401), (status = 413), (status = 422), (status = 503)))]
pub async fn verify(
    State(app): State<App>,
    Anyone(identity): Anyone,
    Body(request): Body<VerifyRequest>,
) -> Result<Response, Problem> {
    Ok(ok(app.engine.verify(&identity, request).await?.to_json()))
}

#[utoipa::path(get, path = "/v1/mandates/{id}", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200), (status = 401), (status = 404), (status = 503)))]
pub async fn show(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    Ok(ok(mandate_json(&app.engine.mandate(&identity, id(&text)?).await?)))
}

#[utoipa::path(get, path = "/v1/mandates/{id}/spend", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200), (status = 401), (status = 404), (status = 503)))]
pub async fn spend(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let view = app.engine.mandate(&identity, id::<BudgetId>(&text)?).await?;
    let spends = app.engine.store.spends_of(&identity.tenant, view.budget.id, SPENDS_MAX).await;
    let spends = spends.map_err(engine::error::EngineError::from)?;
    let spends: Vec<Value> = spends.iter().map(crate::payments::spend_json).collect();
    let mut json = mandate_json(&view);
    json["spends"] = spends.into();
    Ok(ok(json))
}

#[utoipa::path(post, path = "/v1/mandates/{id}/revoke", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200), (status = 401), (status = 403), (status = 404), (status = 409), (status = 503)))]
pub async fn revoke(app: State<App>, actor: Actor, path: Path<String>) -> Result<Response, Problem> {
    change(app, actor, path, BudgetState::Revoked).await
}

#[utoipa::path(post, path = "/v1/mandates/{id}/suspend", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200), (status = 401), (status = 403), (status = 404), (status = 409), (status = 503)))]
pub async fn suspend(app: State<App>, actor: Actor, path: Path<String>) -> Result<Response, Problem> {
    change(app, actor, path, BudgetState::Suspended).await
}

#[utoipa::path(post, path = "/v1/mandates/{id}/resume", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200), (status = 401), (status = 403), (status = 404), (status = 409), (status = 503)))]
pub async fn resume(app: State<App>, actor: Actor, path: Path<String>) -> Result<Response, Problem> {
    change(app, actor, path, BudgetState::Active).await
}

async fn change(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
    to: BudgetState,
) -> Result<Response, Problem> {
    Ok(ok(mandate_json(&app.engine.change_mandate(&identity, id(&text)?, to).await?)))
}

/// Amounts for people in major units, and beside them the units that the book counts in.
fn mandate_json(view: &MandateView) -> Value {
    let MandateView { budget, record } = view;
    let major = |amount| shown(amount, &record.currency);
    let figure = |amount: ledger::money::Amount| json!({ "amount": major(amount), "units": amount.to_string() });
    json!({
        "id": budget.id,
        "state": budget.state.as_str(),
        "agent": record.agent,
        "user": record.user,
        "currency": record.currency,
        "cart": record.cart,
        "expires_at": record.expires_at,
        "cap": budget.caps.total.map(figure),
        "per_payment": budget.caps.per_payment.map(figure),
        "held": figure(budget.held),
        "posted": figure(budget.posted),
        "available": budget.available().map(figure),
        "payments": { "used": budget.count, "limit": budget.caps.occurrences },
        "payment": record.payment,
        "checkout": record.checkout,
    })
}
