//! Pages for people: whole without a script, without anything of third parties, readable on a phone.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use paywall::accept::rank;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.55 system-ui,sans-serif;max-width:46rem;margin:0 auto;padding:1.5rem 1rem 4rem}\
h1{line-height:1.2;margin:1rem 0}h2{margin:2rem 0 .5rem;font-size:1.2rem}h3{margin:1.6rem 0 .2rem;font-size:1rem}\
a{color:inherit;text-underline-offset:.15em}code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}\
dt{margin-top:.9rem}dd{margin:.1rem 0 0 0}nav{display:flex;gap:1rem;border-bottom:1px solid;padding-bottom:.5rem}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;\
border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent)}";

/// Whether this is a browser: it wants HTML more than anything that we could send instead.
pub fn wants_html(headers: &HeaderMap) -> bool {
    let page = rank(headers, &["text/html", "application/xhtml+xml"]);
    page > rank(headers, &["application/json", "application/problem+json"])
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// `body` is HTML whose foreign parts went through [`escaped`].
pub fn html(title: &str, body: &str) -> Response {
    let title = escaped(title);
    let nav = "<nav><a href=\"/docs\">API</a><a href=\"/errors\">Errors</a><a href=\"/openapi.json\">OpenAPI</a></nav>";
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Purser</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\
         <body>{nav}<main>{body}</main></body></html>"
    );
    let mut response = page.into_response();
    let headers = response.headers_mut();
    // The style stands in the page itself; no script runs, nothing is loaded, nobody frames it.
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_foreign_becomes_markup() {
        assert_eq!(escaped("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }

    #[test]
    fn only_who_asks_for_a_page_gets_one() {
        let asks = |accept: &'static str| {
            wants_html(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert!(!wants_html(&HeaderMap::new()));
        for machine in [
            "*/*",
            "application/json",
            "application/json, text/html",
            "text/*",
            "",
            "texthtml",
            "text/html;q=0",
            "text/html;q=0.8, application/json;q=0.9",
        ] {
            assert!(!asks(machine), "{machine}");
        }
        assert!(asks("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(asks("application/json;q=0.9, TEXT/HTML"));
    }
}
