//! What pages, careless clients and attackers ask for, and what programs do.

use super::*;

fn own() -> Own {
    Own { port: 4021, pseudonym: "purser-0a0b".into() }
}

fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

const HERE: (&str, &str) = ("host", "127.0.0.1:4021");
const PLAIN: &str = "/https://shop.example/a";

fn refusal(place: &Place, method: &str, uri: &str, headers: &[(&str, &str)]) -> String {
    let refused = own().target(place, &head(method, uri, headers));
    refused.err().unwrap_or_else(|| panic!("{method} {uri} {headers:?}")).code
}

#[test]
fn pages_do_not_get_through_the_plain_form() {
    for headers in [
        // rebinding: the browser says whose page it is
        &[("host", "evil.example:4021")][..],
        &[("host", "127.0.0.1.evil.example:4021")],
        &[("host", "127.0.0.1")],
        &[("host", "127.0.0.1:80")],
        &[("host", "0.0.0.0:4021")],
        &[("host", "")],
        &[],
        &[HERE, HERE],
        &[HERE, ("host", "evil.example")],
    ] {
        assert_eq!(refusal(&Place::Door, "GET", PLAIN, headers), "host_refused", "{headers:?}");
    }
    for said in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:4021"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "same-origin"), // a page that another page framed
        ("sec-fetch-site", "none"),        // a link in a mail
        ("sec-fetch-dest", "image"),
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            assert_eq!(refusal(&Place::Door, method, PLAIN, &[HERE, said]), "browser_refused", "{said:?}");
        }
    }
}

#[test]
fn what_leads_nowhere_is_refused() {
    for uri in [
        "/",
        "/path",
        "/ftp://shop.example/",
        "/HTTPS://shop.example/",
        "/https:/shop.example/",
        "//https://shop.example/",
        "/https://",
        "/https:///shop.example/",
        "/https://user@shop.example/",
        "/https://user:secret@shop.example/",
        "/https://shop.example:99999/",
        "/https://sh op.example/".trim_end_matches("op.example/"),
        "*",
    ] {
        let Ok(_) = uri.parse::<Uri>() else { continue };
        assert_eq!(refusal(&Place::Door, "GET", uri, &[HERE]), "target_unknown", "{uri}");
    }
    for uri in ["ftp://shop.example/", "http://user:secret@shop.example/", "ws://shop.example/"] {
        assert_eq!(refusal(&Place::Door, "GET", uri, &[]), "target_unknown", "{uri}");
    }
    for method in ["TRACE", "CONNECT"] {
        assert_eq!(refusal(&Place::Door, method, "http://shop.example/", &[]), "method_refused");
    }
    for upgrade in ["websocket", "h2c, websocket", "TLS/1.0"] {
        let headers = [("upgrade", upgrade), ("connection", "upgrade")];
        assert_eq!(refusal(&Place::Door, "GET", "http://shop.example/", &headers), "upgrade_refused", "{upgrade}");
    }
    for asked in ["shop.example", "shop.example:0x50", "user@shop.example:443", "*.example:443", ":443", "a b:443"] {
        let Ok(uri) = Uri::try_from(asked) else { continue };
        assert!(end(&uri).is_err(), "{asked}");
    }
}

#[test]
fn nothing_is_asked_of_the_proxy_itself() {
    for uri in [
        "http://127.0.0.1:4021/",
        "http://localhost:4021/https://shop.example/",
        "http://LOCALHOST:4021/",
        "http://api.localhost:4021/",
        "http://127.9.9.9:4021/",
        "http://2130706433:4021/",
        "http://0x7f.1:4021/",
        "http://0.0.0.0:4021/",
        "http://[::1]:4021/",
        "http://[::ffff:127.0.0.1]:4021/",
    ] {
        assert_eq!(refusal(&Place::Door, "GET", uri, &[]), "loop_refused", "{uri}");
        assert_eq!(refusal(&Place::Door, "GET", &format!("/{uri}"), &[HERE]), "loop_refused", "/{uri}");
    }
    // A name that leads here is seen when it comes back.
    for via in ["1.1 purser-0a0b", "1.0 fred, 1.1 purser-0a0b", "HTTP/1.1 purser-0a0b"] {
        assert_eq!(refusal(&Place::Door, "GET", "http://shop.example/", &[("via", via)]), "loop_refused", "{via}");
    }
}

