//! Spend over time, and by agent, payee and rail, of the newest payments: a look is bounded, and the page says how far it went.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use engine::console::{LOOKED_THROUGH_MAX, Row, Wanted};
use engine::error::EngineError;
use ledger::money::{Amount, AssetId};
use ledger::spend::SpendState;
use maud::{Markup, html};
use time::OffsetDateTime;

use super::Seated;
use super::chart::{Bar, columns, rows};
use super::figures::amount;
use super::query::Query;
use super::view::{Place, layout, rail_name};
use crate::App;
use crate::approve::door::Page;
use crate::approve::texts::fill;

/// Bars of one chart; what is left over is one bar.
const BARS: usize = 12;
/// Days that are drawn, up to the last one.
const DAYS: i64 = 30;
const DAY_SECONDS: i64 = 86_400;

type Sums = BTreeMap<String, Amount>;

pub(super) async fn show(State(app): State<App>, seated: Seated, RawQuery(query): RawQuery) -> Result<Response, Page> {
    Query::read(query.as_deref(), &[]).map_err(|problem| seated.problem(&problem))?;
    let settled = Wanted { state: Some(SpendState::Settled), ..Wanted::default() };
    let found = app.engine.look_through(&seated.seat, &settled, None, LOOKED_THROUGH_MAX).await;
    let found = found.map_err(|error| seated.refused(error))?;
    let tenant = app.engine.tenant(&seated.seat.own().tenant).map_err(|error| seated.refused(error))?;
    let asset =
        AssetId::fiat(&tenant.currency).map_err(|error| seated.refused(EngineError::Broken(error.to_string())))?;
    let texts = seated.texts();
    let today = app.engine.clock.now().seconds().div_euclid(DAY_SECONDS);
    let by = |name: &dyn Fn(&Row) -> String| sums(&found.rows, name).map_err(|error| seated.refused(error));
    let days = by(&|row| day(row.listed.at.seconds().div_euclid(DAY_SECONDS)))?;
    let agents = by(&|row| row.agent.to_string())?;
    let payees = by(&|row| row.listed.spend.payee.to_string())?;
    let rails = by(&|row| rail_name(texts, row.listed.spend.authorization.rail()).to_owned())?;
    let over_time: Vec<Bar> = (today - DAYS + 1..=today)
        .map(|number| {
            let name = day(number);
            let amount = days.get(&name).copied().unwrap_or_default();
            Bar { name, amount }
        })
        .collect();
    let shown = |units| amount(&app.engine.assets, &asset, units);
    let largest = |sums| ranked(sums, texts.others).map_err(|error| seated.refused(error));
    let parts = [
        ("agents", texts.by_agent, largest(agents)?),
        ("payees", texts.by_payee, largest(payees)?),
        ("rails", texts.by_rail, largest(rails)?),
    ];
    let body = html! {
        p { (fill(texts.charts_lead, &[&found.rows.len().to_string(), &found.through.to_string()])) }
        @if found.rows.is_empty() { section { p .empty { (texts.no_spends) } } } @else {
            section {
                h2 { (texts.over_time) }
                (columns(&over_time, &fill(texts.chart_title, &[texts.over_time]), "chart-days"))
                (table(texts.over_time, texts.day, texts.amount, &over_time, shown))
            }
            @for (id, title, bars) in &parts {
                section {
                    h2 { (title) }
                    div .beside {
                        (rows(bars, &fill(texts.chart_title, &[title]), &format!("chart-{id}")))
                        (table(title, texts.name, texts.amount, bars, shown))
                    }
                }
            }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Charts), texts.charts, body)))
}

/// What stays spent: a refund is no spend.
fn sums(rows: &[Row], name: &dyn Fn(&Row) -> String) -> Result<Sums, EngineError> {
    let mut sums = Sums::new();
    for row in rows {
        let spend = &row.listed.spend;
        let back = spend.authority_of(spend.refunded);
        let kept = spend.authority.checked_sub(back).unwrap_or(Amount::ZERO);
        let sum = sums.entry(name(row)).or_default();
        let overflow = || EngineError::Broken("a sum leaves the range of an amount".into());
        *sum = sum.checked_add(kept).ok_or_else(overflow)?;
    }
    Ok(sums)
}

fn ranked(sums: Sums, others: &str) -> Result<Vec<Bar>, EngineError> {
    let mut bars: Vec<Bar> = sums.into_iter().map(|(name, amount)| Bar { name, amount }).collect();
    bars.sort_by_key(|one| std::cmp::Reverse(one.amount));
    if bars.len() > BARS {
        let rest = bars.split_off(BARS - 1);
        let overflow = || EngineError::Broken("a sum leaves the range of an amount".into());
        let sum = rest.iter().try_fold(Amount::ZERO, |sum, bar| sum.checked_add(bar.amount)).ok_or_else(overflow)?;
        bars.push(Bar { name: others.to_owned(), amount: sum });
    }
    Ok(bars)
}

/// ISO 8601, in UTC.
fn day(number: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(number.saturating_mul(DAY_SECONDS)) {
        Ok(at) => format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day()),
        Err(_) => number.to_string(),
    }
}

/// Days on which nothing was spent are bars and no rows.
fn table(caption: &str, name: &str, sum: &str, bars: &[Bar], shown: impl Fn(Amount) -> String) -> Markup {
    html! {
        table {
            caption .unseen { (caption) }
            thead { tr { th scope="col" { (name) } th scope="col" .number { (sum) } } }
            tbody { @for bar in bars.iter().filter(|bar| !bar.amount.is_zero()) {
                tr { th scope="row" { (bar.name) } td .number { (shown(bar.amount)) } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_one_bar_and_nothing_is_lost() {
        let sums: Sums = (1..=20).map(|number| (number.to_string(), Amount::new(number))).collect();
        let bars = ranked(sums, "others").unwrap();
        assert_eq!((bars.len(), bars[0].amount, bars[11].name.as_str()), (12, Amount::new(20), "others"));
        assert_eq!(bars.iter().map(|bar| bar.amount.get()).sum::<u128>(), 210);
        let full = Sums::from_iter((0..13).map(|number| (number.to_string(), Amount::MAX)));
        assert!(ranked(full, "others").is_err(), "a sum that is none is not shown");
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(20_000), "2024-10-04");
        assert_eq!(day(i64::MAX), i64::MAX.to_string());
    }
}
