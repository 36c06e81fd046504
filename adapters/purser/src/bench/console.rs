//! The pages of the console on a book of many payments, over HTTP, as a browser asks for them: of the whole tenant, and of
//! one person.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::approver::session;
use ledger::command::{Command, Hold, Request};
use ledger::id::{AuthMethod, BudgetId, Caller, CallerKind, Digest, Micros, SpendId, TenantId};
use ledger::money::{Amount, AssetId};
use ledger::spend::{Authorization, Observation};
use ledger::store::{Store, Work};
use ledger::transfer::Money;
use reqwest::Method;
use serde_json::{Value, json};
use store::SqlStore;

use super::{Better, Row, median};
use crate::cli::BenchArgs;
use crate::client::Client;
use crate::config::RoleConfig;
use crate::dev::{DevOptions, DevService};
use crate::world::{AGENT, HOME, USER};

const ROUNDS: usize = 9;
const MANDATES: u64 = 20;
const CALLERS: usize = 1_024;
/// Of so many payments one is settled; the others are given up.
const SETTLED_OF: u64 = 10;
const TOKEN: &str = "bench";

/// What is measured, and its address. `{spend}`, `{mandate}` and `{record}` stand for one that is there.
const PAGES: [(&str, &str, &str); 17] = [
    ("overview", "own_overview", ""),
    ("spends", "own_spends", "/spends"),
    ("spends_of_state", "own_spends_of_state", "/spends?state=unknown"),
    ("spends_by_text", "own_spends_by_text", "/spends?text=nothing-has-this"),
    ("spends_of_agent", "own_spends_of_agent", "/spends?agent=shopper"),
    ("spend", "own_spend", "/spends/{spend}"),
    ("receipt", "own_receipt", "/spends/{spend}/receipt"),
    ("mandates", "own_mandates", "/mandates"),
    ("mandate", "own_mandate", "/mandates/{mandate}"),
    ("charts", "own_charts", "/charts"),
    ("stops", "own_stops", "/stops"),
    ("approvals", "own_approvals", "/approvals?state=approved"),
    ("reviews", "own_reviews", "/reviews"),
    ("ledger", "", "/ledger"),
    ("journal", "", "/ledger/journal?before={record}"),
    ("record", "", "/ledger/journal/{record}"),
    ("proof", "", "/ledger/journal/{record}/proof"),
];

pub async fn rows(args: &BenchArgs) -> Result<Vec<Row>, String> {
    let mut service = DevService::start(DevOptions::default()).await.map_err(|error| error.to_string())?;
    let client = Client::new(service.url()).map_err(|error| error.to_string())?;
    let (agent, user) = (service.token(HOME, AGENT, CallerKind::Agent)?, service.token(HOME, USER, CallerKind::User)?);
    let mut mandates = Vec::new();
    for number in 0..MANDATES {
        mandates.push(mandate(&client, &agent, &user, number).await?);
    }
    // One whole payment, whose evidence is there.
    let paid = json!({ "mandate": mandates.first(), "payment_required": offer(&service) });
    let paid = client.call(Method::POST, "/v1/payments", &agent, Some("bench"), Some(paid)).await;
    let spend = paid.map_err(|error| error.to_string())?["id"].as_str().unwrap_or_default().to_owned();
    fill(service.store(), &mandates, args.entries).await?;
    let tenant: TenantId = service.tenant(HOME)?;
    let (records, _) = service.store().head(&tenant).await.map_err(|error| error.to_string())?;
    sign_in(&service, &tenant).await?;
    let named = |path: &str| {
        let mandate = mandates.last().map(ToString::to_string).unwrap_or_default();
        let path = path.replace("{spend}", &spend).replace("{mandate}", &mandate);
        format!(
            "{}/console{}",
            service.url().replace("127.0.0.1", "localhost"),
            path.replace("{record}", &(records / 2).to_string())
        )
    };
    let pages: Vec<_> = PAGES.iter().map(|(all, own, path)| (*all, *own, named(path))).collect();
    let mut rows = Vec::new();
    for (name, _, url) in &pages {
        rows.push(measured(name, url, args.entries).await?);
    }
    service.change(|config| {
        let people = config.tenants.iter_mut().filter(|tenant| tenant.id == HOME).flat_map(|tenant| &mut tenant.people);
        people.for_each(|person| person.role = RoleConfig::Approver);
    })?;
    for (_, name, url) in pages.iter().filter(|(_, own, _)| !own.is_empty()) {
        rows.push(measured(name, url, args.entries).await?);
    }
    service.stop().await;
    Ok(rows)
}

async fn mandate(client: &Client, agent: &str, user: &str, number: u64) -> Result<BudgetId, String> {
    let intent = json!({
        "user": USER, "description": format!("bench {number}"), "currency": "USD", "total": "200", "per_payment": "1",
        "payments": 10_000_000, "expires_in_seconds": 86_400,
    });
    let call = async |path: &str, token: &str, body: Value| {
        client.call(Method::POST, path, token, None, Some(body)).await.map_err(|error| error.to_string())
    };
    let asked = call("/v1/mandates/intents", agent, intent).await?;
    let id = asked["approval"]["id"].as_str().unwrap_or_default();
    let decision = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
    let decided = call(&format!("/v1/approvals/{id}/decision"), user, decision).await?;
    decided["mandate"].as_str().unwrap_or_default().parse().map_err(|_| "no mandate".to_owned())
}

