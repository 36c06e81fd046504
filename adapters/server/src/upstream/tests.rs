//! Where requests go, and what is said of them.

use alloy_primitives::{Address, B256};
use http::header::CONNECTION;
use paywall::Paid;
use x402::settlement::ClaimKey;

use super::*;

fn upstream(path: &str, address: &str) -> Result<Upstream, String> {
    Upstream::new(path, address, UpstreamKey::new(&[7; 32])?)
}

fn paid() -> Paid {
    let claim = ClaimKey {
        space: x402::settlement::NonceSpace::Eip3009,
        network: "eip155:31337".parse().unwrap(),
        token: Address::repeat_byte(1),
        payer: Address::repeat_byte(2),
        nonce: B256::repeat_byte(3),
    };
    Paid { claim, amount: "10000".into() }
}

#[test]
fn an_address_that_is_no_place_to_go_is_refused() {
    for address in [
        "",
        "shop",
        "ftp://a/b",
        "http://user@a/",
        "http://u:p@a/",
        "http://a/?q",
        "http://a/#f",
        "unix:/a",
        "file:///a",
    ] {
        assert!(upstream("/paid/x", address).is_err(), "{address}");
    }
    assert!(upstream("/paid*", "http://a/").is_err());
    assert!(UpstreamKey::new(&[1; 31]).is_err());
}

#[test]
fn a_path_that_two_readers_read_in_two_ways_goes_nowhere() {
    let upstream = upstream("/paid/*", "http://127.0.0.1:1/v2/").unwrap();
    for rest in [
        "..",
        "../x",
        "a/../../x",
        "%2e%2e/x",
        ".%2E/x",
        "a/./b",
        "a%2fb",
        "a%2Fb",
        "a\\b",
        "a%5cb",
        "%00",
        "a/%2e",
        "a/..",
    ] {
        let refused = upstream.target(&format!("/paid/{rest}"), None).unwrap_err();
        assert_eq!(refused.code, "path_ambiguous", "{rest}");
    }
    for rest in ["a\"b", "a{b}", "a<b"] {
        let refused = upstream.target(&format!("/paid/{rest}"), None).unwrap_err();
        assert_eq!(refused.code, "path_ambiguous", "{rest} would be written otherwise");
    }
    for query in ["a=\"b\"", "a=<b>"] {
        let refused = upstream.target("/paid/x", Some(query)).unwrap_err();
        assert!(refused.code == "path_ambiguous" && refused.detail.contains(query), "{refused:?}");
    }
    assert_eq!(upstream.target("/other/x", None).unwrap_err().code, "path_ambiguous");
    for (path, query, there) in [
        ("/paid/", None, "http://127.0.0.1:1/v2/"),
        ("/paid/a/b", Some("c=%2F&d"), "http://127.0.0.1:1/v2/a/b?c=%2F&d"),
        ("/paid/..a/...", Some(""), "http://127.0.0.1:1/v2/..a/...?"),
        ("/paid/x%20y/%C3%A9/", None, "http://127.0.0.1:1/v2/x%20y/%C3%A9/"),
    ] {
        assert_eq!(upstream.target(path, query).unwrap().as_str(), there);
    }
}

#[test]
fn what_has_a_price_of_its_own_is_not_sold_beside_it() {
    let upstream = upstream("/paid/*", "http://127.0.0.1:1").unwrap().apart_from(["/paid/gold"].into_iter());
    for path in ["/paid/gold", "/paid/Gold", "/paid/gold/", "/paid/GOLD/"] {
        assert_eq!(upstream.target(path, None).unwrap_err().code, "path_ambiguous", "{path}");
    }
    assert!(upstream.target("/paid/golden", None).is_ok());
}

#[test]
fn one_path_leads_to_one_address() {
    let upstream = upstream("/paid/x", "http://127.0.0.1:1/report").unwrap();
    assert_eq!(upstream.target("/paid/x", Some("a=1")).unwrap().as_str(), "http://127.0.0.1:1/report?a=1");
}

#[test]
fn nothing_that_a_client_says_is_taken_for_ours() {
    let upstream = upstream("/paid/x", "http://127.0.0.1:1/report").unwrap();
    let mut came = HeaderMap::new();
    for name in [
        "purser-payment-id",
        "purser-payment-payer",
        "purser-anything",
        "signature",
        "signature-input",
        "content-digest",
        "forwarded",
        "x-forwarded-for",
        "te",
        "x-named",
        "proxy-authorization",
        "host",
    ] {
        came.insert(name, HeaderValue::from_static("client"));
    }
    came.insert(CONNECTION, HeaderValue::from_static("close, X-Named"));
    came.insert("authorization", HeaderValue::from_static("kept"));
    let (paid, url) = (paid(), upstream.target("/paid/x", None).unwrap());
    let said = Said { method: "GET", url: &url, paid: &paid, body: b"", created_seconds: 1_800_000_000 };
    let headers = upstream.headers(&said, &came).unwrap();
    assert!(headers.values().all(|value| value != "client"), "{headers:?}");
    assert_eq!(headers["authorization"], "kept");
    assert_eq!(headers["purser-payment-amount"], "10000");
    assert_eq!(headers["purser-payment-payer"], format!("0x{}", "02".repeat(20)));
    assert!(!headers.contains_key("x-named") && !headers.contains_key(CONNECTION));
}

/// RFC 9421 section 2.5, put together by hand.
#[test]
fn the_signature_covers_payment_and_request() {
    let key = UpstreamKey::new(b"0123456789abcdef0123456789abcdef").unwrap();
    let url = Url::parse("http://a/v2/x?y=1").unwrap();
    let paid = paid();
    let sign = |method, url: &Url, paid: &Paid, body: &[u8]| {
        let said = Said { method, url, paid, body, created_seconds: 1_800_000_000 };
        said.headers(&key).unwrap().into_iter().collect::<std::collections::BTreeMap<_, _>>()
    };
    let headers = sign("POST", &url, &paid, b"body");
    let covered = "(\"@method\" \"@path\" \"@query\" \"purser-payment-id\" \"purser-payment-payer\" \
        \"purser-payment-asset\" \"purser-payment-amount\" \"content-digest\")";
    let parameters = format!("{covered};created=1800000000;keyid=\"{}\";alg=\"hmac-sha256\"", key.id);
    assert_eq!(headers["signature-input"], format!("purser={parameters}"));
    let base = format!(
        "\"@method\": POST\n\"@path\": /v2/x\n\"@query\": ?y=1\n\"purser-payment-id\": {}\n\"purser-payment-payer\": {}\n\
         \"purser-payment-asset\": {}\n\"purser-payment-amount\": 10000\n\"content-digest\": {}\n\
         \"@signature-params\": {parameters}",
        headers["purser-payment-id"],
        headers["purser-payment-payer"],
        headers["purser-payment-asset"],
        headers["content-digest"],
    );
    assert_eq!(headers["signature"], format!("purser=:{}:", key.mac(&base).unwrap()));
    let mut dearer = paid.clone();
    dearer.amount = "10001".into();
    let elsewhere = Url::parse("http://a/v2/x?y=2").unwrap();
    for other in [
        sign("GET", &url, &paid, b"body"),
        sign("POST", &elsewhere, &paid, b"body"),
        sign("POST", &url, &dearer, b"body"),
        sign("POST", &url, &paid, b"bodY"),
    ] {
        assert_ne!(other["signature"], headers["signature"]);
    }
}
