//! Stopping: one button at every scope, behind a page that says exactly what it stops; and what is stopped now.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use engine::lifecycle::{AgentStanding, Finding};
use http::{StatusCode, header};
use ledger::gate::{Gate, Scope};
use maud::{Markup, html};

use super::Seated;
use super::query::Query;
use super::view::{Place, figures, layout, short};
use crate::App;
use crate::approve::door::{Page, Post};
use crate::approve::forms;
use crate::approve::texts::console::ConsoleTexts;
use crate::approve::texts::fill;
use crate::problem::{Problem, shown};

const PATH: &str = "/console/stops";

fn scope(text: Option<&str>) -> Result<Scope, Problem> {
    let text = text.unwrap_or("nothing");
    text.parse().map_err(|_| {
        let expected = "everything, person/NAME, agent/NAME, mandate/ID, payee/NAME, build/sha256:DIGITS or issuer/URL";
        Problem::invalid("scope", format!("{expected} was expected, {} came", shown(text)))
    })
}

/// A scope by its kind and its name, as the form of the list gives it.
fn asked(query: &Query) -> Result<Scope, Problem> {
    match (query.get("kind"), query.get("name")) {
        (None, _) => scope(query.get("scope")),
        (Some("everything"), _) => Ok(Scope::Everything),
        (Some(kind), name) => scope(Some(&format!("{kind}/{}", name.unwrap_or_default()))),
    }
}

pub(super) async fn list(State(app): State<App>, seated: Seated, RawQuery(query): RawQuery) -> Result<Response, Page> {
    Query::read(query.as_deref(), &[]).map_err(|problem| seated.problem(&problem))?;
    let refused = |error: engine::error::EngineError| seated.refused(error);
    let mut stops = Vec::new();
    for gate in app.engine.stops_seen(&seated.seat).await.map_err(refused)? {
        let may_lift = app.engine.may_lift_from(&seated.seat, &gate).await.map_err(refused)?;
        stops.push((gate, may_lift));
    }
    let agents = app.engine.agents_seen(&seated.seat).await.map_err(refused)?;
    let texts = seated.texts();
    let body = html! {
        @if seated.seat.acts().is_ok() { (buttons(&app, &seated)?) }
        section {
            h2 { (texts.in_force) }
            @if stops.is_empty() { p .empty { (texts.nothing_stopped) } } @else {
                ul .stops { @for (gate, may_lift) in &stops { li {
                    p { (said(&seated, gate)) }
                    @if *may_lift {
                        form method="post" action={ (PATH) "/lift" } {
                            input type="hidden" name="csrf" value=(seated.visitor.csrf);
                            input type="hidden" name="scope" value=(gate.scope);
                            button type="submit" { (texts.lift) }
                        }
                    } @else { p .quiet { (texts.not_yours_to_lift) } }
                } } }
            }
        }
        (standing(&seated, &agents))
    };
    Ok(seated.page(layout(&seated, Some(Place::Stops), texts.stops, body)))
}

/// Who answers for each agent, and what is wrong with it.
fn standing(seated: &Seated, agents: &[AgentStanding]) -> Markup {
    let texts = seated.texts();
    let [orphaned, dormant, review_due] = texts.findings;
    let name = |finding: &Finding| match finding {
        Finding::Orphaned => orphaned,
        Finding::Dormant => dormant,
        Finding::ReviewDue => review_due,
    };
    html! {
        @if !agents.is_empty() {
            section {
                h2 { (texts.agents) }
                div .scroll role="region" aria-label=(texts.agents) tabindex="0" { table {
                    thead { tr {
                        th scope="col" { (texts.agent) } th scope="col" { (texts.sponsor) }
                        th scope="col" { (texts.last_use) } th scope="col" { (texts.review_by) }
                        th scope="col" { (texts.found) }
                    } }
                    tbody { @for one in agents { tr {
                        th scope="row" { (one.agent) }
                        td { (one.sponsor) }
                        td { @if let Some(at) = one.last_use { (seated.when(at)) } @else { (texts.never) } }
                        td { @if let Some(at) = one.upkeep.review_by { (seated.when(at)) } @else { "–" } }
                        td { @for (place, finding) in one.findings.iter().enumerate() {
                            @if place > 0 { ", " } strong { (name(finding)) }
                        } }
                    } } }
                } }
            }
        }
    }
}

