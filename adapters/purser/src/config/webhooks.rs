//! Who is told what happens in a tenant's book.

use std::collections::BTreeSet;

use ledger::event::EventType;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError};

const NAME_CHARS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Of lower-case letters, digits and `-`; its secret is `webhook/NAME` among the keys.
    pub name: String,
    /// https, on the devnet this machine too.
    pub url: String,
    /// `payment.settled`, or `payment.*`; everything where nothing is said.
    #[serde(default)]
    pub events: Vec<String>,
    /// Instead of events: what becomes of orders in the tenant's shop, told as ACP has it, of these buyers (`tenant:agent`,
    /// or `*` for everybody).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders_of: Vec<String>,
}

impl WebhookConfig {
    pub fn tells_orders(&self) -> bool {
        !self.orders_of.is_empty()
    }

    /// Whether a buyer's orders are told, by what the shop calls the buyer.
    pub fn wants_orders_of(&self, owner: &str) -> bool {
        let is_theirs = |buyer: &str| {
            buyer.split_once(':').is_some_and(|(tenant, agent)| format!("acp:{tenant}/agent/{agent}") == owner)
        };
        owner.starts_with("acp:") && self.orders_of.iter().any(|buyer| buyer == "*" || is_theirs(buyer))
    }

    pub fn wants(&self, kind: EventType) -> bool {
        self.events.is_empty() || self.events.iter().any(|pattern| matches(pattern, kind))
    }
}

pub fn matches(pattern: &str, kind: EventType) -> bool {
    match pattern.strip_suffix('*') {
        Some(family) => family.ends_with('.') && kind.as_str().starts_with(family),
        None => pattern == kind.as_str(),
    }
}

/// What is no event is refused: nobody would ever be told of it.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    if EventType::ALL.iter().any(|kind| matches(pattern, *kind)) {
        return Ok(());
    }
    let known: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
    Err(format!("one of {}, or a family as `payment.*`", known.join(", ")))
}

impl Config {
    pub(crate) fn check_webhooks(&self) -> Result<(), ConfigError> {
        let reach = self.reach();
        for tenant in &self.tenants {
            let mut names = BTreeSet::new();
            for webhook in &tenant.webhooks {
                let wrong = |member: &str, expected: String, found: &str| ConfigError::Value {
                    field: format!("{member} of a webhook of tenant {}", tenant.id),
                    expected,
                    found: found.to_owned(),
                };
                let is_name = (1..=NAME_CHARS_MAX).contains(&webhook.name.len())
                    && webhook.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                if !is_name {
                    let expected = format!("1 to {NAME_CHARS_MAX} lower-case letters, digits and `-`");
                    return Err(wrong("name", expected, &webhook.name));
                }
                if !names.insert(&webhook.name) {
                    return Err(wrong("name", "a name of its own".to_owned(), &webhook.name));
                }
                reach.check(&webhook.url).map_err(|why| wrong("url", why, &webhook.url))?;
                if webhook.tells_orders() {
                    check_orders(tenant.shop.is_some(), webhook)
                        .map_err(|(expected, found)| wrong("orders_of", expected, &found))?;
                }
                for pattern in &webhook.events {
                    check_pattern(pattern).map_err(|expected| wrong("events", expected, pattern))?;
                }
            }
        }
        Ok(())
    }
}

