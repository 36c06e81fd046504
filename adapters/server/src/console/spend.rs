//! One spend: what became of it and why, what was checked before it was held, its entries, and what settled it.

use axum::extract::{Path, State};
use axum::response::Response;
use engine::console::Explained;
use ledger::effects::{Effects, Fact};
use ledger::spend::Spend;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::Seated;
use super::figures::amount;
use super::policy::trace;
use super::reviews::standing;
use super::view::{Place, layout, rail_name, reason, short, state, state_name};
use crate::App;
use crate::approve::door::Page;
use crate::approve::texts::console::ConsoleTexts;
use crate::approve::texts::fill;

async fn found(app: &App, seated: &Seated, id: &str) -> Result<Explained, Page> {
    let id = seated.id("payment", id)?;
    app.engine.explain(&seated.seat, id).await.map_err(|error| seated.refused(error))
}

pub(super) async fn show(State(app): State<App>, seated: Seated, Path(id): Path<String>) -> Result<Response, Page> {
    let found = found(&app, &seated, &id).await?;
    let (texts, spend) = (seated.texts(), &found.spend);
    let review =
        app.engine.review_of(&seated.seat.own().tenant, spend.id).await.map_err(|error| seated.refused(error))?;
    let title = format!("{} → {}", amount(&app.engine.assets, &spend.money.asset, spend.money.amount), spend.payee);
    let body = html! {
        section {
            p .headline { (state(texts, spend.state)) " " (reason(texts, spend.state)) }
            (facts(&app, &seated, &found))
            @if let Some(review) = &review { dl .facts { (standing(&seated, review.state)) } }
            p .actions {
                a href={ "/console/spends/" (spend.id) "/receipt" } { (texts.receipt) }
                a href={ "/console/spends/" (spend.id) "/evidence" } download { (texts.evidence) }
            }
        }
        (why(&seated, &found))
        section { h2 { (texts.course) } ol .course { @for (_, record) in &found.records { (step(&seated, record)) } } }
        section { h2 { (texts.entries) } (entries(&app, &seated, &found)) }
    };
    Ok(seated.page(layout(&seated, Some(Place::Spends), &title, body)))
}

/// To be printed: the same facts on white, and nothing to click.
pub(super) async fn receipt(State(app): State<App>, seated: Seated, Path(id): Path<String>) -> Result<Response, Page> {
    let found = found(&app, &seated, &id).await?;
    let (texts, spend) = (seated.texts(), &found.spend);
    let body = html! {
        section .paper {
            p .headline {
                (amount(&app.engine.assets, &spend.money.asset, spend.money.amount)) " · " (state_name(texts, spend.state))
            }
            (facts(&app, &seated, &found))
            h2 { (texts.entries) }
            (entries(&app, &seated, &found))
            p .quiet { (texts.receipt_lead) }
        }
    };
    Ok(seated.page(layout(&seated, Some(Place::Spends), texts.receipt, body)))
}

fn facts(app: &App, seated: &Seated, found: &Explained) -> Markup {
    let (texts, spend) = (seated.texts(), &found.spend);
    let budget = &found.mandate.budget;
    let seen = found.records.iter().rev().find_map(|(_, record)| match &record.fact {
        Some(Fact::Seen(seen)) => Some(seen),
        _ => None,
    });
    html! {
        dl .facts {
            dt { (texts.amount) } dd { (amount(&app.engine.assets, &spend.money.asset, spend.money.amount)) }
            dt { (texts.debited) } dd { (amount(&app.engine.assets, &budget.asset, spend.authority)) }
            @if !spend.refunded.is_zero() {
                dt { (texts.refunded) } dd { (amount(&app.engine.assets, &spend.money.asset, spend.refunded)) }
            }
            @if let Some(announced) = &spend.announced {
                dt { (texts.announced) } dd { (amount(&app.engine.assets, &spend.money.asset, announced.amount)) }
            }
            dt { (texts.payee) } dd { (spend.payee) @if !spend.pay_to.is_empty() { br; code { (spend.pay_to) } } }
            dt { (texts.agent) } dd { (found.mandate.record.agent) }
            dt { (texts.person) } dd { (found.mandate.record.user) }
            dt { (texts.mandate) } dd { a href={ "/console/mandates/" (budget.id) } { code { (short(budget.id)) } } }
            dt { (texts.rail) } dd { (rail_name(texts, spend.authorization.rail())) " · " (spend.authorization.network) }
            @if let Some(transaction) = &spend.transaction { dt { (texts.transaction) } dd { code { (transaction) } } }
            @if let Some(seen) = seen { dt { (texts.block) } dd { code { (seen.block()) } } }
            @if let Some(build) = &spend.build { dt { (texts.build) } dd { code { (build) } } }
            dt { (texts.spend) } dd { code { (spend.id) } }
        }
    }
}

