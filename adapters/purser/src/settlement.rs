//! `purser reconcile --settlement FILE`: what a payment processor says it settled or refused, line by line, against the
//! payments of a tenant that were closed for others. Breaks are listed; nothing is changed but by `--apply`, and by that
//! only what is held here and agrees with its line in every value.
//!
//! The file is CSV (RFC 4180) in UTF-8 with a header; columns in any order, others are passed over:
//!
//! | column | what |
//! | --- | --- |
//! | `reference` | the payment's id here (64 hexadecimal digits), or the `reference` of its receipt (AP2 v0.2) |
//! | `amount` | a decimal in major units: `12.50` |
//! | `currency` | ISO 4217, three capitals |
//! | `state` | `settled` or `refused` |
//! | `processor_id` | what the processor calls it; one line an id |
//! | `date` | `YYYY-MM-DD`, in UTC |
//!
//! What is settled here on a day of the file (from its first date to its last) and not in it is a break, too.

mod compare;
mod file;

use std::path::Path;

use engine::Identity;
use ledger::id::{AuthMethod, Caller, CallerKind, Digest};
use serde_json::json;
use store::Schema;

use self::compare::{Finding, Held, compare};
use self::file::{FILE_BYTES_MAX, read};
use crate::assembly::open_store;
use crate::cli::ReconcileArgs;
use crate::config::Config;
use crate::operate::{connected, ring};

/// Whether every line agrees with the books, and the books with the file.
pub async fn run(args: &ReconcileArgs, path: &Path) -> Result<bool, String> {
    let config = Config::read(&args.of.config).map_err(|error| error.to_string())?;
    let bytes = bytes(path)?;
    let lines = read(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let identity = identity(&config, args)?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let made = connected(&config, &ring, store.clone())?;
    let given = made.given(&identity).await.map_err(|error| error.to_string())?;
    let compared = compare(&lines, &given);
    let mut breaks = compared.breaks;
    let name = Digest::of(&bytes);
    for Held { line, spend, answer } in compared.held {
        let expected = match args.apply {
            false => Err("held here; --apply would take the line's word".to_owned()),
            true => {
                let because =
                    format!("settlement file {name}, line {}: {} of {}", line.number, line.processor_id, line.date);
                made.resolve(&identity, spend, answer, &because).await.map_err(|error| error.to_string())
            }
        };
        match expected {
            Ok(after) => tell(args, &json!({ "line": line.number, "payment": spend, "applied": after.state.as_str() })),
            Err(why) => breaks.push(Finding::of(&line, "held_here", format!("payment {spend}: {why}"))),
        }
    }
    store.close().await.map_err(|error| error.to_string())?;
    breaks.sort_by_key(|found| found.line);
    breaks.iter().for_each(|found| tell(args, &found.to_json()));
    let (agreed, found) = (compared.agreed, breaks.len());
    tell(args, &json!({ "file": name, "lines": lines.len(), "agreed": agreed, "breaks": found }));
    Ok(breaks.is_empty())
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{}: at most {FILE_BYTES_MAX} bytes are read, it has {length}", path.display()));
    }
    std::fs::read(path).map_err(failed)
}

/// The operator who answers for what is applied.
fn identity(config: &Config, args: &ReconcileArgs) -> Result<Identity, String> {
    let tenant = match (&args.of.tenant, config.tenants.as_slice()) {
        (Some(id), _) => config.tenant(id).ok_or_else(|| format!("there is no tenant {id}"))?,
        (None, [one]) => one,
        (None, several) => return Err(format!("one tenant was expected, there are {}: name it", several.len())),
    };
    operator(tenant, args.operator.as_deref())
}

/// The operator that is named, or the only one there is.
pub(crate) fn operator(tenant: &crate::config::TenantConfig, name: Option<&str>) -> Result<Identity, String> {
    let name = match (name, tenant.operators.as_slice()) {
        (Some(name), _) if crate::service::is_known(tenant, name, CallerKind::Operator) => name,
        (Some(name), _) => return Err(format!("tenant {} has no operator {name}", tenant.id)),
        (None, [one]) => &one.id,
        (None, several) => {
            return Err(format!("tenant {} has {} operators: name one with --operator", tenant.id, several.len()));
        }
    };
    let principal = name.parse().map_err(|_| format!("`{name}` is no principal"))?;
    let id = tenant.id.parse().map_err(|_| format!("`{}` is no tenant", tenant.id))?;
    Ok(Identity { tenant: id, caller: Caller::new(principal, CallerKind::Operator, AuthMethod::Internal) })
}

fn tell(args: &ReconcileArgs, told: &serde_json::Value) {
    match (args.of.json, told.as_object()) {
        (false, Some(members)) => {
            let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let words: Vec<String> = members.iter().map(|(name, value)| format!("{name} {}", text(value))).collect();
            println!("{}", words.join(", "));
        }
        _ => println!("{told}"),
    }
}