#[test]
fn a_tunnel_leads_where_it_was_asked_for_and_nowhere_else() {
    let asked = end(&Uri::from_static("Shop.Example:443")).unwrap();
    assert_eq!(asked, End { host: "shop.example".into(), port: 443 });
    let tunnel = Place::Tunnel(Tunnel { scheme: "https", end: asked, program: "p".into() });
    for host in
        ["evil.example", "shop.example:80", "shop.example:8443", "shop.example.evil.example", "", "127.0.0.1:4021"]
    {
        let code = refusal(&tunnel, "GET", "/a", &[("host", host)]);
        assert!(code == "host_refused" || code == "target_unknown", "{host}: {code}");
    }
    assert_eq!(refusal(&tunnel, "GET", "/a", &[]), "target_unknown");
    assert_eq!(refusal(&tunnel, "GET", "/shop.example/a", &[("host", "")]), "target_unknown");
    assert_eq!(refusal(&tunnel, "GET", "https://evil.example/a", &[("host", "shop.example")]), "host_refused");
    assert_eq!(refusal(&tunnel, "CONNECT", "/a", &[("host", "shop.example")]), "method_refused");
    for host in ["shop.example", "SHOP.example:443"] {
        let target = own().target(&tunnel, &head("POST", "/a?b=%20c", &[("host", host)])).unwrap();
        assert_eq!((target.url.as_str(), target.program.as_str()), ("https://shop.example/a?b=%20c", "p"));
    }
}

#[test]
fn programs_get_through() {
    let plain = own().target(&Place::Door, &head("GET", "/https://shop.example:8443/a//b?c=d&e", &[HERE])).unwrap();
    assert_eq!((plain.url.as_str(), plain.form), ("https://shop.example:8443/a//b?c=d&e", Form::Plain));
    let localhost = [("host", "LOCALHOST:4021"), ("sec-fetch-mode", "cors")];
    assert!(
        own().target(&Place::Door, &head("GET", "/http://127.0.0.1:4020/paid", &localhost)).is_ok(),
        "Node's fetch"
    );
    let headers = [("proxy-authorization", "Basic cmVzZWFyY2g6eA=="), ("upgrade", "h2c"), ("host", "other.example")];
    let proxied = own().target(&Place::Door, &head("GET", "http://shop.example/a", &headers)).unwrap();
    assert_eq!((proxied.form, proxied.program.as_str()), (Form::Proxied, "research"));
    for said in ["Bearer cmVzZWFyY2g6eA==", "Basic", "Basic !!!", "Basic /w==", ""] {
        let headers = [("proxy-authorization", said)];
        assert_eq!(own().target(&Place::Door, &head("GET", "http://shop.example/a", &headers)).unwrap().program, "");
    }
}

#[test]
fn what_is_for_the_proxy_is_taken_out_and_nothing_is_misspelt() {
    let headers = |pairs: &[(&str, &str)]| head("GET", "/", pairs).headers;
    let long = "x".repeat(WORD_BYTES_MAX + 1);
    for wrong in [
        &[("purser-purchase", "")][..],
        &[("purser-purchase", &long)],
        &[("purser-purchase", "a"), ("purser-purchase", "a")],
        &[("purser-purchace", "a")],
        &[("purser-payment", "a")],
        &[("purser-again-after", "a"), ("purser-again-after", "b")],
    ] {
        assert_eq!(take(&mut headers(wrong)).unwrap_err().code, "invalid_request", "{wrong:?}");
    }
    let mut said = headers(&[("purser-purchase", "order 1"), ("purser-again-after", "p"), ("accept", "*/*")]);
    let taken = take(&mut said).unwrap();
    assert_eq!(taken, Said { purchase: Some("order 1".into()), again_after: Some("p".into()) });
    assert_eq!(said.len(), 1);
    assert_eq!(take(&mut said).unwrap(), Said::default());
}
