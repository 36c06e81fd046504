//! The Universal Commerce Protocol's face of a session: version 2026-04-08 (`checkout.json`, `fulfillment.json`,
//! `discount.json`, `ap2_mandate.json`, `checkout-rest.md`).

pub mod mandate;
pub mod negotiate;
pub mod read;
pub mod write;

pub const VERSION: &str = "2026-04-08";

pub const CHECKOUT: &str = "dev.ucp.shopping.checkout";
pub const FULFILMENT: &str = "dev.ucp.shopping.fulfillment";
pub const DISCOUNT: &str = "dev.ucp.shopping.discount";
pub const AP2: &str = "dev.ucp.shopping.ap2_mandate";

/// What is offered, each with what it extends and the names of its documents.
pub const CAPABILITIES: [(&str, Option<&str>, &str, &str); 4] = [
    (CHECKOUT, None, "checkout", "checkout"),
    (FULFILMENT, Some(CHECKOUT), "fulfillment", "fulfillment"),
    (DISCOUNT, Some(CHECKOUT), "discount", "discount"),
    (AP2, Some(CHECKOUT), "ap2-mandates", "ap2_mandate"),
];

/// The handler of payment mandates that are closed for this merchant.
pub const AP2_HANDLER: &str = "dev.purser.ap2_mandate";

/// The handler of tokens for cards that are left in a vault (`/tokenize`).
pub const CARD_HANDLER: &str = "dev.purser.tokenized_card";
