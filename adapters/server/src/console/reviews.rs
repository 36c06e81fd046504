//! Payments that somebody is to look at after they went: those that wait, and what was found. Whoever only reads answers
//! nothing here.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use engine::review::{Reversal, Reviewed};
use http::{StatusCode, header};
use ledger::decision::{DecisionState, Finding};
use ledger::id::{DecisionId, Micros};
use maud::{Markup, html};

use super::Seated;
use super::query::Query;
use super::view::{Place, layout, state};
use crate::App;
use crate::approve::door::{Page, Post};
use crate::approve::forms;
use crate::approve::texts::fill;
use crate::reviews::{finding, state as named};

const PATH: &str = "/console/reviews";
const PAGE: u32 = 50;

pub(super) async fn list(State(app): State<App>, seated: Seated, RawQuery(query): RawQuery) -> Result<Response, Page> {
    let query = Query::read(query.as_deref(), &["state", "before"]).map_err(|problem| seated.problem(&problem))?;
    let wanted = named(query.get("state")).map_err(|problem| seated.problem(&problem))?;
    let before: Option<u64> =
        query.parsed("before", "the number of a record").map_err(|problem| seated.problem(&problem))?;
    let records = 0..before.unwrap_or(u64::MAX);
    let found = app.engine.reviews(&seated.seat.reads(), wanted, records, PAGE).await;
    let found = found.map_err(|error| seated.refused(error))?;
    let (texts, common) = (seated.texts().review, seated.texts());
    let body = html! {
        p { (texts.lead) }
        p .chips {
            @for (one, name) in DecisionState::REVIEWS.into_iter().zip(texts.states) {
                a href={ (PATH) "?state=" (one.as_str()) } aria-current=[(one == wanted).then_some("true")] { (name) } " "
            }
        }
        section {
            @if found.reviews.is_empty() { p .empty { (texts.none) } } @else {
                ul .stops { @for review in &found.reviews { (item(&seated, review)) } }
            }
            @if let Some(next) = found.next { p { a rel="next" href=(query.with(PATH, "before", next)) { (common.older) } } }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Reviews), texts.title, body)))
}

fn item(seated: &Seated, review: &Reviewed) -> Markup {
    let (texts, common) = (seated.texts().review, seated.texts());
    let Reviewed { decision, document, spend, answer, reversal, .. } = review;
    let acts = seated.seat.acts().is_ok();
    html! {
        li {
            p {
                a href={ "/console/spends/" (document.payment) } {
                    (document.amount) " " (document.currency) " → " (document.payee_id)
                }
                " " (state(common, spend.state))
            }
            p .quiet {
                (document.agent) " · " (document.rail)
                @if let Some(rule) = &document.policy.rule { " · " (fill(texts.asked_by, &[rule])) }
                @if decision.state.is_unreviewed() {
                    " · " (fill(texts.due, &[&seated.moment(Micros::from_seconds(document.due_at))]))
                }
                @if decision.state == DecisionState::InReview && !document.overdue.is_notify() { " · " (texts.suspends) }
            }
            @if let Some(answer) = answer {
                p { (fill(texts.answered_by, &[answer.by.as_str()])) ":" }
                blockquote { (answer.because) }
            }
            @if let Some(reversal) = reversal { p { (reversal_text(seated, *reversal)) } }
            @if acts && decision.state.is_unreviewed() { (form(seated, review)) }
            @if acts && *reversal == Some(Reversal::Pending) { (again(seated, review)) }
        }
    }
}

/// Nothing is answered by a key that was pressed too often: neither button is the form's own.
fn form(seated: &Seated, review: &Reviewed) -> Markup {
    let texts = seated.texts().review;
    let field = format!("because-{}", review.decision.id);
    html! {
        form method="post" action=(PATH) {
            input type="hidden" name="csrf" value=(seated.visitor.csrf);
            input type="hidden" name="review" value=(review.decision.id);
            label for=(field) { (texts.because) }
            textarea #(field) name="because" rows="2" maxlength="2000" required {}
            p .quiet { (texts.dispute_lead) }
            p .actions {
                button .danger type="submit" name="verdict" value=(Finding::Dispute) { (texts.dispute) }
                button type="submit" name="verdict" value=(Finding::Fine) { (texts.fine) }
            }
        }
    }
}

fn again(seated: &Seated, review: &Reviewed) -> Markup {
    let because = review.answer.as_ref().map_or("-", |answer| answer.because.as_str());
    html! {
        form method="post" action=(PATH) {
            input type="hidden" name="csrf" value=(seated.visitor.csrf);
            input type="hidden" name="review" value=(review.decision.id);
            input type="hidden" name="because" value=(because);
            input type="hidden" name="verdict" value=(Finding::Dispute);
            button type="submit" { (seated.texts().review.once_more) }
        }
    }
}

/// On the page of its payment.
pub(super) fn standing(seated: &Seated, found: DecisionState) -> Markup {
    let texts = seated.texts().review;
    let named = DecisionState::REVIEWS.into_iter().zip(texts.states).find(|(state, _)| *state == found);
    html! {
        @if let Some((state, name)) = named {
            dt { (texts.review) } dd { a href={ (PATH) "?state=" (state.as_str()) } { (name) } }
        }
    }
}

fn reversal_text(seated: &Seated, reversal: Reversal) -> &'static str {
    let [voided, refunded, pending, not_reversible] = seated.visitor.texts.console.review.reversals;
    match reversal {
        Reversal::Voided => voided,
        Reversal::Refunded => refunded,
        Reversal::Pending => pending,
        Reversal::NotReversible => not_reversible,
    }
}

pub(super) async fn answer(State(app): State<App>, post: Post) -> Result<Response, Page> {
    let fields = forms::read(&post.body, ["csrf", "review", "verdict", "because"]);
    let [csrf, review, verdict, because] = fields.map_err(|problem| post.problem(problem))?;
    let (identity, _) = post.in_session(&csrf)?;
    let review: DecisionId = review.parse().map_err(|_| post.not_found())?;
    let finding = finding(&verdict).map_err(|problem| post.problem(problem))?;
    // As a browser sends the lines of a field.
    let because = because.replace("\r\n", "\n");
    let answered = app.engine.answer_review(identity, review, finding, &because).await;
    let state = answered.map_err(|error| post.refused(error))?.decision.state;
    let address = format!("{PATH}?state={}", state.as_str());
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response())
}
