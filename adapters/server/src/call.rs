//! Reading a call: who makes it, and a body of ours, strictly.

use axum::body::Bytes;
use axum::extract::Request as HttpRequest;
use axum::extract::{FromRequest, FromRequestParts};
use engine::Identity;
use http::request::Parts;
use http::{StatusCode, header};
use identity::callers::{Call, CallerError, Identified, Presented, Repeated};
use identity::dpop::Request;
use identity::token::TokenError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::App;
use crate::limits::{BODY_BYTES_MAX, Peer};
use crate::problem::Problem;

/// The header that carries a proof of possession (RFC 9449).
pub const DPOP: &str = "dpop";

/// Whoever calls, for a route that only reads.
pub struct Caller(pub Identity);

/// Whoever calls, for a route that spends, decides, signs or stops something: with a proof of possession.
pub struct Actor(pub Identity);

/// Who calls, or why nobody known does: for a route that decides itself whether that matters.
pub struct CallerOrStranger(pub Result<Identity, Problem>);

impl FromRequestParts<App> for CallerOrStranger {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(identify(parts, app, Call::Reads).await))
    }
}

/// Whoever calls; without a token, a stranger in the tenant that the configuration names for this.
pub struct Anyone(pub Identity);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        identify(parts, app, Call::Reads).await.map(Self)
    }
}

impl FromRequestParts<App> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        identify(parts, app, Call::Acts).await.map(Self)
    }
}

impl FromRequestParts<App> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        match &app.settings.verifier {
            Some(tenant)
                if !parts.headers.contains_key(header::AUTHORIZATION)
                    && parts.extensions.get::<Admitted>().is_none() =>
            {
                Ok(Self(engine::service(tenant, "anyone")?))
            }
            _ => identify(parts, app, Call::Reads).await.map(Self),
        }
    }
}

/// Who calls, found at another door of this process, and for what they showed enough there. Only code puts it into a
/// request's extensions: nothing that comes over a connection can.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub identity: Identity,
    pub call: Call,
}

impl Admitted {
    fn of(&self, call: Call) -> Result<Identity, Problem> {
        match (self.call, call) {
            (Call::Reads, Call::Acts) => Err(CallerError::Token(TokenError::Unbound).into()),
            _ => Ok(self.identity.clone()),
        }
    }
}

/// Who calls, unless it is an agent that is stopped.
pub(crate) async fn identify(parts: &Parts, app: &App, call: Call) -> Result<Identity, Problem> {
    if let Some(admitted) = parts.extensions.get::<Admitted>() {
        return admitted.of(call);
    }
    let Identified { identity, issued_at } = shown(parts, app, call)?;
    app.engine.check_stands(&identity, issued_at).await?;
    Ok(identity)
}

fn shown(parts: &Parts, app: &App, call: Call) -> Result<Identified, Problem> {
    let authorization = only(parts, header::AUTHORIZATION.as_str())
        .map_err(|Repeated| Problem::invalid("authorization", "one Authorization header was expected, several came"))?;
    let address = format!("{}{}", app.settings.public_url, parts.uri.path());
    let request = Request { method: parts.method.as_str(), address: &address, now: app.engine.clock.now().seconds() };
    let presented = Presented { authorization, proof: only(parts, DPOP) };
    let identified = match app.callers.identify(call, presented, request) {
        Ok(identified) => identified,
        Err(error) => {
            // A guess at a token is a call without one.
            if let Some(peer) = parts.extensions.get::<Peer>()
                && parts.headers.contains_key(header::AUTHORIZATION)
            {
                app.limiter.admit_peer(*peer)?;
            }
            return Err(error.into());
        }
    };
    let identity = &identified.identity;
    app.limiter.admit(identity)?;
    tracing::Span::current().record("tenant", identity.tenant.as_str());
    tracing::Span::current().record("principal", identity.caller.principal.as_str());
    Ok(identified)
}

/// The header's value.
pub fn only<'a>(parts: &'a Parts, name: &str) -> Result<Option<&'a [u8]>, Repeated> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first.map(http::HeaderValue::as_bytes)),
        (_, Some(_)) => Err(Repeated),
    }
}

/// A JSON body without duplicate members, unknown fields or excess depth. The media type is not insisted upon.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, app: &App) -> Result<Self, Self::Rejection> {
        parse(&bytes(request, app).await?).map(Self)
    }
}

/// The longest body of the routes below that say less than all do: beside the layer that holds it, for the sentence.
#[derive(Clone, Copy, Debug)]
pub struct BodyMost(pub usize);

/// The bytes as they came, bounded.
pub async fn bytes(request: HttpRequest, app: &App) -> Result<Bytes, Problem> {
    let coding = request.headers().get_all(header::CONTENT_ENCODING).iter();
    if let Some(other) = coding.map(|coding| String::from_utf8_lossy(coding.as_bytes())).find(|it| *it != "identity") {
        let found = crate::problem::shown(&other);
        return Err(Problem::invalid("body", format!("a body without Content-Encoding was expected, {found} came")));
    }
    let most = request.extensions().get::<BodyMost>().map_or(BODY_BYTES_MAX, |most| most.0);
    Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("a body of at most {most} bytes was expected, a longer one came"),
        ),
        _ => Problem::invalid("body", "the body could not be read to its end"),
    })
}

pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The strict reader refuses duplicate members and depth; the second reading gives the type.
    let value = mandates::json::parse(bytes).map_err(|error| Problem::invalid("body", error.to_string()))?;
    if !value.is_object() {
        // A list of the members' values would be read as well, by their order.
        let found = mandates::json::kind(&value);
        return Err(Problem::invalid("body", format!("a JSON object was expected; {found} came")));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        // In words of JSON, not of this program.
        let text = error.to_string().replace("expected u64", "expected a whole number of 0 or more");
        Problem::invalid("body", crate::problem::shown(&text))
    })
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
