//! From request headers to a payment that names one of our offers. Nothing here is verified, and nothing is claimed.

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};
use x402::exact;
use x402::settlement::ClaimKey;
use x402::wire::{
    PAYMENT_SIGNATURE, PaymentPayload, PaymentRequired, PaymentRequirements, WireError, X_PAYMENT, read_header,
};

use crate::answer::{self, Again};
use crate::price::Price;

/// A payment, as presented.
pub(crate) struct Presented {
    pub key: ClaimKey,
    pub payload: PaymentPayload,
    /// Our own entry.
    pub requirements: PaymentRequirements,
}

/// Reads the payment of a request, or answers it: 402 without one, 400 for what is not one.
///
/// `url` is the resource as we advertise it. A payload that names another is refused; one that names ours is not
/// believed for it, since `resource` is not signed.
pub(crate) fn read(headers: &HeaderMap, price: &Price, url: &str) -> Result<Presented, Box<Response<Body>>> {
    let ask = |error: Option<String>| price.demand(url.to_owned(), error);
    let header = one_header(headers, price, &ask)?;
    let payload: PaymentPayload = read_header(header).map_err(|error| unreadable(&error, &ask))?;
    if let Some(resource) = &payload.resource
        && resource.url != url
    {
        let message = format!("resource.url: expected {url}, found {}", shown(&resource.url));
        return Err(Box::new(answer::demand(ask(Some("payment_for_other_resource".to_owned())), Some(&message))));
    }
    let requirements = accepted_offer(&payload, price, &ask)?;
    let key = exact::claim_key(&payload, &requirements).map_err(|refusal| {
        Box::new(answer::problem(StatusCode::BAD_REQUEST, refusal.code(), &refusal.to_string(), Again::Never))
    })?;
    Ok(Presented { key, payload, requirements })
}

fn one_header<'a>(
    headers: &'a HeaderMap,
    price: &Price,
    ask: &dyn Fn(Option<String>) -> PaymentRequired,
) -> Result<&'a [u8], Box<Response<Body>>> {
    let mut presented = headers.get_all(PAYMENT_SIGNATURE).iter();
    let first = presented.next();
    let older = headers.get_all(X_PAYMENT).iter().count();
    let found = headers.get_all(PAYMENT_SIGNATURE).iter().count() + older;
    if found > 1 {
        let message = format!("expected one payment header, found {found}");
        return Err(bad(StatusCode::BAD_REQUEST, "duplicate_payment_header", &message));
    }
    let Some(header) = first else {
        let (error, message) = if older == 0 {
            ("payment_required", "PAYMENT-SIGNATURE header is required")
        } else {
            ("invalid_x402_version", "x402Version: expected 2 in PAYMENT-SIGNATURE, found X-PAYMENT of version 1")
        };
        return Err(Box::new(answer::demand(ask(Some(error.to_owned())), Some(message))));
    };
    let (max, found) = (price.limits.header_bytes_max, header.len());
    if found > max {
        let message = format!("PAYMENT-SIGNATURE: at most {max} bytes are read, {found} came");
        return Err(bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "payment_header_too_large", &message));
    }
    Ok(header.as_bytes())
}

fn unreadable(error: &WireError, ask: &dyn Fn(Option<String>) -> PaymentRequired) -> Box<Response<Body>> {
    match error {
        WireError::Version { .. } => {
            Box::new(answer::demand(ask(Some(error.code().to_owned())), Some(&error.to_string())))
        }
        WireError::TooLarge { .. } => {
            bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "payment_header_too_large", &error.to_string())
        }
        _ => bad(StatusCode::BAD_REQUEST, error.code(), &error.to_string()),
    }
}

/// The offer of ours that the payer accepted, by value (`x402-specification-v2.md`, matching of `accepted`).
fn accepted_offer(
    payload: &PaymentPayload,
    price: &Price,
    ask: &dyn Fn(Option<String>) -> PaymentRequired,
) -> Result<PaymentRequirements, Box<Response<Body>>> {
    let mut mismatch = None;
    for offer in &price.accepts {
        match exact::check_accepted(&payload.accepted, offer) {
            Ok(()) => return Ok(offer.clone()),
            Err(refusal) => mismatch = mismatch.or(Some(refusal)),
        }
    }
    let (code, message) = mismatch.map_or_else(
        || ("invalid_payment_requirements", String::new()),
        |refusal| (refusal.code(), format!("no offer of ours was accepted; of the first, {refusal}")),
    );
    Err(Box::new(answer::demand(ask(Some(code.to_owned())), Some(&message))))
}

fn bad(status: StatusCode, code: &str, message: &str) -> Box<Response<Body>> {
    Box::new(answer::problem(status, code, message, Again::Never))
}

fn shown(text: &str) -> String {
    text.chars().take(96).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
