//! The customers that the suite expects to be known (`test_data/flower_shop`, Apache-2.0: made-up people), and addresses
//! that others gave. In memory: a sandbox forgets.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use commerce::checkout::Change;
use commerce::checkout::session::Destination;
use mandates::json::Object;
use serde_json::{Value, json};

use super::Sand;

pub(super) struct Customers(BTreeMap<String, Vec<Object>>);

/// As many people are remembered.
const CUSTOMERS_MAX: usize = 10_000;

const PARTS: [&str; 5] = ["street_address", "address_locality", "address_region", "postal_code", "address_country"];

impl Default for Customers {
    fn default() -> Self {
        let place = |[id, street, city, region, code]: [&str; 5]| {
            let place = json!({ "id": id, "street_address": street, "address_locality": city, "address_region": region,
                "postal_code": code, "address_country": "US" });
            place.as_object().cloned().unwrap_or_default()
        };
        let first = place(["addr_1", "123 Main St", "Springfield", "IL", "62704"]);
        let second = place(["addr_2", "456 Oak Ave", "Metropolis", "NY", "10012"]);
        let third = place(["addr_3", "789 Pine Ln", "Smallville", "KS", "66002"]);
        Self(BTreeMap::from([
            ("john.doe@example.com".to_owned(), vec![first, second]),
            ("jane.smith@example.com".to_owned(), vec![third]),
        ]))
    }
}

fn email(of: Option<&Value>) -> Option<String> {
    Some(of?.get("buyer")?.get("email")?.as_str()?.to_owned())
}

fn destination(place: &Object) -> Option<Destination> {
    let text = |name: &str| place.get(name)?.as_str().map(str::to_owned);
    Some(Destination { id: text("id")?, country: text("address_country")?, given: place.clone() })
}

impl Sand {
    /// A known customer's places where none are named; and of new ones the names under which they are known, or will be.
    pub(super) fn customers_of(&self, before: Option<&Value>, body: &Object, mut change: Change) -> Change {
        let asked = Value::Object(body.clone());
        let Some(email) = email(Some(&asked)).or_else(|| email(before)) else { return change };
        let mut customers = self.sandbox.customers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = asked["fulfillment"]["methods"][0].is_object();
        let has_places = before.is_some_and(|before| before["fulfillment"]["methods"][0]["destinations"].is_array());
        match &mut change.destinations {
            Some(Some(places)) => {
                for (at, place) in places.iter_mut().enumerate() {
                    let given = &asked["fulfillment"]["methods"][0]["destinations"][at];
                    if given.get("id").is_some_and(Value::is_string) || customers.0.len() >= CUSTOMERS_MAX {
                        continue;
                    }
                    let known = customers.0.entry(email.clone()).or_default();
                    let same = |one: &&Object| PARTS.iter().all(|part| one.get(*part) == place.given.get(*part));
                    let id = match known.iter().find(same).and_then(|one| one.get("id")).and_then(Value::as_str) {
                        Some(id) => id.to_owned(),
                        None => format!("addr_{}_{}", known.len().saturating_add(1), email.len()),
                    };
                    place.given.insert("id".to_owned(), id.as_str().into());
                    place.id.clone_from(&id);
                    if !known.iter().any(|one| one.get("id").and_then(Value::as_str) == Some(&id)) {
                        known.push(place.given.clone());
                    }
                }
            }
            _ if is_asked && !has_places => {
                let known = customers.0.get(&email).into_iter().flatten().filter_map(destination).collect::<Vec<_>>();
                if !known.is_empty() {
                    change.destinations = Some(Some(known));
                }
            }
            _ => {}
        }
        change
    }
}
