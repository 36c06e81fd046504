//! Mandates as a tree: what was handed on stands under the mandate that it came from. And one of them, with what can be done
//! about it.

use std::collections::BTreeMap;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use engine::consent::MandateView;
use engine::console::{Forest, Wanted};
use engine::ruling::standing::Passing;
use http::{StatusCode, header};
use ledger::budget::{Budget, BudgetState};
use ledger::id::{BudgetId, PrincipalId};
use maud::{Markup, html};

use super::Seated;
use super::figures::amount;
use super::query::Query;
use super::spends::table;
use super::view::{Place, figures, layout, short, standing};
use crate::App;
use crate::approve::door::{Page, Post};
use crate::approve::forms;
use crate::approve::texts::fill;
use crate::problem::Problem;

const PATH: &str = "/console/mandates";
/// Mandates of a page that nobody handed on.
const ROOTS: u32 = 25;
/// Handed on under one mandate, and spends of it, as its own page shows them.
const BELOW: u32 = 250;
const LATEST: usize = 20;
/// The longest line that a mandate is handed on in.
const DEPTH_MAX: usize = 16;

pub(super) async fn tree(State(app): State<App>, seated: Seated, RawQuery(query): RawQuery) -> Result<Response, Page> {
    let query = Query::read(query.as_deref(), &["person", "after"]).map_err(|problem| seated.problem(&problem))?;
    let person: Option<PrincipalId> =
        query.parsed("person", "the name of a person").map_err(|problem| seated.problem(&problem))?;
    let after: Option<BudgetId> =
        query.parsed("after", "64 lower-case hexadecimal digits").map_err(|problem| seated.problem(&problem))?;
    let forest = app.engine.forest(&seated.seat, person.as_ref(), after, ROOTS).await;
    let forest = forest.map_err(|error| seated.refused(error))?;
    let node = app.engine.person_figures(&seated.seat, person.as_ref()).await;
    let node = node.map_err(|error| seated.refused(error))?;
    let people = people(&app, &seated)?;
    let own = &seated.seat.own().caller.principal;
    let shown = person.as_ref().unwrap_or(own);
    let texts = seated.texts();
    let body = html! {
        @if people.len() > 1 {
            p .chips aria-label=(texts.person) {
                @for one in &people {
                    a href={ (PATH) "?person=" (one) } aria-current=[(one == shown).then_some("true")] { (one) } " "
                }
            }
        }
        @if let Some((budget, limits)) = &node {
            section { h2 { (fill(texts.budget_of, &[shown.as_str()])) } (figures(texts, &app.engine.assets, budget, limits)) }
        }
        @if forest.roots.is_empty() {
            section { p .empty { (texts.no_mandates) } }
        } @else {
            (branches(&app, &seated, &forest))
        }
        @if let Some(next) = forest.next { p { a rel="next" href=(query.with(PATH, "after", next)) { (texts.more) } } }
    };
    Ok(seated.page(layout(&seated, Some(Place::Mandates), texts.mandates, body)))
}

/// Those whose mandates can be looked at: everybody's, or nobody else's.
fn people(app: &App, seated: &Seated) -> Result<Vec<PrincipalId>, Page> {
    let tenant = app.engine.tenant(&seated.seat.own().tenant).map_err(|error| seated.refused(error))?;
    let own = &seated.seat.own().caller.principal;
    Ok(tenant.people.keys().filter(|one| seated.seat.sees_all() || *one == own).cloned().collect())
}

fn branches(app: &App, seated: &Seated, forest: &Forest) -> Markup {
    let mut children: BTreeMap<BudgetId, Vec<&Budget>> = BTreeMap::new();
    for budget in &forest.below {
        if let Some(parent) = budget.path.get(1) {
            children.entry(*parent).or_default().push(budget);
        }
    }
    let mut roots: Vec<&Budget> = forest.roots.iter().collect();
    roots.sort_by_key(|budget| (budget.state, std::cmp::Reverse(budget.used())));
    html! { ul .tree { @for root in roots { (branch(app, seated, root, None, &children, 0)) } } }
}

