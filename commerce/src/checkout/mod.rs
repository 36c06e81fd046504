//! One checkout session of one merchant: what is bought, for how much, how it is sent, and how it moves ([`status`]).
//!
//! Amounts are whole minor units of the shop's currency. They are the shop's own: what a request says of a price or a title
//! counts for nothing.

pub mod price;
pub mod session;
pub mod shop;
pub mod status;

pub use price::{AMOUNT_MAX, Totals};
pub use session::{Change, Fulfilment, Line, Message, Order, Protocol, Session, Wanted};
pub use shop::{Cards, Discount, Off, Product, Rate, Shop, ShopError};
pub use status::{Event, Status};

/// Why a request changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: Code,
    /// The member, as a path of RFC 9535; empty where it is the whole.
    pub path: String,
    /// What was expected and what came.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Missing,
    Invalid,
    /// No such product, option, code or session.
    NotFound,
    /// The session is finished, or is being paid for.
    Finished,
    /// Not ready to be paid for.
    NotReady,
    /// More than can be counted.
    TooMuch,
}

impl Code {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Finished => "not_modifiable",
            Self::NotReady => "not_ready_for_payment",
            Self::TooMuch => "maximum_exceeded",
        }
    }
}

impl Refusal {
    pub fn new(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, path: path.into(), message: message.into() }
    }
}
