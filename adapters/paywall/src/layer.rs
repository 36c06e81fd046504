//! The tower layer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tower::{Layer, Service};
use tracing::Instrument;
use x402::limit::URL_BYTES_MAX;
use x402::settlement::ClaimKey;
use x402::sign_in::SIGN_IN_WITH_X;
use x402::wire::{PAYMENT_SIGNATURE, X_PAYMENT};

use crate::answer::{self, Again};
use crate::ask::Ask;
use crate::charge::{BodyError, Charge, read_body};
use crate::cross_origin;
use crate::presented::{self, Presented};
use crate::price::Price;
use crate::sign_in;
use crate::signing::sign_offers;
use crate::till::{ClaimRequest, Purpose, Till};

/// In the extensions of a request that reaches the handler: it is claimed, and will be settled if the handler
/// answers below 400. The payment header itself is taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Verified: who pays in which token, under which nonce.
    pub claim: ClaimKey,
    /// What the claim is good for, in atomic units of the token.
    pub amount: String,
}

/// Charges for every route that it is put on. Put it on routes (`route_layer`), not on a whole service: whatever is
/// inside costs its price.
#[derive(Clone)]
pub struct PaywallLayer {
    till: Arc<dyn Till>,
    price: Arc<Price>,
}

impl PaywallLayer {
    pub fn new(till: Arc<dyn Till>, price: Price) -> Self {
        Self { till, price: Arc::new(price) }
    }
}

impl<S> Layer<S> for PaywallLayer {
    type Service = Paywall<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Paywall { till: self.till.clone(), price: self.price.clone(), inner }
    }
}

#[derive(Clone)]
pub struct Paywall<S> {
    till: Arc<dyn Till>,
    price: Arc<Price>,
    inner: S,
}

impl<S> Service<Request<Body>> for Paywall<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // the clone left behind is not ready; the charge readies its own before it calls
        let (till, price, inner) = (self.till.clone(), self.price.clone(), self.inner.clone());
        Box::pin(async move { Ok(answer::finish(charge(till, price, inner, request).await)) })
    }
}

async fn charge<S>(till: Arc<dyn Till>, price: Arc<Price>, inner: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    let (mut parts, body) = request.into_parts();
    if let Some(answer) = cross_origin::preflight(&parts.method, &parts.headers) {
        return answer;
    }
    let resource_url = price.resource_url(&parts);
    if resource_url.len() > URL_BYTES_MAX {
        let message = format!("the resource's address: at most {URL_BYTES_MAX} bytes, found {}", resource_url.len());
        return answer::problem(StatusCode::URI_TOO_LONG, "resource_url_too_long", &message, Again::Never);
    }
    // An answer to HEAD has no body (RFC 9110 section 9.3.2): nothing is sold for it, whatever is offered.
    if parts.method == Method::HEAD {
        for name in [PAYMENT_SIGNATURE, X_PAYMENT, SIGN_IN_WITH_X] {
            parts.headers.remove(name);
        }
    }
    let ask = Ask::new(price.clone(), resource_url.clone(), &parts.headers);
    let pays = [PAYMENT_SIGNATURE, X_PAYMENT].iter().any(|name| parts.headers.contains_key(*name));
    let ask = if pays { ask } else { sign_in::declare(&*till, &price, sign_offers(&*till, &price, ask).await).await };
    let ask =
        till.declared(&price.accepts).await.into_iter().fold(ask, |ask, (name, said)| ask.with_extension(&name, said));
    if !pays && sign_in::is_shown(&price, &parts.headers) {
        return sign_in::visit(till, price, ask, inner, (parts, body)).await;
    }
    let Presented { key, payload, requirements, spoken, identifier } = match presented::read(&parts.headers, &ask) {
        Ok(presented) => presented,
        Err(answer) => return *answer,
    };
    let body = match whole_body(&price, body).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let purpose = Purpose::of(&price, &parts, &resource_url, &body);
    for name in [PAYMENT_SIGNATURE, X_PAYMENT, SIGN_IN_WITH_X] {
        parts.headers.remove(name);
    }
    parts.extensions.insert(Paid { claim: key, amount: requirements.amount.clone() });
    let (repeat, release) = (price.repeat, price.release);
    let claim = ClaimRequest { key, payload, requirements, purpose, identifier, repeat, release };
    let request = Request::from_parts(parts, Body::from(body));
    let task = tokio::spawn(Charge { till, price, ask, spoken, claim, inner, request }.run().in_current_span());
    match task.await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, claim = %key, "a charge ended without an answer");
            let message = "whether this payment settled is not known yet; present the same payment again";
            answer::problem(StatusCode::BAD_GATEWAY, "outcome_unknown", message, Again::SamePayment)
        }
    }
}

/// Digested before anything is claimed, and bounded.
pub(crate) async fn whole_body(price: &Price, body: Body) -> Result<Bytes, Box<Response<Body>>> {
    let refused = match read_body(body, price.limits.body_bytes_max).await {
        Ok(body) => return Ok(body),
        Err(BodyError::TooLarge) => {
            let message = format!("the body of a paid request has at most {} bytes", price.limits.body_bytes_max);
            answer::problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message, Again::Never)
        }
        Err(BodyError::Broken) => {
            let message = "the body broke off before its end; nothing was claimed";
            answer::problem(StatusCode::BAD_REQUEST, "body_broken", message, Again::SamePayment)
        }
    };
    Err(Box::new(refused))
}
