//! The Agentic Commerce Protocol, version 2026-04-17, from the side of the payment processor whose vault an agent asks for a
//! token: `POST /agentic_commerce/delegate_payment`.
//!
//! Pinned by content, because the released version was edited in place: JSON schema bundle `schema.delegate_payment.json` of
//! github.com/agentic-commerce-protocol/agentic-commerce-protocol at c2afc863 (2026-06-15). Where schema and OpenAPI differ
//! the schema is followed.

mod allowance;
mod card;
mod refusal;
mod request;
pub(crate) mod shape;
#[cfg(test)]
mod tests;

pub use self::allowance::Allowance;
pub(crate) use self::card::digits;
pub use self::card::{Card, CardFace, could_be_number};
pub use self::refusal::{Refusal, RefusalKind, wire};
pub use self::request::DelegateRequest;
pub(crate) use self::request::check_apart;
pub use crate::read::is_moment;

/// The one version that is spoken.
pub const VERSION: &str = "2026-04-17";
/// Newest first, as the schema of errors has it.
pub const SUPPORTED_VERSIONS: [&str; 1] = [VERSION];

/// `API-Version` names a version that is spoken here.
pub fn negotiate(version: Option<&str>) -> Result<(), Refusal> {
    match version {
        Some(version) if SUPPORTED_VERSIONS.contains(&version) => Ok(()),
        Some(version) => Err(Refusal::malformed(
            "unsupported_api_version",
            None,
            format!("API-Version {VERSION} was expected, {} came", refusal::shown(version)),
        )),
        None => Err(Refusal::malformed(
            "missing_api_version",
            None,
            format!("the header API-Version: {VERSION} was expected, none came"),
        )),
    }
}
