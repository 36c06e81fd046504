//! Priced tools for MCP clients, and the same as skills for A2A clients, from the configuration.

use std::sync::Arc;

use paywall::Till;
use server::a2a;
use server::mcp::catalogue;
use server::mcp::sold::{PaidTool, Shop};
use server::paid::Selling;
use server::till::Books;

use crate::config::{self, Config, Offer, TenantConfig, ToolConfig};

/// The longest name of a tool.
const NAME_BYTES_MAX: usize = 128;

/// Puts the tenant's tools up for sale.
pub(super) fn sell_tools(
    shop: &mut Shop,
    config: &Config,
    tenant: &TenantConfig,
    till: &Arc<dyn Till>,
) -> Result<(), String> {
    let Some(sell) = &tenant.sell else { return Ok(()) };
    let offer = sell.offer(&config.chain)?;
    for tool in &sell.tools {
        let name = &tool.name;
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&letter);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_name) {
            let expected = format!("1 to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores");
            return Err(format!("sell.tools: {expected} were expected, `{name}` is there"));
        }
        if catalogue::NAMES.contains(&name.as_str()) || shop.find(name).is_some() {
            return Err(format!("sell.tools: a name of its own was expected, `{name}` is another tool's"));
        }
        let paid = paid(&offer, tool, config)?;
        shop.add(&[paid], till).map_err(|error| format!("sell.tools: {name}: {error}"))?;
    }
    Ok(())
}

/// The same tools, whose names were checked, for agents that speak A2A.
pub(super) fn sell_skills(
    agent: &mut a2a::sold::Shop,
    config: &Config,
    tenant: &TenantConfig,
    books: &Books,
    selling: &Selling<'_>,
) -> Result<(), String> {
    let Some(sell) = &tenant.sell else { return Ok(()) };
    let offer = sell.offer(&config.chain)?;
    for tool in &sell.tools {
        let name = &tool.name;
        let paid = paid(&offer, tool, config)?;
        agent.add(paid, books, selling).map_err(|error| format!("sell.tools: {name}: {error}"))?;
    }
    Ok(())
}

fn paid(offer: &Offer, tool: &ToolConfig, config: &Config) -> Result<PaidTool, String> {
    Ok(PaidTool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        body: tool.body.clone(),
        requirements: offer.of(&tool.amount, tool.max_timeout_seconds),
        release: config::release::read(&tool.release, &tool.unknown, &config.chain)
            .map_err(|why| format!("sell.tools: {}: {why}", tool.name))?,
    })
}
