//! `purser receivables`: what sellers gave and were not paid for, and what payers paid for and did not get; and how an operator
//! ends one of them.

use ledger::settlement::{Settlement, SettlementState};
use serde_json::{Value, json};
use store::Schema;

use crate::assembly::open_store;
use crate::cli::ReceivablesArgs;
use crate::config::Config;
use crate::operate::{connected, ring};
use crate::settlement::operator;

/// Whether there is none.
pub async fn run(args: &ReceivablesArgs) -> Result<bool, String> {
    let config = Config::read(&args.of.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let engine = connected(&config, &ring, store.clone())?;
    let mut count = 0_usize;
    for tenant in config.tenants.iter().filter(|tenant| args.of.tenant.as_ref().is_none_or(|id| *id == tenant.id)) {
        let id = tenant.id.parse().map_err(|_| format!("{} is no tenant", tenant.id))?;
        let owed = engine.owed(&id).await.map_err(|error| format!("{}: {error}", error.code()))?;
        for sale in owed {
            let nonce = nonce(&sale);
            if let (Some(named), Some(because)) = (&args.write_off, &args.because)
                && *named == nonce
            {
                let identity = operator(tenant, args.operator.as_deref())?;
                let written = engine.write_off(&identity, &sale.key, because).await;
                let written = written.map_err(|error| format!("{}: {error}", error.code()))?;
                println!("{nonce} {}", written.state);
                store.close().await.map_err(|error| error.to_string())?;
                return Ok(true);
            }
            count += 1;
            match args.of.json {
                true => println!("{}", to_json(&tenant.id, &sale)),
                false => println!("{}", line(&tenant.id, &sale)),
            }
        }
    }
    store.close().await.map_err(|error| error.to_string())?;
    match &args.write_off {
        Some(named) => Err(format!("nothing is owed for the authorization {named}")),
        None => Ok(count == 0),
    }
}

fn nonce(sale: &Settlement) -> String {
    format!("0x{}", hex::encode(sale.key.authorization.nonce))
}

/// Who owes whom.
const fn owed_by(sale: &Settlement) -> &'static str {
    match sale.state {
        SettlementState::Undelivered => "seller",
        _ => "payer",
    }
}

fn to_json(tenant: &str, sale: &Settlement) -> Value {
    let authorization = &sale.key.authorization;
    json!({
        "tenant": tenant, "authorization": nonce(sale), "payer": authorization.payer, "asset": authorization.asset,
        "amount": sale.money.amount, "state": sale.state.as_str(), "owed_by": owed_by(sale),
        "transaction": sale.transaction,
    })
}

fn line(tenant: &str, sale: &Settlement) -> String {
    let (amount, payer) = (sale.money.amount, &sale.key.authorization.payer);
    let who = match owed_by(sale) {
        "seller" => format!("owed to {payer}, who paid and got nothing"),
        _ => format!("owed by {payer}"),
    };
    format!("{tenant} {} {amount} of {} {who} ({})", nonce(sale), sale.money.asset, sale.state)
}
