//! The books of the tenant, for those who see all of it: accounts and whether they balance, the journal, and a record with
//! the proof that it is in the journal, which the page verifies by itself.

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use engine::error::EngineError;
use http::{HeaderValue, header};
use ledger::account::Net;
use ledger::effects::Effects;
use ledger::event::events;
use ledger::id::Digest;
use ledger::money::Amount;
use ledger::store::AccountBalance;
use maud::{Markup, html};
use serde_json::json;
use std::collections::BTreeMap;

use super::Seated;
use super::figures::amount;
use super::query::Query;
use super::spend::{fact_text, transfers};
use super::view::{Place, layout, short};
use crate::App;
use crate::approve::door::Page;
use crate::approve::texts::fill;
use crate::problem::shown;
use mandates::base64url;

const JOURNAL: &str = "/console/ledger/journal";
/// Records on one page.
const PAGE: u64 = 50;
/// Accounts on one page.
const ACCOUNTS: usize = 200;

pub(super) async fn accounts(
    State(app): State<App>,
    seated: Seated,
    RawQuery(query): RawQuery,
) -> Result<Response, Page> {
    seated.sees_all("books")?;
    Query::read(query.as_deref(), &[]).map_err(|problem| seated.problem(&problem))?;
    let (store, tenant) = (&app.engine.store, &seated.seat.own().tenant);
    let balances = store.balances(tenant).await.map_err(|error| seated.refused(error))?;
    let (size, root) = store.head(tenant).await.map_err(|error| seated.refused(error))?;
    let totals = totals(&balances).map_err(|error| seated.refused(error))?;
    let texts = seated.texts();
    let balanced = totals.values().all(|(debits, credits)| debits == credits);
    let body = html! {
        section {
            h2 { (texts.trial_balance) }
            p .headline data-balanced=(balanced) { @if balanced { (texts.balanced) } @else { (texts.not_balanced) } }
            div .scroll role="region" aria-label=(texts.trial_balance) tabindex="0" { table {
                thead { tr {
                    th scope="col" { (texts.asset) } th scope="col" .number { (texts.debits) }
                    th scope="col" .number { (texts.credits) }
                } }
                tbody { @for (asset, (debits, credits)) in &totals { tr {
                    td { code { (asset) } }
                    td .number { (amount(&app.engine.assets, asset, *debits)) }
                    td .number { (amount(&app.engine.assets, asset, *credits)) }
                } } }
            } }
        }
        section {
            h2 { (texts.accounts) }
            (account_table(&app, &seated, &balances))
            @if balances.len() > ACCOUNTS {
                p .note { (fill(texts.first_of, &[&ACCOUNTS.to_string(), &balances.len().to_string()])) }
            }
        }
        section {
            h2 { (texts.journal) }
            p { (fill(texts.records, &[&size.to_string()])) " " code { (short(root)) } }
            p { a href=(JOURNAL) { (texts.journal) } }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Ledger), texts.ledger, body)))
}

type Totals = BTreeMap<ledger::money::AssetId, (Amount, Amount)>;

fn totals(balances: &[AccountBalance]) -> Result<Totals, EngineError> {
    let mut totals = Totals::new();
    for entry in balances {
        let (debits, credits) = totals.entry(entry.asset.clone()).or_default();
        let overflow = || EngineError::Broken("a total leaves the range of an amount".into());
        *debits = debits.checked_add(entry.balance.debit_posted).ok_or_else(overflow)?;
        *credits = credits.checked_add(entry.balance.credit_posted).ok_or_else(overflow)?;
    }
    Ok(totals)
}

fn account_table(app: &App, seated: &Seated, balances: &[AccountBalance]) -> Markup {
    let texts = seated.texts();
    let net = |entry: &AccountBalance| match entry.balance.net(entry.account.class()) {
        Net::Positive(found) => amount(&app.engine.assets, &entry.asset, found),
        Net::Negative(found) => format!("-{}", amount(&app.engine.assets, &entry.asset, found)),
    };
    html! {
        div .scroll role="region" aria-label=(texts.accounts) tabindex="0" { table {
            thead { tr {
                th scope="col" { (texts.account) } th scope="col" .number { (texts.balance) }
                th scope="col" .number { (texts.pending) }
            } }
            tbody { @for entry in balances.iter().take(ACCOUNTS) { tr {
                td { code { (super::spend::account(&entry.account)) } }
                td .number { (net(entry)) }
                td .number {
                    (amount(&app.engine.assets, &entry.asset, entry.balance.debit_pending)) " / "
                    (amount(&app.engine.assets, &entry.asset, entry.balance.credit_pending))
                }
            } } }
        } }
    }
}

