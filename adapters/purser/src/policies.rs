//! `purser policy`: whether a document makes sense, and what it would have said of what was paid.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use engine::ruling::simulate::{Changed, Replay, replay};
use policy::Policy;
use serde_json::{Value, json};
use store::Schema;

use crate::assembly::open_store;
use crate::config::Config;
use crate::config::policy::{text, told};
use crate::operate::ring;

#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    pub question: PolicyQuestion,
}

#[derive(Debug, Subcommand)]
pub enum PolicyQuestion {
    /// Read a policy: its digest, or a line for everything that makes no sense. Exit 1 where there is one.
    Check {
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Hold a draft against every payment of the books: how many would go another way, and which. Writes nothing.
    Simulate(SimulateArgs),
}

#[derive(Debug, Args)]
pub struct SimulateArgs {
    #[arg(long, value_name = "FILE")]
    pub draft: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "main")]
    pub tenant: String,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Whether all is well.
pub async fn run(args: &PolicyArgs) -> Result<bool, String> {
    match &args.question {
        PolicyQuestion::Check { file, json } => check(file, *json),
        PolicyQuestion::Simulate(args) => simulate(args).await.map(|()| true),
    }
}

fn check(file: &Path, as_json: bool) -> Result<bool, String> {
    let read = Policy::read(&text(file)?);
    match (&read, as_json) {
        (Ok(policy), true) => {
            let (version, digest, rules) = (&policy.version, policy.digest(), policy.rules().len());
            println!("{}", json!({ "ok": true, "version": version, "digest": digest, "rules": rules }));
        }
        (Ok(policy), false) => {
            let (version, digest, rules) = (&policy.version, policy.digest(), policy.rules().len());
            println!("version {version}, {rules} rules, sha256 {digest}");
        }
        (Err(findings), true) => {
            let findings = findings
                .iter()
                .map(|finding| json!({ "line": finding.line, "code": finding.code, "message": finding.message }));
            println!("{}", json!({ "ok": false, "findings": findings.collect::<Vec<_>>() }));
        }
        (Err(findings), false) => println!("{}", told(file, findings)),
    }
    Ok(read.is_ok())
}

async fn simulate(args: &SimulateArgs) -> Result<(), String> {
    let draft = Policy::read(&text(&args.draft)?).map_err(|findings| told(&args.draft, &findings))?;
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let tenant = config.tenant(&args.tenant).ok_or_else(|| format!("there is no tenant {}", args.tenant))?;
    tenant.check_approvers(&draft)?;
    let id = tenant.id.parse().map_err(|_| format!("{} is no tenant", tenant.id))?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let replayed = replay(&store, &id, &draft).await.map_err(|error| error.to_string())?;
    store.close().await.map_err(|error| error.to_string())?;
    match args.json {
        true => println!("{}", replay_json(&draft, &replayed)),
        false => show(&draft, &replayed),
    }
    Ok(())
}

fn replay_json(draft: &Policy, replayed: &Replay) -> Value {
    let counts =
        replayed.counts.iter().map(|((then, draft), count)| json!({ "then": then, "draft": draft, "payments": count }));
    let changed = replayed.changed.iter().map(|changed| {
        json!({
            "payment": changed.payment, "at": changed.at.seconds(), "agent": changed.agent, "payee": changed.payee,
            "rail": changed.rail, "amount": changed.amount, "currency": changed.currency, "then": changed.then,
            "draft": changed.draft, "fired": changed.fired,
        })
    });
    json!({
        "version": draft.version, "digest": draft.digest(), "payments": replayed.payments,
        "unchanged": replayed.unchanged, "erased": replayed.erased, "counts": counts.collect::<Vec<_>>(),
        "changed": changed.collect::<Vec<_>>(),
    })
}

fn show(draft: &Policy, replayed: &Replay) {
    let Replay { payments, unchanged, erased, counts, changed } = replayed;
    println!(
        "draft {} ({}): {payments} payments, {unchanged} as they were, {erased} erased",
        draft.version,
        draft.digest()
    );
    for ((then, draft), count) in counts {
        println!("{count:>8}  {then} -> {draft}");
    }
    for Changed { payment, at, agent, payee, rail, amount, currency, then, draft, fired } in changed {
        let (at, fired) = (at.seconds(), if fired.is_empty() { "no rule".to_owned() } else { fired.join(", ") });
        println!("{payment} {at} {agent} {payee} {rail} {amount} {currency}: {then} -> {draft} ({fired})");
    }
}
