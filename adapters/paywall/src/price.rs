//! What a route costs.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::time::{SystemTime, UNIX_EPOCH};

use http::request;
use serde_json::{Map, Value};
use x402::auth_capture;
use x402::limit::{OFFERS_MAX, URL_BYTES_MAX};
use x402::network::{AssetTable, NetworkNames};
use x402::refusal::Refusal;
use x402::release::Release;
use x402::scheme;
use x402::wire::{PaymentRequired, PaymentRequirements, ResourceInfo, WireError, v1, write_header};

use crate::limit::Limits;

/// May the handler run again for a payment that is already claimed, if the process that ran it died?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It runs at most once a payment, whatever happens.
    Never,
    /// Running it twice does no harm (it reads).
    Idempotent,
}

/// Whether what is offered and what was paid are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Not,
    OffersAndReceipts,
}

/// The address that a 402 advertises. Never taken from `Host` or another header of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// One resource: `resource.url` as it stands.
    Fixed,
    /// Many: `resource.url` is the origin (with the prefix that a router stripped, if any), path and query follow.
    Under,
}

/// The price of a route.
#[derive(Clone, Debug)]
pub struct Price {
    /// Stable name of the route; part of what a payment is for.
    pub route: String,
    pub accepts: Vec<PaymentRequirements>,
    pub resource: ResourceInfo,
    pub address: Address,
    pub repeat: Repeat,
    /// When what is sold is given.
    pub release: Release,
    pub limits: Limits,
    pub signed: Signed,
    /// For how long whoever paid may come back without paying (extension `sign-in-with-x`).
    pub sign_in: Option<NonZeroU64>,
    /// Declared to every payer, by name: `{info, schema}`.
    pub extensions: Option<Map<String, Value>>,
    /// What version 1 calls our networks. Where it has no name for any of them, version 1 is not spoken.
    pub names: NetworkNames,
    /// For showing a price to people.
    pub assets: AssetTable,
    /// How long after a 402 what it lets be held is captured (scheme `auth-capture`).
    pub capture_seconds: Option<NonZeroU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    #[error("accepts: expected 1 to {max} offers, found {found}")]
    OfferCount { max: usize, found: usize },
    #[error("accepts[{index}].{refusal}")]
    Offer { index: usize, refusal: Refusal },
    #[error("resource.url: expected http, https or mcp and at most {URL_BYTES_MAX} bytes, found {found}")]
    ResourceUrl { found: String },
    #[error(transparent)]
    Header(#[from] WireError),
}

impl PriceError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OfferCount { .. } => "invalid_offer_count",
            Self::Offer { refusal, .. } => refusal.code(),
            Self::ResourceUrl { .. } => "invalid_resource_url",
            Self::Header(error) => error.code(),
        }
    }
}

impl Price {
    /// Checked once, when the route is built: each offer can be paid, and the 402 fits into a header.
    pub fn new(
        route: impl Into<String>,
        accepts: Vec<PaymentRequirements>,
        resource: ResourceInfo,
        address: Address,
        repeat: Repeat,
    ) -> Result<Self, PriceError> {
        if accepts.is_empty() || accepts.len() > OFFERS_MAX {
            return Err(PriceError::OfferCount { max: OFFERS_MAX, found: accepts.len() });
        }
        for (index, offer) in accepts.iter().enumerate() {
            scheme::terms(offer).map_err(|refusal| PriceError::Offer { index, refusal })?;
        }
        // `mcp://tool/NAME` is how x402's MCP transport names a tool.
        let known = ["https://", "http://", "mcp://"].iter().any(|scheme| resource.url.starts_with(scheme));
        if !known || resource.url.len() > URL_BYTES_MAX || resource.url.chars().any(char::is_whitespace) {
            return Err(PriceError::ResourceUrl { found: resource.url.chars().take(96).collect() });
        }
        let price = Self {
            route: route.into(),
            accepts,
            resource,
            address,
            repeat,
            release: Release::default(),
            limits: Limits::default(),
            signed: Signed::Not,
            sign_in: None,
            extensions: None,
            names: NetworkNames::empty(),
            assets: AssetTable::empty(),
            capture_seconds: None,
        };
        write_header(&price.demand(price.resource.url.clone(), None))?;
        Ok(price)
    }

