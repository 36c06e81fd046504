//! A service, a shop in front of its priced routes, and `purser proxy` between the shop and whoever asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::front::Front;
use super::process::Service;
use super::text;
use crate::foreign_clients::balance;

const PRICE: u128 = 10_000;

/// A service, a shop in front of its priced routes, and a proxy.
pub struct Stage {
    pub runtime: Runtime,
    pub dev: Service,
    pub front: Arc<Front>,
    pub proxy: Service,
    pub folder: tempfile::TempDir,
    /// What was paid to the shop before.
    before: u128,
}

impl Stage {
    pub fn set(more: &[&str]) -> Self {
        let runtime = Runtime::new().unwrap();
        let dev = Service::dev();
        let front = runtime.block_on(Front::start(dev.url()));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop-ca.pem"), &front.authority).unwrap();
        let proxy = start(&dev, folder.path(), "0", more);
        let before = balance(&dev, text(&dev.line["paid"], "pay_to"));
        Self { runtime, dev, front, proxy, folder, before }
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("proxy")
    }

    pub fn url(&self) -> &str {
        text(&self.proxy.line, "proxy_url")
    }

    pub fn port(&self) -> &str {
        self.url().rsplit(':').next().unwrap()
    }

    /// The plain form of an address.
    pub fn plain(&self, url: &str) -> String {
        format!("{}/{url}", self.url())
    }

    /// How many times the first price the shop was paid, by the chain.
    pub fn prices(&self) -> u128 {
        (balance(&self.dev, text(&self.dev.line["paid"], "pay_to")) - self.before) / PRICE
    }

    /// Payments that the shop was shown, those that were shown again among them.
    pub fn shown(&self) -> usize {
        self.front.paid.load(Ordering::SeqCst)
    }

    /// A client without a proxy.
    pub fn direct(&self) -> reqwest::Client {
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
    }

    /// A client that uses the proxy and trusts it.
    pub fn proxied(&self, user: &str) -> reqwest::Client {
        let ca = std::fs::read(text(&self.proxy.line, "ca_file")).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()]);
        let proxy = self.url().replace("http://", &format!("http://{user}"));
        client.proxy(reqwest::Proxy::all(proxy).unwrap()).redirect(reqwest::redirect::Policy::none()).build().unwrap()
    }

    pub fn send(&self, request: reqwest::RequestBuilder) -> Said {
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Said { status, headers, body: answer.text().await.unwrap() }
        })
    }

    pub fn get(&self, url: &str) -> Said {
        self.send(self.proxied("").get(url))
    }

    pub fn marker(&self) -> &str {
        text(&self.dev.line["paid"], "marker")
    }
}

pub fn start(dev: &Service, folder: &std::path::Path, port: &str, more: &[&str]) -> Service {
    let (dir, authority) = (folder.join("proxy"), folder.join("shop-ca.pem"));
    let (service, mandate) = (text(&dev.line, "service_file"), text(&dev.line["mandate"], "id"));
    let mut args = vec!["proxy", "--json", "--service", service, "--mandate", mandate, "--port", port];
    args.extend(["--dir", dir.to_str().unwrap(), "--upstream-ca", authority.to_str().unwrap()]);
    Service::start(&[&args, more].concat(), &[])
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Said {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A refusal of ours: its code, the same in header and body.
    pub fn refused(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        let code = self.header("purser-refusal");
        assert_eq!((text(&problem, "code"), &problem["status"]), (code, &self.status.into()), "{self:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{self:?}");
        assert!(text(&problem, "type").ends_with(&format!("/errors/{code}")), "{self:?}");
        (self.status, code)
    }

    pub fn sold(&self, stage: &Stage) {
        assert_eq!(self.status, 200, "{self:?}");
        assert!(self.body.contains(stage.marker()), "{self:?}");
        assert_eq!(self.header("purser-payment-state"), "settled", "{self:?}");
        let receipt = !self.header("payment-response").is_empty() || !self.header("x-payment-response").is_empty();
        assert!(receipt, "{self:?}");
    }
}
