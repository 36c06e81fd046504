//! Mandates and the questions to humans.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use engine::consent::{Approval, IntentRequest, MandateState, MandateView, WalletRequest, shown};
use engine::limits::LimitState;
use engine::rails::{ByRail, RailFigures};
use engine::verify::VerifyRequest;
use http::StatusCode;
use ledger::budget::{Budget, BudgetState};
use ledger::decision::{Answer, DecisionState};
use ledger::id::{BudgetId, CallerKind, DecisionId, Digest};
use ledger::money::Amount;
use mandates::json::Object;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::call::{Actor, Anyone, Body, Caller, id};
use crate::paging::{List, Paging, cut};
use crate::problem::{Problem, created, ok};

#[utoipa::path(post, path = "/v1/mandates/intents", tag = "mandates", request_body = crate::schema::Intent,
    description = "An agent asks a person for an Intent mandate. Amounts are decimals in major units.",
    responses((status = 202, description = "The question was put; a person decides", body = crate::schema::answers::Asked), (status = 400), (status = 401),
        (status = 403), (status = 404), (status = 409), (status = 413), (status = 503)))]
pub async fn ask(
    State(app): State<App>,
    Actor(identity): Actor,
    Body(request): Body<IntentRequest>,
) -> Result<Response, Problem> {
    let approval = app.engine.propose_intent(&identity, request).await?;
    let url = crate::approve::address(&app, approval.decision.id);
    let mut response = ok(json!({ "approval": approval_json(&app, &approval), "approval_url": url }));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

#[utoipa::path(get, path = "/v1/approvals", tag = "approvals",
    description = "What was put to the calling user, newest first; what waits where no state is named.",
    params(("state" = Option<String>, Query, description = "pending, approved or denied"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("from" = Option<i64>, Query, description = "Unix seconds"), ("to" = Option<i64>, Query, description = "Unix seconds, exclusive")),
    responses((status = 200, body = crate::schema::answers::Approvals), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub async fn pending(
    State(app): State<App>,
    Caller(identity): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    if identity.caller.kind != CallerKind::User {
        let detail = format!("a user has approvals; the caller is of kind {}", identity.caller.kind);
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    let paging = Paging::read(List::Approvals, query.as_deref())?;
    let asked = paging.state.as_deref().unwrap_or("pending");
    let state = asked.parse().ok().filter(|state: &DecisionState| !state.is_review()).ok_or_else(|| {
        let found = crate::problem::shown(asked);
        Problem::invalid("state", format!("pending, approved or denied was expected, {found} came"))
    })?;
    let records = paging.newest_first(&app, &identity.tenant).await?;
    let mut approvals = app.engine.approvals(&identity, state, records, paging.asked()).await?;
    let more = cut(&mut approvals, paging.limit);
    let next = approvals.last().filter(|_| more).map(|last| paging.cursor(last.decision.asked));
    let approvals: Vec<Value> = approvals.iter().map(|approval| approval_json(&app, approval)).collect();
    Ok(ok(json!({ "approvals": approvals, "next": next })))
}

#[utoipa::path(get, path = "/v1/approvals/{id}", tag = "approvals", params(("id" = String, Path)),
    responses((status = 200, body = crate::schema::answers::Approval), (status = 401), (status = 404), (status = 503)))]
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
    /// What the person's wallet answered, where it is to sign the mandate.
    #[serde(default)]
    presentation: Option<Object>,
}

#[utoipa::path(get, path = "/v1/approvals/{id}/delegation", tag = "approvals", params(("id" = String, Path)),
    description = "What a page at `origin` asks the person's wallet for (OpenID4VP 1.0 over the Digital Credentials API), so that it signs the mandate; the answer goes into the decision.",
    responses((status = 200, body = crate::schema::wallets::WalletRequest), (status = 400), (status = 401), (status = 403), (status = 404),
        (status = 409), (status = 422), (status = 503)))]
pub async fn delegation(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    Ok(ok(delegation_json(&app.engine.delegation(&identity, id(&text)?).await?)))
}

pub(crate) fn delegation_json(asked: &WalletRequest) -> Value {
    json!({
        "request": asked.request,
        "origin": asked.origin,
        "nonce": asked.nonce,
        "digest": asked.digest,
        "expires_at": asked.expires_at,
    })
}

#[utoipa::path(post, path = "/v1/approvals/{id}/decision", tag = "approvals", params(("id" = String, Path)),
    request_body = crate::schema::Decision, description = "Only a user decides, and only on exactly what the digest names. With a `presentation` the person's wallet signs the mandate.",
    responses((status = 200, body = crate::schema::answers::Decided), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409),
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
    let approval = app.engine.decide(&identity, id(&text)?, body.digest, answer, body.presentation.as_ref()).await?;
    let mandate = approval.decision.opened;
    Ok(ok(json!({ "approval": approval_json(&app, &approval), "mandate": mandate })))
}

