//! What a tenant sells, and the priced routes that come of it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::Address;
use axum::http::Method;
use paywall::limit::Limits;
use paywall::{Repeat, Signed};
use serde::{Deserialize, Serialize};
use server::paid::{Listed, PaidRoute, Sold};
use server::upstream::{Upstream, UpstreamKey};
use x402::bazaar::{self, Input};
use x402::identifier::{self, Demanded};
use zeroize::Zeroizing;

use super::offer::{HoldTerms, Settles};
use super::{ChainConfig, ChannelsConfig, HoldsConfig, ReleaseConfig, ToolConfig};
use crate::keys::{Purpose, Ring, Slot};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SellConfig {
    pub payee: String,
    pub pay_to: String,
    /// The address of a token of the built-in table or of `chain.assets`.
    pub asset: String,
    /// `local:TENANT` or the URL of an x402 facilitator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub facilitator: String,
    /// More of them: each is asked where none before it speaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facilitators: Vec<String>,
    /// The account that a foreign facilitator settles from, as its `/supported` says; our own is known. Needed where a route
    /// takes `upto`: payers permit this account alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facilitator_address: Option<String>,
    /// How channels are kept, where a route takes `batch_settlement`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<ChannelsConfig>,
    /// What is held, where a route takes `auth_capture` or `auth_charge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<HoldsConfig>,
    /// A file with the key, in hexadecimal, under which upstreams are told who paid. Needed where a route has an upstream.
    #[serde(default)]
    pub upstream_key_file: Option<PathBuf>,
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
    /// Tools for MCP clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolConfig>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteConfig {
    /// One path, or `/prefix/*` for all that an upstream has under it.
    pub path: String,
    /// Atomic units; with `upto`, `batch_settlement`, `auth_capture` and `auth_charge` the most that is charged.
    pub amount: String,
    /// What is offered, in this order; what the token can do by itself where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pay_by: Vec<PayBy>,
    /// Whether payers name their purchases, so that each is made once however often it is paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_identifier: Option<Identified>,
    /// Each offer, and that it was paid, is signed with the tenant's key for receipts.
    #[serde(default)]
    pub signed: bool,
    /// For so long, counted from the end of a payment's own life, whoever made it has the same request answered anew without
    /// paying, by a signature (extension `sign-in-with-x`). Not at all where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_seconds: Option<NonZeroU64>,
    /// Stands in no catalogue: neither in /discovery nor in /.well-known/x402.
    #[serde(default)]
    pub unlisted: bool,
    /// How it is called and what it answers, for catalogues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<CatalogueConfig>,
    pub description: String,
    /// What is sold: a text that stands in the paid body and nowhere else …
    #[serde(default)]
    pub body: Option<String>,
    /// … or what an HTTP service answers: its address, and under a prefix what follows the prefix is put behind it.
    #[serde(default)]
    pub upstream: Option<String>,
    /// What may be asked of an upstream; GET where nothing is said.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Asking the upstream twice does no harm, so it may be asked again for a payment whose process died.
    #[serde(default)]
    pub idempotent: bool,
    #[serde(default)]
    pub mime_type: Option<String>,
    /// Of a request, which is digested before anything is claimed.
    #[serde(default)]
    pub body_bytes_max: Option<usize>,
    /// Of an answer, which is held back until it is paid.
    #[serde(default)]
    pub answer_bytes_max: Option<usize>,
    /// How long the upstream may take.
    #[serde(default)]
    pub answer_seconds_max: Option<u64>,
    #[serde(default = "max_timeout_seconds")]
    pub max_timeout_seconds: u64,
    /// When it is given.
    #[serde(flatten)]
    pub release: ReleaseConfig,
    /// What nobody knows, which is refused: beside `flatten` serde itself does not.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// How a price can be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayBy {
    /// Scheme `exact`, by the token's own `transferWithAuthorization`.
    Eip3009,
    /// Scheme `exact`, by Permit2.
    Permit2,
    /// Scheme `upto`: the handler says what is charged.
    Upto,
    /// Scheme `batch-settlement`: out of a channel; the handler says what is charged, as with `upto`.
    BatchSettlement,
    /// Scheme `auth-capture`: held in an escrow before the work, and captured as far as the handler charges.
    AuthCapture,
    /// The same in its flow `authorization`: nothing is held, and what the handler charges is taken after the work.
    AuthCharge,
}

