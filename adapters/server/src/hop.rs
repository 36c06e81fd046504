//! What is between two hops stays there (RFC 9110 section 7.6.1): for whoever passes messages on.

use http::header::{CONNECTION, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, UPGRADE};
use http::{HeaderMap, HeaderName};

/// Takes out the headers of one hop, those that `Connection` names among them. `Host` and the lengths too: whoever sends
/// the message on says them anew.
pub fn drop_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "transfer-encoding", "content-length"] {
        headers.remove(name);
    }
}
