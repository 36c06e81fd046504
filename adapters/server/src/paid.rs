//! Priced routes of the configuration: a text of its own, or what another HTTP service has, behind the paywall.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use paywall::limit::Limits;
use paywall::{Address, PaywallLayer, Price, PriceError, Repeat, Till};
use serde_json::{Value, json};
use x402::wire::{PaymentRequirements, ResourceInfo};

use crate::problem::ok;
use crate::upstream::Upstream;

/// A resource that costs something.
#[derive(Clone, Debug)]
pub struct PaidRoute {
    /// One path, or `/prefix/*` for all that lies under it.
    pub path: String,
    pub description: String,
    pub mime_type: Option<String>,
    pub sold: Sold,
    pub methods: MethodFilter,
    pub repeat: Repeat,
    pub limits: Limits,
    pub requirements: PaymentRequirements,
}

/// Where what is sold comes from.
#[derive(Clone, Debug)]
pub enum Sold {
    /// What the paid answer contains.
    Text(String),
    Upstream(Upstream),
}

impl PaidRoute {
    /// As it stands in discovery.
    pub fn listing(&self, public_url: &str) -> Value {
        json!({
            "resource": format!("{public_url}{}", self.path),
            "type": "http",
            "x402Version": 2,
            "accepts": [self.requirements],
            "description": self.description,
        })
    }
}

#[derive(Clone)]
struct Text {
    body: Arc<str>,
    runs: Arc<AtomicU64>,
}

pub fn router(routes: Vec<PaidRoute>, public_url: &str, till: &Arc<dyn Till>) -> Result<Router, PriceError> {
    let mut router = Router::new();
    let alone: Vec<String> =
        routes.iter().map(|route| route.path.clone()).filter(|path| !path.ends_with('*')).collect();
    for route in routes {
        // Under a prefix what is paid for is the address that was asked, below our own origin.
        let (pattern, address, url) = match route.path.strip_suffix('*') {
            Some(prefix) => (format!("{prefix}{{*rest}}"), Address::Under, public_url.to_owned()),
            None => (route.path.clone(), Address::Fixed, format!("{public_url}{}", route.path)),
        };
        let mut resource = ResourceInfo::new(url);
        resource.description = Some(route.description);
        resource.mime_type = route.mime_type;
        let price = Price::new(&route.path, vec![route.requirements], resource, address, route.repeat)?;
        let layer = PaywallLayer::new(till.clone(), price.with_limits(route.limits));
        let handler = match route.sold {
            Sold::Text(body) => on(route.methods, serve).with_state(Text { body: body.into(), runs: Arc::default() }),
            Sold::Upstream(upstream) => upstream.apart_from(alone.iter().map(String::as_str)).handler(route.methods),
        };
        router = router.route(&pattern, handler.route_layer(layer));
    }
    Ok(router)
}

async fn serve(State(text): State<Text>) -> Response {
    let runs = text.runs.fetch_add(1, Ordering::SeqCst).saturating_add(1);
    ok(json!({ "content": &*text.body, "served": runs }))
}
