//! `/mcp` and `/mcp/shop`: streamable HTTP on the same listener, and who may come in.
//!
//! `/mcp` is for agents. A token is looked at with every message, as on the rest of the surface, and it must be for this
//! service: what was made for another audience is a 401 (MCP 2026-07-28, authorization; RFC 9728, RFC 8707). A tool that
//! spends or asks a person wants a token that is bound to its holder (RFC 9449), where the service wants that at all. A
//! token of a person, a merchant or an operator is a 403: what a model holds should not decide, sell or stop anything.
//!
//! `/mcp/shop` takes no token: whoever pays is who signed the payment.
//!
//! A browser says where a page comes from (`Origin`), and only our own pages may speak here: a page of others that made
//! its name point to this machine (DNS rebinding) is a 403.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::Identity;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use identity::callers::{BearerPolicy, Call as Door};
use ledger::id::{CallerKind, PrincipalId, TenantId};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use super::agent::Errands;
use super::catalogue::ACTING;
use super::desk::Desk;
use super::message;
use super::sold::Shop;
use crate::App;
use crate::call::{Admitted, bytes, identify};
use crate::limits::BODY_BYTES_MAX;
use crate::payments::KEY;
use crate::problem::{Problem, ok};
use crate::wallet::{Call, Surface};

pub const PATH: &str = "/mcp";
pub const SHOP_PATH: &str = "/mcp/shop";
/// RFC 9728 section 3.1: of the service, and of a resource with a path.
const METADATA: &str = "/.well-known/oauth-protected-resource";
/// What a token must be good for: it is an agent's. Our tokens say so in `kind`.
const SCOPE: &str = "agent";

/// Calls that one agent has under way at once. Each may hold a seller's answer in memory for as long as the seller takes.
const UNDER_WAY_MAX: usize = 16;

/// Addresses outside, as far as this service may connect to them.
pub trait Outside: Send + Sync {
    /// A client for this address that follows no redirect, or why it is not asked.
    fn client(&self, url: &str) -> Result<reqwest::Client, String>;
}

/// What the doors need beside the routes.
#[derive(Clone)]
pub struct Setup {
    pub outside: Arc<dyn Outside>,
    pub shop: Arc<Shop>,
}

#[derive(Clone)]
struct Doors {
    app: App,
    /// The routes under `/v1`, which the tools call.
    api: Router,
    setup: Setup,
    under_way: UnderWay,
}

/// How many calls each agent has under way.
#[derive(Clone, Default)]
struct UnderWay(Arc<Mutex<BTreeMap<Agent, usize>>>);

type Agent = (TenantId, PrincipalId);

/// One of them. It ends with the work, whether or not the client still waits.
struct Place {
    of: UnderWay,
    agent: Agent,
}

impl UnderWay {
    fn enter(&self, identity: &Identity) -> Result<Place, Problem> {
        let agent = (identity.tenant.clone(), identity.caller.principal.clone());
        let mut counts = self.lock();
        let count = counts.entry(agent.clone()).or_default();
        if *count >= UNDER_WAY_MAX {
            let detail = format!("at most {UNDER_WAY_MAX} calls under way were expected, {count} are");
            let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "calls_under_way", detail);
            problem.retryable = true;
            return Err(problem);
        }
        *count = count.saturating_add(1);
        Ok(Place { of: self.clone(), agent })
    }

    /// A count is changed whole or not at all, so a thread that panicked left nothing half done.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Agent, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.of.lock();
        if let Some(count) = counts.get_mut(&self.agent) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.agent);
            }
        }
    }
}

/// `/mcp`, `/mcp/shop` and the metadata of the first. They stand beside the route table: their messages are another
/// protocol's.
pub fn routes(app: App, api: Router, setup: Setup) -> Router {
    let doors = Doors { app, api, setup, under_way: UnderWay::default() };
    Router::new()
        .route(PATH, post(serve))
        .route(SHOP_PATH, post(sell))
        .route(METADATA, get(metadata))
        .route(&format!("{METADATA}{PATH}"), get(metadata_of_mcp))
        .with_state(doors)
}

async fn metadata(State(doors): State<Doors>) -> Response {
    ok(doors.metadata(&doors.app.settings.public_url))
}

async fn metadata_of_mcp(State(doors): State<Doors>) -> Response {
    ok(doors.metadata(&doors.resource()))
}

