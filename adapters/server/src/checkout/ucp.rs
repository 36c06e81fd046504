//! The REST binding of UCP 2026-04-08: `/checkout-sessions…` and `/.well-known/ucp`.
//!
//! A platform says who it is by the address of its profile (`UCP-Agent`). The profile is read when a checkout is opened,
//! and what was negotiated then holds for that checkout. A request that is signed (RFC 9421) is so by a key of the profile;
//! that a checkout is completed is answered signed.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use commerce::checkout::{Protocol, Refusal};
use commerce::signatures::{Dictionary, Finding, Member};
use commerce::ucp::negotiate::{Active, negotiate};
use commerce::ucp::{read, write};
use engine::checkout::{Call, Operation, Presented, Reply};
use http::request::Parts;
use ledger::id::Digest;
use mandates::json::Object;

use super::signed::{self, Unproven};
use super::{Doors, IDEMPOTENCY_KEY, NoProfile, address, answer, key, name, published, said};
use crate::call::{bytes, only, parse_object};
use crate::problem::{Problem, shown};

fn error(status: u16, code: &str, message: &str, path: &str) -> Reply {
    said(status, write::refused(code, message, path))
}

fn of_problem(problem: &Problem) -> Reply {
    error(problem.status.as_u16(), &problem.code, &problem.detail, "")
}

/// The member `profile` of `UCP-Agent`, a dictionary of structured fields (RFC 9651).
pub fn profile_url(header: &str) -> Option<String> {
    match Dictionary::parse(header).ok()?.get("profile")? {
        Member::Item(item) => item.text().map(str::to_owned),
        Member::List(_) => None,
    }
}

struct Received {
    parts: Parts,
    call: Call,
    profile: String,
    body: Option<Object>,
}

async fn received(doors: &Doors, request: Request) -> Result<Received, (Parts, Reply)> {
    let (parts, body) = request.into_parts();
    let turned_away = |reply: Reply| (parts.clone(), reply);
    let agent = only(&parts, "ucp-agent").ok().flatten().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let Some(profile) = agent.and_then(profile_url) else {
        let message = "UCP-Agent: profile=\"https://…\" was expected, none that can be read came";
        return Err(turned_away(error(400, "invalid_profile_url", message, "")));
    };
    let named = name(&parts.headers, &IDEMPOTENCY_KEY);
    let named = named.map_err(|why| turned_away(error(400, "idempotency_key_invalid", &why, "")))?;
    let body = bytes(Request::from_parts(parts.clone(), body), &doors.app).await;
    let body = body.map_err(|problem| turned_away(of_problem(&problem)))?;
    let object = match body.is_empty() {
        true => None,
        false => Some(parse_object(&body).map_err(|problem| turned_away(of_problem(&problem)))?),
    };
    let owner = proven(doors, &parts, &body, &profile).await.map_err(turned_away)?;
    let is_write = parts.method != http::Method::GET;
    let call = Call {
        tenant: doors.setup.tenant.clone(),
        protocol: Protocol::Ucp,
        owner,
        opener: address(&parts),
        // The bytes as they came: UCP compares those.
        key: named.filter(|_| is_write).map(|text| key(&parts, text, Digest::of(&body))),
    };
    Ok(Received { parts, call, profile, body: object })
}

async fn fetched(doors: &Doors, profile: &str) -> Result<Object, Reply> {
    doors.setup.profiles.profile(profile).await.map_err(|failed| match failed {
        NoProfile::Url(why) => error(400, "invalid_profile_url", &shown(&why), ""),
        NoProfile::Unreachable(why) => error(424, "profile_unreachable", &shown(&why), ""),
    })
}

