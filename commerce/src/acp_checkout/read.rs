//! Requests of agents.

use mandates::json::Object;
use serde_json::Value;

use super::is_ap2;
use crate::checkout::session::Destination;
use crate::checkout::{Change, Code, Refusal, Wanted};
use crate::read::{Given, entry, list, object, optional, quantity, required, text, wrong};

/// What an agent says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Ap2,
    Plain,
}

pub fn create(body: &Object) -> Result<(Change, Asked), Refusal> {
    let change = change(body)?;
    let capabilities = object(body, "capabilities", "$")?.flatten();
    let extensions = capabilities.and_then(|capabilities| capabilities.get("extensions")).and_then(Value::as_array);
    // A name, or a declaration with one: unknown values are passed over.
    let name = |value: &Value| value.as_str().or_else(|| value.get("name").and_then(Value::as_str)).is_some_and(is_ap2);
    let asked = if extensions.is_some_and(|names| names.iter().any(name)) { Asked::Ap2 } else { Asked::Plain };
    Ok((change, asked))
}

/// `CheckoutSessionUpdateRequest`, and what create shares with it.
pub fn change(body: &Object) -> Result<Change, Refusal> {
    let lines = match (list(body, "line_items", "$")?.flatten(), list(body, "items", "$")?.flatten()) {
        (Some(items), _) => Some(wanted(items, "$.line_items")?),
        (None, Some(items)) => Some(wanted(items, "$.items")?),
        (None, None) => None,
    };
    let destinations = match object(body, "fulfillment_details", "$")? {
        None => None,
        Some(None) => Some(None),
        Some(Some(details)) => destination(details)?.map(|one| Some(vec![one])),
    };
    let destination = destinations.as_ref().map(|given| given.as_ref().map(|_| DESTINATION.to_owned()));
    let codes = match object(body, "discounts", "$")?.flatten() {
        Some(discounts) => codes(list(discounts, "codes", "$.discounts")?, "$.discounts.codes")?,
        None => codes(list(body, "coupons", "$")?, "$.coupons")?,
    };
    Ok(Change {
        currency: optional(body, "currency", "$")?,
        lines,
        buyer: buyer(body)?,
        destinations,
        destination,
        option: option(body)?,
        codes,
    })
}

/// The one place that a session is sent to.
const DESTINATION: &str = "fulfillment_details";

fn wanted(items: &[Value], path: &str) -> Result<Vec<Wanted>, Refusal> {
    let one = |(at, item): (usize, &Value)| {
        let path = format!("{path}[{at}]");
        let item = entry(item, &path)?;
        let quantity = quantity(item, &path)?;
        let (product, path) = match object(item, "item", &path)?.flatten() {
            Some(inner) => (required(inner, "id", &format!("{path}.item"))?, format!("{path}.item.id")),
            // The first of ACP's own examples of a later draft.
            None if item.contains_key("id") => (required(item, "id", &path)?, format!("{path}.id")),
            None => (required(item, "product_id", &path)?, format!("{path}.product_id")),
        };
        Ok(Wanted { product, quantity, path })
    };
    items.iter().enumerate().map(one).collect()
}

/// Members of these names that are strings; anything else is refused, other members are passed over.
fn texts(of: &Object, names: &[&str], path: &str) -> Result<Object, Refusal> {
    let mut kept = Object::new();
    for name in names {
        if let Some(text) = optional(of, name, path)? {
            kept.insert((*name).to_owned(), text.into());
        }
    }
    Ok(kept)
}

pub fn buyer(body: &Object) -> Result<Given<Object>, Refusal> {
    let Some(buyer) = object(body, "buyer", "$")? else { return Ok(None) };
    let Some(buyer) = buyer else { return Ok(Some(None)) };
    required(buyer, "email", "$.buyer")?;
    let names = ["first_name", "last_name", "full_name", "email", "phone_number", "customer_id"];
    texts(buyer, &names, "$.buyer").map(|buyer| Some(Some(buyer)))
}

fn destination(details: &Object) -> Result<Option<Destination>, Refusal> {
    let path = "$.fulfillment_details";
    let Some(address) = object(details, "address", path)?.flatten() else { return Ok(None) };
    let path = "$.fulfillment_details.address";
    for name in ["name", "line_one", "city", "state", "country", "postal_code"] {
        required(address, name, path)?;
    }
    let country = required(address, "country", path)?;
    let names = ["name", "line_one", "line_two", "city", "state", "country", "postal_code", "company"];
    let address = texts(address, &names, path)?;
    let mut given = texts(details, &["name", "phone_number", "email"], "$.fulfillment_details")?;
    given.insert("address".to_owned(), address.into());
    Ok(Some(Destination { id: DESTINATION.to_owned(), country, given }))
}

