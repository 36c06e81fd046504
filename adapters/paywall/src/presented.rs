//! From request headers to a payment that names one of our offers. Nothing here is verified, and nothing is claimed.

use std::borrow::Cow;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use x402::exact;
use x402::identifier::{self, PaymentIdentifier};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::scheme;
use x402::settlement::ClaimKey;
use x402::wire::v1::{self, Spoken};
use x402::wire::{
    PAYMENT_SIGNATURE, PaymentPayload, PaymentRequirements, WireError, X_PAYMENT, extension, read_header,
};

use crate::answer::{self, Again};
use crate::ask::Ask;

/// A payment, as presented.
pub(crate) struct Presented {
    pub key: ClaimKey,
    pub payload: PaymentPayload,
    /// Our own entry.
    pub requirements: PaymentRequirements,
    pub spoken: Spoken,
    /// The payer's own name for it, where the price asks for one.
    pub identifier: Option<PaymentIdentifier>,
}

type Read<T> = Result<T, Box<Response<Body>>>;

/// Reads the payment of a request, or answers it: 402 without one, 400 for what is not one.
///
/// A payload that names another resource than ours is refused; one that names ours is not believed for it, since
/// `resource` is not signed. Version 1 comes in a header of its own, and from here on it is a payment like any other. Two
/// payments at once are refused, in whichever headers: it is not ours to choose which of them is meant.
pub(crate) fn read(headers: &HeaderMap, ask: &Ask) -> Read<Presented> {
    let newer: Vec<_> = headers.get_all(PAYMENT_SIGNATURE).iter().collect();
    let older: Vec<_> = headers.get_all(X_PAYMENT).iter().collect();
    let (payload, requirements, spoken) = match (newer.as_slice(), older.as_slice()) {
        ([], []) => {
            return Err(Box::new(ask.demand(
                "payment_required",
                "a payment in PAYMENT-SIGNATURE is required, or of version 1 in X-PAYMENT",
            )));
        }
        ([header], []) => of_version_two(header, ask)?,
        ([], [header]) => of_version_one(header, ask)?,
        _ => {
            let message = format!("expected one payment header, found {}", newer.len().saturating_add(older.len()));
            return Err(bad(StatusCode::BAD_REQUEST, "duplicate_payment_header", &message));
        }
    };
    let key = scheme::claim_key(&payload, &requirements).map_err(|refusal| {
        Box::new(answer::problem(StatusCode::BAD_REQUEST, refusal.code(), &refusal.to_string(), Again::Never))
    })?;
    let identifier = identifier(&payload, ask)?;
    Ok(Presented { key, payload, requirements, spoken, identifier })
}

/// 400 for one that cannot be read or is missing. What nobody asked for is nobody's name.
fn identifier(payload: &PaymentPayload, ask: &Ask) -> Read<Option<PaymentIdentifier>> {
    let declared = ask.price().extensions.as_ref().and_then(|all| all.get(identifier::EXTENSION));
    let Some(declared) = declared else { return Ok(None) };
    let refused = |refusal: Refusal| bad(StatusCode::BAD_REQUEST, refusal.code(), &refusal.to_string());
    let found = identifier::read(payload.extensions.as_ref()).map_err(refused)?;
    if found.is_none() && declared["info"]["required"] == true {
        let field = "extensions.payment-identifier.info.id";
        return Err(refused(Refusal::new(
            Reason::PaymentIdentifierRequired,
            field,
            "a name of the payer's own",
            "none",
        )));
    }
    Ok(found)
}

fn of_version_two(header: &HeaderValue, ask: &Ask) -> Read<(PaymentPayload, PaymentRequirements, Spoken)> {
    let payload: PaymentPayload =
        read_header(bounded(header, "PAYMENT-SIGNATURE", ask)?).map_err(|error| unreadable(&error, ask))?;
    let url = ask.url();
    if let Some(resource) = &payload.resource
        && resource.url != url
    {
        let message = format!("resource.url: expected {url}, found {}", shown(&resource.url));
        return Err(Box::new(ask.demand("payment_for_other_resource", &message)));
    }
    let requirements = accepted_offer(&payload, ask)?;
    let declared = ask.price().extensions.as_ref();
    if let Err(refusal) = extension::check_echo(declared, payload.extensions.as_ref()) {
        return Err(Box::new(ask.demand(refusal.code(), &refusal.to_string())));
    }
    Ok((payload, requirements, Spoken::Two))
}

