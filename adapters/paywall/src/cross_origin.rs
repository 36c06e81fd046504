//! Scripts of other origins: what a browser must be told before it lets them pay.
//!
//! A paid resource belongs to whoever pays for it, from whichever page; no answer depends on a cookie, so every origin is
//! let in, without credentials. A handler that names its own origins is left to it.

use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use x402::wire::{ALLOWED_HEADERS, EXPOSED_HEADERS};

/// Seconds for which a browser may remember it.
const MAX_AGE: &str = "600";

/// The answer to a preflight (Fetch standard, section 3.2.2), which asks before anything is paid and carries no payment:
/// it is free. `None` for any other request.
pub fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| headers.contains_key(ORIGIN))?;
    if *method != Method::OPTIONS {
        return None;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let told = response.headers_mut();
    told.insert(ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
    told.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
    told.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    Some(response)
}

pub(crate) fn expose(headers: &mut HeaderMap) {
    headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    headers.entry(ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(HeaderValue::from_static("*"));
}