/// Whose checkouts this request is about: those of whoever proved to publish the profile, or of anybody who names it.
async fn proven(doors: &Doors, parts: &Parts, body: &[u8], profile: &str) -> Result<String, Reply> {
    let found = |finding: &Finding| {
        let (code, status) = finding.ucp();
        let said = if code == finding.code() { String::new() } else { format!("{}: ", finding.code()) };
        error(status, code, &shown(&format!("{said}{finding}")), "")
    };
    if !signed::claims(doors, parts) {
        if doors.setup.signed_only {
            let (expected, came) = ("the headers Signature and Signature-Input (RFC 9421)", "none came");
            return Err(found(&Finding::Missing { expected: expected.to_owned(), found: came.to_owned() }));
        }
        return Ok(format!("ucp:{profile}"));
    }
    let published = fetched(doors, profile).await?;
    match signed::prove(doors, parts, body, &published).await {
        Ok(verified) => {
            tracing::debug!(key = %verified.thumbprint, "a platform signed");
            Ok(format!("ucp-signed:{profile}"))
        }
        Err(Unproven::Finding(finding)) => Err(found(&finding)),
        Err(Unproven::Failed(problem)) => Err(of_problem(&problem)),
    }
}

/// What this shop and that platform can do together.
async fn negotiated(doors: &Doors, profile: &str) -> Result<Active, Reply> {
    let found = fetched(doors, profile).await?;
    negotiate(&found).map_err(|unable| {
        let (code, status) = unable.code();
        error(status, code, &shown(&unable.to_string()), "")
    })
}

async fn serve(doors: &Doors, received: Received, operation: Result<Operation, Refusal>) -> Response {
    let operation = operation.unwrap_or_else(Operation::Unread);
    let reply = doors.app.engine.checkout(&received.call, &operation).await;
    let reply = reply.unwrap_or_else(|error| of_problem(&error.into()));
    answer(&received.parts.headers, reply)
}

fn given(body: Option<&Object>) -> Result<&Object, Refusal> {
    body.ok_or_else(|| Refusal::new(commerce::checkout::Code::Missing, "$", "a JSON object was expected; nothing came"))
}

macro_rules! received {
    ($doors:expr, $request:expr) => {
        match received($doors, $request).await {
            Ok(received) => received,
            Err((parts, reply)) => return answer(&parts.headers, reply),
        }
    };
}

#[utoipa::path(post, path = "/checkout-sessions", tag = "shop", request_body(content = crate::schema::commerce::UcpCheckoutRequest, description = "A checkout of UCP 2026-04-08."),
    params(("UCP-Agent" = String, Header, description = "profile=\"…\", the address of the platform's profile"), ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255)),
    description = "The same shop by UCP: opens a checkout, by what shop and platform can do together.",
    responses((status = 201, body = crate::schema::commerce::UcpAnswer), (status = 200, body = crate::schema::commerce::UcpRefusal), (status = 400, body = crate::schema::commerce::UcpRefusal), (status = 401, body = crate::schema::commerce::UcpRefusal), (status = 409, body = crate::schema::commerce::UcpRefusal), (status = 422, body = crate::schema::commerce::UcpRefusal), (status = 424, body = crate::schema::commerce::UcpRefusal)))]
pub async fn open(State(doors): State<Doors>, request: Request) -> Response {
    let received = received!(&doors, request);
    let active = match negotiated(&doors, &received.profile).await {
        Ok(active) => active,
        Err(reply) => return answer(&received.parts.headers, reply),
    };
    let change = given(received.body.as_ref()).and_then(read::change);
    serve(&doors, received, change.map(|change| Operation::Open { change, active })).await
}

#[utoipa::path(get, path = "/checkout-sessions/{id}", tag = "shop", 
    params(("id" = String, Path), ("UCP-Agent" = String, Header, description = "profile=\"…\", the address of the platform's profile"), ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255)),
    description = "A checkout of the platform.",
    responses((status = 200, body = crate::schema::commerce::UcpAnswer), (status = 400, body = crate::schema::commerce::UcpRefusal), (status = 401, body = crate::schema::commerce::UcpRefusal), (status = 404, body = crate::schema::commerce::UcpRefusal), (status = 424, body = crate::schema::commerce::UcpRefusal)))]
pub async fn show(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Response {
    let received = received!(&doors, request);
    serve(&doors, received, Ok(Operation::Show { id })).await
}

#[utoipa::path(put, path = "/checkout-sessions/{id}", tag = "shop", request_body(content = crate::schema::commerce::UcpCheckoutRequest, description = "A checkout of UCP 2026-04-08: the whole of it."),
    params(("id" = String, Path), ("UCP-Agent" = String, Header, description = "profile=\"…\", the address of the platform's profile"), ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255)),
    description = "Changes a checkout. What breaks a rule of UCP is a 200 with `ucp.status` error.",
    responses((status = 200, body = crate::schema::commerce::UcpAnswer), (status = 400, body = crate::schema::commerce::UcpRefusal), (status = 401, body = crate::schema::commerce::UcpRefusal), (status = 404, body = crate::schema::commerce::UcpRefusal), (status = 409, body = crate::schema::commerce::UcpRefusal), (status = 424, body = crate::schema::commerce::UcpRefusal)))]
