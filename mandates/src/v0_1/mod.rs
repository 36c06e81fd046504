//! The mandates of AP2 v0.1 (September 2025): [`intent`], [`cart`], [`payment`], by their names and shapes, with real
//! signatures.
//!
//! AP2 v0.1 gives types and prose and no cryptography: its samples carry fixed texts where a signature belongs. What is
//! left open is read so here:
//! - **Canonical JSON** is RFC 8785 over the object without its null members (the types write absent ones as null).
//! - **A hash** is base64url of SHA-256 over these bytes: `cart_hash` over the `CartContents`; `transaction_data` is
//!   the hash of the whole `CartMandate`, with its `merchant_authorization`, then that of the `PaymentMandateContents`,
//!   in this order and nothing else.
//! - **`merchant_authorization`** is a compact ES256 JWT, **`user_authorization`** an SD-JWT VC with its KB-JWT; neither
//!   is encoded once more.
//! - `sd_hash` is RFC 9901's, over the SD-JWT as presented.
//! - The types are followed where the examples of the documentation differ from them. A member that no type knows is
//!   kept where a signature or hash covers it, and refused where none does.
//!
//! Times are RFC 3339 with their offset. Amounts are exact decimals of major units: `value` is a JSON number and never
//! passes through a float.

pub mod cart;
pub mod intent;
pub mod payment;
pub mod request;

use crate::canonical::canonical_object;
use crate::clock::Clock;
use crate::digest::HashAlgorithm;
use crate::json::Object;
use crate::party::Instant;
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

/// Where the mandates stand in an A2A `DataPart`.
pub const INTENT_DATA_KEY: &str = "ap2.mandates.IntentMandate";
pub const CART_DATA_KEY: &str = "ap2.mandates.CartMandate";
pub const PAYMENT_DATA_KEY: &str = "ap2.mandates.PaymentMandate";

/// The hash of an object that has no null members.
fn hash(object: &Object) -> Result<String, Rejection> {
    Ok(HashAlgorithm::Sha256.digest_text(&canonical_object(object)?))
}

fn required_instant(claims: &Object, field: &str) -> Result<Instant, Rejection> {
    Instant::parse(field, &schema::text(claims, field)?)
}

/// Gone from the very second of `expiry` + skew on, as with `exp`.
fn check_expiry(expiry: &Instant, clock: &Clock, field: &str, gone: Code) -> Result<(), Rejection> {
    if clock.now_seconds.saturating_sub(i64::from(clock.skew_seconds)) < expiry.unix_seconds() {
        return Ok(());
    }
    let (now, skew) = (clock.now_seconds, clock.skew_seconds);
    let message =
        format!("{field} is {} (second {}, skew {skew} s); it is {now}", expiry.as_str(), expiry.unix_seconds());
    Err(Rejection::new(gone, message).at(field))
}

/// Nothing may stand beside what is signed: a reader further on might believe it.
fn check_members(claims: &Object, known: &[&str], place: &str) -> Result<(), Rejection> {
    match claims.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let message = format!("{place} has {} and nothing unsigned beside; {} came", known.join(", "), shown(name));
            Err(Rejection::new(Code::UnsignedMember, message).at(name.clone()))
        }
    }
}
