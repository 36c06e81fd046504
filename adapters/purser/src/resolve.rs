//! `purser resolve`: an operator says what became of a payment that was closed for a verifier who never answers. It is
//! written into the journal with who they are; a receipt that comes later and says otherwise is an incident.

use ledger::command::Answered;
use store::Schema;

use crate::assembly::open_store;
use crate::cli::{Outcome, ResolveArgs};
use crate::config::Config;
use crate::operate::{connected, ring};
use crate::settlement::operator;

pub async fn run(args: &ResolveArgs) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let tenant = config.tenant(&args.tenant).ok_or_else(|| format!("there is no tenant {}", args.tenant))?;
    let identity = operator(tenant, args.operator.as_deref())?;
    let id = args.id.parse().map_err(|_| format!("`{}` is no id of a payment", args.id))?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let made = connected(&config, &ring, store.clone())?;
    let answer = match args.r#as {
        Outcome::Settled => Answered::Paid,
        Outcome::NotPaid => Answered::NotPaid,
    };
    let resolved = made.resolve(&identity, id, answer, &args.because).await;
    let resolved = resolved.map_err(|error| format!("{}: {error}", error.code()))?;
    store.close().await.map_err(|error| error.to_string())?;
    println!("{} {}", resolved.id, resolved.state);
    Ok(())
}
