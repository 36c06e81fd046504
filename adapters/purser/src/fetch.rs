//! The one way in which documents of others are fetched: key sets, metadata of issuers, DID documents, status lists.
//!
//! An address is configured, or named by a document that is; either may be hostile, or become so. So: https, no redirect,
//! no proxy, one answer of bounded size and time, and only hosts all of whose addresses are public. The addresses that were
//! checked are the ones that are connected to: the client resolves names through [`Checked`] and in no other way, so that a
//! second answer of the name server comes too late.

mod address;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mandates::json::{self, Object};
use mandates::limits::TOKEN_BYTES_MAX;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use server::mcp::agent::SELLER_PATIENCE;
use server::mcp::door::Outside;
use url::Host;

const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// From the first byte to the last.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For a receiver of events, as Standard Webhooks 1.0.0 has it: 15 to 30 seconds.
const RECEIVER_PATIENCE: Duration = Duration::from_secs(15);
const ADDRESS_BYTES_MAX: usize = 2048;

/// Whom we may ask beside the public network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub loopback: Loopback,
    /// Hosts within the operator's own network, named one by one.
    pub internal_hosts: BTreeSet<String>,
}

/// This machine, by `http` too: for development.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loopback {
    #[default]
    Refused,
    Allowed,
}

impl Reach {
    /// Whether an address of this host may be connected to.
    fn permits(&self, host: &str, address: IpAddr) -> bool {
        let is_here = is_loopback_name(host) && address.to_canonical().is_loopback();
        address::is_public(address)
            || self.internal_hosts.contains(host)
            || (is_here && self.loopback == Loopback::Allowed)
    }

    /// An address that may be asked, as far as its text says.
    pub fn check(&self, text: &str) -> Result<Url, String> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(format!("an address has at most {ADDRESS_BYTES_MAX} bytes; {} came", text.len()));
        }
        let url = Url::parse(text).map_err(|error| format!("`{text}`: {error}"))?;
        let host = url.host().ok_or_else(|| format!("`{text}` has no host"))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(format!("an address has neither user nor fragment; `{text}` was given"));
        }
        let is_here = self.loopback == Loopback::Allowed && is_loopback_name(&host.to_string());
        if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
            return Err(format!("an address is https, on this machine http in development; `{text}` was given"));
        }
        // A literal is never resolved, so it is looked at here.
        let literal = match host {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        };
        match literal {
            Some(address) if !self.permits(&host.to_string(), address) => Err(not_public(&host.to_string(), address)),
            _ => Ok(url),
        }
    }
}

fn not_public(host: &str, address: IpAddr) -> String {
    format!("only public addresses are asked; {host} is at {address}")
}

fn is_loopback_name(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || literal.is_ok_and(|address| address.is_loopback())
}

/// Where names are looked up.
#[async_trait]
pub trait Names: Send + Sync {
    async fn look_up(&self, host: &str) -> std::io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn look_up(&self, host: &str) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.collect())
    }
}