fn approval_json(app: &App, approval: &Approval) -> Value {
    let decision = &approval.decision;
    json!({
        "id": decision.id,
        "url": crate::approve::address(app, decision.id),
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
    responses((status = 201, body = crate::schema::answers::SignedCart), (status = 400), (status = 401), (status = 403), (status = 404), (status = 413),
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
    description = "A presented chain and what the verifier expects; a verdict with every check. An invalid chain is a 200 with valid: false. With `accept`, a valid closed mandate is used up and answered with a signed success receipt, once.",
    responses((status = 200), (status = 400), (status = 401), (status = 403), (status = 413), (status = 422), (status = 503), (status = 409)))]
pub async fn verify(
    State(app): State<App>,
    Anyone(identity): Anyone,
    Body(request): Body<VerifyRequest>,
) -> Result<Response, Problem> {
    Ok(ok(app.engine.verify(&identity, request).await?.to_json()))
}

#[utoipa::path(get, path = "/v1/mandates/{id}", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200, body = crate::schema::answers::Mandate), (status = 401), (status = 404), (status = 503)))]
pub async fn show(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    Ok(ok(mandate_json(&app.engine.mandate_state(&identity, id(&text)?).await?)))
}

#[utoipa::path(get, path = "/v1/mandates/{id}/spend", tag = "mandates",
    description = "The mandate with its figures, and its spends, newest first.",
    params(("id" = String, Path), ("cursor" = Option<String>, Query),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("from" = Option<i64>, Query, description = "Unix seconds"), ("to" = Option<i64>, Query, description = "Unix seconds, exclusive")),
    responses((status = 200, body = crate::schema::answers::MandateSpends), (status = 400), (status = 401), (status = 404), (status = 503)))]
pub async fn spend(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let state = app.engine.mandate_state(&identity, id::<BudgetId>(&text)?).await?;
    let paging = Paging::read(List::Spends, query.as_deref())?;
    let records = paging.newest_first(&app, &identity.tenant).await?;
    let spends = app.engine.store.spends_of(&identity.tenant, state.view.budget.id, records, paging.asked()).await;
    let mut spends = spends.map_err(engine::error::EngineError::from)?;
    let more = cut(&mut spends, paging.limit);
    let next = spends.last().filter(|_| more).map(|last| paging.cursor(last.hold.seq));
    let rails = app.engine.by_rail(&identity.tenant, &state.view.budget).await?;
    let mut json = mandate_json(&state);
    json["rails"] = rails.map(|rails| rails_json(&rails, &state.view.record.currency)).into();
    json["spends"] = spends.iter().map(crate::payments::spend_json).collect();
    json["next"] = next.into();
    Ok(ok(json))
}

#[utoipa::path(post, path = "/v1/mandates/{id}/revoke", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200, body = crate::schema::answers::Mandate), (status = 401), (status = 403), (status = 404), (status = 409), (status = 503)))]
pub async fn revoke(app: State<App>, actor: Actor, path: Path<String>) -> Result<Response, Problem> {
    change(app, actor, path, BudgetState::Revoked).await
}

#[utoipa::path(post, path = "/v1/mandates/{id}/suspend", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200, body = crate::schema::answers::Mandate), (status = 401), (status = 403), (status = 404), (status = 409), (status = 503)))]
pub async fn suspend(app: State<App>, actor: Actor, path: Path<String>) -> Result<Response, Problem> {
    change(app, actor, path, BudgetState::Suspended).await
}

#[utoipa::path(post, path = "/v1/mandates/{id}/resume", tag = "mandates", params(("id" = String, Path)),
    responses((status = 200, body = crate::schema::answers::Mandate), (status = 401), (status = 403), (status = 404), (status = 409), (status = 503)))]
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

/// How far apart payments lie, and from when on the next one is due; nothing where they may come at any time.
fn recurrence_json(budget: &Budget) -> Option<Value> {
    let frequency = budget.caps.frequency?;
    let last = budget.last_use.map(|last| last.at.seconds());
    let due = last.and_then(|last| frequency.due_after_seconds(last));
    Some(json!({ "frequency": frequency.as_str(), "last_use": last, "due_at": due }))
}

fn rails_json(rails: &ByRail, currency: &str) -> Value {
    let figure = |amount: Amount| json!({ "amount": shown(amount, currency), "units": amount.to_string() });
    let rail = |of: RailFigures| json!({ "held": figure(of.held), "posted": figure(of.posted) });
    json!({ "x402": rail(rails.x402), "mandate": rail(rails.mandate), "vault": rail(rails.vault) })
}

/// Amounts for people in major units, and beside them the units that the book counts in.
pub fn mandate_json(state: &MandateState) -> Value {
    let MandateView { budget, record } = &state.view;
    let major = |amount| shown(amount, &record.currency);
    let figure = |amount: ledger::money::Amount| json!({ "amount": major(amount), "units": amount.to_string() });
    let limit_json = |state: &LimitState| {
        let limit = &state.limit;
        json!({
            "per": limit.to_string(),
            "amount": limit.amount.map(figure),
            "used": state.used.map(|(used, _)| figure(used)),
            "payments": limit.payments.map(|most| json!({ "used": state.used.map(|(_, count)| count), "limit": most })),
        })
    };
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
        "recurrence": recurrence_json(budget),
        "limits": state.limits.iter().map(limit_json).collect::<Vec<_>>(),
        "hours": budget.caps.hours.as_ref().map(ToString::to_string),
        "parent": record.line.last().map(|by| by.mandate),
        "line": record.line.iter().map(|by| json!({ "mandate": by.mandate, "agent": by.agent })).collect::<Vec<_>>(),
        "payment": state.tokens.as_ref().map(|tokens| &tokens.payment),
        "checkout": state.tokens.as_ref().map(|tokens| &tokens.checkout),
    })
}
