//! The list of spends, filtered, newest first, page by page.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use engine::console::{LOOKED_THROUGH_MAX, Looked, Row, Wanted};
use ledger::spend::{Rail, SpendState};
use maud::{Markup, html};

use super::Seated;
use super::figures::amount;
use super::query::Query;
use super::view::{Place, layout, rail_name, reason, short, state, state_name};
use crate::App;
use crate::approve::door::Page;
use crate::approve::texts::fill;
use crate::problem::{Problem, shown};

const PATH: &str = "/console/spends";
const NAMES: [&str; 7] = ["state", "agent", "person", "mandate", "rail", "text", "before"];
/// Spends on one page.
const PAGE: usize = 50;

const STATES: [SpendState; 9] = [
    SpendState::Held,
    SpendState::Committed,
    SpendState::Submitted,
    SpendState::Unknown,
    SpendState::Settled,
    SpendState::Voided,
    SpendState::Expired,
    SpendState::Released,
    SpendState::SpentOtherwise,
];
pub(super) const RAILS: [(&str, Rail); 3] =
    [("chain", Rail::Chain), ("mandate", Rail::Mandate), ("vault", Rail::Vault)];

/// What the query of the list asks for, and where it goes on.
pub(super) fn read(query: Option<&str>) -> Result<(Query, Wanted, Option<u64>), Problem> {
    let query = Query::read(query, &NAMES)?;
    let state = |text: &str| STATES.into_iter().find(|state| state.as_str() == text);
    let rail = |text: &str| RAILS.into_iter().find(|(name, _)| *name == text).map(|(_, rail)| rail);
    let wanted = Wanted {
        state: chosen(&query, "state", &STATES.map(SpendState::as_str), state)?,
        rail: chosen(&query, "rail", &RAILS.map(|(name, _)| name), rail)?,
        agent: query.parsed("agent", "the name of an agent")?,
        person: query.parsed("person", "the name of a person")?,
        mandate: query.parsed("mandate", "64 lower-case hexadecimal digits")?,
        text: query.get("text").map(str::to_owned),
    };
    let before = query.parsed("before", "the number of a record")?;
    Ok((query, wanted, before))
}

fn chosen<T>(
    query: &Query,
    name: &'static str,
    known: &[&str],
    find: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let wrong =
        |text: &str| Problem::invalid(name, format!("one of {} was expected, {} came", known.join(", "), shown(text)));
    query.get(name).map(|text| find(text).ok_or_else(|| wrong(text))).transpose()
}

pub(super) async fn list(State(app): State<App>, seated: Seated, RawQuery(query): RawQuery) -> Result<Response, Page> {
    let (query, wanted, before) = read(query.as_deref()).map_err(|problem| seated.problem(&problem))?;
    let found = app.engine.look_through(&seated.seat, &wanted, before, PAGE).await;
    let found = found.map_err(|error| seated.refused(error))?;
    let agents = app.engine.agents_of(&seated.seat).map_err(|error| seated.refused(error))?;
    let texts = seated.texts();
    let body = html! {
        form .filters method="get" action=(PATH) role="search" {
            (select(&query, "state", texts.state, texts.any, STATES.map(|one| (one.as_str(), state_name(texts, one)))))
            (select(&query, "rail", texts.rail, texts.any, RAILS.map(|(name, rail)| (name, rail_name(texts, rail)))))
            div {
                label for="agent" { (texts.agent) }
                input #agent name="agent" type="text" list="agents" value=[query.get("agent")] maxlength="128";
                datalist #agents { @for agent in &agents { option value=(agent) {} } }
            }
            div {
                label for="mandate" { (texts.mandate) }
                input #mandate name="mandate" type="text" value=[query.get("mandate")] maxlength="64";
            }
            div {
                label for="text" { (texts.text) }
                input #text name="text" type="search" value=[query.get("text")] maxlength="128";
            }
            @if let Some(person) = query.get("person") { input type="hidden" name="person" value=(person); }
            div .actions {
                button type="submit" { (texts.search) }
                a href=(PATH) { (texts.reset) }
                a href=(query.on("/console/spends.csv")) { "CSV" }
            }
        }
        section {
            (table(&app, &seated, &found.rows))
            (onward(&seated, &query, &found))
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Spends), texts.spends, body)))
}