/// What a catalogue says of a route (extension `bazaar`).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// An example of the parameters, of a route that is asked by GET or DELETE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<serde_json::Map<String, serde_json::Value>>,
    /// An example of the JSON body, of one that is asked by POST, PUT or PATCH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Map<String, serde_json::Value>>,
    /// An example of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<serde_json::Value>,
}

impl CatalogueConfig {
    fn check(&self) -> Result<(), String> {
        if let Some(name) = self.service_name.as_ref().filter(|name| !bazaar::is_label(name)) {
            return Err(format!(
                "catalogue.service_name: 1 to 32 printable ASCII characters were expected, `{name}` is there"
            ));
        }
        if !bazaar::are_tags(&self.tags) {
            return Err(format!(
                "catalogue.tags: at most five, each of 1 to 32 printable ASCII characters and none twice, were expected, {:?} are there",
                self.tags
            ));
        }
        Ok(())
    }

    /// The route by its first method.
    fn declaration(&self, method: &Method) -> Result<serde_json::Value, String> {
        let has_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        let input = match (&self.query, &self.body) {
            (_, Some(example)) if has_body => {
                Input::Body { method: method.to_string(), example: serde_json::Value::Object(example.clone()) }
            }
            (query, None) if !has_body => {
                Input::Query { method: method.to_string(), parameters: query.clone().unwrap_or_default() }
            }
            (_, Some(_)) => {
                return Err(format!("catalogue.body: POST, PUT or PATCH was expected first, {method} is there"));
            }
            (_, None) => return Err(format!("catalogue.body: an example for {method} was expected, none is there")),
        };
        Ok(bazaar::declaration(&input, self.output.as_ref()))
    }
}

/// Whether a payer names its purchase (extension `payment-identifier`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identified {
    Optional,
    Required,
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            path: String::new(),
            amount: String::new(),
            pay_by: Vec::new(),
            payment_identifier: None,
            signed: false,
            sign_in_seconds: None,
            unlisted: false,
            catalogue: None,
            description: String::new(),
            body: None,
            upstream: None,
            methods: Vec::new(),
            idempotent: false,
            mime_type: None,
            body_bytes_max: None,
            answer_bytes_max: None,
            answer_seconds_max: None,
            max_timeout_seconds: max_timeout_seconds(),
            release: ReleaseConfig::default(),
            unknown: BTreeMap::new(),
        }
    }
}

pub(super) const fn max_timeout_seconds() -> u64 {
    60
}

impl SellConfig {
    /// Who carries, in order.
    pub fn carriers(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.facilitator).filter(|first| !first.is_empty()).chain(&self.facilitators)
    }

    /// Who settles here: payers of `upto` permit this account alone.
    pub fn settling_account(&self, ring: &Ring) -> Result<Option<Address>, String> {
        if let Some(text) = &self.facilitator_address {
            let address = text.parse().map_err(|_| format!("sell.facilitator_address: `{text}` is no address"));
            return address.map(Some);
        }
        let first = self.carriers().next().and_then(|first| first.strip_prefix("local:"));
        let Some(tenant) = first else { return Ok(None) };
        ring.address(&Slot::new(tenant, Purpose::Relayer)).map(Some).map_err(|error| error.to_string())
    }

    /// Whether something is sold for vouchers.
    pub fn has_channels(&self) -> bool {
        self.routes.iter().any(|route| route.pay_by.contains(&PayBy::BatchSettlement))
    }

    /// Whether something is sold by `auth-capture`.
    pub fn has_holds(&self) -> bool {
        let is_held = |way: &PayBy| matches!(way, PayBy::AuthCapture | PayBy::AuthCharge);
        self.routes.iter().any(|route| route.pay_by.iter().any(is_held))
    }

    /// The routes, each with its offers in the tenant's token.
    pub fn paid_routes(&self, chain: &ChainConfig, ring: &Ring, tenant: &str) -> Result<Vec<PaidRoute>, String> {
        let (offer, settles) = (self.offer(chain)?, self.settling_account(ring)?);
        let channels = self.channel_terms(ring, tenant)?;
        let holds = self.hold_terms(ring, tenant)?;
        let settles = Settles { account: settles, channels: channels.as_ref(), holds: holds.as_ref() };
        let key = self.upstream_key_file.as_deref().map(read_key).transpose()?;
        let paid = self.routes.iter().map(|route| {
            let wrong = |why: String| format!("sell.routes, {}: {why}", route.path);
            Ok(PaidRoute {
                path: route.path.clone(),
                description: route.description.clone(),
                mime_type: route.mime_type(),
                sold: route.sold(key.as_ref()).map_err(wrong)?,
                methods: route.methods().map_err(wrong)?,
                repeat: if route.idempotent { Repeat::Idempotent } else { Repeat::Never },
                release: super::release::read(&route.release, &route.unknown, chain).map_err(wrong)?,
                limits: route.limits(),
                offers: offer.all(route, settles).map_err(wrong)?,
                extensions: route.extensions().map_err(wrong)?,
                listed: route.listed().map_err(wrong)?,
                signed: if route.signed { Signed::OffersAndReceipts } else { Signed::Not },
                sign_in: route.sign_in_seconds,
                capture_seconds: holds.as_ref().map(HoldTerms::capture_seconds),
            })
        });
        paid.collect()
    }
}

