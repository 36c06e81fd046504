//! Sessions as `CheckoutSession` and `CheckoutSessionWithOrder`, the discovery document, and flat errors.

use mandates::json::Object;
use serde_json::{Value, json};

use super::{AP2_EXTENSION, AP2_HANDLER, CARD_HANDLER, CARD_HANDLER_ID, VERSION, VERSIONS};
use crate::checkout::price::line_amount;
use crate::checkout::{Cards, Line, Session, Shop, Status, Totals};
use crate::ucp::write::{minor, moment};

/// How a session is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Ap2,
    Plain,
}

/// Without `ap2`: what the merchant signs.
pub fn session(session: &Session, shop: &Shop, security: Security) -> Object {
    let mut object = Object::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("id", session.id.as_str().into());
    put("protocol", json!({ "version": VERSION }));
    put("capabilities", capabilities(shop, security));
    put("status", session.status.as_str().into());
    put("currency", session.currency.to_ascii_lowercase().into());
    put("line_items", session.lines.iter().map(|line| line_item(line, shop)).collect());
    put("totals", totals(&session.totals));
    put("fulfillment_options", session.options.iter().map(|way| {
        json!({ "type": "shipping", "id": way.id, "title": way.title, "totals": [total("total", "Total", way.amount)] })
    }).collect());
    put(
        "messages",
        session
            .messages
            .iter()
            .map(|message| {
                json!({ "type": "error", "code": message.code, "severity": "high", "resolution": "recoverable",
            "param": message.path, "content_type": "plain", "content": message.text })
            })
            .collect(),
    );
    put(
        "links",
        shop.links.iter().filter_map(|(kind, url)| Some(json!({ "type": link(kind)?, "url": url }))).collect(),
    );
    put("created_at", moment(session.created_at).into());
    put("updated_at", moment(session.updated_at).into());
    put("expires_at", moment(session.expires_at).into());
    if let Some(buyer) = &session.buyer {
        put("buyer", Value::Object(buyer.clone()));
    }
    if let Some(destination) = session.fulfilment.destinations.first() {
        put("fulfillment_details", Value::Object(destination.given.clone()));
    }
    if let Some(way) = session.options.iter().find(|way| Some(&way.id) == session.fulfilment.option.as_ref()) {
        let items: Vec<&str> = session.lines.iter().filter(|line| line.ships).map(|line| line.id.as_str()).collect();
        put("selected_fulfillment_options", json!([{ "type": "shipping", "option_id": way.id, "item_ids": items }]));
    }
    if session.status == Status::Completed
        && let Some(order) = &session.order
    {
        put(
            "order",
            json!({ "type": "order", "id": order.id, "checkout_session_id": session.id,
            "permalink_url": order.url, "status": "confirmed", "totals": totals(&session.totals) }),
        );
    }
    object
}

fn capabilities(shop: &Shop, security: Security) -> Value {
    let interventions = json!({ "supported": [], "required": [], "enforcement": "conditional" });
    if security == Security::Plain {
        let handlers: Vec<Value> = shop.cards.iter().map(card_handler).collect();
        return json!({ "payment": { "handlers": handlers }, "interventions": interventions });
    }
    let description = format!("{}/acp/ap2.json", shop.url);
    json!({
        "payment": { "handlers": [{
            "id": "ap2", "name": AP2_HANDLER, "display_name": "AP2 payment mandate", "version": VERSION,
            "spec": description, "requires_delegate_payment": false, "requires_pci_compliance": false, "psp": "purser",
            "config_schema": description, "instrument_schemas": [description],
            "config": { "merchant_id": shop.merchant.id, "psp": "purser" },
        }] },
        "interventions": interventions,
        "extensions": [{ "name": AP2_EXTENSION, "schema": description, "spec": description,
            "extends": ["$.CheckoutSession.ap2", "$.CheckoutSessionCompleteRequest.ap2"] }],
    })
}

