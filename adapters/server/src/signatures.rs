//! `POST /v1/signatures/verify`: whether an HTTP message is signed by whom it says, for whoever got it and is not in this
//! process (a seller behind a proxy, an agent with an answer).

use axum::extract::State;
use axum::response::Response;
use commerce::signatures::{
    Finding, Keys, Message, Profile, Subject, TRUSTED_AGENT, UCP_REQUEST, UCP_RESPONSE, Verified, WEB_BOT_AUTH, verify,
};
use commerce::store::ANSWER_SECONDS;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::call::{Body, Caller};
use crate::problem::{Problem, ok, shown};

const PROFILES: [&Profile; 4] = [&UCP_REQUEST, &UCP_RESPONSE, &WEB_BOT_AUTH, &TRUSTED_AGENT];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedMessage {
    profile: String,
    /// Of a request.
    method: Option<String>,
    url: Option<String>,
    /// Of an answer.
    status: Option<u16>,
    headers: Vec<Header>,
    /// base64url without padding; nothing where there is none.
    body: Option<String>,
    /// The signer's public keys, as JWKs.
    keys: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    name: String,
    value: String,
}

#[utoipa::path(post, path = "/v1/signatures/verify", tag = "mandates", request_body = crate::schema::signatures::SignedMessage,
    description = "Whether a signature over an HTTP message (RFC 9421, RFC 9530) holds, by the rules of a profile: `ucp_request`, `ucp_response`, `web_bot_auth`, or `trusted_agent` (the first layer of Visa's Trusted Agent Protocol). Whose the keys are the caller answers for. A nonce is used up by a signature that holds: the same again is `signature_replayed`, whichever replica is asked.",
    responses((status = 200, body = crate::schema::signatures::SignatureVerdict), (status = 400), (status = 401), (status = 503)))]
pub(crate) async fn check(
    State(app): State<App>,
    Caller(identity): Caller,
    Body(body): Body<SignedMessage>,
) -> Result<Response, Problem> {
    let found = match judged(&app, &body)? {
        Ok(verified) => match used(&app, &identity.tenant, &verified).await? {
            None => Ok(verified),
            Some(finding) => Err(finding),
        },
        Err(finding) => Err(finding),
    };
    Ok(ok(match found {
        Ok(verified) => json!({ "valid": true, "label": verified.label, "tag": verified.tag,
            "thumbprint": verified.thumbprint, "algorithm": verified.algorithm.as_str(), "created": verified.created,
            "nonce": verified.nonce.map(|nonce| nonce.text) }),
        Err(finding) => json!({ "valid": false, "code": finding.code(), "detail": shown(&finding.to_string()) }),
    }))
}

/// Why the nonce of a signature that holds is good for nothing more.
async fn used(app: &App, tenant: &ledger::id::TenantId, verified: &Verified) -> Result<Option<Finding>, Problem> {
    let Some(nonce) = &verified.nonce else { return Ok(None) };
    let found = nonce.until.saturating_sub(app.engine.clock.now().seconds());
    if found > ANSWER_SECONDS {
        return Ok(Some(Finding::Lifetime { most: ANSWER_SECONDS, found }));
    }
    let is_first = app.engine.first_use(tenant, &verified.thumbprint, &nonce.text).await?;
    Ok((!is_first).then(|| Finding::Replayed { nonce: nonce.text.clone() }))
}

fn judged(app: &App, body: &SignedMessage) -> Result<Result<Verified, Finding>, Problem> {
    let profile = PROFILES.into_iter().find(|profile| profile.name == body.profile).ok_or_else(|| {
        let known = PROFILES.map(|profile| profile.name).join(", ");
        Problem::invalid("profile", format!("one of {known} was expected, {} came", shown(&body.profile)))
    })?;
    let payload = mandates::base64url::decode(body.body.as_deref().unwrap_or_default())
        .ok_or_else(|| Problem::invalid("body", "base64url without padding was expected, another text came"))?;
    let names: Vec<String> = body.headers.iter().map(|header| header.name.to_ascii_lowercase()).collect();
    let values = body.headers.iter().map(|header| header.value.as_bytes());
    let fields = names.iter().map(String::as_str).zip(values).collect();
    let (keys, now) = (Keys::read(&body.keys), app.engine.clock.now().seconds());
    let held = |subject: Subject<'_>| verify(&Message { subject, fields, body: &payload }, profile, &keys, now);
    match (body.method.as_deref(), body.url.as_deref(), body.status) {
        (Some(method), Some(url), None) => {
            let wrong = || Problem::invalid("url", "an address of http or https was expected, another text came");
            let url = url::Url::parse(url).map_err(|_| wrong())?;
            let host = url.host_str().ok_or_else(wrong)?;
            let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            let (scheme, path, query) = (url.scheme(), url.path(), url.query());
            Ok(held(Subject::Request { method, scheme, authority: &authority, path, query }))
        }
        (None, None, Some(status)) => Ok(held(Subject::Response { status })),
        _ => {
            let expected = "method and url of a request, or status of an answer, were expected; something else came";
            Err(Problem::invalid("method", expected))
        }
    }
}