/// The whole cart goes one way.
fn option(body: &Object) -> Result<Given<String>, Refusal> {
    let name = "selected_fulfillment_options";
    let Some(selected) = list(body, name, "$")? else {
        // The name before 2025-12-12.
        return text(body, "fulfillment_option_id", "$");
    };
    let mut chosen: Option<String> = None;
    for (at, one) in selected.into_iter().flatten().enumerate() {
        let path = format!("$.{name}[{at}]");
        let id = required(entry(one, &path)?, "option_id", &path)?;
        if chosen.as_ref().is_some_and(|chosen| *chosen != id) {
            let message = format!("one way for all items was expected, {id} came beside another");
            return Err(Refusal::new(Code::Invalid, format!("{path}.option_id"), message));
        }
        chosen = Some(id);
    }
    Ok(Some(chosen))
}

pub(crate) fn codes(given: Given<&Vec<Value>>, path: &str) -> Result<Given<Vec<String>>, Refusal> {
    let Some(list) = given else { return Ok(None) };
    let code = |(at, value): (usize, &Value)| {
        value.as_str().map(str::to_owned).ok_or_else(|| wrong(&format!("{path}[{at}]"), "a string", value))
    };
    list.map(|list| list.iter().enumerate().map(code).collect()).transpose().map(Some)
}

/// What completes a session, as far as this shop takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    pub buyer: Given<Object>,
    /// What pays: the handler's id, the instrument's type, its token.
    pub handler: String,
    pub instrument: String,
    pub token: Option<String>,
    pub checkout_mandate: Option<String>,
}

/// `CheckoutSessionCompleteRequest`.
pub fn complete(body: &Object) -> Result<Completion, Refusal> {
    let path = "$.payment_data";
    let payment = object(body, "payment_data", "$")?.flatten();
    let payment = payment.ok_or_else(|| {
        Refusal::new(Code::Missing, path, "payment_data names a handler and an instrument; nothing came")
    })?;
    if optional(payment, "purchase_order_number", path)?.is_some() && !payment.contains_key("handler_id") {
        let path = format!("{path}.purchase_order_number");
        return Err(Refusal::new(Code::Invalid, path, "this shop takes no purchase orders; one came"));
    }
    let handler = required(payment, "handler_id", path)?;
    let instrument = object(payment, "instrument", path)?.flatten();
    let instrument = instrument
        .ok_or_else(|| Refusal::new(Code::Missing, format!("{path}.instrument"), "an instrument pays; nothing came"))?;
    let path = "$.payment_data.instrument";
    let kind = required(instrument, "type", path)?;
    let credential = object(instrument, "credential", path)?.flatten();
    let token = credential.map(|credential| token(credential, "$.payment_data.instrument.credential")).transpose()?;
    Ok(Completion {
        buyer: buyer(body)?,
        handler,
        instrument: kind,
        token: token.flatten(),
        checkout_mandate: checkout_mandate(body)?,
    })
}

/// Mandates are longer than other texts; the verifier has its own limit.
pub(crate) fn token(of: &Object, path: &str) -> Result<Option<String>, Refusal> {
    match of.get("token") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.clone())),
        Some(other) => Err(wrong(&format!("{path}.token"), "a string", other)),
    }
}

pub(crate) fn checkout_mandate(body: &Object) -> Result<Option<String>, Refusal> {
    let Some(ap2) = object(body, "ap2", "$")?.flatten() else { return Ok(None) };
    match ap2.get("checkout_mandate") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(mandate)) => Ok(Some(mandate.clone())),
        Some(other) => Err(wrong("$.ap2.checkout_mandate", "a string", other)),
    }
}

/// `CancelSessionRequest`: why is of no consequence here, but personal data is not smuggled into it in depth.
pub fn cancel(body: &Object) -> Result<(), Refusal> {
    let path = "$.intent_trace.metadata";
    let Some(Some(trace)) = object(body, "intent_trace", "$")? else { return Ok(()) };
    let Some(Some(metadata)) = object(trace, "metadata", "$.intent_trace")? else { return Ok(()) };
    match metadata.iter().find(|(_, value)| value.is_object() || value.is_array()) {
        Some((name, value)) => Err(wrong(&format!("{path}.{name}"), "a string, a number or a boolean", value)),
        None => Ok(()),
    }
}
