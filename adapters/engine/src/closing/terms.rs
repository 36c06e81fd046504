//! What is decided before the book is asked: who is paid, how much, until when, and who may be asked to pay it.

use std::collections::BTreeSet;

use ledger::id::Digest;
use ledger::rejection::Rejection;
use ledger::spend::{Authorization, MANDATE_NETWORK};
use ledger::transfer::Money;
use mandates::canonical::canonical_object;
use mandates::cart::{self, Cart};
use mandates::checkout::ClosedCheckout;
use mandates::digest::HashAlgorithm;
use mandates::json::Object;
use mandates::keys::KeySet;
use mandates::party::Instrument;
use mandates::payment::ClosedPayment;

use super::{Addressee, ClosingRequest};
use crate::consent::{MandateView, fiat};
use crate::error::EngineError;
use crate::rate::authority_from_minor;
use crate::tenant::{OtherVerifiers, Payee, Tenant};

/// What must be left of mandate and cart for a closed mandate to be worth signing.
const MARGIN_SECONDS: i64 = 10;
/// Longest `aud` and `nonce`.
const ADDRESS_BYTES_MAX: usize = 512;
/// Who pays, in the books: whoever the mandate is closed for. Which instrument of whose it is stands in the evidence, which
/// can be erased; a digest of it could be guessed. And so a verifier's nonce is claimed whatever they pay with.
const PAYER: &str = "external";

pub(super) struct Terms<'a> {
    pub payee: &'a Payee,
    /// What the verifier's receipt will be signed with, as it is on record now.
    pub keys: KeySet,
    pub money: Money,
    pub payment: ClosedPayment,
    pub checkout: ClosedCheckout,
    pub authorization: Authorization,
    pub valid_before: i64,
}

impl<'a> Terms<'a> {
    pub fn of(tenant: &'a Tenant, view: &MandateView, request: &ClosingRequest, now: i64) -> Result<Self, EngineError> {
        let cart = Cart::parse(&request.cart)?;
        let payee = payee(tenant, &cart)?;
        let keys = receipt_keys(tenant, payee, &request.payment.audience)?;
        if let Some(merchant) = &request.checkout {
            check_merchant(tenant, payee, &merchant.audience)?;
        }
        let currency = &view.record.currency;
        if cart.currency.as_str() != currency {
            let (expected, found) = (fiat(currency)?, fiat(cart.currency.as_str())?);
            return Err(EngineError::Book(Rejection::AssetMismatch { expected, found }));
        }
        let money = Money { asset: fiat(currency)?, amount: authority_from_minor(cart.total)? };
        let valid_before = valid_before(view, &cart, now, tenant.limits.closing_seconds)?;
        let instrument = Instrument::parse(&request.instrument)?;
        let authorization = Authorization {
            network: MANDATE_NETWORK.to_owned(),
            asset: money.asset.clone(),
            payer: PAYER.to_owned(),
            nonce: claimed(&request.payment).0,
        };
        let payment = ClosedPayment {
            transaction_id: cart::hash(&request.cart, HashAlgorithm::Sha256),
            payee: payee.merchant.clone(),
            payment_amount: cart.price(),
            payment_instrument: instrument,
            pisp: None,
            execution_date: None,
            risk_data: None,
            issued_at_seconds: None,
            expires_at_seconds: Some(valid_before),
            others: Object::new(),
        };
        let checkout = checkout(&request.cart, Some(valid_before));
        Ok(Self { payee, keys, money, payment, checkout, authorization, valid_before })
    }
}

pub(super) fn checkout(jwt: &str, expires_at_seconds: Option<i64>) -> ClosedCheckout {
    ClosedCheckout {
        checkout_jwt: jwt.to_owned(),
        checkout_hash: cart::hash(jwt, HashAlgorithm::Sha256),
        issued_at_seconds: None,
        expires_at_seconds,
        others: Object::new(),
    }
}

/// What is wrong with a request before anything is looked up.
pub(super) fn check(tenant: &Tenant, request: &ClosingRequest) -> Result<(), EngineError> {
    check_addressee(["audience", "nonce"], tenant, &request.payment)?;
    if let Some(merchant) = &request.checkout {
        check_addressee(["checkout.audience", "checkout.nonce"], tenant, merchant)?;
    }
    Ok(())
}

fn check_addressee(fields: [&'static str; 2], tenant: &Tenant, to: &Addressee) -> Result<(), EngineError> {
    for (field, text) in fields.into_iter().zip([&to.audience, &to.nonce]) {
        let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if text.is_empty() || text.len() > ADDRESS_BYTES_MAX || !is_plain {
            let expected = format!("1 to {ADDRESS_BYTES_MAX} printable ASCII characters");
            let found = if text.len() > ADDRESS_BYTES_MAX { format!("{} bytes", text.len()) } else { text.clone() };
            return Err(EngineError::invalid(field, expected, found));
        }
    }
    // What is closed for us is never given away: it is how the service judges before it holds.
    if is_nearly(&tenant.issuer, &to.audience) {
        let [field, _] = fields;
        return Err(EngineError::invalid(field, "a verifier other than this service", to.audience.clone()));
    }
    Ok(())
}

/// Who asks to be paid, and is on record with keys that carts of theirs verify with.
fn payee<'a>(tenant: &'a Tenant, cart: &Cart) -> Result<&'a Payee, EngineError> {
    let mismatch = |found: String| EngineError::CartMismatch { expected: "a payee on record".into(), found };
    let named = cart.merchant.as_ref().ok_or_else(|| mismatch("a cart that names no merchant".into()))?;
    let record = tenant.payees.merchant(&named.id).filter(|record| named.is(&record.merchant));
    let record = record.filter(|record| !record.keys.is_empty());
    record.ok_or_else(|| mismatch(format!("{} ({}), whose keys are not on record", named.name, named.id)))
}

