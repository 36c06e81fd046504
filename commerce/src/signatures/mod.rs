//! Signatures over HTTP messages (RFC 9421) and over their bodies (RFC 9530, `Content-Digest`).
//!
//! One verifier, and a profile for each protocol that says what a signature has to cover, which parameters it must have and
//! how long it may live: UCP's requests and responses, Web Bot Auth, and the first layer of Visa's Trusted Agent Protocol.
//! Who signs is said by keys that the caller brings; whether a nonce was used before is for the caller to remember.
//!
//! What is not understood is refused: another algorithm than `ecdsa-p256-sha256` and `ed25519`, a component parameter other
//! than `key`, a name that stands twice.

mod base;
mod digest;
mod fields;
mod finding;
mod key;
mod profile;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

pub use self::base::{Message, Subject};
pub use self::digest::content_digest;
pub use self::fields::{Bare, Dictionary, Item, Member};
pub use self::finding::Finding;
pub use self::key::{Algorithm, Keys};
pub use self::profile::{Profile, TRUSTED_AGENT, UCP_REQUEST, UCP_RESPONSE, WEB_BOT_AUTH};
pub use self::sign::Unsigned;
pub use self::verify::{Nonce, Verified, is_signed, verify};

pub const SIGNATURE: &str = "signature";
pub const SIGNATURE_INPUT: &str = "signature-input";
pub const CONTENT_DIGEST: &str = "content-digest";
pub const SIGNATURE_AGENT: &str = "signature-agent";
