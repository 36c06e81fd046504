//! The published keys of outside issuers: found by discovery, fetched again when one is missed or they are old.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::callers::{Bundle, Callers};
use identity::svid;
use jsonwebtoken::jwk::JwkSet;
use ledger::origin::Issuer;
use mandates::json::Object;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::watch;
use url::Host;

use crate::fetch::{Fetcher, Reach};

/// A key that was withdrawn is believed this much longer where its issuer answers …
const FRESH: Duration = Duration::from_secs(600);
/// … and this much where it is silent.
const BELIEVED: Duration = Duration::from_secs(3_600);
/// Tokens with invented kids must not make us hammer an issuer.
const PAUSE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whether an issuer's address can be trusted to be that issuer: TLS, or this machine.
pub fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("issuer `{text}`: {error}"))?;
    let is_here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let is_userless = url.username().is_empty() && url.password().is_none();
    let is_plain = url.query().is_none() && url.fragment().is_none() && is_userless;
    match url.scheme() {
        "https" if is_plain => Ok(url),
        "http" if is_here && is_plain => Ok(url),
        _ => Err(format!("an issuer is an https URL without query, fragment or user; `{text}` was given")),
    }
}

/// The issuer's name in the book and in stops: the same whether its tokens have a slash at the end of `iss` or not.
pub fn named(text: &str) -> Result<Issuer, String> {
    if text.starts_with(svid::SCHEME) {
        return text.parse().map_err(|_| format!("a trust domain is spiffe:// and its name; `{text}` was given"));
    }
    let url = check_url(text)?;
    url.as_str().trim_end_matches('/').parse().map_err(|error| format!("issuer `{text}`: {error}"))
}