fn select<const N: usize>(
    query: &Query,
    name: &'static str,
    label: &str,
    any: &str,
    options: [(&str, &str); N],
) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                option value="" { (any) }
                @for (value, text) in options {
                    option value=(value) selected[query.get(name) == Some(value)] { (text) }
                }
            }
        }
    }
}

/// The way to the next page; where a look ended before it found enough, that it did.
fn onward(seated: &Seated, query: &Query, found: &Looked) -> Markup {
    let texts = seated.texts();
    let Some(next) = found.next else { return html! {} };
    let address = query.with(PATH, "before", next);
    html! {
        @if found.through >= LOOKED_THROUGH_MAX && found.rows.len() < PAGE {
            p .note { (fill(texts.looked_through, &[&found.through.to_string()])) }
            p { a rel="next" href=(address) { (texts.look_further) } }
        } @else {
            p { a rel="next" href=(address) { (texts.older) } }
        }
    }
}

/// Scrolls by itself where it is wider than the page, also by keyboard.
pub(super) fn table(app: &App, seated: &Seated, rows: &[Row]) -> Markup {
    let texts = seated.texts();
    if rows.is_empty() {
        return html! { p .empty { (texts.no_spends) } };
    }
    html! {
        div .scroll .spends role="region" aria-label=(texts.spends) tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { (texts.spend) } th scope="col" { (texts.state) }
                    th scope="col" .number { (texts.amount) }
                    th scope="col" { (texts.payee) } th scope="col" { (texts.agent) }
                    th scope="col" { (texts.changed_at) } th scope="col" { (texts.rail) }
                } }
                tbody { @for row in rows {
                    @let spend = &row.listed.spend;
                    tr {
                        // First, so that no narrow screen hides the way to it.
                        td { a href={ (PATH) "/" (spend.id) } { code { (short(spend.id)) } } }
                        td title=(reason(texts, spend.state)) { (state(texts, spend.state)) }
                        td .number { (amount(&app.engine.assets, &spend.money.asset, spend.money.amount)) }
                        td { (spend.payee) }
                        td { (row.agent) }
                        td { (seated.when(row.listed.at)) }
                        td { (rail_name(texts, spend.authorization.rail())) }
                    }
                } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_for_is_refused_by_name() {
        for (query, field) in [
            ("state=paid", "state"),
            ("state=Settled", "state"),
            ("state=settled,held", "state"),
            ("rail=x402", "rail"),
            ("rail=CHAIN", "rail"),
            ("agent=a%20b", "agent"),
            ("agent=%C3%A4", "agent"),
            ("person=a%20b", "person"),
            ("mandate=1", "mandate"),
            ("mandate=zz", "mandate"),
            ("before=-1", "before"),
            ("before=last", "before"),
            ("limit=10", "limit"),
            ("text=a&text=b", "text"),
        ] {
            let refused = read(Some(query)).expect_err(query);
            assert_eq!(refused.field.as_deref(), Some(field), "{query}");
        }
        let (_, wanted, before) = read(Some("state=&rail=&text=")).unwrap();
        assert_eq!((wanted, before), (Wanted::default(), None));
        let (query, wanted, before) = read(Some("state=unknown&rail=vault&agent=a&text=shop&before=9")).unwrap();
        assert_eq!((wanted.state, wanted.rail, before), (Some(SpendState::Unknown), Some(Rail::Vault), Some(9)));
        let again = query.with(PATH, "before", 3);
        assert_eq!(again, "/console/spends?agent=a&before=3&rail=vault&state=unknown&text=shop");
    }
}
