//! Sessions as UCP checkouts, the business profile, and answers that are errors.

use mandates::json::Object;
use mandates::keys::KeySet;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::negotiate::Active;
use super::{AP2, AP2_HANDLER, CAPABILITIES, CARD_HANDLER, DISCOUNT, FULFILMENT, VERSION};
use crate::acp_checkout::CARD_HANDLER_ID;
use crate::checkout::price::line_amount;
use crate::checkout::{Line, Session, Shop, Status, Totals};

/// RFC 3339, in UTC.
pub fn moment(unix_seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(unix_seconds).ok();
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_default()
}

pub fn minor(amount: u64) -> Value {
    amount.into()
}

/// Below zero, as UCP writes what is taken off.
fn off(amount: u64) -> Value {
    i64::try_from(amount).map_or(Value::Null, |amount| amount.saturating_neg().into())
}

/// What is active in a session, and how it can be paid.
pub fn head(shop: &Shop, active: &Active) -> Value {
    let capabilities: Object = active.names().map(|name| (name.to_owned(), json!([{ "version": VERSION }]))).collect();
    json!({ "version": VERSION, "capabilities": capabilities, "payment_handlers": handlers(shop, active.has(AP2)) })
}

fn handlers(shop: &Shop, has_ap2: bool) -> Value {
    if !has_ap2 {
        return card_handler(shop).into_iter().collect::<Object>().into();
    }
    json!({ AP2_HANDLER: [{ "id": "ap2", "version": VERSION, "available_instruments": [{ "type": "ap2_mandate" }],
        "config": { "merchant_id": shop.merchant.id } }] })
}

/// Tokens of a vault: what `/tokenize` is asked for, and under which name of the shop's (`tokenization.md`).
fn card_handler(shop: &Shop) -> Option<(String, Value)> {
    let cards = shop.cards.as_ref()?;
    let handler = json!([{ "id": CARD_HANDLER_ID, "version": VERSION, "spec": format!("{}/docs", cards.psp),
        "schema": format!("{}/openapi.json", cards.psp), "available_instruments": [{ "type": "card" }],
        "config": { "merchant_id": cards.merchant_id, "tokenize_url": format!("{}/tokenize", cards.psp) } }]);
    Some((CARD_HANDLER.to_owned(), handler))
}

/// Without `ap2`: what the merchant signs. `merchant` is AP2's own member, by which a mandate knows who is paid.
pub fn checkout(session: &Session, shop: &Shop, active: &Active) -> Object {
    let mut object = Object::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("ucp", head(shop, active));
    put("id", session.id.as_str().into());
    put("merchant", Value::Object(shop.merchant.claims()));
    put("status", session.status.ucp().into());
    put("currency", session.currency.as_str().into());
    put("line_items", session.lines.iter().map(|line| line_item(line, shop)).collect());
    put("totals", totals(&session.totals));
    put("links", shop.links.iter().map(|(kind, url)| json!({ "type": kind, "url": url })).collect());
    put("expires_at", moment(session.expires_at).into());
    if !session.messages.is_empty() {
        put(
            "messages",
            session
                .messages
                .iter()
                .map(|message| error(&message.code, &message.text, &message.path, "recoverable"))
                .collect(),
        );
    }
    if let Some(buyer) = &session.buyer {
        put("buyer", Value::Object(buyer.clone()));
    }
    if active.has(FULFILMENT) && session.lines.iter().any(|line| line.ships) {
        put("fulfillment", json!({ "methods": [method(session)] }));
    }
    if active.has(DISCOUNT) && !session.codes.is_empty() {
        let applied: Vec<Value> = session
            .applied
            .iter()
            .map(|applied| json!({ "code": applied.code, "title": applied.title, "amount": minor(applied.amount) }))
            .collect();
        put("discounts", json!({ "codes": session.codes, "applied": applied }));
    }
    if session.status == Status::Completed
        && let Some(order) = &session.order
    {
        put("order", json!({ "id": order.id, "permalink_url": order.url }));
    }
    object
}

fn line_item(line: &Line, shop: &Shop) -> Value {
    let amount = line_amount(line).unwrap_or(0);
    let mut item = json!({ "id": line.product, "title": line.title, "price": minor(line.price) });
    let image = shop.products.get(&line.product).and_then(|product| product.image_url.as_ref());
    if let (Value::Object(item), Some(url)) = (&mut item, image) {
        item.insert("image_url".to_owned(), url.as_str().into());
    }
    json!({ "id": line.id, "item": item, "quantity": line.quantity,
        "totals": [{ "type": "subtotal", "amount": minor(amount) }, { "type": "total", "amount": minor(amount) }] })
}

