//! Payments that somebody is to look at after they went.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use engine::review::{ReviewAnswer, Reviewed};
use ledger::decision::{DecisionState, Finding};
use ledger::id::DecisionId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::call::{Actor, Body, Caller, id};
use crate::paging::{List, Paging};
use crate::problem::{Problem, ok, shown};

/// What becomes of a review, by its name; those that wait where nothing is said.
pub(crate) fn state(text: Option<&str>) -> Result<DecisionState, Problem> {
    let Some(text) = text else { return Ok(DecisionState::InReview) };
    let known = DecisionState::REVIEWS.into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| {
        let names = DecisionState::REVIEWS.map(DecisionState::as_str).join(", ");
        Problem::invalid("state", format!("one of {names} was expected, {} came", shown(text)))
    })
}

#[utoipa::path(get, path = "/v1/reviews", tag = "reviews",
    description = "Payments that the policy has somebody look at, newest first: of the calling person, or of the whole tenant for an operator or an auditor. Those that wait where no state is named.",
    params(("state" = Option<String>, Query, description = "in_review, overdue, disputed or confirmed"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("from" = Option<i64>, Query, description = "Unix seconds"), ("to" = Option<i64>, Query, description = "Unix seconds, exclusive")),
    responses((status = 200, body = crate::schema::reviews::Reviews), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub async fn list(
    State(app): State<App>,
    Caller(identity): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let paging = Paging::read(List::Reviews, query.as_deref())?;
    let state = state(paging.state.as_deref())?;
    let records = paging.newest_first(&app, &identity.tenant).await?;
    let found = app.engine.reviews(&identity, state, records, paging.limit).await?;
    let reviews: Vec<Value> = found.reviews.iter().map(to_json).collect();
    Ok(ok(json!({ "reviews": reviews, "next": found.next.map(|next| paging.cursor(next)) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewBody {
    verdict: String,
    /// Kept with the answer.
    because: String,
}

#[utoipa::path(post, path = "/v1/reviews/{id}", tag = "reviews", params(("id" = String, Path)),
    request_body = crate::schema::reviews::Finding,
    description = "Whoever gave the mandate, or an operator, says what they found; no agent does. What is disputed is voided or refunded where its rail can be reversed, and stays disputed where it cannot; the same answer again tries again.",
    responses((status = 200, body = crate::schema::reviews::Review), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409),
        (status = 410), (status = 413), (status = 422), (status = 503)))]
pub async fn answer(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
    Body(body): Body<ReviewBody>,
) -> Result<Response, Problem> {
    let finding = finding(&body.verdict)?;
    let review = app.engine.answer_review(&identity, id::<DecisionId>(&text)?, finding, &body.because).await?;
    Ok(ok(to_json(&review)))
}

pub(crate) fn finding(text: &str) -> Result<Finding, Problem> {
    text.parse().map_err(|_| Problem::invalid("verdict", format!("fine or dispute was expected, {} came", shown(text))))
}

fn to_json(review: &Reviewed) -> Value {
    let Reviewed { decision, document, spend, answer, reversal, refused } = review;
    let said = |answer: &ReviewAnswer| json!({ "verdict": answer.verdict, "because": answer.because, "by": answer.by });
    json!({
        "id": decision.id,
        "state": decision.state.as_str(),
        "payment": document.payment,
        "payment_state": spend.state.as_str(),
        "reviewer": decision.approver,
        "agent": document.agent,
        "mandate": document.mandate,
        "rail": document.rail,
        "amount": document.amount,
        "currency": document.currency,
        "payee": document.payee_id,
        "policy": document.policy,
        "due_at": document.due_at,
        "overdue": document.overdue,
        "answer": answer.as_ref().map(said),
        "reversal": reversal.map(|reversal| reversal.as_str()),
        "reversal_refused": refused,
    })
}
