//! The Agentic Commerce Protocol's face of a session: Agentic Checkout, version 2026-04-17 (JSON Schemas of commit c2afc863).
//!
//! Read leniently: items as the schema has them (`{id}`), and as agents really send them (`{id, quantity}` and
//! `{item: {id}, quantity}`, upstream issue 264), under `line_items` and under the older `items`. Written strictly.

pub mod read;
pub mod write;

pub const VERSION: &str = "2026-04-17";

/// Every version that is understood, newest first. Each is answered in the shapes of [`VERSION`].
pub const VERSIONS: [&str; 1] = [VERSION];

/// The extension by which a session is signed and completed with AP2 mandates: the members are UCP's
/// (`dev.ucp.shopping.ap2_mandate`), beside them what a verifier has to give a presenter: its audience and nonce, and the
/// checkout as AP2 wants it signed.
pub const AP2_EXTENSION: &str = "dev.purser.ap2@2026-04-17";

/// Its payment handler: an AP2 payment mandate that is closed for this merchant.
pub const AP2_HANDLER: &str = "dev.purser.ap2_mandate";
/// ACP's handler of cards that are left in a vault, and what a session calls it.
pub const CARD_HANDLER: &str = "dev.acp.tokenized.card";
pub const CARD_HANDLER_ID: &str = "card_tokenized";

/// Whether an agent names the extension, in any version of it.
pub fn is_ap2(extension: &str) -> bool {
    extension.split_once('@').map_or(extension, |(name, _)| name) == "dev.purser.ap2"
}