    pub fn with_release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Speaks version 1 as well, for offers on networks that have a name.
    pub fn with_names(mut self, names: NetworkNames) -> Self {
        self.names = names;
        self
    }

    /// Signs each offer, and that it was paid (extension `offer-receipt`).
    pub fn with_signatures(mut self) -> Self {
        self.signed = Signed::OffersAndReceipts;
        self
    }

    /// Whoever paid, settled, may have the handler run again for exactly the same request for so many seconds, counted from
    /// the end of the payment's own life (`validBefore`, or the deadline of its permit).
    pub fn with_sign_in(mut self, seconds: NonZeroU64) -> Self {
        self.sign_in = Some(seconds);
        self
    }

    pub fn with_assets(mut self, assets: AssetTable) -> Self {
        self.assets = assets;
        self
    }

    /// Offers of scheme `auth-capture` are dated with it, in each 402 anew.
    pub fn with_capture_seconds(mut self, seconds: NonZeroU64) -> Self {
        self.capture_seconds = Some(seconds);
        self
    }

    /// Refused where the 402 does not fit into a header with them.
    pub fn with_extensions(mut self, extensions: Map<String, Value>) -> Result<Self, PriceError> {
        self.extensions = Some(extensions);
        write_header(&self.demand(self.resource.url.clone(), None))?;
        Ok(self)
    }

    pub(crate) fn resource_url(&self, parts: &request::Parts) -> String {
        match self.address {
            Address::Fixed => self.resource.url.clone(),
            Address::Under => format!("{}{}", self.resource.url.trim_end_matches('/'), target(parts)),
        }
    }

    /// The 402 for a resource of this route.
    pub(crate) fn demand(&self, url: String, error: Option<String>) -> PaymentRequired {
        let resource = ResourceInfo { url, ..self.resource.clone() };
        let extensions = self.extensions.clone();
        PaymentRequired { extensions, ..PaymentRequired::new(resource, self.offers(), error) }
    }

    /// What is offered at this moment.
    fn offers(&self) -> Vec<PaymentRequirements> {
        let dated = |offer: &PaymentRequirements| match self.capture_seconds {
            Some(seconds) if offer.scheme == auth_capture::SCHEME => {
                auth_capture::dated(offer, now_seconds(), seconds.get())
            }
            _ => offer.clone(),
        };
        self.accepts.iter().map(dated).collect()
    }

    /// An offer of ours as it was when whoever accepted this one met it; `None` where it never was like that.
    pub(crate) fn offer_then<'a>(
        &self,
        offer: &'a PaymentRequirements,
        accepted: &PaymentRequirements,
    ) -> Option<Cow<'a, PaymentRequirements>> {
        match self.capture_seconds {
            Some(seconds) if offer.scheme == auth_capture::SCHEME => {
                auth_capture::dated_as(offer, accepted, now_seconds(), seconds.get()).map(Cow::Owned)
            }
            _ => Some(Cow::Borrowed(offer)),
        }
    }

    /// The same 402 as version 1 says it, with the offers that it can name; `None` without any.
    pub(crate) fn demand_of_version_one(&self, demand: &PaymentRequired) -> Option<v1::PaymentRequired> {
        let offers = demand.accepts.iter();
        let offers = offers.filter_map(|offer| v1::PaymentRequirements::of(offer, &demand.resource, &self.names));
        let accepts: Vec<_> = offers.collect();
        (!accepts.is_empty()).then(|| v1::PaymentRequired {
            x402_version: v1::X402_VERSION,
            error: demand.error.clone().map(Value::String),
            accepts,
            unknown: Map::new(),
        })
    }
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(crate) fn target(parts: &request::Parts) -> &str {
    parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}
