//! Requests of platforms. A PUT replaces the whole session: what is not in it is gone.

use mandates::json::Object;
use serde_json::Value;

use crate::acp_checkout::read::{checkout_mandate, codes, token};
use crate::checkout::session::Destination;
use crate::checkout::{Change, Code, Refusal, Wanted};
use crate::read::{Given, entry, list, object, optional, quantity, required, text};

pub fn change(body: &Object) -> Result<Change, Refusal> {
    let lines = list(body, "line_items", "$")?.flatten();
    let lines = lines.ok_or_else(|| {
        Refusal::new(Code::Missing, "$.line_items", "line_items names one item or more; nothing came")
    })?;
    let (destinations, destination, option) = fulfilment(body)?;
    let codes = match object(body, "discounts", "$")?.flatten() {
        Some(discounts) => codes(list(discounts, "codes", "$.discounts")?, "$.discounts.codes")?,
        None => None,
    };
    Ok(Change {
        currency: optional(body, "currency", "$")?,
        lines: Some(lines.iter().enumerate().map(wanted).collect::<Result<_, _>>()?),
        buyer: Some(buyer(body)?),
        destinations: Some(destinations),
        destination: Some(destination),
        option: Some(option),
        codes: Some(codes.flatten()),
    })
}

fn wanted((at, line): (usize, &Value)) -> Result<Wanted, Refusal> {
    let path = format!("$.line_items[{at}]");
    let line = entry(line, &path)?;
    let item = object(line, "item", &path)?.flatten();
    let item =
        item.ok_or_else(|| Refusal::new(Code::Missing, format!("{path}.item"), "an item has an id; nothing came"))?;
    let quantity = quantity(line, &path)?;
    Ok(Wanted { product: required(item, "id", &format!("{path}.item"))?, quantity, path: format!("{path}.item.id") })
}

fn buyer(body: &Object) -> Result<Option<Object>, Refusal> {
    let Some(buyer) = object(body, "buyer", "$")?.flatten() else { return Ok(None) };
    for name in ["first_name", "last_name", "email", "phone_number"] {
        text(buyer, name, "$.buyer")?;
    }
    let mut buyer = buyer.clone();
    buyer.retain(|_, value| !value.is_null());
    Ok(Some(buyer))
}

type Sent = (Option<Vec<Destination>>, Option<String>, Option<String>);

/// One method, of type `shipping`, with one group: the whole cart goes one way.
fn fulfilment(body: &Object) -> Result<Sent, Refusal> {
    let Some(fulfilment) = object(body, "fulfillment", "$")?.flatten() else { return Ok((None, None, None)) };
    let methods = list(fulfilment, "methods", "$.fulfillment")?.flatten();
    let mut methods = methods.into_iter().flatten();
    let Some(method) = methods.next() else { return Ok((None, None, None)) };
    let path = "$.fulfillment.methods[0]";
    if methods.next().is_some() {
        let message = "one method for all items was expected, several came";
        return Err(Refusal::new(Code::Invalid, "$.fulfillment.methods", message));
    }
    let method = entry(method, path)?;
    if let Some(kind) = optional(method, "type", path)?
        && kind != "shipping"
    {
        return Err(Refusal::new(Code::Invalid, format!("{path}.type"), format!("shipping was expected, {kind} came")));
    }
    let places = list(method, "destinations", path)?.flatten();
    let places = places.map(|places| places.iter().enumerate().map(destination).collect()).transpose()?;
    let selected = text(method, "selected_destination_id", path)?.flatten();
    let groups = list(method, "groups", path)?.flatten();
    let group = groups.and_then(|groups| groups.first());
    let path = "$.fulfillment.methods[0].groups[0]";
    let option: Given<String> = match group {
        Some(group) => text(entry(group, path)?, "selected_option_id", path)?,
        None => None,
    };
    Ok((places, selected, option.flatten()))
}

fn destination((at, place): (usize, &Value)) -> Result<Destination, Refusal> {
    let path = format!("$.fulfillment.methods[0].destinations[{at}]");
    let place = entry(place, &path)?;
    let names = [
        "street_address",
        "extended_address",
        "address_locality",
        "address_region",
        "address_country",
        "postal_code",
        "first_name",
        "last_name",
        "full_name",
        "phone_number",
    ];
    let id = optional(place, "id", &path)?.unwrap_or_else(|| format!("dest_{}", at.saturating_add(1)));
    let mut given = Object::from_iter([("id".to_owned(), id.as_str().into())]);
    for name in names {
        if let Some(text) = optional(place, name, &path)? {
            given.insert(name.to_owned(), text.into());
        }
    }
    let country = required(place, "address_country", &path)?;
    Ok(Destination { id, country, given })
}

/// What completes a session: the mandate of the buyer's side, and the instrument that is selected, or the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    pub handler: Option<String>,
    pub token: Option<String>,
    pub checkout_mandate: Option<String>,
}

pub fn complete(body: &Object) -> Result<Completion, Refusal> {
    let checkout_mandate = checkout_mandate(body)?;
    let payment = object(body, "payment", "$")?.flatten();
    let instruments = payment.map(|payment| list(payment, "instruments", "$.payment")).transpose()?;
    let instruments: Vec<&Value> = instruments.flatten().flatten().into_iter().flatten().collect();
    let selected = instruments.iter().position(|one| one.get("selected") == Some(&Value::Bool(true)));
    let at = match (selected, instruments.len()) {
        (Some(at), _) => at,
        (None, 0 | 1) => 0,
        (None, several) => {
            let message = format!("one instrument that is selected was expected, none of {several} is");
            return Err(Refusal::new(Code::Missing, "$.payment.instruments", message));
        }
    };
    let Some(instrument) = instruments.get(at) else {
        return Ok(Completion { handler: None, token: None, checkout_mandate });
    };
    let path = format!("$.payment.instruments[{at}]");
    let instrument = entry(instrument, &path)?;
    let handler = required(instrument, "handler_id", &path)?;
    let credential = object(instrument, "credential", &path)?.flatten();
    let token = credential.map(|credential| token(credential, &format!("{path}.credential"))).transpose()?.flatten();
    Ok(Completion { handler: Some(handler), token, checkout_mandate })
}
