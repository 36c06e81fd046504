//! The books, for those who answer for them: an operator, or a user of the tenant.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use engine::Identity;
use engine::error::EngineError;
use http::StatusCode;
use ledger::account::{Balance, Net};
use ledger::effects::Effects;
use ledger::id::{CallerKind, Micros};
use ledger::money::Amount;
use ledger::store::{AccountBalance, JournalEntry};
use mandates::base64url;
use serde_json::{Value, json};

use crate::App;
use crate::call::Caller;
use crate::paging::{List, Paging, cut};
use crate::problem::{Problem, ok, shown};

pub fn may_read(identity: &Identity) -> Result<(), Problem> {
    match identity.caller.kind {
        CallerKind::Operator | CallerKind::User | CallerKind::Service => Ok(()),
        CallerKind::Agent | CallerKind::Merchant => {
            let detail =
                format!("an operator or a user reads the books; the caller is of kind {}", identity.caller.kind);
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}

#[utoipa::path(get, path = "/v1/ledger/accounts", tag = "ledger", description = "By name and asset.",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, minimum = 1, maximum = 500)),
    responses((status = 200, body = crate::schema::answers::Accounts), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub async fn accounts(
    State(app): State<App>,
    Caller(identity): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    may_read(&identity)?;
    let paging = Paging::read(List::Accounts, query.as_deref())?;
    let page = app.engine.store.balances_after(&identity.tenant, paging.account()?.as_ref(), paging.asked()).await;
    let mut balances = page.map_err(EngineError::from)?;
    let more = cut(&mut balances, paging.limit);
    let next = balances.last().filter(|_| more);
    let next = next.map(|last| paging.account_cursor(&last.account.to_string(), &last.asset.to_string()));
    let accounts: Vec<Value> = balances.iter().map(account_json).collect();
    Ok(ok(json!({ "accounts": accounts, "next": next })))
}

#[utoipa::path(get, path = "/v1/ledger/trial-balance", tag = "ledger",
    params(("at" = Option<i64>, Query, description = "Unix seconds; now where none is named")),
    responses((status = 200, body = crate::schema::answers::TrialBalance), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub async fn trial_balance(
    State(app): State<App>,
    Caller(identity): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    may_read(&identity)?;
    let store = &app.engine.store;
    let balances = match Paging::read(List::Balance, query.as_deref())?.at {
        Some(at) => {
            let records = store.record_at(&identity.tenant, Micros::from_seconds(at)).await;
            store.balances_before(&identity.tenant, records.map_err(EngineError::from)?).await
        }
        None => store.balances(&identity.tenant).await,
    };
    let balances = balances.map_err(EngineError::from)?;
    let mut totals = std::collections::BTreeMap::<String, (Amount, Amount)>::new();
    for entry in &balances {
        let (debits, credits) = totals.entry(entry.asset.to_string()).or_default();
        let overflow = || EngineError::Broken("a total leaves the range of an amount".into());
        *debits = debits.checked_add(entry.balance.debit_posted).ok_or_else(overflow)?;
        *credits = credits.checked_add(entry.balance.credit_posted).ok_or_else(overflow)?;
    }
    let balanced = totals.values().all(|(debits, credits)| debits == credits);
    let assets: Vec<Value> = totals
        .iter()
        .map(|(asset, (debits, credits))| json!({ "asset": asset, "debits": debits, "credits": credits }))
        .collect();
    let accounts: Vec<Value> = balances.iter().map(account_json).collect();
    Ok(ok(json!({ "balanced": balanced, "assets": assets, "accounts": accounts })))
}

fn account_json(entry: &AccountBalance) -> Value {
    let balance = &entry.balance;
    let net = match balance.net(entry.account.class()) {
        Net::Positive(amount) => amount.to_string(),
        Net::Negative(amount) => format!("-{amount}"),
    };
    json!({
        "id": id_of(&entry.account.to_string(), entry.asset.as_str()),
        "account": entry.account.to_string(),
        "asset": entry.asset,
        "balance": net,
        "debit_posted": balance.debit_posted,
        "credit_posted": balance.credit_posted,
        "debit_pending": balance.debit_pending,
        "credit_pending": balance.credit_pending,
    })
}

/// A name and an asset as one word, for addresses.
fn id_of(name: &str, asset: &str) -> String {
    base64url::encode(format!("{name}\n{asset}").as_bytes())
}

#[utoipa::path(get, path = "/v1/ledger/accounts/{id}/balance", tag = "ledger",
    description = "What an account came to at an instant: every record before it counts, none of it or after it. Now where none is named.",
    params(("id" = String, Path), ("at" = Option<i64>, Query, description = "Unix seconds")),
    responses((status = 200, body = crate::schema::answers::BalanceAt), (status = 400), (status = 401), (status = 403), (status = 404), (status = 503)))]
pub async fn balance(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    may_read(&identity)?;
    let at = Paging::read(List::Balance, query.as_deref())?.at;
    let unknown = || EngineError::NotFound { what: "account", id: shown(&id) };
    let text = base64url::decode(&id).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(unknown)?;
    let (name, asset) = text.split_once('\n').ok_or_else(unknown)?;
    let store = &app.engine.store;
    let records = match at {
        Some(at) => store.record_at(&identity.tenant, Micros::from_seconds(at)).await.map_err(EngineError::from)?,
        None => store.head(&identity.tenant).await.map_err(EngineError::from)?.0,
    };
    let is_asked = |entry: &AccountBalance| entry.account.to_string() == name && entry.asset.as_str() == asset;
    let known = store.balances(&identity.tenant).await.map_err(EngineError::from)?;
    let known = known.into_iter().find(is_asked).ok_or_else(unknown)?;
    let then = match at {
        Some(_) => store.balances_before(&identity.tenant, records).await.map_err(EngineError::from)?,
        None => vec![known.clone()],
    };
    // Nothing had moved it yet.
    let found = then.into_iter().find(is_asked).unwrap_or(AccountBalance { balance: Balance::default(), ..known });
    let mut json = account_json(&found);
    (json["at"], json["records"]) = (at.into(), records.into());
    Ok(ok(json))
}

#[utoipa::path(get, path = "/v1/ledger/transfers", tag = "ledger",
    description = "Oldest first. `limit` counts journal records; a record has several transfers or none.",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("from" = Option<i64>, Query, description = "Unix seconds"), ("to" = Option<i64>, Query, description = "Unix seconds, exclusive")),
    responses((status = 200, body = crate::schema::answers::Transfers), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub async fn transfers(
    State(app): State<App>,
    Caller(identity): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (records, next) = records(&app, &identity, &Paging::read(List::Transfers, query.as_deref())?).await?;
    let mut transfers = Vec::new();
    for (_, effects) in &records {
        for (leg, transfer) in effects.transfers.iter().enumerate() {
            transfers.push(json!({
                "seq": effects.seq, "leg": leg, "at": effects.at.seconds(), "code": transfer.code.as_str(),
                "debit": transfer.debit.to_string(), "credit": transfer.credit.to_string(),
                "asset": transfer.asset, "amount": transfer.amount, "layer": transfer.layer.as_str(),
            }));
        }
    }
    Ok(ok(json!({ "transfers": transfers, "next": next })))
}

#[utoipa::path(get, path = "/v1/ledger/journal", tag = "ledger", description = "Oldest first.",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("from" = Option<i64>, Query, description = "Unix seconds"), ("to" = Option<i64>, Query, description = "Unix seconds, exclusive")),
    responses((status = 200, body = crate::schema::answers::Journal), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub async fn journal(
    State(app): State<App>,
    Caller(identity): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (records, next) = records(&app, &identity, &Paging::read(List::Journal, query.as_deref())?).await?;
    let (entries, root) = app.engine.store.head(&identity.tenant).await.map_err(EngineError::from)?;
    let records: Vec<Value> = records
        .iter()
        .map(|(entry, effects)| {
            json!({
                "seq": entry.seq, "at": effects.at.seconds(), "operation": effects.operation.as_str(),
                "caller": effects.caller.principal, "kind": effects.caller.kind.as_str(),
                "spend": effects.spend.as_ref().map(|spend| spend.id), "leaf": entry.leaf,
            })
        })
        .collect();
    Ok(ok(json!({ "records": records, "next": next, "entries": entries, "root": root })))
}

type Records = (Vec<(JournalEntry, Effects)>, Option<String>);

async fn records(app: &App, identity: &Identity, paging: &Paging) -> Result<Records, Problem> {
    may_read(identity)?;
    let range = paging.oldest_first(app, &identity.tenant).await?;
    let records = app.engine.store.records(&identity.tenant, range.start, paging.asked()).await;
    let mut records = records.map_err(EngineError::from)?;
    records.retain(|(entry, _)| entry.seq < range.end);
    let more = cut(&mut records, paging.limit);
    let next = records.last().filter(|_| more).map(|(entry, _)| paging.cursor(entry.seq.saturating_add(1)));
    Ok((records, next))
}
