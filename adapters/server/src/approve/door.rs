//! Who comes to a page, and whether a request of theirs comes from one.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use engine::Identity;
use engine::error::EngineError;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ledger::id::Digest;
use maud::{Markup, PreEscaped};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::texts::{self, Texts};
use super::view;
use crate::App;
use crate::problem::Problem;

const SESSION: &str = "purser-session";
const CSRF_TAG: &str = "purser/csrf/1";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// An answer that is no success: already in the shape that whoever asked can read.
pub(crate) struct Page(pub Box<Response>);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// Whoever looks at a page.
pub(crate) struct Visitor {
    pub identity: Option<Identity>,
    pub texts: &'static Texts,
    /// Whether a passkey can be for this address at all.
    pub can_sign: bool,
    /// Proves that a request comes from a page of this session.
    pub csrf: String,
}

/// A request that changes something, from a page of ours.
pub(crate) struct Post {
    visitor: Visitor,
    token: Option<String>,
    is_secure: bool,
    wants_page: bool,
    pub body: Bytes,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Page;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Page> {
        let path = parts.uri.path_and_query().map_or("/approve", |path| path.as_str());
        if let Some(place) = elsewhere(&parts.headers, &app.settings.page_url) {
            let location = HeaderValue::from_str(&format!("{place}{path}"))
                .map_err(|_| Page(Box::new(StatusCode::BAD_REQUEST.into_response())))?;
            return Err(Page(Box::new((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())));
        }
        let visitor = Self::of(parts, app).await?;
        // A strict cookie does not come along a link of others: the page is asked for once more, by itself.
        let came_by_link = parts.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
        if visitor.identity.is_none()
            && came_by_link
            && parts.headers.get("sec-fetch-dest").is_some_and(|to| to == "document")
        {
            return Err(Page(Box::new(visitor.page(StatusCode::OK, view::once_more(&visitor, path)))));
        }
        Ok(visitor)
    }
}

impl Visitor {
    async fn of(parts: &Parts, app: &App) -> Result<Self, Page> {
        let texts = texts::of(parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()));
        let can_sign = app.engine.pages().and_then(engine::approver::Pages::party).is_ok();
        let mut visitor = Self { identity: None, texts, can_sign, csrf: String::new() };
        let Some(token) = session(&parts.headers, is_secure(app)) else { return Ok(visitor) };
        visitor.identity = app.engine.signed_in(&token).await.map_err(|error| visitor.refused(error))?;
        if let Some(identity) = &visitor.identity {
            app.limiter.admit(identity).map_err(|problem| visitor.shown(&problem))?;
            tracing::Span::current().record("tenant", identity.tenant.as_str());
            tracing::Span::current().record("principal", identity.caller.principal.as_str());
        }
        visitor.csrf = Digest::of_parts(CSRF_TAG, &[token.as_bytes()]).to_string();
        Ok(visitor)
    }

    pub fn page(&self, status: StatusCode, body: Markup) -> Response {
        let PreEscaped(text) = body;
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // Not `no-referrer`: with it a browser sends `Origin: null` along a form.
            (header::REFERRER_POLICY, "same-origin"),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "accept-language, cookie"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (
                HeaderName::from_static("permissions-policy"),
                "publickey-credentials-create=(self), publickey-credentials-get=(self), digital-credentials-get=(self)",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(language) = HeaderValue::from_str(self.texts.language) {
            headers.insert(header::CONTENT_LANGUAGE, language);
        }
        response
    }

    pub fn not_found(&self) -> Page {
        Page(Box::new(self.page(StatusCode::NOT_FOUND, view::not_yours(self))))
    }

    pub fn refused(&self, error: EngineError) -> Page {
        self.shown(&error.into())
    }

    /// For whoever is not signed in, at any address.
    pub fn sign_in(&self) -> Page {
        Page(Box::new(self.page(StatusCode::OK, view::sign_in(self))))
    }

    fn shown(&self, problem: &Problem) -> Page {
        Page(Box::new(self.page(problem.status, view::failed(self, problem))))
    }
}

impl FromRequest<App> for Post {
    type Rejection = Page;

