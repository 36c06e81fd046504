//! The first page: how the budgets stand, what waits, what nobody knows, what is stopped, and whether the chain answers.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use engine::console::{Looked, Wanted};
use engine::error::EngineError;
use engine::limits::LimitState;
use ledger::budget::Budget;
use ledger::gate::Gate;
use ledger::spend::SpendState;
use maud::{Markup, html};
use x402::chain::{At, Block};

use super::query::Query;
use super::spends::table;
use super::view::{Place, figures, layout, short, standing};
use super::{Seated, stops};
use crate::App;
use crate::approve::door::Page;
use crate::approve::texts::fill;

/// Spends and mandates that are shown here; the others have pages of their own.
const LATEST: usize = 10;
const WAITING: u32 = 50;
/// How long a node is waited for.
const PATIENCE: Duration = Duration::from_millis(1_500);

type Node = Option<(Budget, Vec<LimitState>)>;

struct Overview {
    person: Node,
    tenant: Node,
    waiting: usize,
    unknown: Looked,
    latest: Looked,
    mandates: Vec<Budget>,
    stops: Vec<Gate>,
    chain: Option<(Block, Option<Block>)>,
}

pub(super) async fn show(State(app): State<App>, seated: Seated, RawQuery(query): RawQuery) -> Result<Response, Page> {
    Query::read(query.as_deref(), &[]).map_err(|problem| seated.problem(&problem))?;
    let (found, chain) = tokio::join!(look(&app, &seated), chain(&app));
    let overview = Overview { chain, ..found.map_err(|error| seated.refused(error))? };
    let body = page(&app, &seated, &overview);
    Ok(seated.page(layout(&seated, Some(Place::Overview), seated.texts().overview, body)))
}

async fn look(app: &App, seated: &Seated) -> Result<Overview, EngineError> {
    let (engine, seat) = (&app.engine, &seated.seat);
    let unknown = Wanted { state: Some(SpendState::Unknown), ..Wanted::default() };
    let latest = engine.look_through(seat, &Wanted::default(), None, LATEST).await?;
    let mut ids: Vec<_> = latest.rows.iter().map(|row| row.listed.spend.budget).collect();
    let first = engine.first_mandates(seat, u32::try_from(LATEST).unwrap_or(u32::MAX)).await?;
    ids.extend(first.iter().map(|root| root.id));
    ids.sort_unstable();
    ids.dedup();
    let mut mandates = engine.mandates_seen(seat, &ids).await?;
    mandates.sort_by_key(|budget| (budget.state, std::cmp::Reverse(budget.used())));
    mandates.truncate(LATEST);
    Ok(Overview {
        person: engine.person_figures(seat, None).await?,
        tenant: engine.tenant_figures(seat).await?,
        waiting: engine.waiting(seat, WAITING).await?.len(),
        unknown: engine.look_through(seat, &unknown, None, LATEST).await?,
        latest,
        mandates,
        stops: engine.stops_seen(seat).await?,
        chain: None,
    })
}

/// The newest block, and the newest that is final. Nothing where the node does not answer in time.
async fn chain(app: &App) -> Option<(Block, Option<Block>)> {
    let asked = async {
        let newest = app.engine.chain.block(At::Latest).await.ok()?;
        Some((newest, app.engine.chain.block(At::Finalized).await.ok()))
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

fn page(app: &App, seated: &Seated, found: &Overview) -> Markup {
    let texts = seated.texts();
    html! {
        div #live data-live="/console/live" {
            (counts(seated, found))
            @for (title, node) in [(texts.your_budget, &found.person), (texts.whole_tenant, &found.tenant)] {
                @if let Some((budget, limits)) = node {
                    section { h2 { (title) } (figures(texts, &app.engine.assets, budget, limits)) }
                }
            }
            section {
                h2 { (texts.mandates) }
                @if found.mandates.is_empty() { p .empty { (texts.no_mandates) } } @else {
                    div .grid { @for budget in &found.mandates { (mandate(app, seated, budget)) } }
                }
                p { a href="/console/mandates" { (texts.all_mandates) } }
            }
            section {
                h2 { (texts.latest) }
                (table(app, seated, &found.latest.rows))
                p { a href="/console/spends" { (texts.all_spends) } }
            }
            @if !found.unknown.rows.is_empty() {
                section .warn { h2 { (texts.unknown) } p { (texts.unknown_lead) } (table(app, seated, &found.unknown.rows)) }
            }
            @if !found.stops.is_empty() {
                section .warn { h2 { (texts.stops) } ul { @for gate in &found.stops { li { (stops::said(seated, gate)) } } } }
            }
        }
    }
}

fn counts(seated: &Seated, found: &Overview) -> Markup {
    let texts = seated.texts();
    let more = |looked: &Looked| if looked.next.is_some() { "+" } else { "" };
    let seconds = seated.visitor.texts;
    html! {
        ul .counts {
            li { a href="/console/approvals" { strong { (found.waiting) @if u32::try_from(found.waiting) == Ok(WAITING) { "+" } } " " (texts.waiting) } }
            li data-alarm=[(!found.unknown.rows.is_empty()).then_some("")] {
                a href="/console/spends?state=unknown" {
                    strong { (found.unknown.rows.len()) (more(&found.unknown)) } " " (texts.unknown_count)
                }
            }
            li data-alarm=[(!found.stops.is_empty()).then_some("")] {
                a href="/console/stops" { strong { (found.stops.len()) } " " (texts.stops_count) }
            }
            li data-alarm=[found.chain.is_none().then_some("")] {
                @match &found.chain {
                    Some((newest, finalized)) => {
                        span { (fill(texts.chain_at, &[&newest.number.to_string()])) }
                        @if let Some(finalized) = finalized {
                            " · " span .quiet { (fill(texts.final_at, &[&finalized.number.to_string()])) }
                        }
                        @if let Ok(at) = i64::try_from(newest.timestamp) {
                            " · " span .quiet { (crate::approve::view::facts::moment(seconds, at)) }
                        }
                    },
                    None => { strong { (texts.chain_silent) } },
                }
            }
        }
    }
}

fn mandate(app: &App, seated: &Seated, budget: &Budget) -> Markup {
    let texts = seated.texts();
    html! {
        article {
            h3 { a href={ "/console/mandates/" (budget.id) } { (budget.holder) " · " (short(budget.id)) } }
            p { (standing(texts, budget, app.engine.clock.now())) }
            (figures(texts, &app.engine.assets, budget, &[]))
        }
    }
}