fn card_handler(cards: &Cards) -> Value {
    json!({
        "id": CARD_HANDLER_ID, "name": CARD_HANDLER, "display_name": "Card", "version": "2026-01-22",
        "spec": "https://acp.dev/handlers/tokenized.card", "requires_delegate_payment": true,
        "requires_pci_compliance": false, "psp": cards.psp,
        "config_schema": "https://acp.dev/schemas/handlers/tokenized.card/config.json",
        "instrument_schemas": ["https://acp.dev/schemas/handlers/tokenized.card/instrument.json"],
        "config": { "merchant_id": cards.merchant_id, "psp": cards.psp },
    })
}

/// What the extension and its handler are, for whoever follows their addresses.
pub fn ap2_description(url: &str) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("{url}/acp/ap2.json"),
        "title": AP2_EXTENSION,
        "description": "Sessions signed by the merchant, completed with AP2 v0.2 mandates. In answers: merchant_authorization is a JWS with detached content (RFC 7515 appendix F) over the canonical JSON (RFC 8785) of the session without ap2; checkout_jwt is the same checkout for AP2, to be closed over; audience and nonce are what both mandates are bound to. In complete: checkout_mandate is the closed checkout mandate, payment_data.instrument {type: ap2_mandate, credential: {type: ap2_mandate, token}} the closed payment mandate.",
        "$defs": {
            "answer": { "type": "object", "required": ["merchant_authorization", "checkout_jwt", "audience", "nonce"],
                "properties": { "merchant_authorization": { "type": "string" }, "checkout_jwt": { "type": "string" },
                    "audience": { "type": "string" }, "nonce": { "type": "string" } } },
            "complete": { "type": "object", "required": ["checkout_mandate"],
                "properties": { "checkout_mandate": { "type": "string" } } },
        },
    })
}

fn line_item(line: &Line, shop: &Shop) -> Value {
    let amount = line_amount(line).unwrap_or(0);
    let mut item = json!({
        "id": line.id, "item": { "id": line.product, "name": line.title, "unit_amount": line.price },
        "quantity": line.quantity, "name": line.title, "unit_amount": line.price,
        "totals": [total("items_base_amount", "Base amount", amount), total("subtotal", "Subtotal", amount),
            total("total", "Total", amount)],
    });
    let image = shop.products.get(&line.product).and_then(|product| product.image_url.as_ref());
    if let (Value::Object(item), Some(url)) = (&mut item, image) {
        item.insert("images".to_owned(), json!([url]));
    }
    item
}

fn total(kind: &str, text: &str, amount: u64) -> Value {
    json!({ "type": kind, "display_text": text, "amount": minor(amount) })
}

pub(crate) fn totals(totals: &Totals) -> Value {
    let mut entries = vec![total("items_base_amount", "Items", totals.subtotal)];
    if totals.discount > 0 {
        entries.push(total("discount", "Discount", totals.discount));
    }
    entries.push(total("subtotal", "Subtotal", totals.subtotal.saturating_sub(totals.discount)));
    entries.extend(totals.fulfilment.map(|amount| total("fulfillment", "Shipping", amount)));
    entries.extend(totals.tax.map(|amount| total("tax", "Tax", amount)));
    entries.push(total("total", "Total", totals.total));
    entries.into()
}

/// The closed list of the schema; what it has no name for is left out.
fn link(kind: &str) -> Option<&'static str> {
    match kind {
        "terms_of_service" | "terms_of_use" => Some("terms_of_use"),
        "refund_policy" | "return_policy" => Some("return_policy"),
        "privacy_policy" => Some("privacy_policy"),
        "shipping_policy" => Some("shipping_policy"),
        "faq" => Some("faq"),
        "support" => Some("support"),
        _ => None,
    }
}

/// `/.well-known/acp.json`: `DiscoveryResponse`. Versions are in the opposite order of those in an error, oldest first.
pub fn discovery(shop: &Shop) -> Value {
    let versions: Vec<&str> = VERSIONS.iter().rev().copied().collect();
    json!({
        "protocol": { "name": "acp", "version": VERSION, "supported_versions": versions },
        "api_base_url": shop.url,
        "transports": ["rest"],
        "capabilities": {
            "services": ["checkout"],
            "extensions": [{ "name": AP2_EXTENSION, "spec": format!("{}/acp/ap2.json", shop.url),
                "schema": format!("{}/acp/ap2.json", shop.url) }],
            "supported_currencies": [shop.currency.as_str().to_ascii_lowercase()],
        },
    })
}