    async fn from_request(request: Request, app: &App) -> Result<Self, Page> {
        let (parts, body) = request.into_parts();
        let visitor = Visitor::of(&parts, app).await?;
        let is_secure = is_secure(app);
        let wants_page = crate::page::wants_html(&parts.headers);
        let token = session(&parts.headers, is_secure);
        let mut post = Self { visitor, token, is_secure, wants_page, body: Bytes::new() };
        let origins: Vec<&HeaderValue> = parts.headers.get_all(header::ORIGIN).iter().collect();
        if !matches!(origins.as_slice(), [origin] if origin.as_bytes() == app.settings.page_url.as_bytes()) {
            let detail = format!("a page of {} was expected to ask, another did", app.settings.page_url);
            return Err(post.problem(Problem::new(StatusCode::FORBIDDEN, "page_origin_wrong", detail)));
        }
        let request = Request::from_parts(parts, body);
        post.body = crate::call::bytes(request, app).await.map_err(|problem| post.problem(problem))?;
        Ok(post)
    }
}

impl Post {
    /// Whose session it is. The token of its pages is no secret of the cookie's, and cannot be made without it.
    pub fn in_session(&self, csrf: &str) -> Result<(&Identity, &str), Page> {
        let (Some(identity), Some(token)) = (&self.visitor.identity, &self.token) else {
            let detail = "somebody who is signed in was expected, nobody is";
            return Err(self.problem(Problem::new(StatusCode::UNAUTHORIZED, "not_signed_in", detail)));
        };
        if !bool::from(csrf.as_bytes().ct_eq(self.visitor.csrf.as_bytes())) {
            let detail = "the token of this session's own pages was expected, another came";
            return Err(self.problem(Problem::new(StatusCode::FORBIDDEN, "csrf_token_wrong", detail)));
        }
        Ok((identity, token))
    }

    pub fn refused(&self, error: EngineError) -> Page {
        self.problem(error.into())
    }

    pub fn not_found(&self) -> Page {
        self.problem(Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such question here"))
    }

    /// A page for a form; for a script the problem, with the sentence that its person is shown.
    pub fn problem(&self, problem: Problem) -> Page {
        if self.wants_page {
            return self.visitor.shown(&problem);
        }
        let mut problem = problem;
        problem.values.insert("message".into(), self.visitor.texts.of_code(&problem.code).into());
        Page(Box::new(problem.into_response()))
    }

    pub fn signed_in(&self, token: &str) -> Response {
        let seconds = engine::approver::SESSION_SECONDS;
        self.with_cookie(axum::Json(json!({ "ok": true })).into_response(), token, seconds)
    }

    pub fn signed_out(&self) -> Response {
        let to = (StatusCode::SEE_OTHER, [(header::LOCATION, "/approve")]).into_response();
        self.with_cookie(to, "", 0)
    }

    fn with_cookie(&self, mut response: Response, token: &str, seconds: i64) -> Response {
        let (name, secure) = (cookie_name(self.is_secure), if self.is_secure { "; Secure" } else { "" });
        let cookie = format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn is_secure(app: &App) -> bool {
    app.settings.page_url.starts_with("https:")
}

/// With the prefix a browser takes it from this host alone, over TLS (RFC 6265bis section 4.1.3.2).
fn cookie_name(is_secure: bool) -> String {
    if is_secure { format!("__Host-{SESSION}") } else { SESSION.to_owned() }
}

/// Of several by the same name none is believed.
fn session(headers: &HeaderMap, is_secure: bool) -> Option<String> {
    let name = cookie_name(is_secure);
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut found = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned());
    let first = found.next();
    if found.next().is_some() { None } else { first }
}

/// On this machine the pages are at `localhost`: a passkey is for a name, never for an address.
fn elsewhere<'a>(headers: &HeaderMap, page_url: &'a str) -> Option<&'a str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let is_address = host.starts_with("127.0.0.1") || host.starts_with("[::1]");
    (is_address && page_url.starts_with("http://localhost")).then_some(page_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_once_and_exactly() {
        let found = |lines: &[&'static str], is_secure| {
            let headers = lines.iter().map(|line| (header::COOKIE, HeaderValue::from_static(line))).collect();
            session(&headers, is_secure)
        };
        for none in [
            &[][..],
            &["purser-session"],
            &["purser-sessionx=a"],
            &["x-purser-session=a"],
            &["__Host-purser-session=a"],
            &["purser-session=a; purser-session=b"],
            &["purser-session=a", "purser-session=a"],
        ] {
            assert_eq!(found(none, false), None, "{none:?}");
        }
        assert_eq!(found(&["purser-session=a"], true), None, "one that was set without TLS");
        assert_eq!(found(&["other=1; purser-session=a"], false), Some("a".into()));
        assert_eq!(found(&["__Host-purser-session=a"], true), Some("a".into()));
    }

    #[test]
    fn only_this_machine_by_number_is_sent_elsewhere() {
        let found = |host: &'static str, page: &'static str| {
            elsewhere(&HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]), page)
        };
        assert_eq!(found("localhost:1", "http://localhost:1"), None);
        assert_eq!(found("evil.example", "http://localhost:1"), None);
        assert_eq!(found("127.0.0.1:1", "https://pay.example"), None);
        assert_eq!(found("127.0.0.1:1", "http://localhost:1"), Some("http://localhost:1"));
    }
}