fn offer(service: &DevService) -> Value {
    json!({
        "x402Version": 2, "resource": { "url": format!("{}/bench", service.url()) },
        "accepts": [{
            "scheme": "exact", "network": "eip155:31337", "amount": "100", "asset": chain::token::ADDRESS.to_string(),
            "payTo": crate::world::shop_address().to_string(), "maxTimeoutSeconds": 60,
            "extra": { "name": chain::token::NAME, "version": chain::token::VERSION },
        }],
    })
}

async fn run(store: &SqlStore, tenant: &TenantId, kind: CallerKind, command: Command) -> Result<(), String> {
    // A mandate is its agent's to spend under.
    let principal = if kind == CallerKind::Agent { AGENT } else { "bench" };
    let principal = principal.parse().map_err(|_| "a principal")?;
    let request = Request { caller: Caller::new(principal, kind, AuthMethod::Internal), command };
    let work = Work::new(request, Vec::new());
    store.run(tenant, work).await.map(|_| ()).map_err(|error| error.to_string())
}

/// Payments of before: most given up, some settled in a block that is final.
async fn fill(store: &SqlStore, mandates: &[BudgetId], payments: u64) -> Result<(), String> {
    let tenant: TenantId = HOME.parse().map_err(|_| "a tenant")?;
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(CALLERS);
    for _ in 0..CALLERS {
        let (store, tenant, next, mandates) = (store.clone(), tenant.clone(), next.clone(), mandates.to_vec());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= payments {
                    return Ok::<_, String>(());
                }
                let place = usize::try_from(number).unwrap_or(0).checked_rem(mandates.len()).unwrap_or(0);
                let budget = *mandates.get(place).ok_or("a mandate")?;
                pay(&store, &tenant, budget, number).await?;
            }
        }));
    }
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

async fn pay(store: &SqlStore, tenant: &TenantId, budget: BudgetId, number: u64) -> Result<(), String> {
    let digest = Digest::of(&number.to_be_bytes());
    let asset: AssetId = "eip155:1/erc20:0x01".parse().map_err(|_| "an asset")?;
    let fiat: AssetId = "iso4217:USD".parse().map_err(|_| "an asset")?;
    let money = Money { asset: asset.clone(), amount: Amount::new(1) };
    let spend = SpendId(digest.0);
    let hold = Hold {
        spend,
        operation: "bench".into(),
        key: format!("bench-{number}").parse().map_err(|_| "a key")?,
        request: digest,
        budget,
        leaf_nonce: format!("bench-{number}"),
        authority: Money { asset: fiat, amount: Amount::new(1) },
        money: money.clone(),
        rate: None,
        payee: format!("shop-{}", number % 7).parse().map_err(|_| "a payee")?,
        pay_to: "0x02".into(),
        pin: None,
        purchase: digest,
        cart: None,
        authorization: Authorization { network: "eip155:1".into(), asset, payer: "0x03".into(), nonce: digest.0 },
        valid_before: i64::MAX,
        since_block: 0,
        expires_at: Micros(i64::MAX),
        again_after: None,
        evidence: digest,
        review: None,
    };
    run(store, tenant, CallerKind::Agent, Command::Hold(Box::new(hold))).await?;
    if !number.is_multiple_of(SETTLED_OF) {
        return run(store, tenant, CallerKind::Service, Command::Void { spend }).await;
    }
    run(store, tenant, CallerKind::Service, Command::Commit { spend }).await?;
    let transaction = format!("0x{digest}").parse().map_err(|_| "a reference")?;
    let (block_hash, pay_to) = (digest.0, "0x02".into());
    let seen = Observation { transaction, block_number: 1, block_hash, pay_to, amount: money.amount };
    run(store, tenant, CallerKind::Service, Command::Settle { spend, seen, finalized: 1 }).await
}

async fn sign_in(service: &DevService, tenant: &TenantId) -> Result<(), String> {
    let now = service.engine().clock.now().seconds();
    let user = USER.parse().map_err(|_| "a person")?;
    let pages = service.engine().pages().map_err(|error| error.to_string())?;
    let session = session(TOKEN, tenant, &user, b"bench", now);
    pages.approvers.add_session(session, now).await.map_err(|error| error.to_string())
}

async fn measured(name: &'static str, url: &str, payments: u64) -> Result<Row, String> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
    let (mut times, mut length) = (Vec::new(), 0);
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let asked = client.get(url).header("cookie", format!("purser-session={TOKEN}")).header("accept", "text/html");
        let answer = asked.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() || text.contains("data-passkey=\"sign-in\"") {
            return Err(format!("{url} answered {status}"));
        }
        length = text.len();
        // The first is for warmth.
        if round > 0 {
            times.push(began.elapsed());
        }
    }
    let more = json!({ "payments": payments, "bytes": length });
    let (ours, peer) = (median(times), Some(Duration::from_millis(300)));
    Ok(Row { name, ours, peer, peer_is: "the aim", rounds: ROUNDS, more, rate: false, better: Better::Lower })
}
