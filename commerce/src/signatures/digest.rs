//! `Content-Digest` (RFC 9530): over the body's bytes as they came. `sha-256` is written, `sha-512` is read too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use super::CONTENT_DIGEST;
use super::base::Message;
use super::fields::{Bare, Dictionary, Item, Member};
use super::finding::Finding;

/// The value of the field for a body.
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Every digest that is known is the body's, and there is one that is known.
pub(super) fn check(message: &Message<'_>) -> Result<(), Finding> {
    let value = message.field(CONTENT_DIGEST)?.unwrap_or_default();
    let malformed = |why: String| Finding::Malformed { field: "Content-Digest", why };
    let digests = Dictionary::parse(&value).map_err(|why| malformed(why.to_string()))?;
    let mut known = false;
    for (name, member) in digests.iter() {
        let actual = match name {
            "sha-256" => Sha256::digest(message.body).to_vec(),
            "sha-512" => Sha512::digest(message.body).to_vec(),
            _ => continue,
        };
        let Member::Item(Item { bare: Bare::Bytes(found), .. }) = member else {
            return Err(malformed(format!("{name} is bytes, something else came")));
        };
        if *found != actual {
            let (expected, found) = (STANDARD.encode(actual), STANDARD.encode(found));
            return Err(Finding::Digest { algorithm: name.to_owned(), expected, found });
        }
        known = true;
    }
    if known { Ok(()) } else { Err(malformed("sha-256 or sha-512 was expected, neither came".to_owned())) }
}
