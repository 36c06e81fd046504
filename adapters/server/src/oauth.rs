//! The token endpoint: client credentials by `private_key_jwt` (RFC 6749, RFC 7523), tokens bound by DPoP (RFC 9449).
//! Errors are in OAuth's own shape (RFC 6749 section 5.2).

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use identity::assertion::AssertionError;
use identity::callers::GrantError;
use identity::dpop::{ProofError, Request as Proved};
use serde_json::json;

use crate::App;
use crate::call::{DPOP, bytes, only};
use crate::limits::FORM_BYTES_MAX;
use crate::problem::ok;

/// RFC 7523, and of a JWT-SVID (draft-ietf-oauth-spiffe-client-auth). What the assertion is says itself.
const ASSERTION_TYPES: [&str; 2] = [
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
];

static COUNT: AtomicU64 = AtomicU64::new(0);

#[utoipa::path(post, path = "/oauth/token", tag = "identity",
    request_body(content = String, content_type = "application/x-www-form-urlencoded",
        description = "grant_type=client_credentials, client_assertion_type, client_assertion; and a DPoP header."),
    params(("DPoP" = String, Header, description = "A proof without `ath` (RFC 9449 section 5).")),
    responses((status = 200, body = crate::schema::answers::AccessToken), (status = 400), (status = 401), (status = 413), (status = 503)))]
pub async fn token(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(Some(proof)) = only(&parts, DPOP) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_dpop_proof", "one DPoP header was expected");
    };
    let proof = proof.to_vec();
    let body = match bytes(Request::from_parts(parts, body), &app).await {
        Ok(body) if body.len() <= FORM_BYTES_MAX => body,
        Ok(_) => return refused(StatusCode::BAD_REQUEST, "invalid_request", "the form is longer than what is read"),
        Err(problem) => return problem.into_response(),
    };
    if let Some(other) = other_target(&body, &app.settings.public_url) {
        let description = format!("resource: this service or its /mcp was expected, {other} came");
        return refused(StatusCode::BAD_REQUEST, "invalid_target", &description);
    }
    let assertion = match assertion(&body) {
        Ok(assertion) => assertion,
        Err((error, description)) => return refused(StatusCode::BAD_REQUEST, error, description),
    };
    let address = format!("{}/oauth/token", app.settings.public_url);
    let now = app.engine.clock.now();
    let id = format!("{:x}-{:x}-{}", now.0, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let proved = Proved { method: "POST", address: &address, now: now.seconds() };
    match app.callers.grant(&assertion, &proof, proved, &id) {
        Ok(granted) => {
            let token = json!({
                "access_token": granted.token, "token_type": "DPoP", "expires_in": granted.seconds,
            });
            let mut response = ok(token);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => grant_refused(error),
    }
}

/// The client assertion of a form without repeated or foreign parameters that would change its meaning.
fn assertion(body: &[u8]) -> Result<String, (&'static str, &'static str)> {
    let mut found = [None, None, None];
    for (name, value) in url::form_urlencoded::parse(body) {
        let place = match &*name {
            "grant_type" => 0,
            "client_assertion_type" => 1,
            "client_assertion" => 2,
            // RFC 6749 section 3.2: unknown parameters are ignored.
            _ => continue,
        };
        if found[place].replace(value.into_owned()).is_some() {
            return Err(("invalid_request", "a parameter stands twice"));
        }
    }
    let [grant_type, assertion_type, assertion] = found;
    match grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(("unsupported_grant_type", "client_credentials was expected")),
        None => return Err(("invalid_request", "grant_type is missing")),
    }
    if !assertion_type.is_some_and(|kind| ASSERTION_TYPES.contains(&kind.as_str())) {
        return Err(("invalid_request", "client_assertion_type jwt-bearer or jwt-spiffe was expected"));
    }
    assertion.ok_or(("invalid_request", "client_assertion is missing"))
}

/// A resource (RFC 8707 section 2) that a token of ours would be no good for.
fn other_target(body: &[u8], public_url: &str) -> Option<String> {
    let ours = [public_url.to_owned(), format!("{public_url}/"), format!("{public_url}{}", crate::mcp::door::PATH)];
    let mut asked = url::form_urlencoded::parse(body).filter(|(name, _)| name == "resource");
    let other = asked.find(|(_, value)| !ours.iter().any(|known| known == value));
    other.map(|(_, value)| crate::problem::shown(&value))
}

fn grant_refused(error: GrantError) -> Response {
    let said = error.to_string();
    match error {
        GrantError::Client(AssertionError::Busy) | GrantError::Proof(ProofError::Busy) => {
            refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", &said)
        }
        GrantError::Client(_) => refused(StatusCode::UNAUTHORIZED, "invalid_client", &said),
        GrantError::Proof(_) => refused(StatusCode::BAD_REQUEST, "invalid_dpop_proof", &said),
        GrantError::Signing | GrantError::IssuerUnavailable => {
            refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", &said)
        }
    }
}

fn refused(status: StatusCode, error: &str, description: &str) -> Response {
    // `code` and `detail` beside OAuth's own members, so that every refusal of this service reads alike.
    let body = json!({ "error": error, "error_description": description, "code": error, "detail": description });
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "identity",
    description = "RFC 8414.", responses((status = 200)))]
pub async fn metadata(State(app): State<App>) -> Response {
    let issuer = app.callers.issuer();
    ok(json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "spiffe_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
        "dpop_signing_alg_values_supported": ["ES256"],
    }))
}
