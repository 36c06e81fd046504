//! What a program asks the proxy for: the form of its request, the address that is meant, and who may ask in this way.
//!
//! A web page can make a browser of this user send a request to 127.0.0.1, under its own name (cross-site) or under one
//! that its name server says is here (rebinding). It cannot make it speak to a proxy. So the plain form alone is open to
//! pages, and is closed to them: `Host` must be this machine, and whatever browsers say of themselves (`Origin`, which
//! programs do not send; Fetch Metadata, which pages cannot take out) ends it. A browser that was told to use the proxy gets what it
//! asks for and nothing is paid for it: a page must not spend.

use std::net::IpAddr;

use base64::Engine as _;
use http::header::{HOST, ORIGIN, PROXY_AUTHORIZATION, UPGRADE, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use server::problem::{Problem, shown};
use url::{Host, Url};

/// What a program calls its purchase.
pub const PURCHASE: HeaderName = HeaderName::from_static("purser-purchase");
/// The payment that this one is meant to follow while it is open, as `again_after` of the service.
pub const AGAIN_AFTER: HeaderName = HeaderName::from_static("purser-again-after");
const OURS: &str = "purser-";
/// Of a name or an id that a program says.
const WORD_BYTES_MAX: usize = 4 * 1024;
const FETCH_METADATA: [&str; 2] = ["sec-fetch-site", "sec-fetch-dest"];

/// Where a request comes in.
#[derive(Clone, Debug)]
pub enum Place {
    /// At the proxy's own port.
    Door,
    /// In a tunnel that a program asked for with CONNECT.
    Tunnel(Tunnel),
}

#[derive(Clone, Debug)]
pub struct Tunnel {
    pub scheme: &'static str,
    pub end: End,
    pub program: String,
}

/// Where a tunnel leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a client asks a proxy.
    Proxied,
    /// `/https://host/path`.
    Plain,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub url: Url,
    pub form: Form,
    /// What the program calls itself; nothing where it does not.
    pub program: String,
}

/// What this proxy is known by.
#[derive(Clone, Debug)]
pub struct Own {
    pub port: u16,
    /// Its name in `Via`.
    pub pseudonym: String,
}

fn refused(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
    Problem::new(status, code, detail)
}

impl Own {
    /// The address that is meant, where it may be asked for in this way.
    pub fn target(&self, place: &Place, head: &Parts) -> Result<Target, Problem> {
        if head.method == Method::TRACE || head.method == Method::CONNECT {
            let detail = format!("a method that is passed on was expected, {} came", head.method);
            return Err(refused(StatusCode::NOT_IMPLEMENTED, "method_refused", detail));
        }
        check_upgrade(&head.headers)?;
        let target = match place {
            Place::Door => self.at_the_door(head)?,
            Place::Tunnel(tunnel) => within(tunnel, head)?,
        };
        self.check_loop(&target.url, &head.headers)?;
        Ok(target)
    }

    fn at_the_door(&self, head: &Parts) -> Result<Target, Problem> {
        if head.uri.scheme().is_some() {
            let program = program(&head.headers);
            return Ok(Target { url: web(&head.uri.to_string())?, form: Form::Proxied, program });
        }
        let asked = head.uri.path_and_query().map_or("", |asked| asked.as_str());
        let Some(address) =
            asked.strip_prefix('/').filter(|it| it.starts_with("http://") || it.starts_with("https://"))
        else {
            let detail = format!("a request to a proxy, or /https://host/path, was expected; {} came", shown(asked));
            return Err(refused(StatusCode::NOT_FOUND, "target_unknown", detail));
        };
        self.check_host(&head.headers)?;
        if is_browser(&head.headers) {
            return Err(browser_refused());
        }
        Ok(Target { url: web(address)?, form: Form::Plain, program: program(&head.headers) })
    }

    /// A name of somebody else's that leads here is an attempt.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => "",
        };
        let port = self.port;
        if [format!("127.0.0.1:{port}"), format!("localhost:{port}")].iter().any(|own| own.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        let detail = format!("Host: 127.0.0.1:{port} was expected, {} came", shown(host));
        Err(refused(StatusCode::MISDIRECTED_REQUEST, "host_refused", detail))
    }

    pub fn check_loop(&self, url: &Url, headers: &HeaderMap) -> Result<(), Problem> {
        let here = match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => is_here(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => is_here(IpAddr::V6(address)),
            None => false,
        };
        let passed = headers.get_all(VIA).iter().filter_map(|via| via.to_str().ok());
        let was_here = passed.flat_map(|via| via.split(',')).any(|via| via.trim().ends_with(&self.pseudonym));
        if was_here || (here && url.port_or_known_default() == Some(self.port)) {
            let detail = "the address of another server was expected, this proxy's own came";
            return Err(refused(StatusCode::LOOP_DETECTED, "loop_refused", detail));
        }
        Ok(())
    }

    /// RFC 9110 section 7.6.3: what is passed on says through whom.
    pub fn sign_via(&self, headers: &mut HeaderMap) {
        if let Ok(via) = HeaderValue::try_from(format!("1.1 {}", self.pseudonym)) {
            headers.append(VIA, via);
        }
    }
}