pub(super) async fn journal(
    State(app): State<App>,
    seated: Seated,
    RawQuery(query): RawQuery,
) -> Result<Response, Page> {
    seated.sees_all("records")?;
    let query = Query::read(query.as_deref(), &["before"]).map_err(|problem| seated.problem(&problem))?;
    let before: Option<u64> =
        query.parsed("before", "the number of a record").map_err(|problem| seated.problem(&problem))?;
    let (store, tenant) = (&app.engine.store, &seated.seat.own().tenant);
    let (size, root) = store.head(tenant).await.map_err(|error| seated.refused(error))?;
    let end = before.map_or(size, |before| before.min(size));
    let start = end.saturating_sub(PAGE);
    let limit = u32::try_from(end - start).unwrap_or(u32::MAX);
    let records = store.records(tenant, start, limit).await.map_err(|error| seated.refused(error))?;
    let texts = seated.texts();
    let body = html! {
        section {
            p { (fill(texts.records, &[&size.to_string()])) " " code { (root) } }
            div .scroll role="region" aria-label=(texts.journal) tabindex="0" { table {
                thead { tr {
                    th scope="col" { (texts.record) } th scope="col" { (texts.changed_at) }
                    th scope="col" { (texts.kind) } th scope="col" { (texts.by) } th scope="col" { (texts.subject) }
                } }
                tbody { @for (_, record) in records.iter().rev() { tr {
                    td { a href={ (JOURNAL) "/" (record.seq) } { (record.seq) } }
                    td { (seated.when(record.at)) }
                    td lang="en" { (record.operation) }
                    td { (record.caller.principal) " (" span lang="en" { (record.caller.kind) } ")" }
                    td { (subject(record)) }
                } } }
            } }
            @if start > 0 { p { a rel="next" href=(query.with(JOURNAL, "before", start)) { (texts.older) } } }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Ledger), texts.journal, body)))
}

fn subject(record: &Effects) -> Markup {
    html! {
        @if let Some(spend) = &record.spend {
            a href={ "/console/spends/" (spend.id) } { code { (short(spend.id)) } }
        } @else if let Some(budget) = record.opened.first() {
            code { (short(budget.id)) }
        } @else if let Some(decision) = &record.decision {
            code { (short(decision.id)) }
        } @else if let Some(gate) = &record.gate {
            code { (gate.scope) }
        } @else { "–" }
    }
}

pub(super) async fn record(State(app): State<App>, seated: Seated, Path(seq): Path<String>) -> Result<Response, Page> {
    seated.sees_all("records")?;
    let seq = number(&seated, &seq)?;
    let found = app.engine.store.records(&seated.seat.own().tenant, seq, 1).await;
    let found = found.map_err(|error| seated.refused(error))?.into_iter().next();
    let missing = || seated.refused(EngineError::NotFound { what: "record", id: seq.to_string() });
    let (entry, record) = found.filter(|(entry, _)| entry.seq == seq).ok_or_else(missing)?;
    let texts = seated.texts();
    let body = html! {
        section {
            dl .facts {
                dt { (texts.kind) } dd lang="en" { (record.operation) }
                dt { (texts.changed_at) } dd { (seated.when(record.at)) }
                dt { (texts.by) }
                dd { (record.caller.principal) " (" span lang="en" { (record.caller.kind) ", " (record.caller.method) } ")" }
                dt { (texts.subject) } dd { (subject(&record)) }
                @if let Some(fact) = &record.fact { dt { (texts.fact) } dd { (fact_text(fact)) } }
                dt { (texts.events) }
                dd { ul lang="en" { @for event in events(&record) { li { (event.kind) } } } }
                dt { (texts.leaf) } dd { code { (entry.leaf) } }
            }
        }
        section { h2 { (texts.entries) } (transfers(&app, &seated, std::iter::once(&record))) }
        (prover(&seated, seq, entry.leaf))
    };
    Ok(seated.page(layout(&seated, Some(Place::Ledger), &format!("{} {seq}", texts.record), body)))
}

/// The page gets record, salt, path and note, and computes the rest itself.
fn prover(seated: &Seated, seq: u64, leaf: Digest) -> Markup {
    let texts = seated.texts();
    html! {
        section data-proof={ (JOURNAL) "/" (seq) "/proof" } data-leaf=(leaf) {
            h2 { (texts.proof) }
            p { (texts.proof_lead) }
            button type="button" { (texts.verify) }
            noscript { p .note { (seated.visitor.texts.needs_script) } }
            div role="status" {
                ol data-told data-leaf-ok=(texts.leaf_ok) data-root-ok=(texts.root_ok)
                    data-signed=(texts.signature_ok) data-wrong=(texts.proof_wrong) data-unchecked=(texts.signature_unchecked)
                    data-unreachable=(seated.visitor.texts.unreachable) {}
            }
        }
    }
}

fn number(seated: &Seated, text: &str) -> Result<u64, Page> {
    let found = text.parse().ok().filter(|seq: &u64| seq.to_string() == text);
    found.ok_or_else(|| seated.refused(EngineError::NotFound { what: "record", id: shown(text) }))
}

/// For the page's script: base64url, so that nothing is lost.
pub(super) async fn proof(State(app): State<App>, seated: Seated, Path(seq): Path<String>) -> Result<Response, Page> {
    seated.sees_all("records")?;
    let seq = number(&seated, &seq)?;
    let found = app.engine.prove_record(&seated.seat, seq).await.map_err(|error| seated.refused(error))?;
    let text = |digest: &Digest| base64url::encode(&digest.0);
    let json = json!({
        "index": found.proof.index,
        "size": found.size,
        "root": text(&found.root),
        "salt": base64url::encode(&found.proof.salt),
        "record": base64url::encode(&found.proof.record),
        "hashes": found.proof.hashes.iter().map(text).collect::<Vec<_>>(),
        "note": found.proof.note,
        "name": found.key.name,
        "key": base64url::encode(&found.key.public),
        "key_id": base64url::encode(&found.key.id()),
    });
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, axum::Json(json)).into_response())
}