/// Runs until the service stops.
pub async fn keep_fresh(callers: Arc<Callers>, fetcher: Fetcher, mut stopped: watch::Receiver<bool>) {
    let (mut tried, mut learned) = (BTreeMap::<String, Instant>::new(), BTreeMap::<String, Instant>::new());
    loop {
        for issuer in callers.register().subjects.keys() {
            let keys = callers.issuer_keys();
            // What the trust file itself says is believed as it stands there now.
            let bundle = callers.register().bundles.get(issuer).cloned();
            if let Some(Bundle::Known(known)) = bundle {
                keys.learn(issuer, known);
                continue;
            }
            let age = tried.get(issuer).map(Instant::elapsed);
            let is_due = match age {
                None => true,
                Some(age) if age < PAUSE => false,
                Some(age) => !keys.knows(issuer) || age > FRESH || keys.take_missed(issuer),
            };
            if !is_due {
                continue;
            }
            tried.insert(issuer.clone(), Instant::now());
            let found = match bundle {
                Some(Bundle::At(address)) => fetch_bundle(&fetcher, &address).await,
                _ => fetch(&fetcher, issuer).await,
            };
            match found {
                Ok(found) => {
                    keys.learn(issuer, found);
                    learned.insert(issuer.clone(), Instant::now());
                }
                Err(why) => {
                    tracing::warn!(issuer, "the keys of an issuer cannot be fetched: {why}");
                    if learned.get(issuer).is_some_and(|at| at.elapsed() > BELIEVED) {
                        keys.learn(issuer, JwkSet { keys: Vec::new() });
                        learned.remove(issuer);
                    }
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

async fn fetch_bundle(fetcher: &Fetcher, address: &str) -> Result<JwkSet, String> {
    bundle(fetcher.object(&fetcher.reach().check(address)?).await?)
}

/// A SPIFFE bundle: a JWK set, of which the keys for JWT-SVIDs are ours to read. One without any was taken back.
pub fn bundle(mut document: Object) -> Result<JwkSet, String> {
    let Some(Value::Array(keys)) = document.get_mut("keys") else { return Err("a bundle is a JWK set".into()) };
    keys.retain(|key| key.get("use").and_then(Value::as_str) == Some("jwt-svid"));
    serde_json::from_value(document.into()).map_err(|error| format!("a bundle cannot be read: {error}"))
}

async fn fetch(fetcher: &Fetcher, issuer: &str) -> Result<JwkSet, String> {
    let mut last = String::new();
    for address in well_known(issuer)? {
        let document = match fetcher.object(&address).await {
            Ok(document) => document,
            Err(why) => {
                last = why;
                continue;
            }
        };
        // RFC 8414 section 3.3: metadata that names another issuer is not this one's.
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(format!("{address} is about another issuer"));
        }
        let named =
            document.get("jwks_uri").and_then(Value::as_str).ok_or_else(|| format!("{address} names no jwks_uri"))?;
        let keys = fetcher.object(&check_keys_url(&address, named, fetcher.reach())?).await?;
        return serde_json::from_value(keys.into()).map_err(|_| format!("{named} is no JWK set"));
    }
    Err(last)
}

/// What an issuer elsewhere names is elsewhere, too: it does not make us ask this machine or its neighbours.
fn check_keys_url(metadata: &Url, named: &str, reach: &Reach) -> Result<Url, String> {
    let url = check_url(named)?;
    let is_inside = match url.host() {
        Some(Host::Ipv4(address)) => address.is_private() || address.is_loopback() || address.is_link_local(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Some(Host::Domain(name)) => {
            name == "localhost" || name.ends_with(".localhost") || reach.internal_hosts.contains(name)
        }
        None => true,
    };
    if is_inside && url.host() != metadata.host() {
        return Err(format!("{metadata} names keys at {named}, which is not for it to name"));
    }
    Ok(url)
}

/// OpenID Connect Discovery 1.0 section 4, then RFC 8414 section 3.1.
fn well_known(issuer: &str) -> Result<[Url; 2], String> {
    let url = check_url(issuer)?;
    let path = url.path().trim_end_matches('/').to_owned();
    let at = |path: String| {
        let mut url = url.clone();
        url.set_path(&path);
        url
    };
    Ok([
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_that_anybody_could_be_is_refused() {
        for wrong in [
            "",
            "idp.example",
            "http://idp.example",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "ftp://127.0.0.1",
            "https://user@idp.example",
            "https://:secret@idp.example",
            "https://idp.example?x=1",
            "https://idp.example/#x",
            "file:///etc/passwd",
        ] {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
        let [openid, oauth] = well_known("https://idp.example/realms/a/").unwrap();
        assert_eq!(openid.as_str(), "https://idp.example/realms/a/.well-known/openid-configuration");
        assert_eq!(oauth.as_str(), "https://idp.example/.well-known/oauth-authorization-server/realms/a");
        assert!(well_known("http://127.0.0.1:8080").is_ok());
    }

    #[test]
    fn an_issuer_is_stopped_by_one_name() {
        let wrong = ["https://user:secret@idp.example", "http://idp.example", "https://idp.example/a?b", "idp.example"];
        for wrong in wrong.into_iter().chain(["spiffe://bank.example/", "spiffe://Bank.example", "spiffe://"]) {
            assert!(named(wrong).is_err(), "{wrong}");
        }
        for (written, name) in [
            ("https://idp.example", "https://idp.example"),
            ("https://idp.example/", "https://idp.example"),
            ("HTTPS://IDP.Example:443/Realms/a//", "https://idp.example/Realms/a"),
            ("https://bücher.example/", "https://xn--bcher-kva.example"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("spiffe://bank.example", "spiffe://bank.example"),
        ] {
            assert_eq!(named(written).unwrap().as_str(), name, "{written}");
        }
    }

    #[test]
    fn an_issuer_does_not_send_us_to_our_neighbours() {
        let reach = Reach { internal_hosts: ["git.internal".to_owned()].into(), ..Reach::default() };
        let there = Url::parse("https://idp.example/.well-known/openid-configuration").unwrap();
        for wrong in [
            "http://127.0.0.1:8080/keys",
            "http://localhost/keys",
            "https://localhost/keys",
            "https://x.localhost/keys",
            "https://10.1.2.3/keys",
            "https://192.168.0.1/keys",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/keys",
            "https://[fd00::1]/keys",
            "https://[fe80::1]/keys",
            "http://idp.example/keys",
            "https://git.internal/keys",
        ] {
            assert!(check_keys_url(&there, wrong, &reach).is_err(), "{wrong}");
        }
        assert!(check_keys_url(&there, "https://keys.idp.example/jwks", &reach).is_ok());
        let inside = Url::parse("https://git.internal/.well-known/openid-configuration").unwrap();
        assert!(check_keys_url(&inside, "https://git.internal/keys", &reach).is_ok(), "its own");
        let here = Url::parse("http://127.0.0.1:9000/.well-known/openid-configuration").unwrap();
        assert!(check_keys_url(&here, "http://127.0.0.1:9000/keys", &reach).is_ok());
    }
}