/// Resolves to addresses that may be asked, or not at all: one bad address among good ones is an attempt.
struct Checked {
    names: Arc<dyn Names>,
    reach: Arc<Reach>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, reach) = (self.names.clone(), self.reach.clone());
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let found = names.look_up(&host).await?;
            if let Some(bad) = found.iter().find(|found| !reach.permits(&host, found.ip())) {
                return Err(not_public(&host, bad.ip()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether the type of an answer matters: key sets are served under several.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MediaType {
    Exactly,
    NotAsked,
}

/// Fetches documents.
#[derive(Clone)]
pub struct Fetcher {
    http: reqwest::Client,
    reach: Arc<Reach>,
}

impl Fetcher {
    pub fn new(reach: Reach) -> Result<Self, String> {
        Self::with_names(reach, Arc::new(SystemNames))
    }

    pub fn with_names(reach: Reach, names: Arc<dyn Names>) -> Result<Self, String> {
        Self::build(reach, names, reqwest::Client::builder())
    }

    fn build(reach: Reach, names: Arc<dyn Names>, client: reqwest::ClientBuilder) -> Result<Self, String> {
        let reach = Arc::new(reach);
        Ok(Self { http: guarded(&reach, names, client.timeout(TIMEOUT))?, reach })
    }

    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// One JSON object.
    pub async fn object(&self, address: &Url) -> Result<Object, String> {
        let body = self.body(address, "application/json", MediaType::NotAsked, DOCUMENT_BYTES_MAX).await?;
        json::parse_object(&body).map_err(|error| format!("{address} is no JSON object: {error}"))
    }

    /// One text of this media type, as long as a token may be.
    pub async fn text(&self, address: &Url, media_type: &str) -> Result<String, String> {
        let body = self.body(address, media_type, MediaType::Exactly, TOKEN_BYTES_MAX).await?;
        String::from_utf8(body).map_err(|_| format!("{address} is UTF-8; it is not"))
    }

    async fn body(
        &self,
        address: &Url,
        media_type: &str,
        asked: MediaType,
        bytes_max: usize,
    ) -> Result<Vec<u8>, String> {
        self.reach.check(address.as_str())?;
        let request = self.http.get(address.clone()).header("accept", media_type);
        let unreachable = |error: reqwest::Error| format!("{address}: {}", causes(&error.without_url()));
        let mut response = request.send().await.map_err(unreachable)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("{address} answers 200; {} came", response.status()));
        }
        let came = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = came.split(';').next().unwrap_or_default().trim();
        if asked == MediaType::Exactly && !essence.eq_ignore_ascii_case(media_type) {
            let came: String = came.chars().take(100).collect();
            return Err(format!("{address} answers with {media_type}; `{came}` came"));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&part);
            if body.len() > bytes_max {
                return Err(format!("{address} is longer than {bytes_max} bytes"));
            }
        }
        Ok(body)
    }
}

/// Posts to receivers of events, behind the same guard.
#[derive(Clone)]
pub struct Poster {
    http: reqwest::Client,
    reach: Arc<Reach>,
}

impl Poster {
    pub fn new(reach: Reach) -> Result<Self, String> {
        let reach = Arc::new(reach);
        let client = reqwest::Client::builder().timeout(RECEIVER_PATIENCE);
        Ok(Self { http: guarded(&reach, Arc::new(SystemNames), client)?, reach })
    }

    /// Taken where it answers 2xx. What else it says is not read, and of the address only the host is told: many receivers
    /// have a secret in the rest of it.
    pub async fn post(&self, address: &str, headers: HeaderMap, body: String) -> Result<(), String> {
        let url = self.reach.check(address)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let answer = self.http.post(url).headers(headers).body(body).send().await;
        let answer = answer.map_err(|error| format!("{host}: {}", causes(&error.without_url())))?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(format!("{host} answers 2xx; {} came", answer.status())),
        }
    }
}

/// A client that connects to permitted addresses only.
fn guarded(
    reach: &Arc<Reach>,
    names: Arc<dyn Names>,
    client: reqwest::ClientBuilder,
) -> Result<reqwest::Client, String> {
    let client = client.redirect(Policy::none()).no_proxy().referer(false);
    // Nothing is kept open: each fetch is a connection to an address that was checked for it.
    let client = client.pool_max_idle_per_host(0).dns_resolver(Checked { names, reach: reach.clone() });
    client.build().map_err(|error| format!("no HTTP client: {error}"))
}

/// Sellers, as an agent without a machine of its own has them asked from here: the same guard, more patience. What comes
/// back is shown to the agent, so hosts of the operator's own network are not among them, named or not.
pub struct Outward {
    http: reqwest::Client,
    reach: Arc<Reach>,
}

impl Outward {
    pub fn new(reach: Reach) -> Result<Self, String> {
        let reach = Arc::new(Reach { internal_hosts: BTreeSet::new(), ..reach });
        let client = reqwest::Client::builder().timeout(SELLER_PATIENCE);
        Ok(Self { http: guarded(&reach, Arc::new(SystemNames), client)?, reach })
    }
}

impl Outside for Outward {
    fn client(&self, url: &str) -> Result<reqwest::Client, String> {
        self.reach.check(url).map(|_| self.http.clone())
    }
}

/// What an error comes of; the outermost alone says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
