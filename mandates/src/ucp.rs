//! The merchant's signature over a UCP checkout (UCP 2026-04-08, `ap2-mandates.md`, "Business Authorization"): a JWS
//! with detached content (RFC 7515 appendix F) in `ap2.merchant_authorization`, over the canonical JSON (RFC 8785) of
//! the checkout without its member `ap2`.
//!
//! ES256 only, as everywhere here; UCP also lets ES384 and ES512 through. Times are not part of this signature: the
//! reattached JWT is a `checkout_jwt`, and [`crate::cart`] holds it to `expires_at` and the rest.

use crate::canonical::canonical_object;
use crate::digest::HashAlgorithm;
use crate::json::{self, Json, Members, Object};
use crate::jws::{Jws, Unsigned};
use crate::keys::{KeyId, KeySet, Signature};
use crate::limits::TOKEN_BYTES_MAX;
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

const EXTENSION: &str = "ap2";
const MEMBER: &str = "merchant_authorization";

/// A checkout whose merchant's signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct SignedCheckout {
    /// Without `ap2`: what is signed.
    pub checkout: Object,
    /// Header, payload and signature together again: AP2's `checkout_jwt`.
    pub checkout_jwt: String,
}

impl SignedCheckout {
    /// AP2's `checkout_hash` of it.
    pub fn hash(&self, algorithm: HashAlgorithm) -> String {
        algorithm.digest_text(&self.checkout_jwt)
    }
}

/// A checkout to sign: sign [`UnsignedCheckout::signing_input`], then [`UnsignedCheckout::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UnsignedCheckout {
    checkout: Object,
    unsigned: Unsigned,
}

impl UnsignedCheckout {
    pub fn signing_input(&self) -> &[u8] {
        self.unsigned.signing_input()
    }

    /// AP2's `checkout_jwt` to sign, for a signer that takes the whole; [`authorization_of`] takes the payload out again.
    pub fn into_unsigned(self) -> Unsigned {
        self.unsigned
    }

    /// The checkout with `ap2.merchant_authorization` in it; other members of `ap2` stay as they were.
    pub fn finish(self, signature: Signature) -> Result<Object, Rejection> {
        let jwt = self.unsigned.finish(signature);
        let (header, signature) = ends(&jwt)?;
        let mut checkout = self.checkout;
        let mut extension = schema::optional_object(&checkout, EXTENSION)?.map(Members::to_object).unwrap_or_default();
        extension.insert(MEMBER.to_owned(), format!("{header}..{signature}").into());
        checkout.insert(EXTENSION.to_owned(), extension.into());
        Ok(checkout)
    }
}

/// The bytes to sign for one checkout, in canonical JSON. The checkout is not held to UCP's schema here;
/// [`crate::cart::unsigned`] does that.
pub fn unsigned(checkout: &Object, key_id: &KeyId) -> Result<UnsignedCheckout, Rejection> {
    schema::optional_object(checkout, EXTENSION)?;
    let header = Object::from_iter([("alg".to_owned(), "ES256".into()), ("kid".to_owned(), key_id.as_str().into())]);
    let payload = canonical_object(&bare(checkout))?;
    let unsigned = Unsigned::over(&header, payload.as_bytes());
    Ok(UnsignedCheckout { checkout: checkout.clone(), unsigned })
}

/// Verifies the merchant's signature in a checkout response, read strictly from its text. The key is found by `kid`,
/// which is required, among the merchant's published ones.
pub fn verify(checkout: &[u8], merchant_keys: &KeySet) -> Result<SignedCheckout, Rejection> {
    if checkout.len() > TOKEN_BYTES_MAX {
        let message = format!("a checkout has at most {TOKEN_BYTES_MAX} bytes; {} came", checkout.len());
        return Err(Rejection::new(Code::TokenTooLarge, message));
    }
    let checkout = json::parse_object(checkout)?;
    let authorization = authorization(&checkout)?;
    let (header, between, signature) = detached(&authorization)?;
    if !between.is_empty() {
        let message = "a detached JWS has nothing between its two dots; a payload came";
        return Err(Rejection::new(Code::MalformedJwt, message).at(MEMBER));
    }
    let checkout = bare(&checkout);
    let payload = crate::base64url::encode(canonical_object(&checkout)?.as_bytes());
    let checkout_jwt = format!("{header}.{payload}.{signature}");
    let jws = Jws::parse(&checkout_jwt)?;
    jws.check_header()?;
    let key = jws.kid().and_then(|kid| merchant_keys.find(kid)).ok_or_else(|| {
        let came = jws.kid().map_or_else(|| "none".to_owned(), shown);
        let message = format!("kid is one of the merchant's {} keys; {came} came", merchant_keys.len());
        Rejection::new(Code::MerchantKeyUnknown, message).at("kid")
    })?;
    jws.verify(key)?;
    Ok(SignedCheckout { checkout, checkout_jwt })
}

/// `merchant_authorization` of a signed `checkout_jwt`: header and signature, without what lies between them.
pub fn authorization_of(checkout_jwt: &str) -> Result<String, Rejection> {
    let (header, signature) = ends(checkout_jwt)?;
    Ok(format!("{header}..{signature}"))
}

fn bare(checkout: &Object) -> Object {
    let mut bare = checkout.clone();
    bare.remove(EXTENSION);
    bare
}

fn authorization(checkout: &Object) -> Result<String, Rejection> {
    let came = match schema::optional_object(checkout, EXTENSION)?.and_then(|extension| extension.get(MEMBER)) {
        Some(Json::String(text)) if !text.is_empty() => return Ok(text.to_owned()),
        other => other.map_or("nothing", Json::kind),
    };
    let message = format!("a checkout carries {EXTENSION}.{MEMBER}, a text; {came} came");
    Err(Rejection::new(Code::MerchantAuthorizationMissing, message).at(MEMBER))
}

fn detached(text: &str) -> Result<(&str, &str, &str), Rejection> {
    match text.split('.').take(4).collect::<Vec<_>>().as_slice() {
        [header, between, signature] => Ok((header, between, signature)),
        other => {
            let message = format!("a detached JWS is `header..signature`; {} parts came", other.len());
            Err(Rejection::new(Code::MalformedJwt, message).at(MEMBER))
        }
    }
}

fn ends(jwt: &str) -> Result<(&str, &str), Rejection> {
    detached(jwt).map(|(header, _, signature)| (header, signature))
}