fn totals(totals: &Totals) -> Value {
    let entry = |kind: &str, text: &str, amount: Value| json!({ "type": kind, "display_text": text, "amount": amount });
    let mut entries = vec![entry("subtotal", "Subtotal", minor(totals.subtotal))];
    if totals.discount > 0 {
        entries.push(entry("discount", "Discount", off(totals.discount)));
    }
    entries.extend(totals.fulfilment.map(|amount| entry("fulfillment", "Shipping", minor(amount))));
    entries.extend(totals.tax.map(|amount| entry("tax", "Tax", minor(amount))));
    entries.push(entry("total", "Total", minor(totals.total)));
    entries.into()
}

fn method(session: &Session) -> Value {
    let lines: Vec<&str> = session.lines.iter().filter(|line| line.ships).map(|line| line.id.as_str()).collect();
    let mut method = json!({ "id": "shipping", "type": "shipping", "line_item_ids": lines });
    let Value::Object(members) = &mut method else { return method };
    let sent = &session.fulfilment;
    if !sent.destinations.is_empty() {
        let places: Vec<&Object> = sent.destinations.iter().map(|place| &place.given).collect();
        members.insert("destinations".to_owned(), json!(places));
    }
    if let Some(id) = &sent.destination {
        members.insert("selected_destination_id".to_owned(), id.as_str().into());
    }
    if !session.options.is_empty() {
        let options: Vec<Value> = session.options.iter().map(|way| {
            json!({ "id": way.id, "title": way.title, "totals": [{ "type": "total", "amount": minor(way.amount) }] })
        }).collect();
        let mut group = json!({ "id": "group_1", "line_item_ids": lines, "options": options });
        if let (Value::Object(group), Some(id)) = (&mut group, &sent.option) {
            group.insert("selected_option_id".to_owned(), id.as_str().into());
        }
        members.insert("groups".to_owned(), json!([group]));
    }
    method
}

pub fn error(code: &str, text: &str, path: &str, severity: &str) -> Value {
    let mut message = json!({ "type": "error", "code": code, "content": text, "severity": severity });
    if let (Value::Object(message), false) = (&mut message, path.is_empty()) {
        message.insert("path".to_owned(), path.into());
    }
    message
}

/// `error_response.json`: an answer with no checkout in it.
pub fn refused(code: &str, text: &str, path: &str) -> Value {
    json!({ "ucp": { "version": VERSION, "status": "error" }, "messages": [error(code, text, path, "unrecoverable")] })
}

/// `/.well-known/ucp`. Keys stand under both names that releases have given the list.
pub fn profile(shop: &Shop, keys: &KeySet) -> Value {
    let site = "https://ucp.dev";
    let capabilities: Object = CAPABILITIES
        .iter()
        .map(|(name, extends, spec, schema)| {
            let mut entry = json!({ "version": VERSION, "spec": format!("{site}/{VERSION}/specification/{spec}"),
            "schema": format!("{site}/{VERSION}/schemas/shopping/{schema}.json") });
            if let (Value::Object(entry), Some(parent)) = (&mut entry, extends) {
                entry.insert("extends".to_owned(), (*parent).into());
            }
            if let (Value::Object(entry), true) = (&mut entry, *name == AP2) {
                entry.insert("config".to_owned(), json!({ "vp_formats_supported": { "dc+sd-jwt": {} } }));
            }
            ((*name).to_owned(), json!([entry]))
        })
        .collect();
    let mut payment_handlers = handlers(shop, true);
    if let (Value::Object(all), Some((name, handler))) = (&mut payment_handlers, card_handler(shop)) {
        all.insert(name, handler);
    }
    let jwks = keys.to_jwks().remove("keys").unwrap_or_default();
    json!({
        "ucp": {
            "version": VERSION,
            "services": { "dev.ucp.shopping": [{ "version": VERSION, "transport": "rest", "endpoint": shop.url,
                "spec": format!("{site}/{VERSION}/specification/overview"),
                "schema": format!("{site}/{VERSION}/services/shopping/rest.openapi.json") }] },
            "capabilities": capabilities,
            "payment_handlers": payment_handlers,
        },
        "signing_keys": jwks.clone(),
        "keys": jwks,
    })
}
