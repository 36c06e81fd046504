//! The pages of those who answer for agents: sign-in, what waits, and the question itself, rendered from the document
//! whose digest is decided on and from nothing else.
//!
//! A session alone reads and refuses; an approval is signed by a passkey over the digest of what the page showed. Every
//! POST comes from a page of ours (Origin) and, in a session, with that session's own token. Nothing is inline, nothing is
//! of third parties, nobody frames it.

pub(crate) mod asset;
pub(crate) mod door;
pub(crate) mod forms;
pub(crate) mod texts;
pub(crate) mod view;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::consent::Approval;
use engine::consent::answer::Standing;
use engine::error::EngineError;
use engine::ruling::standing::propose::StandingWish;
use http::StatusCode;
use ledger::decision::{Answer, DecisionState};
use ledger::id::{DecisionId, Digest};
use mandates::json::Object;
use serde_json::json;

use self::door::{Page, Post, Visitor};
use self::forms::{AssertionBody, CodeBody, RegistrationBody};
use crate::App;
use crate::call::parse;
use crate::problem::{Problem, ok};

/// Questions that one page lists.
const LISTED: u32 = 100;

pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/approve", get(list))
        .route("/approve/register", get(register_page))
        .route("/approve/register/begin", post(begin_registration))
        .route("/approve/register/finish", post(register))
        .route("/approve/sign-in/begin", post(begin_sign_in))
        .route("/approve/sign-in/finish", post(sign_in))
        .route("/approve/sign-out", post(sign_out))
        .route("/approve/assets/{name}", get(asset::show))
        .route("/approve/{id}", get(question))
        .route("/approve/{id}/begin", post(begin_approval))
        .route("/approve/{id}/wallet", post(ask_wallet))
        .route("/approve/{id}/approve", post(approve))
        .route("/approve/{id}/deny", post(deny))
        .route("/approve/{id}/standing", post(propose_standing))
        .with_state(app)
}

/// Where a person answers this question.
pub(crate) fn address(app: &App, id: DecisionId) -> String {
    format!("{}/approve/{id}", app.settings.page_url)
}

async fn list(State(app): State<App>, visitor: Visitor) -> Result<Response, Page> {
    let Some(identity) = &visitor.identity else { return Ok(visitor.page(StatusCode::OK, view::sign_in(&visitor))) };
    let waiting = app.engine.approvals(identity, DecisionState::Pending, 0..u64::MAX, LISTED).await;
    let waiting = waiting.map_err(|error| visitor.refused(error))?;
    let now = app.engine.clock.now().seconds();
    let waiting: Vec<Approval> =
        waiting.into_iter().filter(|approval| approval.decision.expires_at.seconds() > now).collect();
    Ok(visitor.page(StatusCode::OK, view::list(&visitor, &waiting)))
}