pub async fn change(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Response {
    let received = received!(&doors, request);
    let change = given(received.body.as_ref()).and_then(read::change);
    serve(&doors, received, change.map(|change| Operation::Change { id, change })).await
}

#[utoipa::path(post, path = "/checkout-sessions/{id}/cancel", tag = "shop", 
    params(("id" = String, Path), ("UCP-Agent" = String, Header, description = "profile=\"…\", the address of the platform's profile"), ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255)),
    description = "Cancels a checkout.",
    responses((status = 200, body = crate::schema::commerce::UcpAnswer), (status = 400, body = crate::schema::commerce::UcpRefusal), (status = 401, body = crate::schema::commerce::UcpRefusal), (status = 404, body = crate::schema::commerce::UcpRefusal), (status = 409, body = crate::schema::commerce::UcpRefusal), (status = 424, body = crate::schema::commerce::UcpRefusal)))]
pub async fn cancel(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Response {
    let received = received!(&doors, request);
    serve(&doors, received, Ok(Operation::Cancel { id })).await
}

#[utoipa::path(post, path = "/checkout-sessions/{id}/complete", tag = "shop", request_body(content = crate::schema::commerce::UcpComplete, description = "`payment`, and `ap2` where that was negotiated."),
    params(("id" = String, Path), ("UCP-Agent" = String, Header, description = "profile=\"…\", the address of the platform's profile"), ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255)),
    description = "Pays for a checkout. What breaks a rule of UCP is a 200 with `ucp.status` error.",
    responses((status = 200, body = crate::schema::commerce::UcpAnswer), (status = 400, body = crate::schema::commerce::UcpRefusal), (status = 401, body = crate::schema::commerce::UcpRefusal), (status = 402, body = crate::schema::commerce::UcpCheckout), (status = 404, body = crate::schema::commerce::UcpRefusal), (status = 409, body = crate::schema::commerce::UcpRefusal), (status = 424, body = crate::schema::commerce::UcpRefusal)))]
pub async fn complete(State(doors): State<Doors>, Path(id): Path<String>, request: Request) -> Response {
    let received = received!(&doors, request);
    let completion = given(received.body.as_ref()).and_then(read::complete);
    let operation = completion.map(|completion| {
        let read::Completion { handler, token, checkout_mandate } = completion;
        Operation::Complete { id, presented: Presented { handler, token, checkout_mandate } }
    });
    let response = serve(&doors, received, operation).await;
    if response.status() == http::StatusCode::OK { signed::sign(&doors, response).await } else { response }
}

#[utoipa::path(get, path = "/.well-known/ucp", tag = "shop", description = "The shop's profile, with the keys that it signs with.",
    responses((status = 200), (status = 404)))]
pub async fn profile(State(doors): State<Doors>) -> Response {
    match doors.shop() {
        Ok((shop, keys)) => published(write::profile(&shop, &keys)),
        Err(problem) => answer(&http::HeaderMap::new(), of_problem(&problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::profile_url;

    #[test]
    fn a_platform_is_named_by_its_profile() {
        let url = "https://agent.example/profile.json";
        for (header, expected) in [
            ("", None),
            ("curl/8", None),
            ("profile=https://agent.example", None),
            ("profile=\"https://agent.example", None),
            ("xprofile=\"https://agent.example\"", None),
            ("x=\"a, profile=\", profile=1", None),
            ("profile=\"https://a.example\", profile=\"https://b.example\"", None),
            ("profile=\"https://agent.example/profile.json\"", Some(url)),
            ("name=\"x\", profile=\"https://agent.example/profile.json\"; version=\"2026-04-08\"", Some(url)),
        ] {
            assert_eq!(profile_url(header).as_deref(), expected, "{header}");
        }
    }
}
