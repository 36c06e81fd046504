//! `purser holds`: what an escrow holds of the wallets (x402, `auth-capture`), and how an operator takes it back.

use engine::authorize::OwnHold;
use ledger::spend::SpendState;
use serde_json::{Value, json};
use store::Schema;

use crate::assembly::open_store;
use crate::cli::{HoldsAction, HoldsArgs};
use crate::config::{Config, TenantConfig};
use crate::operate::{connected, ring};
use crate::settlement::operator;

/// Whether it was done: of what is taken back, whether the payment is over.
pub async fn run(args: &HoldsArgs) -> Result<bool, String> {
    let (of, asked) = match &args.action {
        HoldsAction::List(list) => (&list.of, None),
        HoldsAction::Reclaim(asked) => (&asked.of, Some(asked)),
    };
    let config = Config::read(&of.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let engine = connected(&config, &ring, store.clone())?;
    let payers =
        |tenant: &&TenantConfig| tenant.wallet.is_some() && of.tenant.as_ref().is_none_or(|id| *id == tenant.id);
    let (mut done, mut is_found) = (asked.is_none(), asked.is_none());
    for tenant in config.tenants.iter().filter(payers) {
        let identity = operator(tenant, asked.and_then(|asked| asked.operator.as_deref()))?;
        for hold in engine.own_holds(&identity).await.map_err(|error| error.to_string())? {
            match asked {
                None => print(&tenant.id, &hold, of.json),
                Some(asked) if hold.spend.id.to_string() == asked.id => {
                    is_found = true;
                    let after = engine.reclaim(&identity, hold.spend.id).await;
                    let after = after.map_err(|error| format!("{}: {error}", error.code()))?;
                    done = !after.state.is_open();
                    match of.json {
                        true => {
                            println!("{}", json!({ "tenant": tenant.id, "id": after.id, "state": state(after.state) }))
                        }
                        false => println!("{} {} {}", tenant.id, after.id, after.state),
                    }
                }
                Some(_) => {}
            }
        }
    }
    store.close().await.map_err(|error| error.to_string())?;
    match asked.filter(|_| !is_found) {
        Some(asked) => Err(format!("not_found: there is no payment {} that an escrow holds", asked.id)),
        None => Ok(done),
    }
}

fn state(state: SpendState) -> &'static str {
    state.as_str()
}

fn to_json(tenant: &str, hold: &OwnHold) -> Value {
    let OwnHold { spend, left, deadline, taken_back, kept_by } = hold;
    json!({
        "tenant": tenant, "id": spend.id, "state": state(spend.state), "asset": spend.money.asset,
        "payer": spend.authorization.payer, "payee": spend.payee, "left": left, "deadline": deadline,
        "taken_back": taken_back.as_ref().map(|call| call.state.as_str()),
        "kept_by": kept_by.as_ref().map(|(code, why)| json!({ "code": code, "detail": why })),
    })
}

fn print(tenant: &str, hold: &OwnHold, is_json: bool) {
    if is_json {
        return println!("{}", to_json(tenant, hold));
    }
    let OwnHold { spend, left, deadline, kept_by, .. } = hold;
    let kept = kept_by.as_ref().map_or_else(String::new, |(code, why)| format!("; kept by {code}: {why}"));
    println!("{tenant} {} {left} of {} for {}, until {deadline}{kept}", spend.id, spend.money.asset, spend.payee);
}
