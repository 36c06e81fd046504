//! What a tenant sells, from the configuration: priced routes, and priced tools for MCP clients.

use std::sync::Arc;

use paywall::Till;
use server::mcp::catalogue;
use server::mcp::sold::{PaidTool, Shop};
use server::paid::PaidRoute;
use x402::wire::PaymentRequirements;

use crate::assembly::{assets, network};
use crate::config::{Config, SellConfig, TenantConfig};

/// The longest name of a tool.
const NAME_BYTES_MAX: usize = 128;

pub(super) fn paid_routes(config: &Config, tenant: &TenantConfig) -> Result<Vec<PaidRoute>, String> {
    let Some(sell) = &tenant.sell else { return Ok(Vec::new()) };
    let offer = Offer::of(config, sell)?;
    let paid = sell.routes.iter().map(|route| PaidRoute {
        path: route.path.clone(),
        description: route.description.clone(),
        body: route.body.clone(),
        requirements: offer.requirements(&route.amount, route.max_timeout_seconds),
    });
    Ok(paid.collect())
}

/// Puts the tenant's tools up for sale.
pub(super) fn sell_tools(
    shop: &mut Shop,
    config: &Config,
    tenant: &TenantConfig,
    till: &Arc<dyn Till>,
) -> Result<(), String> {
    let Some(sell) = &tenant.sell else { return Ok(()) };
    let offer = Offer::of(config, sell)?;
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
        let paid = PaidTool {
            name: name.clone(),
            description: tool.description.clone(),
            body: tool.body.clone(),
            requirements: offer.requirements(&tool.amount, tool.max_timeout_seconds),
        };
        shop.add(&[paid], till).map_err(|error| format!("sell.tools: {name}: {error}"))?;
    }
    Ok(())
}

/// What every price of a tenant has in common.
struct Offer {
    common: PaymentRequirements,
}

impl Offer {
    fn of(config: &Config, sell: &SellConfig) -> Result<Self, String> {
        let (table, network) = (assets(&config.chain), network(&config.chain));
        let (table, network) = (table.map_err(|error| error.to_string())?, network.map_err(|error| error.to_string())?);
        let token = sell.asset.parse().map_err(|_| format!("sell.asset: `{}` is no address", sell.asset))?;
        let asset = table.find(network, token).ok_or_else(|| format!("sell.asset: {token} is in no table"))?;
        let common = PaymentRequirements {
            scheme: x402::exact::SCHEME.into(),
            network: network.to_string(),
            amount: String::new(),
            asset: token.to_string(),
            pay_to: sell.pay_to.clone(),
            max_timeout_seconds: 0,
            extra: Some(serde_json::Map::from_iter([
                ("name".to_owned(), asset.name.as_str().into()),
                ("version".to_owned(), asset.version.as_str().into()),
            ])),
            unknown: serde_json::Map::new(),
        };
        Ok(Self { common })
    }

    fn requirements(&self, amount: &str, max_timeout_seconds: u64) -> PaymentRequirements {
        PaymentRequirements { amount: amount.to_owned(), max_timeout_seconds, ..self.common.clone() }
    }
}