/// What was expected, and what was found.
fn check_orders(has_shop: bool, webhook: &WebhookConfig) -> Result<(), (String, String)> {
    if !has_shop {
        return Err(("orders of a tenant with a shop".into(), "a tenant without one".into()));
    }
    if !webhook.events.is_empty() {
        return Err(("events or orders_of".into(), "both".into()));
    }
    let is_buyer = |buyer: &&String| {
        let parts = buyer.split_once(':');
        buyer.as_str() == "*" || parts.is_some_and(|(tenant, agent)| !tenant.is_empty() && !agent.is_empty())
    };
    match webhook.orders_of.iter().find(|buyer| !is_buyer(buyer)) {
        Some(buyer) => Err(("tenant:agent, or *".into(), buyer.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use figment::Figment;
    use figment::providers::{Format, Toml};

    use super::*;

    fn checked(webhooks: &str, chain_id: u64) -> Result<(), String> {
        let text = format!(
            "listen = \"127.0.0.1:4020\"\ndatabase = \"x.sqlite\"\n[chain]\nrpc_url = \"http://127.0.0.1:1\"\n\
             chain_id = {chain_id}\n[[tenants]]\nid = \"main\"\ncurrency = \"USD\"\n{webhooks}"
        );
        let config: Config = Figment::new().merge(Toml::string(&text)).extract().map_err(|error| error.to_string())?;
        config.check_webhooks().map_err(|error| error.to_string())
    }

    #[test]
    fn a_webhook_that_nobody_could_be_told_by_is_refused() {
        let one = |name: &str, url: &str, events: &str| {
            format!("[[tenants.webhooks]]\nname = \"{name}\"\nurl = \"{url}\"\nevents = [{events}]\n")
        };
        let good = one("shop-1", "https://shop.example/hook", "\"payment.settled\", \"mandate.*\"");
        for (webhooks, chain_id, says) in [
            (one("", "https://shop.example", ""), 8_453, "name"),
            (one("Shop", "https://shop.example", ""), 8_453, "`Shop`"),
            (one("a/b", "https://shop.example", ""), 8_453, "`a/b`"),
            (one(&"n".repeat(65), "https://shop.example", ""), 8_453, "64"),
            (one("shop-1", "https://other.example", "") + &good, 8_453, "a name of its own"),
            (one("shop", "http://shop.example", ""), 8_453, "https"),
            (one("shop", "https://user:word@shop.example", ""), 8_453, "neither user"),
            (one("shop", "https://169.254.169.254/latest", ""), 8_453, "public"),
            (one("shop", "http://127.0.0.1:9/", ""), 8_453, "https"),
            (one("shop", "shop.example", ""), 8_453, "url"),
            (one("shop", "https://shop.example", "\"payment\""), 8_453, "payment.settled"),
            (one("shop", "https://shop.example", "\"pay*\""), 8_453, "`pay*`"),
            (one("shop", "https://shop.example", "\"*\""), 8_453, "`*`"),
            (one("shop", "https://shop.example", "\"payment.paid\""), 8_453, "`payment.paid`"),
            (one("shop", "https://shop.example", "") + "secret = \"x\"\n", 8_453, "secret"),
        ] {
            let said = checked(&webhooks, chain_id).unwrap_err();
            assert!(said.contains(says), "{webhooks}: {said}");
        }
        checked(&good, 8_453).unwrap();
        checked(&one("shop", "http://127.0.0.1:9/", ""), 31_337).unwrap();
    }

    #[test]
    fn orders_are_told_to_the_platform_of_those_who_bought() {
        let webhook = |of: &str, events: &str| {
            format!(
                "[[tenants.webhooks]]\nname = \"p\"\nurl = \"https://p.example\"\norders_of = [{of}]\nevents = [{events}]\n"
            )
        };
        let shop = "[tenants.shop]\nmerchant = \"m\"\nproducts = []\n";
        for (webhooks, says) in [
            (webhook("\"*\"", ""), "a tenant with a shop"),
            (webhook("\"*\"", "\"payment.*\"") + shop, "events or orders_of"),
            (webhook("\"shopper\"", "") + shop, "tenant:agent"),
            (webhook("\":shopper\"", "") + shop, "tenant:agent"),
            (webhook("\"home:\"", "") + shop, "tenant:agent"),
            (webhook("\"home:shopper\", \"\"", "") + shop, "tenant:agent"),
        ] {
            let said = checked(&webhooks, 8_453).unwrap_err();
            assert!(said.contains(says), "{webhooks}: {said}");
        }
        checked(&(webhook("\"home:shopper\"", "") + shop), 8_453).unwrap();
        let of = |buyer: &str| WebhookConfig {
            name: "p".into(),
            url: "https://p.example".into(),
            events: Vec::new(),
            orders_of: vec![buyer.into()],
        };
        for (buyer, owner, is_told) in [
            ("home:shopper", "acp:home/agent/shopper", true),
            ("*", "acp:home/agent/other", true),
            ("home:shopper", "acp:home/agent/shopper2", false),
            ("home:shopper", "acp:home/user/shopper", false),
            ("home:shopper", "acp:away/agent/shopper", false),
            ("home:shop", "acp:home/agent/shopper", false),
            ("*", "ucp:https://platform.example/profile", false),
            ("*", "", false),
        ] {
            assert_eq!(of(buyer).wants_orders_of(owner), is_told, "{buyer} {owner}");
        }
    }

    #[test]
    fn a_family_is_what_begins_with_it() {
        assert!(
            matches("payment.*", EventType::PaymentSettled) && matches("payment.settled", EventType::PaymentSettled)
        );
        assert!(
            !matches("mandate.*", EventType::PaymentSettled) && !matches("payment.held", EventType::PaymentSettled)
        );
    }
}
