//! The 402 for people: what is sold, for how much, to whom, where, and how to pay it.
//!
//! Whole in itself: no script, no image, nothing from elsewhere; the policy allows its one style sheet and nothing else.
//! Whatever is not a constant of this file is escaped.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use x402::network::{Network, NetworkNames};
use x402::wire::{PaymentRequired, PaymentRequirements};

use crate::price::Price;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;\
background:#fff}h1{font-size:1.4rem}dt{font-weight:600}dd{margin:0 0 .6rem}dd,code{overflow-wrap:anywhere}\
code{background:#f0f0f0;padding:.1rem .3rem}";

/// The value of Content-Security-Policy.
pub(crate) fn policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

pub(crate) fn html(price: &Price, demand: &PaymentRequired, message: &str) -> String {
    let url = escaped(&demand.resource.url);
    let sold = demand.resource.description.as_deref().filter(|text| !text.is_empty());
    let sold = sold.map_or_else(|| url.clone(), escaped);
    let versions = if price.demand_of_version_one(demand).is_some() { "version 2 or 1" } else { "version 2" };
    let mut offers = String::new();
    for offer in &demand.accepts {
        // Writing into a String does not fail.
        let _ = write!(
            offers,
            "<dl>\n<dt>Price</dt><dd>{}</dd>\n<dt>Token</dt><dd><code>{}</code></dd>\n<dt>To</dt><dd><code>{}</code></dd>\n\
             <dt>Network</dt><dd>{}</dd>\n<dt>Good for</dt><dd>{} seconds after it is signed</dd>\n</dl>\n",
            escaped(&price_of(price, offer)),
            escaped(&offer.asset),
            escaped(&offer.pay_to),
            escaped(&network(&price.names, &offer.network)),
            offer.max_timeout_seconds,
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>Payment required</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>Payment required</h1>\n<p>{sold}</p>\n<p>{}</p>\n{offers}\
         <h2>How to pay</h2>\n<p>This page takes no payment and asks for no wallet. A client that speaks x402 {versions} \
         pays with a signed transfer when it fetches this address; the terms are in the <code>PAYMENT-REQUIRED</code> \
         header of this answer. With Purser:</p>\n\
         <p><code>purser pay {url} --mandate MANDATE --idempotency-key KEY</code></p>\n</body>\n</html>\n",
        escaped(message),
    )
}

fn price_of(price: &Price, offer: &PaymentRequirements) -> String {
    let amount = amount(price, offer);
    if [x402::upto::SCHEME, x402::auth_capture::SCHEME].contains(&offer.scheme.as_str()) {
        format!("at most {amount}, by usage")
    } else {
        amount
    }
}

/// In whole tokens where the scale is known; never guessed.
fn amount(price: &Price, offer: &PaymentRequirements) -> String {
    let name = offer.extra_field("name").and_then(|name| name.as_str()).unwrap_or("token");
    let asset = offer
        .network
        .parse()
        .ok()
        .zip(x402::value::address(&offer.asset).ok())
        .and_then(|(network, token)| price.assets.find(network, token));
    match asset {
        Some(asset) => format!("{} {name}", whole(&offer.amount, usize::from(asset.decimals))),
        None => format!("{} atomic units of {name}", offer.amount),
    }
}

/// Decimal digits with a point `decimals` places from the right, without zeros at the end.
fn whole(atomic: &str, decimals: usize) -> String {
    let digits = format!("{atomic:0>width$}", width = decimals.saturating_add(1));
    let (major, minor) = digits.split_at(digits.len().saturating_sub(decimals));
    match minor.trim_end_matches('0') {
        "" => major.to_owned(),
        minor => format!("{major}.{minor}"),
    }
}

fn network(names: &NetworkNames, id: &str) -> String {
    let parsed: Option<Network> = id.parse().ok();
    match parsed.map(|network| (network.chain_id(), names.name(network))) {
        Some((_, Some(name))) => format!("{name} ({id})"),
        Some((chain_id, None)) => format!("EVM chain {chain_id} ({id})"),
        None => id.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_comes_from_outside_is_markup() {
        assert_eq!(escaped("<script>&\"'\u{0}\n"), "&lt;script&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_price_is_read_as_people_write_it() {
        for (atomic, decimals, shown) in [
            ("10000", 6, "0.01"),
            ("1", 6, "0.000001"),
            ("1000000", 6, "1"),
            ("1500000", 6, "1.5"),
            ("100", 0, "100"),
            ("1", 18, "0.000000000000000001"),
        ] {
            assert_eq!(whole(atomic, decimals), shown);
        }
    }
}
