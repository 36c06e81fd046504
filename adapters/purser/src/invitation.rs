//! `purser principal invite`: whoever can read the configuration lets a person register a passkey, once.

use engine::approver::invite;
use engine::ports::Entropy as _;
use ledger::id::CallerKind;
use store::Schema;

use crate::assembly::{OsEntropy, open_store, principal};
use crate::cli::PrincipalInvite;
use crate::config::Config;
use crate::operate::ring;
use crate::service::is_known;

pub async fn run(args: &PrincipalInvite) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let tenant = config.tenant(&args.tenant).ok_or_else(|| format!("there is no tenant {}", args.tenant))?;
    if !is_known(tenant, &args.name, CallerKind::User) {
        return Err(format!("tenant {} has no user {}", args.tenant, args.name));
    }
    if config.relying_party().is_none() {
        let found = config.public_url();
        return Err(format!("passkeys are for https and a domain, or for this machine; public_url is {found}"));
    }
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let tenant = args.tenant.parse().map_err(|_| format!("`{}` is no tenant", args.tenant))?;
    let owner = (tenant, principal(&args.name).map_err(|error| error.to_string())?);
    let drawn = OsEntropy.bytes().map_err(|error| error.to_string())?;
    let (now, seconds) = (store::wall_clock()().seconds(), args.minutes.saturating_mul(60));
    let code = invite(&store, drawn, owner, now, seconds).await.map_err(|error| error.to_string())?;
    println!("{}", address(&config, &code));
    eprintln!(
        "good once, for {} minutes; {} opens it in the browser that is to have the passkey",
        args.minutes, args.name
    );
    store.close().await.map_err(|error| error.to_string())
}

/// The code stands behind `#`: browsers send that to nobody, and no log has it.
pub fn address(config: &Config, code: &str) -> String {
    format!("{}/approve/register#{code}", config.page_url())
}
