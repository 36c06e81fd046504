//! Priced routes of the configuration: a text of its own, or what another HTTP service has, behind the paywall.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use paywall::limit::Limits;
use paywall::{Address, PaywallLayer, Price, PriceError, Repeat, Signed, Till};
use serde_json::{Map, Value, json};
use x402::auth_capture;
use x402::network::{AssetTable, NetworkNames};
use x402::release::Release;
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
    pub methods: Vec<Method>,
    pub repeat: Repeat,
    pub release: Release,
    pub limits: Limits,
    pub offers: Vec<PaymentRequirements>,
    /// Declared to every payer, by name.
    pub extensions: Map<String, Value>,
    pub signed: Signed,
    /// For how long whoever paid may come back without paying.
    pub sign_in: Option<NonZeroU64>,
    /// How long after a demand what it lets be held is captured.
    pub capture_seconds: Option<NonZeroU64>,
    /// `None` where it stands in no catalogue.
    pub listed: Option<Listed>,
}

/// What a catalogue says of the service (`bazaar.md`, "Service Metadata").
#[derive(Clone, Debug, Default)]
pub struct Listed {
    pub service_name: Option<String>,
    pub tags: Vec<String>,
}

impl Listed {
    fn describe(&self, item: &mut Value) {
        if let Some(name) = &self.service_name {
            item["serviceName"] = name.as_str().into();
        }
        if !self.tags.is_empty() {
            item["tags"] = self.tags.clone().into();
        }
    }
}

/// Where what is sold comes from.
#[derive(Clone, Debug)]
pub enum Sold {
    /// What the paid answer contains.
    Text(String),
    Upstream(Upstream),
}

impl PaidRoute {
    /// As it stands in discovery; `since` is when it was put there (RFC 3339).
    pub fn listing(&self, public_url: &str, since: &str) -> Option<Value> {
        let listed = self.listed.as_ref()?;
        let mut item = json!({
            "resource": format!("{public_url}{}", self.path),
            "type": "http",
            "x402Version": 2,
            "accepts": self.offers.iter().map(auth_capture::undated).collect::<Vec<_>>(),
            "lastUpdated": since,
            "description": self.description,
            "extensions": self.extensions,
        });
        listed.describe(&mut item);
        if let Some(mime_type) = &self.mime_type {
            item["mimeType"] = mime_type.as_str().into();
        }
        Some(item)
    }
}

#[derive(Clone)]
struct Text {
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

pub fn router(routes: Vec<PaidRoute>, selling: &Selling<'_>) -> Result<Router, PriceError> {
    let public_url = selling.public_url;
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
        if let Some(listed) = &route.listed {
            let mut said = json!({});
            listed.describe(&mut said);
            resource.unknown.extend(said.as_object().cloned().unwrap_or_default());
        }
        let price = Price::new(&route.path, route.offers, resource, address, route.repeat)?;
        let price = price
            .with_limits(route.limits)
            .with_release(route.release)
            .with_names(selling.names.clone())
            .with_assets(selling.assets.clone());
        let price = if route.extensions.is_empty() { price } else { price.with_extensions(route.extensions)? };
        let price = if route.signed == Signed::Not { price } else { price.with_signatures() };
        let price = match route.sign_in {
            Some(seconds) => price.with_sign_in(seconds),
            None => price,
        };
        let price = match route.capture_seconds {
            Some(seconds) => price.with_capture_seconds(seconds),
            None => price,
        };
        let paywall = PaywallLayer::new(selling.till.clone(), price);
        let filter = route.methods.iter().cloned().filter_map(|method| MethodFilter::try_from(method).ok());
        let filter = filter.reduce(MethodFilter::or).unwrap_or(MethodFilter::GET);
        let allow = allowed(&route.methods);
        let handler = match route.sold {
            Sold::Text(body) => on(filter, serve).with_state(Text { body: body.into(), runs: Arc::default() }),
            Sold::Upstream(upstream) => upstream.apart_from(alone.iter().map(String::as_str)).handler(filter),
        };
        let asked = move |method: Method, headers: HeaderMap| async move { options(&method, &headers, &allow) };
        router = router.route(&pattern, handler.route_layer(paywall).on(MethodFilter::OPTIONS, asked));
    }
    Ok(router)
}

/// A browser asks before a script of another origin may pay; whoever else asks learns the methods.
fn options(method: &Method, headers: &HeaderMap, allow: &HeaderValue) -> Response {
    let mut response = paywall::preflight(method, headers).unwrap_or_else(|| StatusCode::NO_CONTENT.into_response());
    response.headers_mut().insert(header::ALLOW, allow.clone());
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// The methods of a route, with HEAD beside GET, which is answered with the price.
fn allowed(methods: &[Method]) -> HeaderValue {
    let head = methods.contains(&Method::GET).then_some(Method::HEAD);
    let names: Vec<String> = methods.iter().cloned().chain(head).map(|method| method.to_string()).collect();
    let text = format!("{}, OPTIONS", names.join(", "));
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"))
}

async fn serve(State(text): State<Text>) -> Response {
    let runs = text.runs.fetch_add(1, Ordering::SeqCst).saturating_add(1);
    ok(json!({ "content": &*text.body, "served": runs }))
}