async fn sell(State(doors): State<Doors>, request: Request) -> Response {
    if let Err(problem) = own_origin(&doors.app, request.headers()) {
        return problem.into_response();
    }
    let (parts, body) = request.into_parts();
    let body = match bytes(Request::from_parts(parts.clone(), body), &doors.app).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    if let Err(fault) = message::read(&body) {
        return fault.into_response();
    }
    let desk: Desk<House> = Desk { errands: None, shop: doors.setup.shop.clone() };
    speak(desk, Request::from_parts(parts, Body::from(body))).await
}

async fn serve(State(doors): State<Doors>, request: Request) -> Response {
    if let Err(problem) = own_origin(&doors.app, request.headers()) {
        return problem.into_response();
    }
    let (parts, body) = request.into_parts();
    let body = match bytes(Request::from_parts(parts.clone(), body), &doors.app).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let message = message::read(&body);
    let call = message.as_ref().map_or(Door::Reads, does);
    let identity = match identify(&parts, &doors.app, call).await {
        Ok(identity) if identity.caller.kind == CallerKind::Agent => identity,
        Ok(identity) => return doors.insufficient_scope(&identity),
        Err(problem) => return doors.challenge(problem),
    };
    if let Err(fault) = message {
        return fault.into_response();
    }
    let place = match doors.under_way.enter(&identity) {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let (api, outside) = (doors.api, doors.setup.outside);
    let house = House { api, admitted: Admitted { identity, call }, outside, _place: place };
    let desk = Desk { errands: Some(Arc::new(house)), shop: doors.setup.shop };
    speak(desk, Request::from_parts(parts, Body::from(body))).await
}

/// What a message asks for, as far as the door is concerned.
fn does(message: &Value) -> Door {
    let name = message["params"]["name"].as_str().unwrap_or_default();
    if message["method"] == "tools/call" && ACTING.contains(&name) { Door::Acts } else { Door::Reads }
}

/// One message, one answer: nothing is kept of a client between two.
async fn speak<E: Errands + 'static>(desk: Desk<E>, request: Request) -> Response {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(BODY_BYTES_MAX)
        // Behind a proxy the service has any name; the token and the origin are what keeps strangers out.
        .disable_allowed_hosts();
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(desk.clone()), sessions, config);
    let was_json = message::is_json(request.headers());
    message::explained(service.handle(request).await.map(Body::new), was_json).await
}

/// A page of others may not speak here.
pub(crate) fn own_origin(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    let own = url::Url::parse(&app.settings.public_url).map(|url| url.origin().ascii_serialization());
    let own = own.unwrap_or_default();
    if origins.next().is_none() && !own.is_empty() && origin == own {
        return Ok(());
    }
    let detail = format!("a page of {own} was expected, one of {} speaks", crate::problem::shown(&origin));
    Err(Problem::new(StatusCode::FORBIDDEN, "origin_refused", detail))
}

impl Doors {
    fn resource(&self) -> String {
        format!("{}{PATH}", self.app.settings.public_url)
    }

    /// RFC 9728 section 2.
    fn metadata(&self, resource: &str) -> Value {
        let bound = self.app.callers.register().policy == BearerPolicy::Reading;
        json!({
            "resource": resource,
            "authorization_servers": [self.app.callers.issuer()],
            "scopes_supported": [SCOPE],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": ["ES256"],
            "dpop_bound_access_tokens_required": bound,
            "resource_name": "Purser",
        })
    }

    /// RFC 9728 section 5.1: where to find out whose tokens are taken.
    fn challenge(&self, problem: Problem) -> Response {
        let (status, code) = (problem.status, problem.code.clone());
        let mut response = problem.into_response();
        if status != StatusCode::UNAUTHORIZED {
            return response;
        }
        let known =
            format!("resource_metadata=\"{}{METADATA}{PATH}\", scope=\"{SCOPE}\"", self.app.settings.public_url);
        let (bearer, dpop) = match code.as_str() {
            "token_missing" => (Some(String::new()), "algs=\"ES256\", ".to_owned()),
            // A bearer token of any kind would be refused again.
            "sender_constraint_required" => (None, "algs=\"ES256\", ".to_owned()),
            code if code.starts_with("dpop_") => (None, "error=\"invalid_dpop_proof\", algs=\"ES256\", ".to_owned()),
            _ => (Some("error=\"invalid_token\", ".into()), "error=\"invalid_token\", algs=\"ES256\", ".to_owned()),
        };
        let headers = response.headers_mut();
        headers.remove(header::WWW_AUTHENTICATE);
        // Bearer first: clients of the protocol read the first one only.
        let challenges = [bearer.map(|said| format!("Bearer {said}{known}")), Some(format!("DPoP {dpop}{known}"))];
        for challenge in challenges.into_iter().flatten() {
            if let Ok(value) = HeaderValue::from_str(&challenge) {
                headers.append(header::WWW_AUTHENTICATE, value);
            }
        }
        response
    }