/// What was looked at before anything was reserved, and which rules had a say.
fn why(seated: &Seated, found: &Explained) -> Markup {
    let texts = seated.texts();
    let budget = &found.mandate.budget;
    html! {
        section {
            h2 { (texts.why) }
            @match &found.bundle {
                None => { p .note { (texts.erased) } },
                Some(bundle) => {
                    p { (texts.why_lead) }
                    (checks(texts, &bundle.checks))
                    (trace(seated, bundle.policy.as_ref()))
                    dl .facts {
                        dt { (texts.decision) }
                        dd { code { (short(bundle.decision)) } }
                        dt { (texts.rules) }
                        dd { ul lang="en" {
                            @if budget.caps.total.is_some() { li { "total" } }
                            @if budget.caps.per_payment.is_some() { li { "per payment" } }
                            @if budget.caps.occurrences.is_some() { li { "number of payments" } }
                            @for limit in &budget.caps.limits { li { (limit) } }
                            @if let Some(hours) = &budget.caps.hours { li { (hours) } }
                            @if let Some(frequency) = &budget.caps.frequency { li { (frequency) } }
                        } }
                        @if let Some(peg) = &bundle.rate {
                            dt { (texts.rate) } dd { "1 " code { (peg.base) } " = " (peg.rate) " " code { (peg.quote) } }
                        }
                        @if !bundle.line.is_empty() {
                            dt { (texts.line) }
                            dd { @for by in &bundle.line { (by.agent) " → " } (bundle.agent) }
                        }
                    }
                },
            }
        }
    }
}

/// What says something of its own stands in sight; what simply passed is counted, and folded.
fn checks(texts: &ConsoleTexts, checks: &[String]) -> Markup {
    let read = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!({ "name": text }));
    let (told, passed): (Vec<Value>, Vec<Value>) =
        checks.iter().map(read).partition(|check| check["outcome"] != "passed" || !check["detail"].is_null());
    html! {
        @if !told.is_empty() { (check_table(texts, &told)) }
        @if !passed.is_empty() {
            details {
                summary { (fill(texts.passed, &[&passed.len().to_string()])) }
                (check_table(texts, &passed))
            }
        }
    }
}

fn check_table(texts: &ConsoleTexts, checks: &[Value]) -> Markup {
    let text = |value: &Value| value.as_str().unwrap_or_default().replace('_', " ");
    html! {
        table lang="en" {
            thead { tr { th scope="col" { (texts.check) } th scope="col" { (texts.outcome) } th scope="col" { (texts.detail) } } }
            tbody { @for check in checks { tr {
                th scope="row" {
                    (text(&check["name"]))
                    @if let Some(segment) = check["segment"].as_u64() { " (" (segment) ")" }
                    @if let Some(subject) = check["subject"].as_str() { br; code { (subject) } }
                }
                td { (text(&check["outcome"])) }
                td { (check["detail"].as_str().unwrap_or_default()) }
            } } }
        }
    }
}

fn step(seated: &Seated, record: &Effects) -> Markup {
    let texts = seated.texts();
    html! {
        li {
            strong lang="en" { (record.operation) } " · " (seated.when(record.at)) " · "
            (record.caller.principal) " (" span lang="en" { (record.caller.kind) } ")"
            @if let Some(fact) = &record.fact { br; span .quiet { (fact_text(fact)) } }
            @if seated.seat.sees_all() {
                br; a href={ "/console/ledger/journal/" (record.seq) } { (texts.record) " " (record.seq) }
            }
        }
    }
}

/// What a record rests on.
pub(super) fn fact_text(fact: &Fact) -> Markup {
    html! {
        span lang="en" {
            @match fact {
                Fact::Seen(seen) => { "seen: " code { (seen.transaction) } " in block " (seen.block_number) },
                Fact::Unused(proof) => { "unused at the final block " (proof.finalized_number) },
                Fact::Canceled(by) => { "cancelled by " code { (by) } },
                Fact::Reverted(by) => { "reverted: " code { (by) } },
                Fact::Reference(digest) => { "document " code { (short(digest)) } },
                Fact::TakenBack(proof) => { "taken back: " code { (proof.transaction) } " in block " (proof.block) },
            }
        }
    }
}

fn entries(app: &App, seated: &Seated, found: &Explained) -> Markup {
    transfers(app, seated, found.records.iter().map(|(_, record)| record))
}

/// Each a debit and a credit of one amount.
pub(super) fn transfers<'a>(app: &App, seated: &Seated, records: impl Iterator<Item = &'a Effects>) -> Markup {
    let texts = seated.texts();
    let rows: Vec<_> =
        records.flat_map(|record| record.transfers.iter().map(move |transfer| (record, transfer))).collect();
    if rows.is_empty() {
        return html! { p .empty { (texts.no_entries) } };
    }
    html! {
        div .scroll role="region" aria-label=(texts.entries) tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { (texts.record) } th scope="col" { (texts.kind) } th scope="col" { (texts.debit) }
                    th scope="col" { (texts.credit) } th scope="col" .number { (texts.amount) }
                } }
                tbody { @for (record, transfer) in rows { tr {
                    td { (record.seq) }
                    td lang="en" { (transfer.code) ", " (transfer.layer) }
                    td { code { (account(&transfer.debit)) } }
                    td { code { (account(&transfer.credit)) } }
                    td .number { (amount(&app.engine.assets, &transfer.asset, transfer.amount)) }
                } } }
            }
        }
    }
}

/// Long names are cut in the middle: both ends tell them apart.
pub(super) fn account(account: &ledger::account::Account) -> String {
    let text = account.to_string();
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= 40 {
        return text;
    }
    let (head, tail) = (letters.iter().take(24), letters.iter().skip(letters.len().saturating_sub(10)));
    format!("{}…{}", head.collect::<String>(), tail.collect::<String>())
}

/// For the name of a file.
pub(super) fn file_name(spend: &Spend) -> String {
    format!("purser-{}", short(spend.id))
}