/// What a verifier's receipts are signed with: one on record, or the payee where it is its own verifier. Nobody else is
/// given anything, because nothing would ever free what is held for it.
pub(super) fn receipt_keys(tenant: &Tenant, payee: &Payee, audience: &str) -> Result<KeySet, EngineError> {
    if let Some(verifier) = tenant.verifiers.find(audience) {
        return Ok(verifier.keys.clone());
    }
    if names_of(payee).any(|name| name == audience) {
        return Ok(KeySet::new(payee.keys.iter().cloned())?);
    }
    let on_record = tenant.verifiers.on_record.iter().map(|verifier| &verifier.audience);
    let nearly = on_record.chain(names_of(payee)).find(|name| is_nearly(name, audience));
    if nearly.is_none() && tenant.verifiers.others == OtherVerifiers::AnsweredByPayee {
        return Ok(KeySet::new(payee.keys.iter().cloned())?);
    }
    let payee = || format!("a verifier on record or {} ({})", payee.merchant.name, payee.merchant.id);
    let expected = nearly.map_or_else(payee, |name| format!("{name}, letter by letter,"));
    Err(EngineError::VerifierUnknown { expected, found: crate::error::shortened(audience) })
}

/// The merchant gets the checkout mandate under a name of its own.
fn check_merchant(tenant: &Tenant, payee: &Payee, audience: &str) -> Result<(), EngineError> {
    if names_of(payee).any(|name| name == audience) || tenant.verifiers.find(audience).is_some() {
        return Ok(());
    }
    // The website may be one of the origins.
    let names: BTreeSet<&str> = names_of(payee).map(String::as_str).collect();
    let expected = names.into_iter().collect::<Vec<_>>().join(" or ");
    Err(EngineError::invalid("checkout.audience", expected, audience))
}

fn names_of(payee: &Payee) -> impl Iterator<Item = &String> {
    [Some(&payee.merchant.id), payee.merchant.website.as_ref()].into_iter().flatten().chain(&payee.origins)
}

/// Meant as the same, and not the same: `aud` is compared letter by letter (RFC 7519 sections 2 and 4.1.3), so what is
/// closed for another spelling its verifier would refuse, and hold what nobody can take.
fn is_nearly(name: &str, audience: &str) -> bool {
    name.trim_end_matches('/').eq_ignore_ascii_case(audience.trim_end_matches('/'))
}

/// As short as cart, mandate and verifiers allow.
fn valid_before(view: &MandateView, cart: &Cart, now: i64, seconds: i64) -> Result<i64, EngineError> {
    let (mandate_ends, soonest) = (view.record.expires_at, now.saturating_add(MARGIN_SECONDS));
    if mandate_ends < soonest {
        let (budget, expires_at) = (view.budget.id, mandate_ends);
        return Err(EngineError::Book(Rejection::MandateExpired { budget, expires_at, now }));
    }
    let latest = now.saturating_add(seconds).min(mandate_ends);
    match cart.expires_at_seconds {
        Some(ends) if ends < soonest => {
            let expected = format!("a cart that is good until {soonest} or later");
            Err(EngineError::CartMismatch { expected, found: format!("one that ends at {ends}") })
        }
        Some(ends) => Ok(latest.min(ends)),
        None => Ok(latest),
    }
}

/// One verifier's nonce is used once, whatever the mandate and the agent.
pub(crate) fn claimed(to: &Addressee) -> Digest {
    Digest::of_parts("purser/closed-for/1", &[to.audience.as_bytes(), to.nonce.as_bytes()])
}

/// What is bought: the cart, whoever is asked to pay it.
pub(super) fn purchase_digest(cart: &str) -> Digest {
    Digest::of_parts("purser/cart/1", &[cart.as_bytes()])
}

/// The name of a cart that nobody but its merchant can change: what was signed, without the signature, because `s` and
/// `n - s` both verify (RFC 7515 section 5.1 has the signing input).
pub(crate) fn cart_identity(cart: &str) -> Result<Digest, EngineError> {
    let (signed, _) = cart.rsplit_once('.').ok_or_else(|| EngineError::invalid("cart", "a signed JWT", cart))?;
    Ok(Digest::of_parts("purser/cart-identity/1", &[signed.as_bytes()]))
}

/// What a key stands for.
pub(super) fn request_digest(request: &ClosingRequest) -> Result<Digest, EngineError> {
    let again_after = request.again_after.map(|spend| spend.0);
    let (payment, instrument) = (&request.payment, canonical_object(&request.instrument)?);
    let merchant = request.checkout.as_ref().map(|to| (to.audience.as_bytes(), to.nonce.as_bytes()));
    let (audience, nonce) = merchant.unwrap_or_default();
    Ok(Digest::of_parts(
        "purser/closing-request/1",
        &[
            &request.mandate.0,
            request.cart.as_bytes(),
            payment.audience.as_bytes(),
            payment.nonce.as_bytes(),
            instrument.as_bytes(),
            audience,
            nonce,
            again_after.as_ref().map_or(&[][..], |spend| &spend[..]),
        ],
    ))
}
