//! `purser reconcile`: the wallets of the books against the chain. What does not agree is listed, and nothing is changed.

use engine::audit::{Item, WalletReport};
use ledger::id::TenantId;
use serde_json::{Value, json};
use store::Schema;

use crate::assembly::open_store;
use crate::cli::ReconcileArgs;
use crate::config::Config;
use crate::operate::{connected, ring};

/// Whether everything agrees.
pub async fn run(args: &ReconcileArgs) -> Result<bool, String> {
    if let Some(file) = &args.settlement {
        return crate::settlement::run(args, file).await;
    }
    let args = &args.of;
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let made = connected(&config, &ring, store.clone())?;
    let mut agreed = true;
    for tenant in made.tenants() {
        if args.tenant.as_ref().is_some_and(|asked| asked != tenant.id.as_str()) {
            continue;
        }
        for report in made.audit(&tenant.id).await.map_err(|error| format!("{}: {error}", tenant.id))? {
            agreed &= report.is_agreed();
            match args.json {
                true => println!("{}", to_json(&tenant.id, &report)),
                false => to_lines(&tenant.id, &report).iter().for_each(|line| println!("{line}")),
            }
        }
    }
    store.close().await.map_err(|error| error.to_string())?;
    Ok(agreed)
}

pub fn to_json(tenant: &TenantId, report: &WalletReport) -> Value {
    let item = |item: &Item| {
        json!({
            "state": item.state.as_str(), "transaction": item.transaction,
            "booked": { "received": item.booked.received, "paid": item.booked.paid },
            "on_chain": { "received": item.on_chain.received, "paid": item.on_chain.paid },
        })
    };
    json!({
        "tenant": tenant, "wallet": report.wallet, "asset": report.asset, "opened_at_block": report.opened_at,
        "block": report.block.number, "booked": report.booked.to_string(), "on_chain": report.on_chain.to_string(),
        "matched": report.matched, "explained": report.is_explained(), "agreed": report.is_agreed(),
        "items": report.items.iter().map(item).collect::<Vec<_>>(),
    })
}

pub fn to_lines(tenant: &TenantId, report: &WalletReport) -> Vec<String> {
    let WalletReport { wallet, asset, block, booked, on_chain, matched, .. } = report;
    let verdict = match (report.is_agreed(), report.is_explained()) {
        (true, _) => "agreed",
        (false, true) => "NOT AGREED, the list explains the difference",
        (false, false) => "NOT AGREED, the list does not explain the difference",
    };
    let number = block.number;
    let mut lines = vec![format!(
        "{tenant} {wallet} {asset}: booked {booked}, on the chain {on_chain} at block {number}, {matched} transactions \
         matched: {verdict}"
    )];
    lines.extend(report.items.iter().map(|item| {
        let (state, transaction) = (item.state.as_str(), &item.transaction);
        let (booked, seen) = (item.booked, item.on_chain);
        format!(
            "  {state} {transaction}: booked +{} -{}, on the chain +{} -{}",
            booked.received, booked.paid, seen.received, seen.paid
        )
    }));
    lines
}