fn branch(
    app: &App,
    seated: &Seated,
    budget: &Budget,
    above: Option<&Budget>,
    children: &BTreeMap<BudgetId, Vec<&Budget>>,
    depth: usize,
) -> Markup {
    let texts = seated.texts();
    let below = children.get(&budget.id).filter(|_| depth < DEPTH_MAX);
    // Nobody hands on to themselves.
    let is_standing = above.is_some_and(|above| above.holder == budget.holder);
    html! {
        li {
            article {
                h3 { a href={ (PATH) "/" (budget.id) } { (budget.holder) " · " (short(budget.id)) } }
                p {
                    (standing(texts, budget, app.engine.clock.now()))
                    @if is_standing { " " span .state { (seated.visitor.texts.standing.name) } }
                }
                (figures(texts, &app.engine.assets, budget, &[]))
            }
            @if let Some(below) = below {
                ul { @for child in below { (branch(app, seated, child, Some(budget), children, depth.saturating_add(1))) } }
            }
        }
    }
}

pub(super) async fn show(State(app): State<App>, seated: Seated, Path(id): Path<String>) -> Result<Response, Page> {
    let id: BudgetId = seated.id("mandate", &id)?;
    let (engine, seat) = (&app.engine, &seated.seat);
    let refused = |error: engine::error::EngineError| seated.refused(error);
    let (view, limits) = engine.mandate_figures(seat, id).await.map_err(refused)?;
    let below = engine.handed_on(seat, id, BELOW).await.map_err(refused)?;
    let wanted = Wanted { mandate: Some(id), ..Wanted::default() };
    let spends = engine.look_through(seat, &wanted, None, LATEST).await.map_err(refused)?;
    let passing = engine.passing(&seat.own().tenant, &view.budget).await.map_err(refused)?;
    let texts = seated.texts();
    let title = format!("{} · {}", view.record.agent, short(id));
    let forest = Forest { roots: vec![view.budget.clone()], below, next: None };
    let body = html! {
        section {
            p { (standing(texts, &view.budget, engine.clock.now())) }
            (figures(texts, &engine.assets, &view.budget, &limits))
        }
        @if let Some(passing) = passing { (standing_approval(&seated, &view.budget, passing)) }
        section { h2 { (texts.terms) } (terms(&app, &seated, &view)) }
        @if seat.acts().is_ok() { (acts(&seated, &view.budget)) }
        @if !forest.below.is_empty() { section { h2 { (texts.handed_on) } (branches(&app, &seated, &forest)) } }
        section {
            h2 { (texts.spends) }
            (table(&app, &seated, &spends.rows))
            @if spends.next.is_some() { p { a href={ "/console/spends?mandate=" (id) } { (texts.all_spends) } } }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Mandates), &title, body)))
}

/// Whether payments pass under it that the policy asks for; ended by one button, at once.
fn standing_approval(seated: &Seated, budget: &Budget, passing: Passing) -> Markup {
    let texts = seated.visitor.texts.standing;
    let [passes, changed, stopped, over] = texts.states;
    let (name, said) = match passing {
        Passing::Passes => ("passes", passes),
        Passing::Changed => ("changed", changed),
        Passing::Stopped => ("stopped", stopped),
        Passing::Over => ("over", over),
    };
    html! {
        section data-standing=(name) {
            h2 { (texts.state) }
            p { (said) }
            @if budget.state != BudgetState::Revoked && seated.seat.acts().is_ok() {
                form .actions method="post" action={ (PATH) "/" (budget.id) "/change" } {
                    input type="hidden" name="csrf" value=(seated.visitor.csrf);
                    input type="hidden" name="to" value=(BudgetState::Revoked.as_str());
                    button .danger type="submit" { (texts.end) }
                }
            }
        }
    }
}

fn terms(app: &App, seated: &Seated, view: &MandateView) -> Markup {
    let (texts, budget, record) = (seated.texts(), &view.budget, &view.record);
    let money = |units| amount(&app.engine.assets, &budget.asset, units);
    html! {
        dl .facts {
            dt { (texts.agent) } dd { (record.agent) }
            dt { (texts.person) } dd { (record.user) }
            @if let Some(most) = budget.caps.per_payment { dt { (texts.per_payment) } dd { (money(most)) } }
            @if let Some(end) = budget.caps.expires_at { dt { (texts.until) } dd { (seated.when(end)) } }
            @if let Some(hours) = &budget.caps.hours { dt { (texts.hours) } dd lang="en" { (hours) } }
            @if let Some(frequency) = &budget.caps.frequency { dt { (texts.frequency) } dd lang="en" { (frequency) } }
            @if let Some(centre) = &record.cost_centre { dt { (texts.cost_centre) } dd { (centre) } }
            @if !record.line.is_empty() {
                dt { (texts.line) }
                dd {
                    @for by in &record.line { a href={ (PATH) "/" (by.mandate) } { (by.agent) } " → " }
                    (record.agent)
                }
            }
            dt { (texts.decision) }
            dd {
                // The question is the person's own; for others its number is enough.
                @if record.user == seated.seat.own().caller.principal {
                    a href={ "/approve/" (record.decision) } { (texts.what_was_asked) }
                } @else { code { (short(record.decision)) } }
            }
            dt { (texts.mandate) } dd { code { (budget.id) } }
        }
    }
}