async fn question(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Result<Response, Page> {
    let Some(identity) = &visitor.identity else { return Ok(visitor.page(StatusCode::OK, view::sign_in(&visitor))) };
    let unknown = || visitor.not_found();
    let id: DecisionId = id.parse().map_err(|_| unknown())?;
    let approval = match app.engine.approval(identity, id).await {
        // A question to somebody else is none of theirs, and does not say that it is there.
        Ok(approval) if approval.decision.approver == identity.caller.principal => approval,
        Ok(_) | Err(EngineError::NotFound { .. }) => return Err(unknown()),
        Err(error) => return Err(visitor.refused(error)),
    };
    let standing = app.engine.standing_of(identity, &approval).map_err(|error| visitor.refused(error))?;
    let beside = match standing {
        Standing::Open => app.engine.standing_offer(identity, &approval).await,
        _ => Ok(None),
    };
    let beside = beside.map_err(|error| visitor.refused(error))?;
    let wallet = approval.document.opens() && app.engine.takes_credentials(identity);
    let offers = view::Offers { standing: beside.as_ref(), wallet };
    Ok(visitor.page(StatusCode::OK, view::question(&visitor, &approval, standing, offers)))
}

async fn register_page(visitor: Visitor) -> Response {
    visitor.page(StatusCode::OK, view::register(&visitor))
}

async fn begin_registration(State(app): State<App>, post: Post) -> Result<Response, Page> {
    let body: CodeBody = parse(&post.body).map_err(|problem| post.problem(problem))?;
    let asked = app.engine.begin_registration(&body.code).await.map_err(|error| post.refused(error))?;
    let party = app.engine.pages().and_then(engine::approver::Pages::party).map_err(|error| post.refused(error))?;
    Ok(ok(forms::creation(party, &asked)))
}

async fn register(State(app): State<App>, post: Post) -> Result<Response, Page> {
    let body: RegistrationBody = parse(&post.body).map_err(|problem| post.problem(problem))?;
    let made = body.made().map_err(|problem| post.problem(problem))?;
    let token = app.engine.register(&body.code, &made).await.map_err(|error| post.refused(error))?;
    Ok(post.signed_in(&token))
}

async fn begin_sign_in(State(app): State<App>, post: Post) -> Result<Response, Page> {
    let challenge = app.engine.begin_sign_in().await.map_err(|error| post.refused(error))?;
    let party = app.engine.pages().and_then(engine::approver::Pages::party).map_err(|error| post.refused(error))?;
    Ok(ok(forms::request(party, &challenge, &[])))
}

async fn sign_in(State(app): State<App>, post: Post) -> Result<Response, Page> {
    let body: AssertionBody = parse(&post.body).map_err(|problem| post.problem(problem))?;
    let given = body.assertion().map_err(|problem| post.problem(problem))?;
    let token = app.engine.sign_in_approver(&given).await.map_err(|error| post.refused(error))?;
    Ok(post.signed_in(&token))
}

async fn sign_out(State(app): State<App>, post: Post) -> Result<Response, Page> {
    let form = forms::read(&post.body, ["csrf"]).map_err(|problem| post.problem(problem))?;
    let [csrf] = form;
    let (_, token) = post.in_session(&csrf)?;
    app.engine.sign_out(token).await.map_err(|error| post.refused(error))?;
    Ok(post.signed_out())
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginBody {
    csrf: String,
    digest: Digest,
}

/// What the passkey is to sign: the digest that the page showed, where it is the question's.
async fn begin_approval(State(app): State<App>, Path(id): Path<String>, post: Post) -> Result<Response, Page> {
    let body: BeginBody = parse(&post.body).map_err(|problem| post.problem(problem))?;
    let (identity, _) = post.in_session(&body.csrf)?;
    let id: DecisionId = id.parse().map_err(|_| post.not_found())?;
    let approval = app.engine.approval(identity, id).await.map_err(|error| post.refused(error))?;
    app.engine.check_approvable(identity, &approval, body.digest).map_err(|error| post.refused(error))?;
    let keys = app.engine.passkeys(identity).await.map_err(|error| post.refused(error))?;
    let party = app.engine.pages().and_then(engine::approver::Pages::party).map_err(|error| post.refused(error))?;
    let keys: Vec<Vec<u8>> = keys.into_iter().map(|key| key.credential).collect();
    Ok(ok(forms::request(party, &body.digest.0, &keys)))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveBody {
    csrf: String,
    digest: Digest,
    assertion: AssertionBody,
    #[serde(default)]
    presentation: Option<Object>,
}

/// What the wallet is to sign, beside the passkey: the mandates of the question that the page showed.
async fn ask_wallet(State(app): State<App>, Path(id): Path<String>, post: Post) -> Result<Response, Page> {
    let body: BeginBody = parse(&post.body).map_err(|problem| post.problem(problem))?;
    let (identity, _) = post.in_session(&body.csrf)?;
    let id: DecisionId = id.parse().map_err(|_| post.not_found())?;
    let approval = app.engine.approval(identity, id).await.map_err(|error| post.refused(error))?;
    app.engine.check_approvable(identity, &approval, body.digest).map_err(|error| post.refused(error))?;
    let asked = app.engine.delegation(identity, id).await.map_err(|error| post.refused(error))?;
    Ok(ok(crate::mandates::delegation_json(&asked)))
}

async fn approve(State(app): State<App>, Path(id): Path<String>, post: Post) -> Result<Response, Page> {
    let body: ApproveBody = parse(&post.body).map_err(|problem| post.problem(problem))?;
    let (identity, _) = post.in_session(&body.csrf)?;
    let id: DecisionId = id.parse().map_err(|_| post.not_found())?;
    let given = body.assertion.assertion().map_err(|problem| post.problem(problem))?;
    let approved = app.engine.approve_signed(identity, id, body.digest, &given, body.presentation.as_ref()).await;
    approved.map_err(|error| post.refused(error))?;
    Ok(ok(json!({ "to": format!("/approve/{id}") })))
}

/// By a form, so that it works where no script does.
async fn deny(State(app): State<App>, Path(id): Path<String>, post: Post) -> Result<Response, Page> {
    let [csrf, digest] = forms::read(&post.body, ["csrf", "digest"]).map_err(|problem| post.problem(problem))?;
    let (identity, _) = post.in_session(&csrf)?;
    let id: DecisionId = id.parse().map_err(|_| post.not_found())?;
    let digest = digest.parse().map_err(|_| post.problem(Problem::invalid("digest", "64 digits were expected")))?;
    app.engine.decide(identity, id, digest, Answer::Deny, None).await.map_err(|error| post.refused(error))?;
    Ok((StatusCode::SEE_OTHER, [(http::header::LOCATION, format!("/approve/{id}"))]).into_response())
}

/// Asks the same person once more, for payments like the one that is open before them; allows nothing.
async fn propose_standing(State(app): State<App>, Path(id): Path<String>, post: Post) -> Result<Response, Page> {
    let names = ["csrf", "digest", "per_payment", "total", "days"];
    let [csrf, digest, per_payment, total, days] =
        forms::read(&post.body, names).map_err(|problem| post.problem(problem))?;
    let (identity, _) = post.in_session(&csrf)?;
    let id: DecisionId = id.parse().map_err(|_| post.not_found())?;
    let digest = digest.parse().map_err(|_| post.problem(Problem::invalid("digest", "64 digits were expected")))?;
    let days = days.parse().map_err(|_| post.problem(Problem::invalid("days", "a whole number was expected")))?;
    let wish = StandingWish { per_payment, total, days };
    let asked = app.engine.propose_standing(identity, id, digest, &wish).await.map_err(|error| post.refused(error))?;
    let to = format!("/approve/{}", asked.decision.id);
    Ok((StatusCode::SEE_OTHER, [(http::header::LOCATION, to)]).into_response())
}