fn of_version_one(header: &HeaderValue, ask: &Ask) -> Read<(PaymentPayload, PaymentRequirements, Spoken)> {
    let header = bounded(header, "X-PAYMENT", ask)?;
    let price = ask.price();
    if !price.accepts.iter().any(|offer| offer.network.parse().is_ok_and(|id| price.names.name(id).is_some())) {
        let message = "x402Version: expected 2 in PAYMENT-SIGNATURE, found X-PAYMENT of version 1";
        return Err(Box::new(ask.demand("invalid_x402_version", message)));
    }
    let older: v1::PaymentPayload = read_header(header).map_err(|error| unreadable(&error, ask))?;
    let requirements = meant_offer(&older, ask)?;
    let payload = older.upgraded(&requirements, &price.names);
    Ok((payload, requirements, Spoken::One { network: older.network }))
}

/// More is 431.
fn bounded<'a>(header: &'a HeaderValue, name: &str, ask: &Ask) -> Read<&'a [u8]> {
    let (max, found) = (ask.price().limits.header_bytes_max, header.len());
    if found > max {
        let message = format!("{name}: at most {max} bytes are read, {found} came");
        return Err(bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "payment_header_too_large", &message));
    }
    Ok(header.as_bytes())
}

fn unreadable(error: &WireError, ask: &Ask) -> Box<Response<Body>> {
    match error {
        WireError::Version { .. } => Box::new(ask.demand(error.code(), &error.to_string())),
        WireError::TooLarge { .. } => {
            bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "payment_header_too_large", &error.to_string())
        }
        _ => bad(StatusCode::BAD_REQUEST, error.code(), &error.to_string()),
    }
}

/// The offer of ours that the payer accepted, by value (`x402-specification-v2.md`, matching of `accepted`).
fn accepted_offer(payload: &PaymentPayload, ask: &Ask) -> Read<PaymentRequirements> {
    let mut mismatch = None;
    for offer in &ask.price().accepts {
        let then = ask.price().offer_then(offer, &payload.accepted).unwrap_or(Cow::Borrowed(offer));
        match exact::check_accepted(&payload.accepted, &then) {
            Ok(()) => return Ok(then.into_owned()),
            Err(refusal) => mismatch = mismatch.or(Some(refusal)),
        }
    }
    Err(Box::new(mismatched(mismatch, ask)))
}

/// The offer of ours that a payer of version 1 signed for. The payload names its scheme and network; where several offers
/// are left the signature says which one is meant, and the first of them where it fits none, which then says why.
fn meant_offer(payload: &v1::PaymentPayload, ask: &Ask) -> Read<PaymentRequirements> {
    let price = ask.price();
    let (mut named, mut mismatch) = (Vec::new(), None);
    for offer in &price.accepts {
        let upgraded = payload.upgraded(offer, &price.names);
        if offer.scheme != payload.scheme {
            let refusal = Refusal::new(Reason::ExactScheme, "scheme", &offer.scheme, &payload.scheme);
            mismatch = mismatch.or(Some(refusal));
        } else if offer.network != upgraded.accepted.network {
            let refusal = Refusal::new(Reason::NetworkMismatch, "network", &offer.network, &payload.network);
            mismatch = mismatch.or(Some(refusal));
        } else {
            named.push((offer, upgraded));
        }
    }
    let meant = match named.as_slice() {
        [] => return Err(Box::new(mismatched(mismatch, ask))),
        [(offer, _)] => offer,
        [(first, _), ..] => named
            .iter()
            .find(|(offer, upgraded)| exact::is_signed_for(upgraded, offer))
            .map_or(first, |(offer, _)| offer),
    };
    Ok((*meant).clone())
}

fn mismatched(mismatch: Option<Refusal>, ask: &Ask) -> Response<Body> {
    match mismatch {
        Some(refusal) => ask.demand(refusal.code(), &format!("no offer of ours was accepted; of the first, {refusal}")),
        None => ask.demand(Reason::InvalidPaymentRequirements.as_str(), "there is no offer to accept"),
    }
}

fn bad(status: StatusCode, code: &str, message: &str) -> Box<Response<Body>> {
    Box::new(answer::problem(status, code, message, Again::Never))
}

fn shown(text: &str) -> String {
    text.chars().take(96).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
