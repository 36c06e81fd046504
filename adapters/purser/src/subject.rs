//! `purser erase` and `purser export`: what is kept of one person, taken out or handed over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use engine::subject::Subject;
use ledger::approver::Approvers as _;
use ledger::id::TenantId;
use serde_json::{Value, json};
use store::Schema;

use crate::assembly::open_store;
use crate::checkpoint::LedgerTenant;
use crate::config::Config;
use crate::operate::{connected, ring};

#[derive(Debug, Args)]
pub struct SubjectArgs {
    #[command(flatten)]
    pub of: LedgerTenant,
    /// The person.
    #[arg(long, value_name = "NAME")]
    pub subject: String,
}

struct Looked {
    config: Config,
    tenant: TenantId,
    subject: Subject,
}

async fn look(args: &SubjectArgs) -> Result<Looked, String> {
    let (config, id) = args.of.read()?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let made = connected(&config, &ring, store.clone())?;
    let tenant = id.parse().map_err(|_| format!("{id} is no tenant"))?;
    let person = args.subject.parse().map_err(|_| format!("{} is no principal", args.subject))?;
    let subject = made.subject(&tenant, &person).await.map_err(|error| error.to_string())?;
    store.close().await.map_err(|error| error.to_string())?;
    Ok(Looked { config, tenant, subject })
}

/// A line a document.
pub async fn export(args: &SubjectArgs) -> Result<(), String> {
    for (digest, document) in &look(args).await?.subject.documents {
        let content = match serde_json::from_slice::<Value>(&document.bytes) {
            Ok(value) => json!({ "json": value }),
            Err(_) => json!({ "base64": STANDARD.encode(&document.bytes) }),
        };
        println!("{}", json!({ "kind": document.kind, "digest": digest, "content": content }));
    }
    Ok(())
}

/// What is in force is not erased: it would have to be believed without what it says.
pub async fn erase(args: &SubjectArgs) -> Result<(), String> {
    let Looked { config, tenant, subject } = look(args).await?;
    if let Some(first) = subject.in_use.first() {
        let count = subject.in_use.len();
        return Err(format!("nothing was erased: {first}, and {} more are in use", count.saturating_sub(1)));
    }
    let digests: Vec<_> = subject.documents.keys().copied().collect();
    let erased = store::erase(&config.database, &tenant, &digests).await.map_err(|error| error.to_string())?;
    let passkeys = end_passkeys(&config, &tenant, &args.subject).await?;
    println!("{erased} documents of {} were erased; the journal and its proofs stand", args.subject);
    if passkeys > 0 {
        println!("{passkeys} passkeys, and what they began, were taken out");
    }
    Ok(())
}

async fn end_passkeys(config: &Config, tenant: &TenantId, person: &str) -> Result<usize, String> {
    let said = |error: ledger::store::StoreError| error.to_string();
    let person = person.parse().map_err(|_| format!("{person} is no principal"))?;
    let ring = ring(config, Schema::Refuse).await?;
    let store = open_store(config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let passkeys = store.passkeys_of(tenant, &person).await.map_err(said)?;
    for passkey in &passkeys {
        store.end_passkey(&passkey.credential).await.map_err(said)?;
    }
    store.close().await.map_err(said)?;
    Ok(passkeys.len())
}