/// Everything that is theirs at one click more, and every other scope by its name.
fn buttons(app: &App, seated: &Seated) -> Result<Markup, Page> {
    let texts = seated.texts();
    let agents = app.engine.agents_of(&seated.seat).map_err(|error| seated.refused(error))?;
    let own = &seated.seat.own().caller.principal;
    let [person, agent, mandate, payee, build, issuer] = texts.scope_kinds;
    let shared = [("payee", payee), ("build", build), ("issuer", issuer)];
    let kinds = [("agent", agent), ("mandate", mandate), ("person", person)];
    let kinds = kinds.into_iter().chain(shared.into_iter().filter(|_| seated.seat.sees_all()));
    Ok(html! {
        section {
            h2 { (texts.stop_something) }
            p { (texts.stop_lead) }
            p .actions {
                @if seated.seat.sees_all() {
                    a .button .danger href={ (PATH) "/new?scope=everything" } { (texts.stop_everything) }
                }
                a .button .danger href={ (PATH) "/new?scope=person/" (own) } { (texts.stop_mine) }
                @for name in &agents {
                    a .button href={ (PATH) "/new?scope=agent/" (name) } { (fill(texts.stop_this_agent, &[name.as_str()])) }
                }
            }
            form .filters method="get" action={ (PATH) "/new" } {
                div {
                    label for="kind" { (texts.scope) }
                    select #kind name="kind" { @for (value, text) in kinds { option value=(value) { (text) } } }
                }
                div { label for="name" { (texts.name) } input #name name="name" type="text" maxlength="128" required; }
                div .actions { button type="submit" { (texts.next) } }
            }
        }
    })
}

/// What a scope is called by people.
fn scope_text(texts: &ConsoleTexts, scope: &Scope) -> String {
    let [everything, fence, person, agent, mandate, payee, build, issuer] = texts.scopes;
    match scope {
        Scope::Everything => everything.to_owned(),
        Scope::Fence => fence.to_owned(),
        Scope::Person(name) => fill(person, &[name.as_str()]),
        Scope::Agent(name) => fill(agent, &[name.as_str()]),
        Scope::Mandate(id) => fill(mandate, &[&short(id)]),
        Scope::Payee(name) => fill(payee, &[name.as_str()]),
        Scope::Build(build_of) => fill(build, &[&short(build_of.0)]),
        Scope::Issuer(url) => fill(issuer, &[url.as_str()]),
    }
}

pub(super) fn said(seated: &Seated, gate: &Gate) -> Markup {
    let texts = seated.texts();
    html! {
        strong { (scope_text(texts, &gate.scope)) } " · "
        (fill(texts.stopped_by, &[gate.closed_by.principal.as_str()])) " · " (seated.when(gate.since))
    }
}

/// What will stop, in so many words, and what will not.
pub(super) async fn confirm(
    State(app): State<App>,
    seated: Seated,
    RawQuery(query): RawQuery,
) -> Result<Response, Page> {
    let query =
        Query::read(query.as_deref(), &["scope", "kind", "name"]).map_err(|problem| seated.problem(&problem))?;
    let scope = asked(&query).map_err(|problem| seated.problem(&problem))?;
    let may = app.engine.may_stop_from(&seated.seat, &scope).await.map_err(|error| seated.refused(error))?;
    if !may {
        let expected = "an operator, or the person whom it concerns,".to_owned();
        let found = seated.seat.own().caller.principal.to_string();
        return Err(seated.refused(engine::error::EngineError::Forbidden { expected, found }));
    }
    // A mandate that is named is one that is there.
    let figures_of = match &scope {
        Scope::Mandate(id) => {
            Some(app.engine.mandate_figures(&seated.seat, *id).await.map_err(|error| seated.refused(error))?)
        }
        _ => None,
    };
    let texts = seated.texts();
    let [everything, person, agent, mandate, payee, build, issuer] = texts.scope_leads;
    let lead = match &scope {
        Scope::Everything | Scope::Fence => everything,
        Scope::Person(_) => person,
        Scope::Agent(_) => agent,
        Scope::Mandate(_) => mandate,
        Scope::Payee(_) => payee,
        Scope::Build(_) => build,
        Scope::Issuer(_) => issuer,
    };
    let body = html! {
        section .warn {
            p .headline { (scope_text(texts, &scope)) }
            p { (lead) }
            p { (texts.stop_signed) }
            p .quiet { @if seated.seat.sees_all() { (texts.lifted_by_operators) } @else { (texts.lifted_by_you) } }
            @if let Some((view, limits)) = &figures_of {
                (figures(texts, &app.engine.assets, &view.budget, limits))
            }
            p .quiet { code { (scope) } }
            form .actions method="post" action=(PATH) {
                input type="hidden" name="csrf" value=(seated.visitor.csrf);
                input type="hidden" name="scope" value=(scope);
                button .danger type="submit" { (texts.stop_now) }
                a .button href=(PATH) { (texts.cancel) }
            }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Stops), texts.stop_question, body)))
}

pub(super) async fn stop(State(app): State<App>, post: Post) -> Result<Response, Page> {
    let (acts, scope) = wanted(&app, &post)?;
    app.engine.stop(&acts, scope).await.map_err(|error| post.refused(error))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, PATH)]).into_response())
}

pub(super) async fn lift(State(app): State<App>, post: Post) -> Result<Response, Page> {
    let (acts, scope) = wanted(&app, &post)?;
    app.engine.lift(&acts, scope).await.map_err(|error| post.refused(error))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, PATH)]).into_response())
}

fn wanted(app: &App, post: &Post) -> Result<(engine::Identity, Scope), Page> {
    let [csrf, text] = forms::read(&post.body, ["csrf", "scope"]).map_err(|problem| post.problem(problem))?;
    let (identity, _) = post.in_session(&csrf)?;
    let scope = scope(Some(&text)).map_err(|problem| post.problem(problem))?;
    let acts = app.engine.seat(identity).and_then(|seat| seat.acts()).map_err(|error| post.refused(error))?;
    Ok((acts, scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_scope_is_refused() {
        for query in [
            "",
            "scope=",
            "scope=all",
            "scope=agent/",
            "scope=agent",
            "scope=mandate/1",
            "scope=build/sha256:AB",
            "kind=agent",
            "kind=agent&name=a%20b",
            "kind=tenant&name=x",
            "kind=mandate&name=agent",
            "kind=fence/x&name=y",
        ] {
            let query = Query::read(Some(query), &["scope", "kind", "name"]).unwrap();
            let refused = asked(&query).expect_err("no scope");
            assert_eq!(refused.field.as_deref(), Some("scope"));
        }
        for (query, expected) in [
            ("scope=everything", "everything"),
            ("kind=everything&name=", "everything"),
            ("kind=agent&name=shopper", "agent/shopper"),
            ("scope=payee/x402:http://127.0.0.1:1", "payee/x402:http://127.0.0.1:1"),
        ] {
            let query = Query::read(Some(query), &["scope", "kind", "name"]).unwrap();
            assert_eq!(asked(&query).unwrap().to_string(), expected);
        }
    }
}
