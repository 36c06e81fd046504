//! Whoever paid for exactly this comes back without paying (extension `sign-in-with-x`), where the price allows it.
//!
//! The till says who they are and what they paid for; here is only the door. What is served is the handler's answer of now,
//! not a copy: nothing is claimed and nothing settled for it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode, request};
use tower::Service;
use tracing::Instrument;
use x402::reason::Reason;
use x402::refusal::Refusal as Unread;
use x402::sign_in::{EXTENSION, Proof, SIGN_IN_WITH_X, domain};
use x402::wire::v1::Spoken;

use crate::answer::{self, Again};
use crate::ask::Ask;
use crate::charge::{Handled, handle};
use crate::layer::whole_body;
use crate::price::Price;
use crate::till::{Purpose, Refusal, SignInRequest, Till};

/// The text to sign, in every 402 of a price that takes it; nothing where the till makes none.
pub(crate) async fn declare(till: &dyn Till, price: &Price, ask: Ask) -> Ask {
    let Some(domain) = price.sign_in.and_then(|_| domain(ask.url())) else { return ask };
    let Some(challenge) = till.challenge(domain, ask.url()).await else { return ask };
    let mut networks: Vec<&str> = price.accepts.iter().map(|offer| offer.network.as_str()).collect();
    networks.dedup();
    match challenge.declaration(networks.into_iter()) {
        Some(declaration) => ask.with_extension(EXTENSION, declaration),
        None => ask,
    }
}

/// Whether somebody signs in; a payment beside it is a payment.
pub(crate) fn is_shown(price: &Price, headers: &HeaderMap) -> bool {
    price.sign_in.is_some() && headers.contains_key(SIGN_IN_WITH_X)
}

/// Whatever is wrong with it is a 402 that says so: they can pay, or sign what it declares.
pub(crate) async fn visit<S>(
    till: Arc<dyn Till>,
    price: Arc<Price>,
    ask: Ask,
    inner: S,
    (parts, body): (request::Parts, Body),
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    let mut parts = parts;
    let proof = match read(&price, &parts.headers) {
        Ok(proof) => proof,
        Err(unread) => return ask.refused(&unread.into(), &Spoken::Two),
    };
    let body = match whole_body(&price, body).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let purpose = Purpose::of(&price, &parts, ask.url(), &body);
    let (Some(seconds), Some(domain)) = (price.sign_in, domain(ask.url())) else {
        return ask.refused(&unsupported(), &Spoken::Two);
    };
    let asked = SignInRequest {
        proof,
        domain: domain.to_owned(),
        purpose,
        offers: price.accepts.clone(),
        seconds,
        release: price.release,
    };
    let paid = match till.sign_in(asked).await {
        Ok(paid) => paid,
        Err(refusal) => return ask.refused(&refusal, &Spoken::Two),
    };
    parts.headers.remove(SIGN_IN_WITH_X);
    parts.extensions.insert(paid);
    let request = Request::from_parts(parts, Body::from(body));
    let Some(offer) = price.accepts.first().cloned() else { return ask.refused(&unsupported(), &Spoken::Two) };
    match handle(inner, request, &price, &offer).in_current_span().await {
        Handled::Answer(parts, body, _) => answer::unpaid(parts, body),
        Handled::Nothing(why) => {
            let message = "the resource could not be delivered; nothing was charged, sign in again";
            answer::problem(StatusCode::INTERNAL_SERVER_ERROR, why.code(), message, Again::Never)
        }
    }
}

pub(crate) fn unsupported() -> Refusal {
    Refusal::Policy { code: "sign_in_unsupported", message: "nobody signs in here; pay".into() }
}

fn read(price: &Price, headers: &HeaderMap) -> Result<Proof, Unread> {
    let wrong = |found: String| {
        let expected = format!("one header of at most {} bytes", price.limits.header_bytes_max);
        Unread::new(Reason::SignInHeader, SIGN_IN_WITH_X, expected, found)
    };
    let mut all = headers.get_all(SIGN_IN_WITH_X).iter();
    match (all.next(), all.next()) {
        (Some(header), None) if header.len() <= price.limits.header_bytes_max => Proof::read(header.as_bytes()),
        (Some(header), None) => Err(wrong(format!("{} bytes", header.len()))),
        (_, None) => Err(wrong("none".to_owned())),
        (_, Some(_)) => Err(wrong("more than one".to_owned())),
    }
}
