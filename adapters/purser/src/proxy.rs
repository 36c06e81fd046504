//! `purser proxy`: any program in any language pays without code.
//!
//! A forward proxy on this machine (for http and, through CONNECT and a local certificate authority, for https), and the
//! plain form `http://127.0.0.1:PORT/https://host/path` for what cannot use one. A 402 of x402 is paid under one mandate,
//! by the code of `purser pay`, and the program sees the answer to that; everything else passes.
//!
//! The promise: the same purchase is paid once, whatever dies in between ([`purchase`] has the rule); a payment goes to
//! the origin that asked for it; no redirect is followed; programs of this user alone are served, and web pages are not
//! ([`peer`], [`target`]); the certificates of sellers are verified as if there were no proxy.
//!
//! Read in this order: [`purchase`] (the rule), [`target`] (who may ask for what), [`forward`], [`deal`] (the payment),
//! [`listen`], [`authority`].

mod authority;
mod deal;
mod forward;
mod instructions;
mod listen;
mod peer;
mod purchase;
mod target;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use server::wallet::{Call, Surface as _};
use time::OffsetDateTime;
use tokio::net::TcpListener;

use self::authority::{Authority, certificate_file};
use self::forward::{Proxy, room};
use self::listen::{Door, serve};
use self::purchase::{KEPT_SECONDS, Notebook};
use self::target::Own;
use crate::client::Client;
use crate::dev::home::Home;
use crate::pay::{Remote, service};

/// How long a seller may take to take a connection, and how long it may say nothing: what is bought may take a while.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const SELLER_PATIENCE: Duration = Duration::from_secs(300);
/// Asked every so often where another shell waits for a proxy that begins.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 100;

#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// As for `pay`.
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
    /// What is spent from.
    #[arg(long, required_unless_present = "env")]
    pub mandate: Option<String>,
    #[arg(long, default_value_t = 4021)]
    pub port: u16,
    /// The folder that keeps the certificate authority and what was bought; ~/.purser/proxy where nothing is said.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Certificates (PEM) that sellers may have beside those that the system trusts.
    #[arg(long, value_name = "FILE")]
    pub upstream_ca: Option<PathBuf>,
    /// How many seconds after it was delivered the same request is still the same purchase.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub window: u32,
    /// Print shell exports instead of the line. Where a proxy runs in DIR already, print its exports and end.
    #[arg(long, conflicts_with = "json")]
    pub env: bool,
    /// Print the line for machines only.
    #[arg(long)]
    pub json: bool,
}

/// Serves until `stop`.
pub async fn run(args: &ProxyArgs, stop: impl Future<Output = ()>) -> Result<(), String> {
    let folder = folder(args.dir.as_deref())?;
    let Some(_held) = hold(&folder)? else {
        if args.env {
            return show_running(&folder).await;
        }
        return Err(format!("a proxy runs in {} already; give this one a --dir of its own", folder.display()));
    };
    let home = Home::open(Some(&folder))?;
    home.forget(LINE)?;
    let mandate = args.mandate.clone().ok_or("no proxy runs there; --mandate says what one would spend from")?;
    let authority = Authority::open(&home, OffsetDateTime::now_utc())?;
    let outside = outside(args.upstream_ca.as_deref(), &certificate_file(&home))?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.map_err(|error| format!("port {}: {error}", args.port))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let notebook = Notebook::open(&home.file("purchases.log"), deal::now())?;
    let proxy = assemble(args, mandate, outside, notebook, address.port()).await?;
    let line = line(&proxy, &home, &format!("http://{address}"));
    home.write(LINE, line.to_string().as_bytes())?;
    if args.env {
        print!("{}", instructions::exports(&line)?);
    } else {
        if !args.json {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            eprint!("{}", instructions::text(&text("proxy_url"), &text("ca_file"), proxy.window_seconds));
        }
        println!("{line}");
    }
    serve(Arc::new(Door { proxy: Arc::new(proxy), authority }), listener, stop).await;
    Ok(())
}

const LINE: &str = "line.json";

fn folder(dir: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(dir) = dir {
        return Ok(dir.to_owned());
    }
    let home = std::env::var_os("HOME").ok_or("there is no HOME to keep a folder in; give --dir DIR")?;
    Ok(Path::new(&home).join(".purser").join("proxy"))
}

/// The folder is one proxy's: another would pay what this one has paid. `None` where another holds it.
fn hold(folder: &Path) -> Result<Option<File>, String> {
    let path = folder.join("proxy.lock");
    let unusable = |error: std::io::Error| format!("{}: {error}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Sellers are verified against what the system trusts. A proxy that was started with its own exports would trust itself
/// instead.
fn outside(upstream_ca: Option<&Path>, own: &Path) -> Result<reqwest::Client, String> {
    if std::env::var_os("SSL_CERT_FILE").is_some_and(|file| Path::new(&file) == own) {
        return Err("SSL_CERT_FILE names the proxy's own certificate, as its programs need it; unset it here".into());
    }
    let mut extra = Vec::new();
    if let Some(path) = upstream_ca {
        let unusable = |error: &dyn std::fmt::Display| format!("--upstream-ca {}: {error}", path.display());
        let text = std::fs::read(path).map_err(|error| unusable(&error))?;
        extra = reqwest::Certificate::from_pem_bundle(&text).map_err(|error| unusable(&error))?;
        if extra.is_empty() {
            return Err(unusable(&"a certificate in PEM was expected, none stands there"));
        }
    }
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .connect_timeout(CONNECT_PATIENCE)
        .read_timeout(SELLER_PATIENCE)
        .tls_certs_merge(extra);
    client.build().map_err(|error| format!("no HTTP client: {error}"))
}

async fn assemble(
    args: &ProxyArgs,
    mandate: String,
    outside: reqwest::Client,
    notebook: Notebook,
    port: u16,
) -> Result<Proxy, String> {
    let service = service(args.service.as_deref())?;
    let client = Client::direct(&service.url).map_err(|error| error.to_string())?;
    let credential = service.credential()?;
    // A mandate that is not this agent's is better said now.
    let view = Call::get(format!("/v1/mandates/{mandate}"));
    Remote { client: &client, credential: &credential }.call(view).await.map_err(|error| error.to_string())?;
    let mut drawn = [0; 4];
    getrandom::fill(&mut drawn).map_err(|error| error.to_string())?;
    let window_seconds = i64::from(args.window);
    if window_seconds > KEPT_SECONDS {
        return Err(format!("--window: at most {KEPT_SECONDS} s were expected, {window_seconds} came"));
    }
    Ok(Proxy {
        own: Own { port, pseudonym: format!("purser-{}", hex::encode(drawn)) },
        client,
        credential,
        service_url: service.url.trim_end_matches('/').to_owned(),
        mandate,
        outside,
        notebook,
        window_seconds,
        room: room(),
        busy: Arc::new(()),
    })
}

fn line(proxy: &Proxy, home: &Home, url: &str) -> Value {
    json!({
        "proxy_url": url,
        "plain": format!("{url}/{{url}}"),
        "ca_file": certificate_file(home),
        "mandate": proxy.mandate,
        "service_url": proxy.service_url,
        "window_seconds": proxy.window_seconds,
        "pid": std::process::id(),
    })
}

/// The proxy that holds the folder writes its line when it is ready.
async fn show_running(folder: &Path) -> Result<(), String> {
    let home = Home::open(Some(folder))?;
    for _ in 0..LOOKS_MAX {
        if let Some(line) = home.line()? {
            print!("{}", instructions::exports(&line)?);
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err("the proxy that runs there did not become ready".into())
}

#[cfg(test)]
mod tests;
