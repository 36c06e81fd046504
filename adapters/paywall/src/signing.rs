//! Signatures under offers and receipts (extension `offer-receipt`), where the price wants them.

use x402::offer_receipt::{self, EXTENSION};
use x402::wire::SettleResponse;

use crate::ask::Ask;
use crate::price::{Price, Signed};
use crate::till::Till;

/// Every offer of the price under the till's signature; nothing where the till signs none of them.
pub(crate) async fn sign_offers(till: &dyn Till, price: &Price, ask: Ask) -> Ask {
    if price.signed == Signed::Not {
        return ask;
    }
    let mut signed = Vec::new();
    for (index, offer) in price.accepts.iter().enumerate() {
        if let Some(jws) = till.sign_offer(ask.url(), offer).await {
            signed.push((index, jws));
        }
    }
    if signed.is_empty() { ask } else { ask.with_extension(EXTENSION, offer_receipt::declaration(signed)) }
}

/// The receipt with our signature under it. One that cannot be signed is given without: what was paid for is delivered.
pub(crate) async fn sign_receipt(till: &dyn Till, price: &Price, url: &str, receipt: SettleResponse) -> SettleResponse {
    if price.signed == Signed::Not || !receipt.success {
        return receipt;
    }
    let mut receipt = receipt;
    if let Some(jws) = till.sign_receipt(url, &receipt).await {
        receipt.unknown.insert("extensions".to_owned(), offer_receipt::receipt_extensions(&jws));
    }
    receipt
}
