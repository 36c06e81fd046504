//! `purser principal invite` and `passkeys`: whoever can read the configuration lets a person register a passkey, once, and
//! takes one out that was lost.

use engine::approver::invite;
use engine::ports::Entropy as _;
use ledger::approver::Approvers as _;
use ledger::id::{CallerKind, TenantId};
use ledger::store::StoreError;
use mandates::base64url;
use store::Schema;

use crate::assembly::{OsEntropy, open_store, principal};
use crate::cli::{PrincipalInvite, PrincipalPasskeys};
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

pub async fn passkeys(args: &PrincipalPasskeys) -> Result<(), String> {
    let said = |error: StoreError| error.to_string();
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let tenant: TenantId = args.tenant.parse().map_err(|_| format!("`{}` is no tenant", args.tenant))?;
    let person = principal(&args.name).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let known = store.passkeys_of(&tenant, &person).await.map_err(said)?;
    match &args.end {
        None => {
            for passkey in &known {
                let registered = jiff::Timestamp::from_second(passkey.created_at).unwrap_or_default();
                println!("{} registered {registered}", base64url::encode(&passkey.credential));
            }
        }
        Some(id) => {
            let of_theirs = known.iter().find(|passkey| base64url::encode(&passkey.credential) == *id);
            let passkey = of_theirs.ok_or_else(|| format!("{} of {} has no passkey {id}", args.name, args.tenant))?;
            store.end_passkey(&passkey.credential).await.map_err(said)?;
            println!("{id} is out, and whoever was signed in with it");
        }
    }
    store.close().await.map_err(said)
}

/// The code stands behind `#`: browsers send that to nobody, and no log has it.
pub fn address(config: &Config, code: &str) -> String {
    format!("{}/approve/register#{code}", config.page_url())
}
