//! `/.well-known/acp.json`, as an agent reads it.

use mandates::json;
use serde_json::Value;

use super::{Unmet, UnmetCode, shown_text};
use crate::acp_checkout::VERSION;

/// Where the shop's interface is. It is at the origin that was asked: whoever answers there speaks for no other one, and the
/// agent's credential for it goes nowhere else.
pub fn api_base(asked: &str, body: &[u8]) -> Result<String, Unmet> {
    let no_shop = |what: String| Unmet::new(UnmetCode::NoShop, what);
    let document = json::parse_object(body)
        .map_err(|_| no_shop("a discovery document of ACP was expected, what came is no JSON object".into()))?;
    let protocol = document.get("protocol").and_then(Value::as_object);
    let name = protocol.and_then(|protocol| protocol.get("name")).and_then(Value::as_str).unwrap_or("none");
    if name != "acp" {
        return Err(no_shop(format!("protocol.name acp was expected, {} came", shown_text(name))));
    }
    let versions = protocol.and_then(|protocol| protocol.get("supported_versions")).and_then(Value::as_array);
    let versions: Vec<&str> = versions.into_iter().flatten().filter_map(Value::as_str).take(50).collect();
    if !versions.contains(&VERSION) {
        let came = shown_text(&versions.join(", "));
        return Err(Unmet::new(
            UnmetCode::VersionUnsupported,
            format!("version {VERSION} was expected, [{came}] came"),
        ));
    }
    let base = document.get("api_base_url").and_then(Value::as_str).unwrap_or_default();
    if !is_same_origin(asked, base) {
        let message = format!("an api_base_url at the origin of {asked} was expected, {} came", shown_text(base));
        return Err(Unmet::new(UnmetCode::ShopElsewhere, message));
    }
    Ok(base.trim_end_matches('/').to_owned())
}

/// Scheme, host and port, as a browser compares them. What is no such address is nobody's origin.
pub fn is_same_origin(one: &str, other: &str) -> bool {
    matches!((origin(one), origin(other)), (Some(one), Some(other)) if one == other)
}

fn origin(address: &str) -> Option<(String, String, u16)> {
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let standard = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_plain) {
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of an IPv6 address without a port is its own.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, standard),
    };
    (!host.is_empty()).then(|| (scheme, host.to_ascii_lowercase(), port))
}
