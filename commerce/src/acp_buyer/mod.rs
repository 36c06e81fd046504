//! The Agentic Commerce Protocol from the side of the agent that buys (version 2026-04-17): what a shop answers, as far as it
//! is acted on, held against what was agreed on.
//!
//! The shop is believed in nothing that costs money. What may be paid, to whom and for what was said before it was asked
//! ([`Consent`]); what it shows is read strictly where money hangs on it and leniently elsewhere ([`Shown`]); what it showed
//! first it shows at the end ([`Shown::unchanged`], [`ended`]).

mod consent;
mod discovery;
mod shown;
#[cfg(test)]
mod tests;
mod told;

pub use consent::{Consent, Deed, SESSION_SECONDS_MAX, ended, minor};
pub use discovery::{api_base, is_same_origin};
pub use shown::{Seller, Shown};
pub use told::{Said, Told};

use ledger::id::Digest;

/// Why nothing is bought of what a shop shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Unmet {
    pub code: UnmetCode,
    /// What was expected and what came.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmetCode {
    /// What was agreed on cannot be meant.
    ConsentInvalid,
    /// No discovery document, or not of this protocol.
    NoShop,
    /// None of our versions.
    VersionUnsupported,
    /// It sends us to another origin than it was asked at.
    ShopElsewhere,
    AnswerUnreadable,
    /// The answer is about another session than was asked for.
    SessionMismatch,
    /// Other items than were asked for, or as many of them.
    ItemsMismatch,
    TotalBeyondConsent,
    CurrencyMismatch,
    MerchantMismatch,
    /// It wants the card in another vault.
    VaultMismatch,
    /// It takes no tokens for cards.
    HandlerMissing,
    NotReady,
    SessionOver,
    /// Open for longer than money is held.
    SessionTooLong,
    /// It is not what it was when it was looked at.
    SessionChanged,
    PaymentDeclined,
    /// Said to be bought, without an order of this session.
    OrderUnproved,
    /// It says that it was not paid, and the book says that it was; or that less was taken.
    BookContradicts,
}

impl UnmetCode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsentInvalid => "consent_invalid",
            Self::NoShop => "no_shop",
            Self::VersionUnsupported => "acp_version_unsupported",
            Self::ShopElsewhere => "shop_elsewhere",
            Self::AnswerUnreadable => "shop_answer_unreadable",
            Self::SessionMismatch => "session_mismatch",
            Self::ItemsMismatch => "items_mismatch",
            Self::TotalBeyondConsent => "total_beyond_consent",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::MerchantMismatch => "merchant_mismatch",
            Self::VaultMismatch => "vault_mismatch",
            Self::HandlerMissing => "handler_missing",
            Self::NotReady => "session_not_ready",
            Self::SessionOver => "session_over",
            Self::SessionTooLong => "session_too_long",
            Self::SessionChanged => "session_changed",
            Self::PaymentDeclined => "payment_declined",
            Self::OrderUnproved => "order_unproved",
            Self::BookContradicts => "shop_contradicts_book",
        }
    }
}

impl Unmet {
    pub fn new(code: UnmetCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The `Idempotency-Key` of one step of a purchase: the same purchase, the same keys, for ever. The vault's is the
/// purchase's own, whatever the shop calls its session: so one key gets one token, and a shop that forgot the first session
/// gets none for a second.
pub fn step_key(purchase: &str, step: &str) -> String {
    Digest::of_parts("purser/acp-purchase/1", &[purchase.as_bytes(), step.as_bytes()]).to_string()
}

/// A shop's text in a sentence of ours: bounded, and unable to forge a line or to steer a terminal.
pub(crate) fn shown_text(text: &str) -> String {
    text.chars().take(200).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