    /// RFC 6750 section 3.1.
    fn insufficient_scope(&self, identity: &Identity) -> Response {
        let kind = identity.caller.kind;
        let detail = format!("an agent's token was expected (scope {SCOPE}), one of a {kind} came");
        let mut response = Problem::new(StatusCode::FORBIDDEN, "insufficient_scope", detail).into_response();
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{SCOPE}\", resource_metadata=\"{}{METADATA}{PATH}\"",
            self.app.settings.public_url
        );
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

/// The routes of this process, called in the name of one caller.
pub struct House {
    api: Router,
    admitted: Admitted,
    outside: Arc<dyn Outside>,
    _place: Place,
}

/// A problem document of a route.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", problem["code"].as_str().unwrap_or_default(), problem["detail"].as_str().unwrap_or_default())]
pub struct RouteRefused {
    problem: Value,
}

#[async_trait]
impl Surface for House {
    type Error = RouteRefused;

    async fn call(&self, call: Call) -> Result<Value, RouteRefused> {
        let refused = |problem: Problem| RouteRefused { problem: problem.to_json() };
        let response = match self.request(&call) {
            Some(request) => self.api.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
            None => {
                return Err(refused(Problem::invalid(
                    "arguments",
                    "an id and a key in printable letters were expected",
                )));
            }
        };
        let (parts, body): (http::response::Parts, Body) = response.into_parts();
        let read = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
        let body = read.ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        match body {
            Some(answer) if parts.status.is_success() => Ok(answer),
            Some(problem) if problem["code"].is_string() => Err(RouteRefused { problem }),
            _ => Err(refused(Problem::new(
                parts.status,
                "request_refused",
                format!("the route answered {}", parts.status),
            ))),
        }
    }

    fn code(error: &RouteRefused) -> Option<&str> {
        error.problem["code"].as_str()
    }
}

impl House {
    fn request(&self, call: &Call) -> Option<http::Request<Body>> {
        let mut request = http::Request::builder().method(call.method.clone()).uri(&call.path);
        if let Some(key) = &call.idempotency_key {
            request = request.header(KEY, key);
        }
        let body = call.body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = request.body(body).ok()?;
        request.extensions_mut().insert(self.admitted.clone());
        Some(request)
    }
}

#[async_trait]
impl Errands for House {
    async fn client_for(&self, url: &str) -> Result<reqwest::Client, String> {
        self.outside.client(url)
    }

    fn told(error: &RouteRefused) -> Map<String, Value> {
        let mut members = error.problem.as_object().cloned().unwrap_or_default();
        members.retain(|name, _| !["type", "title", "status"].contains(&name.as_str()));
        members
    }

    fn mandate(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use ledger::id::{AuthMethod, Caller};

    use super::*;

    fn agent(name: &str) -> Identity {
        let caller = Caller::new(name.parse().unwrap(), CallerKind::Agent, AuthMethod::Dpop);
        Identity { tenant: "home".parse().unwrap(), caller }
    }

    #[test]
    fn an_agent_has_so_many_calls_under_way_and_no_more() {
        let under_way = UnderWay::default();
        let mut places: Vec<Place> = (0..UNDER_WAY_MAX).map(|_| under_way.enter(&agent("one")).ok().unwrap()).collect();
        let refused = under_way.enter(&agent("one")).err().unwrap();
        assert_eq!(
            (refused.status, refused.code.as_str(), refused.retryable),
            (StatusCode::TOO_MANY_REQUESTS, "calls_under_way", true)
        );
        assert!(under_way.enter(&agent("other")).is_ok(), "another agent's are its own");
        drop(places.pop());
        assert!(under_way.enter(&agent("one")).is_ok(), "one has ended");
        places.clear();
        assert!(under_way.lock().is_empty(), "nothing is kept of agents that are gone");
    }
}
