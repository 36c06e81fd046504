//! `purser channels`: what the wallets have in channels (x402, `batch-settlement`), and how an operator asks for it.

use std::time::Duration;

use engine::Engine;
use engine::Identity;
use engine::authorize::OwnChannel;
use engine::error::EngineError;
use serde_json::{Value, json};
use store::Schema;
use x402::wire::{PAYMENT_REQUIRED, PAYMENT_RESPONSE, PaymentRequired, SettleResponse, read_header};

use crate::assembly::open_store;
use crate::cli::{ChannelsAction, ChannelsArgs};
use crate::client::{Client, Fetched};
use crate::config::{Config, TenantConfig};
use crate::operate::{connected, ring};
use crate::settlement::operator;

/// How long a refund is waited for until a final block shows it.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whether it was done: of a refund, whether nothing is left.
pub async fn run(args: &ChannelsArgs) -> Result<bool, String> {
    let (of, asked) = match &args.action {
        ChannelsAction::List(list) => (&list.of, None),
        ChannelsAction::Refund(asked) | ChannelsAction::Withdraw(asked) => (&asked.of, Some(asked)),
    };
    let by_itself = matches!(args.action, ChannelsAction::Withdraw(_));
    let config = Config::read(&of.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let engine = connected(&config, &ring, store.clone())?;
    let payers =
        |tenant: &&TenantConfig| tenant.wallet.is_some() && of.tenant.as_ref().is_none_or(|id| *id == tenant.id);
    let (mut done, mut is_found) = (asked.is_none(), asked.is_none());
    for tenant in config.tenants.iter().filter(payers) {
        let identity = operator(tenant, asked.and_then(|asked| asked.operator.as_deref()))?;
        for channel in engine.own_channels(&identity).await.map_err(said)? {
            match asked {
                None => print(&tenant.id, &channel, of.json),
                Some(asked) if channel.id.to_string().eq_ignore_ascii_case(&asked.id) => {
                    is_found = true;
                    let after = match by_itself {
                        true => engine.withdraw_channel(&identity, &asked.id).await.map_err(said)?,
                        false => refund(&engine, &identity, &asked.id).await?,
                    };
                    print(&tenant.id, &after, of.json);
                    done = match by_itself {
                        true => after.withdraw_from().is_none() && after.left().is_zero(),
                        false => after.state.balance == after.state.total_claimed,
                    };
                }
                Some(_) => {}
            }
        }
    }
    store.close().await.map_err(|error| error.to_string())?;
    match asked.filter(|_| !is_found) {
        Some(asked) => Err(format!("not_found: there is no channel {} here", asked.id)),
        None => Ok(done),
    }
}

fn said(error: EngineError) -> String {
    format!("{}: {error}", error.code())
}

/// Shows the payee what asks for the rest, and hears what it says to that. One that counts its last payment otherwise is heard
/// and asked once more.
async fn refund(engine: &Engine, identity: &Identity, id: &str) -> Result<OwnChannel, String> {
    let mut is_corrected = false;
    loop {
        let ask = engine.ask_back(identity, id).await.map_err(said)?;
        let client = Client::new(&ask.url).map_err(|error| error.to_string())?;
        let answer = client.fetch(&ask.method, &ask.url, Some(&ask.header)).await.map_err(|error| error.to_string())?;
        let (reported, demanded) = read(&answer);
        let code = demanded.as_ref().and_then(|demanded| demanded.error.clone());
        let failed = reported.as_ref().and_then(|reported| reported.error_reason.clone());
        let is_refunded = reported.as_ref().is_some_and(|reported| reported.success);
        let after = heard(engine, identity, id, (reported, demanded)).await?;
        if is_refunded || (is_corrected && after.state.balance == after.state.total_claimed) {
            return Ok(after);
        }
        if is_corrected {
            let why = code.or(failed).unwrap_or_else(|| format!("{}", answer.status.as_u16()));
            return Err(format!("the payee of channel {id} gives nothing back: {}", server::wallet::plain(&why)));
        }
        is_corrected = true;
    }
}

fn read(answer: &Fetched) -> (Option<SettleResponse>, Option<PaymentRequired>) {
    let header = |name: &str| answer.header(name).map(str::as_bytes);
    let reported = header(PAYMENT_RESPONSE).and_then(|bytes| read_header(bytes).ok());
    (reported, header(PAYMENT_REQUIRED).and_then(|bytes| read_header(bytes).ok()))
}

/// Until a final block shows it, for a while.
async fn heard(
    engine: &Engine,
    identity: &Identity,
    id: &str,
    (reported, demanded): (Option<SettleResponse>, Option<PaymentRequired>),
) -> Result<OwnChannel, String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match engine.hear_refund(identity, id, (reported.clone(), demanded.clone())).await {
            Err(error)
                if matches!(error.code(), "not_final" | "not_found") && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            other => return other.map_err(said),
        }
    }
}

fn to_json(tenant: &str, channel: &OwnChannel) -> Value {
    let OwnChannel { id, booked, coming, state, charged, offer, last, .. } = channel;
    json!({
        "tenant": tenant, "id": id.to_string(), "asset": offer.asset(), "payer": last.authorization.payer,
        "payee": last.payee, "pay_to": last.pay_to, "url": offer.resource_url(),
        "booked": booked, "coming": coming, "balance": state.balance, "claimed": state.total_claimed,
        "charged": charged, "withdraw_requested_at": state.withdraw_requested_at,
        "withdraw_from": channel.withdraw_from(),
        "last": { "id": last.id, "state": last.state.as_str() },
    })
}

fn print(tenant: &str, channel: &OwnChannel, is_json: bool) {
    if is_json {
        return println!("{}", to_json(tenant, channel));
    }
    let OwnChannel { id, state, charged, offer, last, .. } = channel;
    let (balance, claimed, payee, asset) = (state.balance, state.total_claimed, &last.payee, offer.asset());
    let asked =
        channel.withdraw_from().map_or_else(String::new, |from| format!("; asked for, and to be had from {from}"));
    println!(
        "{tenant} {id} {balance} of {asset} for {payee}: {charged} charged, {claimed} claimed; last {} ({}){asked}",
        last.id, last.state
    );
}
