//! `purser approve`: an operator with the master key answers in a person's place, where the tenant takes a token for an
//! answer.
//!
//! It goes through the front door: a token for the person, bound to a key that is drawn for this one answer.

use identity::token::Binding;
use ledger::id::{AuthMethod, Caller, CallerKind};
use mandates::keys::LocalKey;
use reqwest::Method;
use serde_json::json;
use store::Schema;

use crate::cli::ApproveArgs;
use crate::client::Client;
use crate::config::Config;
use crate::credential::Credential;
use crate::keys::ring::draw;
use crate::keys::{Purpose, Ring, Slot};
use crate::operate::ring;
use crate::service::minter;

pub async fn run(args: &ApproveArgs) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let tenant = config.tenant(&args.tenant).ok_or_else(|| format!("there is no tenant {}", args.tenant))?;
    if !crate::service::is_known(tenant, &args.user, CallerKind::User) {
        return Err(format!("tenant {} has no user {}", args.tenant, args.user));
    }
    let credential = credential(&config, &ring, args)?;
    let client = Client::new(&config.public_url()).map_err(|error| error.to_string())?;
    let path = format!("/v1/approvals/{}", args.id);
    let shown = client.call_as(&credential, Method::GET, &path, None, None).await.map_err(|error| error.to_string())?;
    println!("{}", serde_json::to_string_pretty(&shown["document"]).unwrap_or_default());
    let decision = if args.deny { "deny" } else { "approve" };
    let body = json!({ "decision": decision, "digest": shown["digest"] });
    let path = format!("{path}/decision");
    let decided = client.call_as(&credential, Method::POST, &path, None, Some(body)).await;
    let decided = decided.map_err(|error| error.to_string())?;
    println!("{} {}", decided["approval"]["state"].as_str().unwrap_or("-"), decided["mandate"].as_str().unwrap_or("-"));
    Ok(())
}

fn credential(config: &Config, ring: &Ring, args: &ApproveArgs) -> Result<Credential, String> {
    let drawn =
        draw(&Slot::new(&args.tenant, Purpose::Client(args.user.clone()))).map_err(|error| error.to_string())?;
    let key = LocalKey::from_random(&drawn).map_err(|error| error.to_string())?;
    let tenant = args.tenant.parse().map_err(|_| format!("`{}` is no tenant", args.tenant))?;
    let principal = args.user.parse().map_err(|_| format!("`{}` is no principal", args.user))?;
    let caller = Caller::new(principal, CallerKind::User, AuthMethod::Dpop);
    let identity = engine::Identity { tenant, caller };
    let (now, thumbprint) = (store::wall_clock()().seconds(), key.public().thumbprint());
    let token = minter(config, ring)?.mint(&identity, Binding::Key(&thumbprint), &args.id, now, 60);
    let token = token.ok_or("the token could not be signed")?;
    Ok(Credential::bound(token, key))
}
