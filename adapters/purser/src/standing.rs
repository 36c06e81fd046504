//! `purser principal report`: agents, who answers for them, and what is wrong.

use engine::lifecycle::AgentStanding;
use ledger::id::{Micros, TenantId};
use serde_json::{Value, json};
use store::Schema;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::assembly::open_store;
use crate::cli::PrincipalReport;
use crate::config::Config;
use crate::operate::{connected, ring};

/// Whether nothing is wrong with any of them.
pub async fn run(args: &PrincipalReport) -> Result<bool, String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
    let engine = connected(&config, &ring, store)?;
    let wanted = |id: &TenantId| args.tenant.as_ref().is_none_or(|tenant| tenant == id.as_str());
    let tenants: Vec<_> = engine.tenants().into_iter().filter(|tenant| wanted(&tenant.id)).collect();
    if let (Some(tenant), true) = (&args.tenant, tenants.is_empty()) {
        return Err(format!("there is no tenant {tenant}"));
    }
    let mut is_well = true;
    for tenant in tenants {
        for standing in engine.agents_standing(&tenant.id).await.map_err(|error| error.to_string())? {
            is_well &= standing.findings.is_empty();
            match args.json {
                true => println!("{}", to_json(&tenant.id, &standing)),
                false => println!("{}", line(&tenant.id, &standing)),
            }
        }
    }
    Ok(is_well)
}

fn to_json(tenant: &TenantId, standing: &AgentStanding) -> Value {
    let stopped = standing.stopped.as_ref();
    json!({
        "tenant": tenant, "agent": standing.agent, "sponsor": standing.sponsor,
        "last_use": standing.last_use.map(Micros::seconds),
        "review_by": standing.upkeep.review_by.map(Micros::seconds),
        "dormant_after_days": standing.upkeep.dormant_after_days,
        "findings": standing.findings.iter().map(|finding| finding.as_str()).collect::<Vec<_>>(),
        "stopped": stopped.map(|gate| json!({ "by": gate.closed_by.principal, "since": gate.since.seconds() })),
    })
}

fn line(tenant: &TenantId, standing: &AgentStanding) -> String {
    let day = |at: Option<Micros>, never: &str| {
        let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at.seconds()).ok());
        at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| never.to_owned())
    };
    let findings: Vec<_> = standing.findings.iter().map(|finding| finding.as_str()).collect();
    let said = if findings.is_empty() { "ok".to_owned() } else { findings.join(", ") };
    let stopped = standing.stopped.as_ref().map(|gate| format!(", stopped by {}", gate.closed_by.principal));
    format!(
        "{tenant} {}: sponsor {}, last used {}, review by {}: {said}{}",
        standing.agent,
        standing.sponsor,
        day(standing.last_use, "never"),
        day(standing.upkeep.review_by, "no day"),
        stopped.unwrap_or_default()
    )
}