fn is_here(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// In a tunnel `Host` is the end that was asked for: what is paid there goes nowhere else.
fn within(tunnel: &Tunnel, head: &Parts) -> Result<Target, Problem> {
    let Tunnel { scheme, end, program } = tunnel;
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    };
    let named = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => host,
    };
    let asked = head.uri.path_and_query().map_or("/", |asked| asked.as_str());
    let url = web(&format!("{scheme}://{named}{asked}"))?;
    let found = (url.host_str().unwrap_or_default(), url.port_or_known_default());
    if found != (end.host.as_str(), Some(end.port)) {
        let detail =
            format!("Host: {}:{} was expected, as the tunnel was asked for; {} came", end.host, end.port, shown(named));
        return Err(refused(StatusCode::MISDIRECTED_REQUEST, "host_refused", detail));
    }
    Ok(Target { url, form: Form::Proxied, program: program.clone() })
}

/// The end of a tunnel, in the URL standard's spelling.
pub fn end(uri: &Uri) -> Result<End, Problem> {
    let asked = uri.authority().map_or("", |authority| authority.as_str());
    let bad = || {
        let detail = format!("CONNECT host:port was expected, {} came", shown(asked));
        refused(StatusCode::BAD_REQUEST, "target_unknown", detail)
    };
    let port = uri.port_u16().ok_or_else(bad)?;
    let url = web(&format!("http://{asked}/")).map_err(|_| bad())?;
    let host = url.host_str().ok_or_else(bad)?.to_owned();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.bytes().all(plain) { Ok(End { host, port }) } else { Err(bad()) }
}

fn web(text: &str) -> Result<Url, Problem> {
    let bad = |why: &str| {
        let detail = format!("an http or https address without a user was expected, {why} came");
        refused(StatusCode::BAD_REQUEST, "target_unknown", detail)
    };
    // The first part of the path would be read as the host.
    if text.split_once(':').is_some_and(|(_, rest)| rest.starts_with("///")) {
        return Err(bad("one without a host"));
    }
    let mut url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(&shown(url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("one with a user"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Another protocol is not passed on. That of HTTP/2 without TLS is an offer, and is not taken (RFC 9110 section 7.8).
fn check_upgrade(headers: &HeaderMap) -> Result<(), Problem> {
    let asked = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    match asked.flat_map(|value| value.split(',')).map(str::trim).find(|asked| !asked.eq_ignore_ascii_case("h2c")) {
        None => Ok(()),
        Some(asked) => {
            let detail = format!("HTTP was expected, an upgrade to {} came", shown(asked));
            Err(refused(StatusCode::NOT_IMPLEMENTED, "upgrade_refused", detail))
        }
    }
}

pub fn browser_refused() -> Problem {
    let detail = "a program was expected; a browser came (Origin, Sec-Fetch-Site or Sec-Fetch-Dest), and a page in it must not spend";
    refused(StatusCode::FORBIDDEN, "browser_refused", detail)
}

/// Node's `fetch` sends `Sec-Fetch-Mode` and neither of these; browsers send them in every request.
pub fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || FETCH_METADATA.iter().any(|name| headers.contains_key(*name))
}

/// The user of `Proxy-Authorization: Basic` (RFC 7617).
pub fn program(headers: &HeaderMap) -> String {
    let said = headers.get(PROXY_AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoded = match said.split_once(' ') {
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => encoded.trim(),
        _ => return String::new(),
    };
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    let text = String::from_utf8(decoded).unwrap_or_default();
    text.split_once(':').map_or(text.as_str(), |(user, _)| user).to_owned()
}

/// What a program says to the proxy itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub purchase: Option<String>,
    pub again_after: Option<String>,
}

/// Takes out what is for the proxy. What is misspelt is refused, because a name that nobody reads is none.
pub fn take(headers: &mut HeaderMap) -> Result<Said, Problem> {
    let said = Said { purchase: word(headers, &PURCHASE)?, again_after: word(headers, &AGAIN_AFTER)? };
    match headers.keys().find(|name| name.as_str().starts_with(OURS)) {
        None => Ok(said),
        Some(name) => {
            let detail = format!("{PURCHASE} or {AGAIN_AFTER} was expected, {} came", shown(name.as_str()));
            Err(Problem::invalid(name.as_str(), detail))
        }
    }
}

fn word(headers: &mut HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    let text = match (first, second) {
        (None, _) => return Ok(None),
        (Some(value), None) => String::from_utf8(value.as_bytes().to_vec()).unwrap_or_default(),
        (Some(_), Some(_)) => return Err(Problem::invalid(name.as_str(), "one value was expected, several came")),
    };
    if text.is_empty() || text.len() > WORD_BYTES_MAX {
        let detail = format!("1 to {WORD_BYTES_MAX} bytes of UTF-8 were expected, {} came", text.len());
        return Err(Problem::invalid(name.as_str(), detail));
    }
    headers.remove(name);
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