impl RouteConfig {
    fn sold(&self, key: Option<&UpstreamKey>) -> Result<Sold, String> {
        match (&self.body, &self.upstream) {
            (Some(body), None) if !self.path.ends_with('*') => Ok(Sold::Text(body.clone())),
            (Some(_), None) => Err("a text has one path; a route with `*` has an upstream".into()),
            (None, Some(address)) => {
                let key = key.ok_or("an upstream is told who paid under a key; sell.upstream_key_file names none")?;
                Upstream::new(&self.path, address, key.clone()).map(Sold::Upstream)
            }
            (Some(_), Some(_)) => Err("one of body and upstream is sold; both are there".into()),
            (None, None) => Err("one of body and upstream is sold; neither is there".into()),
        }
    }

    fn listed(&self) -> Result<Option<Listed>, String> {
        let said = self.catalogue.clone().unwrap_or_default();
        said.check()?;
        Ok((!self.unlisted).then_some(Listed { service_name: said.service_name, tags: said.tags }))
    }

    fn extensions(&self) -> Result<serde_json::Map<String, serde_json::Value>, String> {
        let method = self.methods()?.into_iter().next().unwrap_or_default();
        let listed = self.catalogue.as_ref().filter(|_| !self.unlisted);
        let listed = listed.map(|catalogue| catalogue.declaration(&method)).transpose()?;
        let listed = listed.map(|declaration| (bazaar::EXTENSION.to_owned(), declaration));
        let named = self.payment_identifier.map(|identified| {
            let demanded = match identified {
                Identified::Optional => Demanded::Optional,
                Identified::Required => Demanded::Required,
            };
            (identifier::EXTENSION.to_owned(), identifier::declaration(demanded))
        });
        Ok(named.into_iter().chain(listed).collect())
    }

    fn mime_type(&self) -> Option<String> {
        self.mime_type.clone().or_else(|| self.body.as_ref().map(|_| "application/json".to_owned()))
    }

    /// An answer to HEAD has no body and is never sold; CONNECT and TRACE are for hops.
    fn methods(&self) -> Result<Vec<Method>, String> {
        let method = |name: &String| match Method::from_bytes(name.as_bytes()) {
            Ok(method @ (Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE)) => Ok(method),
            _ => Err(format!("methods are GET, POST, PUT, PATCH and DELETE; `{name}` is there")),
        };
        let methods = self.methods.iter().map(method).collect::<Result<Vec<_>, _>>()?;
        Ok(if methods.is_empty() { vec![Method::GET] } else { methods })
    }

    fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            body_bytes_max: self.body_bytes_max.unwrap_or(usual.body_bytes_max),
            answer_bytes_max: self.answer_bytes_max.unwrap_or(usual.answer_bytes_max),
            handler_time_max: self.answer_seconds_max.map_or(usual.handler_time_max, Duration::from_secs),
            ..usual
        }
    }
}

fn read_key(path: &Path) -> Result<UpstreamKey, String> {
    let wrong = |why: String| format!("sell.upstream_key_file {}: {why}", path.display());
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| wrong(error.to_string()))?;
    let bytes = hex::decode(text.trim()).map(Zeroizing::new).map_err(|_| wrong("it is not hexadecimal".into()))?;
    UpstreamKey::new(&bytes).map_err(wrong)
}
