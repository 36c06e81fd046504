//! What is taken away as a file: the list of spends as CSV (RFC 4180), and the evidence of one spend.

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use engine::console::Row;
use http::{HeaderValue, header};

use super::Seated;
use super::figures::amount;
use super::spend::file_name;
use super::spends::{RAILS, read};
use crate::App;
use crate::approve::door::Page;
use crate::problem::Problem;

/// Rows of one file; the list goes on with `before` behind the last one.
const ROWS_MAX: usize = 5_000;
const HEADER: &str = "record,changed_at,state,amount,units,asset,authority,payee,pay_to,agent,mandate,rail,network,transaction,spend\r\n";

pub(super) async fn csv(State(app): State<App>, seated: Seated, RawQuery(query): RawQuery) -> Result<Response, Page> {
    let (_, wanted, mut before) = read(query.as_deref()).map_err(|problem| seated.problem(&problem))?;
    let (mut text, mut rows) = (HEADER.to_owned(), 0);
    while rows < ROWS_MAX {
        let found = app.engine.look_through(&seated.seat, &wanted, before, ROWS_MAX - rows).await;
        let found = found.map_err(|error| seated.refused(error))?;
        rows += found.rows.len();
        found.rows.iter().for_each(|row| text.push_str(&line(&app, row)));
        // A look that found nothing is not followed by another one: the page says how to go on.
        before = found.next.filter(|_| !found.rows.is_empty());
        if before.is_none() {
            break;
        }
    }
    file(text, "text/csv; charset=utf-8", "purser-spends.csv").map_err(|problem| seated.problem(&problem))
}

fn line(app: &App, row: &Row) -> String {
    let spend = &row.listed.spend;
    let rail = RAILS.into_iter().find(|(_, rail)| *rail == spend.authorization.rail());
    let money = amount(&app.engine.assets, &spend.money.asset, spend.money.amount);
    let cells = [
        spend.hold.seq.to_string(),
        row.listed.at.seconds().to_string(),
        spend.state.to_string(),
        money,
        spend.money.amount.to_string(),
        spend.money.asset.to_string(),
        spend.authority.to_string(),
        spend.payee.to_string(),
        spend.pay_to.clone(),
        row.agent.to_string(),
        spend.budget.to_string(),
        rail.map(|(name, _)| name).unwrap_or_default().to_owned(),
        spend.authorization.network.clone(),
        spend.transaction.as_ref().map(ToString::to_string).unwrap_or_default(),
        spend.id.to_string(),
    ];
    let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
    format!("{}\r\n", cells.join(","))
}

/// Quoted where it has to be. What a spreadsheet would run as a formula stands behind an apostrophe.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    let is_plain = !text.contains([',', '"', '\r', '\n', '\'']);
    if is_plain { text } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// The same file as `/v1/payments/{id}/evidence`; `purser verify --evidence` checks it offline.
pub(super) async fn evidence(State(app): State<App>, seated: Seated, Path(id): Path<String>) -> Result<Response, Page> {
    let identity = seated.seat.reads();
    let id = seated.id("payment", &id)?;
    let spend = app.engine.own_spend(&identity, id).await.map_err(|error| seated.refused(error))?;
    let found = app.engine.evidence(&identity, id).await.map_err(|error| seated.refused(error))?;
    let text = serde_json::to_string_pretty(&found)
        .map_err(|error| seated.refused(engine::error::EngineError::Broken(error.to_string())))?;
    let name = format!("{}.json", file_name(&spend));
    file(text, "application/json", &name).map_err(|problem| seated.problem(&problem))
}

fn file(text: String, kind: &'static str, name: &str) -> Result<Response, Problem> {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .map_err(|_| Problem::invalid("name", "a name of a file was expected"))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_cell_and_no_formula() {
        for (text, expected) in [
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=\"a\"", "\"'=\"\"a\"\"\""),
            ("shop", "shop"),
            ("", ""),
            ("x402:http://127.0.0.1:1", "x402:http://127.0.0.1:1"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
