//! The Model Context Protocol (2026-07-28, and its forerunners back to 2025-03-26): what a coding agent may do with the
//! budget that its human gave it, and tools that cost something.
//!
//! The tools are translations of the HTTP surface: they call its routes in the caller's name, and decide nothing. Over
//! stdio (`purser mcp`) the routes are called over a connection, at `/mcp` within the process; both ways the names, the
//! schemas and the answers are the same.
//!
//! Read in this order: [`catalogue`] (what there is), [`desk`] (a call), [`agent`] (the tools of an agent), [`sold`]
//! (those that cost something), [`door`] (who may call).
//!
//! - There are no sessions: nothing that a client was told to send along says who it is. A caller is who its token says,
//!   with every message.
//! - A purchase is named by the caller (`purchase`), never by the id of a message: a retry pays once.
//! - Nothing that an agent says, and no answer to an elicitation, is a human's consent. It opens a page; the decision is
//!   read from the book.
//! - An agent never sees a signature, a mandate's token or a key.

pub mod agent;
pub mod catalogue;
pub mod desk;
pub mod door;
mod message;
pub mod sold;

/// A line of a tool's text that is read as JSON by programs and as text by models.
pub(crate) fn text_of(value: &serde_json::Value) -> String {
    value.to_string()
}
