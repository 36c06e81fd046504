//! Priced demo routes: resources of the configuration behind the paywall.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use paywall::{Address, PaywallLayer, Price, PriceError, Repeat, Till};
use serde_json::{Value, json};
use x402::network::{AssetTable, NetworkNames};
use x402::wire::{PaymentRequirements, ResourceInfo};

use crate::problem::ok;

/// A resource that costs something.
#[derive(Clone, Debug)]
pub struct PaidRoute {
    pub path: String,
    pub description: String,
    /// What the paid answer contains.
    pub body: String,
    pub requirements: PaymentRequirements,
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
struct Sold {
    body: Arc<str>,
    runs: Arc<AtomicU64>,
}

/// What the routes of one seller share.
pub struct Selling<'a> {
    pub public_url: &'a str,
    pub till: Arc<dyn Till>,
    pub names: &'a NetworkNames,
    pub assets: &'a AssetTable,
}

/// The routes, and for each how often its handler ran.
pub fn router(routes: &[PaidRoute], selling: &Selling<'_>) -> Result<Router, PriceError> {
    let public_url = selling.public_url;
    let mut router = Router::new();
    for route in routes {
        let mut resource = ResourceInfo::new(format!("{public_url}{}", route.path));
        resource.description = Some(route.description.clone());
        resource.mime_type = Some("application/json".into());
        let accepts = vec![route.requirements.clone()];
        let price = Price::new(&route.path, accepts, resource, Address::Fixed, Repeat::Never)?;
        let price = price.with_names(selling.names.clone()).with_assets(selling.assets.clone());
        let sold = Sold { body: route.body.as_str().into(), runs: Arc::default() };
        let paywall = PaywallLayer::new(selling.till.clone(), price);
        let priced = on(MethodFilter::GET, serve).route_layer(paywall).on(MethodFilter::OPTIONS, options);
        let priced = priced.with_state(sold);
        router = router.route(&route.path, priced);
    }
    Ok(router)
}

/// A browser asks before a script of another origin may pay; whoever else asks learns the methods.
async fn options(method: Method, headers: HeaderMap) -> Response {
    let mut response = paywall::preflight(&method, &headers).unwrap_or_else(|| StatusCode::NO_CONTENT.into_response());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

async fn serve(State(sold): State<Sold>) -> Response {
    let runs = sold.runs.fetch_add(1, Ordering::SeqCst).saturating_add(1);
    ok(json!({ "content": &*sold.body, "served": runs }))
}