fn acts(seated: &Seated, budget: &Budget) -> Markup {
    let texts = seated.texts();
    let change = |to: BudgetState, name: &str| {
        html! { a .button href={ (PATH) "/" (budget.id) "/change?to=" (to.as_str()) } { (name) } }
    };
    html! {
        section {
            h2 { (texts.what_you_can_do) }
            p .actions {
                @match budget.state {
                    BudgetState::Active => {
                        (change(BudgetState::Suspended, texts.suspend)) (change(BudgetState::Revoked, texts.revoke))
                    },
                    BudgetState::Suspended => {
                        (change(BudgetState::Active, texts.resume)) (change(BudgetState::Revoked, texts.revoke))
                    },
                    BudgetState::Revoked => { span .quiet { (texts.revoked_lead) } },
                }
                a .button href={ "/console/stops/new?scope=mandate/" (budget.id) } { (texts.stop_it) }
                a .button href={ "/console/stops/new?scope=agent/" (budget.holder) } { (texts.stop_agent) }
            }
        }
    }
}

fn target(text: Option<&str>) -> Result<BudgetState, Problem> {
    let known = [BudgetState::Active, BudgetState::Suspended, BudgetState::Revoked];
    let found = known.into_iter().find(|state| Some(state.as_str()) == text);
    let came = crate::problem::shown(text.unwrap_or("nothing"));
    found.ok_or_else(|| Problem::invalid("to", format!("active, suspended or revoked was expected, {came} came")))
}

/// Says what will be, before it is.
pub(super) async fn confirm(
    State(app): State<App>,
    seated: Seated,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Page> {
    let id: BudgetId = seated.id("mandate", &id)?;
    let query = Query::read(query.as_deref(), &["to"]).map_err(|problem| seated.problem(&problem))?;
    let to = target(query.get("to")).map_err(|problem| seated.problem(&problem))?;
    seated.seat.acts().map_err(|error| seated.refused(error))?;
    let (view, limits) = app.engine.mandate_figures(&seated.seat, id).await.map_err(|error| seated.refused(error))?;
    let texts = seated.texts();
    let (name, lead) = match to {
        BudgetState::Active => (texts.resume, texts.resume_lead),
        BudgetState::Suspended => (texts.suspend, texts.suspend_lead),
        BudgetState::Revoked => (texts.revoke, texts.revoke_lead),
    };
    let body = html! {
        section {
            p { (lead) }
            p { strong { (view.record.agent) } " · " code { (id) } }
            (figures(texts, &app.engine.assets, &view.budget, &limits))
            form .actions method="post" action={ (PATH) "/" (id) "/change" } {
                input type="hidden" name="csrf" value=(seated.visitor.csrf);
                input type="hidden" name="to" value=(to.as_str());
                button .danger type="submit" { (name) }
                a .button href={ (PATH) "/" (id) } { (texts.cancel) }
            }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Mandates), name, body)))
}

pub(super) async fn change(State(app): State<App>, Path(id): Path<String>, post: Post) -> Result<Response, Page> {
    let [csrf, to] = forms::read(&post.body, ["csrf", "to"]).map_err(|problem| post.problem(problem))?;
    let (identity, _) = post.in_session(&csrf)?;
    let id: BudgetId = crate::call::id(&id).map_err(|problem| post.problem(problem))?;
    let to = target(Some(&to)).map_err(|problem| post.problem(problem))?;
    let acts = app.engine.seat(identity).and_then(|seat| seat.acts()).map_err(|error| post.refused(error))?;
    app.engine.change_mandate(&acts, id, to).await.map_err(|error| post.refused(error))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, format!("{PATH}/{id}"))]).into_response())
}
