//! Reading a call: who makes it, and a body of ours, strictly.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use engine::Identity;
use http::request::Parts;
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::App;
use crate::problem::Problem;

/// The longest body of ours that is read; a chain with a cart and many disclosures stays below it.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Whoever holds the token.
pub struct Caller(pub Identity);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let first = values.next().map(http::HeaderValue::as_bytes);
        if values.next().is_some() {
            return Err(Problem::invalid("authorization", "one Authorization header was expected, several came"));
        }
        let identity = app.tokens.identify(first, app.engine.clock.now().seconds())?;
        tracing::Span::current().record("tenant", identity.tenant.as_str());
        tracing::Span::current().record("principal", identity.caller.principal.as_str());
        Ok(Self(identity))
    }
}

/// Whoever holds a token; without one, a stranger in the tenant that the configuration names for this.
pub struct Anyone(pub Identity);

impl FromRequestParts<App> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        match &app.settings.verifier {
            Some(tenant) if !parts.headers.contains_key(header::AUTHORIZATION) => {
                Ok(Self(engine::service(tenant, "anyone")?))
            }
            _ => Caller::from_request_parts(parts, app).await.map(|Caller(identity)| Self(identity)),
        }
    }
}

/// A JSON body without duplicate members, unknown fields or excess depth. The media type is not insisted upon.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Self::Rejection> {
        parse(&bytes(request, app).await?).map(Self)
    }
}

/// The bytes as they came, bounded.
pub async fn bytes(request: Request, app: &App) -> Result<Bytes, Problem> {
    Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("a body of at most {BODY_BYTES_MAX} bytes was expected, a longer one came"),
        ),
        _ => Problem::invalid("body", "the body could not be read to its end"),
    })
}

pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The strict reader refuses duplicate members and depth; the second reading gives the type.
    mandates::json::parse(bytes).map_err(|error| Problem::invalid("body", error.to_string()))?;
    serde_json::from_slice(bytes).map_err(|error| Problem::invalid("body", crate::problem::shown(&error.to_string())))
}

/// An object whose members are looked at one by one.
pub fn parse_object(bytes: &[u8]) -> Result<serde_json::Map<String, Value>, Problem> {
    mandates::json::parse_object(bytes).map_err(|error| Problem::invalid("body", error.to_string()))
}

pub fn id<T: std::str::FromStr<Err = ledger::id::ParseIdError>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: ledger::id::ParseIdError| {
        let mut problem = Problem::new(StatusCode::NOT_FOUND, "not_found", error.to_string());
        problem.field = Some("id".into());
        problem
    })
}
