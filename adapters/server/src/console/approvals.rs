//! Questions that were put to whoever looks: those that wait, and what was answered.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use engine::consent::Approval;
use ledger::decision::DecisionState;
use maud::{Markup, html};

use super::Seated;
use super::query::Query;
use super::view::{Place, layout};
use crate::App;
use crate::approve::door::Page;
use crate::approve::view::title;
use crate::problem::{Problem, shown};

const PATH: &str = "/console/approvals";
const PAGE: u32 = 50;

pub(super) async fn show(State(app): State<App>, seated: Seated, RawQuery(query): RawQuery) -> Result<Response, Page> {
    let query = Query::read(query.as_deref(), &["state", "before"]).map_err(|problem| seated.problem(&problem))?;
    let state = state(&query).map_err(|problem| seated.problem(&problem))?;
    let before: Option<u64> =
        query.parsed("before", "the number of a record").map_err(|problem| seated.problem(&problem))?;
    let records = 0..before.unwrap_or(u64::MAX);
    let found = app.engine.approvals(seated.seat.own(), state, records, PAGE + 1).await;
    let mut found = found.map_err(|error| seated.refused(error))?;
    let more = crate::paging::cut(&mut found, PAGE);
    let next = found.last().filter(|_| more).map(|last| last.decision.asked);
    let texts = seated.texts();
    let [pending, approved, denied] = texts.answers;
    let tabs =
        [(DecisionState::Pending, pending), (DecisionState::Approved, approved), (DecisionState::Denied, denied)];
    let body = html! {
        p .chips {
            @for (one, name) in tabs {
                a href={ (PATH) "?state=" (one.as_str()) } aria-current=[(one == state).then_some("true")] { (name) } " "
            }
        }
        section {
            @if found.is_empty() { p .empty { (texts.no_approvals) } } @else {
                ul .stops { @for approval in &found { (item(&app, &seated, approval)) } }
            }
            @if let Some(next) = next { p { a rel="next" href=(query.with(PATH, "before", next)) { (texts.older) } } }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Approvals), texts.approvals, body)))
}

fn state(query: &Query) -> Result<DecisionState, Problem> {
    let Some(text) = query.get("state") else { return Ok(DecisionState::Pending) };
    let known = [DecisionState::Pending, DecisionState::Approved, DecisionState::Denied];
    let came = shown(text);
    let wrong = || Problem::invalid("state", format!("pending, approved or denied was expected, {came} came"));
    known.into_iter().find(|state| state.as_str() == text).ok_or_else(wrong)
}

fn item(app: &App, seated: &Seated, approval: &Approval) -> Markup {
    let (texts, common) = (seated.texts(), seated.visitor.texts);
    let (document, decision) = (&approval.document, &approval.decision);
    let is_over = decision.state == DecisionState::Pending && app.engine.clock.now() >= decision.expires_at;
    html! {
        li {
            p { a href={ "/approve/" (decision.id) } { (title(common, document)) } }
            p .quiet {
                (seated.when(ledger::id::Micros::from_seconds(document.issued_at())))
                @if is_over { " · " (common.expired) }
                @if let Some(mandate) = decision.opened {
                    " · " a href={ "/console/mandates/" (mandate) } { (texts.mandate) }
                }
            }
        }
    }
}
